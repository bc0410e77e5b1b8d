//! The types and operations that authd, authctl and auth-login share.
//!
//! An operation is declared once, in a line of its module's table under [`api`]: the server's router, the typed client,
//! the OpenAPI document, the audit name and the metrics label all come from that line. tokio is used only with
//! the feature `client`.

pub mod api;
pub mod base64url;
pub mod email;
pub mod id;
pub mod names;
pub mod number;
pub mod op;
pub mod openapi;
pub mod page;
pub mod passwords;
pub mod paths;
pub mod patterns;
pub mod problem;
pub mod release;
pub mod secret;
pub mod time;
pub mod url;
pub mod wire;

#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "local")]
pub mod disk;
#[cfg(feature = "grpc")]
pub mod grpc;
#[cfg(feature = "local")]
pub mod keyring;
#[cfg(feature = "proxy")]
pub mod proxy;
#[cfg(feature = "qr")]
pub mod qr;
#[cfg(all(feature = "cli", feature = "client"))]
pub mod terminal;
