//! Introspection (RFC 7662) and revocation (RFC 7009) over the wire, as libraries for OAuth ask: forms, HTTP Basic,
//! OAuth's errors; on both engines.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tests::authd::{Authd, Setup, random_token};
use tests::http::Http;

const PASSWORD: &str = "correct horse battery";

fn engines() -> [(&'static str, Authd); 2] {
    let postgres = Setup::new().database(&tests::postgres::database());
    [("SQLite", Authd::start()), ("PostgreSQL", postgres.start())]
}

/// As a client of OAuth sends its secret: the name is not looked at.
fn basic(authd: &Authd, secret: &str) -> Http {
    let pair = BASE64_STANDARD.encode(format!("a%20client:{secret}"));
    authd.http().with("authorization", &format!("Basic {pair}"))
}

#[track_caller]
fn introspect(client: &Http, token: &str) -> Value {
    let answer = client.form("/introspect", &format!("token={token}&token_type_hint=access_token"));
    let answer = answer.expect("it answers");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    answer.expect(200)
}

/// The service `shop` with a token of its own, and sessions of alice, who works there, and bob, who does not.
fn furnish(authd: &Authd) -> (String, String, String) {
    let post = |path: &str, body: Value| authd.admin().post(path, &body).expect("it answers");
    post("/services", json!({"name": "shop"})).expect(201);
    post("/permissions", json!({"name": "orders.read"})).expect(201);
    for name in ["alice", "bob"] {
        post("/users", json!({"username": name, "password": PASSWORD})).expect(201);
    }
    let grant = json!({"person_id": "alice", "service_id": "shop", "permission_id": "orders.read"});
    post("/person-service-permissions", grant).expect(200);
    let service = post("/services/shop/token", json!({})).expect(201);
    let text = |value: &Value| value["token"].as_str().expect("a token").to_owned();
    let sign_in = |name: &str| text(&post("/auth/login", json!({"username": name, "password": PASSWORD})).expect(200));
    (text(&service), sign_in("alice"), sign_in("bob"))
}

#[test]
fn a_service_introspects_and_gives_back() {
    for (engine, authd) in engines() {
        let (service, alice, bob) = furnish(&authd);
        let (token, id) = authd.mint("ci", &["read"]);
        let (gateway, _) = authd.mint("gateway", &["authd:tokens.introspect"]);
        for client in [basic(&authd, &service), authd.http().bearer(&service), authd.http().with("token", &service)] {
            let told = introspect(&client, &alice);
            assert_eq!((&told["active"], &told["scope"]), (&json!(true), &json!("orders.read")), "{engine}: {told}");
            assert_eq!(introspect(&client, &bob), json!({"active": false}), "{engine}");
            assert_eq!(introspect(&client, &token), json!({"active": false}), "{engine}");
        }
        let gateway = basic(&authd, &gateway);
        let told = introspect(&gateway, &token);
        assert_eq!(
            (&told["scope"], &told["sub"], &told["username"]),
            (&json!("read"), &json!(id), &json!("ci")),
            "{engine}"
        );
        assert_eq!(told["iss"], authd.url(), "{engine}");
        assert_eq!(introspect(&gateway, &bob)["active"], true, "{engine}");
        assert_eq!(introspect(&gateway, &random_token()), json!({"active": false}), "{engine}");

        let own = authd.http().bearer(&token);
        assert_eq!(introspect(&own, &token)["active"], true, "{engine}");
        let others = own.form("/introspect", &format!("token={alice}")).expect("it answers").expect(403);
        assert_eq!(others["error"], "access_denied", "{engine}: {others}");

        let give_back =
            |client: &Http, token: &str| client.form("/revoke", &format!("token={token}")).expect("it answers");
        assert_eq!(give_back(&own, &random_token()).status, 200, "{engine}");
        for token in [&alice, &token] {
            assert_eq!(introspect(&gateway, token)["active"], true, "{engine}");
            assert_eq!(give_back(&own, token).expect(200), json!({}), "{engine}");
            assert_eq!(introspect(&gateway, token), json!({"active": false}), "{engine}: at once");
        }
        assert_eq!(give_back(&own, &bob).expect(401)["error"], "invalid_client", "{engine}: it has given itself back");
    }
}

#[test]
fn errors_are_those_of_oauth() {
    let authd = Authd::start();
    let (token, _) = authd.mint("gateway", &["authd:tokens.introspect"]);
    let client = authd.http().bearer(&token);
    for path in ["/introspect", "/revoke"] {
        let nobody = authd.http().form(path, "token=x").expect("it answers");
        assert!(nobody.header("www-authenticate").is_some_and(|value| value.starts_with("Bearer")), "{path}");
        for (answer, status, error) in [
            (Ok(nobody), 401, "invalid_client"),
            (authd.http().bearer("nonsense").form(path, "token=x"), 401, "invalid_client"),
            (basic(&authd, "nonsense").form(path, "token=x"), 401, "invalid_client"),
            (client.form(path, ""), 422, "invalid_request"),
            (client.form(path, "token=x&token=y"), 422, "invalid_request"),
            (client.form(path, "token=%zz"), 400, "invalid_request"),
            (client.form(&format!("{path}?token=x"), ""), 400, "invalid_request"),
            (client.post(path, &json!({"token": "x"})), 415, "invalid_request"),
        ] {
            let told = answer.expect("it answers").expect(status);
            assert_eq!(told["error"], error, "{path} {status}: {told}");
            assert!(told["error_description"].is_string() && told.get("type").is_none(), "{path} {status}: {told}");
        }
    }
    let (other, _) = authd.mint("other", &["read"]);
    let refused = client.form("/revoke", &format!("token={other}")).expect("it answers").expect(403);
    assert_eq!(refused["error"], "access_denied", "{refused}");
}
