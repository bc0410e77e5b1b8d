//! The transport: from bytes on a socket to a call of an operation, and back.

mod answer;
mod api_page;
mod body;
pub mod browser;
mod config;
mod connections;
#[cfg(test)]
mod contract_tests;
pub mod credentials;
mod files;
mod forward;
pub mod forwarded;
pub mod grpc;
mod host;
pub mod http;
pub mod listen;
mod operation;
pub mod pages;
mod peer;
mod refusal;
mod socket;
#[cfg(test)]
mod tests;

pub use self::config::{Admin, Config, Peer};
