//! Reads lines that a person types or pastes, concurrently with other work.

use std::io::{BufRead, Read};

use tokio::sync::mpsc::{Receiver, channel};

/// Bytes; longer than any expected input.
const MAX_LINE: u64 = 4096;

/// The lines of standard input, trimmed, one at a time; the channel closes at its end. A thread reads: a read from a
/// terminal cannot be cancelled, and the process ends without waiting for it.
pub fn lines() -> Receiver<String> {
    let (sender, receiver) = channel(1);
    std::thread::spawn(move || {
        let mut input = std::io::stdin().lock();
        loop {
            let mut line = String::new();
            match input.by_ref().take(MAX_LINE).read_line(&mut line) {
                Ok(1..) if sender.blocking_send(line.trim().to_owned()).is_ok() => {}
                _ => return,
            }
        }
    });
    receiver
}
