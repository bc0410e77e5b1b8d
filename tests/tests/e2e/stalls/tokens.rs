//! Changes of tokens.

use super::scene::{Kind, Place, Question, Scene, Subject, text};
use serde_json::json;
use tests::authd::ADMIN_TOKEN;
use tests::http::Http;

pub(super) const KINDS: &[Kind] = &[
    Kind { name: "tokens.revoke", make: revoke },
    Kind { name: "tokens.rotate", make: rotate },
    Kind { name: "tokens.extend", make: extend },
    Kind { name: "introspection.revoke of an API token", make: give_back },
    Kind { name: "services.revoke_token", make: revoke_of_service },
];

/// What is said of this secret.
fn checks(scene: &Scene, token: &str) -> Vec<(&'static str, Question)> {
    let body = json!({"token": token, "required_scopes": ["read"]});
    let validate = scene.ask(move |http| http.post("/auth/validate", &body), |v| v["valid"] == true);
    let (admin, form) = (scene.authd.admin(), format!("token={token}"));
    let introspect = scene.ask(move |_| admin.form("/introspect", &form), |v| v["active"] == true);
    vec![("validate", validate), ("introspect", introspect), scene.forward(token)]
}

fn admin(http: &Http) -> Http {
    http.clone().bearer(ADMIN_TOKEN)
}

fn revoke(scene: &Scene) -> Subject {
    let (token, id) = scene.token(json!({}));
    let path = format!("/auth/tokens/{id}/revoke");
    Subject {
        change: Box::new(move |http| admin(http).post(&path, &json!({}))),
        shown: scene.show(format!("/auth/tokens/{id}"), |v| v["revoked_at"].is_null()),
        checks: checks(scene, &token),
    }
}

fn rotate(scene: &Scene) -> Subject {
    let (token, id) = scene.token(json!({}));
    let path = format!("/auth/tokens/{id}/rotate");
    let audit = format!("/audit?action=tokens.rotate&subject={id}");
    Subject {
        change: Box::new(move |http| admin(http).post(&path, &json!({"grace_seconds": 0}))),
        // no row tells how old a secret is, but the one that was committed with it
        shown: scene.show(audit, |v| v["entries"].as_array().is_some_and(Vec::is_empty)),
        checks: checks(scene, &token),
    }
}

fn extend(scene: &Scene) -> Subject {
    let (token, id) = scene.token(json!({"ttl_days": 1}));
    let path = format!("/auth/tokens/{id}/extend");
    let show = format!("/auth/tokens/{id}");
    let row = scene.authd.admin().get(&show).expect("it answers").expect(200);
    let (end, same_end) = (text(&row, "expires_at"), text(&row, "expires_at"));
    let (admin_http, form) = (scene.authd.admin(), format!("token={token}"));
    let told = admin_http.form("/introspect", &form).expect("it answers").expect(200);
    let exp = told["exp"].as_i64().expect("it expires");
    let body = json!({"token": token});
    Subject {
        change: Box::new(move |http| admin(http).post(&path, &json!({"extend_days": 30}))),
        shown: scene.show(show, move |v| v["expires_at"] == end.as_str()),
        checks: vec![
            (
                "validate",
                scene.ask(move |http| http.post("/auth/validate", &body), move |v| v["expires_at"] == same_end),
            ),
            ("introspect", scene.ask(move |_| admin_http.form("/introspect", &form), move |v| v["exp"] == exp)),
        ],
    }
}

/// A token that gives itself back.
fn give_back(scene: &Scene) -> Subject {
    let (token, id) = scene.token(json!({}));
    let checks = checks(scene, &token);
    Subject {
        change: Box::new(move |http| http.clone().bearer(&token).form("/revoke", &format!("token={token}"))),
        shown: scene.show(format!("/auth/tokens/{id}"), |v| v["revoked_at"].is_null()),
        checks,
    }
}

fn revoke_of_service(scene: &Scene) -> Subject {
    let (token, id) = scene.service_token_of("desk");
    let person = scene.person();
    let place = Place { token: token.clone(), ..scene.desk() };
    let mut checks = scene.access(&person, &place);
    // the administrator's own questions do not hang on the service's token
    checks.drain(..2);
    let body = json!({"token": token});
    checks.push(("validate", scene.ask(move |http| http.post("/auth/validate", &body), |v| v["valid"] == true)));
    let path = format!("/services/desk/token/{id}");
    let show = format!("/auth/tokens/{id}");
    Subject {
        change: Box::new(move |http| admin(http).send("DELETE", &path, None)),
        shown: scene.show(show, |v| v["revoked_at"].is_null()),
        checks,
    }
}
