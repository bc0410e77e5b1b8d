//! The parser of the AWS files, which reads them line by line exactly like botocore.
//!
//! The AWS CLI and boto3 read `~/.aws/credentials` and `~/.aws/config` with Python's `RawConfigParser`, which refuses
//! the *whole* file for one bad line. This parser refuses what that parser refuses, and what the grammar of the other
//! SDKs refuses (tests compare it with both); otherwise this program could write a file that some tool cannot read.
//! Writing back a parsed tree was rejected: it loses comments, order, and the keys of other tools.

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;

use super::readers;

/// The kind of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// White space only.
    Blank,
    /// Starts with `#` or `;`.
    Comment,
    /// `[name]`.
    Section(String),
    /// `key = value`, the key in lower case, the value from this byte of the line on.
    Option { key: String, value_at: usize },
    /// The continuation of a value: indented deeper than the line where the value began.
    Continuation,
}

/// A line, with its line end.
#[derive(Clone, Debug)]
pub struct Line {
    /// The bytes of the line in the text, including the line end.
    pub span: Range<usize>,
    /// The offset of the line end.
    pub end: usize,
    pub kind: Kind,
}

/// A parsed file; its text is kept unchanged.
#[derive(Clone, Debug, Default)]
pub struct Document {
    text: String,
    lines: Vec<Line>,
}

/// Why a file cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Counted from 1.
    pub line: usize,
    pub problem: &'static str,
    /// The section or key that the problem is about; never a value.
    pub name: Option<String>,
    /// Whose parser stops there: the subject of a sentence.
    pub tools: &'static str,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.problem)?;
        self.name.as_ref().map_or(Ok(()), |name| write!(f, " ({name:?})"))
    }
}

/// Sections that make the SDK for JavaScript ignore the whole file.
const UNREAD_BY_JAVASCRIPT: [&str; 2] = ["__proto__", "profile __proto__"];

/// White space as Python's `str.strip` sees it: Unicode's, and four separators of ASCII.
pub fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

impl Document {
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let mut parser = Parser::default();
        let mut lines = Vec::new();
        for (number, (span, end)) in split_lines(text).enumerate() {
            let malformed = |tools, (problem, name)| Malformed { line: number + 1, problem, name, tools };
            if &text[end..span.end] == "\r" {
                return Err(malformed(readers::SDKS, ("a carriage return without a line feed", None)));
            }
            let kind = parser.line(&text[span.start..end]).map_err(|problem| malformed("The AWS CLI", problem))?;
            if let Kind::Section(name) = &kind
                && UNREAD_BY_JAVASCRIPT.contains(&name.as_str())
            {
                let problem = ("a section of this name", Some(name.clone()));
                return Err(malformed("The AWS SDK for JavaScript", problem));
            }
            lines.push(Line { span, end, kind });
        }
        readers::shared(text)?;
        Ok(Self { text: text.to_owned(), lines })
    }

    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// A line with its end.
    pub fn whole(&self, line: &Line) -> &str {
        &self.text[line.span.clone()]
    }

    /// A line without its end.
    pub fn body(&self, line: &Line) -> &str {
        &self.text[line.span.start..line.end]
    }

    /// The line end of the first line, used for the whole file.
    pub fn line_end(&self) -> &str {
        self.lines.first().map(|line| &self.text[line.end..line.span.end]).filter(|end| !end.is_empty()).unwrap_or("\n")
    }

    /// The line numbers (from 0) of a section, including its header; `None` if there is none.
    pub fn section(&self, name: &str) -> Option<Range<usize>> {
        let is_header = |line: &Line| matches!(&line.kind, Kind::Section(_));
        let start = self.lines.iter().position(|line| matches!(&line.kind, Kind::Section(found) if found == name))?;
        let length = self.lines[start + 1..].iter().position(is_header);
        Some(start..length.map_or(self.lines.len(), |length| start + 1 + length))
    }

    /// A value with its continuation lines, as Python would return it.
    pub fn value(&self, section: &str, key: &str) -> Option<String> {
        self.values(section).into_iter().find(|(found, _)| found == key).map(|(_, value)| value)
    }

    /// Every key of a section with its value, in order.
    pub fn values(&self, section: &str) -> Vec<(String, String)> {
        self.section(section).map(|range| self.values_of(&self.lines[range])).unwrap_or_default()
    }

    /// Every section with its keys and values, in order.
    pub fn all_values(&self) -> impl Iterator<Item = (&str, Vec<(String, String)>)> {
        let sections = self.lines.chunk_by(|_, next| !matches!(next.kind, Kind::Section(_)));
        sections.filter_map(|lines| match &lines[0].kind {
            Kind::Section(name) => Some((name.as_str(), self.values_of(lines))),
            _ => None,
        })
    }

    fn values_of(&self, lines: &[Line]) -> Vec<(String, String)> {
        let mut values: Vec<(String, String)> = Vec::new();
        for line in lines {
            let body = self.body(line);
            match &line.kind {
                Kind::Option { key, value_at } => {
                    values.push((key.clone(), body[*value_at..].trim_matches(is_space).to_owned()));
                }
                Kind::Continuation | Kind::Blank => {
                    if let Some((_, value)) = values.last_mut() {
                        value.push('\n');
                        value.push_str(body.trim_matches(is_space));
                    }
                }
                Kind::Comment | Kind::Section(_) => {}
            }
        }
        for (_, value) in &mut values {
            value.truncate(value.trim_end_matches(is_space).len());
        }
        values
    }

    /// The names of all sections, in order.
    pub fn sections(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().filter_map(|line| match &line.kind {
            Kind::Section(name) => Some(name.as_str()),
            _ => None,
        })
    }
}

/// The span and the offset of the line end of each line: `\n`, `\r\n`, or a lone `\r`, which only Python takes for one.
fn split_lines(text: &str) -> impl Iterator<Item = (Range<usize>, usize)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = text.get(at..).filter(|rest| !rest.is_empty())?;
        let length = rest.find(['\n', '\r']).unwrap_or(rest.len());
        let end_length = match &rest[length..] {
            tail if tail.starts_with("\r\n") => 2,
            "" => 0,
            _ => 1,
        };
        let span = at..at + length + end_length;
        at = span.end;
        Some((span.clone(), span.start + length))
    })
}

/// The parser's state between lines.
#[derive(Default)]
struct Parser {
    sections: HashSet<String>,
    /// The keys of the current section.
    keys: HashSet<String>,
    in_option: bool,
    /// Whether the line of the current key has no value: botocore then requires `key = value` of each line below it.
    is_nested: bool,
    /// The indentation, in characters, of the last line that was no continuation.
    indent: usize,
}

type Problem = (&'static str, Option<String>);

impl Parser {
    fn line(&mut self, body: &str) -> Result<Kind, Problem> {
        let text = body.trim_matches(is_space);
        if text.is_empty() {
            return Ok(Kind::Blank);
        }
        if text.starts_with(['#', ';']) {
            return Ok(Kind::Comment);
        }
        let indent = body.chars().take_while(|c| is_space(*c)).count();
        if self.in_option && indent > self.indent {
            if self.is_nested && !python_lines(text).all(|line| line.contains('=')) {
                return Err(("a line that is not key = value, below a key without a value", None));
            }
            return Ok(Kind::Continuation);
        }
        self.indent = indent;
        if let Some(name) = section_name(text) {
            if !self.sections.insert(name.to_owned()) {
                return Err(("a section for the second time", Some(name.to_owned())));
            }
            self.keys.clear();
            self.in_option = false;
            return Ok(Kind::Section(name.to_owned()));
        }
        if self.sections.is_empty() {
            let bom = text.starts_with('\u{feff}');
            return Err((if bom { "a byte order mark" } else { "something before any [section]" }, None));
        }
        let Some(delimiter) = text.find(['=', ':']) else {
            return Err(("neither [section] nor key = value", None));
        };
        let key = text[..delimiter].trim_end_matches(is_space).to_lowercase();
        if key.is_empty() {
            return Err(("a value without a key", None));
        }
        if !self.keys.insert(key.clone()) {
            return Err(("a key for the second time in its section", Some(key)));
        }
        self.in_option = true;
        let start = body.len() - body.trim_start_matches(is_space).len();
        let after = &text[delimiter + 1..];
        self.is_nested = after.trim_matches(is_space).is_empty();
        let value_at = start + delimiter + 1 + (after.len() - after.trim_start_matches(is_space).len());
        Ok(Kind::Option { key, value_at })
    }
}

/// The lines of Python's `str.splitlines`, which has more line ends than a file has, without the blank ones.
fn python_lines(text: &str) -> impl Iterator<Item = &str> {
    let is_end = |c| matches!(c, '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}');
    text.split(is_end).filter(|line| !line.trim_matches(is_space).is_empty())
}

/// From `[` to the *last* `]`, with at least one character between; text after it is ignored, as in Python.
fn section_name(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('[')?;
    let name = &inner[..inner.rfind(']')?];
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> String {
        Document::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn the_line_at_fault_is_named() {
        assert_eq!(problem("[a]\nk=1\n[a]\n"), "line 3: a section for the second time (\"a\")");
        assert_eq!(problem("[a]\nk=1\n\nK = 2\n"), "line 4: a key for the second time in its section (\"k\")");
        assert_eq!(problem("# x\nk=1\n"), "line 2: something before any [section]");
        assert_eq!(problem("\u{feff}[a]\n"), "line 1: a byte order mark");
        assert_eq!(problem("[a]\r\nk=1\r\naws_secret_acc"), "line 3: neither [section] nor key = value");
        assert_eq!(problem("[a]\n= x\n"), "line 2: a value without a key");
    }

    #[test]
    fn what_one_family_of_tools_cannot_read_is_refused() {
        for (text, line, tools) in [
            ("[a]\ns3 =\n  invalid\n", 3, "The AWS CLI"),
            ("[a]\ns3 =\n  k = v\n\n  k\u{2028} = v\n", 5, "The AWS CLI"),
            ("[a]\ns3 =\n  = v\n", 3, "The AWS SDKs"),
            ("[a]\nk = v # no value\ns3 = # none\n  invalid\n", 4, "The AWS SDKs"),
            ("[a]\n\n  k = v\n", 3, "The AWS SDKs"),
            ("[a]\nk : v\n", 2, "The AWS SDKs"),
            ("[a] b\n", 1, "The AWS SDKs"),
            ("[a;b]\n", 1, "The AWS SDKs"),
            ("  [a]\n", 1, "The AWS SDKs"),
            ("[a]\nk = v\rl = w\n", 2, "The AWS SDKs"),
            ("[a]\n[profile __proto__]\n", 2, "The AWS SDK for JavaScript"),
        ] {
            let malformed = Document::parse(text).unwrap_err();
            assert_eq!((malformed.line, malformed.tools), (line, tools), "{text:?}");
        }
        // Only the SDKs for Rust and Java cannot read an indented comment there.
        assert!(Document::parse("  # note\n[a]\n  ; note\ns3 =\n  # note\n  k = v\n").is_ok());
    }

    #[test]
    fn a_problem_never_shows_a_value() {
        let text = problem("[a]\nwJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY\n");
        assert!(!text.contains("wJalr"), "{text}");
    }

    #[test]
    fn values_and_nested_blocks_are_read() {
        let text = "[profile x] # tail\r\ns3 =\r\n  max_concurrent_requests = 20\r\n  use = 1\r\n\r\nregion=  eu \r\n";
        let document = Document::parse(text).unwrap();
        assert_eq!(document.value("profile x", "s3").unwrap(), "\nmax_concurrent_requests = 20\nuse = 1");
        assert_eq!(document.value("profile x", "region").unwrap(), "eu");
        assert_eq!(document.value("profile x", "use"), None);
        assert_eq!(document.line_end(), "\r\n");
    }

    #[test]
    fn an_indented_header_after_a_value_belongs_to_the_value() {
        let document = Document::parse("[a]\nk = 1\n  [b]\n").unwrap();
        assert_eq!(document.sections().collect::<Vec<_>>(), ["a"]);
        assert_eq!(document.value("a", "k").unwrap(), "1\n[b]");
    }
}
