//! Signing in with a password, signing out, and changing the password.
//!
//! Invariant: an unknown user, a wrong password, a locked name and a disabled user do the same work and get the same
//! answer: one look-up, one counted attempt, one hash, one audit row.

use serde_json::json;
use sha2::{Digest, Sha256};
use shared::api::Done;
use shared::api::sessions::{ChangePassword, LoggedIn, LoggedOut, Login, Logout, Payload, Profile, ShowProfile};
use shared::id::{SessionId, UserId};
use shared::problem::Code;
use shared::secret::Secret;
use tracing::warn;

use super::live;
use super::lockout::Attempt;
use super::store::people::{self, Person};
use super::store::{self, NewLogin};
use crate::app::Ctx;
use crate::audit;
use crate::caller::Caller;
use crate::db::Committed;
use crate::error::{Error, Result};
use crate::keys::Purpose;
use crate::ledger::{Change, Invalidation, Refused};
use crate::names;
use crate::passwords::{self, Verified};

/// Live sessions of one user: a login beyond them ends those that would end first. Far more than anybody has, and few
/// enough that what is done to all of them stays quick.
const MOST: i64 = 256;
/// Characters of a user name in the audit log.
const SHOWN: usize = 64;

pub async fn login(ctx: Ctx, op: Login) -> Result<LoggedIn> {
    let app = ctx.app.clone();
    let folded = names::fold(&op.username);
    let person = people::find_by_name(app.db.as_ref(), &folded).await?;
    let attempt = Attempt::new(&folded, ctx.address);
    let is_open = attempt.count(&ctx, &app.config.login).await?;
    let stored = person.as_ref().and_then(|person| person.password_hash.as_deref());
    let verified = match app.passwords.verify(stored, &op.password).await {
        Ok(verified) => verified,
        Err(error) => return Err(untried(&ctx, &attempt, error).await),
    };
    let person = match (person, verified) {
        (Some(person), Verified::Yes { outdated }) if is_open && person.is_active => {
            if outdated && let Err(error) = upgrade(&ctx, &person, &op.password).await {
                warn!(detail = %error.detail, "a password hash keeps its old parameters until the next login");
            }
            person
        }
        _ => return Err(refuse(&ctx, &op.username).await?),
    };
    let now = ctx.now();
    let limits = app.sessions.limits;
    let token = new_token(&ctx)?;
    let absolute = now + limits.max;
    let session = NewLogin {
        id: SessionId(app.world.uuid()),
        user: person.id,
        hash: live::hash(token.expose()),
        now,
        idle_expires_at: (now + limits.idle).min(absolute),
        absolute_expires_at: absolute,
        address: ctx.address.map(|address| address.to_string()),
        password_changed_at: person.password_changed_at,
    };
    let as_user = Ctx { caller: caller(&person, session.id), ..ctx.clone() };
    // The statement that makes the session says what must hold of the user.
    let change = Change::new("sessions.login", session.id)
        .with([store::insert_login(&session)])
        .with(store::end_oldest(person.id, MOST, now))
        .invalidates(Invalidation::Returned(super::INVALIDATION, store::OLDEST))
        .with(attempt.forgive())
        .self_proving();
    match app.ledger.commit(&as_user, change).await {
        Ok(_) => {}
        // Disabled, deleted, or the password changed, while it was being verified.
        Err(Refused::ExpectationFailed(store::NEW_LOGIN)) => return Err(refuse(&ctx, &op.username).await?),
        Err(refused) => return Err(refused.into()),
    }
    let payload = Payload {
        user_id: person.id,
        username: person.username,
        name: person.name,
        service_id: None,
        roles: None,
        permissions: None,
    };
    Ok(LoggedIn { token, expires_at: super::model::seconds(session.idle_expires_at), payload })
}

/// Takes an attempt back that came to no answer: who met a storm of logins is not locked out for it.
async fn untried(ctx: &Ctx, attempt: &Attempt, error: Error) -> Error {
    ctx.app.db.commit(attempt.take_back()).await.err().map_or(error, Error::from)
}

/// The one answer to every login that is not accepted, after the audit log has it.
async fn refuse(ctx: &Ctx, username: &str) -> Result<Error> {
    let shown: String = username.chars().take(SHOWN).collect();
    let detail = audit::detail([("username", Some(json!(shown)))]);
    ctx.app.db.commit(vec![audit::refusal(ctx, "sessions.login", None, "refused", detail)]).await?;
    Ok(Error::new(Code::InvalidCredentials, "user name and password do not go together"))
}

fn caller(person: &Person, session: SessionId) -> Caller {
    Caller::User {
        id: person.id,
        username: person.username.clone(),
        session,
        permissions: crate::caller::Permissions::NONE,
    }
}

/// Stores the password anew with today's parameters. Somebody else may have been first.
async fn upgrade(ctx: &Ctx, person: &Person, password: &Secret) -> Result<()> {
    let hash = ctx.app.passwords.hash(&ctx.app.world, password).await?;
    ctx.app.db.commit(vec![people::upgrade(person, hash)]).await?;
    Ok(())
}

/// 64 hexadecimal digits of a SHA-256 over a secret of the key ring, randomness and the time: even a guessed state of
/// the random source gives no token away.
fn new_token(ctx: &Ctx) -> Result<Secret> {
    let random = ctx.app.world.bytes::<32>();
    let (_, mac) = ctx.app.keys.mac(Purpose::Session, None, &[&random, &ctx.now().to_be_bytes()])?;
    let digest = Sha256::digest(mac);
    let mut token = String::with_capacity(live::TOKEN_LENGTH);
    for byte in digest {
        token.push(char::from(b"0123456789abcdef"[usize::from(byte >> 4)]));
        token.push(char::from(b"0123456789abcdef"[usize::from(byte & 15)]));
    }
    Ok(Secret::new(token))
}

/// The session and the user of a caller who is a person.
pub fn person(ctx: &Ctx) -> Result<(UserId, SessionId)> {
    match ctx.caller {
        Caller::User { id, session, .. } => Ok((id, session)),
        _ => Err(Error::new(Code::Forbidden, "this is for people, by their session")),
    }
}

pub async fn logout(ctx: Ctx, _: Logout) -> Result<LoggedOut> {
    let (user, session) = person(&ctx)?;
    let end = store::end_login(session, Some(user), "logged_out", ctx.now());
    let change =
        Change::new("sessions.logout", session).with([end]).invalidates(super::invalidation(user)).self_proving();
    ended(ctx.app.ledger.commit(&ctx, change).await)?;
    Ok(LoggedOut { status: "logged_out".to_owned() })
}

/// Whether there was something to end.
pub fn ended(committed: Result<Committed, Refused>) -> Result<bool> {
    match committed {
        Ok(_) => Ok(true),
        Err(Refused::ExpectationFailed(store::ENDED)) => Ok(false),
        Err(refused) => Err(refused.into()),
    }
}

pub async fn profile(ctx: Ctx, op: ShowProfile) -> Result<Profile> {
    let ended = || Error::new(Code::InvalidToken, "the session has ended; sign in again");
    let token = op.header_token.or(op.bearer).ok_or_else(ended)?;
    let (live, renewed) = ctx.app.sessions.touch(&ctx.app, token.expose()).await?.ok_or_else(ended)?;
    Ok(Profile { payload: live.payload()?, renewed, expires_at: live.expires_at_seconds() })
}

pub async fn change_password(ctx: Ctx, op: ChangePassword) -> Result<Done> {
    let (user, session) = person(&ctx)?;
    let app = &ctx.app;
    let person = people::find(app.db.as_ref(), user).await?.ok_or_else(|| Error::not_found("user"))?;
    let folded = names::fold(&person.username);
    // First, so that whoever looks for a password that is good enough has failed at nothing.
    passwords::check("new_password", &op.new_password, &folded)?;
    if op.new_password == op.password {
        return Err(Error::field("new_password", "this is the password that you have"));
    }
    let attempt = Attempt::new(&folded, ctx.address);
    let is_open = attempt.count(&ctx, &app.config.login).await?;
    let verified = match app.passwords.verify(person.password_hash.as_deref(), &op.password).await {
        Ok(verified) => verified,
        Err(error) => return Err(untried(&ctx, &attempt, error).await),
    };
    if !is_open || verified == Verified::No {
        let subject = user.to_string();
        let row = audit::refusal(&ctx, "sessions.change_password", Some(&subject), "refused", serde_json::Map::new());
        app.db.commit(vec![row]).await?;
        return Err(Error::field("password", "this is not your password"));
    }
    let hash = match app.passwords.hash(&app.world, &op.new_password).await {
        Ok(hash) => hash,
        Err(error) => return Err(untried(&ctx, &attempt, error).await),
    };
    let now = ctx.now();
    let change = Change::new("sessions.change_password", user)
        .with([people::set_password(&person, hash, now)])
        .with([store::end_all(user, Some(session), "password_changed", now)])
        .with(attempt.forgive())
        .invalidates(super::invalidation(user));
    match app.ledger.commit(&ctx, change).await {
        Ok(_) => Ok(Done::default()),
        Err(Refused::ExpectationFailed(people::PASSWORD)) => {
            Err(Error::new(Code::Conflict, "the password was changed at the same time; try again"))
        }
        Err(refused) => Err(refused.into()),
    }
}
