//! Arguments and exit code; the rest is in the library.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::Context;
use authd::config::{Config, ConfigError, Log, LogFormat, Sources};
use authd::daemon;
use authd::db::Db;
use authd::env::Env;
use authd::forward_auth;
use authd::log;
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// API tokens, sessions and the browser login for AWS credentials
///
/// Without configuration it stores its data in SQLite and listens on 127.0.0.1:8080 and on an admin socket.
#[derive(Parser)]
#[command(version, about)]
struct Args {
    /// Configuration file [default: /etc/authd/authd.toml, if it exists]
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Variables to add to the environment [default: .env, if it exists and systemd did not start authd]
    #[arg(long, value_name = "FILE", global = true)]
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
    #[command(subcommand)]
    command: Option<Verb>,
}

#[derive(Subcommand)]
enum Verb {
    /// Run the daemon (the default)
    Run,
    /// Check the configuration and print the effective settings, secrets redacted
    Check(Check),
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
    let args = Args::parse();
    let code = match start(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::say(&format!("authd: {error:#}\n"));
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
    load_env_file(args)?;
    let flags = [
        ("server.addr", &args.listen),
        ("data_dir", &args.data_dir),
        ("admin.socket", &args.admin_socket),
        ("server.public_url", &args.public_url),
    ];
    let sources = Sources {
        file: args.config.clone(),
        default_file: Some(PathBuf::from("/etc/authd/authd.toml")),
        environment: std::env::vars().collect(),
        flags: flags.into_iter().filter_map(|(key, value)| Some((key, value.clone()?))).collect(),
    };
    let mut config = sources.load()?;
    config.new_database = args.new_database;
    if let Some(Verb::Check(check)) = &args.command {
        return print_check(check, &config);
    }
    start_log(&config.log)?;
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default().ok();
    serve(config)
}

fn print_check(check: &Check, config: &Config) -> anyhow::Result<()> {
    for warning in forward_auth::warnings(&config.policies) {
        eprintln!("warning: {warning}");
    }
    if let (Some(policy), Some(request)) = (&check.policy, &check.request) {
        println!("{}", forward_auth::explain(&config.policies, policy, request).map_err(ConfigError)?);
        return Ok(());
    }
    print!("{}", toml::to_string(config)?);
    eprintln!("the configuration is valid");
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
    if std::env::var_os("INVOCATION_ID").is_none() {
        let url = &config.server.public_url;
        log::say(&format!(
            "\nauthd is ready on {url} and keeps its data in {data}\n\n\
             Try it, in another terminal:\n\n  \
             authctl create demo --scopes read        # create a token\n  \
             curl {url}/auth/validate -H 'Content-Type: application/json' -d '{{\"token\": \"PASTE-IT-HERE\"}}'\n  \
             authctl revoke demo                      # revoke it\n\n",
            data = config.data_dir.display(),
        ));
    }
}

fn start_log(config: &Log) -> anyhow::Result<()> {
    // Not EnvFilter: its regular expressions take half a megabyte of an idle daemon's memory.
    let filter: Targets = config.level.parse().with_context(|| format!("log.level {:?}", config.level))?;
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

/// Restarts this program with the variables of the environment file added, so that the AWS SDK sees them too: changing
/// the environment of a running process is unsafe. Variables that are already set take precedence.
fn load_env_file(args: &Args) -> anyhow::Result<()> {
    let by_hand = std::env::var_os("INVOCATION_ID").is_none();
    let path = match &args.env_file {
        Some(path) => path.clone(),
        None if by_hand && std::path::Path::new(".env").is_file() => PathBuf::from(".env"),
        None => return Ok(()),
    };
    if std::env::var_os(LOADED).is_some() {
        return Ok(());
    }
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let variables = parse_env(&text).with_context(|| path.display().to_string())?;
    let missing = variables.into_iter().filter(|(name, _)| std::env::var_os(name).is_none());
    let error =
        Command::new(std::env::current_exe()?).args(std::env::args_os().skip(1)).envs(missing).env(LOADED, "1").exec();
    Err(error).context("cannot restart with the variables of the environment file")
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
