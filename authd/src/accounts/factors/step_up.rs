//! Password and code of a person, as one counted attempt: at the sign-in, and for what a session alone does not allow.

use serde_json::json;
use shared::email::Email;
use shared::id::UserId;
use shared::problem::{Code, Reason};
use shared::secret::Secret;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{model, store};
use crate::accounts::Accounts;
use crate::accounts::lockout::LoginAttempt;
use crate::call::Call;
use crate::db::{Committed, Statement};
use crate::error::{Error, Result};
use crate::keys::KeyError;
use crate::ledger::{Change, Refused};
use crate::mail::Template;
use crate::passwords::Verified;
use crate::users::store as users;

/// How the second factor was judged.
#[derive(Debug)]
pub enum Second {
    Good {
        /// The kind of code, for the audit log; `None` without one.
        factor: Option<&'static str>,
        /// Uses the code up, or requires that TOTP is still off, in the batch of what it allows.
        proof: Option<Statement>,
    },
    Missing,
    Wrong,
}

/// What a signed-in person presents.
#[derive(Debug)]
pub struct Presented<'a> {
    pub password: &'a Secret,
    pub code: Option<&'a Secret>,
    /// The name of the code's field in the request.
    pub field: &'static str,
    /// Whether there has to be a code if TOTP is on.
    pub needs_code: bool,
}

/// A person who has presented the right password and a code that looks right. What they asked for is to be committed by
/// [`Accounts::commit_step_up`].
#[derive(Debug)]
pub struct SteppedUp {
    pub factor: Option<&'static str>,
    pub attempt: LoginAttempt,
    user: UserId,
    email: Option<Email>,
    action: &'static str,
    field: &'static str,
    proof: Option<Statement>,
}

pub fn totp_required(field: &str) -> Error {
    let detail = format!("a code is required too: send one of the authenticator app, or a recovery code, as {field}");
    Error::new(Code::TotpRequired, detail)
}

impl Accounts {
    /// Judges the code that was presented with the right password. Who does not know the password never gets here, so
    /// unknown, locked and disabled names cost the same as before; the time tells no more than the answer does.
    pub(in crate::accounts) async fn judge(
        &self,
        user: UserId,
        code: Option<&Secret>,
        needs_code: bool,
    ) -> Result<Second> {
        let good = |factor, proof| Ok(Second::Good { factor: Some(factor), proof: Some(proof) });
        let Some(totp) = store::find_on(self.base.db.as_ref(), user).await? else {
            return Ok(Second::Good { factor: None, proof: Some(store::is_off(user)) });
        };
        let Some(text) = code.map(Secret::expose) else {
            return Ok(if needs_code { Second::Missing } else { Second::Good { factor: None, proof: None } });
        };
        let now = self.base.now();
        if let Some(code) = model::parse_code(text) {
            let secret = self.open_secret(totp.id, &totp.sealed).await?;
            return match model::find_step(&secret, code, now, totp.last_step) {
                Some(step) => good("totp", store::accept_step(totp.id, step, now)),
                None => Ok(Second::Wrong),
            };
        }
        match model::recovery_hash(user, text) {
            Some(hash) => good("recovery_code", store::use_recovery_code(user, hash, now)),
            None => Ok(Second::Wrong),
        }
    }

    /// The secret of a TOTP. Another replica may have sealed it with a newer key.
    pub(super) async fn open_secret(&self, id: Uuid, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let context = store::context(id);
        match self.base.keys.open(&context, sealed) {
            Err(KeyError::Unknown(_)) => {
                self.base.keys.reload().await?;
                Ok(self.base.keys.open(&context, sealed)?)
            }
            opened => Ok(opened?),
        }
    }

    /// Counts an attempt, and verifies the password and the code of a signed-in person.
    pub(in crate::accounts) async fn step_up(
        &self,
        call: &Call,
        action: &'static str,
        person: &users::Login,
        presented: Presented<'_>,
    ) -> Result<SteppedUp> {
        let Presented { password, code, field, needs_code } = presented;
        let attempt = LoginAttempt::step_up(person, call.address);
        let is_open = attempt.count(&self.base, &self.config).await?;
        let verified = self.users.verify(person.password_hash.as_deref(), password).await;
        if self.tried(&attempt, verified).await? == Verified::No || !is_open {
            return Err(self.refuse_step_up(call, action, person.id, "password").await?);
        }
        match self.tried(&attempt, self.judge(person.id, code, needs_code).await).await? {
            Second::Good { factor, proof } => {
                Ok(SteppedUp { factor, user: person.id, email: person.address(), attempt, action, field, proof })
            }
            Second::Missing => {
                self.refuse_step_up(call, action, person.id, field).await?;
                Err(totp_required(field))
            }
            Second::Wrong => Err(self.refuse_step_up(call, action, person.id, field).await?),
        }
    }

    /// Commits what a person has stepped up for; `extend` adds it to the change, after the proof. The person is told by
    /// mail, if there is a template for it and they have an address.
    pub(in crate::accounts) async fn commit_step_up(
        &self,
        call: &Call,
        stepped: SteppedUp,
        notice: Option<Template>,
        extend: impl FnOnce(Change) -> Change,
    ) -> Result<Committed, Refused> {
        let SteppedUp { factor, user, email, attempt, action, field, proof } = stepped;
        // Wrong codes stay counted where no code was presented though TOTP is on.
        let forgiven = if proof.is_some() { attempt.forgive() } else { attempt.take_back() };
        let notice = match notice {
            Some(template) => self.tried(&attempt, self.notice(template, email.as_ref(), call.address).await).await?,
            None => None,
        };
        let change = Change::new(action, user)
            .with(proof)
            .with(forgiven)
            .with(notice)
            .detail([("factor", factor.map(|factor| json!(factor)))]);
        match self.base.ledger.commit(call, extend(change)).await {
            Err(Refused::ExpectationFailed(store::SECOND_FACTOR)) => {
                Err(Refused::Other(self.refuse_step_up(call, action, user, field).await?))
            }
            Err(refused) => {
                attempt.revert(&self.base).await;
                Err(refused)
            }
            committed => {
                self.mail.wake();
                committed
            }
        }
    }

    /// Writes the refusal of a password or a code to the audit log, and returns its error.
    pub(in crate::accounts) async fn refuse_step_up(
        &self,
        call: &Call,
        action: &'static str,
        user: UserId,
        field: &'static str,
    ) -> Result<Error> {
        let subject = user.to_string();
        let detail = [("wrong", Some(json!(if field == "password" { field } else { "code" })))];
        self.base.ledger.refuse(call, action, Some(&subject), "refused", detail).await?;
        let what = if field == "password" { "the password is wrong" } else { "the code is wrong, or was used before" };
        Ok(Error::field_because(field, Reason::Wrong, what))
    }
}
