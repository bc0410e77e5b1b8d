//! Arguments and exit code; the rest is in the library.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{IsTerminal, Read};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::Context;
use authd::config::{self, Config, ConfigError, Log, LogFormat, Sources};
use authd::daemon;
use authd::db::Db;
use authd::env::Env;
use authd::forward_auth;
use authd::log;
use authd::setting::Faults;
use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// API tokens, sessions and the browser login for AWS credentials
///
/// Without configuration it stores its data in SQLite and listens on 127.0.0.1:8080 and on an admin socket.
#[derive(Parser)]
#[command(version, about)]
struct Args {
    /// Configuration file [default: /etc/authd/authd.toml, if it exists]
    #[arg(long, value_name = "FILE", global = true, value_parser = path())]
    config: Option<PathBuf>,
    /// Variables to add to the environment [default: .env, if it exists and systemd did not start authd]
    #[arg(long, value_name = "FILE", global = true, value_parser = path())]
    env_file: Option<PathBuf>,
    /// Address of the public HTTP listener
    #[arg(long, value_name = "HOST:PORT", global = true)]
    listen: Option<String>,
    /// Directory of the SQLite file and the root key
    #[arg(long, value_name = "DIR", global = true)]
    data_dir: Option<String>,
    /// Path of the admin socket
    #[arg(long, value_name = "PATH", global = true)]
    admin_socket: Option<String>,
    /// The URL under which people and clients reach authd
    #[arg(long, value_name = "URL", global = true)]
    public_url: Option<String>,
    /// Begin a new database although this root key or data directory had one before
    #[arg(long)]
    new_database: bool,
    /// For development: print mails instead of sending them; only if authd is reachable from this machine alone
    #[arg(long, global = true)]
    dev: bool,
    #[command(subcommand)]
    command: Option<Verb>,
}

/// A path, or the empty text of a flag that is not set.
fn path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

#[derive(Subcommand)]
enum Verb {
    /// Run the daemon (the default)
    Run,
    /// Check the configuration and print the effective settings, secrets redacted
    Check(Check),
    /// Restore the SQLite database from a backup of `authctl backup`, while no daemon runs
    Restore(Restore),
}

#[derive(clap::Args)]
struct Restore {
    /// The backup; `-` is standard input
    #[arg(value_name = "FILE", value_parser = path())]
    file: PathBuf,
    /// Replace a database that has data, which is lost
    #[arg(long)]
    replace: bool,
}

#[derive(clap::Args)]
struct Check {
    /// Instead of the settings, print which rule of this policy decides about REQUEST
    #[arg(long, value_name = "NAME", requires = "request")]
    policy: Option<String>,
    /// A request as a client sends it, such as "GET /path"
    #[arg(requires = "policy")]
    request: Option<String>,
}

/// Set for the process that was restarted with the variables of the environment file.
const LOADED: &str = "AUTHD_ENV_FILE_LOADED";

fn main() -> ExitCode {
    shared::secret::forbid_core_dumps();
    let args = Args::parse();
    let code = match start(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let lines = format!("{error:#}").lines().map(|line| format!("authd: {line}\n")).collect::<String>();
            log::say(&lines);
            // The same exit code as a wrong command line: a supervisor need not restart.
            if error.is::<ConfigError>() { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    };
    log::end();
    code
}

fn start(args: &Args) -> anyhow::Result<()> {
    // Every file is private from its first moment; what others may reach (the admin socket) gets its mode explicitly.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    load_environment(args)?;
    let flags = [
        ("server.addr", &args.listen),
        ("data_dir", &args.data_dir),
        ("admin.socket", &args.admin_socket),
        ("server.public_url", &args.public_url),
    ];
    let sources = Sources {
        file: args.config.clone().filter(|path| !path.as_os_str().is_empty()),
        default_file: Some(PathBuf::from("/etc/authd/authd.toml")),
        environment: config::environment(),
        flags: flags.into_iter().filter_map(|(key, value)| Some((key, value.clone()?))).collect(),
    };
    let (mut config, mut faults) = sources.read();
    config.new_database = args.new_database;
    if args.dev {
        config.print_mails(&mut faults);
    }
    config.check_sign_up(&mut faults);
    if let Some(Verb::Check(check)) = &args.command {
        return print_check(check, &config, faults);
    }
    if !faults.refused.is_empty() {
        config.check_places(&mut faults);
        return Err(ConfigError(faults.refused).into());
    }
    start_log(&config.log)?;
    for warning in faults.warned {
        tracing::warn!("{warning}");
    }
    if let Some(Verb::Restore(restore)) = &args.command {
        return restore_backup(restore, &config);
    }
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default().ok();
    serve(config)
}

/// Reports every fault that a start would meet, and prints the effective settings if there is none. The answer about a
/// policy depends on the settings alone, and not on this machine.
fn print_check(check: &Check, config: &Config, mut faults: Faults) -> anyhow::Result<()> {
    if check.policy.is_none() {
        config.check_places(&mut faults);
        config.server.check_address(&config.admin, &mut faults);
        if faults.refused.is_empty()
            && let Err(error) = daemon::check_new(config)
        {
            faults.refuse(format!("{error:#}"));
        }
    }
    for warning in &faults.warned {
        eprintln!("authd: warning: {warning}");
    }
    if !faults.refused.is_empty() {
        return Err(ConfigError(faults.refused).into());
    }
    if let (Some(policy), Some(request)) = (&check.policy, &check.request) {
        let decided = forward_auth::explain(&config.policies, policy, request);
        println!("{}", decided.map_err(|fault| ConfigError(vec![fault]))?);
        return Ok(());
    }
    print!("{}", toml::to_string(config)?);
    eprintln!("the configuration is valid");
    Ok(())
}

fn restore_backup(restore: &Restore, config: &Config) -> anyhow::Result<()> {
    let backup: Box<dyn Read> = if restore.file.as_os_str() == "-" {
        Box::new(std::io::stdin())
    } else {
        Box::new(File::open(&restore.file).with_context(|| restore.file.display().to_string())?)
    };
    daemon::restore(config, backup, restore.replace)?;
    eprintln!("the database is restored; start authd");
    Ok(())
}

fn serve(config: Config) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut stopped = signals()?;
        // A write beyond the limit of file sizes is an error of that write, and does not end the process.
        let _beyond_limit = signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?;
        let stop = async move {
            let _ = stopped.recv().await;
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        };
        daemon::run(config, Env::real(), announce, stop).await
    })
}

/// Receives when the daemon shall drain and stop: at SIGTERM, SIGINT, SIGQUIT, and when its terminal is closed. Other
/// signals that would end the process at once are ignored with a line in the log.
fn signals() -> std::io::Result<mpsc::Receiver<()>> {
    let (stop, stopped) = mpsc::channel(1);
    let mut ending = vec![SignalKind::terminate(), SignalKind::interrupt(), SignalKind::quit()];
    let mut ignored = vec![SignalKind::user_defined1(), SignalKind::user_defined2(), SignalKind::alarm()];
    if std::io::stdin().is_terminal() { &mut ending } else { &mut ignored }.push(SignalKind::hangup());
    for kind in ending.iter().chain(&ignored).copied() {
        let (mut received, stop, stops) = (signal(kind)?, stop.clone(), ending.contains(&kind));
        tokio::spawn(async move {
            while received.recv().await.is_some() {
                if stops {
                    let _ = stop.try_send(());
                } else {
                    let signal = kind.as_raw_value();
                    tracing::info!(signal, "ignored: the configuration is read at the start; restart to apply changes");
                }
            }
        });
    }
    Ok(stopped)
}

/// Reports to systemd, the log, and a person at a terminal that authd is ready.
fn announce(config: &Config, db: &dyn Db) {
    tracing::info!(
        version = authd::system::VERSION,
        addr = %config.server.addr,
        admin_addr = config.admin.addr.map(tracing::field::display),
        socket = %config.admin.socket.display(),
        database = db.engine(),
        "ready"
    );
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    if let Some(interval) = sd_notify::watchdog_enabled() {
        tokio::spawn(async move {
            loop {
                let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
                tokio::time::sleep(interval / 2).await;
            }
        });
    }
    if variable("INVOCATION_ID").is_none() {
        let url = &config.server.public_url;
        log::say(&format!(
            "\nauthd is ready on {url} and keeps its data in {data}\n\n\
             Try it, in another terminal:\n\n  \
             authctl create demo --scopes read        # create a token\n  \
             curl {url}/auth/validate -H 'Content-Type: application/json' -d '{{\"token\": \"PASTE-IT-HERE\"}}'\n  \
             authctl revoke demo                      # revoke it\n  \
             authctl user create ada                  # a person, who signs in at {url}/login\n\n",
            data = config.data_place(),
        ));
    }
}

fn start_log(config: &Log) -> anyhow::Result<()> {
    let filter = config.filter().map_err(anyhow::Error::msg)?;
    let human = match config.format {
        LogFormat::Human => true,
        LogFormat::Json => false,
        LogFormat::Auto => std::io::stderr().is_terminal(),
    };
    log::start().context("the thread that writes the log cannot be started")?;
    let layer = tracing_subscriber::fmt::layer().with_writer(log::line);
    let registry = tracing_subscriber::registry().with(filter);
    if human {
        registry.with(layer.with_target(false)).init();
    } else {
        registry.with(layer.json().flatten_event(true)).init();
    }
    // The default writes to standard error by itself, and would wait for a reader.
    std::panic::set_hook(Box::new(|panic| {
        let backtrace = Backtrace::capture();
        let is_captured = backtrace.status() == BacktraceStatus::Captured;
        tracing::error!(backtrace = is_captured.then(|| tracing::field::display(&backtrace)), "{panic}");
    }));
    Ok(())
}

/// A variable that is set and not empty.
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// Restarts this program with the variables of the environment file added and empty ones of AWS removed, so that the AWS
/// SDK sees the same: changing the environment of a running process is unsafe. Variables that are set take precedence.
fn load_environment(args: &Args) -> anyhow::Result<()> {
    let missing: Vec<_> = of_file(args)?.into_iter().filter(|(name, _)| variable(name).is_none()).collect();
    // An empty AWS_REGION is a region of no name to the SDK.
    let is_ours = |name: &OsString| name.as_encoded_bytes().starts_with(b"AWS_");
    let empty: Vec<_> = std::env::vars_os().filter(|(name, value)| value.is_empty() && is_ours(name)).collect();
    if missing.is_empty() && empty.is_empty() {
        return Ok(());
    }
    let mut again = Command::new(std::env::current_exe()?);
    for (name, _) in &empty {
        again.env_remove(name);
    }
    let error = again.args(std::env::args_os().skip(1)).envs(missing).env(LOADED, "1").exec();
    Err(error).context("cannot restart with the variables of the environment file")
}

/// The variables of the environment file.
fn of_file(args: &Args) -> anyhow::Result<BTreeMap<String, String>> {
    let by_hand = variable("INVOCATION_ID").is_none();
    let named = args.env_file.as_ref().filter(|path| !path.as_os_str().is_empty());
    let path = match named {
        Some(path) => path.clone(),
        None if by_hand && std::path::Path::new(".env").is_file() => PathBuf::from(".env"),
        None => return Ok(BTreeMap::new()),
    };
    if variable(LOADED).is_some() {
        return Ok(BTreeMap::new());
    }
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let variables = parse_env(&text).with_context(|| path.display().to_string())?;
    // As elsewhere, an empty variable is not set.
    Ok(variables.into_iter().filter(|(_, value)| !value.is_empty()).collect())
}

/// `NAME=value` lines: comments, an `export` in front and quotes around the value are allowed.
fn parse_env(text: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let mut variables = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let (name, value) =
            line.split_once('=').with_context(|| format!("line {}: expected NAME=value", number + 1))?;
        let (name, value) = (name.trim(), value.trim());
        let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        anyhow::ensure!(is_name, "line {}: {name:?} is not the name of a variable", number + 1);
        let unquoted = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
        variables.insert(name.to_owned(), unquoted.unwrap_or(value).to_owned());
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_file_is_read_line_by_line() {
        let variables = parse_env("# c\nA=1\nexport B = \"two words\"\n\nC='x=y'\n").unwrap();
        assert_eq!(variables["A"], "1");
        assert_eq!(variables["B"], "two words");
        assert_eq!(variables["C"], "x=y");
        assert!(parse_env("A=1\nnonsense").unwrap_err().to_string().contains("line 2"));
        assert!(parse_env("A B=1").is_err());
    }
}
