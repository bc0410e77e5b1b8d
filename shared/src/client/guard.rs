//! Tower layers, for axum, tonic, hyper and others: a request reaches the service behind them only with a token that
//! meets the requirement.

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response, header};
use http_body_util::{Either, Full};
use hyper::body::Body;
use tower_layer::Layer;
use tower_service::Service;

use super::{Authd, Denial, Required, TokenIdentity, Use, UserIdentity, presented};

type AddressOf = Arc<dyn Fn(&Parts) -> Option<IpAddr> + Send + Sync>;
type UseOf = Arc<dyn Fn(&Parts) -> Use + Send + Sync>;

/// Lets a request through if its API token has all of the scopes. The request's extensions hold an
/// `Arc<`[`TokenIdentity`]`>`.
pub type RequireScopes = Require<Arc<[String]>>;

/// Lets a request through if the person of its session has what is required in this service. The request's extensions
/// hold an `Arc<`[`UserIdentity`]`>`.
pub type RequirePermission = Require<Arc<Required>>;

/// A layer of guards.
///
/// GET, HEAD and OPTIONS are reads. Every other method is a write, so every gRPC call is one, unless [`Require::reads`]
/// says otherwise. A refusal is `application/problem+json`, or a gRPC status for gRPC.
#[derive(Clone)]
pub struct Require<C> {
    authd: Authd,
    required: C,
    address_of: AddressOf,
    use_of: UseOf,
}

impl RequireScopes {
    pub fn new<S: Into<String>>(authd: Authd, scopes: impl IntoIterator<Item = S>) -> Self {
        Self::with(authd, scopes.into_iter().map(Into::into).collect())
    }

    /// The client address of a request, for tokens that are limited to networks; without this they are refused. Take it
    /// from the connection or a trusted proxy, never from a value that the client controls.
    #[must_use]
    pub fn address(mut self, address_of: impl Fn(&Parts) -> Option<IpAddr> + Send + Sync + 'static) -> Self {
        self.address_of = Arc::new(address_of);
        self
    }
}

impl RequirePermission {
    pub fn new(authd: Authd, required: Required) -> Self {
        Self::with(authd, Arc::new(required))
    }
}

impl<C> Require<C> {
    fn with(authd: Authd, required: C) -> Self {
        Self { authd, required, address_of: Arc::new(|_| None), use_of: Arc::new(|parts| Use::of(&parts.method)) }
    }

    /// Which requests only read.
    #[must_use]
    pub fn reads(mut self, is_read: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        self.use_of = Arc::new(move |parts| if is_read(parts) { Use::Read } else { Use::Write });
        self
    }
}

impl<C: fmt::Debug> fmt::Debug for Require<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Require").field("required", &self.required).finish_non_exhaustive()
    }
}

/// The check of a guard before it lets a request through.
trait Check: Clone + Send + Sync + 'static {
    /// Checks the request and puts the identity into its extensions.
    fn check(&self, parts: &mut Parts) -> impl Future<Output = Result<(), Denial>> + Send;
}

impl Check for RequireScopes {
    async fn check(&self, parts: &mut Parts) -> Result<(), Denial> {
        let token = presented(&parts.headers)?;
        let (address, usage) = ((self.address_of)(parts), (self.use_of)(parts));
        let identity = self.authd.validate(&token, &self.required, address, usage).await?;
        parts.extensions.insert::<Arc<TokenIdentity>>(identity);
        Ok(())
    }
}

impl Check for RequirePermission {
    async fn check(&self, parts: &mut Parts) -> Result<(), Denial> {
        let token = presented(&parts.headers)?;
        let identity = self.authd.check(&token, &self.required, (self.use_of)(parts)).await?;
        parts.extensions.insert::<Arc<UserIdentity>>(identity);
        Ok(())
    }
}

impl<S, C: Clone> Layer<S> for Require<C> {
    type Service = Guard<S, Self>;

    fn layer(&self, inner: S) -> Self::Service {
        Guard { inner, check: self.clone() }
    }
}

/// A service behind a guard.
#[derive(Clone, Debug)]
pub struct Guard<S, C> {
    inner: S,
    check: C,
}

impl<S, C, In, Out> Service<Request<In>> for Guard<S, C>
where
    C: Check,
    S: Service<Request<In>, Response = Response<Out>> + Clone + Send + 'static,
    S::Future: Send,
    In: Send + 'static,
    Out: Body<Data = Bytes>,
{
    type Response = Response<Either<Out, Full<Bytes>>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<In>) -> Self::Future {
        // The service that is ready serves this request, its clone the next one.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        let check = self.check.clone();
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            match check.check(&mut parts).await {
                Ok(()) => Ok(inner.call(Request::from_parts(parts, body)).await?.map(Either::Left)),
                Err(denial) if is_grpc(&parts) => Ok(denial.grpc_response().map(Either::Right)),
                Err(denial) => Ok(denial.response().map(Either::Right)),
            }
        })
    }
}

/// `application/grpc`, with or without `+proto` and the like; grpc-web reads HTTP statuses.
fn is_grpc(parts: &Parts) -> bool {
    let kind = parts.headers.get(header::CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    kind.strip_prefix(b"application/grpc").is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}
