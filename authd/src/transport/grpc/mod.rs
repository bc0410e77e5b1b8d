//! gRPC on the public listener: a second encoding of operations, and Envoy's question about a request.
//!
//! A call goes the way of an HTTP request: the same budgets of connection and stream, the same access before the
//! message is read, the same bounds for it, the same counters. Calls are unary, messages are not compressed; reflection
//! is the one stream, and off by default. The frames are read here and not by tonic, whose server would read a message
//! before access is checked, and without these bounds.

mod authd_v1;
mod deadline;
pub mod ext_authz;
pub mod frame;
mod health;
mod method;
mod reflection;
mod session;
mod sso;
mod status;
mod user;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use ::http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use ::http::{Method as HttpMethod, Response, Version, request};
use anyhow::Context;
use prost::Message;
use shared::op::{Info, Operation};
use shared::problem::Code;

use self::method::{Alternative, Ask, Choose, Method, Operations, Protobuf, Tell};
use self::reflection::Reflection;
use super::answer::Body;
use super::body::Unread;
use super::connections::Connection;
use super::credentials::{Credentials, token};
use super::forward;
use super::http::{Http, check_headers};
use super::operation::{Arrived, is_for_anybody};
use crate::call::RequestId;
use crate::error::{Error, Result};
use crate::registry::Registry;

const AUTHD: &str = "authd.v1.Authd";
const AUTHORIZATION: &str = "envoy.service.auth.v3.Authorization";
const HEALTH: &str = "grpc.health.v1.Health";
const SESSION: &str = "session.Session";
const USER: &str = "user.User";
/// Every service, beside reflection.
const SERVICES: [&str; 5] = [AUTHD, AUTHORIZATION, HEALTH, SESSION, USER];

/// The media type of answers.
const MEDIA: HeaderValue = HeaderValue::from_static("application/grpc");
const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
/// What a request is told that is no gRPC call although it says so.
pub(super) const NOT_A_CALL: &str =
    "gRPC needs HTTP/2 (with prior knowledge, without TLS) and the media type application/grpc; gRPC-Web is not served";

/// Every method by its path.
pub(super) struct Grpc {
    targets: HashMap<String, Target>,
}

impl fmt::Debug for Grpc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.targets.keys()).finish()
    }
}

enum Target {
    Operation(Operations),
    /// A request that Envoy asks about.
    Authorization,
    Reflection(Reflection),
    /// A method that is not served because it is a stream.
    Streaming,
}

/// A service whose methods are registered.
struct Service<'a> {
    name: &'static str,
    credentials: Credentials,
    registry: &'a Registry,
    targets: &'a mut HashMap<String, Target>,
}

impl Service<'_> {
    /// A method that is an operation: its message becomes the operation, and the operation's view its answer.
    fn unary<Question, Op, View, Answer>(
        &mut self,
        method: &str,
        ask: Ask<Question, Op>,
        tell: Tell<View, Answer>,
    ) -> anyhow::Result<()>
    where
        Question: Message + Default + 'static,
        Op: Operation,
        View: 'static,
        Answer: Message + 'static,
    {
        let operation = self.operation(ask, tell)?;
        self.method(method, vec![operation], |_, _| 0)
    }

    /// A method that is one of several operations with the same access: `choose` says which, by metadata and message.
    fn method(&mut self, method: &str, of: Vec<Alternative>, choose: Choose) -> anyhow::Result<()> {
        let access = |info: &Info| (!is_for_anybody(info)).then_some(info.access);
        let of_one = |info: &Info| (access(info), info.oauth, info.headers);
        let is_one = of.iter().all(|operation| of_one(operation.info) == of_one(of[0].info));
        anyhow::ensure!(is_one, "the operations of {method} differ in access or credentials");
        self.targets
            .insert(self.path(method), Target::Operation(Operations { of, choose, credentials: self.credentials }));
        Ok(())
    }

    /// One operation of a method.
    fn operation<Question, Op, View, Answer>(
        &self,
        ask: Ask<Question, Op>,
        tell: Tell<View, Answer>,
    ) -> anyhow::Result<Alternative>
    where
        Question: Message + Default + 'static,
        Op: Operation,
        View: 'static,
        Answer: Message + 'static,
    {
        let typed = self.registry.typed::<Op, View>();
        let (index, handler) = typed.with_context(|| format!("{} does not return this view", Op::INFO.name))?;
        Ok(Alternative { index, info: &Op::INFO, method: Box::new(Method { handler, ask, tell }) })
    }

    /// A method that is not served because it is a stream.
    fn streaming(&mut self, method: &str) {
        self.targets.insert(self.path(method), Target::Streaming);
    }

    fn path(&self, method: &str) -> String {
        format!("/{}/{method}", self.name)
    }
}

impl Grpc {
    pub(super) fn new(registry: &Registry, with_reflection: bool) -> anyhow::Result<Self> {
        let mut targets = HashMap::new();
        let mut register = |name, credentials: Credentials, methods: fn(&mut Service<'_>) -> anyhow::Result<()>| {
            methods(&mut Service { name, credentials, registry, targets: &mut targets })
        };
        register(AUTHD, token, authd_v1::register)?;
        register(HEALTH, token, health::register)?;
        register(SESSION, sso::token, session::register)?;
        register(USER, sso::token, user::register)?;
        targets.insert(format!("/{AUTHORIZATION}/Check"), Target::Authorization);
        if with_reflection {
            let services = reflection::services()?.into_iter();
            targets.extend(services.map(|(path, service)| (path.to_owned(), Target::Reflection(service))));
        }
        Ok(Self { targets })
    }

    /// Path and position in the registry of every method that is an operation; of several, the first.
    #[cfg(test)]
    pub(super) fn operations(&self) -> impl Iterator<Item = (&str, usize)> {
        self.targets.iter().filter_map(|(path, target)| match target {
            Target::Operation(Operations { of, .. }) => Some((path.as_str(), of[0].index)),
            Target::Authorization | Target::Reflection(_) | Target::Streaming => None,
        })
    }

    fn find(&self, head: &request::Parts) -> Result<&Target> {
        check_headers(&head.headers)?;
        if head.method != HttpMethod::POST {
            return Err(Error::new(Code::MethodNotAllowed, "a gRPC call is a POST"));
        }
        if !head.headers.get(CONTENT_TYPE).is_some_and(is_protobuf) {
            return Err(Error::new(Code::UnsupportedMediaType, "messages are protobuf, as application/grpc+proto"));
        }
        if head.headers.get(ENCODING).is_some_and(|encoding| encoding != "identity") {
            let detail = "compressed messages are not supported; send them as they are";
            return Err(Error::new(Code::NotImplemented, detail));
        }
        self.targets.get(head.uri.path()).ok_or_else(|| {
            let services = SERVICES.join(", ");
            Error::new(Code::NotImplemented, format!("there is no such method; the services are {services}"))
        })
    }
}

/// Whether a request is a gRPC call. A request that a proxy asks about never is, whatever media type its client sends:
/// a call is answered with 200, which a proxy would take for a yes.
pub(super) fn is_call(head: &request::Parts) -> bool {
    head.version == Version::HTTP_2
        && !forward::is_target(head.uri.path())
        && is_method(head.uri.path())
        && head.headers.get(CONTENT_TYPE).is_some_and(|media| subtype(media).is_some())
}

/// Whether the media type is one of gRPC's, gRPC-Web's included.
pub(super) fn is_media(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|media| media.as_bytes().starts_with(MEDIA.as_bytes()))
}

/// Whether a path may be a method's, `/package.Service/Method`. No other path has a dot in its first part, so what a
/// proxy asks about elsewhere is answered as HTTP.
fn is_method(path: &str) -> bool {
    path.split('/').nth(1).is_some_and(|service| service.contains('.'))
}

/// What follows `application/grpc` in a media type of gRPC itself: nothing, `+proto`, or parameters.
fn subtype(media: &HeaderValue) -> Option<&[u8]> {
    let rest = media.as_bytes().strip_prefix(MEDIA.as_bytes())?;
    matches!(rest.first(), None | Some(b'+' | b';')).then_some(rest)
}

fn is_protobuf(media: &HeaderValue) -> bool {
    let rest = subtype(media).unwrap_or_default();
    rest.split(|byte| *byte == b';').next().is_some_and(|kind| matches!(kind.trim_ascii(), b"" | b"+proto"))
}

impl Http {
    /// Answers a call; every failure is a status.
    pub(super) async fn answer_call(
        &self,
        id: RequestId,
        connection: &Arc<Connection>,
        head: &request::Parts,
        body: &mut Unread,
    ) -> Response<Body> {
        let (counts, info, answer) = match self.grpc.find(head) {
            Ok(Target::Operation(operations)) => {
                let encoding = Protobuf::new(operations, &head.headers);
                let request = Arrived { id, connection, info: encoding.operation().info, headers: &head.headers };
                let answer = in_time(head, self.operate(&request, body, &encoding)).await;
                let Alternative { index, info, .. } = encoding.operation();
                (&self.counts.operations[*index], Some(*info), answer.map(|response| (200, response)))
            }
            Ok(Target::Authorization) => {
                (&self.counts.forward, None, in_time(head, self.authorize_for_envoy(id, connection, head, body)).await)
            }
            Ok(Target::Reflection(service)) => {
                let answer = reflection::answer(service, head, body).await;
                (&self.counts.pages, None, answer.map(|response| (200, response)))
            }
            Ok(Target::Streaming) => (&self.counts.pages, None, Err(streams())),
            Err(error) => (&self.counts.pages, None, Err(error)),
        };
        let (status, response) = answer.unwrap_or_else(|error| {
            // A mail was sent: over HTTP that is 202.
            let status = if error.code == Code::VerificationRequired { 202 } else { error.code.status() };
            let address = self.address(&connection.origin, &head.headers);
            (status, status::refuse(id, address, info, error, sso::is_method(head.uri.path())))
        });
        counts.answered(status);
        response
    }
}

/// The answer, unless the time that the caller gave has passed.
async fn in_time<T>(head: &request::Parts, answer: impl Future<Output = Result<T>>) -> Result<T> {
    deadline::within(deadline::of(&head.headers)?, answer).await
}

fn streams() -> Error {
    Error::new(Code::NotImplemented, "streaming calls are not served")
}
