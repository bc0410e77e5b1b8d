//! The identities at providers by which somebody signs in.

use serde::Serialize;
use shared::api::identities::{LinkedIdentity, ListOwnIdentities, UnlinkOwnIdentity};

use super::super::super::html::redirect;
use super::super::super::templates::View;
use super::super::super::{Page, minute};
use super::super::providers::remember;
use super::super::{label_of, leave};
use super::{IDENTITIES, Told, Visitor};
use crate::error::{Error, Result};
use crate::sessions;

#[derive(Serialize)]
pub struct Identities {
    identities: Vec<Row>,
    providers: Vec<Provider>,
}

/// An identity as the page shows it.
#[derive(Serialize)]
struct Row {
    id: String,
    provider: String,
    who: String,
    since: String,
    used: String,
}

/// A provider that can be linked.
#[derive(Serialize)]
struct Provider {
    name: String,
    label: String,
}

impl View for Identities {
    const TEMPLATE: &'static str = "identities.html";

    fn samples() -> Vec<Self> {
        let row = Row {
            id: "1".to_owned(),
            provider: "Google".to_owned(),
            who: "ada@example.com".to_owned(),
            since: "2027-01-15 08:00".to_owned(),
            used: "2027-01-15 08:00".to_owned(),
        };
        let provider = Provider { name: "google".to_owned(), label: "Google".to_owned() };
        vec![
            Self { identities: vec![row], providers: vec![provider] },
            Self { identities: Vec::new(), providers: Vec::new() },
        ]
    }
}

impl From<LinkedIdentity> for Row {
    fn from(identity: LinkedIdentity) -> Self {
        let LinkedIdentity { id, provider, issuer, subject, email, name, created_at, last_used_at } = identity;
        Self {
            id: id.to_string(),
            provider: provider.map_or(issuer, |provider| label_of(&provider).to_owned()),
            who: email.or(name).unwrap_or(subject),
            since: minute(created_at),
            used: minute(last_used_at),
        }
    }
}

pub(super) async fn show(at: &Visitor<'_>, told: &Told) -> Result<Page> {
    let list = at.pages.accounts.list_own_identities(at.call.clone(), ListOwnIdentities {}).await?;
    let providers = at.web().providers();
    let view = Identities {
        identities: list.identities.into_iter().map(Row::from).collect(),
        providers: providers.map(|name| Provider { name: name.to_owned(), label: label_of(name).to_owned() }).collect(),
    };
    at.draw(told, &view)
}

/// Sends the browser to the provider, from which it comes back to be linked.
pub(super) async fn link(at: &Visitor<'_>) -> Result<Page> {
    let (_, session) = sessions::person(&at.call)?;
    let departure = at.web().depart_to_link(at.field("provider"), session).await?;
    let mut page = leave(at.pages, departure.url)?;
    remember(at.web(), at.visit, &departure.started, &mut page);
    Ok(page)
}

pub(super) async fn unlink(at: &Visitor<'_>) -> Result<Page> {
    let id = at.field("id").parse().map_err(|_| Error::not_found("identity"))?;
    at.pages.accounts.unlink_own_identity(at.call.clone(), UnlinkOwnIdentity { id }).await?;
    at.rotate(redirect(format!("{IDENTITIES}?done=identity"))).await
}
