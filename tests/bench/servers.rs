//! The two servers under test: started on their core, waited for, ended when they are dropped.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::ask::ADMIN_TOKEN;
use crate::bare::Answer;
use crate::{cores, wire};

/// How long a server may take to start or to end.
const TIMEOUT: Duration = Duration::from_mins(1);

/// A running server.
#[derive(Debug)]
pub struct Server {
    child: Child,
    pub addr: SocketAddr,
    /// From before the exec to the first 200.
    pub ready: Duration,
}

impl Server {
    /// authd with its defaults, its data in `data_dir`, its log beside it.
    pub fn authd(binary: &Path, data_dir: &Path, core: usize) -> Result<Self> {
        Self::authd_with("", binary, data_dir, core)
    }

    /// The same with a configuration file.
    pub fn authd_with(toml: &str, binary: &Path, data_dir: &Path, core: usize) -> Result<Self> {
        let addr = free_addr()?;
        fs::create_dir_all(data_dir)?;
        let config = data_dir.with_extension("toml");
        fs::write(&config, toml)?;
        let mut command = Command::new(binary);
        command
            .arg("--config")
            .arg(config)
            .env_clear()
            .env("SERVER_ADDR", addr.to_string())
            .env("AUTHD_DATA_DIR", data_dir)
            .env("AUTHD_ADMIN_SOCKET", data_dir.join("admin.sock"))
            .env("ADMIN_TOKEN", ADMIN_TOKEN)
            .current_dir(data_dir);
        let ready = |timeout| wait_for_200(addr, "/health/ready", timeout);
        Self::start(command, addr, ready, &data_dir.with_extension("log"), core)
    }

    /// The limit, answering the same bytes.
    pub fn bare(answer: &Answer, dir: &Path, core: usize) -> Result<Self> {
        let addr = free_addr()?;
        let file = dir.join("answer.json");
        fs::write(&file, serde_json::to_vec(answer)?)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bare", "--listen", &addr.to_string(), "--answer"]).arg(&file);
        Self::start(command, addr, |timeout| wait_for_200(addr, "/", timeout), &dir.join("bare.log"), core)
    }

    /// The limit over gRPC, answering the message in the file to this method.
    pub fn bare_grpc(method: &str, answer: &Path, dir: &Path, core: usize) -> Result<Self> {
        let addr = free_addr()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bare-grpc", "--listen", &addr.to_string(), "--method", method, "--answer"]).arg(answer);
        Self::start(command, addr, |timeout| wait_until_it_listens(addr, timeout), &dir.join("bare-grpc.log"), core)
    }

    /// The limit of uploads, which writes into this folder.
    pub fn bare_upload(folder: &Path, dir: &Path, core: usize) -> Result<Self> {
        let addr = free_addr()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bare-upload", "--listen", &addr.to_string(), "--dir"]).arg(folder);
        Self::start(command, addr, |timeout| wait_for_200(addr, "/", timeout), &dir.join("bare-upload.log"), core)
    }

    fn start(
        mut command: Command,
        addr: SocketAddr,
        wait: impl FnOnce(Duration) -> Result<()>,
        log: &PathBuf,
        core: usize,
    ) -> Result<Self> {
        let output = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let begin = Instant::now();
        let name = command.get_program().to_string_lossy().into_owned();
        let child = cores::on(core, || command.spawn().with_context(|| format!("cannot start {name}")))?;
        let mut server = Self { child, addr, ready: Duration::ZERO };
        if let Err(error) = wait(TIMEOUT) {
            let ended = server.child.try_wait()?.map(|status| format!(" ({status})")).unwrap_or_default();
            let log = fs::read_to_string(log).unwrap_or_default();
            bail!("{name} did not start{ended}: {error:#}\n{log}");
        }
        server.ready = begin.elapsed();
        Ok(server)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGTERM, and waits until the process has ended.
    pub fn stop(mut self) -> Result<()> {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).context("not a process id")?;
        kill_process(pid, Signal::TERM)?;
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                ensure!(status.success(), "a server that was asked to end ended with {status}");
                return Ok(());
            }
            ensure!(begin.elapsed() < TIMEOUT, "a server did not end within {} s of SIGTERM", TIMEOUT.as_secs());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if it has ended already, which is what is wanted.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A port that was free a moment ago.
pub fn free_addr() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn wait_until_it_listens(addr: SocketAddr, timeout: Duration) -> Result<()> {
    let begin = Instant::now();
    while TcpStream::connect(addr).is_err() {
        ensure!(begin.elapsed() < timeout, "nobody listens within {} s", timeout.as_secs());
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(())
}

/// Asks until the answer is 200, a few thousand times a second, so that the start is timed to a fraction of a
/// millisecond.
pub fn wait_for_200(addr: SocketAddr, path: &str, timeout: Duration) -> Result<()> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: {addr}\r\n\r\n");
    let begin = Instant::now();
    loop {
        let problem = match wire::exchange(addr, request.as_bytes()) {
            Ok((head, _)) if head.starts_with("HTTP/1.1 200 ") => return Ok(()),
            Ok((head, body)) => format!("{}\n{body}", head.lines().next().unwrap_or_default()),
            Err(error) => format!("{error:#}"),
        };
        ensure!(begin.elapsed() < timeout, "no 200 from {path} within {} s: {problem}", timeout.as_secs());
        std::thread::sleep(Duration::from_micros(200));
    }
}
