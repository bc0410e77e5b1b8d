//! authd: one small daemon that holds all the auth logic of a team.
//!
//! Data flows one way: transport -> operation -> model -> store. SQL never meets HTTP.

pub mod app;
pub mod audit;
pub mod aws;
pub mod caller;
pub mod cli_login;
pub mod config;
pub mod db;
pub mod ephemeral;
pub mod error;
pub mod keys;
pub mod metrics;
pub mod registry;
pub mod sessions;
pub mod system;
pub mod tokens;
pub mod transport;
pub mod world;

use registry::Registry;

/// Every room's operations.
pub fn registry() -> Registry {
    let mut registry = Registry::default();
    tokens::register(&mut registry);
    sessions::register(&mut registry);
    cli_login::register(&mut registry);
    audit::register(&mut registry);
    system::register(&mut registry);
    registry
}
