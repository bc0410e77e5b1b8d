//! The caller: one value, built once by the transport, that is passed to the operation and to the audit log.

use std::fmt;

use shared::id::{ServiceId, SessionId, TokenId, UserId};
use shared::op::Permission;
use uuid::Uuid;

/// The built-in service, whose permissions are authd's own ([`Permission`]).
pub const AUTHD: ServiceId = ServiceId(Uuid::from_u128(0x0000_0000_0000_7000_8000_6175_7468_6400));

/// The caller of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A caller without credentials.
    Anonymous,
    /// The holder of `ADMIN_TOKEN`.
    AdminToken,
    /// An API token, with the SHA-256 of the presented secret and its permissions on authd.
    Token { id: TokenId, hash: [u8; 32], permissions: Permissions },
    /// A person, by a login session.
    User { id: UserId, username: String, session: SessionId, permissions: Permissions },
    /// A service, by its own token (`hash`: the SHA-256 of the presented secret). It may only ask about its
    /// users.
    Service { token: TokenId, hash: [u8; 32], service: ServiceId },
    /// A process on this machine over the admin socket, identified by the kernel.
    Peer { uid: u32, user: String, permissions: Permissions },
    /// A person's device session, only inside the CLI login.
    Device { user: String },
    /// The daemon itself.
    System,
}

impl Caller {
    /// Whether the caller has this permission of the built-in service `authd`.
    pub fn can(&self, permission: Permission) -> bool {
        self.permissions().contain(permission)
    }

    /// Whether the caller is this API token, including service tokens.
    pub fn is_token(&self, token: TokenId) -> bool {
        matches!(self, Self::Token { id, .. } | Self::Service { token: id, .. } if *id == token)
    }

    /// The caller where management is elsewhere: without what operators may do. Asking about tokens is of services.
    pub fn without_management(self) -> Option<Self> {
        let kept = |permissions: Permissions| permissions & Permissions::from_iter([Permission::TokensIntrospect]);
        Some(match self {
            Self::AdminToken => return None,
            Self::Token { id, hash, permissions } => Self::Token { id, hash, permissions: kept(permissions) },
            Self::User { id, username, session, permissions } => {
                Self::User { id, username, session, permissions: kept(permissions) }
            }
            other => other,
        })
    }

    /// All permissions of the caller on the built-in service `authd`.
    pub fn permissions(&self) -> Permissions {
        match self {
            Self::AdminToken | Self::System => Permissions::ALL,
            Self::Token { permissions, .. } | Self::Peer { permissions, .. } | Self::User { permissions, .. } => {
                *permissions
            }
            Self::Anonymous | Self::Device { .. } | Self::Service { .. } => Permissions::NONE,
        }
    }
}

/// The name of the caller in the audit log.
impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("anonymous"),
            Self::AdminToken => f.write_str("admin-token"),
            Self::Token { id, .. } => write!(f, "token:{id}"),
            Self::User { id, username, .. } => write!(f, "user:{username}({id})"),
            Self::Service { token, service, .. } => write!(f, "service:{service}(token:{token})"),
            Self::Peer { uid, user, .. } => write!(f, "socket:{user}({uid})"),
            Self::Device { user } => write!(f, "device:{user}"),
            Self::System => f.write_str("authd"),
        }
    }
}

/// A set of permissions.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Permissions(u32);

impl Permissions {
    pub const NONE: Self = Self(0);
    pub const ALL: Self = Self(1 << Permission::Admin as u32);

    /// `admin` contains every permission.
    pub fn contain(self, permission: Permission) -> bool {
        let bits = (1 << permission as u32) | Self::ALL.0;
        self.0 & bits != 0
    }

    /// Each permission of the set; `admin` stands for all.
    pub fn iter(self) -> impl Iterator<Item = Permission> {
        Permission::ALL.iter().copied().filter(move |permission| self.0 & (1 << *permission as u32) != 0)
    }
}

impl FromIterator<Permission> for Permissions {
    fn from_iter<I: IntoIterator<Item = Permission>>(permissions: I) -> Self {
        Self(permissions.into_iter().fold(0, |bits, permission| bits | 1 << permission as u32))
    }
}

impl std::ops::BitAnd for Permissions {
    type Output = Self;

    /// `admin` is every permission.
    fn bitand(self, other: Self) -> Self {
        match (self.0 & Self::ALL.0, other.0 & Self::ALL.0) {
            (0, 0) => Self(self.0 & other.0),
            (0, _) => self,
            _ => other,
        }
    }
}

impl std::ops::BitOr for Permissions {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Debug for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Permission::as_str)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admin_contains_everything_and_nothing_else_does() {
        for permission in Permission::ALL {
            assert!(Permissions::ALL.contain(*permission));
            assert!(!Permissions::NONE.contain(*permission));
        }
        let reader = Permissions::from_iter([Permission::TokensRead]);
        assert!(reader.contain(Permission::TokensRead));
        assert!(!reader.contain(Permission::TokensWrite) && !reader.contain(Permission::Admin));
    }
}
