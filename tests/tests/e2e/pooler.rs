//! Daemons behind PgBouncer in transaction mode, as Debian ships it.

use serde_json::json;
use tests::authd::{Authd, Setup};
use tests::pooler::Pooler;
use tests::postgres::Postgres;
use tests::{TIMEOUT, until};

const PASSWORD: &str = "correct horse battery staple";

/// What a daemon answers from the database, over and over while another one does the same.
#[track_caller]
fn use_it(authd: &Authd, other: &Authd, name: &str) {
    for round in 0..12 {
        let name = format!("{name}-{round}");
        let (token, id) = authd.mint(&name, &["read"]);
        let said = other.validate(&token, &["read"]);
        assert_eq!((&said["valid"], &said["name"]), (&json!(true), &json!(name)), "{said}");
        let listed = other.admin().get(&format!("/auth/tokens?name={name}")).expect("authd answers").expect(200);
        assert_eq!(listed["tokens"][0]["token_id"], json!(id), "{listed}");
        let login = authd.http().post("/auth/login", &json!({"username": "alice", "password": PASSWORD}));
        login.expect("authd answers").expect(200);
        let revoked = authd.admin().post(&format!("/auth/tokens/{id}/revoke"), &json!({}));
        revoked.expect("authd answers").expect(200);
        assert_eq!(authd.validate(&token, &["read"])["valid"], json!(false));
    }
}

/// The names that the driver gives to statements begin anew with each process: behind a pooler, a name of one daemon is
/// a statement of the other.
#[test]
fn daemons_on_one_pooler_never_run_each_others_statements_also_after_a_restart() {
    let server = Postgres::start();
    let pooler = Pooler::start(&server, 2);
    let (url, key) = (pooler.database(&server), "5a".repeat(32));
    let setup = || Setup::new().database(&url).env("AUTHD_ROOT_KEY", &key);
    let mut one = setup().start();
    let person = json!({"username": "alice", "password": PASSWORD});
    assert_eq!(one.admin().post("/users", &person).expect("authd answers").status, 201);
    let two = setup().start();
    std::thread::scope(|scope| {
        scope.spawn(|| use_it(&one, &two, "one"));
        scope.spawn(|| use_it(&two, &one, "two"));
    });
    for round in 0..3 {
        one.start_again();
        use_it(&one, &two, &format!("again-{round}"));
    }
    until(TIMEOUT, "the pooler in the log", || one.log().contains("a pooler is between").then_some(()));
    assert!(!pooler.log().contains("prepared statement"), "{}", pooler.log());
}
