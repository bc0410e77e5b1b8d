use super::*;
use crate::api::cli_login::LoginStatus;
use crate::api::introspection::Introspect;
use crate::api::tokens::{CreateToken, ExtendToken, ListTokens, RevokeToken};

fn invalid<Op: Operation + fmt::Debug>(parts: Parts<'_>) -> (Option<String>, String) {
    match decode::<Op>(parts).unwrap_err() {
        WireError::Invalid { field, detail } => (field, detail),
        WireError::Malformed(detail) => panic!("malformed: {detail}"),
    }
}

fn malformed<Op: Operation + fmt::Debug>(parts: Parts<'_>) -> String {
    match decode::<Op>(parts).unwrap_err() {
        WireError::Malformed(detail) => detail,
        WireError::Invalid { detail, .. } => panic!("invalid: {detail}"),
    }
}

#[test]
fn fields_come_from_path_and_body() {
    let path = [("id", "a%20b")];
    let op: RevokeToken = decode(Parts { path: &path, body: br#"{"reason":"lost"}"#, ..Parts::default() }).unwrap();
    assert_eq!((op.id.as_str(), op.reason.as_deref()), ("a b", Some("lost")));
    let op: RevokeToken = decode(Parts { path: &path, ..Parts::default() }).unwrap();
    assert_eq!(op.reason, None);
}

#[test]
fn a_field_of_the_path_cannot_be_said_again_in_the_body() {
    let parts = Parts { path: &[("id", "a")], body: br#"{"id":"b"}"#, ..Parts::default() };
    assert_eq!(invalid::<RevokeToken>(parts).1, "duplicate field `id`");
    let twice = Parts { path: &[("id", "a")], body: br#"{"reason":"x","reason":"y"}"#, ..Parts::default() };
    assert_eq!(invalid::<RevokeToken>(twice).1, "duplicate field `reason`");
}

#[test]
fn an_array_is_not_a_struct() {
    let parts = Parts { body: br#"["name",["scope"]]"#, ..Parts::default() };
    assert!(invalid::<CreateToken>(parts).1.contains("expected a JSON object"));
}

#[test]
fn a_field_that_is_wrong_is_named() {
    let parts = Parts { body: br#"{"name":"x","scopes":["a",7]}"#, ..Parts::default() };
    assert_eq!(invalid::<CreateToken>(parts).0.as_deref(), Some("scopes[1]"));
    let unknown = Parts { body: br#"{"name":"x","scopes":[],"ttl":7}"#, ..Parts::default() };
    assert_eq!(invalid::<CreateToken>(unknown).0.as_deref(), Some("ttl"));
    let missing = Parts { body: br#"{"name":"x"}"#, ..Parts::default() };
    assert_eq!(invalid::<CreateToken>(missing).0.as_deref(), Some("scopes"));
    let whole = Parts { path: &[("id", "a")], body: br#"{"extend_days":30.0}"#, ..Parts::default() };
    assert_eq!(decode::<ExtendToken>(whole).unwrap().extend_days, Some(30));
    let number = Parts { path: &[("id", "a")], body: br#"{"extend_days":-1}"#, ..Parts::default() };
    assert_eq!(invalid::<ExtendToken>(number).0.as_deref(), Some("extend_days"));
}

#[test]
fn broken_json_is_malformed() {
    for body in [&b"{"[..], b"{\"name\":\"x\",\"scopes\":[]}x", b"nonsense", b"\xff\xfe"] {
        malformed::<CreateToken>(Parts { body, ..Parts::default() });
    }
    let deep = "[".repeat(100_000);
    let body = format!("{{\"name\":\"x\",\"scopes\":[],\"metadata\":{{\"a\":{deep}");
    malformed::<CreateToken>(Parts { body: body.as_bytes(), ..Parts::default() });
}

#[test]
fn no_text_has_a_nul_wherever_it_is_sent() {
    malformed::<RevokeToken>(Parts { path: &[("id", "a%00")], ..Parts::default() });
    malformed::<ListTokens>(Parts { query: Some("name=a%00"), ..Parts::default() });
    malformed::<Introspect>(Parts { body: b"token=a%00", ..Parts::default() });
    for body in [r#"{"name":"a\u0000","scopes":[]}"#, r#"{"name":"a\\\u0000","scopes":[]}"#] {
        malformed::<CreateToken>(Parts { body: body.as_bytes(), ..Parts::default() });
    }
    let body = br#"{"name":"a\\u0000","scopes":[]}"#;
    assert_eq!(decode::<CreateToken>(Parts { body, ..Parts::default() }).unwrap().name, "a\\u0000");
}

#[test]
fn query_parameters_are_typed_and_bounded() {
    let query = |query| Parts { query: Some(query), ..Parts::default() };
    let op: ListTokens = decode(query("limit=5&include_revoked=true&name=a+b%2Fc")).unwrap();
    assert_eq!((op.limit.unwrap().rows(), op.include_revoked, op.name.as_deref()), (5, true, Some("a b/c")));
    assert_eq!(invalid::<ListTokens>(query("limit=0")).0.as_deref(), Some("limit"));
    assert_eq!(invalid::<ListTokens>(query("limit=1&limit=2")).1, "given more than once");
    assert_eq!(invalid::<ListTokens>(query("colour=red")).0.as_deref(), Some("colour"));
    malformed::<ListTokens>(query("name=%zz"));
    malformed::<ListTokens>(query("name=%ff"));
    let many = (0..100).map(|n| format!("a{n}=1")).collect::<Vec<_>>().join("&");
    malformed::<ListTokens>(query(&many));
}

#[test]
fn what_travels_as_a_header_is_refused_elsewhere() {
    let parts = Parts { query: Some("state=s&poll_secret=x"), ..Parts::default() };
    assert!(malformed::<LoginStatus>(parts).contains("never in a URL"));
    let body = Parts { body: br#"{"name":"x","scopes":["a"],"idempotency_key":"k"}"#, ..Parts::default() };
    assert_eq!(invalid::<CreateToken>(body).0.as_deref(), Some("idempotency_key"));
    let body = Parts { query: Some("name=x"), body: b"{}", ..Parts::default() };
    malformed::<CreateToken>(body);
}

#[test]
fn what_is_encoded_is_decoded_again() {
    let op = LoginStatus { state: "s/1".into(), poll_secret: Some("p".into()), release: None };
    let encoded = encode(&op).unwrap();
    assert_eq!(encoded.target, "/auth/cli/status?state=s%2F1");
    assert_eq!(encoded.headers, [("authorization", "Bearer p".to_owned())]);
    let op = RevokeToken { id: "a b/ü".into(), reason: Some("x".into()) };
    let encoded = encode(&op).unwrap();
    assert_eq!(encoded.target, "/auth/tokens/a%20b%2F%C3%BC/revoke");
    let path = [("id", "a%20b%2F%C3%BC")];
    let body = encoded.body.unwrap();
    let again: RevokeToken = decode(Parts { path: &path, body: &body, ..Parts::default() }).unwrap();
    assert_eq!(again.id, op.id);
}
