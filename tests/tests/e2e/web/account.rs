//! What people do with their account in a real browser.

use serde_json::json;
use tests::authd::Setup;
use tests::postgres::Postgres;

use super::*;

/// Where to keep screenshots, if the environment names a folder.
fn shot(steps: &mut Vec<Value>, name: &str) {
    if let Ok(folder) = std::env::var("AUTHD_TEST_SCREENSHOTS") {
        steps.push(json!({"shot": format!("{folder}/{name}")}));
        steps.extend([json!({"dark": true}), json!({"shot": format!("{folder}/{name}-dark")}), json!({"axe": true})]);
    }
}

/// Walks, and fails where axe finds something.
#[track_caller]
pub fn walk_well(steps: &[Value]) -> Vec<Value> {
    let told = walk(&json!(steps));
    for (number, (step, told)) in steps.iter().zip(&told).enumerate() {
        assert!(step.get("axe").is_none() || *told == json!([]), "step {number}: axe found {told:#}");
    }
    told
}

#[test]
fn a_person_turns_totp_on_signs_in_with_it_and_deletes_the_account() {
    let authd = Setup::new().start();
    made(&authd, "/users", &json!({"username": "alice", "name": "Alice Lovelace", "password": PASSWORD}));
    for (path, body) in [
        ("/services", json!({"name": "shop"})),
        ("/roles", json!({"name": "clerk"})),
        ("/permissions", json!({"name": "orders.read"})),
        ("/permissions", json!({"name": "orders.write"})),
        ("/role-permissions", json!({"role_id": "clerk", "permission_id": "orders.read"})),
        ("/service-roles", json!({"service_id": "shop", "role_id": "clerk"})),
        ("/person-service-roles", json!({"person_id": "alice", "service_id": "shop", "role_id": "clerk"})),
        (
            "/person-service-permissions",
            json!({"person_id": "alice", "service_id": "shop", "permission_id": "orders.write"}),
        ),
    ] {
        let answer = authd.admin().post(path, &body).expect("it answers");
        assert!(answer.status < 300, "{path}: {}", answer.text());
    }
    let mut steps = vec![json!({"goto": format!("{}/login", authd.url())})];
    steps.extend(password("first", "alice"));
    steps.extend([json!({"see": "Where you are signed in"}), json!({"axe": true})]);
    shot(&mut steps, "dashboard");
    steps.extend([json!({"press": "Security"}), json!({"see": "your password alone"}), json!({"axe": true})]);
    steps.extend([json!({"press": "Set it up"}), json!({"see": "takes a code"}), json!({"axe": true})]);
    steps.extend([json!({"fill": {"password": PASSWORD}}), json!({"press": "Continue"}), json!({"see": "Scan this"})]);
    steps.extend([json!({"axe": true}), json!({"keep": {"secret": "#secret"}})]);
    shot(&mut steps, "totp");
    steps.extend([json!({"fill": {"code": "000000"}}), json!({"press": "Turn it on"}), json!({"see": "is wrong"})]);
    steps.extend([json!({"axe": true}), json!({"fill": {"code": {"totp": "now"}}}), json!({"press": "Turn it on"})]);
    steps.extend([json!({"see": "shown only once"}), json!({"axe": true}), json!({"keep": {"codes": ".codes code"}})]);
    shot(&mut steps, "recovery-codes");
    steps.extend([json!({"press": "I have kept them"}), json!({"see": "10 left"}), json!({"axe": true})]);
    shot(&mut steps, "security");
    steps.extend([json!({"press": "Make new codes"}), json!({"axe": true})]);
    steps.push(json!({"fill": {"password": PASSWORD, "code": {"kept": "codes", "number": 0}}}));
    steps.extend([json!({"press": "Make new codes"}), json!({"keep": {"codes": ".codes code"}})]);
    steps.extend([json!({"press": "Security"}), json!({"press": "Change the password"}), json!({"axe": true})]);
    shot(&mut steps, "password");
    steps.extend([json!({"press": "Back"}), json!({"press": "Turn it off"}), json!({"axe": true})]);
    steps.extend([json!({"press": "Access"}), json!({"see": "Granted directly"}), json!({"axe": true})]);
    shot(&mut steps, "access");
    steps.extend([json!({"press": "Sign out"}), json!({"see": "Password"})]);
    steps.extend(password("first", "alice"));
    steps.extend([json!({"see": "authenticator app"}), json!({"fill": {"code": {"totp": "+30 seconds"}}})]);
    steps.extend([json!({"press": "Sign in"}), json!({"see": "Where you are signed in"})]);
    steps.extend([json!({"press": "Delete the account"}), json!({"see": "for good"}), json!({"axe": true})]);
    shot(&mut steps, "delete");
    steps.extend([json!({"fill": {"password": PASSWORD, "code": "000000"}}), json!({"press": "Delete the account"})]);
    steps.extend([json!({"see": "is wrong"}), json!({"axe": true})]);
    steps.push(json!({"fill": {"password": PASSWORD, "code": {"kept": "codes", "number": 1}}}));
    steps.extend([json!({"press": "Delete the account"}), json!({"see": "Your account is deleted"})]);
    steps.extend([json!({"axe": true}), json!({"cookies": true})]);
    steps.extend([json!({"goto": format!("{}/dashboard", authd.url())}), json!({"see": "Password"})]);
    let told = walk_well(&steps);
    assert_eq!(told[steps.len() - 3], json!([]), "no cookie is left");
    assert_eq!(session_count(&authd), 0);
    let users = authd.admin().get("/users").expect("it answers").expect(200);
    assert_eq!(users["users"], json!([]));
}

/// Sign-ins of the database are stale from the start, by a trigger, since nobody waits for five minutes here.
const STALE: &str = "CREATE FUNCTION stale() RETURNS trigger AS $$ BEGIN \
     IF (SELECT COUNT(*) FROM sessions WHERE user_id = NEW.user_id) % 2 = 0 \
       THEN NEW.factor_at := NEW.factor_at - 600000; END IF; RETURN NEW; END $$ LANGUAGE plpgsql; \
     CREATE TRIGGER stale BEFORE INSERT ON sessions FOR EACH ROW EXECUTE FUNCTION stale();";

#[test]
fn who_is_asked_for_a_new_proof_gives_it_by_password_and_then_by_passkey() {
    let server = Postgres::start();
    let database = server.database();
    let setup = Setup::new().database(&database);
    let url = format!("http://localhost:{}", setup.port());
    let authd = setup.env("AUTHD_PUBLIC_URL", &url).start();
    server.sql(&database, STALE);
    made(&authd, "/users", &json!({"username": "alice", "password": PASSWORD}));
    let mut steps = vec![json!({"authenticator": true})];
    steps.push(json!({"goto": format!("{url}/login?return_to=/dashboard/security")}));
    steps.extend(password("first", "alice"));
    steps.extend([json!({"see": "without a password"}), json!({"cookies": true})]);
    let before = steps.len() - 1;
    steps.extend([json!({"press": "Add a passkey"}), json!({"see": "Is it you"}), json!({"axe": true})]);
    steps.extend([json!({"fill": {"password": "wrong"}}), json!({"press": "Continue"})]);
    steps.extend([json!({"see": "The password is wrong"}), json!({"axe": true})]);
    steps.extend([json!({"fill": {"password": PASSWORD}}), json!({"press": "Continue"})]);
    steps.extend([json!({"see": "without a password"}), json!({"cookies": true})]);
    let after = steps.len() - 1;
    steps.extend([json!({"press": "Add a passkey"}), json!({"see": "since .* UTC\\nRemove"})]);
    steps.extend([json!({"press": "Sign out"}), json!({"see": "Password"})]);
    steps.extend(password("first", "alice"));
    steps.extend([json!({"press": "Security"}), json!({"press": "^Remove the passkey"}), json!({"see": "Is it you"})]);
    shot(&mut steps, "verify");
    steps.extend([
        json!({"axe": true}),
        json!({"press": "Use a passkey"}),
        json!({"see": "last used .* UTC\\nRemove"}),
    ]);
    steps.extend([json!({"press": "^Remove the passkey"}), json!({"see": "The passkey is removed"})]);
    steps.push(json!({"axe": true}));
    let told = walk_well(&steps);
    let session = |step: usize| cookie(&told[step], "__Host-session").expect("a session")["value"].clone();
    assert_ne!(session(before), session(after));
    assert_eq!(session_count(&authd), 1);
}

#[test]
fn who_has_no_password_is_mailed_a_link_to_set_one() {
    let server = Postgres::start();
    let database = server.database();
    let setup = Setup::new().database(&database);
    let base = format!("http://127.0.0.1:{}", setup.port());
    let google = Provider::start(&[format!("{base}/auth/google/callback")]);
    let setup = setup.toml(&format!("[google]\nissuer = \"{}\"\n", google.issuer));
    let setup = setup.env("GOOGLE_OAUTH_CLIENT_ID", &google.secret_client);
    let setup = setup.env("GOOGLE_OAUTH_CLIENT_SECRET", &google.client_secret).env("AUTHD_SIGN_UP", "open");
    let authd = setup.env("SMTP_URL", "smtp://127.0.0.1:1").env("SMTP_FROM", "auth@example.com").start();
    server.sql(&database, STALE);
    let mut steps = super::provider("first", &authd, "Google", "alice");
    steps.extend([json!({"see": "Where you are signed in"}), json!({"axe": true})]);
    for path in ["totp", "password", "email", "delete"] {
        steps.push(json!({"goto": format!("{base}/dashboard/{path}")}));
        steps.extend([json!({"see": "takes a password, and your account has none"}), json!({"axe": true})]);
    }
    steps.extend([
        json!({"goto": format!("{base}/dashboard/verify")}),
        json!({"see": "Sign in again with Google"}),
        json!({"axe": true}),
        json!({"press": "Security"}),
        json!({"see": "you sign in without one"}),
        json!({"axe": true}),
    ]);
    steps.extend([json!({"press": "Mail me a link to set one"}), json!({"see": "was mailed to you"})]);
    walk_well(&steps);
    let mails = authd.admin().get("/mails").expect("it answers").expect(200).to_string();
    assert!(mails.contains("\"reset\"") && mails.contains("alice@example.test"), "{mails}");
}
