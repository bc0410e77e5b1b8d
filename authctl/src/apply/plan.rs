//! The difference between the file and the daemon's current state, as changes for people and as calls of the daemon.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use shared::api::accounts::InviteUser;
use shared::api::rbac::{
    AddRolePermission, AddServiceRole, CreatePermission, CreateRole, CreateService, DeletePermission, DeleteRole,
    DeleteService, GrantPermission, GrantRole, RemoveRolePermission, RemoveServiceRole, UngrantPermission, UngrantRole,
    UpdateRole, UpdateService,
};
use shared::api::users::Status;
use shared::names::fold;
use shared::op::Permission;

use super::current::{Current, Held};
use super::file::{Fault, Grant, Named, Role, Service, User, Wanted};
use super::step::{Detail, Step};
use super::{AUTHD, AUTHD_ADMIN, Kind};

/// The action on one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Action {
    Create,
    Change,
    Remove,
}

/// One object that the plan changes.
#[derive(Debug, Serialize)]
pub(crate) struct Change {
    pub action: Action,
    pub kind: Kind,
    pub name: String,
    pub details: Vec<Detail>,
    #[serde(skip)]
    pub steps: Vec<Step>,
}

/// All changes to make.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Plan {
    pub changes: Vec<Change>,
    /// Whether the plan was applied.
    pub applied: bool,
}

impl Plan {
    /// The difference, or the references of the file to objects that neither it nor the daemon has.
    pub(crate) fn new(wanted: &Wanted, current: &Current, prune: bool) -> Result<Self, Vec<Fault>> {
        let faults = missing(wanted, current);
        if !faults.is_empty() {
            return Err(faults);
        }
        let mut plan = Self::default();
        for name in &wanted.permissions {
            if !current.permissions.contains_key(&fold(name)) {
                let step = Step::CreatePermission(CreatePermission { name: name.clone() });
                plan.push(Action::Create, Kind::Permission, name, None, vec![step]);
            }
        }
        for role in &wanted.roles {
            plan.role(role, current.roles.get(&fold(&role.name)));
        }
        for service in &wanted.services {
            plan.service(service, current.services.get(&fold(&service.name)));
        }
        for user in &wanted.users {
            plan.user(user, current);
        }
        for grant in &wanted.grants {
            plan.grant(grant, current);
        }
        if prune {
            plan.prune(wanted, current);
        }
        Ok(plan)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// All steps, ordered so that none depends on a later one.
    pub(crate) fn steps(&self) -> Vec<(&Change, &Step)> {
        let steps = self.changes.iter().flat_map(|change| change.steps.iter().map(move |step| (change, step)));
        let mut steps: Vec<_> = steps.collect();
        steps.sort_by_key(|(_, step)| step.phase());
        steps
    }

    /// Adds the change of one object, if it needs any step.
    fn push(
        &mut self,
        action: Action,
        kind: Kind,
        name: &str,
        set: impl IntoIterator<Item = Detail>,
        steps: Vec<Step>,
    ) {
        if !steps.is_empty() {
            let details = set.into_iter().chain(steps.iter().filter_map(Step::detail)).collect();
            self.changes.push(Change { action, kind, name: name.to_owned(), details, steps });
        }
    }

    fn role(&mut self, wanted: &Role, current: Option<&Held>) {
        let before = current.cloned().unwrap_or_default();
        let name = current.map_or(&wanted.name, |role| &role.name);
        let status = (before.status != wanted.status).then_some(wanted.status);
        let mut steps = match current {
            None => vec![Step::CreateRole(CreateRole { name: name.clone(), status })],
            Some(_) if status.is_none() => Vec::new(),
            Some(_) => vec![Step::UpdateRole(UpdateRole { id: name.clone(), name: None, status })],
        };
        let (add, remove) = difference(&wanted.permissions, &before.holds);
        let added = |permission_id| AddRolePermission { role_id: name.clone(), permission_id };
        let removed = |permission_id| RemoveRolePermission { role_id: name.clone(), permission_id };
        steps.extend(add.into_iter().map(added).map(Step::AddRolePermission));
        steps.extend(remove.into_iter().map(removed).map(Step::RemoveRolePermission));
        let set = status.map(|to| set_status(before.status, to));
        let action = if current.is_some() { Action::Change } else { Action::Create };
        self.push(action, Kind::Role, name, set, steps);
    }

    fn service(&mut self, wanted: &Service, current: Option<&Held>) {
        let before = current.cloned().unwrap_or_default();
        let name = current.map_or(&wanted.name, |service| &service.name);
        let (mut description, mut status) = (None, None);
        // The other properties of the built-in service cannot be changed.
        if !wanted.is_builtin() {
            description = Some(wanted.description.clone().unwrap_or_default()).filter(|to| *to != before.description);
            status = Some(wanted.status.unwrap_or_default()).filter(|to| *to != before.status);
        }
        let (field, from) = ("description", before.description);
        let set_description = description.clone().map(|to| Detail::Set { field, from, to });
        let set = set_description.into_iter().chain(status.map(|to| set_status(before.status, to)));
        let mut steps = match current {
            None => vec![Step::CreateService(CreateService { name: name.clone(), description, status })],
            Some(_) if description.is_none() && status.is_none() => Vec::new(),
            Some(_) => vec![Step::UpdateService(UpdateService { id: name.clone(), name: None, description, status })],
        };
        let (add, mut remove) = difference(&wanted.roles, &before.holds);
        remove.retain(|role| !(wanted.is_builtin() && fold(role) == AUTHD_ADMIN));
        let added = |role_id| AddServiceRole { service_id: name.clone(), role_id };
        let removed = |role_id| RemoveServiceRole { service_id: name.clone(), role_id };
        steps.extend(add.into_iter().map(added).map(Step::AddServiceRole));
        steps.extend(remove.into_iter().map(removed).map(Step::RemoveServiceRole));
        let action = if current.is_some() { Action::Change } else { Action::Create };
        self.push(action, Kind::Service, name, set, steps);
    }

    /// Who is there stays as they are, invited before or not.
    fn user(&mut self, wanted: &User, current: &Current) {
        let folded = fold(&wanted.name);
        if !current.users.contains(&folded) {
            let username = Some(wanted.name.clone()).filter(|_| folded != fold(&wanted.email));
            let step = Step::InviteUser(InviteUser { email: wanted.email.clone(), username, name: None });
            self.push(Action::Create, Kind::User, &wanted.name, None, vec![step]);
        }
    }

    fn grant(&mut self, wanted: &Grant, current: &Current) {
        let before = current.grants.get(&(fold(&wanted.user), fold(&wanted.service))).cloned().unwrap_or_default();
        let was_there = !before.roles.is_empty() || !before.permissions.is_empty();
        let is_there = !wanted.roles.is_empty() || !wanted.permissions.is_empty();
        let (user, service) = (|| wanted.user.clone(), || wanted.service.clone());
        let (add_roles, remove_roles) = difference(&wanted.roles, &before.roles);
        let (add, remove) = difference(&wanted.permissions, &before.permissions);
        let given_role = |role_id| GrantRole { person_id: user(), service_id: service(), role_id };
        let given = |permission_id| GrantPermission { person_id: user(), service_id: service(), permission_id };
        let taken_role = |role_id| UngrantRole { person_id: user(), service_id: service(), role_id };
        let taken = |permission_id| UngrantPermission { person_id: user(), service_id: service(), permission_id };
        let mut steps: Vec<Step> = add_roles.into_iter().map(given_role).map(Step::GrantRole).collect();
        steps.extend(add.into_iter().map(given).map(Step::GrantPermission));
        steps.extend(remove_roles.into_iter().map(taken_role).map(Step::UngrantRole));
        steps.extend(remove.into_iter().map(taken).map(Step::UngrantPermission));
        let action = match (was_there, is_there) {
            (false, _) => Action::Create,
            (true, true) => Action::Change,
            (true, false) => Action::Remove,
        };
        self.push(action, Kind::Grant, &format!("{} in {}", wanted.user, wanted.service), None, steps);
    }

    /// Removes what the file does not name, except built-in objects, the grants on authd, and the roles that count
    /// there, so that the last administrator is not removed.
    fn prune(&mut self, wanted: &Wanted, current: &Current) {
        let named: BTreeSet<(Kind, String)> =
            wanted.declarations().chain(wanted.references()).map(|named| named.key()).collect();
        let goes = |kind: Kind, folded: &str| !named.contains(&(kind, folded.to_owned())) && !is_builtin(kind, folded);
        let pairs: BTreeSet<(String, String)> =
            wanted.grants.iter().map(|grant| (fold(&grant.user), fold(&grant.service))).collect();
        let is_declared = wanted.services.iter().any(Service::is_builtin);
        let counting = current.services.get(AUTHD).filter(|_| !is_declared).map(|authd| &authd.holds);
        let given = current.grants.iter().filter(|(pair, _)| pair.1 == AUTHD && !pairs.contains(pair));
        let of_authd: BTreeSet<&String> =
            counting.into_iter().chain(given.map(|(_, granted)| &granted.roles)).flat_map(BTreeMap::keys).collect();
        for (pair, granted) in &current.grants {
            // The grants in a removed service are removed with it.
            if pairs.contains(pair) || pair.1 == AUTHD || goes(Kind::Service, &pair.1) {
                continue;
            }
            let (user, service) = (granted.user.clone(), granted.service.clone());
            self.grant(&Grant { user, service, ..Grant::default() }, current);
        }
        for (_, service) in current.services.iter().filter(|(folded, _)| goes(Kind::Service, folded)) {
            let step = Step::DeleteService(DeleteService { id: service.name.clone() });
            self.push(Action::Remove, Kind::Service, &service.name, None, vec![step]);
        }
        let unneeded = |folded: &String| goes(Kind::Role, folded) && !of_authd.contains(folded);
        for (_, role) in current.roles.iter().filter(|(folded, _)| unneeded(folded)) {
            let step = Step::DeleteRole(DeleteRole { id: role.name.clone() });
            self.push(Action::Remove, Kind::Role, &role.name, None, vec![step]);
        }
        for (_, name) in current.permissions.iter().filter(|(folded, _)| goes(Kind::Permission, folded)) {
            let step = Step::DeletePermission(DeletePermission { id: name.clone() });
            self.push(Action::Remove, Kind::Permission, name, None, vec![step]);
        }
    }
}

fn set_status(from: Status, to: Status) -> Detail {
    Detail::Set { field: "status", from: from.as_str().to_owned(), to: to.as_str().to_owned() }
}

/// The names to add, in the file's spelling, and the names to remove, in the daemon's spelling.
fn difference(wanted: &[String], held: &BTreeMap<String, String>) -> (Vec<String>, Vec<String>) {
    let folded: BTreeSet<String> = wanted.iter().map(|name| fold(name)).collect();
    let add = wanted.iter().filter(|name| !held.contains_key(&fold(name))).cloned();
    let remove = held.iter().filter(|(name, _)| !folded.contains(*name)).map(|(_, name)| name.clone());
    (add.collect(), remove.collect())
}

fn is_builtin(kind: Kind, folded: &str) -> bool {
    match kind {
        Kind::Permission => Permission::parse(folded).is_some(),
        Kind::Role => folded == AUTHD_ADMIN,
        Kind::Service => folded == AUTHD,
        Kind::User | Kind::Grant => false,
    }
}

/// Roles that the file grants in a service that does not have them: such a role has no effect. Not a fault, since
/// another file may add it to the service; reported, since it is mostly forgotten.
pub(crate) fn idle(wanted: &Wanted, current: &Current) -> Vec<Fault> {
    let declared: BTreeMap<String, BTreeSet<String>> = wanted
        .services
        .iter()
        .map(|service| (fold(&service.name), service.roles.iter().map(|role| fold(role)).collect()))
        .collect();
    let counts = |service: &str, role: &str| match declared.get(service) {
        Some(roles) => roles.contains(role) || (service == AUTHD && role == AUTHD_ADMIN),
        None => current.services.get(service).is_some_and(|service| service.holds.contains_key(role)),
    };
    let given = wanted.references().into_iter().filter(|reference| reference.kind == Kind::Role);
    let told = given.filter_map(|reference| {
        let (service, role) = (reference.of_service?, reference.name);
        let fault = format!("the role {role:?} does not count in {service:?}, whose roles it is not among");
        (!counts(&fold(service), &fold(role))).then_some((reference.way, fault))
    });
    told.collect()
}

/// References to objects that neither the file nor the daemon has.
fn missing(wanted: &Wanted, current: &Current) -> Vec<Fault> {
    let declared: BTreeSet<(Kind, String)> = wanted.declarations().map(|named| named.key()).collect();
    let is_there = |kind: Kind, folded: &str| match kind {
        Kind::Permission => current.permissions.contains_key(folded),
        Kind::Role => current.roles.contains_key(folded),
        Kind::Service => current.services.contains_key(folded),
        Kind::User | Kind::Grant => true,
    };
    let missing = wanted.references().into_iter().filter(|named| {
        let key = named.key();
        !is_there(key.0, &key.1) && !declared.contains(&key)
    });
    let told = missing.map(|Named { kind, name, way, .. }| {
        (way, format!("there is no {kind} {name:?} in the file or at authd; the file must declare it"))
    });
    told.collect()
}
