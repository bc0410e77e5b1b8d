//! The program without its process: arguments in, output and exit code out.

use std::ffi::OsString;

use shared::cli::Exit;
use shared::time::Time;

/// 2027-01-15T08:00:00Z.
const NOW: i64 = 1_800_000_000_000;

/// What one run of the program printed.
#[derive(Debug)]
pub struct Run {
    pub exit: Exit,
    pub out: String,
    pub err: String,
}

/// A run without a terminal, in an environment that holds only what the test gives.
#[derive(Debug, Default)]
pub struct Program<'t> {
    pub env: &'t [(&'t str, &'t str)],
    pub width: Option<u16>,
    pub confirm: Option<bool>,
    pub stdin: &'t str,
    /// Nothing can be written to stdout.
    pub is_full: bool,
}

impl Program<'_> {
    pub fn run(&self, args: &[&str]) -> Run {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut full = std::io::Cursor::new([0_u8; 0]);
        let env = |name: &str| self.env.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        let answer = self.confirm.unwrap_or_default();
        let confirm = move |question: &str| {
            assert!(question.contains("cannot be undone"), "{question}");
            Ok(answer)
        };
        let mut io = authctl::Io {
            out: if self.is_full { &mut full } else { &mut out },
            err: &mut err,
            colour: false,
            colour_errors: false,
            width: self.width,
            env: &env,
            now: &|| Time::from_millis(NOW),
            new_key: &|| "key-1".to_owned(),
            confirm: self.confirm.is_some().then_some(&confirm as &authctl::Confirm),
            read_token: &|| Ok(self.stdin.to_owned()),
        };
        let args = ["authctl"].iter().chain(args).map(OsString::from);
        let exit = authctl::run(args, &mut io);
        let text = |bytes| String::from_utf8(bytes).expect("only text is printed");
        Run { exit, out: text(out), err: text(err) }
    }
}
