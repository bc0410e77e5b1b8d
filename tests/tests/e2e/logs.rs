//! The log: nothing waits for its reader, and callers without credentials cannot fill it.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::TIMEOUT;
use tests::authd::{Authd, Setup};
use tests::login::{Mode, Service, Terminal};
use tests::process::{Spec, stdout};

/// Requests whose lines at the level debug fill every buffer between authd and whoever reads its log.
const REQUESTS: usize = 12_000;
/// The lines a minute that one network alone can cause, as `authd/src/log.rs` has them.
const LINES_OF_ONE: usize = 20;

/// Starts a program with a socket as its standard error, as systemd does with the journal's.
const WITH_SOCKET: &str = "import os, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
os.dup2(s.fileno(), 2)
os.execvp(sys.argv[2], sys.argv[2:])";

/// Sends requests on one connection, and reads what comes back to its end.
fn flood(authd: &Authd) {
    let mut stream = TcpStream::connect(("127.0.0.1", authd.port())).expect("it listens");
    stream.set_read_timeout(Some(TIMEOUT)).expect("a socket has a timeout");
    let mut writing = stream.try_clone().expect("a socket can be duplicated");
    let sent = std::thread::spawn(move || {
        let request = "GET /no/such/path HTTP/1.1\r\nhost: a\r\n\r\n".repeat(REQUESTS - 1);
        writing.write_all(request.as_bytes())?;
        writing.write_all(b"GET /no/such/path HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
    });
    let mut answers = Vec::new();
    stream.read_to_end(&mut answers).expect("every request is answered");
    sent.join().expect("it does not panic").expect("every request is read");
    let answers = String::from_utf8_lossy(&answers).matches("HTTP/1.1 404").count();
    assert_eq!(answers, REQUESTS);
}

fn dropped(authd: &Authd) -> u64 {
    let metrics = authd.socket().get("/metrics").expect("it answers");
    let text = metrics.text();
    let line = text.lines().find_map(|line| line.strip_prefix("authd_log_lines_dropped_total "));
    line.unwrap_or_else(|| panic!("no counter: {text}")).parse().expect("a number")
}

/// An authd whose log nobody reads, with the end at which one could.
fn unread(is_socket: bool) -> (Authd, Box<dyn Read>, tempfile::TempDir) {
    let dir = tests::folder("log");
    let path = dir.path().join("log").display().to_string();
    let setup = Setup::new().env("AUTHD_LOG", "debug").env("INVOCATION_ID", "log lines only");
    if is_socket {
        let listener = UnixListener::bind(&path).expect("the folder is ours");
        let authd = setup.behind(&["python3", "-c", WITH_SOCKET, &path]).start();
        (authd, Box::new(listener.accept().expect("it has connected").0), dir)
    } else {
        stdout(&Spec::new("mkfifo").arg(&path).run(TIMEOUT));
        let reader = File::options().read(true).write(true).open(&path).expect("it is there");
        let authd = setup.behind(&["sh", "-c", "exec \"$@\" 2>\"$0\"", &path]).start();
        (authd, Box::new(reader), dir)
    }
}

#[test]
fn a_log_that_nobody_reads_stops_nothing_and_what_it_lost_is_told() {
    for is_socket in [false, true] {
        let (mut authd, reader, _dir) = unread(is_socket);
        let (token, id) = authd.mint("kept", &["read"]);
        flood(&authd);
        assert_eq!(authd.http().get("/health/live").expect("it answers").status, 200);
        assert_eq!(authd.validate(&token, &["read"])["valid"], true);
        let revoke = format!("/auth/tokens/{id}/revoke");
        authd.admin().post(&revoke, &json!({})).expect("it answers").expect(200);
        let lost = dropped(&authd);
        assert!(lost > 0 && lost < REQUESTS as u64, "{lost}");

        // Several lines tell it if the log was written in between.
        for line in BufReader::new(reader).lines() {
            let line = line.expect("it can be read");
            let line: Value = serde_json::from_str(&line).expect("whole lines are dropped");
            if line["message"].as_str().is_some_and(|message| message.contains("log lines were dropped")) {
                assert_eq!(line["level"], "WARN");
                assert!(line["lines"].as_u64() <= line["total"].as_u64(), "{line}");
                if line["total"].as_u64() >= Some(lost) {
                    break;
                }
            }
        }

        flood(&authd);
        let begin = Instant::now();
        let status = authd.process().stop(TIMEOUT);
        assert!(status.success() && begin.elapsed() < Duration::from_secs(10), "{status} {:?}", begin.elapsed());
    }
}

fn lines(authd: &Authd, level: &str, text: &str) -> usize {
    let is_one = |line: &&str| line.contains(&format!("\"level\":\"{level}\"")) && line.contains(text);
    authd.log().lines().filter(is_one).count()
}

#[test]
fn refusals_of_callers_without_credentials_do_not_fill_the_log() {
    let authd = Authd::start();
    for _ in 0..150 {
        let answer = authd.http().post("/auth/tokens", &json!({"name": "x", "scopes": ["read"]})).expect("it answers");
        assert_eq!(answer.status, 401);
    }
    let logged = lines(&authd, "INFO", "refused");
    assert!((1..=LINES_OF_ONE).contains(&logged), "{logged}: {}", authd.log());
    let metrics = authd.socket().get("/metrics").expect("it answers").text();
    assert!(metrics.contains("authd_requests_total{operation=\"tokens.create\",outcome=\"refused\"} 150"), "{metrics}");
}

#[test]
fn callbacks_of_callers_without_credentials_do_not_fill_the_log() {
    let service = Service::start();
    let owner = Terminal::start(&service.authd, Mode::Loopback);
    let callback = format!("/auth/cli/callback?state={}&error=server_error", owner.state);
    for _ in 0..100 {
        let answer = service.authd.http().get(&callback).expect("it answers");
        assert_eq!(answer.status, 503, "{}", answer.text());
    }
    let logged = lines(&service.authd, "WARN", "redirected a browser without a code");
    assert!((1..=LINES_OF_ONE).contains(&logged), "{logged}: {}", service.authd.log());
}
