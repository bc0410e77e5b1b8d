//! `auth-login configure`: makes the AWS config file ask this program for the profile's keys.

use super::Context;
use crate::aws_files::Owner;
use crate::error::Error;

pub fn run(context: &mut Context<'_>, force: bool) -> Result<(), Error> {
    // Our own keys in the credentials file would hide the command; somebody else's are theirs to remove.
    if let Owner::Other(key) = context.files.owner(&context.profile)? {
        return Err(Error::refused(format!(
            "[{}] in {} has {key}, which hides credential_process; choose another --profile, or remove those keys",
            context.profile,
            context.files.credentials.path().display()
        )));
    }
    // An absolute path: tools start it from any folder, and expand nothing.
    let program = std::env::current_exe();
    let program = program.map_err(|error| Error::refused(format!("cannot find this program: {error}")))?;
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
