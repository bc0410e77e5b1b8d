//! The terminal of a command-line program: what has to be put back when a signal ends the program, and what it can show.

use std::ffi::OsString;
use std::future::poll_fn;
use std::io::{self, IsTerminal, Write};
use std::task::Poll;

use rustix::process::getpgrp;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};

/// SIGHUP, SIGQUIT, SIGTERM and SIGINT: what a closing terminal, a person or a supervisor sends to end a program. SIGINT is
/// last because a prompt that another signal interrupts raises it, too.
const ENDING: [i32; 4] = [1, 3, 15, 2];

/// Listens from now on for signals that ask the program to end; the future is the number of the first one. A signal that was
/// ignored when the program started stays ignored: `nohup` ignores SIGHUP, and a script ignores SIGINT for what it starts in
/// the background.
pub fn ending_signal() -> io::Result<impl Future<Output = i32>> {
    let ignored = ignored_signals();
    let mut listening = Vec::new();
    for number in ENDING.into_iter().filter(|number| ignored >> (number - 1) & 1 == 0) {
        listening.push((number, signal(SignalKind::from_raw(number))?));
    }
    Ok(poll_fn(move |context| {
        let come =
            listening.iter_mut().find_map(|(number, signal)| signal.poll_recv(context).is_ready().then_some(*number));
        come.map_or(Poll::Pending, Poll::Ready)
    }))
}

/// The signals that this process ignores, one bit each from SIGHUP on; none where the kernel does not say.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// The modes of the terminal before a prompt changes them.
#[derive(Debug)]
pub struct Modes {
    input: Option<Termios>,
}

impl Modes {
    /// The present ones.
    pub fn current() -> Self {
        Self { input: tcgetattr(io::stdin()).ok() }
    }

    /// Puts them back and shows the cursor. Errors are ignored: the terminal may be gone.
    pub fn restore(&self) {
        // A program in the background would be stopped by the terminal.
        let is_in_front = tcgetpgrp(io::stdin()).is_ok_and(|group| group == getpgrp());
        if let Some(modes) = self.input.as_ref().filter(|_| is_in_front) {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, modes);
        }
        let mut terminal = io::stderr();
        if terminal.is_terminal() {
            let _ = terminal.write_all(b"\x1b[?25h");
        }
    }
}

/// Whether the terminal shows more than ASCII, by the variables of the locale (POSIX, XBD 8.2).
pub fn is_utf8(variable: impl Fn(&str) -> Option<OsString>) -> bool {
    let set = |name| variable(name).filter(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).unwrap_or_default();
    let locale = locale.to_string_lossy().to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_variable_of_the_locale_decides() {
        let is_utf8 = |set: &[(&str, &str)]| {
            is_utf8(|name| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).into()))
        };
        assert!(is_utf8(&[("LANG", "C.UTF-8")]) && is_utf8(&[("LC_CTYPE", "de_DE.utf8"), ("LANG", "C")]));
        assert!(is_utf8(&[("LC_ALL", ""), ("LANG", "en_US.UTF-8")]));
        assert!(!is_utf8(&[]) && !is_utf8(&[("LANG", "C")]) && !is_utf8(&[("LANG", "de_DE.ISO-8859-1")]));
        assert!(!is_utf8(&[("LC_ALL", "POSIX"), ("LANG", "C.UTF-8")]));
    }
}
