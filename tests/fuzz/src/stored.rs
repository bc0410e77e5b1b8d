//! Stored values: what another version or a damaged page may have left in a row. Input: a text.
//!
//! A value that is read is written and reads back as the same; nothing opens what was not sealed.

use authd::cli_login::model::Login;
use authd::keys::root;
use authd::sessions::model::Attributes;
use authd::tokens::model::Scopes;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub fn check(input: &[u8]) {
    if let Ok(key) = root::parse(input, "a test") {
        let written: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(root::parse(written.as_bytes(), "a test").ok(), Some(key.clone()));
        assert!(authd::keys::seal::open(&key, b"context", input).is_err());
    }
    let Ok(text) = std::str::from_utf8(input) else { return };
    reads_back::<Attributes>(text);
    reads_back::<Login>(text);
    if let Ok(scopes) = Scopes::from_json(text) {
        let written = serde_json::to_string(&scopes.list).expect("scopes are JSON");
        let again = Scopes::from_json(&written).expect("what is written reads back");
        assert_eq!((&again.list, &again.text, again.service), (&scopes.list, &scopes.text, scopes.service));
        assert_eq!(again.permissions, scopes.permissions);
    }
}

fn reads_back<T: Serialize + DeserializeOwned>(text: &str) {
    let Ok(value) = serde_json::from_str::<T>(text) else { return };
    let written = serde_json::to_value(&value).expect("a stored value is JSON");
    let again: T = serde_json::from_value(written.clone()).unwrap_or_else(|error| panic!("{error}: {written}"));
    assert_eq!(serde_json::to_value(&again).expect("a stored value is JSON"), written);
}
