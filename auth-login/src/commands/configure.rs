//! `auth-login configure`: sets this program as the credential_process of the profile in the AWS config file.

use super::Context;
use crate::aws_files::process;
use crate::error::Error;

pub fn run(context: &mut Context<'_>, force: bool) -> Result<(), Error> {
    let server = context.server.to_string();
    let mut arguments = vec!["--server", &server];
    if !context.server.is_private() {
        arguments.push("--insecure");
    }
    if let Some(role) = &context.role {
        arguments.extend(["--role", role]);
    }
    // The last word has no quotes: the SDK for Go strips a quote from both ends of the line.
    arguments.extend(["--profile", context.profile.as_str()]);
    let command = process::command(context.io, &arguments)?;
    context.files.set_credential_process(&context.profile, &command, force)?;
    context.warn_of_obstacles()?;
    let path = context.files.config.path().display();
    context.io.print(format!("The profile {} in {path} runs: {command}", context.profile))
}
