//! Starts a login, and reports its status.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use shared::api::cli_login::{Authorized, LoginAnswer, LoginStatus, MIN_PORT, Reason, StartLogin, StartedLogin};
use shared::op::Operation;
use shared::problem::Code;
use shared::secret::Secret;

use super::credentials::Wanted;
use super::model::{self, Device, Login, Phase, Proof, SignedIn};
use super::renewal::context;
use super::{CliLogin, Provider, by_device, refresh_token, roles, seal};
use crate::aws::{Credentials, Role};
use crate::base::insist;
use crate::call::Call;
use crate::env::{DAY, MINUTE, Millis, SECOND};
use crate::error::{Error, Result};
use crate::ledger::{Change, Refused};
use crate::network;
use crate::sessions;
use crate::sessions::model::{Attributes, DeviceSession, seconds};

/// Seconds between two polls.
const INTERVAL: u64 = 2;
/// Maximum number of logins that one address may start within a minute: enough for an office behind one address.
const STARTS_PER_MINUTE: i64 = 30;
/// The wrong release that ends a login.
const WRONG_RELEASES: i64 = 5;

impl CliLogin {
    pub(super) async fn status(self: &Arc<Self>, call: Call, op: LoginStatus) -> Result<LoginAnswer> {
        let Some(mut login) = self.find_login(&op.state).await? else { return Ok(LoginAnswer::expired()) };
        match (&login.poll_challenge, &op.poll_secret) {
            (Some(_), Some(secret)) if model::is_poll_secret(&login, secret) => {}
            (Some(_), Some(_)) => {
                return Err(Error::new(Code::InvalidToken, "this is not the poll secret of this login"));
            }
            (Some(_), None) => {
                let detail = "the status needs the poll secret: Authorization: Bearer <poll secret>";
                return Err(Error::new(Code::Unauthenticated, detail));
            }
            (None, _) if self.config.allow_unbound_polling => {}
            (None, _) => return Ok(LoginAnswer::expired()),
        }
        let signed_in = match &login.phase {
            Phase::Waiting => return Ok(LoginAnswer::Pending(self.told(&op.state).await?)),
            Phase::Denied => return Ok(LoginAnswer::Denied(self.told(&op.state).await?)),
            Phase::Ended => return Ok(LoginAnswer::Expired(self.told(&op.state).await?)),
            Phase::SignedIn(signed_in) => signed_in,
        };
        if signed_in.release.is_some() {
            let Some(release) = &op.release else { return Ok(LoginAnswer::pending()) };
            if !signed_in.is_release(release) {
                let has_ended = self.count_attempt(&op.state, &mut login).await?;
                return Ok(if has_ended { LoginAnswer::expired() } else { LoginAnswer::pending() });
            }
        }
        // The answer can be requested again.
        let this = self.clone();
        self.detached.run(async move { this.authorize(call, op.state, login).await }).await
    }

    /// Counts a wrong release, of the terminal or of the page's Deny button. The last one ends the login.
    pub(super) async fn count_attempt(&self, state: &str, login: &mut Login) -> Result<bool> {
        let has_ended = self.count_wrong_release(state, login).await? >= WRONG_RELEASES;
        if has_ended {
            login.phase = Phase::Ended;
            self.save_login(state, login).await?;
        }
        Ok(has_ended)
    }

    pub(super) async fn start(&self, call: Call, op: StartLogin) -> Result<StartedLogin> {
        let device = Device::parse(&op, call.address)?;
        let complaint = match &op.poll_challenge {
            Some(challenge) if model::is_token(challenge) => None,
            Some(_) => Some("base64url(SHA-256(poll secret)), unpadded: 43 characters"),
            None if self.config.allow_unbound_polling => None,
            None => Some(
                "missing: this program is too old for a safe login; update it (auth-login), or an administrator sets \
                 cli.allow_unbound_polling",
            ),
        };
        if let Some(complaint) = complaint {
            return Err(Error::field("poll_challenge", complaint));
        }
        if op.loopback_port.is_some_and(|port| port < MIN_PORT) {
            return Err(Error::field("loopback_port", format!("from {MIN_PORT} to {}", u16::MAX)));
        }
        let provider = self.choose_provider(op.provider.as_deref())?;
        check_role(&self.roles, op.role.as_deref())?;
        let counted = self.limit(call.address).await?;
        let started = self.begin_login(op, provider, device).await;
        // What failed because of a dependency must not use up the limit.
        if let (Err(error), Some(key)) = (&started, counted)
            && error.code.status() >= 500
        {
            let ephemeral = self.base.ephemeral.clone();
            insist(Duration::from_secs(60), move || {
                let (ephemeral, key) = (ephemeral.clone(), key.clone());
                async move { ephemeral.take_back(&key).await.is_ok() }
            });
        }
        started
    }

    async fn begin_login(&self, op: StartLogin, provider: Provider<'_>, device: Device) -> Result<StartedLogin> {
        let env = &self.base.env;
        let (state, nonce, verifier) = (model::token(env), model::token(env), Secret::new(model::token(env)));
        let now = self.base.now();
        let seconds = i64::try_from(self.config.login_seconds).unwrap_or(300);
        let login = Login {
            provider: provider.name().to_owned(),
            role: op.role,
            verifier,
            nonce: Secret::new(nonce),
            poll_challenge: op.poll_challenge,
            loopback_port: op.loopback_port,
            reauthenticate: op.reauthenticate.unwrap_or(false),
            device,
            started_at: now,
            ends_at: now + seconds * SECOND,
            failures: 0,
            phase: Phase::Waiting,
        };
        let auth_url = self.entrance(provider, &state, &login).await?;
        self.save_login(&state, &login).await?;
        let is_carried = login.poll_challenge.is_some() && login.loopback_port.is_none();
        let short_url = if is_carried { Some(self.shorten(&state, &login).await?) } else { None };
        Ok(StartedLogin { auth_url, short_url, state, expires_in: self.config.login_seconds, interval: INTERVAL })
    }

    fn choose_provider(&self, name: Option<&str>) -> Result<Provider<'_>> {
        if let Some(name) = name {
            return self.provider(name).ok_or_else(|| {
                let names: Vec<String> = self.all_providers().map(|provider| provider.name().to_owned()).collect();
                Error::field("provider", format!("no provider is named {name:?}; there are: {}", names.join(", ")))
            });
        }
        self.provider(&self.config.default_provider).or(self.all_providers().next()).ok_or_else(|| {
            let detail = "no identity provider is configured: set COGNITO_DOMAIN, COGNITO_CLIENT_ID and \
                          COGNITO_USER_POOL_ID, or a [[provider]] in authd.toml, or AUTHD_LOCAL=true for authd's own accounts";
            Error::new(Code::Conflict, detail)
        })
    }

    /// Each start costs a row and perhaps a call to the provider, so the number per address is limited. Returns the
    /// counter.
    async fn limit(&self, address: Option<IpAddr>) -> Result<Option<String>> {
        let Some(address) = address else { return Ok(None) };
        let key = format!("cli_login.start:{}", network::of(address));
        let count = self.base.ephemeral.increment(&key, MINUTE).await?;
        if count > STARTS_PER_MINUTE {
            let detail = format!("more than {STARTS_PER_MINUTE} logins were started from this address within a minute");
            return Err(Error::new(Code::RateLimited, detail).retry_after(60));
        }
        Ok(Some(key))
    }

    /// Creates the device session once, and returns credentials.
    async fn authorize(&self, call: Call, state: String, mut login: Login) -> Result<LoginAnswer> {
        let provider = self.known_provider(&login.provider)?;
        let Phase::SignedIn(signed_in) = &mut login.phase else { return Ok(LoginAnswer::pending()) };
        match (provider, &signed_in.proof) {
            (Provider::OpenId(_), Proof::Tokens(_)) => {}
            // What the person may do now, not when they let the device in.
            (Provider::Local(local), Proof::Local { user, .. }) => {
                let now = local.identity(*user, signed_in.identity.auth_time).await?;
                signed_in.identity = now.ok_or_else(left)?;
            }
            // The name has become that of another provider meanwhile, whose groups are not those of this identity.
            _ => return Ok(LoginAnswer::expired()),
        }
        let Phase::SignedIn(signed_in) = &login.phase else { return Ok(LoginAnswer::pending()) };
        let call = by_device(&call, &signed_in.identity);
        let _turn = self.turn(signed_in.session).await?;
        let existing = sessions::store::find(self.base.db.as_ref(), signed_in.session).await?;
        // After the device has used its refresh token, the login has ended.
        if existing.as_ref().is_some_and(|session| !session.is_live(self.base.now()) || session.generation > 0) {
            return Ok(LoginAnswer::expired());
        }
        if existing.is_none() && self.absolute_end(self.base.now(), signed_in.identity.auth_time) <= self.base.now() {
            let (name, days) = (&login.provider, self.config.max_days);
            let detail = format!(
                "the identity provider {name} still had a sign-in from more than {days} days ago (cli.max_days); sign \
                 out there, then start again"
            );
            return Err(Error::new(Code::Forbidden, detail));
        }
        let role = roles::choose_role(&self.roles, &login.provider, &signed_in.identity, login.role.as_deref(), None)?;
        let wanted = Wanted { session: signed_in.session, role, duration_seconds: role.duration_seconds };
        // AWS is called first: a login that cannot get credentials creates no session.
        let credentials = if let Some(credentials) = self.find_credentials(wanted).await? {
            credentials
        } else {
            let id_token = signed_in.proof.tokens().map(|tokens| &tokens.id_token);
            self.make_credentials(wanted, &login.provider, &signed_in.identity, id_token).await?
        };
        let session = match existing {
            Some(session) => session,
            None => self.begin(&call, &login, signed_in, role, credentials.expires_at).await?,
        };
        // The person may have pressed Deny meanwhile.
        if let Some(Login { phase: Phase::Denied, .. }) = self.find_login(&state).await? {
            self.sessions.end_device(&call, session.id, "cli_login.deny", "denied").await?;
            return Ok(LoginAnswer::Denied(Reason::default()));
        }
        self.answer(&session, role, credentials, 1)
    }

    /// Commits the session with its identity and its audit row.
    async fn begin(
        &self,
        call: &Call,
        login: &Login,
        signed_in: &SignedIn,
        role: &Role,
        credentials_until: Millis,
    ) -> Result<DeviceSession> {
        let now = self.base.now();
        let sealed = match &signed_in.proof {
            Proof::Tokens(tokens) => Some(seal(&self.base.keys, &context(signed_in.session), tokens)?),
            Proof::Local { .. } => None,
        };
        let session = DeviceSession {
            id: signed_in.session,
            user: signed_in.proof.user(),
            generation: 0,
            created_at: now,
            idle_expires_at: self.idle_end(now),
            absolute_expires_at: self.absolute_end(now, signed_in.identity.auth_time),
            ended_at: None,
            end_reason: None,
            provider: login.provider.clone(),
            device_name: login.device.name.clone(),
            os: login.device.os.clone(),
            client_version: login.device.client_version.clone(),
            address: login.device.address.map(|address| address.to_string()),
            sealed,
            attributes: Attributes {
                identity: signed_in.identity.clone(),
                role: role.name.clone(),
                credentials_until: Some(credentials_until),
            },
            last_used_at: now,
        };
        let insert = match &signed_in.proof {
            Proof::Tokens(_) => sessions::store::insert(&session, self.base.env.uuid().to_string())?,
            Proof::Local { user, browser, password_changed_at } => vec![
                sessions::store::has_room(*user, now),
                sessions::store::insert_of_user(&session, *browser, *password_changed_at)?,
            ],
        };
        let change = Change::new(LoginStatus::INFO.name, session.id).with(insert).detail([
            ("user", Some(signed_in.identity.display().into())),
            ("provider", Some(login.provider.as_str().into())),
            ("role", Some(role.name.as_str().into())),
            ("device", login.device.name.clone().map(Into::into)),
        ]);
        match self.base.ledger.commit(call, change).await {
            Ok(_) => Ok(session),
            // Another node created the session of the same login first.
            Err(Refused::Duplicate(_)) => {
                let session = sessions::store::find(self.base.db.as_ref(), session.id).await?;
                session.ok_or_else(|| Error::not_found("session"))
            }
            // The browser's session, which has proved the identity, has ended meanwhile.
            Err(Refused::ExpectationFailed(sessions::store::NEW_DEVICE)) => Err(left()),
            Err(Refused::ExpectationFailed(sessions::store::FULL)) => {
                let most = sessions::store::MOST_DEVICES;
                let detail = format!("you are signed in on {most} devices: sign out on one of them first");
                Err(Error::new(Code::Conflict, detail))
            }
            Err(refused) => Err(refused.into()),
        }
    }

    /// The idle end of a device that is used now.
    pub(super) fn idle_end(&self, now: Millis) -> Millis {
        now + Millis::from(self.config.idle_days) * DAY
    }

    /// The absolute end of a device's session, counted from the person's last authentication at the provider.
    pub(super) fn absolute_end(&self, created_at: Millis, auth_time: Option<Millis>) -> Millis {
        auth_time.unwrap_or(created_at).min(created_at) + Millis::from(self.config.max_days) * DAY
    }

    /// Builds the answer: credentials, with the refresh token of this generation.
    pub(super) fn answer(
        &self,
        session: &DeviceSession,
        role: &Role,
        credentials: Credentials,
        generation: u32,
    ) -> Result<LoginAnswer> {
        let identity = &session.attributes.identity;
        let permitted = roles::permitted_roles(&self.roles, &session.provider, identity);
        Ok(LoginAnswer::Authorized(Box::new(Authorized {
            access_key_id: credentials.access_key_id,
            secret_access_key: credentials.secret_access_key,
            session_token: credentials.session_token,
            expires_at: seconds(credentials.expires_at),
            refresh_token: refresh_token::issue(&self.base.keys, session.id, generation)?,
            session_expires_at: seconds(session.absolute_expires_at),
            role: role.name.clone(),
            role_arn: role.arn.clone(),
            user: identity.display().to_owned(),
            roles: permitted.into_iter().map(|role| role.name.clone()).collect(),
        })))
    }
}

/// The person signed out, or was signed out, before the terminal had its credentials.
fn left() -> Error {
    let detail = "you were signed out in the browser before this terminal got its credentials; start again";
    Error::new(Code::Forbidden, detail)
}

/// Checks that the role exists. Whether the person may use it is decided after the sign-in.
fn check_role(roles: &[Role], asked: Option<&str>) -> Result<()> {
    if roles.is_empty() {
        let detail = "no AWS role is configured: set STS_ROLE_ARN, or a [[role]] in authd.toml";
        return Err(Error::new(Code::Conflict, detail));
    }
    match asked.filter(|asked| !roles.iter().any(|role| role.name == *asked)) {
        Some(unknown) => {
            let names: Vec<&str> = roles.iter().map(|role| role.name.as_str()).collect();
            Err(Error::field("role", format!("no role is named {unknown:?}; there are: {}", names.join(", "))))
        }
        None => Ok(()),
    }
}
