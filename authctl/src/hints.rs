//! What a wrong command was probably meant to be: the same word in another group of commands, or another word for it.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, CommandFactory};

use crate::args::Cli;

/// Words of other programs, and what the commands are called here: the words of a line stand for each other, and for each
/// command whose last word is one of them.
const SAME: &[&[&str]] = &[
    &["delete", "remove", "rm", "del", "destroy", "revoke", "end", "drop", "kill"],
    &["create", "add", "new", "make", "mint", "issue"],
    &["show", "info", "get", "describe", "view", "inspect"],
    &["list", "ls"],
    &["update", "change", "edit", "set", "modify", "rename"],
    &["enable", "activate", "unlock", "unblock"],
    &["clear", "unlock", "unblock"],
    &["disable", "deactivate", "suspend", "lock", "block", "deny"],
    &["rotate", "roll", "renew", "regenerate", "refresh"],
    &["extend", "prolong", "renew"],
    &["validate", "check", "verify", "introspect"],
    &["can", "check", "may", "allowed"],
    &["passwd", "password"],
    &["grant", "assign", "give", "allow"],
    &["ungrant", "unassign", "take", "deny"],
    &["login", "signin", "sign-in", "auth"],
    &["logout", "signout", "sign-out"],
    &["whoami", "me", "id"],
    &["status", "health", "doctor", "version", "ping"],
    &["audit", "log", "logs", "events", "history"],
    &["totp", "mfa", "2fa", "otp"],
];

/// More commands than this are no hint.
const MOST: usize = 5;

/// The hint for a command that there is not; `args` are those of the whole command line.
pub(crate) fn for_wrong_command(error: &clap::Error, args: &[OsString]) -> Option<String> {
    let meant = match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else { return None };
            find(word, args)
        }
        // As in `authctl list users`: the short commands are those of tokens.
        ErrorKind::UnknownArgument | ErrorKind::MissingRequiredArgument => {
            let [_, command, group, ..] = args else { return None };
            let (command, group) = (command.to_str()?, singular(group.to_str()?));
            let meant =
                if ["create", "list", "info", "revoke"].contains(&command) { find(command, args) } else { vec![] };
            meant.into_iter().filter(|path| path.len() > 1 && path[0] == group).collect()
        }
        _ => return None,
    };
    if meant.is_empty() {
        return None;
    }
    let commands: Vec<String> = meant.iter().map(|path| format!("authctl {}", path.join(" "))).collect();
    Some(format!("Did you mean: {}", commands.join(", ")))
}

/// The commands that the word may stand for, at most [`MOST`]. A group that is named before it or after it decides between
/// them.
fn find(word: &str, args: &[OsString]) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    collect(&Cli::command(), &mut Vec::new(), &mut all);
    let is_group = |name: &str| all.iter().any(|path| path.len() > 1 && path[0] == name);
    if is_group(&singular(word)) {
        return vec![vec![singular(word)]];
    }
    let words: Vec<&str> = args.iter().skip(1).filter_map(|arg| arg.to_str()).collect();
    let at = words.iter().position(|other| *other == word).unwrap_or(words.len());
    let before = words[..at].iter().map(|name| (*name).to_owned());
    let group = before.chain(words.get(at + 1).map(|name| singular(name))).find(|name| is_group(name));
    let same: Vec<&str> = SAME.iter().filter(|words| words.contains(&word)).copied().flatten().copied().collect();
    let is_last = |path: &[String], words: &[&str]| path.last().is_some_and(|last| words.contains(&last.as_str()));
    let in_group = all.iter().filter(|path| group.as_ref() == path.first());
    let in_group: Vec<&Vec<String>> = in_group.filter(|path| is_last(path, &same) || is_last(path, &[word])).collect();
    let shortest = in_group.iter().map(|path| path.len()).min();
    let mut found: Vec<&Vec<String>> = in_group.into_iter().filter(|path| Some(path.len()) == shortest).collect();
    for words in [&[word][..], &same] {
        if found.is_empty() {
            found = all.iter().filter(|path| is_last(path, words)).collect();
        }
    }
    if found.len() > MOST { Vec::new() } else { found.into_iter().cloned().collect() }
}

fn singular(name: &str) -> String {
    name.strip_suffix('s').unwrap_or(name).to_owned()
}

/// The paths of all commands that do something.
fn collect(command: &Command, path: &mut Vec<String>, all: &mut Vec<Vec<String>>) {
    if !path.is_empty() && !command.has_subcommands() {
        all.push(path.clone());
    }
    for sub in command.get_subcommands() {
        path.push(sub.get_name().to_owned());
        collect(sub, path, all);
        path.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_elsewhere_or_has_another_name_here_is_found() {
        for (line, meant) in [
            ("rotate demo", "token rotate"),
            ("extend demo", "token extend"),
            ("rotate token demo", "token rotate"),
            ("delete user bob", "user delete"),
            ("remove users bob", "user delete"),
            ("add role editor", "role create"),
            ("token delete demo", "token revoke"),
            ("session revoke x", "session end"),
            ("user add bob", "user create"),
            ("user rm bob", "user delete"),
            ("role get editor", "role show"),
            ("service remove orders", "service delete"),
            ("user password bob", "user passwd"),
            ("invite bob@example.org", "user invite"),
            ("tokens", "token"),
            ("users list", "user"),
            ("logs", "audit"),
            ("health", "status"),
            ("signin", "login"),
            ("unlock bob", "lockout clear"),
            ("nonsense", ""),
        ] {
            let args: Vec<OsString> = format!("authctl {line}").split(' ').map(OsString::from).collect();
            let word = Cli::command().try_get_matches_from(&args).unwrap_err();
            let Some(ContextValue::String(word)) = word.get(ContextKind::InvalidSubcommand) else {
                panic!("{line}: {word}");
            };
            let found: Vec<String> = find(word, &args).iter().map(|path| path.join(" ")).collect();
            assert!(
                found.iter().any(|path| path == meant) || (meant.is_empty() && found.is_empty()),
                "{line}: {found:?}"
            );
            assert!(found.len() <= MOST, "{line}: {found:?}");
        }
    }
}
