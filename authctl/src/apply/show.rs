//! A plan as text: a line for each object, and a line for each of its details.

use std::fmt::Write as _;

use owo_colors::{AnsiColors, OwoColorize};
use shared::cli::clean;

use super::plan::{Action, Plan};
use super::step::Detail;

impl Plan {
    /// The plan as text, with or without colour.
    pub(crate) fn render(&self, colour: bool) -> String {
        let mut text = String::new();
        for change in &self.changes {
            let sign = sign(change.action, colour);
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{sign} {} {}", change.kind, clean(&change.name));
            for detail in &change.details {
                let _ = writeln!(text, "    {}", detail.render(colour));
            }
        }
        text
    }

    /// `2 to create, 1 to change, 0 to remove`; after it was applied, in the past tense.
    pub(crate) fn summary(&self, is_done: bool) -> String {
        let [create, change, remove] = [Action::Create, Action::Change, Action::Remove]
            .map(|action| self.changes.iter().filter(|change| change.action == action).count());
        if is_done {
            format!("{create} created, {change} changed, {remove} removed")
        } else {
            format!("{create} to create, {change} to change, {remove} to remove")
        }
    }
}

fn sign(action: Action, is_coloured: bool) -> String {
    let (sign, colour) = match action {
        Action::Create => ("+", AnsiColors::Green),
        Action::Change => ("~", AnsiColors::Yellow),
        Action::Remove => ("-", AnsiColors::Red),
    };
    if is_coloured { sign.color(colour).to_string() } else { sign.to_owned() }
}

impl Detail {
    pub(super) fn render(&self, colour: bool) -> String {
        match self {
            Self::Add { kind, name } => format!("{} {kind} {}", sign(Action::Create, colour), clean(name)),
            Self::Remove { kind, name } => format!("{} {kind} {}", sign(Action::Remove, colour), clean(name)),
            Self::Invite { email } => format!("{} invitation to {}", sign(Action::Create, colour), clean(email)),
            Self::Set { field, from, to } => {
                let (from, to) = (quoted(from), quoted(to));
                format!("{} {field} {from} -> {to}", sign(Action::Change, colour))
            }
        }
    }
}

fn quoted(text: &str) -> String {
    let is_word = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric());
    if is_word { text.to_owned() } else { format!("\"{}\"", clean(text)) }
}
