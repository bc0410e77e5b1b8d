//! The operations of a person on their own passkeys.

use serde_json::json;
use shared::api::Done;
use shared::api::factors::Reauthenticated;
use shared::api::passkeys::{
    AuthenticatorSelection, BeginPasskey, BeginPasskeyProof, CreationOptions, CredentialParameters, ListPasskeys,
    MAX_TRANSPORT, MAX_TRANSPORTS, Passkey, PasskeyAssertion, PasskeyList, RegisterPasskey, RelyingPartyEntity,
    RemovePasskey, RenamePasskey, RequestOptions, UserEntity,
};
use shared::base64url::Base64Url;
use shared::id::FactorId;
use shared::op::Operation;
use shared::problem::Code;
use shared::secret::Secret;

use super::store::{self, Attributes, Stored};
use super::{Ceremony, timeout};
use crate::accounts::factors::store::SECOND_FACTOR;
use crate::accounts::fresh_proof::{FreshProof, of_another_kind};
use crate::accounts::lockout::LoginAttempt;
use crate::accounts::{Accounts, links, model, step_up_required};
use crate::call::Call;
use crate::error::{Error, Result};
use crate::ledger::{Change, Invalidation, Refused};
use crate::mail::Template;
use crate::sessions;
use crate::webauthn::{Algorithm, Fault, Registration};

/// The name of a passkey that was given none.
const UNNAMED: &str = "passkey";

impl Accounts {
    pub(in crate::accounts) async fn begin_passkey(&self, call: Call, _: BeginPasskey) -> Result<CreationOptions> {
        let party = self.passkeys.party()?;
        let (user, session) = sessions::person(&call)?;
        let person = self.person(&call).await?;
        if !self.sessions.is_fresh(session).await? {
            return Err(step_up_required());
        }
        let passkeys = store::list(self.base.db.as_ref(), user).await?;
        let challenge = self.give_challenge(Ceremony::Registration(session)).await?;
        let parameters =
            |algorithm: Algorithm| CredentialParameters { kind: "public-key".to_owned(), alg: algorithm.number() };
        Ok(CreationOptions {
            rp: RelyingPartyEntity { id: party.id().to_owned(), name: party.id().to_owned() },
            user: UserEntity {
                id: Base64Url(user.0.as_bytes().to_vec()),
                name: person.username,
                display_name: person.name,
            },
            challenge: Base64Url(challenge.to_vec()),
            pub_key_cred_params: Algorithm::ALL.map(parameters).to_vec(),
            timeout: timeout(),
            exclude_credentials: passkeys.iter().map(Stored::descriptor).collect(),
            authenticator_selection: AuthenticatorSelection {
                resident_key: "required".to_owned(),
                require_resident_key: true,
                user_verification: "required".to_owned(),
            },
            attestation: "none".to_owned(),
        })
    }

    /// The fresh proof was judged when the challenge was given to this session.
    pub(in crate::accounts) async fn register_passkey(&self, call: Call, op: RegisterPasskey) -> Result<Passkey> {
        op.name.as_deref().map_or(Ok(()), |name| model::check_display_name("name", name))?;
        check_transports(&op.transports)?;
        let party = self.passkeys.party()?;
        let (user, session) = sessions::person(&call)?;
        let person = self.person(&call).await?;
        let challenge = self.take_challenge(Ceremony::Registration(session)).await?;
        let made = Registration {
            credential_id: &op.credential_id.0,
            client_data: &op.client_data.0,
            authenticator_data: &op.authenticator_data.0,
            public_key: &op.public_key.0,
        };
        let registered = match party.verify_registration(&challenge, &made) {
            Ok(registered) => registered,
            Err(fault) => {
                let detail = [("fault", Some(json!(fault.to_string())))];
                let (action, subject) = (RegisterPasskey::INFO.name, user.to_string());
                self.base.ledger.refuse(&call, action, Some(&subject), "refused", detail).await?;
                return Err(Error::new(Code::ValidationFailed, format!("the passkey is not accepted: {fault}")));
            }
        };
        let notice = self.notice(Template::FactorsChanged, person.address().as_ref(), call.address).await?;
        let passkey = Stored {
            id: FactorId(self.base.env.uuid()),
            user,
            credential_id: op.credential_id.0,
            name: op.name.unwrap_or_else(|| UNNAMED.to_owned()),
            attributes: Attributes {
                public_key: Base64Url(registered.key().spki().to_vec()),
                algorithm: registered.key().algorithm().number(),
                transports: op.transports,
                backup: registered.backup(),
            },
            counter: registered.counter(),
            created_at: self.base.now(),
            last_used_at: None,
        };
        let change = Change::new(RegisterPasskey::INFO.name, user)
            .with(store::insert(&passkey))
            .with(notice)
            .detail([("passkey", Some(json!(passkey.id))), ("name", Some(json!(passkey.name)))]);
        match self.base.ledger.commit(&call, change).await {
            Ok(_) => {
                self.mail.wake();
                Ok(passkey.into())
            }
            Err(Refused::Duplicate(store::INSERTED)) => {
                Err(Error::new(Code::Conflict, "this passkey is registered already"))
            }
            Err(Refused::ExpectationFailed(store::FULL)) => {
                Err(Error::new(Code::Conflict, format!("there are {} passkeys: remove one first", store::MOST)))
            }
            Err(refused) => Err(refused.into()),
        }
    }

    pub async fn list_passkeys(&self, call: Call, _: ListPasskeys) -> Result<PasskeyList> {
        let (user, _) = sessions::person(&call)?;
        let passkeys = store::list(self.base.db.as_ref(), user).await?;
        Ok(PasskeyList { passkeys: passkeys.into_iter().map(Passkey::from).collect() })
    }

    pub async fn rename_passkey(&self, call: Call, op: RenamePasskey) -> Result<Done> {
        model::check_display_name("name", &op.name)?;
        let (user, _) = sessions::person(&call)?;
        let change = Change::new(RenamePasskey::INFO.name, user)
            .with([store::rename(op.id, user, &op.name)])
            .detail([("passkey", Some(json!(op.id))), ("name", Some(json!(op.name)))]);
        self.base.ledger.commit(&call, change).await.map_err(unmet)?;
        Ok(Done::default())
    }

    pub async fn remove_passkey(&self, call: Call, op: RemovePasskey) -> Result<Done> {
        let (user, session) = sessions::person(&call)?;
        let person = self.person(&call).await?;
        let notice = self.notice(Template::FactorsChanged, person.address().as_ref(), call.address).await?;
        let now = self.base.now();
        let change = Change::new(RemovePasskey::INFO.name, user)
            .with([sessions::store::is_fresh(session, now), store::remove(op.id, user)])
            .with(self.passkeys.is_required().then(|| store::has_other(user, op.id)))
            .with([
                sessions::store::end_all(user, Some(session), "factors_changed", now),
                links::store::delete_all(user),
            ])
            .with(notice)
            .invalidates(Invalidation::sessions(user))
            .detail([("passkey", Some(json!(op.id)))]);
        self.base.ledger.commit(&call, change).await.map_err(unmet)?;
        self.mail.wake();
        Ok(Done::default())
    }

    pub(in crate::accounts) async fn begin_passkey_proof(
        &self,
        call: Call,
        _: BeginPasskeyProof,
    ) -> Result<RequestOptions> {
        self.passkeys.party()?;
        let (user, session) = sessions::person(&call)?;
        let passkeys = store::list(self.base.db.as_ref(), user).await?;
        if passkeys.is_empty() {
            return Err(Error::new(Code::Conflict, "you have no passkey"));
        }
        let challenge = self.give_challenge(Ceremony::Proof(session)).await?;
        self.request_options(challenge, &passkeys)
    }

    pub(in crate::accounts) async fn prove_by_passkey(
        &self,
        call: Call,
        op: PasskeyAssertion,
    ) -> Result<Reauthenticated> {
        let proof = self.refresh(&call)?;
        self.accept_passkey(&call, &op, proof).await
    }

    /// The same for a browser: its session ends, and this is the token of the one in its place.
    pub async fn prove_browser_by_passkey(&self, call: Call, op: PasskeyAssertion) -> Result<Secret> {
        let (proof, token) = self.replace(&call)?;
        self.accept_passkey(&call, &op, proof).await?;
        Ok(token)
    }

    async fn accept_passkey(&self, call: &Call, op: &PasskeyAssertion, proof: FreshProof) -> Result<Reauthenticated> {
        let (user, session) = sessions::person(call)?;
        let person = self.person(call).await?;
        let challenge = self.take_challenge(Ceremony::Proof(session)).await?;
        let attempt = LoginAttempt::step_up(&person, call.address);
        let is_open = attempt.count(&self.base, &self.config).await?;
        let passkey = self.tried(&attempt, store::find(self.base.db.as_ref(), &op.credential_id.0).await).await?;
        let verified = match passkey.filter(|passkey| passkey.user == user) {
            Some(passkey) => self.tried(&attempt, self.verify_passkey(&challenge, &passkey, op)).await?,
            None => Err(Fault::Credential),
        };
        let (action, names) = (PasskeyAssertion::INFO.name, Some(person.username.as_str()));
        let accepted = match verified {
            Ok(accepted) if is_open => accepted,
            verified => return Err(self.refuse_passkey(call, action, names, verified.err()).await?),
        };
        let (change, fresh) = (Change::new(action, user).with([accepted]), proof.fresh.clone());
        let change = proof.extend(change).with(attempt.forgive()).detail([("factor", Some(json!("passkey")))]);
        match self.base.ledger.commit(call, change).await {
            Ok(_) => Ok(fresh),
            Err(Refused::ExpectationFailed(SECOND_FACTOR)) => {
                Err(self.refuse_passkey(call, action, names, Some(Fault::Counter)).await?)
            }
            Err(refused) => {
                attempt.revert(&self.base).await;
                Err(of_another_kind(refused))
            }
        }
    }
}

/// Checks what the browser says of the ways to an authenticator: browsers may know others than we do.
fn check_transports(transports: &[String]) -> Result<()> {
    let is_one = |text: &String| {
        (1..=MAX_TRANSPORT).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
    };
    if transports.len() > MAX_TRANSPORTS || !transports.iter().all(is_one) {
        let detail = format!("expected at most {MAX_TRANSPORTS} words in lower case, such as internal");
        return Err(Error::field("transports", detail));
    }
    Ok(())
}

/// The error of a change of a passkey.
fn unmet(refused: Refused) -> Error {
    match refused {
        Refused::ExpectationFailed(sessions::store::FRESH_PROOF) => step_up_required(),
        Refused::ExpectationFailed(store::CHANGED) => Error::not_found("passkey"),
        Refused::ExpectationFailed(store::LAST) => Error::new(
            Code::Conflict,
            "this is your last passkey, and you sign in by nothing else: register another first",
        ),
        refused => refused.into(),
    }
}
