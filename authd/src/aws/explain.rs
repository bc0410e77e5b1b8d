//! Explains AWS's refusals and what to do about them. Pure functions.

use shared::problem::Code;

use super::{Role, RoleMethod};
use crate::error::Error;

/// Maximum number of characters of AWS's message that are shown.
const MAX_QUOTE: usize = 400;

/// Explains an error of STS (its code and message) to the person who requested the role.
pub fn explain(role: &Role, duration_seconds: u32, code: &str, message: &str) -> Error {
    let name = &role.name;
    let says = |words: &str| message.contains(words);
    let advice = match code {
        "AccessDenied" | "AccessDeniedException" if says("sts:TagSession") => {
            "the role's trust policy must also allow sts:TagSession to authd (or set session_tags = false for this role)".to_owned()
        }
        "AccessDenied" | "AccessDeniedException" => {
            let mut advice = "the role's trust policy must name authd's identity".to_owned();
            advice.push_str(match (&role.external_id, role.session_tags) {
                (Some(_), _) => ", with the configured external id in its condition sts:ExternalId",
                (None, _) => " (and if it has a condition sts:ExternalId, authd needs the same as external_id)",
            });
            if role.session_tags {
                advice.push_str(", and allow sts:TagSession beside sts:AssumeRole");
            }
            advice.push_str("; authd's own policy must allow the same for the role's ARN");
            advice
        }
        "ValidationError" if says("MaxSessionDuration") || says("DurationSeconds exceeds the") && !says("1 hour") && !says("chaining") => {
            format!("{duration_seconds} s is more than the role's maximum session duration: raise that, or lower duration_seconds")
        }
        "ValidationError" if says("chaining") || says("1 hour") => {
            "authd itself runs as a role, and AWS limits a role assumed from a role to 3600 s: set duration_seconds = 3600, or give authd a user's keys".to_owned()
        }
        "ExpiredToken" | "ExpiredTokenException" if says("Token expired") || role.method == RoleMethod::WebIdentity => {
            "the sign-in is too old for AWS; sign in again, and check the clock of this machine".to_owned()
        }
        "ExpiredToken" | "ExpiredTokenException" => "authd's own AWS credentials have expired; renew them".to_owned(),
        "InvalidClientTokenId" | "UnrecognizedClientException" | "SignatureDoesNotMatch" => {
            "authd's own AWS credentials are not valid (or the clock of this machine is wrong)".to_owned()
        }
        "InvalidIdentityToken" | "InvalidIdentityTokenException" => {
            "the provider must be an identity provider of the AWS account, with authd's client id as its audience".to_owned()
        }
        "IDPRejectedClaim" | "IDPRejectedClaimException" => {
            "the identity provider rejected the sign-in, or the role's trust policy does not match its claims; sign in again".to_owned()
        }
        "IDPCommunicationError" | "IDPCommunicationErrorException" => {
            return unavailable(format!("AWS cannot reach the identity provider's keys for the role {name}; try again{}", quote(message)));
        }
        "RegionDisabledException" => {
            "STS is disabled in this region for the account: enable it, or set aws.region to another one".to_owned()
        }
        "PackedPolicyTooLarge" | "PackedPolicyTooLargeException" => "the session tags are too large in total".to_owned(),
        "Throttling" | "ThrottlingException" | "ServiceUnavailable" | "InternalFailure" | "InternalError" | "RequestTimeout" => {
            return unavailable(format!("AWS STS is busy or has failed ({code}); try again"));
        }
        // An error without a code did not come from STS.
        "" => return unavailable("AWS STS, or a proxy in front of it, sent an unreadable answer; try again".to_owned()),
        _ => "see the AWS documentation of AssumeRole".to_owned(),
    };
    Error::new(Code::UpstreamFailed, format!("AWS refused the role {name} ({code}): {advice}{}", quote(message)))
}

fn unavailable(detail: String) -> Error {
    Error::new(Code::Unavailable, detail).retry_after(5)
}

/// AWS's own message, if any: it names identities and ARNs, never secrets.
fn quote(message: &str) -> String {
    let words: String = message.chars().filter(|c| !c.is_control()).take(MAX_QUOTE).collect();
    if words.is_empty() { words } else { format!(". AWS says: {words}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(session_tags: bool) -> Role {
        Role {
            name: "dev".into(),
            arn: "arn:aws:iam::123456789012:role/dev".into(),
            method: RoleMethod::AssumeRole,
            external_id: Some("sesame".into()),
            duration_seconds: 3600,
            groups: Vec::new(),
            providers: Vec::new(),
            session_tags,
        }
    }

    #[test]
    fn each_refusal_says_what_to_do() {
        for (code, message, expected) in [
            (
                "AccessDenied",
                "User: u is not authorized to perform: sts:TagSession on resource: r",
                "must also allow sts:TagSession",
            ),
            ("AccessDenied", "User: u is not authorized to perform: sts:AssumeRole", "allow sts:TagSession beside"),
            ("AccessDenied", "", "sts:ExternalId"),
            (
                "ValidationError",
                "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
                "maximum session duration",
            ),
            (
                "ValidationError",
                "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.",
                "3600",
            ),
            ("RegionDisabledException", "STS is not activated in this region", "aws.region"),
            ("InvalidClientTokenId", "The security token included in the request is invalid.", "own AWS credentials"),
            ("ExpiredToken", "The security token included in the request is expired", "have expired"),
            ("SomethingNew", "words", "AWS says: words"),
        ] {
            let error = explain(&role(true), 43_200, code, message);
            assert_eq!(error.code, Code::UpstreamFailed, "{code}");
            assert!(error.detail.contains(expected), "{code}: {}", error.detail);
            assert!(!error.detail.contains("sesame"));
        }
    }

    #[test]
    fn what_may_pass_is_not_a_refusal() {
        for code in ["Throttling", "InternalFailure", "IDPCommunicationError", ""] {
            assert_eq!(explain(&role(false), 900, code, "").code, Code::Unavailable, "{code}");
        }
    }
}
