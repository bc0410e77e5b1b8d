//! `[[policy]]`: the requirements of `/auth/forward/{policy}` on a proxied request.

use serde::{Deserialize, Serialize};

use super::model;
use super::path::PathPattern;
use super::warnings::warnings;
use crate::setting::Faults;
use crate::tokens::model::check_scopes;

/// Maximum number of rules in a policy, and of entries in each list of a rule.
const MAX_RULES: usize = 256;
const MAX_NAME: usize = 64;

/// The rules for a proxy's requests. The first rule that matches decides; without one the request is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// The name in `/auth/forward/{name}`.
    pub name: String,
    /// The service, by id or name, whose roles and permissions count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    pub source: Source,
    /// Whether a browser that is not signed in is sent to authd's sign-in, and back.
    #[serde(default)]
    pub redirect_to_login: bool,
    #[serde(rename = "rule", default)]
    pub rules: Vec<Rule>,
}

/// The source of a request's method and URI, one for each policy. All other sources could be set by the
/// client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// `X-Forwarded-Method` and `X-Forwarded-Uri`, as sent by Caddy and Traefik.
    Forwarded,
    /// `X-Original-Method` and `X-Original-URI`, as usual in configurations of nginx.
    Original,
    /// The request's own method, and its path below the policy, as sent by Envoy.
    Path,
}

/// The requests that a rule matches, and who may make them: API tokens with all scopes, people with all permissions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// If absent, any method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub methods: Option<Vec<String>>,
    pub paths: Vec<PathPattern>,
    /// If absent, no API token is allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// If absent, no person is allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permissions: Option<Vec<String>>,
    /// Allows everybody without credentials.
    #[serde(default)]
    pub public: bool,
}

/// Refuses policies with invalid names or ambiguous rules, and warns of rules that are probably not meant.
pub fn check(policies: &[Policy], faults: &mut Faults) {
    let before = faults.refused.len();
    for (index, policy) in policies.iter().enumerate() {
        let name = &policy.name;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(is_plain) {
            faults.refuse(format!(
                "[[policy]]: the name {name:?} is part of a URL: 1 to {MAX_NAME} letters, digits, hyphens or underscores"
            ));
        }
        if policies[..index].iter().any(|other| other.name == *name) {
            faults.refuse(format!("[[policy]]: two policies are named {name:?}"));
        }
        if policy.rules.is_empty() || policy.rules.len() > MAX_RULES {
            faults.refuse(format!("policy {name}: it needs 1 to {MAX_RULES} rules; add a [[policy.rule]]"));
        }
        if policy.redirect_to_login && policy.source == Source::Original {
            faults.refuse(format!(
                "policy {name}: redirect_to_login has no effect with nginx, which shows the browser only the status: remove \
                 it, and let its error_page for 401 redirect to the sign-in"
            ));
        }
        for (number, rule) in policy.rules.iter().enumerate() {
            if let Err(fault) = check_rule(policy, rule) {
                faults.refuse(format!("policy {name}, rule {}: {fault}", number + 1));
            }
        }
    }
    if faults.refused.len() == before {
        warnings(policies).into_iter().for_each(|warning| faults.warn(warning));
    }
}

fn check_rule(policy: &Policy, rule: &Rule) -> Result<(), String> {
    let lists = [("methods", &rule.methods), ("scopes", &rule.scopes), ("permissions", &rule.permissions)];
    for (what, list) in lists {
        match list.as_ref().map(Vec::len) {
            // An empty list looks like "nobody", but would allow everybody.
            Some(0) => return Err(format!("{what} is empty; name some, or leave it out")),
            Some(length) if length > MAX_RULES => return Err(format!("more than {MAX_RULES} {what}")),
            _ => {}
        }
    }
    if rule.paths.is_empty() || rule.paths.len() > MAX_RULES {
        return Err(format!("paths: expected 1 to {MAX_RULES}, such as \"/api/*\""));
    }
    if let Some(odd) = rule.methods.iter().flatten().find(|text| model::method(text.as_bytes()).is_err()) {
        return Err(format!("{odd:?} is not a method; write it in capital letters, such as \"GET\""));
    }
    match (rule.public, &rule.scopes, &rule.permissions) {
        (true, None, None) => return Ok(()),
        (true, ..) => return Err("public allows everybody: remove scopes and permissions, or public".into()),
        (false, None, None) => {
            return Err("it allows nobody: add scopes (of API tokens) or permissions (of people)".into());
        }
        _ => {}
    }
    if let Some(scopes) = &rule.scopes {
        check_scopes(scopes).map_err(|error| error.detail)?;
    }
    if rule.permissions.iter().flatten().any(|name| crate::names::check("permissions", name).is_err()) {
        return Err("permissions: a name is empty, too long, or not visible".into());
    }
    if rule.permissions.is_some() && policy.service.as_ref().is_none_or(|service| service.trim().is_empty()) {
        return Err("permissions need a service; add `service = …` to the policy".into());
    }
    Ok(())
}
