//! Reflection: what the services and messages are, for `grpcurl` and `buf curl`. Switched on by `server.grpc_reflection`.

use ::http::{Request, Response, request};
use hyper::body::Incoming;
use shared::grpc::DESCRIPTORS;
use shared::problem::Code;
use tonic::codegen::Service;
use tonic_reflection::server::Builder;

use super::super::answer::Body;
use super::super::body::Unread;
use super::SERVICES;
use crate::db::BoxFuture;
use crate::error::{Error, Result};

/// The largest question, in bytes: the name of a file or of a symbol.
const MAX_QUESTION: usize = 4 << 10;

/// A version of the service.
pub(super) type Reflection =
    Box<dyn Fn(Request<Incoming>) -> BoxFuture<'static, Response<tonic::body::Body>> + Send + Sync>;

/// Both versions of the service, by the path of their method.
pub(super) fn services() -> anyhow::Result<[(&'static str, Reflection); 2]> {
    let builder = || {
        let files = Builder::configure().register_encoded_file_descriptor_set(DESCRIPTORS);
        SERVICES.iter().fold(files, |builder, name| builder.with_service_name(*name))
    };
    let v1 = builder().build_v1()?.max_decoding_message_size(MAX_QUESTION);
    let v1alpha = builder().build_v1alpha()?.max_decoding_message_size(MAX_QUESTION);
    Ok([
        ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", version(v1)),
        ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", version(v1alpha)),
    ])
}

/// Answers with a stream, which ends with its connection at the latest: one on which nothing is asked is closed.
pub(super) async fn answer(service: &Reflection, head: &request::Parts, body: &mut Unread) -> Result<Response<Body>> {
    let body = body.take().ok_or_else(|| Error::new(Code::NotImplemented, "a stream of questions is expected"))?;
    let mut request = Request::new(body);
    request.headers_mut().clone_from(&head.headers);
    (*request.uri_mut(), *request.method_mut()) = (head.uri.clone(), head.method.clone());
    Ok(service(request).await.map(Body::messages))
}

fn version<S>(service: S) -> Reflection
where
    S: Service<Request<Incoming>, Response = Response<tonic::body::Body>, Error = std::convert::Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
{
    Box::new(move |request| {
        let answer = service.clone().call(request);
        Box::pin(async move { answer.await.unwrap_or_else(|never| match never {}) })
    })
}
