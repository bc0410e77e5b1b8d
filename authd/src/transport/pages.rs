//! The pages: information, the API's documentation, metrics, and those of the login flows.

use std::sync::{Arc, LazyLock, OnceLock};

use ::http::{Response, request};
use bytes::Bytes;
use serde_json::Value;
use shared::op::{Method, Permission};
use shared::problem::Code;

use super::answer::Body;
use super::api_page;
pub use super::browser::PageTemplates;
use super::browser::accounts::Offer;
use super::browser::html::{self, Escaped};
pub use super::browser::mount::Mount;
use super::browser::web::{Action, Asked, Visit, Web};
use super::browser::{self, response};
use super::host;
use crate::accounts::Accounts;
use crate::call::Call;
use crate::caller::Caller;
use crate::cli_login::CliLogin;
use crate::error::{Error, Result};
use crate::files::Files;
use crate::metrics::Metrics;
use crate::sessions::Sessions;
use crate::system::VERSION;
use crate::web_login::WebLogin;

/// A page, or a redirect.
#[derive(Clone, Copy, Debug)]
pub enum Page {
    Information,
    Docs,
    OpenApi,
    Metrics,
    CliCallback,
    CliDeny,
    /// The form of a mailed link.
    Link(Offer),
    /// Sign-in with a browser, and the pages of who is signed in.
    Web(Web),
    Style,
    LinkScript,
    PasskeyScript,
    UploadScript,
}

impl Page {
    /// Whether it is of a login: it has a form, or does something.
    const fn is_of_login(self) -> bool {
        matches!(self, Self::CliCallback | Self::CliDeny | Self::Link(_) | Self::Web(_))
    }
}

/// Every page with its method and path. All are public except the metrics.
pub const PAGES: [(Method, &str, Page); 61] = [
    (Method::Get, "/", Page::Information),
    (Method::Get, "/docs", Page::Docs),
    (Method::Get, "/openapi.json", Page::OpenApi),
    (Method::Get, "/metrics", Page::Metrics),
    (Method::Get, "/auth/cli/callback", Page::CliCallback),
    (Method::Post, "/auth/cli/deny", Page::CliDeny),
    (Method::Get, "/auth/cli/local", Page::Web(Web::Device)),
    (Method::Post, "/auth/cli/local", Page::Web(Web::Device)),
    (Method::Get, "/auth/cli/again", Page::Web(Web::Again)),
    (Method::Get, "/d/{code}", Page::Web(Web::Short)),
    (Method::Get, "/account/verify", Page::Link(Offer::Verify)),
    (Method::Post, "/account/verify", Page::Link(Offer::Verify)),
    (Method::Get, "/account/reset", Page::Link(Offer::Reset)),
    (Method::Post, "/account/reset", Page::Link(Offer::Reset)),
    (Method::Get, "/account/email", Page::Link(Offer::Email)),
    (Method::Post, "/account/email", Page::Link(Offer::Email)),
    (Method::Get, "/login", Page::Web(Web::SignIn)),
    (Method::Post, "/login", Page::Web(Web::SignIn)),
    (Method::Get, "/signup", Page::Web(Web::ByMail(Asked::SignUp))),
    (Method::Post, "/signup", Page::Web(Web::ByMail(Asked::SignUp))),
    (Method::Get, "/forgot-password", Page::Web(Web::ByMail(Asked::Reset))),
    (Method::Post, "/forgot-password", Page::Web(Web::ByMail(Asked::Reset))),
    (Method::Post, "/login/passkey/options", Page::Web(Web::BeginPasskey)),
    (Method::Post, "/login/passkey", Page::Web(Web::FinishPasskey)),
    (Method::Get, "/auth/{provider}", Page::Web(Web::Depart)),
    (Method::Get, "/auth/{provider}/callback", Page::Web(Web::Arrive)),
    (Method::Post, "/logout", dashboard(Action::SignOut)),
    (Method::Get, "/dashboard", dashboard(Action::Overview)),
    (Method::Post, "/dashboard/sessions/end", dashboard(Action::EndSession)),
    (Method::Post, "/dashboard/sessions/end-all", dashboard(Action::EndSessions)),
    (Method::Get, "/dashboard/email", dashboard(Action::Email)),
    (Method::Post, "/dashboard/email", dashboard(Action::Email)),
    (Method::Get, "/dashboard/delete", dashboard(Action::Delete)),
    (Method::Post, "/dashboard/delete", dashboard(Action::Delete)),
    (Method::Get, "/dashboard/security", dashboard(Action::Security)),
    (Method::Post, "/dashboard/passkeys/remove", dashboard(Action::RemovePasskey)),
    (Method::Post, "/dashboard/passkeys/rename", dashboard(Action::RenamePasskey)),
    (Method::Get, "/dashboard/password", dashboard(Action::Password)),
    (Method::Post, "/dashboard/password", dashboard(Action::Password)),
    (Method::Post, "/dashboard/password/link", dashboard(Action::MailPasswordLink)),
    (Method::Get, "/dashboard/totp", dashboard(Action::Totp)),
    (Method::Post, "/dashboard/totp", dashboard(Action::Totp)),
    (Method::Get, "/dashboard/totp/confirm", dashboard(Action::ConfirmTotp)),
    (Method::Post, "/dashboard/totp/confirm", dashboard(Action::ConfirmTotp)),
    (Method::Get, "/dashboard/totp/disable", dashboard(Action::DisableTotp)),
    (Method::Post, "/dashboard/totp/disable", dashboard(Action::DisableTotp)),
    (Method::Get, "/dashboard/recovery-codes", dashboard(Action::RecoveryCodes)),
    (Method::Post, "/dashboard/recovery-codes", dashboard(Action::RecoveryCodes)),
    (Method::Get, "/dashboard/identities", dashboard(Action::Identities)),
    (Method::Post, "/dashboard/identities/link", dashboard(Action::LinkIdentity)),
    (Method::Post, "/dashboard/identities/unlink", dashboard(Action::UnlinkIdentity)),
    (Method::Get, "/dashboard/files", dashboard(Action::Files)),
    (Method::Post, "/dashboard/files/delete", dashboard(Action::DeleteFile)),
    (Method::Get, "/dashboard/access", dashboard(Action::Access)),
    (Method::Get, "/dashboard/verify", dashboard(Action::Verify)),
    (Method::Post, "/dashboard/verify", dashboard(Action::Verify)),
    (Method::Post, "/dashboard/verify/passkey", Page::Web(Web::ProveByPasskey)),
    (Method::Get, "/style.css", Page::Style),
    (Method::Get, "/link.js", Page::LinkScript),
    (Method::Get, "/passkey.js", Page::PasskeyScript),
    (Method::Get, "/upload.js", Page::UploadScript),
];

const fn dashboard(action: Action) -> Page {
    Page::Web(Web::Dashboard(action))
}

/// The state to answer pages.
#[derive(Debug)]
pub struct Pages {
    pub public_url: String,
    pub mount: Mount,
    /// The page of the API, made for the first who asks.
    pub docs: OnceLock<Bytes>,
    pub metrics: Arc<Metrics>,
    pub cli_login: Arc<CliLogin>,
    pub accounts: Arc<Accounts>,
    pub sessions: Arc<Sessions>,
    pub web_login: Arc<WebLogin>,
    pub templates: PageTemplates,
    /// Also for the streams beside the pages.
    pub files: Arc<Files>,
}

impl Pages {
    /// The answer to a request for a page at a host where it is not.
    pub fn elsewhere(&self, page: Page, head: &request::Parts, names: &[String]) -> Result<Option<Response<Body>>> {
        if !page.is_of_login() || host::is_served(head, &self.public_url, names) {
            return Ok(None);
        }
        browser::misdirected(self)?.into_response(&self.mount).map(Some)
    }

    /// Answers a page. The body is still encoded; there is one if the method is POST.
    pub async fn respond(
        &self,
        call: Call,
        page: Page,
        head: &request::Parts,
        body: Option<&[u8]>,
    ) -> Result<Response<Body>> {
        static OPENAPI: LazyLock<Value> = LazyLock::new(|| shared::openapi::document(VERSION));
        static OPENAPI_TEXT: LazyLock<Bytes> = LazyLock::new(|| format!("{:#}\n", *OPENAPI).into());
        let query = head.uri.query();
        match page {
            Page::Information => page_of(self.mount.html(&information(&self.public_url)).into()),
            Page::Docs => page_of(self.docs.get_or_init(|| self.mount.html(&api_page::html(&OPENAPI)).into()).clone()),
            Page::OpenApi => answer("application/json", OPENAPI_TEXT.clone()),
            Page::Metrics => self.metrics(&call),
            Page::CliCallback => browser::cli_login::callback(self, call, query).await?.into_response(&self.mount),
            Page::CliDeny => {
                browser::cli_login::deny(self, call, body.unwrap_or_default()).await?.into_response(&self.mount)
            }
            Page::Link(offer) => match body {
                Some(body) => browser::accounts::submit(self, call, offer, body).await?.into_response(&self.mount),
                None => browser::accounts::form(self, offer, None, "")?.into_response(&self.mount),
            },
            Page::Web(page) => {
                let visit = Visit { call, headers: &head.headers, path: head.uri.path(), query, body };
                browser::web::respond(self, page, visit).await
            }
            Page::Style => file("text/css; charset=utf-8", html::STYLE),
            Page::PasskeyScript => file("text/javascript; charset=utf-8", html::PASSKEY_SCRIPT),
            Page::UploadScript => file("text/javascript; charset=utf-8", html::UPLOAD_SCRIPT),
            Page::LinkScript => file("text/javascript; charset=utf-8", html::LINK_SCRIPT),
        }
    }

    /// Metrics are only on the admin socket: they reveal the activity of the daemon.
    fn metrics(&self, call: &Call) -> Result<Response<Body>> {
        if !matches!(call.caller, Caller::Peer { .. }) {
            let detail = "metrics are on the admin socket: curl --unix-socket PATH http://localhost/metrics";
            return Err(Error::new(Code::NotFound, detail));
        }
        if !call.caller.can(Permission::SystemRead) {
            let detail = format!("{} does not hold the permission system.read", call.caller);
            return Err(Error::new(Code::Forbidden, detail));
        }
        answer("application/openmetrics-text; version=1.0.0; charset=utf-8", self.metrics.encode().into())
    }
}

fn answer(content_type: &str, body: Bytes) -> Result<Response<Body>> {
    let headers =
        [("content-type", content_type), ("cache-control", "no-cache"), ("x-content-type-options", "nosniff")];
    response(200, headers, body)
}

fn page_of(html: Bytes) -> Result<Response<Body>> {
    response(200, html::public_headers(), html)
}

/// A file that pages load, by a URL that changes with its contents.
fn file(content_type: &str, contents: &'static str) -> Result<Response<Body>> {
    let headers = [
        ("content-type", content_type),
        ("cache-control", "public, max-age=86400"),
        ("x-content-type-options", "nosniff"),
    ];
    response(200, headers, Bytes::from_static(contents.as_bytes()))
}

/// The information page: name, version, state and endpoints, at the daemon's address.
fn information(public_url: &str) -> String {
    let url = Escaped(public_url);
    html::wide(
        "authd",
        &format!(
            "<h1>authd</h1><p class=\"dim\">Version {VERSION} &middot; running</p>\
             <p><a href=\"/login\">Sign in</a> to see your account.</p>\
             <p>Sign in from a terminal to get AWS credentials:</p><pre>auth-login --server {url}</pre>\
             <h2>Endpoints</h2><div class=\"scroll\"><table>\
             <tr><td><a href=\"/docs\"><code>/docs</code></a></td><td>the API, readable</td></tr>\
             <tr><td><a href=\"/openapi.json\"><code>/openapi.json</code></a></td><td>the API, for machines (OpenAPI 3.1)</td></tr>\
             <tr><td><a href=\"/health\"><code>/health</code></a></td><td>health of the daemon and its dependencies</td></tr>\
             <tr><td><code>POST /auth/validate</code></td><td>validate a token</td></tr>\
             <tr><td><code>POST /auth/cli/start</code></td><td>start a login (auth-login does)</td></tr>\
             </table></div>"
        ),
    )
}
