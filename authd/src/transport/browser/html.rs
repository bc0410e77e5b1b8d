//! The layout of pages: every value is escaped, and one inline style sheet is allowed by its hash in the policy.

use std::fmt::{self, Write};
use std::sync::LazyLock;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};

use super::Page;

/// Light or dark by the reader's setting, one column, readable on a phone.
const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1c2330;--dim:#5b6472;--paper:#fff;--back:#f3f4f7;--line:#d9dde4;--good:#17733b;--bad:#a3232c}\
@media(prefers-color-scheme:dark){:root{--ink:#e8eaf0;--dim:#a2abba;--paper:#1b2029;--back:#12151b;--line:#343b48;--good:#63c98c;--bad:#ff8a8f}}\
*{box-sizing:border-box}body{margin:0;background:var(--back);color:var(--ink);font:17px/1.5 system-ui,sans-serif}\
main{max-width:34rem;margin:8vh auto;padding:1.75rem;background:var(--paper);border:1px solid var(--line);border-radius:12px}\
@media(max-width:36rem){main{margin:0;min-height:100vh;border:0;border-radius:0}}\
h1{margin:0 0 .75rem;font-size:1.4rem;line-height:1.25}.good{color:var(--good)}.bad{color:var(--bad)}p{margin:.75rem 0}\
dl{display:grid;grid-template-columns:max-content 1fr;gap:.25rem 1rem;margin:1rem 0}dt{color:var(--dim)}dd{margin:0;overflow-wrap:anywhere}\
code{display:block;margin:1rem 0;padding:.9rem;border:1px solid var(--line);border-radius:8px;background:var(--back);\
font:600 1.05rem/1.4 ui-monospace,monospace;text-align:center;overflow-wrap:anywhere;user-select:all}\
button{font:inherit;padding:.6rem 1.2rem;border:1px solid var(--bad);border-radius:8px;background:transparent;color:var(--bad);cursor:pointer}\
button.main{border-color:var(--ink);background:var(--ink);color:var(--paper)}label{display:block;margin:.75rem 0}[hidden]{display:none}\
input{display:block;width:100%;margin-top:.25rem;padding:.6rem;font:inherit;color:inherit;background:var(--back);\
border:1px solid var(--line);border-radius:8px}\
small{color:var(--dim)}";

/// The policy forbids everything except this style sheet and forms to the same origin.
static POLICY: LazyLock<String> = LazyLock::new(|| policy(STYLE));

/// The policy of a page with this one style sheet.
pub fn policy(style: &str) -> String {
    let hash = hash(style);
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
}

fn hash(text: &str) -> String {
    BASE64_STANDARD.encode(Sha256::digest(text))
}

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

/// A page. `body` is HTML, in which every value is escaped with [`Escaped`].
pub fn page(status: u16, title: &str, tone: Tone, body: &str) -> Page {
    Page { status, headers: headers(&POLICY, "no-store"), html: document(title, tone, body) }
}

/// A page with one script at its end, which its policy allows by its hash.
pub fn page_with_script(status: u16, title: &str, tone: Tone, body: &str, script: &str) -> Page {
    let policy = format!("{}; script-src 'sha256-{}'", *POLICY, hash(script));
    let html = document(title, tone, &format!("{body}<script>{script}</script>"));
    Page { status, headers: headers(&policy, "no-store"), html }
}

fn document(title: &str, tone: Tone, body: &str) -> String {
    let class = match tone {
        Tone::Good => " class=\"good\"",
        Tone::Bad => " class=\"bad\"",
        Tone::Plain => "",
    };
    let title = Escaped(title);
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width,initial-scale=1\"><meta name=\"robots\" content=\"noindex\">\
         <title>{title}</title><style>{STYLE}</style></head><body><main><h1{class}>{title}</h1>{body}</main></body></html>"
    )
}

/// The colour of a page's heading.
#[derive(Clone, Copy, Debug)]
pub enum Tone {
    Good,
    Bad,
    Plain,
}

/// Redirects the browser by `GET`.
pub fn redirect(location: String) -> Page {
    let mut headers = headers(&POLICY, "no-store");
    headers.push(("location", location));
    Page { status: 303, headers, html: String::new() }
}
