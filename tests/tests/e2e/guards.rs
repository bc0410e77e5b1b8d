//! The client library's guards before a gRPC server: refusals are gRPC statuses.

use shared::client::{Authd as Line, Endpoint, RequireScopes};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tests::authd::Authd;
use tonic::metadata::MetadataValue;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

/// How long the guard waits for authd: more than an answer takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(10);

/// A health service that wants the scope `health`, and a client of it.
async fn serve(authd: &Authd) -> HealthClient<Channel> {
    let line = Endpoint::url(&authd.url()).expect("a URL");
    let line = Line::at(line).deadline(DEADLINE).build().expect("loopback");
    let (_, service) = tonic_health::server::health_reporter();
    let incoming = TcpIncoming::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
    let address = incoming.local_addr().expect("it is bound");
    let guard = RequireScopes::new(line, ["health"]);
    tokio::spawn(Server::builder().layer(guard).add_service(service).serve_with_incoming(incoming));
    let channel = Channel::from_shared(format!("http://{address}")).expect("a URL").connect().await;
    HealthClient::new(channel.expect("it listens"))
}

async fn check(client: &mut HealthClient<Channel>, token: Option<&str>) -> Result<(), Status> {
    let mut request = Request::new(HealthCheckRequest::default());
    if let Some(token) = token {
        let value = MetadataValue::try_from(format!("Bearer {token}")).expect("plain text");
        request.metadata_mut().insert("authorization", value);
    }
    client.check(request).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grpc_server_refuses_with_grpc_statuses() {
    let mut authd = Authd::start();
    let mut client = serve(&authd).await;
    let (good, id) = authd.mint("good", &["health", "more"]);
    let (other, _) = authd.mint("other", &["more"]);
    let code = |result: Result<(), Status>| result.err().map(|status| status.code());
    assert_eq!(code(check(&mut client, Some(&good)).await), None);
    assert_eq!(code(check(&mut client, None).await), Some(Code::Unauthenticated));
    let unknown = tests::authd::random_token();
    assert_eq!(code(check(&mut client, Some(&unknown)).await), Some(Code::Unauthenticated));
    let lacking = check(&mut client, Some(&other)).await.expect_err("it lacks the scope");
    assert_eq!((lacking.code(), lacking.message()), (Code::PermissionDenied, "the token lacks: health"));

    // Every call is a write: a revoked token is refused by the very next one.
    let path = format!("/auth/tokens/{id}/revoke");
    authd.admin().post(&path, &serde_json::json!({})).expect("it answers").expect(200);
    assert_eq!(code(check(&mut client, Some(&good)).await), Some(Code::Unauthenticated));

    authd.process().freeze();
    let begin = Instant::now();
    assert_eq!(code(check(&mut client, Some(&other)).await), Some(Code::DeadlineExceeded));
    assert!(begin.elapsed() >= DEADLINE);
    authd.kill();
    assert_eq!(code(check(&mut client, Some(&other)).await), Some(Code::Unavailable));
}
