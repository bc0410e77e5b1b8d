//! Sign-up and invitations: an account begins when the mailed token comes back with a password.
//!
//! Invariant: whether an address has an account already is told to its mailbox alone. The answer, the statements of the
//! commit and the number of mails are the same.

use serde_json::json;
use shared::api::accounts::{InviteUser, MailRequested, SignUp, VerifySignUp};
use shared::api::sessions::SessionKind;
use shared::api::users::{Status, User};
use shared::email::Email;
use shared::id::UserId;
use shared::op::Operation;
use shared::problem::Code;
use shared::time::Time;

use super::links::{self, Kind, Link};
use super::lockout::LoginAttempt;
use super::sign_in::SignedIn;
use super::users::{self, check_texts};
use super::{Accounts, SignUpMode};
use crate::call::Call;
use crate::entities::NAME_TAKEN;
use crate::error::{Error, Result};
use crate::ledger::{Change, Invalidation, Refused};
use crate::mail::Template;
use crate::names;
use crate::passwords;
use crate::sessions;
use crate::users::store;

impl Accounts {
    /// Whether people make accounts themselves.
    pub fn may_sign_up(&self) -> bool {
        matches!(self.sign_up.sign_up, SignUpMode::Open | SignUpMode::Domain)
    }

    pub async fn sign_up(&self, call: Call, op: SignUp) -> Result<MailRequested> {
        let email = links::parse_email(&op.email)?;
        self.check_sign_up(&email)?;
        self.mail.require()?;
        self.mail.admit(email.folded(), call.address).await?;
        let holder = store::find_login_by_name(self.base.db.as_ref(), email.folded()).await?;
        let offer = self.offer(&call, (Kind::SignUp, Template::SignUp), None, &email, holder.as_ref())?;
        let change = Change::new(SignUp::INFO.name, email.folded()).outcome("requested").with(offer);
        self.base.ledger.commit(&call, change).await?;
        self.mail.wake();
        Ok(MailRequested::default())
    }

    /// Refuses an address that may not sign up; the answer depends on the configuration alone.
    pub(super) fn check_sign_up(&self, email: &Email) -> Result<()> {
        let refused = match self.sign_up.sign_up {
            SignUpMode::Open | SignUpMode::Domain => return self.check_domain(email),
            SignUpMode::Invitation => "sign-up is by invitation: ask an administrator for one",
            SignUpMode::Closed => "sign-up is closed: ask an administrator for an account",
        };
        Err(Error::new(Code::Forbidden, refused))
    }

    /// Refuses an address that people may not have by themselves: neither by a sign-up nor by moving to it.
    pub(super) fn check_domain(&self, email: &Email) -> Result<()> {
        let (_, domain) = email.folded().rsplit_once('@').unwrap_or_default();
        if self.sign_up.sign_up == SignUpMode::Domain && !self.sign_up.domains.iter().any(|allowed| allowed == domain) {
            return Err(Error::new(Code::Forbidden, "addresses of this domain may not be used for accounts here"));
        }
        Ok(())
    }

    pub(super) async fn verify_sign_up(&self, call: Call, op: VerifySignUp) -> Result<SignedIn> {
        let (person, change) = self.new_account(op).await?;
        let (session, tokens) =
            self.new_session(&call, person.id, person.password_changed_at, (SessionKind::Login, false))?;
        let as_user = call.of(super::sign_in::caller(&person, session.id));
        self.begin(&as_user, change.with([sessions::store::insert_login(&session)])).await?;
        Ok(super::sign_in::signed_in(person, &session, tokens))
    }

    /// [`VerifySignUp`] without the sign-in: for a page, which would leave a session behind that nobody uses.
    pub async fn verify_without_session(&self, call: Call, op: VerifySignUp) -> Result<()> {
        let (_, change) = self.new_account(op).await?;
        self.begin(&call, change).await
    }

    /// The person whose account begins, and what begins it.
    async fn new_account(&self, op: VerifySignUp) -> Result<(store::Login, Change)> {
        check_texts(op.name.as_deref(), None)?;
        passwords::check("password", &op.password, &[])?;
        let link = self.open_link(&[Kind::SignUp, Kind::Invitation], &op.token, op.email.as_deref()).await?;
        if link.kind == Kind::SignUp {
            // It may have been closed since.
            self.check_sign_up(&link.email)?;
        }
        let now = self.base.now();
        let (person, begins) = match link.user {
            None => {
                if store::find_id(self.base.db.as_ref(), link.email.folded()).await?.is_some() {
                    // Before the password is hashed: the link stays, and could be sent again and again.
                    return Err(has_account());
                }
                let password = self.new_password(&op.password, &[link.email.address()]).await?;
                self.new_person(&link, op.name, &password)
            }
            Some(user) => {
                let person = store::find_login(self.base.db.as_ref(), user).await?.ok_or_else(links::invalid)?;
                let password = self.new_password(&op.password, &person.names()).await?;
                let accept = store::accept_invitation(user, link.email.folded(), &password, op.name.as_deref());
                let name = op.name.unwrap_or(person.name);
                (store::Login { name, password_changed_at: password.set_at, ..person }, vec![accept])
            }
        };
        let change = Change::new(VerifySignUp::INFO.name, person.id)
            .with([links::store::consume(&link, now)])
            .with(begins)
            // Guesses at the name from before there was a person.
            .with(LoginAttempt::new(&names::fold(&person.username), None).forgive())
            .invalidates(Invalidation::sessions(person.id))
            .invalidates(Invalidation::access(person.id))
            .detail([("username", Some(json!(person.username)))])
            .self_proving();
        Ok((person, change))
    }

    async fn begin(&self, call: &Call, change: Change) -> Result<()> {
        match self.base.ledger.commit(call, change).await {
            Ok(_) => Ok(()),
            Err(Refused::ExpectationFailed(links::store::LINK | store::PASSWORD | sessions::store::NEW_LOGIN)) => {
                Err(links::invalid())
            }
            Err(Refused::ExpectationFailed(NAME_TAKEN) | Refused::Duplicate(_)) => Err(has_account()),
            Err(refused) => Err(refused.into()),
        }
    }

    /// A person whose address was proved, and the statements that insert them.
    fn new_person(
        &self,
        link: &Link,
        name: Option<String>,
        password: &store::Password,
    ) -> (store::Login, Vec<crate::db::Statement>) {
        let now = Time::from_millis(password.set_at);
        let user = self.user_of(&link.email, None, name, now);
        let user = User { email_verified: true, has_password: true, ..user };
        let folded = link.email.folded();
        let begins = vec![store::is_free(folded, user.id), store::insert(&user, Some(folded), Some(password))];
        let person = store::Login {
            id: user.id,
            username: user.username,
            name: user.name,
            is_active: true,
            password_hash: None,
            password_changed_at: password.set_at,
            email: user.email,
            email_verified: user.email_verified,
        };
        (person, begins)
    }

    /// A new user with this address, which is also the user name unless there is one.
    pub(super) fn user_of(&self, email: &Email, username: Option<String>, name: Option<String>, now: Time) -> User {
        let username = username.unwrap_or_else(|| email.address().to_owned());
        User {
            id: UserId(self.base.env.uuid()),
            name: name.unwrap_or_else(|| username.clone()),
            username,
            status: Status::Active,
            email: Some(email.address().to_owned()),
            email_verified: false,
            has_password: false,
            person_type: None,
            document_type: None,
            document_number: None,
            created_at: now,
            updated_at: now,
        }
    }

    /// Creates the user, or mails somebody again who was invited and has not set a password.
    pub(super) async fn invite_user(&self, call: Call, op: InviteUser) -> Result<User> {
        let email = links::parse_email(&op.email)?;
        let username = op.username.as_deref().map(users::check_name).transpose()?;
        check_texts(op.name.as_deref(), None)?;
        self.mail.require()?;
        self.mail.admit(email.folded(), None).await?;
        let waiting = match store::find_id(self.base.db.as_ref(), email.folded()).await? {
            Some(id) => Some(self.users.find(&id.to_string()).await?),
            None => None,
        };
        let is_waiting =
            |user: &User| !user.has_password && !user.email_verified && user.email.as_deref() == Some(email.address());
        let now = Time::from_millis(self.base.now());
        let (user, begins) = match waiting {
            Some(user) if is_waiting(&user) && username.is_none() => (user, Vec::new()),
            Some(_) => return Err(names::taken("user", email.address())),
            None => {
                let user = self.user_of(&email, op.username, op.name, now);
                let folded = username.as_deref().unwrap_or(email.folded());
                let mut begins = vec![store::is_free(email.folded(), user.id), store::is_free(folded, user.id)];
                begins.push(store::insert(&user, Some(email.folded()), None));
                (user, begins)
            }
        };
        let (mut values, link) = self.new_link(Kind::Invitation, Some(user.id), &email, None)?;
        values.name = Some(user.name.clone()).filter(|name| name != &user.username);
        let change = Change::new(InviteUser::INFO.name, user.id)
            .with(begins)
            .with([links::store::delete_all(user.id), link])
            .with([self.mail.message(Template::Invitation, &email, &values)?])
            .detail([("username", Some(json!(user.username))), ("email", Some(json!(email.address())))]);
        let change = change.invalidates(Invalidation::access(user.id));
        self.base.ledger.commit(&call, change).await.map_err(|refused| match refused {
            Refused::ExpectationFailed(NAME_TAKEN) | Refused::Duplicate(_) => names::taken("user", &user.username),
            refused => refused.into(),
        })?;
        self.mail.wake();
        Ok(user)
    }
}

fn has_account() -> Error {
    let detail = "this address has an account since the mail was sent: sign in, or reset the password";
    Error::new(Code::NameTaken, detail)
}
