//! Identities, what a request requires of them, and how a request carries its token.

use http::{HeaderMap, HeaderValue, Method, header};

use super::cache::Keep;
use super::denial::{Denial, Reason};
use crate::api::checks::{CheckedToken, SessionFault};
use crate::api::tokens::{TokenFault, Validation};
use crate::id::{ServiceId, TokenId, UserId};
use crate::secret::Secret;
use crate::time::Time;

/// Whether a request only reads. A read may use an answer of the last minute from the cache; a write asks authd every
/// time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Use {
    Read,
    Write,
}

impl Use {
    /// GET, HEAD and OPTIONS read; everything else writes.
    pub fn of(method: &Method) -> Self {
        match *method {
            Method::GET | Method::HEAD | Method::OPTIONS => Self::Read,
            _ => Self::Write,
        }
    }
}

/// A valid API token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenIdentity {
    pub token_id: TokenId,
    pub name: String,
    /// All scopes of the token.
    pub scopes: Vec<String>,
    /// When it expires, if it does.
    pub expires_at: Option<Time>,
}

impl TokenIdentity {
    pub(super) fn new(answer: Validation) -> Result<Self, Denial> {
        let Validation { scopes, expires_at, .. } = answer;
        match (answer.valid, answer.token_id, answer.name) {
            (true, Some(token_id), Some(name)) => return Ok(Self { token_id, name, scopes, expires_at }),
            (true, ..) => return Err(incomplete()),
            (false, ..) => {}
        }
        let (reason, detail) = match answer.error {
            Some(TokenFault::TokenExpired) => (Reason::Expired, "the token has expired"),
            Some(TokenFault::TokenRevoked) => (Reason::Revoked, "the token was revoked"),
            Some(TokenFault::AddressNotAllowed) => {
                (Reason::AddressNotAllowed, "the token may not be used from this address")
            }
            Some(TokenFault::InsufficientScopes) => (Reason::InsufficientScope, "the token lacks a required scope"),
            Some(TokenFault::TokenNotFound) | None => return Err(Denial::unknown()),
        };
        Err(Denial::new(reason, detail))
    }

    /// All of the scopes must be held.
    pub(super) fn decide<S: AsRef<str>>(&self, scopes: &[S]) -> Result<(), Denial> {
        let scopes = || scopes.iter().map(AsRef::as_ref);
        let missing: Vec<_> = scopes().filter(|scope| !self.scopes.iter().any(|held| held == scope)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let detail = format!("the token lacks: {}", missing.join(" "));
        Err(Denial::new(Reason::InsufficientScope, detail).requiring(scopes()))
    }
}

impl Keep for TokenIdentity {
    const PARTS_OF_LIFE: u32 = 1;

    fn heap_bytes(&self) -> usize {
        self.name.len() + text_bytes(&self.scopes)
    }

    fn expires_at(&self) -> Option<Time> {
        self.expires_at
    }
}

/// A person who is signed in, and what they may do in this service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserIdentity {
    pub user_id: UserId,
    pub username: String,
    /// The person's name, for showing.
    pub name: String,
    /// The service that `roles` and `permissions` are about; absent when neither a service nor its token was named.
    pub service_id: Option<ServiceId>,
    pub roles: Vec<String>,
    pub permissions: Vec<String>,
    /// When the session ends unless it is used again.
    pub expires_at: Time,
}

impl UserIdentity {
    pub(super) fn new(answer: CheckedToken) -> Result<Self, Denial> {
        match (answer.valid, answer.payload, answer.expires_at, answer.error) {
            (true, Some(payload), Some(expires_at), _) => Ok(Self {
                user_id: payload.user_id,
                username: payload.username,
                name: payload.name,
                service_id: payload.service_id,
                roles: payload.roles.unwrap_or_default(),
                permissions: payload.permissions.unwrap_or_default(),
                expires_at: Time::from_millis(expires_at.saturating_mul(1000)),
            }),
            (true, ..) => Err(incomplete()),
            (false, _, _, Some(SessionFault::NoAccess)) => {
                Err(Denial::new(Reason::NotPermitted, "no access to this service"))
            }
            (false, ..) => Err(Denial::new(Reason::Unknown, "the session is unknown or has ended")),
        }
    }

    pub(super) fn decide(&self, required: &Required) -> Result<(), Denial> {
        if self.service_id.is_none() && !required.is_nothing() {
            let detail = "the authd client of this service is not configured with a service";
            return Err(Denial::new(Reason::Misconfigured, detail));
        }
        let lacks = |held: &[String], name: &String| !held.contains(name);
        let permissions = required.permissions.iter().filter(|name| lacks(&self.permissions, name));
        let roles = required.roles.iter().filter(|name| lacks(&self.roles, name));
        let missing: Vec<_> = permissions.chain(roles).map(String::as_str).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let detail = format!("{} lacks: {}", self.username, missing.join(", "));
        Err(Denial::new(Reason::NotPermitted, detail).requiring(required.permissions.iter().map(String::as_str)))
    }
}

impl Keep for UserIdentity {
    /// Only a call to authd extends a session, so the library asks again halfway to its end.
    const PARTS_OF_LIFE: u32 = 2;

    fn heap_bytes(&self) -> usize {
        self.username.len() + self.name.len() + text_bytes(&self.roles) + text_bytes(&self.permissions)
    }

    fn expires_at(&self) -> Option<Time> {
        Some(self.expires_at)
    }
}

fn incomplete() -> Denial {
    Denial::new(Reason::Misconfigured, "the authentication service's answer is not whole")
}

/// Includes the allocator's rounding.
fn text_bytes(texts: &[String]) -> usize {
    texts.iter().map(|text| size_of::<String>() + text.len().next_multiple_of(16)).sum()
}

/// What a person must have in this service: all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Required {
    permissions: Vec<String>,
    roles: Vec<String>,
}

impl Required {
    /// Being signed in, with access to the service, is enough.
    pub fn nothing() -> Self {
        Self::default()
    }

    pub fn permission(name: impl Into<String>) -> Self {
        Self::nothing().and_permission(name)
    }

    pub fn role(name: impl Into<String>) -> Self {
        Self::nothing().and_role(name)
    }

    #[must_use]
    pub fn and_permission(mut self, name: impl Into<String>) -> Self {
        self.permissions.push(name.into());
        self
    }

    #[must_use]
    pub fn and_role(mut self, name: impl Into<String>) -> Self {
        self.roles.push(name.into());
        self
    }

    fn is_nothing(&self) -> bool {
        self.permissions.is_empty() && self.roles.is_empty()
    }
}

/// The longest token that is sent to authd, in bytes.
const MAX_TOKEN: usize = 4096;

/// The token of a request: from `Authorization: Bearer` or from the header `token`. Two tokens are refused, since
/// a proxy in front of the service may have checked the other one.
pub fn presented(headers: &HeaderMap) -> Result<Secret, Denial> {
    let malformed = || Denial::new(Reason::Malformed, "the token's header cannot be read");
    let ambiguous = || Denial::new(Reason::Malformed, "the request carries more than one token; send one");
    let mut found = None;
    let mut authorizations = headers.get_all(header::AUTHORIZATION).iter();
    if let Some(value) = authorizations.next() {
        if authorizations.next().is_some() {
            return Err(ambiguous());
        }
        let text = value.to_str().map_err(|_| malformed())?;
        // Other schemes are ignored, for example a proxy's password.
        if let Some((scheme, token)) = text.split_once(' ')
            && scheme.eq_ignore_ascii_case("Bearer")
        {
            found = Some(token.trim());
        }
    }
    for value in headers.get_all("token") {
        let token = HeaderValue::to_str(value).map_err(|_| malformed())?.trim();
        if found.replace(token).is_some() {
            return Err(ambiguous());
        }
    }
    let token = found.unwrap_or_default();
    check_form(token)?;
    Ok(Secret::new(token))
}

/// Refuses text that cannot be a token without asking authd.
pub(super) fn check_form(token: &str) -> Result<(), Denial> {
    if token.is_empty() {
        return Err(Denial::missing());
    }
    let is_plain = token.len() <= MAX_TOKEN && token.bytes().all(|byte| byte.is_ascii_graphic());
    if is_plain { Ok(()) } else { Err(Denial::unknown()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::sessions::Payload;

    #[test]
    fn one_token_in_one_header() {
        let many = "x".repeat(MAX_TOKEN + 1);
        for (lines, expected) in [
            (&[][..], Err(Reason::Missing)),
            (&[("authorization", "Bearer abc")], Ok("abc")),
            (&[("authorization", "bEARER  abc ")], Ok("abc")),
            (&[("token", "abc")], Ok("abc")),
            (&[("authorization", "Basic eDp5"), ("token", "abc")], Ok("abc")),
            (&[("authorization", "Basic eDp5")], Err(Reason::Missing)),
            (&[("authorization", "Bearer")], Err(Reason::Missing)),
            (&[("authorization", "Bearer ")], Err(Reason::Missing)),
            (&[("token", "")], Err(Reason::Missing)),
            (&[("authorization", "Bearer abc"), ("token", "abc")], Err(Reason::Malformed)),
            (&[("authorization", "Bearer "), ("token", "abc")], Err(Reason::Malformed)),
            (&[("authorization", "Bearer a"), ("authorization", "Bearer b")], Err(Reason::Malformed)),
            (&[("authorization", "Basic a"), ("authorization", "Bearer b")], Err(Reason::Malformed)),
            (&[("token", "a"), ("token", "a")], Err(Reason::Malformed)),
            (&[("authorization", "Bearer a b")], Err(Reason::Unknown)),
            (&[("authorization", "Bearer \u{e4}")], Err(Reason::Malformed)),
            (&[("token", &many)], Err(Reason::Unknown)),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
            }
            let found = presented(&headers).map_err(|denial| denial.reason());
            assert_eq!(found, expected.map(Secret::new), "{lines:?}");
        }
    }

    #[test]
    fn only_safe_methods_read() {
        for (method, expected) in [
            ("GET", Use::Read),
            ("HEAD", Use::Read),
            ("OPTIONS", Use::Read),
            ("POST", Use::Write),
            ("PUT", Use::Write),
            ("PATCH", Use::Write),
            ("DELETE", Use::Write),
            ("CONNECT", Use::Write),
            ("TRACE", Use::Write),
            ("get", Use::Write),
            ("PURGE", Use::Write),
        ] {
            assert_eq!(Use::of(&method.parse().unwrap()), expected, "{method}");
        }
    }

    #[test]
    fn everything_required_must_be_held() {
        let token = TokenIdentity {
            token_id: TokenId(uuid::Uuid::nil()),
            name: "n".into(),
            scopes: vec!["read".into(), "list".into()],
            expires_at: None,
        };
        assert!(token.decide::<&str>(&[]).is_ok() && token.decide(&["list", "read"]).is_ok());
        let denial = token.decide(&["read", "write", "rea"]).unwrap_err();
        assert_eq!((denial.reason(), denial.detail()), (Reason::InsufficientScope, "the token lacks: write rea"));

        let texts = |list: &[&str]| Some(list.iter().map(|&text| text.to_owned()).collect());
        let mut payload = Payload {
            user_id: UserId(uuid::Uuid::nil()),
            username: "alice".into(),
            name: "Alice".into(),
            service_id: Some(ServiceId(uuid::Uuid::nil())),
            roles: texts(&["editor"]),
            permissions: texts(&["notes.read", "notes.write"]),
        };
        let identity = |payload, expires_at| {
            let (payload, expires_at) = (Some(payload), Some(expires_at));
            UserIdentity::new(CheckedToken { valid: true, payload, renewed: None, expires_at, error: None }).unwrap()
        };
        let user = identity(payload.clone(), 1_800_000_000);
        assert_eq!(user.expires_at.millis(), 1_800_000_000_000);
        let both = Required::permission("notes.read").and_permission("notes.write").and_role("editor");
        assert!(user.decide(&both).is_ok() && user.decide(&Required::nothing()).is_ok());
        let denial = user.decide(&both.and_permission("notes.delete").and_role("admin")).unwrap_err();
        assert_eq!((denial.reason(), denial.detail()), (Reason::NotPermitted, "alice lacks: notes.delete, admin"));

        (payload.service_id, payload.roles, payload.permissions) = (None, None, None);
        let user = identity(payload, 0);
        assert!(user.decide(&Required::nothing()).is_ok());
        assert_eq!(user.decide(&Required::role("editor")).unwrap_err().reason(), Reason::Misconfigured);
    }
}
