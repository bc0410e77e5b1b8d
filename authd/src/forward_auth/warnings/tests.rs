use super::*;
use crate::setting::Faults;

/// The warnings about a policy with these rules.
fn warned(rules: &str) -> Vec<String> {
    #[derive(serde::Deserialize)]
    struct File {
        policy: Vec<Policy>,
    }
    let text = format!("[[policy]]\nname = \"p\"\nservice = \"s\"\nsource = \"path\"\nrule = [{rules}]");
    let policies = toml::from_str::<File>(&text).unwrap().policy;
    let mut faults = Faults::default();
    crate::forward_auth::check(&policies, &mut faults);
    assert_eq!(faults.refused, [""; 0]);
    warnings(&policies)
}

#[test]
fn rules_that_hide_or_widen_one_another_are_told() {
    for (rules, told) in [
        (
            r#"{ paths = ["/*"], public = true }, { paths = ["/admin/*"], scopes = ["a"] }"#,
            "policy p, rule 2 (/admin/*) never decides: rule 1 (/*) stands before it and covers the same; change the order",
        ),
        (
            r#"{ methods = ["GET"], paths = ["/*"], public = true }, { paths = ["/admin/*"], scopes = ["a"] }"#,
            "policy p, rule 2 (/admin/*) does not decide about GET: rule 1 (/*) is wider and stands before it; change the order",
        ),
        (
            r#"{ methods = ["GET"], paths = ["/admin/*"], scopes = ["a"] }, { paths = ["/*"], public = true }"#,
            "policy p, rule 1 (/admin/*) does not take other methods, which is refused there: rule 2 (/*) is wider and \
             does not decide about it; add a rule for /admin/* if it shall be allowed",
        ),
        (
            r#"{ methods = ["GET"], paths = ["/x"], scopes = ["a"] }, { methods = ["POST"], paths = ["/x/*"], scopes = ["b"] }"#,
            "policy p, rule 1 (/x) does not take POST, which is refused there: rule 2 (/x/*) is wider and does not decide \
             about it; add a rule for /x if it shall be allowed",
        ),
        (
            r#"{ paths = ["/reports"], permissions = ["a"] }, { paths = ["/*"], public = true }"#,
            "policy p, rule 1 (/reports) is for that path only: rule 2 (/*) decides about what is below; write \
             \"/reports/*\" to include it",
        ),
        (
            r#"{ paths = ["/Admin"], scopes = ["a"] }, { paths = ["/admin"], scopes = ["b"] }"#,
            "policy p, rule 1 (/Admin) and rule 2 (/admin) are one path to services that do not read paths exactly",
        ),
        (
            r#"{ methods = ["GET"], paths = ["/a"], scopes = ["a"] }, { methods = ["HEAD"], paths = ["/a"], public = true }"#,
            "policy p, rule 2 (/a) never decides: rule 1 (/a) stands before it and covers the same; change the order",
        ),
    ] {
        let warnings = warned(rules);
        assert!(warnings.contains(&told.to_owned()), "{rules}: {warnings:#?}");
    }
}

#[test]
fn rules_that_say_what_they_mean_are_not_told() {
    for rules in [
        r#"{ paths = ["/*"], public = true }"#,
        r#"{ paths = ["/health"], public = true }, { paths = ["/*"], scopes = ["a"] }"#,
        r#"{ methods = ["GET"], paths = ["/api/*"], scopes = ["r"] }, { paths = ["/api/*"], scopes = ["w"] }"#,
        r#"{ methods = ["GET", "HEAD"], paths = ["/api/*"], scopes = ["r"] }, { methods = ["POST"], paths = ["/api/*"], scopes = ["w"] }, { paths = ["/admin/*"], permissions = ["a"] }"#,
        r#"{ paths = ["/", "/index.html"], public = true }, { paths = ["/a/*"], scopes = ["a"] }, { paths = ["/*"], scopes = ["b"] }"#,
        r#"{ paths = ["/x"], scopes = ["a"] }, { paths = ["/x/*"], scopes = ["b"] }, { paths = ["/*"], public = true }"#,
        r#"{ paths = ["/"], scopes = ["a"] }, { paths = ["/*"], public = true }"#,
    ] {
        assert_eq!(warned(rules), Vec::<String>::new(), "{rules}");
    }
}
