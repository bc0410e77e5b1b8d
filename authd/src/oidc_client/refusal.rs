//! Errors of OAuth, with the provider's own words.

use std::fmt;

use serde::Deserialize;
use serde_json::Value;
use shared::names;

use super::ProviderError;
use super::http::Answer;

/// The most characters of a description that are shown.
const MAX_DESCRIPTION: usize = 300;

/// An error code of OAuth with what the provider says about it (RFC 6749 §4.1.2.1 and §5.2): readable text, which is
/// still to be escaped in a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: String,
    description: Option<String>,
}

impl Refusal {
    /// Of a code that may be shown, and a description, which is made so.
    pub fn new(code: impl Into<String>, description: Option<&str>) -> Self {
        let readable = |text: &str| {
            let hidden = |c: char| !c.is_whitespace() && (c.is_control() || names::is_invisible(c));
            let text: String = text.chars().take(4 * MAX_DESCRIPTION).filter(|c| !hidden(*c)).collect();
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            text.chars().take(MAX_DESCRIPTION).collect::<String>().trim_end_matches(['.', ' ']).to_owned()
        };
        let description = description.map(readable).filter(|text| !text.is_empty());
        Self { code: code.into(), description }
    }

    /// Why the browser came back from this provider without a code, for the person. A provider also says `access_denied`
    /// when it is not the person who declined, and then why.
    pub fn explain(&self, provider: &str) -> String {
        match (self.code.as_str(), &self.description) {
            ("access_denied", None) => "you declined at the identity provider".to_owned(),
            ("access_denied", Some(description)) => {
                format!("the identity provider {provider} denied the sign-in: {description}")
            }
            _ => format!("the identity provider {provider} could not sign you in ({self})"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.code)?;
        self.description.iter().try_for_each(|description| write!(f, ": {description}"))
    }
}

/// Only a 4xx with an OAuth error is a refusal; any other error may be temporary.
pub(super) fn of_answer(answer: &Answer) -> ProviderError {
    #[derive(Deserialize)]
    struct Body {
        error: String,
        #[serde(default)]
        error_description: Value,
    }
    let is_code = |code: &str| code.len() <= 64 && code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    match serde_json::from_slice(&answer.body) {
        Ok(Body { error: code, error_description })
            if (400..500).contains(&answer.status) && answer.status != 429 && is_code(&code) =>
        {
            let refusal = Refusal::new(code, error_description.as_str());
            match refusal.code.as_str() {
                "temporarily_unavailable" | "server_error" | "slow_down" => {
                    ProviderError::Unavailable(refusal.to_string())
                }
                _ => ProviderError::Refused(refusal),
            }
        }
        _ => ProviderError::Unavailable(format!("its endpoint answers {}", answer.status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_refusal(status: u16, body: &'static str) -> bool {
        matches!(of_answer(&Answer { status, body: body.into() }), ProviderError::Refused(_))
    }

    #[test]
    fn only_a_clear_no_is_a_refusal() {
        assert!(is_refusal(400, "{\"error\":\"invalid_grant\"}"));
        assert!(is_refusal(401, "{\"error\":\"invalid_client\"}"));
        assert!(is_refusal(400, "{\"error\":\"invalid_grant\",\"error_description\":null}"));
        assert!(is_refusal(400, "{\"error\":\"invalid_grant\",\"error_description\":{\"en\":\"no\"}}"));
        for (status, body) in [
            (500, "{\"error\":\"invalid_grant\"}"),
            (502, "<html>"),
            (429, "{\"error\":\"invalid_grant\"}"),
            (400, "{\"error\":\"temporarily_unavailable\"}"),
            (400, "{\"error\":\"<b>\"}"),
            (400, "not json"),
        ] {
            assert!(!is_refusal(status, body), "{status} {body}");
        }
    }

    #[test]
    fn what_the_provider_says_is_told_as_readable_text() {
        let body =
            r#"{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret.\r\nTrace: 1"}"#;
        let ProviderError::Refused(refusal) = of_answer(&Answer { status: 401, body: body.into() }) else {
            panic!("it is a refusal");
        };
        assert_eq!(refusal.to_string(), "invalid_client: AADSTS7000215: Invalid client secret. Trace: 1");
        for (said, shown) in
            [("a\u{1b}[31mred\u{7}", "a[31mred"), ("\u{202e}txt\u{200b}", "txt"), ("Not assigned.", "Not assigned")]
        {
            assert_eq!(Refusal::new("no", Some(said)).to_string(), format!("no: {shown}"), "{said:?}");
        }
        assert_eq!(Refusal::new("no", Some(" \t\n ")).to_string(), "no");
        let long = Refusal::new("no", Some(&"x".repeat(100_000)));
        assert_eq!(long.to_string().len(), "no: ".len() + MAX_DESCRIPTION);
    }
}
