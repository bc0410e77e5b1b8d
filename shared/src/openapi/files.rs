//! Uploads and downloads, which are streams and no operations.

use schemars::SchemaGenerator;
use serde_json::{Value, json};

use crate::api::files::Uploaded;
use crate::id::FileId;
use crate::problem::Code;

/// Why a file may not be stored. Whoever sends an upload that is wrong as a whole gets a problem with the same statuses, or
/// with others.
const REASONS: [Code; 7] = [
    Code::RequestTimeout,
    Code::PayloadTooLarge,
    Code::UnsupportedMediaType,
    Code::QuotaExceeded,
    Code::Internal,
    Code::UpstreamFailed,
    Code::Unavailable,
];

/// `POST /upload`
pub(super) fn upload(generator: &mut SchemaGenerator) -> Value {
    let results = json!({ "type": "array", "minItems": 1, "items": generator.subschema_for::<Uploaded>() });
    let file = json!({ "type": "string", "format": "binary", "contentMediaType": "application/octet-stream" });
    let form = json!({
        "type": "object",
        "required": ["files"],
        "properties": {
            "files": {
                "type": "array",
                "minItems": 1,
                "items": file,
                "description": "Each with its name. Their types are found by their content.",
            },
        },
    });
    let mut responses = json!({
        "200": { "description": "Success", "content": { "application/json": { "schema": results } } },
        "default": { "$ref": "#/components/responses/Problem" },
    });
    for reason in REASONS {
        responses[reason.status().to_string()] = json!({
            "description": "What became of the files if none was stored, or what is wrong with all of them (RFC 9457)",
            "content": {
                "application/json": { "schema": results },
                "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } },
            },
        });
    }
    json!({
        "operationId": "files.upload",
        "summary": "Upload files",
        "description": "There is a result for each file. The status is 200 if one was stored, else that of the first \
                        result. Only people have files.",
        "tags": ["files"],
        "parameters": [],
        "security": [{ "bearer": [] }, { "token": [] }],
        "requestBody": { "required": true, "content": { "multipart/form-data": { "schema": form } } },
        "responses": responses,
    })
}

/// `GET /files/{key}`
pub(super) fn download(generator: &mut SchemaGenerator) -> Value {
    let text = |description: &str| json!({ "description": description, "schema": { "type": "string" } });
    let parameter = |place: &str, name: &str, description: &str| {
        let schema = json!({ "type": "string" });
        json!({ "name": name, "in": place, "required": false, "description": description, "schema": schema })
    };
    let key = json!({ "name": "key", "in": "path", "required": true, "schema": generator.subschema_for::<FileId>() });
    // Any type that is allowed; generators of clients read the other one.
    let binary = json!({ "schema": { "type": "string", "format": "binary" } });
    let content = json!({ "*/*": binary, "application/octet-stream": binary });
    let with = |more: &[(&str, Value)]| {
        let mut headers = json!({ "ETag": text("The SHA-256 of the content, quoted"), "Accept-Ranges": text("bytes") });
        for (name, header) in more {
            headers[name] = header.clone();
        }
        headers
    };
    let name = ("Content-Disposition", text("An attachment with the file's name"));
    let range = ("Content-Range", text("Which bytes of how many"));
    let problem = json!({ "$ref": "#/components/responses/Problem" });
    json!({
        "operationId": "files.download",
        "summary": "Download a file",
        "description": "Your own, or with the permission `files.read` that of another. HEAD answers the same without the \
                        content.",
        "tags": ["files"],
        "parameters": [
            key,
            parameter("query", "link", "Of a link, instead of credentials"),
            parameter("header", "range", "One range of bytes; others are ignored"),
            parameter("header", "if-range", "The range only if the content has this ETag"),
            parameter("header", "if-match", "412 if the content has none of these ETags"),
            parameter("header", "if-none-match", "304 if the content has one of these ETags"),
        ],
        "security": [{ "bearer": [] }, { "token": [] }, {}],
        "responses": {
            "200": { "description": "The content", "headers": with(std::slice::from_ref(&name)), "content": content },
            "206": { "description": "A part of the content", "headers": with(&[name, range.clone()]), "content": content },
            "304": { "description": "The content is what the client has", "headers": with(&[]) },
            "416": {
                "description": "The content has no such bytes (RFC 9457)",
                "headers": { "Content-Range": range.1 },
                "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
            },
            "default": problem,
        },
    })
}
