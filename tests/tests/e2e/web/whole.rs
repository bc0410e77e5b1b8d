//! From the sign-up to the deletion in one real browser, with files in a directory and in S3.

use serde_json::json;
use tests::authd::Setup;
use tests::http::Http;
use tests::mail::MailServer;
use tests::process::free_port;
use tests::proxy::nginx;
use tests::s3::S3;
use tests::{TIMEOUT, folder};

use super::account::walk_well;
use super::*;

const ADDRESS: &str = "ada@example.test";

/// The setup of a site that people sign up to, with passkeys: browsers make none for an IP address.
fn site(mail: &MailServer) -> (Setup, String) {
    let setup = Setup::new();
    let url = format!("http://localhost:{}", setup.port());
    let setup = setup.env("AUTHD_PUBLIC_URL", &url).env("AUTHD_SIGN_UP", "open");
    let setup = setup.env("SMTP_URL", &mail.plain_url()).env("SMTP_FROM", "authd@example.test");
    (setup, url)
}

/// Sign-up, mailed link, password, TOTP, a file, a passkey, sign-out, sign-in by the passkey, deletion.
fn walks_from_sign_up_to_deletion(authd: &Authd, url: &str, mail: &MailServer) {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("paper.pdf");
    std::fs::write(&file, b"%PDF-1.7\n%%EOF\n").expect("it is ours");
    let mailed = json!({"mailed": {"folder": mail.folder(), "to": ADDRESS}});
    let steps = vec![
        json!({"authenticator": true}),
        json!({"goto": format!("{url}/login")}),
        json!({"press": "Create an account"}),
        json!({"axe": true}),
        json!({"fill": {"email": ADDRESS}}),
        json!({"press": "Mail the link"}),
        json!({"see": "a mail is on its way"}),
        json!({"axe": true}),
        mailed.clone(),
        json!({"see": ADDRESS}),
        json!({"fill": {"password": PASSWORD}}),
        json!({"press": "Create the account"}),
        json!({"see": "Your account is ready"}),
        json!({"goto": format!("{url}/login")}),
        json!({"fill": {"username": ADDRESS, "password": PASSWORD}}),
        json!({"press": "Sign in"}),
        json!({"see": "Where you are signed in"}),
        json!({"press": "Security"}),
        json!({"press": "Set it up"}),
        json!({"fill": {"password": PASSWORD}}),
        json!({"press": "Continue"}),
        json!({"see": "Scan this"}),
        json!({"keep": {"secret": "#secret"}}),
        json!({"fill": {"code": {"totp": "now"}}}),
        json!({"press": "Turn it on"}),
        json!({"keep": {"codes": ".codes code"}}),
        json!({"press": "I have kept them"}),
        json!({"press": "Add a passkey"}),
        json!({"see": "since .* UTC\\nRemove"}),
        json!({"press": "Files"}),
        json!({"attach": [file]}),
        json!({"click": "Upload"}),
        json!({"see": "paper.pdf: stored"}),
        json!({"download": "paper.pdf"}),
        json!({"press": "Sign out"}),
        json!({"see": "Forgotten password"}),
        json!({"press": "Sign in with a passkey"}),
        json!({"see": "Where you are signed in"}),
        json!({"press": "Delete the account"}),
        json!({"fill": {"password": PASSWORD, "code": {"kept": "codes", "number": 3}}}),
        json!({"press": "Delete the account"}),
        json!({"see": "Your account is deleted"}),
        json!({"cookies": true}),
        json!({"goto": format!("{url}/login")}),
        json!({"fill": {"username": ADDRESS, "password": PASSWORD}}),
        json!({"press": "Sign in"}),
        json!({"see": "is wrong"}),
    ];
    let told = walk_well(&steps);
    let download = told.iter().find(|told| told["size"].is_number()).expect("a download");
    assert_eq!((&download["size"], &download["name"]), (&json!(15), &json!("paper.pdf")));
    assert!(told.iter().any(|told| *told == json!([]) && told.is_array()), "no cookie is left");
    let users = authd.admin().get("/users").expect("it answers").expect(200);
    assert_eq!(users["users"], json!([]));
    let list = authd.admin().get("/files").expect("it answers").expect(200);
    assert_eq!(list["files"], json!([]));
}

#[test]
fn a_person_comes_and_goes_with_files_in_a_directory() {
    let mail = MailServer::start();
    let (setup, url) = site(&mail);
    let authd = setup.start();
    walks_from_sign_up_to_deletion(&authd, &url, &mail);
    let folder = authd.dir().join("data/files");
    tests::until(tests::TIMEOUT, "an empty folder", || crate::files::is_empty_folder(&folder).then_some(()));
}

#[test]
fn a_person_comes_and_goes_with_files_in_s3() {
    let (mail, s3) = (MailServer::start(), S3::moto());
    let (setup, url) = site(&mail);
    let setup = s3.daemon(s3.port).iter().fold(setup, |setup, (name, value)| setup.env(name, value));
    let authd = setup.start();
    walks_from_sign_up_to_deletion(&authd, &url, &mail);
    tests::until(tests::TIMEOUT, "an empty bucket", || (s3.stored() == (vec![], vec![])).then_some(()));
}

/// The public URL has a path, which nginx removes: every link, form, redirect, script and mailed link is below it.
#[test]
fn a_person_comes_and_goes_below_a_path_of_the_host() {
    let (mail, port) = (MailServer::start(), free_port());
    let url = format!("http://localhost:{port}/auth");
    let authd = site(&mail).0.env("AUTHD_PUBLIC_URL", &url).start();
    let dir = folder("nginx");
    let server = format!(
        "server {{ listen 127.0.0.1:{port}; location /auth/ {{ proxy_pass http://127.0.0.1:{}/; }} }}",
        authd.port()
    );
    let mut proxy = nginx(dir.path(), 512, &server).start(dir.path().join("log"));
    proxy
        .wait(TIMEOUT, "nginx", || Http::tcp(port).get("/auth/health/live").ok().filter(|r| r.status == 200).map(drop));
    walks_from_sign_up_to_deletion(&authd, &url, &mail);
}
