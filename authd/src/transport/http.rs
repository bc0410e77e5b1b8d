//! One HTTP request: find the route, find the caller, check access, read the body within bounds, call, answer.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ::http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN, REFERER, RETRY_AFTER,
    WWW_AUTHENTICATE,
};
use ::http::{Method, Request, Response, StatusCode, Uri};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use shared::op::{Access, Info};
use shared::problem::{Code, OAuthError};
use shared::secret::Secret;
use shared::wire::Parts;
use subtle::ConstantTimeEq;
use tokio::sync::Mutex;
use tracing::{debug, error, info, warn};

use super::body::{self, JSON, Limits};
use super::credentials::{self, bearer, header_token};
use super::{browser, forward, forwarded, pages};
use crate::app::{App, Ctx, RequestId};
use crate::caller::Caller;
use crate::error::{Error, Result};
use crate::ledger;
use crate::metrics::RouteCounts;
use crate::registry::{Registry, Reply, authorize};

const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");
pub(super) const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(super) const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const NOSNIFF: (HeaderName, HeaderValue) =
    (HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
/// The longest path and query that are looked at.
const MAX_TARGET: usize = 8 << 10;

/// How long a call whose caller's authority was changed waits for its turn to be repeated.
const TURN_TIMEOUT: Duration = Duration::from_secs(2);
/// After this long it is not repeated again.
const REPEAT_LIMIT: Duration = Duration::from_secs(5);

pub type Body = Full<Bytes>;

/// Where a request came in.
#[derive(Debug)]
pub enum Connection {
    /// By the public listener, from this address.
    Public(IpAddr),
    /// By the admin socket: the kernel has said who it is.
    Admin(Caller),
}

/// Everything that a connection needs to answer requests.
#[derive(Debug)]
pub struct Http {
    pub app: Arc<App>,
    registry: Registry,
    /// For each path, the routes (positions in the registry) by method.
    paths: matchit::Router<Vec<(Method, usize)>>,
    process: u32,
    requests: AtomicU64,
    /// Held by a call that is repeated because its caller's authority was changed before its commit.
    overtaken: Mutex<()>,
}

/// An operation's route with the raw path parameters, or something else.
enum Target<'a> {
    Operation(usize, Vec<(&'a str, &'a str)>),
    Page,
    /// A proxy's question.
    Forward,
}

impl Http {
    pub fn new(app: Arc<App>, registry: Registry) -> anyhow::Result<Self> {
        let mut paths: Vec<(&str, Vec<(Method, usize)>)> = Vec::new();
        for (index, route) in registry.routes().iter().enumerate() {
            let entry = (Method::from_bytes(route.info.method.as_str().as_bytes())?, index);
            match paths.iter_mut().find(|(path, _)| *path == route.info.path) {
                Some((_, methods)) => methods.push(entry),
                None => paths.push((route.info.path, vec![entry])),
            }
        }
        let mut router = matchit::Router::new();
        for (path, methods) in paths {
            router.insert(path, methods)?;
        }
        let process = u32::from_be_bytes(app.world.bytes());
        Ok(Self { app, registry, paths: router, process, requests: AtomicU64::new(0), overtaken: Mutex::default() })
    }

    /// Answers a request; every failure is an answer too.
    pub async fn respond(
        self: Arc<Self>,
        connection: Arc<Connection>,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        let id = RequestId { process: self.process, number: self.requests.fetch_add(1, Ordering::Relaxed) };
        let (head, body) = request.into_parts();
        let (counts, answer) = match self.find(&head.uri, &head.method) {
            Ok(Target::Operation(index, params)) => {
                let answer = self.operate(id, &connection, index, &params, &head, body).await;
                let info = self.registry.routes()[index].info;
                (self.app.metrics.route(index), answer.map_err(|error| (Some(info), error)))
            }
            Ok(Target::Forward) => {
                let answer = forward::respond(&self.app, &connection, &head).await;
                (&self.app.metrics.forward, answer.map_err(|error| (None, error)))
            }
            Ok(Target::Page) => {
                let answer = self.page(id, &connection, &head, body).await;
                (&self.app.metrics.pages, answer.map_err(|error| (None, error)))
            }
            Err(Missed { error, allow }) => {
                let mut response = refuse(id, None, *error);
                if let Some(allow) = allow {
                    response.headers_mut().insert(ALLOW, allow);
                }
                return Ok(counted(&self.app.metrics.pages, response));
            }
        };
        let response = answer.unwrap_or_else(|(info, error)| refuse(id, info, error));
        Ok(counted(counts, response))
    }

    /// The route of a request, or 404, or 405 with what the path allows.
    fn find<'a>(&'a self, uri: &'a Uri, method: &Method) -> Result<Target<'a>, Missed> {
        let path = uri.path();
        if forward::is_target(path) {
            return Ok(Target::Forward);
        }
        if path.len() + uri.query().map_or(0, str::len) > MAX_TARGET {
            let error = Box::new(Error::new(Code::MalformedRequest, "the URL is too long"));
            return Err(Missed { error, allow: None });
        }
        // HEAD is GET without the body, which hyper leaves away.
        let method = if *method == Method::HEAD { &Method::GET } else { method };
        if let Ok(found) = self.paths.at(path) {
            return match found.value.iter().find(|(allowed, _)| allowed == method) {
                Some((_, index)) => Ok(Target::Operation(*index, found.params.iter().collect())),
                None => Err(Missed::method(found.value.iter().map(|(allowed, _)| allowed.as_str()))),
            };
        }
        match pages::method(path).or_else(|| browser::method(path)) {
            Some(allowed) if allowed == method.as_str() => Ok(Target::Page),
            Some(allowed) => Err(Missed::method([allowed].into_iter())),
            None => Err(Missed { error: Box::new(Error::not_found("path; GET /docs lists them")), allow: None }),
        }
    }

    async fn operate(
        &self,
        id: RequestId,
        connection: &Connection,
        index: usize,
        path: &[(&str, &str)],
        head: &::http::request::Parts,
        body: Incoming,
    ) -> Result<Response<Body>> {
        let route = &self.registry.routes()[index];
        let info = route.info;
        let address = self.guard(connection, &head.headers)?;
        let mut caller = self.caller(connection, info, &head.headers, address).await?;
        authorize(info, &caller)?;
        let (body, was_late) = body::read(info, &head.headers, body, self.limits()).await?;
        if was_late {
            // What was taken from the caller while the body was on its way is gone: a request that is kept open must
            // not outlive the token that it began with.
            caller = self.caller(connection, info, &head.headers, address).await?;
            authorize(info, &caller)?;
        }
        let (mut fields, count) = ([("", ""); 4], info.headers.len());
        let count = header_fields(info, &head.headers, &mut fields[..count])?;
        let is_logged =
            !matches!(info.access, Access::Public | Access::Proof) && tracing::enabled!(tracing::Level::DEBUG);
        let logged = is_logged.then(|| caller.to_string());
        let call = async |caller: Caller| {
            let parts = Parts { path, query: head.uri.query(), headers: &fields[..count], body: &body };
            let permission = info.permission();
            route.call(Ctx { app: self.app.clone(), caller, address, request_id: id, permission }, parts).await
        };
        let mut answer = call(caller).await;
        if answer.as_ref().is_err_and(ledger::is_overtaken) {
            // Repeated calls take turns, so that they do not keep overtaking one another. A call that gets no turn in time
            // goes on without.
            let begun = Instant::now();
            let _turn = tokio::time::timeout(TURN_TIMEOUT, self.overtaken.lock()).await;
            for _ in 1..ledger::TRIES {
                let caller = self.caller(connection, info, &head.headers, address).await?;
                authorize(info, &caller)?;
                answer = call(caller).await;
                if !answer.as_ref().is_err_and(ledger::is_overtaken) || begun.elapsed() > REPEAT_LIMIT {
                    break;
                }
            }
        }
        let Reply { status, body } = answer?;
        if let Some(caller) = logged {
            let address = address.map(tracing::field::display);
            // What changed anything is in the audit log; a line here for each would cost more than the change.
            debug!(request_id = %id, operation = info.name, %caller, address, status, "answered");
        }
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response.headers_mut().insert(CONTENT_TYPE, JSON);
        response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
        Ok(response)
    }

    async fn page(
        &self,
        id: RequestId,
        connection: &Connection,
        head: &::http::request::Parts,
        body: Incoming,
    ) -> Result<Response<Body>> {
        let address = self.guard(connection, &head.headers)?;
        let caller = match connection {
            Connection::Admin(caller) => caller.clone(),
            Connection::Public(_) => Caller::Anonymous,
        };
        let ctx = Ctx { app: self.app.clone(), caller, address, request_id: id, permission: None };
        if let Some(answer) = pages::respond(&ctx, head.uri.path()) {
            return answer;
        }
        let (body, _) = body::collect(body, self.limits()).await?;
        let request = browser::PageRequest {
            method: head.method.as_str(),
            path: head.uri.path(),
            query: head.uri.query(),
            body: &body,
        };
        let page = browser::handle(ctx, request).await.ok_or_else(|| Error::not_found("page"))?;
        let mut response = Response::builder().status(page.status);
        for (name, value) in page.headers {
            response = response.header(name, value);
        }
        response.body(Full::new(page.html.into())).map_err(Error::internal)
    }

    /// Refuses on the admin socket what a browser sent there, and tells the client's address elsewhere.
    fn guard(&self, connection: &Connection, headers: &HeaderMap) -> Result<Option<IpAddr>> {
        match connection {
            Connection::Public(peer) => {
                let trusted = &self.app.config.server.trusted_proxies;
                if trusted.is_empty() {
                    return Ok(Some(peer.to_canonical()));
                }
                let lines: Vec<&[u8]> = headers.get_all(FORWARDED_FOR).iter().map(HeaderValue::as_bytes).collect();
                Ok(Some(forwarded::client(*peer, &lines, trusted)))
            }
            Connection::Admin(_) => {
                let host = headers.get(HOST).map_or(&b""[..], HeaderValue::as_bytes);
                if headers.contains_key(ORIGIN)
                    || headers.contains_key(REFERER)
                    || ![&b""[..], b"localhost"].contains(&host)
                {
                    let detail = "the admin socket takes no requests from browsers, and only the Host localhost";
                    return Err(Error::new(Code::Forbidden, detail));
                }
                Ok(None)
            }
        }
    }

    /// Who is asking, by whatever this operation accepts.
    async fn caller(
        &self,
        connection: &Connection,
        info: &Info,
        headers: &HeaderMap,
        address: Option<IpAddr>,
    ) -> Result<Caller> {
        match (connection, info.access) {
            // A process on this machine may act for a person whose token it has.
            (Connection::Admin(peer), Access::User) => Ok(match self.authenticate(info, headers, address).await? {
                Caller::Anonymous => peer.clone(),
                caller => caller,
            }),
            (Connection::Admin(peer), _) => Ok(peer.clone()),
            (Connection::Public(_), Access::Permission(_) | Access::User | Access::Known) => {
                self.authenticate(info, headers, address).await
            }
            (Connection::Public(_), Access::Public | Access::Proof) => Ok(Caller::Anonymous),
        }
    }

    /// Who holds the credentials of a request.
    async fn authenticate(&self, info: &Info, headers: &HeaderMap, address: Option<IpAddr>) -> Result<Caller> {
        let Some(token) = credentials::token(headers, info.oauth)? else { return Ok(Caller::Anonymous) };
        // How long the secret is may be learnt from the time that this takes, and nothing else.
        let is_admins = |expected: &Secret| -> bool { expected.expose().as_bytes().ct_eq(token.as_bytes()).into() };
        if self.app.config.admin.token.as_ref().is_some_and(is_admins) {
            return Ok(Caller::AdminToken);
        }
        // An operation that reads the token itself also renews the session itself.
        let renews = !info.headers.iter().any(|(field, _)| *field == "header_token");
        crate::sessions::authenticate(&self.app, &token, address, renews).await
    }

    fn limits(&self) -> Limits {
        let server = &self.app.config.server;
        Limits { bytes: server.max_body, time: Duration::from_secs(server.body_seconds) }
    }
}

/// An error as an answer, and in the log where it is ours.
fn refuse(id: RequestId, info: Option<&Info>, error: Error) -> Response<Body> {
    let operation = info.map_or("page", |info| info.name);
    let (code, status) = (error.code.as_str(), error.code.status());
    match (error.source_text(), status) {
        (Some(source), 500) => error!(request_id = %id, operation, code, %source, "failed"),
        (Some(source), _) => warn!(request_id = %id, operation, code, %source, "could not answer"),
        // What anybody can cause must not fill the log.
        (None, _) if info.is_none_or(|info| matches!(info.access, Access::Public | Access::Proof)) => {
            debug!(request_id = %id, operation, code, "refused");
        }
        (None, _) => info!(request_id = %id, operation, code, "refused"),
    }
    let challenge = match (error.code, info.map(|info| info.access)) {
        (Code::Unauthenticated, _) => Some("Bearer realm=\"authd\"".to_owned()),
        (code, _) if code.status() == 401 => Some("Bearer realm=\"authd\", error=\"invalid_token\"".to_owned()),
        (Code::Forbidden, Some(Access::Permission(permission))) => {
            Some(format!("Bearer realm=\"authd\", error=\"insufficient_scope\", scope=\"{}\"", permission.scope()))
        }
        _ => None,
    };
    let retry_after = error.retry_after;
    let request_id = id.to_string();
    let problem = error.into_problem(Some(request_id.clone()));
    let is_oauth = info.is_some_and(|info| info.oauth);
    let body = if is_oauth { serde_json::to_vec(&OAuthError::from(&problem)) } else { serde_json::to_vec(&problem) };
    let mut response = Response::new(Full::new(body.unwrap_or_default().into()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, if is_oauth { JSON } else { PROBLEM });
    headers.insert(CACHE_CONTROL, NO_STORE);
    headers.insert(NOSNIFF.0, NOSNIFF.1);
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        headers.insert(REQUEST_ID, value);
    }
    if let Some(value) = challenge.and_then(|challenge| HeaderValue::from_str(&challenge).ok()) {
        headers.insert(WWW_AUTHENTICATE, value);
    }
    if let Some(seconds) = retry_after {
        headers.insert(RETRY_AFTER, seconds.into());
    }
    response
}

/// A path or a method that is not there.
struct Missed {
    error: Box<Error>,
    allow: Option<HeaderValue>,
}

impl Missed {
    fn method<'a>(allowed: impl Iterator<Item = &'a str>) -> Self {
        let allowed = allowed.collect::<Vec<_>>().join(", ");
        let error = Error::new(Code::MethodNotAllowed, format!("this path takes {allowed}"));
        Self { error: Box::new(error), allow: HeaderValue::from_str(&allowed).ok() }
    }
}

fn counted(counts: &RouteCounts, response: Response<Body>) -> Response<Body> {
    counts.answered(response.status().as_u16());
    response
}

/// Fields that travel as headers, by field name; how many there are.
fn header_fields<'a>(info: &Info, headers: &'a HeaderMap, fields: &mut [(&'a str, &'a str)]) -> Result<usize> {
    let mut count = 0;
    for (field, header) in info.headers {
        let value = if *header == "authorization" {
            bearer(headers)?
        } else if *header == "token" {
            header_token(headers)?
        } else {
            let value = headers.get(*header).map(|value| value.to_str());
            value.transpose().map_err(|_| Error::field(field, format!("the header {header} must be ASCII")))?
        };
        if let Some(value) = value {
            fields[count] = (field, value);
            count += 1;
        }
    }
    Ok(count)
}
