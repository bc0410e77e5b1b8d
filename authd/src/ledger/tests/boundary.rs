//! Every operation that changes something, with a caller who loses their authority between judgement and commit.

mod operations;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use shared::api::sessions::SessionKind;
use shared::id::{FactorId, SessionId, UserId};

use self::operations::{Kind, READS, SELF_PROVING, Scenario, scenarios};
use super::PASSWORD;
use crate::accounts;
use crate::accounts::factors::testing::insert as insert_totp;
use crate::accounts::passkeys::testing::{self as passkeys, insert as insert_passkey};
use crate::caller::{Caller, Permissions};
use crate::db::{Db, Query, Row, Statement};
use crate::env::HOUR;
use crate::rbac::AUTHD;
use crate::sessions::store::{NewLogin, insert_login};
use crate::testing::TestApp;
use crate::tokens::model::hash;
use crate::webauthn::testing::Authenticator;

const TABLES: [&str; 17] = [
    "SELECT * FROM audit WHERE outcome = 'ok' ORDER BY 1",
    "SELECT * FROM counters ORDER BY 1",
    // The mails that people ask for are counted before anything is looked up.
    "SELECT * FROM ephemeral WHERE key NOT LIKE 'mail:%' ORDER BY 1",
    "SELECT * FROM idempotency ORDER BY 1",
    "SELECT * FROM identities ORDER BY 1",
    "SELECT * FROM invalidations ORDER BY 1",
    "SELECT * FROM key_ring ORDER BY 1",
    "SELECT * FROM mails ORDER BY 1",
    "SELECT * FROM outbox ORDER BY 1",
    "SELECT * FROM permissions ORDER BY 1",
    "SELECT person_id || service_id || permission_id FROM person_service_permissions ORDER BY 1",
    "SELECT person_id || service_id || role_id FROM person_service_roles ORDER BY 1",
    "SELECT * FROM roles ORDER BY 1",
    "SELECT service_id || role_id FROM service_roles UNION SELECT role_id || permission_id FROM role_permissions ORDER BY 1",
    "SELECT * FROM services ORDER BY 1",
    "SELECT * FROM sessions ORDER BY 1",
    "SELECT * FROM secrets ORDER BY 1",
];
/// A file of Alice's.
const FILE: &str = "01900000-0000-7000-8000-000000000000";
const INSERT_FILE: &str = "INSERT INTO files (key, user_id, name, content_type, size, etag, created_at) \
     SELECT $1, id, 'a.txt', 'text/plain', 1, 'a', 0 FROM users WHERE live_name = 'alice'";

const MORE_TABLES: [&str; 9] = [
    "SELECT * FROM file_leftovers ORDER BY 1",
    "SELECT * FROM file_usage ORDER BY 1",
    "SELECT * FROM files ORDER BY 1",
    "SELECT * FROM links ORDER BY 1",
    "SELECT * FROM factors ORDER BY 1",
    "SELECT * FROM recovery_codes ORDER BY 1, 2",
    "SELECT * FROM tokens ORDER BY 1",
    "SELECT * FROM users ORDER BY 1",
    // The attempts of a wrong or right password are counted before anything is judged.
    "SELECT key FROM login_attempts ORDER BY 1",
];

async fn tables(db: &dyn Db) -> Vec<Vec<Row>> {
    let mut all = Vec::new();
    for sql in TABLES.into_iter().chain(MORE_TABLES) {
        all.push(db.query(Query::new(sql, [])).await.unwrap());
    }
    all
}

/// What the operations are about.
struct Made {
    app: TestApp,
    session: String,
    mail: Value,
    other_session: SessionId,
    service_token: Value,
    /// Passkeys of alice, bob and reader.
    passkeys: BTreeMap<&'static str, FactorId>,
    /// Identities of bob, reader and the callers, by their names.
    identities: BTreeMap<String, Value>,
    callers: u32,
    /// The last caller's name, second session, and user with session.
    name: String,
    own_session: SessionId,
    caller: Option<(UserId, SessionId)>,
    /// The last caller's passkey.
    passkey: Option<(FactorId, Authenticator)>,
}

impl Made {
    async fn new() -> Self {
        let mail = "[mail]\nsmtp_url = \"smtp://127.0.0.1:1\"\nfrom = \"a@example.com\"\nper_address_per_hour = 1000\n\
             [[provider]]\nname = \"corp\"\nissuer = \"https://corp.test\"\nclient_id = \"x\"\nweb = true\n";
        let app = TestApp::with(&[passkeys::CONFIG, mail].concat()).await;
        let must = async |operation: &str, fields: Value| app.call(operation, fields).await.unwrap();
        for username in ["alice", "bob", "reader"] {
            must("users.create", json!({ "username": username })).await;
        }
        must("users.create", json!({ "username": "zoe", "email": "zoe@example.com" })).await;
        must("services.create", json!({ "name": "shop" })).await;
        for role in ["clerk", "auditor", "spare"] {
            must("roles.create", json!({ "name": role })).await;
        }
        for permission in ["orders.read", "orders.write"] {
            must("permissions.create", json!({ "name": permission })).await;
        }
        must("roles.add_permission", json!({ "role_id": "clerk", "permission_id": "orders.read" })).await;
        must("services.add_role", json!({ "service_id": "shop", "role_id": "clerk" })).await;
        must("services.add_role", json!({ "service_id": "authd", "role_id": "auditor" })).await;
        must("grants.add_role", json!({ "person_id": "alice", "service_id": "shop", "role_id": "clerk" })).await;
        for (person, service, permission) in [("alice", "shop", "orders.write"), ("reader", "authd", "users.read")] {
            let grant = json!({ "person_id": person, "service_id": service, "permission_id": permission });
            must("grants.add_permission", grant).await;
        }
        must("tokens.create", json!({ "name": "ci", "scopes": ["read"], "ttl_days": 9 })).await;
        let service_token = must("services.create_token", json!({ "id": "shop" })).await;
        let mail = must("mail.test", json!({ "to": "ada@example.com" })).await["id"].clone();
        let locks = accounts::store::Locks { most: 9, most_per_address: 9, first: HOUR, forever_at: 99, forever: HOUR };
        let failed = accounts::store::count_name("name:mallory", ["", ""], app.env.now(), &locks);
        let file = Statement::one("insert_file", INSERT_FILE, [FILE.into()]);
        app.base.db.commit(vec![failed, file]).await.unwrap();
        let mut made = Self {
            app,
            session: "a".repeat(64),
            mail,
            other_session: SessionId(uuid::Uuid::from_u128(1)),
            service_token,
            passkeys: BTreeMap::new(),
            identities: BTreeMap::new(),
            callers: 0,
            name: String::new(),
            own_session: SessionId(uuid::Uuid::from_u128(1)),
            caller: None,
            passkey: None,
        };
        let alice = made.user("alice").await;
        for username in ["alice", "bob", "reader"] {
            let user = made.user(username).await;
            insert_totp(&made.app.base, user, true).await;
            made.passkeys.insert(username, insert_passkey(&made.app.base, user).await.0);
        }
        for username in ["bob", "reader"] {
            made.link(username).await;
        }
        made.other_session = made.sign_in(alice, hash(&made.session), 0).await;
        made
    }

    /// An identity of this user.
    async fn link(&mut self, username: &str) {
        let fields = json!({ "id": username, "provider": "corp", "subject": username });
        let linked = self.app.call("identities.link", fields).await.unwrap();
        self.identities.insert(username.to_owned(), linked["id"].clone());
    }

    async fn user(&self, username: &str) -> UserId {
        self.app.call("users.show", json!({ "id": username })).await.unwrap()["id"].as_str().unwrap().parse().unwrap()
    }

    /// A session without a password.
    async fn sign_in(&self, user: UserId, hash: [u8; 32], password_changed_at: i64) -> SessionId {
        let now = self.app.env.now();
        let id = SessionId(self.app.env.uuid());
        let login = NewLogin {
            id,
            kind: SessionKind::Login,
            user,
            hash,
            now,
            idle_expires_at: now + HOUR,
            absolute_expires_at: now + HOUR,
            address: None,
            password_changed_at,
            proved_at: Some(now),
            provider: None,
            is_operator: false,
        };
        self.app.base.db.commit(vec![insert_login(&login)]).await.unwrap();
        id
    }

    /// A new caller with these permissions, of a name of their own.
    async fn caller(&mut self, kind: Kind, needs: &[&str]) -> Caller {
        self.callers += 1;
        self.name = format!("caller{}", self.callers);
        let name = self.name.as_str();
        let must = async |operation: &str, fields: Value| self.app.call(operation, fields).await.unwrap();
        match kind {
            Kind::Token => {
                let scopes: Vec<String> = needs.iter().map(|need| format!("authd:{need}")).collect();
                let scopes = if scopes.is_empty() { vec!["read".to_owned()] } else { scopes };
                let minted = must("tokens.create", json!({ "name": name, "scopes": scopes })).await;
                self.app.caller(minted["token"].as_str().unwrap()).await.unwrap()
            }
            Kind::Service => {
                must("services.create", json!({ "name": name })).await;
                let minted = must("services.create_token", json!({ "id": name, "name": name })).await;
                self.app.caller(minted["token"].as_str().unwrap()).await.unwrap()
            }
            Kind::Person | Kind::InRole => {
                if kind == Kind::InRole {
                    must("roles.create", json!({ "name": name })).await;
                    must("services.add_role", json!({ "service_id": "authd", "role_id": name })).await;
                }
                // Only who changes their password needs one.
                let changed_at = if needs.is_empty() {
                    self.app.user(name, PASSWORD).await;
                    self.app.env.now()
                } else {
                    must("users.create", json!({ "username": name })).await;
                    0
                };
                if kind == Kind::InRole {
                    must("grants.add_role", self.role()).await;
                }
                for need in needs {
                    if kind == Kind::InRole {
                        must("roles.add_permission", json!({ "role_id": name, "permission_id": need })).await;
                    } else {
                        must("grants.add_permission", self.permission(need)).await;
                    }
                }
                let user = self.user(name).await;
                self.own_session = self.sign_in(user, self.app.env.bytes(), changed_at).await;
                let session = self.sign_in(user, self.app.env.bytes(), changed_at).await;
                self.caller = Some((user, session));
                let permissions = self.app.modules.rbac.access(user, AUTHD).await.unwrap().authd;
                assert!(needs.is_empty() == (permissions == Permissions::NONE));
                Caller::User { id: user, username: name.into(), session, permissions }
            }
        }
    }

    /// A new caller for a scenario.
    async fn caller_for(&mut self, scenario: &Scenario, kind: Kind) -> Caller {
        let caller = self.caller(kind, scenario.needs).await;
        if let (Some(is_on), Some((user, _))) = (scenario.totp, self.caller) {
            insert_totp(&self.app.base, user, is_on).await;
        }
        if let (true, Some((user, session))) = (scenario.operation.starts_with("passkeys."), self.caller) {
            self.passkey = Some(insert_passkey(&self.app.base, user).await);
            passkeys::give_challenges(&self.app.base, session).await;
        }
        if scenario.operation == "identities.unlink_own" {
            self.link(&self.name.clone()).await;
        }
        caller
    }

    /// The grant of a permission of authd's to the last caller.
    fn permission(&self, name: &str) -> Value {
        json!({ "person_id": self.name, "service_id": "authd", "permission_id": name })
    }

    /// The grant of the last caller's own role.
    fn role(&self) -> Value {
        json!({ "person_id": self.name, "service_id": "authd", "role_id": self.name })
    }

    /// How the authority of the last caller can end.
    fn endings(&self, kind: Kind, needs: &[&'static str]) -> Vec<(&'static str, Value)> {
        let name = self.name.as_str();
        match kind {
            Kind::Token => vec![
                ("tokens.revoke", json!({ "id": name })),
                ("tokens.rotate", json!({ "id": name, "grace_seconds": 0 })),
            ],
            Kind::Service => vec![
                ("tokens.revoke", json!({ "id": name })),
                ("services.update", json!({ "id": name, "status": "inactive" })),
                ("services.delete", json!({ "id": name })),
            ],
            Kind::Person | Kind::InRole => {
                let (_, session) = self.caller.unwrap();
                let mut endings = vec![
                    ("sessions.end", json!({ "id": session })),
                    ("users.update", json!({ "id": name, "status": "inactive" })),
                    ("users.delete", json!({ "id": name })),
                ];
                if kind == Kind::Person {
                    endings.extend(needs.iter().map(|need| ("grants.remove_permission", self.permission(need))));
                    return endings;
                }
                let remove =
                    |need: &&str| ("roles.remove_permission", json!({ "role_id": name, "permission_id": need }));
                endings.extend(needs.iter().map(remove));
                if !needs.is_empty() {
                    endings.push(("roles.update", json!({ "id": name, "status": "inactive" })));
                    endings.push(("roles.delete", json!({ "id": name })));
                    endings.push(("services.remove_role", json!({ "service_id": "authd", "role_id": name })));
                    endings.push(("grants.remove_role", self.role()));
                }
                endings
            }
        }
    }
}

/// The operations of some modules, with every way in which their caller's authority can end, and then undisturbed.
async fn walk(modules: &[&str]) {
    for scenario in scenarios().iter().filter(|scenario| {
        let (module, _) = scenario.operation.split_once('.').unwrap();
        modules.contains(&module)
    }) {
        for kind in scenario.kinds {
            let mut made = Made::new().await;
            for number in 0.. {
                let caller = made.caller_for(scenario, *kind).await;
                let Some(ending) = made.endings(*kind, scenario.needs).into_iter().nth(number) else { break };
                refused_at_the_boundary(&made, scenario, &caller, ending).await;
            }
            let caller = made.caller_for(scenario, *kind).await;
            let fields = (scenario.fields)(&made);
            let undisturbed = made.app.call_as(caller, scenario.operation, fields.clone()).await;
            assert!(undisturbed.is_ok(), "{kind:?} {} {fields}: {undisturbed:?}", scenario.operation);
        }
    }
}

async fn refused_at_the_boundary(
    made: &Made,
    scenario: &Scenario,
    caller: &Caller,
    (ending, fields): (&'static str, Value),
) {
    let what = format!("{} by {caller} after {ending} {fields}", scenario.operation);
    let (db, later) = (made.app.base.db.clone(), made.app.later(ending, fields));
    let (send, before) = tokio::sync::oneshot::channel();
    made.app.before_next_change(async move {
        later.await.expect("the end of the caller's authority is acknowledged");
        send.send(tables(db.as_ref()).await).unwrap();
    });
    let answer = made.app.call_as(caller.clone(), scenario.operation, (scenario.fields)(made)).await;
    assert!(!made.app.awaits_change(), "{what}: nothing was to be committed: {answer:?}");
    let error = answer.expect_err(&what);
    // Whoever may not see a file does not learn whether it is there.
    let is_hidden = scenario.operation.starts_with("files.") && error.code.status() == 404;
    assert!(is_hidden || [401, 403].contains(&error.code.status()), "{what}: {error:?}");
    let (before, after) = (before.await.unwrap(), tables(made.app.base.db.as_ref()).await);
    for (sql, (before, after)) in TABLES.iter().chain(&MORE_TABLES).zip(before.iter().zip(&after)) {
        assert_eq!(before, after, "{what}: {sql}");
    }
}

#[tokio::test]
async fn tokens_and_introspection() {
    walk(&["tokens", "introspection"]).await;
}

#[tokio::test]
async fn users_and_lockouts() {
    walk(&["users", "lockouts"]).await;
}

#[tokio::test]
async fn sessions() {
    walk(&["sessions"]).await;
}

#[tokio::test]
async fn accounts_of_people() {
    walk(&["accounts"]).await;
}

#[tokio::test]
async fn mail() {
    walk(&["mail"]).await;
}

#[tokio::test]
async fn files() {
    walk(&["files"]).await;
}

#[tokio::test]
async fn factors() {
    walk(&["factors"]).await;
}

#[tokio::test]
async fn passkeys_of_people() {
    walk(&["passkeys"]).await;
}

#[tokio::test]
async fn identities_of_people() {
    walk(&["identities"]).await;
}

#[tokio::test]
async fn services() {
    walk(&["services"]).await;
}

#[tokio::test]
async fn roles_and_permissions() {
    walk(&["roles", "permissions"]).await;
}

#[tokio::test]
async fn grants() {
    walk(&["grants"]).await;
}

#[tokio::test]
async fn every_operation_and_every_table_is_looked_at() {
    let mut all: BTreeSet<&str> = scenarios().iter().map(|scenario| scenario.operation).collect();
    all.extend(READS.iter().chain(SELF_PROVING));
    let operations: BTreeSet<&str> = shared::api::operations().map(|info| info.name).collect();
    assert_eq!(all, operations);
    if crate::testing::on_postgres() {
        return;
    }
    let app = TestApp::new().await;
    let names = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT IN ('migrations', 'sqlite_sequence')";
    for row in app.base.db.query(Query::new(names, [])).await.unwrap() {
        let name = row.cursor().text().unwrap();
        let reads = |sql: &&str| sql.contains(&format!("FROM {name} "));
        assert!(TABLES.iter().chain(&MORE_TABLES).any(reads), "{name}");
    }
}

/// Many administrators of either kind, each with a change of their own, at once: nobody is told that somebody else was
/// faster.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn administrators_who_change_different_things_do_not_meet() {
    for needs in [&["admin"][..], &["access.write", "users.write"]] {
        let mut made = Made::new().await;
        let caller = made.caller(Kind::Person, needs).await;
        let calls = (0..64).map(|number| {
            let (operation, fields) = match number % 4 {
                0 => ("users.create", json!({ "username": format!("user-{number}") })),
                1 => ("roles.create", json!({ "name": format!("role-{number}") })),
                2 => ("users.update", json!({ "id": "alice", "name": format!("Alice {number}"), "status": "active" })),
                _ => ("services.create", json!({ "name": format!("service-{number}") })),
            };
            tokio::spawn(made.app.later_as(caller.clone(), operation, fields))
        });
        for call in calls.collect::<Vec<_>>() {
            call.await.unwrap().unwrap();
        }
    }
}

/// A grant that exists only for the statement: the proof is of what is committed, not of what is being committed.
#[tokio::test]
async fn nobody_proves_by_their_own_change() {
    let mut made = Made::new().await;
    let caller = made.caller(Kind::Person, &["access.write"]).await;
    let sql = "DELETE FROM person_service_permissions WHERE person_id = $1";
    let (user, _) = made.caller.unwrap();
    let gone = vec![Statement::any("test", sql, [user.into()])];
    let db = made.app.base.db.clone();
    made.app.before_next_change(async move {
        db.commit(gone).await.unwrap();
    });
    let own = made.permission("access.write");
    assert_eq!(made.app.refused_as(caller, "grants.add_permission", own).await, "forbidden");
}

/// Whoever holds everything is judged by nothing else, so holding everything is what has to be proven.
#[tokio::test]
async fn who_was_an_administrator_is_judged_again_as_what_they_are() {
    let mut made = Made::new().await;
    let caller = made.caller(Kind::Person, &["admin", "users.write"]).await;
    let demoted = made.app.later("grants.remove_permission", made.permission("admin"));
    let grant = json!({ "person_id": "alice", "service_id": "authd", "permission_id": "admin" });
    let promoted = made.app.later("grants.add_permission", grant);
    made.app.before_next_change(async move {
        demoted.await.unwrap();
        promoted.await.unwrap();
    });
    let password = json!({ "id": "alice", "password": "set by somebody lesser" });
    assert_eq!(made.app.refused_as(caller, "users.update", password).await, "forbidden");
    assert!(!made.app.awaits_change());
}
