//! The cookies of a browser. Input: a value, and headers `Cookie`, separated by 0xff.
//!
//! What authd sets, a browser returns and authd reads; and wherever somebody tosses a second cookie of the same name, none
//! of the two is chosen.

use authd::web_login::cookies::{self, BINDING, Cookies, Found};

pub fn check(input: &[u8]) {
    let mut parts = super::parts(input);
    let value = super::text(&mut parts).unwrap_or_default();
    let headers: Vec<&[u8]> = parts.collect();
    for session in [Cookies::new(""), Cookies::new("example.com")] {
        reads_back(&headers, session.session(), &session.set_session(value), value);
        assert_eq!(session.find_session(headers.iter().copied()), find(&headers, session.session()));
        tossed(&headers, session.session());
    }
    reads_back(&headers, BINDING, &cookies::set(BINDING, value), value);
    tossed(&headers, BINDING);
}

fn find<'a>(headers: &[&'a [u8]], name: &str) -> Found<'a> {
    cookies::find(headers.iter().copied(), name)
}

/// A browser returns the pair of a header `Set-Cookie` among the cookies of others.
fn reads_back(headers: &[&[u8]], name: &str, set: &str, value: &str) {
    let is_token = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if value.is_empty() || value.len() > 4_096 || !value.chars().all(is_token) {
        return;
    }
    let (pair, _) = set.split_once("; ").expect("a pair and attributes");
    let is_other = find(headers, name) == Found::None;
    for at in 0..=headers.len() {
        let mut returned = headers.to_vec();
        returned.insert(at, pair.as_bytes());
        let expected = if is_other { Found::One(value) } else { Found::Unusable };
        assert_eq!(find(&returned, name), expected, "{set}");
    }
    if is_other {
        let line = [headers.join(&b"; "[..]), pair.into()].join(&b"; "[..]);
        assert_eq!(cookies::find([&line[..]], name), Found::One(value));
    }
}

/// One more cookie of this name, anywhere.
fn tossed(headers: &[&[u8]], name: &str) {
    let found = find(headers, name);
    if let Found::One(value) = found {
        let whole = format!("{name}={value}");
        assert!(headers.iter().any(|header| header.windows(whole.len()).any(|part| part == whole.as_bytes())));
    }
    let evil = format!("{name}=evil");
    let expected = if found == Found::None { Found::One("evil") } else { Found::Unusable };
    for (at, header) in headers.iter().enumerate() {
        for line in [[evil.as_bytes(), header].join(&b"; "[..]), [header, evil.as_bytes()].join(&b"; "[..])] {
            let mut more = headers.to_vec();
            more[at] = &line;
            assert_eq!(cookies::find(more.iter().copied(), name).one(), expected.one(), "{line:?}");
        }
    }
    let more = headers.iter().copied().chain([evil.as_bytes()]);
    assert_eq!(cookies::find(more, name).one(), expected.one());
}
