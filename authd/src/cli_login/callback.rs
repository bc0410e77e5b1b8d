//! Handles the browser's return from the provider. Called by the pages, not by an operation.

use std::sync::Arc;

use shared::id::SessionId;
use shared::secret::Secret;

use super::model::{self, Device, Login, Phase, Proof, SignedIn};
use super::{CliLogin, Provider, by_device};
use crate::call::Call;
use crate::env::{MINUTE, Millis};
use crate::error::Result;
use crate::log::caused;
use crate::oidc_client::{Answer, Identity, ProviderError};

/// How often the provider may fail before it accepts the code; then the login ends.
const MAX_FAILURES: u32 = 8;
/// Minimum time that a login has left when the browser returns, for the provider's answers and the terminal's request.
pub(super) const COMPLETION: Millis = 2 * MINUTE;

/// The result that the page shows.
#[derive(Debug)]
pub enum Outcome {
    /// No login is pending for this: it ended, was used, or never existed.
    Gone,
    /// The person denied the login: the device gets nothing more.
    Denied {
        /// Until when credentials that the device got before are valid, if any.
        credentials_until: Option<Millis>,
        /// Why, if it was the provider.
        reason: Option<String>,
    },
    /// The provider failed before the code was used: the same page can be loaded again.
    TryAgain(String),
    /// The provider redirected the browser without a code: another sign-in there is required.
    SignInAgain(String),
    /// This login failed; start again.
    Failed(String),
    /// The browser is redirected to the device's loopback listener with the release.
    ToDevice { port: u16, release: Secret },
    /// The page shows the release, and the person pastes it into the terminal.
    ToPerson { device: Device, started_at: Millis, user: String, release: Secret },
    /// No release: the device polls with only the state, as the configuration allows.
    Done,
}

impl CliLogin {
    /// Completes a login. It continues even if the browser disconnects, since a code can be used only once.
    pub async fn complete(self: Arc<Self>, call: Call, answer: Answer) -> Result<Outcome> {
        let this = self.clone();
        self.detached.run(async move { this.run_callback(call, answer).await }).await
    }

    async fn run_callback(&self, call: Call, answer: Answer) -> Result<Outcome> {
        let Some(mut login) = self.find_login(&answer.state).await? else { return Ok(Outcome::Gone) };
        if !matches!(login.phase, Phase::Waiting) {
            return Ok(Outcome::Gone);
        }
        let Provider::OpenId(provider) = self.known_provider(&login.provider)? else { return Ok(Outcome::Gone) };
        let name = login.provider.clone();
        // An answer with another provider's issuer is a mix-up attack (RFC 9207 §2.4).
        if answer.issuer.is_some_and(|issuer| issuer != provider.config.issuer) {
            return Ok(Outcome::SignInAgain(format!("this answer is not from the identity provider {name}")));
        }
        let code = match answer.result {
            Ok(code) => code,
            Err(refusal) if refusal.code == "access_denied" => {
                if !self.claim_login(&answer.state, &login).await? {
                    return Ok(Outcome::Gone);
                }
                caused!(call.address, warn, provider = name, %refusal, "the provider denied a sign-in");
                let reason = refusal.explain(&name);
                self.set_told(&answer.state, &login, &reason).await?;
                self.end_pending(&call, &answer.state, &mut login, Phase::Denied, "declined at the provider").await?;
                return Ok(Outcome::Denied { credentials_until: None, reason: Some(reason) });
            }
            Err(refusal) => {
                caused!(call.address, warn, provider = name, %refusal, "the provider redirected a browser without a code");
                let reason = refusal.explain(&name);
                self.set_told(&answer.state, &login, &reason).await?;
                return Ok(Outcome::SignInAgain(reason));
            }
        };
        let now = self.base.now();
        let is_late = login.ends_at < now + COMPLETION;
        // Before the claim, which must last as long as the login.
        login.ends_at = login.ends_at.max(now + COMPLETION);
        if !self.claim_login(&answer.state, &login).await? {
            return Ok(Outcome::Gone);
        }
        if is_late {
            self.save_login(&answer.state, &login).await?;
        }
        let granted = match provider.ready().await {
            Ok(()) => provider.exchange(&provider.config.redirect_uri, &code, &login.verifier, &login.nonce, now).await,
            // The code was not used yet, so a retry may succeed even after an unusable answer.
            Err(ProviderError::Unusable(reason)) => Err(ProviderError::Unavailable(reason)),
            Err(error) => Err(error),
        };
        let (identity, tokens) = match granted {
            Ok(granted) => granted,
            Err(error) => {
                let may_pass = matches!(error, ProviderError::Unavailable(_)) && login.failures < MAX_FAILURES;
                let error = error.explain(&name);
                caused!(
                    call.address,
                    warn,
                    provider = name,
                    detail = error.detail,
                    source = error.source_text().map(|t| t.to_string()),
                    "a sign-in failed"
                );
                self.set_told(&answer.state, &login, &error.detail).await?;
                if may_pass {
                    // The next number is a new claim, so that the browser can try again.
                    login.failures += 1;
                    self.save_login(&answer.state, &login).await?;
                    return Ok(Outcome::TryAgain(error.detail));
                }
                self.end_pending(&call, &answer.state, &mut login, Phase::Ended, "the provider's answer was unusable")
                    .await?;
                return Ok(Outcome::Failed(error.detail));
            }
        };
        self.let_in(&answer.state, login, identity, Proof::Tokens(tokens)).await
    }

    /// The person has signed in: from now on the terminal with the release gets credentials.
    pub(super) async fn let_in(
        &self,
        state: &str,
        mut login: Login,
        identity: Identity,
        proof: Proof,
    ) -> Result<Outcome> {
        let make = if login.loopback_port.is_some() { model::release } else { model::carried_release };
        let release = login.poll_challenge.is_some().then(|| make(&self.base.env));
        let user = identity.display().to_owned();
        login.ends_at = login.ends_at.max(self.base.now() + COMPLETION);
        login.phase = Phase::SignedIn(Box::new(SignedIn {
            identity,
            proof,
            release: release.as_ref().map(model::release_hash),
            session: SessionId(self.base.env.uuid()),
        }));
        self.save_login(state, &login).await?;
        Ok(match (release, login.loopback_port) {
            (None, _) => Outcome::Done,
            (Some(release), Some(port)) => Outcome::ToDevice { port, release },
            (Some(release), None) => {
                Outcome::ToPerson { device: login.device, started_at: login.started_at, user, release }
            }
        })
    }

    /// The person pressed Deny, which requires the release. A session that began meanwhile ends.
    pub async fn deny(&self, call: Call, state: &str, release: &Secret) -> Result<Outcome> {
        let Some(mut login) = self.find_login(state).await? else { return Ok(Outcome::Gone) };
        let (session, call) = match &login.phase {
            Phase::SignedIn(signed_in) if signed_in.is_release(release) => {
                (signed_in.session, by_device(&call, &signed_in.identity))
            }
            Phase::Denied => return Ok(Outcome::Denied { credentials_until: None, reason: None }),
            Phase::SignedIn(_) => {
                self.count_attempt(state, &mut login).await?;
                return Ok(Outcome::Gone);
            }
            Phase::Waiting | Phase::Ended => return Ok(Outcome::Gone),
        };
        // First the login, then the session: the authorization reads the login again after it created the session, so
        // one of the two sees the other.
        self.end_pending(&call, state, &mut login, Phase::Denied, "denied on the page").await?;
        let session = self.sessions.end_device(&call, session, "cli_login.deny", "denied").await?;
        let credentials_until = session.and_then(|session| session.credentials_until(self.base.now()));
        Ok(Outcome::Denied { credentials_until, reason: None })
    }

    /// Ends a login before credentials were issued, and records why.
    pub(super) async fn end_pending(
        &self,
        call: &Call,
        state: &str,
        login: &mut Login,
        phase: Phase,
        why: &str,
    ) -> Result<()> {
        login.phase = phase;
        self.save_login(state, login).await?;
        let detail = [
            ("why", Some(why.into())),
            ("provider", Some(login.provider.as_str().into())),
            ("device", login.device.name.clone().map(Into::into)),
        ];
        let outcome = if matches!(login.phase, Phase::Denied) { "denied" } else { "failed" };
        self.base.ledger.refuse(call, "cli_login.callback", None, outcome, detail).await?;
        Ok(())
    }
}
