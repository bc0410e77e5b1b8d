//! The pages: what this is, the API's documentation, the counters, and those of the flows.

use std::fmt::Write;
use std::sync::{Arc, LazyLock};

use ::http::Response;
use ::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use bytes::Bytes;
use http_body_util::Full;
use serde_json::Value;
use shared::op::{Method, Permission};
use shared::problem::Code;

use super::browser;
use super::browser::html::{Escaped, policy};
use super::http::Body;
use crate::call::Call;
use crate::caller::Caller;
use crate::cli_login::CliLogin;
use crate::error::{Error, Result};
use crate::metrics::Metrics;
use crate::system::VERSION;

/// A page, or a redirect.
#[derive(Clone, Copy, Debug)]
pub enum Page {
    Information,
    Docs,
    OpenApi,
    Metrics,
    CliCallback,
    CliDeny,
}

/// Every page with its method and path. All are for anybody, but for the counters.
pub const PAGES: [(Method, &str, Page); 6] = [
    (Method::Get, "/", Page::Information),
    (Method::Get, "/docs", Page::Docs),
    (Method::Get, "/openapi.json", Page::OpenApi),
    (Method::Get, "/metrics", Page::Metrics),
    (Method::Get, "/auth/cli/callback", Page::CliCallback),
    (Method::Post, "/auth/cli/deny", Page::CliDeny),
];

/// What answers pages.
#[derive(Debug)]
pub struct Pages {
    public_url: String,
    metrics: Arc<Metrics>,
    cli_login: Arc<CliLogin>,
}

impl Pages {
    pub fn new(public_url: String, metrics: Arc<Metrics>, cli_login: Arc<CliLogin>) -> Self {
        Self { public_url, metrics, cli_login }
    }

    /// Answers a page. `query` and `body` are as they came, still encoded.
    pub async fn respond(&self, call: Call, page: Page, query: Option<&str>, body: &[u8]) -> Result<Response<Body>> {
        static OPENAPI: LazyLock<Value> = LazyLock::new(|| shared::openapi::document(VERSION));
        static OPENAPI_TEXT: LazyLock<Bytes> = LazyLock::new(|| format!("{:#}\n", *OPENAPI).into());
        static DOCS: LazyLock<Bytes> = LazyLock::new(|| docs(&OPENAPI).into());
        match page {
            Page::Information => html(information(&self.public_url).into()),
            Page::Docs => html(DOCS.clone()),
            Page::OpenApi => answer("application/json", OPENAPI_TEXT.clone()),
            Page::Metrics => self.metrics(&call),
            Page::CliCallback => browser::cli_login::callback(&self.cli_login, call, query).await.into_response(),
            Page::CliDeny => browser::cli_login::deny(&self.cli_login, call, body).await.into_response(),
        }
    }

    /// Counters are for the admin socket alone: they tell how much is going on.
    fn metrics(&self, call: &Call) -> Result<Response<Body>> {
        if !matches!(call.caller, Caller::Peer { .. }) {
            return Err(Error::new(
                Code::NotFound,
                "metrics are on the admin socket: curl --unix-socket PATH http://localhost/metrics",
            ));
        }
        if !call.caller.can(Permission::SystemRead) {
            let detail = format!("{} does not hold the permission system.read", call.caller);
            return Err(Error::new(Code::Forbidden, detail));
        }
        answer("application/openmetrics-text; version=1.0.0; charset=utf-8", self.metrics.encode().into())
    }
}

fn answer(content_type: &str, body: Bytes) -> Result<Response<Body>> {
    let response = Response::builder().header(CONTENT_TYPE, content_type).header(CACHE_CONTROL, "no-cache");
    response.header("x-content-type-options", "nosniff").body(Full::new(body)).map_err(Error::internal)
}

fn html(body: Bytes) -> Result<Response<Body>> {
    static POLICY: LazyLock<String> = LazyLock::new(|| policy(STYLE));
    let mut response = answer("text/html; charset=utf-8", body)?;
    let headers = response.headers_mut();
    headers.insert("content-security-policy", ::http::HeaderValue::from_str(&POLICY).map_err(Error::internal)?);
    headers.insert("referrer-policy", ::http::HeaderValue::from_static("no-referrer"));
    headers.insert("x-frame-options", ::http::HeaderValue::from_static("DENY"));
    Ok(response)
}

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8884;--dim:#888}\
body{font:16px/1.5 system-ui,sans-serif;max-width:56rem;margin:0 auto;padding:1.5rem 1rem}\
h1{margin:0}h2{margin:2rem 0 .5rem}code,pre{font:14px/1.5 ui-monospace,monospace}\
pre{overflow-x:auto;padding:.75rem;border:1px solid var(--line);border-radius:.5rem}\
.dim{color:var(--dim)}details{border:1px solid var(--line);border-radius:.5rem;margin:.5rem 0;padding:.5rem .75rem}\
summary{cursor:pointer;display:flex;gap:.75rem;flex-wrap:wrap;align-items:baseline}summary code{overflow-wrap:anywhere}\
.get,.post,.put,.delete{font-weight:700;min-width:4rem}.get{color:#0a7d33}.post{color:#0b62c4}.put{color:#9a6700}.delete{color:#c0262d}\
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.25rem .5rem .25rem 0;border-bottom:1px solid var(--line);vertical-align:top}\
.wide{overflow-x:auto}";

fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>{title}</title>\
         <style>{STYLE}</style></head><body>{body}</body></html>"
    )
}

/// Name, version, state and endpoints, as somebody sees who opens the daemon's address.
fn information(public_url: &str) -> String {
    let url = Escaped(public_url);
    page(
        "authd",
        &format!(
            "<h1>authd</h1><p class=\"dim\">Version {VERSION} &middot; running</p>\
             <p>Sign in from a terminal, and every AWS tool works:</p><pre>auth-login --server {url}</pre>\
             <h2>Endpoints</h2><div class=\"wide\"><table>\
             <tr><td><a href=\"/docs\"><code>/docs</code></a></td><td>the API, readable</td></tr>\
             <tr><td><a href=\"/openapi.json\"><code>/openapi.json</code></a></td><td>the API, for machines (OpenAPI 3.1)</td></tr>\
             <tr><td><a href=\"/health\"><code>/health</code></a></td><td>health of the daemon and its dependencies</td></tr>\
             <tr><td><code>POST /auth/validate</code></td><td>validate a token</td></tr>\
             <tr><td><code>POST /auth/cli/start</code></td><td>start a login (auth-login does)</td></tr>\
             </table></div>"
        ),
    )
}

/// The OpenAPI document as one page. Swagger UI was refused: megabytes of script for what a table can say.
fn docs(document: &Value) -> String {
    let mut body = String::from(
        "<h1>authd API</h1><p class=\"dim\">Errors are <code>application/problem+json</code> (RFC 9457) with a stable \
         <code>error</code> code. Times are RFC 3339. Lists answer <code>next_cursor</code>.</p>",
    );
    let mut tag = "";
    let empty = serde_json::Map::new();
    let paths = document["paths"].as_object().unwrap_or(&empty);
    let mut operations: Vec<(&str, &str, &Value)> = paths
        .iter()
        .flat_map(|(path, methods)| {
            methods.as_object().unwrap_or(&empty).iter().map(move |(method, operation)| (path, method, operation))
        })
        .map(|(path, method, operation)| (path.as_str(), method.as_str(), operation))
        .collect();
    operations.sort_by_key(|(path, method, operation)| (operation["tags"][0].as_str(), *path, *method));
    for (path, method, operation) in operations {
        let this = operation["tags"][0].as_str().unwrap_or_default();
        if this != tag {
            tag = this;
            let _ = write!(body, "<h2>{}</h2>", Escaped(tag));
        }
        let _ = write!(
            body,
            "<details><summary><span class=\"{method}\">{}</span><code>{}</code><span class=\"dim\">{}</span></summary>",
            method.to_uppercase(),
            Escaped(path),
            Escaped(operation["summary"].as_str().unwrap_or_default()),
        );
        if let Some(description) = operation["description"].as_str() {
            let _ = write!(body, "<p>{}</p>", Escaped(description));
        }
        describe(&mut body, operation, &document["components"]["schemas"]);
        body.push_str("</details>");
    }
    page("authd API", &body)
}

fn describe(body: &mut String, operation: &Value, schemas: &Value) {
    let mut rows = Vec::new();
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let name = parameter["name"].as_str().unwrap_or_default();
        let place = parameter["in"].as_str().unwrap_or_default();
        rows.push((name, place, parameter["required"] == true, &parameter["schema"]));
    }
    let request = &operation["requestBody"]["content"]["application/json"]["schema"];
    let required =
        |schema: &Value, name: &str| schema["required"].as_array().is_some_and(|names| names.iter().any(|n| n == name));
    for (name, schema) in request["properties"].as_object().into_iter().flatten() {
        rows.push((name, "body", required(request, name), schema));
    }
    table(body, "Takes", &rows);
    let success = operation["responses"].as_object().into_iter().flatten().find(|(status, _)| status.starts_with('2'));
    if let Some((status, response)) = success {
        let schema = resolve(&response["content"]["application/json"]["schema"], schemas);
        let rows: Vec<_> = schema["properties"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, property)| (name.as_str(), "", required(schema, name), property))
            .collect();
        table(body, &format!("Answers {status}"), &rows);
    }
}

fn table(body: &mut String, title: &str, rows: &[(&str, &str, bool, &Value)]) {
    if rows.is_empty() {
        return;
    }
    let _ = write!(body, "<div class=\"wide\"><table><tr><th colspan=\"4\">{title}</th></tr>");
    for (name, place, required, schema) in rows {
        let _ = write!(
            body,
            "<tr><td><code>{}</code></td><td>{}</td><td class=\"dim\">{place}{}</td><td>{}</td></tr>",
            Escaped(name),
            Escaped(&kind(schema)),
            if *required && !place.is_empty() { ", required" } else { "" },
            Escaped(schema["description"].as_str().unwrap_or_default()),
        );
    }
    body.push_str("</table></div>");
}

fn resolve<'a>(schema: &'a Value, schemas: &'a Value) -> &'a Value {
    match schema["$ref"].as_str().and_then(|reference| reference.rsplit('/').next()) {
        Some(name) => &schemas[name],
        None => schema,
    }
}

/// A schema's type in a word.
fn kind(schema: &Value) -> String {
    let name = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    if let Some(reference) = schema["$ref"].as_str() {
        return reference.rsplit('/').next().unwrap_or_default().to_owned();
    }
    if let Some(options) = schema["anyOf"].as_array() {
        return options.iter().map(kind).filter(|kind| kind != "null").collect::<Vec<_>>().join(" or ");
    }
    let base = match &schema["type"] {
        Value::Array(types) => types.iter().map(name).filter(|kind| kind != "null").collect::<Vec<_>>().join(" or "),
        other => name(other),
    };
    match (base.as_str(), schema["format"].as_str()) {
        ("array", _) => format!("list of {}", kind(&schema["items"])),
        ("string", Some(format @ ("date-time" | "uuid" | "ip"))) => format.to_owned(),
        ("string", Some("password")) => "secret".to_owned(),
        _ => base,
    }
}
