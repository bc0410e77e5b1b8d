//! The operations on linked identities: of the person, and of administrators.

use serde_json::json;
use shared::api::Done;
use shared::api::identities::{
    IdentityList, LinkIdentity, LinkedIdentity, ListIdentities, ListOwnIdentities, UnlinkIdentity, UnlinkOwnIdentity,
    is_provider, is_subject,
};
use shared::id::UserId;
use shared::op::Operation;
use shared::problem::Code;

use super::store;
use crate::accounts::{Accounts, links, step_up_required};
use crate::call::Call;
use crate::error::{Error, Result};
use crate::ledger::{Change, Invalidation, Refused};
use crate::mail::Template;
use crate::oidc_client::{self, Identity};
use crate::rbac::{self, Guard};
use crate::sessions;
use crate::sessions::store::identity as identities;

/// An operation by which the person links an identity in the browser, for the audit log.
const LINK_OWN: &str = "identities.link_own";

impl Accounts {
    pub async fn list_own_identities(&self, call: Call, _: ListOwnIdentities) -> Result<IdentityList> {
        let (user, _) = sessions::person(&call)?;
        self.identities_of(user).await
    }

    pub(in crate::accounts) async fn list_identities(&self, _: Call, op: ListIdentities) -> Result<IdentityList> {
        self.identities_of(self.users.find(&op.id).await?.id).await
    }

    async fn identities_of(&self, user: UserId) -> Result<IdentityList> {
        let mut identities = identities::list(self.base.db.as_ref(), user).await?;
        for identity in &mut identities {
            let provider = self.providers.iter().find(|provider| provider.issuer == identity.issuer);
            identity.provider = provider.map(|provider| provider.name.clone());
        }
        Ok(IdentityList { identities })
    }

    /// The person, who is signed in and has proved it, is also the one who has just signed in at the provider.
    pub async fn link_own_identity(
        &self,
        call: Call,
        provider: &oidc_client::Config,
        identity: &Identity,
    ) -> Result<()> {
        let (user, session) = sessions::person(&call)?;
        let person = self.person(&call).await?;
        let notice = self.notice(Template::FactorsChanged, person.address().as_ref(), call.address).await?;
        let now = self.base.now();
        let id = self.base.env.uuid().to_string();
        let change = Change::new(LINK_OWN, user)
            .with([sessions::store::is_fresh(session, now), identities::has_room(user)])
            .with([identities::upsert(identity, id, now), identities::link(identity, user)])
            .with(notice)
            .detail([("provider", Some(json!(provider.name))), ("subject", Some(json!(identity.subject)))]);
        self.base.ledger.commit(&call, change).await.map_err(unmet)?;
        self.mail.wake();
        Ok(())
    }

    pub async fn unlink_own_identity(&self, call: Call, op: UnlinkOwnIdentity) -> Result<Done> {
        let (user, session) = sessions::person(&call)?;
        let person = self.person(&call).await?;
        let notice = self.notice(Template::FactorsChanged, person.address().as_ref(), call.address).await?;
        let now = self.base.now();
        let change = Change::new(UnlinkOwnIdentity::INFO.name, user)
            .with([
                sessions::store::is_fresh(session, now),
                identities::unlink(op.id, user),
                store::has_another_way(user),
                sessions::store::end_all(user, Some(session), "identity_unlinked", now),
                links::store::delete_all(user),
            ])
            .with(notice)
            .invalidates(Invalidation::sessions(user))
            .detail([("identity", Some(json!(op.id)))]);
        self.base.ledger.commit(&call, change).await.map_err(unmet)?;
        self.mail.wake();
        Ok(Done::default())
    }

    /// Whoever has the identity can then act as the user: so the caller must have what the user has, as for a password.
    pub(in crate::accounts) async fn link_identity(&self, call: Call, op: LinkIdentity) -> Result<LinkedIdentity> {
        if !is_provider(&op.provider) {
            return Err(Error::field(
                "provider",
                "1 to 32 letters, digits or hyphens: a provider's name in the configuration",
            ));
        }
        if !is_subject(&op.subject) {
            return Err(Error::field(
                "subject",
                "1 to 255 printable ASCII characters: the person's sub at the provider",
            ));
        }
        let Some(provider) = self.providers.iter().find(|provider| provider.name == op.provider) else {
            let names: Vec<&str> = self.providers.iter().map(|provider| provider.name.as_str()).collect();
            let others = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            let detail = format!("no provider for the browser is named {:?}; there are: {others}", op.provider);
            return Err(Error::new(Code::NotFound, detail));
        };
        let user = self.users.find(&op.id).await?;
        let (gives_access, holds_nothing) = self.reaching(&call, user.id, "linking an identity").await?;
        let mut guard = Guard::new(self.base.db.as_ref(), &call.caller).await?;
        guard.check_held(rbac::store::on_authd(self.base.db.as_ref(), user.id).await?)?;
        let key = [provider.issuer.as_str(), op.subject.as_str()];
        let id = self.base.env.uuid().to_string();
        let change = Change::new(LinkIdentity::INFO.name, user.id)
            .with([identities::has_room(user.id)])
            .with(identities::link_known(key, id, user.id, self.base.now()))
            .with(holds_nothing)
            .requires(gives_access)
            .detail([
                ("username", Some(json!(user.username))),
                ("provider", Some(json!(provider.name))),
                ("subject", Some(json!(op.subject))),
            ]);
        self.base.ledger.commit(&call, guard.guard(change)).await.map_err(unmet)?;
        let list = self.identities_of(user.id).await?;
        let linked = list.identities.into_iter().find(|linked| [&*linked.issuer, &*linked.subject] == key);
        linked.ok_or_else(|| Error::not_found("identity"))
    }

    pub(in crate::accounts) async fn unlink_identity(&self, call: Call, op: UnlinkIdentity) -> Result<Done> {
        let user = self.users.find(&op.id).await?;
        let mut guard = Guard::new(self.base.db.as_ref(), &call.caller).await?;
        guard.check_held(rbac::store::on_authd(self.base.db.as_ref(), user.id).await?)?;
        let change = Change::new(UnlinkIdentity::INFO.name, user.id)
            .with([
                identities::unlink(op.identity, user.id),
                sessions::store::end_all(user.id, None, "identity_unlinked", self.base.now()),
                links::store::delete_all(user.id),
            ])
            .invalidates(Invalidation::sessions(user.id))
            .detail([("username", Some(json!(user.username))), ("identity", Some(json!(op.identity)))]);
        self.base.ledger.commit(&call, guard.guard(change)).await.map_err(unmet)?;
        Ok(Done::default())
    }
}

/// The error of a change of identities.
fn unmet(refused: Refused) -> Error {
    match refused {
        Refused::ExpectationFailed(sessions::store::FRESH_PROOF) => step_up_required(),
        Refused::ExpectationFailed(identities::UNLINKED) => Error::not_found("identity"),
        Refused::ExpectationFailed(identities::LINKED) => {
            Error::new(Code::Conflict, "this identity is linked to another account")
        }
        Refused::ExpectationFailed(identities::FULL) => {
            Error::new(Code::Conflict, format!("there are {} identities: unlink one first", identities::MOST))
        }
        Refused::ExpectationFailed(store::ANOTHER_WAY) => Error::new(
            Code::Conflict,
            "you sign in by nothing else: set a password (\"forgotten password\" mails a link), or add a passkey first",
        ),
        refused => refused.into(),
    }
}
