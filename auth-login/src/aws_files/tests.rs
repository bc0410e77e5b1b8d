//! Properties of reading and editing, and the real Python as the judge of what can be read.

use std::io::Write;
use std::process::{Command, Stdio};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::edit::Change;
use super::syntax::{Document, Kind};

fn one_of(texts: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::sample::select(texts).prop_map(str::to_owned)
}

/// Lines as people, tools and accidents make them.
fn line() -> impl Strategy<Value = String> {
    let indent = prop::sample::select(vec!["", "", "", "", " ", "  ", "\t", "\u{a0}", "\u{1c}"]);
    let text = prop_oneof![
        6 => one_of(&[
            "[default]", "[a]", "[b]", "[profile x]", "[ a ]", "[a] # c", "[]", "[a", "[a]]", "[DEFAULT]", "[[a]", "a]",
        ]),
        8 => one_of(&[
            "k = 1", "k=", "k:2", "K = 3", "aws_access_key_id = A", "aws_security_token=x", "s3 =", "x=y=z", "a b = c",
            "= v", ": v", "region = eu # c", "q=\u{85}v", "\u{e4}=1", "\u{c4} = 2",
        ]),
        3 => one_of(&["", "", "# note", "; note", "#k=1", "#[a]"]),
        1 => one_of(&["half", "\u{feff}[z]", "\u{feff}", "\u{0}", "k"]),
        1 => "[ -~]{0,12}",
    ];
    (indent, text).prop_map(|(indent, text)| format!("{indent}{text}"))
}

fn file() -> impl Strategy<Value = String> {
    let end = prop::sample::select(vec!["\n", "\n", "\n", "\r\n", "\r"]);
    (prop::collection::vec((line(), end), 0..14), any::<bool>(), any::<bool>()).prop_map(|(lines, headed, ended)| {
        let mut text = if headed { "[first]\n".to_owned() } else { String::new() };
        for (line, end) in lines {
            text.push_str(&line);
            text.push_str(end);
        }
        if !ended {
            text.truncate(text.trim_end_matches(['\n', '\r']).len());
        }
        text
    })
}

/// The lines that an edit of these keys in this section may touch are left out.
fn others<'a>(document: &'a Document, section: &str, keys: &[&str]) -> Vec<&'a str> {
    let range = document.section(section).unwrap_or_default();
    let mut ours = false;
    let mut kept = Vec::new();
    for (number, line) in document.lines().iter().enumerate() {
        match &line.kind {
            Kind::Option { key, .. } => ours = range.contains(&number) && keys.contains(&key.as_str()),
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

fn is_subsequence(small: &[&str], large: &[&str]) -> bool {
    let mut rest = large.iter();
    small.iter().all(|line| rest.any(|other| other == line))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn what_is_not_ours_stays_and_what_was_set_is_read(
        text in file(),
        section in prop::sample::select(vec!["default", "a", "b", "new", "first"]),
    ) {
        let Ok(document) = Document::parse(&text) else { return Ok(()) };
        let set = [("aws_access_key_id", "NEW"), ("k", "9"), ("added", "x y")];
        let change = Change { set: &set, remove: &["aws_security_token"] };
        let changed = document.changed(section, &change).map_err(|error| TestCaseError::fail(format!("{error:?}")))?;
        let keys = ["aws_access_key_id", "k", "added", "aws_security_token"];
        let (before, after) = (others(&document, section, &keys), others(&changed, section, &keys));
        prop_assert!(is_subsequence(&before, &after), "{before:?} {after:?}");
        // At most a header and the blank line above it are new.
        prop_assert!(after.len() <= before.len() + 2);
        for (key, value) in set {
            prop_assert_eq!(changed.value(section, key), Some(value.to_owned()));
        }
        prop_assert_eq!(changed.value(section, "aws_security_token"), None);
        let again = changed.changed(section, &change).map_err(|error| TestCaseError::fail(format!("{error:?}")))?;
        prop_assert_eq!(again.text(), changed.text());
    }

    #[test]
    fn what_was_added_can_be_taken_out(text in file()) {
        let Ok(document) = Document::parse(&text) else { return Ok(()) };
        prop_assume!(document.section("new").is_none());
        let change = Change { set: &[("k", "1")], remove: &[] };
        let added = document.changed("new", &change).map_err(|error| TestCaseError::fail(format!("{error:?}")))?;
        let back = added.without("new", &["k"]).map_err(|error| TestCaseError::fail(format!("{error:?}")))?;
        prop_assert!(back.text().starts_with(&text));
        prop_assert!(back.text()[text.len()..].trim_matches(['\r', '\n']).is_empty());
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in any::<String>()) {
        if let Ok(document) = Document::parse(&text) {
            let rebuilt: String = document.lines().iter().map(|line| document.whole(line)).collect();
            prop_assert_eq!(rebuilt, text);
        }
    }
}

/// Reads JSON texts from standard input, one a line; prints what `configparser` makes of each.
const ORACLE: &str = r#"
import sys, json, io, configparser
for line in sys.stdin:
    text = json.loads(line)
    parser = configparser.RawConfigParser(default_section=None)
    try:
        parser.read_file(io.TextIOWrapper(io.BytesIO(text.encode()), encoding="utf-8"))
        result = {name: dict(parser.items(name)) for name in parser.sections()}
    except configparser.Error:
        result = None
    print(json.dumps(result))
"#;

type Parsed = Option<std::collections::BTreeMap<String, std::collections::BTreeMap<String, String>>>;

fn ours(text: &str) -> Parsed {
    let document = Document::parse(text).ok()?;
    Some(document.sections().map(|name| (name.to_owned(), document.values(name).into_iter().collect())).collect())
}

#[test]
fn python_reads_the_same_files_and_the_same_values() {
    let Ok(mut python) =
        Command::new("python3").args(["-c", ORACLE]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()
    else {
        eprintln!("not checked: there is no python3 here");
        return;
    };
    let mut runner = TestRunner::default();
    let samples: Vec<String> = (0..2000).map(|_| file().new_tree(&mut runner).unwrap().current()).collect();
    let input: String = samples.iter().map(|text| serde_json::to_string(text).unwrap() + "\n").collect();
    let mut stdin = python.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()).unwrap());
    let output = python.wait_with_output().unwrap();
    writer.join().unwrap();
    let answers = String::from_utf8(output.stdout).unwrap();
    let answers: Vec<Parsed> = answers.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), samples.len());
    for (text, python) in samples.iter().zip(&answers) {
        assert_eq!(&ours(text), python, "{text:?}");
    }
    let read = answers.iter().filter(|answer| answer.is_some()).count();
    assert!((200..1800).contains(&read), "the samples are one-sided: {read} of 2000 can be read");
}
