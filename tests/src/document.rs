//! The documentation as a test: the blocks of a page in Markdown, and sessions in which its commands are run.

use crate::TIMEOUT;
use crate::process::{Spec, both};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

/// What a session of a page may take: tens of commands, some of which start daemons.
pub const SESSION_TIMEOUT: Duration = Duration::from_mins(5);

/// Begins the line that says which block of the page runs next.
const MARK: &str = "\u{1e}block ";

/// A fenced block of a page.
#[derive(Clone, Debug)]
pub struct Block {
    /// Of the page, where its text begins.
    pub line: usize,
    /// What it is: `sh`, `text`, …
    pub tag: String,
    pub text: String,
    /// Where it runs, from a comment `<!-- in: NAME -->` before it; empty is the usual machine.
    pub context: String,
}

/// A page of the documentation.
#[derive(Clone, Debug)]
pub struct Page {
    /// From the root of the repository.
    pub name: String,
    pub text: String,
    pub blocks: Vec<Block>,
}

/// The root of the repository.
///
/// # Panics
/// When it is not there.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the tests lie in the repository")
}

impl Page {
    /// # Panics
    /// When it cannot be read, or a block has no end.
    pub fn read(name: &str) -> Self {
        let text = std::fs::read_to_string(repository().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        Self { name: name.into(), blocks: blocks(name, &text), text }
    }

    pub fn tagged(&self, tag: &str) -> impl Iterator<Item = &Block> {
        self.blocks.iter().filter(move |block| block.tag == tag)
    }

    /// The page without its blocks.
    pub fn prose(&self) -> String {
        self.text.split("```").step_by(2).collect()
    }

    /// The `sh` blocks of a context as one script for bash, which stops at the first command that fails.
    pub fn script(&self, context: &str) -> String {
        let mut script = String::from("set -euo pipefail\nexec 2>&1\n");
        for block in self.tagged("sh").filter(|block| block.context == context) {
            script.extend(["printf '\\n", MARK, "%s\\n' ", &block.line.to_string(), "\n", &block.text]);
        }
        script
    }

    /// Every block of the context ran to its end, and printed what the page shows.
    ///
    /// # Panics
    /// When that is not so; the message has the line of the page.
    pub fn assert_ran(&self, context: &str, output: &Output) {
        let said = String::from_utf8_lossy(&output.stdout);
        let ran: Vec<(&str, &str)> = said.split(MARK).skip(1).filter_map(|part| part.split_once('\n')).collect();
        let last = ran.last().map_or("0", |(line, _)| *line);
        assert!(output.status.success(), "{}:{last}: this block failed: {}", self.name, both(output));
        let ours = self.blocks.iter().enumerate().filter(|(_, block)| block.tag == "sh" && block.context == context);
        let mut count = 0;
        for ((index, block), (line, printed)) in ours.zip(&ran) {
            count += 1;
            assert_eq!(block.line.to_string(), *line, "{}: the blocks ran in their order", self.name);
            let Some(shown) = self.blocks.get(index + 1).filter(|next| next.tag == "text") else { continue };
            if let Some(missing) = missing(&shown.text, printed) {
                panic!("{}:{}: {missing:?} was not printed, but:\n{printed}", self.name, shown.line);
            }
        }
        assert_eq!(count, ran.len(), "{}: every block ran", self.name);
        assert!(count > 0, "{}: there is nothing to run in {context:?}", self.name);
    }
}

fn blocks(name: &str, text: &str) -> Vec<Block> {
    let (mut found, mut context) = (Vec::new(), String::new());
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if let Some(place) = line.strip_prefix("<!-- in: ").and_then(|rest| rest.strip_suffix(" -->")) {
            context = place.into();
        }
        let Some(tag) = line.trim_start().strip_prefix("```") else { continue };
        let mut text = String::new();
        loop {
            let (_, line) = lines.next().unwrap_or_else(|| panic!("{name}:{number}: the block has no end"));
            if line.trim() == "```" {
                break;
            }
            text.push_str(line);
            text.push('\n');
        }
        found.push(Block { line: number + 2, tag: tag.into(), text, context: std::mem::take(&mut context) });
    }
    found
}

/// The first line of what is shown that was not printed after the lines before it. White space does not count, and `…`
/// stands for anything.
fn missing<'a>(shown: &'a str, printed: &str) -> Option<&'a str> {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let printed = words(printed);
    let mut rest = printed.as_str();
    shown.lines().find(|line| {
        line.split('…').map(words).any(|piece| match rest.find(&piece) {
            Some(index) => {
                rest = &rest[index + piece.len()..];
                false
            }
            None => true,
        })
    })
}

/// Runs a script in the repository, on what looks like a fresh machine: see tests/rig/docs.sh.
pub fn on_a_fresh_machine(script: &str) -> Output {
    let dir = crate::folder("docs");
    let (root, file) = (dir.path().join("machine"), dir.path().join("script"));
    std::fs::create_dir(&root).expect("the folder is ours");
    std::fs::write(&file, script).expect("the folder is ours");
    let bin = crate::binary("authd");
    let spaces = ["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private"];
    let spec = crate::rig::program("unshare").args(spaces).arg("--").arg(crate::rig::dir().join("docs.sh"));
    spec.arg(root).arg(bin.parent().expect("a program lies in a folder")).arg(file).run(SESSION_TIMEOUT)
}

/// Runs a script as a person at the playground, in whose browser alice signs in.
///
/// # Panics
/// When the playground does not come up.
pub fn at_the_playground(script: &str) -> Output {
    let dir = crate::folder("play");
    let mut playground = crate::rig::program(crate::binary("playground").to_str().expect("UTF-8"));
    for name in ["AUTHD_TEST_TMP", "AUTHD_BIN_DIR"] {
        if let Some(value) = std::env::var_os(name) {
            playground = playground.env(name, value);
        }
    }
    let mut playground = playground.start(dir.path().join("log"));
    let log = dir.path().join("log");
    let settings = playground.wait(TIMEOUT, "a playground that says what to type", || {
        let text = std::fs::read_to_string(&log).ok().filter(|text| text.contains("Ctrl-C ends everything"))?;
        text.lines().find_map(|line| line.trim().strip_prefix(". ")).map(str::to_owned)
    });
    let browser = crate::browser::Visit::new().program(dir.path());
    let script = format!("set -eu\n. {settings}\n{script}");
    let spec = Spec::new("bash").args(["-c", &script]).env("BROWSER", browser).env("LANG", "C.UTF-8");
    let spec = spec.env("AUTH_LOGIN_TOKEN_STORE", "file"); // the keyring would be that of whoever runs the tests
    let output = spec.run(SESSION_TIMEOUT);
    playground.stop(TIMEOUT);
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_its_blocks() {
        let text = "# A\n```sh\nls\n```\n\n<!-- in: there -->\n```sh\npwd\n```\n1. x\n   ```json\n   {}\n   ```\n";
        let found = blocks("a.md", text);
        let short: Vec<_> =
            found.iter().map(|b| (b.line, b.tag.as_str(), b.text.as_str(), b.context.as_str())).collect();
        assert_eq!(short, [(3, "sh", "ls\n", ""), (8, "sh", "pwd\n", "there"), (12, "json", "   {}\n", "")]);
    }

    #[test]
    fn what_is_shown_must_have_been_printed_in_its_order() {
        let printed = "NAME   SCOPES\ndemo   read\n{\"id\":\"7\"}{\"id\":\"8\"}";
        for shown in ["NAME SCOPES", "demo  read\n{\"id\":\"…\"}", "{\"id\":\"7\"}\n{\"id\":\"8\"}", "… read …"] {
            assert_eq!(missing(shown, printed), None, "{shown}");
        }
        assert_eq!(missing("demo read\nNAME", printed), Some("NAME"));
        assert_eq!(missing("demo … write", printed), Some("demo … write"));
    }
}
