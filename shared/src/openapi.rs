//! The OpenAPI 3.1 document, made from the tables of operations and the schemas of their structs.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::api;
use crate::op::{Access, Info, Operation};
use crate::problem::{OAuthError, Problem};

/// An operation with the schemas of its request and response.
#[derive(Debug)]
pub struct Described {
    pub info: &'static Info,
    request: Schema,
    response: Schema,
}

impl Described {
    pub fn of<Op: Operation + JsonSchema>(generator: &mut SchemaGenerator) -> Self
    where
        Op::Response: JsonSchema,
    {
        // The request is split into parameters and body, so its schema must not be a reference.
        Self {
            info: &Op::INFO,
            request: Op::json_schema(generator),
            response: generator.subschema_for::<Op::Response>(),
        }
    }

    fn to_json(&self) -> Value {
        let info = self.info;
        let mut properties = self.request.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
        let required = self.request.get("required").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let mut required: Vec<&str> = required.iter().filter_map(Value::as_str).collect();
        let mut parameters = Vec::new();
        let mut parameter = |place: &str, name: &str, schema: Value, required: bool| {
            parameters.push(json!({ "name": name, "in": place, "required": required, "schema": schema }));
        };
        for name in info.path_params() {
            parameter("path", name, properties.remove(name).unwrap_or_else(|| json!({ "type": "string" })), true);
        }
        for (field, header) in info.headers {
            let schema = properties.remove(*field).unwrap_or_else(|| json!({ "type": "string" }));
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
        if info.method.has_body() {
            required.retain(|name| properties.contains_key(*name));
            let optional = required.is_empty();
            let body = json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": info.oauth });
            let media = if info.oauth { "application/x-www-form-urlencoded" } else { "application/json" };
            operation["requestBody"] = json!({ "required": !optional, "content": { media: { "schema": body } } });
        } else {
            for (name, schema) in &properties {
                parameter("query", name, schema.clone(), required.contains(&name.as_str()));
            }
        }
        operation["parameters"] = Value::Array(parameters);
        operation["security"] = match info.access {
            Access::Permission(permission) => {
                operation["description"] = json!(format!("Needs the permission `{}`.", permission.as_str()));
                json!([{ "bearer": [] }])
            }
            Access::SelfProving if info.headers.iter().any(|(field, _)| *field == "poll_secret") => {
                json!([{ "poll_secret": [] }])
            }
            Access::User | Access::Authenticated => json!([{ "bearer": [] }]),
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

/// The whole document, for `/openapi.json`.
pub fn document(version: &str) -> Value {
    let mut generator = SchemaSettings::draft2020_12()
        .with(|settings| "/components/schemas".clone_into(settings.definitions_path.to_mut()))
        .into_generator();
    let described = api::schemas(&mut generator);
    let problem = generator.subschema_for::<Problem>();
    let oauth_error = generator.subschema_for::<OAuthError>();
    let mut paths = Map::new();
    for operation in &described {
        let path = paths.entry(operation.info.path).or_insert_with(|| json!({}));
        path[operation.info.method.as_str().to_ascii_lowercase()] = operation.to_json();
    }
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
                "poll_secret": { "type": "http", "scheme": "bearer", "description": "The preimage of poll_challenge" },
            },
        },
    })
}

#[cfg(test)]
mod tests {
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
}
