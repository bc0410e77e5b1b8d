//! One change as a call of the daemon, its place in the order, and its text for people.

use serde::Serialize;
use shared::api::users::Status;
use shared::api::{accounts, rbac};

use super::Kind;

/// The part of an object that changes.
#[derive(Debug, Serialize)]
#[serde(tag = "action", rename_all = "lowercase")]
pub(crate) enum Detail {
    Add {
        kind: Kind,
        name: String,
    },
    Remove {
        kind: Kind,
        name: String,
    },
    Set {
        field: &'static str,
        from: String,
        to: String,
    },
    /// A mail to this address.
    Invite {
        email: String,
    },
}

/// One call of the daemon.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    CreatePermission(rbac::CreatePermission),
    CreateRole(rbac::CreateRole),
    CreateService(rbac::CreateService),
    UpdateRole(rbac::UpdateRole),
    UpdateService(rbac::UpdateService),
    AddRolePermission(rbac::AddRolePermission),
    AddServiceRole(rbac::AddServiceRole),
    InviteUser(accounts::InviteUser),
    GrantRole(rbac::GrantRole),
    GrantPermission(rbac::GrantPermission),
    UngrantRole(rbac::UngrantRole),
    UngrantPermission(rbac::UngrantPermission),
    RemoveServiceRole(rbac::RemoveServiceRole),
    RemoveRolePermission(rbac::RemoveRolePermission),
    DeleteService(rbac::DeleteService),
    DeleteRole(rbac::DeleteRole),
    DeletePermission(rbac::DeletePermission),
}

impl Step {
    /// Its place in the order of all steps. Deactivations come before all grants, activations after
    /// all removals. A mail cannot be taken back, so it is sent when what can be made before is made.
    pub(super) fn phase(&self) -> u8 {
        let is_on = |status: &Option<Status>| *status == Some(Status::Active);
        match self {
            Self::UpdateRole(op) if !is_on(&op.status) => 0,
            Self::UpdateService(op) if !is_on(&op.status) => 0,
            Self::CreatePermission(_) => 1,
            Self::CreateRole(_) => 2,
            Self::CreateService(_) => 3,
            Self::AddRolePermission(_) => 4,
            Self::AddServiceRole(_) => 5,
            Self::InviteUser(_) => 6,
            Self::GrantRole(_) | Self::GrantPermission(_) => 7,
            Self::UngrantRole(_) | Self::UngrantPermission(_) => 8,
            Self::RemoveServiceRole(_) => 9,
            Self::RemoveRolePermission(_) => 10,
            Self::UpdateRole(_) | Self::UpdateService(_) => 11,
            Self::DeleteService(_) => 12,
            Self::DeleteRole(_) => 13,
            Self::DeletePermission(_) => 14,
        }
    }

    /// What the object gains or loses.
    pub(super) fn detail(&self) -> Option<Detail> {
        let add = |kind, name: &String| Some(Detail::Add { kind, name: name.clone() });
        let remove = |kind, name: &String| Some(Detail::Remove { kind, name: name.clone() });
        match self {
            Self::AddRolePermission(op) => add(Kind::Permission, &op.permission_id),
            Self::RemoveRolePermission(op) => remove(Kind::Permission, &op.permission_id),
            Self::AddServiceRole(op) => add(Kind::Role, &op.role_id),
            Self::RemoveServiceRole(op) => remove(Kind::Role, &op.role_id),
            Self::InviteUser(op) => Some(Detail::Invite { email: op.email.clone() }),
            Self::GrantRole(op) => add(Kind::Role, &op.role_id),
            Self::UngrantRole(op) => remove(Kind::Role, &op.role_id),
            Self::GrantPermission(op) => add(Kind::Permission, &op.permission_id),
            Self::UngrantPermission(op) => remove(Kind::Permission, &op.permission_id),
            _ => None,
        }
    }

    /// What the step does, for the error that says where the plan stopped.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::CreatePermission(_) | Self::CreateRole(_) | Self::CreateService(_) => "create".to_owned(),
            Self::DeletePermission(_) | Self::DeleteRole(_) | Self::DeleteService(_) => "remove".to_owned(),
            _ => self.detail().map_or_else(|| "change".to_owned(), |detail| detail.render(false)),
        }
    }
}
