//! What pages have in common: every value is escaped, and the policy allows one style sheet of authd's own, and nothing in a
//! page.

use std::fmt::{self, Write};
use std::sync::LazyLock;

use sha2::{Digest, Sha256};

use super::Page;

/// The style sheet of every page, and the scripts of mailed links, of passkeys and of uploads. They are served as files of
/// their own, so that the policy allows none in a page.
pub const STYLE: &str = include_str!("style.css");
pub const LINK_SCRIPT: &str = include_str!("link.js");
pub const PASSKEY_SCRIPT: &str = include_str!("passkey.js");
pub const UPLOAD_SCRIPT: &str = include_str!("upload.js");

/// The URL of the style sheet. It changes with the contents, so that browsers may keep it.
pub static STYLE_URL: LazyLock<String> = LazyLock::new(|| versioned("/style.css", STYLE));
pub static PASSKEY_SCRIPT_URL: LazyLock<String> = LazyLock::new(|| versioned("/passkey.js", PASSKEY_SCRIPT));
pub static UPLOAD_SCRIPT_URL: LazyLock<String> = LazyLock::new(|| versioned("/upload.js", UPLOAD_SCRIPT));
pub static LINK_SCRIPT_URL: LazyLock<String> = LazyLock::new(|| versioned("/link.js", LINK_SCRIPT));

fn versioned(path: &str, contents: &str) -> String {
    let hash: [u8; 32] = Sha256::digest(contents).into();
    format!("{path}?v={}", hex::encode(&hash[..6]))
}

/// The policy forbids everything except the style sheet and forms to these places.
pub fn policy(forms: &str) -> String {
    format!("default-src 'none'; style-src 'self'; form-action {forms}; base-uri 'none'; frame-ancestors 'none'")
}

/// The policy of a page whose forms go to authd itself.
static POLICY: LazyLock<String> = LazyLock::new(|| policy("'self'"));

/// Text escaped for HTML, in content and in quoted attributes.
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

/// The headers of every page.
pub fn headers(policy: &str, cache: &str) -> Vec<(&'static str, String)> {
    vec![
        ("content-type", "text/html; charset=utf-8".into()),
        ("content-security-policy", policy.into()),
        ("referrer-policy", "no-referrer".into()),
        ("cache-control", cache.into()),
        ("x-frame-options", "DENY".into()),
        ("x-content-type-options", "nosniff".into()),
    ]
}

/// A page with a wide column, which says the same to everybody. `body` is HTML.
pub fn wide(title: &str, body: &str) -> String {
    let title = Escaped(title);
    format!("{}<title>{title}</title></head><body><main class=\"wide\">{body}</main></body></html>", *HEAD)
}

/// The headers of a page that says the same to everybody.
pub fn public_headers() -> Vec<(&'static str, String)> {
    headers(&POLICY, "no-cache")
}

static HEAD: LazyLock<String> = LazyLock::new(|| {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width,initial-scale=1\"><meta name=\"robots\" content=\"noindex\">\
         <link rel=\"stylesheet\" href=\"{}\">",
        *STYLE_URL
    )
});

/// Redirects the browser by `GET`.
pub fn redirect(location: String) -> Page {
    let mut headers = headers(&POLICY, "no-store");
    headers.push(("location", location));
    Page { status: 303, headers, html: String::new() }
}
