//! The operations over gRPC.

use std::collections::BTreeMap;

use hyper::body::{Body, Frame};
use shared::grpc::grpc::health::v1::health_check_response::ServingStatus;
use shared::grpc::grpc::health::v1::{HealthCheckRequest, HealthCheckResponse};
use tokio::task::JoinSet;

use super::*;
use crate::testing::TestApp;
use crate::transport::grpc::Grpc;

#[tokio::test]
async fn every_method_lets_in_the_callers_that_the_table_says_and_no_other() {
    let daemon = Daemon::start("").await;
    let plain = daemon.mint("plain", &["read", "admin"]).await;
    let revoked = daemon.mint("revoked", &["authd:admin"]).await;
    daemon.send(&post("/auth/tokens/revoked/revoke", &bearer(ADMIN), "{}")).await;
    let (person, ended) = (daemon.sign_in("person").await, daemon.sign_in("gone").await);
    daemon.send(&post("/auth/logout", &bearer(&ended), "{}")).await;
    let service = daemon.service_token().await;
    let app = TestApp::new().await;
    let methods = Grpc::new(&app.registry, false).unwrap();
    let methods: Vec<_> = methods.operations().map(|(path, index)| (path.to_owned(), index)).collect();
    assert_eq!(methods.len(), 12);
    for (path, index) in methods {
        let info = app.registry.routes()[index].info;
        // Nothing is asked: what is refused for what it lacks was let in.
        let status = async |token: Option<&str>| daemon.call(&path, token, &()).await.status;
        match info.access {
            Access::Public | Access::SelfProving => {
                for token in [None, Some(ADMIN)] {
                    assert!(!matches!(status(token).await, 7 | 16), "{path}");
                }
            }
            Access::Authenticated => {
                for wrong in [None, Some(""), Some("nonsense"), Some(&revoked), Some(&ended), Some(&ADMIN[1..])] {
                    assert!(matches!(status(wrong).await, 16 | 3), "{path} {wrong:?}");
                }
                for token in [ADMIN, &plain, &person, &service] {
                    assert_ne!(status(Some(token)).await, 16, "{path} {token}");
                }
                let end = daemon.call_raw(&path, &[("token", &person)], framed(&())).await;
                assert_ne!(end.status, 16, "{path}: a session in the metadata token");
            }
            // Tokens in base64, as session.Session and user.User take them.
            Access::User => {
                let status = async |token: &str| {
                    let token = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, token);
                    daemon.call_raw(&path, &[("authorization", &token)], framed(&())).await.status
                };
                for wrong in ["", "nonsense", &revoked, &ended, ADMIN, &plain, &service] {
                    assert_eq!(status(wrong).await, 16, "{path} {wrong}");
                }
                assert_ne!(status(&daemon.sign_in("person").await).await, 16, "{path}");
                for metadata in [&[][..], &[("token", person.as_str())]] {
                    assert_eq!(daemon.call_raw(&path, metadata, framed(&())).await.status, 16, "{path} {metadata:?}");
                }
            }
            Access::Permission(_) => panic!("{path}: add its callers"),
        }
    }
}

#[tokio::test]
async fn access_is_checked_before_the_message_is_read() {
    let daemon = Daemon::start("").await;
    let endless = vec![0; 1 << 20];
    for path in ["/authd.v1.Authd/Introspect", "/authd.v1.Authd/CheckPermission"] {
        let end = daemon.call_raw(path, &[], endless.clone()).await;
        assert_eq!((end.status, end.reason().as_str()), (16, "UNAUTHENTICATED"), "{path}");
    }
}

#[tokio::test]
async fn answers_are_those_of_the_operations() {
    let daemon = Daemon::start("").await;
    let service = daemon.service_token().await;
    let post = async |path: &str, body: Value| {
        let answer = daemon.send(&super::post(path, &bearer(ADMIN), &body.to_string())).await;
        assert!(answer.status < 300, "{path} {answer:?}");
        answer.body
    };
    let session = daemon.sign_in("alice").await;
    post("/permissions", json!({"name": "orders.read"})).await;
    let grant = json!({"person_id": "alice", "service_id": "billing", "permission_id": "orders.read"});
    post("/person-service-permissions", grant).await;
    let body = json!({"name": "ci", "scopes": ["read", "write"], "expires_at": "2099-01-15T08:00:00.125Z"});
    let made = post("/auth/tokens", body).await;
    let token = made["token"].as_str().unwrap().to_owned();

    let ask = |scopes: &[&str]| ValidateRequest {
        token: token.clone(),
        required_scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        ..ValidateRequest::default()
    };
    let valid: ValidateResponse = daemon.call(VALIDATE, None, &ask(&["read"])).await.of();
    assert!(valid.valid && valid.error.is_none());
    assert_eq!((valid.scopes.as_slice(), valid.name.as_deref()), (&["read".into(), "write".into()][..], Some("ci")));
    assert_eq!(valid.token_id.as_deref(), made["token_id"].as_str());
    let expires_at = valid.expires_at.unwrap();
    assert_eq!((expires_at.seconds, expires_at.nanos), (4_072_147_200, 125_000_000));
    let lacking: ValidateResponse = daemon.call(VALIDATE, None, &ask(&["admin"])).await.of();
    assert_eq!((lacking.valid, lacking.error.as_deref()), (false, Some("insufficient_scopes")));
    assert_eq!(lacking.detail.as_deref(), Some("the token lacks: admin"));
    assert!(lacking.scopes.is_empty());

    // A service asks about a session: its own token is the bearer.
    let question = CheckTokenRequest { token: Some(session.clone()), ..CheckTokenRequest::default() };
    let checked: CheckTokenResponse = daemon.call("/authd.v1.Authd/CheckToken", Some(&service), &question).await.of();
    let payload = checked.payload.unwrap();
    assert_eq!((payload.username.as_str(), payload.permissions.as_slice()), ("alice", &["orders.read".into()][..]));
    assert!(checked.valid && checked.renewed == Some(false) && checked.expires_at > Some(1_700_000_000));
    // A person about their own session, by either metadata.
    for metadata in [("authorization", format!("Bearer {session}")), ("token", session.clone())] {
        let metadata = [(metadata.0, metadata.1.as_str())];
        let end = daemon.call_raw("/authd.v1.Authd/CheckToken", &metadata, framed(&())).await;
        assert!(end.of::<CheckTokenResponse>().valid, "{metadata:?}");
    }
    let other = Some("01900000-0000-7000-8000-000000000000".to_owned());
    let wrong = CheckTokenRequest { user_id: other, ..question };
    let end = daemon.call("/authd.v1.Authd/CheckToken", None, &wrong).await;
    assert_eq!(end.of::<CheckTokenResponse>().error.as_deref(), Some("user_mismatch"));

    let question = CheckAccessRequest { token: Some(session.clone()), service_id: None };
    let access: CheckAccessResponse = daemon.call("/authd.v1.Authd/CheckAccess", Some(&service), &question).await.of();
    let access = access.access.unwrap();
    assert_eq!((access.user_id, access.permissions), (payload.user_id.clone(), vec!["orders.read".to_owned()]));

    for (name, expected) in [("orders.read", true), ("orders.write", false)] {
        let question = CheckPermissionRequest {
            person_id: "alice".into(),
            service_id: "billing".into(),
            permission_name: name.into(),
        };
        let end = daemon.call("/authd.v1.Authd/CheckPermission", Some(&service), &question).await;
        assert_eq!(end.of::<CheckPermissionResponse>().has_permission, expected, "{name}");
    }

    let question = |token: &str| IntrospectRequest { token: token.into(), ..IntrospectRequest::default() };
    let introspect = async |by: &str, token: &str| -> IntrospectResponse {
        daemon.call("/authd.v1.Authd/Introspect", Some(by), &question(token)).await.of()
    };
    let told = introspect(ADMIN, &token).await;
    assert!(told.active && told.exp == Some(4_072_147_200), "{told:?}");
    assert_eq!((told.scope.as_deref(), told.token_type.as_deref()), (Some("read write"), Some("api_token")));
    let told = introspect(&service, &session).await;
    assert_eq!((told.scope.as_deref(), told.sub), (Some("orders.read"), Some(payload.user_id)));
    assert_eq!((told.token_type.as_deref(), told.username.as_deref()), (Some("session"), Some("alice")));
    assert_eq!(introspect(&service, &token).await, IntrospectResponse::default());
}

#[tokio::test]
async fn a_call_that_is_not_as_it_should_be_gets_a_clear_status() {
    let daemon = Daemon::start("").await;
    let good = framed(&ValidateRequest { token: "x".into(), ..ValidateRequest::default() });
    let [mut compressed, mut odd] = [good.clone(), good.clone()];
    (compressed[0], odd[0]) = (1, 2);
    // What is there could be read.
    let mut cut = good.clone();
    cut[4] += 1;
    let twice = [good.clone(), good.clone()].concat();
    let announced = [&[0, 0xff, 0xff, 0xff, 0xff][..], &good].concat();
    let nonsense = [&[0, 0, 0, 0, 2][..], &[0xff, 0xff]].concat();
    let not_utf8 = [&[0, 0, 0, 0, 3][..], &[0x0a, 1, 0xff]].concat();
    let nul = framed(&ValidateRequest { action_name: Some("\0".into()), ..ValidateRequest::default() });
    let address = framed(&ValidateRequest { client_ip: Some("here".into()), ..ValidateRequest::default() });
    let many: Vec<(String, String)> = (0..101).map(|number| (format!("x-{number}"), "x".into())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let two = [("authorization", "Bearer a"), ("authorization", "Bearer b")];
    let json = [("content-type", "application/grpc+json")];
    let mut wrong = Vec::new();
    for (path, metadata, body, status, reason) in [
        (VALIDATE, &[][..], compressed, 12, "NOT_IMPLEMENTED"),
        (VALIDATE, &[("grpc-encoding", "gzip")], good.clone(), 12, "NOT_IMPLEMENTED"),
        (VALIDATE, &[], odd, 3, "MALFORMED_REQUEST"),
        (VALIDATE, &[], cut, 3, "MALFORMED_REQUEST"),
        (VALIDATE, &[], vec![0, 0], 3, "MALFORMED_REQUEST"),
        (VALIDATE, &[], Vec::new(), 12, "NOT_IMPLEMENTED"),
        (VALIDATE, &[], twice, 12, "NOT_IMPLEMENTED"),
        (VALIDATE, &[], announced, 3, "MALFORMED_REQUEST"),
        (VALIDATE, &[], nonsense, 3, "MALFORMED_REQUEST"),
        (VALIDATE, &[], not_utf8, 3, "MALFORMED_REQUEST"),
        (VALIDATE, &[], nul, 3, "MALFORMED_REQUEST"),
        (VALIDATE, &[], address, 3, "VALIDATION_FAILED"),
        (VALIDATE, &[], vec![0; 10 << 20], 8, "PAYLOAD_TOO_LARGE"),
        (VALIDATE, &json, good.clone(), 3, "UNSUPPORTED_MEDIA_TYPE"),
        (VALIDATE, &many, good.clone(), 3, "MALFORMED_REQUEST"),
        (VALIDATE, &[("grpc-timeout", "soon")], good.clone(), 3, "MALFORMED_REQUEST"),
        (VALIDATE, &[("grpc-timeout", "0n")], good.clone(), 4, "REQUEST_TIMEOUT"),
        ("/authd.v1.Authd/CheckPermission", &two, good.clone(), 3, "MALFORMED_REQUEST"),
        ("/authd.v1.Authd/Nothing", &[], good.clone(), 12, "NOT_IMPLEMENTED"),
        ("/authd.v2.Authd/Validate", &[], good.clone(), 12, "NOT_IMPLEMENTED"),
        ("/grpc.health.v1.Health/Watch", &[], framed(&()), 12, "NOT_IMPLEMENTED"),
        ("/session.SessionService/Login", &[], framed(&()), 12, "NOT_IMPLEMENTED"),
        ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", &[], framed(&()), 12, "NOT_IMPLEMENTED"),
    ] {
        let end = daemon.call_raw(path, metadata, body).await;
        let is_whole = end.details.code == end.status
            && end.headers["content-type"] == "application/grpc"
            && end.headers.contains_key("x-request-id")
            && end.headers.contains_key("grpc-message");
        if (end.http, end.status, end.status != 0 && end.reason() == reason, is_whole) != (200, status, true, true) {
            wrong.push(format!("{path} {metadata:?} is not {status} {reason}: {end:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let get = ::http::Request::get(format!("http://x{VALIDATE}")).header("content-type", "application/grpc");
    let get = get.body(Full::default()).unwrap();
    let end = end_of(connect(&daemon).await.send_request(get).await.unwrap()).await;
    assert_eq!((end.http, end.status, end.reason().as_str()), (200, 12, "METHOD_NOT_ALLOWED"));
    // 10 MB of metadata: refused by the bound of a head.
    let long = "x".repeat(40 << 10);
    let request = post_call(VALIDATE, &[("x-long", &long)]).body(Full::new(good.clone().into())).unwrap();
    let answer = connect(&daemon).await.send_request(request).await;
    assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status() == 431));
    // It goes on answering.
    assert!(!daemon.call_raw(VALIDATE, &[], good).await.of::<ValidateResponse>().valid);
}

#[tokio::test]
async fn the_details_of_a_status_name_reason_and_fields() {
    let daemon = Daemon::start("").await;
    let faulty = ValidateRequest { client_ip: Some("hier – 100 %".into()), ..ValidateRequest::default() };
    let end = daemon.call(VALIDATE, None, &faulty).await;
    let [_, fields] = &end.details.details[..] else { panic!("{end:?}") };
    assert_eq!(fields.type_url, "type.googleapis.com/google.rpc.BadRequest");
    let fields = rpc::BadRequest::decode(fields.value.as_slice()).unwrap().field_violations;
    assert_eq!((fields.len(), fields[0].field.as_str()), (1, "client_ip"));
    assert!(fields[0].description.starts_with("expected an address"));
    assert_eq!(end.headers["grpc-message"], "client_ip: expected an address such as 192.0.2.7");
    let question = CheckPermissionRequest::default();
    let path = "/authd.v1.Authd/CheckPermission";
    let name = daemon.sign_in("Jürgen").await;
    let end = daemon.call(path, Some(&name), &question).await;
    assert_eq!((end.status, end.reason().as_str()), (7, "FORBIDDEN"));
    assert_eq!(
        end.details.message,
        "people may ask about themselves, services about their own users, others need access.read"
    );
}

#[tokio::test]
async fn what_says_grpc_and_is_no_call_is_told_so() {
    let daemon = Daemon::start("").await;
    for media in ["application/grpc", "application/grpc+proto", "application/grpc-web+proto"] {
        let request = request("POST", VALIDATE, &format!("Content-Type: {media}\r\n"), "");
        for answer in [daemon.send(&request).await, daemon.send_to_socket(&request).await] {
            assert_eq!(
                (answer.status, answer.body["error"].as_str()),
                (415, Some("unsupported_media_type")),
                "{media}"
            );
        }
    }
    let web = post_call(VALIDATE, &[("content-type", "application/grpc-web")]).body(Full::default()).unwrap();
    assert_eq!(connect(&daemon).await.send_request(web).await.unwrap().status(), 415);
    // The admin socket speaks HTTP/1 only, and says nothing to whoever begins HTTP/2.
    let mut stream = UnixStream::connect(daemon.folder.path().join("admin.sock")).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut rest)).await.expect("it is closed");
}

/// A body that never ends.
struct Silent;

impl Body for Silent {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        std::task::Poll::Pending
    }
}

/// Calls on one connection whose message does not come.
async fn silent_calls(daemon: &Daemon, count: usize, metadata: &[(&str, &str)], calls: &mut JoinSet<Option<End>>) {
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(daemon.tcp().await)).await.unwrap();
    tokio::spawn(connection);
    for _ in 0..count {
        let mut sender = sender.clone();
        let request = post_call(VALIDATE, metadata).body(Silent).unwrap();
        calls.spawn(async move { Some(end_of(sender.send_request(request).await.ok()?).await) });
    }
}

#[tokio::test]
async fn a_call_whose_message_does_not_come_ends_with_the_first_deadline() {
    let daemon = Daemon::start("[server]\nbody_seconds = 1").await;
    for (metadata, detail) in [
        (&[("grpc-timeout", "100m")][..], "the time that the caller gave has passed"),
        (&[("grpc-timeout", "99999999H")], "the body did not arrive within 1 s"),
        (&[], "the body did not arrive within 1 s"),
    ] {
        let mut calls = JoinSet::new();
        silent_calls(&daemon, 2, metadata, &mut calls).await;
        for _ in 0..2 {
            let end = tokio::time::timeout(DEADLINE, calls.join_next()).await.unwrap().unwrap().unwrap().unwrap();
            assert_eq!((end.status, end.details.message.as_str()), (4, detail), "{metadata:?}");
        }
    }
}

#[tokio::test]
async fn open_calls_without_a_message_are_bounded() {
    // Four connections with 32 calls each: more than there is room for.
    let daemon = Daemon::start("[server]\nmax_held = 1_048_576\nbody_seconds = 120").await;
    let header = "x".repeat(14 << 10);
    let mut calls = JoinSet::new();
    for _ in 0..4 {
        silent_calls(&daemon, 32, &[("x-long", &header)], &mut calls).await;
    }
    // They give way, and are told so or lose their connection.
    for _ in 0..64 {
        let end = tokio::time::timeout(DEADLINE, calls.join_next()).await.expect("one gives way").unwrap().unwrap();
        assert!(end.as_ref().is_none_or(|end| end.status == 14), "{end:?}");
    }
    let ask = ValidateRequest { token: "x".into(), ..ValidateRequest::default() };
    assert!(!daemon.call(VALIDATE, None, &ask).await.of::<ValidateResponse>().valid);
}

#[tokio::test]
async fn a_client_that_takes_no_answer_is_let_go() {
    let daemon = Daemon::start("[server]\nhead_seconds = 1").await;
    // It has no room for a single byte of a message.
    let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let io = TokioIo::new(daemon.tcp().await);
    let (mut sender, connection) = builder.initial_stream_window_size(0).handshake(io).await.unwrap();
    let connection = tokio::spawn(connection);
    let ask = framed(&ValidateRequest { token: "x".into(), ..ValidateRequest::default() });
    let mut answers = Vec::new();
    for _ in 0..32 {
        let request = post_call(VALIDATE, &[]).body(Full::new(Bytes::from(ask.clone()))).unwrap();
        answers.push(sender.send_request(request).await.unwrap());
    }
    let _ = tokio::time::timeout(DEADLINE, connection).await.expect("the connection is closed").unwrap();
    for answer in answers {
        assert!(answer.into_body().collect().await.is_err(), "nothing of an answer was taken");
    }
}

#[tokio::test]
async fn a_cancelled_call_leaves_the_connection_as_it_was() {
    let daemon = Daemon::start("").await;
    let mut sender = connect(&daemon).await;
    let good = framed(&ValidateRequest { token: "x".into(), ..ValidateRequest::default() });
    for _ in 0..100 {
        let request = post_call(VALIDATE, &[]).body(Full::new(good.clone().into())).unwrap();
        drop(sender.send_request(request));
    }
    let request = post_call(VALIDATE, &[]).body(Full::new(good.into())).unwrap();
    assert_eq!(end_of(sender.send_request(request).await.unwrap()).await.status, 0);
}

#[tokio::test]
async fn health_is_what_the_operation_says_of_each_service() {
    let daemon = Daemon::start("").await;
    let check = async |service: &str| {
        daemon.call("/grpc.health.v1.Health/Check", None, &HealthCheckRequest { service: service.into() }).await
    };
    for service in ["", "authd.v1.Authd", "envoy.service.auth.v3.Authorization", "session.Session", "user.User"] {
        assert_eq!(check(service).await.of::<HealthCheckResponse>().status(), ServingStatus::Serving, "{service}");
    }
    for service in ["session", "nothing"] {
        let end = check(service).await;
        assert_eq!((end.status, end.reason().as_str()), (5, "NOT_FOUND"), "{service}");
    }
}

#[tokio::test]
async fn calls_count_like_requests() {
    let daemon = Daemon::start("").await;
    let ask = ValidateRequest { token: "x".into(), ..ValidateRequest::default() };
    daemon.call(VALIDATE, None, &ask).await;
    daemon.call_raw(VALIDATE, &[], Vec::new()).await;
    daemon.call("/authd.v1.Authd/CheckPermission", None, &()).await;
    daemon.call("/nothing.Here/At", None, &()).await;
    let text = daemon.send_to_socket_raw(&request("GET", "/metrics", "", "")).await;
    let counts: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.rsplit_once(' ')).collect();
    let count = |operation: &str, outcome: &str| {
        counts[format!("authd_requests_total{{operation=\"{operation}\",outcome=\"{outcome}\"}}").as_str()]
    };
    // That something is not there is no failure.
    assert_eq!((count("tokens.validate", "ok"), count("tokens.validate", "refused")), ("1", "1"));
    assert_eq!((count("sessions.check_permission", "refused"), count("page", "refused")), ("1", "1"));
}
