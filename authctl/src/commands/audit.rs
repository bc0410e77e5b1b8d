//! The audit log.

use clap::Args;
use serde_json::Value;
use shared::api::audit::{AuditEntry, ListAudit};
use shared::cli::Column::{Spare, Whole, Wrapped};
use shared::cli::{Exit, relative};
use shared::time::Time;
use uuid::Uuid;

use super::{Context, listing};
use crate::args::Paging;
use crate::error::Error;
use crate::values::{Past, past};

listing!(ListAudit, entries: AuditEntry; action action_prefix actor subject subject_name since until);

#[derive(Debug, Args)]
pub struct Audit {
    /// Only operations whose name begins with this, such as `tokens.` or `tokens.revoke`
    #[arg(long, value_name = "OPERATION")]
    action: Option<String>,
    /// Only what this caller did: the name of a user, a token, a service or a local user
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
    /// Only what was done to the thing or the person of this name or id
    #[arg(long, value_name = "NAME")]
    subject: Option<String>,
    /// Only from this time on: 7d or 12h ago, 2027-01-31T12:00:00Z, or a date; a bare number is days
    #[arg(long, value_name = "TIME", value_parser = past)]
    since: Option<Past>,
    /// Only before this time, written like --since
    #[arg(long, value_name = "TIME", value_parser = past)]
    until: Option<Past>,
    /// Show exact times, ids and request ids, too
    #[arg(long)]
    wide: bool,
    #[command(flatten)]
    paging: Paging,
}

pub(super) async fn list(args: Audit, context: &mut Context<'_, '_>) -> Result<Exit, Error> {
    let now = context.now();
    let (subject, subject_name) = match args.subject {
        Some(id) if Uuid::try_parse(&id).is_ok() => (Some(id), None),
        name => (None, name),
    };
    let request = ListAudit {
        action_prefix: args.action,
        actor: args.actor,
        subject,
        subject_name,
        since: args.since.map(|since| since.at(now)),
        until: args.until.map(|until| until.at(now)),
        ..ListAudit::default()
    };
    if args.wide {
        let columns = [
            Whole("TIME"),
            Whole("ACTOR"),
            Whole("ACTION"),
            Whole("SUBJECT"),
            Wrapped("NAME"),
            Spare("FROM"),
            Wrapped("OUTCOME"),
            Spare("REQUEST"),
        ];
        return context.list(request, args.paging, EMPTY, columns, |_, entry| wide_row(entry)).await;
    }
    let columns =
        [Whole("WHEN"), Wrapped("WHO"), Wrapped("ACTION"), Wrapped("ON"), Wrapped("FROM"), Wrapped("OUTCOME")];
    context.list(request, args.paging, EMPTY, columns, row).await
}

const EMPTY: &str = "No entries";

fn row(now: Time, entry: AuditEntry) -> [String; 6] {
    let (who, on, outcome) = (who(&entry), on(&entry), outcome(&entry));
    [short(now, entry.at), who, entry.action, on, entry.address.unwrap_or_default(), outcome]
}

fn wide_row(entry: AuditEntry) -> [String; 8] {
    let (name, outcome) = (on(&entry), outcome(&entry));
    [
        entry.at.to_string(),
        entry.actor,
        entry.action,
        entry.subject.unwrap_or_default(),
        name,
        entry.address.unwrap_or_default(),
        outcome,
        entry.request_id.unwrap_or_default(),
    ]
}

/// The distance of a time from now in a few letters, for a narrow column: `3m ago`.
fn short(now: Time, then: Time) -> String {
    let told = relative(now, then);
    let mut words = told.split(' ');
    match (words.next(), words.next(), words.next()) {
        (Some(count), Some(unit), Some("ago")) => format!("{count}{} ago", unit.get(..1).unwrap_or_default()),
        _ => told,
    }
}

/// Who did it, without ids.
fn who(entry: &AuditEntry) -> String {
    let kind = entry.actor.split(':').next().unwrap_or_default();
    match (kind, &entry.actor_name) {
        ("user", Some(name)) => name.clone(),
        ("token" | "service", Some(name)) => format!("{kind} {name}"),
        ("socket" | "device", Some(name)) => format!("{name} ({kind})"),
        ("token" | "service", None) => format!("a {kind}"),
        ("admin-token", _) => "ADMIN_TOKEN".to_owned(),
        _ => entry.actor.clone(),
    }
}

/// What it was done to, without ids: the name, and what was given or taken.
fn on(entry: &AuditEntry) -> String {
    let is_told = |name: &str| entry.subject_name.as_deref() == Some(name);
    let detail =
        |field: &str| entry.detail.get(field).and_then(Value::as_str).filter(|name| !is_told(name) && !is_id(name));
    let parts = [
        entry.subject_name.clone(),
        detail("role").map(|name| format!("role {name}")),
        detail("permission").map(|name| format!("permission {name}")),
        detail("service").map(|name| format!("in {name}")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn is_id(text: &str) -> bool {
    Uuid::try_parse(text).is_ok()
}

/// The outcome, with its reason.
fn outcome(entry: &AuditEntry) -> String {
    let told = |field: &str| entry.detail.get(field).and_then(Value::as_str);
    let reason = ["reason", "why", "fault"].iter().find_map(|field| told(field)).map(|reason| reason.replace('_', " "));
    let reason = reason.or_else(|| match told("code") {
        Some("missing") => Some("no code".to_owned()),
        Some("passkey") => Some("needs a passkey".to_owned()),
        Some(code) => Some(format!("{code} code")),
        None => told("wrong").map(|what| format!("wrong {what}")),
    });
    match reason {
        Some(reason) => format!("{}: {reason}", entry.outcome),
        None => entry.outcome.clone(),
    }
}
