//! The row of the audit log, in the same batch as the change that it tells of, so that neither exists without the other.

use serde_json::{Map, Value as Json};

use crate::call::Call;
use crate::db::Statement;
use crate::env::Env;

/// The name of the statement of [`row`].
pub const ROW: &str = "audit";

/// The row of a change that succeeds with its batch. `detail` must hold no secret.
pub fn row(env: &Env, call: &Call, action: &str, subject: Option<&str>, detail: Map<String, Json>) -> Statement {
    entry(ROW, env, call, action, subject, "ok", detail)
}

/// The row of a refusal that is worth remembering.
pub fn refusal(
    env: &Env,
    call: &Call,
    action: &str,
    subject: Option<&str>,
    outcome: &str,
    detail: Map<String, Json>,
) -> Statement {
    entry("refusal", env, call, action, subject, outcome, detail)
}

fn entry(
    name: &'static str,
    env: &Env,
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
            env.uuid().into(),
            env.now().into(),
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

/// Details of an audit row from pairs; absent values are left out.
pub fn detail<const N: usize>(pairs: [(&str, Option<Json>); N]) -> Map<String, Json> {
    pairs.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}
