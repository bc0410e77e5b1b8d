//! The sign-in itself: start, browser, release, poll.
//!
//! Two secrets ensure that only the process that started the sign-in gets the keys: the poll secret, which is sent only
//! to authd, and the release, which the browser delivers to this machine or the person pastes here.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest, Sha256};
use shared::api::cli_login::{Authorized, LoginAnswer, LoginStatus, StartLogin, StartedLogin};
use shared::qr::Qr;
use shared::release;
use shared::secret::Secret;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::{Instant, sleep_until};

use super::{Context, duration};
use crate::api::{Api, is_passing};
use crate::args::LoginFlags;
use crate::browser;
use crate::cache::{Cache, PendingLogin};
use crate::error::Error;
use crate::loopback::Loopback;

/// authd ends a login after this many wrong releases.
const MAX_RELEASES: usize = 5;
/// Characters of a release without a checksum.
const OLDER_RELEASE: usize = 32;
/// How often a release from the listener is presented: once more than should be needed, since a replica may not know it
/// yet; not more often, since an attacker who knows the state may have invented it.
const PRESENTED: u8 = 2;
/// A sign-in that returns from the provider at the last moment is still completed: authd reports the end.
const GRACE: Duration = Duration::from_secs(150);
/// Polls a fifth more slowly than asked, because fast clocks, as in some virtual machines, would poll too often.
const SLOWER: f64 = 1.2;

/// The note for waiting processes; removed at the end of the sign-in unless it says why that failed.
struct Note<'a> {
    cache: &'a Cache,
    keep: bool,
}

impl Drop for Note<'_> {
    fn drop(&mut self) {
        if !self.keep {
            self.cache.remove_login();
        }
    }
}

/// A spinner, shown only on a terminal. It leaves nothing there, however the sign-in ends.
struct Spinner(ProgressBar);

impl Spinner {
    fn start(message: &'static str, is_utf8: bool) -> Self {
        let bar = ProgressBar::new_spinner().with_message(message);
        if !is_utf8 {
            bar.set_style(ProgressStyle::default_spinner().tick_chars("|/-\\ "));
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        Self(bar)
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Signs in; the error says why it failed.
pub async fn run(context: &mut Context<'_>, flags: &LoginFlags, provider: Option<String>) -> Result<Authorized, Error> {
    let api = Api::new(&context.server);
    let poll_secret = Secret::new(URL_SAFE_NO_PAD.encode(context.io.random::<32>()));
    let is_here = !flags.no_browser && browser::is_likely(context.io);
    let loopback =
        if is_here { Some(Loopback::bind(URL_SAFE_NO_PAD.encode(context.io.random::<16>())).await?) } else { None };
    let started = api
        .start(&StartLogin {
            device_name: Some(device_name()),
            os: Some(format!("{} {}", std::env::consts::OS, std::env::consts::ARCH)),
            cli_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            provider,
            role: context.role.clone(),
            reauthenticate: flags.again.then_some(true),
            poll_challenge: Some(URL_SAFE_NO_PAD.encode(Sha256::digest(poll_secret.expose().as_bytes()))),
            loopback_port: loopback.as_ref().map(Loopback::port),
        })
        .await?;
    check_url(&started.auth_url)?;
    started.short_url.as_deref().map_or(Ok(()), check_url)?;

    let cache = context.cache.clone();
    let mut note = Note { cache: &cache, keep: false };
    let mut pending = PendingLogin { auth_url: started.auth_url.clone(), failure: None };
    cache.save_login(&pending)?;

    let signed_in = match loopback {
        Some(loopback) => here(context, &api, &started, poll_secret, loopback).await,
        None => elsewhere(context, &api, &started, poll_secret).await,
    };
    if let Err(error) = &signed_in {
        pending.failure = Some(error.to_string());
        note.keep = cache.save_login(&pending).is_ok();
    }
    signed_in
}

/// Signs in with a browser on this machine, which is redirected to our listener.
async fn here(
    context: &mut Context<'_>,
    api: &Api,
    started: &StartedLogin,
    poll_secret: Secret,
    loopback: Loopback,
) -> Result<Authorized, Error> {
    let commands = browser::commands(context.io, &loopback.url());
    context.io.say(format!("Sign in here:\n\n  {}\n", started.auth_url));
    let elsewhere = context.command_line("login --no-browser");
    context.io.say(format!("(A browser on another device? Press Ctrl-C and run: {elsewhere})"));
    let spinner = Spinner::start("waiting for the sign-in in the browser", context.io.is_utf8());
    let (sender, mut releases) = channel(MAX_RELEASES);
    let page = loopback.page();
    let serving = loopback.serve(&started.auth_url, &started.state, sender);
    tokio::pin!(serving);
    let (mut poll, mut troubles) = Poll::new(api, started, poll_secret, context.login_command());
    let opening = async {
        let launching = tokio::task::spawn_blocking(|| commands.into_iter().any(browser::launch));
        if !launching.await.unwrap_or_default() {
            spinner.0.suspend(|| context.io.say("No browser could be opened here; open the link manually."));
        }
        while let Some(trouble) = troubles.recv().await {
            spinner.0.suspend(|| context.io.say(format!("{trouble}; still trying")));
        }
    };
    let answer = tokio::select! {
        answer = poll.until_answer(&mut releases) => answer,
        () = &mut serving => Err(Error::refused("the listener ended")),
        () = opening => Err(Error::refused("the browser ended")),
    };
    drop(spinner);
    // The page may still be in transit to the browser; its own deadline is sooner.
    let _ = page.lock().await;
    answer
}

/// Signs in with a browser on another device: the person pastes the release.
async fn elsewhere(
    context: &mut Context<'_>,
    api: &Api,
    started: &StartedLogin,
    poll_secret: Secret,
) -> Result<Authorized, Error> {
    let url = started.short_url.as_ref().unwrap_or(&started.auth_url);
    context.io.say(format!("Open this on any device and sign in:\n\n  {url}\n"));
    if let Some(qr) = Qr::new(url) {
        context.io.show(&qr);
    }
    if started.short_url.is_some() {
        context.io.say(format!("The same, in full length: {}\n", started.auth_url));
    }
    context.io.say("Then paste here what the page shows. Paste nothing that somebody sent you.");
    context.io.ask("Code: ");
    let mut lines = context.io.lines();
    let answer = until_pasted(context, api, started, poll_secret, &mut lines).await;
    context.io.keep_lines(lines);
    answer
}

/// Presents what is pasted until the login ends.
async fn until_pasted(
    context: &mut Context<'_>,
    api: &Api,
    started: &StartedLogin,
    poll_secret: Secret,
    lines: &mut Receiver<String>,
) -> Result<Authorized, Error> {
    let (mut poll, mut troubles) = Poll::new(api, started, poll_secret, context.login_command());
    // The code comes only from the terminal.
    let (_sender, mut releases) = channel(1);
    let mut tries = 0;
    loop {
        let line = tokio::select! {
            answer = poll.until_answer(&mut releases) => return answer,
            line = lines.recv() => line,
            Some(trouble) = troubles.recv() => {
                context.io.ask(format!("\n{trouble}; still trying\nCode: "));
                continue;
            }
        };
        let Some(line) = line else {
            let again = context.command_line("login --no-browser");
            return Err(Error::usage(format!("standard input ended before the code came; run in a terminal: {again}")));
        };
        // Pages and terminals wrap long values.
        let line: String = line.split_whitespace().collect();
        if !is_release(&line) {
            context.io.ask("That is not the code the page shows: a part is missing or mistyped. Code: ");
            continue;
        }
        tries += 1;
        if let Some(answer) = poll.present(Secret::new(line)).await? {
            return Ok(answer);
        }
        if poll.in_trouble {
            // It is presented again when authd is reachable.
            continue;
        }
        if tries == MAX_RELEASES {
            let again = context.command_line("login --no-browser");
            return Err(Error::refused(format!("five wrong codes: the login has ended; start again: {again}")));
        }
        context.io.ask("Not accepted yet: copy the whole code, after signing in. Code: ");
    }
}

/// Polls the status of the login until the login ends.
struct Poll<'a> {
    api: &'a Api,
    request: LoginStatus,
    pause: Duration,
    deadline: Instant,
    lives: Duration,
    next: Instant,
    /// How often the current release may still be presented.
    presentations: u8,
    /// Receives the first of several consecutive errors, for the person.
    trouble: Sender<String>,
    in_trouble: bool,
    /// The reason that was told last.
    told: Option<String>,
    /// The command that starts another sign-in.
    again: String,
}

impl<'a> Poll<'a> {
    fn new(api: &'a Api, started: &StartedLogin, poll_secret: Secret, again: String) -> (Self, Receiver<String>) {
        let pause = Duration::from_secs(started.interval.clamp(1, 30)).mul_f64(SLOWER);
        let lives = Duration::from_secs(started.expires_in.clamp(1, 3600));
        // The monotonic clock: neither suspend nor a corrected clock ends it early.
        let now = Instant::now();
        let request = LoginStatus { state: started.state.clone(), poll_secret: Some(poll_secret), release: None };
        let (trouble, troubles) = channel(1);
        let poll = Self {
            api,
            request,
            pause,
            deadline: now + lives + GRACE,
            lives,
            next: now + pause,
            presentations: 0,
            trouble,
            in_trouble: false,
            told: None,
            again,
        };
        (poll, troubles)
    }

    /// May be dropped at any time and called again.
    async fn until_answer(&mut self, releases: &mut Receiver<Secret>) -> Result<Authorized, Error> {
        loop {
            tokio::select! {
                biased;
                release = releases.recv() => {
                    let Some(release) = release else { return Err(Error::refused("the listener ended")) };
                    (self.request.release, self.presentations) = (Some(release), PRESENTED);
                }
                () = sleep_until(self.next.min(self.deadline)) => {}
            }
            if let Some(answer) = self.ask().await? {
                return Ok(answer);
            }
        }
    }

    /// Polls now and presents a release once.
    async fn present(&mut self, release: Secret) -> Result<Option<Authorized>, Error> {
        (self.request.release, self.presentations) = (Some(release), 1);
        self.ask().await
    }

    async fn ask(&mut self) -> Result<Option<Authorized>, Error> {
        self.next = Instant::now() + self.pause;
        let expired = |detail: Option<String>| {
            if let Some(detail) = detail {
                return Error::refused(format!("{detail}; start again: {}", self.again));
            }
            let lives = duration(i64::try_from(self.lives.as_secs()).unwrap_or(i64::MAX));
            Error::refused(format!(
                "nobody signed in within {lives}, or the link was used; start again: {}",
                self.again
            ))
        };
        let is_over = Instant::now() >= self.deadline;
        match self.api.status(&self.request).await {
            Ok(LoginAnswer::Authorized(answer)) => Ok(Some(*answer)),
            Ok(LoginAnswer::Denied(answer)) => Err(Error::refused(match answer.detail {
                Some(detail) => detail,
                None => format!("the sign-in was denied. If that was a mistake, start again: {}", self.again),
            })),
            Ok(LoginAnswer::Expired(answer)) => Err(expired(answer.detail)),
            Ok(LoginAnswer::Pending(answer)) if is_over => Err(expired(answer.detail)),
            Ok(LoginAnswer::Pending(answer)) => {
                self.in_trouble = false;
                if answer.detail != self.told {
                    answer.detail.iter().for_each(|detail| drop(self.trouble.try_send(detail.clone())));
                    self.told = answer.detail;
                }
                self.presentations = self.presentations.saturating_sub(1);
                if self.presentations == 0 {
                    self.request.release = None;
                }
                Ok(None)
            }
            Err(error) if !is_passing(&error) => Err(error.into()),
            Err(error) if is_over => Err(Error::unreachable(format!("{error}; start again: {}", self.again))),
            Err(error) => {
                if !self.in_trouble {
                    let _ = self.trouble.try_send(error.to_string());
                }
                self.in_trouble = true;
                Ok(None)
            }
        }
    }
}

/// Whether the line may be a release: one with a checksum, or one of an authd before there were checksums.
fn is_release(line: &str) -> bool {
    let older = release::read(line);
    release::is_whole(line) || (older.len() == OLDER_RELEASE && older.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

/// Checks that the URL for the terminal and the browser is a plain web address.
fn check_url(url: &str) -> Result<(), Error> {
    let is_web = url.starts_with("https://") || url.starts_with("http://");
    if is_web && url.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err(Error::refused("the server did not send a web address for the sign-in; is it authd?"))
}

/// The device name that the person sees in the browser.
fn device_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    name.chars().filter(char::is_ascii_graphic).take(128).collect()
}

#[cfg(test)]
mod tests {
    use super::{check_url, is_release};

    #[test]
    fn a_mistyped_release_stops_here() {
        let release = shared::release::release([7; 16]);
        assert!(is_release(&release) && is_release(&release.to_lowercase()) && is_release(&"A1B2".repeat(8)));
        let mistyped = release.replacen('7', "8", 1);
        assert!(mistyped != release && !is_release(&mistyped) && !is_release(&release[..12]) && !is_release(""));
    }

    #[test]
    fn only_a_plain_web_address_is_shown_and_opened() {
        assert!(check_url("https://login.example.test/oauth2/authorize?a=b&c=%20").is_ok());
        for bad in ["", "file:///etc/passwd", "javascript:alert(1)", "https://x/\u{1b}]0;title", "https://x/ --flag"] {
            assert!(check_url(bad).is_err(), "{bad:?}");
        }
    }
}
