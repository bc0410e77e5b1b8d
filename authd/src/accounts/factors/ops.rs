//! The operations of a person on their own factors.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;
use shared::api::Done;
use shared::api::factors::{
    ConfirmTotp, DisableTotp, EnableTotp, FactorList, ListFactors, PendingTotp, Reauthenticate, Reauthenticated,
    RecoveryCodes, RenewRecoveryCodes,
};
use shared::id::UserId;
use shared::op::Operation;
use shared::problem::Code;
use shared::qr::Qr;
use shared::secret::Secret;
use shared::time::Time;
use zeroize::Zeroizing;

use super::step_up::Presented;
use super::{model, store};
use crate::accounts::Accounts;
use crate::accounts::fresh_proof::{FreshProof, of_another_kind};
use crate::accounts::links;
use crate::accounts::lockout::LoginAttempt;
use crate::call::Call;
use crate::db::Statement;
use crate::env::{Millis, is_ahead};
use crate::error::{Error, Result};
use crate::ledger::{Change, Invalidation, Refused};
use crate::mail::Template;
use crate::names;
use crate::passwords::Verified;
use crate::sessions;
use crate::users::store as users;

/// Why the other sessions of a person end.
const CHANGED: &str = "factors_changed";

impl Accounts {
    pub async fn enable_totp(&self, call: Call, op: EnableTotp) -> Result<PendingTotp> {
        let person = self.person(&call).await?;
        let (id, now) = (self.base.env.uuid(), self.base.now());
        let expires_at = now + model::PENDING;
        let bytes = Zeroizing::new(self.base.env.bytes::<{ model::SECRET }>());
        let sealed = self.base.keys.seal(&store::context(id), bytes.as_slice())?;
        // Without a code: it is refused if TOTP is on.
        let presented = Presented { password: &op.password, code: None, field: "code", needs_code: false };
        let stepped = self.step_up(&call, EnableTotp::INFO.name, &person, presented).await?;
        let extend = |change: Change| change.with(store::insert_pending(id, person.id, sealed, now, expires_at));
        match self.commit_step_up(&call, stepped, None, extend).await {
            Ok(_) => {}
            Err(Refused::ExpectationFailed(store::IS_OFF)) => {
                return Err(Error::new(Code::Conflict, "TOTP is on: turn it off first"));
            }
            Err(refused) => return Err(refused.into()),
        }
        let secret = model::base32(&bytes);
        let uri = model::uri(&super::issuer(&self.public_url), &person.username, &secret);
        let qr = Qr::new(uri.expose()).ok_or_else(|| Error::internal("a name is too long for a QR code"))?;
        Ok(PendingTotp {
            secret,
            uri,
            qr_svg: Secret::new(qr.to_svg()),
            qr_png: Secret::new(BASE64_STANDARD.encode(qr.to_png())),
            expires_at: Time::from_millis(expires_at),
        })
    }

    pub async fn confirm_totp(&self, call: Call, op: ConfirmTotp) -> Result<RecoveryCodes> {
        let none =
            || Error::new(Code::Conflict, "no TOTP waits for its code: begin to turn it on, at most 10 minutes before");
        let (user, session) = sessions::person(&call)?;
        let person = self.person(&call).await?;
        let now = self.base.now();
        let pending = store::find_pending(self.base.db.as_ref(), user).await?;
        let pending = pending.filter(|pending| is_ahead(pending.expires_at, now, model::PENDING)).ok_or_else(none)?;
        let notice = self.notice(Template::FactorsChanged, person.address().as_ref(), call.address).await?;
        // The secret is the caller's own, but a session that somebody else took must not guess at it.
        let attempt = LoginAttempt::new(&names::fold(&person.username), call.address);
        let is_open = attempt.count(&self.base, &self.config).await?;
        if let Some(password) = &op.password {
            let verified = self.users.verify(person.password_hash.as_deref(), password).await;
            if self.tried(&attempt, verified).await? == Verified::No || !is_open {
                return Err(self.refuse_step_up(&call, ConfirmTotp::INFO.name, user, "password").await?);
            }
        }
        let secret = self.tried(&attempt, self.open_secret(pending.id, &pending.sealed).await).await?;
        let code = model::parse_code(op.code.expose()).filter(|_| is_open);
        let Some(step) = code.and_then(|code| model::find_step(&secret, code, now, 0)) else {
            return Err(self.refuse_step_up(&call, ConfirmTotp::INFO.name, user, "code").await?);
        };
        let (codes, statements) = self.new_recovery_codes(user, now);
        let change = Change::new(ConfirmTotp::INFO.name, user)
            .with([store::confirm(pending.id, step, now)])
            .with(statements)
            .with([sessions::store::end_all(user, Some(session), CHANGED, now), links::store::delete_all(user)])
            .with(notice)
            // Only this attempt: the password may not have been proven.
            .with(attempt.take_back())
            .invalidates(Invalidation::sessions(user))
            .detail([("factor", Some(json!("totp")))]);
        let confirmed = match self.base.ledger.commit(&call, change).await {
            Ok(_) => {
                self.mail.wake();
                Ok(codes)
            }
            Err(Refused::ExpectationFailed(store::CONFIRMED)) => Err(none()),
            Err(refused) => Err(refused.into()),
        };
        self.tried(&attempt, confirmed).await
    }

    pub async fn disable_totp(&self, call: Call, op: DisableTotp) -> Result<Done> {
        let (user, session) = sessions::person(&call)?;
        let person = self.person(&call).await?;
        let presented = Presented { password: &op.password, code: Some(&op.code), field: "code", needs_code: true };
        let stepped = self.step_up(&call, DisableTotp::INFO.name, &person, presented).await?;
        let now = self.base.now();
        let extend = |change: Change| {
            change
                .with(store::turn_off(user))
                .with([sessions::store::end_all(user, Some(session), CHANGED, now), links::store::delete_all(user)])
                .invalidates(Invalidation::sessions(user))
        };
        self.commit_step_up(&call, stepped, Some(Template::FactorsChanged), extend).await.map_err(is_off)?;
        Ok(Done::default())
    }

    pub async fn renew_recovery_codes(&self, call: Call, op: RenewRecoveryCodes) -> Result<RecoveryCodes> {
        let person = self.person(&call).await?;
        let presented = Presented { password: &op.password, code: Some(&op.code), field: "code", needs_code: true };
        let stepped = self.step_up(&call, RenewRecoveryCodes::INFO.name, &person, presented).await?;
        let (codes, statements) = self.new_recovery_codes(person.id, self.base.now());
        let extend = |change: Change| change.with([store::is_on(person.id)]).with(statements);
        self.commit_step_up(&call, stepped, Some(Template::FactorsChanged), extend).await.map_err(is_off)?;
        Ok(codes)
    }

    pub(in crate::accounts) async fn reauthenticate(&self, call: Call, op: Reauthenticate) -> Result<Reauthenticated> {
        let proof = self.refresh(&call)?;
        self.prove(&call, &op, proof).await
    }

    /// The same for a browser: its session ends, and this is the token of the one in its place.
    pub async fn reauthenticate_browser(&self, call: Call, op: Reauthenticate) -> Result<Secret> {
        let (proof, token) = self.replace(&call)?;
        self.prove(&call, &op, proof).await?;
        Ok(token)
    }

    async fn prove(&self, call: &Call, op: &Reauthenticate, proof: FreshProof) -> Result<Reauthenticated> {
        let person = self.person(call).await?;
        let presented = Presented { password: &op.password, code: op.totp.as_ref(), field: "totp", needs_code: true };
        let stepped = self.step_up(call, Reauthenticate::INFO.name, &person, presented).await?;
        let fresh = proof.fresh.clone();
        self.commit_step_up(call, stepped, None, |change| proof.extend(change)).await.map_err(of_another_kind)?;
        Ok(fresh)
    }

    pub async fn list_factors(&self, call: Call, _: ListFactors) -> Result<FactorList> {
        let (user, _) = sessions::person(&call)?;
        store::list(self.base.db.as_ref(), user).await
    }

    /// The caller, who is a person.
    pub async fn person(&self, call: &Call) -> Result<users::Login> {
        let (user, _) = sessions::person(call)?;
        users::find_login(self.base.db.as_ref(), user).await?.ok_or_else(|| Error::not_found("user"))
    }

    fn new_recovery_codes(&self, user: UserId, now: Millis) -> (RecoveryCodes, Vec<Statement>) {
        let code = |_| model::recovery_code(&self.base.env.bytes());
        let recovery_codes: Vec<Secret> = (0..model::RECOVERY_CODES).map(code).collect();
        let hashes: Vec<_> =
            recovery_codes.iter().filter_map(|code| model::recovery_hash(user, code.expose())).collect();
        (RecoveryCodes { recovery_codes }, store::replace_recovery_codes(user, &hashes, now))
    }
}

/// The error of a change that needs TOTP to be on.
fn is_off(refused: Refused) -> Error {
    match refused {
        Refused::ExpectationFailed(store::TURNED_OFF) => Error::new(Code::Conflict, "TOTP is not on"),
        refused => refused.into(),
    }
}
