//! The row of the audit log, in the same batch as its change, so that neither exists without the other.

use serde_json::{Map, Value as Json};

use super::Ledger;
use crate::call::Call;
use crate::db::Statement;

impl Ledger {
    /// The statement, of this name, that records a call. `detail` must have no secrets.
    pub(super) fn audit_row(
        &self,
        name: &'static str,
        call: &Call,
        action: &str,
        subject: Option<&str>,
        outcome: &str,
        detail: Map<String, Json>,
    ) -> Statement {
        Statement::one(
            name,
            "INSERT INTO audit (id, at, actor, action, subject, outcome, address, request_id, detail) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            [
                self.env.uuid().into(),
                self.env.now().into(),
                call.caller.to_string().into(),
                action.into(),
                subject.into(),
                outcome.into(),
                call.address.map(|address| address.to_string()).into(),
                call.request_id.to_string().into(),
                Json::Object(detail).to_string().into(),
            ],
        )
    }
}

/// Builds the details of an audit row from pairs; absent values are left out.
pub fn detail<const N: usize>(pairs: [(&str, Option<Json>); N]) -> Map<String, Json> {
    pairs.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}
