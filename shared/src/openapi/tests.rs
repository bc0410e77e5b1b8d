use super::*;

#[test]
fn every_operation_is_in_the_document() {
    let document = document("1");
    for info in api::operations() {
        let operation = &document["paths"][info.path][info.method.as_str().to_ascii_lowercase()];
        assert_eq!(operation["operationId"], info.name);
    }
}

#[test]
fn no_secret_travels_in_a_url() {
    for operation in
        document("1")["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values())
    {
        for parameter in operation["parameters"].as_array().unwrap() {
            let in_url = parameter["in"] == "path" || parameter["in"] == "query";
            assert!(!(in_url && parameter.to_string().contains("password")), "{parameter}");
        }
    }
}

/// Every schema of the document, with the way to it.
fn schemas(value: &Value, way: &str, visit: &mut impl FnMut(&str, &Map<String, Value>)) {
    match value {
        Value::Object(fields) => {
            visit(way, fields);
            fields.iter().for_each(|(name, value)| schemas(value, &format!("{way}/{name}"), visit));
        }
        Value::Array(items) => items.iter().for_each(|value| schemas(value, way, visit)),
        _ => {}
    }
}

#[test]
fn enumerations_are_written_as_enum() {
    let document = document("1");
    schemas(&document, "", &mut |way, schema| {
        for variant in schema.get("oneOf").and_then(Value::as_array).into_iter().flatten() {
            assert!(variant.get("const").is_none() && variant.get("enum").is_none(), "{way}: {variant}");
        }
    });
    let fault = &document["components"]["schemas"]["SessionFault"];
    assert_eq!(fault["enum"], json!(["invalid_token", "user_mismatch", "no_access"]));
    assert!(fault["description"].as_str().unwrap().contains("- `user_mismatch`: The token belongs to another user."));
}

#[test]
fn numbers_that_are_times_say_so() {
    schemas(&document("1"), "", &mut |way, schema| {
        let is_time = ["expires_at", "session_expires_at", "credentials_until", "exp", "iat"]
            .contains(&way.rsplit('/').next().unwrap());
        if is_time && schema.get("type").is_some_and(|kind| kind.to_string().contains("integer")) {
            let text = schema["description"].as_str().unwrap_or_default().to_lowercase();
            assert!(text.contains("epoch"), "{way}");
        }
    });
}

#[test]
fn patterns_are_those_that_every_engine_reads() {
    let mut count = 0;
    schemas(&document("1"), "", &mut |way, schema| {
        let Some(pattern) = schema.get("pattern").and_then(Value::as_str) else { return };
        count += 1;
        for unusual in ["(?", "\\p", "\\u{", "\\1", "\\d", "\\s", "\\w", "\\b"] {
            assert!(!pattern.contains(unusual), "{way}: {pattern}");
        }
    });
    assert!(count > 20);
}

#[test]
fn what_is_no_operation_is_described_too() {
    let document = document("1");
    let forward = &document["paths"]["/auth/forward/{policy}"];
    for method in ["get", "head", "post", "put", "patch", "delete", "options", "trace"] {
        assert_eq!(forward[method]["operationId"], format!("forward_auth.{method}"));
        assert!(forward[method]["responses"]["200"]["headers"]["X-Auth-Subject"].is_object());
    }
    let introspect = &document["paths"]["/introspect"]["post"];
    assert!(introspect["security"].as_array().unwrap().contains(&json!({ "basic": [] })));
    let form = &introspect["requestBody"]["content"]["application/x-www-form-urlencoded"]["schema"];
    assert_eq!((&form["required"], &form["properties"]["service_id"]["type"]), (&json!(["token"]), &json!("string")));
}
