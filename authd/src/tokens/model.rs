//! The types and rules of tokens: no I/O, no clock.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ipnet::IpNet;
use serde_json::json;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use shared::api::tokens::{
    CreateToken, MAX_CIDRS, MAX_DAYS, MAX_METADATA, MAX_NAME, MAX_SCOPE, MAX_SCOPES, MAX_SECONDS, TokenFault,
};
use shared::id::{ServiceId, TokenId};
use shared::op::{Permission, SCOPE_PREFIX};
use shared::problem::Code;
use shared::secret::Secret;
use shared::time::Time;
use uuid::Uuid;

use crate::authority::MAX_GRACE;
use crate::cache::Hash;
use crate::caller::Permissions;
use crate::env::{DAY, Millis, SECOND, is_ahead};
use crate::error::{Error, Result};

/// Random bytes in a token.
pub const RANDOM: usize = 28;
/// Characters after the prefix: base64url of 32 bytes.
const ENCODED: usize = 43;
/// Bytes; longer texts are refused without a look-up.
pub const MAX_TOKEN: usize = 512;

/// SHA-256 of a whole token, the only stored form of it.
pub fn hash(token: &str) -> Hash {
    Sha256::digest(token.as_bytes()).into()
}

/// A new token: prefix and base64url of 28 random bytes and their CRC-32 (with the prefix), big-endian, so that
/// scanners and the daemon refuse a malformed one without a look-up.
pub fn mint(prefix: &str, random: &[u8; RANDOM]) -> Secret {
    let mut bytes = [0; RANDOM + 4];
    bytes[..RANDOM].copy_from_slice(random);
    bytes[RANDOM..].copy_from_slice(&checksum(prefix, random).to_be_bytes());
    Secret::new(format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes)))
}

fn checksum(prefix: &str, random: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(prefix.as_bytes());
    crc.update(random);
    crc.finalize()
}

/// Whether the text has the form of a token, its checksum included. Non-zero trailing bits are refused, so that a
/// token has one spelling.
pub fn is_well_formed(prefix: &str, token: &str) -> bool {
    let Some(encoded) = token.strip_prefix(prefix).filter(|encoded| encoded.len() == ENCODED) else { return false };
    let mut bytes = [0; RANDOM + 4];
    let is_decoded = URL_SAFE_NO_PAD.decode_slice(encoded, &mut bytes) == Ok(RANDOM + 4);
    let (random, crc) = bytes.split_at(RANDOM);
    is_decoded && checksum(prefix, random).to_be_bytes() == crc
}

/// The scopes of a token, shared by all cached tokens with the same scopes.
#[derive(Debug)]
pub struct Scopes {
    pub list: Vec<String>,
    /// The same as a JSON array.
    pub json: Box<RawValue>,
    /// The same separated by spaces, as an OAuth scope (RFC 6749 §3.3).
    pub text: Box<str>,
    /// Their permissions on authd itself.
    pub permissions: Permissions,
    /// The service, if it is a service token: see [`service_scope`].
    pub service: Option<ServiceId>,
}

/// The one scope of a service token. It begins with authd's reserved prefix, so it cannot be requested like other
/// scopes.
pub fn service_scope(service: ServiceId) -> String {
    format!("{SCOPE_PREFIX}service:{service}")
}

/// The service of a scope, if it is the scope of a service token.
pub fn service_of(scope: &str) -> Option<ServiceId> {
    scope.strip_prefix(SCOPE_PREFIX)?.strip_prefix("service:")?.parse().ok()
}

/// The permission on authd that is required to create a token with this scope.
pub fn permission_to_grant(scope: &str) -> Option<Permission> {
    Permission::from_scope(scope).or_else(|| service_of(scope).map(|_| Permission::AccessWrite))
}

impl Scopes {
    pub fn from_json(json: &str) -> Result<Self> {
        let list: Vec<String> = serde_json::from_str(json).map_err(Error::internal)?;
        let permissions = list.iter().filter_map(|scope| Permission::from_scope(scope)).collect();
        let service = list.iter().find_map(|scope| service_of(scope));
        let json = RawValue::from_string(json.to_owned()).map_err(Error::internal)?;
        Ok(Self { text: list.join(" ").into(), list, json, permissions, service })
    }

    fn contain(&self, scope: &str) -> bool {
        self.list.iter().any(|held| held == scope)
    }
}

/// A secret of a token with its scopes and limits, as cached.
#[derive(Debug)]
pub struct CachedToken {
    pub token_id: TokenId,
    pub scopes: Arc<Scopes>,
    pub name: Box<str>,
    /// When the token expires; `Millis::MAX` is never.
    pub expires_at: Millis,
    /// When this secret expires because another one replaced it; `Millis::MAX` if none did.
    pub replaced_until: Millis,
    pub revoked: bool,
    /// The networks it may be used from; empty means any.
    pub cidrs: Box<[IpNet]>,
    /// The period in which its use was last recorded.
    pub marked: AtomicU32,
}

/// Why a token is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    NotFound,
    Revoked,
    Expired,
    /// The required scopes that it lacks.
    Scopes(Vec<String>),
    /// The address is not allowed or not known.
    Address,
}

impl Refusal {
    pub fn fault(&self) -> TokenFault {
        match self {
            Self::NotFound => TokenFault::TokenNotFound,
            Self::Revoked => TokenFault::TokenRevoked,
            Self::Expired => TokenFault::TokenExpired,
            Self::Scopes(_) => TokenFault::InsufficientScopes,
            Self::Address => TokenFault::AddressNotAllowed,
        }
    }

    /// The text for people; safe to show.
    pub fn detail(&self) -> Cow<'static, str> {
        match self {
            Self::NotFound => "no token has this secret".into(),
            Self::Revoked => "the token has been revoked".into(),
            Self::Expired => "the token, or this secret of it, has expired".into(),
            Self::Scopes(missing) => format!("the token lacks: {}", missing.join(", ")).into(),
            Self::Address => "the token may not be used from this address (the service passes it as client_ip)".into(),
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::new(Code::InvalidToken, refusal.detail())
    }
}

impl CachedToken {
    /// When it expires; `None` if never.
    pub fn expires_at(&self) -> Option<Millis> {
        Some(self.expires_at.min(self.replaced_until)).filter(|end| *end != Millis::MAX)
    }

    /// Decides about one use. The identity may come from a cache; scopes, time and address are judged each time.
    pub fn judge(&self, now: Millis, required: &[String], address: Option<IpAddr>) -> Result<(), Refusal> {
        if self.revoked {
            return Err(Refusal::Revoked);
        }
        let is_replaced = self.replaced_until != Millis::MAX && !is_ahead(self.replaced_until, now, MAX_GRACE);
        if self.expires_at <= now || is_replaced {
            return Err(Refusal::Expired);
        }
        if !self.cidrs.is_empty() && !address.is_some_and(|address| self.covers(address)) {
            return Err(Refusal::Address);
        }
        if required.iter().all(|scope| self.scopes.contain(scope)) {
            return Ok(());
        }
        Err(Refusal::Scopes(required.iter().filter(|scope| !self.scopes.contain(scope)).cloned().collect()))
    }

    /// An IPv4-mapped IPv6 address is compared as the IPv4 address.
    fn covers(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.cidrs.iter().any(|cidr| cidr.contains(&address))
    }
}

/// Checks a token's name: 1 to 128 characters, no control characters, no space at the ends, and not like an id, since
/// a path may have either.
pub fn check_name(name: &str) -> Result<()> {
    if name.trim() != name || name.is_empty() || name.chars().count() > MAX_NAME || name.chars().any(char::is_control) {
        return Err(Error::field("name", format!("expected 1 to {MAX_NAME} characters without space at the ends")));
    }
    if Uuid::try_parse(name).is_ok() {
        return Err(Error::field("name", "a name must not look like an id"));
    }
    Ok(())
}

/// Checks scopes: tokens of RFC 6749 §3.3; `authd:` is reserved for authd's own permissions.
pub fn check_scopes(scopes: &[String]) -> Result<()> {
    if scopes.is_empty() || scopes.len() > MAX_SCOPES {
        return Err(Error::field("scopes", format!("expected 1 to {MAX_SCOPES} scopes")));
    }
    for (index, scope) in scopes.iter().enumerate() {
        let refused = |detail: String| Err(Error::field(&format!("scopes[{index}]"), detail));
        let is_printable = |byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        if scope.is_empty() || scope.len() > MAX_SCOPE || !scope.bytes().all(is_printable) {
            let expected = "printable ASCII characters without space, quote and backslash";
            return refused(format!("expected 1 to {MAX_SCOPE} {expected}"));
        }
        if scope.starts_with(SCOPE_PREFIX) && Permission::from_scope(scope).is_none() {
            let known: Vec<&str> = Permission::ALL.iter().map(|permission| permission.scope()).collect();
            return refused(format!("scopes that begin with {SCOPE_PREFIX} are: {}", known.join(", ")));
        }
        if scopes[..index].contains(scope) {
            return refused("named twice".into());
        }
    }
    Ok(())
}

/// Checks a new token except its name and scopes, and returns its expiry.
pub fn check_terms(op: &CreateToken, now: Millis) -> Result<Option<Millis>> {
    if op.cidrs.len() > MAX_CIDRS {
        return Err(Error::field("cidrs", format!("at most {MAX_CIDRS}")));
    }
    let metadata_length = op.metadata.as_ref().map_or(0, |metadata| json!(metadata).to_string().len());
    if metadata_length > MAX_METADATA {
        return Err(Error::field("metadata", format!("at most {MAX_METADATA} bytes of JSON")));
    }
    let ttl = length("ttl_", op.ttl_days, op.ttl_seconds)?;
    match (ttl, op.expires_at) {
        (Some(_), Some(_)) => Err(Error::field("expires_at", "give either expires_at or the time until then")),
        (Some(ttl), None) => Ok(Some(now.saturating_add(ttl))),
        (None, Some(at)) if at.millis() <= now => Err(Error::field("expires_at", "is not in the future")),
        (None, at) => Ok(at.map(Time::millis)),
    }
}

/// Checks the filter by what expires soon, in seconds.
pub fn check_within(seconds: Option<u32>) -> Result<()> {
    if seconds.is_none_or(|seconds| (1..=MAX_SECONDS).contains(&seconds)) {
        return Ok(());
    }
    Err(Error::field("expires_within", format!("expected a number of seconds from 1 to {MAX_SECONDS}")))
}

/// The length of time in one of the fields `{stem}days` and `{stem}seconds`, if one is given.
pub fn length(stem: &str, days: Option<u32>, seconds: Option<u32>) -> Result<Option<Millis>> {
    let refused = |unit: &str, detail: String| Err(Error::field(&format!("{stem}{unit}"), detail));
    let (unit, number, most, millis) = match (days, seconds) {
        (Some(_), Some(_)) => return refused("seconds", format!("give either {stem}days or {stem}seconds")),
        (Some(days), None) => ("days", days, MAX_DAYS, DAY),
        (None, Some(seconds)) => ("seconds", seconds, MAX_SECONDS, SECOND),
        (None, None) => return Ok(None),
    };
    if (1..=most).contains(&number) {
        Ok(Some(Millis::from(number) * millis))
    } else {
        refused(unit, format!("expected a number of {unit} from 1 to {most}"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token(scopes: &[&str]) -> CachedToken {
        CachedToken {
            token_id: TokenId(Uuid::nil()),
            scopes: Arc::new(Scopes::from_json(&serde_json::to_string(scopes).unwrap()).unwrap()),
            name: "n".into(),
            expires_at: 1_000,
            replaced_until: Millis::MAX,
            revoked: false,
            cidrs: Box::default(),
            marked: AtomicU32::new(0),
        }
    }

    #[test]
    fn a_replaced_secret_is_good_for_its_grace_and_never_for_longer() {
        let year = 365 * DAY;
        let secret = CachedToken { expires_at: Millis::MAX, replaced_until: 30 * DAY, ..token(&["read"]) };
        for (now, is_good) in [(0, true), (30 * DAY - 1, true), (30 * DAY, false), (-year, false)] {
            assert_eq!(secret.judge(now, &[], None).is_ok(), is_good, "at {now}");
        }
    }

    fn strings(items: &[&str]) -> Vec<String> {
        items.iter().map(|item| (*item).to_owned()).collect()
    }

    #[test]
    fn a_minted_token_is_well_formed_and_each_change_of_it_is_not() {
        let token = mint("amp_live_", &[7; RANDOM]);
        let token = token.expose();
        assert_eq!(token.len(), 9 + ENCODED);
        assert!(is_well_formed("amp_live_", token));
        assert!(!is_well_formed("other_", token) && !is_well_formed("amp_live_", &token[1..]));
        for position in 0..token.len() {
            for replacement in ["A", "b", "_", "é", " "] {
                let mut changed = token.to_owned();
                changed.replace_range(position..=position, replacement);
                assert_eq!(is_well_formed("amp_live_", &changed), changed == token, "{changed}");
            }
        }
    }

    #[test]
    fn a_token_has_one_spelling() {
        let token = mint("p_", &[1; RANDOM]).expose().to_owned();
        let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let spellings = alphabet.chars().filter(|last| {
            let mut other = token[..token.len() - 1].to_owned();
            other.push(*last);
            is_well_formed("p_", &other)
        });
        assert_eq!(spellings.count(), 1);
    }

    proptest! {
        #[test]
        fn any_text_is_judged_without_panic(text in "\\PC{0,80}") {
            is_well_formed("amp_live_", &text);
            is_well_formed("", &text);
            let prefixed = ["amp_live_", &text].concat();
            prop_assert!(!is_well_formed("amp_live_", &prefixed) || text.len() == ENCODED);
        }
    }

    #[test]
    fn all_required_scopes_must_be_held() {
        let token = token(&["read", "write"]);
        assert_eq!(token.judge(0, &[], None), Ok(()));
        assert_eq!(token.judge(0, &strings(&["write", "read"]), None), Ok(()));
        let refusal = token.judge(0, &strings(&["read", "admin", "x"]), None).unwrap_err();
        assert_eq!(refusal, Refusal::Scopes(strings(&["admin", "x"])));
        assert_eq!(refusal.detail(), "the token lacks: admin, x");
    }

    #[test]
    fn it_ends_at_the_moment_it_expires() {
        assert_eq!(token(&["a"]).judge(999, &[], None), Ok(()));
        assert_eq!(token(&["a"]).judge(1_000, &[], None), Err(Refusal::Expired));
    }

    #[test]
    fn an_address_is_needed_where_networks_are_named() {
        let token = CachedToken { cidrs: vec!["10.0.0.0/8".parse().unwrap()].into(), ..token(&["a"]) };
        let judge = |address: Option<&str>| token.judge(0, &[], address.map(|text| text.parse().unwrap()));
        assert_eq!(judge(Some("10.1.2.3")), Ok(()));
        assert_eq!(judge(Some("::ffff:10.1.2.3")), Ok(()));
        for address in [None, Some("11.0.0.1"), Some("::1")] {
            assert_eq!(judge(address), Err(Refusal::Address), "{address:?}");
        }
    }

    #[test]
    fn names_and_scopes_are_bounded() {
        for name in ["", " a", "a ", "a\nb", "0190a6f0-0000-7000-8000-000000000000", &"x".repeat(129)] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
        check_name("Ωmega builds").unwrap();
        for scopes in [&[][..], &[""], &["a b"], &["a\""], &["é"], &["a", "a"], &["authd:everything"]] {
            assert!(check_scopes(&strings(scopes)).is_err(), "{scopes:?}");
        }
        check_scopes(&strings(&["admin", "s3:GetObject", "authd:tokens.read"])).unwrap();
    }
}
