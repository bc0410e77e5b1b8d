//! The configuration file that is shipped: what it names exists, and its defaults are the daemon's.

use std::collections::BTreeMap;
use std::path::Path;

use authd::config::{Config, Sources};

const SHIPPED: &str = include_str!("../../packaging/authd.toml");

fn load(text: &str) -> Config {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("authd.toml");
    std::fs::write(&file, text).expect("the folder is ours");
    let environment = BTreeMap::from([("AUTHD_DATA_DIR".to_owned(), "/var/lib/authd".to_owned())]);
    Sources { file: Some(file), environment, ..Sources::default() }.load().expect("the file is good")
}

/// Every setting switched on: `#name` becomes `name`, `# prose` stays. What only says how a value is made gets one.
fn switched_on(text: &str) -> String {
    let is_setting = |rest: &str| rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '[');
    let lines = text.lines();
    let lines = lines.map(|line| line.strip_prefix('#').filter(|rest| is_setting(rest)).unwrap_or(line));
    let text =
        lines.collect::<Vec<_>>().join("\n").replace("made by: openssl rand -hex 32", &"0123456789abcdef".repeat(4));
    text.replace("chosen by you, and written in the role's trust policy", "chosen-by-you")
}

#[test]
fn as_shipped_it_changes_nothing() {
    assert_eq!(format!("{:?}", load(SHIPPED)), format!("{:?}", load("")));
}

#[test]
fn every_setting_that_it_shows_exists() {
    let config = load(&switched_on(SHIPPED));
    assert_eq!(config.admin.peers.len(), 2);
    assert_eq!(
        config.providers.iter().map(|provider| provider.name.as_str()).collect::<Vec<_>>(),
        ["cognito", "company", "google"]
    );
    assert_eq!((config.policies.len(), config.policies[0].rules.len()), (1, 2));
    assert_eq!(config.roles.iter().map(|role| role.name.as_str()).collect::<Vec<_>>(), ["default", "admin"]);
}

#[test]
fn the_defaults_that_it_tells_are_true() {
    let (told, real) = (load(&switched_on(SHIPPED)), load(""));
    let show = |config: &Config| {
        let server = authd::transport::Config {
            public_url: String::new(),
            hosts: Vec::new(),
            trusted_proxies: Vec::new(),
            ..config.server.clone()
        };
        let cli = authd::cli_login::Config { default_provider: String::new(), ..config.cli.clone() };
        format!("{server:?} {:?} {:?} {cli:?} {:?} {:?}", config.tokens, config.cache, config.log, config.data_dir)
    };
    assert_eq!(show(&told), show(&real));
}

#[test]
fn it_shows_every_setting() {
    let text = switched_on(SHIPPED);
    let shown: toml::Table = text.parse().expect("the file is TOML");
    let sections = toml::Table::try_from(Config::default()).expect("a configuration is a table");
    for (section, value) in &sections {
        assert!(shown.contains_key(section) || matches!(value, toml::Value::Array(_)), "{section}");
        for key in value.as_table().into_iter().flat_map(toml::Table::keys) {
            let is_shown = shown[section].as_table().is_some_and(|table| table.contains_key(key));
            assert!(is_shown, "{section}.{key} is missing in {}", Path::new("packaging/authd.toml").display());
        }
    }
}

/// Whoever wrote their file for an earlier release keeps it.
#[test]
fn every_setting_that_earlier_releases_showed_exists() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures");
    let entries = std::fs::read_dir(fixtures).expect("the fixtures are part of the source");
    let releases: Vec<_> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    assert!(!releases.is_empty());
    for release in releases {
        let text = std::fs::read_to_string(release.join("authd.toml")).expect("each has the file that it shipped");
        assert_eq!(load(&switched_on(&text)).roles[1].name, "admin", "{}", release.display());
    }
}
