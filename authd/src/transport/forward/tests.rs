mod readings;

use ::http::{Request, StatusCode};
use serde_json::json;

use super::*;
use crate::caller::Caller;
use crate::introspection::tests::Shop;
use crate::testing::TestApp;

const POLICIES: &str = r#"
[server]
trusted_proxies = ["10.0.0.1/32"]

[[policy]]
name = "by-path"
service = "shop"
source = "path"
rule = [
    { paths = ["/health"], public = true },
    { methods = ["GET"], paths = ["/api/*"], scopes = ["read"], permissions = ["orders.read"] },
    { methods = ["POST"], paths = ["/api/*"], scopes = ["read", "write"] },
    { paths = ["/desk"], permissions = ["orders.read"] },
    { paths = ["/closed"], permissions = ["orders.close"] },
]

[[policy]]
name = "forwarded"
source = "forwarded"
rule = [{ methods = ["GET"], paths = ["/api/*"], scopes = ["read"] }]

[[policy]]
name = "original"
source = "original"
rule = [{ methods = ["GET"], paths = ["/api/*"], scopes = ["read"] }]

[[policy]]
name = "nowhere"
service = "gone"
source = "path"
rule = [{ paths = ["/*"], permissions = ["orders.read"] }]
"#;

const PROXY: Origin = Origin::Public(IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)));

const ID: RequestId = RequestId { process: 1, number: 1 };

impl Shop {
    /// What a proxy is answered.
    async fn ask(&self, method: &str, target: &str, headers: &[(&str, &str)]) -> Result<Response<Body>> {
        self.ask_from(&PROXY, method, target, headers).await
    }

    async fn ask_from(
        &self,
        origin: &Origin,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
    ) -> Result<Response<Body>> {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        respond(&self.app.modules.forward_auth, ID, (&self.app.config.server.trusted_proxies, ""), origin, &head).await
    }

    /// The status that a proxy is answered with.
    async fn status(&self, method: &str, target: &str, headers: &[(&str, &str)]) -> u16 {
        match self.ask(method, target, headers).await {
            Ok(response) => {
                assert_eq!(response.status(), StatusCode::OK);
                200
            }
            Err(error) => error.code.status(),
        }
    }
}

fn header<'a>(response: &'a Response<Body>, name: &str) -> &'a str {
    let mut values = response.headers().get_all(name).iter();
    let value = values.next().unwrap_or_else(|| panic!("{name} is missing")).to_str().unwrap();
    assert!(values.next().is_none());
    value
}

fn bearer_of(token: &str) -> String {
    format!("Bearer {token}")
}

#[tokio::test]
async fn a_token_passes_by_its_scopes_and_is_named() {
    let shop = Shop::with(POLICIES).await;
    let (token, caller) = shop.mint(json!({ "name": "Läufer 50%", "scopes": ["read", "s:%"] })).await;
    let Caller::Token { id, .. } = caller else { unreachable!() };
    let bearer = bearer_of(&token);
    for credential in [("authorization", &*bearer), ("token", &*token)] {
        let passed = shop.ask("GET", "/auth/forward/by-path/api/orders?x=/admin", &[credential]).await.unwrap();
        assert_eq!(header(&passed, "x-auth-subject"), id.to_string());
        assert_eq!(header(&passed, "x-auth-token-id"), id.to_string());
        assert_eq!(header(&passed, "x-auth-name"), "L%C3%A4ufer%2050%25");
        assert_eq!(header(&passed, "x-auth-scopes"), "read s:%");
        for empty in ["x-auth-roles", "x-auth-permissions", "x-auth-session-id"] {
            assert_eq!(header(&passed, empty), "");
        }
        assert_eq!(header(&passed, "cache-control"), "no-store");
    }
    assert_eq!(shop.app.marks_waiting(), 1);
    for (method, target, expected) in [
        ("POST", "/auth/forward/by-path/api/orders", 403),
        ("DELETE", "/auth/forward/by-path/api/orders", 403),
        ("GET", "/auth/forward/by-path/other", 403),
        ("GET", "/auth/forward/by-path/desk", 403),
        ("GET", "/auth/forward/by-path/", 403),
        ("GET", "/auth/forward/by-path", 403),
        ("get", "/auth/forward/by-path/api/orders", 403),
        ("GET", "/auth/forward/by-path/api/../desk", 403),
        ("GET", "/auth/forward/by-path/api/%2e%2e/desk", 403),
        ("GET", "/auth/forward/by-path//api/orders", 403),
        ("GET", "/auth/forward/unknown/api/orders", 403),
        ("GET", "/auth/forward/BY-PATH/api/orders", 403),
        ("GET", "/auth/forward/by%2Dpath/api/orders", 403),
        ("GET", "/auth/forward//by-path/api/orders", 403),
        ("GET", "/auth/forward/", 403),
        ("GET", "/auth/forward/by-path/health", 200),
    ] {
        assert_eq!(shop.status(method, target, &[("authorization", &bearer)]).await, expected, "{method} {target}");
    }
}

#[tokio::test]
async fn a_person_passes_by_their_permissions_in_the_policys_service() {
    let shop = Shop::with(POLICIES).await;
    let (alice, bob) = (bearer_of(&shop.sign_in("alice").await), bearer_of(&shop.sign_in("bob").await));
    let status = async |path: &str, bearer: &str| {
        shop.status("GET", &format!("/auth/forward/{path}"), &[("authorization", bearer)]).await
    };
    let passed = shop.ask("GET", "/auth/forward/by-path/desk", &[("authorization", &alice)]).await.unwrap();
    assert_eq!(header(&passed, "x-auth-subject"), shop.alice.to_string());
    assert_eq!(header(&passed, "x-auth-name"), "alice");
    assert_eq!(header(&passed, "x-auth-roles"), "clerk");
    assert_eq!(header(&passed, "x-auth-permissions"), "orders.read");
    assert!(header(&passed, "x-auth-session-id").len() == 36);
    for empty in ["x-auth-scopes", "x-auth-token-id"] {
        assert_eq!(header(&passed, empty), "");
    }
    assert_eq!(status("by-path/api/a", &alice).await, 200);
    for refused in ["by-path/closed", "nowhere/desk", "by-path/elsewhere"] {
        assert_eq!(status(refused, &alice).await, 403, "{refused}");
    }
    assert_eq!(status("by-path/desk", &bob).await, 403);
    // Only scopes: no person, whatever their permissions are called.
    assert_eq!(shop.status("POST", "/auth/forward/by-path/api/a", &[("authorization", &alice)]).await, 403);
    shop.app.call("services.update", json!({ "id": "shop", "status": "inactive" })).await.unwrap();
    assert_eq!(status("by-path/desk", &alice).await, 403, "the service has stopped");
}

#[tokio::test]
async fn what_took_a_right_away_holds_for_the_next_request() {
    let shop = Shop::with(POLICIES).await;
    let (token, _) = shop.mint(json!({ "name": "ci", "scopes": ["read"] })).await;
    let (alice, again) = (shop.sign_in("alice").await, shop.sign_in("alice").await);
    let status = async |token: &str| shop.status("GET", "/auth/forward/by-path/api/a", &[("token", token)]).await;
    for good in [&token, &alice, &again] {
        assert_eq!(status(good).await, 200);
    }
    shop.revoke(&Caller::AdminToken, &token).await;
    shop.revoke(&Caller::AdminToken, &alice).await;
    assert_eq!((status(&token).await, status(&alice).await), (401, 401));
    shop.dismiss_alice().await;
    assert_eq!(status(&again).await, 403);
}

#[tokio::test]
async fn without_good_credentials_it_is_401_and_says_nothing() {
    let shop = Shop::with(POLICIES).await;
    let (token, _) = shop.mint(json!({ "name": "ci", "scopes": ["read"] })).await;
    let (other, _) = shop.mint(json!({ "name": "other", "scopes": ["read"] })).await;
    let unknown = bearer_of(crate::tokens::model::mint("amp_live_", &[1; 28]).expose());
    let (token, other_bearer) = (bearer_of(&token), bearer_of(&other));
    for headers in [
        &[][..],
        &[("authorization", "Basic YTpi")],
        &[("authorization", "Bearer nonsense")],
        &[("authorization", "Bearer")],
        &[("authorization", &*unknown)],
        &[("token", "")],
        &[("cookie", &*other)],
        &[("authorization", &*token), ("authorization", &*token)],
        &[("authorization", &*token), ("token", &*other)],
        &[("authorization", "\u{e9}")],
        &[("x-auth-subject", "admin"), ("x-forwarded-user", "admin")],
    ] {
        assert_eq!(shop.status("GET", "/auth/forward/by-path/api/a", headers).await, 401, "{headers:?}");
    }
    assert_eq!(shop.status("GET", "/auth/forward/by-path/api/a", &[("authorization", &*other_bearer)]).await, 200);
}

#[tokio::test]
async fn method_and_uri_come_from_the_policys_source_alone() {
    let shop = Shop::with(POLICIES).await;
    let (token, _) = shop.mint(json!({ "name": "ci", "scopes": ["read"] })).await;
    let good = |kind: &str| [(format!("x-{kind}-method"), "GET"), (format!("x-{kind}-uri"), "/api/a")];
    let (forwarded, original) = (good("forwarded"), good("original"));
    let status = async |target: &str, headers: &[(&str, &str)]| {
        let headers: Vec<_> = headers.iter().copied().chain([("token", &*token)]).collect();
        shop.status("POST", target, &headers).await
    };
    for (policy, own, foreign) in [("forwarded", &forwarded, &original), ("original", &original, &forwarded)] {
        let own_name = |end: &str| own.iter().find(|(name, _)| name.ends_with(end)).unwrap().0.clone();
        let (method, uri) = (own_name("method"), own_name("uri"));
        let both = [(&*method, "GET"), (&*uri, "/api/a")];
        for target in [format!("/auth/forward/{policy}"), format!("/auth/forward/{policy}/desk?x")] {
            assert_eq!(status(&target, &both).await, 200, "{target}");
        }
        let foreign: Vec<_> = foreign.iter().map(|(name, value)| (&**name, *value)).collect();
        let target = format!("/auth/forward/{policy}/api/a");
        let with_foreign: Vec<_> = foreign.iter().copied().chain([(&*method, "GET"), (&*uri, "/desk")]).collect();
        for headers in [
            &[][..],
            &foreign,
            &with_foreign,
            &[(&*method, "GET")],
            &[(&*uri, "/api/a")],
            &[(&*method, "GET"), (&*uri, "/api/a"), (&*uri, "/api/a")],
            &[(&*method, "GET"), (&*method, "GET"), (&*uri, "/api/a")],
            &[(&*method, "GET"), (&*uri, "/api/a, /api/b")],
            &[(&*method, "GET"), (&*uri, "")],
            &[(&*method, "GET"), (&*uri, "/desk")],
            &[(&*method, "GET"), (&*uri, "/api/../desk")],
            &[(&*method, "GET"), (&*uri, "http://shop/api/../desk")],
            &[(&*method, "POST"), (&*uri, "/api/a")],
            &[(&*method, "get"), (&*uri, "/api/a")],
            &[(&*method, ""), (&*uri, "/api/a")],
            &[(&*method, "GET"), (&*uri, "/api/\u{e9}")],
        ] {
            assert_eq!(status(&target, headers).await, 403, "{policy} {headers:?}");
        }
    }
    // The path is the source: what the headers say counts for nothing.
    let lies: Vec<_> = forwarded.iter().chain(&original).map(|(name, value)| (&**name, *value)).collect();
    assert_eq!(status("/auth/forward/by-path/api/a", &lies).await, 403, "a POST needs another scope");
}

#[tokio::test]
async fn a_network_is_judged_by_what_trusted_proxies_tell() {
    let shop = Shop::with(POLICIES).await;
    let fields = json!({ "name": "ci", "scopes": ["read"], "cidrs": ["192.0.2.0/24", "10.0.0.0/8"] });
    let (token, _) = shop.mint(fields).await;
    let stranger = Origin::Public([10, 0, 0, 2].into());
    for (connection, forwarded_for, expected) in [
        (&PROXY, Some("192.0.2.7"), true),
        (&PROXY, Some("203.0.113.1, 192.0.2.7"), true),
        (&PROXY, Some("192.0.2.7, 203.0.113.1"), false),
        (&PROXY, None, false),
        (&stranger, Some("192.0.2.7"), false),
        (&stranger, None, false),
    ] {
        let mut headers = vec![("token", &*token)];
        headers.extend(forwarded_for.map(|hops| ("x-forwarded-for", hops)));
        let answer = shop.ask_from(connection, "GET", "/auth/forward/by-path/api/a", &headers).await;
        assert_eq!(answer.is_ok(), expected, "{connection:?} {forwarded_for:?}");
        assert!(expected || answer.unwrap_err().code == Code::InvalidToken);
    }
}

#[tokio::test]
async fn a_public_place_asks_nobody() {
    let shop = Shop::with(POLICIES).await;
    shop.app.break_db(true);
    for headers in [&[][..], &[("authorization", "Bearer nonsense")], &[("authorization", "x"), ("authorization", "y")]]
    {
        let passed = shop.ask("GET", "/auth/forward/by-path/health", headers).await.unwrap();
        for (name, value) in super::headers(&Identity::default()) {
            assert_eq!((header(&passed, name.as_str()), value), ("", ""));
        }
    }
}

#[tokio::test]
async fn storage_that_fails_lets_nobody_in_and_is_no_refusal() {
    let shop = Shop::with(POLICIES).await;
    let (token, _) = shop.mint(json!({ "name": "ci", "scopes": ["read"] })).await;
    let alice = shop.sign_in("alice").await;
    shop.app.break_db(true);
    for token in [&token, &alice] {
        assert_eq!(shop.status("GET", "/auth/forward/by-path/api/a", &[("token", token)]).await, 503);
    }
}

#[tokio::test]
async fn a_services_own_token_is_nobodys_identity() {
    let toml = "[[policy]]\nname = \"all\"\nsource = \"path\"\nrule = [{ paths = [\"/*\"], scopes = [\"read\"] }]";
    let shop = Shop::with(toml).await;
    let made = shop.app.call("services.create_token", json!({ "id": "shop" })).await.unwrap();
    let token = made["token"].as_str().unwrap();
    // Not even where it would hold the scopes.
    let scopes = json!([crate::tokens::model::service_scope(shop.id), "read"]).to_string();
    let sql = "UPDATE secrets SET scopes = $1";
    shop.app.base.db.commit(vec![crate::db::Statement::any("test", sql, [scopes.into()])]).await.unwrap();
    assert_eq!(shop.status("GET", "/auth/forward/all/x", &[("token", token)]).await, 403);
}

#[tokio::test]
async fn the_admin_socket_answers_no_proxy() {
    let shop = Shop::with(POLICIES).await;
    let (token, _) = shop.mint(json!({ "name": "ci", "scopes": ["read"] })).await;
    let socket = Origin::Admin(Caller::System);
    let answer = shop.ask_from(&socket, "GET", "/auth/forward/by-path/api/a", &[("token", &token)]).await;
    assert_eq!(answer.unwrap_err().code, Code::Forbidden);
}

#[tokio::test]
async fn without_policies_nothing_passes() {
    let app = TestApp::new().await;
    let (head, ()) = Request::builder().uri("/auth/forward/any/").body(()).unwrap().into_parts();
    assert_eq!(
        respond(&app.modules.forward_auth, ID, (&[], ""), &PROXY, &head).await.unwrap_err().code,
        Code::Forbidden
    );
}
