//! The command line.

use std::ffi::OsString;

use clap::{Args as Flags, Parser, Subcommand, ValueEnum};

use crate::cache::TokenStore;

/// Sign in once in the browser, and every AWS tool works and keeps working.
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

/// Which session is meant.
#[derive(Clone, Debug, Default, Flags)]
pub struct Target {
    /// Where authd is [default: that of the profile, else of the first sign-in, else http://127.0.0.1:8080]
    #[arg(long, global = true, env = "AUTH_LOGIN_SERVER", value_name = "URL")]
    pub server: Option<String>,
    /// The AWS profile
    #[arg(long, global = true, env = "AUTH_LOGIN_PROFILE", value_name = "NAME", default_value = "default")]
    pub profile: String,
    /// The AWS role, by its name in authd [default: as at the sign-in, else the first you may use]
    #[arg(long, global = true, value_name = "NAME")]
    pub role: Option<String>,
    /// Allow http to another machine
    #[arg(long, global = true)]
    pub insecure: bool,
}

/// How to sign in.
#[derive(Clone, Debug, Default, Flags)]
pub struct LoginFlags {
    /// Sign in with a browser on another device, and paste what it shows
    #[arg(long)]
    pub no_browser: bool,
    /// Overwrite a profile that somebody else wrote
    #[arg(long)]
    pub force: bool,
    /// Sign in anew though the session lives, for example as somebody else
    #[arg(long)]
    pub again: bool,
    /// Which identity provider
    #[arg(long, value_name = "NAME")]
    pub provider: Option<String>,
    /// Where to keep the device token [default: chosen at the first sign-in and kept]
    #[arg(long, value_name = "PLACE", env = "AUTH_LOGIN_TOKEN_STORE")]
    pub token_store: Option<TokenStore>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Sign in and write working keys into the AWS credentials file
    Login(LoginFlags),
    /// Who is signed in, and how long the keys work
    Status {
        #[arg(long, short, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Fetch fresh keys now
    Renew {
        /// Overwrite a profile that somebody else wrote
        #[arg(long)]
        force: bool,
    },
    /// End the session and remove its keys from this machine
    Logout,
    /// Print keys for the AWS tools (`credential_process` in ~/.aws/config)
    CredentialProcess,
    /// Run a command with fresh keys in its environment
    Exec {
        #[arg(trailing_var_arg = true, required = true, value_name = "COMMAND")]
        command: Vec<OsString>,
    },
    /// Keep the keys in the credentials file fresh until stopped
    Agent {
        /// Overwrite a profile that somebody else wrote
        #[arg(long)]
        force: bool,
    },
    /// Make ~/.aws/config ask this program for the profile's keys
    Configure {
        /// Replace another credential_process
        #[arg(long)]
        force: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Text,
    Json,
}

impl LoginFlags {
    /// Whether any was given.
    pub fn is_empty(&self) -> bool {
        // The store may come from the environment, where it means no particular command.
        !self.no_browser && !self.force && !self.again && self.provider.is_none()
    }

    /// Flags before and after the word `login` mean the same.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            no_browser: self.no_browser || other.no_browser,
            force: self.force || other.force,
            again: self.again || other.again,
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
        assert_eq!(args.target.profile, "p");
        let Some(Command::Exec { command }) = args.command else { panic!("{args:?}") };
        assert_eq!(command, ["aws", "--profile", "q"]);
    }
}
