//! A call of an operation, in whichever encoding: find the caller, check access, read the body within bounds, call.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::http::header::{CACHE_CONTROL, CONTENT_TYPE, COOKIE, HOST, HeaderMap, HeaderValue, ORIGIN, REFERER};
use ::http::{Response, StatusCode, request};
use bytes::Bytes;
use shared::op::{Access, Info};
use shared::problem::Code;
use shared::wire::Parts;
use tracing::debug;

use super::answer::Body;
use super::body::{Bounds, JSON, Unread};
use super::browser::web::{self, Sender};
use super::connections::Connection;
use super::credentials::{self, bearer, header_token};
use super::forwarded;
use super::http::{Http, NO_STORE, Origin};
use crate::call::{Call, RequestId};
use crate::caller::Caller;
use crate::error::{Error, Result};
use crate::ledger;
use crate::registry::{Reply, Route, authorize};

/// How long a call is delayed before it is repeated because its caller's authority changed.
const TURN_TIMEOUT: Duration = Duration::from_secs(2);
/// After this time a call is not repeated again.
const REPEAT_LIMIT: Duration = Duration::from_secs(5);

/// A request for an operation.
pub(super) struct Arrived<'a> {
    pub id: RequestId,
    pub connection: &'a Arc<Connection>,
    pub info: &'static Info,
    pub headers: &'a HeaderMap,
}

/// How the fields of an operation and its answer travel.
pub(super) trait Encoding: Sync {
    /// The caller's token; the flag is for OAuth endpoints.
    fn token<'a>(&self, headers: &'a HeaderMap, oauth: bool) -> Result<Option<Cow<'a, str>>> {
        credentials::token(headers, oauth)
    }

    /// The operation that was called, where its fields tell; `first` is the one whose access was checked.
    fn info(&self, first: &'static Info) -> &'static Info {
        first
    }

    /// Reads the body; returns whether it arrived later than the head.
    fn read(&self, body: &mut Unread, bounds: &Bounds<'_>) -> impl Future<Output = Result<(Bytes, bool)>> + Send;

    /// Decodes the request, calls the operation and encodes its answer.
    fn call(&self, call: Call, body: &[u8]) -> impl Future<Output = Result<Response<Body>>> + Send;
}

/// JSON or a form, with fields in path, query and headers.
pub(super) struct Json<'a> {
    pub route: &'a Route,
    pub path: &'a [(&'a str, &'a str)],
    pub head: &'a request::Parts,
}

impl Encoding for Json<'_> {
    async fn read(&self, body: &mut Unread, bounds: &Bounds<'_>) -> Result<(Bytes, bool)> {
        body.read(self.route.info, bounds).await
    }

    async fn call(&self, call: Call, body: &[u8]) -> Result<Response<Body>> {
        let (info, head) = (self.route.info, self.head);
        let mut fields = [("", ""); 4];
        let count = header_fields(info, &head.headers, &mut fields[..info.headers.len()])?;
        let parts = Parts { path: self.path, query: head.uri.query(), headers: &fields[..count], body };
        let Reply { status, body } = self.route.call(call, parts).await?;
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response.headers_mut().insert(CONTENT_TYPE, JSON);
        response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
        Ok(response)
    }
}

impl Http {
    pub(super) async fn operate(
        &self,
        request: &Arrived<'_>,
        body: &mut Unread,
        encoding: &impl Encoding,
    ) -> Result<Response<Body>> {
        let Arrived { id, connection, info, headers } = *request;
        let address = self.guard(&connection.origin, headers)?;
        if self.is_elsewhere(&connection.origin, info) {
            return Err(Error::not_found("path here: management has a listener of its own"));
        }
        let mut caller = self.caller(request, address, encoding).await?;
        let bounds = Bounds { config: &self.config, connection, headers, address };
        let (body, was_late) = encoding.read(body, &bounds).await?;
        if was_late {
            // The caller may have lost permissions while the body arrived: a request that is kept open must
            // not outlive its token.
            caller = self.caller(request, address, encoding).await?;
        }
        let is_logged = !is_for_anybody(info) && tracing::enabled!(tracing::Level::DEBUG);
        let logged = is_logged.then(|| caller.to_string());
        let permission = info.permission();
        let call = |caller: Caller| encoding.call(Call { caller, address, request_id: id, permission }, &body);
        let mut answer = call(caller).await;
        if answer.as_ref().is_err_and(ledger::is_overtaken) {
            // Repeated calls run one at a time, so that they do not invalidate one another. A call that waits too long
            // runs anyway.
            let begun = Instant::now();
            let _turn = tokio::time::timeout(TURN_TIMEOUT, self.overtaken.lock()).await;
            for _ in 1..ledger::TRIES {
                answer = call(self.caller(request, address, encoding).await?).await;
                if !answer.as_ref().is_err_and(ledger::is_overtaken) || begun.elapsed() > REPEAT_LIMIT {
                    break;
                }
            }
        }
        let response = answer?;
        if let Some(caller) = logged {
            let (address, status) = (address.map(tracing::field::display), response.status().as_u16());
            // Changes are in the audit log; a log line for each would cost more than the change.
            let operation = encoding.info(info).name;
            debug!(request_id = %id, operation, %caller, address, status, "answered");
        }
        Ok(response)
    }

    /// Whether an operation of operators was asked for at the public listener, while management has one of its own.
    fn is_elsewhere(&self, origin: &Origin, info: &Info) -> bool {
        self.admin.addr.is_some() && matches!(origin, Origin::Public(_)) && matches!(info.access, Access::Permission(_))
    }

    /// Refuses requests from browsers on the admin socket, and returns the client's address elsewhere.
    pub(super) fn guard(&self, origin: &Origin, headers: &HeaderMap) -> Result<Option<IpAddr>> {
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
    pub(super) fn address(&self, origin: &Origin, headers: &HeaderMap) -> Option<IpAddr> {
        match origin {
            Origin::Public(peer) | Origin::Management(peer) => {
                Some(forwarded::client(*peer, headers, &self.config.trusted_proxies))
            }
            Origin::Admin(_) => None,
        }
    }

    async fn caller(&self, request: &Arrived<'_>, address: Option<IpAddr>, encoding: &impl Encoding) -> Result<Caller> {
        self.authenticate(request, address, |headers, oauth| encoding.token(headers, oauth)).await
    }

    /// Authenticates the caller with the credentials that the request's kind accepts, and authorizes them. `token` reads
    /// the token of a request.
    pub(super) async fn authenticate(
        &self,
        request: &Arrived<'_>,
        address: Option<IpAddr>,
        token: impl for<'h> Fn(&'h HeaderMap, bool) -> Result<Option<Cow<'h, str>>>,
    ) -> Result<Caller> {
        let Arrived { info, headers, .. } = *request;
        let origin = &request.connection.origin;
        let takes_token = match origin {
            Origin::Public(_) | Origin::Management(_) => !is_for_anybody(info),
            // A local process may act for a person whose token it has.
            Origin::Admin(_) => info.access == Access::User,
        };
        let mut caller = Caller::Anonymous;
        if takes_token {
            if let Some(token) = token(headers, info.oauth)? {
                // An operation that reads the token itself also renews the session.
                let renews = !info.headers.iter().any(|(field, _)| *field == "header_token");
                caller = self.authentication.authenticate(&token, address, renews).await?;
            } else if headers.contains_key(COOKIE) && !matches!(info.access, Access::Permission(_)) {
                caller = self.visitor(headers).await?;
            }
        }
        if let (Origin::Admin(peer), Caller::Anonymous) = (origin, &caller) {
            caller = peer.clone();
        }
        if self.admin.addr.is_some() && matches!(origin, Origin::Public(_)) {
            let detail = "the admin token is accepted at the listener of management alone";
            caller = caller.without_management().ok_or_else(|| Error::new(Code::Unauthenticated, detail))?;
        }
        authorize(info, &caller)?;
        Ok(caller)
    }
}

impl Http {
    /// The person whose browser sent the request, from a script of authd's own pages: what a browser sends for others is
    /// nobody's.
    async fn visitor(&self, headers: &HeaderMap) -> Result<Caller> {
        let web = &self.pages.web_login;
        let cookies = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
        let cookie = web.cookies.find_session(cookies).one();
        match cookie.filter(|_| web::sender(headers, &web.origin) == Sender::Own) {
            Some(cookie) => Ok(web.visitor(cookie).await?.unwrap_or(Caller::Anonymous)),
            None => Ok(Caller::Anonymous),
        }
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
