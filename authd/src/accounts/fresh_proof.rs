//! What a new proof of all factors does to the session: that of a program becomes fresh, that of a browser ends and is
//! replaced, so that a cookie that somebody else got before has none of what the proof allows.

use shared::api::factors::Reauthenticated;
use shared::id::SessionId;
use shared::problem::Code;
use shared::secret::Secret;
use shared::time::Time;

use super::Accounts;
use crate::call::Call;
use crate::db::Statement;
use crate::error::{Error, Result};
use crate::ledger::{Change, Invalidation, Refused};
use crate::sessions::store::{self, Replacement};
use crate::sessions::{self, lookup, model::FRESH};

/// What a proof changes.
#[derive(Debug)]
pub(super) struct FreshProof {
    statements: Vec<Statement>,
    invalidates: Option<Invalidation>,
    /// When the proof ends, if nothing else does.
    pub fresh: Reauthenticated,
}

impl FreshProof {
    /// Adds it to the change that the proof allows.
    pub fn extend(self, change: Change) -> Change {
        let change = change.with(self.statements);
        match self.invalidates {
            Some(invalidation) => change.invalidates(invalidation),
            None => change,
        }
    }
}

impl Accounts {
    /// Of a program's session.
    pub(super) fn refresh(&self, call: &Call) -> Result<FreshProof> {
        let (user, session) = sessions::person(call)?;
        let statements = vec![store::refresh_proof(session, user, self.base.now())];
        Ok(FreshProof { statements, invalidates: None, fresh: self.fresh() })
    }

    /// Of a browser's session, with the token of the one in its place.
    pub(super) fn replace(&self, call: &Call) -> Result<(FreshProof, Secret)> {
        self.replacement(call, true)
    }

    /// Gives a browser another session after a change that ended the others: whoever has a copy of its cookie is out too.
    /// Returns the token.
    pub async fn rotate(&self, call: &Call) -> Result<Secret> {
        let (user, _) = sessions::person(call)?;
        let (replacement, token) = self.replacement(call, false)?;
        let change = replacement.extend(Change::new("sessions.replace", user));
        self.base.ledger.commit(call, change).await.map_err(of_another_kind)?;
        Ok(token)
    }

    fn replacement(&self, call: &Call, is_fresh: bool) -> Result<(FreshProof, Secret)> {
        let (user, session) = sessions::person(call)?;
        let (now, token) = (self.base.now(), self.new_token()?);
        let replacement = Replacement {
            id: SessionId(self.base.env.uuid()),
            hash: lookup::hash(token.expose()),
            now,
            idle_expires_at: now + sessions::WEB.idle,
            address: call.address.map(|address| address.to_string()),
            is_fresh,
        };
        let statements = store::replace(session, user, &replacement).into();
        let invalidates = Some(Invalidation::sessions(user));
        Ok((FreshProof { statements, invalidates, fresh: self.fresh() }, token))
    }

    fn fresh(&self) -> Reauthenticated {
        Reauthenticated { fresh_until: Time::from_millis(self.base.now() + FRESH) }
    }
}

/// The error of a proof in a session of the other kind.
pub(super) fn of_another_kind(refused: Refused) -> Error {
    match refused {
        Refused::ExpectationFailed(store::REFRESHED) => Error::new(
            Code::Conflict,
            "this is the session of a browser, whose cookie changes with the proof: use the page /dashboard/verify",
        ),
        Refused::ExpectationFailed(store::REPLACED) => {
            Error::new(Code::Conflict, "this is not the session of a browser")
        }
        refused => refused.into(),
    }
}
