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

use schemars::{JsonSchema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::op::Info;
use crate::openapi::Described;

/// Success, without further data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Done {
    /// `success`.
    pub status: String,
}

impl Default for Done {
    fn default() -> Self {
        Self { status: "success".to_owned() }
    }
}

type Schemas = fn(&mut SchemaGenerator) -> Vec<Described>;

/// The operations and schemas of each module.
static MODULES: [(&[&Info], Schemas); 9] = [
    (tokens::OPERATIONS, tokens::schemas),
    (introspection::OPERATIONS, introspection::schemas),
    (sessions::OPERATIONS, sessions::schemas),
    (checks::OPERATIONS, checks::schemas),
    (users::OPERATIONS, users::schemas),
    (rbac::OPERATIONS, rbac::schemas),
    (cli_login::OPERATIONS, cli_login::schemas),
    (audit::OPERATIONS, audit::schemas),
    (system::OPERATIONS, system::schemas),
];

/// Every operation of the API.
pub fn operations() -> impl Iterator<Item = &'static Info> {
    MODULES.iter().flat_map(|(operations, _)| operations.iter().copied())
}

/// Every operation with its schemas.
pub fn schemas(generator: &mut SchemaGenerator) -> Vec<Described> {
    MODULES.iter().flat_map(|(_, schemas)| schemas(generator)).collect()
}
