//! Typed ids: UUIDs of different kinds are different types.

/// Declares the types of ids.
macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(transparent)]
        pub struct $name(pub uuid::Uuid);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                uuid::Uuid::try_parse(text).map(Self)
            }
        }
    )*};
}

ids! {
    /// An API token. Not a secret: it identifies the token in lists and logs.
    TokenId;
    /// A session of any kind.
    SessionId;
    /// A person.
    UserId;
    /// A service.
    ServiceId;
    /// A role.
    RoleId;
    /// A permission.
    PermissionId;
    /// An entry of the audit log.
    AuditId;
}
