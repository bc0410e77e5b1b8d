//! The current state of the daemon that is relevant to a file.

use std::collections::{BTreeMap, BTreeSet};

use shared::api::rbac::Grant;
use shared::api::users::Status;
use shared::names::fold;

/// The current state, by folded names. For roles and services that the file does not name, only their names.
#[derive(Debug, Default)]
pub(crate) struct Current {
    /// Names by folded name.
    pub permissions: BTreeMap<String, String>,
    pub roles: BTreeMap<String, Held>,
    pub services: BTreeMap<String, Held>,
    /// Those of the file who are there.
    pub users: BTreeSet<String>,
    /// (user, service) -> roles and permissions. Includes people whom the file does not name only when pruning.
    pub grants: BTreeMap<(String, String), Granted>,
}

/// A role with its permissions, or a service with its roles.
#[derive(Clone, Debug, Default)]
pub(crate) struct Held {
    pub name: String,
    pub description: String,
    pub status: Status,
    /// Folded name -> original spelling.
    pub holds: BTreeMap<String, String>,
}

/// What a person was granted in a service, by folded names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Granted {
    pub user: String,
    pub service: String,
    pub roles: BTreeMap<String, String>,
    pub permissions: BTreeMap<String, String>,
}

impl Current {
    /// Adds grants; duplicates are merged.
    pub(crate) fn add_grants(&mut self, grants: Vec<Grant>) {
        for grant in grants {
            let pair = (fold(&grant.username), fold(&grant.service));
            let granted = self.grants.entry(pair).or_default();
            granted.user = grant.username;
            granted.service = grant.service;
            granted.roles.extend(grant.role.map(|role| (fold(&role), role)));
            granted.permissions.extend(grant.permission.map(|permission| (fold(&permission), permission)));
        }
    }
}
