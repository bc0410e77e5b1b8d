//! Secret strings: wiped when dropped, redacted in `Debug`, compared in constant time.

use std::fmt;

use schemars::JsonSchema;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A secret that is sent between programs. `Serialize` writes it in clear, for the wire; nothing else
/// does.
#[derive(Clone, Default, JsonSchema)]
#[schemars(inline, with = "String", description = "", extend("format" = "password"))]
pub struct Secret(Zeroizing<String>);

impl Secret {
    pub fn new(value: impl Into<String>) -> Self {
        Self(Zeroizing::new(value.into()))
    }

    /// A secret from a variable, a file or a credential, by the same rule for each: white space around it is not a part
    /// of it, because editors and `echo` add a line end. `None` if nothing is left: an empty one is not set.
    pub fn read(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty()).then(|| Self::new(text))
    }

    /// The secret in clear. Check each call in review.
    pub fn expose(&self) -> &str {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Keeps what this process has in memory out of core dumps (`PR_SET_DUMPABLE`), and other processes of the same user from
/// reading it. It does not hold for programs that this one executes. Call it first in `main`.
pub fn forbid_core_dumps() {
    // It cannot fail on Linux; elsewhere there is nothing of the kind.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

/// Serializes an optional secret (serde passes a reference) as redacted text, with `#[serde(serialize_with = "redacted")]`.
///
/// # Errors
/// Returns the serializer's errors.
pub fn redacted<S: Serializer>(_: &Option<Secret>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str("[redacted]")
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for Secret {}

impl From<String> for Secret {
    fn from(value: String) -> Self {
        Self::new(value)
    }
}

impl From<&str> for Secret {
    fn from(value: &str) -> Self {
        Self::new(value)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SecretVisitor;

        impl Visitor<'_> for SecretVisitor {
            type Value = Secret;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            // serde's own error would quote the value.
            fn visit_bool<E: de::Error>(self, _: bool) -> Result<Secret, E> {
                Err(E::custom("expected a string"))
            }

            fn visit_i64<E: de::Error>(self, _: i64) -> Result<Secret, E> {
                Err(E::custom("expected a string"))
            }

            fn visit_u64<E: de::Error>(self, _: u64) -> Result<Secret, E> {
                Err(E::custom("expected a string"))
            }

            fn visit_f64<E: de::Error>(self, _: f64) -> Result<Secret, E> {
                Err(E::custom("expected a string"))
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<Secret, E> {
                Ok(Secret::new(value))
            }

            fn visit_string<E: de::Error>(self, value: String) -> Result<Secret, E> {
                Ok(Secret::new(value))
            }
        }

        // Not deserialize_string: serde_json would reject a number itself and quote it.
        deserializer.deserialize_any(SecretVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "[redacted]");
    }

    #[test]
    fn a_secret_is_what_stands_between_white_space() {
        for text in ["hunter2", "hunter2\n", " hunter2\r\n\n"] {
            assert_eq!(Secret::read(text), Some("hunter2".into()), "{text:?}");
        }
        assert_eq!(Secret::read("hunter 2"), Some("hunter 2".into()));
        assert!(["", "\n", " \t"].iter().all(|text| Secret::read(text).is_none()));
    }

    #[test]
    fn a_wrong_type_is_refused_without_naming_the_value() {
        let error = serde_json::from_str::<Secret>("12345678").unwrap_err().to_string();
        assert!(error.contains("expected a string") && !error.contains("12345678"), "{error}");
    }
}
