//! The policy of [`shared::passwords`], with authd's errors.

use shared::secret::Secret;

use crate::error::{Error, Result};

/// Refuses a password of this field that breaks the policy: see [`shared::passwords::check`].
pub fn check(field: &str, password: &Secret, names: &[&str]) -> Result<()> {
    shared::passwords::check(password, names).map_err(|detail| Error::field(field, detail))
}
