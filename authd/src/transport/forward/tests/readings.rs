//! A request that programs read in several ways never passes by a wider rule than in its plain form.

use super::*;

/// Narrow rules in front of a wide one that allows everybody.
const NARROW: &str = r#"
[[policy]]
name = "narrow"
service = "shop"
source = "path"
rule = [
    { paths = ["/reports", "/report.php"], permissions = ["orders.read"] },
    { methods = ["GET"], paths = ["/admin/*"], permissions = ["orders.read"] },
    { methods = ["GET"], paths = ["/v1/things"], scopes = ["read"] },
    { methods = ["POST", "PUT"], paths = ["/v1/*"], scopes = ["write"] },
    { paths = ["/größe/*"], permissions = ["orders.read"] },
    { paths = ["/"], permissions = ["orders.read"] },
    { paths = ["/*"], public = true },
]
"#;

/// Paths that some service reads as one that a narrow rule names.
const LIKE_NARROW: &[&str] = &[
    "/",
    "/index.html",
    "/&a",
    "/reports/",
    "/reports.",
    "/reports%20",
    "/reports+",
    "/reports%E2%80%8B",
    "/reports.json",
    "/reports&x",
    "/reports+&x",
    "/reports/&x",
    "/reports/index.html",
    "/Reports",
    "/REPORTS",
    "/%72eports",
    "/r%65ports",
    "/%72eports/",
    "/report.php/x",
    "/report.php/x/y",
    "/admin",
    "/admin/",
    "/admin/x",
    "/admin/x/",
    "/admin./x",
    "/admin.",
    "/admin../x",
    "/admin%20/x",
    "/admin%20.%20./x",
    "/%20admin/x",
    "/admin%C2%A0/x",
    "/admin%E3%80%80/x",
    "/admin+/x",
    "/ADMIN/x",
    "/aDmin/x",
    "/%41dmin/x",
    "/ad%C2%ADmin/x",
    "/ad%c2%admin/x",
    "/%EF%BB%BFadmin/x",
    "/admin%E2%81%A0/x",
    "/admin%EF%B8%8F/x",
    "/%EF%BD%81dmin/x",
    "/%ef%bd%81dmin/x",
    "/%E2%93%90dmin/x",
    "/%F0%9D%90%9Admin/x",
    "/%C2%AAdmin/x",
    "/adm%C4%B1n/x",
    "/ADM%C4%B0N/x",
    "/adm%C3%ADn/x",
    "/admi%CC%81n/x",
    "/admin%EF%BC%8E/x",
    "/admin%EF%BC%8Fx",
    "/admin%E2%88%95x",
    "/admin%EF%BC%BCx",
    "/admin%C2%A5x",
    "/admin%EF%BC%9Bx",
    "/admin%CD%BEx",
    "/admin%EF%BC%85%EF%BC%92e",
    "/admin;x/y",
    "/admin%3bx/y",
    "/admin%252e/x",
    "/admin%25/x",
    "/admin::$INDEX_ALLOCATION/x",
    "/x/%E2%80%A5/admin/x",
    "/x/%EF%BC%8E%EF%BC%8E/admin/x",
    "/x/.%E2%80%8B./admin/x",
    "/gr%C3%B6%C3%9Fe/1",
    "/gro%CC%88%C3%9Fe/1",
    "/gr%C3%B6sse/1",
    "/GR%C3%96SSE/1",
    "/GR%C3%96%E1%BA%9EE/1",
];

/// Paths of the wide rule.
const WIDE: &[&str] = &[
    "/x/index.html",
    "/report",
    "/reports2",
    "/reports-old",
    "/reports/2024",
    "/administrator",
    "/admi",
    "/v2/things",
    "/v1.2/things",
    "/app.js",
    "/.well-known/x",
    "/robots.txt",
    "/a|b[c]^d",
    "/caf%C3%A9/%E2%9D%A4%EF%B8%8F",
    "/x/admin/y",
    "/R&D/x",
    "/a+b/c%20d",
    "/x:y/z",
    "/foo_1.0~1.dsc",
];

#[tokio::test]
async fn a_narrow_rule_does_not_fall_through_to_a_wide_one() {
    let shop = Shop::with(NARROW).await;
    let status =
        async |method: &str, path: &str| shop.status(method, &format!("/auth/forward/narrow{path}"), &[]).await;
    for path in LIKE_NARROW {
        for method in ["GET", "HEAD", "POST", "DELETE", "OPTIONS", "PROPFIND"] {
            let status = status(method, path).await;
            assert!(status == 401 || status == 403, "{method} {path}: {status}");
        }
    }
    for path in WIDE {
        assert_eq!(status("GET", path).await, 200, "{path}");
    }
}

#[tokio::test]
async fn a_path_that_a_rule_names_is_not_judged_by_a_wider_one_for_another_method() {
    let shop = Shop::with(NARROW).await;
    let alice = shop.sign_in("alice").await;
    let (reader, _) = shop.mint(json!({ "name": "reader", "scopes": ["read"] })).await;
    let (writer, _) = shop.mint(json!({ "name": "writer", "scopes": ["write"] })).await;
    for (token, method, path, expected) in [
        (&alice, "GET", "/admin/x", 200),
        (&alice, "HEAD", "/admin/x", 200),
        (&alice, "POST", "/admin/x", 403),
        (&alice, "PROPFIND", "/admin/x", 403),
        (&alice, "OPTIONS", "/admin", 403),
        (&alice, "GET", "/reports/", 200),
        (&alice, "DELETE", "/reports/", 200),
        (&reader, "GET", "/v1/things", 200),
        (&reader, "HEAD", "/v1/things/", 200),
        // `/v1/*` is wider than `/v1/things`.
        (&writer, "POST", "/v1/things", 403),
        (&writer, "POST", "/v1/things/1", 200),
        (&writer, "PUT", "/v1/others", 200),
        (&writer, "DELETE", "/v1/others", 403),
        (&writer, "GET", "/v1/others", 403),
    ] {
        let target = format!("/auth/forward/narrow{path}");
        assert_eq!(shop.status(method, &target, &[("token", token)]).await, expected, "{method} {path}");
    }
}

const OVERRIDES: &str = r#"
[[policy]]
name = "headers"
source = "forwarded"
rule = [
    { methods = ["GET"], paths = ["/api/*"], public = true },
    { methods = ["POST", "PUT", "DELETE"], paths = ["/api/*"], scopes = ["write"] },
    { paths = ["/any/*"], public = true },
    { paths = ["/admin/*"], scopes = ["write"] },
]
"#;

#[tokio::test]
async fn a_header_or_query_that_names_another_method_or_path_is_judged_too() {
    let shop = Shop::with(OVERRIDES).await;
    let status = async |method: &str, uri: &str, headers: &[(&str, &str)]| {
        let own = [("x-forwarded-method", method), ("x-forwarded-uri", uri)];
        let headers: Vec<_> = own.into_iter().chain(headers.iter().copied()).collect();
        shop.status("GET", "/auth/forward/headers", &headers).await
    };
    assert_eq!(status("GET", "/api/a", &[]).await, 200);
    for name in ["x-http-method-override", "x-http-method", "x-method-override", "x_http_method_override"] {
        for value in ["DELETE", "delete", " Put", "PATCH", "", "DELETE, GET", "\u{e9}"] {
            assert_eq!(status("GET", "/api/a", &[(name, value)]).await, 403, "{name}: {value}");
        }
        for value in ["GET", "get", "HEAD"] {
            assert_eq!(status("GET", "/api/a", &[(name, value)]).await, 200, "{name}: {value}");
        }
        // The rule is for any method.
        assert_eq!(status("POST", "/any/a", &[(name, "PATCH")]).await, 200, "{name}");
        assert_eq!(status("GET", "/api/a", &[(name, "GET"), (name, "PUT")]).await, 403, "{name} twice");
    }
    for query in [
        "_method=DELETE",
        "_method%00=DELETE",
        "_method=DELETE%00",
        "%5Fm%65thod=%ff",
        "_method[]=DELETE",
        "X-HTTP-Method-Override=DELETE",
        "x_http_method=DELETE",
        "100%&_method=DELETE",
        "a=b&_method=put",
        "%5Fmethod=PUT",
        "+_method=PUT",
        ".method=PUT",
        "_METHOD=PUT",
        "a=b;_method=PUT",
    ] {
        assert_eq!(status("GET", &format!("/api/a?{query}"), &[]).await, 403, "{query}");
    }
    for query in ["payment_method=card", "_method=GET", "x=_method=PUT", "100%", "_methods=PUT"] {
        assert_eq!(status("GET", &format!("/api/a?{query}"), &[]).await, 200, "{query}");
    }
    for name in ["x-original-url", "x-rewrite-url", "x_original_url"] {
        for value in ["/admin/x", "http://shop/admin/x", "/none", "/any/x", "nonsense", "", "/api/../admin"] {
            assert_eq!(status("GET", "/api/a", &[(name, value)]).await, 403, "{name}: {value}");
        }
        for value in ["/api/a", "https://shop/api/a?x", "/api/other"] {
            assert_eq!(status("GET", "/api/a", &[(name, value)]).await, 200, "{name}: {value}");
        }
    }
}

#[tokio::test]
async fn a_service_is_told_the_permissions_that_the_policy_names() {
    let toml = r#"
[[policy]]
name = "few"
service = "shop"
source = "path"
rule = [
    { paths = ["/a/*"], permissions = ["p.7", "p.50"] },
    { paths = ["/b/*"], permissions = ["p.8", "P.9", "none of theirs"] },
    { paths = ["/c/*"], permissions = ["p.7", "p.8", "p.9"] },
]
"#;
    let shop = Shop::with(toml).await;
    for number in 0..120 {
        let name = format!("p.{number}");
        shop.app.call("permissions.create", json!({ "name": name })).await.unwrap();
        shop.app.call("roles.add_permission", json!({ "role_id": "clerk", "permission_id": name })).await.unwrap();
    }
    for number in 0..60 {
        let name = format!("a role with a long name, {} {number}", "x".repeat(80));
        shop.app.call("roles.create", json!({ "name": name })).await.unwrap();
        shop.app.call("services.add_role", json!({ "service_id": "shop", "role_id": name })).await.unwrap();
        let grant = json!({ "person_id": "alice", "service_id": "shop", "role_id": name });
        shop.app.call("grants.add_role", grant).await.unwrap();
    }
    let alice = shop.sign_in("alice").await;
    let passed = shop.ask("GET", "/auth/forward/few/c/x", &[("token", &alice)]).await.unwrap();
    assert_eq!(header(&passed, "x-auth-permissions"), "p.50 p.7 p.8 p.9");
    let roles = header(&passed, "x-auth-roles");
    assert!((2_000..=4_096).contains(&roles.len()), "{}", roles.len());
    assert!(roles.split(' ').all(|role| role == "clerk" || role.starts_with("a%20role%20with")), "{roles}");
    let size: usize = passed.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    assert!(size < 10_000, "{size}");
}
