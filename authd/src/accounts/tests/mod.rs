//! Signing in and being locked out, through the registry.

mod factors;
mod lockout;
mod owning;
mod signing_in;

use crate::sessions::tests::PASSWORD;
