//! Outcomes that come late. While the disk hangs in one sync, a change is answered 503 and then happens all the same.
//! From then on every check must answer as the stored rows say, whoever still waits for the change.

mod access;
mod scene;
mod sessions;
mod tokens;
mod watch;

use scene::{Kind, Scene};
use serde_json::json;
use std::time::{Duration, Instant};
use tests::TIMEOUT;
use tests::authd::Authd;
use tests::strace::Stall;
use tests::until;
use watch::{ANSWERED_WITHIN, AT_ONCE, Client};

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// The stalls, split so that the two halves take about as long: each half has a daemon of its own.
const PLANS: [&[(Duration, Client)]; 2] = [
    &[(seconds(40), Client::Waits)],
    &[
        (seconds(3), Client::Waits),
        (seconds(8), Client::Waits),
        (seconds(20), Client::Waits),
        (seconds(8), Client::HangsUp),
    ],
];

/// All these kinds of change under all stalls, side by side; each failure is a line.
fn survive(kinds: &[&[Kind]]) {
    let kinds: Vec<&Kind> = kinds.iter().copied().flatten().collect();
    let failures: Vec<String> = std::thread::scope(|scope| {
        let runs: Vec<_> = kinds
            .iter()
            .flat_map(|kind| PLANS.map(|plan| (*kind, plan)))
            .map(|(kind, plan)| scope.spawn(move || run(kind, plan)))
            .collect();
        runs.into_iter().flat_map(|run| run.join().unwrap_or_else(|_| vec!["panicked, see above".into()])).collect()
    });
    assert!(failures.is_empty(), "{} of these failed:\n{}", failures.len(), failures.join("\n"));
}

fn run(kind: &Kind, plan: &[(Duration, Client)]) -> Vec<String> {
    let scene = Scene::open();
    let commits = match watch::undisturbed(&scene, kind) {
        Ok(commits) => commits,
        Err(why) => return vec![format!("{}, undisturbed: {why}", kind.name)],
    };
    let disturb = |(stall, client): &(Duration, Client)| {
        let outcome = watch::disturbed(&scene, kind, commits, *stall, *client);
        outcome.err().map(|why| format!("{}, {} s, {client:?}: {why}", kind.name, stall.as_secs()))
    };
    plan.iter().filter_map(disturb).collect()
}

#[test]
fn changes_of_tokens_and_sessions_are_seen_however_late_they_come() {
    survive(&[tokens::KINDS, sessions::KINDS]);
}

#[test]
fn changes_of_users_and_access_are_seen_however_late_they_come() {
    survive(&[access::KINDS]);
}

/// Reads do not wait behind a commit; a second commit does, and is answered in time too.
#[test]
fn a_stalled_disk_delays_no_answer_about_other_tokens() {
    let authd = Authd::start();
    let (bystander, _) = authd.mint("bystander", &["read"]);
    let (unasked, _) = authd.mint("never asked about", &["read"]);
    let victims = [authd.mint("first", &["read"]), authd.mint("second", &["read"])];
    // The first use of a token is marked, which is a commit: it must not be the one that hangs.
    for (token, id) in &victims {
        assert_eq!(authd.validate(token, &["read"])["valid"], true);
        until(TIMEOUT, "the mark of the first use", || {
            let shown = authd.admin().get(&format!("/auth/tokens/{id}")).ok()?.json();
            shown["last_used_at"].is_string().then_some(())
        });
    }
    let revoke = |id: &str| {
        let begun = Instant::now();
        let path = format!("/auth/tokens/{id}/revoke");
        let answer = authd.admin().timeout(TIMEOUT).post(&path, &json!({})).expect("it answers");
        (answer, begun.elapsed())
    };
    let stall = Stall::prepare(&authd, 1, seconds(16));
    std::thread::scope(|scope| {
        let first = scope.spawn(|| revoke(&victims[0].1));
        until(TIMEOUT, "the stall", || stall.begun().then_some(()));
        let second = scope.spawn(|| revoke(&victims[1].1));
        let mut asked = 0;
        while !(first.is_finished() && second.is_finished() && stall.ended()) {
            for token in [&bystander, &unasked, &victims[0].0, &victims[1].0] {
                let begun = Instant::now();
                let said = authd.validate(token, &["read"]);
                assert!(begun.elapsed() < AT_ONCE, "a validate took {:?} while the disk hung", begun.elapsed());
                // revoked it may be as soon as the disk went on, and that may be since we asked
                let may_be_revoked = victims.iter().any(|(victim, _)| victim == token) && stall.ended();
                assert!(said["valid"] == true || may_be_revoked, "{said}");
            }
            asked += 1;
            std::thread::sleep(Duration::from_millis(50));
        }
        assert!(asked > 20, "asked {asked} times");
        for answer in [first, second] {
            let (answer, took) = answer.join().expect("no panic");
            assert_eq!(answer.status, 503, "{}", answer.text());
            assert!(answer.header("retry-after").is_some(), "{:?}", answer.headers);
            assert!(took < ANSWERED_WITHIN, "{took:?}");
        }
    });
    // The writer is back when a new commit is answered: by then the two before it have happened, or never will.
    until(TIMEOUT, "a mint after the stall", || {
        let body = json!({"name": "after", "scopes": ["read"]});
        Some(authd.admin().post("/auth/tokens", &body).ok()?).filter(|a| a.status == 201).map(drop)
    });
    for (token, id) in &victims {
        let shown = || authd.admin().get(&format!("/auth/tokens/{id}")).expect("it answers").expect(200);
        let is_revoked = shown()["revoked_at"].is_string();
        for _ in 0..20 {
            let said = authd.validate(token, &["read"]);
            assert_eq!(said["valid"], !is_revoked, "the API shows {}: {said}", shown());
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(shown()["revoked_at"].is_string(), is_revoked, "what did not happen then happens no more");
    }
}

/// A mint that was answered 503 and happened all the same gives its secret to whoever repeats it.
#[test]
fn a_mint_whose_outcome_came_late_is_had_by_its_key() {
    let authd = Authd::start();
    authd.mint("before", &["read"]);
    let ask = authd.admin().timeout(TIMEOUT).with("idempotency-key", "late");
    let body = json!({"name": "late", "scopes": ["read"]});
    let stall = Stall::prepare(&authd, 1, seconds(8));
    let answer = ask.post("/auth/tokens", &body).expect("it answers");
    assert_eq!(answer.status, 503, "{}", answer.text());
    until(TIMEOUT, "the end of the stall", || stall.ended().then_some(()));
    let made = until(TIMEOUT, "the mint", || Some(ask.post("/auth/tokens", &body).ok()?).filter(|a| a.status != 503));
    let token = made.expect(201)["token"].as_str().expect("a secret").to_owned();
    assert_eq!(ask.post("/auth/tokens", &body).expect("it answers").expect(201)["token"], token.as_str());
    assert_eq!(authd.validate(&token, &["read"])["valid"], true);
    let list = authd.admin().get("/auth/tokens?name=late").expect("it answers").expect(200);
    assert_eq!(list["total"], 1, "{list}");
}

/// A disk that hangs and then fails: the change has not happened, and nobody may believe that it has.
#[test]
fn a_change_that_fails_late_is_none_for_any_check() {
    let run = |kind: &Kind| {
        let mut scene = Scene::open();
        let subject = (kind.make)(&scene);
        scene.settle();
        let stall = Stall::failing(&scene.authd, 1, seconds(8));
        let answer = (subject.change)(&scene.authd.http()).expect("it answers");
        assert_eq!(answer.status, 503, "{}: {}", kind.name, answer.text());
        let agree = || {
            let shown = (subject.shown)().expect("an answer");
            let said: Vec<_> = subject.checks.iter().map(|(name, ask)| (name, ask().expect("an answer"))).collect();
            assert!(said.iter().all(|(_, changed)| *changed == shown), "{}: {shown}, {said:?}", kind.name);
        };
        while !stall.ended() {
            agree();
            std::thread::sleep(Duration::from_millis(100));
        }
        // until the next commit has worked, and some more
        until(TIMEOUT, "a commit that works again", || {
            let body = json!({"name": scene.name("after")});
            Some(scene.authd.admin().post("/permissions", &body).ok()?).filter(|a| a.status == 201)
        });
        for _ in 0..20 {
            agree();
            std::thread::sleep(Duration::from_millis(100));
        }
        scene.authd.start_again();
        agree();
    };
    std::thread::scope(|scope| {
        for kinds in [tokens::KINDS, sessions::KINDS, access::KINDS] {
            scope.spawn(move || run(&kinds[0]));
        }
    });
}
