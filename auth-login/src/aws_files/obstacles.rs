//! Conflicts that keep a profile from working as expected, in sentences.

use super::profile::{ACCESS_KEY, PROCESS, ProfileName, SOURCES, readings, sections, value};
use super::readers::{FileKind, Reader};
use super::syntax::Document;

/// Conflicts that keep a profile from working as expected.
pub fn obstacles(credentials: &Document, config: &Document, profile: &ProfileName) -> Vec<String> {
    let mut found = Vec::new();
    let both = [(credentials, FileKind::Credentials, "credentials"), (config, FileKind::Config, "config")];
    let has_keys = value(credentials, FileKind::Credentials, profile, ACCESS_KEY).is_some();
    if has_keys && value(config, FileKind::Config, profile, PROCESS).is_some() {
        let section = profile.section(FileKind::Config);
        found.push(format!(
            "the keys of [{profile}] in the credentials file hide credential_process of [{section}] in the config file: \
             tools use the keys"
        ));
    }
    let stronger = SOURCES.into_iter().filter(|key| *key != PROCESS);
    for (document, kind, file) in both {
        let section = profile.section(kind);
        // Even an empty one: the AWS CLI then finds half of what it needs, and fails.
        let is_there = |key: &&str| readings(document, kind, profile).any(|values| values.contains_key(*key));
        if let Some(key) = stronger.clone().find(is_there) {
            found.push(format!("{key} of [{section}] in the {file} file takes precedence over the keys in most tools"));
        }
        for (line, _, readers) in sections(document, kind, profile) {
            if readers.len() < Reader::ALL.len() {
                let header = document.body(&document.lines()[line - 1]).trim();
                found.push(format!(
                    "some AWS tools do not find the profile below line {line} of the {file} file, {header}: write that \
                     line as [{section}]"
                ));
            }
        }
    }
    if config.section("DEFAULT").is_some() || credentials.section("DEFAULT").is_some() {
        found.push("older tools apply the section [DEFAULT], in capitals, to every profile".to_owned());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ProfileName {
        ProfileName::parse(text).unwrap()
    }

    #[test]
    fn obstacles_are_named() {
        let empty = Document::parse("").unwrap();
        let keys = Document::parse("[p]\naws_access_key_id = A\n").unwrap();
        let process = Document::parse("[profile p]\ncredential_process = x\n").unwrap();
        let role = Document::parse("[profile p]\nrole_arn = x\n").unwrap();
        assert_eq!(obstacles(&keys, &empty, &name("p")), Vec::<String>::new());
        assert!(obstacles(&keys, &process, &name("p"))[0].contains("hide credential_process"));
        assert!(obstacles(&keys, &role, &name("p"))[0].contains("role_arn"));
        let quoted = Document::parse("[profile \"p\"]\nregion = eu\n").unwrap();
        assert!(obstacles(&keys, &quoted, &name("p"))[0].contains("line 1 of the config file"));
        let empty = Document::parse("[p]\nrole_arn =\n").unwrap();
        assert!(obstacles(&empty, &role, &name("p"))[0].contains("role_arn of [p]"));
    }
}
