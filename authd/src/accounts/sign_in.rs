//! Sign-in with all factors, and password changes.
//!
//! Invariant: an unknown user, a wrong password, a locked name and a disabled user do the same work and get the same
//! answer: one look-up, one counted attempt, one hash, one audit row. Whether TOTP is on is told only after the right
//! password.
//!
//! An attempt that was counted is judged by its password, and then by its code, and nothing else. It runs to its end when
//! the client disconnects, so that cutting the connection neither saves a guess nor makes a failure; what ends without a
//! judgement, because a dependency was down, is reverted.

use std::borrow::Borrow;

use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};
use shared::api::Done;
use shared::api::accounts::AccountFault;
use shared::api::sessions::{ChangePassword, LoggedIn, Login, Payload, SessionKind};
use shared::id::{SessionId, UserId};
use shared::op::Operation;
use shared::problem::{Code, Reason};
use shared::secret::Secret;
use tracing::warn;

use super::Accounts;
use super::factors::{self, Presented, Second, totp_required};
use super::links;
use super::lockout::LoginAttempt;
use super::passkeys;
use crate::call::Call;
use crate::caller::{Caller, Permissions};
use crate::db::Statement;
use crate::entities::NAME_TAKEN;
use crate::env::Millis;
use crate::error::{Error, Result};
use crate::keys::Purpose;
use crate::ledger::{Change, Invalidation, Refused, SESSIONS};
use crate::mail::Template;
use crate::names;
use crate::oidc_client::Identity;
use crate::passwords::{self, Verified};
use crate::rbac;
use crate::sessions::store::{NewLogin, identity as identities};
use crate::sessions::{self, lookup};
use crate::users::store as users;

/// Both forms of the token of a new session.
#[derive(Debug)]
pub struct Tokens {
    opaque: Secret,
    signed: Secret,
}

/// A sign-in: the answer, and the session token in its signed form for the encoding that sends that.
#[derive(Debug, Serialize)]
pub struct SignedIn {
    #[serde(flatten)]
    pub answer: LoggedIn,
    #[serde(skip)]
    pub signed: Secret,
}

impl Borrow<LoggedIn> for SignedIn {
    fn borrow(&self) -> &LoggedIn {
        &self.answer
    }
}

/// Maximum number of live sessions of one user: a login beyond it ends those that would expire first. It is far above
/// usual numbers, and low enough that operations on all of them stay fast.
const MOST: i64 = 256;
/// Maximum number of characters of a user name in the audit log.
const SHOWN: usize = 64;

/// How a sign-in with the right password, or a proved identity, went on.
#[derive(Debug)]
pub enum SignIn {
    Done(Box<SignedIn>),
    /// The person has TOTP and sent no code.
    NeedsCode(Box<FirstFactor>),
}

/// Somebody who has proved a password or an identity. It is no session: it only allows to send the code alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirstFactor {
    pub user: UserId,
    /// When the password was set: another one makes this void.
    pub password_changed_at: Millis,
    pub identity: Option<ProvedIdentity>,
}

/// An identity, and the name of the provider that has proved it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProvedIdentity {
    pub provider: String,
    pub identity: Identity,
    /// It becomes the account's by this address, in its folded form: at the commit the account must still have it, verified.
    pub by_email: Option<String>,
}

/// A sign-in whose first factor is right.
pub(super) struct Opening<'a> {
    /// As it was typed, for the audit log.
    pub username: &'a str,
    pub code: Option<&'a Secret>,
    pub kind: SessionKind,
    /// What was counted, and is forgiven.
    pub attempt: Option<&'a LoginAttempt>,
    pub identity: Option<&'a ProvedIdentity>,
    /// What inserts the person.
    pub begins: Vec<Statement>,
    /// Whether the first factor was proved just now.
    pub is_fresh: bool,
}

impl<'a> Opening<'a> {
    fn by_password(username: &'a str, code: Option<&'a Secret>, attempt: &'a LoginAttempt, kind: SessionKind) -> Self {
        Self { username, code, kind, attempt: Some(attempt), identity: None, begins: Vec::new(), is_fresh: true }
    }
}

/// The audit action of every sign-in.
pub(super) const ACTION: &str = Login::INFO.name;

impl Accounts {
    pub(super) async fn login(&self, call: Call, op: Login) -> Result<SignedIn> {
        match self.sign_in(&call, &op, SessionKind::Login).await? {
            SignIn::Done(signed_in) => Ok(*signed_in),
            SignIn::NeedsCode(_) => Err(totp_required("totp")),
        }
    }

    /// Signs in with everything that `op` has; the session is of this kind.
    pub async fn sign_in(&self, call: &Call, op: &Login, kind: SessionKind) -> Result<SignIn> {
        let person = users::find_login_by_name(self.base.db.as_ref(), &op.username).await?;
        // By the user name, also of who typed the address: one account has one counter.
        let folded = names::fold(person.as_ref().map_or(&op.username, |person| &person.username));
        let attempt = LoginAttempt::new(&folded, call.address);
        let is_open = attempt.count(&self.base, &self.config).await?;
        let stored = person.as_ref().and_then(|person| person.password_hash.as_deref());
        let verified = self.tried(&attempt, self.users.verify(stored, &op.password).await).await?;
        let person = match (person, verified) {
            (Some(person), Verified::Yes { outdated }) if is_open && person.is_active => {
                if outdated && let Err(error) = self.upgrade(&person, &op.password).await {
                    warn!(detail = %error.detail, "a password hash keeps its old parameters until the next login");
                }
                person
            }
            // A wrong password counts, whether the refusal can be recorded or not.
            _ => return Err(self.refuse(call, &op.username, None).await?),
        };
        let opening = Opening::by_password(&op.username, op.totp.as_ref(), &attempt, kind);
        let opened = self.open_session(call, person, opening).await;
        self.tried(&attempt, opened).await
    }

    /// Signs in a person who has proved the password, or an identity, before, with their code. It is an attempt of its
    /// own, counted like one with a password.
    pub async fn sign_in_with_code(
        &self,
        call: &Call,
        proof: &FirstFactor,
        code: &Secret,
        kind: SessionKind,
    ) -> Result<SignIn> {
        let person = users::find_login(self.base.db.as_ref(), proof.user).await?;
        let Some(person) = person.filter(|person| person.password_changed_at == proof.password_changed_at) else {
            return Err(Error::new(Code::InvalidToken, "the password was changed meanwhile; sign in again"));
        };
        let attempt = LoginAttempt::new(&names::fold(&person.username), call.address);
        let is_open = attempt.count(&self.base, &self.config).await?;
        let username = person.username.clone();
        if !is_open || !person.is_active {
            return Err(self.refuse(call, &username, Some("wrong")).await?);
        }
        let opening = Opening {
            identity: proof.identity.as_ref(),
            ..Opening::by_password(&username, Some(code), &attempt, kind)
        };
        let opened = self.open_session(call, person, opening).await;
        self.tried(&attempt, opened).await
    }

    /// Judges the second factor of a person whose first one is right, begins the session, and resets the counters.
    pub(super) async fn open_session(&self, call: &Call, person: users::Login, opening: Opening<'_>) -> Result<SignIn> {
        let Opening { username, code, kind, attempt, identity, begins, is_fresh } = opening;
        if self.passkeys.is_required() && passkeys::store::has_any(self.base.db.as_ref(), person.id).await? {
            self.refuse(call, username, Some("passkey")).await?;
            let detail = "this account signs in by a passkey: open the sign-in page in a browser";
            return Err(Error::new(Code::PasskeyRequired, detail));
        }
        let (factor, proof) = match self.judge(person.id, code, true).await? {
            Second::Good { factor, proof } => (factor, proof),
            // The attempt stays counted: who has only the password may not learn that as often as they like.
            Second::Missing => {
                self.refuse(call, username, Some("missing")).await?;
                let password_changed_at = person.password_changed_at;
                let identity = identity.cloned();
                let proof = FirstFactor { user: person.id, password_changed_at, identity };
                return Ok(SignIn::NeedsCode(Box::new(proof)));
            }
            Second::Wrong => return Err(self.refuse(call, username, Some("wrong")).await?),
        };
        let is_operator = self.is_operator(kind, person.id).await?;
        let (session, tokens) = self.new_session(call, person.id, person.password_changed_at, (kind, is_operator))?;
        let proved_at = Some(session.now).filter(|_| is_fresh || factor.is_some());
        let provider = identity.map(|proved| proved.provider.clone());
        let session = NewLogin { provider: provider.clone(), proved_at, ..session };
        let as_user = call.of(caller(&person, session.id));
        // The statement that inserts the session checks the user's state.
        let links = identity.into_iter().flat_map(|proved| self.link(proved, person.id));
        let change = session_begins(&session, begins.into_iter().chain(links).chain(proof))
            .with(attempt.map(LoginAttempt::forgive).unwrap_or_default())
            .detail([
                ("factor", factor.map(|factor| json!(factor))),
                ("provider", provider.map(|provider| json!(provider))),
            ]);
        match self.base.ledger.commit(&as_user, change).await {
            Ok(_) => {}
            // The user was disabled or deleted, or the password changed, during the verification.
            Err(Refused::ExpectationFailed(sessions::store::NEW_LOGIN)) => {
                return Err(self.refuse(call, username, None).await?);
            }
            // The identity or the address is another account's now, or the person began their account elsewhere too.
            Err(
                Refused::ExpectationFailed(identities::LINKED | users::VERIFIED | NAME_TAKEN) | Refused::Duplicate(_),
            ) if identity.is_some() => {
                return Err(Error::new(Code::Conflict, "the account was changed at the same time; sign in again"));
            }
            // The code was used before or by another login, or is not a recovery code; or TOTP was turned on or off.
            Err(Refused::ExpectationFailed(factors::store::SECOND_FACTOR)) => {
                return Err(self.refuse(call, username, Some("wrong")).await?);
            }
            Err(refused) => return Err(refused.into()),
        }
        Ok(SignIn::Done(Box::new(signed_in(person, &session, tokens))))
    }

    /// Whether a session of this kind is that of an operator: somebody with a permission of authd. Browsers' sessions have
    /// limits of their own.
    pub(super) async fn is_operator(&self, kind: SessionKind, user: UserId) -> Result<bool> {
        if kind != SessionKind::Login {
            return Ok(false);
        }
        Ok(rbac::store::on_authd(self.base.db.as_ref(), user).await? != Permissions::NONE)
    }

    /// A new session with its token in both forms, to be inserted. It is of this kind, and an operator's or not.
    pub(super) fn new_session(
        &self,
        call: &Call,
        user: UserId,
        password_changed_at: Millis,
        (kind, is_operator): (SessionKind, bool),
    ) -> Result<(NewLogin, Tokens)> {
        let (now, limits, token) = (self.base.now(), self.sessions.limits(kind, is_operator), self.new_token()?);
        let absolute = now + limits.max;
        let session = NewLogin {
            id: SessionId(self.base.env.uuid()),
            kind,
            user,
            hash: lookup::hash(token.expose()),
            now,
            idle_expires_at: (now + limits.idle).min(absolute),
            absolute_expires_at: absolute,
            address: call.address.map(|address| address.to_string()),
            password_changed_at,
            proved_at: Some(now),
            provider: None,
            is_operator,
        };
        let signed = self.sessions.sign(&session)?;
        Ok((session, Tokens { opaque: token, signed }))
    }

    /// Reverts the count of an attempt that failed before its password was judged, or though it was right, so that an
    /// overload, an outage or a change at the same time does not lock a user out.
    pub(super) async fn tried<T>(&self, attempt: &LoginAttempt, answer: Result<T>) -> Result<T> {
        let is_judged =
            |error: &Error| matches!(error.code, Code::InvalidCredentials | Code::TotpRequired | Code::PasskeyRequired);
        if answer.as_ref().is_err_and(|error| !is_judged(error)) {
            attempt.revert(&self.base).await;
        }
        answer
    }

    /// Writes the refusal to the audit log and returns the same error for every refused login. `code` says what was
    /// wrong with the code, if the password was right.
    async fn refuse(&self, call: &Call, username: &str, code: Option<&str>) -> Result<Error> {
        let shown: String = username.chars().take(SHOWN).collect();
        let detail = [("username", Some(json!(shown))), ("code", code.map(|code| json!(code)))];
        self.base.ledger.refuse(call, ACTION, None, "refused", detail).await?;
        let error = Error::new(Code::InvalidCredentials, "the user name, the password or the code is wrong");
        // It tells who knows the password no more than `totp_required` does.
        Ok(if code == Some("wrong") { error.fault(AccountFault::CodeRequired) } else { error })
    }

    /// Stores a new hash of the password with the current parameters. Another login may have been first.
    async fn upgrade(&self, person: &users::Login, password: &Secret) -> Result<()> {
        let hash = self.users.hash(password).await?;
        self.base.db.commit(vec![users::upgrade(person, hash)]).await?;
        Ok(())
    }

    /// 64 hexadecimal digits of a SHA-256 over a secret of the key ring, randomness and the time, so that even a known
    /// state of the random source reveals no token.
    pub(super) fn new_token(&self) -> Result<Secret> {
        let random = self.base.env.bytes::<32>();
        let (_, mac) = self.base.keys.mac(Purpose::Session, None, &[&random, &self.base.now().to_be_bytes()])?;
        Ok(Secret::new(hex::encode(Sha256::digest(mac))))
    }

    pub async fn change_password(&self, call: Call, op: ChangePassword) -> Result<Done> {
        let (user, session) = sessions::person(&call)?;
        let person = self.person(&call).await?;
        // Checked first, so that a rejected new password does not count as a failed login.
        passwords::check("new_password", &op.new_password, &person.names())?;
        if op.new_password == op.password {
            return Err(Error::field_because("new_password", Reason::Unchanged, "this is your current password"));
        }
        let needs_code = !self.sessions.is_fresh(session).await?;
        let presented = Presented { password: &op.password, code: op.totp.as_ref(), field: "totp", needs_code };
        let stepped = self.step_up(&call, ChangePassword::INFO.name, &person, presented).await?;
        let hash = self.tried(&stepped.attempt, self.users.hash(&op.new_password).await).await?;
        let now = self.base.now();
        let extend = |change: Change| {
            change
                // A link that somebody else asked for with the old password ends with it.
                .with([users::set_password(&person, hash, now), links::store::delete_all(user)])
                .with([sessions::store::end_all(user, Some(session), "password_changed", now)])
                .invalidates(Invalidation::sessions(user))
        };
        match self.commit_step_up(&call, stepped, Some(Template::PasswordChanged), extend).await {
            Ok(_) => Ok(Done::default()),
            Err(Refused::ExpectationFailed(users::PASSWORD)) => {
                Err(Error::new(Code::Conflict, "the password was changed at the same time; try again"))
            }
            Err(refused) => Err(refused.into()),
        }
    }
}

/// The change that begins a session, after these statements, and ends the oldest ones beyond [`MOST`].
pub(super) fn session_begins(session: &NewLogin, first: impl IntoIterator<Item = Statement>) -> Change {
    Change::new(ACTION, session.id)
        .with(first)
        .with([sessions::store::insert_login(session)])
        .with(sessions::store::end_oldest(session.user, MOST, session.now))
        .invalidates(Invalidation::Returned(SESSIONS, sessions::store::OLDEST))
        .self_proving()
}

pub(super) fn caller(person: &users::Login, session: SessionId) -> Caller {
    Caller::User { id: person.id, username: person.username.clone(), session, permissions: Permissions::NONE }
}

/// The answer to a sign-in.
pub(super) fn signed_in(person: users::Login, session: &NewLogin, tokens: Tokens) -> SignedIn {
    let Tokens { opaque: token, signed } = tokens;
    let payload = Payload {
        user_id: person.id,
        username: person.username,
        name: person.name,
        service_id: None,
        roles: None,
        permissions: None,
    };
    let [expires_at, max_expires_at] =
        [session.idle_expires_at, session.absolute_expires_at].map(sessions::model::seconds);
    let answer = LoggedIn { token, expires_at, max_expires_at: Some(max_expires_at), payload };
    SignedIn { answer, signed }
}
