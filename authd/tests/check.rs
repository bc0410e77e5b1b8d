//! `authd check` and the start, as the real program: what one refuses, the other refuses too, with the same words.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// A machine on which authd never ran.
struct Machine {
    dir: TempDir,
    env: Vec<(String, String)>,
}

impl Machine {
    /// `HERE` in a value is its folder.
    fn new(env: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let here = dir.path().to_str().unwrap();
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), value.replace("HERE", here))).collect();
        Self { dir, env }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn data(&self) -> std::path::PathBuf {
        self.path("data")
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_authd"));
        let own = [
            ("AUTHD_DATA_DIR", self.data()),
            ("AUTHD_ADMIN_SOCKET", self.path("admin.sock")),
            ("HOME", self.path("home")),
        ];
        command
            .env_clear()
            .envs(own)
            .env("SERVER_ADDR", "127.0.0.1:0")
            .env("INVOCATION_ID", "")
            .current_dir(self.dir.path());
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Exit code, and what it printed on standard error.
    fn check(&self, args: &[&str]) -> (i32, String) {
        let output = self.command().args(args).arg("check").output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }

    /// Starts it, and stops it as soon as it is ready. The error is its exit code, and what it printed.
    fn start(&self) -> Result<(), (i32, String)> {
        let mut child = Running(self.command().stderr(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap());
        let mut lines = BufReader::new(child.0.stderr.take().unwrap());
        let mut printed = String::new();
        while lines.read_line(&mut printed).unwrap() > 0 {
            if printed.contains("\"ready\"") {
                // Read on until the end, so that it is never blocked by this test.
                rustix::process::kill_process(child.pid(), rustix::process::Signal::TERM).unwrap();
                lines.read_to_string(&mut printed).unwrap();
                assert!(child.0.wait().unwrap().success(), "{printed}");
                return Ok(());
            }
        }
        Err((child.0.wait().unwrap().code().unwrap(), printed))
    }

    /// Both refuse, and both say this. A supervisor does not try it again.
    fn is_refused(&self, says: &str) {
        self.is_refused_with(2, says);
    }

    /// The same for what may be mended on the machine, with the same configuration: a supervisor tries it again.
    fn is_refused_for_now(&self, says: &str) {
        self.is_refused_with(1, says);
    }

    fn is_refused_with(&self, of_start: i32, says: &str) {
        let (code, printed) = self.check(&[]);
        assert!(code == 2 && printed.contains(says), "check: {code} {printed}");
        let (code, started) = self.start().expect_err("the start must be refused as well");
        assert!(code == of_start && started.contains(says), "start: {code} {started}");
    }

    /// Both are content.
    fn is_good(&self) -> String {
        let (code, printed) = self.check(&[]);
        assert!(code == 0 && printed.contains("the configuration is valid"), "check: {code} {printed}");
        self.start().unwrap();
        printed
    }
}

struct Running(Child);

impl Running {
    fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.0)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn what_check_calls_good_starts() {
    Machine::new(&[]).is_good();
    Machine::new(&[("AUTHD_TRUSTED_PROXIES", "127.0.0.1"), ("AUTHD_LOG", "warn,authd=info"), ("REDIS_URL", " ")])
        .is_good();
    let machine = Machine::new(&[("AUTHD_ROOT_KEY", &format!("{KEY}\n")), ("DATABASE_URL", "SQLite:other/authd.db")]);
    assert!(machine.is_good().contains("warning: database.url (DATABASE_URL): "), "a folder that it makes is told");
    assert_eq!(mode(&machine.data().join("other")), 0o700);
}

#[test]
fn a_setting_that_cannot_work_stops_both() {
    for (name, value) in [
        ("AUTHD_ROOT_KEY", "abc"),
        ("REDIS_URL", "localhost:6379"),
        ("AUTHD_LOG", "verbose"),
        ("DATABASE_URL", "http://x"),
        ("DATABASE_URL", "postgres://127.0.0.1:port/d"),
        ("DATABASE_URL", "postgres://127.0.0.1/d?sslmode=bogus"),
        ("AUTHD_TRUSTED_PROXIES", "0.0.0.0/0"),
        ("STS_ROLE_ARN", "arn:aws:iam::1234:role/dev"),
        ("COGNITO_USER_POOL_ID", "Pool"),
    ] {
        Machine::new(&[(name, value)]).is_refused(name);
    }
    let no_certificate = "postgres://127.0.0.1/d?sslmode=verify-full&sslrootcert=/nowhere.pem";
    Machine::new(&[("DATABASE_URL", no_certificate)]).is_refused_for_now("DATABASE_URL");
}

#[test]
fn settings_and_places_are_reported_together_with_exit_code_2() {
    let machine = Machine::new(&[("AUTHD_LOG", "verbose"), ("TOKEN_PREFIX", "a b")]);
    fs::create_dir(machine.data()).unwrap();
    set_mode(&machine.data(), 0o777);
    let (code, printed) = machine.check(&["--public-url", "nowhere"]);
    for says in ["authd: log.level (AUTHD_LOG)", "authd: tokens.prefix", "authd: data_dir", "authd: server.public_url"]
    {
        assert!(printed.lines().any(|line| line.starts_with(says)), "{says}: {printed}");
    }
    assert_eq!((code, printed.lines().count()), (2, 4), "{printed}");
}

#[test]
fn a_folder_that_others_can_write_stops_both_and_is_not_changed() {
    let machine = Machine::new(&[]);
    fs::create_dir(machine.data()).unwrap();
    set_mode(&machine.data(), 0o777);
    machine.is_refused_for_now("chmod go-w");
    assert_eq!(mode(&machine.data()), 0o777);
    set_mode(&machine.data(), 0o755);
    machine.is_good();
    assert_eq!(mode(&machine.data()), 0o755, "what others only read is left alone");

    let machine = Machine::new(&[("DATABASE_URL", "sqlite:HERE/elsewhere/authd.db")]);
    fs::create_dir(machine.path("elsewhere")).unwrap();
    set_mode(&machine.path("elsewhere"), 0o770);
    machine.is_refused_for_now("DATABASE_URL): other users can write in");
    set_mode(&machine.path("elsewhere"), 0o700);
    machine.is_good();
}

#[test]
fn a_page_that_cannot_be_rendered_stops_both() {
    let machine = Machine::new(&[("AUTHD_WEB_TEMPLATES", "HERE/pages")]);
    machine.is_refused_for_now("web.templates: ");
    fs::create_dir(machine.path("pages")).unwrap();
    for (name, text, says) in [
        ("delete.html", "<h1>\n{{ usrname }}</h1>", "pages/delete.html, line 2: undefined value"),
        ("delete.html", "{% block content %}", "pages/delete.html, line 1: "),
        ("deleet.html", "", "pages/deleet.html is no template; did you mean delete.html?"),
    ] {
        fs::write(machine.path("pages").join(name), text).unwrap();
        machine.is_refused_for_now(says);
        fs::remove_file(machine.path("pages").join(name)).unwrap();
    }
    fs::write(machine.path("pages/deleted.html"), "<h1>Goodbye from {{ host }}</h1>").unwrap();
    machine.is_good();
}

#[test]
fn a_folder_that_cannot_be_made_stops_both() {
    let machine = Machine::new(&[("DATABASE_URL", "sqlite:HERE/file/below/authd.db")]);
    fs::write(machine.path("file"), "").unwrap();
    machine.is_refused_for_now("DATABASE_URL): ");
    assert!(!machine.data().exists(), "nothing was made");
    Machine::new(&[("DATABASE_URL", "sqlite:/proc/nowhere/authd.db")]).is_refused_for_now("cannot create it in /proc");
    let machine = Machine::new(&[]);
    symlink("nowhere", machine.data()).unwrap();
    machine.is_refused_for_now("AUTHD_DATA_DIR): ");
}

#[test]
fn a_file_that_is_not_authds_is_neither_opened_nor_changed() {
    let machine = Machine::new(&[("DATABASE_URL", "sqlite:HERE/notes.txt")]);
    fs::write(machine.path("notes.txt"), "remember the milk, the bread and the butter").unwrap();
    set_mode(&machine.path("notes.txt"), 0o644);
    machine.is_refused_for_now("notes.txt is not a SQLite database");
    assert_eq!(fs::read_to_string(machine.path("notes.txt")).unwrap().len(), 43);
    assert_eq!(mode(&machine.path("notes.txt")), 0o644);

    let machine = Machine::new(&[("DATABASE_URL", "sqlite:HERE/app.db")]);
    let path = machine.path("app.db");
    rusqlite::Connection::open(&path)
        .unwrap()
        .execute_batch("CREATE TABLE notes (text); PRAGMA user_version = 7")
        .unwrap();
    set_mode(&path, 0o640);
    let before = fs::read(&path).unwrap();
    machine.is_refused_for_now("app.db is the SQLite database of another program");
    assert_eq!((fs::read(&path).unwrap() == before, mode(&path)), (true, 0o640));

    // Somebody else may point the link at another file.
    let machine = Machine::new(&[("DATABASE_URL", "sqlite:HERE/shared/link.db")]);
    fs::create_dir(machine.path("shared")).unwrap();
    symlink(machine.path("authd.db"), machine.path("shared/link.db")).unwrap();
    machine.is_refused_for_now("link.db is a link to a file that does not exist");
    fs::write(machine.path("authd.db"), "").unwrap();
    machine.is_good();
    set_mode(&machine.path("shared"), 0o777);
    machine.is_refused_for_now("DATABASE_URL): ");

    let machine = Machine::new(&[("DATABASE_URL", "sqlite:HERE/project.db")]);
    fs::write(machine.path("project.lock"), "another program's").unwrap();
    machine.is_refused_for_now("project.lock is not authd's lock file");
    assert_eq!(fs::read_to_string(machine.path("project.lock")).unwrap(), "another program's");

    let machine = Machine::new(&[]);
    fs::write(machine.path("admin.sock"), "a file").unwrap();
    machine.is_refused_for_now("AUTHD_ADMIN_SOCKET): ");
    assert_eq!(fs::read_to_string(machine.path("admin.sock")).unwrap(), "a file");
}

#[test]
fn a_root_key_that_others_can_read_stops_both_but_a_mounted_one_does_not() {
    let machine = Machine::new(&[]);
    machine.is_good();
    let key = machine.data().join("root.key");
    assert_eq!(mode(&key), 0o600);
    for loose in [0o644, 0o640, 0o604, 0o660, 0o444] {
        set_mode(&key, loose);
        machine.is_refused_for_now("chmod 600");
        assert_eq!(mode(&key), loose);
    }
    // As Kubernetes mounts it: a link to a file that everybody in the container can read.
    fs::rename(&key, machine.path("mounted")).unwrap();
    symlink(machine.path("mounted"), &key).unwrap();
    machine.is_good();
    // As a secret that a variable names.
    fs::remove_file(&key).unwrap();
    let text = machine.path("mounted").to_str().unwrap().to_owned();
    let env = vec![("AUTHD_ROOT_KEY_FILE".to_owned(), text)];
    Machine { env, ..machine }.is_good();
}

#[test]
fn a_damaged_root_key_stops_both() {
    let machine = Machine::new(&[]);
    fs::create_dir(machine.data()).unwrap();
    fs::write(machine.data().join("root.key"), "abc").unwrap();
    set_mode(&machine.data().join("root.key"), 0o600);
    machine.is_refused_for_now("openssl rand -hex 32");
}

#[test]
fn an_address_that_authd_cannot_listen_on_stops_both() {
    Machine::new(&[("SERVER_ADDR", "192.0.2.1:8080")]).is_refused_for_now("cannot listen on 192.0.2.1:8080");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    Machine::new(&[("SERVER_ADDR", &addr)]).is_refused_for_now(&format!("cannot listen on {addr}"));
}

#[test]
fn check_is_content_while_the_daemon_runs() {
    let machine = Machine::new(&[]);
    let addr = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut daemon = machine.command();
    daemon.env("SERVER_ADDR", &addr).stderr(Stdio::piped());
    let mut daemon = Running(daemon.spawn().unwrap());
    let mut lines = BufReader::new(daemon.0.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("\"ready\"")));
    let (code, printed) = machine.check(&["--listen", &addr]);
    assert_eq!(code, 0, "{printed}");
}

#[test]
fn an_empty_flag_or_variable_is_not_set() {
    let empty =
        ["--config", "", "--env-file", "", "--listen", "", "--public-url=", "--data-dir=", "--admin-socket", ""];
    let names = ["AUTHD_PUBLIC_URL", "SERVER_PORT", "ADMIN_TOKEN", "ADMIN_TOKEN_FILE", "AWS_REGION", "AWS_PROFILE"];
    let machine = Machine::new(&names.map(|name| (name, "")));
    assert_eq!(machine.check(&empty).0, 0);
    machine.is_good();
    // An empty variable does not hide that of the environment file.
    fs::write(machine.path("env"), "AUTHD_PUBLIC_URL=nowhere\nSERVER_PORT=\n").unwrap();
    let (code, printed) = machine.check(&["--env-file", "env"]);
    assert!(code == 2 && printed.contains("AUTHD_PUBLIC_URL"), "{printed}");
}

#[test]
fn an_environment_that_is_not_utf8_is_no_crash() {
    use std::os::unix::ffi::OsStrExt;
    let machine = Machine::new(&[]);
    let odd = std::ffi::OsStr::from_bytes(b"caf\xe9-0123456789abcdef");
    let output = machine.command().env("SOMETHING_ELSE", odd).arg("check").output().unwrap();
    assert!(output.status.success());
    let output = machine.command().env("ADMIN_TOKEN", odd).arg("check").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("ADMIN_TOKEN is not UTF-8"));
}
