//! Applying a file: what is refused before anybody is asked, what is asked, and what is told.

use shared::cli::Exit;
use tempfile::TempDir;

use crate::TOKEN_ID;
use crate::daemon::{Answer, Daemon, problem};
use crate::program::{Program, Run};

const FILE: &str = "permissions = [\"a\", \"b\"]\n\n[[role]]\nname = \"r\"\npermissions = [\"a\", \"b\"]\n";

/// A daemon at its first start answers this to the three questions that a plan begins with.
fn nothing() -> [Answer; 3] {
    let lists = [r#"{"permissions":[]}"#, r#"{"roles":[]}"#, r#"{"services":[]}"#];
    lists.map(|list| Answer::json(200, list))
}

fn made(name: &str) -> Answer {
    let times = r#""created_at":"2027-01-14T08:00:00Z","updated_at":"2027-01-14T08:00:00Z""#;
    Answer::json(201, &format!(r#"{{"id":"{TOKEN_ID}","name":"{name}","status":"active",{times}}}"#))
}

fn done() -> Answer {
    Answer::json(200, r#"{"status":"success"}"#)
}

fn run(daemon: &Daemon, program: &Program<'_>, name: &str, text: &str, args: &[&str]) -> Run {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join(name);
    std::fs::write(&path, text).expect("the folder is ours");
    daemon.run(program, &[&["apply", path.to_str().expect("plain")], args].concat())
}

#[test]
fn a_file_with_faults_asks_nobody() {
    let daemon = Daemon::start([]);
    for (name, text, told) in [
        ("x.toml", "permissions = [\"a\",\n\"A\"]", "x.toml:2: the permission \"A\" has been named before as \"a\""),
        ("x.yaml", "roles:\n- nane: r\n", "x.yaml:2: roles[0]: unknown field `nane`"),
        (
            "x.yml",
            "grants:\n- {user: a, service: s}\n- {user: A, service: S}\n",
            "x.yml:3: A in S has been named before",
        ),
        ("x.txt", "", "say --format toml or --format yaml"),
        ("x.toml", &"#".repeat((1 << 20) + 1), "larger than 1048576 bytes"),
    ] {
        let run = run(&daemon, &Program::default(), name, text, &["--yes"]);
        assert_eq!((run.exit, run.out.as_str()), (Exit::Usage, ""), "{}", run.err);
        assert!(run.err.contains(told), "{told}: {}", run.err);
    }
    let run = daemon.run(&Program::default(), &["apply", "/nonexistent/x.toml"]);
    assert_eq!(run.exit, Exit::Usage);
    assert!(run.err.contains("cannot read /nonexistent/x.toml"), "{}", run.err);
}

#[test]
fn the_plan_is_shown_and_a_no_changes_nothing() {
    let plan = "+ permission a\n+ permission b\n+ role r\n    + permission a\n    + permission b\n\n\
                3 to create, 0 to change, 0 to remove\n";
    for (program, args, exit) in [
        (Program::default(), &["--dry-run"][..], Exit::Ok),
        (Program::default(), &["--dry-run", "--exit-code"], Exit::Different),
        (Program::default(), &[], Exit::Usage),
        (Program { confirm: Some(false), ..Program::default() }, &[], Exit::Refused),
    ] {
        let run = run(&Daemon::start(nothing()), &program, "x.toml", FILE, args);
        assert_eq!((run.exit, run.out.as_str()), (exit, plan), "{}", run.err);
    }
    let run = run(&Daemon::start(nothing()), &Program::default(), "x.toml", FILE, &["--dry-run", "-o", "json"]);
    let object: serde_json::Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(
        object["changes"][2]["details"][0],
        serde_json::json!({"action": "add", "kind": "permission", "name": "a"})
    );
    assert_eq!(object["applied"], false);
}

#[test]
fn a_yes_makes_it_so_in_an_order_that_works() {
    let daemon = Daemon::start(nothing().into_iter().chain([made("a"), made("b"), made("r"), done(), done()]));
    let program = Program { stdin: FILE, ..Program::default() };
    let run = daemon.run(&program, &["apply", "-", "--format", "toml", "--yes"]);
    assert_eq!(run.exit, Exit::Ok, "{}", run.err);
    assert!(run.out.ends_with("Done: 3 created, 0 changed, 0 removed\n"), "{}", run.out);
    let requests: Vec<String> = (0..8).map(|_| daemon.request()).collect();
    let first: Vec<&str> = requests.iter().map(|request| request.split(" HTTP").next().unwrap()).collect();
    assert_eq!(
        first[3..],
        ["POST /permissions", "POST /permissions", "POST /roles", "POST /role-permissions", "POST /role-permissions"]
    );
}

#[test]
fn a_failure_says_how_far_it_came_and_how_to_go_on() {
    let answers = nothing().into_iter().chain([made("a"), made("b"), made("r"), problem(403, "forbidden", "")]);
    let run = run(&Daemon::start(answers), &Program::default(), "x.toml", FILE, &["--yes"]);
    assert_eq!(run.exit, Exit::Refused);
    assert!(run.err.contains("the detail"), "{}", run.err);
    let told = "3 of 5 changes were made and stay; this one was not: role r: + permission a\nRun the command again";
    assert!(run.err.contains(told), "{}", run.err);
}
