//! gRPC on the wire: who may call what, that answers are those of the operations, and what happens to calls that are not
//! as they should be.

mod authorization;
mod calls;
mod sso;

use bytes::{BufMut, Bytes};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use shared::grpc::authd::v1::*;
use shared::grpc::google::rpc;

use super::*;

const VALIDATE: &str = "/authd.v1.Authd/Validate";

/// How a call ended.
#[derive(Debug)]
struct End {
    http: u16,
    /// `grpc-status`, of the head or of the trailers.
    status: i32,
    details: rpc::Status,
    headers: ::http::HeaderMap,
    message: Bytes,
}

impl End {
    fn of<M: Message + Default>(&self) -> M {
        assert_eq!((self.http, self.status), (200, 0), "{self:?}");
        M::decode(crate::transport::grpc::frame::message(&self.message).unwrap()).unwrap()
    }

    fn reason(&self) -> String {
        assert!(self.message.is_empty(), "{self:?}");
        let info = rpc::ErrorInfo::decode(self.details.details[0].value.as_slice()).unwrap();
        assert_eq!(info.domain, "authd");
        info.reason
    }
}

async fn connect(daemon: &Daemon) -> SendRequest<Full<Bytes>> {
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(daemon.tcp().await)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn post_call(path: &str, metadata: &[(&str, &str)]) -> ::http::request::Builder {
    let request = ::http::Request::post(format!("http://x{path}")).header("te", "trailers");
    let has_media = metadata.iter().any(|(name, _)| *name == "content-type");
    let request = if has_media { request } else { request.header("content-type", "application/grpc") };
    metadata.iter().fold(request, |request, (name, value)| request.header(*name, *value))
}

fn framed(message: &impl Message) -> Vec<u8> {
    let mut body = vec![0];
    body.put_u32(u32::try_from(message.encoded_len()).unwrap());
    message.encode(&mut body).unwrap();
    body
}

async fn end_of(answer: ::http::Response<hyper::body::Incoming>) -> End {
    let (head, body) = answer.into_parts();
    let body = body.collect().await.unwrap();
    let trailers = body.trailers().cloned().unwrap_or_default();
    let status = head.headers.get("grpc-status").or(trailers.get("grpc-status"));
    let details = head.headers.get("grpc-status-details-bin").map(|value| {
        let engine = base64::engine::general_purpose::STANDARD_NO_PAD;
        base64::Engine::decode(&engine, value.as_bytes()).unwrap()
    });
    End {
        http: head.status.as_u16(),
        status: status.and_then(|status| status.to_str().ok()?.parse().ok()).unwrap_or(-1),
        details: rpc::Status::decode(details.unwrap_or_default().as_slice()).unwrap(),
        headers: head.headers,
        message: body.to_bytes(),
    }
}

impl Daemon {
    async fn call_raw(&self, path: &str, metadata: &[(&str, &str)], body: Vec<u8>) -> End {
        let request = post_call(path, metadata).body(Full::new(body.into())).unwrap();
        end_of(connect(self).await.send_request(request).await.unwrap()).await
    }

    async fn call(&self, path: &str, token: Option<&str>, message: &impl Message) -> End {
        let bearer = token.map(|token| format!("Bearer {token}"));
        let metadata: Vec<_> = bearer.iter().map(|bearer| ("authorization", bearer.as_str())).collect();
        self.call_raw(path, &metadata, framed(message)).await
    }
}
