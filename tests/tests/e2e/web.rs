//! Sign-in with a real browser: password and code, two providers at once, and what other sites try.

mod account;
mod whole;

use crate::totp::oathtool;
use serde_json::{Value, json};
use tests::authd::{Authd, Setup};
use tests::browser::walk;
use tests::echo::Echo;
use tests::provider::Provider;
use tests::proxy::{Kind, Proxy};

const PASSWORD: &str = "correct horse battery staple";

#[track_caller]
fn made(authd: &Authd, path: &str, body: &Value) -> Value {
    authd.admin().post(path, body).expect("it answers").expect(201)
}

/// The steps to sign in with a password, in a window that is at the form.
fn password(window: &str, username: &str) -> Vec<Value> {
    vec![
        json!({"window": window, "fill": {"username": username, "password": PASSWORD}}),
        json!({"window": window, "press": "Sign in"}),
    ]
}

/// The value of a cookie in what a step told.
fn cookie<'a>(told: &'a Value, name: &str) -> Option<&'a Value> {
    told.as_array().expect("cookies").iter().find(|cookie| cookie["name"] == name)
}

#[test]
fn a_person_signs_in_with_password_and_code_and_signs_out_everywhere() {
    let authd = Setup::new().start();
    made(&authd, "/users", &json!({"username": "alice", "name": "Alice <b>", "password": PASSWORD}));
    let login = json!({"username": "alice", "password": PASSWORD});
    let session = authd.http().post("/auth/login", &login).expect("it answers").expect(200);
    let session = authd.http().bearer(session["token"].as_str().expect("a token"));
    let pending = session.post("/auth/totp/enable", &json!({"password": PASSWORD})).expect("it answers").expect(200);
    let secret = pending["secret"].as_str().expect("a secret");
    session.post("/auth/totp/confirm", &json!({"code": oathtool(secret, "")})).expect("it answers").expect(200);

    let url = authd.url();
    let mut steps = vec![json!({"goto": format!("{url}/dashboard")}), json!({"see": "Password"}), json!({"axe": true})];
    steps.extend(password("first", "ALICE"));
    steps.extend([
        json!({"see": "authenticator app"}),
        json!({"axe": true}),
        json!({"cookies": true}),
        json!({"fill": {"code": "000000"}}),
        json!({"press": "Sign in"}),
        json!({"see": "The code is wrong"}),
        json!({"axe": true}),
        json!({"fill": {"code": oathtool(secret, "+30 seconds")}}),
        json!({"press": "Sign in"}),
        json!({"see": "Where you are signed in"}),
        json!({"axe": true}),
        json!({"cookies": true}),
        // The cookie of another window is another session's.
        json!({"window": "second", "goto": format!("{url}/dashboard")}),
        json!({"window": "second", "see": "Password"}),
        json!({"press": "Sign out everywhere"}),
        json!({"see": "Password"}),
        json!({"cookies": true}),
        json!({"goto": format!("{url}/dashboard")}),
        json!({"see": "Password"}),
    ]);
    let told = walk(&json!(steps));
    for (step, told) in steps.iter().zip(&told) {
        assert!(step.get("axe").is_none() || *told == json!([]), "axe found {told:#}");
    }
    let all: Vec<&Value> =
        steps.iter().zip(&told).filter(|(step, _)| step.get("cookies").is_some()).map(|(_, told)| told).collect();
    assert!(cookie(all[0], "__Host-session").is_none(), "the password alone is no session");
    let session = cookie(all[1], "__Host-session").expect("a session");
    let flags = (&session["httpOnly"], &session["secure"], &session["sameSite"], &session["path"]);
    assert_eq!(flags, (&json!(true), &json!(true), &json!("Lax"), &json!("/")));
    assert!(cookie(all[2], "__Host-session").is_none());
    let dashboard = told[14].to_string();
    assert!(dashboard.contains("Alice <b>") && dashboard.contains("A program, by the API"), "{dashboard}");
    assert_eq!(session_count(&authd), 0, "everywhere");
}

fn session_count(authd: &Authd) -> usize {
    let list = authd.admin().get("/sessions").expect("it answers").expect(200);
    list["sessions"].as_array().expect("a list").len()
}

/// authd with Google's settings for one provider, and another one that is not trusted for addresses.
fn with_two_providers() -> (Authd, Provider, Provider) {
    let setup = Setup::new();
    let base = format!("http://127.0.0.1:{}", setup.port());
    let google = Provider::start(&[format!("{base}/auth/google/callback")]);
    let team = Provider::start(&[format!("{base}/auth/team/callback")]);
    let toml = format!(
        "[google]\nissuer = \"{}\"\n[[provider]]\nname = \"team\"\nissuer = \"{}\"\nclient_id = \"{}\"\nweb = true\nend_session = true\n",
        google.issuer, team.issuer, team.public_client
    );
    let setup = setup.toml(&toml).env("GOOGLE_OAUTH_CLIENT_ID", &google.secret_client);
    let authd = setup.env("GOOGLE_OAUTH_CLIENT_SECRET", &google.client_secret).start();
    (authd, google, team)
}

/// The steps to sign in at a provider, in a window that is anywhere.
fn provider(window: &str, authd: &Authd, button: &str, user: &str) -> Vec<Value> {
    vec![
        json!({"window": window, "goto": format!("{}/login", authd.url())}),
        json!({"window": window, "press": button}),
        json!({"window": window, "fill": {"username": user, "password": "Passw0rd!"}}),
        json!({"window": window, "press": "Sign in"}),
    ]
}

#[test]
fn people_sign_in_with_two_providers_at_once() {
    let (authd, google, team) = with_two_providers();
    assert_ne!(google.issuer, team.issuer);
    let made =
        made(&authd, "/users", &json!({"username": "alice", "email": "alice@example.test", "password": PASSWORD}));
    let user = made["id"].as_str().expect("an id").to_owned();
    let no_account = json!({"see": "No account here is linked"});
    let at = |window: &str, step: &Value| {
        let mut step = step.clone();
        step["window"] = json!(window);
        step
    };
    // Nobody has verified the address here: it could be anybody's.
    let mut steps = provider("one", &authd, "Google", "alice");
    steps.push(at("one", &no_account));
    steps.push(json!({"window": "one", "axe": true}));
    let told = walk(&json!(steps));
    assert_eq!(told[steps.len() - 1], json!([]));
    assert_eq!(session_count(&authd), 0);
    authd.admin().post(&format!("/users/{user}/verify"), &json!({})).expect("it answers").expect(200);

    let mut steps = provider("one", &authd, "Google", "alice");
    steps.push(json!({"window": "one", "see": "Where you are signed in"}));
    steps.push(json!({"window": "one", "cookies": true}));
    // The same subject and address at the other one, which is not trusted for addresses.
    steps.extend(provider("two", &authd, "team", "alice"));
    steps.push(at("two", &no_account));
    // Google itself has not verified this one.
    steps.extend(provider("three", &authd, "Google", "bob"));
    steps.push(at("three", &no_account));
    // Who declines gets the form again.
    steps.extend([
        json!({"window": "four", "goto": format!("{}/login?return_to=/docs", authd.url())}),
        json!({"window": "four", "press": "team"}),
        json!({"window": "four", "press": "Cancel"}),
        json!({"window": "four", "see": "denied the sign-in: User cancelled"}),
        json!({"window": "four", "fill": {"username": "alice", "password": PASSWORD}}),
        json!({"window": "four", "press": "Sign in"}),
    ]);
    let told = walk(&json!(steps));
    assert!(cookie(&told[5], "__Host-session").is_some() && cookie(&told[5], "__Host-signin").is_none());
    assert_eq!(session_count(&authd), 2, "of alice, by Google and by password");
    let sessions = authd.admin().get("/sessions").expect("it answers").expect(200);
    let providers: Vec<&Value> =
        sessions["sessions"].as_array().expect("a list").iter().map(|s| &s["provider"]).collect();
    assert!(providers.contains(&&json!("google")), "{providers:?}");
}

#[test]
fn a_link_to_an_operation_opens_it_in_the_documentation() {
    let authd = Setup::new().start();
    let told = walk(&json!([
        {"goto": format!("{}/docs#tokens.create", authd.url())},
        {"see": "Needs the permission tokens.write"},
        {"axe": true},
    ]));
    assert_eq!(told[2], json!([]), "axe found {:#}", told[2]);
    // The others are closed.
    assert!(!told[1].to_string().contains("tokens.rotate"), "{}", told[1]);
}

/// By proof of both, whatever the provider says of addresses; and unlinked again.
#[test]
fn a_person_links_an_identity_and_signs_in_with_it() {
    let (authd, _google, team) = with_two_providers();
    made(&authd, "/users", &json!({"username": "ada", "password": PASSWORD}));
    let mut steps = vec![json!({"goto": format!("{}/login?return_to=/dashboard/identities", authd.url())})];
    steps.extend(password("first", "ada"));
    steps.extend([
        json!({"see": "None. With one you sign in"}),
        json!({"axe": true}),
        json!({"press": "Link team"}),
        json!({"fill": {"username": "bob", "password": "Passw0rd!"}}),
        json!({"press": "Sign in"}),
        json!({"see": "team: "}),
        json!({"axe": true}),
    ]);
    steps.extend(provider("two", &authd, "team", "bob"));
    steps.extend([
        json!({"window": "two", "see": "Where you are signed in"}),
        // Signing out here signs out there: it asks, since authd keeps no ID token, and then asks who signs in.
        json!({"window": "two", "press": "Sign out"}),
        json!({"window": "two", "press": "Yes, sign me out"}),
        json!({"window": "two", "see": "Or sign in with"}),
        json!({"window": "two", "press": "team"}),
        json!({"window": "two", "fill": {"username": "bob", "password": "Passw0rd!"}}),
        json!({"window": "two", "press": "Sign in"}),
        json!({"window": "two", "see": "Where you are signed in"}),
        // Who declines there has linked nothing.
        json!({"window": "first", "press": "Link Google"}),
        json!({"window": "first", "press": "Cancel"}),
        json!({"window": "first", "see": "denied the sign-in: User cancelled"}),
        json!({"window": "first", "press": "^Unlink"}),
        json!({"window": "first", "see": "None. With one you sign in"}),
        // The session that the identity made has ended, and it makes no more.
        json!({"window": "two", "goto": format!("{}/dashboard", authd.url())}),
        json!({"window": "two", "see": "Password"}),
    ]);
    steps.extend(provider("three", &authd, "team", "bob"));
    steps.push(json!({"window": "three", "see": "No account here is linked"}));
    let told = walk(&json!(steps));
    for (step, told) in steps.iter().zip(&told) {
        assert!(step.get("axe").is_none() || *told == json!([]), "axe found {told:#}");
    }
    let audit = authd.admin().get("/audit?limit=100").expect("it answers").expect(200).to_string();
    assert!(audit.contains("identities.link_own") && audit.contains("identities.unlink_own"), "{audit}");
    drop(team);
}

/// Who has neither password nor passkey proves it by signing in again at the provider, which says when that was.
#[test]
fn a_person_without_a_password_proves_it_by_signing_in_again_with_the_provider() {
    let (authd, google, team) = with_two_providers();
    // As most providers do: they say it when they are asked.
    team.steer("auth_time", &json!({"always": false}));
    let user = made(&authd, "/users", &json!({"username": "ada"}));
    let path = format!("/users/{}/identities", user["id"].as_str().expect("an id"));
    for name in ["google", "team"] {
        // What the rig knows bob as.
        made(&authd, &path, &json!({"provider": name, "subject": "22222222-bbbb-4bbb-8bbb-000000000002"}));
    }
    let mut steps = provider("one", &authd, "team", "bob");
    steps.extend([
        json!({"press": "Identities"}),
        json!({"press": "^Unlink.*Google"}),
        json!({"see": "a new proof that it is you"}),
        json!({"axe": true}),
        json!({"press": "Sign in again with team"}),
        json!({"fill": {"username": "bob", "password": "Passw0rd!"}}),
        json!({"press": "Sign in"}),
        json!({"see": "Your accounts at other sites"}),
        json!({"press": "^Unlink.*Google"}),
        json!({"see": "The identity is unlinked"}),
    ]);
    let steps: Vec<Value> = steps
        .into_iter()
        .map(|mut step| {
            step["window"] = json!("one");
            step
        })
        .collect();
    let told = walk(&json!(steps));
    for (step, told) in steps.iter().zip(&told) {
        assert!(step.get("axe").is_none() || *told == json!([]), "axe found {told:#}");
    }
    assert_eq!(session_count(&authd), 1, "the session from before has ended");
    drop((google, team));
}

#[test]
fn a_person_adds_a_passkey_and_signs_in_by_it_alone() {
    let setup = Setup::new();
    let url = format!("http://localhost:{}", setup.port());
    let authd = setup.env("AUTHD_PUBLIC_URL", &url).start();
    made(&authd, "/users", &json!({"username": "alice", "password": PASSWORD}));
    let mut steps =
        vec![json!({"authenticator": true}), json!({"goto": format!("{url}/login?return_to=/dashboard/security")})];
    steps.extend(password("first", "alice"));
    steps.extend([
        json!({"see": "without a password"}),
        json!({"press": "Add a passkey"}),
        json!({"see": "since .* UTC\\nRemove"}),
        json!({"open": "Rename"}),
        json!({"axe": true}),
        json!({"fill": {"name": "my laptop"}}),
        json!({"press": "Save the name"}),
        json!({"see": "my laptop\\nsince"}),
        json!({"press": "Sign out"}),
        json!({"see": "Password"}),
        json!({"axe": true}),
        json!({"press": "Sign in with a passkey"}),
        json!({"press": "Security"}),
        json!({"see": "last used .* UTC\\nRemove"}),
        json!({"cookies": true}),
        json!({"press": "^Remove the passkey"}),
        json!({"see": "without a password"}),
        // The session that proved it with the passkey goes on.
        json!({"press": "Sign out"}),
        json!({"see": "Password"}),
    ]);
    let told = walk(&json!(steps));
    for (step, told) in steps.iter().zip(&told) {
        assert!(step.get("axe").is_none() || *told == json!([]), "axe found {told:#}");
    }
    let added = told[6]["text"].as_str().expect("a text");
    assert!(added.contains("Authenticator app\noff") && !added.contains("Recovery codes"), "{added}");
    assert!(cookie(&told[18], "__Host-session").is_some());
    let audit = authd.admin().get("/audit?limit=50").expect("it answers").expect(200).to_string();
    assert!(audit.contains("\"factor\":\"passkey\""), "{audit}");
}

/// A site on another port of the same host is of the same site for cookies, and of another origin; one on another host
/// is of neither.
#[test]
fn other_sites_can_neither_sign_out_nor_sign_in() {
    let authd = Setup::new().start();
    made(&authd, "/users", &json!({"username": "alice", "password": PASSWORD}));
    let elsewhere = Provider::start(&[]);
    let url = authd.url();
    let mut steps = vec![json!({"goto": format!("{url}/login")})];
    steps.extend(password("first", "alice"));
    steps.push(json!({"see": "Where you are signed in"}));
    let mut refused = Vec::new();
    for host in ["127.0.0.1", "localhost"] {
        let from = format!("http://{host}:{}/__rig/hits", elsewhere.ports[0]);
        for path in ["/logout", "/dashboard/sessions/end-all", "/login"] {
            let form = json!({"form_token": "x", "username": "alice", "password": PASSWORD});
            refused.push((host, path, steps.len()));
            steps.push(json!({"post": {"from": from, "url": format!("{url}{path}"), "form": form}}));
        }
        steps.push(json!({"goto": format!("{url}/dashboard")}));
        steps.push(json!({"see": "Where you are signed in"}));
    }
    let told = walk(&json!(steps));
    for (host, path, step) in refused {
        // A site of another host sends no cookie: whoever is not signed in is sent to sign in.
        let is_sent_away = host == "localhost" && path != "/login";
        assert_eq!(told[step]["status"], json!(if is_sent_away { 200 } else { 403 }), "{host} {path} {}", told[step]);
    }
    assert_eq!(session_count(&authd), 1);
}

/// The application and authd are two hosts of one domain. Browsers find names below localhost without asking anybody.
#[test]
fn a_browser_signs_in_and_comes_back_to_the_application_behind_each_proxy() {
    for kind in [Kind::Caddy, Kind::Traefik, Kind::Envoy, Kind::EnvoyGrpc, Kind::Haproxy, Kind::Nginx] {
        let setup = Setup::new();
        let public_url = format!("http://auth.example.localhost:{}", setup.port());
        let example = kind.example("authd.toml").replace("#redirect_to_login", "redirect_to_login");
        let setup = setup.toml(&example).env("AUTHD_COOKIE_DOMAIN", "example.localhost");
        let authd = setup.env("AUTHD_PUBLIC_URL", &public_url).start();
        let app = Echo::start();
        let edits = [("#error_page 401", "error_page 401"), ("https://auth.example.com", public_url.as_str())];
        let proxy = Proxy::start_with(kind, authd.port(), app.port(), &edits);
        let granted = json!({"person_id": "alice", "service_id": "shop", "permission_id": "orders.read"});
        for (path, body) in [
            ("/services", json!({"name": "shop"})),
            ("/permissions", json!({"name": "orders.read"})),
            ("/users", json!({"username": "alice", "password": PASSWORD})),
            ("/users", json!({"username": "bob", "password": PASSWORD})),
            ("/person-service-permissions", granted),
        ] {
            let answer = authd.admin().post(path, &body).expect("it answers");
            assert!(answer.status < 300, "{kind:?} {path}: {}", answer.text());
        }
        let there = format!("http://app.example.localhost:{}/api/orders?a=b&c=d", proxy.port());
        let mut steps = vec![json!({"goto": there}), json!({"see": "Password"})];
        steps.extend(password("first", "alice"));
        steps.push(json!({"see": "/api/orders\\?a=b&c=d"}));
        steps.push(json!({"cookies": true}));
        // Who may not has signed in, and is told no.
        steps.extend([json!({"window": "bob", "goto": there}), json!({"window": "bob", "see": "Password"})]);
        steps.extend(password("bob", "bob"));
        let told = walk(&json!(steps));
        assert_eq!(told[3]["status"], 200, "{kind:?} {}", told[3]);
        assert!(told[3]["url"].as_str().is_some_and(|url| url == there), "{kind:?} {}", told[3]);
        let session = cookie(&told[5], "__Secure-session").expect("a session");
        assert_eq!(session["domain"], ".example.localhost", "{kind:?}");
        assert_eq!(told[9]["status"], 403, "{kind:?} {}", told[9]);
        // A program gets the status.
        assert_eq!(proxy.http().get("/api/orders").expect("it answers").status, 401, "{kind:?}");
    }
}
