//! The few paths that answer a browser: pages and redirects, which are not operations.
//!
//! Invariants: no script at all, nothing loaded from anywhere, nothing cached, no referrer; every value is escaped by
//! [`html`]; what a page does is decided in the room, this module only parses the request and draws the answer.

mod cli_login;
mod form;
pub(super) mod html;

use crate::app::Ctx;

/// What a browser asks for. `query` and `body` are as they came, still encoded.
#[derive(Clone, Copy, Debug)]
pub struct PageRequest<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub query: Option<&'a str>,
    pub body: &'a [u8],
}

/// What a browser gets. `headers` holds every header but the length; HTML is UTF-8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub html: String,
}

/// Answers a path of this module; `None` when it is not one of ours. The path is known before the body is read:
/// see [`method`].
pub async fn handle(ctx: Ctx, request: PageRequest<'_>) -> Option<Page> {
    match (request.path, request.method) {
        ("/auth/cli/callback", "GET") => Some(cli_login::callback(ctx, request).await),
        ("/auth/cli/deny", "POST") => Some(cli_login::deny(ctx, request).await),
        _ => None,
    }
}

/// The one method of a path of this module, for `405` and `Allow`; `None` when the path is not one of ours.
pub fn method(path: &str) -> Option<&'static str> {
    match path {
        "/auth/cli/callback" => Some("GET"),
        "/auth/cli/deny" => Some("POST"),
        _ => None,
    }
}
