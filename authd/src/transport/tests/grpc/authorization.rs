//! Envoy's question: the answers of forward-auth, and a denial for everything that is not as it should be.

use shared::grpc::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use shared::grpc::envoy::config::core::v3::{Address, HeaderMap, HeaderValue, SocketAddress, address};
use shared::grpc::envoy::service::auth::v3::OkHttpResponse;
use shared::grpc::envoy::service::auth::v3::attribute_context::{HttpRequest, Peer, Request};
use shared::grpc::envoy::service::auth::v3::check_response::HttpResponse;
use shared::grpc::envoy::service::auth::v3::{AttributeContext, CheckRequest, CheckResponse, DeniedHttpResponse};

use super::*;

const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

const POLICY: &str = "[server]\ntrusted_proxies = [\"127.0.0.1/32\"]\n
[[policy]]\nname = \"shop\"\nsource = \"path\"\n
[[policy.rule]]\npaths = [\"/health\"]\npublic = true\n
[[policy.rule]]\nmethods = [\"GET\"]\npaths = [\"/api/*\"]\nscopes = [\"read\"]\n
[[policy.rule]]\npaths = [\"/admin/*\"]\nscopes = [\"admin\"]\n";

/// What Envoy asks about a request with these headers.
fn question(method: &str, path: &str, headers: &[(&str, &str)]) -> CheckRequest {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let http = HttpRequest { method: method.into(), path: path.into(), headers, ..HttpRequest::default() };
    let source = SocketAddress { address: "192.0.2.7".into() };
    let address = Some(Address { address: Some(address::Address::SocketAddress(source)) });
    CheckRequest {
        attributes: Some(AttributeContext {
            source: Some(Peer { address }),
            request: Some(Request { http: Some(http) }),
            context_extensions: [("policy".to_owned(), "shop".to_owned())].into(),
        }),
    }
}

fn http(question: &mut CheckRequest) -> &mut HttpRequest {
    question.attributes.as_mut().unwrap().request.as_mut().unwrap().http.as_mut().unwrap()
}

fn allowed(end: &End) -> OkHttpResponse {
    let answer: CheckResponse = end.of();
    assert_eq!(answer.status.as_ref().unwrap().code, 0, "{end:?}");
    match answer.http_response {
        Some(HttpResponse::OkResponse(allowed)) => allowed,
        _ => panic!("denied: {end:?}"),
    }
}

/// The HTTP status of a denial; 0 if it is none.
fn denial(end: &End) -> (i32, DeniedHttpResponse) {
    if end.status != 0 {
        return (0, DeniedHttpResponse::default());
    }
    let answer: CheckResponse = end.of();
    match (answer.status.map(|status| status.code), answer.http_response, answer.dynamic_metadata) {
        (Some(7 | 16), Some(HttpResponse::DeniedResponse(denied)), None) => (denied.status.unwrap().code, denied),
        _ => (0, DeniedHttpResponse::default()),
    }
}

fn is_denied(end: &End) -> bool {
    denial(end).0 == 403
}

impl Daemon {
    async fn check(&self, question: &CheckRequest) -> End {
        self.call_raw(CHECK, &[], framed(question)).await
    }
}

#[tokio::test]
async fn an_allowed_request_has_every_header_of_the_identity_and_metadata() {
    let daemon = Daemon::start(POLICY).await;
    let token = daemon.mint("reader", &["read", "list"]).await;
    let bearer = format!("Bearer {token}");
    let asked = [
        ("authorization", bearer.as_str()),
        (":path", "/elsewhere"),
        ("x-auth-roles", "admin"),
        ("x_auth_roles", "admin"),
        ("x-auth_subject", "root"),
        ("x_other", "stays"),
    ];
    let mut asked =
        question("GET", "/api/orders?id=7", &asked[..1].iter().chain(&asked[2..]).copied().collect::<Vec<_>>());
    let end = daemon.check(&asked).await;
    let answer: CheckResponse = end.of();
    let ok = allowed(&end);
    let headers: Vec<(String, String)> = ok
        .headers
        .into_iter()
        .map(|option| {
            assert!(option.append_action() == HeaderAppendAction::OverwriteIfExistsOrAdd);
            assert!(option.keep_empty_value);
            let header = option.header.unwrap();
            (header.key, header.value)
        })
        .collect();
    let value = |name: &str| headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    assert_eq!((value("x-auth-scopes"), value("x-auth-name")), (Some("read list"), Some("reader")));
    for empty in ["x-auth-roles", "x-auth-permissions", "x-auth-session-id"] {
        assert_eq!(value(empty), Some(""), "{empty}");
    }
    assert_eq!(headers.len(), 7);
    let mut removed = ok.headers_to_remove;
    removed.sort();
    assert_eq!(removed, ["x-auth_subject", "x_auth_roles"], "what CGI takes for ours, and nothing else");
    let metadata = answer.dynamic_metadata.unwrap().fields;
    assert_eq!(metadata.keys().collect::<Vec<_>>(), ["policy", "scopes", "subject"]);
    // A public path has them, too, empty.
    http(&mut asked).path = "/health".into();
    let ok = allowed(&daemon.check(&asked).await);
    assert!(ok.headers.len() == 7 && ok.headers.iter().all(|option| option.header.as_ref().unwrap().value.is_empty()));
}

#[tokio::test]
async fn a_denial_has_the_status_and_the_body_of_http() {
    let daemon = Daemon::start(POLICY).await;
    let bearer = format!("Bearer {}", daemon.mint("reader", &["read"]).await);
    let reader = ("authorization", bearer.as_str());
    let mut wrong = Vec::new();
    for (method, path, headers, status) in [
        ("GET", "/api/orders", &[][..], 401),
        ("GET", "/api/orders", &[("authorization", "Bearer nonsense")], 401),
        ("GET", "/api/orders", &[("authorization", "Bearer a,Bearer b")], 401),
        ("GET", "/api/orders", &[reader, ("token", "another")], 401),
        ("POST", "/api/orders", &[reader], 403),
        ("GET", "/admin/x", &[reader], 403),
        ("GET", "/elsewhere", &[reader], 403),
        ("get", "/api/orders", &[reader], 403),
        ("", "/api/orders", &[reader], 403),
        ("GET", "", &[reader], 403),
        ("GET", "/api/../admin/x", &[reader], 403),
        ("GET", "/api/%2e%2e/admin", &[reader], 403),
        ("GET", "/api/x#/../../admin", &[reader], 403),
        ("GET", "/api/x?_method=DELETE", &[reader], 403),
        ("GET", "/api/x", &[reader, ("x-http-method-override", "DELETE")], 403),
        ("GET", "/api/x", &[reader, ("x-http-method-override", "GET,DELETE")], 403),
        ("GET", "/api/x", &[reader, ("x_http_method_override", "DELETE")], 403),
        ("GET", "/api/x", &[reader, ("x-original-url", "/admin/x")], 403),
        // Two headers, joined: a service may take the second one.
        ("GET", "/api/x", &[reader, ("x-original-url", "/api/x,/admin/x")], 403),
        ("GET", "/api/x", &[reader, ("x-rewrite_url", "/api/x,/admin/x")], 403),
        ("GET", "/api/x", &[reader, ("bad name", "x")], 403),
        ("GET", "/api/x", &[reader, ("x-bad", "a\nb")], 403),
    ] {
        let end = daemon.check(&question(method, path, headers)).await;
        let (code, told) = denial(&end);
        if code != status {
            wrong.push(format!("{method} {path} {headers:?} is not {status}: {code}"));
            continue;
        }
        let problem: Value = serde_json::from_str(&told.body).unwrap();
        assert_eq!(problem["status"], status);
        let header = |name: &str| {
            let found =
                told.headers.iter().filter_map(|option| option.header.as_ref()).find(|header| header.key == name);
            found.map(|header| header.value.as_str()).unwrap_or_default().to_owned()
        };
        assert_eq!(header("content-type"), "application/problem+json");
        assert_eq!(header("www-authenticate").starts_with("Bearer"), status == 401, "{path}");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn raw_headers_are_judged_as_they_came() {
    let daemon = Daemon::start(POLICY).await;
    let bearer = format!("Bearer {}", daemon.mint("reader", &["read"]).await);
    let ask = async |headers: &[(&str, &[u8])]| {
        let mut asked = question("GET", "/api/x", &[]);
        let raw = |(name, value): &(&str, &[u8])| HeaderValue {
            key: (*name).to_owned(),
            raw_value: value.to_vec(),
            ..HeaderValue::default()
        };
        http(&mut asked).header_map = Some(HeaderMap { headers: headers.iter().map(raw).collect() });
        daemon.check(&asked).await
    };
    let reader = ("authorization", bearer.as_bytes());
    allowed(&ask(&[reader, (":path", b"/api/x"), (":method", b"GET"), (":authority", b"shop")]).await);
    let mut wrong = Vec::new();
    for more in [
        ("authorization", &b"Bearer other"[..]),
        (":path", b"/admin/x"),
        (":path", b"/api/\xff../../admin"),
        (":method", b"DELETE"),
        ("x-original-url", b"/admin/x"),
        ("x-bad", b"a\0b"),
    ] {
        let (status, _) = denial(&ask(&[reader, (":path", b"/api/x"), (":method", b"GET"), more]).await);
        if status != if more.0 == "authorization" { 401 } else { 403 } {
            wrong.push(format!("{more:?}: {status}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // Each of several: the last one is not the only one.
    for uris in [[&b"/api/x"[..], b"/admin/x"], [b"/admin/x", b"/api/x"]] {
        let end = ask(&[reader, ("x-original-url", uris[0]), ("x-original-url", uris[1])]).await;
        assert!(is_denied(&end), "{uris:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_denied_and_not_failed() {
    let daemon = Daemon::start(POLICY).await;
    let bearer = format!("Bearer {}", daemon.mint("reader", &["read"]).await);
    let good = question("GET", "/api/x", &[("authorization", &bearer)]);
    allowed(&daemon.check(&good).await);
    let mut apart = good.clone();
    http(&mut apart).query = "_method=DELETE".into();
    let mut fragment = good.clone();
    http(&mut fragment).fragment = "x".into();
    let mut no_request = good.clone();
    no_request.attributes.as_mut().unwrap().request = None;
    let mut elsewhere = good.clone();
    elsewhere.attributes.as_mut().unwrap().context_extensions = [("policy".into(), "other".into())].into();
    let mut unnamed = good.clone();
    unnamed.attributes.as_mut().unwrap().context_extensions.clear();
    let questions = [apart, fragment, no_request, elsewhere, unnamed.clone(), CheckRequest::default()];
    let mut wrong = Vec::new();
    for (index, body) in questions.iter().enumerate() {
        if !is_denied(&daemon.check(body).await) {
            wrong.push(format!("question {index}"));
        }
    }
    let whole = framed(&good);
    // Envoy may let pass what fails (failure_mode_allow), so a client must not be able to make it fail.
    let cut = whole[..whole.len() - 1].to_vec();
    for body in [cut, Vec::new(), vec![0; 10 << 20], [whole.clone(), whole.clone()].concat()] {
        let length = body.len();
        if !is_denied(&daemon.call_raw(CHECK, &[], body).await) {
            wrong.push(format!("{length} bytes"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // The filter names the policy for routes that do not; the route's goes first.
    let of_filter = [("authd-policy", "shop")];
    allowed(&daemon.call_raw(CHECK, &of_filter, framed(&unnamed)).await);
    let end = daemon.call_raw(CHECK, &[("authd-policy", "nothing")], whole).await;
    allowed(&end);
    // A client's header of that name names nothing.
    let mut sly = unnamed;
    http(&mut sly).headers.insert("authd-policy".into(), "shop".into());
    assert!(is_denied(&daemon.check(&sly).await));
}

#[tokio::test]
async fn the_clients_address_counts_if_a_trusted_proxy_tells_it() {
    let mint = async |daemon: &Daemon, name: &str, cidr: &str| {
        let body = json!({"name": name, "scopes": ["read"], "cidrs": [cidr]}).to_string();
        let made = daemon.send(&post("/auth/tokens", &bearer(ADMIN), &body)).await;
        format!("Bearer {}", made.body["token"].as_str().unwrap())
    };
    let daemon = Daemon::start(POLICY).await;
    let near = mint(&daemon, "near", "192.0.2.0/24").await;
    let far = mint(&daemon, "far", "198.51.100.0/24").await;
    allowed(&daemon.check(&question("GET", "/api/x", &[("authorization", &near)])).await);
    // The client's own claim counts for nothing: it is no trusted proxy.
    let claim = [("authorization", far.as_str()), ("x-forwarded-for", "198.51.100.9")];
    assert_eq!(denial(&daemon.check(&question("GET", "/api/x", &claim)).await).0, 401);
    // A trusted proxy in front of Envoy tells it.
    let mut behind = question("GET", "/api/x", &claim);
    let address =
        Address { address: Some(address::Address::SocketAddress(SocketAddress { address: "127.0.0.1".into() })) };
    behind.attributes.as_mut().unwrap().source = Some(Peer { address: Some(address) });
    allowed(&daemon.check(&behind).await);
    // Of a peer that is no trusted proxy nothing is believed.
    let daemon = Daemon::start(&POLICY.replace("127.0.0.1/32", "127.0.0.9/32")).await;
    let near = mint(&daemon, "near", "192.0.2.0/24").await;
    assert_eq!(denial(&daemon.check(&question("GET", "/api/x", &[("authorization", &near)])).await).0, 401);
}

/// A proxy takes any 200 for a yes, and passes on the media type that its client sends.
#[tokio::test]
async fn a_forwarded_request_is_never_a_call() {
    let daemon = Daemon::start(POLICY).await;
    // By mistake a proxy may ask another path.
    let others = ["/auth/profile", "/auth/forwards/x", "/x/authd.v1.Authd/Validate", "/"];
    let forwarded = ["/auth/forward/shop/api/x", "/auth/forward/shop/authd.v1.Authd/Validate", "/auth/forward/nothing"];
    for path in others {
        let request = post_call(path, &[]).body(Full::default()).unwrap();
        let answer = connect(&daemon).await.send_request(request).await.unwrap();
        assert!(answer.status().is_client_error(), "{path}: {}", answer.status());
        assert!(!answer.headers().contains_key("grpc-status"));
    }
    for path in forwarded {
        for method in ["POST", "GET"] {
            let request = post_call(path, &[]).method(method).body(Full::default()).unwrap();
            let answer = connect(&daemon).await.send_request(request).await.unwrap();
            assert!(matches!(answer.status().as_u16(), 401 | 403), "{method} {path}");
            assert!(!answer.headers().contains_key("grpc-status"));
        }
    }
}
