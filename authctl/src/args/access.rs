//! Services, roles, permissions, and who has which where.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use shared::id::TokenId;

use super::{Consent, Limit, days, name};

/// What the help of `apply` says below the options: the whole format, by an example.
pub const APPLY: &str = "\
The file, as TOML (in YAML the same words; `roles`, `services` and `grants` may be written for the repeated ones):
  permissions = [\"orders.read\", \"orders.write\"]

  [[role]]
  name = \"editor\"
  permissions = [\"orders.read\", \"orders.write\"]

  [[service]]
  name = \"orders\"
  description = \"The order desk\"
  roles = [\"editor\"]

  [[grant]]
  user = \"alice\"
  service = \"orders\"
  roles = [\"editor\"]
  permissions = []

What the file names is made exactly so: what is missing is made, what differs is changed, and permissions of a named
role, roles of a named service, grants of a named person in a named service that are not listed are taken away. `status`
of roles and services is \"active\" unless it says \"inactive\". What the file does not name stays as it is, unless --prune.
Users are not made by it, and what authd brings itself (the service `authd`, the role `authd-admin`) is never removed.
Applying again changes nothing. When a change fails, those before it stay; applying again goes on from there.";

#[derive(Debug, Subcommand)]
pub enum Service {
    /// Create a service
    Create(ServiceCreate),
    /// List services, oldest first
    List(Limit),
    /// Show one service, with its roles
    #[command(alias = "info")]
    Show(ServiceName),
    /// Change a service's name or description
    Update(ServiceUpdate),
    /// Delete a service, with its grants and its tokens
    Delete(ServiceDelete),
    /// Let a service work again
    Enable(ServiceName),
    /// Let nobody have access to a service until it is enabled again
    Disable(ServiceName),
    /// Tokens with which a service asks about its users
    #[command(subcommand, subcommand_required = true, arg_required_else_help = true)]
    Token(ServiceToken),
    /// Which roles count in a service
    #[command(subcommand, subcommand_required = true, arg_required_else_help = true)]
    Roles(ServiceRoles),
}

#[derive(Debug, Args)]
pub struct ServiceName {
    /// The service's name, or id
    pub service: String,
}

#[derive(Debug, Args)]
pub struct ServiceCreate {
    /// What to call it
    #[arg(value_parser = name)]
    pub name: String,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    /// Not working until `service enable`
    #[arg(long)]
    pub inactive: bool,
}

#[derive(Debug, Args)]
pub struct ServiceUpdate {
    /// The service's name, or id
    pub service: String,
    #[command(flatten)]
    pub change: ServiceChange,
}

/// At least one of these.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub struct ServiceChange {
    /// Another name
    #[arg(long, value_parser = name)]
    pub name: Option<String>,
    /// Another description
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
}

#[derive(Debug, Args)]
pub struct ServiceDelete {
    /// The service's name, or id
    pub service: String,
    #[command(flatten)]
    pub consent: Consent,
}

#[derive(Debug, Subcommand)]
pub enum ServiceToken {
    /// Mint a token for a service; its secret is shown this once
    Create(ServiceTokenCreate),
    /// List the tokens of a service, newest first
    List(ServiceTokenList),
    /// Revoke a token of a service, for good
    Revoke(ServiceTokenRevoke),
}

#[derive(Debug, Args)]
pub struct ServiceTokenCreate {
    /// The service's name, or id
    pub service: String,
    /// What to call the token; made from the service's name, unless said
    #[arg(long)]
    pub name: Option<String>,
    /// Days until it expires; without this it does not
    #[arg(long, value_name = "DAYS", value_parser = days())]
    pub ttl: Option<u32>,
}

#[derive(Debug, Args)]
pub struct ServiceTokenList {
    /// The service's name, or id
    pub service: String,
    #[command(flatten)]
    pub limit: Limit,
}

#[derive(Debug, Args)]
pub struct ServiceTokenRevoke {
    /// The service's name, or id
    pub service: String,
    /// The token's id, as `service token list` shows it
    #[arg(value_name = "TOKEN_ID")]
    pub id: TokenId,
    #[command(flatten)]
    pub consent: Consent,
}

#[derive(Debug, Subcommand)]
pub enum ServiceRoles {
    /// Let roles count in a service
    Add(ServiceRolesChange),
    /// Let roles count in a service no more
    Remove(ServiceRolesChange),
    /// List the roles that count in a service
    List(ServiceRolesList),
}

#[derive(Debug, Args)]
pub struct ServiceRolesChange {
    /// The service's name, or id
    pub service: String,
    /// Names of roles, or ids
    #[arg(required = true, value_name = "ROLE")]
    pub roles: Vec<String>,
}

#[derive(Debug, Args)]
pub struct ServiceRolesList {
    /// The service's name, or id
    pub service: String,
    #[command(flatten)]
    pub limit: Limit,
}

#[derive(Debug, Subcommand)]
pub enum Role {
    /// Create a role
    Create(RoleCreate),
    /// List roles, oldest first
    List(Limit),
    /// Show one role, with its permissions
    #[command(alias = "info")]
    Show(RoleName),
    /// Give a role another name
    Update(RoleUpdate),
    /// Delete a role, and take it from everybody
    Delete(RoleDelete),
    /// Let a role count again
    Enable(RoleName),
    /// Let a role count for nobody until it is enabled again
    Disable(RoleName),
    /// Give a role permissions
    Allow(RoleAllow),
    /// Take permissions from a role
    Deny(RoleAllow),
    /// List the permissions of a role
    Permissions(RolePermissions),
}

#[derive(Debug, Args)]
pub struct RoleName {
    /// The role's name, or id
    pub role: String,
}

#[derive(Debug, Args)]
pub struct RoleCreate {
    /// What to call it
    #[arg(value_parser = name)]
    pub name: String,
    /// Permissions to give it (repeat for more, or several at once)
    #[arg(long, num_args = 1.., value_name = "PERMISSION")]
    pub permissions: Vec<String>,
    /// Not counting until `role enable`
    #[arg(long)]
    pub inactive: bool,
}

#[derive(Debug, Args)]
pub struct RoleUpdate {
    /// The role's name, or id
    pub role: String,
    /// Another name
    #[arg(long, required = true, value_parser = name)]
    pub name: String,
}

#[derive(Debug, Args)]
pub struct RoleDelete {
    /// The role's name, or id
    pub role: String,
    #[command(flatten)]
    pub consent: Consent,
}

#[derive(Debug, Args)]
pub struct RoleAllow {
    /// The role's name, or id
    pub role: String,
    /// Names of permissions, or ids
    #[arg(required = true, value_name = "PERMISSION")]
    pub permissions: Vec<String>,
}

#[derive(Debug, Args)]
pub struct RolePermissions {
    /// The role's name, or id
    pub role: String,
    #[command(flatten)]
    pub limit: Limit,
}

#[derive(Debug, Subcommand)]
pub enum Permission {
    /// Create permissions
    Create(PermissionCreate),
    /// List permissions, oldest first
    List(Limit),
    /// Give a permission another name; whoever has it keeps it
    Rename(PermissionRename),
    /// Delete a permission, and take it from every role and everybody
    Delete(PermissionDelete),
}

#[derive(Debug, Args)]
pub struct PermissionCreate {
    /// What services will ask for, such as `orders.read`
    #[arg(required = true, value_name = "NAME", value_parser = name)]
    pub names: Vec<String>,
}

#[derive(Debug, Args)]
pub struct PermissionRename {
    /// The permission's name, or id
    pub permission: String,
    /// Its new name
    #[arg(value_name = "NAME", value_parser = name)]
    pub name: String,
}

#[derive(Debug, Args)]
pub struct PermissionDelete {
    /// The permission's name, or id
    pub permission: String,
    #[command(flatten)]
    pub consent: Consent,
}

#[derive(Debug, Args)]
pub struct Grant {
    /// The user's name, or id
    pub user: String,
    #[command(flatten)]
    pub what: What,
    /// In which service, by name or id
    #[arg(short, long)]
    pub service: String,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub struct What {
    /// Names of roles, or ids
    #[arg(value_name = "ROLE")]
    pub roles: Vec<String>,
    /// A single permission without a role (repeat for more)
    #[arg(short, long = "permission", value_name = "PERMISSION")]
    pub permissions: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Grants {
    /// Only those of this person
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
    /// Only those in this service
    #[arg(short, long)]
    pub service: Option<String>,
    #[command(flatten)]
    pub limit: Limit,
}

#[derive(Debug, Args)]
pub struct Can {
    /// The user's name, or id
    pub user: String,
    /// The permission's name
    pub permission: String,
    /// In which service, by name or id
    #[arg(short, long)]
    pub service: String,
}

#[derive(Debug, Args)]
pub struct Apply {
    /// The file, TOML or YAML by its name's end; `-` is stdin, with --format
    pub file: PathBuf,
    /// The file's format, when its name does not say
    #[arg(long)]
    pub format: Option<FileFormat>,
    /// Remove services, roles, permissions and grants that the file does not name, too
    #[arg(long)]
    pub prune: bool,
    /// Show the plan and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// With --dry-run: exit with 5 when there is something to do
    #[arg(long, requires = "dry_run")]
    pub exit_code: bool,
    #[command(flatten)]
    pub consent: Consent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FileFormat {
    Toml,
    Yaml,
}
