//! Services that ask authd about their own callers: the examples of `packaging/examples`, as they are shown.

use crate::authd::Authd;
use crate::http::Http;
use crate::process::{Process, Spec, free_port};
use crate::{TIMEOUT, binary, rig};
use std::path::{Path, PathBuf};

/// Which of the examples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Example {
    Rust,
    Python,
}

impl Example {
    /// The operation by which it asks about a session, as authd's metrics name it.
    pub fn asks_by(self) -> &'static str {
        match self {
            Self::Rust => "sessions.check_token",
            Self::Python => "introspection.introspect",
        }
    }

    fn spec(self, port: u16) -> Spec {
        match self {
            Self::Rust => Spec::new(binary("notes")).env("LISTEN", format!("127.0.0.1:{port}")),
            Self::Python => {
                let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/examples/python-service");
                rig::program("uvicorn")
                    .args(["notes:app", "--host", "127.0.0.1", "--port", &port.to_string(), "--app-dir"])
                    .arg(folder)
                    .env("PYTHONDONTWRITEBYTECODE", "1")
            }
        }
    }
}

/// A running service.
#[derive(Debug)]
pub struct Backend {
    port: u16,
    process: Process,
}

impl Backend {
    /// Starts it with the service's own token; `env` are its other settings.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start(example: Example, authd: &Authd, service_token: &str, env: &[(&str, &str)]) -> Self {
        let port = free_port();
        let file: PathBuf = authd.dir().join(format!("service-token-{port}"));
        std::fs::write(&file, service_token).expect("the folder is ours");
        let spec = example.spec(port).env("AUTHD_URL", authd.url()).env("SERVICE_TOKEN_FILE", &file);
        let mut process = spec.envs(env.iter().copied()).start(authd.dir().join(format!("backend-{port}.log")));
        process.listening(port, TIMEOUT);
        Self { port, process }
    }

    /// As a caller who has nothing.
    pub fn http(&self) -> Http {
        Http::tcp(self.port)
    }

    pub fn log(&self) -> String {
        self.process.log()
    }
}
