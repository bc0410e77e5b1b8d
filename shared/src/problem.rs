//! The format of all errors: `application/problem+json` (RFC 9457) with a stable code.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

/// Declares the codes with their HTTP status, gRPC status and title, in one exhaustive table.
macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal, $http:literal, $grpc:literal, $title:literal;)*) => {
        /// What went wrong, for machines. Stable: clients match on it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum Code {
            $($(#[$doc])* #[serde(rename = $text)] $variant,)*
            /// A code that only a newer daemon knows.
            #[serde(other, rename = "unknown")]
            Unknown,
        }

        impl Code {
            /// Every code that this version knows.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The text of the member `error` of a problem.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* Self::Unknown => "unknown" }
            }

            /// The HTTP status of the code.
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $http,)* Self::Unknown => 500 }
            }

            /// The gRPC status of the code (the number of `google.rpc.Code`).
            pub const fn grpc(self) -> i32 {
                match self { $(Self::$variant => $grpc,)* Self::Unknown => 2 }
            }

            /// A short text that is the same for every problem of this code.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* Self::Unknown => "Unknown problem" }
            }
        }
    };
}

codes! {
    /// The request cannot be read: broken JSON, a repeated parameter, a bad escape.
    MalformedRequest = "malformed_request", 400, 3, "Malformed request";
    /// No credentials.
    Unauthenticated = "unauthenticated", 401, 16, "Not authenticated";
    /// Invalid credentials: unknown, revoked, expired, or used from another address.
    InvalidToken = "invalid_token", 401, 16, "Credentials not accepted";
    /// The login is not accepted; the reason is not disclosed.
    InvalidCredentials = "invalid_credentials", 401, 16, "Login not accepted";
    /// The password is right, and TOTP is on: a code is required too.
    TotpRequired = "totp_required", 401, 16, "TOTP code required";
    /// The password is right, and this person signs in by a passkey only.
    PasskeyRequired = "passkey_required", 401, 16, "Passkey required";
    /// The session is valid, but the last proof in it is too old: prove yourself again.
    StepUpRequired = "step_up_required", 401, 16, "Fresh proof required";
    /// The session has ended.
    SessionEnded = "session_ended", 401, 16, "Session ended";
    /// The caller is known, but not allowed.
    Forbidden = "forbidden", 403, 7, "Not allowed";
    /// The object does not exist.
    NotFound = "not_found", 404, 5, "Not found";
    /// The path exists, but not with this method.
    MethodNotAllowed = "method_not_allowed", 405, 12, "Method not allowed";
    /// The request did not arrive in time.
    RequestTimeout = "request_timeout", 408, 4, "Request took too long";
    /// The request conflicts with the current state.
    Conflict = "conflict", 409, 9, "Conflict";
    /// A mail with a one-time token was sent; the call is to be repeated with it (gRPC only: HTTP answers 202).
    VerificationRequired = "verification_required", 409, 9, "Verification required";
    /// The name belongs to another live object.
    NameTaken = "name_taken", 409, 6, "Name taken";
    /// The object is not the one that the request names in `If-Match`.
    PreconditionFailed = "precondition_failed", 412, 9, "Precondition failed";
    /// The body is larger than this path accepts.
    PayloadTooLarge = "payload_too_large", 413, 8, "Payload too large";
    /// The user's files would take more room than a user may have.
    QuotaExceeded = "quota_exceeded", 413, 8, "Quota exceeded";
    /// The body is not of a type that this path accepts.
    UnsupportedMediaType = "unsupported_media_type", 415, 3, "Unsupported media type";
    /// The requested range begins after the end.
    RangeNotSatisfiable = "range_not_satisfiable", 416, 11, "Range not satisfiable";
    /// A field is missing, unknown, or outside what is allowed; `fields` names it.
    ValidationFailed = "validation_failed", 422, 3, "Validation failed";
    /// The `Idempotency-Key` was used for another request.
    IdempotencyKeyReused = "idempotency_key_reused", 422, 3, "Idempotency key reused";
    /// Too many requests; `retry_after` says when to come back.
    RateLimited = "rate_limited", 429, 8, "Too many requests";
    /// A defect of the daemon. The log has the details, under the request id.
    Internal = "internal", 500, 13, "Internal error";
    /// The daemon does not serve this: a gRPC method that it does not have, a stream, a compressed message.
    NotImplemented = "not_implemented", 501, 12, "Not implemented";
    /// An identity provider or AWS refused, or sent an unusable answer.
    UpstreamFailed = "upstream_failed", 502, 9, "Upstream refused";
    /// A dependency is busy or down.
    Unavailable = "unavailable", 503, 14, "Temporarily unavailable";
    /// A dependency did not answer in time.
    UpstreamTimeout = "upstream_timeout", 504, 4, "Upstream took too long";
}

/// An error as it is sent (RFC 9457).
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// A URI that names the kind of problem: `urn:authd:problem:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// A short text, the same for every problem of this kind.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened this time, and what to do. Safe to show.
    pub detail: String,
    /// The stable code.
    pub error: Code,
    /// Finds this request in the daemon's log.
    pub request_id: Option<String>,
    /// The faulty fields.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<FieldProblem>,
    /// Seconds after which a retry may succeed.
    pub retry_after: Option<u64>,
}

/// What is wrong with one field of a request.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FieldProblem {
    pub field: String,
    pub detail: String,
    /// For machines, where a program may act on it; most problems are of the field's form.
    pub reason: Option<Reason>,
}

/// What is wrong with a field whose form is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// A password or a code that is not the right one, or a code that was used before.
    Wrong,
    /// A new value that is the current one.
    Unchanged,
    /// A reason that only a newer daemon knows.
    #[serde(other)]
    Unknown,
}

impl Problem {
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:authd:problem:{}", code.as_str()),
            title: code.title().to_owned(),
            status: code.status(),
            detail: detail.into(),
            error: code,
            request_id: None,
            fields: Vec::new(),
            retry_after: None,
        }
    }
}

/// An error of an OAuth endpoint (RFC 6749 §5.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OAuthError {
    /// `invalid_request`, `invalid_client`, `access_denied`, `temporarily_unavailable`, `server_error`, ….
    pub error: String,
    /// What happened this time, and what to do. Safe to show.
    pub error_description: String,
}

impl From<&Problem> for OAuthError {
    fn from(problem: &Problem) -> Self {
        let error = match problem.status {
            401 => "invalid_client",
            403 => "access_denied",
            400 | 405 | 408 | 409 | 413 | 415 | 422 => "invalid_request",
            429 | 502 | 503 => "temporarily_unavailable",
            _ => "server_error",
        };
        // RFC 6749 allows only these characters in the description.
        let is_plain = |c: &char| matches!(c, ' '..='!' | '#'..='[' | ']'..='~');
        Self { error: error.to_owned(), error_description: problem.detail.chars().filter(is_plain).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_one_word_everywhere() {
        for code in Code::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
            assert!((400..600).contains(&code.status()), "{code:?}");
        }
    }

    #[test]
    fn a_code_of_a_newer_daemon_is_read_as_unknown() {
        assert_eq!(serde_json::from_str::<Code>("\"made_up_later\"").unwrap(), Code::Unknown);
    }
}
