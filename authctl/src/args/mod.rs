//! The command line. Everything that can be wrong with an argument is said here, before anybody is asked.

mod access;
mod people;
mod token;

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgAction, Args, Parser, Subcommand};
use shared::cli::Format;
use shared::client::Endpoint;

pub use access::{
    Apply, Can, FileFormat, Grant, Grants, Permission, Role, RoleCreate, Service, ServiceRoles, ServiceToken,
};
pub use people::{
    Lockout, LockoutClear, Login, NewPassword, OwnPassword, Session, SessionEnd, SessionList, User, UserCreate,
    UserDelete, UserPasswd, UserUpdate,
};
pub use token::{Create, Extend, Info, List, Revoke, Rotate, Token, Validate};

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 refused, 2 wrong command line, 3 not authenticated, 4 nobody answers, 5 `apply --dry-run \
--exit-code` found something to do.

Without --server, authctl talks to the daemon on this machine through its admin socket, where the kernel says who you are.
`authctl user create --help` says how the first administrator is made.";

/// How the first administrator is made: said wherever somebody may look for a default password.
const FIRST_ADMIN: &str = "\
The first administrator is made on the machine where authd runs, as root or as authd's own user:
  authctl user create alice
  authctl grant alice authd-admin --service authd
From then on, from anywhere: authctl login --server URL --user alice";

/// The operator's tool for authd: API tokens, people and what they may do where, sessions, the audit log
#[derive(Debug, Parser)]
#[command(name = "authctl", version, after_help = EXIT_CODES)]
#[command(subcommand_required = true, arg_required_else_help = true, disable_help_subcommand = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Talk to this daemon over HTTP, with the token in AUTHCTL_TOKEN or ADMIN_TOKEN (or in the file that
    /// AUTHCTL_TOKEN_FILE or ADMIN_TOKEN_FILE names), else with the session of `authctl login` [env: AUTHCTL_SERVER]
    #[arg(long, global = true, value_name = "URL", value_parser = Endpoint::url, conflicts_with = "socket")]
    pub server: Option<Endpoint>,
    /// Talk to the daemon behind this admin socket [env: AUTHD_ADMIN_SOCKET]
    #[arg(long, global = true, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Send the token to an http:// server on another machine, readable by anybody on the way
    #[arg(long, global = true)]
    pub insecure: bool,
    /// Seconds to wait for an answer
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub timeout: u64,
    /// How to print: a table for people, or the API's own object
    #[arg(short, long, global = true, value_name = "FORMAT", default_value = "table", value_parser = format_parser())]
    pub output: Format,
}

fn format_parser() -> impl TypedValueParser<Value = Format> {
    PossibleValuesParser::new(Format::NAMES).try_map(|name| name.parse())
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Mint a token; its secret is shown this once (short for `token create`)
    Create(Create),
    /// List tokens, newest first (short for `token list`)
    List(List),
    /// Show one token (short for `token info`)
    Info(Info),
    /// Revoke a token, for good (short for `token revoke`)
    Revoke(Revoke),
    /// API tokens
    #[command(subcommand, subcommand_required = true, arg_required_else_help = true)]
    Token(Token),
    /// People who sign in
    #[command(subcommand, subcommand_required = true, arg_required_else_help = true, after_help = FIRST_ADMIN)]
    User(User),
    /// Services: what people use, and what asks authd about them
    #[command(subcommand, subcommand_required = true, arg_required_else_help = true)]
    Service(Service),
    /// Roles: named sets of permissions
    #[command(subcommand, subcommand_required = true, arg_required_else_help = true)]
    Role(Role),
    /// Permissions: what may be done, by names that the services give a meaning to
    #[command(subcommand, subcommand_required = true, arg_required_else_help = true)]
    Permission(Permission),
    /// Give a person roles, or single permissions, in a service
    #[command(after_help = FIRST_ADMIN)]
    #[command(override_usage = "authctl grant [OPTIONS] --service <SERVICE> <USER> [ROLE]...")]
    Grant(Grant),
    /// Take roles, or single permissions, in a service from a person
    #[command(override_usage = "authctl ungrant [OPTIONS] --service <SERVICE> <USER> [ROLE]...")]
    Ungrant(Grant),
    /// List who was given what, and where
    Grants(Grants),
    /// Ask whether a person may do something in a service, and why (exit code 1 when not)
    Can(Can),
    /// Make services, roles, permissions and grants as a file says; shows the plan first
    #[command(after_help = access::APPLY)]
    Apply(Apply),
    /// Sessions of people: who is signed in, from which device
    #[command(subcommand, subcommand_required = true, arg_required_else_help = true)]
    Session(Session),
    /// Names and addresses with failed logins
    #[command(subcommand, subcommand_required = true, arg_required_else_help = true)]
    Lockout(Lockout),
    /// Sign in to a server; later calls to it use the session until it ends
    Login(Login),
    /// End the session of `authctl login` at a server
    Logout,
    /// Change your own password, as whoever `authctl login` signed in; every other session ends
    Passwd(OwnPassword),
    /// Who the daemon takes you for, and what you may do on it
    Whoami,
    /// Read the audit log, newest first
    Audit(Audit),
    /// What runs, since when, on what, and whether it is healthy (exit code 1 when it is not)
    Status,
    /// Print the completions for a shell
    Completions(Completions),
}

#[derive(Clone, Copy, Debug, Args)]
pub struct Limit {
    /// How many to show at most
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub limit: u64,
}

#[derive(Clone, Copy, Debug, Args)]
pub struct Consent {
    /// Do not ask; needed where there is no terminal to ask on
    #[arg(short, long)]
    pub yes: bool,
}

#[derive(Debug, Args)]
pub struct Audit {
    /// Only this operation, such as `tokens.revoke`
    #[arg(long, value_name = "OPERATION")]
    pub action: Option<String>,
    /// Only what was done to this id
    #[arg(long, value_name = "ID")]
    pub subject: Option<String>,
    #[command(flatten)]
    pub limit: Limit,
}

#[derive(Debug, Args)]
pub struct Completions {
    #[arg(action = ArgAction::Set)]
    pub shell: clap_complete::Shell,
}

fn days() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=36_500)
}

fn name(text: &str) -> Result<String, String> {
    shared::names::check(text).map(|_| text.to_owned())
}
