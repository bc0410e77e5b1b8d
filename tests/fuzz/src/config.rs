//! Configuration and its URLs. Input: variables as lines `NAME=value`, then a file.
//!
//! An accepted configuration is shown as one that reads back; neither what is shown nor a complaint has a secret in it.

use std::io::Write;

use authd::config::{Config, Environment, Sources};

/// Stands in the input for itself; a secret has it.
const CANARY: &str = "c4n4ry";

/// The variables that hold secrets. Those that name files are left out: a target reads no file of the machine.
const SECRETS: [&str; 7] = [
    "ADMIN_TOKEN",
    "DATABASE_URL",
    "REDIS_URL",
    "SMTP_URL",
    "AUTHD_ROOT_KEY",
    "COGNITO_CLIENT_SECRET",
    "STS_EXTERNAL_ID",
];

pub fn check(input: &[u8]) {
    let mut parts = crate::parts(input);
    let (Some(variables), Some(text)) = (crate::text(&mut parts), crate::text(&mut parts)) else { return };
    let pairs = variables.lines().filter_map(|line| line.split_once('='));
    let pairs = pairs.filter(|(name, _)| !name.ends_with("_FILE") && *name != "CREDENTIALS_DIRECTORY");
    let mut environment: Environment = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    environment.insert("AUTHD_DATA_DIR".to_owned(), "/nonexistent".to_owned());
    let hides = |environment: &Environment| {
        let is_open = |(name, value): (&String, &String)| !SECRETS.contains(&name.as_str()) && value.contains(CANARY);
        !environment.iter().any(is_open) && !text.contains(CANARY)
    };
    let file = Scratch::with(text);
    let sources = Sources { file: Some(file.0.clone()), environment: environment.clone(), ..Sources::default() };
    match sources.load() {
        Ok(config) => {
            let shown = toml::to_string(&config).expect("a configuration can be shown");
            assert!(!hides(&environment) || !shown.contains(CANARY), "{shown}");
            toml::from_str::<Config>(&shown).unwrap_or_else(|error| panic!("{error}\n{shown}"));
        }
        Err(complaint) => {
            let complaint = complaint.to_string();
            assert!(!hides(&environment) || !complaint.contains(CANARY), "{complaint}");
        }
    }
}

/// A file that is gone when it is dropped.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn with(text: &str) -> Self {
        let folder = std::path::Path::new("/dev/shm");
        let folder = if folder.is_dir() { folder.to_owned() } else { std::env::temp_dir() };
        let path = folder.join(format!("authd-fuzz-{}-{:?}.toml", std::process::id(), std::thread::current().id()));
        std::fs::File::create(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .expect("a file can be written");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
