//! The floors of the house: a file uses only what stands on a lower floor than its own.
//!
//! The test resolves every path of `authd/src` that begins with `crate::` or `super::`, inline ones too, and fails on
//! one that points up or sideways. What only tests use stands above everything.

use std::fs;
use std::path::Path;

/// From the top down: each line is a floor, each word a module of the crate.
const FLOORS: &[&str] = &[
    "main lib testing fixtures",
    "daemon",
    "config cleanup",
    "transport",
    "system backups introspection forward_auth checks",
    "cli_login",
    "web_login",
    "accounts",
    "files",
    "authentication",
    "rbac",
    "sessions",
    "users",
    "tokens",
    "oidc_client aws mail passwords audit",
    "registry",
    "base",
    "ledger",
    "authority",
    "metrics keys",
    "entities",
    "ephemeral page cache",
    "db keyed_mutex",
    "names",
    "error call log templates",
    "https network memory caller env setting background webauthn",
];

fn floor(module: &str) -> usize {
    let found = FLOORS.iter().position(|floor| floor.split(' ').any(|name| name == module));
    found.unwrap_or_else(|| panic!("{module} is on no floor"))
}

/// The source without comments, strings and tests.
fn code(text: &str) -> String {
    let mut code = String::new();
    for line in text.lines() {
        if line == "#[cfg(test)]" {
            // What follows up to the next blank line, or to the end if it is a block.
            code.push_str("\n#[cfg(test)]");
        }
        let line = line.split("//").next().unwrap_or_default();
        let outside = line.split('"').step_by(2);
        code.extend(outside);
        code.push('\n');
    }
    let mut kept = String::new();
    for (index, part) in code.split("#[cfg(test)]").enumerate() {
        let rest = match part.trim_start().split_once('\n') {
            Some((first, _)) if index > 0 && first.ends_with('{') => "",
            Some((_, rest)) if index > 0 => rest,
            _ => part,
        };
        kept.push_str(rest);
    }
    kept
}

/// The names that a path or a list of paths begins with.
fn heads(path: &str) -> Vec<&str> {
    let Some(list) = path.strip_prefix('{') else {
        return vec![path.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()];
    };
    let (mut depth, mut heads, mut start) = (0, Vec::new(), 0);
    for (index, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                heads.push(&list[start..index]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                heads.push(&list[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    heads.into_iter().flat_map(|head| self::heads(head.trim())).filter(|head| !head.is_empty()).collect()
}

/// The modules of the crate that a file in this module uses.
fn uses<'a>(module: &[&str], code: &'a str) -> Vec<&'a str> {
    let mut found = Vec::new();
    for (index, _) in code.match_indices("crate::") {
        found.extend(heads(&code[index + "crate::".len()..]));
    }
    let mut rest = code;
    while let Some(index) = rest.find("super::") {
        rest = &rest[index..];
        let mut up = 0;
        while let Some(after) = rest.strip_prefix("super::") {
            (rest, up) = (after, up + 1);
        }
        if up == module.len() {
            found.extend(heads(rest));
        }
        assert!(up <= module.len(), "{module:?}: super:: leads out of the crate");
    }
    found
}

/// What a file uses that does not stand below it.
fn faults(module: &[&str], text: &str) -> Vec<String> {
    let own = module[0];
    let code = code(text);
    let is_fault = |used: &&str| *used != own && floor(used) <= floor(own);
    uses(module, &code).into_iter().filter(is_fault).map(|used| format!("{} uses {used}", module.join("::"))).collect()
}

fn walk(folder: &Path, module: &[&str], all: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("the source is here") {
        let path = entry.expect("it is readable").path();
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a file has a name");
        let is_test = name == "tests" || name.ends_with("_tests") || name == "testing";
        let inner: Vec<&str> = if name == "mod" { module.to_vec() } else { [module, &[name]].concat() };
        if is_test || inner.first().is_some_and(|top| floor(top) == 0) {
            continue;
        }
        if path.is_dir() {
            walk(&path, &inner, all);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all.extend(faults(&inner, &fs::read_to_string(&path).expect("it is readable")));
        }
    }
}

#[test]
fn every_file_uses_only_what_stands_below_it() {
    let mut all = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &[], &mut all);
    assert!(all.is_empty(), "{all:#?}");
}

#[test]
fn nothing_but_main_and_tests_uses_the_daemon() {
    let used = |text: &str| uses(&["tokens", "ops"], &code(text)).into_iter().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(used("use crate::{daemon, db::{Row, Db}, tokens};"), ["daemon", "db", "tokens"]);
    // `daemon` is on a floor of its own below what is left out, so the test above finds whoever uses it.
    assert_eq!((floor("daemon"), FLOORS[1]), (1, "daemon"));
}

#[test]
fn a_path_that_points_up_is_found_however_it_is_written() {
    for text in [
        "use crate::rbac::Rbac;",
        "fn f() { crate::rbac::seed(); }",
        "use super::super::rbac;",
        "use super::super::{db, rbac::Rbac};",
        "use crate::{db::{Db, Row}, rbac::Rbac};",
        "use crate::{\n    db,\n    rbac,\n};",
        "/// Fine.\nimpl super::super::rbac::Thing for X {}",
        "#[cfg(test)]\nmod tests;\n\nuse crate::rbac;",
    ] {
        assert_eq!(faults(&["tokens", "ops"], text), ["tokens::ops uses rbac"], "{text}");
    }
    for text in [
        "use super::rbac;",
        "// crate::rbac",
        "let text = \"crate::rbac\";",
        "use crate::db::Db;",
        "use super::super::db;",
        "use crate::tokens::store;",
        "#[cfg(test)]\nmod tests {\n    use crate::rbac;\n}",
    ] {
        assert!(faults(&["tokens", "ops"], text).is_empty(), "{text}");
    }
}

/// The structs that are modules: what they hold of one another stands in their constructors.
const MODULES: &[&str] = &[
    "Tokens",
    "Users",
    "Sessions",
    "Rbac",
    "Authentication",
    "Accounts",
    "CliLogin",
    "Checks",
    "Introspection",
    "ForwardAuth",
    "Audit",
    "System",
];

/// The structs of a source that hold more than three modules, with how many they hold.
fn holders(code: &str) -> Vec<(String, usize)> {
    let structs = code.split("struct ").skip(1).filter_map(|rest| {
        let (name, rest) = rest.split_once(['{', ';'])?;
        let (fields, _) = rest.split_once("\n}")?;
        let held = MODULES.iter().filter(|module| fields.contains(&format!("Arc<{module}>"))).count();
        Some((name.trim().to_owned(), held))
    });
    structs.filter(|(_, held)| *held > 3).collect()
}

#[test]
fn only_the_daemon_holds_more_than_three_modules() {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    assert!(files.len() > 100, "{} files", files.len());
    for path in files {
        let text = fs::read_to_string(&path).expect("it is readable");
        let is_daemon = path.ends_with("daemon.rs");
        assert_eq!(!holders(&code(&text)).is_empty(), is_daemon, "{}", path.display());
    }
    let four = "struct X {\n    a: Arc<Tokens>,\n    b: Arc<Users>,\n    c: Arc<Sessions>,\n    d: Arc<Rbac>,\n}";
    assert_eq!(holders(four), [("X".to_owned(), 4)]);
}

fn sources(folder: &Path, all: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).expect("the source is here") {
        let path = entry.expect("it is readable").path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all.push(path);
        }
    }
}
