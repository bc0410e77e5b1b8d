//! Who may use which AWS role, and by which names AWS knows them.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use shared::problem::Code;

use super::local;
use crate::aws::{Role, RoleMethod};
use crate::error::{Error, Result};
use crate::oidc_client::Identity;

/// The role to use: the requested one, else the previous one, else the first that the person may use. Checked at every
/// call, since groups and configuration change.
pub fn choose_role<'a>(
    roles: &'a [Role],
    provider: &str,
    identity: &Identity,
    asked: Option<&str>,
    before: Option<&str>,
) -> Result<&'a Role> {
    let permitted = permitted_roles(roles, provider, identity);
    if let Some(asked) = asked {
        return permitted.iter().find(|role| role.name == asked).copied().ok_or_else(|| {
            let why = why(identity);
            let names: Vec<&str> = permitted.iter().map(|role| role.name.as_str()).collect();
            let others = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            Error::new(
                Code::Forbidden,
                format!("{} may not use the role {asked:?}; permitted: {others}{why}", identity.display()),
            )
        });
    }
    let before = before.and_then(|before| permitted.iter().find(|role| role.name == before));
    before.or(permitted.first()).copied().ok_or_else(|| {
        let (name, why) = (identity.display(), why(identity));
        let detail = format!("{name} may not use any AWS role here; an administrator grants them by group{why}");
        Error::new(Code::Forbidden, detail)
    })
}

/// Why the person is in no group, if the provider does not say it as it should.
fn why(identity: &Identity) -> String {
    let fault = identity.groups_fault.as_ref();
    fault.map(|fault| format!(" (the person counts as in no group: {fault})")).unwrap_or_default()
}

/// Every role that the person may use, in order of preference.
pub fn permitted_roles<'a>(roles: &'a [Role], provider: &str, identity: &Identity) -> Vec<&'a Role> {
    let permits = |role: &&Role| {
        // Without an ID token of a provider there is no web identity.
        (provider != local::NAME || role.method == RoleMethod::AssumeRole)
            && (role.providers.is_empty() || role.providers.iter().any(|name| name == provider))
            && (role.groups.is_empty() || role.groups.iter().any(|group| identity.groups.contains(group)))
    };
    roles.iter().filter(permits).collect()
}

/// STS's RoleSessionName: `cli-` and the subject, as stable and unique as the subject is. An address would read
/// better in CloudTrail but people change theirs and providers reuse them; session tags carry it. `provider` is given
/// where there are several, whose subjects may be the same: `@` and its name follow. A provider's name has no `@`.
pub fn session_name(identity: &Identity, provider: Option<&str>) -> String {
    let suffix = provider.map(|provider| format!("@{provider}")).unwrap_or_default();
    let most = 64 - suffix.len();
    let kept: String = identity.subject.chars().filter(|c| c.is_ascii_alphanumeric() || "=,.@-".contains(*c)).collect();
    let name = format!("cli-{kept}");
    if kept == identity.subject && name.len() <= most {
        return name + &suffix;
    }
    // Without the dropped characters, two people could have the same name; the hash keeps them distinct.
    let hash = Sha256::digest(format!("{} {}", identity.issuer, identity.subject));
    let hash = &BASE64_URL_SAFE_NO_PAD.encode(hash).replace(['-', '_'], "0")[..8];
    format!("{}-{hash}{suffix}", &name[..name.len().min(most - 9)])
}

/// Session tags that identify the person to AWS: only values that the provider verified, unchanged. A value with
/// characters that AWS does not accept is left out, since without them it could be another person's; the subject has a
/// stable substitute.
pub fn session_tags(identity: &Identity, provider: &str) -> Vec<(&'static str, String)> {
    let whole = |text: &str| {
        let is_allowed = |c: char| c.is_alphanumeric() || " _.:/=+-@".contains(c);
        (text.chars().count() <= 256 && text.chars().all(is_allowed)).then(|| text.to_owned())
    };
    let email = identity.email.as_deref().filter(|_| identity.email_verified);
    let mut tags = vec![("sub", whole(&identity.subject).unwrap_or_else(|| session_name(identity, None)))];
    tags.extend(whole(provider).map(|provider| ("provider", provider)));
    tags.extend(email.and_then(whole).map(|email| ("email", email)));
    tags
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(groups: &[&str]) -> Identity {
        Identity {
            issuer: "https://id.example".into(),
            subject: "11111111-aaaa-4aaa-8aaa-000000000001".into(),
            email: Some("a@example.test".into()),
            email_verified: true,
            name: None,
            username: None,
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            groups_fault: None,
            auth_time: None,
        }
    }

    fn role(name: &str, groups: &[&str], providers: &[&str]) -> Role {
        Role {
            name: name.into(),
            arn: format!("arn:aws:iam::123456789012:role/{name}"),
            method: RoleMethod::AssumeRole,
            external_id: None,
            duration_seconds: 3600,
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            providers: providers.iter().map(|provider| (*provider).to_owned()).collect(),
            session_tags: false,
        }
    }

    #[test]
    fn a_role_needs_group_and_provider() {
        let roles = [
            role("admin", &["admins"], &[]),
            role("other", &[], &["okta"]),
            role("dev", &["dev", "ops"], &["cognito"]),
        ];
        let chosen = |groups: &[&str], asked, before| {
            choose_role(&roles, "cognito", &identity(groups), asked, before)
                .map(|role| role.name.clone())
                .map_err(|e| e.detail)
        };
        assert_eq!(chosen(&["admins", "dev"], None, None).unwrap(), "admin");
        assert_eq!(chosen(&["admins", "dev"], None, Some("dev")).unwrap(), "dev");
        assert_eq!(chosen(&["dev"], None, Some("admin")).unwrap(), "dev");
        assert_eq!(chosen(&["admins", "ops"], Some("dev"), None).unwrap(), "dev");
        assert_eq!(
            chosen(&["dev"], Some("admin"), None).unwrap_err(),
            "a@example.test may not use the role \"admin\"; permitted: dev"
        );
        assert!(chosen(&["dev"], Some("other"), None).is_err());
        assert!(chosen(&[], None, None).unwrap_err().contains("may not use any AWS role"));
    }

    #[test]
    fn session_names_are_the_subject_or_stay_apart() {
        assert_eq!(session_name(&identity(&[]), None), "cli-11111111-aaaa-4aaa-8aaa-000000000001");
        let of =
            |subject: &str, provider| session_name(&Identity { subject: subject.into(), ..identity(&[]) }, provider);
        let named = |subject: &str| of(subject, None);
        assert_ne!(named("auth0|12"), named("auth01|2"));
        assert!(named("auth0|12").starts_with("cli-auth012-"));
        for subject in ["x".repeat(300), "|".repeat(3), "é".into()] {
            let name = named(&subject);
            assert!(
                (2..=64).contains(&name.len())
                    && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"=,.@-".contains(&b))
            );
        }
        assert_ne!(named(&"x".repeat(300)), named(&"x".repeat(301)));

        // Where there are two providers, the same subject of both has two names, whatever the subject is.
        assert_eq!(of("12", Some("corp")), "cli-12@corp");
        assert_ne!(of("12@partner", Some("corp")), of("12", Some("corp@partner")));
        let long = "p".repeat(32);
        for subject in ["x".repeat(20), "x".repeat(300), "a|b".into()] {
            let name = of(&subject, Some(&long));
            assert!(name.len() <= 64 && name.ends_with(&format!("@{long}")), "{name}");
            assert_ne!(name, of(&format!("{subject}x"), Some(&long)));
        }
    }

    #[test]
    fn tags_hold_only_what_the_provider_vouches_for() {
        let tags = session_tags(&identity(&[]), "cognito");
        assert!(tags.contains(&("email", "a@example.test".to_owned())));
        let unverified = Identity { email_verified: false, subject: "a|b<c>".into(), ..identity(&[]) };
        let sub = session_name(&unverified, None);
        assert_eq!(session_tags(&unverified, "p"), [("sub", sub), ("provider", "p".to_owned())]);
        // Without its sign this would be the address of somebody else.
        let odd = Identity { email: Some("a'@example.test".into()), ..identity(&[]) };
        assert!(session_tags(&odd, "p").iter().all(|(name, _)| *name != "email"));
    }
}
