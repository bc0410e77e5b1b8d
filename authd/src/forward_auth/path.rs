//! Paths of requests and of rules, and which of them a service may take for one another.
//!
//! Services differ in how exactly they read a path: some ignore the case of letters, dots and blanks at the end of a
//! name (Windows), characters without a shape, or compatibility forms (file systems, databases); some add meaning to a
//! suffix (`.json`, `index.html`). A rule covers only what it names; [`PathPattern::resembles`] says what some service
//! may take for that, so that no wider rule allows it.

use serde::{Deserialize, Serialize};
use shared::names::is_invisible;
use unicode_normalization::UnicodeNormalization;

const SPECIAL: &str = "the path has a character that some services read as / \\ % ; ? or #";

/// A decoded path, without a slash at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// Empty for `/`.
    text: String,
    /// The text without what some service ignores, segment by segment: equal for paths that are one to it.
    loose: String,
}

impl Path {
    /// Refuses a path that services interpret differently wherever it stands: with empty segments, `.` and `..` (also
    /// with more dots, blanks and invisible characters), or with characters that become special ones.
    pub fn new(decoded: &str) -> Result<Self, &'static str> {
        let rest = decoded.strip_prefix('/').ok_or("it does not begin with a slash")?;
        let text = decoded.strip_suffix('/').unwrap_or(decoded);
        let mut loose = String::with_capacity(text.len());
        if !rest.is_empty() {
            for segment in rest.strip_suffix('/').unwrap_or(rest).split('/') {
                loose.push('/');
                loosen(segment, &mut loose)?;
            }
        }
        Ok(Self { text: text.to_owned(), loose })
    }

    /// Some path below this one.
    #[must_use]
    pub fn below(&self) -> Self {
        // No request has this segment, and no rule names it.
        Self { text: format!("{}/\0", self.text), loose: format!("{}/\0", self.loose) }
    }

    pub fn as_str(&self) -> &str {
        if self.text.is_empty() { "/" } else { &self.text }
    }
}

/// Appends what is left of a segment to a service that ignores all that any ignores.
fn loosen(segment: &str, loose: &mut String) -> Result<(), &'static str> {
    if segment.is_empty() {
        return Err("the path has an empty segment");
    }
    // Code pages of Windows have the slash and the backslash for these.
    if segment.contains(['\u{2044}', '\u{2215}', '\u{2216}', '¥', '₩']) {
        return Err(SPECIAL);
    }
    if segment.contains('\u{ad}') {
        return Err("the path has a soft hyphen, which some services read as a hyphen and others not at all");
    }
    let is_ignored = |c: char| matches!(c, '\u{300}'..='\u{36f}') || is_invisible(c) || c.is_whitespace();
    let shapes = segment.nfkd().map(best_fit).filter(|c| !is_ignored(*c));
    // Twice lower, since some letters meet only in upper case: ẞ and ß as ss, ı and i.
    let lower = shapes.flat_map(char::to_lowercase).flat_map(char::to_uppercase).flat_map(char::to_lowercase);
    let text: String = lower.collect();
    if text.contains(['/', '\\', '%', ';', '?', '#']) {
        return Err(SPECIAL);
    }
    if text.contains(":$") {
        return Err("the path names a stream of a file (:$DATA)");
    }
    // A plus sign is a blank to who decodes a path as if it were a form; an & ends the path to who rewrites it into a
    // query.
    let is_dots = |part: &str| part.contains('.') && part.trim_matches(['.', '+']).is_empty();
    if text.is_empty() || is_dots(&text) || text.split('&').next().is_some_and(is_dots) {
        return Err("the path has a segment of dots or blanks");
    }
    let name = text.trim_start_matches('+').trim_end_matches(['.', '+']);
    loose.push_str(if name.is_empty() { &text } else { name });
    Ok(())
}

/// The ASCII character that code pages of Windows have for one that no normalization maps to it.
fn best_fit(c: char) -> char {
    match c {
        '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{2500}' => '-',
        '\u{2b9}' | '\u{2bc}' | '\u{2c8}' | '\u{2018}' | '\u{2019}' | '\u{2032}' => '\'',
        '\u{2ba}' | '\u{201c}' | '\u{201d}' | '\u{2033}' => '"',
        '\u{2c4}' | '\u{2c6}' | '\u{2303}' => '^',
        '\u{2cb}' | '\u{2035}' => '`',
        '\u{2cd}' | '\u{2017}' => '_',
        '\u{66a}' => '%',
        '\u{589}' | '\u{2236}' => ':',
        '\u{223c}' | '\u{2dc}' => '~',
        '\u{2217}' | '\u{2022}' => '*',
        '\u{1c0}' | '\u{2223}' | '\u{2502}' => '|',
        '\u{1c3}' => '!',
        '\u{2550}' => '=',
        '\u{3b1}' => 'a',
        '\u{180}' => 'b',
        '\u{2102}' => 'c',
        '\u{110}' | '\u{111}' | '\u{189}' | '\u{3b4}' => 'd',
        '\u{3b5}' | '\u{2107}' | '\u{212e}' => 'e',
        '\u{191}' | '\u{192}' | '\u{3a6}' | '\u{3c6}' => 'f',
        '\u{1e4}' | '\u{1e5}' | '\u{261}' | '\u{393}' => 'g',
        '\u{126}' | '\u{127}' | '\u{4bb}' => 'h',
        '\u{131}' | '\u{197}' => 'i',
        '\u{141}' | '\u{142}' | '\u{19a}' => 'l',
        '\u{2229}' => 'n',
        '\u{19f}' | '\u{3a9}' => 'o',
        '\u{3c0}' | '\u{2118}' | '\u{20a7}' => 'p',
        '\u{3a3}' | '\u{3c3}' => 's',
        '\u{166}' | '\u{167}' | '\u{1ab}' | '\u{1ae}' | '\u{398}' | '\u{3c4}' => 't',
        '\u{1b6}' => 'z',
        '\u{221e}' => '8',
        c => c,
    }
}

/// The path of a rule: `/x` matches `/x` and `/x/`, `/x/*` these and everything below.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PathPattern {
    path: Path,
    with_below: bool,
}

impl PathPattern {
    pub fn covers(&self, path: &Path) -> bool {
        match path.text.strip_prefix(self.path.text.as_str()) {
            Some("") => true,
            Some(rest) => self.with_below && rest.starts_with('/'),
            None => false,
        }
    }

    /// Whether it covers every path that the other one covers.
    pub fn includes(&self, other: &Self) -> bool {
        self.covers(&other.path) && (self.with_below || !other.with_below)
    }

    /// An order of patterns that cover the same path: the greater is the narrower.
    pub fn narrowness(&self) -> (usize, bool) {
        (self.depth(), !self.with_below)
    }

    /// The number of segments that it names.
    pub fn depth(&self) -> usize {
        self.path.text.matches('/').count()
    }

    /// A path that it covers, and nothing narrower does: itself, or one below.
    pub fn example(&self) -> Path {
        if self.with_below { self.path.below() } else { self.path.clone() }
    }

    /// The path, if the pattern is only that one.
    pub fn single(&self) -> Option<&Path> {
        (!self.with_below).then_some(&self.path)
    }

    /// Whether services that ignore much read both as the same.
    pub fn is_like(&self, other: &Self) -> bool {
        self.path.loose == other.path.loose && self.with_below == other.with_below
    }

    /// Whether some service may take a path that `wider` covers for one that this pattern covers.
    pub fn resembles(&self, path: &Path, wider: &Self) -> bool {
        if self.narrowness() <= wider.narrowness() {
            return false;
        }
        // Rewritten into a query, what follows an & is another parameter.
        let cut = path.loose.split_once('&').map(|(before, _)| before.trim_end_matches(['.', '+', '/']));
        let covers = |loose| self.covers_loosely(loose, wider);
        covers(&path.loose) || cut.is_some_and(covers)
    }

    fn covers_loosely(&self, loose: &str, wider: &Self) -> bool {
        let mut asked = loose.split('/').skip(1).peekable();
        let mut last = "";
        for (named, text) in self.path.loose.split('/').zip(self.path.text.split('/')).skip(1) {
            let Some(segment) = asked.next() else { return false };
            if !is_taken_for(segment, named, text, asked.peek().is_none()) {
                return false;
            }
            last = named;
        }
        match (asked.next(), asked.next()) {
            (None, _) => true,
            _ if self.with_below => true,
            (Some(index), None) if index.starts_with("index.") => true,
            // A script gets what follows its name as an argument (PATH_INFO of CGI); `/x.php/*` names all of that.
            _ => has_extension(last) && self.path != wider.path,
        }
    }
}

/// Whether some service may take a segment for one that is named, both in the loose form. `text` is the name as it is.
fn is_taken_for(segment: &str, named: &str, text: &str, is_last: bool) -> bool {
    let is_format = |rest: &str| {
        let end = rest.trim_start_matches(['.', '+']);
        is_last && rest[..rest.len() - end.len()].ends_with('.') && has_extension(segment)
    };
    match segment.strip_prefix(named) {
        Some("") => true,
        // Rails, Spring and others route `/x.json` as `/x`.
        Some(rest) if is_format(rest) => true,
        _ => is_short_name(segment, named, text),
    }
}

/// Whether a name is like that of a file: `x.php`, but not `v1.2` or `.git`.
fn has_extension(name: &str) -> bool {
    let extension = name.rsplit_once('.').filter(|(stem, _)| !stem.is_empty());
    extension.is_some_and(|(_, extension)| extension.starts_with(|c: char| c.is_ascii_alphabetic()))
}

/// Whether it may be the short name of a long one (`admini~1`), which Windows gives to files and folders whose own name,
/// `text`, has more than eight and three characters, or others than those of DOS. It is made from the name without dots
/// and blanks.
fn is_short_name(segment: &str, named: &str, text: &str) -> bool {
    const NOT_OF_DOS: [char; 6] = ['+', ',', ';', '=', '[', ']'];
    let Some((stem, number)) = segment.split_once('~') else { return false };
    let start = stem.get(..2).unwrap_or(stem);
    let is_short = !start.is_empty() && stem.len() <= 6 && number.starts_with(|c: char| c.is_ascii_digit());
    let fits = |part: &str, most: usize| {
        part.len() <= most && part.chars().all(|c| c.is_ascii_graphic() && c != '.' && !NOT_OF_DOS.contains(&c))
    };
    let (name, extension) = text.split_once('.').unwrap_or((text, ""));
    let is_own = !name.is_empty() && fits(name, 8) && fits(extension, 3);
    is_short && !is_own && named.replace('.', "").replace(NOT_OF_DOS, "_").starts_with(start)
}

impl TryFrom<String> for PathPattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (path, with_below) = match text.strip_suffix("/*") {
            Some("") => ("/", true),
            Some(path) => (path, true),
            None => (text.as_str(), false),
        };
        let fault = |why: &str| format!("path {text:?}: {why}");
        if path.contains('*') {
            return Err(fault("a * is allowed only at the end, after a slash: \"/api/*\""));
        }
        if path.bytes().any(|byte| b"%\\;?#".contains(&byte)) || path.chars().any(char::is_control) {
            return Err(fault("write it decoded; % \\ ; ? # are not allowed in paths"));
        }
        if with_below && path.ends_with('/') && text != "/*" {
            return Err(fault("it has an empty segment"));
        }
        Ok(Self { path: Path::new(path).map_err(fault)?, with_below })
    }
}

impl std::fmt::Display for PathPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.with_below { write!(f, "{}/*", self.path.text) } else { f.write_str(self.path.as_str()) }
    }
}

impl From<PathPattern> for String {
    fn from(pattern: PathPattern) -> Self {
        pattern.to_string()
    }
}

#[cfg(test)]
mod tests;
