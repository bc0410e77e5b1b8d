//! Rules of files, without I/O: types by content, names, ranges.

use shared::wire::percent_encode;

/// How many bytes decide what a file is.
pub const MAGIC: usize = 12;
/// The longest name that is kept, in bytes.
const MAX_NAME: usize = 200;

pub const TEXT: &str = "text/plain";

/// A type that can be allowed, and how to recognise it.
struct Kind {
    name: &'static str,
    is: fn(&[u8]) -> bool,
}

/// The types that are recognised by their first bytes.
const KINDS: [Kind; 7] = [
    Kind { name: "image/png", is: |head| head.starts_with(b"\x89PNG\r\n\x1a\n") },
    Kind { name: "image/jpeg", is: |head| head.starts_with(b"\xff\xd8\xff") },
    Kind { name: "image/gif", is: |head| head.starts_with(b"GIF87a") || head.starts_with(b"GIF89a") },
    Kind { name: "image/webp", is: |head| head.starts_with(b"RIFF") && head.get(8..12) == Some(b"WEBP") },
    Kind { name: "application/pdf", is: |head| head.starts_with(b"%PDF-") },
    Kind { name: "application/zip", is: |head| head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") },
    Kind { name: "application/gzip", is: |head| head.starts_with(b"\x1f\x8b\x08") },
];

/// Every type that can be allowed.
pub fn types() -> impl Iterator<Item = &'static str> {
    KINDS.iter().map(|kind| kind.name).chain([TEXT])
}

/// The type of a file that begins with these bytes, at least [`MAGIC`] of them unless it is shorter. What is not
/// recognised can only be text, which [`Text`] decides.
pub fn type_of(head: &[u8]) -> &'static str {
    KINDS.iter().find(|kind| (kind.is)(head)).map_or(TEXT, |kind| kind.name)
}

/// Whether bytes that come one after the other are UTF-8 without control characters other than white space.
#[derive(Debug, Default)]
pub struct Text {
    /// A character that is not complete.
    rest: Vec<u8>,
    is_broken: bool,
}

impl Text {
    pub fn push(&mut self, bytes: &[u8]) {
        if self.is_broken {
            return;
        }
        let is_control = |byte: &u8| byte.is_ascii_control() && !matches!(byte, b'\t' | b'\n' | b'\r' | 0x0c);
        self.is_broken = bytes.iter().any(is_control);
        let mut bytes = bytes;
        // A character has at most four bytes.
        while !self.rest.is_empty() && !bytes.is_empty() {
            self.rest.push(bytes[0]);
            bytes = &bytes[1..];
            match std::str::from_utf8(&self.rest) {
                Ok(_) => self.rest.clear(),
                Err(error) if error.error_len().is_none() => {}
                Err(_) => self.is_broken = true,
            }
            if self.is_broken {
                return;
            }
        }
        if let Err(error) = std::str::from_utf8(bytes) {
            self.is_broken |= error.error_len().is_some();
            self.rest.extend_from_slice(&bytes[error.valid_up_to()..]);
        }
    }

    /// Whether nothing that follows can make it text.
    pub fn is_broken(&self) -> bool {
        self.is_broken
    }

    pub fn is_text(&self) -> bool {
        !self.is_broken && self.rest.is_empty()
    }
}

/// A file's name as it is kept: without folders, control characters and marks that change the direction of writing.
pub fn clean_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let is_kept = |c: &char| {
        !c.is_control() && !matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut kept: String = last.chars().filter(is_kept).collect();
    kept.truncate(kept.floor_char_boundary(MAX_NAME));
    let kept = kept.trim_matches([' ', '.']);
    if kept.is_empty() { "file".to_owned() } else { kept.to_owned() }
}

/// The media type that a file is served with.
pub fn content_type(kind: &str) -> String {
    if kind == TEXT { "text/plain; charset=utf-8".to_owned() } else { kind.to_owned() }
}

/// The header `Content-Disposition` of a download (RFC 6266).
pub fn disposition(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._- ()".contains(c);
    let plain: String = name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    if plain == name {
        return format!("attachment; filename=\"{plain}\"");
    }
    format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{}", percent_encode(name))
}

/// Which bytes of a file are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    Whole,
    /// From the first to the last byte, both included.
    Bytes(u64, u64),
    Unsatisfiable,
}

/// Reads the header `Range` (RFC 9110 §14.2). One that cannot be read, or that asks for several parts, is ignored.
pub fn range(header: &str, size: u64) -> Range {
    let number = |text: &str| text.bytes().all(|c| c.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten();
    let Some((unit, set)) = header.split_once('=') else { return Range::Whole };
    let Some((first, last)) = set.trim().split_once('-') else { return Range::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Range::Whole;
    }
    match (number(first), number(last), first.is_empty(), last.is_empty()) {
        (_, Some(0), true, _) => Range::Unsatisfiable,
        (_, Some(length), true, _) if size > 0 => Range::Bytes(size - length.min(size), size - 1),
        (_, Some(_), true, _) => Range::Unsatisfiable,
        (Some(first), Some(last), ..) if last < first => Range::Whole,
        (Some(first), Some(_), ..) | (Some(first), None, _, true) if first >= size => Range::Unsatisfiable,
        (Some(first), Some(last), ..) => Range::Bytes(first, last.min(size - 1)),
        (Some(first), None, _, true) => Range::Bytes(first, size - 1),
        _ => Range::Whole,
    }
}

/// Whether a list of entity tags has this one (RFC 9110 §13.1); `*` is any. Tags of ours are strong.
pub fn has_tag(list: &str, etag: &str, weak_counts: bool) -> bool {
    list.split(',').map(str::trim).any(|tag| {
        let (is_weak, tag) = tag.strip_prefix("W/").map_or((false, tag), |rest| (true, rest));
        tag == "*"
            || ((weak_counts || !is_weak) && tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')) == Some(etag))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_what_the_first_bytes_say() {
        for (head, kind) in [
            (&b"\x89PNG\r\n\x1a\n<script>"[..], "image/png"),
            (b"\xff\xd8\xff\xe0", "image/jpeg"),
            (b"GIF89a/*<script>", "image/gif"),
            (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
            (b"RIFF\0\0\0\0WAVEfmt ", TEXT),
            (b"%PDF-1.7", "application/pdf"),
            (b"PK\x03\x04rest", "application/zip"),
            (b"\x1f\x8b\x08", "application/gzip"),
            (b"<svg xmlns='http://www.w3.org/2000/svg'>", TEXT),
            (b"<!doctype html>", TEXT),
            (b"\x89PN", TEXT),
            (b"", TEXT),
        ] {
            assert_eq!(type_of(head), kind, "{head:?}");
        }
    }

    #[test]
    fn text_is_utf8_without_control_characters_however_it_is_split() {
        let is_text = |bytes: &[u8], size: usize| {
            let mut text = Text::default();
            bytes.chunks(size).for_each(|chunk| text.push(chunk));
            text.is_text()
        };
        for size in [1, 2, 3, 5, 100] {
            for good in ["", "a\tb\r\n", "ä€😀 x😀", "<svg onload=alert(1)>"] {
                assert!(is_text(good.as_bytes(), size), "{size} {good}");
            }
            for bad in
                [&b"a\0"[..], b"\x1b[2J", b"\xe2\x82", b"\xff", b"a\xe2\x82a", b"\xc0\x80", b"\xed\xa0\x80", b"\x7f"]
            {
                assert!(!is_text(bad, size), "{size} {bad:?}");
            }
        }
    }

    #[test]
    fn a_name_is_kept_without_what_could_mislead() {
        for (name, kept) in [
            ("a.png", "a.png"),
            ("../../etc/passwd", "passwd"),
            (r"C:\Users\ann\a b.txt", "a b.txt"),
            ("a\r\nSet-Cookie: x", "aSet-Cookie: x"),
            ("gpj.\u{202e}exe", "gpj.exe"),
            (".. ", "file"),
            ("", "file"),
            (&"ä".repeat(150), &"ä".repeat(100)),
        ] {
            assert_eq!(clean_name(name), kept);
        }
        assert_eq!(disposition("a b.txt"), "attachment; filename=\"a b.txt\"");
        assert_eq!(disposition("ä\".txt"), "attachment; filename=\"__.txt\"; filename*=UTF-8''%C3%A4%22.txt");
    }

    #[test]
    fn a_range_is_one_part_of_the_file() {
        for (header, range_of_ten) in [
            ("bytes=0-0", Range::Bytes(0, 0)),
            ("bytes=2-5", Range::Bytes(2, 5)),
            ("Bytes = 2-5", Range::Bytes(2, 5)),
            ("bytes=2-", Range::Bytes(2, 9)),
            ("bytes=2-99", Range::Bytes(2, 9)),
            ("bytes=-3", Range::Bytes(7, 9)),
            ("bytes=-99", Range::Bytes(0, 9)),
            ("bytes=-0", Range::Unsatisfiable),
            ("bytes=10-", Range::Unsatisfiable),
            ("bytes=10-12", Range::Unsatisfiable),
            ("bytes=5-2", Range::Whole),
            ("bytes=0-1,4-5", Range::Whole),
            ("bytes=-", Range::Whole),
            ("bytes=", Range::Whole),
            ("bytes", Range::Whole),
            ("bytes=+1-2", Range::Whole),
            ("bytes=99999999999999999999-", Range::Whole),
            ("lines=1-2", Range::Whole),
        ] {
            assert_eq!(range(header, 10), range_of_ten, "{header}");
        }
        assert_eq!(range("bytes=0-", 0), Range::Unsatisfiable);
        assert_eq!(range("bytes=-1", 0), Range::Unsatisfiable);
    }

    #[test]
    fn a_tag_is_compared_as_the_condition_wants() {
        assert!(has_tag("\"a\", \"b\"", "b", false) && has_tag("*", "b", false) && has_tag("W/\"b\"", "b", true));
        assert!(!has_tag("W/\"b\"", "b", false) && !has_tag("\"ab\"", "b", true) && !has_tag("b", "b", true));
    }
}
