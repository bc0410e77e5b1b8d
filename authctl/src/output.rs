//! Error messages: what happened, and what to do next.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use owo_colors::OwoColorize;
use shared::cli::{clean, clean_lines};
use shared::client::{self, Endpoint};
use shared::paths;
use shared::problem::{Code, Problem};

use crate::Io;
use crate::connect::Credentials;
use crate::error::{Error, FailedCall};

/// Prints on stderr what went wrong and what to do next.
pub(crate) fn show_error(error: &Error, io: &mut Io<'_>) {
    let label = if io.colour_errors { "error:".red().bold().to_string() } else { "error:".to_owned() };
    // An error here cannot be reported.
    let _ = writeln!(io.err, "{label} {}", clean_lines(explain(error).trim_end()));
}

fn explain(error: &Error) -> String {
    match error {
        Error::Usage(detail) | Error::Refused(detail) | Error::NotAuthenticated(detail) => detail.clone(),
        Error::Declined => "nothing was done".to_owned(),
        Error::Output(error) => error.to_string(),
        Error::NoSocket(tried) => no_socket(tried),
        Error::Unanswered { key, call } => format!(
            "{}\nIt may have happened. Repeat the command with `--idempotency-key {key}` to get the same answer",
            explain_call(call)
        ),
        Error::Unshown { advice, source } => {
            format!("the token was created, but it could not be printed: {source}\n{advice}")
        }
        Error::Stopped { done, of, step, call } => format!(
            "{}\n{done} of {of} changes were made and stay; this one was not: {}\nRun the command again to resume",
            explain_call(call),
            clean(step)
        ),
        Error::Call(call) => explain_call(call),
    }
}

/// How to start a daemon on this machine.
fn start_hint() -> &'static str {
    if has_unit() { "Start it with `systemctl start authd`" } else { "Start it with `authd`" }
}

/// Whether systemd has a unit for authd on this machine.
fn has_unit() -> bool {
    let folders = ["/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];
    Path::new("/run/systemd/system").is_dir()
        && folders.iter().any(|folder| Path::new(folder).join("authd.service").exists())
}

fn no_socket(tried: &[(PathBuf, io::Error)]) -> String {
    let mut text = "cannot connect to authd".to_owned();
    for (path, error) in tried {
        let told = match error.kind() {
            io::ErrorKind::NotFound => "there is no such socket".to_owned(),
            io::ErrorKind::ConnectionRefused => {
                "no process listens on this socket; it is left over from a stopped daemon".to_owned()
            }
            io::ErrorKind::PermissionDenied => format!("you ({}) may not open it", user()),
            _ => error.to_string(),
        };
        let _ = write!(text, "\n  tried {}: {told}", path.display());
    }
    if tried.iter().any(|(_, error)| error.kind() == io::ErrorKind::PermissionDenied) {
        text += "\nRun authctl as root or as authd's user, have an administrator allow you by [[admin.peer]] in authd.toml, \
                 or use --server URL with AUTHCTL_TOKEN";
    } else {
        let hint = start_hint();
        let _ = write!(text, "\n{hint}; if it runs elsewhere, use --socket PATH or --server URL");
    }
    text
}

/// The user of this process, as the daemon sees it.
fn user() -> String {
    format!("uid {}", rustix::process::geteuid().as_raw())
}

fn explain_call(call: &FailedCall) -> String {
    let error = &call.source;
    let mut text = match error {
        client::Error::Refused(problem) => refused(problem, call),
        client::Error::Unreachable { endpoint: Endpoint::Url(_), .. } => format!(
            "{error}\nIs authd running there? It listens on {} unless SERVER_ADDR says otherwise",
            paths::SERVER_ADDR
        ),
        client::Error::Unreachable { .. } => format!("{error}\n{}", start_hint()),
        client::Error::NoAnswer { .. } => {
            format!("{error}\n`--timeout SECONDS` waits longer; authd's log may have details")
        }
        client::Error::NotAuthd { .. } => format!("{error}\nIs this authd's address, and as new as authctl?"),
    };
    if let Some(hint) = &call.hint {
        let _ = write!(text, "\n{hint}");
    }
    text
}

fn refused(problem: &Problem, call: &FailedCall) -> String {
    let mut text = clean(&problem.detail).into_owned();
    for field in &problem.fields {
        let told = format!("{}: {}", clean(&field.field), clean(&field.detail));
        // With one field the detail already says it.
        if !text.contains(&told) {
            let _ = write!(text, "\n  {told}");
        }
    }
    if let Some(seconds) = problem.retry_after {
        let _ = write!(text, "\nTry again in {seconds} s");
    }
    text += &advice(problem, call);
    if let Some(id) = problem.request_id.as_ref().filter(|_| problem.status >= 500) {
        let _ = write!(text, "\nauthd's log has the details under request id {}", clean(id));
    }
    text
}

fn advice(problem: &Problem, call: &FailedCall) -> String {
    match (problem.status, call.credentials) {
        // The password was wrong, not the credentials of the call.
        (401, _) if problem.error == Code::InvalidCredentials => String::new(),
        (401, _) if problem.error == Code::TotpRequired => {
            "\nWithout a terminal, send the code as the line after the password on stdin".to_owned()
        }
        (401 | 403, Credentials::Peer) => {
            format!("\nYou are {}; an administrator allows users and groups by [[admin.peer]] in authd.toml", user())
        }
        (401, Credentials::None) => format!(
            "\nSign in with `authctl login --server {}`, or set AUTHCTL_TOKEN (a token with scopes such as \
             authd:tokens.write) or ADMIN_TOKEN",
            call.endpoint
        ),
        (401, Credentials::Token) => {
            "\nThe token in AUTHCTL_TOKEN or ADMIN_TOKEN is not one that this daemon accepts".to_owned()
        }
        (401, Credentials::Session) => {
            format!("\nYour session is over: run authctl login --server {}", call.endpoint)
        }
        (403, Credentials::Session) => "\n`authctl whoami` shows your permissions".to_owned(),
        _ => String::new(),
    }
}
