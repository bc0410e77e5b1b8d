//! The real programs with what earlier releases have left on the disk. What depends on the date is shown in the crate
//! authd, whose tests move the clock.

use serde_json::{Value, json};
use std::path::Path;
use tests::authd::{Authd, Setup};
use tests::echo::Echo;
use tests::fixtures::{self, Engine};
use tests::process::both;
use tests::{TIMEOUT, binary, folder, rig};

/// authd on a copy of a release's data.
fn serve(release: &Path) -> (Authd, Value) {
    let setup = Setup::new();
    let data = setup.env_value("AUTHD_DATA_DIR");
    fixtures::copy(&release.join("sqlite"), Path::new(&data));
    let manifest = fixtures::read(&release.join("sqlite/manifest.json"));
    std::fs::remove_file(Path::new(&data).join("manifest.json")).expect("it was copied");
    (setup.start(), manifest)
}

#[track_caller]
fn text<'a>(manifest: &'a Value, pointer: &str) -> &'a str {
    manifest.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("no {pointer}"))
}

fn sign_in(authd: &Authd, username: &str, password: &str) -> tests::http::Response {
    let body = json!({ "username": username, "password": password });
    authd.http().post("/auth/login", &body).expect("authd answers")
}

#[test]
fn authd_serves_the_data_of_earlier_releases() {
    for release in fixtures::all() {
        let (mut authd, manifest) = serve(&release);
        for name in ["live", "again", "manager", "limited"] {
            let body = json!({ "token": text(&manifest, &format!("/tokens/{name}/token")), "client_ip": "192.0.2.1" });
            let good = authd.http().post("/auth/validate", &body).expect("authd answers").expect(200);
            assert_eq!(
                (&good["valid"], &good["scopes"]),
                (&json!(true), &manifest["tokens"][name]["scopes"]),
                "{good}"
            );
        }
        for (secret, error) in [("/tokens/revoked/token", json!("token_revoked")), ("/tokens/rotated/new", Value::Null)]
        {
            assert_eq!(authd.validate(text(&manifest, secret), &["read"])["error"], error, "{secret}");
        }
        for record in manifest["keyed"].as_array().expect("a list") {
            // of the last rotation
            if record["operation"] == "tokens.rotate" {
                let token = record["answer"]["token"].as_str().expect("a secret");
                assert_eq!(authd.validate(token, &["read"])["valid"], true, "{record}");
            }
        }
        let manager = authd.http().bearer(text(&manifest, "/tokens/manager/token"));
        manager.get("/auth/tokens").expect("authd answers").expect(200);

        let password = text(&manifest, "/password");
        for username in ["ann", "operator"] {
            sign_in(&authd, username, password).expect(200);
        }
        for (username, password) in [("ann", "a wrong password"), ("bob", password), ("gone", password)] {
            assert_eq!(sign_in(&authd, username, password).status, 401, "{username}");
        }
        let session = sign_in(&authd, "operator", password).json();
        let operator = authd.http().bearer(text(&session, "/token"));
        for list in manifest["lists"].as_array().expect("a list") {
            // what has ended is not listed for ever
            let operation = list["operation"].as_str().expect("a name");
            let path = match operation {
                "tokens.list" => "/auth/tokens?include_revoked=true&limit=500",
                "audit.list" => "/audit?limit=500",
                "users.list" => "/users?limit=500",
                "services.list" => "/services?limit=500",
                "roles.list" => "/roles?limit=500",
                "permissions.list" => "/permissions?limit=500",
                _ => continue,
            };
            let listed = operator.get(path).expect("authd answers").expect(200).to_string();
            let entries = list["answer"].as_object().expect("an object").values().find_map(Value::as_array);
            for entry in entries.expect("a list") {
                let id = entry["id"].as_str().or(entry["token_id"].as_str()).expect("an id");
                assert!(listed.contains(id), "{operation} has lost {entry}");
            }
        }
        let service = authd.http().bearer(text(&manifest, "/service/token"));
        for (permission, may) in [("orders.read", true), ("orders.cancel", false)] {
            let asked = json!({ "person_id": text(&manifest, "/people/ann/id"), "service_id": "orders",
                "permission_name": permission });
            let answer = service.post("/check-permission", &asked).expect("authd answers").expect(200);
            assert_eq!(answer["has_permission"], may, "{permission}");
        }

        let (made, _) = authd.mint("made later", &["read"]);
        authd.kill();
        authd.start_again();
        assert_eq!(authd.validate(&made, &["read"])["valid"], true);
        assert_eq!(authd.validate(text(&manifest, "/tokens/live/token"), &["read"])["valid"], true);
        assert!(!authd.log().contains("panicked"), "{}", authd.log());
    }
}

/// A session whose token is in the keyring, where the earlier release has put it.
#[test]
fn the_keyring_of_earlier_releases_is_understood() {
    for release in fixtures::all() {
        let manifest = fixtures::read(&release.join("home/manifest.json"));
        let old = text(&manifest, "/server");
        for (program, args) in [
            ("auth-login", &["renew", "--profile", "ring", "--server"][..]),
            ("authctl", &["--timeout", "20", "whoami", "--server"]),
        ] {
            let echo = Echo::start();
            let server = format!("http://127.0.0.1:{}", echo.port());
            let elsewhere = |url: &str| url.replace("127.0.0.1", "localhost");
            let (old, server) = match program {
                "authctl" => (elsewhere(old), elsewhere(&server)),
                _ => (old.to_owned(), server),
            };
            let home = folder("home");
            fixtures::copy(&release.join("home"), home.path());
            move_sessions(&home.path().join(".local/state").join(program), &old, &server);
            let item = &manifest["keyring"][program];
            let attributes = item["attributes"].as_object().expect("an object").iter();
            let attributes =
                attributes.map(|(name, value)| format!("{name} {}", value.to_string().replace(&old, &server)));
            let attributes = attributes.collect::<Vec<_>>().join(" ");
            let script = format!("secret-tool store --label old {attributes} && \"$0\" \"$@\"");
            let spec = rig::script("keyring.sh").args(["bash", "-c", &script]).arg(binary(program)).args(args);
            let secret = text(item, "/secret");
            let output = spec.arg(&server).env("HOME", home.path()).stdin(secret).run(TIMEOUT);
            // it is no authd that answers; what was sent is all that counts
            assert!(echo.count() > 0, "{program} sent nothing: {}", both(&output));
            let seen = echo.last();
            let sent = format!("{} {}", seen.header("authorization"), String::from_utf8_lossy(&seen.body));
            assert!(sent.contains(secret), "{program}: {sent}");
            echo.stop();
        }
    }
}

/// Gives the sessions of a program's state to another server, after which their files are named.
fn move_sessions(state: &Path, old: &str, new: &str) {
    use sha2::{Digest as _, Sha256};
    let name = |text: &str| {
        let hash = Sha256::digest(text);
        hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect::<String>() + ".json"
    };
    for (folder, suffix) in [("sessions", "\nring"), ("", "")] {
        let folder = state.join(folder);
        if let Ok(session) = std::fs::read_to_string(folder.join(name(&format!("{old}{suffix}")))) {
            std::fs::write(folder.join(name(&format!("{new}{suffix}"))), session.replace(old, new))
                .expect("it is ours");
        }
    }
}

/// What the present programs store, said again as earlier ones did: the same names, keys, hashes and fields.
#[test]
fn what_is_stored_has_the_shape_that_it_had() {
    let made = folder("fixtures");
    let (data, home) = (made.path().join("sqlite"), made.path().join("home"));
    fixtures::make(Engine::Sqlite, &data, Some(&home));
    let present = fixtures::shape(&data, &home);
    for release in fixtures::all() {
        let earlier = std::fs::read_to_string(release.join("shape.txt")).expect("each release has one");
        let lost: Vec<&str> = earlier.split_inclusive('\n').filter(|line| !present.contains(*line)).collect();
        assert!(
            lost.is_empty() && !earlier.is_empty(),
            "{} stored what this one does not:\n{}",
            release.display(),
            lost.concat()
        );
    }
}
