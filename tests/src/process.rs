//! Children: started by one long-lived thread, watched through their log, killed when dropped.
//!
//! Each is told to die with its parent (`setpriv --pdeathsig`), so that a test process that is killed leaves nothing
//! running. The kernel means the *thread* that forked, and tests run on short-lived threads: hence the one spawner.

use crate::{TIMEOUT, until};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio};
use std::sync::{LazyLock, Mutex, mpsc};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

type Order = (Command, mpsc::Sender<io::Result<Child>>);

static SPAWNER: LazyLock<Mutex<mpsc::Sender<Order>>> = LazyLock::new(|| {
    let (orders, inbox) = mpsc::channel::<Order>();
    std::thread::spawn(move || {
        for (mut command, reply) in inbox {
            let _ = reply.send(command.spawn());
        }
    });
    Mutex::new(orders)
});

fn spawn(command: Command) -> io::Result<Child> {
    let (reply, answer) = mpsc::channel();
    SPAWNER.lock().expect("the spawner's lock is never poisoned").send((command, reply)).expect("the spawner lives");
    answer.recv().expect("the spawner answers")
}

/// A command to come. Its environment is empty but for `PATH` and what is set here: a test sees nothing of the
/// machine's own configuration.
#[derive(Clone, Debug)]
pub struct Spec {
    program: OsString,
    args: Vec<OsString>,
    env: BTreeMap<OsString, OsString>,
    dir: Option<PathBuf>,
    stdin: Option<Vec<u8>>,
}

impl Spec {
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        Self {
            program: program.as_ref().into(),
            args: Vec::new(),
            env: BTreeMap::from([("PATH".into(), path)]),
            dir: None,
            stdin: None,
        }
    }

    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().into());
        self
    }

    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|a| a.as_ref().into()));
        self
    }

    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.insert(name.as_ref().into(), value.as_ref().into());
        self
    }

    #[must_use]
    pub fn envs<N: AsRef<OsStr>, V: AsRef<OsStr>>(mut self, pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        self.env.extend(pairs.into_iter().map(|(n, v)| (n.as_ref().into(), v.as_ref().into())));
        self
    }

    #[must_use]
    pub fn dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.dir = Some(dir.as_ref().into());
        self
    }

    /// What [`Spec::run`] writes to the standard input, which is empty otherwise.
    #[must_use]
    pub fn stdin(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(text.into());
        self
    }

    fn command(&self) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(&self.program).args(&self.args);
        command.env_clear().envs(&self.env).stdin(Stdio::null());
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        command
    }

    /// The same as a line for a shell, with its environment; an argument `"$1"` stays the shell's.
    pub fn shell(&self) -> String {
        let quote = |word: &OsStr| {
            let text = word.to_string_lossy();
            if text == "\"$1\"" { text.into_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
        };
        let mut line = String::from("env -i");
        for (name, value) in &self.env {
            line.extend([" ", &name.to_string_lossy(), "=", &quote(value)]);
        }
        for word in std::iter::once(&self.program).chain(&self.args) {
            line.push(' ');
            line.push_str(&quote(word));
        }
        line
    }

    /// Starts it with both outputs going to `log`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(self, log: impl Into<PathBuf>) -> Process {
        use std::os::unix::process::CommandExt as _;
        let log = log.into();
        let name = Path::new(&self.program).file_name().unwrap_or(&self.program).to_string_lossy().into_owned();
        let file = File::options().create(true).append(true).open(&log).expect("the log can be written");
        let mut command = self.command();
        // a group of its own: Ctrl-C at the playground reaches the playground, which then ends the rest in order
        command.stdout(file.try_clone().expect("a file can be duplicated")).stderr(file).process_group(0);
        command.stdin(Stdio::piped());
        let mut child = spawn(command).unwrap_or_else(|e| panic!("{name} cannot be started: {e}"));
        let stdin = child.stdin.take();
        Process { name, log, child, stdin }
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// When it cannot be started, or has not ended in `timeout` (it is killed then).
    pub fn run(self, timeout: Duration) -> Output {
        self.clone().start_piped().finish(timeout)
    }

    /// Starts it with its outputs kept in memory; several can run side by side.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_piped(self) -> Running {
        let mut command = self.command();
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        if self.stdin.is_some() {
            command.stdin(Stdio::piped());
        }
        let what = format!("{command:?}");
        let mut child = spawn(command).unwrap_or_else(|e| panic!("{what} cannot be started: {e}"));
        let pid = Pid::from_child(&child);
        if let (Some(text), Some(mut pipe)) = (self.stdin, child.stdin.take()) {
            std::thread::spawn(move || io::Write::write_all(&mut pipe, &text));
        }
        let (done, output) = mpsc::channel();
        std::thread::spawn(move || done.send(child.wait_with_output()));
        Running { what, pid, output }
    }
}

/// A command that runs beside the test and ends by itself.
#[derive(Debug)]
pub struct Running {
    what: String,
    pid: Pid,
    output: mpsc::Receiver<io::Result<Output>>,
}

impl Running {
    /// Sends a signal, for example Ctrl-C's.
    pub fn signal(&self, signal: Signal) {
        let _ = kill_process(self.pid, signal);
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it has not ended in `timeout` (it is killed then).
    pub fn finish(self, timeout: Duration) -> Output {
        let Ok(output) = self.output.recv_timeout(timeout) else {
            self.signal(Signal::KILL);
            let said = self.output.recv().ok().and_then(Result::ok).map(|o| both(&o)).unwrap_or_default();
            panic!("{} has not ended in {timeout:?}; it said:\n{said}", self.what);
        };
        output.expect("its output can be read")
    }
}

/// Both outputs as one text, for messages of failed assertions.
pub fn both(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\nstdout: {}\nstderr: {}", output.status, text(&output.stdout), text(&output.stderr))
}

/// The standard output of a command that must have succeeded.
///
/// # Panics
/// When it failed; the message has both outputs.
#[track_caller]
pub fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "failed: {}", both(output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A server, killed when dropped. When the test is failing, the end of its log is printed.
#[derive(Debug)]
pub struct Process {
    name: String,
    log: PathBuf,
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Process {
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Everything it has printed.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Types a line into its standard input, which stays open.
    ///
    /// # Panics
    /// When it no longer reads.
    pub fn say(&mut self, line: &str) {
        let pipe = self.stdin.as_mut().expect("started with a pipe");
        io::Write::write_all(pipe, format!("{line}\n").as_bytes()).expect("it reads what is typed");
    }

    pub fn signal(&self, signal: Signal) {
        let _ = kill_process(self.pid(), signal);
    }

    /// SIGSTOP, and waits until each of its threads has stopped: the signal reaches them one by one, and on a busy
    /// machine a request sent at once could still be answered.
    ///
    /// # Panics
    /// When one of them still runs after a minute.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
        let tasks = format!("/proc/{}/task", self.pid().as_raw_nonzero());
        // "pid (name) state …", and a name may hold anything
        let stopped = |stat: &str| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'));
        until(TIMEOUT, "every thread stopped", || {
            let mut threads = std::fs::read_dir(&tasks).expect("it lives").flatten();
            threads
                .all(|task| std::fs::read_to_string(task.path().join("stat")).is_ok_and(|stat| stopped(&stat)))
                .then_some(())
        });
    }

    /// SIGKILL to it and to the children that are still in its process group, and waits until none of them runs: a
    /// worker that outlives its server would go on answering.
    ///
    /// # Panics
    /// When one of them still runs after a minute.
    pub fn kill(&mut self) {
        let group = self.pid();
        let _ = kill_process_group(group, Signal::KILL);
        let _ = self.child.wait();
        let deadline = Instant::now() + TIMEOUT;
        while is_running(group) && !(std::thread::panicking() && Instant::now() > deadline) {
            assert!(Instant::now() < deadline, "{}: its children run on after SIGKILL", self.name);
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// `None` while it runs.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// SIGTERM, and waits for the orderly end.
    ///
    /// # Panics
    /// When it has not ended in `timeout`.
    pub fn stop(&mut self, timeout: Duration) -> ExitStatus {
        self.signal(Signal::TERM);
        let name = self.name.clone();
        until(timeout, &format!("the orderly end of {name}"), || self.exited())
    }

    /// Waits for an event of this process.
    ///
    /// # Panics
    /// When it ends first, or the deadline passes; its log is in the message.
    pub fn wait<T>(&mut self, timeout: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(answer) = ask() {
                return answer;
            }
            if let Some(status) = self.exited() {
                panic!("{} ended ({status}) before {what}:\n{}", self.name, self.log());
            }
            assert!(Instant::now() < deadline, "{}: no {what} in {timeout:?}:\n{}", self.name, self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits for the line of JSON with which our own peers say that they listen.
    pub fn ready_line(&mut self, timeout: Duration) -> serde_json::Value {
        let log = self.log.clone();
        self.wait(timeout, "the line that says it is ready", || {
            let text = std::fs::read_to_string(&log).ok()?;
            text.lines().find(|l| l.starts_with("{\"ready\":true")).and_then(|l| serde_json::from_str(l).ok())
        })
    }

    /// Waits until something accepts connections on the loopback port.
    pub fn listening(&mut self, port: u16, timeout: Duration) {
        self.wait(timeout, "listening port", || TcpStream::connect(("127.0.0.1", port)).ok().map(drop));
    }
}

/// Whether any process of the group runs. One that has ended and waits for its parent to notice does not.
fn is_running(group: Pid) -> bool {
    let group = group.as_raw_nonzero().to_string();
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    // proc_pid_stat(5): "pid (name) state ppid pgrp …", and a name may hold anything
    processes.filter_map(|process| std::fs::read_to_string(process.path().join("stat")).ok()).any(|stat| {
        let mut fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
        fields.next() != Some("Z") && fields.nth(1) == Some(&group)
    })
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            eprintln!("--- {}: the end of its log", self.name);
            for line in &lines[lines.len().saturating_sub(40)..] {
                eprintln!("{line}");
            }
        }
    }
}

/// A free loopback port for a server that cannot choose one itself. Taken from below the range from which the kernel
/// gives ports to outgoing connections, so that nothing takes it before the server does, nor while a test has the server
/// down: until this process ends it also holds an abstract unix socket named after the port, by which test runs on one
/// machine know what the others have.
///
/// # Panics
/// When no port is free.
pub fn free_port() -> u16 {
    struct Ports {
        next: u16,
        reserved: Vec<UnixListener>,
    }
    static PORTS: LazyLock<Mutex<Ports>> = LazyLock::new(|| {
        let spread = u16::try_from(std::process::id() % 1000).expect("below 1000") * 20;
        Mutex::new(Ports { next: 11_000 + spread, reserved: Vec::new() })
    });
    let mut ports = PORTS.lock().expect("the port counter's lock is never poisoned");
    for _ in 0..20_000 {
        let port = if ports.next >= 31_000 { 11_000 } else { ports.next + 1 };
        ports.next = port;
        let name = SocketAddr::from_abstract_name(format!("authd-test-port-{port}")).expect("the name is short");
        let Ok(reservation) = UnixListener::bind_addr(&name) else { continue };
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            ports.reserved.push(reservation);
            return port;
        }
    }
    panic!("no free port between 11000 and 31000");
}
