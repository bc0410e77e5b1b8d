//! The pages: information, the API's documentation, metrics, and those of the login flows.

use std::fmt::{self, Write};
use std::sync::{Arc, LazyLock};

use ::http::{Response, request};
use bytes::Bytes;
use serde_json::Value;
use shared::op::{Method, Permission};
use shared::problem::Code;

use super::answer::Body;
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
        static DOCS: LazyLock<String> = LazyLock::new(|| docs(&OPENAPI));
        let query = head.uri.query();
        match page {
            Page::Information => page_of(self.mount.html(&information(&self.public_url))),
            Page::Docs => page_of(self.mount.html(&DOCS)),
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

fn page_of(html: String) -> Result<Response<Body>> {
    response(200, html::public_headers(), html.into())
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

/// The OpenAPI document as one page. Swagger UI was rejected: it needs megabytes of script for what a table can show.
fn docs(document: &Value) -> String {
    let mut body = String::from(
        "<h1>authd API</h1><p class=\"dim\">Errors are <code>application/problem+json</code> (RFC 9457) with a stable \
         <code>error</code> code. Times are RFC 3339. Lists return <code>next_cursor</code>.</p>",
    );
    let paths = members(&document["paths"]);
    let mut operations: Vec<_> = paths
        .flat_map(|(path, methods)| members(methods).map(move |(method, operation)| (path, method, operation)))
        .map(|(path, method, operation)| (text(&operation["tags"][0]), path, method, operation))
        .collect();
    operations.sort_by_key(|(tag, path, method, _)| (*tag, *path, *method));
    let mut last_tag = "";
    for (tag, path, method, operation) in operations {
        if tag != last_tag {
            last_tag = tag;
            let tag = Escaped(tag);
            let _ = write!(body, "<h2 id=\"{tag}\"><a href=\"#{tag}\">{tag}</a></h2>");
        }
        let _ = write!(
            body,
            "<details><summary><span class=\"{method}\">{}</span><code>{}</code><span class=\"dim\">{}</span></summary>",
            method.to_uppercase(),
            Escaped(path),
            Prose(text(&operation["summary"])),
        );
        // A browser opens what the target of a link is in.
        let id = Escaped(text(&operation["operationId"]));
        let _ = write!(body, "<p class=\"dim\" id=\"{id}\"><a href=\"#{id}\">{id}</a></p>");
        if let Some(description) = operation["description"].as_str() {
            let _ = write!(body, "<p>{}</p>", Prose(description));
        }
        describe(&mut body, operation, &document["components"]["schemas"]);
        body.push_str("</details>");
    }
    html::wide("authd API", &body)
}

/// A text of the document; empty where there is none.
fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The members of an object of the document; none where there is no such object.
fn members(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value))
}

/// A field: its name, its location, whether it is required, its schema.
type Field<'a> = (&'a str, &'a str, bool, &'a Value);

fn describe(body: &mut String, operation: &Value, schemas: &Value) {
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let parameters =
        parameters.map(|field| (text(&field["name"]), text(&field["in"]), field["required"] == true, &field["schema"]));
    let content = &operation["requestBody"]["content"];
    let media = ["application/json", "multipart/form-data"].into_iter().find(|media| content.get(media).is_some());
    let request = &content[media.unwrap_or_default()]["schema"];
    table(body, "Takes", &parameters.chain(properties(request, "body")).collect::<Vec<_>>());
    if let Some((status, response)) = members(&operation["responses"]).find(|(status, _)| status.starts_with('2')) {
        let schema = &response["content"]["application/json"]["schema"];
        let schema = schema.get("items").unwrap_or(schema);
        let schema = schema["$ref"].as_str().map_or(schema, |reference| &schemas[last_part(reference)]);
        table(body, &format!("Answers {status}"), &properties(schema, "").collect::<Vec<_>>());
    }
}

fn properties<'a>(schema: &'a Value, place: &'a str) -> impl Iterator<Item = Field<'a>> {
    let required: Vec<&Value> = schema["required"].as_array().into_iter().flatten().collect();
    members(&schema["properties"])
        .map(move |(name, property)| (name, place, required.iter().any(|other| *other == name), property))
}

fn table(body: &mut String, title: &str, fields: &[Field<'_>]) {
    if fields.is_empty() {
        return;
    }
    let _ = write!(body, "<div class=\"scroll\"><table class=\"fields\"><tr><th colspan=\"4\">{title}</th></tr>");
    for (name, place, required, schema) in fields {
        let _ = write!(
            body,
            "<tr><td><code>{}</code></td><td>{}</td><td class=\"dim\">{place}{}</td><td>{}</td></tr>",
            Escaped(name),
            Escaped(&kind(schema)),
            if *required && !place.is_empty() { ", required" } else { "" },
            Prose(text(&schema["description"])),
        );
    }
    body.push_str("</table></div>");
}

/// Text whose parts between backticks are code (CommonMark §6.1).
struct Prose<'a>(&'a str);

impl fmt::Display for Prose<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A backtick without another one is itself.
        let (paired, rest) = match self.0.matches('`').count() % 2 {
            0 => (self.0, None),
            _ => self.0.rsplit_once('`').map_or((self.0, None), |(paired, rest)| (paired, Some(rest))),
        };
        for (index, part) in paired.split('`').enumerate() {
            let part = Escaped(part);
            if index % 2 == 0 { write!(f, "{part}")? } else { write!(f, "<code>{part}</code>")? }
        }
        rest.map_or(Ok(()), |rest| write!(f, "`{}", Escaped(rest)))
    }
}

/// The last part of a reference.
fn last_part(reference: &str) -> &str {
    reference.rsplit('/').next().unwrap_or_default()
}

/// A schema's type as text.
fn kind(schema: &Value) -> String {
    let either = |kinds: &[Value], name: fn(&Value) -> String| {
        kinds.iter().map(name).filter(|kind| kind != "null").collect::<Vec<_>>().join(" or ")
    };
    if let Some(reference) = schema["$ref"].as_str() {
        return last_part(reference).to_owned();
    }
    // Options that only bound a value are of the type of the whole.
    if let Some(options) = schema["anyOf"].as_array()
        && options.iter().all(|option| !kind(option).is_empty())
    {
        return either(options, kind);
    }
    let base = match &schema["type"] {
        Value::Array(types) => either(types, |name| text(name).to_owned()),
        other => text(other).to_owned(),
    };
    match (base.as_str(), schema["format"].as_str()) {
        ("array", _) => format!("list of {}", kind(&schema["items"])),
        // Without a type it is one of several formats of a string.
        ("string", Some(format @ ("date-time" | "uuid" | "ip"))) | ("", Some(format)) => format.to_owned(),
        ("string", Some("password")) => "secret".to_owned(),
        _ => base,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backticks_are_code() {
        for (text, expected) in [
            ("a `b<c>` d", "a <code>b&lt;c&gt;</code> d"),
            ("`a` and `b`", "<code>a</code> and <code>b</code>"),
            ("`a` and a ` more", "<code>a</code> and a ` more"),
            ("none", "none"),
        ] {
            assert_eq!(Prose(text).to_string(), expected);
        }
    }

    #[test]
    fn every_operation_can_be_linked_to_and_every_field_has_a_type() {
        let page = docs(&shared::openapi::document(VERSION));
        for info in shared::api::operations() {
            let once = page.matches(&format!(" id=\"{}\"", info.name)).count();
            assert_eq!(once, 1, "{}", info.name);
        }
        assert!(!page.contains('`'), "{}", page.split('`').nth(1).unwrap_or_default());
        assert!(page.contains("<code>client_ip</code></td><td>ipv4 or ipv6</td>"));
        assert!(!page.contains("</code></td><td></td>") && !page.contains("<td> or </td>"));
    }
}
