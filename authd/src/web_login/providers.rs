//! Sign-in through an OpenID provider. What authd has to remember until the browser returns is sealed in a cookie of that
//! browser: nobody else can return in its place, and nothing is kept here for whoever only begins.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use shared::api::sessions::SessionKind;
use shared::id::SessionId;
use shared::problem::Code;
use shared::secret::Secret;
use subtle::ConstantTimeEq;

use super::{Outcome, WebLogin};
use crate::accounts::step_up_required;
use crate::call::Call;
use crate::caller::Caller;
use crate::env::{MINUTE, Millis};
use crate::error::{Error, Result};
use crate::log::caused;
use crate::oidc_client::{Answer, Client};

/// How long a person may take at the provider.
const STARTED: Millis = 10 * MINUTE;
const CONTEXT: &str = "web.started";

/// A sign-in that has begun.
#[derive(Serialize, Deserialize)]
struct Started {
    provider: String,
    state: String,
    nonce: Secret,
    verifier: Secret,
    return_to: String,
    /// The session of who links an identity, instead of signing in.
    #[serde(default)]
    linking: Option<SessionId>,
    expires_at: Millis,
}

/// Where the browser goes to sign in.
#[derive(Debug)]
pub struct Departure {
    pub url: String,
    /// The value of the cookie.
    pub started: String,
}

/// What the browser came back with.
#[derive(Debug)]
pub struct Arrival {
    pub outcome: Outcome,
    /// Where it goes after the sign-in; empty if it asked for nothing.
    pub return_to: String,
}

impl WebLogin {
    /// The names of the providers that people can sign in with.
    pub fn providers(&self) -> impl Iterator<Item = &str> {
        self.providers.iter().map(|provider| provider.config.name.as_str())
    }

    /// Those at which a new sign-in proves who is signed in here.
    pub fn proving(&self) -> impl Iterator<Item = &str> {
        self.providers.iter().filter(|provider| provider.tells_when()).map(|provider| provider.config.name.as_str())
    }

    fn provider(&self, name: &str) -> Result<&Arc<Client>> {
        let found = self.providers.iter().find(|provider| provider.config.name == name);
        found.ok_or_else(|| Error::not_found("provider; /login lists them"))
    }

    /// Begins a sign-in with a provider, where the person says anew who they are if it is `again`; `return_to` is checked
    /// already.
    pub async fn depart(&self, name: &str, return_to: String, again: bool) -> Result<Departure> {
        self.depart_for(name, return_to, None, again).await
    }

    /// Begins to link an identity at a provider to the account of this session, in which the person has proved themselves a
    /// short time ago.
    pub async fn depart_to_link(&self, name: &str, session: SessionId) -> Result<Departure> {
        if !self.accounts.is_fresh(session).await? {
            return Err(step_up_required());
        }
        // Who is signed in there already may be somebody else, who sent this browser there.
        self.depart_for(name, String::new(), Some(session), true).await
    }

    async fn depart_for(
        &self,
        name: &str,
        return_to: String,
        linking: Option<SessionId>,
        again: bool,
    ) -> Result<Departure> {
        let provider = self.provider(name)?;
        let random = || URL_SAFE_NO_PAD.encode(self.base.env.bytes::<32>());
        let (state, nonce, verifier) = (random(), random(), random());
        let verifier = Secret::new(verifier);
        let prompt = again.then(|| provider.prompt());
        let url = provider.authorize_url(&self.redirect_uri(name), &state, &nonce, &verifier, prompt).await;
        let url = url.map_err(|error| error.explain(name))?;
        let (nonce, expires_at) = (Secret::new(nonce), self.base.now() + STARTED);
        let started = Started { provider: name.to_owned(), state, nonce, verifier, return_to, linking, expires_at };
        Ok(Departure { url, started: self.seal(CONTEXT, &started)? })
    }

    /// The browser's return: `started` is its cookie, and `visitor` who is signed in with it.
    pub async fn arrive(
        self: &Arc<Self>,
        call: Call,
        visitor: Option<Caller>,
        name: &str,
        binding: &str,
        started: Option<&str>,
        answer: Answer,
    ) -> Result<Arrival> {
        let provider = self.provider(name)?.clone();
        let started = started.and_then(|started| self.open::<Started>(CONTEXT, started));
        let now = self.base.now();
        let is_this = |started: &Started| {
            started.provider == name
                && now < started.expires_at
                && started.expires_at <= now + STARTED
                && bool::from(started.state.as_bytes().ct_eq(answer.state.as_bytes()))
        };
        let Some(started) = started.filter(is_this) else {
            return Err(Error::new(Code::InvalidToken, "this sign-in took too long, or was begun in another browser"));
        };
        let linking = started.linking;
        let arrived = self.accept((call, visitor), provider, binding, started, answer).await;
        if linking.is_none() {
            return arrived;
        }
        let outcome = Outcome::Linking(arrived.map(|_| ()));
        Ok(Arrival { outcome, return_to: String::new() })
    }

    /// Does what the sign-in was begun for, which is this browser's.
    async fn accept(
        self: &Arc<Self>,
        (call, visitor): (Call, Option<Caller>),
        provider: Arc<Client>,
        binding: &str,
        started: Started,
        answer: Answer,
    ) -> Result<Arrival> {
        let name = provider.config.name.clone();
        // An answer with another provider's issuer is a mix-up attack (RFC 9207 §2.4).
        if answer.issuer.is_some_and(|issuer| issuer != provider.config.issuer) {
            return Err(Error::new(
                Code::InvalidToken,
                format!("this answer is not from the identity provider {name}"),
            ));
        }
        let code = answer.result.map_err(|refusal| {
            caused!(call.address, warn, provider = name, %refusal, "the provider redirected a browser without a code");
            Error::new(Code::Forbidden, refusal.explain(&name))
        })?;
        let (this, binding, now) = (self.clone(), binding.to_owned(), self.base.now());
        let arriving = async move {
            let redirect_uri = this.redirect_uri(&provider.config.name);
            let granted = match provider.ready().await {
                Ok(()) => provider.exchange(&redirect_uri, &code, &started.verifier, &started.nonce, now).await,
                Err(error) => Err(error),
            };
            let (identity, _) = granted.map_err(|error| {
                let error = error.explain(&provider.config.name);
                let source = error.source_text().map(|text| text.to_string());
                caused!(
                    call.address,
                    warn,
                    provider = provider.config.name,
                    detail = error.detail,
                    source,
                    "a sign-in failed"
                );
                error
            })?;
            let outcome = if let Some(asked) = started.linking {
                // Proof of both: the same session that asked, and whoever has just signed in at the provider.
                let is_same = |caller: &Caller| matches!(caller, Caller::User { session, .. } if *session == asked);
                let Some(caller) = visitor.filter(is_same) else {
                    return Err(Error::new(Code::Forbidden, "you signed out meanwhile, so nothing was linked"));
                };
                this.accounts.link_own_identity(call.of(caller), &provider.config, &identity).await?;
                Outcome::Linking(Ok(()))
            } else {
                let found = this.accounts.sign_in_by_identity(&call, &provider.config, &identity, SessionKind::Web);
                this.outcome(&binding, found.await?)?
            };
            Ok(Arrival { outcome, return_to: started.return_to })
        };
        self.accounts.detached.run(arriving).await
    }

    /// Where the browser goes after its session has ended, which it had from this provider; `None` if nothing is to do
    /// there. The provider's own failure keeps nobody signed in.
    pub async fn leave(&self, provider: &str) -> Option<String> {
        let provider = self.provider(provider).ok().filter(|provider| provider.config.end_session)?;
        let back = format!("{}/login", self.public_url);
        provider.end_session_url(&back).await.unwrap_or_else(|error| {
            caused!(None, warn, provider = provider.config.name, ?error, "where to sign out there is not known");
            None
        })
    }

    /// Where a provider sends the browser back to.
    fn redirect_uri(&self, name: &str) -> String {
        format!("{}/auth/{name}/callback", self.public_url)
    }
}
