//! Words of a command line, as Python's `shlex.split` and a shell both read them.
//!
//! botocore splits `credential_process`, and the headers of the config file, with `shlex`; the other AWS SDKs run the
//! command with `sh -c`. The SDK for Go cuts each value at `#` and `;`, even between quotes, and replaces some escapes
//! with a backslash, so these characters cannot be written at all.

/// Splits a text into words; `None` if a quote or an escape is not closed.
pub fn split(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\r' | '\n' => words.extend(word.take()),
            '\\' => word.get_or_insert_default().push(chars.next()?),
            '\'' | '"' => quoted(c, &mut chars, word.get_or_insert_default())?,
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Some(words)
}

/// Reads up to the closing quote.
fn quoted(quote: char, chars: &mut std::str::Chars<'_>, word: &mut String) -> Option<()> {
    loop {
        match chars.next()? {
            c if c == quote => return Some(()),
            '\\' if quote == '"' => {
                let escaped = chars.next()?;
                if !matches!(escaped, '"' | '\\') {
                    word.push('\\');
                }
                word.push(escaped);
            }
            c => word.push(c),
        }
    }
}

/// Writes a word so that every reader reads it; the error is the character that makes that impossible.
pub fn quote(word: &str) -> Result<String, char> {
    if let Some(c) = word.chars().find(|c| c.is_control() || matches!(c, '#' | ';' | '\\')) {
        return Err(c);
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@%+=,".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return Ok(word.to_owned());
    }
    if !word.contains(['"', '$', '`', '!']) {
        return Ok(format!("\"{word}\""));
    }
    Ok(format!("'{}'", word.replace('\'', "'\"'\"'")))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn words_are_split_as_shlex_does() {
        for (text, words) in [
            ("profile dev", Some(&["profile", "dev"][..])),
            ("profile \t \"dev\" ", Some(&["profile", "dev"])),
            ("a'b'\"c\" ''", Some(&["abc", ""])),
            (r#"a\ b "\"\\\x" '\'"#, Some(&["a b", r#""\\x"#, r"\"])),
            ("it's", None),
            ("\"", None),
            ("a\\", None),
            ("  ", Some(&[])),
        ] {
            assert_eq!(split(text), words.map(|words| words.iter().map(|word| (*word).to_owned()).collect()), "{text}");
        }
    }

    #[test]
    fn a_quoted_word_is_the_same_to_shlex_and_to_a_shell() {
        for word in
            ["/a", "/a b", "/it's", "/\u{e4}/\u{65e5}\u{672c}", "/$HOME`id`!", "/a\"b'c$d", "/100%", "/~(&|<>*?[x]{y}"]
        {
            let quoted = quote(word).unwrap();
            assert_eq!(split(&quoted).unwrap(), [word], "{quoted}");
            let shell = Command::new("sh").args(["-c", &format!("printf %s {quoted}")]).output().unwrap();
            assert_eq!(String::from_utf8(shell.stdout).unwrap(), word, "{quoted}");
        }
        for (word, c) in [("/a#b", '#'), ("/a;b", ';'), ("/a\\nb", '\\'), ("/a\nb", '\n')] {
            assert_eq!(quote(word), Err(c));
        }
    }
}
