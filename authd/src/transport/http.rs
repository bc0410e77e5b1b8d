//! One request on a connection: find what it asks for, have it answered, answer.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ::http::header::{ALLOW, HeaderMap, HeaderValue};
use ::http::{Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use shared::problem::Code;
use tokio::sync::Mutex;

use super::answer::Body;
use super::body::{Bounds, Unread};
use super::config::{Admin, Config};
use super::connections::{Connection, Running, Stream};
use super::files::{STREAMS, Streamed};
use super::forward;
use super::forwarded::{FORWARDED_FOR, is_trusted};
use super::grpc::{self, Grpc};
use super::operation::{Arrived, Json};
use super::pages::{PAGES, Page, Pages};
use super::refusal::refuse;
use crate::authentication::Authentication;
use crate::call::{Call, RequestId};
use crate::caller::Caller;
use crate::env::Env;
use crate::error::{Error, Result};
use crate::files::Files;
use crate::forward_auth::ForwardAuth;
use crate::metrics::{Metrics, RouteCounts};
use crate::registry::Registry;

pub(super) const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
/// The longest path and query that are accepted, in bytes.
const MAX_TARGET: usize = 8 << 10;

/// The most headers of a request. hyper has the same bound for HTTP/1, and none for HTTP/2.
const MAX_HEADERS: usize = 100;

/// Where a request came in.
#[derive(Debug)]
pub enum Origin {
    /// The public listener, from this address.
    Public(IpAddr),
    /// The listener for management, from this address.
    Management(IpAddr),
    /// The admin socket, with the caller that the kernel identified.
    Admin(Caller),
}

impl Origin {
    /// The other end of the connection; none on the admin socket.
    pub const fn peer(&self) -> Option<IpAddr> {
        match self {
            Self::Public(peer) | Self::Management(peer) => Some(*peer),
            Self::Admin(_) => None,
        }
    }
}

/// The shared state to answer requests.
#[derive(Debug)]
pub struct Http {
    pub config: Config,
    pub admin: Admin,
    pub metrics: Arc<Metrics>,
    pub(super) registry: Registry,
    pub(super) authentication: Arc<Authentication>,
    pub(super) forward_auth: Arc<ForwardAuth>,
    pub(super) pages: Pages,
    pub(super) files: Arc<Files>,
    pub(super) grpc: Grpc,
    routes: matchit::Router<Resource>,
    pub(super) counts: Counts,
    process: u32,
    requests: AtomicU64,
    /// Held by a call that is repeated because its caller's authority changed before its commit.
    pub(super) overtaken: Mutex<()>,
}

/// The counters of every kind of request.
#[derive(Debug)]
pub(super) struct Counts {
    /// In the order of the registry.
    pub operations: Vec<RouteCounts>,
    /// In the order of [`STREAMS`].
    pub streams: Vec<RouteCounts>,
    /// Pages and unknown paths.
    pub pages: RouteCounts,
    pub forward: RouteCounts,
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
    /// The position in [`STREAMS`].
    Stream(usize),
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
        let streams = STREAMS.iter().enumerate();
        let streams = streams.map(|(index, (info, _))| (info.method, info.path, Target::Stream(index)));
        for (method, path, target) in operations.chain(streams).chain(own_pages) {
            by_path.entry(path).or_default().push((Method::from_bytes(method.as_str().as_bytes())?, target));
        }
        let mut routes = matchit::Router::new();
        for (path, by_method) in by_path {
            let methods: Vec<&str> = by_method.iter().map(|(method, _)| method.as_str()).collect();
            let allow = methods.join(", ").try_into()?;
            routes.insert(path, Resource { by_method, allow })?;
        }
        let metrics = pages.metrics.clone();
        let grpc = Grpc::new(&registry, config.grpc_reflection)?;
        let counts = Counts {
            operations: registry.routes().iter().map(|route| metrics.requests(route.info.name)).collect(),
            streams: STREAMS.iter().map(|(info, _)| metrics.requests(info.name)).collect(),
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
            files: pages.files.clone(),
            pages,
            grpc,
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
        let mut response = if grpc::is_call(&head) {
            // In a box, so that other requests do not take its room.
            Box::pin(self.answer_call(id, connection, &head, &mut body)).await
        } else {
            self.answer_request(id, connection, &head, &mut body).await
        };
        body.discard(&head.headers, connection, stream.clone());
        if let Some(stream) = stream {
            response = response.map(|body| body.counted(stream));
        }
        Ok(response)
    }

    async fn answer_request(
        &self,
        id: RequestId,
        connection: &Arc<Connection>,
        head: &::http::request::Parts,
        body: &mut Unread,
    ) -> Response<Body> {
        let (counts, info, answer) = match self.find(head) {
            Ok((Target::Operation(index), params)) => {
                let route = &self.registry.routes()[index];
                let encoding = Json { route, path: &params, head };
                let request = Arrived { id, connection, info: route.info, headers: &head.headers };
                (&self.counts.operations[index], Some(route.info), self.operate(&request, body, &encoding).await)
            }
            Ok((Target::Stream(index), params)) => {
                let (info, stream) = &STREAMS[index];
                let request = Arrived { id, connection, info, headers: &head.headers };
                // In a box, so that other requests do not take its room.
                let answer = match stream {
                    Streamed::Upload => Box::pin(self.upload(&request, body)).await,
                    Streamed::Download => Box::pin(self.download(&request, &params, head)).await,
                };
                (&self.counts.streams[index], Some(*info), answer)
            }
            Ok((Target::Forward, _)) => {
                let settings = (self.config.trusted_proxies.as_slice(), self.pages.public_url.as_str());
                let answer = forward::respond(&self.forward_auth, id, settings, &connection.origin, head).await;
                (&self.counts.forward, None, answer)
            }
            Ok((Target::Page(page), _)) => {
                (&self.counts.pages, None, self.page(id, connection, page, head, body).await)
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
        response
    }

    /// The target of a request, with the raw path parameters.
    fn find<'a>(&'a self, head: &'a ::http::request::Parts) -> Result<(Target, Params<'a>)> {
        let (uri, method) = (&head.uri, &head.method);
        let path = uri.path();
        check_headers(&head.headers)?;
        if forward::is_target(path) {
            return Ok((Target::Forward, Vec::new()));
        }
        if path.len() + uri.query().map_or(0, str::len) > MAX_TARGET {
            return Err(Error::new(Code::MalformedRequest, "the URL is too long"));
        }
        // HEAD is GET without the body, which hyper omits.
        let method = if *method == Method::HEAD { &Method::GET } else { method };
        let found = self.routes.at(path).map_err(|_| {
            if grpc::is_media(&head.headers) {
                return Error::new(Code::UnsupportedMediaType, grpc::NOT_A_CALL);
            }
            Error::not_found("path; GET /docs lists them")
        })?;
        let Some((_, target)) = found.value.by_method.iter().find(|(allowed, _)| allowed == method) else {
            let allow = found.value.allow.to_str().unwrap_or_default();
            return Err(Error::new(Code::MethodNotAllowed, format!("this path accepts {allow}")));
        };
        Ok((*target, found.params.iter().collect()))
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
        // A proxy is no browser; one on this machine says for whom it asks, as no browser does.
        let is_proxy = |peer: IpAddr| {
            is_trusted(peer.to_canonical(), &self.config.trusted_proxies)
                && (!peer.to_canonical().is_loopback() || head.headers.contains_key(&FORWARDED_FOR))
        };
        if let Some(peer) = connection.origin.peer()
            && !is_proxy(peer)
            && let Some(answer) = self.pages.elsewhere(page, head, &self.config.hosts)?
        {
            return Ok(answer);
        }
        let caller = match &connection.origin {
            Origin::Admin(caller) => caller.clone(),
            Origin::Public(_) | Origin::Management(_) => Caller::Anonymous,
        };
        let call = Call { caller, address, request_id: id, permission: None };
        let body = match head.method {
            Method::POST => Some(
                body.collect(&Bounds { config: &self.config, connection, headers: &head.headers, address }).await?.0,
            ),
            _ => None,
        };
        self.pages.respond(call, page, head, body.as_deref()).await
    }
}

/// hyper has this bound for HTTP/1 only.
pub(super) fn check_headers(headers: &HeaderMap) -> Result<()> {
    if headers.len() > MAX_HEADERS {
        return Err(Error::new(Code::MalformedRequest, format!("a request may have at most {MAX_HEADERS} headers")));
    }
    Ok(())
}
