//! The documentation of the API: the OpenAPI document as one page.

use std::fmt::{self, Write};

use serde_json::Value;

use super::browser::html::{Escaped, wide};

/// The page of a document. Swagger UI was rejected: it needs megabytes of script for what a table can show.
pub fn html(document: &Value) -> String {
    let mut body = String::from(
        "<h1>authd API</h1><p class=\"dim\">Errors are <code>application/problem+json</code> (RFC 9457) with a stable \
         <code>error</code> code. Times are RFC 3339. Lists return <code>next_cursor</code>.</p>",
    );
    let paths = members(&document["paths"]);
    let mut operations: Vec<_> = paths
        .flat_map(|(path, methods)| members(methods).map(move |(method, operation)| (path, method, operation)))
        .map(|(path, method, operation)| (text(&operation["tags"][0]), path, method, operation))
        .collect();
    operations.sort_by_key(|(tag, path, method, _)| (*tag, *path, *method));
    let mut last_tag = "";
    for (tag, path, method, operation) in operations {
        if tag != last_tag {
            last_tag = tag;
            let tag = Escaped(tag);
            let _ = write!(body, "<h2 id=\"{tag}\"><a href=\"#{tag}\">{tag}</a></h2>");
        }
        let _ = write!(
            body,
            "<details><summary><span class=\"{method}\">{}</span><code>{}</code><span class=\"dim\">{}</span></summary>",
            method.to_uppercase(),
            Escaped(path),
            Prose(text(&operation["summary"])),
        );
        // A browser opens what the target of a link is in.
        let id = Escaped(text(&operation["operationId"]));
        let _ = write!(body, "<p class=\"dim\" id=\"{id}\"><a href=\"#{id}\">{id}</a></p>");
        if let Some(description) = operation["description"].as_str() {
            let _ = write!(body, "<p>{}</p>", Prose(description));
        }
        describe(&mut body, operation, &document["components"]["schemas"]);
        body.push_str("</details>");
    }
    wide("authd API", &body)
}

/// A text of the document; empty where there is none.
fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The members of an object of the document; none where there is no such object.
fn members(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value))
}

/// A field: its name, its location, whether it is required, its schema.
type Field<'a> = (&'a str, &'a str, bool, &'a Value);

fn describe(body: &mut String, operation: &Value, schemas: &Value) {
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let parameters =
        parameters.map(|field| (text(&field["name"]), text(&field["in"]), field["required"] == true, &field["schema"]));
    let content = &operation["requestBody"]["content"];
    let media = ["application/json", "multipart/form-data"].into_iter().find(|media| content.get(media).is_some());
    let request = &content[media.unwrap_or_default()]["schema"];
    table(body, "Takes", &parameters.chain(properties(request, "body")).collect::<Vec<_>>());
    if let Some((status, response)) = members(&operation["responses"]).find(|(status, _)| status.starts_with('2')) {
        let schema = &response["content"]["application/json"]["schema"];
        let schema = schema.get("items").unwrap_or(schema);
        let schema = schema["$ref"].as_str().map_or(schema, |reference| &schemas[last_part(reference)]);
        table(body, &format!("Answers {status}"), &properties(schema, "").collect::<Vec<_>>());
    }
}

fn properties<'a>(schema: &'a Value, place: &'a str) -> impl Iterator<Item = Field<'a>> {
    let required: Vec<&Value> = schema["required"].as_array().into_iter().flatten().collect();
    members(&schema["properties"])
        .map(move |(name, property)| (name, place, required.iter().any(|other| *other == name), property))
}

fn table(body: &mut String, title: &str, fields: &[Field<'_>]) {
    if fields.is_empty() {
        return;
    }
    let _ = write!(body, "<div class=\"scroll\"><table class=\"fields\"><tr><th colspan=\"4\">{title}</th></tr>");
    for (name, place, required, schema) in fields {
        let _ = write!(
            body,
            "<tr><td><code>{}</code></td><td>{}</td><td class=\"dim\">{place}{}</td><td>{}</td></tr>",
            Escaped(name),
            Escaped(&kind(schema)),
            if *required && !place.is_empty() { ", required" } else { "" },
            Prose(text(&schema["description"])),
        );
    }
    body.push_str("</table></div>");
}

/// Text whose parts between backticks are code (CommonMark §6.1).
struct Prose<'a>(&'a str);

impl fmt::Display for Prose<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A backtick without another one is itself.
        let (paired, rest) = match self.0.matches('`').count() % 2 {
            0 => (self.0, None),
            _ => self.0.rsplit_once('`').map_or((self.0, None), |(paired, rest)| (paired, Some(rest))),
        };
        for (index, part) in paired.split('`').enumerate() {
            let part = Escaped(part);
            if index % 2 == 0 { write!(f, "{part}")? } else { write!(f, "<code>{part}</code>")? }
        }
        rest.map_or(Ok(()), |rest| write!(f, "`{}", Escaped(rest)))
    }
}

/// The last part of a reference.
fn last_part(reference: &str) -> &str {
    reference.rsplit('/').next().unwrap_or_default()
}

/// A schema's type as text.
fn kind(schema: &Value) -> String {
    let either = |kinds: &[Value], name: fn(&Value) -> String| {
        kinds.iter().map(name).filter(|kind| kind != "null").collect::<Vec<_>>().join(" or ")
    };
    if let Some(reference) = schema["$ref"].as_str() {
        return last_part(reference).to_owned();
    }
    // Options that only bound a value are of the type of the whole.
    if let Some(options) = schema["anyOf"].as_array()
        && options.iter().all(|option| !kind(option).is_empty())
    {
        return either(options, kind);
    }
    let base = match &schema["type"] {
        Value::Array(types) => either(types, |name| text(name).to_owned()),
        other => text(other).to_owned(),
    };
    match (base.as_str(), schema["format"].as_str()) {
        ("array", _) => format!("list of {}", kind(&schema["items"])),
        // Without a type it is one of several formats of a string.
        ("string", Some(format @ ("date-time" | "uuid" | "ip"))) | ("", Some(format)) => format.to_owned(),
        ("string", Some("password")) => "secret".to_owned(),
        _ => base,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::VERSION;

    #[test]
    fn backticks_are_code() {
        for (text, expected) in [
            ("a `b<c>` d", "a <code>b&lt;c&gt;</code> d"),
            ("`a` and `b`", "<code>a</code> and <code>b</code>"),
            ("`a` and a ` more", "<code>a</code> and a ` more"),
            ("none", "none"),
        ] {
            assert_eq!(Prose(text).to_string(), expected);
        }
    }

    #[test]
    fn every_operation_can_be_linked_to_and_every_field_has_a_type() {
        let page = html(&shared::openapi::document(VERSION));
        for info in shared::api::operations() {
            let once = page.matches(&format!(" id=\"{}\"", info.name)).count();
            assert_eq!(once, 1, "{}", info.name);
        }
        assert!(!page.contains('`'), "{}", page.split('`').nth(1).unwrap_or_default());
        assert!(page.contains("<code>client_ip</code></td><td>ipv4 or ipv6</td>"));
        assert!(!page.contains("</code></td><td></td>") && !page.contains("<td> or </td>"));
    }
}
