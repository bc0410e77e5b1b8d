//! The sign-in by a passkey, without a user name. The web pages call it: its challenge is bound to a browser.
//!
//! A passkey is all factors: whoever has it has unlocked an authenticator. So no password and no code is asked for.

use std::net::IpAddr;
use std::sync::Arc;

use serde_json::json;
use shared::api::passkeys::{PasskeyAssertion, RequestOptions};
use shared::api::sessions::SessionKind;
use shared::id::UserId;
use shared::problem::Code;
use shared::secret::Secret;

use super::{Ceremony, store};
use crate::accounts::Accounts;
use crate::accounts::factors::store::SECOND_FACTOR;
use crate::accounts::lockout::LoginAttempt;
use crate::accounts::sign_in::{ACTION, SignedIn, caller, session_begins, signed_in};
use crate::call::Call;
use crate::env::MINUTE;
use crate::error::{Error, Result};
use crate::ledger::Refused;
use crate::users::store as users;
use crate::webauthn::Fault;
use crate::{names, network, sessions};

/// Sign-ins that an address may begin in a minute: each costs a row.
const BEGINS_PER_MINUTE: i64 = 60;

impl Accounts {
    /// Begins a sign-in by any passkey. `browser` is a value that only this browser has, such as that of a cookie: who
    /// finishes has to have it. The next begin replaces it.
    pub async fn begin_passkey_login(&self, call: &Call, browser: &Secret) -> Result<RequestOptions> {
        self.passkeys.party()?;
        self.limit_begins(call.address).await?;
        let challenge = self.give_challenge(Ceremony::SignIn(browser)).await?;
        self.request_options(challenge, &[])
    }

    /// Finishes the sign-in that this browser began, and runs to its end when the client disconnects. A passkey that is
    /// not accepted is [`Code::InvalidCredentials`]; without a challenge that waits it is [`Code::Conflict`].
    pub async fn finish_passkey_login(
        self: &Arc<Self>,
        call: Call,
        browser: Secret,
        assertion: PasskeyAssertion,
        kind: SessionKind,
    ) -> Result<SignedIn> {
        let this = self.clone();
        self.detached.run(async move { this.passkey_login(call, &browser, &assertion, kind).await }).await
    }

    /// Whether people can sign in by passkeys.
    pub fn has_passkeys(&self) -> bool {
        self.passkeys.party().is_ok()
    }

    /// Whether everybody has to have a passkey.
    pub fn requires_passkeys(&self) -> bool {
        self.passkeys.is_required()
    }

    /// Whether somebody has no passkey where everybody has to have one.
    pub async fn lacks_passkey(&self, user: UserId) -> Result<bool> {
        Ok(self.requires_passkeys() && !store::has_any(self.base.db.as_ref(), user).await?)
    }

    async fn passkey_login(
        &self,
        call: Call,
        browser: &Secret,
        assertion: &PasskeyAssertion,
        kind: SessionKind,
    ) -> Result<SignedIn> {
        let challenge = self.take_challenge(Ceremony::SignIn(browser)).await?;
        let db = self.base.db.as_ref();
        let passkey = store::find(db, &assertion.credential_id.0).await?;
        let person = match &passkey {
            Some(passkey) => users::find_login(db, passkey.user).await?,
            None => None,
        };
        // Unknown passkeys share one counter, beside that of the address.
        let folded = person.as_ref().map(|person| names::fold(&person.username)).unwrap_or_default();
        let attempt = LoginAttempt::new(&folded, call.address);
        let is_open = attempt.count(&self.base, &self.config).await?;
        let verified = match &passkey {
            // Without a user name, the authenticator has to say whose passkey it is (§7.2, step 6).
            Some(_) if assertion.user_handle.is_none() => Err(Fault::User),
            Some(passkey) => self.tried(&attempt, self.verify_passkey(&challenge, passkey, assertion)).await?,
            None => Err(Fault::Credential),
        };
        let (proof, person) = match (verified, person) {
            (Ok(proof), Some(person)) if is_open && person.is_active => (proof, person),
            (verified, person) => {
                let name = person.as_ref().map(|person| person.username.as_str());
                return Err(self.refuse_passkey(&call, ACTION, name, verified.err()).await?);
            }
        };
        let is_operator = self.tried(&attempt, self.is_operator(kind, person.id).await).await?;
        let (session, tokens) = self
            .tried(&attempt, self.new_session(&call, person.id, person.password_changed_at, (kind, is_operator)))
            .await?;
        let change =
            session_begins(&session, [proof]).with(attempt.forgive()).detail([("factor", Some(json!("passkey")))]);
        match self.base.ledger.commit(&call.of(caller(&person, session.id)), change).await {
            Ok(_) => Ok(signed_in(person, &session, tokens)),
            // The user was disabled or deleted, or the password changed, during the verification; or the passkey was used
            // or removed.
            Err(Refused::ExpectationFailed(sessions::store::NEW_LOGIN | SECOND_FACTOR)) => {
                Err(self.refuse_passkey(&call, ACTION, Some(&person.username), None).await?)
            }
            Err(refused) => {
                attempt.revert(&self.base).await;
                Err(refused.into())
            }
        }
    }

    /// Writes the refusal of a passkey to the audit log, and returns the same error for every one. There is no fault where
    /// the passkey was good.
    pub(super) async fn refuse_passkey(
        &self,
        call: &Call,
        action: &'static str,
        username: Option<&str>,
        fault: Option<Fault>,
    ) -> Result<Error> {
        let detail = [
            ("username", username.map(|name| json!(name))),
            ("factor", Some(json!("passkey"))),
            ("fault", fault.map(|fault| json!(fault.to_string()))),
        ];
        self.base.ledger.refuse(call, action, None, "refused", detail).await?;
        Ok(Error::new(Code::InvalidCredentials, "the passkey is not accepted"))
    }

    async fn limit_begins(&self, address: Option<IpAddr>) -> Result<()> {
        let Some(address) = address else { return Ok(()) };
        let key = format!("passkeys.begin:{}", network::of(address));
        if self.base.ephemeral.increment(&key, MINUTE).await? > BEGINS_PER_MINUTE {
            let detail = format!("more than {BEGINS_PER_MINUTE} sign-ins were begun from this address within a minute");
            return Err(Error::new(Code::RateLimited, detail).retry_after(60));
        }
        Ok(())
    }
}
