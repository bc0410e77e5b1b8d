//! The file: the wanted services, roles, permissions, users and grants, and its faults, line by line.

use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::DeserializeSeed;
use shared::api::rbac::{MAX_DESCRIPTION, NOT_IN_DESCRIPTION};
use shared::api::users::Status;
use shared::email::Email;
use shared::{names, patterns};

use super::locate::{FailAt, Way};
use super::{AUTHD, AUTHD_ADMIN, Kind};
use crate::commands::apply::FileFormat;

/// The largest file that is read, in bytes: about ten thousand grants.
pub(crate) const MAX_BYTES: u64 = 1 << 20;
/// Maximum number of faults that are reported.
const MAX_FAULTS: usize = 20;

const PERMISSIONS: Way = Way::Key(&["permissions"]);
const ROLES: Way = Way::Key(&["role", "roles"]);
const SERVICES: Way = Way::Key(&["service", "services"]);
const USERS: Way = Way::Key(&["user", "users"]);
const GRANTS: Way = Way::Key(&["grant", "grants"]);
const NAME: Way = Way::Key(&["name"]);
const EMAIL: Way = Way::Key(&["email"]);
const USER: Way = Way::Key(&["user"]);
const SERVICE: Way = Way::Key(&["service"]);
const HELD: Way = Way::Key(&["roles"]);

/// The wanted state. Absent keys have the values of a new object: active, no description, empty lists.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Wanted {
    pub permissions: Vec<String>,
    #[serde(rename = "role", alias = "roles")]
    pub roles: Vec<Role>,
    #[serde(rename = "service", alias = "services")]
    pub services: Vec<Service>,
    #[serde(rename = "user", alias = "users")]
    pub users: Vec<User>,
    #[serde(rename = "grant", alias = "grants")]
    pub grants: Vec<Grant>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Role {
    pub name: String,
    #[serde(default)]
    pub status: Status,
    #[serde(default)]
    pub permissions: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Service {
    pub name: String,
    /// For the built-in service, the file can set only the roles.
    pub description: Option<String>,
    pub status: Option<Status>,
    #[serde(default)]
    pub roles: Vec<String>,
}

/// A user who is there, or is to be invited.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct User {
    /// The user name.
    pub name: String,
    pub email: String,
    #[serde(default)]
    pub invite: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Grant {
    pub user: String,
    pub service: String,
    #[serde(default)]
    pub roles: Vec<String>,
    #[serde(default)]
    pub permissions: Vec<String>,
}

/// A name in the file, of an object that it declares or refers to.
#[derive(Debug)]
pub(crate) struct Named<'f> {
    pub kind: Kind,
    pub name: &'f str,
    /// The service of a grant.
    pub of_service: Option<&'f str>,
    pub way: Vec<Way>,
}

/// A parsed file.
#[derive(Debug)]
pub(crate) struct File {
    /// The file's name in messages.
    shown: String,
    format: FileFormat,
    text: String,
    pub wanted: Wanted,
}

impl File {
    /// Parses the file; the error lists every fault with its line.
    pub(crate) fn parse(shown: String, format: FileFormat, text: String) -> Result<Self, String> {
        let read = match format {
            FileFormat::Yaml if text.trim().is_empty() => Ok(Wanted::default()),
            _ => read(format, &text, PhantomData),
        };
        let wanted = read.map_err(|(line, fault)| format!("{shown}:{line}: {fault}"))?;
        let file = Self { shown, format, text, wanted };
        let faults = file.wanted.faults();
        if faults.is_empty() { Ok(file) } else { Err(file.tell(&faults)) }
    }

    /// Faults as a text: `FILE:LINE: what`, in the file's order.
    pub(crate) fn tell(&self, faults: &[Fault]) -> String {
        let told = faults.iter().take(MAX_FAULTS).map(|(way, fault)| (self.line(way), fault));
        let mut told: Vec<(usize, &String)> = told.collect();
        told.sort();
        let mut lines: Vec<String> =
            told.iter().map(|(line, fault)| format!("{}:{line}: {fault}", self.shown)).collect();
        if faults.len() > MAX_FAULTS {
            lines.push(format!("and {} more", faults.len() - MAX_FAULTS));
        }
        lines.join("\n")
    }

    fn line(&self, way: &[Way]) -> usize {
        read(self.format, &self.text, FailAt(way)).err().map_or(1, |(line, _)| line)
    }
}

/// Parses a text; the error has a line and a detail.
fn read<'t, S: DeserializeSeed<'t>>(format: FileFormat, text: &'t str, seed: S) -> Result<S::Value, (usize, String)> {
    match format {
        FileFormat::Toml => toml::Deserializer::parse(text).and_then(|top| seed.deserialize(top)).map_err(|error| {
            let before = text.bytes().take(error.span().map_or(0, |span| span.start));
            (before.filter(|byte| *byte == b'\n').count() + 1, error.message().to_owned())
        }),
        FileFormat::Yaml => seed.deserialize(serde_norway::Deserializer::from_str(text)).map_err(|error| {
            let told = error.to_string();
            // The line is reported once, in front.
            let told = told.rsplit_once(" at line ").map_or(told.as_str(), |(told, _)| told);
            (error.location().map_or(1, |location| location.line()), told.to_owned())
        }),
    }
}

impl Wanted {
    /// The faults that do not depend on the daemon's state.
    fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        check_names(&mut faults, self.declarations());
        for (index, role) in self.roles.iter().enumerate() {
            let item = Way::Item(index);
            if names::fold(&role.name) == AUTHD_ADMIN {
                let detail = format!("the role {AUTHD_ADMIN} is authd's own and cannot be changed");
                faults.push((vec![ROLES, item, NAME], detail));
            }
            check_names(&mut faults, items(Kind::Permission, [ROLES, item, PERMISSIONS], &role.permissions));
        }
        for (index, service) in self.services.iter().enumerate() {
            let item = Way::Item(index);
            if service.is_builtin() && (service.description.is_some() || service.status.is_some()) {
                let detail = format!("of authd's own service {AUTHD} only the roles can be changed");
                faults.push((vec![SERVICES, item, NAME], detail));
            }
            let is_text =
                |text: &String| text.chars().count() <= MAX_DESCRIPTION && !patterns::any_of(NOT_IN_DESCRIPTION, text);
            if !service.description.as_ref().is_none_or(is_text) {
                let detail = format!("a description has at most {MAX_DESCRIPTION} characters, no control characters");
                faults.push((vec![SERVICES, item, Way::Key(&["description"])], detail));
            }
            check_names(&mut faults, items(Kind::Role, [SERVICES, item, HELD], &service.roles));
        }
        let mut mailboxes = BTreeSet::new();
        for (index, user) in self.users.iter().enumerate() {
            let fault = match Email::parse(&user.email) {
                Ok(email) if mailboxes.insert(email.folded().to_owned()) => continue,
                Ok(_) => format!("the address {:?} has been named before", user.email),
                Err(detail) => format!("{:?}: {detail}", user.email),
            };
            faults.push((email_of_user(index), fault));
        }
        let mut pairs = BTreeSet::new();
        for (index, grant) in self.grants.iter().enumerate() {
            let item = Way::Item(index);
            for (way, name) in [(USER, &grant.user), (SERVICE, &grant.service)] {
                if let Err(detail) = names::check(name) {
                    faults.push((vec![GRANTS, item, way], format!("{name:?}: {detail}")));
                }
            }
            let (user, service) = (&grant.user, &grant.service);
            if !pairs.insert((names::fold(user), names::fold(service))) {
                let detail = format!("{user} in {service} has been named before; put both into one");
                faults.push((vec![GRANTS, item, USER], detail));
            }
            check_names(&mut faults, items(Kind::Role, [GRANTS, item, HELD], &grant.roles));
            check_names(&mut faults, items(Kind::Permission, [GRANTS, item, PERMISSIONS], &grant.permissions));
        }
        faults
    }

    /// Every name that the file declares.
    pub(crate) fn declarations(&self) -> impl Iterator<Item = Named<'_>> {
        let name = |kind, list, index, name| Named::new(kind, name, [list, Way::Item(index), NAME]);
        let roles = self.roles.iter().enumerate();
        let roles = roles.map(move |(index, role)| name(Kind::Role, ROLES, index, &role.name));
        let services = self.services.iter().enumerate();
        let services = services.map(move |(index, service)| name(Kind::Service, SERVICES, index, &service.name));
        let users = self.users.iter().enumerate();
        let users = users.map(move |(index, user)| name(Kind::User, USERS, index, &user.name));
        items(Kind::Permission, [PERMISSIONS], &self.permissions).chain(roles).chain(services).chain(users)
    }

    /// Every name that must exist in the file or at the daemon.
    pub(crate) fn references(&self) -> Vec<Named<'_>> {
        let mut all = Vec::new();
        for (index, role) in self.roles.iter().enumerate() {
            all.extend(items(Kind::Permission, [ROLES, Way::Item(index), PERMISSIONS], &role.permissions));
        }
        for (index, service) in self.services.iter().enumerate() {
            all.extend(items(Kind::Role, [SERVICES, Way::Item(index), HELD], &service.roles));
        }
        for (index, grant) in self.grants.iter().enumerate() {
            let item = Way::Item(index);
            all.push(Named::new(Kind::Service, &grant.service, [GRANTS, item, SERVICE]));
            let roles = items(Kind::Role, [GRANTS, item, HELD], &grant.roles);
            let permissions = items(Kind::Permission, [GRANTS, item, PERMISSIONS], &grant.permissions);
            let given = roles.chain(permissions);
            all.extend(given.map(|named| Named { of_service: Some(&grant.service), ..named }));
        }
        all
    }

    /// Every person with grants, by folded name: the file's spelling and the first position.
    pub(crate) fn granted(&self) -> BTreeMap<String, (&str, Vec<Way>)> {
        let mut users = BTreeMap::new();
        for (index, grant) in self.grants.iter().enumerate() {
            let way = vec![GRANTS, Way::Item(index), USER];
            users.entry(names::fold(&grant.user)).or_insert((grant.user.as_str(), way));
        }
        users
    }
}

impl Service {
    /// The service `authd`.
    pub(crate) fn is_builtin(&self) -> bool {
        names::fold(&self.name) == AUTHD
    }
}

impl<'f> Named<'f> {
    fn new(kind: Kind, name: &'f str, way: impl Into<Vec<Way>>) -> Self {
        Self { kind, name, of_service: None, way: way.into() }
    }

    /// The kind and the folded name.
    pub(crate) fn key(&self) -> (Kind, String) {
        (self.kind, names::fold(self.name))
    }
}

/// The position of the name of a user whom the file declares.
pub(crate) fn name_of_user(index: usize) -> Vec<Way> {
    vec![USERS, Way::Item(index), NAME]
}

/// The position of their address.
pub(crate) fn email_of_user(index: usize) -> Vec<Way> {
    vec![USERS, Way::Item(index), EMAIL]
}

/// The names of a list.
fn items<const N: usize>(kind: Kind, list: [Way; N], names: &[String]) -> impl Iterator<Item = Named<'_>> {
    let way = move |index| [&list[..], &[Way::Item(index)]].concat();
    names.iter().enumerate().map(move |(index, name)| Named::new(kind, name, way(index)))
}

/// A fault: its position and the detail.
pub(crate) type Fault = (Vec<Way>, String);

/// Checks that each name is valid and that none of a kind occurs twice, compared by folded name.
fn check_names<'f>(faults: &mut Vec<Fault>, names: impl Iterator<Item = Named<'f>>) {
    let mut seen: BTreeMap<(Kind, String), &str> = BTreeMap::new();
    for Named { kind, name, way, .. } in names {
        let fault = match names::check(name).map(|folded| seen.insert((kind, folded), name)) {
            Ok(None) => continue,
            Ok(Some(first)) if first == name => format!("the {kind} {name:?} has been named before"),
            Ok(Some(first)) => format!("the {kind} {name:?} has been named before as {first:?}"),
            Err(detail) => format!("the {kind} {name:?}: {detail}"),
        };
        faults.push((way, fault));
    }
}
