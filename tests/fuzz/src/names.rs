//! Names, times and labels. Input: a text.
//!
//! A name that is accepted is compared in one form, which is a name itself; a time is written as it was read.

use std::net::IpAddr;

use shared::api::cli_login::StartLogin;
use shared::names;
use shared::time::Time;

pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let folded = names::fold(text);
    assert_eq!(names::fold(&folded), folded, "folding twice is not folding once");
    if let Ok(name) = names::check(text) {
        assert!(name == folded && !name.is_empty() && name.trim() == name);
        assert!(!name.chars().any(char::is_control), "{name:?}");
        assert!(uuid::Uuid::try_parse(text).is_err() && uuid::Uuid::try_parse(&name).is_err());
    }
    if let Ok(time) = Time::try_from(text.to_owned()) {
        let written = time.to_string();
        assert_eq!(Time::try_from(written.clone()), Ok(time), "{written}");
        assert!(text.is_ascii() && text.len() >= written.len().min(20), "{text:?}");
    }
    let encoded = {
        let mut out = String::new();
        authd::names::encode(text, &mut out);
        out
    };
    assert_eq!(shared::wire::percent_decode(&encoded, false).ok().as_deref(), (!text.contains('\0')).then_some(text));
    let start = StartLogin { device_name: Some(text.to_owned()), ..StartLogin::default() };
    if let Ok(device) = authd::cli_login::model::Device::parse(&start, Some(IpAddr::from([127, 0, 0, 1]))) {
        assert!(device.name.is_none_or(|name| !name.is_empty() && text.contains(&name) && !name.contains('\n')));
    }
}
