//! The person at the terminal. However the program ends while a prompt waits, the terminal echoes again and shows its
//! cursor.

use std::io;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use authctl::Person;
use shared::cli::clean_lines;
use shared::secret::Secret;
use shared::terminal::{self, Modes};

/// SIGINT, which a prompt that reads single keys reports as an interrupted read.
const INTERRUPT: i32 = 2;
/// How long a prompt may take until it waits.
const PROMPT_TIMEOUT: Duration = Duration::from_millis(100);
/// How long the thread that watches signals may take.
const SIGNAL_TIMEOUT: Duration = Duration::from_secs(2);

/// The person who started this program.
#[derive(Default)]
pub struct Terminal {
    /// Before the first prompt.
    modes: OnceLock<Arc<Modes>>,
}

impl Terminal {
    /// Runs a prompt with signals watched from a thread: the prompt blocks this one.
    fn ask<T>(&self, prompt: impl FnOnce() -> dialoguer::Result<T>) -> io::Result<T> {
        let modes = self.modes.get_or_init(|| {
            let modes = Arc::new(Modes::current());
            let watched = modes.clone();
            let (ready, listening) = channel();
            thread::spawn(move || watch(&watched, ready));
            // Until it listens or cannot.
            let _ = listening.recv();
            modes
        });
        prompt().map_err(|dialoguer::Error::IO(error)| {
            if error.kind() == io::ErrorKind::Interrupted {
                // The other thread ends the program with the signal's number, unless SIGINT is ignored.
                thread::sleep(SIGNAL_TIMEOUT);
                end(modes, INTERRUPT);
            }
            error
        })
    }
}

/// Waits for a signal; says when it listens.
fn watch(modes: &Modes, ready: Sender<()>) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    runtime.block_on(async {
        let Ok(signal) = terminal::ending_signal() else { return };
        drop(ready);
        end(modes, signal.await);
    });
}

/// Ends the program with 128 plus the signal's number, as shells report it.
fn end(modes: &Modes, signal: i32) -> ! {
    modes.restore();
    // The prompt runs on and may be about to change the modes; after that it only waits for a key.
    thread::sleep(PROMPT_TIMEOUT);
    modes.restore();
    std::process::exit(128 + signal)
}

impl Person for Terminal {
    fn confirm(&self, question: &str) -> io::Result<bool> {
        self.ask(|| dialoguer::Confirm::new().with_prompt(clean_lines(question)).default(false).interact())
    }

    fn line(&self, prompt: &str, default: Option<&str>) -> io::Result<String> {
        let mut input = dialoguer::Input::<String>::new().with_prompt(clean_lines(prompt));
        if let Some(default) = default {
            input = input.default(default.to_owned());
        }
        self.ask(|| input.interact_text())
    }

    fn secret(&self, prompt: &str) -> io::Result<Secret> {
        self.ask(|| dialoguer::Password::new().with_prompt(clean_lines(prompt)).interact()).map(Secret::new)
    }
}
