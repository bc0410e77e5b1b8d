//! README and packaging/docs: every command runs, every output that is shown is printed, every path and link exists.
//!
//! A page is one session of bash, with its `sh` blocks in order. It runs on what looks like a fresh machine
//! (tests/rig/docs.sh), so that a page can name the real paths and ports; operating.md on a booted systemd; and what a
//! comment `<!-- in: playground -->` marks with the peers of tests/playground.

use std::collections::BTreeSet;
use std::path::PathBuf;
use tests::authd::Setup;
use tests::document::{Page, SESSION_TIMEOUT, at_the_playground, on_a_fresh_machine, repository};
use tests::machine::Booted;
use tests::process::{Spec, both, stdout};
use tests::{TIMEOUT, binary, until};

/// Every page; each has a test below that runs it, if there is something to run.
const PAGES: [&str; 10] = [
    "README.md",
    "packaging/docs/access.md",
    "packaging/docs/asking.md",
    "packaging/docs/aws.md",
    "packaging/docs/configuration.md",
    "packaging/docs/contributing.md",
    "packaging/docs/deploying.md",
    "packaging/docs/operating.md",
    "packaging/docs/performance.md",
    "packaging/docs/web.md",
];

/// The blocks that are not run: page, text, and why.
const NOT_RUN: [(&str, &str, &str); 5] = [
    ("README.md", "tests/run\n", "it runs this test"),
    ("README.md", "tests/playground\n", "it installs, builds, and stays until Ctrl-C; the tests start its program"),
    ("packaging/docs/aws.md", "tests/playground\n", "as in README.md"),
    (
        "packaging/docs/deploying.md",
        "cargo install --locked --git https://example.com/authd.git auth-login\n",
        "it stands for the address of your copy",
    ),
    ("packaging/docs/performance.md", "tests/bench/run\n", "it makes a release build and measures for minutes"),
];

/// Folders and files at the root of the repository that a page may name.
const ROOTS: [&str; 8] = ["authd/", "authctl/", "auth-login/", "shared/", "tests/", "packaging/", ".ci/", "target/"];

fn pages() -> impl Iterator<Item = Page> {
    PAGES.into_iter().map(Page::read)
}

/// Runs the page's commands on a fresh machine, on which these have been run before.
fn run(name: &str, before: &str) {
    let page = Page::read(name);
    let script = page.script("");
    page.assert_ran("", &on_a_fresh_machine(&format!("{before}\n{script}")));
}

#[test]
fn the_readme_runs() {
    run("README.md", "");
}

#[test]
fn the_readme_ends_in_aws_credentials() {
    let page = Page::read("README.md");
    page.assert_ran("playground", &at_the_playground(&page.script("playground")));
}

#[test]
fn access_runs() {
    run("packaging/docs/access.md", "authd");
}

#[test]
fn asking_runs() {
    run("packaging/docs/asking.md", "");
}

#[test]
fn aws_runs() {
    run("packaging/docs/aws.md", "");
    let page = Page::read("packaging/docs/aws.md");
    page.assert_ran("playground", &at_the_playground(&page.script("playground")));
}

#[test]
fn configuration_runs() {
    run("packaging/docs/configuration.md", "");
}

#[test]
fn contributing_runs() {
    run("packaging/docs/contributing.md", "");
}

#[test]
fn operating_runs_on_a_booted_systemd() {
    let page = Page::read("packaging/docs/operating.md");
    let source = |path: &str| repository().join(path);
    let mut files: Vec<(String, PathBuf)> =
        ["authd", "authctl"].map(|name| (format!("/srv/authd/target/release/{name}"), binary(name))).into();
    let packaged =
        ["authd.service", "authd.sysusers", "authd.tmpfiles"].map(|name| format!("packaging/systemd/{name}"));
    let peers = ["tests/rig/pg.sh", "tests/rig/redis.sh"].map(str::to_owned);
    files.extend(packaged.into_iter().chain(peers).map(|path| (format!("/srv/authd/{path}"), source(&path))));
    let files: Vec<_> = files.iter().map(|(target, file)| (target.as_str(), file.clone())).collect();
    let machine = Booted::start(&files);
    // PostgreSQL and Redis, as a package would have started them.
    for (unit, port) in [("pg", "5432"), ("redis", "6379")] {
        let script = format!("/srv/authd/tests/rig/{unit}.sh");
        let name = format!("docs-{unit}");
        stdout(&machine.run(&["systemd-run", "--quiet", "--unit", &name, &script, &format!("/srv/{unit}"), port]));
    }
    until(TIMEOUT, "PostgreSQL and Redis", || {
        let ask = "pg_isready -q -h 127.0.0.1 && redis-cli ping | grep -q PONG";
        machine.run(&["bash", "-c", ask]).status.success().then_some(())
    });
    let script = format!("cd /srv/authd\n{}", page.script(""));
    let output = machine.spec(&["bash", "-c", &script]).env("HOME", "/root").run(SESSION_TIMEOUT);
    if !output.status.success() {
        eprintln!("{}", machine.journal("authd"));
    }
    page.assert_ran("", &output);
}

#[test]
fn deploying_runs() {
    run("packaging/docs/deploying.md", "");
}

#[test]
fn web_runs() {
    run("packaging/docs/web.md", "");
}

#[test]
#[should_panic(expected = "this block failed")]
fn a_command_that_fails_is_found() {
    let mut page = Page::read("packaging/docs/configuration.md");
    page.blocks[0].text.push_str("authctl no-such-command\n");
    page.assert_ran("", &on_a_fresh_machine(&page.script("")));
}

#[test]
#[should_panic(expected = "was not printed")]
fn an_output_that_is_not_printed_is_found() {
    let mut page = Page::read("packaging/docs/configuration.md");
    page.blocks[1].text.push_str("[no_such_section]\n");
    page.assert_ran("", &on_a_fresh_machine(&page.script("")));
}

#[test]
fn every_page_is_known_and_every_block_is_checked() {
    let folder = std::fs::read_dir(repository().join("packaging/docs")).expect("the pages are part of the source");
    let files = folder.flatten().filter(|entry| entry.path().is_file());
    let names = files.map(|entry| format!("packaging/docs/{}", entry.file_name().display()));
    let found: BTreeSet<String> = names.chain(["README.md".to_owned()]).collect();
    assert_eq!(found, PAGES.map(str::to_owned).into());

    let not_run: BTreeSet<_> = NOT_RUN.iter().map(|&(page, text, _)| (page.to_owned(), text.to_owned())).collect();
    let console = pages().flat_map(|page| {
        let blocks: Vec<_> = page.tagged("console").map(|block| (page.name.clone(), block.text.clone())).collect();
        blocks
    });
    assert_eq!(console.collect::<BTreeSet<_>>(), not_run, "a block that is not run is listed here, with its reason");
    for (page, text, _) in NOT_RUN {
        let program = text.split_whitespace().next().expect("a block has words");
        assert!(program == "cargo" || repository().join(program).is_file(), "{page}: {program}");
    }

    let example = |name: &str| {
        let path = repository().join("packaging/examples").join(name).join("src/main.rs");
        words(&std::fs::read_to_string(path).expect("the example is there"))
    };
    let examples = ["rust-service", "rust-accounts"].map(example);
    for page in pages() {
        let mut before = "";
        for block in &page.blocks {
            let place = format!("{}:{}", page.name, block.line);
            match block.tag.as_str() {
                "sh" | "console" | "mermaid" => {}
                "text" => assert_eq!(before, "sh", "{place}: output is shown after the command"),
                "toml" => {
                    let checked = Setup::new().toml(&block.text).run(&["check"]);
                    assert!(checked.status.success(), "{place}: {}", both(&checked));
                }
                "nginx" => {
                    let folder = tests::folder("nginx");
                    stdout(&tests::rig::script("tls.sh").arg(folder.path()).run(TIMEOUT));
                    let own = |name: &str| folder.path().join(name).display().to_string();
                    let text = block.text.replace("/etc/ssl/auth.example.com.pem", &own("srv.pem"));
                    let text = text.replace("/etc/ssl/auth.example.com.key", &own("srv.key"));
                    stdout(&tests::proxy::nginx(folder.path(), 64, &text).arg("-t").run(TIMEOUT));
                }
                "json" => {
                    let read = serde_json::from_str::<serde_json::Value>(&block.text);
                    assert!(read.is_ok(), "{place}: {read:?}");
                }
                "rust" => {
                    for part in block.text.split("…\n").map(words) {
                        let is_there = examples.iter().any(|example| example.contains(&part));
                        assert!(is_there, "{place}: no example has {part}");
                    }
                }
                other => panic!("{place}: what is a block of {other:?}?"),
            }
            before = &block.tag;
        }
        let contexts: BTreeSet<_> = page.tagged("sh").map(|block| block.context.as_str()).collect();
        assert!(contexts.is_subset(&["", "playground"].into()), "{}: {contexts:?}", page.name);
    }
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn every_path_and_link_exists() {
    for page in pages() {
        let (file, prose) = (repository().join(&page.name), page.prose());
        for target in prose.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let linked = if path.is_empty() { file.clone() } else { file.parent().expect("a folder").join(path) };
            assert!(linked.exists(), "{}: there is no {target}", page.name);
            if !anchor.is_empty() {
                let text = std::fs::read_to_string(&linked).expect("it can be read");
                let heading = |line: &str| line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
                let mut headings = text.lines().filter(|line| line.starts_with('#')).map(heading);
                assert!(headings.any(|found| found == anchor), "{}: there is no {target}", page.name);
            }
        }
        for code in prose.split('`').skip(1).step_by(2) {
            let path = code.split_whitespace().next().unwrap_or_default();
            if ROOTS.iter().any(|root| path.starts_with(root)) {
                assert!(repository().join(path).exists(), "{}: there is no {path}", page.name);
            }
        }
    }
}

#[test]
fn every_environment_variable_is_described() {
    let source = std::fs::read_to_string(repository().join("authd/src/config/source.rs")).expect("it is there");
    let lines = source.lines().filter_map(|line| line.trim().strip_prefix("(\"")?.strip_suffix("),"));
    let page = Page::read("packaging/docs/configuration.md").text;
    let mut count = 0;
    for line in lines.filter(|line| line.contains("Kind::")) {
        let (name, rest) = line.split_once('"').expect("a name in quotes");
        assert!(page.contains(&format!("`{name}`")), "{name} is not described");
        assert_eq!(page.contains(&format!("`{name}` *")), rest.ends_with("Kind::Secret"), "{name}: * is a secret");
        count += 1;
    }
    assert!(count > 20, "the list of variables has been found: {count}");
}

/// `authctl` and `auth-login` have the commands that the pages' tables name. `user create`, `list` is `user create` and
/// `user list`; a semicolon begins anew.
#[test]
fn every_command_in_a_table_exists() {
    for (page, program) in [("packaging/docs/access.md", "authctl"), ("packaging/docs/aws.md", "auth-login")] {
        let text = Page::read(page).text;
        let rows = text.lines().skip_while(|line| !line.starts_with("| command |")).skip(2);
        let cells = rows.take_while(|line| line.starts_with('|')).filter_map(|row| row.split('|').nth(1));
        let mut count = 0;
        for group in cells.flat_map(|cell| cell.split(';')) {
            let mut subject = Vec::new();
            for code in group.split('`').skip(1).step_by(2) {
                let words = code.split_whitespace().take_while(|word| word.starts_with(char::is_lowercase));
                let mut words: Vec<_> = words.skip_while(|word| *word == program).collect();
                if let [before @ .., _] = &*words
                    && !before.is_empty()
                {
                    subject = before.to_vec();
                } else {
                    words = [subject.clone(), words].concat();
                }
                let help = Spec::new(binary(program)).args(&words).arg("--help").run(TIMEOUT);
                assert!(help.status.success(), "{page}: {program} {words:?}: {}", both(&help));
                count += 1;
            }
        }
        assert!(count > 5, "{page}: the table has been found: {count}");
    }
}
