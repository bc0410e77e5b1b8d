//! The limit: a hyper server that drains the body and gives one fixed answer, and does nothing else.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};

/// Serves the answer in FILE on ADDR until it is ended.
#[derive(Clone, Debug, clap::Args)]
pub struct Bare {
    #[arg(long)]
    pub listen: SocketAddr,
    /// JSON: `{"status": 200, "headers": [["name", "value"], …], "body": "…"}`.
    #[arg(long)]
    pub answer: PathBuf,
}

/// What is answered to everything: the headers that hyper does not write by itself, and the body.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

/// The runtime is authd's: multi-threaded, as many workers as cores it may use.
pub fn run(bare: &Bare) -> Result<()> {
    let answer: Answer = serde_json::from_slice(&std::fs::read(&bare.answer)?).context("the answer is not JSON")?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve(bare.listen, answer))
}

pub async fn serve(listen: SocketAddr, answer: Answer) -> Result<()> {
    let listener = tokio::net::TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let mut headers = HeaderMap::new();
    for (name, value) in &answer.headers {
        headers.insert(HeaderName::from_bytes(name.as_bytes())?, HeaderValue::from_str(value)?);
    }
    let body = Bytes::from(answer.body);
    let status = StatusCode::from_u16(answer.status)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (headers, body) = (headers.clone(), body.clone());
        tokio::spawn(async move {
            let service = service_fn(|request| drain(request, status, &headers, &body));
            // A client that goes away is no fault of the server's.
            http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
        });
    }
}

async fn drain(
    request: Request<Incoming>,
    status: StatusCode,
    headers: &HeaderMap,
    body: &Bytes,
) -> hyper::Result<Response<Full<Bytes>>> {
    // Whoever waits for the start asks with GET.
    let status = if request.method() == Method::POST { status } else { StatusCode::OK };
    let mut incoming = request.into_body();
    while let Some(frame) = incoming.frame().await {
        frame?;
    }
    let mut response = Response::new(Full::new(body.clone()));
    *response.status_mut() = status;
    headers.clone_into(response.headers_mut());
    Ok(response)
}
