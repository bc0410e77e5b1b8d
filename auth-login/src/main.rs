//! auth-login: signs in through the browser and keeps AWS credentials valid for every AWS tool.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let args = auth_login::args::Args::parse();
    auth_login::run(args, &mut auth_login::io::Io::real())
}
