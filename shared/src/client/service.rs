//! How a service asks authd about its own callers: whether a token is valid, whose it is, and what it permits.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::cache::{Cache, Found, Keep, Key};
use super::denial::{Denial, Reason};
use super::env::{Env, Machine};
use super::identity::{self, Required, TokenIdentity, Use, UserIdentity};
use super::retry::{self, Repeat};
use super::{Accounts, Bounds, Client, Endpoint, Error};
use crate::api::checks::CheckToken;
use crate::api::sessions::{LoggedIn, Login, Logout};
use crate::api::tokens::ValidateToken;
use crate::op::{Method, Operation};
use crate::secret::Secret;

/// Time limit of a question in all, retries included.
const DEADLINE: Duration = Duration::from_secs(2);
/// The same for a login and for changes of an account: password hashing is slow on purpose and waits for a core.
const LOGIN_DEADLINE: Duration = Duration::from_secs(10);
/// Maximum number of concurrent questions to authd.
const MOST_ASKS: usize = 64;

/// A service's client of authd. It is cheap to clone; clones share connections and cache.
///
/// Every question has one of three results: an identity, a [`Denial`] that is about the token, or a [`Denial`] that is
/// about authd. Only an identity lets a request through.
///
/// For **reads** an identity is cached for at most a minute, and never past the token's expiry (for a session, halfway
/// to it, because only a call to authd extends it). While authd is down, only the cache can answer a read.
/// A **write** asks authd every time. What the token may do is decided at every use, from the identity; refusals are
/// not cached. Concurrent reads of the same token send one request.
#[derive(Clone, Debug)]
pub struct Authd(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    client: Client,
    settings: Builder,
    turns: Semaphore,
    tokens: Arc<Cache<TokenIdentity>>,
    sessions: Arc<Cache<UserIdentity>>,
    asked: AtomicU64,
    remembered: AtomicU64,
    joined: AtomicU64,
}

/// The settings of an [`Authd`] client.
#[derive(Debug)]
pub struct Builder {
    endpoint: Endpoint,
    service: Option<String>,
    service_token: Option<Secret>,
    deadline: Duration,
    login_deadline: Duration,
    most_asks: usize,
    bounds: Bounds,
    is_insecure: bool,
    env: Arc<dyn Env>,
}

impl Builder {
    /// This service's own token (`authctl service token create`): authd then answers only about the users of this
    /// service, with their roles and permissions in it.
    #[must_use]
    pub fn service_token(mut self, token: Secret) -> Self {
        self.service_token = Some(token);
        self
    }

    /// The service's id or name, if it has no token of its own. For API tokens it is only a name in
    /// authd's log.
    #[must_use]
    pub fn service(mut self, id_or_name: impl Into<String>) -> Self {
        self.service = Some(id_or_name.into());
        self
    }

    /// Time limit of a question in all, retries included; the default is two seconds.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The same for a login, and for every change of an account; ten seconds unless set, because passwords are hashed
    /// slowly on purpose.
    #[must_use]
    pub fn login_deadline(mut self, deadline: Duration) -> Self {
        self.login_deadline = deadline;
        self
    }

    /// How much is remembered, and for how long.
    #[must_use]
    pub fn bounds(mut self, bounds: Bounds) -> Self {
        self.bounds = bounds;
        self
    }

    /// Maximum number of concurrent questions; the default is 64. Others wait, within their deadline.
    #[must_use]
    pub fn most_asks(mut self, most: usize) -> Self {
        self.most_asks = most;
        self
    }

    /// Allows tokens over plain HTTP to another machine, for networks that encrypt by themselves.
    #[must_use]
    pub fn insecure(mut self) -> Self {
        self.is_insecure = true;
        self
    }

    /// Builds the client without connecting. Fails if tokens would be sent unencrypted.
    pub fn build(self) -> Result<Authd, String> {
        if !self.is_insecure && !self.endpoint.is_private() {
            return Err(format!("{} is plain HTTP to another machine: use https, or call insecure()", self.endpoint));
        }
        // The deadline of the whole question comes first.
        let longest = self.deadline.max(self.login_deadline).saturating_mul(2);
        Ok(Authd(Arc::new(Inner {
            client: Client::new(self.endpoint.clone()).with_timeout(longest),
            turns: Semaphore::new(self.most_asks.clamp(1, Semaphore::MAX_PERMITS)),
            tokens: Cache::new(self.bounds),
            sessions: Cache::new(self.bounds),
            asked: AtomicU64::default(),
            remembered: AtomicU64::default(),
            joined: AtomicU64::default(),
            settings: self,
        })))
    }

    #[cfg(test)]
    fn env(mut self, env: Arc<dyn Env>) -> Self {
        self.env = env;
        self
    }
}

/// Counters since the start, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Requests sent to authd, retries included.
    pub asked: u64,
    /// Reads that were answered from the cache.
    pub remembered: u64,
    /// Reads that waited for a question already under way.
    pub joined: u64,
    /// Identities in the cache.
    pub entries: usize,
}

impl Authd {
    /// Configures a client for authd at its public URL or admin socket.
    pub fn at(endpoint: Endpoint) -> Builder {
        Builder {
            endpoint,
            service: None,
            service_token: None,
            deadline: DEADLINE,
            login_deadline: LOGIN_DEADLINE,
            most_asks: MOST_ASKS,
            bounds: Bounds::default(),
            is_insecure: false,
            env: Arc::new(Machine::new()),
        }
    }

    /// Checks that an API token is valid and has all of these scopes. `address` is the sender's address; without it,
    /// tokens that are limited to networks are refused.
    pub async fn validate<S: AsRef<str>>(
        &self,
        token: &Secret,
        scopes: &[S],
        address: Option<IpAddr>,
        usage: Use,
    ) -> Result<Arc<TokenIdentity>, Denial> {
        let identity = self.identify(&self.0.tokens, token, address, usage, Self::ask_about_token).await?;
        identity.decide(scopes)?;
        Ok(identity)
    }

    /// Checks that a session is valid and that its user has access to this service and what is required there.
    pub async fn check(&self, token: &Secret, required: &Required, usage: Use) -> Result<Arc<UserIdentity>, Denial> {
        let identity = self.identify(&self.0.sessions, token, None, usage, Self::ask_about_session).await?;
        identity.decide(required)?;
        Ok(identity)
    }

    /// Signs a person in. authd counts failures by the client's `address` if it trusts this machine as a proxy, and by
    /// this machine's own address otherwise. The login is retried only if nothing was sent.
    pub async fn login(&self, login: &Login, address: Option<IpAddr>) -> Result<LoggedIn, Denial> {
        let answer = self.call_for(None, login, address).await;
        answer.map_err(|failure| failure.map_or_else(Denial::timed_out, Denial::because_of_login))
    }

    /// The accounts of people, for a program through which they sign up, sign in, and change or delete their account. As
    /// for [`Authd::login`], `address` is that of the person.
    pub fn accounts(&self, address: Option<IpAddr>) -> Accounts {
        Accounts::new(self.clone(), address)
    }

    /// Calls an operation for a person at this address, by their session if there is one. What changes something has the
    /// deadline of a login, and is retried only if nothing was sent.
    pub(super) async fn call_for<Op: Operation + Sync>(
        &self,
        session: Option<&Secret>,
        op: &Op,
        address: Option<IpAddr>,
    ) -> Result<Op::Response, Option<Error>> {
        let Inner { client, settings, .. } = &*self.0;
        let (repeat, deadline) = match Op::INFO.method {
            Method::Get => (Repeat::Safe, settings.deadline),
            Method::Post | Method::Put | Method::Delete => (Repeat::Unsent, settings.login_deadline),
        };
        let by_session = session.map(|session| client.clone().with_bearer(session.clone()));
        self.call(by_session.as_ref().unwrap_or(client), op, address, repeat, deadline).await
    }

    /// Ends a session. It is removed from this cache whatever authd answers. Ending an ended session succeeds.
    /// Other processes that use this library may accept it for reads for up to a minute.
    pub async fn logout(&self, token: &Secret) -> Result<(), Denial> {
        identity::check_form(token.expose())?;
        let key = Key::new(token.expose(), None);
        self.0.sessions.forget(&key);
        let client = self.0.client.clone().with_bearer(token.clone());
        let answer = self.call(&client, &Logout {}, None, Repeat::Safe, self.0.settings.deadline).await;
        // Again: a read may have asked authd in between.
        self.0.sessions.forget(&key);
        match answer {
            Ok(_) => Ok(()),
            Err(Some(Error::Refused(problem))) if problem.status == 401 => Ok(()),
            Err(failure) => Err(failure.map_or_else(Denial::timed_out, Denial::because)),
        }
    }

    /// Forgets what is remembered of a token of either kind, so that its next use asks authd.
    pub fn forget(&self, token: &Secret) {
        let key = Key::new(token.expose(), None);
        self.0.tokens.forget(&key);
        self.0.sessions.forget(&key);
    }

    pub fn stats(&self) -> Stats {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            asked: count(&self.0.asked),
            remembered: count(&self.0.remembered),
            joined: count(&self.0.joined),
            entries: self.0.tokens.len() + self.0.sessions.len(),
        }
    }

    /// From the cache if that is allowed, else from authd.
    async fn identify<V: Keep, F>(
        &self,
        cache: &Arc<Cache<V>>,
        token: &Secret,
        address: Option<IpAddr>,
        usage: Use,
        ask: impl FnOnce(Self, Secret, Option<IpAddr>) -> F,
    ) -> Result<Arc<V>, Denial>
    where
        F: Future<Output = Result<V, Denial>> + Send + 'static,
    {
        identity::check_form(token.expose())?;
        let key = Key::new(token.expose(), address);
        let Inner { settings: Builder { env, .. }, remembered, joined, .. } = &*self.0;
        let asking = || ask(self.clone(), token.clone(), address);
        if usage == Use::Write {
            // A write does not join an earlier question: its answer could be older than the write.
            return cache.ask(key, env.now(), env.time()).answer(asking()).await;
        }
        let mut flight = match cache.find_or_ask(key, env.now(), env.time()) {
            Found::Value(value) => {
                remembered.fetch_add(1, Ordering::Relaxed);
                return Ok(value);
            }
            Found::Joined(flight) => {
                joined.fetch_add(1, Ordering::Relaxed);
                flight
            }
            Found::New(question, sender) => {
                let flight = sender.subscribe();
                let answering = question.answer(asking());
                // A separate task: if the first caller is cancelled, the others still get the answer.
                tokio::spawn(async move { sender.send_replace(Some(answering.await)) });
                flight
            }
        };
        let landed = flight.wait_for(Option::is_some).await;
        landed.ok().and_then(|result| result.clone()).unwrap_or_else(|| Err(Denial::cancelled()))
    }

    async fn ask_about_token(self, token: Secret, address: Option<IpAddr>) -> Result<TokenIdentity, Denial> {
        let service_name = self.0.settings.service.clone();
        let op = ValidateToken { token, required_scopes: None, client_ip: address, service_name, action_name: None };
        TokenIdentity::new(self.ask(&op).await?)
    }

    async fn ask_about_session(self, token: Secret, _: Option<IpAddr>) -> Result<UserIdentity, Denial> {
        let op = CheckToken {
            token: Some(token),
            bearer: self.0.settings.service_token.clone(),
            service_id: self.0.settings.service.clone(),
            ..CheckToken::default()
        };
        let names_service = op.bearer.is_some() || op.service_id.is_some();
        let identity = UserIdentity::new(self.ask(&op).await?)?;
        if names_service && identity.service_id.is_none() {
            return Err(Denial::new(Reason::Misconfigured, "the authentication service named no service"));
        }
        Ok(identity)
    }

    async fn ask<Op: Operation + Sync>(&self, op: &Op) -> Result<Op::Response, Denial> {
        let answer = self.call(&self.0.client, op, None, Repeat::Safe, self.0.settings.deadline).await;
        answer.map_err(|failure| failure.map_or_else(Denial::timed_out, Denial::because))
    }

    /// Tries until there is an answer, the retries are used up, or the deadline has passed; the last is `Err(None)`.
    async fn call<Op: Operation + Sync>(
        &self,
        client: &Client,
        op: &Op,
        address: Option<IpAddr>,
        repeat: Repeat,
        deadline: Duration,
    ) -> Result<Op::Response, Option<Error>> {
        let deadline = Instant::now() + deadline;
        let trying = async {
            // The semaphore is never closed.
            let _turn = self.0.turns.acquire().await;
            let mut tries = 0;
            loop {
                self.0.asked.fetch_add(1, Ordering::Relaxed);
                let error = match client.call_for(op, address).await {
                    Ok(answer) => return Ok(answer),
                    Err(error) => error,
                };
                tries += 1;
                let wait = retry::wait(&error, repeat, tries, self.0.settings.env.random());
                // A retry after the deadline is useless, and this error says more than a time-out.
                let Some(next) = wait.and_then(|wait| Instant::now().checked_add(wait)).filter(|next| *next < deadline)
                else {
                    return Err(Some(error));
                };
                tokio::time::sleep_until(next).await;
            }
        };
        tokio::time::timeout_at(deadline, trying).await.unwrap_or(Err(None))
    }
}

#[cfg(test)]
mod tests;
