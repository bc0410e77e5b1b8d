//! Start a login, and ask how far it is.

use std::net::IpAddr;

use shared::api::cli_login::{Authorized, LoginAnswer, LoginStatus, StartLogin, StartedLogin};
use shared::problem::Code;
use shared::secret::Secret;
use subtle::ConstantTimeEq;

use super::credentials::{self, Wanted};
use super::model::{self, Device, Login, Phase, SignedIn};
use super::provider::{Authorization, Client};
use super::renewal::Tokens;
use super::{logins, refresh_token};
use crate::app::{App, Ctx};
use crate::aws::Credentials;
use crate::caller::Caller;
use crate::config::Role;
use crate::error::{Error, Result};
use crate::ledger::{Change, Refused};
use crate::sessions;
use crate::sessions::model::{Attributes, DeviceSession, seconds};
use crate::world::{DAY, MINUTE, Millis, SECOND};

/// Seconds between two polls.
const INTERVAL: u64 = 2;
/// Logins that one address may start within a minute: an office behind one address still can.
const STARTS_PER_MINUTE: i64 = 30;
/// The wrong release that ends a login.
const WRONG_RELEASES: i64 = 5;

pub async fn start(ctx: Ctx, op: StartLogin) -> Result<StartedLogin> {
    let app = &ctx.app;
    let config = &app.config;
    let device = Device::parse(&op, ctx.address)?;
    match &op.poll_challenge {
        Some(challenge) if model::is_token(challenge) => {}
        Some(_) => {
            return Err(Error::field("poll_challenge", "base64url(SHA-256(poll secret)), unpadded: 43 characters"));
        }
        None if config.cli.allow_unbound_polling => {}
        None => {
            return Err(Error::field(
                "poll_challenge",
                "missing: this program is too old for a safe login; update it (auth-login), or an administrator sets cli.allow_unbound_polling",
            ));
        }
    }
    if op.loopback_port.is_some_and(|port| port < 1024) {
        return Err(Error::field("loopback_port", "from 1024 to 65535"));
    }
    let provider = choose_provider(app, op.provider.as_deref())?;
    check_role(&config.roles, op.role.as_deref())?;
    limit(app, ctx.address).await?;

    let (state, nonce, verifier) = (model::token(&app.world), model::token(&app.world), model::token(&app.world));
    let now = ctx.now();
    let authorization = Authorization { state: &state, nonce: &nonce, challenge: &model::challenge(&verifier) };
    let name = provider.config.name.clone();
    let auth_url = provider.authorize_url(authorization, now).await.map_err(|error| error.explain(&name))?;
    let seconds = i64::try_from(config.cli.login_seconds).unwrap_or(300);
    let login = Login {
        provider: name,
        role: op.role,
        verifier: Secret::new(verifier),
        nonce: Secret::new(nonce),
        poll_challenge: op.poll_challenge,
        loopback_port: op.loopback_port,
        device,
        started_at: now,
        ends_at: now + seconds * SECOND,
        failures: 0,
        phase: Phase::Waiting,
    };
    logins::save(app, &state, &login).await?;
    Ok(StartedLogin { auth_url, state, expires_in: config.cli.login_seconds, interval: INTERVAL })
}

fn choose_provider<'a>(app: &'a App, name: Option<&str>) -> Result<&'a Client> {
    let room = &app.cli_login;
    if let Some(name) = name {
        return room.provider(name).ok_or_else(|| {
            let names: Vec<&str> = room.providers.iter().map(|provider| provider.config.name.as_str()).collect();
            Error::field("provider", format!("no provider is named {name:?}; there are: {}", names.join(", ")))
        });
    }
    let default = &app.config.cli.default_provider;
    room.provider(default).or(room.providers.first()).ok_or_else(|| {
        Error::new(
            Code::Conflict,
            "no identity provider is configured: set COGNITO_DOMAIN, COGNITO_CLIENT_ID and COGNITO_USER_POOL_ID, or a \
             [[provider]] in authd.toml",
        )
    })
}

/// Who may use a role is decided after the sign-in; that it exists can be said before.
fn check_role(roles: &[Role], asked: Option<&str>) -> Result<()> {
    if roles.is_empty() {
        return Err(Error::new(
            Code::Conflict,
            "no AWS role is configured: set STS_ROLE_ARN, or a [[role]] in authd.toml",
        ));
    }
    match asked {
        Some(asked) if !roles.iter().any(|role| role.name == asked) => {
            Err(Error::field("role", format!("no role is named {asked:?}")))
        }
        _ => Ok(()),
    }
}

/// Each start costs a row and perhaps a call to the provider: an address has only so many.
async fn limit(app: &App, address: Option<IpAddr>) -> Result<()> {
    let network = match address {
        // One household or host has a /64 of addresses.
        Some(IpAddr::V6(address)) => format!("{:x}", address.to_bits() >> 64),
        Some(IpAddr::V4(address)) => address.to_string(),
        None => return Ok(()),
    };
    let count = app.ephemeral.increment(&format!("cli_login.start:{network}"), MINUTE).await?;
    if count > STARTS_PER_MINUTE {
        let detail = format!("more than {STARTS_PER_MINUTE} logins were started from this address within a minute");
        return Err(Error::new(Code::RateLimited, detail).retry_after(60));
    }
    Ok(())
}

pub async fn status(ctx: Ctx, op: LoginStatus) -> Result<LoginAnswer> {
    let app = &ctx.app;
    let Some(mut login) = logins::find(app, &op.state).await? else { return Ok(LoginAnswer::Expired) };
    match (&login.poll_challenge, &op.poll_secret) {
        (Some(_), Some(secret)) if model::is_poll_secret(&login, secret) => {}
        (Some(_), Some(_)) => return Err(Error::new(Code::InvalidToken, "this is not the poll secret of this login")),
        (Some(_), None) => {
            return Err(Error::new(
                Code::Unauthenticated,
                "the status needs the poll secret: Authorization: Bearer <poll secret>",
            ));
        }
        (None, _) if app.config.cli.allow_unbound_polling => {}
        (None, _) => return Ok(LoginAnswer::Expired),
    }
    let signed_in = match &login.phase {
        Phase::Waiting => return Ok(LoginAnswer::Pending),
        Phase::Denied => return Ok(LoginAnswer::Denied),
        Phase::Ended => return Ok(LoginAnswer::Expired),
        Phase::SignedIn(signed_in) => signed_in,
    };
    if let Some(expected) = &signed_in.release {
        let Some(release) = &op.release else { return Ok(LoginAnswer::Pending) };
        if !bool::from(model::release_hash(release).as_slice().ct_eq(expected)) {
            if logins::count_wrong_release(app, &op.state, &login).await? < WRONG_RELEASES {
                return Ok(LoginAnswer::Pending);
            }
            login.phase = Phase::Ended;
            logins::save(app, &op.state, &login).await?;
            return Ok(LoginAnswer::Expired);
        }
    }
    // It runs to its end even when the caller goes away: the answer can be asked for again.
    let running = tokio::spawn(authorize(ctx, op.state, login));
    running.await.map_err(Error::internal)?
}

/// Makes the device session, once, and answers credentials.
async fn authorize(ctx: Ctx, state: String, login: Login) -> Result<LoginAnswer> {
    let app = ctx.app.clone();
    let (db, config) = (app.db.as_ref(), &app.config);
    let Phase::SignedIn(signed_in) = &login.phase else { return Ok(LoginAnswer::Pending) };
    let ctx = Ctx { caller: Caller::Device { user: signed_in.identity.display().to_owned() }, ..ctx };
    let _turn = app.cli_login.turns.take(signed_in.session).await?;
    let existing = sessions::store::find(db, signed_in.session).await?;
    // Once the device has used its refresh token, the login is over.
    if existing.as_ref().is_some_and(|session| !session.is_live(ctx.now()) || session.generation > 0) {
        return Ok(LoginAnswer::Expired);
    }
    app.cli_login.known_provider(&login.provider)?;
    if existing.is_none() && absolute_end(&app, ctx.now(), signed_in.identity.auth_time) <= ctx.now() {
        let (name, days) = (&login.provider, config.cli.max_days);
        let detail = format!(
            "the identity provider {name} still had a sign-in from more than {days} days ago (cli.max_days); sign out \
             there, start again and sign in anew"
        );
        return Err(Error::new(Code::Forbidden, detail));
    }
    let role = model::choose_role(&config.roles, &login.provider, &signed_in.identity, login.role.as_deref(), None)?;
    let wanted = Wanted { session: signed_in.session, role, duration_seconds: role.duration_seconds };
    // AWS first: a login that cannot end in credentials leaves no session behind.
    let credentials = match credentials::find(&app, wanted).await? {
        Some(credentials) => credentials,
        None => credentials::make(&app, wanted, &login.provider, &signed_in.identity, &signed_in.id_token).await?,
    };
    let session = match existing {
        Some(session) => session,
        None => begin(&ctx, &login, signed_in, role, credentials.expires_at).await?,
    };
    // Somebody may have pressed Deny while this ran.
    if let Some(Login { phase: Phase::Denied, .. }) = logins::find(&app, &state).await? {
        sessions::ops::end_with_reason(&ctx, session.id, "cli_login.deny", "denied").await?;
        return Ok(LoginAnswer::Denied);
    }
    answer(&app, &session, role, credentials, 1)
}

/// Commits the session with its identity and its line in the audit log.
async fn begin(
    ctx: &Ctx,
    login: &Login,
    signed_in: &SignedIn,
    role: &Role,
    credentials_until: Millis,
) -> Result<DeviceSession> {
    let app = &ctx.app;
    let now = ctx.now();
    let tokens = Tokens {
        id_token: signed_in.id_token.clone(),
        id_expires_at: signed_in.id_expires_at,
        refresh_token: signed_in.refresh_token.clone(),
    };
    let session = DeviceSession {
        id: signed_in.session,
        generation: 0,
        created_at: now,
        last_used_at: now,
        idle_expires_at: idle_end(app, now),
        absolute_expires_at: absolute_end(app, now, signed_in.identity.auth_time),
        ended_at: None,
        end_reason: None,
        provider: login.provider.clone(),
        device_name: login.device.name.clone(),
        os: login.device.os.clone(),
        client_version: login.device.client_version.clone(),
        address: login.device.address.map(|address| address.to_string()),
        sealed: Some(tokens.seal(app, signed_in.session)?),
        attributes: Attributes {
            identity: signed_in.identity.clone(),
            role: role.name.clone(),
            credentials_until: Some(credentials_until),
        },
    };
    let change = Change::new("cli_login.status", session.id)
        .with(sessions::store::insert(&session, app.world.uuid().to_string())?);
    let change = change.detail([
        ("user", Some(signed_in.identity.display().into())),
        ("provider", Some(login.provider.as_str().into())),
        ("role", Some(role.name.as_str().into())),
        ("device", login.device.name.clone().map(Into::into)),
    ]);
    match app.ledger.commit(ctx, change).await {
        Ok(_) => Ok(session),
        // Another node was first with the same login.
        Err(Refused::Duplicate(_)) => {
            let session = sessions::store::find(app.db.as_ref(), session.id).await?;
            session.ok_or_else(|| Error::not_found("session"))
        }
        Err(refused) => Err(refused.into()),
    }
}

/// When a device that is used now has to sign in again, unless it is used before.
pub fn idle_end(app: &App, now: Millis) -> Millis {
    now + Millis::from(app.config.cli.idle_days) * DAY
}

/// When a device has to sign in again in any case: counted from when the person last proved who they are.
pub fn absolute_end(app: &App, created_at: Millis, auth_time: Option<Millis>) -> Millis {
    auth_time.unwrap_or(created_at).min(created_at) + Millis::from(app.config.cli.max_days) * DAY
}

/// Credentials, with the refresh token of this generation.
pub fn answer(
    app: &App,
    session: &DeviceSession,
    role: &Role,
    credentials: Credentials,
    generation: u32,
) -> Result<LoginAnswer> {
    let identity = &session.attributes.identity;
    let roles = model::permitted_roles(&app.config.roles, &session.provider, identity);
    Ok(LoginAnswer::Authorized(Box::new(Authorized {
        access_key_id: credentials.access_key_id,
        secret_access_key: credentials.secret_access_key,
        session_token: credentials.session_token,
        expires_at: seconds(credentials.expires_at),
        refresh_token: refresh_token::issue(&app.keys, session.id, generation)?,
        session_expires_at: seconds(session.absolute_expires_at),
        role: role.name.clone(),
        role_arn: role.arn.clone(),
        user: identity.display().to_owned(),
        roles: roles.into_iter().map(|role| role.name.clone()).collect(),
    })))
}
