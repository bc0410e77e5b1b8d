//! Calls over gRPC: what they cost beside a service of tonic on a bare hyper server that answers the same message.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use clap::ValueEnum;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use prost::Message;
use shared::grpc::authd::v1::authd_server::{Authd, AuthdServer};
use shared::grpc::authd::v1::{
    CheckAccessRequest, CheckAccessResponse, CheckPermissionRequest, CheckPermissionResponse, CheckTokenRequest,
    CheckTokenResponse, IntrospectRequest, IntrospectResponse, ValidateRequest, ValidateResponse,
};
use shared::grpc::envoy::service::auth::v3::attribute_context::{HttpRequest, Request as Asked};
use shared::grpc::envoy::service::auth::v3::authorization_server::{Authorization, AuthorizationServer};
use shared::grpc::envoy::service::auth::v3::check_response::HttpResponse;
use shared::grpc::envoy::service::auth::v3::{AttributeContext, CheckRequest, CheckResponse};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tonic::{Request, Response, Status};

use crate::ask::Ask;
use crate::hot_path::TURNS;
use crate::load::{self, Load};
use crate::plan::Plan;
use crate::report::{Report, Row};
use crate::servers::Server;
use crate::{cores, seed};

/// Connections, and calls at a time on each.
const CONNECTIONS: u64 = 8;
const CALLS: u64 = 8;

/// The policy that Envoy asks about.
const POLICY: &str = "[server]\ntrusted_proxies = [\"127.0.0.1/32\"]\n[[policy]]\nname = \"bench\"\nsource = \"path\"\n\
     [[policy.rule]]\npaths = [\"/health\"]\npublic = true\n\
     [[policy.rule]]\nmethods = [\"GET\"]\npaths = [\"/api/*\"]\nscopes = [\"read\"]\n";

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Method {
    /// `authd.v1.Authd/Validate`
    Validate,
    /// `envoy.service.auth.v3.Authorization/Check`
    Check,
}

impl Method {
    fn path(self) -> &'static str {
        match self {
            Self::Validate => "/authd.v1.Authd/Validate",
            Self::Check => "/envoy.service.auth.v3.Authorization/Check",
        }
    }

    /// The question about a token that is valid.
    fn question(self, token: String) -> Vec<u8> {
        match self {
            Self::Validate => ValidateRequest { token, ..ValidateRequest::default() }.encode_to_vec(),
            Self::Check => {
                // What Envoy sends of a request without a body.
                let headers = [
                    (":authority", "orders.example.com"),
                    (":method", "GET"),
                    (":path", "/api/orders/17"),
                    (":scheme", "https"),
                    ("accept", "application/json"),
                    ("authorization", &format!("Bearer {token}")),
                    ("user-agent", "orders/1.7"),
                    ("x-forwarded-for", "192.0.2.7"),
                    ("x-forwarded-proto", "https"),
                    ("x-request-id", "0190f1e2-7b1c-7d70-9f63-3b0a4c1d5e6f"),
                ];
                let http = HttpRequest {
                    method: "GET".to_owned(),
                    path: "/api/orders/17".to_owned(),
                    headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
                    ..HttpRequest::default()
                };
                let context_extensions = [("policy".to_owned(), "bench".to_owned())].into();
                let request = Some(Asked { http: Some(http) });
                let attributes = Some(AttributeContext { request, context_extensions, ..AttributeContext::default() });
                CheckRequest { attributes }.encode_to_vec()
            }
        }
    }

    fn is_right(self, answer: &[u8]) -> bool {
        match self {
            // The first field is `valid`.
            Self::Validate => answer.get(..2) == Some(&[8, 1]),
            Self::Check => CheckResponse::decode(answer)
                .is_ok_and(|answer| matches!(answer.http_response, Some(HttpResponse::OkResponse(_)))),
        }
    }
}

/// Serves the message in FILE over gRPC on ADDR until it is ended.
#[derive(Clone, Debug, clap::Args)]
pub struct BareGrpc {
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long)]
    method: Method,
    /// An encoded answer.
    #[arg(long)]
    answer: PathBuf,
}

/// What is answered to every question.
#[derive(Clone)]
struct Fixed<T>(T);

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Authorization for Fixed<CheckResponse> {
    async fn check(&self, _: Request<CheckRequest>) -> Answer<CheckResponse> {
        Ok(Response::new(self.0.clone()))
    }
}

#[tonic::async_trait]
impl Authd for Fixed<ValidateResponse> {
    async fn validate(&self, _: Request<ValidateRequest>) -> Answer<ValidateResponse> {
        Ok(Response::new(self.0.clone()))
    }

    async fn check_token(&self, _: Request<CheckTokenRequest>) -> Answer<CheckTokenResponse> {
        Err(Status::unimplemented("not measured"))
    }

    async fn check_access(&self, _: Request<CheckAccessRequest>) -> Answer<CheckAccessResponse> {
        Err(Status::unimplemented("not measured"))
    }

    async fn check_permission(&self, _: Request<CheckPermissionRequest>) -> Answer<CheckPermissionResponse> {
        Err(Status::unimplemented("not measured"))
    }

    async fn introspect(&self, _: Request<IntrospectRequest>) -> Answer<IntrospectResponse> {
        Err(Status::unimplemented("not measured"))
    }
}

pub fn run(bare: &BareGrpc) -> Result<()> {
    let answer = std::fs::read(&bare.answer)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(bare.listen).await?;
        match bare.method {
            Method::Validate => {
                let service = AuthdServer::new(Fixed(ValidateResponse::decode(answer.as_slice())?));
                serve(listener, TowerToHyperService::new(service)).await
            }
            Method::Check => {
                let service = AuthorizationServer::new(Fixed(CheckResponse::decode(answer.as_slice())?));
                serve(listener, TowerToHyperService::new(service)).await
            }
        }
    })
}

async fn serve<S>(listener: TcpListener, service: TowerToHyperService<S>) -> Result<()>
where
    S: tonic::codegen::Service<http::Request<hyper::body::Incoming>, Response = http::Response<tonic::body::Body>>
        + Clone
        + Send
        + 'static,
    S::Error: std::error::Error + Send + Sync + 'static,
    S::Future: Send,
{
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let serving = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service.clone());
        // A client that goes away is no fault of the server's.
        tokio::spawn(async move { serving.await.ok() });
    }
}

pub fn measure(plan: &Plan, report: &mut Report) -> Result<()> {
    let data_dir = plan.dir.join("grpc");
    seed::run(&plan.seed(&data_dir, plan.tokens, 0))?;
    let authd = Server::authd_with(POLICY, &plan.authd, &data_dir, plan.cores.server)?;
    // Every token once, over HTTP, so that the rounds find them in the cache.
    let warm = Load { in_order: true, requests: plan.tokens, seconds: 600.0, ..plan.load(authd.addr, Ask::Valid) };
    cores::on(plan.cores.generator, || load::run(&warm))?;
    for (method, what) in [(Method::Validate, "validate over gRPC"), (Method::Check, "question of Envoy over gRPC")] {
        report.rows.push(compare(plan, &authd, method, what)?.ratio_at_most(1.4));
    }
    authd.stop()
}

fn compare(plan: &Plan, authd: &Server, method: Method, what: &str) -> Result<Row> {
    eprintln!("{what}");
    let name = method.to_possible_value().context("a method without a name")?;
    let file = plan.dir.join(format!("{}.bin", name.get_name()));
    std::fs::write(&file, client()?.block_on(async { call(method, &mut connect(authd.addr).await?, 0).await })?)?;
    let bare = Server::bare_grpc(name.get_name(), &file, &plan.dir, plan.cores.server)?;
    let [mut of_bare, mut of_authd] = [Vec::new(), Vec::new()];
    for round in 0..plan.rounds {
        let mut sums = [(Duration::ZERO, 0); 2];
        for turn in 0..TURNS {
            for (server, (cpu, calls)) in [&bare, authd].into_iter().zip(&mut sums) {
                let before = cores::cpu_time(server.pid())?;
                let time = Duration::from_secs_f64(plan.seconds / load::count(TURNS));
                let seed = round * TURNS + turn;
                let asked = || client()?.block_on(calls_for(method, server.addr, plan.tokens, seed, time));
                *calls += cores::on(plan.cores.generator, asked)?;
                *cpu += cores::cpu_time(server.pid())?.saturating_sub(before);
            }
        }
        let [bare, authd] = sums.map(|(cpu, calls)| cpu.as_secs_f64() * 1e6 / load::count(calls));
        of_bare.push(bare);
        of_authd.push(authd);
    }
    Ok(Row::beside(&format!("CPU per {what} (limit: a bare call of tonic)"), "µs", of_bare, of_authd))
}

fn client() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

async fn connect(addr: SocketAddr) -> Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(addr).await.with_context(|| format!("cannot connect to {addr}"))?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

/// Asks for so long; the number of calls.
async fn calls_for(method: Method, addr: SocketAddr, tokens: u64, seed: u64, time: Duration) -> Result<u64> {
    let end = Instant::now() + time;
    let mut tasks = JoinSet::new();
    for connection in 0..CONNECTIONS {
        let sender = connect(addr).await?;
        for place in 0..CALLS {
            let mut sender = sender.clone();
            let first = seed.wrapping_mul(7919) + (connection * CALLS + place) * tokens / (CONNECTIONS * CALLS);
            tasks.spawn(async move {
                let mut calls = 0;
                while Instant::now() < end {
                    call(method, &mut sender, (first + calls) % tokens).await?;
                    calls += 1;
                }
                anyhow::Ok(calls)
            });
        }
    }
    let mut all = 0;
    while let Some(calls) = tasks.join_next().await {
        all += calls??;
    }
    Ok(all)
}

/// One call about a token that is valid; the message of the answer.
async fn call(method: Method, sender: &mut SendRequest<Full<Bytes>>, index: u64) -> Result<Bytes> {
    let mut token = vec![b'?'; Ask::Valid.subject_len()];
    Ask::Valid.write_subject(index, &mut token);
    let question = method.question(String::from_utf8(token)?);
    let length = u32::try_from(question.len())?;
    let body = [&[0][..], &length.to_be_bytes(), &question].concat();
    let request = http::Request::post(format!("http://bench{}", method.path()))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(body.into()))?;
    sender.ready().await?;
    let body = sender.send_request(request).await?.into_body().collect().await?;
    let status = body.trailers().and_then(|trailers| trailers.get("grpc-status")).cloned();
    let mut message = body.to_bytes();
    ensure!(status.is_some_and(|status| status == "0") && message.len() >= 5, "a failed call");
    let message = message.split_off(5);
    ensure!(method.is_right(&message), "a wrong answer");
    Ok(message)
}
