//! Properties of reading and editing, with botocore's parser, the loader of the SDK for JavaScript and the cases of the
//! SDK for Rust as the judges of what can be read.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use super::edit::Change;
use super::readers::{FileKind, Reader, Values, shared};
use super::syntax::{Document, Kind};

fn one_of(texts: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::sample::select(texts).prop_map(str::to_owned)
}

/// Lines that every tool can read behind a header.
fn plain_line() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => one_of(&["[default]", "[a]", "[b]", "[profile x]", "[ a ]", "[a] # c", "[b]# c", "[new one]"]),
        8 => one_of(&[
            "k = 1", "k=", "l=2", "aws_access_key_id = A", "aws_security_token=x ; y", "s3 =", "x=y=z", "a b = c",
            "region = eu # c", "m = [b]", "n=1;2", "AWS_Access_Key_Id = B",
        ]),
        3 => one_of(&["", "", "# note", "; note", "#k=1", "#[a]", "  # indented"]),
        3 => one_of(&["  p = q", "  [b]", "\t[new]", "  # note", "  -more", " k = 3", "  "]),
    ]
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
    let end = prop::sample::select(vec!["\n", "\n", "\n", "\n", "\n", "\r\n", "\r\n", "\r"]);
    let plain_end = prop::sample::select(vec!["\n", "\n", "\r\n"]);
    let lines = prop_oneof![
        2 => prop::collection::vec((plain_line(), plain_end), 0..8),
        1 => prop::collection::vec((line(), end), 0..14),
    ];
    (lines, any::<bool>(), any::<bool>()).prop_map(|(lines, headed, ended)| {
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
        // Refused where the tools read the lines around the keys in different ways.
        let Ok(changed) = document.changed(section, &change) else { return Ok(()) };
        let keys = ["aws_access_key_id", "k", "added", "aws_security_token"];
        let (before, after) = (others(&document, section, &keys), others(&changed, section, &keys));
        prop_assert!(is_subsequence(&before, &after), "{before:?} {after:?}");
        // At most a header, the blank line above it, and comments that stood behind a key are new.
        prop_assert!(after.len() <= before.len() + 2 + keys.len());
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
        let has_none = |reader: Reader| reader.read(&document).sections.iter().all(|(name, _)| name != "new");
        prop_assume!(Reader::ALL.into_iter().all(has_none));
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

/// Reads JSON texts from standard input, one a line; prints what botocore makes of each, without its [DEFAULT].
const BOTOCORE: &str = r#"
import sys, json, io, configparser
for line in sys.stdin:
    text = json.loads(line)
    parser = configparser.RawConfigParser(default_section=None)
    try:
        parser.read_file(io.TextIOWrapper(io.BytesIO(text.encode()), encoding="utf-8"))
        result = {name: dict(parser.items(name)) for name in parser.sections()}
        nested = [value for values in result.values() for value in values.values() if value.startswith("\n")]
        if any(line.strip() and "=" not in line for value in nested for line in value.splitlines()):
            result = None
    except configparser.Error:
        result = None
    print(json.dumps(result))
"#;

type Parsed = Option<BTreeMap<String, Values>>;

fn samples() -> Vec<String> {
    let mut runner = TestRunner::default();
    (0..2000).map(|_| file().new_tree(&mut runner).unwrap().current()).collect()
}

/// What a judge prints for this input.
fn ask(mut judge: Command, input: String) -> String {
    let mut judge = judge.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = judge.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()).unwrap());
    let output = judge.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

fn is_here(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_err() {
        eprintln!("not checked: there is no {program} here");
    }
    found.is_ok()
}

#[test]
fn botocore_reads_the_same_files_and_the_same_values() {
    if !is_here("python3") {
        return;
    }
    let samples = samples();
    let mut python = Command::new("python3");
    python.args(["-c", BOTOCORE]);
    let input: String = samples.iter().map(|text| serde_json::to_string(text).unwrap() + "\n").collect();
    let answers = ask(python, input);
    let answers: Vec<Parsed> = answers.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), samples.len());
    let mut read = 0;
    for (text, python) in samples.iter().zip(&answers) {
        match Document::parse(text) {
            Ok(document) => {
                read += 1;
                let sections = Reader::Python.read(&document).sections.into_iter().collect();
                assert_eq!(python, &Some(sections), "{text:?}");
            }
            Err(malformed) if malformed.tools == "The AWS CLI" => assert_eq!(python, &None, "{text:?}"),
            Err(_) => {}
        }
    }
    assert!((200..1800).contains(&read), "the samples are one-sided: {read} of 2000 can be read");
}

#[test]
fn the_sdk_for_javascript_reads_the_same_values() {
    let rig = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/rig");
    if !is_here("node") || !rig.join("node_modules/@smithy/shared-ini-file-loader").exists() {
        eprintln!("not checked: the loader of the SDK for JavaScript is not installed");
        return;
    }
    let mut documents: Vec<Document> = samples().iter().filter_map(|text| Document::parse(text).ok()).collect();
    let headers = ["[profile\tx]", "[profile  x]", "[profile \"x\"]", "[profile 'x\"]", "[sso-session x]", "[other x]"];
    documents.extend(headers.map(|header| Document::parse(&format!("{header}\nk = v\n")).unwrap()));
    let input: Vec<Value> =
        documents.iter().map(|document| json!({ "config": document.text(), "credentials": document.text() })).collect();
    let mut node = Command::new("node");
    node.arg("--no-warnings").arg(rig.join("aws-files.mjs"));
    let answers: Vec<Value> = serde_json::from_str(&ask(node, Value::from(input).to_string())).unwrap();
    assert_eq!(answers.len(), documents.len());
    for (document, answer) in documents.iter().zip(&answers) {
        let sections: BTreeMap<String, Values> = Reader::JavaScript.read(document).sections.into_iter().collect();
        assert_eq!(json!(sections), answer["credentials"], "{:?}", document.text());
        for profile in ["default", "x"] {
            let values = Reader::JavaScript.profile(document, FileKind::Config, profile);
            assert_eq!(json!(values), answer["config"][profile], "{profile} in {:?}", document.text());
        }
    }
}

/// The cases that the SDKs share, from the sources of the SDK for Rust.
fn shared_cases() -> Vec<Value> {
    let mut metadata = Command::new(env!("CARGO"));
    metadata.args(["metadata", "--format-version=1", "--locked", "--offline"]);
    let output = metadata.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let runtime = packages.iter().find(|package| package["name"] == "aws-runtime").unwrap();
    let manifest = PathBuf::from(runtime["manifest_path"].as_str().unwrap());
    let text = std::fs::read_to_string(manifest.with_file_name("test-data/profile-parser-tests.json")).unwrap();
    serde_json::from_str::<Value>(&text).unwrap()["tests"].as_array().unwrap().clone()
}

#[test]
fn the_cases_of_the_sdk_for_rust_are_read_as_it_reads_them() {
    let cases = shared_cases();
    assert!(cases.len() > 50);
    for case in cases {
        let texts = [(FileKind::Config, "configFile"), (FileKind::Credentials, "credentialsFile")];
        let texts = texts.map(|(kind, name)| (kind, case["input"][name].as_str().unwrap_or_default()));
        let fails = texts.iter().any(|(_, text)| shared(text).is_err());
        assert_eq!(fails, case["output"]["errorContaining"].is_string(), "{case}");
        // A file that Python refuses as well makes no document.
        let documents = texts.map(|(kind, text)| Document::parse(text).map(|document| (kind, document)));
        let [Ok(config), Ok(credentials)] = documents else { continue };
        let expected = case["output"]["config"]["profiles"].as_object().unwrap();
        for profile in ["default", "foo", "bar", "valid", "sso-sessionfoo", "some-thing:long/the_one%only.foo@bar+"] {
            let read = |(kind, document): &(FileKind, Document)| Reader::Shared.profile(document, *kind, profile);
            let (config, credentials) = (read(&config), read(&credentials));
            let is_found = config.is_some() || credentials.is_some();
            let mut values = config.unwrap_or_default();
            values.extend(credentials.unwrap_or_default());
            // The SDK drops keys that are no identifiers.
            values.retain(|key, _| !key.contains(' '));
            assert_eq!(is_found.then(|| json!(values)).as_ref(), expected.get(profile), "{profile}: {case}");
        }
    }
}
