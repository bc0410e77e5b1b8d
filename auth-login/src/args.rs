//! The command line.

use std::ffi::OsString;

use clap::{Args as Flags, Parser, Subcommand, ValueEnum};

use crate::cache::TokenStore;

/// Sign in through the browser and keep AWS credentials valid for every AWS tool
#[derive(Debug, Parser)]
#[command(name = "auth-login", version, about, after_help = "Without a command: login.")]
pub struct Args {
    #[command(flatten)]
    pub target: Target,
    #[command(flatten)]
    pub login: LoginFlags,
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The session to use.
#[derive(Clone, Debug, Default, Flags)]
pub struct Target {
    /// authd's address [default: that of the profile, else of the first sign-in, else http://127.0.0.1:8080]
    #[arg(long, global = true, env = "AUTH_LOGIN_SERVER", value_name = "URL")]
    pub server: Option<String>,
    /// The AWS profile [default: that of AWS_PROFILE, else default]
    #[arg(long, global = true, env = "AUTH_LOGIN_PROFILE", value_name = "NAME")]
    pub profile: Option<String>,
    /// The AWS role, by its name in authd [default: the role chosen at sign-in, else the first you may use]
    #[arg(long, global = true, value_name = "NAME")]
    pub role: Option<String>,
    /// Allow unencrypted http to another machine
    #[arg(long, global = true)]
    pub insecure: bool,
}

/// How to sign in.
#[derive(Clone, Debug, Default, Flags)]
pub struct LoginFlags {
    /// Sign in with a browser on another device, and paste the code that it shows
    #[arg(long)]
    pub no_browser: bool,
    /// Overwrite a profile that auth-login did not write
    #[arg(long)]
    pub force: bool,
    /// Sign in again although a session exists: the provider asks anew who you are
    #[arg(long)]
    pub again: bool,
    /// Accept another person than the profile's last one without asking
    #[arg(long)]
    pub another_user: bool,
    /// The identity provider, by its name in authd
    #[arg(long, value_name = "NAME")]
    pub provider: Option<String>,
    /// Where to store the device token [default: as at the first sign-in: the keyring if there is one, else a file]
    #[arg(long, value_name = "STORE", env = "AUTH_LOGIN_TOKEN_STORE")]
    pub token_store: Option<TokenStore>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Sign in and write working keys into the AWS credentials file
    Login(LoginFlags),
    /// Sign in as another person: the provider asks anew who you are
    SwitchUser(LoginFlags),
    /// Show who is signed in, and when the keys expire
    Status {
        #[arg(long, short, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// List the AWS roles that you may use
    Roles {
        #[arg(long, short, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// List the profiles that are signed in on this machine
    Profiles {
        #[arg(long, short, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Fetch new keys now
    Renew {
        /// Overwrite a profile that auth-login did not write
        #[arg(long)]
        force: bool,
    },
    /// End the session and remove its keys from this machine
    Logout,
    /// Print keys for the AWS tools (`credential_process` in ~/.aws/config)
    CredentialProcess,
    /// Run a command with valid keys in its environment
    Exec {
        #[arg(trailing_var_arg = true, required = true, value_name = "COMMAND")]
        command: Vec<OsString>,
    },
    /// Renew the keys in the credentials file before they expire, until stopped
    Agent {
        /// Overwrite a profile that auth-login did not write
        #[arg(long, global = true)]
        force: bool,
        #[command(subcommand)]
        action: Option<AgentAction>,
    },
    /// Set credential_process in ~/.aws/config, so that AWS tools get the profile's keys from this program
    Configure {
        /// Replace a credential_process that auth-login did not write
        #[arg(long)]
        force: bool,
    },
}

/// What to do with the agent instead of running it here.
#[derive(Debug, Subcommand)]
pub enum AgentAction {
    /// Have systemd (on macOS launchd) run the agent from now on, whenever you are logged in on this machine
    Install,
    /// Stop the installed agent and remove it
    Uninstall,
    /// Show whether the agent is installed, and whether it runs
    Status {
        #[arg(long, short, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Text,
    Json,
}

impl LoginFlags {
    /// Whether no flag was given.
    pub fn is_empty(&self) -> bool {
        // The store is not counted: it may come from the environment, which applies to every command.
        !self.no_browser && !self.force && !self.again && !self.another_user && self.provider.is_none()
    }

    /// Flags before and after the word `login` mean the same.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            no_browser: self.no_browser || other.no_browser,
            force: self.force || other.force,
            again: self.again || other.again,
            another_user: self.another_user || other.another_user,
            provider: self.provider.or(other.provider),
            token_store: self.token_store.or(other.token_store),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        <Args as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn exec_takes_everything_after_it() {
        let args =
            Args::try_parse_from(["auth-login", "exec", "--profile", "p", "--", "aws", "--profile", "q"]).unwrap();
        assert_eq!(args.target.profile.as_deref(), Some("p"));
        let Some(Command::Exec { command }) = args.command else { panic!("{args:?}") };
        assert_eq!(command, ["aws", "--profile", "q"]);
    }
}
