//! Rules that are probably not meant as they are written: rules that hide or widen one another.
//!
//! A policy with warnings is valid. Each warning names the rule and what to write instead.

use std::collections::BTreeSet;

use super::decision::{Decision, Denied};
use super::model::ForwardedRequest;
use super::path::{Path, PathPattern};
use super::policy::{Policy, Rule};

/// Stands for every method that no rule names.
const OTHER: &str = "OTHER";

/// What in the policies is probably not meant.
pub fn warnings(policies: &[Policy]) -> Vec<String> {
    let of = |policy: &Policy| -> Vec<String> {
        let patterns = policy
            .rules
            .iter()
            .enumerate()
            .flat_map(|(index, rule)| rule.paths.iter().map(move |pattern| Decision { index, rule, pattern }));
        let methods: BTreeSet<&str> = policy.rules.iter().flat_map(methods).collect();
        let checks = [hidden, other_methods, below, alike];
        let found = patterns.flat_map(|own| checks.map(|check| check(policy, &methods, own)));
        found.flatten().map(|warning| format!("policy {}, {warning}", policy.name)).collect()
    };
    policies.iter().flat_map(of).collect()
}

fn methods(rule: &Rule) -> impl Iterator<Item = &str> {
    rule.methods.iter().flatten().map(String::as_str).chain(rule.methods.is_none().then_some(OTHER))
}

fn decide<'a>(policy: &'a Policy, method: &str, path: &Path) -> Result<Decision<'a>, Denied<'a>> {
    policy.decide(&ForwardedRequest { method: method.to_owned(), path: path.clone() })
}

/// An earlier rule decides about everything that this one covers, or a wider one about some methods.
fn hidden(policy: &Policy, all: &BTreeSet<&str>, own: Decision<'_>) -> Option<String> {
    let path = own.pattern.example();
    let taken = all.iter().filter(|method| own.rule.takes(method));
    let (mut earlier, mut is_whole) = (None, true);
    for method in taken {
        match decide(policy, method, &path) {
            Ok(found) if found.index < own.index => {
                let is_wider = found.pattern.narrowness() < own.pattern.narrowness();
                earlier =
                    earlier.filter(|(_, was_wider, _)| *was_wider || !is_wider).or(Some((found, is_wider, *method)));
            }
            _ => is_whole = false,
        }
    }
    match earlier? {
        (found, _, _) if is_whole => {
            Some(format!("{own} never decides: {found} stands before it and covers the same; change the order"))
        }
        (found, true, method) => Some(format!(
            "{own} does not decide about {}: {found} is wider and stands before it; change the order",
            name(method)
        )),
        _ => None,
    }
}

/// A later, wider rule takes methods that this one leaves out: they are denied.
fn other_methods(policy: &Policy, all: &BTreeSet<&str>, own: Decision<'_>) -> Option<String> {
    let path = own.pattern.example();
    let is_left_out = |method: &&&str| matches!(decide(policy, method, &path), Err(Denied::OtherMethods(named)) if named.index == own.index);
    let others = || all.iter().chain([&OTHER]).filter(is_left_out);
    let wider = policy.rules.iter().enumerate().skip(own.index + 1).find_map(|(index, rule)| {
        let pattern = rule.paths.iter().find(|pattern| pattern.covers(&path))?;
        others().any(|method| rule.takes(method)).then_some(Decision { index, rule, pattern })
    })?;
    let method = name(others().find(|method| wider.rule.takes(method))?);
    Some(format!(
        "{own} does not take {method}, which is refused there: {wider} is wider and does not decide about it; add a rule \
         for {} if it shall be allowed",
        own.pattern
    ))
}

/// The rule is for one path, and a later one allows what is below it.
fn below(policy: &Policy, all: &BTreeSet<&str>, own: Decision<'_>) -> Option<String> {
    let path = own.pattern.single().filter(|_| own.pattern.depth() > 0 && !own.rule.public)?;
    let found = all.iter().chain([&OTHER]).find_map(|method| {
        let found = decide(policy, method, &path.below()).ok()?;
        (found.index != own.index && found.pattern.depth() < own.pattern.depth()).then_some(found)
    })?;
    Some(format!(
        "{own} is for that path only: {found} decides about what is below; write \"{}/*\" to include it",
        own.pattern
    ))
}

/// Another rule has a path that services which ignore case, accents and the like cannot tell from this one.
fn alike(policy: &Policy, _: &BTreeSet<&str>, own: Decision<'_>) -> Option<String> {
    let mut later = policy.rules.iter().enumerate().skip(own.index + 1);
    let other = later.find_map(|(index, rule)| {
        let is_alike = |pattern: &&PathPattern| pattern.is_like(own.pattern) && *pattern != own.pattern;
        rule.paths.iter().find(is_alike).map(|pattern| Decision { index, rule, pattern })
    })?;
    Some(format!("{own} and {other} are one path to services that do not read paths exactly"))
}

fn name(method: &str) -> &str {
    if method == OTHER { "other methods" } else { method }
}

#[cfg(test)]
mod tests;
