//! The published schema before two programs that know nothing else of authd: schemathesis, which sends what it allows
//! and what it forbids, and a client that openapi-python-client generates from it.

use serde_json::{Value, json};
use tests::authd::{ADMIN_TOKEN, Authd};
use tests::process::stdout;
use tests::rig;

const MINUTES: std::time::Duration = std::time::Duration::from_secs(600);

#[test]
fn schemathesis_finds_authd_and_its_schema_in_agreement() {
    let authd = Authd::start();
    let checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,\
                  positive_data_acceptance,negative_data_rejection,ignored_auth,unsupported_method";
    let output = rig::program("schemathesis")
        .arg("--config-file")
        .arg(rig::dir().join("schemathesis.toml"))
        .args(["run", &format!("{}/openapi.json", authd.url())])
        .args(["--header", &format!("Authorization: Bearer {ADMIN_TOKEN}")])
        .args(["--phases", "examples,coverage,fuzzing", "--mode", "all", "--checks", checks])
        .args(["--max-examples", "20", "--seed", "1", "--no-color", "--generation-deterministic"])
        .dir(authd.dir())
        .env("HOME", authd.dir())
        .run(MINUTES);
    let text = stdout(&output);
    assert!(text.contains("Tested: ") && text.contains("Test cases:"), "{text}");
    assert!(output.status.success(), "{text}");
}

#[test]
fn a_generated_client_reads_every_answer_and_every_error() {
    let authd = Authd::start();
    let client = authd.dir().join("client");
    let made = rig::program("openapi-python-client")
        .args(["generate", "--url", &format!("{}/openapi.json", authd.url()), "--meta", "none", "--output-path"])
        .arg(client.join("authd_client"))
        .env("HOME", authd.dir())
        .dir(authd.dir())
        .run(MINUTES);
    assert!(made.status.success() && !stdout(&made).contains("unsupported"), "{made:?}");
    let used = rig::script("generated-client.py").arg(&client).args([&authd.url(), ADMIN_TOKEN]).run(MINUTES);
    let got: Value = serde_json::from_str(&stdout(&used)).unwrap_or_else(|error| panic!("{error}: {used:?}"));
    let expected = json!({
        "scopes": ["read"],
        "expires_at": true,
        "listed": ["ci"],
        "fault": "insufficient_scopes",
        "active": true,
        "refused": {
            "taken": "name_taken",
            "invalid": "validation_failed",
            "unknown": "not_found",
            "nobody": "unauthenticated",
            "login": "invalid_credentials",
        },
        "files": {
            "uploaded": [true, false],
            "whole": true,
            "part": "%PDF-1.7",
            "listed": ["a.pdf"],
            "of nobody": "forbidden",
        },
        "logins": { "PENDING": "PENDING", "EXPIRED": "EXPIRED", "DENIED": "DENIED", "AUTHORIZED": "AUTHORIZED" },
    });
    assert_eq!(got, expected);
}
