//! Forms of pages. Input: a form.
//!
//! What is read has each name once and is what the reader of OAuth forms reads; what is written reads back.

use std::collections::HashSet;

use authd::transport::browser::form::Form;
use shared::wire::{decode_pairs, encode_pairs};

pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Some(form) = Form::parse(text) else { return };
    let pairs: Vec<_> = decode_pairs(text).collect::<Result<_, _>>().expect("another reader takes it for a form");
    let mut names = HashSet::new();
    for (name, value) in &pairs {
        assert!(names.insert(name), "{name} is given twice");
        assert_eq!(form.field(name), Some(&**value));
    }
    let written = encode_pairs(pairs.iter().map(|(name, value)| (&**name, value)));
    let again: Vec<_> = decode_pairs(&written).collect::<Result<_, _>>().expect("what is written is a form");
    // A pair without name and value is written as an equals sign, and read as such.
    assert_eq!(again, pairs);
    assert!(!text.contains('\0') && pairs.iter().all(|(name, value)| !name.contains('\0') && !value.contains('\0')));
}
