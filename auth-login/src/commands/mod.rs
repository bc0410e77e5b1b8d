//! The commands, one file each. They share the context here and `renewal`.

mod agent;
mod configure;
mod credential_process;
mod exec;
mod login;
mod logout;
mod profiles;
mod renew;
mod renewal;
mod roles;
mod sign_in;
mod status;
#[cfg(test)]
mod tests;

use shared::client::Endpoint;

use crate::api::parse_server;
use crate::args::{AgentAction, Args, Command, LoginFlags, Target};
use crate::aws_files::{AwsFiles, ProfileName};
use crate::cache::{Cache, Credentials, Session};
use crate::error::Error;
use crate::io::Io;
use crate::paths::Paths;
use crate::settings::Settings;

/// The server if none is configured.
const DEFAULT_SERVER: &str = "http://127.0.0.1:8080";

/// The context of every command.
struct Context<'a> {
    io: &'a mut Io,
    server: Endpoint,
    profile: ProfileName,
    /// As requested, now or at the sign-in; `None` is the server's default.
    role: Option<String>,
    settings: Settings,
    cache: Cache,
    files: AwsFiles,
}

/// Runs the requested command.
pub async fn run(args: Args, io: &mut Io) -> Result<(), Error> {
    let Args { target, login, command } = args;
    if !login.is_empty() && !matches!(command, None | Some(Command::Login(_) | Command::SwitchUser(_))) {
        return Err(Error::usage(
            "--no-browser, --force, --again, --another-user and --provider belong to the commands login and switch-user",
        ));
    }
    let mut context = Context::new(target, io)?;
    match command {
        None => login::run(&mut context, login).await,
        Some(Command::Login(flags)) => login::run(&mut context, flags.or(login)).await,
        Some(Command::SwitchUser(flags)) => {
            let flags = LoginFlags { again: true, another_user: true, ..flags.or(login) };
            login::run(&mut context, flags).await
        }
        Some(Command::Status { output }) => status::run(&mut context, output),
        Some(Command::Roles { output }) => roles::run(&mut context, output),
        Some(Command::Profiles { output }) => profiles::run(&mut context, output),
        Some(Command::Renew { force }) => renew::run(&mut context, force).await,
        Some(Command::Logout) => logout::run(&mut context).await,
        Some(Command::CredentialProcess) => credential_process::run(&mut context).await,
        Some(Command::Exec { command }) => exec::run(&mut context, &command).await,
        Some(Command::Agent { force, action }) => match action {
            None => agent::run(&mut context, force).await,
            Some(AgentAction::Install) => agent::install(&mut context, force),
            Some(AgentAction::Uninstall) => agent::uninstall(&mut context),
            Some(AgentAction::Status { output }) => agent::status(&mut context, output),
        },
        Some(Command::Configure { force }) => configure::run(&mut context, force),
    }
}

impl<'a> Context<'a> {
    fn new(target: Target, io: &'a mut Io) -> Result<Self, Error> {
        let usual = io.var("AWS_PROFILE").map(|name| name.to_string_lossy().into_owned());
        let usual = usual.unwrap_or_else(|| "default".to_owned());
        let profile = ProfileName::parse(target.profile.as_deref().unwrap_or(&usual)).map_err(Error::usage)?;
        let paths = Paths::find(io)?;
        paths.check_owner(io)?;
        let settings = Settings::read(&paths.settings)?;
        let remembered = settings.profile(&profile);
        let url = target.server.or(remembered.server).or_else(|| settings.server.clone());
        let server = parse_server(url.as_deref().unwrap_or(DEFAULT_SERVER), target.insecure)?;
        let cache = Cache::open(&paths.state, &server.to_string(), &profile)?;
        let role = target.role.or(remembered.role);
        Ok(Self { io, server, profile, role, settings, cache, files: AwsFiles::at(&paths) })
    }

    /// The session; the error says how to sign in.
    fn session(&self) -> Result<Session, Error> {
        self.cache.find_session()?.ok_or_else(|| {
            let run = self.login_command();
            Error::not_authenticated(match self.cache.find_end() {
                Some(end) => format!("{} (profile {}); run: {run}", end.detail, self.profile),
                None => format!("not signed in to {} for the profile {}; run: {run}", self.server, self.profile),
            })
        })
    }

    fn credentials(&self) -> Option<Credentials> {
        self.cache.find_credentials(self.role.as_deref())
    }

    /// The command line that signs in to this context.
    fn login_command(&self) -> String {
        self.command_line("login")
    }

    /// The line for a person that runs a command in this context.
    fn command_line(&self, command: &str) -> String {
        let mut words = vec![format!("auth-login {command}")];
        let default = self.settings.profile(&self.profile).server.or_else(|| self.settings.server.clone());
        if default.as_deref().unwrap_or(DEFAULT_SERVER) != self.server.to_string() {
            words.push(format!("--server {}", self.server));
        }
        let usual = ["AUTH_LOGIN_PROFILE", "AWS_PROFILE"].into_iter().find_map(|name| self.io.var(name));
        if self.profile.as_str() != "default" || usual.is_some_and(|usual| usual != "default") {
            words.push(format!("--profile {}", self.profile));
        }
        words.join(" ")
    }

    /// Writes the keys into the credentials file, unless the config file has this program as the profile's source.
    fn write_profile(&mut self, credentials: &Credentials, force: bool) -> Result<Written, Error> {
        if self.files.asks_us(&self.profile)? {
            return Ok(Written::NotNeeded);
        }
        self.files.write(&self.profile, credentials, force)?;
        Ok(Written::File)
    }

    /// Fails if the result of a sign-in or a renewal could not be stored: in the cache, and by [`Self::write_profile`].
    fn check_profile(&self, force: bool) -> Result<(), Error> {
        self.cache.check_writable()?;
        // Reads both files: they are looked at for conflicts in the end.
        self.files.obstacles(&self.profile)?;
        if self.files.asks_us(&self.profile)? { Ok(()) } else { self.files.check_writable(&self.profile, force) }
    }

    fn warn_of_obstacles(&mut self) -> Result<(), Error> {
        for obstacle in self.files.obstacles(&self.profile)? {
            self.io.say(format!("warning: {obstacle}"));
        }
        Ok(())
    }
}

/// Where the AWS tools find a profile's keys.
enum Written {
    /// In the credentials file.
    File,
    /// The tools run `credential-process`; keys in the file would take precedence.
    NotNeeded,
}

/// Seconds in words, rounded.
fn duration(seconds: i64) -> String {
    let (count, unit) = match seconds {
        ..=0 => return "no time".to_owned(),
        1..120 => (seconds, "second"),
        120..7200 => (seconds / 60, "minute"),
        7200..172_800 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}
