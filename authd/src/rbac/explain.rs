//! Why a person has a permission in a service, or why not.

use shared::api::checks::{ExplainPermission, ExplainedPermission, Reason};
use shared::api::rbac::{Permission, Service};
use shared::api::users::{Status, User};
use shared::id::{PermissionId, UserId};
use shared::op::Permission as Authd;
use shared::time::Time;
use uuid::Uuid;

use super::store::grants::{self, GivenRole};
use super::{AUTHD, Rbac};
use crate::call::Call;
use crate::entities::{self, Entity};
use crate::env::Millis;
use crate::error::Result;

impl Rbac {
    /// The answer is the same as that of every check; grants and obstacles are looked up in addition.
    pub(super) async fn explain_permission(&self, _: Call, op: ExplainPermission) -> Result<ExplainedPermission> {
        let db = self.base.db.as_ref();
        let person: Option<User> = match self.users.find_id(&op.person_id).await? {
            Some(id) => entities::find(db, &id.to_string()).await?,
            None => None,
        };
        let service: Option<Service> = entities::find(db, &op.service_id).await?;
        // Checks find permissions only by name, so an id is not accepted.
        let permission: Option<Permission> = match Uuid::try_parse(&op.permission_name) {
            Ok(_) => None,
            Err(_) => entities::find(db, &op.permission_name).await?,
        };
        let mut obstacles = Vec::new();
        obstacles.extend(missing(person.as_ref(), &op.person_id));
        obstacles.extend(missing(service.as_ref(), &op.service_id));
        obstacles.extend(missing(permission.as_ref(), &op.permission_name));
        let (Some(person), Some(service)) = (person, service) else {
            return Ok(ExplainedPermission { has_permission: false, because: Vec::new(), obstacles });
        };
        let access = self.access(person.id, service.id).await?;
        let has_permission = access.contains(&op.permission_name);
        if person.status != Status::Active {
            obstacles.push(format!("the user {:?} is not active", person.username));
        }
        obstacles.extend(no_sign_in(&person));
        if service.status != Status::Active {
            obstacles.push(format!("the service {:?} is not active", service.name));
        }
        let both_active = person.status == Status::Active && service.status == Status::Active;
        let permission_id = permission.as_ref().map_or(PermissionId(Uuid::nil()), |permission| permission.id);
        let permission_name = permission.map_or(op.permission_name, |permission| permission.name);
        let direct = grants::find_direct(db, person.id, service.id, permission_id).await?;
        let given = grants::list_given_roles(db, person.id, service.id, permission_id).await?;
        let mut because = reasons(direct, &given);
        obstacles.extend(given.iter().flat_map(|role| faults(role, &service.name, &permission_name)));
        if direct.is_none() && given.is_empty() {
            obstacles.push(format!(
                "{:?} was granted nothing that includes it in the service {:?}",
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
            // A missing permission of a role is no obstacle for a person with `admin`.
            obstacles = no_sign_in(&person).into_iter().collect();
        }
        if !both_active {
            because.clear();
        }
        Ok(ExplainedPermission { has_permission, because, obstacles })
    }

    /// The grants of `admin`, which includes every permission on authd.
    async fn ways_of_admin(&self, person: UserId) -> Result<Vec<Reason>> {
        let db = self.base.db.as_ref();
        let Some(admin) = entities::find::<Permission>(db, Authd::Admin.as_str()).await? else { return Ok(Vec::new()) };
        let direct = grants::find_direct(db, person, AUTHD, admin.id).await?;
        let given = grants::list_given_roles(db, person, AUTHD, admin.id).await?;
        Ok(reasons(direct, &given))
    }
}

/// Why the person cannot use what they have yet: whoever is invited has no password until they accept. People without an
/// address to prove may have another way to sign in.
fn no_sign_in(person: &User) -> Option<String> {
    let email = person.email.as_deref().filter(|_| !person.has_password && !person.email_verified)?;
    let username = &person.username;
    Some(format!("{username:?} has set no password yet to sign in by: authctl user invite {email} mails a link for it"))
}

/// The obstacle for an unknown name.
fn missing<T: Entity>(found: Option<&T>, name: &str) -> Option<String> {
    found.is_none().then(|| format!("there is no {} {name:?}", T::KIND))
}

/// The effective grants: the permission itself, granted at this time, and the roles without [`faults`].
fn reasons(direct: Option<Millis>, given: &[GivenRole]) -> Vec<Reason> {
    let working = given.iter().filter(|role| role.has_permission && role.is_active && role.counts);
    let by_role = working.map(|role| (Some(role.name.clone()), role.granted_at));
    let ways = direct.map(|at| (None, at)).into_iter().chain(by_role);
    ways.map(|(role, at)| Reason { role, granted_at: Time::from_millis(at) }).collect()
}

/// Why a granted role does not give the permission.
fn faults(role: &GivenRole, service: &str, permission: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let name = &role.name;
    if !role.has_permission {
        return vec![format!("the role {name:?} was granted, but does not have the permission {permission:?}")];
    }
    if !role.is_active {
        faults.push(format!("the role {name:?} was granted and has the permission, but is not active"));
    }
    if !role.counts {
        faults.push(format!(
            "the role {name:?} was granted and has the permission, but is not in the service {service:?}"
        ));
    }
    faults
}
