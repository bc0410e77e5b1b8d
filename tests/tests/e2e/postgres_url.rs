//! `DATABASE_URL` means to authd what it means to psql, or is refused with the reason.

use tests::authd::Setup;
use tests::postgres::Postgres;
use tests::process::{both, stdout};
use tests::{TIMEOUT, folder, rig};

/// A self-signed certificate as in PostgreSQL's manual: it says that it is a CA, and has no name but the common one.
fn self_sign(folder: &std::path::Path) {
    let args = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"];
    let files = ["-keyout", "srv.key", "-out", "srv.pem"];
    stdout(&rig::program("openssl").args(args).args(files).dir(folder).run(TIMEOUT));
}

/// What psql makes of the URL.
fn psql(url: &str) -> bool {
    rig::program("psql")
        .args(["-X", "-q", "-c", "SELECT 1", url])
        .env("HOME", "/nonexistent")
        .run(TIMEOUT)
        .status
        .success()
}

#[test]
fn authd_connects_where_psql_does() {
    let (certificates, others) = (folder("tls"), folder("tls"));
    self_sign(certificates.path());
    self_sign(others.path());
    // The server runs as another user, who reads the certificate.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o711);
    std::fs::set_permissions(certificates.path(), mode).expect("it is ours");
    let server = Postgres::with_certificate(certificates.path());
    let name = server.database().rsplit_once('/').expect("it ends in the name").1.to_owned();
    let at = |host: &str, query: &str| {
        let user = "postgres:a%40b%2Fc,d";
        format!("postgresql://{user}@{host}:{}/{name}?hostaddr=127.0.0.1&{query}", server.port())
    };
    let own = format!("sslrootcert={}", certificates.path().join("srv.pem").display());
    let other = format!("sslrootcert={}", others.path().join("srv.pem").display());
    for (url, connects) in [
        (at("localhost", &format!("sslmode=verify-full&{own}")), true),
        (at("LOCALHOST", &format!("sslmode=verify-full&{own}")), true),
        (at("wrong.example", &format!("sslmode=verify-full&{own}")), false),
        (at("wrong.example", &format!("sslmode=verify-ca&{own}")), true),
        (at("localhost", &format!("sslmode=require&{other}")), false),
        (at("localhost", "sslmode=allow&gssencmode=prefer&fallback_application_name=x"), true),
        (at("localhost", "sslmode=prefer&target_session_attrs=primary&client_encoding=UTF8"), true),
        (at("localhost", "ssl=true&keepalives_idle=30&keepalives_count=3&connect_timeout=10"), true),
        (at("localhost", "sslmode=bogus"), false),
        (at("localhost", "target_session_attrs=standby"), false),
        (at("localhost", "sslmod=require"), false),
        (at("localhost", "port=http"), false),
        (format!("postgres://postgres@%2Fnowhere:{}/{name}?host=127.0.0.1", server.port()), true),
    ] {
        assert_eq!(psql(&url), connects, "psql: {url}");
        // Each has a folder of its own, so the key that seals the database's keys is given.
        let setup = Setup::new().database(&url).env("AUTHD_ROOT_KEY", &"0123456789abcdef".repeat(4));
        if connects {
            let checked = setup.run(&["check"]);
            assert!(checked.status.success(), "{url}: {}", both(&checked));
            drop(setup.start());
        } else {
            let started = setup.run(&[]);
            assert!(!started.status.success(), "{url}");
            assert!(!both(&started).contains("our statement"), "{url}: {}", both(&started));
        }
    }
}
