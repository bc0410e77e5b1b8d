//! What each family of AWS tools makes of a file.
//!
//! The tools disagree: on what a header names, where a value ends, and what a comment is. An edit is made only if each
//! of them reads the same as before but for the change itself (see [`super::edit`]).
//!
//! - **Python**: botocore (AWS CLI, boto3), with `configparser`; its lines are in [`super::syntax`].
//! - **Shared**: the grammar of the SDKs for Rust, Java, Go and others, whose cases are `profile-parser-tests.json` in
//!   the SDK for Rust.
//! - **JavaScript**: `@smithy/shared-ini-file-loader`, which ignores indentation and whatever it does not understand.

use std::collections::{BTreeMap, HashMap};

use super::syntax::{Document, Kind, Malformed, is_space};
use super::words;

/// A family of AWS tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    Python,
    Shared,
    JavaScript,
}

/// Which of the two files it is: their headers differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    Credentials,
    Config,
}

/// The keys of a section and their values.
pub type Values = BTreeMap<String, String>;

/// What a reader makes of a file.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// By the name that stands in the header, in the order of the first lines.
    pub sections: Vec<(String, Values)>,
    /// In order, from the comment character on.
    pub comments: Vec<String>,
    /// The place of each section by its name.
    index: HashMap<String, usize>,
}

impl Reading {
    /// The section of that name, which is added if it is missing.
    pub fn section_mut(&mut self, name: &str) -> &mut Values {
        let at = self.index.get(name).copied().unwrap_or_else(|| {
            self.sections.push((name.to_owned(), Values::new()));
            self.index.insert(name.to_owned(), self.sections.len() - 1);
            self.sections.len() - 1
        });
        &mut self.sections[at].1
    }
}

/// Who reads with the shared grammar, in a message.
pub const SDKS: &str = "The AWS SDKs";
/// White space of the shared grammar.
const BLANKS: [char; 2] = [' ', '\t'];
const COMMENT: [char; 2] = ['#', ';'];

impl Reader {
    pub const ALL: [Self; 3] = [Self::Python, Self::Shared, Self::JavaScript];

    /// Reads a document.
    pub fn read(self, document: &Document) -> Reading {
        match self {
            Self::Python => python(document),
            // `Document::parse` has refused what this grammar refuses.
            Self::Shared => shared(document.text()).unwrap_or_default(),
            Self::JavaScript => javascript(document.text()),
        }
    }

    /// The name under which this reader has the section of this header line; `None` if it takes it for no section.
    pub fn header(self, line: &str) -> Option<String> {
        match self {
            Self::Python => match &Document::parse(line).ok()?.lines().first()?.kind {
                Kind::Section(name) => Some(name.clone()),
                _ => None,
            },
            Self::Shared => Some(shared(line).ok()?.sections.into_iter().next()?.0),
            Self::JavaScript => javascript_section(javascript_line(line).0).filter(|name| !name.is_empty()),
        }
    }

    /// The profile that a section is, by the name of the section.
    fn profile_of(self, kind: FileKind, section: &str) -> Option<String> {
        let name = match (self, kind) {
            (_, FileKind::Config) if section.trim_matches(BLANKS) == "default" => {
                (self == Self::Shared || section == "default").then_some("default")
            }
            (Self::Python, FileKind::Credentials) => (section != "DEFAULT").then_some(section),
            (Self::Python, FileKind::Config) => {
                let words = words::split(section).filter(|words| words.len() == 2 && section.starts_with("profile"))?;
                return words.into_iter().nth(1);
            }
            (Self::Shared, FileKind::Credentials) => Some(section.trim_matches(BLANKS)).filter(|name| is_name(name)),
            (Self::Shared, FileKind::Config) => prefixed(section).filter(|name| is_name(name)),
            (Self::JavaScript, FileKind::Credentials) => Some(section),
            (Self::JavaScript, FileKind::Config) => section.strip_prefix("profile."),
        };
        name.map(str::to_owned)
    }

    /// The profile that a header line names.
    pub fn names(self, kind: FileKind, line: &str) -> Option<String> {
        self.profile_of(kind, &self.header(line)?)
    }

    /// The keys of a profile; `None` if this reader finds no such profile.
    pub fn profile(self, document: &Document, kind: FileKind, profile: &str) -> Option<Values> {
        let reading = self.read(document);
        let own = |(name, _): &&(String, Values)| self.profile_of(kind, name).as_deref() == Some(profile);
        let has_prefix = |(name, _): &&(String, Values)| name.trim_matches(BLANKS) != "default";
        match self {
            Self::Python => {
                // The last section replaces the others, and [DEFAULT] fills each of them.
                let (_, values) = reading.sections.iter().rfind(own)?;
                let mut all: Values = document.values("DEFAULT").into_iter().collect();
                all.extend(values.clone());
                Some(all)
            }
            Self::Shared | Self::JavaScript => {
                let mut sections: Vec<_> = reading.sections.iter().filter(own).collect();
                if kind == FileKind::Config && sections.iter().any(has_prefix) {
                    // [profile default] hides [default].
                    sections.retain(has_prefix);
                }
                let merged = sections.iter().flat_map(|(_, values)| values.clone()).collect();
                (!sections.is_empty()).then_some(merged)
            }
        }
    }
}

/// `name` of `[profile name]`, with any white space around it.
fn prefixed(section: &str) -> Option<&str> {
    let (prefix, name) = section.trim_matches(BLANKS).split_once(BLANKS)?;
    (prefix == "profile").then(|| name.trim())
}

/// Whether the SDKs accept it as the name of a profile.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-/.%@:+".contains(&b))
}

fn python(document: &Document) -> Reading {
    let mut reading = Reading::default();
    for (name, values) in document.all_values() {
        reading.section_mut(name).extend(values);
    }
    let comments = document.lines().iter().filter(|line| line.kind == Kind::Comment);
    reading.comments.extend(comments.map(|line| document.body(line).trim_matches(is_space).to_owned()));
    reading
}

/// Reads with the shared grammar, whose mistakes are the ones of the SDK for Rust. One is forgiven: an indented comment
/// that is below no key, or below a key without a value. Python and the other SDKs allow it.
pub fn shared(text: &str) -> Result<Reading, Malformed> {
    let mut reading = Reading::default();
    let mut section: Option<String> = None;
    // The last key, and whether its own line has no value.
    let mut key: Option<(String, bool)> = None;
    for (number, line) in text.lines().enumerate() {
        let malformed = |problem| Malformed { line: number + 1, problem, name: None, tools: SDKS };
        let bare = line.trim_matches(BLANKS);
        if bare.is_empty() {
            continue;
        }
        if line.starts_with(COMMENT) || (bare.starts_with(COMMENT) && key.is_none()) {
            reading.comments.push(bare.to_owned());
            continue;
        }
        if line.starts_with('[') {
            let (header, comment) = split_comment(bare, false);
            let name = header.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
            let name = name.ok_or_else(|| malformed("a [section] with something behind it"))?;
            reading.section_mut(name);
            reading.comments.extend(comment.map(str::to_owned));
            (section, key) = (Some(name.to_owned()), None);
            continue;
        }
        let section = section.as_deref().ok_or_else(|| malformed("something before any [section]"))?;
        if line.starts_with(BLANKS) {
            let (key, is_nested) = key
                .as_ref()
                .ok_or_else(|| malformed("an indented line that is not below a key; move it to the left"))?;
            if *is_nested && !bare.starts_with(COMMENT) {
                property(bare).map_err(malformed)?;
            }
            let value = reading.section_mut(section).entry(key.clone()).or_default();
            value.push('\n');
            value.push_str(bare);
            continue;
        }
        let (name, value, comment) = property(bare).map_err(malformed)?;
        reading.section_mut(section).insert(name.clone(), value.to_owned());
        reading.comments.extend(comment.map(str::to_owned));
        key = Some((name, value.is_empty()));
    }
    Ok(reading)
}

/// The key in lower case, the value, and the comment behind it.
fn property(line: &str) -> Result<(String, &str, Option<&str>), &'static str> {
    let (line, comment) = split_comment(line, true);
    let (key, value) = line.split_once('=').ok_or("a line without =")?;
    let (key, value) = (key.trim_matches(BLANKS), value.trim_matches(BLANKS));
    if key.is_empty() {
        return Err("a value without a key");
    }
    Ok((key.to_ascii_lowercase(), value, comment))
}

/// Splits a comment off the end of a line; behind a value it begins after white space.
pub fn split_comment(line: &str, after_blank: bool) -> (&str, Option<&str>) {
    let line = line.trim_matches(BLANKS);
    let is_start = |at: usize| !after_blank || line[..at].ends_with(char::is_whitespace);
    match line.char_indices().find(|(at, c)| COMMENT.contains(c) && is_start(*at)) {
        Some((at, _)) => (line[..at].trim_matches(BLANKS), Some(&line[at..])),
        None => (line, None),
    }
}

/// White space of JavaScript.
fn is_js_space(c: char) -> bool {
    (c.is_whitespace() && c != '\u{85}') || c == '\u{feff}'
}

fn javascript(text: &str) -> Reading {
    let mut reading = Reading::default();
    let (mut section, mut nested) = (String::new(), None);
    for line in text.lines() {
        let (bare, comment) = javascript_line(line);
        reading.comments.extend(comment.map(str::to_owned));
        if let Some(name) = javascript_section(bare) {
            (section, nested) = (name, None);
            continue;
        }
        let Some((key, value)) = bare.split_once('=').filter(|(key, _)| !section.is_empty() && !key.is_empty()) else {
            continue;
        };
        let (key, value) = (key.trim_matches(is_js_space), value.trim_matches(is_js_space));
        if value.is_empty() {
            nested = Some(key.to_owned());
            continue;
        }
        if !line.starts_with(is_js_space) {
            nested = None;
        }
        let key = nested.as_ref().map_or_else(|| key.to_owned(), |nested| format!("{nested}.{key}"));
        reading.section_mut(&section).insert(key, value.to_owned());
    }
    reading
}

/// A line without white space around it, and its comment.
fn javascript_line(line: &str) -> (&str, Option<&str>) {
    let is_start = |at: usize| at == 0 || line[..at].ends_with(is_js_space);
    let comment = line.char_indices().find(|(at, c)| COMMENT.contains(c) && is_start(*at)).map(|(at, _)| at);
    let (line, comment) = line.split_at(comment.unwrap_or(line.len()));
    (line.trim_matches(is_js_space), Some(comment.trim_matches(is_js_space)).filter(|comment| !comment.is_empty()))
}

/// The section of a header; an empty name drops the keys below it.
fn javascript_section(line: &str) -> Option<String> {
    let name = line.strip_prefix('[')?.strip_suffix(']')?;
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let prefix = name.trim_start_matches(is_word);
    let (prefix, rest) = name.split_at(name.len() - prefix.len());
    let mut chars = rest.chars();
    let quoted = chars.next().filter(|c| !prefix.is_empty() && is_js_space(*c)).map(|_| chars.as_str());
    let unquoted = quoted.map(|name| {
        let between = |quote| name.strip_prefix(quote).and_then(|name| name.strip_suffix(quote));
        between('"').or_else(|| between('\'')).unwrap_or(name)
    });
    let is_named = |name: &&str| !name.is_empty() && name.chars().all(|c| is_word(c) || "@+.%:/".contains(c));
    Some(match unquoted.filter(is_named) {
        Some(name) if matches!(prefix, "profile" | "sso-session" | "services") => format!("{prefix}.{name}"),
        Some(_) => String::new(),
        None => name.to_owned(),
    })
}
