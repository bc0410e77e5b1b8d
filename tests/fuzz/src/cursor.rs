//! Cursors of lists, ids, and the tokens of API and devices. Input: a text.
//!
//! What is accepted has one spelling: it is written as it was read.

use std::fmt::Debug;
use std::str::FromStr;

use authd::page::Page;
use authd::rbac::store::grants::GrantKey;
use authd::tokens::model::is_well_formed;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use shared::id::{ServiceId, SessionId, TokenId, UserId};

pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    reads_back::<TokenId>(text);
    reads_back::<SessionId>(text);
    reads_back::<UserId>(text);
    reads_back::<ServiceId>(text);
    reads_back::<GrantKey>(text);
    reads_back::<authd::audit::Sequence>(text);
    if let Ok(id) = serde_json::from_value::<TokenId>(text.into()) {
        assert!(id.to_string().eq_ignore_ascii_case(text));
    }
    for prefix in ["", "amp_live_"] {
        if is_well_formed(prefix, text) {
            let bytes = URL_SAFE_NO_PAD.decode(&text[prefix.len()..]).expect("a token is base64url");
            assert_eq!([prefix, &URL_SAFE_NO_PAD.encode(&bytes)].concat(), text);
            let (random, sum) = bytes.split_at(28);
            let again = authd::tokens::model::mint(prefix, random.try_into().expect("28 bytes"));
            assert!(sum.len() == 4 && again.expose() == text);
        }
    }
}

fn reads_back<Cursor: FromStr + ToString + Debug>(text: &str) {
    if let Ok(Page { after: Some(cursor), .. }) = Page::<Cursor>::new(Some(text), None) {
        assert!(cursor.to_string().eq_ignore_ascii_case(text), "{cursor:?}");
    }
}
