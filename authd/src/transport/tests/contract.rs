//! What `/openapi.json` says of the streams is how they answer.

use std::collections::BTreeSet;

use jsonschema::Validator;

use super::super::files::STREAMS;
use super::*;

fn judge(document: &Value, schema: &Value) -> Validator {
    let mut whole = schema.clone();
    whole["components"] = document["components"].clone();
    jsonschema::options().should_validate_formats(true).build(&whole).unwrap()
}

#[test]
fn every_route_is_described_and_nothing_else() {
    let document = shared::openapi::document("1");
    let lower = |info: &Info| (info.path.to_owned(), info.method.as_str().to_ascii_lowercase(), info.name.to_owned());
    let routes: BTreeSet<_> =
        shared::api::operations().chain(STREAMS.iter().map(|(info, _)| *info)).map(lower).collect();
    let described =
        document["paths"].as_object().unwrap().iter().filter(|(path, _)| !path.starts_with("/auth/forward/"));
    let described: BTreeSet<_> = described
        .flat_map(|(path, methods)| methods.as_object().unwrap().iter().map(move |each| (path, each)))
        .map(|(path, (method, it))| (path.clone(), method.clone(), it["operationId"].as_str().unwrap().to_owned()))
        .collect();
    assert_eq!(routes, described);
}

/// A multipart body of these parts: field, name of a file, content.
fn form(parts: &[(&str, Option<&str>, &str)]) -> String {
    let part = |(name, file, content): &(&str, Option<&str>, &str)| {
        let file = file.map(|file| format!("; filename=\"{file}\"")).unwrap_or_default();
        format!("--x\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n{content}\r\n")
    };
    parts.iter().map(part).collect::<String>() + "--x--\r\n"
}

#[tokio::test]
async fn an_upload_is_as_the_document_says() {
    let daemon = Daemon::start("").await;
    let session = daemon.sign_in("ada").await;
    let document = shared::openapi::document("1");
    let operation = &document["paths"]["/upload"]["post"];
    let body = judge(&document, &operation["requestBody"]["content"]["multipart/form-data"]["schema"]);
    let (good, program) = (("files", Some("a.txt"), "text"), ("files", Some("b.exe"), "MZ\0"));
    for parts in [vec![good], vec![good, program], vec![program], vec![], vec![("other", Some("a.txt"), "text")]] {
        let mut fields = json!({});
        for (name, _, content) in &parts {
            if fields.get(name).is_none() {
                fields[name] = json!([]);
            }
            fields[name].as_array_mut().unwrap().push(json!(content));
        }
        let head = format!("{}Content-Type: multipart/form-data; boundary=x\r\n", bearer(&session));
        let answer = daemon.send(&request("POST", "/upload", &head, &form(&parts))).await;
        assert_eq!(body.is_valid(&fields), answer.status != 422, "{parts:?}: {answer:?}");
        let status = answer.status.to_string();
        let responses = &operation["responses"];
        let response = responses.get(&status).unwrap_or(&responses["default"]);
        let response = response["$ref"].as_str().map_or(response, |at| document.pointer(&at[1..]).unwrap());
        let schema = &response["content"][answer.header("content-type").unwrap()]["schema"];
        assert!(judge(&document, schema).is_valid(&answer.body), "{schema}: {answer:?}");
    }
    let json = format!("{}Content-Type: application/json\r\n", bearer(&session));
    assert_eq!(daemon.send(&request("POST", "/upload", &json, "{}")).await.status, 415, "only multipart is described");
}

#[tokio::test]
async fn a_download_is_as_the_document_says() {
    let daemon = Daemon::start("").await;
    let session = bearer(&daemon.sign_in("ada").await);
    let head = format!("{session}Content-Type: multipart/form-data; boundary=x\r\n");
    let stored = daemon.send(&request("POST", "/upload", &head, &form(&[("files", Some("a.txt"), "text")]))).await;
    let path = format!("/files/{}", stored.body[0]["key"].as_str().unwrap());
    let document = shared::openapi::document("1");
    let operation = &document["paths"]["/files/{key}"]["get"];
    let whole = daemon.send(&request("GET", &path, &session, "")).await;
    let etag = whole.header("etag").unwrap();
    let sent = [
        ("", String::new(), "200"),
        ("", "Range: bytes=1-2\r\n".to_owned(), "206"),
        ("", format!("Range: bytes=1-2\r\nIf-Range: {etag}\r\n"), "206"),
        ("", format!("If-None-Match: {etag}\r\n"), "304"),
        ("", "If-Match: \"x\"\r\n".to_owned(), "412"),
        ("", "Range: bytes=9-\r\n".to_owned(), "416"),
        ("?link=x", String::new(), "403"),
        ("?other=x", String::new(), "422"),
    ];
    let parameters = operation["parameters"].as_array().unwrap();
    let is_described = |name: &str| parameters.iter().any(|parameter| parameter["name"] == name);
    for (query, headers, status) in &sent {
        let answer = daemon.send(&request("GET", &format!("{path}{query}"), &format!("{session}{headers}"), "")).await;
        assert_eq!(answer.status.to_string(), *status, "{query} {headers}: {answer:?}");
        for line in headers.lines() {
            assert!(is_described(&line.split(':').next().unwrap().to_ascii_lowercase()), "{line}");
        }
        assert_eq!(query.is_empty() || is_described(&query[1..query.len() - 2]), *status != "422", "{query}");
        let Some(described) = operation["responses"].get(status) else {
            assert!(answer.header("content-type").unwrap() == "application/problem+json", "{answer:?}");
            continue;
        };
        for (name, _) in described["headers"].as_object().unwrap() {
            assert!(answer.header(&name.to_ascii_lowercase()).is_some(), "{status} has no {name}: {answer:?}");
        }
        assert_eq!(described.get("content").is_some(), answer.status != 304);
    }
    let key = judge(&document, &parameters.iter().find(|parameter| parameter["name"] == "key").unwrap()["schema"]);
    for wrong in ["x", "01900000", "01900000-0000-7000-8000-00000000000g"] {
        assert!(!key.is_valid(&json!(wrong)));
        assert_eq!(daemon.send(&request("GET", &format!("/files/{wrong}"), &session, "")).await.status, 404, "{wrong}");
    }
    assert_eq!(daemon.send(&request("GET", &path, "", "")).await.status, 401, "who has neither token nor link");
}
