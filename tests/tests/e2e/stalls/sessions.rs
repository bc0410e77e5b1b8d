//! Changes that end sessions.

use super::scene::{Change, Kind, PASSWORD, Person, Question, Scene, Subject};
use serde_json::{Value, json};
use std::io;
use tests::authd::ADMIN_TOKEN;
use tests::http::{Http, Response};

/// So many live sessions a user has at most.
const MOST: usize = 256;

pub(super) const KINDS: &[Kind] = &[
    Kind { name: "sessions.logout", make: logout },
    Kind { name: "sessions.end", make: end },
    Kind { name: "sessions.end_own", make: end_own },
    Kind { name: "sessions.end_all", make: end_all },
    Kind { name: "introspection.revoke of a session", make: give_back },
    Kind { name: "users.update of the password", make: set_password },
    Kind { name: "sessions.change_password", make: change_password },
    Kind { name: "sessions.login beyond the most", make: login_beyond },
];

fn admin(http: &Http) -> Http {
    http.clone().bearer(ADMIN_TOKEN)
}

/// Whether this session is in the list of live ones.
fn is_listed(scene: &Scene, user: &str, id: String) -> Question {
    let listed =
        move |v: &Value| v["sessions"].as_array().is_some_and(|all| all.iter().any(|s| s["id"] == id.as_str()));
    scene.show(format!("/sessions?user={user}&limit=1000"), listed)
}

/// A person with one session, and what becomes of that.
fn subject(scene: &Scene, change: impl FnOnce(&Person, String) -> Change) -> Subject {
    let person = scene.person();
    let [id] = scene.sessions(&person.name).try_into().expect("one session");
    let change = change(&person, id.clone());
    Subject { change, shown: is_listed(scene, &person.name, id), checks: scene.session_checks(&person) }
}

fn logout(scene: &Scene) -> Subject {
    subject(scene, |person, _| {
        let session = person.session.clone();
        Box::new(move |http| http.clone().bearer(&session).post("/auth/logout", &json!({})))
    })
}

fn end(scene: &Scene) -> Subject {
    subject(scene, |_, id| {
        let path = format!("/sessions/{id}");
        Box::new(move |http| admin(http).send("DELETE", &path, None))
    })
}

/// One session ends another of the same person.
fn end_own(scene: &Scene) -> Subject {
    subject(scene, |person, id| {
        let (path, other) = (format!("/auth/sessions/{id}"), scene.login(&person.name));
        Box::new(move |http| http.clone().bearer(&other).send("DELETE", &path, None))
    })
}

fn end_all(scene: &Scene) -> Subject {
    subject(scene, |person, _| {
        let path = format!("/users/{}/sessions", person.id);
        Box::new(move |http| admin(http).send("DELETE", &path, None))
    })
}

fn give_back(scene: &Scene) -> Subject {
    subject(scene, |person, _| {
        let session = person.session.clone();
        Box::new(move |http| http.clone().bearer(&session).form("/revoke", &format!("token={session}")))
    })
}

fn put(http: &Http, path: &str, body: &Value) -> io::Result<Response> {
    http.send("PUT", path, Some(("application/json", body.to_string().as_bytes())))
}

fn set_password(scene: &Scene) -> Subject {
    subject(scene, |person, _| {
        let path = format!("/users/{}", person.id);
        Box::new(move |http| put(&admin(http), &path, &json!({"password": "another one, and a good one"})))
    })
}

/// The session that changes the password stays, the others end.
fn change_password(scene: &Scene) -> Subject {
    subject(scene, |person, _| {
        let other = scene.login(&person.name);
        let body = json!({"password": PASSWORD, "new_password": "another one, and a good one"});
        Box::new(move |http| put(&http.clone().bearer(&other), "/auth/password", &body))
    })
}

/// A login of a user who has as many sessions as there may be: the one that would end first ends.
fn login_beyond(scene: &Scene) -> Subject {
    let mut crowd = scene.crowd.lock().expect("no test panics with it");
    let (person, tokens) = crowd.get_or_insert_with(|| {
        let person = scene.person();
        let tokens = std::iter::once(person.session.clone());
        let tokens = tokens.chain((1..MOST).map(|_| scene.login(&person.name))).collect();
        (person, tokens)
    });
    let sessions = scene.sessions(&person.name);
    assert_eq!(sessions.len(), MOST);
    let oldest = sessions.last().expect("there are some").clone();
    // a login before this one that was answered 503 has ended one more
    let is_live = |token: &String| {
        let answer = scene.authd.http().post("/check-token", &json!({"token": token})).expect("it answers");
        answer.expect(200)["valid"] == true
    };
    while !tokens.front().is_some_and(is_live) {
        tokens.pop_front();
    }
    let session = tokens.front().expect("the oldest").clone();
    let body = json!({"username": person.name, "password": PASSWORD});
    let oldest_of = Person { id: person.id.clone(), name: person.name.clone(), session };
    Subject {
        change: Box::new(move |http| http.post("/auth/login", &body)),
        shown: is_listed(scene, &person.name, oldest),
        checks: scene.session_checks(&oldest_of),
    }
}
