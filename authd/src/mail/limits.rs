//! How many mails people may ask for: by network, in all, and by address.
//!
//! Counted in the ephemeral store by the hour. A network that asks too often is refused before it counts against the
//! others, and an address that gets too many does not count in all.

use std::net::IpAddr;

use sha2::{Digest, Sha256};
use shared::problem::Code;

use super::Config;
use crate::base::Base;
use crate::env::{HOUR, SECOND};
use crate::error::{Error, Result};
use crate::network;

/// Counts one mail, or refuses it.
pub(super) async fn count(base: &Base, config: &Config, folded: &str, address: Option<IpAddr>) -> Result<()> {
    let hour = base.now().div_euclid(HOUR);
    let is_below = async |key: &str, limit: u32| -> Result<bool> {
        Ok(base.ephemeral.increment(key, HOUR).await? <= i64::from(limit))
    };
    if let Some(address) = address {
        let key = format!("mail:{hour}:network:{}", network::masked(address, 24, 56));
        if !is_below(&key, config.per_network_per_hour).await? {
            return Err(limited(base, "too many mails were asked for from this network"));
        }
    }
    let all = format!("mail:{hour}:all");
    // Operators ask for mails too, when others have asked for all there are.
    if address.is_some() && !is_below(&all, config.per_hour).await? {
        return Err(limited(base, "too many mails were asked for"));
    }
    // A hash: the store is also where others may look.
    let key = format!("mail:{hour}:address:{}", hex::encode(Sha256::digest(folded)));
    if !is_below(&key, config.per_address_per_hour).await? {
        if address.is_some() {
            base.ephemeral.take_back(&all).await?;
        }
        return Err(limited(base, "too many mails to this address were asked for"));
    }
    Ok(())
}

/// The error until the next hour begins.
fn limited(base: &Base, what: &str) -> Error {
    let left = HOUR - base.now().rem_euclid(HOUR);
    let seconds = u64::try_from(left.div_euclid(SECOND) + 1).unwrap_or(1);
    let detail = format!("{what}; try again in {} min", seconds.div_ceil(60));
    Error::new(Code::RateLimited, detail).retry_after(seconds)
}
