//! What a service asks authd about its own callers: is this token good, whose is it, and for what?

use std::fmt;
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
use super::{Bounds, Client, Endpoint, Error};
use crate::api::checks::{CheckToken, CheckedToken, SessionFault};
use crate::api::sessions::{LoggedIn, Login, Logout};
use crate::api::tokens::{TokenFault, ValidateToken, Validation};
use crate::op::Operation;
use crate::secret::Secret;

/// How long a question may take in all, retries included.
const DEADLINE: Duration = Duration::from_secs(2);
/// The same for a login: passwords are hashed slowly on purpose, and wait for a core.
const LOGIN_DEADLINE: Duration = Duration::from_secs(10);
/// Questions to authd at the same time.
const MOST_ASKS: usize = 64;

/// A service's line to authd. It is cheap to clone, and every clone shares connections and memory.
///
/// Every question has one of three ends: an identity, a [`Denial`] that is about the token, or a [`Denial`] that is
/// about authd. There is no way through but the first.
///
/// For **reads** an identity is remembered for at most a minute, and never past the token's own end (of a session,
/// half-way to it: authd has to see that it is used). While authd is down, a read may be answered so, and only so.
/// A **write** asks afresh every time. What the token may do is decided at every use, from the identity; refusals are
/// not remembered. Reads of the same token that come together ask once.
#[derive(Clone)]
pub struct Authd(Arc<Inner>);

struct Inner {
    client: Client,
    service: Option<String>,
    service_token: Option<Secret>,
    deadline: Duration,
    login_deadline: Duration,
    turns: Semaphore,
    tokens: Arc<Cache<TokenIdentity>>,
    sessions: Arc<Cache<UserIdentity>>,
    asked: AtomicU64,
    remembered: AtomicU64,
    joined: AtomicU64,
    env: Arc<dyn Env>,
}

impl fmt::Debug for Authd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authd").field("endpoint", self.0.client.endpoint()).finish_non_exhaustive()
    }
}

/// How the line is to be.
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
    /// This service's own token (`authctl service token create`): authd then answers about the users of this service
    /// alone, with their roles and permissions in it.
    #[must_use]
    pub fn service_token(mut self, token: Secret) -> Self {
        self.service_token = Some(token);
        self
    }

    /// Which service this is, by id or name, where it has no token of its own. For API tokens it is only a name in
    /// authd's log.
    #[must_use]
    pub fn service(mut self, id_or_name: impl Into<String>) -> Self {
        self.service = Some(id_or_name.into());
        self
    }

    /// How long a question may take in all, retries included; two seconds unless said.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The same for a login; ten seconds unless said, since passwords are hashed slowly on purpose.
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

    /// How many questions may be under way at the same time, 64 unless said; others wait, within their deadline.
    #[must_use]
    pub fn most_asks(mut self, most: usize) -> Self {
        self.most_asks = most.max(1);
        self
    }

    /// Sends tokens over plain HTTP to another machine: for networks that encrypt by themselves.
    #[must_use]
    pub fn insecure(mut self) -> Self {
        self.is_insecure = true;
        self
    }

    /// Connects to nobody yet. Fails when tokens would travel in clear.
    pub fn build(self) -> Result<Authd, String> {
        if !self.is_insecure && !self.endpoint.is_private() {
            return Err(format!("{} is plain HTTP to another machine: use https, or allow it", self.endpoint));
        }
        // The deadline of the whole question comes first.
        let longest = self.deadline.max(self.login_deadline).saturating_mul(2);
        let client = Client::new(self.endpoint).with_timeout(longest);
        Ok(Authd(Arc::new(Inner {
            client,
            service: self.service,
            service_token: self.service_token,
            deadline: self.deadline,
            login_deadline: self.login_deadline,
            turns: Semaphore::new(self.most_asks.min(Semaphore::MAX_PERMITS)),
            tokens: Cache::new(self.bounds),
            sessions: Cache::new(self.bounds),
            asked: AtomicU64::new(0),
            remembered: AtomicU64::new(0),
            joined: AtomicU64::new(0),
            env: self.env,
        })))
    }

    #[cfg(test)]
    fn env(mut self, env: Arc<dyn Env>) -> Self {
        self.env = env;
        self
    }
}

/// What has happened so far, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Requests sent to authd, retries included.
    pub asked: u64,
    /// Reads that were answered by what authd had said before.
    pub remembered: u64,
    /// Reads that waited for a question that was under way.
    pub joined: u64,
    /// Identities in memory.
    pub entries: usize,
}

impl Authd {
    /// authd's address: its public URL, or its admin socket.
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

    /// Is this API token good, and does it hold all of these scopes? `address` is the address of whoever sent it, for
    /// tokens that may be used from some networks only: without it those are refused.
    pub async fn validate<S: AsRef<str>>(
        &self,
        token: &Secret,
        scopes: &[S],
        address: Option<IpAddr>,
        usage: Use,
    ) -> Result<Arc<TokenIdentity>, Denial> {
        identity::check_form(token.expose())?;
        let key = Key::new(token.expose(), address);
        let ask = |authd: Self, token: Secret| async move {
            let service_name = authd.0.service.clone();
            let op =
                ValidateToken { token, required_scopes: None, client_ip: address, service_name, action_name: None };
            validated(authd.ask(&op).await?)
        };
        let identity = self.answer(&self.0.tokens, key, usage, || ask(self.clone(), token.clone())).await?;
        identity.decide(scopes)?;
        Ok(identity)
    }

    /// Is this session good, has its user access to this service, and do they hold what is required there?
    pub async fn check(&self, token: &Secret, required: &Required, usage: Use) -> Result<Arc<UserIdentity>, Denial> {
        identity::check_form(token.expose())?;
        let key = Key::new(token.expose(), None);
        let ask = |authd: Self, token: Secret| async move {
            let op = CheckToken {
                token: Some(token),
                bearer: authd.0.service_token.clone(),
                service_id: authd.0.service.clone(),
                ..CheckToken::default()
            };
            let names_service = op.bearer.is_some() || op.service_id.is_some();
            let identity = checked(authd.ask(&op).await?)?;
            if names_service && identity.service_id.is_none() {
                return Err(Denial::new(Reason::Misconfigured, "the authentication service left the question open"));
            }
            Ok(identity)
        };
        let identity = self.answer(&self.0.sessions, key, usage, || ask(self.clone(), token.clone())).await?;
        identity.decide(required)?;
        Ok(identity)
    }

    /// Signs a person in. `address` is where they are: authd counts failures by it when it trusts this machine as a
    /// proxy, and by this machine's own address otherwise. It is sent again only if nothing was sent before.
    pub async fn login(&self, login: &Login, address: Option<IpAddr>) -> Result<LoggedIn, Denial> {
        let answer = self.call(&self.0.client, login, address, Repeat::Unsent, self.0.login_deadline).await;
        answer.map_err(|failure| failure.map_or_else(Denial::timed_out, Denial::because_of_login))
    }

    /// Ends a session. It is forgotten here whatever authd says; one that has ended before is as good as ended now.
    /// Other processes that use this library may believe it for reads until their minute is over.
    pub async fn logout(&self, token: &Secret) -> Result<(), Denial> {
        identity::check_form(token.expose())?;
        let key = Key::new(token.expose(), None);
        self.0.sessions.forget(&key);
        let client = self.0.client.clone().with_bearer(token.clone());
        let answer = self.call(&client, &Logout {}, None, Repeat::Safe, self.0.deadline).await;
        // Again: a read may have asked in between.
        self.0.sessions.forget(&key);
        match answer {
            Ok(_) => Ok(()),
            Err(Some(Error::Refused(problem))) if problem.status == 401 => Ok(()),
            Err(failure) => Err(failure.map_or_else(Denial::timed_out, Denial::because)),
        }
    }

    /// Forgets whatever is remembered of a token of either kind, so that the next use asks.
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

    /// From memory where that is allowed, else from authd.
    async fn answer<V, F>(
        &self,
        cache: &Arc<Cache<V>>,
        key: Key,
        usage: Use,
        ask: impl FnOnce() -> F,
    ) -> Result<Arc<V>, Denial>
    where
        V: Keep,
        F: Future<Output = Result<V, Denial>> + Send + 'static,
    {
        let Inner { env, remembered, joined, .. } = &*self.0;
        if usage == Use::Write {
            // A question that was asked before this write came would not be afresh: no joining here.
            return keep(env.as_ref(), cache, key, ask()).await;
        }
        let found = cache.find_or_fly(key, env.now(), env.time(), |takeoff| {
            // A task of its own: whoever asked first may go away, and the others still want the answer.
            let (env, cache, asking) = (env.clone(), cache.clone(), ask());
            tokio::spawn(async move {
                let result = keep(env.as_ref(), &cache, takeoff.key, asking).await;
                takeoff.land(result);
            });
        });
        let mut flight = match found {
            Found::Value(value) => {
                remembered.fetch_add(1, Ordering::Relaxed);
                return Ok(value);
            }
            Found::Joined(flight) => {
                joined.fetch_add(1, Ordering::Relaxed);
                flight
            }
            Found::Started(flight) => flight,
        };
        let landed = flight.wait_for(Option::is_some).await;
        landed.ok().and_then(|result| result.clone()).unwrap_or_else(|| Err(Denial::cancelled()))
    }

    async fn ask<Op: Operation + Sync>(&self, op: &Op) -> Result<Op::Response, Denial> {
        let answer = self.call(&self.0.client, op, None, Repeat::Safe, self.0.deadline).await;
        answer.map_err(|failure| failure.map_or_else(Denial::timed_out, Denial::because))
    }

    /// Tries until there is an answer, trying is over, or the deadline has come; the last is `Err(None)`.
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
            // Never closed.
            let _turn = self.0.turns.acquire().await;
            let mut tries = 0;
            loop {
                self.0.asked.fetch_add(1, Ordering::Relaxed);
                let error = match client.call_for(op, address).await {
                    Ok(answer) => return Ok(answer),
                    Err(error) => error,
                };
                tries += 1;
                let wait = retry::wait(&error, repeat, tries, self.0.env.random());
                // What would come too late is not waited for: the reason at hand says more than a time-out.
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

/// Asks, and keeps the answer, or forgets what it refutes.
async fn keep<V: Keep>(
    env: &dyn Env,
    cache: &Arc<Cache<V>>,
    key: Key,
    asking: impl Future<Output = Result<V, Denial>>,
) -> Result<Arc<V>, Denial> {
    let ask = cache.ask(key, env.now(), env.time());
    match asking.await {
        Ok(value) => {
            let value = Arc::new(value);
            ask.keep(&value);
            Ok(value)
        }
        Err(denial) => {
            if denial.reason().is_about_the_token() {
                cache.forget(&key);
            }
            Err(denial)
        }
    }
}

fn validated(answer: Validation) -> Result<TokenIdentity, Denial> {
    if answer.valid {
        let incomplete = || Denial::new(Reason::Misconfigured, "the authentication service's answer is not whole");
        return TokenIdentity::new(answer).ok_or_else(incomplete);
    }
    Err(match answer.error {
        Some(TokenFault::TokenExpired) => Denial::new(Reason::Expired, "the token has expired"),
        Some(TokenFault::TokenRevoked) => Denial::new(Reason::Revoked, "the token was revoked"),
        Some(TokenFault::AddressNotAllowed) => {
            Denial::new(Reason::AddressNotAllowed, "the token may not be used from this address")
        }
        Some(TokenFault::InsufficientScopes) => Denial::new(Reason::InsufficientScope, "the token is not for this"),
        Some(TokenFault::TokenNotFound) | None => Denial::unknown(),
    })
}

fn checked(answer: CheckedToken) -> Result<UserIdentity, Denial> {
    match (answer.valid, answer.payload, answer.expires_at, answer.error) {
        (true, Some(payload), Some(expires_at), _) => Ok(UserIdentity::new(payload, expires_at)),
        (true, ..) => Err(Denial::new(Reason::Misconfigured, "the authentication service's answer is not whole")),
        (false, _, _, Some(SessionFault::NoAccess)) => {
            Err(Denial::new(Reason::NotPermitted, "no access to this service"))
        }
        (false, ..) => Err(Denial::new(Reason::Unknown, "the session is not known, or has ended")),
    }
}

#[cfg(test)]
mod tests;
