//! The files of the AWS tools. Input: a section, a value, a file.
//!
//! Lines that are not ours stay byte for byte; what was set is read; an edit done twice is done once; what was added can
//! be taken out. An edit is refused where the AWS tools read the lines around it in different ways.

use auth_login::aws_files::ProfileName;
use auth_login::aws_files::edit::Change;
use auth_login::aws_files::syntax::{Document, Kind};

const OURS: [&str; 3] = ["aws_access_key_id", "k", "aws_security_token"];

pub fn check(input: &[u8]) {
    let mut parts = crate::parts(input);
    let (Some(section), Some(value)) = (crate::text(&mut parts), crate::text(&mut parts)) else { return };
    let Some(text) = crate::text(&mut parts) else { return };
    let Ok(document) = Document::parse(text) else { return };
    let rebuilt: String = document.lines().iter().map(|line| document.whole(line)).collect();
    assert_eq!(rebuilt, text);
    let (Ok(profile), true) = (ProfileName::parse(section), is_value(value)) else { return };
    let section = profile.as_str();
    let set = [("aws_access_key_id", value), ("k", "9")];
    let change = Change { set: &set, remove: &["aws_security_token"] };
    let Ok(changed) = document.changed(section, &change) else { return };
    let (before, after) = (others(&document, section), others(&changed, section));
    let mut rest = after.iter();
    assert!(before.iter().all(|line| rest.any(|other| other == line)), "{before:?} {after:?}");
    // At most a header, the blank line above it, and comments that stood behind a key are new.
    assert!(after.len() <= before.len() + 2 + OURS.len(), "{before:?} {after:?}");
    let again = Document::parse(changed.text()).expect("what is written can be read");
    for (key, value) in set {
        assert_eq!(again.value(section, key).as_deref(), Some(value), "{:?}", changed.text());
    }
    assert_eq!(again.value(section, "aws_security_token"), None);
    for other in document.sections().filter(|name| *name != section) {
        assert_eq!(again.values(other), document.values(other), "{other:?} in {:?}", changed.text());
    }
    assert_eq!(again.changed(section, &change).expect("it was changed once").text(), changed.text());
    // Some tool may have found a section of this name before; then its keys are not lost.
    if let (None, Ok(back)) = (document.section(section), changed.without(section, &OURS)) {
        assert!(back.text().starts_with(text) && back.text()[text.len()..].trim_matches(['\r', '\n']).is_empty());
    }
}

/// What AWS sends as a key: visible ASCII.
fn is_value(value: &str) -> bool {
    !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_graphic())
}

/// All lines but those that an edit of our keys in this section may touch.
fn others<'a>(document: &'a Document, section: &str) -> Vec<&'a str> {
    let range = document.section(section).unwrap_or_default();
    let mut ours = false;
    let mut kept = Vec::new();
    for (number, line) in document.lines().iter().enumerate() {
        match &line.kind {
            Kind::Option { key, .. } => ours = range.contains(&number) && OURS.contains(&key.as_str()),
            Kind::Section(_) => ours = false,
            Kind::Continuation => {}
            Kind::Blank | Kind::Comment => {
                kept.push(document.body(line));
                continue;
            }
        }
        if !ours {
            kept.push(document.body(line));
        }
    }
    kept
}
