//! `~/.aws/credentials` and `~/.aws/config`: found, read as the AWS tools read them, changed line by line.
//!
//! Invariants: a file that some of the tools cannot read is never changed; lines that are not ours stay byte for byte,
//! and every tool reads them as before; files are replaced atomically, under a lock; a profile that another program
//! wrote is overwritten only with --force.

pub mod edit;
mod file;
mod obstacles;
pub mod process;
mod profile;
mod readers;
pub mod syntax;
#[cfg(test)]
mod tests;
mod words;

pub use file::AwsFile;
pub use profile::{Owner, ProfileName};

use shared::secret::Secret;

use self::readers::FileKind::{Config, Credentials as InCredentials};
use self::syntax::Document;
use crate::cache::Credentials;
use crate::error::Error;
use crate::paths::Paths;

/// Both files.
#[derive(Clone, Debug)]
pub struct AwsFiles {
    pub credentials: AwsFile,
    pub config: AwsFile,
}

impl AwsFiles {
    pub fn at(paths: &Paths) -> Self {
        Self { credentials: AwsFile::at(paths.aws_credentials.clone()), config: AwsFile::at(paths.aws_config.clone()) }
    }

    /// The owner of the profile in the credentials file.
    pub fn owner(&self, profile: &ProfileName) -> Result<Owner, Error> {
        Ok(profile::owner(&self.credentials.read()?, profile))
    }

    /// Fails if the keys cannot be written, for whatever reason that this machine has: to be called before a person
    /// signs in in the browser.
    pub fn check_writable(&self, profile: &ProfileName, force: bool) -> Result<(), Error> {
        let keys = Credentials {
            access_key_id: "ASIA".to_owned(),
            secret_access_key: Secret::new("secret"),
            session_token: Secret::new("token"),
            expires_at: 0,
            obtained_at: 0,
            role: String::new(),
            role_arn: String::new(),
        };
        self.credentials.check(|document| self.written(document, profile, &keys, force))
    }

    /// Puts keys into the profile of the credentials file.
    pub fn write(&self, profile: &ProfileName, keys: &Credentials, force: bool) -> Result<(), Error> {
        self.credentials.edit(|document| self.written(document, profile, keys, force))
    }

    fn written(
        &self,
        credentials: &Document,
        profile: &ProfileName,
        keys: &Credentials,
        force: bool,
    ) -> Result<Document, Error> {
        let path = self.credentials.path();
        match profile::owner(credentials, profile) {
            Owner::Other(key) if !force => Err(Error::refused(format!(
                "the profile {profile} in {} was written by another program (it has {key}). Choose another one with \
                 --profile NAME, or overwrite it with --force",
                path.display()
            ))),
            _ => profile::write(credentials, profile, keys).map_err(|refused| refused.at(path)),
        }
    }

    /// Removes our keys from the profile; `false` if there were none.
    pub fn remove(&self, profile: &ProfileName) -> Result<bool, Error> {
        if self.owner(profile)? != Owner::Ours {
            return Ok(false);
        }
        self.credentials.edit(|document| match profile::owner(document, profile) {
            Owner::Ours => profile::remove(document, profile).map_err(|refused| refused.at(self.credentials.path())),
            Owner::Nobody | Owner::Other(_) => Ok(document.clone()),
        })?;
        Ok(true)
    }

    /// Whether the config file takes this profile's keys from `auth-login credential-process`; keys in the credentials
    /// file would take precedence.
    pub fn asks_us(&self, profile: &ProfileName) -> Result<bool, Error> {
        let command = profile::value(&self.config.read()?, Config, profile, profile::PROCESS);
        Ok(command.is_some_and(|command| process::is_ours(&command)))
    }

    /// The region of the profile.
    pub fn region(&self, profile: &ProfileName) -> Result<Option<String>, Error> {
        // The AWS CLI takes a key of the credentials file before that of the config file.
        let (credentials, config) = (self.credentials.read()?, self.config.read()?);
        let region = profile::region(&credentials, InCredentials, profile);
        Ok(region.or_else(|| profile::region(&config, Config, profile)))
    }

    /// Sets the command in the config file that returns this profile's keys, and removes keys that would hide it.
    pub fn set_credential_process(&self, profile: &ProfileName, command: &str, force: bool) -> Result<(), Error> {
        let configured = |document: &Document| self.configured(document, profile, command, force);
        let unhidden = |document: &Document| self.unhidden(document, profile);
        self.config.check(configured)?;
        self.credentials.check(unhidden)?;
        self.config.edit(configured)?;
        self.credentials.edit(unhidden)
    }

    fn configured(
        &self,
        config: &Document,
        profile: &ProfileName,
        command: &str,
        force: bool,
    ) -> Result<Document, Error> {
        let (section, path) = (profile.section(Config), self.config.path());
        let refuse = |why: String| Err(Error::refused(format!("[{section}] in {} has {why}", path.display())));
        if let Some(key) = profile::static_key(config, Config, profile) {
            return refuse(format!("{key}, which hides credential_process from most tools; remove those keys"));
        }
        let is_other = |found: &String| found != command && !process::is_ours(found);
        if !force && profile::values(config, Config, profile, profile::PROCESS).iter().any(is_other) {
            return refuse(format!("another {}; --force replaces it", profile::PROCESS));
        }
        profile::write_process(config, profile, command).map_err(|refused| refused.at(path))
    }

    /// Removes keys that hide a `credential_process`: our own, and empty ones. The user must remove those of others.
    fn unhidden(&self, credentials: &Document, profile: &ProfileName) -> Result<Document, Error> {
        let path = self.credentials.path();
        match profile::owner(credentials, profile) {
            Owner::Other(key) => Err(Error::refused(format!(
                "[{profile}] in {} has {key}, which hides credential_process; choose another --profile, or remove those \
                 keys",
                path.display()
            ))),
            Owner::Nobody if !profile::has_keys(credentials, InCredentials, profile) => Ok(credentials.clone()),
            Owner::Nobody | Owner::Ours => profile::remove(credentials, profile).map_err(|refused| refused.at(path)),
        }
    }

    /// Conflicts that keep the profile from working as expected, in sentences.
    pub fn obstacles(&self, profile: &ProfileName) -> Result<Vec<String>, Error> {
        let mut found = obstacles::obstacles(&self.credentials.read()?, &self.config.read()?, profile);
        if self.credentials.is_open_to_others() {
            let path = self.credentials.path().display();
            found.push(format!("{path} can be read by others on this machine; chmod 600 {path}"));
        }
        Ok(found)
    }
}
