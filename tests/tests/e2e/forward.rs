//! Real proxies that ask authd about every request, with the very files of packaging/examples: what may pass passes,
//! and the service is told who it is; nothing else passes, whatever a client sends.

mod narrow;

use serde_json::{Value, json};
use std::net::Ipv4Addr;
use tests::TIMEOUT;
use tests::authd::{ADMIN_TOKEN, Authd, Setup, random_token};
use tests::echo::Echo;
use tests::http::{Http, Response};
use tests::proxy::{Kind, Proxy};

const PASSWORD: &str = "correct horse battery";
/// The client's machine. authd trusts 127.0.0.1, where the proxy is, and no other.
const CLIENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// What a client would like the service, the proxy or authd to believe.
const LIES: [(&str, &str); 17] = [
    ("x-auth-subject", "root"),
    ("x-auth-name", "root"),
    ("x-auth-scopes", "write everything"),
    ("x-auth-roles", "admin"),
    ("x-auth-permissions", "shop.admin"),
    ("x-auth-token-id", "root"),
    ("x-auth-session-id", "root"),
    ("x_auth_subject", "root"),
    ("x_auth_permissions", "shop.admin"),
    ("x-auth_subject", "root"),
    ("x_auth-roles", "admin"),
    ("x-auth-token_id", "root"),
    ("x-forwarded-method", "GET"),
    ("x-forwarded-uri", "/api/orders"),
    ("x-original-method", "GET"),
    ("x-original-uri", "/api/orders"),
    ("x-forwarded-for", "10.1.2.3"),
];

/// A shop behind a proxy: alice may read its orders, bob nothing.
struct Shop {
    kind: Kind,
    authd: Authd,
    app: Echo,
    proxy: Proxy,
    reader: String,
    reader_id: String,
    writer: String,
    alice: String,
    bob: String,
}

impl Shop {
    fn open(kind: Kind) -> Self {
        Self::with(kind, "")
    }

    fn with(kind: Kind, rules: &str) -> Self {
        let authd = Setup::new().toml(&format!("{}\n{rules}", kind.example("authd.toml"))).start();
        let app = Echo::start();
        let proxy = Proxy::start(kind, authd.port(), app.port());
        let post = |path: &str, body: Value| authd.admin().post(path, &body).expect("authd answers");
        post("/services", json!({"name": "shop"})).expect(201);
        post("/roles", json!({"name": "front desk"})).expect(201);
        post("/permissions", json!({"name": "orders.read"})).expect(201);
        post("/role-permissions", json!({"role_id": "front desk", "permission_id": "orders.read"})).expect(200);
        post("/service-roles", json!({"service_id": "shop", "role_id": "front desk"})).expect(200);
        for name in ["alice", "bob"] {
            post("/users", json!({"username": name, "password": PASSWORD})).expect(201);
        }
        let grant = json!({"person_id": "alice", "service_id": "shop", "role_id": "front desk"});
        post("/person-service-roles", grant).expect(200);
        let sign_in = |name: &str| {
            let login = authd.http().post("/auth/login", &json!({"username": name, "password": PASSWORD}));
            login.expect("authd answers").expect(200)["token"].as_str().expect("a token").to_owned()
        };
        let (alice, bob) = (sign_in("alice"), sign_in("bob"));
        let (reader, reader_id) = authd.mint("reader", &["read"]);
        let (writer, _) = authd.mint("writer", &["write"]);
        Self { kind, authd, app, proxy, reader, reader_id, writer, alice, bob }
    }

    fn client(&self) -> Http {
        self.proxy.http().from(CLIENT)
    }

    /// A client who lies as much as it can.
    fn liar(&self) -> Http {
        LIES.iter().fold(self.client(), |client, (name, value)| client.with(name, value))
    }

    #[track_caller]
    fn get(&self, client: &Http, target: &str) -> Response {
        client.get(target).unwrap_or_else(|e| panic!("{} {target}: {e}\n{}", self.kind.name(), self.proxy.log()))
    }

    /// The request does not reach the service; the status that the client sees.
    #[track_caller]
    fn denied(&self, client: &Http, method: &str, target: &str) -> u16 {
        self.denied_answer(client, method, target).map_or(0, |answer| answer.status)
    }

    /// The same with the whole answer, if there is one: a proxy may also hang up.
    #[track_caller]
    fn denied_answer(&self, client: &Http, method: &str, target: &str) -> Option<Response> {
        let (what, before) = (format!("{} {method} {target}", self.kind.name()), self.app.count());
        let answer = client.send(method, target, None).ok();
        if let Some(answer) = &answer {
            assert!(answer.status >= 300, "{what} passed: {} {}", answer.status, answer.text());
        }
        assert_eq!(self.app.count(), before, "{what} reached the service: {:?}", self.app.last());
        answer
    }

    /// Nothing of what the client said about itself has reached the service.
    #[track_caller]
    fn told_nothing_false(&self) {
        let seen = self.app.last();
        for (name, value) in LIES.into_iter().filter(|(name, _)| name.contains("auth")) {
            assert!(!seen.all(name).contains(&value), "{}: {name} has arrived: {seen:?}", self.kind.name());
        }
    }

    fn what_may_pass_passes_and_is_named(&self) {
        let name = self.kind.name();
        let passed = self.get(&self.liar().bearer(&self.reader), "/api/orders?id=7&x=/admin/..");
        assert_eq!(passed.status, 200, "{name}: {}\n{}", passed.text(), self.proxy.log());
        let seen = self.app.last();
        assert_eq!((seen.method.as_str(), seen.target.as_str()), ("GET", "/api/orders?id=7&x=/admin/.."), "{name}");
        assert_eq!((seen.header("x-auth-subject"), seen.header("x-auth-scopes")), (&*self.reader_id, "read"), "{name}");
        assert_eq!(
            (seen.header("x-auth-name"), seen.header("x-auth-token-id")),
            ("reader", &*self.reader_id),
            "{name}"
        );
        for empty in ["x-auth-roles", "x-auth-permissions", "x-auth-session-id", "x_auth_subject"] {
            assert_eq!(seen.header(empty), "", "{name}: {empty}");
        }
        self.told_nothing_false();

        let who = self.authd.http().bearer(&self.alice).get("/auth/profile").expect("authd answers").expect(200);
        assert_eq!(self.get(&self.liar().with("token", &self.alice), "/api/orders/7").status, 200, "{name}");
        let seen = self.app.last();
        assert_eq!(Some(seen.header("x-auth-subject")), who["payload"]["user_id"].as_str(), "{name}");
        assert_eq!((seen.header("x-auth-name"), seen.header("x-auth-roles")), ("alice", "front%20desk"), "{name}");
        assert_eq!((seen.header("x-auth-permissions"), seen.header("x-auth-scopes")), ("orders.read", ""), "{name}");
        self.told_nothing_false();

        let body = b"one more order";
        let sent = self.liar().bearer(&self.writer).send("POST", "/api/orders", Some(("text/plain", body)));
        assert_eq!(sent.expect("the proxy answers").status, 200, "{name}: {}", self.proxy.log());
        let seen = self.app.last();
        assert_eq!((seen.method.as_str(), seen.body.as_slice()), ("POST", &body[..]), "{name}");

        for client in [self.liar(), self.liar().bearer("nonsense"), self.liar().bearer(&self.reader)] {
            assert_eq!(self.get(&client, "/health").status, 200, "{name}: public");
            assert_eq!(self.app.last().header("x-auth-subject"), "", "{name}");
            self.told_nothing_false();
        }
    }

    fn nothing_else_passes(&self) {
        let name = self.kind.name();
        let reader = self.client().bearer(&self.reader);
        let nobody = self.denied_answer(&self.client(), "GET", "/api/orders").expect("an answer");
        assert_eq!(nobody.status, 401, "{name}");
        let challenge = nobody.header("www-authenticate").unwrap_or_default();
        assert!(challenge.starts_with("Bearer"), "{name}: {challenge}");
        for credential in ["nonsense", &random_token(), ADMIN_TOKEN] {
            assert_eq!(
                self.denied(&self.client().bearer(credential), "GET", "/api/orders"),
                401,
                "{name} {credential}"
            );
        }
        for (client, method, target) in [
            (&reader, "POST", "/api/orders"),
            (&reader, "DELETE", "/api/orders"),
            (&reader, "PATCH", "/api/orders"),
            (&reader, "GET", "/admin"),
            (&reader, "GET", "/elsewhere"),
            (&reader, "GET", "/API/orders"),
            (&self.client().bearer(&self.writer), "GET", "/api/orders"),
            (&self.client().bearer(&self.bob), "GET", "/api/orders"),
            (&self.client().bearer(&self.alice), "POST", "/api/orders"),
            (&self.client().bearer(&self.alice), "GET", "/admin"),
        ] {
            assert_eq!(self.denied(client, method, target), 403, "{name} {method} {target}");
        }
        // What a proxy would not even ask about, or cleans before it asks, is its own business: it must not pass.
        for target in [
            "/api/../admin",
            "/api/./../admin",
            "/api/%2e%2e/admin",
            "/api/.%2E/admin",
            "/api/..%2fadmin",
            "/api%2f..%2fadmin",
            "/api%2F%2e%2e%2Fadmin",
            "/api/..%5cadmin",
            "/api/..\\admin",
            "/api/..;/admin",
            "/api;/../admin",
            "/api/%252e%252e/admin",
            "/api/%c0%ae%c0%ae/admin",
            "/api/orders%00",
            "//admin",
            "/%61dmin",
            "/api/%zz",
            "/admin?x=/api/orders",
            "/admin#/api/orders",
            "/api/orders#",
            "/api/orders#/../../admin",
            "/health#/../admin",
            "http://127.0.0.1/admin",
            "*",
        ] {
            self.denied(&reader, "GET", target);
            self.denied(&self.liar().bearer(&self.reader), "GET", target);
        }
        for method in ["get", "GeT", "POST", "PUT", "DELETE", "PURGE"] {
            self.denied(&self.liar().bearer(&self.reader), method, "/api/orders");
        }
        for target in ["/admin", "/elsewhere", "/"] {
            assert_eq!(self.denied(&self.liar().bearer(&self.reader), "GET", target), 403, "{name} {target}");
        }
        let two = format!(
            "GET /api/orders HTTP/1.1\r\nhost: shop\r\nconnection: close\r\nauthorization: Bearer {}\r\nauthorization: \
             Bearer {}\r\n\r\n",
            self.writer, self.reader
        );
        let before = self.app.count();
        let _ = self.client().raw(two.as_bytes());
        assert_eq!(self.app.count(), before, "{name}: two credentials");
    }

    fn networks_are_judged_by_the_clients_address(&self) {
        let mint = |name: &str, cidr: &str| {
            let body = json!({"name": name, "scopes": ["read"], "cidrs": [cidr]});
            let made = self.authd.admin().post("/auth/tokens", &body).expect("authd answers").expect(201);
            made["token"].as_str().expect("a secret").to_owned()
        };
        let (near, far) = (mint("near", "127.0.0.2/32"), mint("far", "10.0.0.0/8"));
        let passed = self.get(&self.liar().bearer(&near), "/api/orders");
        assert_eq!(passed.status, 200, "{}: {}", self.kind.name(), passed.text());
        assert_eq!(self.denied(&self.liar().bearer(&far), "GET", "/api/orders"), 401, "{}", self.kind.name());
    }

    fn what_is_taken_away_is_gone_at_once(&self) {
        let name = self.kind.name();
        let (token, id) = self.authd.mint("short-lived", &["read"]);
        let client = self.client().bearer(&token);
        assert_eq!(self.get(&client, "/api/orders").status, 200, "{name}");
        let path = format!("/auth/tokens/{id}/revoke");
        self.authd.admin().post(&path, &json!({})).expect("authd answers").expect(200);
        assert_eq!(self.denied(&client, "GET", "/api/orders"), 401, "{name}");

        let alice = self.client().bearer(&self.alice);
        assert_eq!(self.get(&alice, "/api/orders").status, 200, "{name}");
        let grant = json!({"person_id": "alice", "service_id": "shop", "role_id": "front desk"});
        let body = grant.to_string();
        let taken =
            self.authd.admin().send("DELETE", "/person-service-roles", Some(("application/json", body.as_bytes())));
        taken.expect("authd answers").expect(200);
        assert_eq!(self.denied(&alice, "GET", "/api/orders"), 403, "{name}");
        let given_back = self.authd.http().bearer(&self.alice).form("/revoke", &format!("token={}", self.alice));
        given_back.expect("authd answers").expect(200);
        assert_eq!(self.denied(&alice, "GET", "/api/orders"), 401, "{name}");
    }

    /// A person with more permissions than an answer has room for: the service is told those that the policy names.
    fn many_permissions_fit(&self) {
        let admin = self.authd.admin();
        let post = |path: &str, body: Value| admin.post(path, &body).expect("authd answers");
        for number in 0..200 {
            let name = format!("{number} {}", "x".repeat(120));
            post("/permissions", json!({"name": name})).expect(201);
            post("/role-permissions", json!({"role_id": "front desk", "permission_id": name})).expect(200);
        }
        let passed = self.get(&self.client().bearer(&self.alice), "/api/orders");
        assert_eq!(passed.status, 200, "{}: {}", self.kind.name(), passed.text());
        assert_eq!(self.app.last().header("x-auth-permissions"), "orders.read", "{}", self.kind.name());
    }

    fn without_authd_nothing_passes(mut self) {
        let stop = self.authd.process().stop(TIMEOUT);
        assert!(stop.success(), "{stop}");
        // Not a refusal: the client may try again. Traefik has no other status for it.
        let unanswered = if self.kind == Kind::Traefik { 500 } else { 503 };
        let reader = self.liar().bearer(&self.reader);
        for target in ["/api/orders", "/health"] {
            let answer = self.denied_answer(&reader, "GET", target).expect("an answer");
            assert_eq!(answer.status, unanswered, "{} {target}", self.kind.name());
            let is_envoy = matches!(self.kind, Kind::Envoy | Kind::EnvoyGrpc);
            assert!(unanswered == 500 || is_envoy || answer.header("retry-after").is_some());
        }
        for status in [503, 500, 302, 404, 418] {
            // What answers in authd's place knows no yes.
            let port = self.authd.port();
            let stub = Echo::instead(port, status);
            let before = stub.count();
            let seen = self.denied(&reader, "GET", "/api/orders");
            // A stub that speaks no HTTP/2 understands no question of gRPC.
            assert!(stub.count() > before || self.kind == Kind::EnvoyGrpc, "{}: it was asked", self.kind.name());
            if status == 503 {
                assert_eq!(seen, 503, "{}", self.kind.name());
            }
            stub.stop();
        }
    }
}

fn story(kind: Kind) {
    let shop = Shop::open(kind);
    shop.what_may_pass_passes_and_is_named();
    shop.nothing_else_passes();
    shop.networks_are_judged_by_the_clients_address();
    shop.many_permissions_fit();
    shop.what_is_taken_away_is_gone_at_once();
    shop.without_authd_nothing_passes();
}

#[test]
fn nginx_lets_the_right_requests_pass_and_no_other() {
    story(Kind::Nginx);
}

#[test]
fn caddy_lets_the_right_requests_pass_and_no_other() {
    story(Kind::Caddy);
}

#[test]
fn traefik_lets_the_right_requests_pass_and_no_other() {
    story(Kind::Traefik);
}

#[test]
fn haproxy_lets_the_right_requests_pass_and_no_other() {
    story(Kind::Haproxy);
}

#[test]
fn envoy_lets_the_right_requests_pass_and_no_other() {
    story(Kind::Envoy);
}

#[test]
fn envoy_over_grpc_lets_the_right_requests_pass_and_no_other() {
    story(Kind::EnvoyGrpc);
}

/// The identity is in the metadata of the request, for Envoy's log and other filters.
#[test]
fn envoy_over_grpc_knows_who_asks_and_by_which_policy() {
    let shop = Shop::open(Kind::EnvoyGrpc);
    assert_eq!(shop.get(&shop.client().bearer(&shop.reader), "/api/orders?x=secret").status, 200);
    let line = format!("GET 200 shop {} [\"read\"]", shop.reader_id);
    tests::until(TIMEOUT, &line, || shop.proxy.log().contains(&line).then_some(()));
    let log = shop.proxy.log();
    assert!(!log.contains("secret"), "{log}");
}

#[test]
fn the_examples_have_no_warnings() {
    for kind in [Kind::Nginx, Kind::Caddy, Kind::Traefik, Kind::Haproxy, Kind::Envoy] {
        let checked = Setup::new().toml(&kind.example("authd.toml")).run(&["check"]);
        assert_eq!(String::from_utf8_lossy(&checked.stderr), "the configuration is valid\n", "{kind:?}");
    }
}

#[test]
fn the_examples_want_the_same_of_authd() {
    let policy = |kind: Kind| {
        let text = kind.example("authd.toml");
        let (source, rest): (Vec<_>, Vec<_>) =
            text.lines().filter(|line| !line.starts_with('#')).partition(|line| line.starts_with("source = "));
        assert_eq!(source.len(), 1, "{kind:?}");
        rest.join("\n")
    };
    for kind in [Kind::Caddy, Kind::Traefik, Kind::Haproxy, Kind::Envoy] {
        assert_eq!(policy(kind), policy(Kind::Nginx), "{kind:?}");
    }
}
