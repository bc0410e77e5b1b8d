//! `authd check --policy NAME "GET /path"`: which rule decides.

use super::decision::Decision;
use super::model::{ForwardedRequest, methods_of_query};
use super::policy::Policy;

/// Which rule decides about a request, written as `GET /path`, and whom it allows. The error says what is wrong with the
/// question.
pub fn explain(policies: &[Policy], name: &str, request: &str) -> Result<String, String> {
    let Some(policy) = policies.iter().find(|policy| policy.name == name) else {
        let names: Vec<&str> = policies.iter().map(|policy| policy.name.as_str()).collect();
        let there =
            if names.is_empty() { "there is none".to_owned() } else { format!("there are {}", names.join(", ")) };
        return Err(format!("no policy is named {name:?}; {there}"));
    };
    let (method, uri) = request.trim().split_once(' ').ok_or("write the request as \"GET /path\"")?;
    let uri = uri.trim();
    let methods: Vec<String> = uri.split_once('?').into_iter().flat_map(|(_, query)| methods_of_query(query)).collect();
    let readings = ForwardedRequest::new(method.as_bytes(), uri.as_bytes());
    let decision = readings
        .and_then(|request| request.readings(&methods, &[]))
        .map_err(str::to_owned)
        .and_then(|readings| policy.decide_all(&readings).map_err(|denied| denied.to_string()));
    Ok(match decision {
        Ok(decision) => format!("{decision} decides: {}", allowed(policy, &decision)),
        Err(why) => format!("refused for everybody: {why}"),
    })
}

fn allowed(policy: &Policy, decision: &Decision<'_>) -> String {
    let rule = decision.rule;
    if rule.public {
        return "public, everybody is allowed".to_owned();
    }
    let tokens = rule.scopes.as_ref().map(|scopes| format!("API tokens with the scopes {}", scopes.join(", ")));
    let service = policy.service.as_deref().unwrap_or_default();
    let people = rule
        .permissions
        .as_ref()
        .map(|names| format!("people with the permissions {} in the service {service}", names.join(", ")));
    tokens.into_iter().chain(people).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_that_decides_is_named() {
        #[derive(serde::Deserialize)]
        struct File {
            policy: Vec<Policy>,
        }
        let text = r#"
            [[policy]]
            name = "shop"
            service = "orders"
            source = "path"
            rule = [
                { paths = ["/health"], public = true },
                { methods = ["GET"], paths = ["/api/*"], scopes = ["read", "more"], permissions = ["orders.read"] },
                { paths = ["/*"], scopes = ["all"] },
            ]
        "#;
        let policies = toml::from_str::<File>(text).unwrap().policy;
        for (request, told) in [
            ("GET /health/", "rule 1 (/health) decides: public, everybody is allowed"),
            (
                "HEAD /api/%61?x=1",
                "rule 2 (/api/*) decides: API tokens with the scopes read, more; people with the permissions orders.read \
                 in the service orders",
            ),
            ("GET /other", "rule 3 (/*) decides: API tokens with the scopes all"),
            (
                "POST /api/x",
                "refused for everybody: rule 2 (/api/*) is for other methods; later rules that are wider do not decide \
                 about its paths",
            ),
            (
                "GET /API/x",
                "refused for everybody: some services take this path for one of rule 2 (/api/*); if it is another, name \
                 it in the rule that shall decide",
            ),
            ("GET /api/../x", "refused for everybody: the path has a segment of dots or blanks"),
            ("get /api", "refused for everybody: the method is not in capital letters"),
        ] {
            assert_eq!(explain(&policies, "shop", request).as_deref(), Ok(told), "{request}");
        }
        let overridden = explain(&policies, "shop", "GET /api/x?_method=PUT").unwrap();
        assert!(overridden.starts_with("refused for everybody: a header (X-HTTP-Method-Override"), "{overridden}");
        assert_eq!(explain(&policies, "x", "GET /"), Err("no policy is named \"x\"; there are shop".to_owned()));
        assert_eq!(explain(&[], "x", "GET /"), Err("no policy is named \"x\"; there is none".to_owned()));
        assert!(explain(&policies, "shop", "/api").unwrap_err().contains("GET /path"));
    }
}
