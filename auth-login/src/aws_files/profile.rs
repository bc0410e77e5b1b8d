//! The content of a profile, its owner, and what conflicts with it.
//!
//! **The mark.** A profile that this program wrote carries `auth_login_key`, the id of the access key that it wrote,
//! and `auth_login_expires`. AWS tools ignore keys that they do not know. A comment as the mark was rejected: it does
//! not show whether another program has since replaced the keys below it. A profile is ours only while the mark equals
//! its `aws_access_key_id`.

use std::fmt;

use super::edit::{Change, Refused};
use super::syntax::Document;
use crate::cache::Credentials;

const ACCESS_KEY: &str = "aws_access_key_id";
const SECRET_KEY: &str = "aws_secret_access_key";
const SESSION_TOKEN: &str = "aws_session_token";
/// The old name of the session token; if both are set, some tools use this one.
const SECURITY_TOKEN: &str = "aws_security_token";
/// Has the id of the access key that we wrote.
pub const MARK: &str = "auth_login_key";
const EXPIRES: &str = "auth_login_expires";

const KEYS: [&str; 4] = [ACCESS_KEY, SECRET_KEY, SESSION_TOKEN, SECURITY_TOKEN];
const OURS: [&str; 6] = [ACCESS_KEY, SECRET_KEY, SESSION_TOKEN, SECURITY_TOKEN, MARK, EXPIRES];
/// Keys that make the AWS tools look for credentials elsewhere, most of them before static keys.
const SOURCES: [&str; 6] =
    ["credential_process", "role_arn", "source_profile", "sso_session", "sso_start_url", "web_identity_token_file"];

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

    /// The section in the config file.
    pub fn in_config(&self) -> String {
        if self.0 == "default" { self.0.clone() } else { format!("profile {}", self.0) }
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

/// Finds the owner of the profile in a credentials file.
pub fn owner(credentials: &Document, profile: &ProfileName) -> Owner {
    let value = |key| credentials.value(profile.as_str(), key);
    if let Some(source) = SOURCES.into_iter().find(|key| value(key).is_some()) {
        return Owner::Other(source);
    }
    match KEYS.into_iter().find(|key| value(key).is_some()) {
        None => Owner::Nobody,
        Some(_) if value(MARK).is_some() && value(MARK) == value(ACCESS_KEY) => Owner::Ours,
        Some(key) => Owner::Other(key),
    }
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
    credentials.changed(profile.as_str(), &Change { set: &set, remove: &[SECURITY_TOKEN] })
}

/// Removes our keys from the profile.
pub fn remove(credentials: &Document, profile: &ProfileName) -> Result<Document, Refused> {
    credentials.without(profile.as_str(), &OURS)
}

/// Conflicts that keep a profile from working as expected.
pub fn obstacles(credentials: &Document, config: &Document, profile: &ProfileName) -> Vec<String> {
    let mut found = Vec::new();
    let section = profile.in_config();
    let has_keys = credentials.value(profile.as_str(), ACCESS_KEY).is_some();
    if has_keys && config.value(&section, "credential_process").is_some() {
        found.push(format!(
            "the keys of [{profile}] in the credentials file hide credential_process of [{section}] in the config file: \
             tools use the keys"
        ));
    }
    let stronger = SOURCES.into_iter().filter(|key| *key != "credential_process");
    for (document, name, file) in [(credentials, profile.as_str(), "credentials"), (config, section.as_str(), "config")]
    {
        if let Some(key) = stronger.clone().find(|key| document.value(name, key).is_some()) {
            found.push(format!("{key} of [{name}] in the {file} file takes precedence over the keys in most tools"));
        }
    }
    if config.section("DEFAULT").is_some() || credentials.section("DEFAULT").is_some() {
        found.push("older tools apply the section [DEFAULT], in capitals, to every profile".to_owned());
    }
    found
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
    fn obstacles_are_named() {
        let empty = Document::parse("").unwrap();
        let keys = Document::parse("[p]\naws_access_key_id = A\n").unwrap();
        let process = Document::parse("[profile p]\ncredential_process = x\n").unwrap();
        let role = Document::parse("[profile p]\nrole_arn = x\n").unwrap();
        assert_eq!(obstacles(&keys, &empty, &name("p")), Vec::<String>::new());
        assert!(obstacles(&keys, &process, &name("p"))[0].contains("hide credential_process"));
        assert!(obstacles(&keys, &role, &name("p"))[0].contains("role_arn"));
    }

    #[test]
    fn profile_names() {
        assert_eq!(name("default").in_config(), "default");
        assert_eq!(name("team/dev.1").in_config(), "profile team/dev.1");
        for bad in ["", "a b", "a]", "DEFAULT", "a\n", "é", &"x".repeat(129)] {
            assert!(ProfileName::parse(bad).is_err(), "{bad:?}");
        }
    }
}
