//! The same walk by the client library, and by the example program that is made with it.

use super::{ADA, NEW, PASSWORD, mailed, setup};
use crate::totp::oathtool;
use shared::client::{AccountError, Authd, Endpoint, Reason};
use shared::problem::Code;
use shared::secret::Secret;
use std::time::Duration;
use tests::mail::MailServer;
use tests::process::{Process, Spec, both};
use tests::{TIMEOUT, binary, until};

const MOVED: &str = "ada@example.org";

fn client(authd: &tests::authd::Authd, deadline: Duration) -> Authd {
    let endpoint = Endpoint::url(&authd.url()).expect("a URL");
    Authd::at(endpoint).deadline(deadline).login_deadline(deadline).build().expect("it is this machine")
}

/// The fault of a refusal, or of a failure with its reason.
#[track_caller]
fn fault<T: std::fmt::Debug>(answer: Result<T, AccountError>) -> (&'static str, Option<Reason>) {
    match answer.expect_err("it does not succeed") {
        error @ AccountError::Refused(_) => (error.fault().as_str(), None),
        AccountError::Failed(ref denial) => ("E-001", Some(denial.reason())),
    }
}

fn refused(fault: &'static str) -> (&'static str, Option<Reason>) {
    (fault, None)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_library_walks_through_an_account_and_tells_every_fault() {
    let server = MailServer::start();
    let mut authd = setup(&server).start();
    let accounts = client(&authd, TIMEOUT).accounts(None);
    let (password, new) = (|| Secret::new(PASSWORD), || Secret::new(NEW));

    assert_eq!(fault(accounts.sign_up("not an address").await), refused("E-009"));
    accounts.sign_up(ADA).await.expect("it is open");
    let token = || Secret::new(mailed(&server, ADA, "/account/verify"));
    assert_eq!(fault(accounts.verify_sign_up(token(), Secret::new("short"), None).await), refused("E-009"));
    assert_eq!(fault(accounts.verify_sign_up(token(), password(), Some("A\0a".into())).await), refused("E-006"));
    let signed_in = accounts.verify_sign_up(token(), password(), Some("Ada".into())).await.expect("it is right");
    assert_eq!((signed_in.payload.username.as_str(), signed_in.payload.name.as_str()), (ADA, "Ada"));
    assert_eq!(fault(accounts.verify_sign_up(token(), password(), None).await), refused("E-005"));

    let account = accounts.of_session(signed_in.token);
    assert_eq!(account.profile().await.expect("it is live").payload.username, ADA);
    assert_eq!(fault(account.disable_totp(password(), Secret::new("123456")).await), refused("E-003"));
    assert_eq!(fault(account.enable_totp(new()).await), refused("E-008"));
    let pending = account.enable_totp(password()).await.expect("it is off");
    assert_eq!(fault(account.confirm_totp(Secret::new("wrong")).await), refused("E-004"));
    let code = Secret::new(oathtool(pending.secret.expose(), ""));
    account.confirm_totp(code.clone()).await.expect("the code is right");
    let code_of_step = Secret::new(oathtool(pending.secret.expose(), "+30 seconds"));
    let codes = account.renew_recovery_codes(password(), code_of_step).await.expect("another code").recovery_codes;
    let recovery = |number: usize| codes[number].clone();
    assert_eq!(account.list_factors().await.expect("it is live").recovery_codes, 10);

    assert_eq!(fault(accounts.login(ADA, password(), None).await), refused("E-004"));
    assert_eq!(fault(accounts.login(ADA, new(), Some(recovery(0))).await), refused("E-008"));
    // Over HTTP a wrong code is answered like a wrong password.
    assert_eq!(fault(accounts.login(ADA, password(), Some(code)).await), refused("E-008"));
    let signed_in = accounts.login(ADA, password(), Some(recovery(0))).await.expect("all three are right");
    accounts.of_session(signed_in.token.clone()).logout().await.expect("it ends");
    assert_eq!(fault(accounts.of_session(signed_in.token).profile().await), refused("E-005"));
    assert_eq!(fault(accounts.of_session(Secret::default()).profile().await), refused("E-002"));

    accounts.request_reset(ADA).await.expect("it is asked");
    let token = || Secret::new(mailed(&server, ADA, "/account/reset"));
    assert_eq!(fault(accounts.confirm_reset(token(), new(), None).await), refused("E-004"));
    assert_eq!(fault(accounts.confirm_reset(token(), password(), Some(recovery(1))).await), refused("E-008"));
    accounts.confirm_reset(token(), new(), Some(recovery(1))).await.expect("the refused one used nothing up");
    assert_eq!(fault(account.profile().await), refused("E-005"));
    let session = accounts.login(ADA, new(), Some(recovery(2))).await.expect("the new password").token;
    let account = accounts.of_session(session);
    account.change_password(new(), password(), None).await.expect("the session is fresh");

    account.change_email(password(), MOVED, Some(recovery(3))).await.expect("all three are right");
    accounts.confirm_email(Secret::new(mailed(&server, MOVED, "/account/email"))).await.expect("it is right");
    assert_eq!(account.profile().await.expect("it is live").payload.username, MOVED);
    assert_eq!(fault(account.delete(password(), Some(recovery(3))).await), refused("E-004"));
    account.disable_totp(password(), recovery(4)).await.expect("both are right");
    account.delete(password(), None).await.expect("TOTP is off");
    assert_eq!(fault(account.profile().await), refused("E-005"));
    assert_eq!(fault(accounts.login(MOVED, password(), None).await), refused("E-008"));

    let hurried = client(&authd, Duration::from_millis(300)).accounts(None);
    authd.process().freeze();
    assert_eq!(fault(hurried.sign_up(ADA).await), ("E-001", Some(Reason::TimedOut)));
    authd.kill();
    assert_eq!(fault(accounts.sign_up(ADA).await), ("E-001", Some(Reason::Unreachable)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_is_a_refusal_that_says_when_to_come_back() {
    let authd = tests::authd::Setup::new().toml("[login]\nmax_failures = 3\nmax_failures_per_address = 3").start();
    let accounts = client(&authd, TIMEOUT).accounts(None);
    let mut answer = accounts.login("nobody", Secret::new(PASSWORD), None).await;
    for _ in 0..3 {
        assert_eq!(fault(answer), refused("E-008"));
        answer = accounts.login("nobody", Secret::new(PASSWORD), None).await;
    }
    let error = answer.expect_err("it is one too many");
    let AccountError::Refused(problem) = &error else { panic!("not refused: {error:?}") };
    assert_eq!((error.fault().as_str(), problem.error), ("E-001", Code::RateLimited), "{error}");
    assert!(error.retry_after().is_some_and(|wait| !wait.is_zero()), "{error}");
}

fn example(authd: &tests::authd::Authd) -> Spec {
    Spec::new(binary("account-walk")).args([ADA, MOVED]).env("AUTHD_URL", authd.url())
}

/// Waits until the example has printed this many recovery codes in all, and returns the last ten.
fn recovery_codes(walk: &Process, count: usize) -> Vec<String> {
    let is_code = |line: &&str| line.split('-').count() == 6 && line.split('-').all(|group| group.len() == 4);
    until(TIMEOUT, "recovery codes", || {
        let log = walk.log();
        let codes: Vec<_> = log.lines().filter(is_code).map(str::to_owned).collect();
        (codes.len() == count).then(|| codes[count - 10..].to_vec())
    })
}

#[test]
fn the_example_walks_through_an_account() {
    let server = MailServer::start();
    let mut authd = setup(&server).start();
    let mut walk = example(&authd).start(authd.dir().join("walk.log"));
    let mut say = |lines: &[&str]| lines.iter().for_each(|line| walk.say(line));
    let token = mailed(&server, ADA, "/account/verify");
    // The sign-up, at the second try; then TOTP.
    say(&[&token, "short", &token, PASSWORD, PASSWORD]);
    let secret = until(TIMEOUT, "the secret", || {
        let log = walk.log();
        log.split_once("secret=").and_then(|(_, rest)| rest.split_once('&')).map(|(secret, _)| secret.to_owned())
    });
    walk.say(&oathtool(&secret, ""));
    let first = recovery_codes(&walk, 10);
    // The sign-in with a code of the app, new recovery codes, and another password.
    let mut say = |lines: &[&str]| lines.iter().for_each(|line| walk.say(line));
    say(&[PASSWORD, &oathtool(&secret, "+30 seconds"), PASSWORD, &first[0], PASSWORD, NEW]);
    let codes = recovery_codes(&walk, 20);
    // It is forgotten, and the first one again; then the new address.
    let mut say = |lines: &[&str]| lines.iter().for_each(|line| walk.say(line));
    say(&[&mailed(&server, ADA, "/account/reset"), PASSWORD, &codes[0]]);
    say(&[PASSWORD, &codes[1], PASSWORD, &codes[2]]);
    say(&[&mailed(&server, MOVED, "/account/email")]);
    // The end.
    say(&[PASSWORD, &codes[3], PASSWORD]);
    let status = until(TIMEOUT, "the end of the walk", || walk.exited());
    let said = walk.log();
    assert!(status.success() && said.ends_with("The account is deleted\n"), "{said}");
    let about_form = said.lines().filter(|line| line.starts_with("E-")).collect::<Vec<_>>();
    assert!(matches!(*about_form, [line] if line.starts_with("E-009 password: ")), "{said}");
    assert!(
        ![PASSWORD, NEW, &token].iter().any(|secret| said.contains(secret)),
        "what is typed is not printed: {said}"
    );
    let users = authd.admin().get("/users").expect("it answers").expect(200);
    assert_eq!(users["users"], serde_json::json!([]));

    let silent = example(&authd).run(TIMEOUT);
    assert!(
        !silent.status.success() && both(&silent).contains("The token of the mail is missing"),
        "{}",
        both(&silent)
    );
    authd.kill();
    let alone = example(&authd).run(TIMEOUT);
    assert!(!alone.status.success() && both(&alone).contains("stderr: E-001 "), "{}", both(&alone));
}
