//! The agent as a service of the person: a unit of the systemd user manager, or on macOS a launchd agent.
//!
//! The service starts with the person's session and again after a failure, but not after the end of the sign-in: the next
//! sign-in starts it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;
use shared::disk::{self, fingerprint};

use super::Context;
use crate::args::Output;
use crate::error::Error;

/// The exit code when the session has ended (`shared::cli::Exit::NotAuthenticated`).
const SESSION_ENDED: u8 = 3;
/// What the service needs of the environment of the command that installs it.
const KEPT: [&str; 13] = [
    "ALL_PROXY",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "HTTPS_PROXY",
    "NO_PROXY",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "XDG_CONFIG_HOME",
    "XDG_STATE_HOME",
    "all_proxy",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

/// What the service runs.
struct Service {
    name: String,
    profile: String,
    /// Program and arguments.
    command: Vec<String>,
    environment: Vec<(&'static str, String)>,
}

/// Writes the service and starts it.
pub fn install(context: &mut Context<'_>, force: bool) -> Result<(), Error> {
    context.session()?;
    context.check_profile(force)?;
    let service = Service::of(context, force)?;
    let path = path(context)?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|error| Error::file("create the folder", folder, error))?;
    }
    let text = if is_launchd() { service.plist() } else { service.unit() };
    disk::replace(&path, text.as_bytes()).map_err(|error| Error::file("write", &path, error))?;
    let started = if is_launchd() {
        manager("launchctl", &["load", "-w", &path.to_string_lossy()])
    } else {
        let unit = unit_name(context);
        manager("systemctl", &["--user", "daemon-reload"])
            // An agent of an earlier installation gets the new settings.
            .and_then(|()| manager("systemctl", &["--user", "enable", &unit]))
            .and_then(|()| manager("systemctl", &["--user", "restart", &unit]))
    };
    started.map_err(|problem| {
        Error::refused(format!("{} is written, but it could not be started: {problem}", path.display()))
    })?;
    let (profile, status) = (&context.profile, context.command_line("agent status"));
    context.io.print(format!("The agent keeps the keys of the profile {profile} fresh from now on; see: {status}"))
}

/// Stops the service and removes it.
pub fn uninstall(context: &mut Context<'_>) -> Result<(), Error> {
    let path = path(context)?;
    if !path.exists() {
        return context.io.print(format!("No agent is installed for the profile {}.", context.profile));
    }
    let stopped = if is_launchd() {
        manager("launchctl", &["unload", "-w", &path.to_string_lossy()])
    } else {
        manager("systemctl", &["--user", "disable", "--now", &unit_name(context)])
    };
    disk::remove(&path).map_err(|error| Error::file("remove", &path, error))?;
    if let Err(problem) = stopped {
        context.io.say(format!("warning: the agent may still run: {problem}"));
    }
    if !is_launchd() {
        let _ = manager("systemctl", &["--user", "daemon-reload"]);
    }
    context.io.print(format!("The agent of the profile {} is removed.", context.profile))
}

/// Shows whether the service is installed, and whether an agent runs.
pub fn status(context: &mut Context<'_>, output: Output) -> Result<(), Error> {
    let path = path(context)?;
    let is_installed = path.exists();
    let is_running = context.cache.has_agent();
    let session = context.session().err().map(|error| error.to_string());
    if output == Output::Json {
        return context.io.print_json(&json!({
            "profile": context.profile.as_str(),
            "installed": is_installed,
            "file": is_installed.then(|| path.display().to_string()),
            "running": is_running,
            "problem": session,
        }));
    }
    let installed = if is_installed { path.display().to_string() } else { "no".to_owned() };
    context.io.print(format!("{:9} {}", "profile", context.profile))?;
    context.io.print(format!("{:9} {installed}", "installed"))?;
    context.io.print(format!("{:9} {}", "running", if is_running { "yes" } else { "no" }))?;
    match session {
        Some(problem) => context.io.print(format!("{:9} {problem}", "session")),
        None => Ok(()),
    }
}

/// Starts an installed service again after a sign-in; returns whether it runs.
pub fn resume(context: &mut Context<'_>) -> bool {
    let Some(path) = path(context).ok().filter(|path| path.exists()) else { return false };
    let started = if is_launchd() {
        manager("launchctl", &["load", "-w", &path.to_string_lossy()])
    } else {
        manager("systemctl", &["--user", "restart", &unit_name(context)])
    };
    if let Err(problem) = started {
        context.io.say(format!("warning: the agent could not be started again: {problem}"));
        return false;
    }
    true
}

const fn is_launchd() -> bool {
    cfg!(target_os = "macos")
}

/// The name of the profile's service: its letters, and a hash where it has others.
fn name(profile: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let plain: String = profile.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    if plain == profile { plain } else { format!("{plain}-{}", &fingerprint(profile)[..8]) }
}

fn unit_name(context: &Context<'_>) -> String {
    format!("auth-login-{}.service", name(context.profile.as_str()))
}

/// Where the service manager looks for services of the person.
fn path(context: &Context<'_>) -> Result<PathBuf, Error> {
    if is_launchd() {
        let home = context.io.var("HOME").ok_or_else(|| Error::usage("there is no home directory: set HOME"))?;
        let file = format!("auth-login.{}.plist", name(context.profile.as_str()));
        return Ok(Path::new(home).join("Library/LaunchAgents").join(file));
    }
    let config = context.settings.path().parent().and_then(Path::parent);
    let config = config.ok_or_else(|| Error::usage("there is no configuration directory: set HOME"))?;
    Ok(config.join("systemd/user").join(unit_name(context)))
}

/// Runs a command of the service manager; the error is what it says.
fn manager(program: &str, args: &[&str]) -> Result<(), String> {
    let mut command = Command::new(program);
    // Absent after `su` and in cron, though the manager runs.
    let runtime = format!("/run/user/{}", rustix::process::getuid().as_raw());
    if std::env::var_os("XDG_RUNTIME_DIR").is_none() && Path::new(&runtime).is_dir() {
        command.env("XDG_RUNTIME_DIR", runtime);
    }
    let output = command.args(args).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} {}: {}", args.join(" "), said.trim()))
}

impl Service {
    fn of(context: &Context<'_>, force: bool) -> Result<Self, Error> {
        let program = std::env::current_exe();
        let program =
            program.map_err(|error| Error::refused(format!("cannot find the path of this program: {error}")))?;
        let (server, profile) = (context.server.to_string(), context.profile.to_string());
        let mut command = vec![program.to_string_lossy().into_owned(), "agent".to_owned()];
        command.extend(["--server".to_owned(), server, "--profile".to_owned(), profile.clone()]);
        if let Some(role) = &context.role {
            command.extend(["--role".to_owned(), role.clone()]);
        }
        command.extend((!context.server.is_private()).then(|| "--insecure".to_owned()));
        command.extend(force.then(|| "--force".to_owned()));
        let variable = |name| context.io.var(name).map(|value| (name, value.to_string_lossy().into_owned()));
        let environment: Vec<_> = KEPT.into_iter().filter_map(variable).collect();
        let texts = command.iter().chain(environment.iter().map(|(_, value)| value));
        if let Some(odd) = texts.into_iter().find(|text| text.contains(char::is_control)) {
            return Err(Error::usage(format!("{odd:?} cannot be written into a service")));
        }
        Ok(Self { name: name(&profile), profile, command, environment })
    }

    /// systemd.service(5), systemd.exec(5).
    fn unit(&self) -> String {
        let command: Vec<String> = self.command.iter().map(|word| quoted(&word.replace('$', "$$"))).collect();
        let environment: String = self
            .environment
            .iter()
            .map(|(name, value)| format!("Environment={}\n", quoted(&format!("{name}={value}"))))
            .collect();
        format!(
            "# Written by auth-login agent install.\n\
             [Unit]\n\
             Description=AWS keys of the profile {profile}\n\
             \n\
             [Service]\n\
             ExecStart={command}\n\
             {environment}\
             NoNewPrivileges=yes\n\
             UMask=0077\n\
             # When the sign-in has ended, only a person can go on.\n\
             SuccessExitStatus={SESSION_ENDED}\n\
             Restart=on-failure\n\
             RestartSec=30\n\
             RestartPreventExitStatus=2\n\
             \n\
             [Install]\n\
             WantedBy=default.target\n",
            profile = self.profile.replace('%', "%%"),
            command = command.join(" "),
        )
    }

    /// launchd.plist(5). launchd has no list of exit codes that are no failure, so a shell makes the end of the sign-in one.
    fn plist(&self) -> String {
        let string = |text: &str| format!("<string>{}</string>", xml(text));
        let script = format!("\"$0\" \"$@\"; code=$?; [ $code -ne {SESSION_ENDED} ] || exit 0; exit $code");
        let words = ["/bin/sh", "-c", &script].into_iter().chain(self.command.iter().map(String::as_str));
        let variables = self.environment.iter().map(|(name, value)| format!("<key>{name}</key>{}", string(value)));
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n\
             <plist version=\"1.0\"><dict>\n\
             <key>Label</key>{label}\n\
             <key>ProgramArguments</key><array>{words}</array>\n\
             <key>EnvironmentVariables</key><dict>{variables}</dict>\n\
             <key>RunAtLoad</key><true/>\n\
             <key>KeepAlive</key><dict><key>SuccessfulExit</key><false/></dict>\n\
             <key>ThrottleInterval</key><integer>30</integer>\n\
             </dict></plist>\n",
            label = string(&format!("auth-login.{}", self.name)),
            words = words.map(string).collect::<String>(),
            variables = variables.collect::<String>(),
        )
    }
}

/// A word of a unit's line, in quotes, without specifiers.
fn quoted(word: &str) -> String {
    format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%"))
}

fn xml(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service() -> Service {
        Service {
            name: name("team/dev"),
            profile: "team/dev".into(),
            command: ["/opt/a b/auth-login", "agent", "--role", "50%\"$x\\<"].map(str::to_owned).into(),
            environment: vec![("AWS_CONFIG_FILE", "/h/100% & more".into())],
        }
    }

    #[test]
    fn a_unit_takes_every_word_as_it_is() {
        let unit = service().unit();
        let start = "ExecStart=\"/opt/a b/auth-login\" \"agent\" \"--role\" \"50%%\\\"$$x\\\\<\"\n";
        assert!(unit.contains(start), "{unit}");
        assert!(unit.contains("Environment=\"AWS_CONFIG_FILE=/h/100%% & more\"\n"), "{unit}");
    }

    #[test]
    fn a_launchd_agent_takes_every_word_as_it_is() {
        let plist = service().plist();
        assert!(plist.contains("<string>/opt/a b/auth-login</string><string>agent</string>"), "{plist}");
        assert!(plist.contains("<string>50%\"$x\\&lt;</string>") && plist.contains("/h/100% &amp; more"), "{plist}");
    }

    #[test]
    fn two_profiles_have_two_names() {
        assert_eq!(name("dev.1_a-B"), "dev.1_a-B");
        assert_ne!(name("team/dev"), name("team:dev"));
        assert!(!name("../x").contains('/'));
    }
}
