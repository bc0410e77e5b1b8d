//! The OpenAPI 3.1 document, made from the tables of operations and the schemas of their structs.

mod files;

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::api;
use crate::op::{Access, Info, Operation, Visitor};
use crate::patterns;
use crate::problem::{OAuthError, Problem};

/// Every operation, described.
struct All {
    generator: SchemaGenerator,
    operations: Vec<Described>,
}

impl Visitor for All {
    fn operation<Op: Operation + JsonSchema>(&mut self)
    where
        Op::Response: JsonSchema,
    {
        // The request is split into parameters and body, so its schema must not be a reference.
        let request = Op::json_schema(&mut self.generator);
        let response = self.generator.subschema_for::<Op::Response>();
        self.operations.push(Described { info: &Op::INFO, request, response });
    }
}

/// An operation with the schemas of its request and response.
struct Described {
    info: &'static Info,
    request: Schema,
    response: Schema,
}

impl Described {
    fn to_json(&self) -> Value {
        let info = self.info;
        let mut properties = self.request.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
        let required = self.request.get("required").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let mut required: Vec<&str> = required.iter().filter_map(Value::as_str).collect();
        let mut parameters = Vec::new();
        let mut parameter = |place: &str, name: &str, schema: Option<Value>, required: bool| {
            let schema = without_nul(as_text(schema.unwrap_or_else(|| json!({ "type": "string" }))));
            parameters.push(json!({ "name": name, "in": place, "required": required, "schema": schema }));
        };
        for name in info.path_params() {
            parameter("path", name, properties.remove(name), true);
        }
        for (field, header) in info.headers {
            let schema = properties.remove(*field);
            // OpenAPI forbids a parameter named Authorization: it is a security scheme.
            if *header != "authorization" {
                parameter("header", header, schema, required.contains(field));
            }
        }
        let mut operation = json!({
            "operationId": info.name,
            "summary": info.summary,
            "tags": [info.name.split('.').next().unwrap_or_default()],
        });
        if info.has_body() {
            required.retain(|name| properties.contains_key(*name));
            let is_optional = required.is_empty() && self.request.get("allOf").is_none();
            // What the whole request must be, such as "at most one of", is said of the fields in the body.
            let mut body = self.request.clone().to_value();
            body["type"] = json!("object");
            if required.is_empty() {
                body.as_object_mut().map(|body| body.remove("required"));
            } else {
                body["required"] = json!(required);
            }
            let other = without_nul(json!({ "type": "string" }));
            body["additionalProperties"] = if info.oauth { other } else { json!(false) };
            if info.oauth {
                properties.values_mut().for_each(|schema| *schema = as_text(schema.take()));
            }
            properties.values_mut().for_each(|schema| *schema = without_nul(schema.take()));
            body["properties"] = Value::Object(properties);
            let media = if info.oauth { "application/x-www-form-urlencoded" } else { "application/json" };
            operation["requestBody"] = json!({ "required": !is_optional, "content": { media: { "schema": body } } });
        } else {
            for (name, schema) in &properties {
                parameter("query", name, Some(schema.clone()), required.contains(&name.as_str()));
            }
        }
        operation["parameters"] = Value::Array(parameters);
        let reads = |header: &str| info.headers.iter().any(|(_, name)| *name == header);
        operation["security"] = match info.access {
            Access::Permission(permission) => {
                operation["description"] = json!(format!("Needs the permission `{}`.", permission.as_str()));
                json!([{ "bearer": [] }, { "token": [] }])
            }
            Access::User | Access::Authenticated if info.oauth => {
                json!([{ "bearer": [] }, { "basic": [] }, { "token": [] }])
            }
            Access::User | Access::Authenticated => json!([{ "bearer": [] }, { "token": [] }]),
            // The header `token` is a parameter of these.
            Access::SelfProving if reads("token") => json!([{}, { "bearer": [] }]),
            // Nobody has to prove anything to hear that a login has ended.
            Access::SelfProving if reads("authorization") => json!([{}, { "poll_secret": [] }]),
            Access::SelfProving | Access::Public => json!([]),
        };
        let problem = if info.oauth { "OAuthError" } else { "Problem" };
        let problem = json!({ "$ref": format!("#/components/responses/{problem}") });
        operation["responses"] = json!({
            info.status.to_string(): {
                "description": "Success",
                "content": { "application/json": { "schema": self.response } },
            },
            "default": problem,
        });
        operation
    }
}

/// The schema of a value that is sent as text, in a URL, a header or a form: it is there or not, never null.
fn as_text(mut schema: Value) -> Value {
    let is_null = |schema: &Value| schema == "null" || schema["type"] == "null";
    for name in ["type", "anyOf"] {
        let Some(types) = schema.get_mut(name).and_then(Value::as_array_mut) else { continue };
        types.retain(|schema| !is_null(schema));
        if let [single] = &mut types[..] {
            match single.take() {
                Value::Object(single) => {
                    let outer = schema.as_object_mut().map(std::mem::take).unwrap_or_default();
                    schema = single.into_iter().chain(outer.into_iter().filter(|(key, _)| key != name)).collect();
                }
                single => schema[name] = single,
            }
        }
    }
    schema
}

/// No text of a request has a NUL, which PostgreSQL cannot store; `wire` refuses it everywhere.
fn without_nul(mut schema: Value) -> Value {
    let is_text = |schema: &Value| match &schema["type"] {
        Value::Array(types) => types.iter().any(|kind| kind == "string"),
        kind => kind == "string",
    };
    let is_any = |schema: &Value| ["pattern", "enum", "anyOf"].iter().all(|key| schema.get(key).is_none());
    if let Some(items) = schema.get_mut("items") {
        *items = without_nul(items.take());
    } else if is_text(&schema) && is_any(&schema) {
        schema["pattern"] = json!(patterns::without(&['\0'..='\0']));
    }
    schema
}

/// Writes an enumeration as `enum`: schemars writes a `oneOf` of `const`, for which generators of clients make a class a
/// value, or none. What is said of each value goes into the description.
fn enumerate(schema: &mut Schema) {
    let Some(variants) = schema.get("oneOf").and_then(Value::as_array) else { return };
    let mut values = Vec::new();
    let mut lines = Vec::from_iter(schema.get("description").and_then(Value::as_str).map(|text| format!("{text}\n")));
    for variant in variants {
        let of_variant = match (variant.get("const"), variant.get("enum").and_then(Value::as_array)) {
            (Some(value), _) => std::slice::from_ref(value),
            (None, Some(values)) => values.as_slice(),
            (None, None) => return,
        };
        if let (Some(text), [Value::String(value)]) = (variant["description"].as_str(), of_variant) {
            lines.push(format!("- `{value}`: {text}"));
        }
        values.extend_from_slice(of_variant);
    }
    let description = lines.join("\n");
    schema.remove("oneOf");
    schema.insert("type".into(), json!("string"));
    schema.insert("enum".into(), Value::Array(values));
    if !description.is_empty() {
        schema.insert("description".into(), json!(description));
    }
}

/// Forward authentication: the one path that is no operation, since its method is the proxied request's.
fn forward_auth() -> Value {
    let identity = |text: &str| json!({ "description": text, "schema": { "type": "string" } });
    let source = |name: &str| {
        let description = "Only for a policy whose `source` it is.";
        json!({ "name": name, "in": "header", "required": false, "description": description, "schema": { "type": "string" } })
    };
    let parameters = json!([
        { "name": "policy", "in": "path", "required": true, "schema": { "type": "string", "pattern": "^[^/]+$" } },
        source("x-forwarded-method"),
        source("x-forwarded-uri"),
        source("x-original-method"),
        source("x-original-uri"),
    ]);
    let problem = json!({ "$ref": "#/components/responses/Problem" });
    let responses = json!({
        "200": {
            "description": "Allowed. Every header is there, empty where there is nothing to tell.",
            "headers": {
                "X-Auth-Subject": identity("The id of the token or of the user"),
                "X-Auth-Name": identity("The name of the token or of the user"),
                "X-Auth-Scopes": identity("The scopes of the token, separated by spaces"),
                "X-Auth-Roles": identity("The names of the user's roles, up to 4 KiB, separated by spaces, percent-encoded"),
                "X-Auth-Permissions": identity("The permissions that the policy names and the user has, up to 4 KiB, separated by spaces, percent-encoded"),
                "X-Auth-Token-Id": identity("The id of the token"),
                "X-Auth-Session-Id": identity("The id of the session"),
            },
        },
        "401": problem,
        "403": problem,
        "503": problem,
    });
    let methods = ["get", "head", "post", "put", "patch", "delete", "options", "trace"];
    let operation = |method: &str| {
        json!({
            "operationId": format!("forward_auth.{method}"),
            "summary": "Authorize a request for a proxy, by a policy of the configuration",
            "description": "With the policy's source `path`, the method is the proxied request's and its path and query follow the name of the policy. The body is not read.",
            "tags": ["forward_auth"],
            "parameters": parameters,
            "security": [{}, { "bearer": [] }, { "token": [] }],
            "responses": responses,
        })
    };
    methods.map(|method| (method.to_owned(), operation(method))).into_iter().collect()
}

/// The whole document, for `/openapi.json`.
pub fn document(version: &str) -> Value {
    let generator = SchemaSettings::draft2020_12()
        .with(|settings| "/components/schemas".clone_into(settings.definitions_path.to_mut()))
        .with_transform(RecursiveTransform(enumerate))
        .into_generator();
    let mut described = All { generator, operations: Vec::new() };
    api::visit(&mut described);
    let All { mut generator, operations } = described;
    let problem = generator.subschema_for::<Problem>();
    let oauth_error = generator.subschema_for::<OAuthError>();
    let mut paths = Map::new();
    for operation in &operations {
        let path = paths.entry(operation.info.path).or_insert_with(|| json!({}));
        path[operation.info.method.as_str().to_ascii_lowercase()] = operation.to_json();
    }
    paths.insert("/auth/forward/{policy}".to_owned(), forward_auth());
    paths.insert("/upload".to_owned(), json!({ "post": files::upload(&mut generator) }));
    paths["/files/{key}"]["get"] = files::download(&mut generator);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "authd",
            "version": version,
            "description": "API tokens, users with their roles and sessions, and the browser login for AWS.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "responses": {
                "Problem": {
                    "description": "What went wrong (RFC 9457)",
                    "content": { "application/problem+json": { "schema": problem } },
                },
                "OAuthError": {
                    "description": "What went wrong (RFC 6749 §5.2)",
                    "content": { "application/json": { "schema": oauth_error } },
                },
            },
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer", "description": "ADMIN_TOKEN, an API token with the scope authd:<permission>, or the token of a session" },
                "token": { "type": "apiKey", "in": "header", "name": "token", "description": "The token of a session, where no bearer is sent" },
                "basic": { "type": "http", "scheme": "basic", "description": "The token as the password, with any user name, both form-encoded (RFC 6749 §2.3.1)" },
                "poll_secret": { "type": "http", "scheme": "bearer", "description": "The preimage of poll_challenge" },
            },
        },
    })
}

#[cfg(test)]
mod tests;
