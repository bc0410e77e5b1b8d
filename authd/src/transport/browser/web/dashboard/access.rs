//! What somebody may do where, and why.

use serde::Serialize;

use super::super::super::templates::View;
use super::super::super::{Page, minute};
use super::{Told, Visitor};
use crate::error::Result;
use crate::rbac::{OwnService, Reason};

#[derive(Serialize)]
pub struct Access {
    services: Vec<Service>,
    has_more: bool,
}

#[derive(Serialize)]
struct Service {
    name: String,
    reasons: Vec<Row>,
    without_effect: Vec<String>,
}

/// A grant as the page shows it.
#[derive(Serialize)]
struct Row {
    role: Option<String>,
    since: String,
    permissions: Vec<String>,
    has_more: bool,
}

impl View for Access {
    const TEMPLATE: &'static str = "access.html";

    fn samples() -> Vec<Self> {
        let words = |full: bool| if full { vec!["orders.read".to_owned()] } else { Vec::new() };
        let row = |full: bool| Row {
            role: full.then(|| "clerk".to_owned()),
            since: "2027-01-15 08:00".to_owned(),
            permissions: words(full),
            has_more: full,
        };
        let service = |full: bool| Service {
            name: "shop".to_owned(),
            reasons: vec![row(true), row(false)],
            without_effect: words(full),
        };
        vec![
            Self { services: vec![service(true), service(false)], has_more: true },
            Self { services: Vec::new(), has_more: false },
        ]
    }
}

impl From<OwnService> for Service {
    fn from(service: OwnService) -> Self {
        let reasons = service.reasons.into_iter().map(Row::from).collect();
        Self { name: service.name, reasons, without_effect: service.without_effect }
    }
}

impl From<Reason> for Row {
    fn from(reason: Reason) -> Self {
        let Reason { role, granted_at, permissions, has_more } = reason;
        Self { role, since: minute(granted_at), permissions, has_more }
    }
}

pub(super) async fn show(at: &Visitor<'_>, told: &Told) -> Result<Page> {
    let own = at.pages.accounts.list_own_access(at.call.clone()).await?;
    let services = own.services.into_iter().map(Service::from).collect();
    at.draw(told, &Access { services, has_more: own.has_more })
}
