//! The developer's program: a browser sign-in that provides AWS credentials and renews them.
//!
//! `aws_files` handles the files of the AWS tools, `cache` the data stored on this machine, `api` the daemon. Each
//! command has its own file.

pub mod api;
pub mod args;
pub mod aws_files;
pub mod browser;
pub mod cache;
pub mod commands;
pub mod error;
pub mod io;
pub mod loopback;
pub mod paths;
pub mod prompt;
pub mod settings;

use std::process::ExitCode;

use shared::cli::Exit;
use shared::terminal;

use args::Args;
use error::Error;
use io::Io;

/// Runs a command; prints errors on standard error.
pub fn run(args: Args, io: &mut Io) -> ExitCode {
    // A test in the same process may have installed it already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            io.say(format!("auth-login: cannot start: {error}"));
            return Exit::Refused.into();
        }
    };
    let ended = runtime.block_on(until_signal(args, io));
    // A thread that reads the terminal or waits for a lock must not keep the process alive.
    runtime.shutdown_background();
    ended.unwrap_or_else(|error| {
        io.say(format!("auth-login: {error}"));
        error.exit
    })
}

/// A signal drops the command's future where it waits. This releases its locks, listener and notes; a file is written
/// between two waits, never across one.
async fn until_signal(args: Args, io: &mut Io) -> Result<ExitCode, Error> {
    let stops_well = matches!(args.command, Some(args::Command::Agent { action: None, .. }));
    let signal = terminal::ending_signal().map_err(|error| Error::refused(error.to_string()))?;
    let number = tokio::select! {
        ended = commands::run(args, io) => return ended.map(|()| ExitCode::SUCCESS),
        number = signal => number,
    };
    // A signal is the normal end of the agent. Otherwise 128 plus the signal's number, as in shells.
    Ok(if stops_well { ExitCode::SUCCESS } else { ExitCode::from(128 + u8::try_from(number).unwrap_or_default()) })
}
