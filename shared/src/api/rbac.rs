//! Services, roles, permissions and grants.
//!
//! A permission works for a person in a service when it was granted directly, or through a role there that has
//! it. The role counts only if the service has that role. Person, service and role must be active. A name is accepted
//! wherever an id is.

use std::ops::RangeInclusive;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::Done;
use super::users::Status;
use crate::id::{PermissionId, RoleId, ServiceId, TokenId, UserId};
use crate::names;
use crate::number;
use crate::op::{Access, Permission as Authd, operations};
use crate::page::Limit;
use crate::patterns;
use crate::secret::Secret;
use crate::time::Time;

/// Maximum number of characters in a service's description.
pub const MAX_DESCRIPTION: usize = 1_000;
/// What a description may not contain: control characters other than line breaks and tabs.
pub const NOT_IN_DESCRIPTION: &[RangeInclusive<char>] = &['\0'..='\x08', '\x0b'..='\x1f', '\x7f'..='\u{9f}'];

/// Characters of a cursor of grants: three ids and the kind of the grant.
pub const GRANT_CURSOR: usize = 3 * uuid::fmt::Hyphenated::LENGTH + 1;

operations! {
    /// Create a service
    CreateService => "services.create", Post "/services", Access::Permission(Authd::AccessWrite), 201 Service;
    /// List services
    ListServices => "services.list", Get "/services", Access::Permission(Authd::AccessRead), 200 ServiceList;
    /// Show one service
    ShowService => "services.show", Get "/services/{id}", Access::Permission(Authd::AccessRead), 200 Service;
    /// Change a service; fields that are absent stay as they are
    UpdateService => "services.update", Put "/services/{id}", Access::Permission(Authd::AccessWrite), 200 Service;
    /// Delete a service, its grants and its tokens
    DeleteService => "services.delete", Delete "/services/{id}", Access::Permission(Authd::AccessWrite), 200 Done;
    /// Create a token with which a service queries its own users
    CreateServiceToken => "services.create_token", Post "/services/{id}/token", Access::Permission(Authd::AccessWrite), 201 ServiceToken;
    /// List the tokens of a service
    ListServiceTokens => "services.list_tokens", Get "/services/{id}/token", Access::Permission(Authd::AccessRead), 200 super::tokens::TokenList;
    /// Revoke a token of a service
    RevokeServiceToken => "services.revoke_token", Delete "/services/{id}/token/{token_id}", Access::Permission(Authd::AccessWrite), 200 Done;

    /// Create a role
    CreateRole => "roles.create", Post "/roles", Access::Permission(Authd::AccessWrite), 201 Role;
    /// List roles
    ListRoles => "roles.list", Get "/roles", Access::Permission(Authd::AccessRead), 200 RoleList;
    /// Show one role
    ShowRole => "roles.show", Get "/roles/{id}", Access::Permission(Authd::AccessRead), 200 Role;
    /// Change a role; fields that are absent stay as they are
    UpdateRole => "roles.update", Put "/roles/{id}", Access::Permission(Authd::AccessWrite), 200 Role;
    /// Delete a role and every grant of it
    DeleteRole => "roles.delete", Delete "/roles/{id}", Access::Permission(Authd::AccessWrite), 200 Done;

    /// Create a permission
    CreatePermission => "permissions.create", Post "/permissions", Access::Permission(Authd::AccessWrite), 201 Permission;
    /// List permissions
    ListPermissions => "permissions.list", Get "/permissions", Access::Permission(Authd::AccessRead), 200 PermissionList;
    /// Show one permission
    ShowPermission => "permissions.show", Get "/permissions/{id}", Access::Permission(Authd::AccessRead), 200 Permission;
    /// Change a permission; fields that are absent stay as they are
    UpdatePermission => "permissions.update", Put "/permissions/{id}", Access::Permission(Authd::AccessWrite), 200 Permission;
    /// Delete a permission and every grant of it
    DeletePermission => "permissions.delete", Delete "/permissions/{id}", Access::Permission(Authd::AccessWrite), 200 Done;

    /// Add a permission to a role
    AddRolePermission => "roles.add_permission", Post "/role-permissions", Access::Permission(Authd::AccessWrite), 200 Done;
    /// Remove a permission from a role
    RemoveRolePermission => "roles.remove_permission", Delete "/role-permissions", Access::Permission(Authd::AccessWrite), 200 Done;
    /// List the permissions of a role
    ListRolePermissions => "roles.list_permissions", Get "/roles/{id}/permissions", Access::Permission(Authd::AccessRead), 200 PermissionList;
    /// Add a role to a service
    AddServiceRole => "services.add_role", Post "/service-roles", Access::Permission(Authd::AccessWrite), 200 Done;
    /// Remove a role from a service
    RemoveServiceRole => "services.remove_role", Delete "/service-roles", Access::Permission(Authd::AccessWrite), 200 Done;
    /// List the roles of a service
    ListServiceRoles => "services.list_roles", Get "/services/{id}/roles", Access::Permission(Authd::AccessRead), 200 RoleList;

    /// Grant a person a role in a service
    GrantRole => "grants.add_role", Post "/person-service-roles", Access::Permission(Authd::AccessWrite), 200 Done;
    /// Revoke a role in a service from a person
    UngrantRole => "grants.remove_role", Delete "/person-service-roles", Access::Permission(Authd::AccessWrite), 200 Done;
    /// Grant a person a permission in a service
    GrantPermission => "grants.add_permission", Post "/person-service-permissions", Access::Permission(Authd::AccessWrite), 200 Done;
    /// Revoke a permission in a service from a person
    UngrantPermission => "grants.remove_permission", Delete "/person-service-permissions", Access::Permission(Authd::AccessWrite), 200 Done;
    /// List grants, optionally of one person or service
    ListGrants => "grants.list", Get "/grants", Access::Permission(Authd::AccessRead), 200 GrantList;
    /// List the roles that a person was granted in a service
    ListPersonRoles => "grants.list_roles", Get "/people/{id}/services/{service_id}/roles", Access::Permission(Authd::AccessRead), 200 RoleList;
    /// List the people who were granted a role in a service
    ListRolePeople => "grants.list_people", Get "/services/{id}/roles/{role_id}/people", Access::Permission(Authd::AccessRead), 200 super::users::UserList;
    /// List the services in which a person has a grant
    ListPersonServices => "grants.list_services", Get "/people/{id}/services", Access::Permission(Authd::AccessRead), 200 ServiceList;
}

/// Declares the requests that hold only ids.
macro_rules! by_ids {
    ($($name:ident { $($field:ident),* })*) => {$(
        /// The ids may be names.
        #[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $(pub $field: String,)*
        }
    )*};
}

by_ids! {
    ShowService { id }
    DeleteService { id }
    ShowRole { id }
    DeleteRole { id }
    ShowPermission { id }
    DeletePermission { id }
    AddRolePermission { role_id, permission_id }
    RemoveRolePermission { role_id, permission_id }
    AddServiceRole { service_id, role_id }
    RemoveServiceRole { service_id, role_id }
    GrantRole { person_id, service_id, role_id }
    UngrantRole { person_id, service_id, role_id }
    GrantPermission { person_id, service_id, permission_id }
    UngrantPermission { person_id, service_id, permission_id }
}

/// Declares the requests for a page of all entries, or of those that belong to these ids; `; prefix` is a filter.
macro_rules! pages {
    ($($name:ident { $($field:ident),* $(; $prefix:ident)? })*) => {$(
        /// A page, oldest first. The ids may be names.
        #[skip_serializing_none]
        #[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $(pub $field: String,)*
            pub limit: Option<Limit>,
            /// The `next_cursor` of the page before.
            #[schemars(extend("format" = "uuid"))]
            pub cursor: Option<String>,
            $(/// Only those whose name begins with this; case and Unicode form are ignored.
            pub $prefix: Option<String>,)?
        }
    )*};
}

pages! {
    ListServices { ; prefix }
    ListRoles { ; prefix }
    ListPermissions { ; prefix }
    ListRolePermissions { id }
    ListServiceRoles { id }
    ListPersonRoles { id, service_id }
    ListRolePeople { id, role_id }
    ListPersonServices { id }
}

/// A page of the tokens of a service, newest first.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListServiceTokens {
    /// The service's id or name.
    pub id: String,
    pub limit: Option<Limit>,
    /// The `next_cursor` of the page before.
    #[schemars(extend("format" = "uuid"))]
    pub cursor: Option<String>,
    /// Only tokens whose name begins with this.
    pub prefix: Option<String>,
    /// Only tokens that expire within so many seconds from now, and have not expired yet.
    #[schemars(range(min = 1, max = super::tokens::MAX_SECONDS))]
    pub expires_within: Option<u32>,
}

/// An application that asks authd what its users may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Service {
    pub id: ServiceId,
    pub name: String,
    #[serde(default)]
    pub description: String,
    pub status: Status,
    pub created_at: Time,
    pub updated_at: Time,
}

#[skip_serializing_none]
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateService {
    /// 1 to 128 characters; unique among the services that are not deleted.
    #[schemars(transform = names::schema)]
    pub name: String,
    /// At most 1,000 characters.
    #[schemars(length(max = MAX_DESCRIPTION), regex(pattern = patterns::without(NOT_IN_DESCRIPTION)))]
    pub description: Option<String>,
    pub status: Option<Status>,
}

#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateService {
    /// An id or a name.
    pub id: String,
    #[schemars(transform = names::schema)]
    pub name: Option<String>,
    #[schemars(length(max = MAX_DESCRIPTION), regex(pattern = patterns::without(NOT_IN_DESCRIPTION)))]
    pub description: Option<String>,
    pub status: Option<Status>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceList {
    pub services: Vec<Service>,
    #[serde(default)]
    pub next_cursor: Option<String>,
}

/// Creates a token of a service. At most one of `ttl_days` and `ttl_seconds`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(transform = super::tokens::one_ttl)]
pub struct CreateServiceToken {
    /// The service's id or name.
    pub id: String,
    /// The token's name; derived from the service's name if absent.
    #[schemars(transform = super::tokens::name)]
    pub name: Option<String>,
    /// Days until it expires, 1 to 36,500; if absent, it does not expire.
    #[schemars(range(min = 1, max = super::tokens::MAX_DAYS))]
    #[serde(default, deserialize_with = "number::whole_or_none")]
    pub ttl_days: Option<u32>,
    /// Seconds until it expires, 1 to 3,153,600,000.
    #[schemars(range(min = 1, max = super::tokens::MAX_SECONDS))]
    #[serde(default, deserialize_with = "number::whole_or_none")]
    pub ttl_seconds: Option<u32>,
}

/// A service token with its secret, which is shown only once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceToken {
    pub token: Secret,
    pub token_id: TokenId,
    pub service_id: ServiceId,
    pub name: String,
    pub expires_at: Option<Time>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeServiceToken {
    /// The service's id or name.
    pub id: String,
    pub token_id: TokenId,
}

/// A named set of permissions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Role {
    pub id: RoleId,
    pub name: String,
    pub status: Status,
    pub created_at: Time,
    pub updated_at: Time,
}

#[skip_serializing_none]
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateRole {
    /// 1 to 128 characters; unique among the roles that are not deleted.
    #[schemars(transform = names::schema)]
    pub name: String,
    pub status: Option<Status>,
}

#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateRole {
    /// An id or a name.
    pub id: String,
    #[schemars(transform = names::schema)]
    pub name: Option<String>,
    pub status: Option<Status>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RoleList {
    pub roles: Vec<Role>,
    #[serde(default)]
    pub next_cursor: Option<String>,
}

/// The name of an action; each service defines what it means. In the built-in service `authd` the names are authd's
/// own, such as `tokens.write`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Permission {
    pub id: PermissionId,
    pub name: String,
    pub created_at: Time,
    pub updated_at: Time,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreatePermission {
    /// 1 to 128 characters; unique among the permissions that are not deleted.
    #[schemars(transform = names::schema)]
    pub name: String,
}

#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdatePermission {
    /// An id or a name.
    pub id: String,
    #[schemars(transform = names::schema)]
    pub name: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PermissionList {
    pub permissions: Vec<Permission>,
    #[serde(default)]
    pub next_cursor: Option<String>,
}

/// A page of grants. Every filter is an id or a name.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListGrants {
    pub person_id: Option<String>,
    pub service_id: Option<String>,
    pub limit: Option<Limit>,
    /// The `next_cursor` of the page before.
    #[schemars(length(equal = GRANT_CURSOR), regex(pattern = "^[0-9A-Za-z-]*$"))]
    pub cursor: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GrantList {
    pub grants: Vec<Grant>,
    #[serde(default)]
    pub next_cursor: Option<String>,
}

/// What a person was granted in a service: either a role or a permission.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Grant {
    pub person_id: UserId,
    pub username: String,
    pub service_id: ServiceId,
    pub service: String,
    /// The role's name.
    pub role: Option<String>,
    /// The permission's name.
    pub permission: Option<String>,
    pub created_at: Time,
}
