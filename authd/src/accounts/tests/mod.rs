//! Signing in and being locked out, through the registry.

mod factors;
mod identities;
mod linking;
mod lockout;
mod owning;
mod passkeys;
mod signing_in;
mod step_up;

use crate::sessions::tests::PASSWORD;
