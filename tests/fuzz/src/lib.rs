//! A property for each parser. A target of `fuzz_targets/` gives its property inputs that libFuzzer makes; the test
//! `corpus` gives it the inputs in `corpus/`.
//!
//! An input is text or bytes; where it has several parts, they are separated by a byte that UTF-8 never uses.

pub mod aws_files;
pub mod config;
pub mod cookies;
pub mod credentials;
pub mod cursor;
pub mod email;
pub mod form;
pub mod forward_auth;
pub mod forwarded;
pub mod grpc;
pub mod id_token;
pub mod multipart;
pub mod names;
pub mod passkey;
pub mod policy;
pub mod request;
pub mod return_to;
pub mod stored;

/// The property of a target; it panics if the input breaks it.
pub type Property = fn(&[u8]);

/// Every target.
pub const TARGETS: [(&str, Property); 18] = [
    ("aws_files", aws_files::check),
    ("config", config::check),
    ("cookies", cookies::check),
    ("credentials", credentials::check),
    ("cursor", cursor::check),
    ("email", email::check),
    ("form", form::check),
    ("forward_auth", forward_auth::check),
    ("forwarded", forwarded::check),
    ("grpc", grpc::check),
    ("id_token", id_token::check),
    ("multipart", multipart::check),
    ("names", names::check),
    ("passkey", passkey::check),
    ("policy", policy::check),
    ("request", request::check),
    ("return_to", return_to::check),
    ("stored", stored::check),
];

/// The parts of an input.
fn parts(input: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    input.split(|byte| *byte == 0xff)
}

/// The next part of an input, if it is text; nothing if there is none.
fn text<'a>(parts: &mut impl Iterator<Item = &'a [u8]>) -> Option<&'a str> {
    std::str::from_utf8(parts.next().unwrap_or_default()).ok()
}
