//! `~/.aws/credentials` and `~/.aws/config`: found, read as the AWS tools read them, changed line by line.
//!
//! Invariants: a file that the tools cannot read is never changed; lines that are not ours stay byte for byte; files
//! are replaced atomically; a profile that another program wrote is overwritten only with --force.

pub mod edit;
mod file;
mod profile;
pub mod syntax;
#[cfg(test)]
mod tests;

pub use file::AwsFile;
pub use profile::{Owner, ProfileName};

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

    /// Fails if the profile may not be written; to be called before a person signs in in the browser.
    pub fn check_writable(&self, profile: &ProfileName, force: bool) -> Result<(), Error> {
        self.check(&self.credentials.read()?, profile, force)
    }

    fn check(&self, credentials: &Document, profile: &ProfileName, force: bool) -> Result<(), Error> {
        match profile::owner(credentials, profile) {
            Owner::Other(key) if !force => Err(Error::refused(format!(
                "the profile {profile} in {} was written by another program (it has {key}). Choose another one with \
                 --profile NAME, or overwrite it with --force",
                self.credentials.path().display()
            ))),
            _ => Ok(()),
        }
    }

    /// Puts keys into the profile of the credentials file.
    pub fn write(&self, profile: &ProfileName, keys: &Credentials, force: bool) -> Result<(), Error> {
        self.credentials.edit(|document| {
            self.check(document, profile, force)?;
            Ok(profile::write(document, profile, keys)?)
        })
    }

    /// Removes our keys from the profile; `false` if there were none.
    pub fn remove(&self, profile: &ProfileName) -> Result<bool, Error> {
        if self.owner(profile)? != Owner::Ours {
            return Ok(false);
        }
        self.credentials.edit(|document| match profile::owner(document, profile) {
            Owner::Ours => Ok(profile::remove(document, profile)?),
            Owner::Nobody | Owner::Other(_) => Ok(document.clone()),
        })?;
        Ok(true)
    }

    /// Whether the config file takes this profile's keys from `auth-login credential-process`; keys in the credentials
    /// file would take precedence.
    pub fn asks_us(&self, profile: &ProfileName) -> Result<bool, Error> {
        let command = self.config.read()?.value(&profile.in_config(), "credential_process");
        Ok(command.is_some_and(|command| command.contains("auth-login") && command.contains("credential-process")))
    }

    /// Sets the command in the config file that returns this profile's keys.
    pub fn set_credential_process(&self, profile: &ProfileName, command: &str, force: bool) -> Result<(), Error> {
        let section = profile.in_config();
        let key = "credential_process";
        self.config.edit(|document| match document.value(&section, key) {
            Some(found) if found != command && !found.contains("auth-login") && !force => Err(Error::refused(format!(
                "[{section}] in {} has another {key}; --force replaces it",
                self.config.path().display()
            ))),
            _ => Ok(document.changed(&section, &edit::Change { set: &[(key, command)], remove: &[] })?),
        })
    }

    /// Conflicts that keep the profile from working as expected, in sentences.
    pub fn obstacles(&self, profile: &ProfileName) -> Result<Vec<String>, Error> {
        let mut found = profile::obstacles(&self.credentials.read()?, &self.config.read()?, profile);
        if self.credentials.is_open_to_others() {
            let path = self.credentials.path().display();
            found.push(format!("{path} can be read by others on this machine; chmod 600 {path}"));
        }
        Ok(found)
    }
}
