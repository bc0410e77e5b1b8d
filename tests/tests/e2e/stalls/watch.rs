//! Sends a change while the disk hangs, keeps asking meanwhile, and compares what is stored with what checks answer.

use super::scene::{Kind, Question, Scene, Subject};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tests::TIMEOUT;
use tests::http::Http;
use tests::strace::{Stall, count_commits};

/// A change is answered within this time from when the disk hangs, however long it does.
pub(super) const ANSWERED_WITHIN: Duration = Duration::from_secs(8);
/// No change is given up before.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(5);
/// The longest stall that a change waits for.
const WAITED_FOR: Duration = Duration::from_secs(4);
/// What does not wait for the disk is answered in this time, on a machine that is busy with much else.
pub(super) const AT_ONCE: Duration = Duration::from_secs(4);
/// From the end of the stall on, rows and checks agree within this time.
const AGREE_WITHIN: Duration = Duration::from_secs(2);
/// And they go on to agree, for as long as this is watched.
const AGREE_FOR: Duration = Duration::from_secs(3);
const BETWEEN_QUESTIONS: Duration = Duration::from_millis(100);
/// How often a stall is tried again that hit something else than the commit of the change: on a busy machine the writer
/// finds time to copy the log while a password is hashed.
const TRIES: usize = 10;

/// What the client does while the disk hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Client {
    Waits,
    /// Closes the connection when the disk hangs.
    HangsUp,
}

type Outcome<T> = Result<T, String>;

/// Asks once, in bounded time.
fn ask(name: &str, question: &Question) -> Outcome<bool> {
    let begun = Instant::now();
    let changed = question().map_err(|error| format!("{name} was answered {error}"))?;
    let took = begun.elapsed();
    if took > AT_ONCE { Err(format!("{name} took {took:?}")) } else { Ok(changed) }
}

/// Every question has the same answer.
fn all_say(subject: &Subject, changed: bool, when: &str) -> Outcome<()> {
    for (name, question) in &subject.checks {
        if ask(name, question)? != changed {
            return Err(format!("{when}, {name} answers as {} the change", if changed { "before" } else { "after" }));
        }
    }
    if ask("the row", &subject.shown)? != changed {
        return Err(format!("{when}, the row is as {} the change", if changed { "before" } else { "after" }));
    }
    Ok(())
}

/// The change on a healthy disk: everything that is asked notices it, at once. Answers how many commits it takes.
pub(super) fn undisturbed(scene: &Scene, kind: &Kind) -> Outcome<usize> {
    let subject = (kind.make)(scene);
    all_say(&subject, false, "before the change")?;
    scene.settle();
    let (commits, answer) = count_commits(&scene.authd, || (subject.change)(&scene.authd.http()));
    let answer = answer.map_err(|error| error.to_string())?;
    if !(200..300).contains(&answer.status) {
        return Err(format!("{} {}", answer.status, answer.text()));
    }
    all_say(&subject, true, "after the change")?;
    if commits == 0 { Err("it was answered without a sync".into()) } else { Ok(commits) }
}

/// The change while the sync of its last commit takes `stall` longer.
pub(super) fn disturbed(
    scene: &Scene,
    kind: &Kind,
    mut commits: usize,
    stall: Duration,
    client: Client,
) -> Outcome<()> {
    for _ in 0..TRIES {
        if watch(scene, &(kind.make)(scene), commits, stall, client)? {
            return Ok(());
        }
        commits = undisturbed(scene, kind)?;
    }
    Err(format!("{TRIES} times the stall did not hit the commit of the change"))
}

/// What the client saw.
struct Answer {
    /// None when it did not wait.
    status: Option<u16>,
    text: String,
    /// Since the disk hung.
    took: Duration,
}

/// Sends the change, and asks all the time until it is answered and the stall is over: a cache that was emptied is filled
/// again with what is not yet changed. None when the stall hit something else than the commit of the change.
fn stalled(
    subject: &Subject,
    http: &Http,
    hang: &Stall,
    commits: usize,
    stall: Duration,
    client: Client,
) -> Outcome<Option<Answer>> {
    let leaves = Arc::new(AtomicBool::new(false));
    let mut http = http.clone().timeout(stall + TIMEOUT);
    if client == Client::HangsUp {
        http = http.hang_up_when(leaves.clone());
    }
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| {
            let answer = (subject.change)(&http);
            (answer, Instant::now())
        });
        let mut questions = subject.checks.iter().cycle();
        let deadline = Instant::now() + stall + TIMEOUT;
        let mut begun = None;
        while !(sending.is_finished() && begun.is_some() && hang.ended()) {
            if begun.is_none() {
                match hang.hit() {
                    Some(commit) if commit == commits => begun = Some(Instant::now()),
                    // the wrong one, or none in the whole change
                    Some(_) => return Ok(None),
                    None if sending.is_finished() => return Ok(None),
                    None => {}
                }
            }
            leaves.store(begun.is_some_and(|begun| begun.elapsed() > Duration::from_secs(1)), Ordering::Relaxed);
            if let Some((name, question)) = questions.next() {
                ask(name, question).map_err(|error| format!("during the stall, {error}"))?;
            }
            if Instant::now() > deadline {
                return Err("the stall did not end".into());
            }
            std::thread::sleep(BETWEEN_QUESTIONS);
        }
        let (answer, at) = sending.join().expect("a client does not panic");
        let took = begun.map_or(Duration::ZERO, |begun| at.saturating_duration_since(begun));
        Ok(Some(match answer {
            Ok(answer) => Answer { status: Some(answer.status), text: answer.text(), took },
            Err(error) => Answer { status: None, text: error.to_string(), took },
        }))
    })
}

/// Whether the answer is one that a stall of this length allows.
fn judge(answer: &Answer, stall: Duration, client: Client) -> Outcome<()> {
    let Answer { status, text, took } = answer;
    let is_right = match (status, client) {
        (None, Client::HangsUp) => true,
        (Some(200..300), _) => stall < WAITED_FOR,
        (Some(503), _) => stall > WAITED_FOR || *took + Duration::from_secs(1) >= GIVEN_UP_AFTER,
        _ => false,
    };
    if !is_right || *took > ANSWERED_WITHIN {
        return Err(format!("the change was answered {status:?} after {took:?}: {text}"));
    }
    Ok(())
}

/// `false` when the change did not happen, so that nothing was shown.
fn watch(scene: &Scene, subject: &Subject, commits: usize, stall: Duration, client: Client) -> Outcome<bool> {
    all_say(subject, false, "before the change")?;
    scene.settle();
    let hang = Stall::prepare(&scene.authd, commits, stall);
    all_say(subject, false, "just before the change")?;
    let Some(answer) = stalled(subject, &scene.authd.http(), &hang, commits, stall, client)? else {
        return Ok(false);
    };
    let ended = Instant::now();
    judge(&answer, stall, client)?;

    if answer.status.is_some_and(|status| status < 300) {
        all_say(subject, true, "right after the answer")?;
    } else {
        let mut happened = ask("the row", &subject.shown)?;
        while !happened && ended.elapsed() < AGREE_WITHIN {
            std::thread::sleep(Duration::from_millis(20));
            happened = ask("the row", &subject.shown)?;
        }
        if !happened {
            all_say(subject, false, "after a stall that ended without the change")?;
            return Ok(false);
        }
        let shown = Instant::now();
        for (name, question) in &subject.checks {
            while !ask(name, question)? {
                let late = shown.elapsed();
                if late > AGREE_WITHIN {
                    let answer = answer.status;
                    return Err(format!(
                        "{late:?} after the row has changed (answered {answer:?}), {name} does not know"
                    ));
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
    let agreed = Instant::now();
    let mut questions = subject.checks.iter().cycle();
    while agreed.elapsed() < AGREE_FOR {
        if let Some((name, question)) = questions.next()
            && !ask(name, question)?
        {
            return Err(format!("{:?} after all agreed, {name} answers as before the change", agreed.elapsed()));
        }
        std::thread::sleep(BETWEEN_QUESTIONS);
    }
    all_say(subject, true, "at the end")?;
    Ok(true)
}
