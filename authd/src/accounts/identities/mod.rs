//! Sign-in by an identity of an OpenID provider.
//!
//! Invariants: a person is known by (issuer, subject), never by an address alone; an identity becomes that of an account by
//! itself only where the provider is trusted for addresses and both sides have verified the same one; it never moves from
//! one account to another, and one that was unlinked comes back only by proof of both or by an administrator; who has
//! turned TOTP on needs their code here too.

mod ops;
mod store;

use serde_json::json;
use shared::api::sessions::SessionKind;
use shared::api::users::User;
use shared::email::Email;
use shared::id::UserId;
use shared::problem::Code;
use shared::time::Time;

use super::Accounts;
use super::sign_in::{Opening, ProvedIdentity, SignIn};
use crate::call::Call;
use crate::db::Statement;
use crate::error::{Error, Result};
use crate::oidc_client::{self, Identity};
use crate::sessions::model::is_fresh;
use crate::sessions::store::identity::{self as identities, Known};
use crate::users::store as users;

/// Why an identity lets nobody in; safe to show, and the same whether an account with its address exists or not.
const NO_ACCOUNT: &str = "no account here is linked to this sign-in; ask an administrator, or sign in another way";

impl Accounts {
    /// Signs in the person of an identity that the provider has just proved.
    pub async fn sign_in_by_identity(
        &self,
        call: &Call,
        provider: &oidc_client::Config,
        identity: &Identity,
        kind: SessionKind,
    ) -> Result<SignIn> {
        let db = self.base.db.as_ref();
        let known = match identities::find(db, identity).await? {
            Known::Linked(user) => users::find_login(db, user).await?,
            Known::Withdrawn => return Err(self.refuse_identity(call, provider, identity, NO_ACCOUNT).await?),
            Known::Unlinked => None,
        };
        let (person, begins, by_email) = if let Some(person) = known {
            (person, Vec::new(), None)
        } else {
            let (person, begins, email) = self.find_or_begin(call, provider, identity).await?;
            (person, begins, Some(email.folded().to_owned()))
        };
        if !person.is_active {
            return Err(self.refuse_identity(call, provider, identity, NO_ACCOUNT).await?);
        }
        let username = person.username.clone();
        // Its groups are of no use here, and could be many.
        let proved = Identity { groups: Vec::new(), ..identity.clone() };
        let proved = ProvedIdentity { provider: provider.name.clone(), identity: proved, by_email };
        let opening = Opening {
            username: &username,
            code: None,
            kind,
            attempt: None,
            identity: Some(&proved),
            begins,
            // Who was signed in at the provider already has proved nothing now.
            is_fresh: is_fresh(identity.auth_time, self.base.now()),
        };
        self.open_session(call, person, opening).await
    }

    /// The person to whom an unknown identity belongs by its address, or a new one where people may sign up; what begins
    /// their account; and the address.
    async fn find_or_begin(
        &self,
        call: &Call,
        provider: &oidc_client::Config,
        identity: &Identity,
    ) -> Result<(users::Login, Vec<Statement>, Email)> {
        let email = identity.email.as_deref().and_then(|email| Email::parse(email).ok());
        let Some(email) = email.filter(|_| provider.trust_email && identity.email_verified) else {
            return Err(self.refuse_identity(call, provider, identity, NO_ACCOUNT).await?);
        };
        if let Some(person) = users::find_login_by_name(self.base.db.as_ref(), email.folded()).await? {
            let is_same = person.email_verified && person.address().is_some_and(|own| own.folded() == email.folded());
            if is_same {
                return Ok((person, Vec::new(), email));
            }
            return Err(self.refuse_identity(call, provider, identity, NO_ACCOUNT).await?);
        }
        if self.check_sign_up(&email).is_err() {
            return Err(self.refuse_identity(call, provider, identity, NO_ACCOUNT).await?);
        }
        let name = identity.name.clone().filter(|name| super::users::check_texts(Some(name), None).is_ok());
        let now = self.base.now();
        let user = User { email_verified: true, ..self.user_of(&email, None, name, Time::from_millis(now)) };
        let folded = email.folded();
        let begins = vec![users::is_free(folded, user.id), users::insert(&user, Some(folded), None)];
        let person = users::Login {
            id: user.id,
            username: user.username,
            name: user.name,
            is_active: true,
            password_hash: None,
            password_changed_at: 0,
            email: user.email,
            email_verified: true,
        };
        Ok((person, begins, email))
    }

    /// Makes the identity that of an account, unless it is another one's, or the account has lost the address by which it
    /// was found.
    pub(super) fn link(&self, proved: &ProvedIdentity, user: UserId) -> Vec<Statement> {
        let ProvedIdentity { identity, by_email, .. } = proved;
        let id = self.base.env.uuid().to_string();
        let upsert = identities::upsert(identity, id, self.base.now());
        let mut batch = vec![upsert, identities::link_by_itself(identity, user)];
        batch.extend(by_email.as_deref().map(|email| users::has_verified(user, email)));
        batch
    }

    async fn refuse_identity(
        &self,
        call: &Call,
        provider: &oidc_client::Config,
        identity: &Identity,
        detail: &str,
    ) -> Result<Error> {
        let known = [
            ("provider", Some(json!(provider.name))),
            ("subject", Some(json!(identity.subject))),
            ("email", identity.email.as_ref().map(|email| json!(email))),
        ];
        self.base.ledger.refuse(call, super::sign_in::ACTION, None, "refused", known).await?;
        Ok(Error::new(Code::Forbidden, detail))
    }
}
