//! The `credential_process` of the config file: a command that every AWS tool can run, and how it is recognized.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::words;
use crate::error::Error;
use crate::io::Io;

const NAME: &str = "auth-login";
const VERB: &str = "credential-process";

/// Whether a command in the config file is one of this program.
pub fn is_ours(command: &str) -> bool {
    let is_this = |program: &String| is_this_program(Path::new(program));
    let is_named = command.contains(NAME) && command.contains(VERB);
    let words = words::split(command).unwrap_or_default();
    is_named || (words.first().is_some_and(is_this) && words.iter().any(|word| word == VERB))
}

/// The command with these arguments, for tools that split it with `shlex` and for tools that give it to a shell.
pub fn command(io: &Io, arguments: &[&str]) -> Result<String, Error> {
    let mut words = vec![program(io)?, VERB.to_owned()];
    for argument in arguments {
        words.push(words::quote(argument).map_err(|c| {
            Error::usage(format!("{argument:?} has the character {c:?}, which not every AWS tool can read"))
        })?);
    }
    Ok(words.join(" "))
}

/// The quoted path of this program. Tools start it from any folder and do not expand variables.
fn program(io: &Io) -> Result<String, Error> {
    let program = std::env::current_exe();
    let program = program.map_err(|error| Error::refused(format!("cannot find the path of this program: {error}")))?;
    let quote = |path: &PathBuf| words::quote(path.to_str().ok_or('\u{fffd}')?);
    if let Some(quoted) = links(io).iter().find_map(|path| quote(path).ok()) {
        return Ok(quoted);
    }
    quote(&program).map_err(|c| {
        Error::refused(format!(
            "the path of this program, {}, has the character {c:?}, which not every AWS tool can read in the config file. \
             Make a link to it in a folder of PATH, for example /usr/local/bin/auth-login, then try again",
            program.display()
        ))
    })
}

/// The paths under which the user finds this program. A link is written as the link: an upgrade gives it another target
/// and removes the one of today.
fn links(io: &Io) -> Vec<PathBuf> {
    let started_as = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    let name = started_as.file_name().unwrap_or(OsStr::new(NAME)).to_owned();
    let folders = io.var("PATH").into_iter().flat_map(std::env::split_paths).filter(|folder| folder.is_absolute());
    let on_path = folders.flat_map(|folder| [folder.join(&name), folder.join(NAME)]);
    let by_path = std::path::absolute(&started_as).ok().filter(|_| started_as.components().count() > 1);
    on_path.chain(by_path).filter(|path| is_this_program(path)).collect()
}

/// Whether the path leads to the program that is running.
fn is_this_program(path: &Path) -> bool {
    let resolved = std::env::current_exe().and_then(std::fs::canonicalize);
    path.is_absolute() && std::fs::canonicalize(path).is_ok_and(|path| resolved.is_ok_and(|program| path == program))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_command_is_recognized_by_its_name_or_by_its_program() {
        let this = std::env::current_exe().unwrap();
        let this = this.to_str().unwrap();
        assert!(is_ours("/opt/auth-login credential-process --profile p"));
        assert!(is_ours(&format!("\"{this}\" credential-process")));
        for other in [&format!("{this} renew")[..], "/opt/granted credential-process", "/opt/auth-login", "", "'"] {
            assert!(!is_ours(other), "{other}");
        }
    }

    #[test]
    fn a_link_on_path_is_written_as_the_link() {
        let dir = tempfile::tempdir().unwrap();
        let this = std::env::current_exe().unwrap();
        let link = dir.path().join("a b/auth-login");
        std::fs::create_dir(link.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(&this, &link).unwrap();
        let other = tempfile::tempdir().unwrap();
        std::fs::write(other.path().join("auth-login"), "another program").unwrap();
        let path = format!("relative:{}:{}", other.path().display(), link.parent().unwrap().display());
        let io = Io::fake(Box::new(std::io::sink()), Box::new(std::io::sink()), &[("PATH", &path)]);
        let expected = format!("\"{}\" credential-process --profile p", link.display());
        assert_eq!(command(&io, &["--profile", "p"]).unwrap(), expected);
    }

    #[test]
    fn arguments_are_quoted_or_refused() {
        let io = Io::fake(Box::new(std::io::sink()), Box::new(std::io::sink()), &[]);
        let command = command(&io, &["--server", "http://a/$(id)'b", "--profile", "p"]).unwrap();
        let words = words::split(&command).unwrap();
        assert_eq!(words[1..], ["credential-process", "--server", "http://a/$(id)'b", "--profile", "p"]);
        assert!(super::command(&io, &["--server", "http://a/;b"]).is_err());
    }
}
