//! authd's own accounts as a provider of the CLI login: the person signs in on authd's pages, and confirms the device
//! there.
//!
//! Such a device is a session of its user: it ends with everything that ends the sessions of a user (a reset or another
//! password, a deactivation, a deletion, "sign out everywhere"), and each renewal reads the account and its roles again.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use shared::id::{SessionId, UserId};
use shared::url;

use super::callback::COMPLETION;
use super::model::{Device, Login, Phase, Proof};
use super::{CliLogin, Outcome};
use crate::accounts::step_up_required;
use crate::base::Base;
use crate::call::Call;
use crate::env::Millis;
use crate::error::Result;
use crate::oidc_client::Identity;
use crate::rbac::Rbac;
use crate::sessions::model::is_fresh;
use crate::setting::Faults;
use crate::{sessions, users};

/// The provider's name in logins, sessions and roles.
pub const NAME: &str = "local";
/// The page on which the person confirms a device, up to the state.
pub const PAGE: &str = "/auth/cli/local?state=";

/// `[local]`: authd's own accounts sign in to AWS.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `AUTHD_LOCAL`: whether `local` is a provider.
    pub enabled: bool,
    /// `AUTHD_LOCAL_SERVICE`: the service whose roles are a person's groups, by its name. A role of another service never
    /// counts.
    pub service: String,
}

impl Default for Config {
    fn default() -> Self {
        Self { enabled: false, service: "aws".to_owned() }
    }
}

impl Config {
    /// `public_url` is checked already.
    pub fn check(&self, public_url: &str, faults: &mut Faults) {
        let is_usable = url::parse(public_url).is_ok_and(|uri| url::is_secure_context(&uri));
        faults.require(
            !self.enabled || is_usable,
            "local.enabled (AUTHD_LOCAL) needs sign-in with a browser: set server.public_url (AUTHD_PUBLIC_URL) to an address \
             with https",
        );
        if self.enabled && shared::names::check(&self.service).is_err() {
            faults.refuse(format!(
                "local.service (AUTHD_LOCAL_SERVICE): {:?} is not the name of a service; its roles are the groups of who \
                 signs in",
                self.service
            ));
        }
    }
}

/// authd's own accounts.
#[derive(Debug)]
pub struct Local {
    base: Base,
    service: String,
    /// The issuer of the identities: the public URL.
    issuer: String,
    rbac: Arc<Rbac>,
}

/// A login that waits for the person, as the page shows it.
#[derive(Debug)]
pub struct Waiting {
    pub device: Device,
    pub started_at: Millis,
    /// From when on the person has to have proved who they are, if the login asks for that.
    pub since: Option<Millis>,
    /// Where the browser goes with the release.
    pub loopback_port: Option<u16>,
}

impl Local {
    /// `None` if it is not configured.
    pub fn new(base: &Base, config: &Config, public_url: &str, rbac: Arc<Rbac>) -> Option<Self> {
        let (service, issuer) = (config.service.clone(), public_url.to_owned());
        config.enabled.then(|| Self { base: base.clone(), service, issuer, rbac })
    }

    /// Where the person confirms the device.
    pub(super) fn url(&self, state: &str) -> String {
        format!("{}{PAGE}{state}", self.issuer)
    }

    /// The account as a provider would tell of it: its id, its address, and its roles in the service as groups. `None` if
    /// it is not active.
    pub(super) async fn identity(&self, user: UserId, auth_time: Option<Millis>) -> Result<Option<Identity>> {
        Ok(self.person(user, auth_time).await?.map(|(identity, _)| identity))
    }

    /// The same with the time when the password was set.
    async fn person(&self, user: UserId, auth_time: Option<Millis>) -> Result<Option<(Identity, Millis)>> {
        let person = users::store::find_login(self.base.db.as_ref(), user).await?;
        let Some(person) = person.filter(|person| person.is_active) else { return Ok(None) };
        let groups = match self.rbac.service(self.service.as_str()).await? {
            Some(service) => self.rbac.access(user, service.id).await?.roles.clone(),
            None => Vec::new(),
        };
        let identity = Identity {
            issuer: self.issuer.clone(),
            subject: user.to_string(),
            email: person.email,
            email_verified: person.email_verified,
            name: Some(person.name),
            username: Some(person.username),
            groups,
            groups_fault: None,
            auth_time,
        };
        Ok(Some((identity, person.password_changed_at)))
    }

    /// Warns at the start of a service that does not exist: nobody has groups then.
    pub async fn warn(&self) {
        if matches!(self.rbac.service(self.service.as_str()).await, Ok(None)) {
            tracing::warn!(
                service = self.service,
                "local.service names no service: nobody who signs in with an account of authd has groups; create it with \
                 authctl service create"
            );
        }
    }
}

impl CliLogin {
    /// The login that a page asks about, while it waits for a person of authd's own; `None` if there is none.
    pub async fn find_waiting(&self, state: &str) -> Result<Option<Waiting>> {
        Ok(self.waiting(state).await?.map(|login| Waiting {
            device: login.device,
            started_at: login.started_at,
            since: login.reauthenticate.then_some(login.started_at),
            loopback_port: login.loopback_port,
        }))
    }

    async fn waiting(&self, state: &str) -> Result<Option<Login>> {
        let login = self.find_login(state).await?;
        Ok(login.filter(|login| login.provider == NAME && matches!(login.phase, Phase::Waiting)))
    }

    /// The caller, who is signed in with a browser, lets the device in. It continues even if the browser disconnects.
    pub async fn confirm(self: Arc<Self>, call: Call, state: String) -> Result<Outcome> {
        let this = self.clone();
        self.detached.run(async move { this.run_confirmation(call, state).await }).await
    }

    async fn run_confirmation(&self, call: Call, state: String) -> Result<Outcome> {
        let (user, session) = sessions::person(&call)?;
        let (Some(mut login), Some(local)) = (self.waiting(&state).await?, &self.local) else {
            return Ok(Outcome::Gone);
        };
        let Some(auth_time) = self.begun_at(session).await? else { return Ok(Outcome::Gone) };
        let since = login.reauthenticate.then_some(login.started_at);
        if !self.is_proved_since(session, auth_time, since).await? {
            return Err(step_up_required());
        }
        let Some((identity, password_changed_at)) = local.person(user, Some(auth_time)).await? else {
            return Ok(Outcome::Gone);
        };
        // Before the claim, which must last as long as the login.
        login.ends_at = login.ends_at.max(self.base.now() + COMPLETION);
        if !self.claim_login(&state, &login).await? {
            return Ok(Outcome::Gone);
        }
        self.let_in(&state, login, identity, Proof::Local { user, browser: session, password_changed_at }).await
    }

    /// The person refuses the device.
    pub async fn decline(&self, call: Call, state: &str) -> Result<Outcome> {
        let Some(mut login) = self.waiting(state).await? else { return Ok(Outcome::Gone) };
        if !self.claim_login(state, &login).await? {
            return Ok(Outcome::Gone);
        }
        self.end_pending(&call, state, &mut login, Phase::Denied, "denied on the page").await?;
        Ok(Outcome::Denied { credentials_until: None, reason: None })
    }

    /// Whether the person signed in or proved themselves a short time ago, and not before the login if it asks for that: a
    /// device lives for longer than the session of the browser, whose cookie somebody else may have.
    pub async fn is_proved(&self, session: SessionId, since: Option<Millis>) -> Result<bool> {
        match self.begun_at(session).await? {
            Some(begun_at) => self.is_proved_since(session, begun_at, since).await,
            None => Ok(false),
        }
    }

    async fn is_proved_since(&self, session: SessionId, begun_at: Millis, since: Option<Millis>) -> Result<bool> {
        let proofs = [Some(begun_at), self.sessions.proved_at(session).await?];
        let is_in_time = |at: &Millis| since.is_none_or(|since| *at >= since);
        Ok(proofs.into_iter().any(|at| is_fresh(at.filter(is_in_time), self.base.now())))
    }

    /// When the session began, in which the person is signed in.
    async fn begun_at(&self, session: SessionId) -> Result<Option<Millis>> {
        let session = sessions::store::show(self.base.db.as_ref(), session).await?;
        Ok(session.map(|session| session.created_at.millis()))
    }
}
