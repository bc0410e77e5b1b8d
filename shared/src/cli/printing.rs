//! Makes text safe to print: on a terminal, the text of a server or a provider must not act as commands.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write};

/// Bytes of the longest colour sequence that is recognised.
const MAX_COLOUR: usize = 32;

/// Whether a character could move the cursor, change colours, or reorder or hide the text around it: control characters,
/// and the invisible marks of text direction and of annotations.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// Escapes untrusted text (a device's name, a reason) for a terminal: unsafe characters are shown as `\u{…}`.
pub fn clean(text: &str) -> Cow<'_, str> {
    escaped(text, is_unsafe)
}

/// The same for a text of several lines: line ends and tabs stay.
pub fn clean_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| is_unsafe(c) && !matches!(c, '\n' | '\t'))
}

fn escaped(text: &str, is_unsafe: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_unsafe) {
        return Cow::Borrowed(text);
    }
    let shown = text.chars().map(|c| if is_unsafe(c) { c.escape_unicode().to_string() } else { c.to_string() });
    Cow::Owned(shown.collect())
}

/// Escapes unsafe characters of a JSON document in JSON's own way (RFC 8259 §7), so that its values stay the same.
pub fn clean_json(document: &str) -> Cow<'_, str> {
    let is_unsafe = |c: char| is_unsafe(c) && !matches!(c, '\n' | '\t' | '\r');
    if !document.contains(is_unsafe) {
        return Cow::Borrowed(document);
    }
    let mut text = String::with_capacity(document.len() + 16);
    for c in document.chars() {
        if is_unsafe(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a string cannot fail.
                let _ = write!(text, "\\u{unit:04x}");
            }
        } else {
            text.push(c);
        }
    }
    Cow::Owned(text)
}

/// A writer of text for people: it escapes what [`clean_lines`] escapes, and bytes that are not UTF-8. Colours (SGR,
/// ECMA-48 §8.3.117) pass where the reader takes them.
#[derive(Debug)]
pub struct Cleaned<W> {
    inner: W,
    colour: bool,
    /// The beginning of a character or of a colour.
    pending: Vec<u8>,
}

impl<W: Write> Cleaned<W> {
    pub fn new(inner: W, colour: bool) -> Self {
        Self { inner, colour, pending: Vec::new() }
    }

    /// The writer itself, for what is no text.
    pub fn bytes(&mut self) -> &mut W {
        &mut self.inner
    }

    fn cleaned(&self, bytes: &[u8]) -> String {
        let mut text = String::with_capacity(bytes.len());
        for chunk in bytes.utf8_chunks() {
            let mut rest = chunk.valid();
            while let Some(at) = rest.find('\u{1b}') {
                let (before, sequence) = rest.split_at(at);
                text += &clean_lines(before);
                let length = if self.colour { colour_length(sequence.as_bytes()).unwrap_or(1) } else { 1 };
                let (sequence, after) = sequence.split_at(length);
                text += &if length == 1 { clean_lines(sequence) } else { Cow::Borrowed(sequence) };
                rest = after;
            }
            text += &clean_lines(rest);
            for byte in chunk.invalid() {
                let _ = write!(text, "\\x{byte:02x}");
            }
        }
        text
    }
}

impl<W: Write> Write for Cleaned<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pending.extend_from_slice(bytes);
        let rest = self.pending.split_off(whole_length(&self.pending));
        let whole = std::mem::replace(&mut self.pending, rest);
        let text = self.cleaned(&whole);
        self.inner.write_all(text.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let rest = std::mem::take(&mut self.pending);
        let text = self.cleaned(&rest);
        self.inner.write_all(text.as_bytes())?;
        self.inner.flush()
    }
}

/// The length of the colour sequence at the start; `None` if there is none.
fn colour_length(text: &[u8]) -> Option<usize> {
    let parameters = text.strip_prefix(b"\x1b[")?;
    let count = parameters.iter().take(MAX_COLOUR).take_while(|byte| byte.is_ascii_digit() || **byte == b';').count();
    (parameters.get(count) == Some(&b'm')).then_some(count + 3)
}

/// The length without the beginning of a character or of a colour sequence at the end.
fn whole_length(bytes: &[u8]) -> usize {
    let tail = bytes.len().saturating_sub(MAX_COLOUR);
    if let Some(at) = bytes.iter().rposition(|byte| *byte == 0x1b).filter(|at| *at >= tail) {
        let mut sequence = bytes[at + 1..].iter();
        let is_begun = sequence.next().is_none_or(|byte| *byte == b'[')
            && sequence.all(|byte| byte.is_ascii_digit() || *byte == b';');
        if is_begun {
            return at;
        }
    }
    let lead = bytes.iter().rposition(|byte| *byte & 0xc0 != 0x80).unwrap_or(bytes.len());
    let needed = match bytes.get(lead) {
        Some(0xc2..=0xdf) => 2,
        Some(0xe0..=0xef) => 3,
        Some(0xf0..=0xf4) => 4,
        _ => return bytes.len(),
    };
    if bytes.len() - lead < needed { lead } else { bytes.len() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_cannot_drive_the_terminal() {
        assert_eq!(clean("laptop of Zoë"), "laptop of Zoë");
        assert_eq!(clean("a\u{1b}[2Jb\u{202e}c\n"), "a\\u{1b}[2Jb\\u{202e}c\\u{a}");
        assert_eq!(clean_lines("a\n\tb\r\u{9b}31m\u{61c}"), "a\n\tb\\u{d}\\u{9b}31m\\u{61c}");
    }

    #[test]
    fn json_keeps_its_values() {
        let value = serde_json::json!({"name": "a\u{1b}[2J\u{9b}\u{202e}\u{7f}\u{e0041}é\n"});
        for document in [value.to_string(), format!("{value:#}\n")] {
            let shown = clean_json(&document);
            assert!(!shown.contains(|c| is_unsafe(c) && c != '\n'), "{shown}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
        }
    }

    fn written(colour: bool, parts: &[&[u8]]) -> String {
        let mut out = Vec::new();
        let mut writer = Cleaned::new(&mut out, colour);
        for part in parts {
            writer.write_all(part).unwrap();
        }
        writer.flush().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_writer_passes_colours_alone_and_only_where_they_are_taken() {
        let text = b"\x1b[1;31merror:\x1b[0m \x1b[2J\x1b]0;title\x07 caf\xc3\xa9 \xff\n";
        let rest = " \\u{1b}[2J\\u{1b}]0;title\\u{7} café \\xff\n";
        assert_eq!(written(true, &[text]), format!("\u{1b}[1;31merror:\u{1b}[0m{rest}"));
        assert_eq!(written(false, &[text]), format!("\\u{{1b}}[1;31merror:\\u{{1b}}[0m{rest}"));
        // However it is cut into pieces.
        for size in 1..8 {
            assert_eq!(written(true, &text.chunks(size).collect::<Vec<_>>()), written(true, &[text]), "{size}");
        }
        assert_eq!(written(true, &[b"\x1b", b"[3"]), "\\u{1b}[3");
        assert_eq!(written(true, &[b"\xe2\x80", b"\xae"]), "\\u{202e}");
    }
}
