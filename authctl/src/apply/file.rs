//! The file: services, roles, permissions and grants as somebody wants them, and what is wrong with it, line by line.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde::de::DeserializeSeed;
use shared::api::users::Status;
use shared::names;

use super::locate::{FailAt, Way};
use super::{AUTHD, AUTHD_ADMIN, Kind};
use crate::commands::apply::FileFormat;

/// The largest file that is read: some ten thousand grants.
pub(crate) const MAX_BYTES: u64 = 1 << 20;
/// Characters of a description, at most, as the daemon takes them.
const MAX_DESCRIPTION: usize = 1_000;
/// At most this many faults are told.
const MAX_FAULTS: usize = 20;

const PERMISSIONS: Way = Way::Key(&["permissions"]);
const ROLES: Way = Way::Key(&["role", "roles"]);
const SERVICES: Way = Way::Key(&["service", "services"]);
const GRANTS: Way = Way::Key(&["grant", "grants"]);
const NAME: Way = Way::Key(&["name"]);
const USER: Way = Way::Key(&["user"]);
const SERVICE: Way = Way::Key(&["service"]);
const HELD: Way = Way::Key(&["roles"]);

/// What is wanted. What a table does not say is what a new one has: active, without a description, with nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    #[serde(default)]
    pub permissions: Vec<String>,
    #[serde(default, rename = "role", alias = "roles")]
    pub roles: Vec<Role>,
    #[serde(default, rename = "service", alias = "services")]
    pub services: Vec<Service>,
    #[serde(default, rename = "grant", alias = "grants")]
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
    /// Of the built-in service only the roles are the file's business.
    pub description: Option<String>,
    pub status: Option<Status>,
    #[serde(default)]
    pub roles: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Grant {
    pub user: String,
    pub service: String,
    #[serde(default)]
    pub roles: Vec<String>,
    #[serde(default)]
    pub permissions: Vec<String>,
}

/// A reference from one part of the file to something by name.
#[derive(Debug)]
pub(crate) struct Reference<'f> {
    pub kind: Kind,
    pub name: &'f str,
    /// Of what a person is given: where.
    pub of_service: Option<&'f str>,
    pub way: Vec<Way>,
}

/// A file that has been read.
#[derive(Debug)]
pub(crate) struct File {
    /// As the person knows it.
    shown: String,
    format: FileFormat,
    text: String,
    pub wanted: Wanted,
}

impl File {
    /// Reads it; the error tells every fault with its line.
    pub(crate) fn parse(shown: String, format: FileFormat, text: String) -> Result<Self, String> {
        let read = match format {
            FileFormat::Toml => toml::from_str(&text).map_err(|error| {
                let line = error.span().map_or(1, |span| line_of(&text, span.start));
                format!("{shown}:{line}: {}", error.message())
            }),
            FileFormat::Yaml if text.trim().is_empty() => Ok(Wanted::default()),
            FileFormat::Yaml => serde_norway::from_str(&text).map_err(|error| {
                let line = error.location().map_or(1, |location| location.line());
                let told = error.to_string();
                // The place is told once, before.
                let told = told.rsplit_once(" at line ").map_or(told.as_str(), |(told, _)| told);
                format!("{shown}:{line}: {told}")
            }),
        };
        let wanted: Wanted = read?;
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
        match self.format {
            FileFormat::Toml => {
                let failed = toml::Deserializer::parse(&self.text).and_then(|top| FailAt(way).deserialize(top));
                failed.err().and_then(|error| error.span()).map_or(1, |span| line_of(&self.text, span.start))
            }
            FileFormat::Yaml => {
                let failed = FailAt(way).deserialize(serde_norway::Deserializer::from_str(&self.text));
                failed.err().and_then(|error| error.location()).map_or(1, |location| location.line())
            }
        }
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

impl Wanted {
    /// Everything that is wrong with it by itself.
    fn faults(&self) -> Vec<Fault> {
        let mut faults = Faults::default();
        let plain = |index: usize| vec![Way::Item(index)];
        faults.names(&[PERMISSIONS], Kind::Permission, &self.permissions, plain);
        let roles: Vec<&str> = self.roles.iter().map(|role| role.name.as_str()).collect();
        faults.names(&[ROLES], Kind::Role, &roles, |index| vec![Way::Item(index), NAME]);
        let services: Vec<&str> = self.services.iter().map(|service| service.name.as_str()).collect();
        faults.names(&[SERVICES], Kind::Service, &services, |index| vec![Way::Item(index), NAME]);
        for (index, role) in self.roles.iter().enumerate() {
            let at = [ROLES, Way::Item(index)];
            if names::fold(&role.name) == AUTHD_ADMIN {
                faults.push(&at, &[NAME], format!("the role {AUTHD_ADMIN} is authd's own and cannot be changed"));
            }
            faults.names(&[&at[..], &[PERMISSIONS]].concat(), Kind::Permission, &role.permissions, plain);
        }
        for (index, service) in self.services.iter().enumerate() {
            let at = [SERVICES, Way::Item(index)];
            if service.is_builtin() && (service.description.is_some() || service.status.is_some()) {
                let detail = format!("of authd's own service {AUTHD} only the roles can be changed");
                faults.push(&at, &[NAME], detail);
            }
            let is_bad = |c: char| c.is_control() && c != '\n' && c != '\t';
            let is_text = |text: &String| text.chars().count() <= MAX_DESCRIPTION && !text.chars().any(is_bad);
            if !service.description.as_ref().is_none_or(is_text) {
                let detail = format!("a description has at most {MAX_DESCRIPTION} characters, no control characters");
                faults.push(&at, &[Way::Key(&["description"])], detail);
            }
            faults.names(&[&at[..], &[HELD]].concat(), Kind::Role, &service.roles, plain);
        }
        let mut pairs = BTreeSet::new();
        for (index, grant) in self.grants.iter().enumerate() {
            let at = [GRANTS, Way::Item(index)];
            for (way, name) in [(USER, &grant.user), (SERVICE, &grant.service)] {
                if let Err(detail) = names::check(name) {
                    faults.push(&at, &[way], format!("{name:?}: {detail}"));
                }
            }
            let pair = (names::fold(&grant.user), names::fold(&grant.service));
            if !pairs.insert(pair) {
                let (user, service) = (&grant.user, &grant.service);
                faults.push(&at, &[USER], format!("{user} in {service} has been named before; put both into one"));
            }
            faults.names(&[&at[..], &[HELD]].concat(), Kind::Role, &grant.roles, plain);
            faults.names(&[&at[..], &[PERMISSIONS]].concat(), Kind::Permission, &grant.permissions, plain);
        }
        faults.0
    }

    /// Every name that must be in the file or at the daemon.
    pub(crate) fn references(&self) -> Vec<Reference<'_>> {
        let mut all = References(Vec::new());
        for (index, role) in self.roles.iter().enumerate() {
            all.list(Kind::Permission, &role.permissions, None, &[ROLES, Way::Item(index), PERMISSIONS]);
        }
        for (index, service) in self.services.iter().enumerate() {
            all.list(Kind::Role, &service.roles, None, &[SERVICES, Way::Item(index), HELD]);
        }
        for (index, grant) in self.grants.iter().enumerate() {
            let at = [GRANTS, Way::Item(index)];
            let service = grant.service.as_str();
            let way = [&at[..], &[SERVICE]].concat();
            all.0.push(Reference { kind: Kind::Service, name: service, of_service: None, way });
            all.list(Kind::Role, &grant.roles, Some(service), &[&at[..], &[HELD]].concat());
            all.list(Kind::Permission, &grant.permissions, Some(service), &[&at[..], &[PERMISSIONS]].concat());
        }
        all.0
    }

    /// Every person with grants, by the folded name: as the file spells it, and where first.
    pub(crate) fn users(&self) -> BTreeMap<String, (&str, Vec<Way>)> {
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

struct References<'f>(Vec<Reference<'f>>);

impl<'f> References<'f> {
    fn list(&mut self, kind: Kind, names: &'f [String], of_service: Option<&'f str>, list: &[Way]) {
        self.0.extend(names.iter().enumerate().map(|(index, name)| {
            let way = [list, &[Way::Item(index)]].concat();
            Reference { kind, name, of_service, way }
        }));
    }
}

/// What is wrong, and where.
pub(crate) type Fault = (Vec<Way>, String);

#[derive(Default)]
struct Faults(Vec<Fault>);

impl Faults {
    fn push(&mut self, at: &[Way], way: &[Way], detail: String) {
        self.0.push(([at, way].concat(), detail));
    }

    /// Names of one list: each as a name must be, and none twice, however it is written.
    fn names(&mut self, at: &[Way], kind: Kind, names: &[impl AsRef<str>], way: impl Fn(usize) -> Vec<Way>) {
        let mut seen: BTreeMap<String, &str> = BTreeMap::new();
        for (index, name) in names.iter().enumerate() {
            let name = name.as_ref();
            match names::check(name) {
                Err(detail) => self.push(at, &way(index), format!("the {kind} {name:?}: {detail}")),
                Ok(folded) => {
                    if let Some(first) = seen.insert(folded, name) {
                        let told = if first == name { String::new() } else { format!(" as {first:?}") };
                        self.push(at, &way(index), format!("the {kind} {name:?} has been named before{told}"));
                    }
                }
            }
        }
    }
}
