//! The content of a profile, and its owner.
//!
//! **The mark.** A profile that this program wrote carries `auth_login_key`, the id of the access key that it wrote,
//! and `auth_login_expires`. AWS tools ignore keys that they do not know. A comment as the mark was rejected: it does
//! not show whether another program has since replaced the keys below it. A profile is ours only while the mark equals
//! its `aws_access_key_id`.

use std::fmt;

use super::edit::{Change, Refused};
use super::readers::{FileKind, Reader, Values};
use super::syntax::{Document, Kind};
use crate::cache::Credentials;

pub const ACCESS_KEY: &str = "aws_access_key_id";
const SECRET_KEY: &str = "aws_secret_access_key";
const SESSION_TOKEN: &str = "aws_session_token";
/// The old name of the session token; if both are set, some tools use this one.
const SECURITY_TOKEN: &str = "aws_security_token";
/// Has the id of the access key that we wrote.
pub const MARK: &str = "auth_login_key";
const EXPIRES: &str = "auth_login_expires";
/// In the config file: the command that returns the profile's keys.
pub const PROCESS: &str = "credential_process";

const KEYS: [&str; 4] = [ACCESS_KEY, SECRET_KEY, SESSION_TOKEN, SECURITY_TOKEN];
const OURS: [&str; 6] = [ACCESS_KEY, SECRET_KEY, SESSION_TOKEN, SECURITY_TOKEN, MARK, EXPIRES];
/// Keys that make the AWS tools look for credentials elsewhere, most of them before static keys.
pub const SOURCES: [&str; 6] =
    [PROCESS, "role_arn", "source_profile", "sso_session", "sso_start_url", "web_identity_token_file"];

/// The name of a profile, as every AWS tool can read it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProfileName(String);

impl ProfileName {
    /// Letters, digits and `_-/.%@:+`, at most 128 of them; `DEFAULT` in capitals has a special meaning in Python.
    pub fn parse(name: &str) -> Result<Self, String> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_-/.%@:+".contains(&b);
        if name.is_empty() || name.len() > 128 || !name.bytes().all(allowed) {
            return Err(format!("{name:?} is not a profile name: letters, digits and _ - / . % @ : + (at most 128)"));
        }
        if name == "DEFAULT" {
            return Err("the profile DEFAULT, in capitals, would apply to every other profile; use default".to_owned());
        }
        Ok(Self(name.to_owned()))
    }

    /// The name, which is also the section in the credentials file.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The section that is written for it if there is none.
    pub fn section(&self, kind: FileKind) -> String {
        match kind {
            FileKind::Config if self.0 != "default" => format!("profile {}", self.0),
            FileKind::Config | FileKind::Credentials => self.0.clone(),
        }
    }
}

impl fmt::Display for ProfileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who wrote the profile in the credentials file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The profile has no credentials.
    Nobody,
    Ours,
    /// Another program; the key that shows it.
    Other(&'static str),
}

/// Finds the owner of the profile in a credentials file: another program if any AWS tool finds its keys there.
pub fn owner(credentials: &Document, profile: &ProfileName) -> Owner {
    let owners: Vec<Owner> =
        readings(credentials, FileKind::Credentials, profile).map(|values| owner_of(&values)).collect();
    let other = owners.iter().find(|owner| matches!(owner, Owner::Other(_)));
    other.or_else(|| owners.iter().find(|owner| **owner == Owner::Ours)).unwrap_or(&Owner::Nobody).clone()
}

fn owner_of(values: &Values) -> Owner {
    let value = |key: &str| values.get(key).filter(|value| !value.is_empty());
    if let Some(source) = SOURCES.into_iter().find(|key| value(key).is_some()) {
        return Owner::Other(source);
    }
    match KEYS.into_iter().find(|key| value(key).is_some()) {
        None => Owner::Nobody,
        Some(_) if value(MARK).is_some() && value(MARK) == value(ACCESS_KEY) => Owner::Ours,
        Some(key) => Owner::Other(key),
    }
}

/// The value of a key of the profile, as the AWS CLI reads it. An empty one is none.
pub fn value(document: &Document, kind: FileKind, profile: &ProfileName, key: &str) -> Option<String> {
    let mut values = Reader::Python.profile(document, kind, profile.as_str())?;
    values.remove(key).filter(|value| !value.is_empty())
}

/// The values of a key of the profile that the tools find: mostly the same one.
pub fn values(document: &Document, kind: FileKind, profile: &ProfileName, key: &str) -> Vec<String> {
    let found = readings(document, kind, profile).filter_map(|mut values| values.remove(key));
    found.filter(|value| !value.is_empty()).collect()
}

/// The region of the profile. The SDKs read it without a comment behind it.
pub fn region(document: &Document, kind: FileKind, profile: &ProfileName) -> Option<String> {
    let shared = Reader::Shared.profile(document, kind, profile.as_str());
    let region = shared.and_then(|mut values| values.remove("region")).filter(|region| !region.is_empty());
    region.or_else(|| value(document, kind, profile, "region"))
}

/// A static key that has a value in the profile, to any AWS tool.
pub fn static_key(document: &Document, kind: FileKind, profile: &ProfileName) -> Option<&'static str> {
    KEYS.into_iter().find(|key| !values(document, kind, profile, key).is_empty())
}

/// Whether the profile has static keys, if only empty ones: they hide a `credential_process` all the same.
pub fn has_keys(document: &Document, kind: FileKind, profile: &ProfileName) -> bool {
    readings(document, kind, profile).any(|values| KEYS.iter().any(|key| values.contains_key(*key)))
}

/// The profile, as each tool finds it.
pub fn readings(document: &Document, kind: FileKind, profile: &ProfileName) -> impl Iterator<Item = Values> {
    Reader::ALL.into_iter().filter_map(move |reader| reader.profile(document, kind, profile.as_str()))
}

/// Writes keys into the profile.
pub fn write(credentials: &Document, profile: &ProfileName, keys: &Credentials) -> Result<Document, Refused> {
    // For people to read.
    let expires = keys.expiration();
    let set = [
        (ACCESS_KEY, keys.access_key_id.as_str()),
        (SECRET_KEY, keys.secret_access_key.expose()),
        (SESSION_TOKEN, keys.session_token.expose()),
        (MARK, keys.access_key_id.as_str()),
        (EXPIRES, expires.as_str()),
    ];
    change(credentials, FileKind::Credentials, profile, &Change { set: &set, remove: &[SECURITY_TOKEN] })
}

/// Sets the command that returns the profile's keys. Empty keys go, because some tools would use them.
pub fn write_process(config: &Document, profile: &ProfileName, command: &str) -> Result<Document, Refused> {
    change(config, FileKind::Config, profile, &Change { set: &[(PROCESS, command)], remove: &KEYS })
}

/// Removes our keys from the profile.
pub fn remove(credentials: &Document, profile: &ProfileName) -> Result<Document, Refused> {
    match section(credentials, FileKind::Credentials, profile) {
        Some(section) => credentials.without(&section, &OURS),
        None => Ok(credentials.clone()),
    }
}

/// The section that is the profile to the AWS CLI. Of several, the last one replaces the others.
fn section(document: &Document, kind: FileKind, profile: &ProfileName) -> Option<String> {
    let mut sections = sections(document, kind, profile);
    let last = sections.iter().rposition(|(.., readers)| readers.contains(&Reader::Python))?;
    Some(sections.swap_remove(last).1)
}

/// The sections that are the profile to some AWS tool: line, name, and who reads them so.
pub fn sections(document: &Document, kind: FileKind, profile: &ProfileName) -> Vec<(usize, String, Vec<Reader>)> {
    let lines = document.lines().iter().enumerate();
    let named = lines.filter_map(|(number, line)| {
        let Kind::Section(name) = &line.kind else { return None };
        let is_read = |reader: &Reader| reader.names(kind, document.body(line)).as_deref() == Some(profile.as_str());
        Some((number + 1, name.clone(), Reader::ALL.into_iter().filter(is_read).collect::<Vec<_>>()))
    });
    named.filter(|(.., readers)| !readers.is_empty()).collect()
}

/// Changes the profile so that all tools which can find it find the change.
fn change(
    document: &Document,
    kind: FileKind,
    profile: &ProfileName,
    change: &Change<'_>,
) -> Result<Document, Refused> {
    let section = section(document, kind, profile).unwrap_or_else(|| profile.section(kind));
    let mut changed = document.changed(&section, change)?;
    let is_found = |changed: &Document, reader: Reader| {
        let values = reader.profile(changed, kind, profile.as_str()).unwrap_or_default();
        change.set.iter().all(|(key, value)| values.get(*key).is_some_and(|found| found == value))
            && !change.remove.iter().any(|key| values.contains_key(*key))
    };
    // To some tools another section is the profile, such as [default] and [profile default].
    for (_, other, readers) in sections(document, kind, profile) {
        if readers.into_iter().any(|reader| !is_found(&changed, reader)) {
            changed = changed.changed(&other, change)?;
        }
    }
    // Who did not find the profile before, because of its header, may still not find it.
    let may_miss =
        |reader: Reader| reader != Reader::Python && reader.profile(document, kind, profile.as_str()).is_none();
    if Reader::ALL.into_iter().all(|reader| is_found(&changed, reader) || may_miss(reader)) {
        return Ok(changed);
    }
    // botocore fills the profile from [DEFAULT].
    let lines = sections(document, kind, profile).into_iter().map(|(line, ..)| line);
    let filled_from = document.section("DEFAULT").map(|range| range.start + 1);
    Err(Refused::Ambiguous { section: profile.section(kind), lines: lines.chain(filled_from).collect() })
}

#[cfg(test)]
mod tests {
    use shared::secret::Secret;

    use super::*;

    fn keys(id: &str) -> Credentials {
        Credentials {
            access_key_id: id.to_owned(),
            secret_access_key: Secret::new("secret/+="),
            session_token: Secret::new("token/+=="),
            expires_at: 1_800_000_000, // 2027-01-15T08:00:00Z
            obtained_at: 0,
            role: String::new(),
            role_arn: String::new(),
        }
    }

    fn name(text: &str) -> ProfileName {
        ProfileName::parse(text).unwrap()
    }

    #[test]
    fn what_was_written_is_ours_until_somebody_changes_the_key() {
        let profile = name("default");
        let empty = Document::parse("[default]\nregion = eu\n").unwrap();
        assert_eq!(owner(&empty, &profile), Owner::Nobody);
        let written = write(&empty, &profile, &keys("ASIA1")).unwrap();
        assert_eq!(owner(&written, &profile), Owner::Ours);
        let changed = Document::parse(&written.text().replacen("ASIA1", "AKIA9", 1)).unwrap();
        assert_eq!(owner(&changed, &profile), Owner::Other(ACCESS_KEY));
    }

    #[test]
    fn the_stale_security_token_goes() {
        let stale = Document::parse("[p]\naws_security_token = old\n").unwrap();
        let written = write(&stale, &name("p"), &keys("ASIA1")).unwrap();
        assert_eq!(
            written.text(),
            "[p]\naws_access_key_id = ASIA1\naws_secret_access_key = secret/+=\naws_session_token = token/+==\n\
             auth_login_key = ASIA1\nauth_login_expires = 2027-01-15T08:00:00Z\n"
        );
        assert_eq!(remove(&written, &name("p")).unwrap().text(), "");
    }

    #[test]
    fn other_sources_of_credentials_are_somebody_elses() {
        for key in SOURCES {
            let document = Document::parse(&format!("[p]\n{key} = x\n")).unwrap();
            assert_eq!(owner(&document, &name("p")), Owner::Other(key));
        }
    }

    #[test]
    fn empty_keys_are_nobodys() {
        let empty =
            Document::parse("[p]\naws_access_key_id =\naws_secret_access_key = # none yet\nrole_arn=\n").unwrap();
        // The comment is a part of the value to the AWS CLI.
        assert_eq!(owner(&empty, &name("p")), Owner::Other(SECRET_KEY));
        let empty = Document::parse("[p]\naws_access_key_id =\naws_secret_access_key =\n").unwrap();
        assert_eq!(owner(&empty, &name("p")), Owner::Nobody);
        assert_eq!(owner(&write(&empty, &name("p"), &keys("ASIA1")).unwrap(), &name("p")), Owner::Ours);
        assert!(has_keys(&empty, FileKind::Credentials, &name("p")));
        assert_eq!(remove(&empty, &name("p")).unwrap().text(), "");
    }

    #[test]
    fn keys_that_any_tool_finds_are_somebody_elses() {
        for text in [
            // The SDKs trim the name.
            "[ p ]\naws_access_key_id = AKIA\n",
            // A section of its own to the SDK for JavaScript.
            "[q]\nk = v\n  [p]\n  aws_access_key_id = AKIA\n",
            // botocore fills every section from this one.
            "[DEFAULT]\naws_access_key_id = AKIA\n[p]\n",
        ] {
            assert_eq!(owner(&Document::parse(text).unwrap(), &name("p")), Owner::Other(ACCESS_KEY), "{text}");
        }
    }

    #[test]
    fn a_profile_is_found_by_whatever_header_the_aws_cli_knows_it() {
        let set = |text: &str, profile: &str| {
            let document = Document::parse(text).unwrap();
            write_process(&document, &name(profile), "x").map(|document| document.text().to_owned())
        };
        for header in ["[profile dev]", "[profile \"dev\"]", "[profile 'dev' ]", "[profile\tdev]", "[profile  dev]"] {
            let text = format!("{header}\nregion = eu\n");
            assert_eq!(set(&text, "dev").unwrap(), format!("{text}credential_process = x\n"));
        }
        // No profile to the AWS CLI, so that it needs a section of its own; the others join the two.
        for header in ["[ profile dev ]", "[dev]", "[profile-dev]", "[profile dev ops]", "[profile \"dev]"] {
            let text = format!("{header}\nregion = eu\n");
            assert_eq!(set(&text, "dev").unwrap(), format!("{text}\n[profile dev]\ncredential_process = x\n"));
        }
        let both = "[default]\nregion = us\n[profile default]\nregion = eu\n";
        assert_eq!(set(both, "default").unwrap(), format!("{both}credential_process = x\n"));
    }

    #[test]
    fn a_profile_that_is_several_sections_is_changed_in_those_that_some_tool_uses() {
        let set = |text: &str, profile: &str, change: &Change<'_>| {
            super::change(&Document::parse(text).unwrap(), FileKind::Config, &name(profile), change)
        };
        let process = Change { set: &[("k", "x")], remove: &[] };
        for (text, profile, expected) in [
            // The AWS CLI uses the last one, the SDKs [profile default].
            (
                "[profile default]\na = 1\n[default]\na = 2\n",
                "default",
                "[profile default]\na = 1\nk = x\n[default]\na = 2\nk = x\n",
            ),
            (
                "[default]\na = 1\n[profile default]\na = 2\n",
                "default",
                "[default]\na = 1\n[profile default]\na = 2\nk = x\n",
            ),
            // Most SDKs know no quotes.
            (
                "[profile p]\na = 1\n[profile \"p\"]\na = 2\n",
                "p",
                "[profile p]\na = 1\nk = x\n[profile \"p\"]\na = 2\nk = x\n",
            ),
        ] {
            let changed = set(text, profile, &process).unwrap();
            assert_eq!(changed.text(), expected);
            for reader in Reader::ALL {
                let values = reader.profile(&changed, FileKind::Config, profile).unwrap();
                assert_eq!(values.get("k").map(String::as_str), Some("x"), "{reader:?}");
            }
        }
        // An indented section, which only the SDK for JavaScript knows and no edit reaches.
        let text = "[profile q]\na = 1\n  [profile p]\n  k = 2\n";
        let refused = set(text, "p", &Change { set: &[("l", "x")], remove: &["k"] }).unwrap_err();
        assert!(matches!(refused, Refused::Ambiguous { .. } | Refused::WouldNotReadBack { .. }), "{refused:?}");
    }

    #[test]
    fn a_value_of_default_in_capitals_that_would_be_used_is_refused() {
        let document = Document::parse("[q]\n[DEFAULT]\naws_security_token = old\n").unwrap();
        let refused = write(&document, &name("p"), &keys("ASIA1")).unwrap_err();
        assert_eq!(refused, Refused::Ambiguous { section: "p".into(), lines: vec![2] });
    }

    #[test]
    fn a_region_is_read_without_the_comment_behind_it() {
        let read = |text: &str| region(&Document::parse(text).unwrap(), FileKind::Config, &name("p"));
        assert_eq!(read("[profile p]\nregion = eu # here\n").as_deref(), Some("eu"));
        assert_eq!(read("[profile \"p\"]\nregion = eu\n").as_deref(), Some("eu"));
        assert_eq!(read("[profile p]\nregion =\n"), None);
    }

    #[test]
    fn profile_names() {
        assert_eq!(name("default").section(FileKind::Config), "default");
        assert_eq!(name("team/dev.1").section(FileKind::Config), "profile team/dev.1");
        for bad in ["", "a b", "a]", "DEFAULT", "a\n", "é", &"x".repeat(129)] {
            assert!(ProfileName::parse(bad).is_err(), "{bad:?}");
        }
    }
}
