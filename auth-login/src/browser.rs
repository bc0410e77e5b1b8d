//! Opens the browser: with the commands in `BROWSER`, else with the desktop's default.
//!
//! No shell is involved: `BROWSER` is split at white space, so a URL cannot inject a command.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use crate::io::Io;

/// A launcher that still runs after this time has passed the URL on, or is the browser itself.
const HANDED_OVER: Duration = Duration::from_secs(2);

/// Whether a browser can be shown on this machine; it cannot in a plain SSH session.
pub fn is_likely(io: &Io) -> bool {
    let remote = io.var("SSH_CONNECTION").is_some() || io.var("SSH_TTY").is_some();
    let desktop = ["BROWSER", "DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| io.var(name).is_some());
    desktop || !remote
}

/// The commands that may open the URL, in order.
pub fn commands(io: &Io, url: &str) -> Vec<Command> {
    match io.var("BROWSER").and_then(|value| value.to_str()) {
        Some(browser) => browser.split(':').filter_map(|entry| command(entry, url)).collect(),
        None => open::commands(url),
    }
}

/// One entry of `BROWSER`: a program with arguments. The URL replaces `%s`, or is appended.
fn command(entry: &str, url: &str) -> Option<Command> {
    let words: Vec<&str> =
        if Path::new(entry).is_file() { vec![entry] } else { entry.split_ascii_whitespace().collect() };
    let (program, arguments) = words.split_first()?;
    let mut command = Command::new(program);
    command.args(arguments.iter().map(|word| word.replace("%s", url)));
    if !arguments.iter().any(|word| word.contains("%s")) {
        command.arg(url);
    }
    Some(command)
}

/// Starts a browser and returns whether that worked. Takes up to two seconds.
pub fn launch(mut command: Command) -> bool {
    // A separate process group: Ctrl-C in this terminal must not stop the browser.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let Ok(mut child) = command.spawn() else { return false };
    let (sender, receiver) = channel();
    std::thread::spawn(move || sender.send(child.wait()));
    match receiver.recv_timeout(HANDED_OVER) {
        Ok(status) => status.is_ok_and(|status| status.success()),
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(entry: &str) -> Vec<String> {
        let command = command(entry, "http://x/?a=1&b=$(id)").unwrap();
        let arguments = command.get_args().map(|word| word.to_string_lossy().into_owned());
        std::iter::once(command.get_program().to_string_lossy().into_owned()).chain(arguments).collect()
    }

    #[test]
    fn the_url_is_one_argument_whatever_is_in_it() {
        assert_eq!(words("firefox"), ["firefox", "http://x/?a=1&b=$(id)"]);
        assert_eq!(words("open --new %s -w"), ["open", "--new", "http://x/?a=1&b=$(id)", "-w"]);
        assert!(command("  ", "http://x").is_none());
    }

    #[test]
    fn the_next_browser_is_tried_when_one_fails() {
        let io = |browser| Io::fake(Box::new(std::io::sink()), Box::new(std::io::sink()), &[("BROWSER", browser)]);
        assert!(commands(&io("/nowhere/at-all:false:true"), "http://x").into_iter().any(launch));
        assert!(!commands(&io("/nowhere/at-all:false"), "http://x").into_iter().any(launch));
    }

    #[test]
    fn a_plain_ssh_session_has_no_browser() {
        let io = |env: &[(&str, &str)]| Io::fake(Box::new(std::io::sink()), Box::new(std::io::sink()), env);
        assert!(is_likely(&io(&[])));
        assert!(!is_likely(&io(&[("SSH_CONNECTION", "x")])));
        assert!(is_likely(&io(&[("SSH_CONNECTION", "x"), ("DISPLAY", ":10")])));
    }
}
