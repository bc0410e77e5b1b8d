//! Data as a release leaves it on the disk, for the releases after it to open: `tests/fixtures/NAME`.
//!
//! [`make`] drives the real programs from outside and writes down, beside what they stored, everything that a later
//! program must still answer for: secrets, keyed requests with their answers, logins on their way, and what the lists
//! said. It is called by the program `fixtures`, and by a test that compares what the present programs store with what
//! older ones have stored.

use crate::authd::Setup;
use crate::browser::Visit;
use crate::http::Http;
use crate::login::{Machine, Mode, Service, Terminal};
use crate::process::{Spec, stdout};
use crate::{PATIENCE, binary, rig};
use serde_json::{Value, json};
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// Of every person in a fixture.
pub const PASSWORD: &str = "correct horse battery staple";
/// Who the provider says that everybody is who signs in there: its person alice.
const SUBJECT: &str = "11111111-aaaa-4aaa-8aaa-000000000001";
/// Of the tokens that were rotated with a grace: the longest there is, 30 days.
const GRACE_SECONDS: u64 = 2_592_000;
/// Everything has to be younger than a login is long, so that a test can go on where the fixture stopped.
const MOST_SECONDS: i64 = 200;

/// Where the daemon keeps its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Sqlite,
    Postgres,
}

/// Every folder of `tests/fixtures`, one for each release that left data there.
///
/// # Panics
/// When there is none.
pub fn all() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let entries = fs::read_dir(&folder).expect("the fixtures are part of the source").flatten();
    let mut found: Vec<_> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    found.sort();
    assert!(!found.is_empty(), "no fixtures in {}", folder.display());
    found
}

/// A file of JSON.
///
/// # Panics
/// When it cannot be read.
pub fn read(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Copies a folder, for its owner alone: git keeps no modes.
///
/// # Panics
/// When it cannot be copied.
pub fn copy(from: &Path, to: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::create_dir_all(to).expect("the target can be written");
    fs::set_permissions(to, PermissionsExt::from_mode(0o700)).expect("it is ours");
    for entry in fs::read_dir(from).unwrap_or_else(|e| panic!("{}: {e}", from.display())).flatten() {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).expect("it can be read and written");
            fs::set_permissions(&target, PermissionsExt::from_mode(0o600)).expect("it is ours");
        }
    }
}

/// Makes the fixtures of one engine in `dir`: the data folder with `manifest.json`. With `home`, the state of authctl
/// and auth-login too, in that folder.
///
/// # Panics
/// When anything goes another way than it should.
pub fn make(engine: Engine, dir: &Path, home: Option<&Path>) {
    let database = match engine {
        Engine::Sqlite => None,
        Engine::Postgres => Some(crate::postgres::database()),
    };
    let with_database = |setup: Setup| match &database {
        Some(url) => setup.database(url),
        None => setup,
    };
    let mut service = Service::with(|setup, _, _| with_database(setup));
    let begun = now();
    let machine = Machine::new(&service);
    let mut manifest = tell(&service, &machine);
    // What is written at the end (when a token was last used) is there for the lists.
    service.authd.process().stop(PATIENCE);
    service.authd.start_again();
    manifest["lists"] = lists(&service.authd.admin());
    let ended = service.authd.process().stop(PATIENCE);
    assert!(ended.success(), "{}", service.authd.log());
    let made_at = now();
    assert!(made_at - begun < MOST_SECONDS * 1000, "this took {} ms: try again with less beside it", made_at - begun);
    manifest["made_at"] = made_at.into();
    manifest["program"] = stdout(&Spec::new(binary("authd")).arg("--version").run(PATIENCE)).trim().into();
    manifest["server"] = service.authd.url().into();
    manifest["role"] = json!({ "arn": service.sts.role("developer"), "external_id": service.sts.external_id });

    manifest["provider"] = json!({ "name": "cognito", "issuer": service.provider.issuer, "subject": SUBJECT });

    fs::create_dir_all(dir).expect("it can be written");
    let data = service.authd.dir().join("data");
    fs::copy(data.join("root.key"), dir.join("root.key")).expect("it can be copied");
    match database {
        None => {
            let log = fs::metadata(data.join("authd.db-wal")).map_or(0, |log| log.len());
            assert_eq!(log, 0, "an orderly end copies the log into the file");
            fs::copy(data.join("authd.db"), dir.join("authd.db")).expect("it can be copied");
        }
        Some(url) => fs::write(dir.join("authd.sql"), dump(&url)).expect("it can be written"),
    }
    save(&dir.join("manifest.json"), &manifest);
    if let Some(home) = home {
        keep_home(&service, &machine, &manifest, home);
    }
}

/// Milliseconds since 1970.
#[expect(clippy::disallowed_methods, reason = "when a fixture was made is a fact of the world")]
pub fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

fn save(path: &Path, value: &Value) {
    let text = serde_json::to_string_pretty(value).expect("JSON can be written");
    fs::write(path, text + "\n").expect("it can be written");
}

/// Everything that happens to the daemon of a fixture. What takes long comes first.
fn tell(service: &Service, machine: &Machine) -> Value {
    let admin = service.authd.admin();
    let (people, service_token) = access(&admin);
    let mut tokens = tokens(&admin);
    fail_to_sign_in(service);
    let devices = devices(service);
    let auth_login = sign_in_on(machine);
    let (session, authctl) = command_line_sessions(service, machine);
    let keyed = keyed(service, &session, &mut tokens);
    let ended = post(&service.authd.http(), "/auth/login", &credentials("ann"), 200);
    post(&service.authd.http().bearer(text(&ended, "token")), "/auth/logout", &json!({}), 200);
    let live = post(&service.authd.http(), "/auth/login", &credentials("ann"), 200);
    let signed_in = signed_in(service);
    let denied = Terminal::start(&service.authd, Mode::Loopback);
    Visit::new().cancels().go(&denied.auth_url);
    let pending = Terminal::start(&service.authd, Mode::Paste);
    for name in ["live", "limited"] {
        let body = json!({ "token": tokens[name]["token"], "client_ip": "192.0.2.7" });
        assert_eq!(post(&service.authd.http(), "/auth/validate", &body, 200)["valid"], true, "{name}");
    }
    json!({
        "people": people,
        "service": service_token,
        "tokens": tokens,
        "keyed": keyed,
        "sessions": { "operator": session, "ann": live["token"], "ended": ended["token"] },
        "devices": devices,
        "logins": { "signed_in": signed_in, "denied": login(&denied, None), "pending": login(&pending, None) },
        "keyring": { "auth-login": auth_login, "authctl": authctl },
        "password": PASSWORD,
        "peer": peer(),
    })
}

#[track_caller]
fn post(http: &Http, path: &str, body: &Value, status: u16) -> Value {
    http.post(path, body).expect("authd answers").expect(status)
}

#[track_caller]
fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("no {name}: {value}"))
}

fn credentials(username: &str) -> Value {
    json!({ "username": username, "password": PASSWORD })
}

/// People, what they may do, and a service that asks about them.
fn access(admin: &Http) -> (Value, Value) {
    let new = |path: &str, body: Value| post(admin, path, &body, 201);
    let add = |path: &str, body: Value| post(admin, path, &body, 200);
    let person = |username: &str, more: Value| {
        let mut body = credentials(username);
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        new("/users", body)
    };
    let described = json!({ "name": "Ann Ünal", "person_type": "N", "document_type": "DNI", "document_number": "123" });
    let people = json!({
        "operator": person("operator", json!({})),
        "ann": person("ann", described),
        "bob": person("Bob", json!({ "status": "inactive" })),
        "locked": person("locked", json!({})),
        "gone": person("gone", json!({})),
    });
    let removed = admin.send("DELETE", "/users/gone", None).expect("authd answers");
    assert_eq!(removed.status, 200, "{}", removed.text());
    let service = new("/services", json!({ "name": "orders", "description": "What was ordered" }));
    new("/services", json!({ "name": "closed", "status": "inactive" }));
    for name in ["orders.read", "orders.write", "orders.cancel"] {
        new("/permissions", json!({ "name": name }));
    }
    new("/roles", json!({ "name": "editor" }));
    for permission in ["orders.read", "orders.write"] {
        add("/role-permissions", json!({ "role_id": "editor", "permission_id": permission }));
    }
    add("/service-roles", json!({ "service_id": "orders", "role_id": "editor" }));
    add("/person-service-roles", json!({ "person_id": "ann", "service_id": "orders", "role_id": "editor" }));
    let direct = json!({ "person_id": "bob", "service_id": "orders", "permission_id": "orders.cancel" });
    add("/person-service-permissions", direct);
    let operator = json!({ "person_id": "operator", "service_id": "authd", "role_id": "authd-admin" });
    add("/person-service-roles", operator);
    let token = new("/services/orders/token", json!({ "name": "orders-1" }));
    (people, json!({ "id": service["id"], "token": token["token"] }))
}

/// API tokens in every state that they can be in.
fn tokens(admin: &Http) -> Value {
    let mint = |body: Value| post(admin, "/auth/tokens", &body, 201);
    let of = |token: &Value, verb: &str| format!("/auth/tokens/{}/{verb}", text(token, "token_id"));
    let metadata =
        json!({ "team": "orders", "note": "\u{fc} \"quoted\" \u{1f600}", "nested": { "a": [1, null, true] } });
    let limited = json!({ "name": "limited", "scopes": ["read"], "cidrs": ["192.0.2.0/24", "2001:db8::/32"],
        "metadata": metadata });
    let revoked = mint(json!({ "name": "again", "scopes": ["read"] }));
    post(admin, &of(&revoked, "revoke"), &json!({ "reason": "the laptop was lost" }), 200);
    let rotated = mint(json!({ "name": "rotated", "scopes": ["read"] }));
    let rotation = post(admin, &of(&rotated, "rotate"), &json!({ "grace_seconds": GRACE_SECONDS }), 200);
    let extended = mint(json!({ "name": "extended", "scopes": ["read"], "ttl_days": 1 }));
    post(admin, &of(&extended, "extend"), &json!({ "extend_days": 30 }), 200);
    json!({
        "live": mint(json!({ "name": "live", "scopes": ["read", "write"] })),
        "limited": mint(limited),
        "expiring": mint(json!({ "name": "expiring", "scopes": ["read"], "ttl_days": 30 })),
        "revoked": revoked,
        // the name of a revoked token is free
        "again": mint(json!({ "name": "again", "scopes": ["read"] })),
        "rotated": { "old": rotated["token"], "new": rotation["token"], "token_id": rotated["token_id"],
            "grace_seconds": GRACE_SECONDS },
        "extended": extended,
        "manager": mint(json!({ "name": "manager", "scopes": ["authd:tokens.write", "authd:tokens.read"] })),
    })
}

/// Requests with an `Idempotency-Key`, of every kind of caller that can send one, and what they were answered.
///
/// A body is kept as it was sent: what is hashed must not depend on the order of a client's fields.
fn keyed(service: &Service, session: &str, tokens: &mut Value) -> Value {
    let http = service.authd.http();
    let callers = [
        ("admin", service.authd.admin()),
        ("person", http.clone().bearer(session)),
        ("token", http.bearer(text(&tokens["manager"], "token"))),
        ("peer", service.authd.socket()),
    ];
    let mut all = Vec::new();
    for (caller, http) in callers {
        let mut send = |operation: &str, path: &str, id: Option<&str>, body: String| {
            let key = format!("{caller}-{}", all.len());
            let asked = http.clone().with("idempotency-key", &key);
            let answer = asked.send("POST", path, Some(("application/json", body.as_bytes()))).expect("authd answers");
            let answer = answer.expect(if operation == "tokens.create" { 201 } else { 200 });
            all.push(json!({ "caller": caller, "operation": operation, "id": id, "key": key, "body": body,
                "answer": answer }));
            answer
        };
        let full = format!(
            "{{\"scopes\": [\"write\", \"read\"], \"metadata\": {{\"z\": 1, \"a\": {{\"y\": \"\u{fc}\", \"b\": [2.5, null]}}}}, \
             \"ttl_days\": 400, \"cidrs\": [\"10.0.0.0/8\"], \"name\": \"keyed-full-{caller}\"}}"
        );
        send("tokens.create", "/auth/tokens", None, full);
        let bare = format!("{{\"name\": \"keyed-{caller}\", \"scopes\": [\"read\"]}}");
        let made = send("tokens.create", "/auth/tokens", None, bare);
        let dated = format!(
            "{{\"name\": \"keyed-dated-{caller}\", \"scopes\": [\"read\"], \"expires_at\": \"2100-01-31T12:00:00Z\"}}"
        );
        send("tokens.create", "/auth/tokens", None, dated);
        let id = text(&made, "token_id");
        let path = format!("/auth/tokens/{id}/rotate");
        send("tokens.rotate", &path, Some(id), format!("{{\"grace_seconds\": {GRACE_SECONDS}}}"));
        // by its name, and without a body's fields
        let name = format!("keyed-dated-{caller}");
        send("tokens.rotate", &format!("/auth/tokens/{name}/rotate"), Some(&name), "{}".into());
    }
    all.into()
}

/// Failed logins from another address than the tests': of a name until it is locked, of one that may still try, and of
/// one that nobody has.
fn fail_to_sign_in(service: &Service) {
    let http = service.authd.http().from(Ipv4Addr::new(127, 0, 0, 9));
    for (username, times) in [("locked", 10), ("BOB", 2), ("nobody", 3)] {
        for _ in 0..times {
            post(&http, "/auth/login", &json!({ "username": username, "password": "a wrong password" }), 401);
        }
    }
}

fn login(terminal: &Terminal, release: Option<&str>) -> Value {
    json!({ "state": terminal.state, "poll_secret": terminal.secret, "auth_url": terminal.auth_url, "release": release })
}

/// A login in which the person has signed in, and that nobody has collected.
fn signed_in(service: &Service) -> Value {
    let terminal = Terminal::start(&service.authd, Mode::Loopback);
    let page = Visit::new().go(&terminal.auth_url);
    login(&terminal, Some(&terminal.release(&page)))
}

/// Signed-in devices: one whose refresh token was never used, one that has renewed, one that has signed out.
fn devices(service: &Service) -> Value {
    let http = service.authd.http();
    let device = || {
        let terminal = Terminal::start(&service.authd, Mode::Paste);
        let page = Visit::new().go(&terminal.auth_url);
        let release = terminal.release(&page);
        let answer = terminal.poll(Some(&terminal.secret), Some(&release)).expect(200);
        assert_eq!(answer["status"], "AUTHORIZED", "{answer}");
        json!({ "login": login(&terminal, Some(&release)), "answers": [answer] })
    };
    let unused = device();
    let mut renewed = device();
    let token = |answer: &Value| json!({ "refresh_token": answer["refresh_token"] });
    let answer = post(&http, "/auth/cli/renew", &token(&renewed["answers"][0]), 200);
    renewed["answers"].as_array_mut().expect("a list").push(answer);
    let ended = device();
    post(&http, "/auth/cli/logout", &token(&ended["answers"][0]), 200);
    json!({ "unused": unused, "renewed": renewed, "ended": ended })
}

/// auth-login on a developer's machine that had an AWS credentials file before: a profile whose token is in the keyring,
/// one in that file, and one behind `credential_process`. Answers what it put into the keyring.
fn sign_in_on(machine: &Machine) -> Value {
    let aws = machine.home().join(".aws");
    fs::create_dir_all(&aws).expect("the home is ours");
    let before = "# mine\n[other]\naws_access_key_id = AKIAOTHER\naws_secret_access_key = secret # not a comment\n\n";
    fs::write(aws.join("credentials"), before).expect("the home is ours");
    let kept = in_keyring(machine, "auth-login", &["login", "--profile", "ring", "--token-store", "keyring"]);
    let run = |args: &[&str]| stdout(&machine.auth_login(args).run(PATIENCE));
    run(&["login", "--token-store", "file"]);
    run(&["configure", "--profile", "process"]);
    run(&["login", "--profile", "process"]);
    kept
}

/// `authctl login` as the operator: into a file, and by another name of the server into the keyring. Answers the token
/// that is in the file, and what is in the keyring.
fn command_line_sessions(service: &Service, machine: &Machine) -> (String, Value) {
    let server = service.authd.url();
    let login = ["login", "--user", "operator", "--password-stdin", "--token-store"];
    let args = [&login[..], &["file", "--server", &server]].concat();
    let spec = Spec::new(binary("authctl")).env("HOME", machine.home()).args(args).stdin(PASSWORD);
    stdout(&spec.run(PATIENCE));
    let folder = machine.home().join(".local/state/authctl");
    let file = fs::read_dir(folder).expect("authctl keeps its sessions").flatten().next().expect("one file");
    let token = text(&read(&file.path()), "token").to_owned();
    let elsewhere = server.replace("127.0.0.1", "localhost");
    (token, in_keyring(machine, "authctl", &[&login[..], &["keyring", "--server", &elsewhere]].concat()))
}

/// Runs one of the programs where there is a keyring, and answers what is in there then.
fn in_keyring(machine: &Machine, program: &str, args: &[&str]) -> Value {
    let script = format!("\"$0\" \"$@\" && secret-tool search --all --unlock service {program}");
    let spec = rig::script("keyring.sh").args(["bash", "-c", &script]).arg(binary(program)).args(args);
    let output = spec.envs(machine.env()).stdin(PASSWORD).run(PATIENCE);
    let printed = stdout(&output) + &String::from_utf8_lossy(&output.stderr);
    let value = |line: &str, name: &str| line.strip_prefix(name)?.strip_prefix(" = ").map(str::to_owned);
    let secret = printed.lines().find_map(|line| value(line, "secret"));
    let secret = secret.unwrap_or_else(|| panic!("no secret: {printed}"));
    let attributes = printed.lines().filter_map(|line| line.strip_prefix("attribute.")?.split_once(" = "));
    let attributes: serde_json::Map<_, _> = attributes.map(|(name, value)| (name.to_owned(), value.into())).collect();
    json!({ "secret": secret, "attributes": attributes })
}

/// Who calls on the admin socket: this process.
fn peer() -> Value {
    let user = stdout(&rig::program("id").arg("-un").run(PATIENCE));
    json!({ "uid": rustix::process::geteuid().as_raw(), "user": user.trim() })
}

/// What the lists say, each as the operation that a test calls later.
fn lists(admin: &Http) -> Value {
    let all = [
        ("tokens.list", "/auth/tokens?", json!({ "include_revoked": true, "limit": 500 })),
        ("users.list", "/users?", json!({ "limit": 500 })),
        ("services.list", "/services?", json!({ "limit": 500 })),
        ("services.list_roles", "/services/orders/roles?", json!({ "id": "orders" })),
        ("services.list_tokens", "/services/orders/token?", json!({ "id": "orders" })),
        ("roles.list", "/roles?", json!({ "limit": 500 })),
        ("roles.list_permissions", "/roles/editor/permissions?", json!({ "id": "editor" })),
        ("permissions.list", "/permissions?", json!({ "limit": 500 })),
        ("grants.list", "/grants?", json!({ "limit": 500 })),
        ("grants.list_services", "/people/ann/services?", json!({ "id": "ann" })),
        ("sessions.list", "/sessions?", json!({ "include_ended": true, "limit": 500 })),
        ("lockouts.list", "/lockouts?", json!({ "all": true, "limit": 500 })),
        ("audit.list", "/audit?", json!({ "limit": 500 })),
    ];
    let answers = all.into_iter().map(|(operation, path, fields)| {
        let pairs = fields.as_object().expect("an object").iter().filter(|(name, _)| *name != "id");
        let query: Vec<_> = pairs.map(|(name, value)| format!("{name}={value}")).collect();
        let answer = admin.get(&format!("{path}{}", query.join("&"))).expect("authd answers").expect(200);
        assert!(answer["next_cursor"].is_null(), "{operation} is longer than a page");
        json!({ "operation": operation, "fields": fields, "answer": answer })
    });
    answers.collect::<Vec<_>>().into()
}

/// A PostgreSQL database as SQL that can be run in any schema: without owners, psql's own commands, and the name of
/// the schema that it was in.
fn dump(url: &str) -> String {
    let spec = rig::program("pg_dump").args(["--inserts", "--no-owner", "--no-privileges", "--no-comments", "-d", url]);
    let mut sql = String::new();
    for line in stdout(&spec.run(PATIENCE)).lines() {
        let is_setting = line.starts_with("SET ") || line.contains("set_config('search_path'");
        if is_setting || line.is_empty() || line.starts_with(['\\', '-']) {
            continue;
        }
        // in a row, only the table's name is a name
        sql += &if line.starts_with("INSERT ") { line.replacen("public.", "", 1) } else { line.replace("public.", "") };
        sql.push('\n');
    }
    sql
}

/// Keeps what authctl and auth-login have in a person's home.
fn keep_home(service: &Service, machine: &Machine, manifest: &Value, home: &Path) {
    for folder in [".local/state/authctl", ".local/state/auth-login", ".config/auth-login", ".aws"] {
        copy(&machine.home().join(folder), &home.join(folder));
    }
    // the tools' own caches and locks are not ours
    let _ = fs::remove_dir_all(home.join(".local/state/auth-login/locks"));
    let config = home.join(".aws/config");
    let written = fs::read_to_string(&config).expect("configure has written it");
    let program = binary("auth-login").display().to_string();
    assert!(written.contains(&program), "{written}");
    fs::write(&config, written.replace(&program, "/usr/bin/auth-login")).expect("it can be written");
    let kept = json!({
        "program": manifest["program"],
        "server": service.authd.url(),
        "authctl": { "user": "operator", "token": manifest["sessions"]["operator"] },
        "keyring": manifest["keyring"],
    });
    save(&home.join("manifest.json"), &kept);
}
