//! A daemon with what the kinds of change need, and the questions that its caches answer.

use serde_json::{Value, json};
use std::collections::VecDeque;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use tests::TIMEOUT;
use tests::authd::{Authd, Setup};
use tests::http::{Http, Response};
use tests::until;

pub(super) const PASSWORD: &str = "correct horse battery staple";
/// The permission that the service `desk` is about, and that the policy `desk` requires of people.
pub(super) const USE: &str = "desk.use";

/// One kind of change.
pub(super) struct Kind {
    pub(super) name: &'static str,
    /// Makes something new that can be changed.
    pub(super) make: fn(&Scene) -> Subject,
}

/// Whether the answer is the one that is right after the change; an error when it is no answer.
pub(super) type Question = Box<dyn Fn() -> Result<bool, String> + Send + Sync>;

/// Sends a change by the client it is given, which bears no credentials.
pub(super) type Change = Box<dyn Fn(&Http) -> io::Result<Response> + Send + Sync>;

/// What is to be changed, how, and who can tell.
pub(super) struct Subject {
    pub(super) change: Change,
    /// What the API shows of the stored row.
    pub(super) shown: Question,
    /// What checks say, with their names.
    pub(super) checks: Vec<(&'static str, Question)>,
}

/// A user with a session and what they were given in the desk.
pub(super) struct Person {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) session: String,
}

pub(super) struct Scene {
    pub(super) authd: Authd,
    /// The token of the service `desk`.
    pub(super) service_token: String,
    next: AtomicUsize,
    /// The user with as many sessions as there may be, and the tokens of these, oldest first.
    pub(super) crowd: Mutex<Option<(Person, VecDeque<String>)>>,
}

impl Scene {
    pub(super) fn open() -> Self {
        let policy = "[[policy]]\nname = \"desk\"\nservice = \"desk\"\nsource = \"forwarded\"\n\
            [[policy.rule]]\npaths = [\"/*\"]\nscopes = [\"read\"]\npermissions = [\"desk.use\"]\n\
            [tokens]\nlast_used_seconds = 3600\n";
        // No renewal and no mark of a use comes in between: the stalled commit is that of the change.
        let setup = Setup::new().toml(policy).env("TOKEN_TTL_SECONDS", "7200");
        let authd = setup.env("TOKEN_RENEW_THRESHOLD_SECONDS", "7000").start();
        let mut scene =
            Self { authd, service_token: String::new(), next: AtomicUsize::new(1), crowd: Mutex::default() };
        scene.post("/services", json!({"name": "desk"}));
        scene.post("/permissions", json!({"name": USE}));
        scene.service_token = scene.service_token_of("desk").0;
        scene
    }

    /// Commits something else: the log is then in use, so that what comes next syncs its own rows and no head of the log.
    pub(super) fn settle(&self) {
        self.named("/permissions", "settled");
    }

    /// A name that nothing has yet.
    pub(super) fn name(&self, kind: &str) -> String {
        format!("{kind}-{}", self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// As the administrator; it must succeed.
    #[track_caller]
    pub(super) fn post(&self, path: &str, body: Value) -> Value {
        let answer = self.authd.admin().post(path, &body).expect("it answers");
        assert!((200..300).contains(&answer.status), "{path} {body}: {} {}", answer.status, answer.text());
        answer.json()
    }

    /// Makes something that has a name, and answers that.
    #[track_caller]
    pub(super) fn named(&self, path: &str, kind: &str) -> String {
        let name = self.name(kind);
        self.post(path, json!({"name": name}));
        name
    }

    /// An API token with the scope `read`: its secret and its id. Its first use is marked.
    #[track_caller]
    pub(super) fn token(&self, body: Value) -> (String, String) {
        let mut full = json!({"name": self.name("token"), "scopes": ["read"]});
        full.as_object_mut().expect("an object").extend(body.as_object().cloned().unwrap_or_default());
        let made = self.post("/auth/tokens", full);
        let (token, id) = (text(&made, "token"), text(&made, "token_id"));
        assert_eq!(self.authd.validate(&token, &[])["valid"], true);
        let path = format!("/auth/tokens/{id}");
        until(TIMEOUT, "the mark of the first use", || {
            let shown = self.authd.admin().get(&path).ok()?.json();
            shown["last_used_at"].is_string().then_some(())
        });
        (token, id)
    }

    /// A service's own token: its secret and its id. Its first use is marked.
    #[track_caller]
    pub(super) fn service_token_of(&self, service: &str) -> (String, String) {
        let path = format!("/services/{service}/token");
        let made = self.post(&path, json!({"name": self.name("service-token")}));
        let (token, id) = (text(&made, "token"), text(&made, "token_id"));
        assert_eq!(self.authd.http().bearer(&token).get("/auth/whoami").expect("it answers").status, 200);
        until(TIMEOUT, "the mark of the first use", || {
            let list = self.authd.admin().get(&path).ok()?.json();
            let marked = |t: &Value| t["token_id"] == id.as_str() && t["last_used_at"].is_string();
            list["tokens"].as_array()?.iter().any(marked).then_some(())
        });
        (token, id)
    }

    /// A user who is signed in, and who was given nothing.
    #[track_caller]
    pub(super) fn stranger(&self) -> Person {
        let name = self.name("user");
        let made = self.post("/users", json!({"username": name, "password": PASSWORD}));
        let id = text(&made, "id");
        let session = self.login(&name);
        Person { id, name, session }
    }

    /// A user who is signed in and may use the desk.
    #[track_caller]
    pub(super) fn person(&self) -> Person {
        let person = self.stranger();
        let grant = json!({"person_id": person.id, "service_id": "desk", "permission_id": USE});
        self.post("/person-service-permissions", grant);
        person
    }

    #[track_caller]
    pub(super) fn login(&self, name: &str) -> String {
        let answer = self.authd.http().post("/auth/login", &json!({"username": name, "password": PASSWORD}));
        text(&answer.expect("it answers").expect(200), "token")
    }

    /// The ids of a user's live sessions, newest first.
    #[track_caller]
    pub(super) fn sessions(&self, user: &str) -> Vec<String> {
        let path = format!("/sessions?user={user}&limit=1000");
        let list = self.authd.admin().get(&path).expect("it answers").expect(200);
        list["sessions"].as_array().expect("a list").iter().map(|session| text(session, "id")).collect()
    }

    /// A question to the daemon: `ask` sends it, and `holds` says of a good answer whether all is as it was. Refused is
    /// that it is not.
    pub(super) fn ask(
        &self,
        ask: impl Fn(&Http) -> io::Result<Response> + Send + Sync + 'static,
        holds: impl Fn(&Value) -> bool + Send + Sync + 'static,
    ) -> Question {
        let http = self.authd.http();
        Box::new(move || {
            let answer = ask(&http).map_err(|error| error.to_string())?;
            match answer.status {
                200 => Ok(!holds(&serde_json::from_slice(&answer.body).unwrap_or(Value::Null))),
                401 | 403 | 404 => Ok(true),
                status => Err(format!("{status} {}", answer.text())),
            }
        })
    }

    /// A question by GET, as the administrator.
    pub(super) fn show(&self, path: String, holds: impl Fn(&Value) -> bool + Send + Sync + 'static) -> Question {
        let admin = self.authd.admin();
        self.ask(move |_| admin.get(&path), holds)
    }

    /// What a proxy is told about whoever bears this token.
    pub(super) fn forward(&self, token: &str) -> (&'static str, Question) {
        let token = token.to_owned();
        let ask = move |http: &Http| {
            let http = http.clone().bearer(&token).with("x-forwarded-method", "GET").with("x-forwarded-uri", "/work");
            http.get("/auth/forward/desk")
        };
        ("forward", self.ask(ask, |_| true))
    }

    /// What the services' questions say of this user with this session, and of this permission.
    pub(super) fn access(&self, person: &Person, service: &Place) -> Vec<(&'static str, Question)> {
        let Place { service, token: service_token, permission } = service.clone();
        let lists = |value: &Value, permission: &str| {
            value["permissions"].as_array().is_some_and(|all| all.iter().any(|p| p == permission))
        };
        let admin = self.authd.admin();
        let body = json!({"person_id": person.id, "service_id": service, "permission_name": permission});
        let permitted = self.ask(move |_| admin.post("/check-permission", &body), |v| v["has_permission"] == true);
        let body = json!({"token": person.session, "service_id": service});
        let wanted = permission.clone();
        let token = self.ask(
            move |http| http.post("/check-token", &body),
            move |v| v["valid"] == true && lists(&v["payload"], &wanted),
        );
        let (body, bearer, wanted) = (json!({"token": person.session}), service_token.clone(), permission.clone());
        let access = self.ask(
            move |http| http.clone().bearer(&bearer).post("/check-access", &body),
            move |v| v["valid"] == true && lists(&v["access"], &wanted),
        );
        let form = format!("token={}", person.session);
        let introspect = self.ask(
            move |http| http.clone().bearer(&service_token).form("/introspect", &form),
            move |v| v["scope"].as_str().is_some_and(|scope| scope.split(' ').any(|s| s == permission)),
        );
        vec![
            ("check-permission", permitted),
            ("check-token", token),
            ("check-access", access),
            ("introspect", introspect),
        ]
    }

    /// Everything that a session is asked for: services' questions, a proxy's, and the person's own.
    pub(super) fn session_checks(&self, person: &Person) -> Vec<(&'static str, Question)> {
        let mut checks = self.access(person, &self.desk());
        // whether a person has a permission does not hang on a session
        checks.drain(..1);
        checks.push(self.forward(&person.session));
        let token = person.session.clone();
        checks.push(("whoami", self.ask(move |http| http.clone().bearer(&token).get("/auth/whoami"), |_| true)));
        checks
    }

    /// The service that all subjects share, where [`USE`] is required.
    pub(super) fn desk(&self) -> Place {
        Place { service: "desk".into(), token: self.service_token.clone(), permission: USE.into() }
    }
}

/// A service with its own token, and a permission there.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) service: String,
    pub(super) token: String,
    pub(super) permission: String,
}

#[track_caller]
pub(super) fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_else(|| panic!("no {field}: {value}")).to_owned()
}

/// An expectation turned round: for changes that give something.
pub(super) fn inverted(questions: Vec<(&'static str, Question)>) -> Vec<(&'static str, Question)> {
    let invert = |question: Question| -> Question { Box::new(move || question().map(|changed| !changed)) };
    questions.into_iter().map(|(name, question)| (name, invert(question))).collect()
}
