//! Reset of a forgotten password by a mailed token, and by a code if TOTP is on.
//!
//! Invariants: whether an address has an account is told to its mailbox alone: for one without an account the same rows
//! are written, and the mail among them has ended before it could be sent. An address that its owner has not proved is
//! like one without an account, unless they were invited by it: an operator may have mistyped it, and who reads its mails
//! would have the account.

use serde_json::json;
use shared::api::Done;
use shared::api::accounts::{ConfirmReset, MailRequested, RequestReset};
use shared::op::Operation;
use shared::problem::Reason;

use super::Accounts;
use super::factors::{self, Second, totp_required};
use super::links::{self, Kind, Link};
use super::lockout::LoginAttempt;
use crate::call::Call;
use crate::db::Statement;
use crate::error::{Error, Result};
use crate::ledger::{Change, Invalidation, Refused};
use crate::mail::Template;
use crate::names;
use crate::passwords::{self, Verified};
use crate::sessions;
use crate::users::store;

/// What a refused reset can have been a guess at: the code, or the current password, which is the new one here.
enum Guess {
    Code,
    Password,
}

impl Accounts {
    pub async fn request_reset(&self, call: Call, op: RequestReset) -> Result<MailRequested> {
        let typed = links::parse_email(&op.email)?;
        self.mail.require()?;
        self.mail.admit(typed.folded(), call.address).await?;
        let person = store::find_login_by_name(self.base.db.as_ref(), typed.folded()).await?;
        let person = person.filter(|person| person.is_active);
        // In the spelling that was proved, whatever was typed.
        let address = person.as_ref().and_then(store::Login::address).filter(|email| email.folded() == typed.folded());
        let holder = person.as_ref().filter(|_| address.is_some());
        let to = address.unwrap_or(typed);
        let (db, now) = (self.base.db.as_ref(), self.base.now());
        // Looked up for everybody, since it takes time.
        let is_invited = links::store::is_invited(db, holder.map(|person| person.id), &to, now).await?;
        let (kind, user) = match holder {
            Some(person) if person.email_verified || is_invited => (Kind::Reset, Some(person.id)),
            _ => (Kind::Nothing, None),
        };
        let (mut values, link) = self.new_link(kind, user, &to, call.address)?;
        if kind == Kind::Nothing {
            values.expires_at = Some(now - 1);
        }
        let change = Change::new(RequestReset::INFO.name, to.folded())
            .outcome("requested")
            .with([link, self.mail.message(Template::Reset, &to, &values)?]);
        self.base.ledger.commit(&call, change).await?;
        self.mail.wake();
        Ok(MailRequested::default())
    }

    pub async fn confirm_reset(&self, call: Call, op: ConfirmReset) -> Result<Done> {
        passwords::check("password", &op.password, &[])?;
        let link = self.open_link(&[Kind::Reset], &op.token, op.email.as_deref()).await?;
        let user = link.user.ok_or_else(links::invalid)?;
        let person = store::find_login(self.base.db.as_ref(), user).await?.ok_or_else(links::invalid)?;
        passwords::check("password", &op.password, &person.names())?;
        let notice = self.notice(Template::PasswordChanged, person.address().as_ref(), call.address).await?;
        // The token is no password, but who holds it could guess at the code: each try is counted.
        let attempt = LoginAttempt::new(&names::fold(&person.username), call.address);
        let is_open = attempt.count(&self.base, &self.config).await?;
        match self.try_reset(&call, &op, &link, &person, (&attempt, is_open), notice).await {
            Ok(None) => {
                self.mail.wake();
                Ok(Done::default())
            }
            // The guess stays counted.
            Ok(Some(Guess::Code)) => {
                Err(self.refuse_step_up(&call, ConfirmReset::INFO.name, person.id, "totp").await?)
            }
            Ok(Some(Guess::Password)) => {
                let (subject, detail) = (person.id.to_string(), [("unchanged", Some(json!("password")))]);
                let action = ConfirmReset::INFO.name;
                self.base.ledger.refuse(&call, action, Some(&subject), "refused", detail).await?;
                Err(Error::field_because("password", Reason::Unchanged, "this is your current password"))
            }
            Err(error) => self.tried(&attempt, Err(error)).await,
        }
    }

    /// What was guessed, if the reset is refused for it.
    async fn try_reset(
        &self,
        call: &Call,
        op: &ConfirmReset,
        link: &Link,
        person: &store::Login,
        (attempt, is_open): (&LoginAttempt, bool),
        notice: Option<Statement>,
    ) -> Result<Option<Guess>> {
        let (proof, has_code) = match self.judge(person.id, op.totp.as_ref(), true).await? {
            Second::Missing => return Err(totp_required("totp")),
            // A lock-out is of guesses: without a code there is none, and the reset is what the locked-out person does.
            Second::Good { proof, factor } if is_open || factor.is_none() => (proof, factor.is_some()),
            Second::Good { .. } | Second::Wrong => return Ok(Some(Guess::Code)),
        };
        if let Verified::Yes { .. } = self.users.verify(person.password_hash.as_deref(), &op.password).await? {
            return Ok(Some(Guess::Password));
        }
        let hash = self.users.hash(&op.password).await?;
        let now = self.base.now();
        let change = Change::new(ConfirmReset::INFO.name, person.id)
            .with([links::store::consume(link, now)])
            .with(proof)
            .with([
                store::reset_password(person.id, link.email.folded(), hash, now),
                links::store::delete_all(person.id),
                sessions::store::end_all(person.id, None, "password_reset", now),
            ])
            .with(attempt.forgive())
            .with(notice)
            .invalidates(Invalidation::sessions(person.id))
            .detail([("code", has_code.then(|| true.into()))])
            .self_proving();
        match self.base.ledger.commit(call, change).await {
            Ok(_) => Ok(None),
            Err(Refused::ExpectationFailed(factors::store::SECOND_FACTOR)) => Ok(Some(Guess::Code)),
            Err(Refused::ExpectationFailed(links::store::LINK | store::PASSWORD)) => Err(links::invalid()),
            Err(refused) => Err(refused.into()),
        }
    }
}
