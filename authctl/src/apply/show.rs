//! A plan, for people: a line for each thing, a line for each of its details.

use std::fmt::Write as _;

use owo_colors::OwoColorize;
use shared::cli::clean;

use super::plan::{Action, Detail, Plan};

impl Plan {
    /// As text, in colour or not.
    pub(crate) fn render(&self, colour: bool) -> String {
        let mut text = String::new();
        for change in &self.changes {
            let sign = sign(change.action, colour);
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{sign} {} {}", change.kind, clean(&change.name));
            for detail in &change.details {
                let _ = writeln!(text, "    {}", told(detail, colour));
            }
        }
        text
    }

    /// `2 to create, 1 to change, 0 to remove`; after it was done in the past tense.
    pub(crate) fn summary(&self, is_done: bool) -> String {
        let [create, change, remove] =
            [Action::Create, Action::Change, Action::Remove].map(|action| self.count(action));
        if is_done {
            format!("{create} created, {change} changed, {remove} removed")
        } else {
            format!("{create} to create, {change} to change, {remove} to remove")
        }
    }
}

fn sign(action: Action, colour: bool) -> String {
    match (action, colour) {
        (Action::Create, true) => "+".green().to_string(),
        (Action::Change, true) => "~".yellow().to_string(),
        (Action::Remove, true) => "-".red().to_string(),
        (Action::Create, false) => "+".to_owned(),
        (Action::Change, false) => "~".to_owned(),
        (Action::Remove, false) => "-".to_owned(),
    }
}

fn told(detail: &Detail, colour: bool) -> String {
    match detail {
        Detail::Add { kind, name } => format!("{} {kind} {}", sign(Action::Create, colour), clean(name)),
        Detail::Remove { kind, name } => format!("{} {kind} {}", sign(Action::Remove, colour), clean(name)),
        Detail::Set { field, from, to } => {
            let (from, to) = (quoted(from), quoted(to));
            format!("{} {field} {from} -> {to}", sign(Action::Change, colour))
        }
    }
}

fn quoted(text: &str) -> String {
    let is_word = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric());
    if is_word { text.to_owned() } else { format!("\"{}\"", clean(text)) }
}
