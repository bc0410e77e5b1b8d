//! The command line: the arguments of every command. A command's own arguments are next to it, in `commands`. Errors
//! in their form are reported before any call; the daemon checks the bounds of texts.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use serde::de::value::StringDeserializer;
use serde::de::{DeserializeOwned, IntoDeserializer};
use shared::cli::Format;
use shared::client::Endpoint;
use shared::time::Time;

use crate::commands::{
    apply, audit, backup, file, grant, lockout, login, mail, permission, role, service, session, token, totp, user,
};
use crate::values::{self, Past, past};

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 refused, 2 wrong command line, 3 not authenticated, 4 no answer, 5 changes found by `apply --dry-run \
--exit-code`.

Without --server, authctl talks to the daemon on this machine through its admin socket, where the kernel identifies you, \
else to the server of the last `authctl login`.
`authctl user create --help` shows how to create the first administrator.";

/// How to create the first administrator; shown where a user may look for a default password.
pub const FIRST_ADMIN: &str = "\
Create the first administrator on the machine where authd runs, as root or as authd's own user:
  authctl user create alice
  authctl grant alice authd-admin --service authd
From then on, from anywhere: authctl login --server URL --user alice";

/// The operator's tool for authd: API tokens, users and their access, sessions, the audit log
#[derive(Debug, Parser)]
#[command(name = "authctl", version, after_help = EXIT_CODES)]
#[command(disable_help_subcommand = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// The arguments of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Talk to this daemon over HTTP, with the token in AUTHCTL_TOKEN or ADMIN_TOKEN (or in the file that
    /// AUTHCTL_TOKEN_FILE or ADMIN_TOKEN_FILE names), else with the session of `authctl login` [env: AUTHCTL_SERVER]
    /// [default: without an admin socket the server of the last `authctl login`, with its session]
    #[arg(long, global = true, value_name = "URL", value_parser = Endpoint::url, conflicts_with = "socket")]
    pub server: Option<Endpoint>,
    /// Talk to the daemon behind this admin socket [env: AUTHD_ADMIN_SOCKET]
    #[arg(long, global = true, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Use the session of this user, of several who are signed in to the server by `authctl login`
    #[arg(id = "as", long = "as", global = true, value_name = "NAME", conflicts_with = "socket")]
    pub user: Option<String>,
    /// Allow sending tokens and passwords unencrypted to an http:// server on another machine
    #[arg(long, global = true)]
    pub insecure: bool,
    /// How long to wait for an answer; a bare number is seconds
    #[arg(long, global = true, value_name = "TIME", default_value = "30s", value_parser = values::timeout)]
    pub timeout: u64,
    /// Output format: a table for people, or the API's own object
    #[arg(short, long, global = true, value_name = "FORMAT", value_enum, default_value_t)]
    pub output: Format,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create a token and print its secret, this once (short for `token create`)
    #[command(override_usage = "authctl create [OPTIONS] <NAME> --scopes <SCOPE>...")]
    Create(token::Create),
    /// List tokens, newest first (short for `token list`)
    List(token::List),
    /// Show one token (short for `token info`)
    Info(token::Info),
    /// Revoke a token permanently (short for `token revoke`)
    Revoke(token::Revoke),
    /// Manage API tokens
    #[command(subcommand)]
    Token(token::Command),
    /// Manage users: the people who sign in
    #[command(subcommand, after_help = FIRST_ADMIN)]
    User(user::Command),
    /// Manage services, their roles and their tokens
    #[command(subcommand)]
    Service(service::Command),
    /// Manage roles: named sets of permissions
    #[command(subcommand)]
    Role(role::Command),
    /// Manage permissions: names of actions, which the services define
    #[command(subcommand)]
    Permission(permission::Command),
    /// Give a user roles, or single permissions, in a service
    #[command(after_help = FIRST_ADMIN)]
    #[command(override_usage = "authctl grant [OPTIONS] --service <SERVICE> <USER> [ROLE]...")]
    Grant(grant::Grant),
    /// Take roles, or single permissions, in a service from a user
    #[command(override_usage = "authctl ungrant [OPTIONS] --service <SERVICE> <USER> [ROLE]...")]
    Ungrant(grant::Grant),
    /// List the roles and permissions given to users, and in which services
    Grants(grant::List),
    /// Check whether a user has a permission in a service, and show why (exit code 1 when not)
    Can(grant::Can),
    /// Make services, roles, permissions and grants match a file; shows the plan first
    #[command(after_help = apply::FILE_FORMAT)]
    Apply(apply::Apply),
    /// List and end sessions of users
    #[command(subcommand)]
    Session(session::Command),
    /// List and clear lockouts after failed logins
    #[command(subcommand)]
    Lockout(lockout::Command),
    /// List and delete the files that people uploaded
    #[command(subcommand)]
    File(file::Command),
    /// Test sending mail; list, retry and drop mails that are not sent
    #[command(subcommand)]
    Mail(mail::Command),
    /// Sign in to a server, which later commands use that find no admin socket; with the session, until it ends
    Login(login::Login),
    /// End the session of `authctl login` at a server: of the user who signed in last, or of `--as NAME`
    Logout,
    /// Change your own password, as the user signed in by `authctl login`; ends every other session of yours
    Passwd(login::OwnPassword),
    /// Manage your own second factor: codes of an authenticator app (TOTP), and recovery codes
    #[command(subcommand)]
    Totp(totp::Command),
    /// Show how the daemon identifies you, and your permissions on it
    Whoami,
    /// Show the audit log, newest first
    Audit(audit::Audit),
    /// Copy the daemon's SQLite database to a file while it runs
    Backup(backup::Backup),
    /// Show the daemon's version, settings and health (exit code 1 when it is unhealthy)
    Status,
    /// Print the completion script of a shell
    Completions { shell: clap_complete::Shell },
}

/// The part of a list to show.
#[derive(Clone, Debug, Args)]
pub struct Paging {
    /// Maximum number of entries to show
    #[arg(id = "limit", long = "limit", value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    entries: u64,
    /// Continue where an earlier list stopped, with the cursor that it printed
    #[arg(long, value_name = "CURSOR")]
    pub cursor: Option<String>,
    /// Show every entry
    #[arg(long, conflicts_with = "limit")]
    all_pages: bool,
}

impl Paging {
    pub fn entries(&self) -> u64 {
        if self.all_pages { u64::MAX } else { self.entries }
    }
}

/// The entries to show by a time of theirs.
#[derive(Clone, Copy, Debug, Args)]
pub struct Between {
    /// Only those from this time on: 7d or 12h ago, 2027-01-31T12:00:00Z, or a date; a bare number is days
    #[arg(long, value_name = "TIME", value_parser = past)]
    since: Option<Past>,
    /// Only those before this time, written like --since
    #[arg(long, value_name = "TIME", value_parser = past)]
    until: Option<Past>,
}

impl Between {
    pub fn is_all(self) -> bool {
        self.since.is_none() && self.until.is_none()
    }

    pub fn has(self, now: Time, time: Time) -> bool {
        self.since.is_none_or(|since| since.at(now) <= time) && self.until.is_none_or(|until| time < until.at(now))
    }
}

/// The entries to show by their name.
#[derive(Clone, Debug, Args)]
pub struct ByName {
    /// Only those whose name begins with this
    #[arg(long, value_name = "TEXT")]
    pub prefix: Option<String>,
    #[command(flatten)]
    pub paging: Paging,
}

#[derive(Clone, Copy, Debug, Args)]
pub struct Consent {
    /// Do not ask for confirmation; required without a terminal
    #[arg(short, long)]
    pub yes: bool,
}

/// A command that requires confirmation.
#[derive(Debug, Args)]
pub struct Confirmed<T: Args> {
    #[command(flatten)]
    pub what: T,
    #[command(flatten)]
    pub consent: Consent,
}

/// An object whose parts are listed.
#[derive(Debug, Args)]
pub struct PartsOf<T: Args> {
    #[command(flatten)]
    pub whole: T,
    #[command(flatten)]
    pub paging: Paging,
}

pub fn name(text: &str) -> Result<String, String> {
    shared::names::check(text).map(|_| text.to_owned())
}

/// Parses a value of an API enum by its name in the API.
pub fn word<T>(words: impl Into<PossibleValuesParser>) -> impl TypedValueParser<Value = T>
where
    T: DeserializeOwned + Clone + Send + Sync + 'static,
{
    words.into().try_map(|word| {
        let word: StringDeserializer<serde::de::value::Error> = word.into_deserializer();
        T::deserialize(word)
    })
}
