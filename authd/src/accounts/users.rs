//! Users.

use serde_json::json;
use shared::api::Done;
use shared::api::users::{CreateUser, DeleteUser, ListUsers, ShowUser, Status, UpdateUser, User, UserList};
use shared::email::Email;
use shared::id::UserId;
use shared::op::{Operation, Permission};
use shared::problem::Code;
use shared::secret::Secret;
use shared::time::Time;

use super::{Accounts, factors, links, model};
use crate::call::Call;
use crate::db::Statement;
use crate::entities;
use crate::env::Millis;
use crate::error::{Error, Result};
use crate::ledger::{Change, Invalidation};
use crate::mail::Template;
use crate::rbac::store::relations::delete_with_relations;
use crate::rbac::{self, Guard};
use crate::sessions;
use crate::users::store::{self, Password};
use crate::{files, names, passwords};

impl Accounts {
    pub(super) async fn create_user(&self, call: Call, op: CreateUser) -> Result<User> {
        let folded = check_name(&op.username)?;
        check_texts(op.name.as_deref(), op.document_number.as_deref())?;
        let email = op.email.as_deref().map(links::parse_email).transpose()?;
        let password = match &op.password {
            Some(password) => {
                let names = [op.username.as_str(), email.as_ref().map_or("", Email::address)];
                Some(self.new_password(password, &names).await?)
            }
            None => None,
        };
        let now = Time::from_millis(self.base.now());
        let user = User {
            id: UserId(self.base.env.uuid()),
            name: op.name.unwrap_or_else(|| op.username.clone()),
            username: op.username,
            status: op.status.unwrap_or_default(),
            email: email.as_ref().map(|email| email.address().to_owned()),
            email_verified: false,
            has_password: password.is_some(),
            person_type: op.person_type,
            document_type: op.document_type,
            document_number: op.document_number,
            created_at: now,
            updated_at: now,
        };
        let change = Change::new(CreateUser::INFO.name, user.id)
            .with([store::is_free(&folded, user.id)])
            .with(email.as_ref().map(|email| store::is_free(email.folded(), user.id)))
            .with([store::insert(&user, email.as_ref().map(Email::folded), password.as_ref())])
            .detail([("username", Some(json!(user.username))), ("status", Some(json!(user.status)))]);
        self.rbac.write::<User>(&call, change, &user.username).await?;
        Ok(user)
    }

    pub(super) async fn list_users(&self, _: Call, op: ListUsers) -> Result<UserList> {
        let (db, prefix) = (self.base.db.as_ref(), op.prefix.as_deref());
        let (users, next_cursor) = entities::list(db, op.cursor.as_deref(), op.limit, prefix).await?;
        Ok(UserList { users, next_cursor })
    }

    pub(super) async fn show_user(&self, _: Call, op: ShowUser) -> Result<User> {
        self.users.find(&op.id).await
    }

    pub(super) async fn update_user(&self, call: Call, mut op: UpdateUser) -> Result<User> {
        let folded = op.username.as_deref().map(check_name).transpose()?;
        check_texts(op.name.as_deref(), op.document_number.as_deref())?;
        let email = op.email.as_deref().map(links::parse_email).transpose()?;
        let user = self.users.find(&op.id).await?;
        let old = user.email.as_deref().and_then(|email| Email::parse(email).ok());
        let is_moved =
            email.as_ref().is_some_and(|email| old.as_ref().is_some_and(|old| old.folded() != email.folded()));
        // A user name that was the old address follows, as when the person changes it.
        if let (Some(email), Some(old), true, None) = (&email, &old, is_moved, &op.username)
            && names::fold(&user.username) == old.folded()
        {
            op.username = Some(email.address().to_owned());
        }
        // The mailbox that loses the account learns of it.
        let notice = self.notice(Template::EmailChanged, old.as_ref().filter(|_| is_moved), None).await?;
        let password = match &op.password {
            Some(password) => {
                let username = op.username.as_deref().unwrap_or(&user.username);
                let address = email.as_ref().map(Email::address).or(user.email.as_deref());
                Some(self.new_password(password, &[username, address.unwrap_or_default()]).await?)
            }
            None => None,
        };
        // Who gets the mails of an address can reset the password.
        let (gives_access, holds_nothing) = match (&password, &email) {
            (Some(_), _) => self.reaching(&call, user.id, "setting their password").await?,
            (_, Some(_)) => self.reaching(&call, user.id, "setting their e-mail address").await?,
            (None, None) => (None, None),
        };
        let mut guard = None;
        if op.username.is_some() || password.is_some() || email.is_some() || op.status.is_some() {
            // Setting a user's password or taking over their name gives their permissions: the caller must have them.
            let guard = guard.insert(Guard::new(self.base.db.as_ref(), &call.caller).await?);
            guard.check_held(rbac::store::on_authd(self.base.db.as_ref(), user.id).await?)?;
        }
        let now = self.base.now();
        let reason = match (op.status, &password) {
            (Some(Status::Inactive), _) => Some("user_deactivated"),
            (_, Some(_)) => Some("password_set"),
            _ => None,
        };
        let end_sessions = reason.map(|reason| sessions::store::end_all(user.id, None, reason, now));
        let fields = changed_fields([
            ("username", op.username.is_some()),
            ("password", op.password.is_some()),
            ("name", op.name.is_some()),
            ("email", op.email.is_some()),
            ("person_type", op.person_type.is_some()),
            ("document_type", op.document_type.is_some()),
            ("document_number", op.document_number.is_some()),
        ]);
        let only_disables = matches!(
            op,
            UpdateUser {
                id: _,
                status: Some(Status::Inactive),
                username: None,
                password: None,
                name: None,
                email: None,
                person_type: None,
                document_type: None,
                document_number: None,
            }
        );
        let change = Change::new(UpdateUser::INFO.name, user.id)
            .with(folded.as_deref().map(|folded| store::is_free(folded, user.id)))
            .with(email.as_ref().map(|email| store::is_free(email.folded(), user.id)))
            .with([store::update(user.id, &op, email.as_ref(), password.as_ref(), now)])
            .with(end_sessions)
            .with(notice)
            .with((reason.is_some() || email.is_some()).then(|| links::store::delete_all(user.id)))
            .with(holds_nothing)
            .requires(gives_access)
            .urgent_if(only_disables)
            // Cached sessions contain the names.
            .invalidates(Invalidation::sessions(user.id))
            .detail([
                ("username", Some(json!(op.username.as_ref().unwrap_or(&user.username)))),
                ("status", op.status.map(|status| json!(status))),
                ("fields", Some(fields)),
            ]);
        let change = match guard {
            Some(guard) => guard.guard(change),
            None => change,
        };
        let name = op.username.as_deref().or(email.as_ref().map(Email::address));
        let updated = self.rbac.update(&call, change, name).await?;
        self.mail.wake();
        Ok(updated)
    }

    pub(super) async fn delete_user(&self, call: Call, op: DeleteUser) -> Result<Done> {
        let user = self.users.find(&op.id).await?;
        let mut guard = Guard::new(self.base.db.as_ref(), &call.caller).await?;
        guard.check_held(rbac::store::on_authd(self.base.db.as_ref(), user.id).await?)?;
        let now = self.base.now();
        let change = Change::new(DeleteUser::INFO.name, user.id)
            .with(deletion(user.id, now))
            .invalidates(Invalidation::sessions(user.id))
            .urgent()
            .detail([("username", Some(json!(user.username)))]);
        self.rbac.write::<User>(&call, guard.guard(change), "").await?;
        Ok(Done::default())
    }

    /// What a change requires that lets its caller sign in as this user, and so gives them what the user holds in every
    /// service: the permission, or else a statement that there is nothing. `doing` is for the error.
    pub(super) async fn reaching(
        &self,
        call: &Call,
        user: UserId,
        doing: &str,
    ) -> Result<(Option<Permission>, Option<Statement>)> {
        if call.caller.can(Permission::AccessWrite) {
            return Ok((Some(Permission::AccessWrite), None));
        }
        if rbac::store::holds_anything(self.base.db.as_ref(), user).await? {
            let detail = format!("this user has access to a service: {doing} needs access.write as well");
            return Err(Error::new(Code::Forbidden, detail));
        }
        Ok((None, Some(rbac::store::holds_nothing(user))))
    }

    /// Checks the password of a person with these names, and hashes it.
    pub(super) async fn new_password(&self, password: &Secret, names: &[&str]) -> Result<Password> {
        passwords::check("password", password, names)?;
        let hash = self.users.hash(password).await?;
        Ok(Password { hash, set_at: self.base.now() })
    }
}

/// The statements that delete a user with everything that belongs to them.
pub(super) fn deletion(user: UserId, now: Millis) -> Vec<Statement> {
    let mut batch = delete_with_relations::<User>(user, now);
    batch.extend(factors::store::delete_all(user));
    batch.extend(files::delete_all(user, now));
    batch.extend([
        store::forget(user),
        links::store::delete_all(user),
        sessions::store::identity::unlink_all(user),
        sessions::store::end_all(user, None, "user_deleted", now),
        sessions::store::delete_devices(user),
    ]);
    batch
}

/// Checks a new user name and returns its folded form. One that is an address is in the form in which addresses are
/// compared: there is no other user whose address it is.
pub(super) fn check_name(name: &str) -> Result<String> {
    let folded = names::check("username", name)?;
    match Email::parse(name) {
        Ok(email) if email.folded() != folded => {
            Err(Error::field("username", format!("an address as a user name is written in ASCII: {}", email.folded())))
        }
        _ => Ok(folded),
    }
}

pub(super) fn check_texts(name: Option<&str>, document_number: Option<&str>) -> Result<()> {
    name.map_or(Ok(()), |name| model::check_display_name("name", name))?;
    document_number.map_or(Ok(()), model::check_document_number)
}

/// The names of the fields that a request changes, for the audit log: their values may be personal.
fn changed_fields<const N: usize>(fields: [(&str, bool); N]) -> serde_json::Value {
    fields.into_iter().filter(|(_, is_given)| *is_given).map(|(name, _)| name).collect()
}
