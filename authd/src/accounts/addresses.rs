//! A person's e-mail address, and the end of an account.

use std::net::IpAddr;

use serde_json::json;
use shared::api::Done;
use shared::api::accounts::{ChangeEmail, ConfirmEmail, DeleteAccount, MailRequested, VerifyUser};
use shared::api::users::User;
use shared::email::Email;
use shared::op::Operation;
use shared::problem::Code;

use super::Accounts;
use super::factors::Presented;
use super::links::{self, Kind};
use super::users::deletion;
use crate::call::Call;
use crate::db::Statement;
use crate::entities::NAME_TAKEN;
use crate::error::{Error, Result};
use crate::ledger::{Change, Invalidation, Refused};
use crate::mail::Template;
use crate::rbac::Guard;
use crate::users::store;

impl Accounts {
    pub async fn change_email(&self, call: Call, op: ChangeEmail) -> Result<MailRequested> {
        let email = links::parse_email(&op.email)?;
        self.mail.require()?;
        let person = self.person(&call).await?;
        // One that an operator has set can be proved in the same way.
        if person.email_verified && person.email.as_deref() == Some(email.address()) {
            return Err(Error::field("email", "this is your current address"));
        }
        if is_another(&person, &email) {
            self.check_domain(&email)?;
        }
        self.mail.admit(email.folded(), call.address).await?;
        let holder = store::find_login_by_name(self.base.db.as_ref(), email.folded()).await?;
        let other = holder.filter(|holder| holder.id != person.id);
        let kind = (Kind::Email, Template::EmailChange);
        let offer = self.offer(&call, kind, Some(person.id), &email, other.as_ref())?;
        // What needs the database is done before: an outage is no failed attempt.
        let presented = Presented { password: &op.password, code: op.totp.as_ref(), field: "totp", needs_code: true };
        let stepped = self.step_up(&call, ChangeEmail::INFO.name, &person, presented).await?;
        self.commit_step_up(&call, stepped, None, |change| change.with(offer)).await?;
        Ok(MailRequested::default())
    }

    pub async fn confirm_email(&self, call: Call, op: ConfirmEmail) -> Result<Done> {
        let link = self.open_link(&[Kind::Email], &op.token, None).await?;
        let user = link.user.ok_or_else(links::invalid)?;
        let person = store::find_login(self.base.db.as_ref(), user).await?.ok_or_else(links::invalid)?;
        let is_moved = is_another(&person, &link.email);
        if is_moved {
            // The configuration may have changed since.
            self.check_domain(&link.email)?;
        }
        // The mailbox that loses the account learns of it.
        let old = person.address().filter(|_| is_moved);
        let notice = self.notice(Template::EmailChanged, old.as_ref(), call.address).await?;
        let now = self.base.now();
        let change = Change::new(ConfirmEmail::INFO.name, user)
            .with([links::store::consume(&link, now), store::is_free(link.email.folded(), user)])
            .with([store::change_email(user, &link.email, now), links::store::delete_all(user)])
            .with(notice)
            .invalidates(Invalidation::sessions(user))
            .invalidates(Invalidation::access(user))
            .detail([("email", Some(json!(link.email.address())))])
            .self_proving();
        match self.base.ledger.commit(&call, change).await {
            Ok(_) => {
                self.mail.wake();
                Ok(Done::default())
            }
            Err(Refused::ExpectationFailed(links::store::LINK | store::EMAIL)) => Err(links::invalid()),
            Err(Refused::ExpectationFailed(NAME_TAKEN) | Refused::Duplicate(_)) => {
                Err(Error::new(Code::NameTaken, "another account has this address since the mail was sent"))
            }
            Err(refused) => Err(refused.into()),
        }
    }

    pub async fn delete_account(&self, call: Call, op: DeleteAccount) -> Result<Done> {
        let person = self.person(&call).await?;
        let presented = Presented { password: &op.password, code: op.totp.as_ref(), field: "totp", needs_code: true };
        let stepped = self.step_up(&call, DeleteAccount::INFO.name, &person, presented).await?;
        let now = self.base.now();
        let extend = |change: Change| {
            change
                .with(deletion(person.id, now))
                .with([store::erase_names(person.id)])
                .invalidates(Invalidation::sessions(person.id))
                .invalidates(Invalidation::access(person.id))
        };
        self.commit_step_up(&call, stepped, Some(Template::Deleted), extend).await?;
        Ok(Done::default())
    }

    /// The mail that tells a person of a change to their account, if they have an address and mail is configured.
    /// `by` is the network address of whoever changed it.
    pub(super) async fn notice(
        &self,
        template: Template,
        to: Option<&Email>,
        by: Option<IpAddr>,
    ) -> Result<Option<Statement>> {
        let Some(to) = to.filter(|_| self.mail.is_configured()) else { return Ok(None) };
        self.mail.notice(template, to, by).await
    }

    /// Of an operator, who knows that the address is the person's. Whoever reads its mails can then sign in as them.
    pub(super) async fn verify_user(&self, call: Call, op: VerifyUser) -> Result<User> {
        let user = self.users.find(&op.id).await?;
        let email = user.email.as_deref().map(links::parse_email).transpose()?;
        let none = || Error::new(Code::Conflict, "this user has no e-mail address: set one first");
        let email = email.ok_or_else(none)?;
        let (gives_access, holds_nothing) = self.reaching(&call, user.id, "verifying their e-mail address").await?;
        let mut guard = Guard::new(self.base.db.as_ref(), &call.caller).await?;
        guard.check_held(crate::rbac::store::on_authd(self.base.db.as_ref(), user.id).await?)?;
        let change = Change::new(VerifyUser::INFO.name, user.id)
            .with([store::verify(user.id, email.folded(), self.base.now())])
            .with(holds_nothing)
            .requires(gives_access)
            .detail([("email", Some(json!(email.address())))]);
        self.rbac.update(&call, guard.guard(change), None).await
    }
}

/// Whether a person moves to another mailbox; if not, they prove the one that an operator has set.
fn is_another(person: &store::Login, email: &Email) -> bool {
    person.address().is_none_or(|old| old.folded() != email.folded())
}
