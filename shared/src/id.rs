//! Typed ids: UUIDs of different kinds are different types.

/// Declares the types of ids.
macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, schemars::JsonSchema)]
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
                // The one spelling that the schema's format describes: 36 characters with hyphens.
                text.parse::<uuid::fmt::Hyphenated>().map(|id| Self(id.into_uuid()))
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl serde::de::Visitor<'_> for Visitor {
                    type Value = $name;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("an id such as 01900000-0000-7000-8000-000000000000")
                    }

                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(|_| E::invalid_value(serde::de::Unexpected::Str(text), &self))
                    }
                }
                deserializer.deserialize_str(Visitor)
            }
        }
    )*};
}

ids! {
    /// A backup of the database that is being made or read.
    BackupId;
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
    /// A second factor.
    FactorId;
    /// A linked identity at an OpenID provider.
    IdentityId;
    /// A mail.
    MailId;
    /// An uploaded file. Not a secret: access to it is checked.
    FileId;
    /// An entry of the audit log.
    AuditId;
}
