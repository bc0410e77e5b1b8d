//! Requests and responses, room by room, each with its table of operations.

pub mod audit;
pub mod cli_login;
pub mod sessions;
pub mod system;
pub mod tokens;

use crate::op::Info;

/// Every operation there is.
pub fn operations() -> impl Iterator<Item = &'static Info> {
    [tokens::OPERATIONS, sessions::OPERATIONS, cli_login::OPERATIONS, audit::OPERATIONS, system::OPERATIONS]
        .into_iter()
        .flatten()
        .copied()
}

/// Every operation with its schemas.
#[cfg(feature = "openapi")]
pub fn schemas(generator: &mut schemars::SchemaGenerator) -> Vec<crate::openapi::Described> {
    [tokens::schemas, sessions::schemas, cli_login::schemas, audit::schemas, system::schemas]
        .into_iter()
        .flat_map(|schemas| schemas(generator))
        .collect()
}
