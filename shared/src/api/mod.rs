//! Requests and responses, module by module, each with its table of operations.

pub mod accounts;
pub mod audit;
pub mod backups;
pub mod checks;
pub mod cli_login;
pub mod factors;
pub mod files;
pub mod identities;
pub mod introspection;
pub mod mail;
pub mod passkeys;
pub mod rbac;
pub mod sessions;
pub mod system;
pub mod tokens;
pub mod users;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::op::{Info, Visitor};

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

/// The operations of each module.
static MODULES: [&[&Info]; 16] = [
    tokens::OPERATIONS,
    introspection::OPERATIONS,
    sessions::OPERATIONS,
    checks::OPERATIONS,
    users::OPERATIONS,
    accounts::OPERATIONS,
    factors::OPERATIONS,
    passkeys::OPERATIONS,
    identities::OPERATIONS,
    files::OPERATIONS,
    rbac::OPERATIONS,
    cli_login::OPERATIONS,
    mail::OPERATIONS,
    audit::OPERATIONS,
    backups::OPERATIONS,
    system::OPERATIONS,
];

/// Every operation of the API.
pub fn operations() -> impl Iterator<Item = &'static Info> {
    MODULES.iter().flat_map(|operations| operations.iter().copied())
}

/// Visits every operation of the API, in the same order.
pub fn visit(visitor: &mut impl Visitor) {
    tokens::visit(visitor);
    introspection::visit(visitor);
    sessions::visit(visitor);
    checks::visit(visitor);
    users::visit(visitor);
    accounts::visit(visitor);
    factors::visit(visitor);
    passkeys::visit(visitor);
    identities::visit(visitor);
    files::visit(visitor);
    rbac::visit(visitor);
    cli_login::visit(visitor);
    mail::visit(visitor);
    audit::visit(visitor);
    backups::visit(visitor);
    system::visit(visitor);
}
