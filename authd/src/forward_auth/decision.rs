//! Which rule decides about a request.
//!
//! The first rule that matches, with two exceptions that deny. A path that a rule names is never judged by a later,
//! wider rule because of its method. And a path that some service takes for one that a narrower rule names is not
//! judged by a wider one.

use std::fmt;

use super::model::ForwardedRequest;
use super::path::PathPattern;
use super::policy::{Policy, Rule};
use crate::rbac::Access;

/// A rule and the pattern of it that covers the path, the narrowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision<'a> {
    /// The position of the rule in its policy.
    pub index: usize,
    pub rule: &'a Rule,
    pub pattern: &'a PathPattern,
}

/// Why no rule decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied<'a> {
    /// No rule covers the path.
    Unnamed,
    /// A rule covers the path, for other methods.
    OtherMethods(Decision<'a>),
    /// Some service may take the path for one of this rule.
    Resembles(Decision<'a>),
    /// What a service makes of the overriding headers is decided by another rule, or by none.
    OtherReading(Decision<'a>),
}

impl Denied<'_> {
    /// For the client.
    pub fn detail(&self) -> &'static str {
        match self {
            Self::Unnamed => "no rule allows this request",
            Self::OtherMethods(_) => "no rule allows this method here",
            Self::Resembles(_) => "the path can be read as another one",
            Self::OtherReading(_) => "a header or the query names another method or path",
        }
    }
}

/// For the operator: the rule is named.
impl fmt::Display for Denied<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unnamed => f.write_str("no rule covers the path"),
            Self::OtherMethods(named) => {
                write!(f, "{named} is for other methods; later rules that are wider do not decide about its paths")
            }
            Self::Resembles(named) => write!(
                f,
                "some services take this path for one of {named}; if it is another, name it in the rule that shall decide"
            ),
            Self::OtherReading(named) => write!(
                f,
                "a header (X-HTTP-Method-Override, X-Original-URL, …) or the query (_method) names another method or \
                 path, about which {named} does not decide"
            ),
        }
    }
}

impl fmt::Display for Decision<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule {} ({})", self.index + 1, self.pattern)
    }
}

impl Policy {
    /// The rule that decides about a request, in each way in which services may read it.
    pub fn decide_all(&self, readings: &[ForwardedRequest]) -> Result<Decision<'_>, Denied<'_>> {
        let (first, others) = readings.split_first().ok_or(Denied::Unnamed)?;
        let decision = self.decide(first)?;
        let is_same = |other: &ForwardedRequest| self.decide(other).is_ok_and(|found| found.index == decision.index);
        if others.iter().all(is_same) { Ok(decision) } else { Err(Denied::OtherReading(decision)) }
    }

    /// The rule that decides about a request.
    pub fn decide(&self, request: &ForwardedRequest) -> Result<Decision<'_>, Denied<'_>> {
        let mut named: Option<Decision<'_>> = None;
        for (index, rule) in self.rules.iter().enumerate() {
            let covering = rule.paths.iter().filter(|pattern| pattern.covers(&request.path));
            let Some(pattern) = covering.max_by_key(|pattern| pattern.narrowness()) else { continue };
            if named.is_some_and(|named| pattern.narrowness() < named.pattern.narrowness()) {
                continue;
            }
            let decision = Decision { index, rule, pattern };
            if rule.takes(&request.method) {
                return match self.resembled(request, &decision) {
                    Some(other) => Err(Denied::Resembles(other)),
                    None => Ok(decision),
                };
            }
            named = Some(decision);
        }
        Err(named.map_or(Denied::Unnamed, Denied::OtherMethods))
    }

    /// Another rule with a narrower path that some service may take the request's for. Rules that allow everybody are
    /// not meant, since no other allows more.
    fn resembled(&self, request: &ForwardedRequest, decision: &Decision<'_>) -> Option<Decision<'_>> {
        let others = self.rules.iter().enumerate();
        let allows_all = |rule: &Rule| rule.public && rule.takes(&request.method);
        let others = others.filter(|(index, rule)| *index != decision.index && !allows_all(rule));
        others.flat_map(|(index, rule)| rule.paths.iter().map(move |pattern| Decision { index, rule, pattern })).find(
            |other| {
                // That path would be decided by the same rule, which comes first.
                let is_shadowed = other.index > decision.index && decision.pattern.includes(other.pattern);
                !is_shadowed && other.pattern.resembles(&request.path, decision.pattern)
            },
        )
    }
}

impl Rule {
    /// Whether the rule is for this method. HEAD is GET without the body, to services too.
    pub fn takes(&self, method: &str) -> bool {
        let is_method = |name: &String| name == method || (name == "GET" && method == "HEAD");
        self.methods.as_ref().is_none_or(|methods| methods.iter().any(is_method))
    }

    /// Whether the rule allows an API token with these scopes.
    pub fn admits_token(&self, scopes: &[String]) -> bool {
        self.scopes.as_ref().is_some_and(|needed| needed.iter().all(|scope| scopes.contains(scope)))
    }

    /// Whether the rule allows a person with this access to the policy's service.
    pub fn admits_person(&self, access: &Access) -> bool {
        self.permissions.as_ref().is_some_and(|needed| needed.iter().all(|name| access.contains(name)))
    }
}

#[cfg(test)]
mod tests;
