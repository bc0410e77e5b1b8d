//! Changes one section of an AWS file. Every line that is not ours stays byte for byte, and every tool reads the rest of
//! the file as before.

use super::readers::{Reader, Reading, Values, split_comment};
use super::syntax::{Document, Kind, Line, is_space};

/// The change of one section.
#[derive(Debug, Default)]
pub struct Change<'a> {
    /// Keys in lower case, with values of one line.
    pub set: &'a [(&'a str, &'a str)],
    pub remove: &'a [&'a str],
}

impl Change<'_> {
    fn touches(&self, key: &str) -> bool {
        self.remove.contains(&key) || self.set.iter().any(|(set, _)| *set == key)
    }
}

/// Why nothing was changed.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    /// Some tool would read the result in another way than intended. The section, and its line counted from 1.
    WouldNotReadBack { section: String, line: usize },
    /// Several sections are the profile, to some tool or other. The name of the one to keep, and their lines.
    Ambiguous { section: String, lines: Vec<usize> },
    /// A section name, key or value that cannot be written on one line.
    Unwritable(String),
}

/// Where new keys go in their section.
#[derive(Clone, Copy)]
enum Place {
    /// After the last line that is not blank or a comment, before the comments of the next section.
    End,
    /// Below the header: further down, some tool may have begun another section or value.
    Start,
    /// After the last line: an indented comment must not follow a key, whose value it would continue.
    Bottom,
}

impl Document {
    /// Applies a change to a section; a missing section is added at the end of the file.
    pub fn changed(&self, section: &str, change: &Change<'_>) -> Result<Self, Refused> {
        writable(change)?;
        let Some(range) = self.section(section) else {
            return if change.set.is_empty() { Ok(self.clone()) } else { self.with_section_added(section, change) };
        };
        let header = self.body(&self.lines()[range.start]);
        [Place::End, Place::Start, Place::Bottom]
            .into_iter()
            .find_map(|place| {
                let changed = Self::parse(&self.with_section_changed(section, change, place)).ok()?;
                self.differs_only_by(header, change, &changed).then_some(changed)
            })
            .ok_or_else(|| Refused::WouldNotReadBack { section: section.to_owned(), line: range.start + 1 })
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
        let same = |reader: Reader, removed: &Self| {
            let (before, after) = (reader.read(&changed), reader.read(removed));
            is_subsequence(&before.comments, &after.comments) && with_keys(before).eq(with_keys(after))
        };
        // A header stays if it has a comment, or if some tool would read what follows it in another way.
        let removed = Self::parse(&text).ok().filter(|removed| {
            removed.section(section).is_none() && Reader::ALL.into_iter().all(|reader| same(reader, removed))
        });
        Ok(removed.unwrap_or(changed))
    }

    fn with_section_added(&self, section: &str, change: &Change<'_>) -> Result<Self, Refused> {
        if section.is_empty() || !section.chars().all(|c| c.is_ascii_graphic() || c == ' ') || section.contains(PARTING)
        {
            return Err(Refused::Unwritable(format!("the section name {section:?}")));
        }
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
        let header = format!("[{section}]");
        let options = change.set.iter().map(|(key, value)| format!("{key} = {value}{end}"));
        text.extend(std::iter::once(format!("{header}{end}")).chain(options));
        let added = Self::parse(&text).ok().filter(|added| self.differs_only_by(&header, change, added));
        added.ok_or_else(|| Refused::WouldNotReadBack { section: section.to_owned(), line: self.lines().len() })
    }

    fn with_section_changed(&self, section: &str, change: &Change<'_>, place: Place) -> String {
        let range = self.section(section).unwrap_or_default();
        let end = self.line_end();
        let mut missing: Vec<&(&str, &str)> = change.set.iter().collect();
        let mut text = self.text()[..self.lines()[range.start].span.start].to_owned();
        let mut insert_at = text.len();
        let mut dropping = false;
        for line in &self.lines()[range.clone()] {
            let whole = self.whole(line);
            match &line.kind {
                Kind::Option { key, value_at } => {
                    let new = change.set.iter().find(|(name, _)| name == key);
                    missing.retain(|(name, _)| name != key);
                    dropping = change.touches(key);
                    if dropping {
                        text.extend(self.comment_behind(line).map(|comment| format!("{comment}{end}")));
                    } else {
                        text.push_str(whole);
                    }
                    if let Some((_, value)) = new {
                        // Some SDKs know the key in lower case only, and no `:` instead of the `=`.
                        let kept = &whole[..*value_at];
                        let is_usable =
                            kept.starts_with(key.as_str()) && kept.trim_end_matches(is_space).ends_with('=');
                        let has_value = !whole[*value_at..].trim().is_empty();
                        let start = if is_usable && has_value { kept.to_owned() } else { format!("{key} = ") };
                        text.extend([start.as_str(), value]);
                        let own_end = &self.text()[line.end..line.span.end];
                        text.push_str(if own_end.is_empty() { end } else { own_end });
                    }
                }
                Kind::Continuation if dropping => {}
                Kind::Continuation | Kind::Section(_) | Kind::Blank | Kind::Comment => text.push_str(whole),
            }
            let is_before = match place {
                Place::End => !matches!(line.kind, Kind::Blank | Kind::Comment),
                Place::Start => matches!(line.kind, Kind::Section(_)),
                Place::Bottom => true,
            };
            if is_before {
                insert_at = text.len();
            }
        }
        let mut added = String::new();
        if !missing.is_empty() && !text[..insert_at].ends_with('\n') {
            added.push_str(end);
        }
        added.extend(missing.iter().map(|(key, value)| format!("{key} = {value}{end}")));
        text.insert_str(insert_at, &added);
        text + &self.text()[self.lines()[range.end - 1].span.end..]
    }

    /// The comment at the end of an option's line. Python takes it for a part of the value, the SDKs do not.
    fn comment_behind(&self, line: &Line) -> Option<&str> {
        split_comment(self.body(line), true).1
    }

    /// Verifies an edit: to every reader, the section of this header has the requested change and nothing else differs.
    /// A reader that takes the header for no section finds no difference at all.
    fn differs_only_by(&self, header: &str, change: &Change<'_>, changed: &Self) -> bool {
        Reader::ALL.into_iter().all(|reader| {
            let (mut expected, found) = (reader.read(self), reader.read(changed));
            if let Some(section) = reader.header(header) {
                let values = expected.section_mut(&section);
                values.retain(|key, _| !change.touches(&key.to_lowercase()));
                values.extend(change.set.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
            }
            is_subsequence(&expected.comments, &found.comments) && with_keys(expected).eq(with_keys(found))
        })
    }
}

/// The sections that have keys, by name: the SDK for JavaScript forgets the others.
fn with_keys(mut reading: Reading) -> impl Iterator<Item = (String, Values)> {
    reading.sections.sort_by(|(one, _), (other, _)| one.cmp(other));
    reading.sections.into_iter().filter(|(_, values)| !values.is_empty())
}

fn is_subsequence(small: &[String], large: &[String]) -> bool {
    let mut rest = large.iter();
    small.iter().all(|text| rest.any(|other| other == text))
}

/// Characters that part a value, or a header, from what follows.
const PARTING: [char; 3] = [']', '#', ';'];

/// Checks that each value fits on one line and that parsers in other languages would not read it differently.
fn writable(change: &Change<'_>) -> Result<(), Refused> {
    for (key, value) in change.set {
        let key_is_word =
            !key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        let is_plain = !value.is_empty() && !value.chars().any(|c| c.is_control() || PARTING[1..].contains(&c));
        if !key_is_word || !is_plain || value.trim_matches(is_space) != *value {
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

    fn refused(text: &str, section: &str, set: &[(&str, &str)], remove: &[&str]) -> Refused {
        Document::parse(text).unwrap().changed(section, &Change { set, remove }).unwrap_err()
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
    fn values_are_replaced_where_they_stand() {
        let text = "# mine\n[default]\nregion = eu\na_key=OLD\n# why\nother= x\n\n# of b\n[b]\nk=1\n";
        let expected = "# mine\n[default]\nregion = eu\na_key=NEW\n# why\nother= x\nadded = 1\n\n# of b\n[b]\nk=1\n";
        assert_eq!(edit(text, "default", &[("a_key", "NEW"), ("added", "1")], &[]), expected);
    }

    #[test]
    fn a_key_is_written_as_every_tool_knows_it() {
        assert_eq!(edit("[a]\nA_Key=OLD\n", "a", &[("a_key", "NEW")], &[]), "[a]\na_key = NEW\n");
        assert_eq!(edit("[a]\nk =\n", "a", &[("k", "9")], &[]), "[a]\nk = 9\n");
    }

    #[test]
    fn a_comment_behind_a_value_stays_as_a_line_of_its_own() {
        let text = "[a]\nk = 1 ; of k # too\nl = 2\n";
        assert_eq!(edit(text, "a", &[("k", "9")], &[]), "[a]\n; of k # too\nk = 9\nl = 2\n");
        assert_eq!(edit(text, "a", &[], &["k"]), "[a]\n; of k # too\nl = 2\n");
    }

    #[test]
    fn a_removed_key_takes_its_continuation_along() {
        let text = "[a]\nx = 0\n  1\n# c\n  2\ny = 3\n";
        assert_eq!(edit(text, "a", &[], &["x"]), "[a]\n# c\ny = 3\n");
        assert_eq!(edit(text, "a", &[("x", "9")], &[]), "[a]\nx = 9\n# c\ny = 3\n");
    }

    #[test]
    fn what_any_tool_takes_for_a_key_of_others_is_not_lost() {
        // Behind our key, but a key of its own to the SDK for JavaScript.
        assert!(matches!(
            refused("[a]\nx = 0\n  y = 1\n", "a", &[], &["x"]),
            Refused::WouldNotReadBack { line: 1, .. }
        ));
        // A comment to Python, a part of the value to the SDK for Rust.
        assert!(matches!(
            refused("[b]\nk = 1\n[a]\nx = 0\n  # c\n", "a", &[("x", "9")], &[]),
            Refused::WouldNotReadBack { line: 3, .. }
        ));
        // To the SDK for JavaScript this header is none, so the key would go to the section before it.
        assert!(matches!(
            refused("[b]\nk = 1\n[a]# c\n", "a", &[("x", "9")], &[]),
            Refused::WouldNotReadBack { line: 3, .. }
        ));
    }

    #[test]
    fn new_keys_go_where_every_tool_finds_them() {
        // To the SDK for JavaScript, [b] is a section.
        assert_eq!(edit("[a]\nk = 1\n  [b]\n", "a", &[("y", "2")], &[]), "[a]\ny = 2\nk = 1\n  [b]\n");
        // The comment is a part of the value of k to the SDK for Rust.
        assert_eq!(edit("[a]\nk = 1\n  # c\n", "a", &[("y", "2")], &[]), "[a]\ny = 2\nk = 1\n  # c\n");
        assert_eq!(edit("[a]\ns3 =\n  k = 1\n", "a", &[("y", "2")], &[]), "[a]\ns3 =\n  k = 1\ny = 2\n");
        assert_eq!(edit("[a]\n  # c\n\n[b]\n", "a", &[("y", "2")], &[]), "[a]\n  # c\n\ny = 2\n[b]\n");
        assert_eq!(edit("[a]# c", "a", &[("y", "2")], &[]), "[a]# c\ny = 2\n");
    }

    #[test]
    fn a_header_without_keys_goes_and_one_with_a_comment_stays() {
        let without = |text: &str| Document::parse(text).unwrap().without("a", &["x"]).unwrap().text().to_owned();
        assert_eq!(without("[b]\nk=1\n\n[a]\nx = 1\n"), "[b]\nk=1\n\n");
        assert_eq!(without("[a]\n# note\nx = 1\n"), "[a]\n# note\n");
        assert_eq!(without("[a]\nx = 1\ny = 2\n[b]\n"), "[a]\ny = 2\n[b]\n");
        assert_eq!(without("[b]\n"), "[b]\n");
        assert_eq!(without("[a] # note\nx = 1\n"), "[a] # note\n");
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
            ("a", "k", "v;w"),
            ("a", "k", "v#w"),
        ] {
            let refused = document.changed(section, &Change { set: &[(key, value)], remove: &[] }).unwrap_err();
            assert!(matches!(refused, Refused::Unwritable(_)), "{section:?} {key:?} {value:?}");
        }
    }
}
