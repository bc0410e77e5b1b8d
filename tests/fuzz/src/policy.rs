//! Policies of forward authentication. Input: a policy in TOML.
//!
//! A policy that is accepted reads back as the same, and each of its rules names somebody whom it allows.

use authd::forward_auth::{self, Policy};

pub fn check(input: &[u8]) {
    let Some(policy) = std::str::from_utf8(input).ok().and_then(|text| toml::from_str::<Policy>(text).ok()) else {
        return;
    };
    let mut faults = authd::setting::Faults::default();
    forward_auth::check(std::slice::from_ref(&policy), &mut faults);
    if !faults.refused.is_empty() {
        return;
    }
    let written = toml::to_string(&policy).expect("a policy can be shown");
    let again: Policy = toml::from_str(&written).unwrap_or_else(|error| panic!("{error}:\n{written}"));
    assert_eq!(again, policy, "{written}");
    for rule in &policy.rules {
        let is_list = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|names| !names.is_empty());
        assert!(rule.public != (is_list(&rule.scopes) || is_list(&rule.permissions)), "{rule:?}");
        assert!(!rule.paths.is_empty() && rule.methods.as_ref().is_none_or(|methods| !methods.is_empty()), "{rule:?}");
    }
}
