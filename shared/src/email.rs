//! E-mail addresses. Spellings that fold to the same text are one mailbox, which has one account.
//!
//! Who was asked to prove an address is mailed at that address in the spelling that was proved: another spelling that
//! folds to it finds the account, and never receives its mail.

use std::ops::RangeInclusive;

use idna::AsciiDenyList;
use idna::uts46::{DnsLength, Hyphens, Uts46};
use schemars::Schema;
use unicode_normalization::UnicodeNormalization;

use crate::{names, patterns};

/// Maximum length of an address in bytes: RFC 5321 §4.5.3.1.3 allows a path of 256 with its angle brackets.
pub const MAX: usize = 254;

/// Maximum length of the part before the `@` in bytes: RFC 5321 §4.5.3.1.1.
const MAX_LOCAL: usize = 64;

/// What only a quoted local part may have: the specials of RFC 5322 §3.2.3, without the dot.
const SPECIALS: &[RangeInclusive<char>] =
    &['"'..='"', '('..=')', ','..=',', ':'..='<', '>'..='>', '@'..='@', '['..=']'];

/// The ASCII characters that no label of a domain has.
const NOT_IN_LABEL: &[RangeInclusive<char>] = &['\0'..=',', '/'..='/', ':'..='@', '['..='`', '{'..='\u{9f}'];

/// An e-mail address that is checked, in the forms in which it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email {
    address: String,
    folded: String,
}

impl Email {
    /// Reads an address as a person types it: a dot-atom, which may have characters outside of ASCII (RFC 6531), and a
    /// domain of two labels or more, or `localhost`. Quoted local parts, comments, address literals, source routes, white
    /// space, control characters and invisible ones are refused. The error says what is expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (local, domain) =
            split(text).ok_or_else(|| "expected an e-mail address, like ada@example.com".to_owned())?;
        let unusable = || format!("no mail can be sent to this address: {}", reason(local, domain));
        let domain = domain_in_ascii(domain).ok_or_else(unusable)?;
        let local: String = local.nfkc().collect();
        let folded = format!("{}@{domain}", names::fold(&local));
        let address = format!("{local}@{domain}");
        // Normalisation makes specials and dots of characters that look like them, and may make the text longer. What
        // would fold to something else when it is folded again could be two accounts.
        let refolded = stable_local(&folded).map(names::fold);
        let local_of_folded = folded.rsplit_once('@').map(|(local, _)| local);
        if stable_local(&address).is_none() || refolded.as_deref() != local_of_folded {
            return Err(unusable());
        }
        Ok(Self { address, folded })
    }

    /// What mail is sent to, and what people are shown: normalised (NFKC), the local part in the case that was typed, the
    /// domain in ASCII, in which no two domains look alike.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The form in which addresses are compared: in lower case too. A `+tag` and dots stay, since most servers take
    /// them for other mailboxes.
    pub fn folded(&self) -> &str {
        &self.folded
    }
}

/// The schema of an address, as far as a pattern can say it: lengths in bytes and what Unicode does to a domain are
/// more, and have the error that begins with "no mail can be sent".
pub fn schema(schema: &mut Schema) {
    let hidden = [patterns::CONTROL, patterns::SPACE, names::INVISIBLE].concat();
    let atom = format!("{}+", patterns::none_of(&[&hidden, SPECIALS, &['.'..='.']].concat()));
    let label = format!("{}+", patterns::none_of(&[&hidden, NOT_IN_LABEL, &['.'..='.']].concat()));
    let domain = format!("({label}(\\.{label})+|[Ll][Oo][Cc][Aa][Ll][Hh][Oo][Ss][Tt])");
    patterns::text(schema, 3, MAX, &format!("^{atom}(\\.{atom})*@{domain}$"));
}

/// The parts of an address, if it has the form that [`schema`] describes.
fn split(text: &str) -> Option<(&str, &str)> {
    let (local, domain) = text.split_once('@').filter(|_| text.chars().count() <= MAX)?;
    let is_hidden = |c: char| c.is_control() || c.is_whitespace() || names::is_invisible(c);
    let is_atom = |part: &str| !part.is_empty() && !part.contains(is_hidden) && !patterns::any_of(SPECIALS, part);
    let is_label = |part: &str| !part.is_empty() && !part.contains(is_hidden) && !patterns::any_of(NOT_IN_LABEL, part);
    let is_domain = domain.contains('.') || domain.eq_ignore_ascii_case("localhost");
    (local.split('.').all(is_atom) && domain.split('.').all(is_label) && is_domain).then_some((local, domain))
}

/// The local part of an address that is within the bounds and that normalisation leaves as it is.
fn stable_local(address: &str) -> Option<&str> {
    let (local, _) = split(address)?;
    (local.len() <= MAX_LOCAL && address.len() <= MAX && local.nfkc().eq(local.chars())).then_some(local)
}

/// The domain as DNS knows it (UTS #46, non-transitional), and not an IPv4 address, which a mail server would read as one.
fn domain_in_ascii(domain: &str) -> Option<String> {
    let domain: String = domain.nfkc().collect();
    let verify = DnsLength::Verify;
    let ascii = Uts46::new().to_ascii(domain.as_bytes(), AsciiDenyList::STD3, Hyphens::CheckFirstLast, verify).ok()?;
    let last = ascii.rsplit('.').next()?;
    let is_name = (ascii.contains('.') || ascii == "localhost") && !last.bytes().all(|byte| byte.is_ascii_digit());
    is_name.then(|| ascii.into_owned())
}

/// Why an address of the right form is refused, for people.
fn reason(local: &str, domain: &str) -> String {
    if local.len() > MAX_LOCAL || local.len() + domain.len() >= MAX {
        format!("it may have {MAX_LOCAL} bytes before the @ and {MAX} in all")
    } else if domain_in_ascii(domain).is_none() {
        "what follows the @ is no domain name".to_owned()
    } else {
        "it has characters that mail servers read as others".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn folded(text: &str) -> String {
        Email::parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}")).folded().to_owned()
    }

    #[test]
    fn ten_spellings_of_an_address_are_one() {
        let spellings = [
            "zoë@bücher.example",
            "ZOË@BÜCHER.EXAMPLE",
            "Zoë@Bücher.Example",
            "zoe\u{308}@bu\u{308}cher.example",
            "ZOE\u{308}@BU\u{308}CHER.EXAMPLE",
            "ｚｏë@bücher.example",
            "zoë@ｂücher.example",
            "zoë@xn--bcher-kva.example",
            "zoë@XN--BCHER-KVA.EXAMPLE",
            "ＺＯË@bücher.EXAMPLE",
        ];
        for spelling in spellings {
            assert_eq!(folded(spelling), "zoë@xn--bcher-kva.example", "{spelling:?}");
        }
    }

    #[test]
    fn other_mailboxes_stay_apart() {
        let others =
            ["ada@example.com", "ada+notes@example.com", "a.da@example.com", "ada@example.org", "adá@example.com"];
        for (index, one) in others.iter().enumerate() {
            assert!(others[..index].iter().all(|other| folded(one) != folded(other)), "{one}");
        }
        // Dotless i and long s: the first is not an i, the second is an s wherever mail is concerned.
        assert_ne!(folded("mıke@example.com"), folded("mike@example.com"));
        assert_eq!(Email::parse("ſam@example.com").unwrap().address(), "sam@example.com");
        assert_ne!(folded("ada@аpple.com"), folded("ada@apple.com")); // Cyrillic а
    }

    #[test]
    fn the_local_part_is_mailed_to_in_the_case_that_was_typed() {
        assert_eq!(Email::parse("Ada.Lovelace+Notes@Example.COM").unwrap().address(), "Ada.Lovelace+Notes@example.com");
    }

    #[test]
    fn addresses_have_the_bounds_and_the_characters_of_mail() {
        let (local, label) = ("x".repeat(64), "y".repeat(63));
        let longest = format!("{local}@{label}.{label}.{}.z", "y".repeat(59));
        assert_eq!(longest.len(), MAX);
        for good in
            ["a@b.c", "root@localhost", "ROOT@LOCALHOST", "o'hara!#$%&*+-/=?^_`{|}~@b.c", "山田@例え.jp", &longest]
        {
            assert!(Email::parse(good).is_ok(), "{good:?}");
        }
        let bad = [
            "",
            "@",
            "a@",
            "@b.c",
            "a",
            "a@b",
            "a@@b.c",
            "a@b@c.d",
            "a.@b.c",
            ".a@b.c",
            "a..b@c.d",
            "a@b..c",
            "a@.b.c",
            "a@b.c.",
            "a@-b.c",
            "a@b-.c",
            "a@b_c.d",
            "a@127.0.0.1",
            "a@[127.0.0.1]",
            "a@[IPv6:::1]",
            "a@b.1",
            " a@b.c",
            "a@b.c ",
            "a b@c.d",
            "\"a\"@b.c",
            "\"a b\"@c.d",
            "a(b)@c.d",
            "(b)a@c.d",
            "<a@b.c>",
            "Ada <a@b.c>",
            "a,b@c.d",
            "a;b@c.d",
            "a\\b@c.d",
            "@x.y:a@b.c",
            "@x.y,@z.y:a@b.c",
            "a@b.c,d@e.f",
            "a\n@b.c",
            "a@b.c\r\nBcc: x@y.z",
            "a\0@b.c",
            "a\t@b.c",
            "a\u{7f}@b.c",
            "a\u{85}@b.c",
            "a\u{a0}@b.c",
            "a\u{200b}@b.c",
            "a@b\u{ad}b.c",
            "a\u{202e}@b.c",
            "a@b\u{2028}.c",
            "a\u{e0041}@b.c",
            "a․.b@c.d",
            "a＠b@c.d",
            "a@b＠c.d",
            "a＂@b.c",
            "a@b。c",
            "a@xn--zz.c",
            "a@b／c.d",
            "a@b%40c.d",
            "ﷺﷺﷺﷺ@b.c",
        ];
        for bad in bad {
            assert!(Email::parse(bad).is_err(), "{bad:?}");
        }
        for long in
            [format!("{local}x@b.c"), format!("{}@b.c", "é".repeat(33)), format!("a@{label}y.c"), format!("{longest}z")]
        {
            assert!(Email::parse(&long).is_err(), "{long:?}");
        }
    }

    proptest! {
        #[test]
        fn folding_twice_is_folding_once(local in "\\PC{1,20}", domain in "[a-zA-ZäßÉа-яΑ-Ω0-9一-丏-]{1,12}\\.[a-z]{2,5}") {
            if let Ok(email) = Email::parse(&format!("{local}@{domain}")) {
                prop_assert_eq!(folded(email.folded()), email.folded());
                prop_assert_eq!(folded(email.address()), email.folded());
            }
        }
    }
}
