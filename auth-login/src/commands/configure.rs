//! `auth-login configure`: sets this program as the credential_process of the profile in the AWS config file.

use super::Context;
use crate::aws_files::Owner;
use crate::error::Error;

pub fn run(context: &mut Context<'_>, force: bool) -> Result<(), Error> {
    // Keys in the credentials file hide the command. Our own are removed; the user must remove those of others.
    if let Owner::Other(key) = context.files.owner(&context.profile)? {
        return Err(Error::refused(format!(
            "[{}] in {} has {key}, which hides credential_process; choose another --profile, or remove those keys",
            context.profile,
            context.files.credentials.path().display()
        )));
    }
    // An absolute path: tools start it from any folder and do not expand variables.
    let program = std::env::current_exe();
    let program = program.map_err(|error| Error::refused(format!("cannot find the path of this program: {error}")))?;
    let command = command(&program.to_string_lossy(), context)?;
    context.files.set_credential_process(&context.profile, &command, force)?;
    context.files.remove(&context.profile)?;
    context.warn_of_obstacles()?;
    let section = context.profile.in_config();
    context.io.print(format!("[{section}] in {} runs: {command}", context.files.config.path().display()))
}

fn command(program: &str, context: &Context<'_>) -> Result<String, Error> {
    if program.contains(['"', '\\', '\n']) {
        return Err(Error::refused(format!("{program:?} cannot be written into the config file; move it elsewhere")));
    }
    let program = if program.contains(' ') { format!("\"{program}\"") } else { program.to_owned() };
    let mut command = format!("{program} credential-process --server {} --profile {}", context.server, context.profile);
    if !context.server.is_private() {
        command += " --insecure";
    }
    if let Some(role) = &context.role {
        if !role.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.:/@+=,".contains(&byte)) {
            return Err(Error::usage(format!("the role {role:?} cannot be written into the config file")));
        }
        command.extend([" --role ", role]);
    }
    Ok(command)
}
