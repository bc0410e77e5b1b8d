//! Accounts that people own: sign-up, sign-in, second factors, reset, change and end, with one typed error.

use std::net::IpAddr;
use std::time::Duration;

use super::identity::check_form;
use super::{Authd, Denial, Error};
use crate::api::accounts::{
    AccountFault, ChangeEmail, ConfirmEmail, ConfirmReset, DeleteAccount, RequestReset, SignUp, VerifySignUp,
};
use crate::api::factors::{
    ConfirmTotp, DisableTotp, EnableTotp, FactorList, ListFactors, PendingTotp, RecoveryCodes, RenewRecoveryCodes,
};
use crate::api::sessions::{ChangePassword, LoggedIn, Login, Profile, ShowProfile};
use crate::op::Operation;
use crate::problem::Problem;
use crate::secret::Secret;

/// The accounts of people at authd, for a program through which they use them. [`Authd::accounts`] makes one, for one
/// person; what needs a session is at [`Accounts::of_session`].
///
/// Arguments are in the order: what proves (a mailed token, or the current password), what is new, and the code. A code
/// is one of the authenticator app or a recovery code; it is needed if TOTP is on.
///
/// A change is sent again only if nothing was sent before. So after [`AccountError::Failed`] it may have happened, unless
/// the reason is [`Reason::Unreachable`](super::Reason::Unreachable).
#[derive(Clone, Debug)]
pub struct Accounts {
    authd: Authd,
    address: Option<IpAddr>,
}

impl Accounts {
    pub(super) fn new(authd: Authd, address: Option<IpAddr>) -> Self {
        Self { authd, address }
    }

    /// Asks for an account: a token is mailed to the address. The answer is the same if the address has an account;
    /// only its mailbox is told.
    pub async fn sign_up(&self, email: impl Into<String>) -> Result<(), AccountError> {
        self.call(&SignUp { email: email.into() }).await.map(drop)
    }

    /// Creates the account with the mailed token, of a sign-up or of an invitation, and signs in. `name` is the person's
    /// name; the address if absent.
    pub async fn verify_sign_up(
        &self,
        token: Secret,
        password: Secret,
        name: Option<String>,
    ) -> Result<LoggedIn, AccountError> {
        self.call(&VerifySignUp { token, email: None, password, name }).await
    }

    /// Signs in by user name or address. If TOTP is on, the right password without a code is refused with
    /// [`AccountFault::CodeRequired`]: send all three then. A wrong code is refused like a wrong password.
    pub async fn login(
        &self,
        username: impl Into<String>,
        password: Secret,
        totp: Option<Secret>,
    ) -> Result<LoggedIn, AccountError> {
        self.call(&Login { username: username.into(), password, totp }).await
    }

    /// Asks for a new password: a token is mailed to the address, if it has an account.
    pub async fn request_reset(&self, email: impl Into<String>) -> Result<(), AccountError> {
        self.call(&RequestReset { email: email.into() }).await.map(drop)
    }

    /// Sets a new password with the mailed token, and ends every session. Services may accept those for reads for up to
    /// a minute.
    pub async fn confirm_reset(
        &self,
        token: Secret,
        password: Secret,
        totp: Option<Secret>,
    ) -> Result<(), AccountError> {
        self.call(&ConfirmReset { token, email: None, password, totp }).await.map(drop)
    }

    /// Changes the address with the token that was mailed to the new one; the old one is told.
    pub async fn confirm_email(&self, token: Secret) -> Result<(), AccountError> {
        self.call(&ConfirmEmail { token }).await.map(drop)
    }

    /// The account whose session this is.
    pub fn of_session(&self, session: Secret) -> Account {
        Account { accounts: self.clone(), session }
    }

    async fn call<Op: Operation + Sync>(&self, op: &Op) -> Result<Op::Response, AccountError> {
        self.authd.call_for(None, op, self.address).await.map_err(AccountError::because)
    }
}

/// The account of a person who is signed in.
#[derive(Clone, Debug)]
pub struct Account {
    accounts: Accounts,
    session: Secret,
}

impl Account {
    /// Who is signed in. Extends the session.
    pub async fn profile(&self) -> Result<Profile, AccountError> {
        self.call(&ShowProfile::default()).await
    }

    /// Ends the session, as [`Authd::logout`] does.
    pub async fn logout(&self) -> Result<(), AccountError> {
        self.accounts.authd.logout(&self.session).await.map_err(AccountError::denied)
    }

    /// Sets a new password, and ends the other sessions. A code is needed if the sign-in was more than five minutes ago.
    pub async fn change_password(
        &self,
        password: Secret,
        new_password: Secret,
        totp: Option<Secret>,
    ) -> Result<(), AccountError> {
        self.call(&ChangePassword { password, new_password, totp }).await.map(drop)
    }

    /// Asks to change the address: a token for [`Accounts::confirm_email`] is mailed to the new one.
    pub async fn change_email(
        &self,
        password: Secret,
        email: impl Into<String>,
        totp: Option<Secret>,
    ) -> Result<(), AccountError> {
        self.call(&ChangeEmail { email: email.into(), password, totp }).await.map(drop)
    }

    /// The second factors that are on.
    pub async fn list_factors(&self) -> Result<FactorList, AccountError> {
        self.call(&ListFactors {}).await
    }

    /// Begins to turn TOTP on: the person adds the secret to an app, and its code turns it on.
    pub async fn enable_totp(&self, password: Secret) -> Result<PendingTotp, AccountError> {
        self.call(&EnableTotp { password }).await
    }

    /// Turns TOTP on with the app's first code, and ends the other sessions. The person keeps the recovery codes.
    pub async fn confirm_totp(&self, code: Secret) -> Result<RecoveryCodes, AccountError> {
        self.call(&ConfirmTotp { code, password: None }).await
    }

    /// Turns TOTP off, and ends the other sessions.
    pub async fn disable_totp(&self, password: Secret, code: Secret) -> Result<(), AccountError> {
        self.call(&DisableTotp { password, code }).await.map(drop)
    }

    /// Replaces the recovery codes.
    pub async fn renew_recovery_codes(&self, password: Secret, code: Secret) -> Result<RecoveryCodes, AccountError> {
        self.call(&RenewRecoveryCodes { password, code }).await
    }

    /// Deletes the account with everything that belongs to it. The session is removed from this cache whatever authd
    /// answers.
    pub async fn delete(&self, password: Secret, totp: Option<Secret>) -> Result<(), AccountError> {
        self.forget();
        let answer = self.call(&DeleteAccount { password, totp }).await;
        // Again: a read may have asked authd in between.
        self.forget();
        answer.map(drop)
    }

    async fn call<Op: Operation + Sync>(&self, op: &Op) -> Result<Op::Response, AccountError> {
        check_form(self.session.expose()).map_err(AccountError::denied)?;
        let Accounts { authd, address } = &self.accounts;
        let answer = authd.call_for(Some(&self.session), op, *address).await.map_err(AccountError::because);
        if answer.as_ref().is_err_and(|error| error.fault() == AccountFault::InvalidToken) {
            self.forget();
        }
        answer
    }

    fn forget(&self) {
        self.accounts.authd.forget(&self.session);
    }
}

/// Why an operation on an account did not succeed. [`AccountError::detail`] is for people; `Display` adds the cause of a
/// failure, for the log.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AccountError {
    /// authd refused. The problem names the fields that are wrong.
    #[error("{}", .0.detail)]
    Refused(Box<Problem>),
    /// authd did not answer, or could not: [`Denial::reason`] tells what failed.
    #[error(transparent)]
    Failed(Denial),
}

impl AccountError {
    /// `None` is a time-out.
    fn because(failure: Option<Error>) -> Self {
        match failure {
            Some(Error::Refused(problem)) if (400..500).contains(&problem.status) => Self::Refused(problem),
            failure => Self::Failed(failure.map_or_else(Denial::timed_out, Denial::because)),
        }
    }

    /// What is about the session is a refusal.
    fn denied(denial: Denial) -> Self {
        let is_refusal = denial.status().is_client_error();
        if is_refusal { Self::Refused(Box::new(denial.problem())) } else { Self::Failed(denial) }
    }

    /// The fault by the codes `E-001` to `E-009`. [`AccountFault::Unknown`] are failures, and refusals such as too many
    /// attempts. Over HTTP there is no [`AccountFault::InvalidHeader`].
    pub fn fault(&self) -> AccountFault {
        match self {
            Self::Refused(problem) => AccountFault::of(problem.error, &problem.fields),
            Self::Failed(_) => AccountFault::Unknown,
        }
    }

    /// What happened, and what to do. Safe to show to the person.
    pub fn detail(&self) -> &str {
        match self {
            Self::Refused(problem) => &problem.detail,
            Self::Failed(denial) => denial.detail(),
        }
    }

    /// When a retry may succeed.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(problem) => problem.retry_after.map(Duration::from_secs),
            Self::Failed(denial) => denial.retry_after(),
        }
    }
}

#[cfg(test)]
mod tests;
