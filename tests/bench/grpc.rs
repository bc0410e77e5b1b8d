//! Validating over gRPC: what it costs beside a service of tonic on a bare hyper server that answers the same message.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
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

/// Serves the message in FILE over gRPC on ADDR until it is ended.
#[derive(Clone, Debug, clap::Args)]
pub struct BareGrpc {
    #[arg(long)]
    listen: SocketAddr,
    /// An encoded `authd.v1.ValidateResponse`.
    #[arg(long)]
    answer: PathBuf,
}

/// What is answered to every validation.
#[derive(Clone)]
struct Fixed(ValidateResponse);

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Authd for Fixed {
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
    let answer = ValidateResponse::decode(std::fs::read(&bare.answer)?.as_slice())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(bare.listen).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let service = TowerToHyperService::new(AuthdServer::new(Fixed(answer.clone())));
            let serving = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service);
            // A client that goes away is no fault of the server's.
            tokio::spawn(async move { serving.await.ok() });
        }
    })
}

pub fn measure(plan: &Plan, report: &mut Report) -> Result<()> {
    let data_dir = plan.dir.join("grpc");
    seed::run(&plan.seed(&data_dir, plan.tokens, 0))?;
    let authd = Server::authd(&plan.authd, &data_dir, plan.cores.server)?;
    // Every token once, over HTTP, so that the rounds find them in the cache.
    let warm = Load { in_order: true, requests: plan.tokens, seconds: 600.0, ..plan.load(authd.addr, Ask::Valid) };
    cores::on(plan.cores.generator, || load::run(&warm))?;
    let file = plan.dir.join("answer.bin");
    std::fs::write(&file, client()?.block_on(async { validate(&mut connect(authd.addr).await?, 0).await })?)?;
    let bare = Server::bare_grpc(&file, &plan.dir, plan.cores.server)?;
    let [mut of_bare, mut of_authd] = [Vec::new(), Vec::new()];
    for round in 0..plan.rounds {
        let mut sums = [(Duration::ZERO, 0); 2];
        for turn in 0..TURNS {
            for (server, (cpu, calls)) in [&bare, &authd].into_iter().zip(&mut sums) {
                let before = cores::cpu_time(server.pid())?;
                let time = Duration::from_secs_f64(plan.seconds / load::count(TURNS));
                let asked = || client()?.block_on(calls_for(server.addr, plan.tokens, round * TURNS + turn, time));
                *calls += cores::on(plan.cores.generator, asked)?;
                *cpu += cores::cpu_time(server.pid())?.saturating_sub(before);
            }
        }
        let [bare, authd] = sums.map(|(cpu, calls)| cpu.as_secs_f64() * 1e6 / load::count(calls));
        of_bare.push(bare);
        of_authd.push(authd);
    }
    let measure = "CPU per validate over gRPC (limit: a bare call of tonic)";
    report.rows.push(Row::beside(measure, "µs", of_bare, of_authd).ratio_at_most(1.4));
    authd.stop()
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
async fn calls_for(addr: SocketAddr, tokens: u64, seed: u64, time: Duration) -> Result<u64> {
    let end = Instant::now() + time;
    let mut tasks = JoinSet::new();
    for connection in 0..CONNECTIONS {
        let sender = connect(addr).await?;
        for call in 0..CALLS {
            let mut sender = sender.clone();
            let first = seed.wrapping_mul(7919) + (connection * CALLS + call) * tokens / (CONNECTIONS * CALLS);
            tasks.spawn(async move {
                let mut calls = 0;
                while Instant::now() < end {
                    validate(&mut sender, (first + calls) % tokens).await?;
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
async fn validate(sender: &mut SendRequest<Full<Bytes>>, index: u64) -> Result<Bytes> {
    let mut token = vec![b'?'; Ask::Valid.subject_len()];
    Ask::Valid.write_subject(index, &mut token);
    let question = ValidateRequest { token: String::from_utf8(token)?, ..ValidateRequest::default() };
    let length = u32::try_from(question.encoded_len())?;
    let body = [&[0][..], &length.to_be_bytes(), &question.encode_to_vec()].concat();
    let request = http::Request::post("http://bench/authd.v1.Authd/Validate")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(body.into()))?;
    sender.ready().await?;
    let body = sender.send_request(request).await?.into_body().collect().await?;
    let status = body.trailers().and_then(|trailers| trailers.get("grpc-status")).cloned();
    let mut message = body.to_bytes();
    // The first field is `valid`.
    ensure!(status.is_some_and(|status| status == "0") && message.get(5..7) == Some(&[8, 1]), "a wrong answer");
    Ok(message.split_off(5))
}
