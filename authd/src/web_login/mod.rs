//! Sign-in with a browser, whose session is in a cookie.
//!
//! Invariants: a cookie holds a session of the kind `web` and nothing else does; it is new at each sign-in and at each
//! step-up; who has proved a password but not the second factor has no session; a form is accepted only with a token that
//! is bound to the cookies of the browser that got it; after a sign-in the browser goes to a path of authd or a host of
//! `cookie_domain`, nowhere else; a cookie that is not valid is cleared and keeps nobody out.

pub mod cookies;
pub mod providers;
pub mod return_to;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use shared::api::factors::Reauthenticate;
use shared::api::passkeys::{PasskeyAssertion, RequestOptions};
use shared::api::sessions::{Login, SessionKind};
use shared::problem::Code;
use shared::secret::Secret;
use shared::url;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use self::cookies::Cookies;
use crate::accounts::{Accounts, FirstFactor, SignIn};
use crate::authentication::Authentication;
use crate::base::Base;
use crate::call::Call;
use crate::caller::Caller;
use crate::env::{MINUTE, Millis};
use crate::error::{Error, Result};
use crate::keys::Purpose;
use crate::oidc_client::Client;
use crate::setting::Faults;

/// How long the second factor may take after the password.
const PENDING: Millis = 5 * MINUTE;

/// `[web]`: sign-in with a browser.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `AUTHD_COOKIE_DOMAIN`: the domain whose hosts get the session's cookie and may be returned to. Empty: only authd's
    /// own host.
    pub cookie_domain: String,
    /// `AUTHD_WEB_TEMPLATES`: a folder whose files replace the built-in pages of the same name; empty: none.
    pub templates: PathBuf,
}

impl Config {
    /// The folder of the operator's pages, if there is one.
    pub fn templates(&self) -> Option<&Path> {
        Some(self.templates.as_path()).filter(|folder| !folder.as_os_str().is_empty())
    }

    /// `public_url` is checked already.
    pub fn check(&mut self, public_url: &str, faults: &mut Faults) {
        let name = "web.cookie_domain (AUTHD_COOKIE_DOMAIN)";
        let domain = self.cookie_domain.trim().trim_start_matches('.').to_ascii_lowercase();
        if !domain.is_empty() {
            let is_label = |label: &str| {
                !label.is_empty()
                    && !label.starts_with('-')
                    && !label.ends_with('-')
                    && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            };
            let is_domain = domain.split('.').count() > 1
                && domain.split('.').all(is_label)
                && domain.parse::<std::net::IpAddr>().is_err();
            if !is_domain {
                faults.refuse(format!("{name}: {domain:?} is not a domain, like example.com"));
            }
            let host = url::parse(public_url).ok().and_then(|uri| uri.host().map(str::to_ascii_lowercase));
            if host.is_some_and(|host| !return_to::is_under(&host, &domain)) {
                faults.refuse(format!(
                    "{name}: the host of server.public_url (AUTHD_PUBLIC_URL), {public_url}, is not under {domain:?}: \
                     browsers would refuse the cookie"
                ));
            }
        }
        self.cookie_domain = domain;
    }
}

/// Sign-in with a browser.
#[derive(Debug)]
pub struct WebLogin {
    base: Base,
    pub cookies: Cookies,
    /// Scheme, host and port of the public URL, as browsers send it in `Origin`.
    pub origin: String,
    domain: String,
    public_url: String,
    providers: Vec<Arc<Client>>,
    authentication: Arc<Authentication>,
    accounts: Arc<Accounts>,
}

/// What a sign-in came to.
#[derive(Debug)]
pub enum Outcome {
    /// The token for the cookie.
    SignedIn(Secret),
    /// The password is right, and a code is needed: what to send with it.
    NeedsCode(String),
    /// Nobody signed in: who was signed in has linked an identity, or could not.
    Linking(Result<()>),
}

impl WebLogin {
    pub fn new(
        base: &Base,
        config: &Config,
        public_url: &str,
        providers: &[Arc<Client>],
        authentication: Arc<Authentication>,
        accounts: Arc<Accounts>,
    ) -> Arc<Self> {
        Arc::new(Self {
            base: base.clone(),
            cookies: Cookies::new(&config.cookie_domain),
            origin: url::parse(public_url).map_or_else(|_| public_url.to_owned(), |uri| url::origin(&uri)),
            domain: config.cookie_domain.clone(),
            public_url: public_url.to_owned(),
            providers: providers.iter().filter(|provider| provider.config.web).cloned().collect(),
            authentication,
            accounts,
        })
    }

    /// Whether browsers keep cookies of the public URL.
    pub fn is_usable(&self) -> bool {
        url::parse(&self.origin).is_ok_and(|uri| url::is_secure_context(&uri))
    }

    /// Who has this cookie; `None` if its session has ended, or it is none of ours.
    pub async fn visitor(&self, cookie: &str) -> Result<Option<Caller>> {
        self.authentication.authenticate_browser(cookie).await
    }

    /// A value for the cookie of a browser that is not signed in.
    pub fn new_binding(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.base.env.bytes::<32>())
    }

    /// The token of the forms for a browser with this cookie.
    pub fn form_token(&self, cookie: &str) -> Result<String> {
        let (_, mac) = self.base.keys.mac(Purpose::Form, None, &[cookie.as_bytes()])?;
        Ok(URL_SAFE_NO_PAD.encode(&mac[..]))
    }

    pub fn accepts_form(&self, cookie: &str, token: &str) -> Result<bool> {
        Ok(self.form_token(cookie)?.as_bytes().ct_eq(token.as_bytes()).into())
    }

    /// Where a browser that asked for `target` goes after its sign-in, if it may: see [`return_to::check`].
    pub fn target(&self, target: &str) -> Option<String> {
        return_to::check(target, &self.origin, &self.domain)
    }

    /// Where forms may lead, as the policy of pages names it: browsers apply it to the redirect after the form too.
    pub fn form_targets(&self) -> String {
        if self.domain.is_empty() {
            return "'self'".to_owned();
        }
        let scheme = self.origin.split(':').next().unwrap_or_default();
        format!("'self' {scheme}://{0}:* {scheme}://*.{0}:*", self.domain)
    }

    /// Signs in by password, and a code if there is one. `binding` is the browser's cookie.
    pub async fn sign_in(self: &Arc<Self>, call: Call, binding: &str, op: Login) -> Result<Outcome> {
        let (this, binding) = (self.clone(), binding.to_owned());
        let signing_in = async move {
            let outcome = this.accounts.sign_in(&call, &op, SessionKind::Web).await?;
            this.outcome(&binding, outcome)
        };
        self.accounts.detached.run(signing_in).await
    }

    /// Signs in who has proved the first factor, by the code.
    pub async fn sign_in_with_code(
        self: &Arc<Self>,
        call: Call,
        binding: &str,
        pending: &str,
        code: Secret,
    ) -> Result<Outcome> {
        let opened: Option<Pending> = self.open(&context(binding), pending);
        let now = self.base.now();
        let is_now = |pending: &Pending| now < pending.expires_at && pending.expires_at <= now + PENDING;
        let Some(Pending { proof, .. }) = opened.filter(is_now) else {
            return Err(Error::new(Code::InvalidToken, "the sign-in took too long; start again"));
        };
        let (this, binding) = (self.clone(), binding.to_owned());
        let signing_in = async move {
            let outcome = this.accounts.sign_in_with_code(&call, &proof, &code, SessionKind::Web).await?;
            this.outcome(&binding, outcome)
        };
        self.accounts.detached.run(signing_in).await
    }

    /// Whether people can sign in by passkeys.
    pub fn has_passkeys(&self) -> bool {
        self.accounts.has_passkeys()
    }

    /// Begins a sign-in by a passkey of a browser, which has this cookie.
    pub async fn begin_passkey(&self, call: &Call, binding: &Secret) -> Result<RequestOptions> {
        self.accounts.begin_passkey_login(call, binding).await
    }

    /// Signs in by the passkey with which the browser answered; returns the token for the cookie.
    pub async fn finish_passkey(&self, call: Call, binding: Secret, assertion: PasskeyAssertion) -> Result<Secret> {
        let signed_in = self.accounts.finish_passkey_login(call, binding, assertion, SessionKind::Web).await?;
        Ok(signed_in.answer.token)
    }

    /// Proves password and code of somebody who is signed in anew; returns the token for the cookie, in place of the one
    /// that the browser has, which ends.
    pub async fn step_up(&self, call: Call, op: Reauthenticate) -> Result<Secret> {
        let accounts = self.accounts.clone();
        self.accounts.detached.run(async move { accounts.reauthenticate_browser(call, op).await }).await
    }

    /// The same by a passkey.
    pub async fn step_up_by_passkey(&self, call: Call, assertion: PasskeyAssertion) -> Result<Secret> {
        let accounts = self.accounts.clone();
        self.accounts.detached.run(async move { accounts.prove_browser_by_passkey(call, assertion).await }).await
    }

    fn outcome(&self, binding: &str, outcome: SignIn) -> Result<Outcome> {
        match outcome {
            SignIn::Done(signed_in) => Ok(Outcome::SignedIn(signed_in.answer.token)),
            SignIn::NeedsCode(proof) => {
                let pending = Pending { proof: *proof, expires_at: self.base.now() + PENDING };
                Ok(Outcome::NeedsCode(self.seal(&context(binding), &pending)?))
            }
        }
    }

    /// What a browser keeps for authd, so that nobody can read or change it.
    fn seal<T: Serialize>(&self, context: &str, value: &T) -> Result<String> {
        let clear = Zeroizing::new(serde_json::to_vec(value).map_err(Error::internal)?);
        Ok(URL_SAFE_NO_PAD.encode(self.base.keys.seal(context, &clear)?))
    }

    /// `None` if it is not a value that was sealed for this context.
    fn open<T: DeserializeOwned>(&self, context: &str, sealed: &str) -> Option<T> {
        let sealed = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let opened = self.base.keys.open(context, &sealed).ok()?;
        serde_json::from_slice(&opened).ok()
    }
}

/// A sign-in between the first factor and the code.
#[derive(Serialize, Deserialize)]
struct Pending {
    proof: FirstFactor,
    expires_at: Millis,
}

fn context(binding: &str) -> String {
    format!("web.pending {binding}")
}
