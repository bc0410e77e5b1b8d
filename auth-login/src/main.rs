//! auth-login: signs in through the browser and keeps AWS credentials valid for every AWS tool.

use std::process::ExitCode;

use auth_login::args::Args;
use clap::CommandFactory;

fn main() -> ExitCode {
    shared::secret::forbid_core_dumps();
    let args = shared::cli::parse::<Args>(Args::command(), std::env::args_os()).unwrap_or_else(|error| error.exit());
    auth_login::run(args, &mut auth_login::io::Io::real())
}
