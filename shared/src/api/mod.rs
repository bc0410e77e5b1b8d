//! Requests and responses, module by module, each with its table of operations.

pub mod audit;
pub mod checks;
pub mod cli_login;
pub mod introspection;
pub mod rbac;
pub mod sessions;
pub mod system;
pub mod tokens;
pub mod users;

use serde::{Deserialize, Serialize};

use crate::op::Info;

/// It is done, and there is nothing else to tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct Done {
    /// `success`.
    pub status: String,
}

impl Default for Done {
    fn default() -> Self {
        Self { status: "success".to_owned() }
    }
}

/// Every operation there is.
pub fn operations() -> impl Iterator<Item = &'static Info> {
    [
        tokens::OPERATIONS,
        introspection::OPERATIONS,
        sessions::OPERATIONS,
        checks::OPERATIONS,
        users::OPERATIONS,
        rbac::OPERATIONS,
        cli_login::OPERATIONS,
        audit::OPERATIONS,
        system::OPERATIONS,
    ]
    .into_iter()
    .flatten()
    .copied()
}

/// Every operation with its schemas.
#[cfg(feature = "openapi")]
pub fn schemas(generator: &mut schemars::SchemaGenerator) -> Vec<crate::openapi::Described> {
    [
        tokens::schemas,
        introspection::schemas,
        sessions::schemas,
        checks::schemas,
        users::schemas,
        rbac::schemas,
        cli_login::schemas,
        audit::schemas,
        system::schemas,
    ]
    .into_iter()
    .flat_map(|schemas| schemas(generator))
    .collect()
}
