//! Renews a device's credentials, and signs it out.

use std::sync::Arc;
use std::time::Duration;

use shared::api::cli_login::{DURATION_SECONDS, EndLogin, EndedLogin, LoginAnswer, Reason, RenewLogin};
use shared::id::SessionId;
use shared::op::Operation;
use shared::problem::Code;

use super::credentials::Wanted;
use super::model::{Presented, RefreshTokenUse};
use super::{CliLogin, Provider, by_device, refresh_token, roles, seal};
use crate::aws::{Credentials, Role};
use crate::call::Call;
use crate::env::{HOUR, MINUTE, Millis, SECOND};
use crate::error::{Error, Result};
use crate::keys::KeyRing;
use crate::ledger::{Change, Refused};
use crate::oidc_client::{Client, ProviderError, ProviderTokens};
use crate::sessions;
use crate::sessions::model::{DeviceSession, seconds};
use crate::sessions::store::EndedDevice;

/// The lease of a node on a renewal, before another node tries: longer than provider, AWS and database together.
const LEASE: Millis = 90 * SECOND;
/// The interval at which a node checks for another node's renewal.
const WAIT_STEP: Duration = Duration::from_millis(250);
const WAIT_STEPS: u32 = 32;

/// Pauses between attempts to store a token that the provider rotated: the first, doubled up to the longest.
const KEEP_FIRST: Duration = Duration::from_millis(100);
const KEEP_LONGEST: Duration = Duration::from_millis(800);

/// How many ended sessions are reported to providers at once, and how often the outbox is read.
const TELL_AT_ONCE: i64 = 50;
const TELL_PAUSE: Duration = Duration::from_secs(60);
/// Pauses between attempts for one session: the first, doubled up to the longest; and the number of attempts, for about
/// a week.
const TELL_FIRST: Millis = MINUTE;
const TELL_LONGEST: Millis = 2 * HOUR;
const TELL_ATTEMPTS: i64 = 90;

/// The sealing context of a session's provider tokens: its row.
pub fn context(session: SessionId) -> String {
    format!("sessions.sealed:{session}")
}

/// Opens the provider's tokens. If they cannot be opened, their keys are lost, and the person has to sign in again.
fn open_tokens(keys: &KeyRing, session: SessionId, sealed: &[u8]) -> Result<ProviderTokens> {
    let opened = keys.open(&context(session), sealed);
    let clear = opened.map_err(|error| ended("its sealed tokens cannot be opened").because(error))?;
    serde_json::from_slice(&clear).map_err(Error::internal)
}

fn ended(why: &str) -> Error {
    Error::new(Code::SessionEnded, format!("the session of this device has ended ({why}); sign in again"))
}

impl CliLogin {
    pub(super) async fn renew(self: &Arc<Self>, call: Call, op: RenewLogin) -> Result<LoginAnswer> {
        if op.duration_seconds.is_some_and(|seconds| !DURATION_SECONDS.contains(&seconds)) {
            return Err(Error::field("duration_seconds", "from 900 to 43200"));
        }
        let presented = refresh_token::verify(&self.base.keys, &op.refresh_token)?;
        // A rotated token of the provider must be stored, even if the caller disconnects.
        let this = self.clone();
        self.detached.run(async move { this.run_renewal(call, op, presented).await }).await
    }

    async fn run_renewal(&self, call: Call, op: RenewLogin, presented: Presented) -> Result<LoginAnswer> {
        let _turn = self.turn(presented.session).await?;
        let Some(mut session) = self.acknowledge(&call, presented).await? else {
            return self.over(&call, presented.session).await;
        };
        let call = by_device(&call, &session.attributes.identity);
        if let Provider::Local(local) = self.known_provider(&session.provider)? {
            // Its account and roles are at hand: they are read even where cached credentials are used.
            let auth_time = session.attributes.identity.auth_time;
            let identity = match session.user {
                Some(user) => local.identity(user, auth_time).await?,
                None => None,
            };
            let Some(identity) = identity else {
                self.sessions.end_device(&call, session.id, RenewLogin::INFO.name, "user_not_active").await?;
                return self.over(&call, session.id).await;
            };
            session.attributes.identity = identity;
        }
        let wanted = self.wanted(&session, &op)?;
        let generation = presented.generation.checked_add(1).ok_or_else(|| ended("it was renewed too often"))?;
        if let Some(credentials) = self.find_credentials(wanted).await? {
            return self.answer(&session, wanted.role, credentials, generation);
        }
        let until = self.base.now() + LEASE;
        if !self.try_commit(sessions::store::lease(session.id, until, self.base.now())).await? {
            return self.wait(&call, wanted, generation).await;
        }
        let renewed = self.refresh(&call, session, &op, until).await;
        if !matches!(renewed, Ok(Some(_))) {
            // The lease would expire; releasing it lets the next renewal start at once.
            self.base.db.commit(vec![sessions::store::release(presented.session, until)]).await.ok();
        }
        match renewed? {
            Some((session, role, credentials)) => self.answer(&session, role, credentials, generation),
            None => self.over(&call, presented.session).await,
        }
    }

    /// The answer about a session that is not live, with the reason. One that has expired ends by this, so that the audit
    /// log tells it from others.
    async fn over(&self, call: &Call, id: SessionId) -> Result<LoginAnswer> {
        let mut session = sessions::store::find(self.base.db.as_ref(), id).await?;
        let has_expired =
            |session: &DeviceSession| session.ended_at.is_none() && session.expires_at() <= self.base.now();
        if let Some(expired) = session.as_ref().filter(|session| has_expired(session)) {
            let call = by_device(call, &expired.attributes.identity);
            self.sessions.end_device(&call, id, RenewLogin::INFO.name, "expired").await?;
            session = sessions::store::find(self.base.db.as_ref(), id).await?;
        }
        Ok(LoginAnswer::Expired(Reason { reason: session.and_then(|session| session.end_reason), detail: None }))
    }

    /// Acknowledges a token, which invalidates older ones, and returns its session; `None` if it has ended or expired.
    async fn acknowledge(&self, call: &Call, presented: Presented) -> Result<Option<DeviceSession>> {
        // Another node may acknowledge the same token concurrently: the next attempt treats it as a repeat.
        for _ in 0..3 {
            let Some(mut session) = self.find_live(presented.session).await? else { return Ok(None) };
            match RefreshTokenUse::of(presented.generation, session.generation) {
                RefreshTokenUse::Again => return Ok(Some(session)),
                RefreshTokenUse::First => {
                    let now = self.base.now();
                    session.generation = presented.generation.into();
                    (session.idle_expires_at, session.last_used_at) = (self.idle_end(now), now);
                    let statement =
                        sessions::store::acknowledge(session.id, session.generation, now, session.idle_expires_at);
                    if self.try_commit(statement).await? {
                        return Ok(Some(session));
                    }
                }
                RefreshTokenUse::Reused => {
                    let call = by_device(call, &session.attributes.identity);
                    tracing::warn!(session = %session.id, "a replaced refresh token was used: the session ends");
                    self.sessions.end_device(&call, session.id, RenewLogin::INFO.name, "refresh_token_reused").await?;
                    return Err(ended("a replaced refresh token was used, perhaps by somebody else"));
                }
                RefreshTokenUse::Unknown => return Err(ended("its refresh token is newer than the database")),
            }
        }
        Err(Error::new(Code::Unavailable, "other renewals of this device are under way; try again").retry_after(1))
    }

    /// The credentials that a renewal requests: role and lifetime, limited by the configuration. Groups and
    /// configuration are checked at every renewal, even if cached credentials are used.
    fn wanted(&self, session: &DeviceSession, op: &RenewLogin) -> Result<Wanted<'_>> {
        let DeviceSession { id, provider, attributes, .. } = session;
        let (asked, before) = (op.role.as_deref(), Some(attributes.role.as_str()));
        let role = roles::choose_role(&self.roles, provider, &attributes.identity, asked, before)?;
        let most = role.duration_seconds;
        let duration_seconds = op.duration_seconds.unwrap_or(most);
        if duration_seconds > most {
            let detail = format!("at most {most} for the role {}", role.name);
            return Err(Error::field("duration_seconds", detail));
        }
        Ok(Wanted { session: *id, role, duration_seconds })
    }

    /// Waits for another node's renewal of this session.
    async fn wait(&self, call: &Call, wanted: Wanted<'_>, generation: u32) -> Result<LoginAnswer> {
        for _ in 0..WAIT_STEPS {
            let Some(session) = self.find_live(wanted.session).await? else {
                return self.over(call, wanted.session).await;
            };
            if let Some(credentials) = self.find_credentials(wanted).await? {
                return self.answer(&session, wanted.role, credentials, generation);
            }
            tokio::time::sleep(WAIT_STEP).await;
        }
        Err(Error::new(Code::Unavailable, "another renewal of this device is under way; try again").retry_after(2))
    }

    /// Requests new tokens from the provider and credentials from AWS. `None` if the session has ended meanwhile.
    async fn refresh(
        &self,
        call: &Call,
        mut session: DeviceSession,
        op: &RenewLogin,
        lease: Millis,
    ) -> Result<Option<(DeviceSession, &Role, Credentials)>> {
        let name = session.provider.clone();
        let tokens = match self.known_provider(&name)? {
            Provider::OpenId(client) => match self.refresh_tokens(call, &mut session, client).await? {
                Some(tokens) => Some(tokens),
                None => return Ok(None),
            },
            Provider::Local(_) => None,
        };
        let wanted = self.wanted(&session, op)?;
        let identity = &session.attributes.identity;
        let id_token = tokens.as_ref().map(|tokens| &tokens.id_token);
        let credentials = self.make_credentials(wanted, &name, identity, id_token).await?;
        let now = self.base.now();
        session.idle_expires_at = self.idle_end(now);
        session.absolute_expires_at =
            session.absolute_expires_at.min(self.absolute_end(session.created_at, identity.auth_time));
        session.sealed = match &tokens {
            Some(tokens) => Some(seal(&self.base.keys, &context(session.id), tokens)?),
            None => None,
        };
        session.attributes.credentials_until = session.attributes.credentials_until.max(Some(credentials.expires_at));
        let change = Change::new(RenewLogin::INFO.name, session.id)
            .with([sessions::store::renew(&session, lease, now)?])
            .detail([("role", Some(wanted.role.name.as_str().into())), ("provider", Some(name.into()))]);
        match self.base.ledger.commit(call, change).await {
            Ok(_) => Ok(Some((session, wanted.role, credentials))),
            Err(Refused::ExpectationFailed(sessions::store::LIVE)) if self.find_live(session.id).await?.is_some() => {
                let detail = "this renewal took too long and another one began; try again";
                Err(Error::new(Code::Unavailable, detail).retry_after(1))
            }
            Err(Refused::ExpectationFailed(sessions::store::LIVE)) => Ok(None),
            Err(refused) => Err(refused.into()),
        }
    }

    /// Requests new tokens and the identity from the provider. `None` if the session has ended meanwhile, or by this.
    async fn refresh_tokens(
        &self,
        call: &Call,
        session: &mut DeviceSession,
        provider: &Client,
    ) -> Result<Option<ProviderTokens>> {
        let name = session.provider.clone();
        let mut tokens = open_tokens(&self.base.keys, session.id, session.sealed.as_deref().unwrap_or_default())?;
        let mut is_vouched = false;
        if let Some(refresh_token) = &tokens.refresh_token {
            let refreshed = match provider.refresh(refresh_token).await {
                Ok(refreshed) => refreshed,
                Err(ProviderError::Refused(refusal)) if refusal.code == "invalid_grant" => {
                    self.sessions.end_device(call, session.id, RenewLogin::INFO.name, "refused_by_provider").await?;
                    return Ok(None);
                }
                Err(error) => return Err(error.explain(&name)),
            };
            if let Some(rotated) = refreshed.refresh_token {
                tokens.refresh_token = Some(rotated);
                if !self.keep(session.id, &tokens).await? {
                    return Ok(None);
                }
            }
            is_vouched = refreshed.id_token.is_some();
            if let Some(id_token) = refreshed.id_token {
                let (identity, expires_at) =
                    provider.verify(&id_token, None, self.base.now()).await.map_err(|error| error.explain(&name))?;
                if identity.subject != session.attributes.identity.subject {
                    let detail = format!("the identity provider {name} returned another person's tokens");
                    return Err(Error::new(Code::UpstreamFailed, detail));
                }
                session.attributes.identity = identity;
                (tokens.id_token, tokens.id_expires_at) = (id_token, expires_at);
            }
        }
        if !is_vouched && tokens.id_expires_at <= self.base.now() {
            // Without a new ID token, the provider's last one is valid only until it expires.
            self.sessions.end_device(call, session.id, RenewLogin::INFO.name, "sign_in_expired").await?;
            return Ok(None);
        }
        Ok(Some(tokens))
    }

    /// Stores a rotated token before any other step: the old one becomes invalid in seconds. Retries, since this is the
    /// only copy. False if the session has ended.
    async fn keep(&self, session: SessionId, tokens: &ProviderTokens) -> Result<bool> {
        let sealed = seal(&self.base.keys, &context(session), tokens)?;
        let mut pause = KEEP_FIRST;
        loop {
            match self.try_commit(sessions::store::keep(session, sealed.clone())).await {
                Err(error) if error.is_unavailable() && pause <= KEEP_LONGEST => {
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                kept => return Ok(kept?),
            }
        }
    }

    /// Ends the device's session, however old the token is: every holder of one had the session.
    pub(super) async fn logout(&self, call: Call, op: EndLogin) -> Result<EndedLogin> {
        let presented = refresh_token::verify(&self.base.keys, &op.refresh_token)?;
        let mut credentials_until = None;
        if let Some(session) = sessions::store::find(self.base.db.as_ref(), presented.session).await? {
            let call = by_device(&call, &session.attributes.identity);
            let ended = self.sessions.end_device(&call, session.id, EndLogin::INFO.name, "logged_out").await?;
            credentials_until = ended.and_then(|session| session.credentials_until(self.base.now())).map(seconds);
        }
        Ok(EndedLogin { status: "logged_out".into(), credentials_until })
    }

    /// Reports ended sessions to providers, so that they revoke the refresh token, until `stop` resolves. Unreported
    /// sessions stay in the outbox.
    pub async fn tell_providers(&self, stop: impl Future<Output = ()>) {
        let telling = async {
            loop {
                let may_be_more = self.tell_due().await.unwrap_or_else(|error| {
                    let source = error.source_text().map(|text| text.to_string());
                    tracing::warn!(source, "the outbox for providers could not be read or written");
                    false
                });
                if may_be_more {
                    continue;
                }
                let _ = tokio::time::timeout(TELL_PAUSE, self.sessions.device_ended.notified()).await;
            }
        };
        tokio::select! {
            () = telling => {}
            () = stop => {}
        }
    }

    /// Reports a bounded number of due rows. Returns whether there may be more.
    async fn tell_due(&self) -> Result<bool> {
        let (db, now) = (self.base.db.as_ref(), self.base.now());
        let due = sessions::store::list_outbox(db, now, TELL_LONGEST, TELL_AT_ONCE).await?;
        let mut silent = Vec::new();
        for device in &due {
            let pause = (TELL_FIRST << device.attempts.clamp(0, 16)).min(TELL_LONGEST);
            if !self.try_commit(sessions::store::claim_outbox(device, self.base.now() + pause)).await? {
                continue;
            }
            // A provider that does not answer must not delay the others.
            let is_told = !silent.contains(&device.provider) && self.tell(device, &mut silent).await;
            if is_told || device.attempts >= TELL_ATTEMPTS {
                db.commit(vec![sessions::store::delete_outbox(device)]).await?;
            }
        }
        Ok(due.len() == usize::try_from(TELL_AT_ONCE).unwrap_or_default())
    }

    /// Asks the provider to revoke the refresh token of an ended session. Returns whether the row is finished, by
    /// success or for good: another node may know a provider or key that this node does not, and a refusal because of a
    /// wrong client secret may be temporary.
    async fn tell(&self, device: &EndedDevice, silent: &mut Vec<String>) -> bool {
        let Ok(tokens) = open_tokens(&self.base.keys, device.id, &device.sealed) else { return false };
        let Some(token) = tokens.refresh_token else { return true };
        let provider = match self.provider(&device.provider) {
            Some(Provider::OpenId(client)) => client,
            Some(Provider::Local(_)) => return true,
            None => return false,
        };
        // Providers may take back a whole grant, which another sign-in of the person may share: not before its end, too.
        match sessions::store::has_sibling(self.base.db.as_ref(), device.id, self.base.now()).await {
            Ok(false) => {}
            Ok(true) => return false,
            Err(error) => {
                let source = error.source_text().map(|text| text.to_string());
                tracing::warn!(session = %device.id, source, "the other sessions of a person could not be read");
                return false;
            }
        }
        let Err(error) = provider.revoke(&token).await else { return true };
        let is_final = matches!(&error, ProviderError::Refused(refusal)
            if !matches!(refusal.code.as_str(), "invalid_client" | "unauthorized_client"));
        if !is_final {
            silent.push(device.provider.clone());
        }
        let detail = error.explain(&device.provider).detail;
        tracing::warn!(session = %device.id, detail, is_final, "the provider did not revoke a refresh token");
        is_final
    }
}
