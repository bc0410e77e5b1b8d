//! Changes one section of an AWS file. Every line that is not ours stays byte for byte.

use std::collections::HashMap;

use super::syntax::{Document, Kind, is_space};

/// The change of one section.
#[derive(Debug, Default)]
pub struct Change<'a> {
    /// Keys in lower case, with values of one line.
    pub set: &'a [(&'a str, &'a str)],
    pub remove: &'a [&'a str],
}

/// Why nothing was changed.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    /// The result would not read back as intended. This happens only in files with unusual indentation.
    WouldNotReadBack,
    /// A section name, key or value that cannot be written on one line.
    Unwritable(String),
}

impl Document {
    /// Applies a change to a section; a missing section is added at the end of the file.
    pub fn changed(&self, section: &str, change: &Change<'_>) -> Result<Self, Refused> {
        writable(section, change)?;
        let text = match self.section(section) {
            Some(_) => self.with_section_changed(section, change),
            None if change.set.is_empty() => self.text().to_owned(),
            None => self.with_section_added(section, change),
        };
        let changed = Self::parse(&text).map_err(|_| Refused::WouldNotReadBack)?;
        if self.differs_only_by(section, change, &changed) { Ok(changed) } else { Err(Refused::WouldNotReadBack) }
    }

    /// Removes keys, and the header too if nothing but blank lines is left below it.
    pub fn without(&self, section: &str, keys: &[&str]) -> Result<Self, Refused> {
        let changed = self.changed(section, &Change { set: &[], remove: keys })?;
        let Some(range) = changed.section(section) else { return Ok(changed) };
        let lines = &changed.lines()[range.clone()];
        if lines[1..].iter().any(|line| line.kind != Kind::Blank) {
            return Ok(changed);
        }
        let header = lines[0].span.clone();
        let text = format!("{}{}", &changed.text()[..header.start], &changed.text()[header.end..]);
        let removed = Self::parse(&text).map_err(|_| Refused::WouldNotReadBack)?;
        let is_as_meant = removed.section(section).is_none() && self.others(section).eq(removed.others(section));
        if is_as_meant { Ok(removed) } else { Err(Refused::WouldNotReadBack) }
    }

    fn with_section_added(&self, section: &str, change: &Change<'_>) -> String {
        let end = self.line_end();
        let mut text = self.text().to_owned();
        if let Some(last) = self.lines().last() {
            if last.end == last.span.end {
                text.push_str(end);
            }
            if last.kind != Kind::Blank {
                text.push_str(end);
            }
        }
        let options = change.set.iter().map(|(key, value)| format!("{key} = {value}{end}"));
        text.extend(std::iter::once(format!("[{section}]{end}")).chain(options));
        text
    }

    fn with_section_changed(&self, section: &str, change: &Change<'_>) -> String {
        let range = self.section(section).unwrap_or_default();
        // New lines have the line end of the line before them: after another one, a following lone \n could be read as
        // half of a \r\n.
        let mut end = self.line_end();
        let mut missing: Vec<&(&str, &str)> = change.set.iter().collect();
        let mut text = self.text()[..self.lines()[range.start].span.start].to_owned();
        // New keys go after the last line that is not blank or a comment, before the comments of the next section.
        let mut insert_at = text.len();
        let mut dropping = false;
        for line in &self.lines()[range.clone()] {
            let whole = self.whole(line);
            match &line.kind {
                Kind::Option { key, value_at } => {
                    let new = change.set.iter().find(|(name, _)| name == key);
                    missing.retain(|(name, _)| name != key);
                    dropping = new.is_some() || change.remove.contains(&key.as_str());
                    if let Some((_, value)) = new {
                        text.push_str(&whole[..*value_at]);
                        text.push_str(value);
                        let own_end = &self.text()[line.end..line.span.end];
                        text.push_str(if own_end.is_empty() { end } else { own_end });
                    } else if !dropping {
                        push_line(&mut text, whole);
                    }
                }
                Kind::Continuation if dropping => {}
                Kind::Continuation | Kind::Section(_) => push_line(&mut text, whole),
                Kind::Blank | Kind::Comment => {
                    push_line(&mut text, whole);
                    continue;
                }
            }
            insert_at = text.len();
            let kept = &text[text.trim_end_matches(['\r', '\n']).len()..];
            end = ["\r\n", "\n", "\r"].into_iter().find(|end| kept.ends_with(end)).unwrap_or(end);
        }
        let mut added = String::new();
        if !missing.is_empty() && !text[..insert_at].ends_with(['\n', '\r']) {
            added.push_str(end);
        }
        let indent = self.indent_for_new_keys(&range);
        added.extend(missing.iter().map(|(key, value)| format!("{indent}{key} = {value}{end}")));
        text.insert_str(insert_at, &added);
        push_line(&mut text, &self.text()[self.lines()[range.end - 1].span.end..]);
        text
    }

    /// The deepest indentation that does not start a continuation: that of the section's last line that is not a
    /// continuation, or of the next header, which must not become a continuation of our line.
    fn indent_for_new_keys(&self, range: &std::ops::Range<usize>) -> &str {
        let structural = |kind: &Kind| matches!(kind, Kind::Option { .. } | Kind::Section(_));
        let last = self.lines()[range.clone()].iter().rev().find(|line| structural(&line.kind));
        let next = self.lines().get(range.end);
        let indent = |line| {
            let body = self.body(line);
            &body[..body.len() - body.trim_start_matches(is_space).len()]
        };
        last.into_iter().chain(next).map(indent).max_by_key(|indent| indent.chars().count()).unwrap_or_default()
    }

    /// Verifies an edit: the sections and values are the same except for the requested change.
    fn differs_only_by(&self, section: &str, change: &Change<'_>, changed: &Self) -> bool {
        let is_new = self.section(section).is_none() && !change.set.is_empty();
        let is_in_order = self.sections().chain(is_new.then_some(section)).eq(changed.sections());
        let mut expected: HashMap<String, String> = self.values(section).into_iter().collect();
        expected.retain(|key, _| !change.remove.contains(&key.as_str()));
        expected.extend(change.set.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        is_in_order
            && self.others(section).eq(changed.others(section))
            && expected == changed.values(section).into_iter().collect::<HashMap<_, _>>()
    }

    /// The other sections, in order, with their values.
    fn others(&self, section: &str) -> impl Iterator<Item = (&str, Vec<(String, String)>)> {
        self.sections().filter(move |name| *name != section).map(|name| (name, self.values(name)))
    }
}

/// Appends a kept line. A lone `\r` before it must not become half of a `\r\n` when the lines between are removed.
fn push_line(text: &mut String, line: &str) {
    if text.ends_with('\r') && line.starts_with('\n') {
        text.push('\r');
    }
    text.push_str(line);
}

/// Checks that each value fits on one line and that parsers in other languages would not read it differently.
fn writable(section: &str, change: &Change<'_>) -> Result<(), Refused> {
    let plain = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic() || c == ' ');
    if !plain(section) || section.contains([']', '#', ';']) {
        return Err(Refused::Unwritable(format!("the section name {section:?}")));
    }
    for (key, value) in change.set {
        let key_is_word =
            !key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if !key_is_word || !plain(value) || value.trim() != *value {
            return Err(Refused::Unwritable(format!("the value of {key}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit(text: &str, section: &str, set: &[(&str, &str)], remove: &[&str]) -> String {
        Document::parse(text).unwrap().changed(section, &Change { set, remove }).unwrap().text().to_owned()
    }

    #[test]
    fn an_empty_file_gets_one_section() {
        assert_eq!(edit("", "default", &[("a", "1"), ("b", "2")], &[]), "[default]\na = 1\nb = 2\n");
    }

    #[test]
    fn a_new_section_comes_last_and_repairs_only_the_missing_line_end() {
        assert_eq!(edit("[x]\nk=1", "y", &[("a", "1")], &[]), "[x]\nk=1\n\n[y]\na = 1\n");
        assert_eq!(edit("[x]\nk=1\n\n", "y", &[("a", "1")], &[]), "[x]\nk=1\n\n[y]\na = 1\n");
        assert_eq!(edit("[x]\r\nk=1\r\n", "y", &[("a", "1")], &[]), "[x]\r\nk=1\r\n\r\n[y]\r\na = 1\r\n");
    }

    #[test]
    fn mixed_line_ends_swallow_no_line() {
        assert_eq!(edit("[a]\r[b]\n\n# c", "b", &[("k", "1")], &[]), "[a]\r[b]\nk = 1\n\n# c");
        assert_eq!(edit("[b]\rk=1\n\n# c", "b", &[], &["k"]), "[b]\r\r\n# c");
        assert_eq!(edit("[b]\rk=1\n\n# c", "b", &[("l", "2")], &["k"]), "[b]\rl = 2\r\r\n# c");
        assert_eq!(edit("[a]\n[b]\r\n\r\n# c", "b", &[("k", "1")], &[]), "[a]\n[b]\r\nk = 1\r\n\r\n# c");
    }

    #[test]
    fn values_are_replaced_where_they_stand() {
        let text =
            "# mine\n[default]\nregion = eu\nAWS_Access_Key_Id=OLD ; note\n# why\nother: x\n\n# of b\n[b]\nk=1\n";
        let expected =
            "# mine\n[default]\nregion = eu\nAWS_Access_Key_Id=NEW\n# why\nother: x\nadded = 1\n\n# of b\n[b]\nk=1\n";
        assert_eq!(edit(text, "default", &[("aws_access_key_id", "NEW"), ("added", "1")], &[]), expected);
    }

    #[test]
    fn a_removed_key_takes_its_continuation_along() {
        let text = "[a]\nx =\n  1\n# c\n  2\ny = 3\n";
        assert_eq!(edit(text, "a", &[], &["x"]), "[a]\n# c\ny = 3\n");
        assert_eq!(edit(text, "a", &[("x", "9")], &[]), "[a]\nx =9\n# c\ny = 3\n");
    }

    #[test]
    fn new_keys_fit_the_indentation_around_them() {
        assert_eq!(edit("[a]\n  x = 1\n[b]\n", "a", &[("y", "2")], &[]), "[a]\n  x = 1\n  y = 2\n[b]\n");
        assert_eq!(edit("[a]\n  [b]\n", "a", &[("y", "2")], &[]), "[a]\n  y = 2\n  [b]\n");
        assert_eq!(edit("[a]\ns3 =\n  k = 1\n", "a", &[("y", "2")], &[]), "[a]\ns3 =\n  k = 1\ny = 2\n");
    }

    #[test]
    fn a_header_without_keys_goes_and_one_with_a_comment_stays() {
        let without = |text: &str| Document::parse(text).unwrap().without("a", &["x"]).unwrap().text().to_owned();
        assert_eq!(without("[b]\nk=1\n\n[a]\nx = 1\n"), "[b]\nk=1\n\n");
        assert_eq!(without("[a]\n# note\nx = 1\n"), "[a]\n# note\n");
        assert_eq!(without("[a]\nx = 1\ny = 2\n[b]\n"), "[a]\ny = 2\n[b]\n");
        assert_eq!(without("[b]\n"), "[b]\n");
    }

    #[test]
    fn what_does_not_fit_on_a_line_is_refused() {
        let document = Document::parse("").unwrap();
        for (section, key, value) in [
            ("a]b", "k", "v"),
            ("", "k", "v"),
            ("a", "k", "v\n[b]"),
            ("a", "k", ""),
            ("a", "k=", "v"),
            ("a", "k", " v"),
        ] {
            let refused = document.changed(section, &Change { set: &[(key, value)], remove: &[] }).unwrap_err();
            assert!(matches!(refused, Refused::Unwritable(_)), "{section:?} {key:?} {value:?}");
        }
    }
}
