//! Why a person has a permission in a service, or why not.

use shared::api::checks::{ExplainPermission, ExplainedPermission, Reason};
use shared::api::users::Status;
use shared::id::{PermissionId, UserId};
use shared::op::Permission as Authd;
use shared::time::Time;
use uuid::Uuid;

use super::store::grants::{self, GivenRole};
use super::store::{permissions, services};
use super::{AUTHD, Rbac};
use crate::call::Call;
use crate::error::Result;
use crate::users::store as users;

impl Rbac {
    /// The answer itself is the one that every check gives; ways and obstacles are looked up beside it.
    pub(super) async fn explain_permission(&self, _: Call, op: ExplainPermission) -> Result<ExplainedPermission> {
        let db = self.base.db.as_ref();
        let mut obstacles = Vec::new();
        let person = users::find(db, &op.person_id).await?;
        if person.is_none() {
            obstacles.push(format!("there is no user {:?}", op.person_id));
        }
        let service = services::find(db, &op.service_id).await?;
        if service.is_none() {
            obstacles.push(format!("there is no service {:?}", op.service_id));
        }
        // Checks know permissions by name alone, so an id is none.
        let permission = match Uuid::try_parse(&op.permission_name) {
            Ok(_) => None,
            Err(_) => permissions::find(db, &op.permission_name).await?,
        };
        if permission.is_none() {
            obstacles.push(format!("there is no permission {:?}", op.permission_name));
        }
        let (Some(person), Some(service)) = (person, service) else {
            return Ok(ExplainedPermission { has_permission: false, because: Vec::new(), obstacles });
        };
        let access = self.access(person.id, service.id).await?;
        let has_permission = access.contains(&op.permission_name);
        if person.status != Status::Active {
            obstacles.push(format!("the user {:?} is not active", person.username));
        }
        if service.status != Status::Active {
            obstacles.push(format!("the service {:?} is not active", service.name));
        }
        let both_active = person.status == Status::Active && service.status == Status::Active;
        let mut because = Vec::new();
        let permission_id = permission.as_ref().map_or(PermissionId(Uuid::nil()), |permission| permission.id);
        let permission_name = permission.map_or(op.permission_name, |permission| permission.name);
        let direct = grants::find_direct(db, person.id, service.id, permission_id).await?;
        if let Some(at) = direct {
            because.push(Reason { role: None, granted_at: Time::from_millis(at) });
        }
        let given = grants::list_given_roles(db, person.id, service.id, permission_id).await?;
        for role in &given {
            let faults = faults(role, &service.name, &permission_name);
            if faults.is_empty() {
                because.push(Reason { role: Some(role.name.clone()), granted_at: Time::from_millis(role.granted_at) });
            }
            obstacles.extend(faults);
        }
        if direct.is_none() && given.is_empty() {
            obstacles.push(format!(
                "{:?} was given nothing that gives it in the service {:?}",
                person.username, service.name
            ));
        }
        if because.is_empty() {
            for (role, is_active) in grants::list_other_roles(db, person.id, service.id, permission_id).await? {
                let inactive = if is_active { "" } else { " (which is not active)" };
                let username = &person.username;
                obstacles
                    .push(format!("the role {role:?}{inactive} would give it, but {username:?} does not have it here"));
            }
        }
        let asked = Authd::parse(&permission_name).filter(|asked| *asked != Authd::Admin);
        if asked.is_some() && access.authd.contain(Authd::Admin) {
            because.extend(self.ways_of_admin(person.id).await?);
            // What a role lacks is no obstacle to somebody who may do everything.
            obstacles.clear();
        }
        if !both_active {
            because.clear();
        }
        Ok(ExplainedPermission { has_permission, because, obstacles })
    }

    /// On authd, `admin` is every permission: the ways by which a person has it.
    async fn ways_of_admin(&self, person: UserId) -> Result<Vec<Reason>> {
        let db = self.base.db.as_ref();
        let Some(admin) = permissions::find(db, Authd::Admin.as_str()).await? else { return Ok(Vec::new()) };
        let direct = grants::find_direct(db, person, AUTHD, admin.id).await?;
        let given = grants::list_given_roles(db, person, AUTHD, admin.id).await?;
        let working = given.iter().filter(|role| role.has_permission && role.is_active && role.counts);
        let by_role = working
            .map(|role| Reason { role: Some(role.name.clone()), granted_at: Time::from_millis(role.granted_at) });
        Ok(direct
            .map(|at| Reason { role: None, granted_at: Time::from_millis(at) })
            .into_iter()
            .chain(by_role)
            .collect())
    }
}

/// Why a role that was given does not give the permission.
fn faults(role: &GivenRole, service: &str, permission: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let name = &role.name;
    if !role.has_permission {
        return vec![format!("the role {name:?} was given, but does not have the permission {permission:?}")];
    }
    if !role.is_active {
        faults.push(format!("the role {name:?} was given and has the permission, but is not active"));
    }
    if !role.counts {
        faults.push(format!(
            "the role {name:?} was given and has the permission, but is none of the service {service:?}"
        ));
    }
    faults
}
