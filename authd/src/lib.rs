//! authd: a small daemon for the authentication and authorization of a team.
//!
//! Data flows one way: transport -> operation -> model -> store. No module mixes SQL and HTTP.

pub mod accounts;
pub mod audit;
pub mod authentication;
pub mod authority;
pub mod aws;
pub mod background;
pub mod backups;
pub mod base;
pub mod cache;
pub mod call;
pub mod caller;
pub mod checks;
pub mod cleanup;
pub mod cli_login;
#[cfg(test)]
mod clock_tests;
pub mod config;
pub mod daemon;
pub mod db;
pub mod entities;
pub mod env;
pub mod ephemeral;
pub mod error;
pub mod files;
#[cfg(test)]
mod fixtures;
pub mod forward_auth;
pub mod https;
pub mod introspection;
pub mod keyed_mutex;
pub mod keys;
pub mod ledger;
pub mod log;
pub mod mail;
pub mod memory;
pub mod metrics;
pub mod names;
pub mod network;
pub mod oidc_client;
pub mod page;
pub mod passwords;
pub mod rbac;
pub mod registry;
pub mod sessions;
pub mod setting;
pub mod system;
pub mod templates;
#[cfg(test)]
pub mod testing;
pub mod tokens;
pub mod transport;
pub mod users;
pub mod web_login;
pub mod webauthn;
