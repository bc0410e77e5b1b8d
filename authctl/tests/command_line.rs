//! The whole program but its process, against a daemon that answers what a test tells it to. The real daemon is met in
//! the crate `tests`.

mod daemon;

use std::ffi::OsString;

use daemon::{Answer, Daemon};
use shared::cli::Exit;
use shared::time::Time;

const NOW: i64 = 1_800_000_000_000;
const TOKEN_ID: &str = "0199a0b0-0000-7000-8000-000000000001";

/// What one run of the program printed.
#[derive(Debug)]
pub struct Run {
    exit: Exit,
    out: String,
    err: String,
}

/// A run without a terminal, in an environment that holds only what the test gives.
#[derive(Debug, Default)]
pub struct Program<'t> {
    env: &'t [(&'t str, &'t str)],
    width: Option<u16>,
    confirm: Option<bool>,
    stdin: &'t str,
}

impl Program<'_> {
    fn run(&self, args: &[&str]) -> Run {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let env = |name: &str| self.env.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        let answer = self.confirm.unwrap_or_default();
        let confirm = move |question: &str| {
            assert!(question.contains("cannot be undone"), "{question}");
            Ok(answer)
        };
        let mut io = authctl::Io {
            out: &mut out,
            err: &mut err,
            colour: false,
            colour_errors: false,
            width: self.width,
            env: &env,
            now: &|| Time::from_millis(NOW),
            new_key: &|| "key-1".to_owned(),
            confirm: self.confirm.is_some().then_some(&confirm as &authctl::Confirm),
            read_token: &|| Ok(self.stdin.to_owned()),
        };
        let args = ["authctl"].iter().chain(args).map(OsString::from);
        let exit = authctl::run(args, &mut io);
        let text = |bytes| String::from_utf8(bytes).expect("only text is printed");
        Run { exit, out: text(out), err: text(err) }
    }
}

fn created() -> Answer {
    Answer::json(
        201,
        &format!(
            r#"{{"token":"amp_live_secret","token_id":"{TOKEN_ID}","name":"demo","scopes":["read","write"],
            "created_at":"2027-01-15T08:00:00Z","expires_at":"2027-02-14T08:00:00Z"}}"#
        ),
    )
}

fn token(name: &str, rest: &str) -> String {
    format!(
        r#"{{"token_id":"{TOKEN_ID}","name":"{name}","scopes":["orders:read","orders:write"],"created_at":"2027-01-14T08:00:00Z",
        "created_by":"socket:root(0)","expires_at":"2027-02-13T08:00:00Z","revoked_at":null,"last_used_at":null{rest}}}"#
    )
}

fn problem(status: u16, code: &str, rest: &str) -> Answer {
    Answer::problem(
        status,
        &format!(
            r#"{{"type":"urn:authd:problem:{code}","title":"T","status":{status},"detail":"the detail","error":"{code}"{rest}}}"#
        ),
    )
}

#[test]
fn create_prints_the_secret_alone_on_stdout() {
    let daemon = Daemon::start([created()]);
    let run = daemon.run(&Program::default(), &["create", "demo", "--scopes", "read", "write", "--ttl", "30"]);
    assert_eq!((run.exit, run.out.as_str()), (Exit::Ok, "amp_live_secret\n"), "{}", run.err);
    assert!(run.err.contains("in 30 days") && run.err.contains("not shown again"), "{}", run.err);
    let request = daemon.request();
    assert!(request.starts_with("POST /auth/tokens HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("idempotency-key: key-1\r\n"), "{request}");
    assert!(request.ends_with(r#"{"name":"demo","scopes":["read","write"],"ttl_days":30}"#), "{request}");
}

#[test]
fn create_as_json_is_the_object_of_the_api() {
    let daemon = Daemon::start([created()]);
    let run = daemon.run(&Program::default(), &["-o", "json", "token", "create", "demo", "--scopes", "read"]);
    let object: serde_json::Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(object["token"], "amp_live_secret");
    assert_eq!(object["expires_at"], "2027-02-14T08:00:00Z");
    assert_eq!(run.err, "");
}

#[test]
fn create_asks_again_with_the_same_key_when_the_answer_is_lost() {
    let daemon = Daemon::start([Answer::Hangup, created()]);
    let run = daemon.run(&Program::default(), &["create", "demo", "--scopes", "read"]);
    assert_eq!((run.exit, run.out.as_str()), (Exit::Ok, "amp_live_secret\n"), "{}", run.err);
    let (first, second) = (daemon.request(), daemon.request());
    assert!(first.contains("idempotency-key: key-1\r\n"));
    assert_eq!(first, second);
}

#[test]
fn create_without_any_answer_tells_the_key() {
    let daemon = Daemon::start([Answer::Hangup, Answer::Hangup]);
    let run = daemon.run(&Program::default(), &["create", "demo", "--scopes", "read"]);
    assert_eq!(run.exit, Exit::Unreachable);
    assert!(run.err.contains("--idempotency-key key-1"), "{}", run.err);
}

#[test]
fn list_follows_cursors_up_to_the_limit() {
    let page = |count: usize, cursor: &str| {
        let tokens = vec![token("a", ""); count].join(",");
        Answer::json(200, &format!(r#"{{"tokens":[{tokens}],"total":3000,"next_cursor":{cursor}}}"#))
    };
    let daemon = Daemon::start([page(1_000, r#""c1""#), page(500, r#""c2""#)]);
    let run = daemon.run(&Program::default(), &["list", "--all", "--limit", "1500", "-o", "json"]);
    let object: serde_json::Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(object["tokens"].as_array().unwrap().len(), 1_500);
    assert_eq!(object["next_cursor"], "c2");
    let (first, second) = (daemon.request(), daemon.request());
    assert!(first.starts_with("GET /auth/tokens?"), "{first}");
    assert!(first.contains("limit=1000") && first.contains("include_revoked=true"), "{first}");
    assert!(second.contains("limit=500") && second.contains("cursor=c1"), "{second}");
}

#[test]
fn list_is_a_table_that_fits() {
    let tokens = format!("{},{}", token("deploy-bot", ""), token("a\\u001b[31m", ""));
    let list = format!(r#"{{"tokens":[{tokens}],"total":5,"next_cursor":"c"}}"#);
    let daemon = Daemon::start([Answer::json(200, &list)]);
    let run = daemon.run(&Program { width: Some(80), ..Program::default() }, &["list", "--limit", "2"]);
    let expected = "\
ID                                    NAME         SCOPES        EXPIRES
0199a0b0-0000-7000-8000-000000000001  deploy-bot   orders:read   in 29 days
                                                   orders:write
0199a0b0-0000-7000-8000-000000000001  a\\u{1b}[31m  orders:read   in 29 days
";
    assert!(run.out.lines().all(|line| line.chars().count() <= 80), "{}{}", run.out, run.err);
    assert!(run.out.starts_with(expected), "{}|{}", run.out, run.err);
    assert!(run.out.contains("\\u{1b}") && !run.out.contains('\u{1b}'), "{}|{}", run.out, run.err);
    assert_eq!(run.err, "There are more (of 5): --limit N shows more of them\n");
}

#[test]
fn info_tells_times_as_people_do() {
    let daemon = Daemon::start([Answer::json(
        200,
        &token("deploy-bot", r#","cidrs":["10.0.0.0/8"],"metadata":{"team":"pay"}"#),
    )]);
    let run = daemon.run(&Program::default(), &["info", "deploy-bot"]);
    assert_eq!(
        run.out,
        "ID            0199a0b0-0000-7000-8000-000000000001\n\
         Name          deploy-bot\n\
         Scopes        orders:read orders:write\n\
         Created       24 hours ago (2027-01-14T08:00:00Z) by socket:root(0)\n\
         Expires       in 29 days (2027-02-13T08:00:00Z)\n\
         Last used     never\n\
         Networks      10.0.0.0/8\n\
         Metadata      team=pay\n"
    );
    assert!(daemon.request().starts_with("GET /auth/tokens/deploy-bot HTTP/1.1\r\n"));
}

#[test]
fn revoke_off_a_terminal_wants_yes() {
    let daemon = Daemon::start([]);
    let run = daemon.run(&Program::default(), &["revoke", TOKEN_ID]);
    assert_eq!(run.exit, Exit::Usage);
    assert!(run.err.contains("--yes"), "{}", run.err);

    let revoked = format!(r#"{{"success":true,"token_id":"{TOKEN_ID}","revoked_at":"2027-01-15T08:00:00Z"}}"#);
    let daemon = Daemon::start([Answer::json(200, &revoked)]);
    let run = daemon.run(&Program::default(), &["revoke", TOKEN_ID, "--yes", "--reason", "leaked"]);
    assert_eq!((run.exit, run.out), (Exit::Ok, format!("Revoked {TOKEN_ID}, now (2027-01-15T08:00:00Z)\n")));
    assert!(daemon.request().ends_with(r#"{"reason":"leaked"}"#));
}

#[test]
fn revoke_on_a_terminal_asks_and_takes_no_for_an_answer() {
    let daemon = Daemon::start([Answer::json(200, &token("deploy-bot", ""))]);
    let run = daemon.run(&Program { confirm: Some(false), ..Program::default() }, &["revoke", "deploy-bot"]);
    assert_eq!((run.exit, run.err.as_str()), (Exit::Refused, "error: nothing was done\n"));
}

#[test]
fn validate_reads_the_token_from_stdin_and_exits_by_the_answer() {
    let no = r#"{"valid":false,"scopes":[],"error":"token_revoked","detail":"the token was revoked"}"#;
    let daemon = Daemon::start([Answer::json(200, no)]);
    let program = Program { stdin: "amp_live_x\n", ..Program::default() };
    let run = daemon.run(&program, &["token", "validate", "--scopes", "read"]);
    assert_eq!(run.exit, Exit::Refused);
    assert_eq!(run.out, "Valid         no\nWhy           the token was revoked\n");
    let request = daemon.request();
    assert!(
        request.ends_with(r#"{"required_scopes":["read"],"service_name":"authctl","token":"amp_live_x"}"#),
        "{request}"
    );
}

#[test]
fn refusals_have_their_exit_code_and_an_advice() {
    for (answer, exit, advice) in [
        (problem(404, "not_found", ""), Exit::Refused, "the detail"),
        (problem(401, "invalid_token", ""), Exit::NotAuthenticated, "authd.toml"),
        (problem(403, "forbidden", ""), Exit::Refused, "You are uid"),
        (
            problem(422, "validation_failed", r#","fields":[{"field":"name","detail":"too long"}]"#),
            Exit::Refused,
            "name: too long",
        ),
        (problem(429, "rate_limited", r#","retry_after":7"#), Exit::Refused, "Try again in 7 s"),
        (problem(500, "internal", r#","request_id":"r-1""#), Exit::Refused, "request id r-1"),
        (Answer::json(200, "<html>"), Exit::Refused, "Is this authd's address"),
        (Answer::Hangup, Exit::Unreachable, "did not answer"),
    ] {
        let daemon = Daemon::start([answer]);
        let run = daemon.run(&Program::default(), &["info", "x"]);
        assert_eq!((run.exit, run.out.as_str()), (exit, ""), "{}", run.err);
        assert!(run.err.contains(advice), "{advice}: {}", run.err);
    }
}

#[test]
fn a_server_gets_the_token_and_a_socket_does_not() {
    let env = &[("ADMIN_TOKEN", "admin-secret")];
    let program = Program { env, ..Program::default() };
    let daemon = Daemon::start([Answer::json(200, &token("a", ""))]);
    daemon.run(&program, &["info", "a"]);
    assert!(!daemon.request().contains("admin-secret"));

    let daemon = Daemon::start_tcp([Answer::json(200, &token("a", ""))]);
    let run = daemon.run(&program, &["info", "a"]);
    assert_eq!(run.exit, Exit::Ok, "{}", run.err);
    assert!(daemon.request().contains("authorization: Bearer admin-secret\r\n"));
}

#[test]
fn a_token_is_not_sent_in_clear_to_another_machine() {
    let program = Program { env: &[("AUTHCTL_TOKEN", "t")], ..Program::default() };
    let run = program.run(&["--server", "http://192.0.2.1:8080", "list"]);
    assert_eq!(run.exit, Exit::Usage);
    assert!(run.err.contains("--insecure") && run.err.contains("https"), "{}", run.err);
}

#[test]
fn without_credentials_a_server_says_which_to_set() {
    let daemon = Daemon::start_tcp([problem(401, "unauthenticated", "")]);
    let run = daemon.run(&Program::default(), &["list"]);
    assert_eq!(run.exit, Exit::NotAuthenticated);
    assert!(run.err.contains("AUTHCTL_TOKEN"), "{}", run.err);
}

#[test]
fn a_wrong_socket_says_what_is_wrong_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.sock");
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let dead = folder.path().join("dead.sock");
    drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
    for (path, told) in [(missing, "no such socket"), (file, "a file, not a socket"), (dead, "nobody listens")] {
        let path = path.to_str().unwrap();
        for (env, args) in [(&[][..], &["--socket", path, "list"][..]), (&[("AUTHD_ADMIN_SOCKET", path)], &["list"])] {
            let run = Program { env, ..Program::default() }.run(args);
            assert_eq!(run.exit, Exit::Unreachable);
            assert!(
                run.err.contains(path) && run.err.contains(told) && run.err.contains("Start it with"),
                "{}",
                run.err
            );
        }
    }
}

#[test]
fn nobody_at_the_address_is_unreachable() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let run = Program::default().run(&["--server", &url, "status"]);
    assert_eq!(run.exit, Exit::Unreachable);
    assert!(run.err.contains("Is authd running there?"), "{}", run.err);
}

#[test]
fn a_wrong_command_line_is_exit_2() {
    for args in [
        &["nonsense"][..],
        &["create", "demo"],
        &["create", "--scopes", "read"],
        &["create", "demo", "--scopes", "read", "--ttl", "0"],
        &["create", "demo", "--scopes", "read", "--ttl", "1", "--expires-at", "2027-01-31"],
        &["session", "end", "not-a-uuid"],
        &["list", "--server", "http://127.0.0.1:1", "--socket", "/x"],
        &["list", "--server", "localhost:8080"],
        &["list", "-o", "xml"],
        &[],
    ] {
        let run = Program::default().run(args);
        assert_eq!((run.exit, run.out.as_str()), (Exit::Usage, ""), "{args:?}");
        assert!(!run.err.is_empty());
    }
}

/// The help of every command, kept as a file so that a change of it is seen in review. `UPDATE_HELP=1` writes it anew.
#[test]
fn the_help_is_as_reviewed() {
    let commands = [
        "",
        "create",
        "list",
        "info",
        "revoke",
        "token",
        "token extend",
        "token rotate",
        "token validate",
        "session",
        "session list",
        "session end",
        "audit",
        "status",
        "completions",
    ];
    let help = commands.map(|command| {
        let args: Vec<&str> = command.split_whitespace().chain(["--help"]).collect();
        let run = Program::default().run(&args);
        assert_eq!((run.exit, run.err.as_str()), (Exit::Ok, ""));
        format!("$ authctl {}\n{}\n", args.join(" "), run.out)
    });
    let text = help.concat();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/help.txt");
    if std::env::var_os("UPDATE_HELP").is_some() {
        std::fs::write(file, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(file).unwrap_or_default(), "UPDATE_HELP=1 writes it anew");
}

#[test]
fn completions_need_no_daemon() {
    let run = Program::default().run(&["completions", "bash"]);
    assert_eq!(run.exit, Exit::Ok);
    assert!(run.out.contains("revoke"));
}
