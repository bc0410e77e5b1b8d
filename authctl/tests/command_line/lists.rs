//! Lists, lengths of time, and words: each is written in one way, in every command.

use shared::cli::Exit;

use crate::TOKEN_ID;
use crate::daemon::{Answer, Daemon, problem, token};
use crate::program::Program;

fn created() -> Answer {
    let created = format!(
        r#"{{"token":"amp_live_secret","token_id":"{TOKEN_ID}","name":"ci","scopes":["read"],"created_at":"2027-01-15T08:00:00Z",
        "expires_at":null}}"#
    );
    Answer::json(201, &created)
}

#[test]
fn a_name_may_stand_before_or_after_the_scopes_which_are_split_at_commas_and_blanks() {
    for args in [
        &["ci", "--scopes", "read", "write"][..],
        &["ci", "--scopes", "read,write"],
        &["ci", "--scopes", "read, write"],
        &["ci", "--scopes", "read", "--scopes", "write"],
        &["--scopes", "read,write", "ci"],
        &["--scopes", "read write", "ci"],
        &["--scopes", "read", "write", "ci"],
        &["--scopes=read,write", "ci"],
    ] {
        for command in [&["create"][..], &["token", "create"]] {
            let daemon = Daemon::start([created()]);
            let run = daemon.run(&Program::default(), &[command, args].concat());
            assert_eq!(run.exit, Exit::Ok, "{args:?}: {}", run.err);
            let request = daemon.request();
            assert!(request.ends_with(r#"{"name":"ci","scopes":["read","write"]}"#), "{args:?}: {request}");
        }
    }
    let valid = Answer::json(200, r#"{"valid":true,"scopes":["read"]}"#);
    let daemon = Daemon::start([valid]);
    daemon.run(&Program { stdin: "t", ..Program::default() }, &["token", "validate", "--scopes", "read,write x"]);
    assert!(daemon.request().contains(r#""required_scopes":["read","write","x"]"#));
}

#[test]
fn the_name_of_a_role_may_stand_after_its_permissions() {
    let role = format!(
        r#"{{"id":"{TOKEN_ID}","name":"editor","status":"active","created_at":"2027-01-14T08:00:00Z","updated_at":"2027-01-14T08:00:00Z"}}"#
    );
    let daemon = Daemon::start([Answer::json(201, &role), Answer::json(200, r#"{"status":"success"}"#)]);
    let run = daemon.run(&Program::default(), &["role", "create", "--permissions", "orders.read", "editor"]);
    assert_eq!(run.exit, Exit::Ok, "{}", run.err);
    assert!(daemon.request().ends_with(r#"{"name":"editor"}"#));
    assert!(daemon.request().ends_with(r#"{"permission_id":"orders.read","role_id":"editor"}"#));
}

#[test]
fn lengths_of_time_are_written_alike_everywhere() {
    for (ttl, sent) in [("30", r#""ttl_days":30"#), ("30d", r#""ttl_days":30"#), ("12h", r#""ttl_seconds":43200"#)] {
        let service = format!(
            r#"{{"token":"s","token_id":"{TOKEN_ID}","service_id":"{TOKEN_ID}","name":"n","expires_at":null}}"#
        );
        let daemon = Daemon::start([created(), Answer::json(201, &service)]);
        for args in [
            &["create", "ci", "--scopes", "read", "--ttl", ttl][..],
            &["service", "token", "create", "s", "--ttl", ttl],
        ] {
            let run = daemon.run(&Program::default(), args);
            assert_eq!(run.exit, Exit::Ok, "{}", run.err);
            let request = daemon.request();
            assert!(request.contains(sent), "{request}");
        }
    }
    for (args, sent) in [
        (["--by", "12h"], r#"{"extend_seconds":43200}"#),
        (["--by", "2w"], r#"{"extend_days":14}"#),
        (["--days", "30"], r#"{"extend_days":30}"#),
    ] {
        let daemon = Daemon::start([Answer::json(200, &token("ci", ""))]);
        let run = daemon.run(&Program::default(), &[&["token", "extend", "ci", "--timeout", "1m"][..], &args].concat());
        assert_eq!(run.exit, Exit::Ok, "{}", run.err);
        let request = daemon.request();
        assert!(request.ends_with(sent), "{request}");
    }
    let rotated = format!(
        r#"{{"token":"s","token_id":"{TOKEN_ID}","name":"ci","scopes":["read"],"expires_at":null,"previous_expires_at":"2027-01-15T09:00:00Z"}}"#
    );
    for (grace, sent) in [("900s", 900), ("900", 900), ("30d", 2_592_000)] {
        let daemon = Daemon::start([Answer::json(200, &rotated)]);
        daemon.run(&Program::default(), &["token", "rotate", "ci", "--grace", grace]);
        assert!(daemon.request().ends_with(&format!(r#"{{"grace_seconds":{sent}}}"#)));
    }
}

#[test]
fn a_list_asks_for_what_the_filters_say() {
    for (args, sent) in [
        (&["list", "--prefix", "ci-"][..], &["prefix=ci-"][..]),
        (&["list", "--scope", "read", "--expires-within", "7d"], &["scope=read", "expires_within=604800"]),
        (&["list", "--expires-within", "12h", "--name", "ci"], &["expires_within=43200", "name=ci"]),
        (&["user", "list", "--prefix", "al"], &["prefix=al"]),
        (
            &["service", "token", "list", "orders", "--prefix", "al", "--expires-within", "1h"],
            &["/services/orders/token?", "prefix=al", "expires_within=3600"],
        ),
        (
            &["session", "list", "--user", "ada", "--since", "1d", "--until", "2027-01-15", "--expires-within", "10m"],
            &["user=ada", "since=2027-01-14T08%3A00%3A00Z", "until=2027-01-15T00%3A00%3A00Z", "expires_within=600"],
        ),
        (&["service", "list", "--prefix", "al", "--cursor", TOKEN_ID], &["prefix=al", "cursor=0199a0b0"]),
        (&["role", "list", "--prefix", "al", "--limit", "7"], &["prefix=al", "limit=7"]),
        (&["permission", "list", "--prefix", "al", "--all-pages"], &["prefix=al", "limit=200"]),
    ] {
        let daemon = Daemon::start([problem(403, "forbidden", "")]);
        daemon.run(&Program::default(), args);
        let request = daemon.request();
        assert!(sent.iter().all(|sent| request.contains(sent)), "{args:?}: {request}");
    }
}

#[test]
fn all_pages_are_read_to_their_end_and_a_cursor_continues() {
    let page = |cursor: &str| {
        let tokens = vec![token("a", ""); 200].join(",");
        Answer::json(200, &format!(r#"{{"tokens":[{tokens}],"total":600,"next_cursor":{cursor}}}"#))
    };
    let daemon = Daemon::start([page(r#""c1""#), page(r#""c2""#), page("null")]);
    let run = daemon.run(&Program::default(), &["list", "--all-pages", "--cursor", "c0"]);
    assert_eq!((run.out.lines().count(), run.err.as_str()), (601, ""));
    for cursor in ["c0", "c1", "c2"] {
        let request = daemon.request();
        assert!(request.contains(&format!("cursor={cursor}")) && request.contains("limit=200"), "{request}");
    }
}

#[test]
fn a_filter_that_nothing_matches_says_of_how_many() {
    let tokens = |total: u32| format!(r#"{{"tokens":[{}],"total":{total},"next_cursor":null}}"#, token("a", ""));
    let none = r#"{"tokens":[],"total":0}"#.to_owned();
    let users = |count: usize| {
        let user = format!(
            r#"{{"id":"{TOKEN_ID}","username":"u","name":"U","status":"active","created_at":"2027-01-14T08:00:00Z","updated_at":"2027-01-14T08:00:00Z"}}"#
        );
        format!(r#"{{"users":[{}],"next_cursor":null}}"#, vec![user; count].join(","))
    };
    let two_tokens = tokens(60).replacen("[{", &format!("[{},{{", token("b", "")), 1);
    for (args, answers, told) in [
        (&["list", "--scope", "x"][..], [none.clone(), two_tokens], "No tokens: none of the 60 match\n"),
        (&["list", "--expires-within", "7d"], [none.clone(), tokens(1)], "No tokens: the only one does not match\n"),
        (
            &["list", "--prefix", "x"],
            [none.clone(), none],
            "No tokens. Create one: `authctl create NAME --scopes SCOPE`\n",
        ),
        (&["user", "list", "--prefix", "x"], [users(0), users(3)], "No users: none of the 3 match\n"),
    ] {
        let daemon = Daemon::start(answers.map(|answer| Answer::json(200, &answer)));
        let run = daemon.run(&Program::default(), args);
        assert_eq!((run.exit, run.out.as_str(), run.err.as_str()), (Exit::Ok, "", told), "{args:?}");
        daemon.request();
        let all = daemon.request();
        assert!(!all.contains("prefix") && !all.contains("scope") && !all.contains("expires"), "{all}");
    }
}

#[test]
fn info_finds_a_revoked_token_by_name_when_no_live_one_has_it() {
    let gone = || Answer::problem(404, &NOT_FOUND.replace("KIND", "token"));
    let revoked = token("ci", r#","revoked":true,"revoke_reason":"lost""#)
        .replace(r#""revoked_at":null"#, r#""revoked_at":"2027-01-15T07:00:00Z""#);
    let daemon = Daemon::start([gone(), Answer::json(200, &format!(r#"{{"tokens":[{revoked}],"total":2}}"#))]);
    let run = daemon.run(&Program::default(), &["info", "ci"]);
    assert_eq!(run.exit, Exit::Ok, "{}", run.err);
    assert!(run.out.contains("Revoked       60 minutes ago (2027-01-15T07:00:00Z): lost\n"), "{}", run.out);
    daemon.request();
    let request = daemon.request();
    assert!(
        request.contains("include_revoked=true") && request.contains("name=ci") && request.contains("limit=1"),
        "{request}"
    );

    let daemon = Daemon::start([gone(), Answer::json(200, r#"{"tokens":[],"total":0}"#)]);
    let run = daemon.run(&Program::default(), &["info", "ci"]);
    assert_eq!((run.exit, run.err.as_str()), (Exit::Refused, "error: there is no such token\n"));
    let daemon = Daemon::start([gone()]);
    assert_eq!(daemon.run(&Program::default(), &["info", TOKEN_ID]).exit, Exit::Refused, "an id is of one token");
}

#[test]
fn info_tells_the_grace_of_a_rotation() {
    let daemon = Daemon::start([Answer::json(200, &token("ci", r#","previous_expires_at":"2027-01-15T09:00:00Z""#))]);
    let run = daemon.run(&Program::default(), &["info", "ci"]);
    assert!(run.out.contains("Old secret    stops working in 60 minutes (2027-01-15T09:00:00Z)\n"), "{}", run.out);
}

/// As the daemon says that there is no thing of a kind.
pub const NOT_FOUND: &str =
    r#"{"type":"about:blank","title":"T","status":404,"detail":"there is no such KIND","error":"not_found"}"#;

#[test]
fn short_lists_are_filtered_by_person_name_and_time_and_continue_after_the_last_entry_shown() {
    let mail = |to: &str, at: &str| {
        format!(r#"{{"id":"{TOKEN_ID}","template":"t","to":"{to}","created_at":"{at}","state":"queued","attempts":0}}"#)
    };
    let (old, new) = (mail("ada@example.org", "2027-01-10T08:00:00Z"), mail("Ada@example.org", "2027-01-15T07:00:00Z"));
    let page = |mails: &[&str], cursor: &str| {
        Answer::json(200, &format!(r#"{{"mails":[{}],"next_cursor":{cursor}}}"#, mails.join(",")))
    };
    let bob = mail("bob@example.org", "2027-01-15T07:00:00Z");
    let daemon = Daemon::start([page(&[&bob, &new], r#""c1""#), page(&[&new], r#""c2""#)]);
    let run = daemon.run(&Program::default(), &["mail", "list", "--to", "ADA@", "--since", "1d", "--limit", "2"]);
    assert_eq!(run.out.lines().count(), 3, "{}", run.out);
    assert!(run.err.contains("--cursor c2"), "{}", run.err);
    assert!(daemon.request().contains("limit=2"));
    let second = daemon.request();
    assert!(second.contains("limit=1") && second.contains("cursor=c1"), "{second}");

    let daemon = Daemon::start([page(&[&old, &old], "null")]);
    let run = daemon.run(&Program::default(), &["mail", "list", "--since", "1d"]);
    assert_eq!((run.out.as_str(), run.err.as_str()), ("", "No mails wait: none of the 2 match\n"));

    let lockouts = r#"{"lockouts":[{"id":"name:alice","failures":12,"last_at":"2027-01-15T07:59:00Z"},
        {"id":"address:2001:db8::","failures":3,"last_at":"2027-01-14T07:00:00Z"}]}"#;
    for (args, shown) in [(["--prefix", "AL"], "alice"), (["--until", "1d"], "2001:db8::")] {
        let daemon = Daemon::start([Answer::json(200, lockouts)]);
        let run = daemon.run(&Program::default(), &[&["lockout", "list"][..], &args].concat());
        assert!(run.out.lines().count() == 2 && run.out.contains(shown), "{args:?}: {}{}", run.out, run.err);
    }

    let file = |name: &str| {
        format!(
            r#"{{"key":"{TOKEN_ID}","file_name":"{name}","size":1,"content_type":"text/plain","sha256":"x","url":"http://a","user_id":"{TOKEN_ID}","created_at":"2027-01-15T07:00:00Z"}}"#
        )
    };
    let files = format!(r#"{{"files":[{},{}]}}"#, file("report.pdf"), file("picture.png"));
    let daemon = Daemon::start([Answer::json(200, &files)]);
    let run = daemon.run(&Program::default(), &["file", "list", "--prefix", "rep", "--since", "2h"]);
    assert!(run.out.contains("report.pdf") && !run.out.contains("picture.png"), "{}{}", run.out, run.err);

    let grant = |role: &str| {
        format!(
            r#"{{"person_id":"{TOKEN_ID}","username":"ada","service_id":"{TOKEN_ID}","service":"orders","role":"{role}","created_at":"2027-01-15T07:00:00Z"}}"#
        )
    };
    let grants = format!(r#"{{"grants":[{},{}]}}"#, grant("editor"), grant("viewer"));
    let daemon = Daemon::start([Answer::json(200, &grants), Answer::json(200, &grants)]);
    let run = daemon.run(&Program::default(), &["grants", "--role", "EDITOR"]);
    assert!(run.out.contains("editor") && !run.out.contains("viewer"), "{}{}", run.out, run.err);
    let run = daemon.run(&Program::default(), &["grants", "--permission", "editor"]);
    assert_eq!(run.err, "No grants: none of the 2 match\n");
}
