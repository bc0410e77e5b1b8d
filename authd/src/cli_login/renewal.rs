//! Renew a device's credentials, and sign it out.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use shared::api::cli_login::{EndLogin, EndedLogin, LoginAnswer, RenewLogin};
use shared::id::SessionId;
use shared::problem::Code;
use shared::secret::Secret;
use zeroize::Zeroizing;

use super::credentials::{self, Wanted};
use super::model::{self, Presented, Turn};
use super::ops::{absolute_end, answer, idle_end};
use super::provider::ProviderError;
use super::refresh_token;
use crate::app::{App, Ctx};
use crate::aws::Credentials;
use crate::caller::Caller;
use crate::config::Role;
use crate::db::DbError;
use crate::error::{Error, Result};
use crate::ledger::{Change, Refused};
use crate::sessions;
use crate::sessions::model::{DeviceSession, seconds};
use crate::world::{Millis, SECOND};

/// How long one node may take for a renewal before another one tries: provider, AWS and database together.
const LEASE: Millis = 90 * SECOND;
/// How long a node waits for another one's renewal, in steps.
const WAIT_STEP: Duration = Duration::from_millis(250);
const WAIT_STEPS: u32 = 32;

/// The provider's tokens of a session. Sealed in its row, never answered, never logged.
#[derive(Debug, Serialize, Deserialize)]
pub struct Tokens {
    pub id_token: Secret,
    pub id_expires_at: Millis,
    pub refresh_token: Option<Secret>,
}

impl Tokens {
    pub fn seal(&self, app: &App, session: SessionId) -> Result<Vec<u8>> {
        let clear = Zeroizing::new(serde_json::to_vec(self).map_err(Error::internal)?);
        app.keys.seal(&context(session), &clear).map_err(Error::internal)
    }

    /// What cannot be opened was sealed under keys that are lost: the person signs in again.
    fn open(app: &App, session: &DeviceSession) -> Result<Self> {
        let sealed = session.sealed.as_deref().unwrap_or_default();
        let clear = app
            .keys
            .open(&context(session.id), sealed)
            .map_err(|error| ended("its sealed tokens do not open").because(error))?;
        serde_json::from_slice(&clear).map_err(Error::internal)
    }
}

/// Binds sealed tokens to their row.
fn context(session: SessionId) -> String {
    format!("sessions.sealed:{session}")
}

fn ended(why: &str) -> Error {
    Error::new(Code::SessionEnded, format!("the session of this device has ended ({why}); sign in again"))
}

pub async fn renew(ctx: Ctx, op: RenewLogin) -> Result<LoginAnswer> {
    if op.duration_seconds.is_some_and(|seconds| !(900..=43_200).contains(&seconds)) {
        return Err(Error::field("duration_seconds", "from 900 to 43200"));
    }
    let presented = refresh_token::verify(&ctx.app.keys, &op.refresh_token)?;
    // It runs to its end even when the caller goes away: what the provider rotates must be kept.
    let running = tokio::spawn(run(ctx, op, presented));
    running.await.map_err(Error::internal)?
}

async fn run(ctx: Ctx, op: RenewLogin, presented: Presented) -> Result<LoginAnswer> {
    let app = ctx.app.clone();
    let _turn = app.cli_login.turns.take(presented.session).await?;
    let Some(session) = acknowledge(&ctx, presented).await? else { return Ok(LoginAnswer::Expired) };
    let user = session.attributes.identity.display().to_owned();
    let ctx = Ctx { caller: Caller::Device { user }, ..ctx };
    app.cli_login.known_provider(&session.provider)?;
    // Groups and configuration are looked at each time, whether AWS is asked or not.
    let role = role_of(&app, &session, op.role.as_deref())?;
    let wanted = Wanted { session: session.id, role, duration_seconds: duration(role, op.duration_seconds)? };
    let generation = presented.generation.checked_add(1).ok_or_else(|| ended("it was renewed too often"))?;
    if let Some(credentials) = credentials::find(&app, wanted).await? {
        return answer(&app, &session, role, credentials, generation);
    }
    let until = ctx.now() + LEASE;
    match app.db.commit(vec![sessions::store::lease(session.id, until, ctx.now())]).await {
        Ok(_) => {}
        Err(DbError::ExpectationFailed(_)) => return wait(&app, wanted, generation).await,
        Err(error) => return Err(error.into()),
    }
    let renewed = refresh(&ctx, session, &op, until).await;
    if !matches!(renewed, Ok(Some(_))) {
        // The lease would end by itself; whoever comes next need not wait for that.
        app.db.commit(vec![sessions::store::release(presented.session, until)]).await.ok();
    }
    match renewed? {
        Some((session, role, credentials)) => answer(&app, &session, role, credentials, generation),
        None => Ok(LoginAnswer::Expired),
    }
}

/// The session of a token, its predecessors retired; `None` when it has ended or expired.
async fn acknowledge(ctx: &Ctx, presented: Presented) -> Result<Option<DeviceSession>> {
    let db = ctx.app.db.as_ref();
    // Another node may acknowledge the same token at the same moment: the second look treats it as a repeat.
    for _ in 0..3 {
        let now = ctx.now();
        let Some(mut session) = sessions::store::find(db, presented.session).await? else { return Ok(None) };
        if !session.is_live(now) {
            return Ok(None);
        }
        match Turn::of(presented.generation, session.generation) {
            Turn::Again => return Ok(Some(session)),
            Turn::First => {
                session.generation = presented.generation.into();
                session.last_used_at = now;
                session.idle_expires_at = idle_end(&ctx.app, now);
                let statement =
                    sessions::store::acknowledge(session.id, session.generation, now, session.idle_expires_at);
                match db.commit(vec![statement]).await {
                    Ok(_) => return Ok(Some(session)),
                    Err(DbError::ExpectationFailed(_)) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Turn::Reused => {
                let caller = Caller::Device { user: session.attributes.identity.display().to_owned() };
                let ctx = Ctx { caller, ..ctx.clone() };
                tracing::warn!(session = %session.id, "a retired refresh token was used: the session ends");
                sessions::ops::end_with_reason(&ctx, session.id, "cli_login.renew", "refresh_token_reused").await?;
                return Err(ended("a refresh token was used that had been replaced, perhaps by somebody else"));
            }
            Turn::Unknown => return Err(ended("its refresh token is newer than the database")),
        }
    }
    Err(Error::new(Code::Unavailable, "this device is being renewed by others; try again").retry_after(1))
}

fn role_of<'a>(app: &'a App, session: &DeviceSession, asked: Option<&str>) -> Result<&'a Role> {
    let attributes = &session.attributes;
    model::choose_role(&app.config.roles, &session.provider, &attributes.identity, asked, Some(&attributes.role))
}

/// At most what is configured for the role: a longer life is the administrator's to grant.
fn duration(role: &Role, asked: Option<u32>) -> Result<u32> {
    match asked {
        Some(asked) if asked > role.duration_seconds => Err(Error::field(
            "duration_seconds",
            format!("at most {} for the role {}", role.duration_seconds, role.name),
        )),
        asked => Ok(asked.unwrap_or(role.duration_seconds)),
    }
}

/// Another node renews this session: its answer will be there soon.
async fn wait(app: &App, wanted: Wanted<'_>, generation: u32) -> Result<LoginAnswer> {
    for _ in 0..WAIT_STEPS {
        let session = sessions::store::find(app.db.as_ref(), wanted.session).await?;
        let Some(session) = session.filter(|session| session.is_live(app.world.now())) else {
            return Ok(LoginAnswer::Expired);
        };
        if let Some(credentials) = credentials::find(app, wanted).await? {
            return answer(app, &session, wanted.role, credentials, generation);
        }
        tokio::time::sleep(WAIT_STEP).await;
    }
    Err(Error::new(Code::Unavailable, "this device is being renewed already; try again").retry_after(2))
}

/// Asks provider and AWS anew. `None` when the session has ended over it.
async fn refresh<'a>(
    ctx: &'a Ctx,
    mut session: DeviceSession,
    op: &RenewLogin,
    lease: Millis,
) -> Result<Option<(DeviceSession, &'a Role, Credentials)>> {
    let app = ctx.app.as_ref();
    let provider = app.cli_login.known_provider(&session.provider)?;
    let name = session.provider.clone();
    let mut tokens = Tokens::open(app, &session)?;
    let mut is_vouched = false;
    if let Some(refresh_token) = &tokens.refresh_token {
        let refreshed = match provider.refresh(refresh_token, ctx.now()).await {
            Ok(refreshed) => refreshed,
            Err(ProviderError::Refused(code)) if code == "invalid_grant" => {
                sessions::ops::end_with_reason(ctx, session.id, "cli_login.renew", "refused_by_provider").await?;
                return Ok(None);
            }
            Err(error) => return Err(error.explain(&name)),
        };
        if let Some(rotated) = refreshed.refresh_token {
            tokens.refresh_token = Some(rotated);
            if !keep(app, &session, &tokens).await? {
                return Ok(None);
            }
        }
        is_vouched = refreshed.id_token.is_some();
        if let Some(id_token) = refreshed.id_token {
            let (identity, expires_at) =
                provider.verify(&id_token, None, ctx.now()).await.map_err(|error| error.explain(&name))?;
            if identity.subject != session.attributes.identity.subject {
                let detail = format!("the identity provider {name} answered for somebody else");
                return Err(Error::new(Code::UpstreamFailed, detail));
            }
            session.attributes.identity = identity;
            (tokens.id_token, tokens.id_expires_at) = (id_token, expires_at);
        }
    }
    if !is_vouched && tokens.id_expires_at <= ctx.now() {
        // A provider that gives no new ID token vouches only as long as its last one says.
        sessions::ops::end_with_reason(ctx, session.id, "cli_login.renew", "sign_in_expired").await?;
        return Ok(None);
    }
    let role = role_of(app, &session, op.role.as_deref())?;
    let wanted = Wanted { session: session.id, role, duration_seconds: duration(role, op.duration_seconds)? };
    let identity = &session.attributes.identity;
    let credentials = credentials::make(app, wanted, &name, identity, &tokens.id_token).await?;
    let now = ctx.now();
    session.last_used_at = now;
    session.idle_expires_at = idle_end(app, now);
    session.absolute_expires_at =
        session.absolute_expires_at.min(absolute_end(app, session.created_at, identity.auth_time));
    session.sealed = Some(tokens.seal(app, session.id)?);
    let until = session.attributes.credentials_until.max(Some(credentials.expires_at));
    session.attributes.credentials_until = until;
    let change = Change::new("cli_login.renew", session.id)
        .with([sessions::store::renew(&session, lease, now)?])
        .detail([("role", Some(role.name.as_str().into())), ("provider", Some(name.into()))]);
    match app.ledger.commit(ctx, change).await {
        Ok(_) => return Ok(Some((session, role, credentials))),
        Err(Refused::ExpectationFailed(sessions::store::LIVE)) => {}
        Err(refused) => return Err(refused.into()),
    }
    match sessions::store::find(app.db.as_ref(), session.id).await? {
        Some(session) if session.is_live(now) => {
            let detail = "this renewal took so long that another one began; try again";
            Err(Error::new(Code::Unavailable, detail).retry_after(1))
        }
        _ => Ok(None),
    }
}

/// Keeps a rotated token before anything else happens: the old one is dead in seconds. Tries hard, since the only
/// copy is in our hands. False when the session has ended.
async fn keep(app: &App, session: &DeviceSession, tokens: &Tokens) -> Result<bool> {
    let sealed = tokens.seal(app, session.id)?;
    for attempt in 0_u32.. {
        match app.db.commit(vec![sessions::store::keep(session.id, sealed.clone())]).await {
            Ok(_) => return Ok(true),
            Err(DbError::ExpectationFailed(sessions::store::LIVE)) => return Ok(false),
            Err(error) if attempt < 4 && error.is_unavailable() => {
                tokio::time::sleep(Duration::from_millis(100 << attempt)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(false)
}

/// Ends the device's session, however old the token is: whoever has it had the session.
pub async fn logout(ctx: Ctx, op: EndLogin) -> Result<EndedLogin> {
    let presented = refresh_token::verify(&ctx.app.keys, &op.refresh_token)?;
    let before = sessions::store::find(ctx.app.db.as_ref(), presented.session).await?;
    let Some(before) = before else { return Ok(EndedLogin { status: "logged_out".into(), credentials_until: None }) };
    let caller = Caller::Device { user: before.attributes.identity.display().to_owned() };
    let ctx = Ctx { caller, ..ctx };
    let session = sessions::ops::end_with_reason(&ctx, presented.session, "cli_login.logout", "logged_out").await?;
    let credentials_until = session.and_then(|session| session.credentials_until(ctx.now())).map(seconds);
    Ok(EndedLogin { status: "logged_out".into(), credentials_until })
}

/// Asks the provider to forget the refresh token of a session, as it was before its end. It has ended already: a failure
/// changes nothing here.
pub async fn forget_at_provider(app: &App, session: &DeviceSession) {
    let (Some(provider), Ok(tokens)) = (app.cli_login.provider(&session.provider), Tokens::open(app, session)) else {
        return;
    };
    let Some(refresh_token) = tokens.refresh_token else { return };
    if let Err(error) = provider.revoke(&refresh_token, app.world.now()).await {
        let error = error.explain(&session.provider);
        tracing::warn!(session = %session.id, detail = error.detail, "the provider did not revoke a refresh token");
    }
}
