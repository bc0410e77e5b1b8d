//! Reads `multipart/form-data` (RFC 7578) as it arrives.
//!
//! What is read does not depend on how the body is split into chunks; memory is bounded by the head of a part. Where the
//! standards leave a choice, what two programs could read in two ways is refused.

use bytes::{Bytes, BytesMut};

/// The largest head of a part, in bytes, and its most headers.
const MAX_HEAD: usize = 8 << 10;
const MAX_HEADERS: usize = 16;
/// White space that may follow a boundary on its line, in bytes.
const MAX_PADDING: usize = 32;
/// RFC 2046 §5.1.1.
const MAX_BOUNDARY: usize = 70;
const END_OF_HEAD: &[u8] = b"\r\n\r\n";

/// Why a body cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("the Content-Type is not multipart/form-data")]
    MediaType,
    #[error("the Content-Type has no boundary of 1 to 70 characters")]
    Boundary,
    #[error("a boundary is followed by something else on its line")]
    Delimiter,
    #[error("the head of a part is larger than 8 KiB, or has more than 16 headers")]
    LargeHead,
    #[error("the head of a part cannot be read")]
    Head,
    #[error("a part has no Content-Disposition: form-data with a name")]
    Disposition,
    #[error("a part has a Content-Transfer-Encoding, which RFC 7578 does not have")]
    Encoding,
    #[error("the body ends before its last boundary")]
    CutOff,
}

/// What comes next in a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A part begins.
    Begin(Part),
    /// Bytes of the part, never empty.
    Data(Bytes),
    /// The part ends.
    End,
}

/// The head of a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The name of the form's field.
    pub name: String,
    /// Only a file has one; empty if the person chose none.
    pub file_name: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Preamble,
    /// After a boundary, on its line.
    Delimiter,
    Head,
    Data,
    /// After the last boundary.
    Epilogue,
}

/// The reader of one body: [`Multipart::push`] what arrives, then [`Multipart::event`] until it returns nothing.
#[derive(Debug)]
pub struct Multipart {
    /// CR, LF, two hyphens and the boundary.
    delimiter: Vec<u8>,
    buffer: BytesMut,
    state: State,
}

impl Multipart {
    /// The reader of a body with this `Content-Type`.
    pub fn new(content_type: &str) -> Result<Self, Fault> {
        let (essence, params) = parameters(content_type).ok_or(Fault::MediaType)?;
        if !essence.eq_ignore_ascii_case("multipart/form-data") {
            return Err(Fault::MediaType);
        }
        let boundary = params.into_iter().find(|(name, _)| name == "boundary").map(|(_, value)| value);
        let is_allowed = |c: u8| c.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&c);
        let boundary = boundary
            .filter(|text| {
                (1..=MAX_BOUNDARY).contains(&text.len()) && text.bytes().all(is_allowed) && !text.ends_with(' ')
            })
            .ok_or(Fault::Boundary)?;
        // The first boundary may stand at the very beginning, without the line break that belongs to the others.
        let buffer = BytesMut::from(&b"\r\n"[..]);
        Ok(Self { delimiter: format!("\r\n--{boundary}").into_bytes(), buffer, state: State::Preamble })
    }

    /// Takes bytes of the body.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.state != State::Epilogue {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// What comes next; nothing if that takes more bytes, or after the last boundary.
    pub fn event(&mut self) -> Result<Option<Event>, Fault> {
        loop {
            match self.state {
                State::Preamble => {
                    let Some(at) = find(&self.buffer, &self.delimiter) else {
                        self.take_data();
                        return Ok(None);
                    };
                    let _ = self.buffer.split_to(at + self.delimiter.len());
                    self.state = State::Delimiter;
                }
                State::Delimiter => {
                    if !self.end_of_delimiter()? {
                        return Ok(None);
                    }
                }
                State::Head => return self.head(),
                State::Data => {
                    return Ok(match find(&self.buffer, &self.delimiter) {
                        Some(0) => {
                            let _ = self.buffer.split_to(self.delimiter.len());
                            self.state = State::Delimiter;
                            Some(Event::End)
                        }
                        Some(at) => Some(Event::Data(self.buffer.split_to(at).freeze())),
                        None => self.take_data().map(Event::Data),
                    });
                }
                State::Epilogue => return Ok(None),
            }
        }
    }

    /// Whether the last boundary was read.
    pub fn check_end(&self) -> Result<(), Fault> {
        if self.state == State::Epilogue { Ok(()) } else { Err(Fault::CutOff) }
    }

    /// Takes what cannot be the beginning of a boundary.
    fn take_data(&mut self) -> Option<Bytes> {
        let length = self.buffer.len().saturating_sub(self.delimiter.len() - 1);
        (length > 0).then(|| self.buffer.split_to(length).freeze())
    }

    /// Reads the rest of a boundary's line; false if that takes more bytes.
    fn end_of_delimiter(&mut self) -> Result<bool, Fault> {
        if self.buffer.len() < 2 {
            return Ok(false);
        }
        if self.buffer.starts_with(b"--") {
            self.buffer = BytesMut::new();
            self.state = State::Epilogue;
            return Ok(true);
        }
        let padding = self.buffer.iter().take(MAX_PADDING + 1).take_while(|c| matches!(**c, b' ' | b'\t')).count();
        match &self.buffer[padding..] {
            _ if padding > MAX_PADDING => Err(Fault::Delimiter),
            [b'\r', b'\n', ..] => {
                // The line break stays: without headers, it is the first half of the end of the head.
                let _ = self.buffer.split_to(padding);
                self.state = State::Head;
                Ok(true)
            }
            [] | [b'\r'] => Ok(false),
            _ => Err(Fault::Delimiter),
        }
    }

    fn head(&mut self) -> Result<Option<Event>, Fault> {
        let within = &self.buffer[..self.buffer.len().min(MAX_HEAD + END_OF_HEAD.len())];
        let Some(end) = find(within, END_OF_HEAD) else {
            let is_whole = within.len() == MAX_HEAD + END_OF_HEAD.len();
            return if is_whole { Err(Fault::LargeHead) } else { Ok(None) };
        };
        let head = self.buffer.split_to(end + END_OF_HEAD.len());
        // It begins with the line break of the boundary.
        let part = read_head(head.get(2..end).unwrap_or_default())?;
        self.state = State::Data;
        Ok(Some(Event::Begin(part)))
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let first = wanted[0];
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|byte| *byte == first) {
        if bytes[from + at..].starts_with(wanted) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

/// Reads the headers of a part, without the empty line at their end.
fn read_head(head: &[u8]) -> Result<Part, Fault> {
    let head = std::str::from_utf8(head).map_err(|_| Fault::Head)?;
    let mut disposition = None;
    for (number, line) in head.split("\r\n").filter(|line| !line.is_empty()).enumerate() {
        if number == MAX_HEADERS {
            return Err(Fault::LargeHead);
        }
        let (name, value) = line.split_once(':').ok_or(Fault::Head)?;
        // A folded line begins with white space.
        if name.is_empty() || !name.bytes().all(is_token) || line.contains(['\r', '\n', '\0']) {
            return Err(Fault::Head);
        }
        if name.eq_ignore_ascii_case("content-disposition") && disposition.replace(value).is_some() {
            return Err(Fault::Disposition);
        }
        let is_plain = |value: &str| ["7bit", "8bit", "binary"].iter().any(|plain| value.eq_ignore_ascii_case(plain));
        if name.eq_ignore_ascii_case("content-transfer-encoding") && !is_plain(value.trim()) {
            return Err(Fault::Encoding);
        }
    }
    let (kind, mut params) = disposition.and_then(parameters).ok_or(Fault::Disposition)?;
    let mut take = |wanted: &str| {
        let at = params.iter().position(|(name, _)| name == wanted)?;
        Some(unescape(&params.swap_remove(at).1))
    };
    match (kind.eq_ignore_ascii_case("form-data"), take("name"), take("filename")) {
        (true, Some(name), file_name) => Ok(Part { name, file_name }),
        _ => Err(Fault::Disposition),
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A header's value and its parameters, the names in lower case (RFC 9110 §5.6.6). Nothing if one is repeated.
fn parameters(header: &str) -> Option<(&str, Vec<(String, String)>)> {
    let (essence, mut rest) = header.split_once(';').unwrap_or((header, ""));
    let mut params: Vec<(String, String)> = Vec::new();
    loop {
        rest = rest.trim_matches([' ', '\t', ';']);
        if rest.is_empty() {
            return Some((essence.trim(), params));
        }
        let (name, value) = rest.split_once('=')?;
        let name = name.trim().to_ascii_lowercase();
        if name.is_empty() || !name.bytes().all(is_token) || params.iter().any(|(other, _)| *other == name) {
            return None;
        }
        let value = value.trim_start();
        let (value, after) = if let Some(quoted) = value.strip_prefix('"') {
            read_quoted(quoted)?
        } else {
            let (token, _) = value.split_once(';').unwrap_or((value, ""));
            let after = &value[token.len()..];
            let token = token.trim_end();
            if token.is_empty() || token.contains(['"', ' ', '\t']) {
                return None;
            }
            (token.to_owned(), after)
        };
        rest = after.trim_start();
        if !(rest.is_empty() || rest.starts_with(';')) {
            return None;
        }
        params.push((name, value));
    }
}

/// The text up to the closing quotation mark, and what follows it. A backslash escapes only what needs it: some browsers
/// send paths with backslashes.
fn read_quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut signs = text.char_indices().peekable();
    while let Some((at, sign)) = signs.next() {
        match sign {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match signs.next_if(|(_, next)| matches!(next, '"' | '\\')) {
                Some((_, escaped)) => value.push(escaped),
                None => value.push('\\'),
            },
            sign => value.push(sign),
        }
    }
    None
}

/// Reverts what browsers do to names (HTML §4.10.21.8, "multipart/form-data encoding algorithm").
fn unescape(text: &str) -> String {
    text.replace("%22", "\"").replace("%0D", "\r").replace("%0A", "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=abc";

    /// The parts that are read from a body in chunks of this size.
    fn read(body: &[u8], size: usize) -> Result<Vec<(Part, Vec<u8>)>, Fault> {
        let mut multipart = Multipart::new(TYPE)?;
        let mut parts = Vec::new();
        for chunk in body.chunks(size) {
            multipart.push(chunk);
            while let Some(event) = multipart.event()? {
                match event {
                    Event::Begin(part) => parts.push((part, Vec::new())),
                    Event::Data(data) => parts.last_mut().unwrap().1.extend_from_slice(&data),
                    Event::End => {}
                }
            }
        }
        multipart.check_end()?;
        Ok(parts)
    }

    /// The same whatever the size of the chunks is.
    fn parts(body: &str) -> Result<Vec<(Part, Vec<u8>)>, Fault> {
        let whole = read(body.as_bytes(), body.len().max(1));
        for size in [1, 2, 3, 7, 64] {
            assert_eq!(read(body.as_bytes(), size), whole, "{size}: {body:?}");
        }
        whole
    }

    fn part(name: &str, file_name: Option<&str>, data: &str) -> (Part, Vec<u8>) {
        (Part { name: name.into(), file_name: file_name.map(Into::into) }, data.into())
    }

    #[test]
    fn a_body_is_read_part_by_part() {
        let body = "preamble\r\n--abc\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\none\r\n--ab\r\n--abc \t\r\n\
                    content-disposition:FORM-DATA;filename=\"f.txt\";name=files\r\nContent-Type: text/html\r\n\r\n\r\n--abc\r\n\
                    Content-Disposition: form-data; name=\"b\"; filename=\"\"\r\n\r\n\r\n\r\n--abc--\r\n--abc\r\nepilogue";
        let read = parts(body).unwrap();
        assert_eq!(
            read,
            [part("a", None, "one\r\n--ab"), part("files", Some("f.txt"), ""), part("b", Some(""), "\r\n")]
        );
        assert_eq!(parts("--abc--").unwrap(), []);
    }

    #[test]
    fn a_file_name_is_read_as_browsers_and_curl_write_it() {
        for (written, read) in [
            (r#""a b.txt""#, "a b.txt"),
            (r#""a\"b\\c.txt""#, r#"a"b\c.txt"#),
            (r#""C:\tmp\a.txt""#, r"C:\tmp\a.txt"),
            (r#""a%22b%0D%0A%41.txt""#, "a\"b\r\n%41.txt"),
            ("\"fo;o=b\u{e9}.txt\"", "fo;o=b\u{e9}.txt"),
            ("a.txt", "a.txt"),
        ] {
            let body =
                format!("--abc\r\nContent-Disposition: form-data; name=f; filename={written}\r\n\r\nx\r\n--abc--");
            assert_eq!(parts(&body).unwrap(), [part("f", Some(read), "x")], "{written}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let with = |head: &str| parts(&format!("--abc\r\n{head}\r\n\r\nx\r\n--abc--"));
        let good = "Content-Disposition: form-data; name=f";
        assert!(with(good).is_ok());
        for (head, fault) in [
            ("", Fault::Disposition),
            ("X: y", Fault::Disposition),
            ("Content-Disposition: attachment; name=f", Fault::Disposition),
            ("Content-Disposition: form-data; filename=f", Fault::Disposition),
            ("Content-Disposition: form-data; name=f; name=g", Fault::Disposition),
            ("Content-Disposition: form-data; name=\"f", Fault::Disposition),
            ("Content-Disposition: form-data; name=\"f\"g", Fault::Disposition),
            ("Content-Disposition: form-data; name=f g", Fault::Disposition),
            (&format!("{good}\r\n{good}"), Fault::Disposition),
            (&format!("{good}\r\n folded"), Fault::Head),
            (&format!("{good}\r\nno colon"), Fault::Head),
            (&format!("{good}\nX: y"), Fault::Head),
            (&format!("{good}\r\nContent-Transfer-Encoding: base64"), Fault::Encoding),
            (&format!("{good}{}", "\r\nX: y".repeat(16)), Fault::LargeHead),
            (&format!("{good}\r\nX: {}", "y".repeat(MAX_HEAD)), Fault::LargeHead),
        ] {
            assert_eq!(with(head), Err(fault), "{head}");
        }
        let after = |delimiter: &str| parts(&format!("--abc\r\n{good}\r\n\r\nx\r\n--abc{delimiter}"));
        for (delimiter, fault) in
            [("", Fault::CutOff), ("-", Fault::CutOff), ("x--", Fault::Delimiter), (&" ".repeat(33), Fault::Delimiter)]
        {
            assert_eq!(after(delimiter), Err(fault), "{delimiter}");
        }
        assert_eq!(parts("nothing of the kind"), Err(Fault::CutOff));
    }

    #[test]
    fn the_boundary_is_in_the_content_type() {
        let delimiter =
            |content_type: &str| Multipart::new(content_type).map(|m| String::from_utf8(m.delimiter).unwrap());
        assert_eq!(delimiter("Multipart/Form-Data; charset=utf-8; Boundary=\"a b\"").unwrap(), "\r\n--a b");
        for content_type in
            ["text/plain; boundary=a", "multipart/mixed; boundary=a", "multipart/form-data; boundary=a; boundary=b"]
        {
            assert_eq!(delimiter(content_type), Err(Fault::MediaType), "{content_type}");
        }
        let long = format!("multipart/form-data; boundary={}", "a".repeat(71));
        for content_type in
            ["multipart/form-data", "multipart/form-data; boundary=\"\"", "multipart/form-data; boundary=\"a \"", &long]
        {
            assert_eq!(delimiter(content_type), Err(Fault::Boundary), "{content_type}");
        }
    }
}
