//! authd, a provider that looks like Cognito (or with `--local` none) and an STS that looks like AWS, to be clicked through
//! by hand.
//! `tests/playground` builds and starts it.

use std::path::Path;
use tests::authd::{Authd, Setup};
use tests::local::{Local, PASSWORD};
use tests::login::Service;
use tests::sts::Sts;
use tests::{binary, rig};

fn main() -> std::io::Result<()> {
    if std::env::args().nth(1).is_some_and(|argument| argument == "--local") {
        let local = Local::start();
        let people = format!("sign in on its pages as alice, who is a developer, or bob; password: {PASSWORD}");
        return play(&local.authd, &local.sts, &people);
    }
    let service = Service::with(|setup: Setup, _, _| setup);
    let domain = &service.provider.domain;
    let people = format!("the provider at {domain}: sign in as alice (groups admins, dev) or bob, password Passw0rd!");
    play(&service.authd, &service.sts, &people)
}

/// Tells how to use them, and waits. `people` says who can sign in.
fn play(authd: &Authd, sts: &Sts, people: &str) -> std::io::Result<()> {
    if let Some(lifetime) = std::env::var("LIFETIME").ok().and_then(|l| l.parse().ok()) {
        sts.lifetime(lifetime);
    }
    let home = tests::folder("playground");
    let bin = binary("authd").parent().unwrap_or(Path::new(".")).display().to_string();
    let venv = std::env::split_paths(rig::path()).next().unwrap_or_default().display().to_string();
    let mut env = sts.endpoint();
    env.push(("AUTH_LOGIN_SERVER".into(), authd.url()));
    env.push(("AUTHD_ADMIN_SOCKET".into(), authd.socket_path().display().to_string()));
    env.push(("HOME".into(), home.path().display().to_string()));
    env.push(("PATH".into(), format!("{bin}:{venv}:$PATH")));
    let script = env.iter().map(|(name, value)| format!("export {name}=\"{value}\"")).collect::<Vec<_>>().join("\n");
    let settings = home.path().join("env");
    std::fs::write(&settings, script + "\n")?;

    println!(
        "
authd runs at {url} (its log: {log})
{people}
AWS at {aws}: STS and S3, with the bucket {bucket}

In another terminal:

    . {settings}

    auth-login                              # opens the browser; without one: auth-login login --no-browser
    aws sts get-caller-identity             # from ~/.aws/credentials (in a home of its own: {home})
    auth-login exec -- aws s3 cp {settings} s3://{bucket}/hello
    auth-login status

    authctl create demo --scopes read       # API tokens, over the admin socket
    authctl session list

LIFETIME=60 tests/playground gives credentials that live a minute, and are refused afterwards.
Ctrl-C ends everything.",
        url = authd.url(),
        log = authd.dir().join("log").display(),
        aws = sts.url(),
        bucket = sts.bucket,
        settings = settings.display(),
        home = home.path().display(),
    );
    until_interrupted()?;
    println!("\nending …");
    Ok(())
}

/// Waits for Ctrl-C or SIGTERM.
fn until_interrupted() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            _ = terminate.recv() => Ok(()),
            outcome = tokio::signal::ctrl_c() => outcome,
        }
    })
}
