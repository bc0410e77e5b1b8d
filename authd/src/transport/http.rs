//! One HTTP request: find the route, find the caller, check access, read the body within bounds, call, answer.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, ORIGIN, REFERER};
use ::http::{Method, Request, Response, StatusCode, Version};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use shared::op::{Access, Info};
use shared::problem::Code;
use shared::wire::Parts;
use tokio::sync::Mutex;
use tracing::debug;

use super::body::{Bounds, JSON, Unread};
use super::config::{Admin, Config};
use super::connections::{Connection, Running, Stream};
use super::credentials::{self, bearer, header_token};
use super::pages::{PAGES, Page, Pages};
use super::refusal::refuse;
use super::{forward, forwarded};
use crate::authentication::Authentication;
use crate::call::{Call, RequestId};
use crate::caller::Caller;
use crate::env::Env;
use crate::error::{Error, Result};
use crate::forward_auth::ForwardAuth;
use crate::ledger;
use crate::metrics::{Metrics, RouteCounts};
use crate::registry::{Registry, Reply, Route, authorize};

pub(super) const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
/// The longest path and query that are accepted, in bytes.
const MAX_TARGET: usize = 8 << 10;

/// The most headers of a request. hyper has the same bound for HTTP/1, and none for HTTP/2.
const MAX_HEADERS: usize = 100;

/// How long a call is delayed before it is repeated because its caller's authority changed.
const TURN_TIMEOUT: Duration = Duration::from_secs(2);
/// After this time a call is not repeated again.
const REPEAT_LIMIT: Duration = Duration::from_secs(5);

pub type Body = Full<Bytes>;

/// An answer on HTTP/2, whose stream counts until the answer is written.
struct Streamed {
    body: Bytes,
    _stream: Arc<Stream>,
}

impl AsRef<[u8]> for Streamed {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

/// Where a request came in.
#[derive(Debug)]
pub enum Origin {
    /// The public listener, from this address.
    Public(IpAddr),
    /// The admin socket, with the caller that the kernel identified.
    Admin(Caller),
}

/// The shared state to answer requests.
#[derive(Debug)]
pub struct Http {
    pub config: Config,
    pub admin: Admin,
    pub metrics: Arc<Metrics>,
    registry: Registry,
    authentication: Arc<Authentication>,
    forward_auth: Arc<ForwardAuth>,
    pages: Pages,
    routes: matchit::Router<Resource>,
    counts: Counts,
    process: u32,
    requests: AtomicU64,
    /// Held by a call that is repeated because its caller's authority changed before its commit.
    overtaken: Mutex<()>,
}

/// The counters of every kind of request.
#[derive(Debug)]
struct Counts {
    /// In the order of the registry.
    operations: Vec<RouteCounts>,
    /// Pages and unknown paths.
    pages: RouteCounts,
    forward: RouteCounts,
}

/// The targets of a path.
#[derive(Debug)]
struct Resource {
    by_method: Vec<(Method, Target)>,
    /// The methods, as the value of the header `Allow`.
    allow: HeaderValue,
}

/// The target of a request.
#[derive(Clone, Copy, Debug)]
enum Target {
    /// The position in the registry.
    Operation(usize),
    Page(Page),
    /// Forward authentication.
    Forward,
}

/// The raw parameters of a path.
type Params<'a> = Vec<(&'a str, &'a str)>;

impl Http {
    /// Builds the table of routes for operations and pages; forward authentication is below one path, with any method.
    pub fn new(
        config: Config,
        admin: Admin,
        env: &Env,
        registry: Registry,
        authentication: Arc<Authentication>,
        forward_auth: Arc<ForwardAuth>,
        pages: Pages,
    ) -> anyhow::Result<Self> {
        let operations = registry.routes().iter().enumerate();
        let operations =
            operations.map(|(index, route)| (route.info.method, route.info.path, Target::Operation(index)));
        let own_pages = PAGES.iter().map(|(method, path, page)| (*method, *path, Target::Page(*page)));
        let mut by_path: BTreeMap<&str, Vec<(Method, Target)>> = BTreeMap::new();
        for (method, path, target) in operations.chain(own_pages) {
            by_path.entry(path).or_default().push((Method::from_bytes(method.as_str().as_bytes())?, target));
        }
        let mut routes = matchit::Router::new();
        for (path, by_method) in by_path {
            let methods: Vec<&str> = by_method.iter().map(|(method, _)| method.as_str()).collect();
            let allow = methods.join(", ").try_into()?;
            routes.insert(path, Resource { by_method, allow })?;
        }
        let metrics = pages.metrics.clone();
        let counts = Counts {
            operations: registry.routes().iter().map(|route| metrics.requests(route.info.name)).collect(),
            pages: metrics.requests("page"),
            forward: metrics.requests("forward"),
        };
        Ok(Self {
            config,
            admin,
            metrics,
            registry,
            authentication,
            forward_auth,
            pages,
            routes,
            counts,
            process: u32::from_be_bytes(env.bytes()),
            requests: AtomicU64::new(0),
            overtaken: Mutex::default(),
        })
    }

    /// Answers a request; every failure is a response too. It counts from now on, before it is polled.
    pub fn respond(
        self: Arc<Self>,
        connection: Arc<Connection>,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<Body>, Infallible>> {
        let running = connection.begin();
        let (head, body) = request.into_parts();
        let stream =
            (head.version == Version::HTTP_2).then(|| Arc::new(Stream::new(&running.connection, &head.headers)));
        self.answer(running, stream, head, body)
    }

    async fn answer(
        self: Arc<Self>,
        running: Running,
        stream: Option<Arc<Stream>>,
        head: ::http::request::Parts,
        body: Incoming,
    ) -> Result<Response<Body>, Infallible> {
        let id = RequestId { process: self.process, number: self.requests.fetch_add(1, Ordering::Relaxed) };
        let mut body = Unread::new(body);
        let connection = &running.connection;
        let (counts, info, answer) = match self.find(&head) {
            Ok((Target::Operation(index), params)) => {
                let route = &self.registry.routes()[index];
                let answer = self.operate(id, connection, route, &params, &head, &mut body).await;
                (&self.counts.operations[index], Some(route.info), answer)
            }
            Ok((Target::Forward, _)) => {
                let trusted = &self.config.trusted_proxies;
                let answer = forward::respond(&self.forward_auth, id, trusted, &connection.origin, &head).await;
                (&self.counts.forward, None, answer)
            }
            Ok((Target::Page(page), _)) => {
                (&self.counts.pages, None, self.page(id, connection, page, &head, &mut body).await)
            }
            Err(error) => (&self.counts.pages, None, Err(error)),
        };
        let mut response =
            answer.unwrap_or_else(|error| refuse(id, self.address(&connection.origin, &head.headers), info, error));
        if response.status() == StatusCode::METHOD_NOT_ALLOWED
            && let Ok(found) = self.routes.at(head.uri.path())
        {
            response.headers_mut().insert(ALLOW, found.value.allow.clone());
        }
        counts.answered(response.status().as_u16());
        body.discard(&head.headers, connection, stream.clone());
        if let Some(stream) = stream {
            response = response.map(|body| {
                let body = body.into_inner().unwrap_or_default();
                Full::new(Bytes::from_owner(Streamed { body, _stream: stream }))
            });
        }
        Ok(response)
    }

    /// The target of a request, with the raw path parameters.
    fn find<'a>(&'a self, head: &'a ::http::request::Parts) -> Result<(Target, Params<'a>)> {
        let (uri, method) = (&head.uri, &head.method);
        let path = uri.path();
        if head.headers.len() > MAX_HEADERS {
            return Err(Error::new(
                Code::MalformedRequest,
                format!("a request may have at most {MAX_HEADERS} headers"),
            ));
        }
        if forward::is_target(path) {
            return Ok((Target::Forward, Vec::new()));
        }
        if path.len() + uri.query().map_or(0, str::len) > MAX_TARGET {
            return Err(Error::new(Code::MalformedRequest, "the URL is too long"));
        }
        // HEAD is GET without the body, which hyper omits.
        let method = if *method == Method::HEAD { &Method::GET } else { method };
        let found = self.routes.at(path).map_err(|_| Error::not_found("path; GET /docs lists them"))?;
        let Some((_, target)) = found.value.by_method.iter().find(|(allowed, _)| allowed == method) else {
            let allow = found.value.allow.to_str().unwrap_or_default();
            return Err(Error::new(Code::MethodNotAllowed, format!("this path accepts {allow}")));
        };
        Ok((*target, found.params.iter().collect()))
    }

    async fn operate(
        &self,
        id: RequestId,
        connection: &Arc<Connection>,
        route: &Route,
        path: &[(&str, &str)],
        head: &::http::request::Parts,
        body: &mut Unread,
    ) -> Result<Response<Body>> {
        let (info, origin) = (route.info, &connection.origin);
        let address = self.guard(origin, &head.headers)?;
        let mut caller = self.caller(origin, info, &head.headers, address).await?;
        let bounds = Bounds { config: &self.config, connection, headers: &head.headers, address };
        let (body, was_late) = body.read(info, &bounds).await?;
        if was_late {
            // The caller may have lost permissions while the body arrived: a request that is kept open must
            // not outlive its token.
            caller = self.caller(origin, info, &head.headers, address).await?;
        }
        let (mut fields, count) = ([("", ""); 4], info.headers.len());
        let count = header_fields(info, &head.headers, &mut fields[..count])?;
        let is_logged = !is_for_anybody(info) && tracing::enabled!(tracing::Level::DEBUG);
        let logged = is_logged.then(|| caller.to_string());
        let call = async |caller: Caller| {
            let parts = Parts { path, query: head.uri.query(), headers: &fields[..count], body: &body };
            let permission = info.permission();
            route.call(Call { caller, address, request_id: id, permission }, parts).await
        };
        let mut answer = call(caller).await;
        if answer.as_ref().is_err_and(ledger::is_overtaken) {
            // Repeated calls run one at a time, so that they do not invalidate one another. A call that waits too long
            // runs anyway.
            let begun = Instant::now();
            let _turn = tokio::time::timeout(TURN_TIMEOUT, self.overtaken.lock()).await;
            for _ in 1..ledger::TRIES {
                answer = call(self.caller(origin, info, &head.headers, address).await?).await;
                if !answer.as_ref().is_err_and(ledger::is_overtaken) || begun.elapsed() > REPEAT_LIMIT {
                    break;
                }
            }
        }
        let Reply { status, body } = answer?;
        if let Some(caller) = logged {
            let address = address.map(tracing::field::display);
            // Changes are in the audit log; a log line for each would cost more than the change.
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
        connection: &Arc<Connection>,
        page: Page,
        head: &::http::request::Parts,
        body: &mut Unread,
    ) -> Result<Response<Body>> {
        let address = self.guard(&connection.origin, &head.headers)?;
        let caller = match &connection.origin {
            Origin::Admin(caller) => caller.clone(),
            Origin::Public(_) => Caller::Anonymous,
        };
        let call = Call { caller, address, request_id: id, permission: None };
        let body = match head.method {
            Method::POST => Some(
                body.collect(&Bounds { config: &self.config, connection, headers: &head.headers, address }).await?.0,
            ),
            _ => None,
        };
        self.pages.respond(call, page, head.uri.query(), body.as_deref()).await
    }

    /// Refuses requests from browsers on the admin socket, and returns the client's address elsewhere.
    fn guard(&self, origin: &Origin, headers: &HeaderMap) -> Result<Option<IpAddr>> {
        if let Origin::Admin(_) = origin {
            let is_browser = headers.contains_key(ORIGIN) || headers.contains_key(REFERER);
            if is_browser || headers.get(HOST).is_some_and(|host| !host.is_empty() && host != "localhost") {
                let detail = "the admin socket accepts no requests from browsers, and only the Host localhost";
                return Err(Error::new(Code::Forbidden, detail));
            }
        }
        Ok(self.address(origin, headers))
    }

    /// The client's address; none on the admin socket.
    fn address(&self, origin: &Origin, headers: &HeaderMap) -> Option<IpAddr> {
        match origin {
            Origin::Public(peer) => Some(forwarded::client(*peer, headers, &self.config.trusted_proxies)),
            Origin::Admin(_) => None,
        }
    }

    /// Authenticates the caller with the credentials that this operation accepts, and authorizes them.
    async fn caller(
        &self,
        origin: &Origin,
        info: &Info,
        headers: &HeaderMap,
        address: Option<IpAddr>,
    ) -> Result<Caller> {
        let takes_token = match origin {
            Origin::Public(_) => !is_for_anybody(info),
            // A local process may act for a person whose token it has.
            Origin::Admin(_) => info.access == Access::User,
        };
        let mut caller = Caller::Anonymous;
        if takes_token && let Some(token) = credentials::token(headers, info.oauth)? {
            // An operation that reads the token itself also renews the session.
            let renews = !info.headers.iter().any(|(field, _)| *field == "header_token");
            caller = self.authentication.authenticate(&token, address, renews).await?;
        }
        if let (Origin::Admin(peer), Caller::Anonymous) = (origin, &caller) {
            caller = peer.clone();
        }
        authorize(info, &caller)?;
        Ok(caller)
    }
}

/// Whether the operation ignores credentials.
pub(super) fn is_for_anybody(info: &Info) -> bool {
    matches!(info.access, Access::Public | Access::SelfProving)
}

/// Collects the fields sent as headers, by field name; returns their number.
fn header_fields<'a>(info: &Info, headers: &'a HeaderMap, fields: &mut [(&'a str, &'a str)]) -> Result<usize> {
    let mut count = 0;
    for (field, header) in info.headers {
        let value = match *header {
            "authorization" => bearer(headers)?,
            "token" => header_token(headers)?,
            other => {
                let value = headers.get(other).map(HeaderValue::to_str).transpose();
                value.map_err(|_| Error::field(field, format!("the header {other} must be ASCII")))?
            }
        };
        if let Some(value) = value {
            fields[count] = (field, value);
            count += 1;
        }
    }
    Ok(count)
}
