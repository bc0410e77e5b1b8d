//! User accounts: the operations on users, sign-up, sign-in, second factors, passkeys, resets, addresses, and lockouts.
//!
//! Invariants: failed sign-ins are indistinguishable by answer and time; attempts are counted before hashing; a change
//! that ends a user's access ends their sessions in the same commit.

mod addresses;
pub(crate) mod factors;
mod fresh_proof;
mod identities;
mod links;
mod lockout;
mod model;
pub(crate) mod passkeys;
mod password_reset;
mod sign_in;
mod sign_up;
pub(crate) mod store;
#[cfg(test)]
mod tests;
mod users;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use shared::email::Email;
use shared::id::SessionId;
use shared::problem::Code;

pub use self::factors::SWEEP_PENDING;
pub use self::links::store::SWEEP as SWEEP_LINKS;
pub use self::lockout::SWEEP_ATTEMPTS;
pub use self::passkeys::Config as PasskeyConfig;
use self::passkeys::Passkeys;
pub use self::sign_in::{FirstFactor, SignIn, SignedIn};
use crate::base::{Base, Detached};
use crate::call::Call;
use crate::error::{Error, Result};
use crate::mail::Mail;
use crate::oidc_client;
use crate::rbac::{OwnAccess, Rbac};
use crate::registry::{Outliving, Registry};
use crate::sessions::Sessions;
use crate::setting::Faults;
use crate::users::Users;

/// `[login]`: logins by password.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Failures in a row after which a name is locked, 3 to 100; each further lock is longer.
    pub max_failures: u32,
    /// Failures from one address (for IPv6 its /64) within `lock_seconds` after which it has to wait.
    pub max_failures_per_address: u32,
    /// Seconds of the first lock, and of the window of an address, 1 to 86,400.
    pub lock_seconds: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { max_failures: 10, max_failures_per_address: 100, lock_seconds: 900 }
    }
}

impl Config {
    pub fn check(&self, faults: &mut Faults) {
        faults.require((3..=100).contains(&self.max_failures), "login.max_failures must be from 3 to 100");
        faults.require((1..=86_400).contains(&self.lock_seconds), "login.lock_seconds must be from 1 to 86400");
        faults.require(
            self.max_failures_per_address >= self.max_failures,
            "login.max_failures_per_address must be at least login.max_failures",
        );
    }
}

/// `[accounts]`: accounts that people make themselves.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SignUpConfig {
    /// Who may sign up.
    pub sign_up: SignUpMode,
    /// With `sign_up = "domain"`: the domains whose addresses may.
    pub domains: Vec<String>,
}

/// Who may sign up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SignUpMode {
    /// Nobody: operators create users.
    #[default]
    Closed,
    /// Whoever an operator has invited.
    Invitation,
    /// Whoever has an address of one of the domains.
    Domain,
    /// Everybody with an address.
    Open,
}

impl SignUpConfig {
    pub fn check(&mut self, faults: &mut Faults) {
        for domain in &mut self.domains {
            match Email::parse(&format!("a@{domain}")) {
                Ok(email) => email.folded()["a@".len()..].clone_into(domain),
                Err(_) => faults.refuse(format!("accounts.domains: {domain:?} is not a domain, like example.com")),
            }
        }
        faults.require(
            self.sign_up != SignUpMode::Domain || !self.domains.is_empty(),
            "accounts.sign_up = \"domain\" (AUTHD_SIGN_UP) needs accounts.domains: the domains whose addresses may sign \
             up, like [\"example.com\"]",
        );
    }
}

/// Accounts.
#[derive(Debug)]
pub struct Accounts {
    base: Base,
    config: Config,
    users: Arc<Users>,
    sessions: Arc<Sessions>,
    rbac: Arc<Rbac>,
    mail: Arc<Mail>,
    sign_up: SignUpConfig,
    passkeys: Passkeys,
    /// The OpenID providers of the sign-in in the browser.
    providers: Vec<oidc_client::Config>,
    /// What links begin with.
    public_url: String,
    pub detached: Detached,
}

impl Outliving for Accounts {
    fn detached(&self) -> &Detached {
        &self.detached
    }
}

/// The error of a change that takes a fresh proof.
pub fn step_up_required() -> Error {
    Error::new(Code::StepUpRequired, "prove yourself again first, by your password and code or by a passkey")
}

impl Accounts {
    pub fn new(
        base: &Base,
        (config, sign_up, passkeys): (Config, SignUpConfig, PasskeyConfig),
        (public_url, providers): (&str, Vec<oidc_client::Config>),
        users: Arc<Users>,
        sessions: Arc<Sessions>,
        rbac: Arc<Rbac>,
        mail: Arc<Mail>,
    ) -> Arc<Self> {
        let passkeys = Passkeys::new(&passkeys, public_url);
        let (base, public_url, detached) = (base.clone(), public_url.to_owned(), Detached::new(&base.background));
        Arc::new(Self { base, config, users, sessions, rbac, mail, sign_up, passkeys, providers, public_url, detached })
    }

    /// Whether the person proved all factors in this session a short time ago.
    pub async fn is_fresh(&self, session: SessionId) -> Result<bool> {
        self.sessions.is_fresh(session).await
    }

    /// Whether there is mail, for what goes by it.
    pub fn has_mail(&self) -> bool {
        self.mail.is_configured()
    }

    /// What the caller may do where, and why.
    pub async fn list_own_access(&self, call: Call) -> Result<OwnAccess> {
        self.rbac.list_own_access(call).await
    }

    pub fn register(self: &Arc<Self>, registry: &mut Registry) {
        registry.add_to_end(self, Self::login);
        registry.add_to_end(self, Self::change_password);
        registry.add_to_end(self, Self::reauthenticate);
        registry.add_to_end(self, Self::enable_totp);
        registry.add_to_end(self, Self::confirm_totp);
        registry.add_to_end(self, Self::disable_totp);
        registry.add_to_end(self, Self::renew_recovery_codes);
        registry.add(self, Self::list_factors);
        registry.add(self, Self::list_user_factors);
        registry.add(self, Self::reset_totp);
        registry.add(self, Self::begin_passkey);
        registry.add_to_end(self, Self::register_passkey);
        registry.add(self, Self::list_passkeys);
        registry.add(self, Self::rename_passkey);
        registry.add(self, Self::remove_passkey);
        registry.add(self, Self::begin_passkey_proof);
        registry.add_to_end(self, Self::prove_by_passkey);
        registry.add(self, Self::list_user_passkeys);
        registry.add(self, Self::remove_user_passkey);
        registry.add(self, Self::list_own_identities);
        registry.add(self, Self::unlink_own_identity);
        registry.add(self, Self::list_identities);
        registry.add(self, Self::link_identity);
        registry.add(self, Self::unlink_identity);
        registry.add_to_end(self, Self::sign_up);
        registry.add_to_end(self, Self::verify_sign_up);
        registry.add_to_end(self, Self::request_reset);
        registry.add_to_end(self, Self::confirm_reset);
        registry.add_to_end(self, Self::change_email);
        registry.add(self, Self::confirm_email);
        registry.add_to_end(self, Self::delete_account);
        registry.add(self, Self::invite_user);
        registry.add(self, Self::verify_user);
        registry.add(self, Self::create_user);
        registry.add(self, Self::list_users);
        registry.add(self, Self::show_user);
        registry.add(self, Self::update_user);
        registry.add(self, Self::delete_user);
        registry.add(self, Self::list_lockouts);
        registry.add(self, Self::clear_lockout);
    }
}
