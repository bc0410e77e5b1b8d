//! One-time tokens that are mailed: each proves that a mail to an address was read.
//!
//! A token is signed (ES256) and named by its `jti`, of which the database has the hash. It is used up by a statement of
//! the batch that it allows, so it works once, on every node; a mail scanner that opens the link uses nothing up, since
//! the token is in the fragment of the URL, which no server sees, and is sent by `POST` alone.

pub mod store;

use std::net::IpAddr;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use shared::email::Email;
use shared::id::UserId;
use shared::names;
use shared::problem::Code;
use shared::secret::Secret;

use super::Accounts;
use crate::cache::Hash;
use crate::call::Call;
use crate::db::Statement;
use crate::env::{DAY, MINUTE, Millis, is_ahead};
use crate::error::{Error, Result};
use crate::keys::{Claims, Purpose};
use crate::mail::{Template, Values};
use crate::users::store as users;

/// How long a link works.
const LIFE: Millis = 30 * MINUTE;
/// How long an invitation works: the person does not wait for it.
const INVITATION_LIFE: Millis = 7 * DAY;

/// What a link allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    SignUp,
    Invitation,
    Reset,
    Email,
    /// Nothing: the address has an account already, or none. The work is the same as for one that allows something.
    Nothing,
}

impl Kind {
    /// The stored name.
    const fn name(self) -> &'static str {
        match self {
            Self::SignUp => "sign_up",
            Self::Invitation => "invitation",
            Self::Reset => "reset",
            Self::Email => "email",
            Self::Nothing => "nothing",
        }
    }

    /// The claim `knd`.
    const fn claim(self) -> &'static str {
        match self {
            Self::SignUp | Self::Invitation | Self::Nothing => "Verification",
            Self::Reset => "Reset",
            Self::Email => "Email",
        }
    }

    const fn life(self) -> Millis {
        match self {
            Self::Invitation => INVITATION_LIFE,
            Self::SignUp | Self::Reset | Self::Email | Self::Nothing => LIFE,
        }
    }

    /// The path of the page that the mail links to.
    const fn path(self) -> &'static str {
        match self {
            Self::SignUp | Self::Invitation | Self::Nothing => "/account/verify",
            Self::Reset => "/account/reset",
            Self::Email => "/account/email",
        }
    }
}

/// A link whose token was presented. It is used up by [`store::consume`].
#[derive(Debug)]
pub struct Link {
    pub kind: Kind,
    pub user: Option<UserId>,
    pub email: Email,
    hash: Hash,
}

/// Reads an address that is to be a second name to sign in with, so it has a name's bounds.
pub fn parse_email(text: &str) -> Result<Email> {
    let email = Email::parse(text).map_err(|fault| Error::field("email", fault))?;
    if email.address().chars().count() > names::MAX || email.folded().chars().count() > names::MAX {
        return Err(Error::field("email", format!("expected at most {} characters", names::MAX)));
    }
    Ok(email)
}

/// The error of every token that cannot be used.
pub fn invalid() -> Error {
    let detail =
        "the token is not valid: it was used, has expired, was replaced, or is for something else; ask for a new mail";
    Error::new(Code::InvalidToken, detail)
}

impl Accounts {
    /// A new link with what its mail says, and the statement that stores it.
    pub(super) fn new_link(
        &self,
        kind: Kind,
        user: Option<UserId>,
        email: &Email,
        address: Option<IpAddr>,
    ) -> Result<(Values, Statement)> {
        let now = self.base.now();
        let expires_at = now + kind.life();
        let id = BASE64_URL_SAFE_NO_PAD.encode(self.base.env.bytes::<32>());
        let subject = user.map_or_else(|| email.folded().to_owned(), |user| user.to_string());
        let hash: Hash = Sha256::digest(&id).into();
        let claims = Claims::new(&self.public_url, kind.claim(), subject, id, now, expires_at);
        let claims = claims.shown(user.map(|_| email.address().to_owned()));
        // In base64, as programs send it in a header; it is one word in a mail.
        let token = BASE64_URL_SAFE_NO_PAD.encode(self.base.keys.sign(Purpose::SignLink, &claims)?);
        let values = Values {
            link: Some(Secret::new(format!("{}{}#{token}", self.public_url, kind.path()))),
            token: Some(Secret::new(token)),
            address,
            expires_at: Some(expires_at),
            ..Values::default()
        };
        Ok((values, store::insert(&hash, kind, user, email, now, expires_at)))
    }

    /// The statements that mail a link to an address. If an account has the address already, its mailbox is told of the
    /// attempt instead, and the link allows nothing.
    pub(super) fn offer(
        &self,
        call: &Call,
        (kind, template): (Kind, Template),
        user: Option<UserId>,
        email: &Email,
        holder: Option<&users::Login>,
    ) -> Result<[Statement; 2]> {
        let Some(holder) = holder else {
            let (values, link) = self.new_link(kind, user, email, call.address)?;
            return Ok([link, self.mail.message(template, email, &values)?]);
        };
        // The notice keeps the link, which its template cannot show, so that its row is as long as the other; it has no end.
        let (values, link) = self.new_link(Kind::Nothing, user, email, call.address)?;
        let values = Values { expires_at: None, ..values };
        let to = holder.address().unwrap_or_else(|| email.clone());
        Ok([link, self.mail.message(Template::SignUpKnown, &to, &values)?])
    }

    /// The link of a presented token: as it was mailed, or decoded once. If an address is given, it is the link's.
    pub(super) async fn open_link(&self, kinds: &[Kind], token: &Secret, email: Option<&str>) -> Result<Link> {
        let email = email.map(parse_email).transpose()?;
        let text = token.expose().trim();
        let decoded = BASE64_URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok();
        let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
        let signed = decoded.as_deref().unwrap_or(text);
        let claims = self.base.keys.verify(Purpose::SignLink, signed).await?.ok_or_else(invalid)?;
        let now = self.base.now();
        if !claims.hold(&self.public_url, now) {
            return Err(invalid());
        }
        let hash: Hash = Sha256::digest(&claims.jti).into();
        for kind in kinds.iter().filter(|kind| kind.claim() == claims.knd) {
            if let Some((link, expires_at)) = store::find(self.base.db.as_ref(), hash, *kind).await? {
                let is_its = email.is_none_or(|email| email.folded() == link.email.folded());
                return if is_its && is_ahead(expires_at, now, kind.life()) { Ok(link) } else { Err(invalid()) };
            }
        }
        Err(invalid())
    }
}
