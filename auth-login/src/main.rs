//! auth-login: sign in once in the browser, and every AWS tool works and keeps working.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let args = auth_login::args::Args::parse();
    auth_login::run(args, &mut auth_login::io::Io::real())
}
