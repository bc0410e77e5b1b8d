//! E-mail addresses. Input: a text.
//!
//! An address that is accepted can be mailed to and printed, and its folded form is an address that folds to itself.

use shared::email::Email;

pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(email) = Email::parse(text) else { return };
    for form in [email.address(), email.folded()] {
        assert!(!form.contains(|c: char| c.is_control() || c.is_whitespace()), "{form:?}");
        assert!(form.matches('@').count() == 1 && form.len() <= 254, "{form:?}");
        let parsed: lettre::Address = form.parse().unwrap_or_else(|error| panic!("{form:?}: {error}"));
        assert_eq!(AsRef::<str>::as_ref(&parsed), form);
        let again = Email::parse(form).unwrap_or_else(|error| panic!("{form:?}: {error}"));
        assert_eq!(again.folded(), email.folded(), "folding twice is not folding once");
        assert_eq!(again.address(), form);
    }
    let (_, domain) = email.folded().rsplit_once('@').expect("it has an @");
    assert!(domain.is_ascii() && domain == domain.to_ascii_lowercase(), "{domain:?}");
}
