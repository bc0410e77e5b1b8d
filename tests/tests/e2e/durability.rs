//! What was acknowledged survives, and what failed changed nothing: kill -9, a full disk, the order of system calls.

use serde_json::json;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tests::authd::{ADMIN_TOKEN, Authd, Setup};
use tests::http::Http;
use tests::process::Spec;
use tests::{TIMEOUT, binary, until};

/// Mints on several connections at once until told to stop; answers what was acknowledged, and the keys of requests
/// that got no answer.
struct Storm {
    acknowledged: Mutex<Vec<(String, String)>>,
    unanswered: Mutex<Vec<String>>,
    count: AtomicUsize,
    stop: AtomicBool,
}

impl Storm {
    fn run(&self, http: &Http, round: usize, worker: usize) {
        for n in 0.. {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            let name = format!("storm-{round}-{worker}-{n}");
            let ask = http.clone().with("idempotency-key", &name);
            match ask.post("/auth/tokens", &json!({"name": name, "scopes": ["read"]})) {
                Ok(answer) if answer.status == 201 => {
                    let token = answer.json()["token"].as_str().unwrap_or_default().to_owned();
                    self.acknowledged.lock().expect("no worker panics").push((name, token));
                    self.count.fetch_add(1, Ordering::Relaxed);
                }
                Ok(answer) => panic!("{}: {}", answer.status, answer.text()),
                Err(_) => {
                    self.unanswered.lock().expect("no worker panics").push(name);
                    return;
                }
            }
        }
    }
}

fn kill_while_minting(mut authd: Authd, rounds: usize) {
    let http = authd.http().bearer(ADMIN_TOKEN);
    let mut kept = Vec::new();
    for round in 0..rounds {
        let storm = Storm {
            acknowledged: Mutex::default(),
            unanswered: Mutex::default(),
            count: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        };
        std::thread::scope(|scope| {
            for worker in 0..6 {
                let (storm, http) = (&storm, &http);
                scope.spawn(move || storm.run(http, round, worker));
            }
            // another moment in each round: after the first answers, or after many
            until(TIMEOUT, "acknowledged tokens", || (storm.count.load(Ordering::Relaxed) > round * 13).then_some(()));
            authd.kill();
            storm.stop.store(true, Ordering::Relaxed);
        });
        authd.start_again();
        let acknowledged = storm.acknowledged.into_inner().expect("no worker panics");
        for (name, token) in &acknowledged {
            assert_eq!(authd.validate(token, &["read"])["valid"], true, "round {round}: {name} was acknowledged");
        }
        kept.extend(acknowledged);
        // The answer that was lost can still be had: the same key, the same secret.
        for name in storm.unanswered.into_inner().expect("no worker panics") {
            let ask = http.clone().with("idempotency-key", &name);
            let body = json!({"name": name, "scopes": ["read"]});
            let token = ask.post("/auth/tokens", &body).expect("it answers").expect(201);
            let token = token["token"].as_str().expect("a secret").to_owned();
            assert_eq!(authd.validate(&token, &["read"])["valid"], true, "round {round}: {name} on a retry");
            kept.push((name, token));
        }
    }
    let list = authd.admin().get("/auth/tokens").expect("it answers").expect(200);
    assert_eq!(list["total"].as_u64(), Some(kept.len() as u64), "nothing more than what was asked for");
}

#[test]
fn nothing_acknowledged_is_lost_by_kill_9_on_sqlite() {
    kill_while_minting(Authd::start(), 6);
}

#[test]
fn nothing_acknowledged_is_lost_by_kill_9_on_postgres() {
    kill_while_minting(Setup::new().database(&tests::postgres::database()).start(), 3);
}

/// The system calls of authd that read, write and sync, while something is done; then authd is killed.
fn traced(authd: &mut Authd, act: impl FnOnce(&Authd)) -> Vec<String> {
    let trace = authd.dir().join("trace");
    let pid = authd.process().pid().as_raw_nonzero().to_string();
    let calls = "trace=fsync,fdatasync,read,recvfrom,recvmsg,write,writev,sendto,sendmsg";
    let spec = Spec::new("strace").args(["-f", "-y", "-s", "4000", "-e", calls, "-p", &pid]).arg("-o").arg(&trace);
    let mut strace = spec.start(authd.dir().join("strace.log"));
    let log = authd.dir().join("strace.log");
    strace.wait(TIMEOUT, "attached strace", || {
        std::fs::read_to_string(&log).ok().filter(|t| t.contains("attached")).map(drop)
    });
    act(authd);
    authd.kill();
    until(TIMEOUT, "the end of strace", || strace.exited());
    let text = std::fs::read_to_string(&trace).expect("strace has written");
    text.lines().map(str::to_owned).collect()
}

// a call that was interrupted ends on a line of its own, `… resumed>`
fn is_sync(line: &str) -> bool {
    line.contains("fsync") || line.contains("fdatasync")
}

#[test]
fn every_answer_comes_after_its_fsync() {
    let mut authd = Authd::start();
    authd.mint("warm", &["read"]);
    let names: Vec<_> = (0..20).map(|n| format!("traced-{n}")).collect();
    let lines = traced(&mut authd, |authd| names.iter().for_each(|name| drop(authd.mint(name, &["read"]))));
    let find = |from: usize, what: &dyn Fn(&str) -> bool| (from..lines.len()).find(|&i| what(&lines[i]));
    for name in &names {
        let quoted = format!("\\\"{name}\\\"");
        let request = find(0, &|l| l.contains(&quoted)).unwrap_or_else(|| panic!("{name} was never read"));
        let answer = find(request, &|l| l.contains("HTTP/1.1 201")).unwrap_or_else(|| panic!("{name}: no answer"));
        let between = &lines[request..answer];
        let of_the_log = between.iter().any(|l| is_sync(l) && l.contains("authd.db-wal>"));
        let synced = of_the_log && between.iter().any(|l| is_sync(l) && l.trim_end().ends_with("= 0"));
        assert!(synced, "{name} was answered without a sync:\n{}", lines[request..=answer].join("\n"));
    }
}

/// The counted attempt first, so that it survives whatever happens while the password is verified; then what the answer
/// tells.
#[test]
fn an_attempt_and_what_became_of_it_are_on_disk_before_the_answer() {
    let mut authd = Authd::start();
    let right = json!({"username": "traced", "password": "a long enough password"});
    authd.admin().post("/users", &right).expect("it answers").expect(201);
    let wrong = json!({"username": "traced", "password": "another one, and wrong"});
    let lines = traced(&mut authd, |authd| {
        // A log that was begun anew has its head synced too.
        authd.mint("just before", &["read"]);
        for (body, status) in [(&wrong, 401), (&right, 200)] {
            authd.http().post("/auth/login", body).expect("it answers").expect(status);
        }
    });
    let mut from = 0;
    for status in ["401", "200"] {
        let find = |from: usize, what: &str| (from..lines.len()).find(|&i| lines[i].contains(what));
        let request = find(from, "POST /auth/login").unwrap_or_else(|| panic!("{status}: the request was never read"));
        let answer = find(request, &format!("HTTP/1.1 {status}")).unwrap_or_else(|| panic!("no {status}"));
        let syncs = lines[request..answer].iter().filter(|line| is_sync(line) && line.contains("authd.db-wal>"));
        assert!(syncs.count() >= 2, "{status}:\n{}", lines[request..=answer].join("\n"));
        from = answer;
    }
}

/// authd on a file system of a few MiB that exists only for it; the test reaches that through /proc.
#[test]
fn a_full_disk_is_503_and_changes_nothing() {
    let setup = Setup::new();
    let data = setup.env_value("AUTHD_DATA_DIR");
    let script = format!("mkdir -p {data} && mount -t tmpfs -o size=6m,mode=700 tmpfs {data} && exec \"$0\" \"$@\"");
    let mut authd = setup.behind(&["unshare", "--mount", "bash", "-c", &script]).start();
    let (token, id) = authd.mint("before", &["read"]);
    let inside = format!("/proc/{}/root{data}", authd.process().pid().as_raw_nonzero());
    let ballast = format!("{inside}/ballast");
    let filled = std::fs::write(&ballast, vec![0_u8; 16 << 20]);
    assert!(filled.is_err(), "6 MiB cannot hold 16");

    // the log has some room of its own left at first
    let mut minted = Vec::new();
    let refused = (0..5000).find_map(|n| {
        let body = json!({"name": format!("full-{n}"), "scopes": ["read"], "metadata": {"fill": "x".repeat(3000)}});
        let answer = authd.admin().post("/auth/tokens", &body).expect("it answers");
        if answer.status == 201 {
            minted.push(answer.json()["token"].as_str().expect("a secret").to_owned());
            return None;
        }
        Some((n, answer))
    });
    let (n, answer) = refused.expect("a full disk is noticed");
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.header("retry-after").is_some(), "{:?}", answer.headers);
    let revoke = format!("/auth/tokens/{id}/revoke");
    authd.admin().post(&revoke, &json!({"reason": "y".repeat(200)})).expect("it answers").expect(200);
    assert_eq!(authd.validate(&token, &["read"])["error"], "token_revoked");

    std::fs::remove_file(&ballast).expect("it is ours");
    let body = json!({"name": format!("full-{n}"), "scopes": ["read"]});
    until(TIMEOUT, "room to mint again", || {
        Some(authd.admin().post("/auth/tokens", &body).ok()?).filter(|a| a.status == 201).map(drop)
    });
    let list = authd.admin().get("/auth/tokens?include_revoked=true").expect("it answers").expect(200);
    assert_eq!(list["total"].as_u64(), Some(minted.len() as u64 + 2), "no trace of what was refused");
    for token in &minted {
        assert_eq!(authd.validate(token, &["read"])["valid"], true);
    }
}

/// authd on a file system of its own that outlives it: it is started again whenever it ends.
struct Cramped {
    authd: Authd,
    data: String,
}

impl Cramped {
    fn start() -> Self {
        let setup = Setup::new();
        let data = setup.env_value("AUTHD_DATA_DIR");
        let script = format!(
            "mkdir -p {data} && mount -t tmpfs -o size=12m tmpfs {data} && chmod 700 {data} && \
             while :; do \"$0\" \"$@\"; done"
        );
        let authd = setup.behind(&["unshare", "--mount", "bash", "-c", &script]).start();
        Self { authd, data }
    }

    /// The daemon; its parent starts it again.
    fn pid(&self) -> Option<i32> {
        let shell = self.authd.pid().as_raw_nonzero();
        let children = std::fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).ok()?;
        children.split_whitespace().next()?.parse().ok()
    }

    /// Takes all space that is left.
    fn fill(&self, name: &str) {
        use std::io::Write as _;
        let path = format!("/proc/{}/root{}/{name}", self.authd.pid().as_raw_nonzero(), self.data);
        let mut ballast = std::fs::File::create(path).expect("a name takes no space");
        while ballast.write(&[1; 4096]).is_ok_and(|written| written > 0) {}
    }

    fn free(&self) {
        for name in ["ballast-1", "ballast-2", "ballast-3"] {
            let path = format!("/proc/{}/root{}/{name}", self.authd.pid().as_raw_nonzero(), self.data);
            std::fs::remove_file(path).expect("it is ours");
        }
    }

    /// Ends the daemon with a signal, and waits for the next one.
    fn restart(&self, signal: &str) {
        let before = self.pid().expect("it runs");
        let sent = Spec::new("kill").args(["-s", signal, &before.to_string()]).run(TIMEOUT);
        assert!(sent.status.success(), "{}", tests::process::both(&sent));
        until(TIMEOUT, "the next daemon", || {
            let is_new = self.pid().is_some_and(|pid| pid != before);
            let answer = self.authd.http().get("/health/live").ok()?;
            (is_new && answer.status == 200).then_some(())
        });
    }

    fn health(&self) -> (u16, String, String) {
        let answer = self.authd.http().get("/health").expect("it answers");
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let health = answer.json();
        (answer.status, text(&health["status"]), text(&health["components"]["command_processor"]))
    }

    #[track_caller]
    fn revoke(&self, id: &str) {
        let path = format!("/auth/tokens/{id}/revoke");
        self.authd.admin().post(&path, &json!({"reason": "leaked"})).expect("it answers").expect(200);
    }
}

const FULL: (u16, &str, &str) = (200, "degraded", "unhealthy");

#[test]
fn on_a_full_disk_access_is_still_taken_away_and_health_is_true() {
    let cramped = Cramped::start();
    let authd = &cramped.authd;
    let tokens: Vec<_> = (0..120).map(|n| authd.mint(&format!("t-{n}"), &["read"])).collect();
    let person = json!({"username": "alice", "password": "a long enough password"});
    authd.admin().post("/users", &person).expect("it answers").expect(201);
    let sessions: Vec<_> = (0..2)
        .map(|_| authd.http().post("/auth/login", &person).expect("it answers").expect(200)["token"].clone())
        .collect();
    assert_eq!(cramped.health().1, "healthy");
    let is_full = || {
        let (status, health, writes) = cramped.health();
        ((status, &*health, &*writes) == FULL).then_some(())
    };

    // Health asks for space: nothing was refused to anybody yet.
    cramped.fill("ballast-1");
    until(TIMEOUT, "degraded health", is_full);
    for (token, id) in &tokens[..40] {
        cramped.revoke(id);
        assert_eq!(authd.validate(token, &["read"])["error"], "token_revoked");
    }
    // A daemon that ends gives space back, which others take.
    for (signal, ballast, (_, id)) in [("KILL", "ballast-2", &tokens[40]), ("TERM", "ballast-3", &tokens[41])] {
        cramped.restart(signal);
        cramped.fill(ballast);
        assert_eq!(is_full(), Some(()), "true from the first answer on: {:?}", cramped.health());
        cramped.revoke(id);
    }
    for (token, id) in &tokens[42..110] {
        cramped.revoke(id);
        assert_eq!(authd.validate(token, &["read"])["error"], "token_revoked");
    }
    let logout = authd.http().bearer(sessions[0].as_str().expect("a token"));
    logout.post("/auth/logout", &json!({})).expect("it answers").expect(200);
    let end_all = authd.admin().send("DELETE", "/users/alice/sessions", None).expect("it answers").expect(200);
    assert_eq!(end_all["ended"], 1);
    for session in &sessions {
        let check = authd.http().post("/check-token", &json!({"token": session})).expect("it answers").expect(200);
        assert_eq!(check["valid"], false);
    }
    let mint = json!({"name": "more", "scopes": ["read"]});
    assert_eq!(authd.admin().post("/auth/tokens", &mint).expect("it answers").status, 503, "nothing else is written");
    let audit = authd.admin().get("/audit?action=tokens.revoke&limit=200").expect("it answers").expect(200);
    let rows = audit["entries"].as_array().map_or(0, Vec::len);
    assert_eq!(rows, 110, "each with its audit row: {audit}");

    cramped.free();
    until(TIMEOUT, "healthy again", || (cramped.health().1 == "healthy").then_some(()));
    authd.mint("after", &["read"]);
    for (token, _) in &tokens[110..] {
        assert_eq!(authd.validate(token, &["read"])["valid"], true);
    }
}

#[test]
fn sigterm_finishes_what_it_has_begun() {
    let mut authd = Authd::start();
    let http = authd.admin();
    let storm = Storm {
        acknowledged: Mutex::default(),
        unanswered: Mutex::default(),
        count: AtomicUsize::new(0),
        stop: AtomicBool::new(false),
    };
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let (storm, http) = (&storm, &http);
            scope.spawn(move || storm.run(http, 0, worker));
        }
        until(TIMEOUT, "acknowledged tokens", || (storm.count.load(Ordering::Relaxed) > 20).then_some(()));
        let status = authd.process().stop(Duration::from_secs(30));
        storm.stop.store(true, Ordering::Relaxed);
        assert!(status.success(), "{status}: {}", authd.log());
    });
    authd.start_again();
    for (name, token) in storm.acknowledged.into_inner().expect("no worker panics") {
        assert_eq!(authd.validate(&token, &["read"])["valid"], true, "{name}");
    }
}

#[test]
fn two_daemons_do_not_share_a_folder_by_accident() {
    let authd = Authd::start();
    let data = authd.dir().join("data");
    let output = Spec::new(binary("authd"))
        .env("SERVER_ADDR", format!("127.0.0.1:{}", authd.port()))
        .env("AUTHD_DATA_DIR", data)
        .env("AUTHD_ADMIN_SOCKET", authd.socket_path())
        .env("HOME", authd.dir())
        .run(TIMEOUT);
    assert!(!output.status.success(), "folder, port and socket are taken");
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("another authd is running"), "{said}");
    assert_eq!(authd.socket().get("/health/live").expect("the first one still has its socket").status, 200);
}
