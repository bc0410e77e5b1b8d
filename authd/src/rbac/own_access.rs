//! What the caller may do where, and why: their grants, each with what it gives.

use std::collections::HashMap;

use shared::api::rbac::{Grant, ListGrants, ListRolePermissions};
use shared::page::Limit;
use shared::time::Time;

use super::{Access, Rbac};
use crate::call::Call;
use crate::error::Result;
use crate::sessions;

/// How many grants, and permissions of a role, are read.
const MOST: u32 = 100;

/// The access of a person, by service.
#[derive(Debug, Default)]
pub struct OwnAccess {
    pub services: Vec<OwnService>,
    /// Whether there are more grants than these.
    pub has_more: bool,
}

/// A service in which a person was granted something.
#[derive(Debug)]
pub struct OwnService {
    pub name: String,
    pub reasons: Vec<Reason>,
    /// The roles and permissions that were granted and do not count: the role or the service is not active, or the service
    /// does not have the role.
    pub without_effect: Vec<String>,
}

/// A grant that counts.
#[derive(Debug)]
pub struct Reason {
    /// `None` for a permission that was granted by itself.
    pub role: Option<String>,
    pub granted_at: Time,
    pub permissions: Vec<String>,
    /// Whether the role has more permissions than these.
    pub has_more: bool,
}

impl Rbac {
    /// The access of the caller, who is a person. Whether a grant counts is judged as for every check.
    pub async fn list_own_access(&self, call: Call) -> Result<OwnAccess> {
        let (user, _) = sessions::person(&call)?;
        let op = ListGrants { person_id: Some(user.to_string()), limit: Limit::new(MOST), ..ListGrants::default() };
        let list = self.list_grants(call.clone(), op).await?;
        let mut own = OwnAccess { services: Vec::new(), has_more: list.next_cursor.is_some() };
        let mut roles = HashMap::new();
        // Grants are sorted by service.
        for grants in list.grants.chunk_by(|one, other| one.service_id == other.service_id) {
            let [Grant { service_id, service, .. }, ..] = grants else { continue };
            let access = self.access(user, *service_id).await?;
            let mut found = OwnService { name: service.clone(), reasons: Vec::new(), without_effect: Vec::new() };
            for grant in grants {
                self.add_reason(&call, &mut found, grant, &access, &mut roles).await?;
            }
            own.services.push(found);
        }
        own.services.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(own)
    }

    /// `roles` has the permissions of the roles that were read before.
    async fn add_reason(
        &self,
        call: &Call,
        service: &mut OwnService,
        grant: &Grant,
        access: &Access,
        roles: &mut HashMap<String, (Vec<String>, bool)>,
    ) -> Result<()> {
        let granted_at = grant.created_at;
        let (role, permissions, has_more) = match (&grant.role, &grant.permission) {
            (Some(role), _) if access.roles.contains(role) => {
                let (permissions, has_more) = self.permissions_of(call, role, roles).await?;
                (Some(role.clone()), permissions, has_more)
            }
            (None, Some(permission)) if access.permissions.contains(permission) => {
                (None, vec![permission.clone()], false)
            }
            (role, permission) => {
                service.without_effect.extend(role.clone().or_else(|| permission.clone()));
                return Ok(());
            }
        };
        service.reasons.push(Reason { role, granted_at, permissions, has_more });
        Ok(())
    }

    async fn permissions_of(
        &self,
        call: &Call,
        role: &str,
        roles: &mut HashMap<String, (Vec<String>, bool)>,
    ) -> Result<(Vec<String>, bool)> {
        if let Some(known) = roles.get(role) {
            return Ok(known.clone());
        }
        let op = ListRolePermissions { id: role.to_owned(), limit: Limit::new(MOST), cursor: None };
        let list = self.list_role_permissions(call.clone(), op).await?;
        let mut names: Vec<String> = list.permissions.into_iter().map(|permission| permission.name).collect();
        names.sort_unstable();
        let read = (names, list.next_cursor.is_some());
        roles.insert(role.to_owned(), read.clone());
        Ok(read)
    }
}
