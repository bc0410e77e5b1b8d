//! What both command-line programs share: exit codes, output formats, tables, and times for people.

mod printing;

use std::ffi::OsString;
use std::io::{self, Write};

use clap::FromArgMatches;
use clap::builder::Resettable;
use comfy_table::{ColumnConstraint, ContentArrangement, Table, presets};
use serde::Serialize;

pub use self::printing::{Cleaned, clean, clean_json, clean_lines};
use crate::time::Time;

/// Exit codes, the same for both programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Ok = 0,
    /// The daemon or this program refused.
    Refused = 1,
    /// The command line is wrong.
    Usage = 2,
    /// No session, or credentials that were not accepted.
    NotAuthenticated = 3,
    /// The daemon does not answer.
    Unreachable = 4,
    /// The compared things differ; only for commands that were asked to report it.
    Different = 5,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Parses the command line (the first argument is the program's name). A setting that is empty is not set, as a flag
/// (`--server ""`, `--server=`) and as a variable, so that a script can pass on what it may not have. Settings are the
/// options that every command of the program takes; the options of one command may well be empty, such as a description.
pub fn parse<T: FromArgMatches>(
    command: clap::Command,
    args: impl IntoIterator<Item = OsString>,
) -> Result<T, clap::Error> {
    let args = without_empty(&command, args);
    let matches = without_empty_variables(command).try_get_matches_from(args)?;
    T::from_arg_matches(&matches)
}

fn without_empty(command: &clap::Command, args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let options = command.get_arguments().filter(|arg| !arg.is_positional() && arg.get_action().takes_values());
    let names = options.flat_map(|arg| {
        [arg.get_long().map(|long| format!("--{long}")), arg.get_short().map(|short| format!("-{short}"))]
    });
    let names: Vec<String> = names.flatten().collect();
    let runs_others = |name: &OsString| {
        let found = name.to_str().and_then(|name| command.find_subcommand(name));
        found.is_some_and(|found| found.get_positionals().any(clap::Arg::is_trailing_var_arg_set))
    };
    let mut args = args.into_iter();
    let mut kept: Vec<OsString> = args.next().into_iter().collect();
    let mut is_other = false;
    while let Some(arg) = args.next() {
        let is_option = arg.as_encoded_bytes().starts_with(b"-");
        if arg == "--" || (is_other && !is_option) {
            // What follows belongs to another program.
            kept.push(arg);
            kept.extend(args);
            break;
        }
        if names.iter().any(|name| arg == name.as_str()) {
            let value = args.next();
            if value.as_ref().is_none_or(|value| !value.is_empty()) {
                kept.push(arg);
                kept.extend(value);
            }
            continue;
        }
        is_other |= runs_others(&arg);
        let is_empty = |name: &String| arg.to_str().and_then(|arg| arg.strip_prefix(name.as_str())) == Some("=");
        if !names.iter().any(is_empty) {
            kept.push(arg);
        }
    }
    kept
}

fn without_empty_variables(command: clap::Command) -> clap::Command {
    let is_empty = |arg: &clap::Arg| arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
    let command = command.mut_args(|arg| if is_empty(&arg) { arg.env(Resettable::Reset) } else { arg });
    command.mut_subcommands(without_empty_variables)
}

#[cfg(feature = "client")]
impl From<&crate::client::Error> for Exit {
    fn from(error: &crate::client::Error) -> Self {
        use crate::client::Error;
        match error {
            Error::Unreachable { .. } | Error::NoAnswer { .. } => Self::Unreachable,
            Error::Refused(problem) if problem.status == 401 => Self::NotAuthenticated,
            Error::Refused(_) | Error::NotAuthd { .. } => Self::Refused,
        }
    }
}

/// How an answer is printed, `-o`: as a table for people, or as the API's own object.
// Doc comments on the variants would appear in the help.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    #[default]
    Table,
    Json,
    Yaml,
}

/// Writes an object of the API as JSON or YAML, with unsafe characters escaped (see [`clean`]). In the table format it
/// writes nothing and returns `false`; the caller writes the table.
pub fn write_object(out: &mut dyn Write, format: Format, object: &impl Serialize) -> io::Result<bool> {
    let text = match format {
        Format::Table => return Ok(false),
        Format::Json => json(object)?,
        Format::Yaml => {
            let text = serde_norway::to_string(object).map_err(io::Error::other)?;
            // YAML has escapes only in some of its notations, one of which is JSON.
            if clean_lines(&text) == text { text } else { json(object)? }
        }
    };
    out.write_all(text.as_bytes())?;
    Ok(true)
}

fn json(object: &impl Serialize) -> io::Result<String> {
    let text = serde_json::to_string_pretty(object).map_err(io::Error::other)?;
    Ok(clean_json(&text).into_owned() + "\n")
}

/// The distance of a time from now, rounded to its largest unit: `in 29 days`, `3 minutes ago`, `now`.
pub fn relative(now: Time, then: Time) -> String {
    const UNITS: [(&str, i64); 5] =
        [("year", 365 * 86_400), ("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1)];
    let millis = then.millis() - now.millis();
    let seconds = (millis.abs() + 500) / 1_000;
    // Below two of the next larger unit, the smaller one is used: "in 29 hours" is more precise than "in 1 day".
    let unit = UNITS.into_iter().find(|(_, size)| if *size == 1 { seconds >= 1 } else { seconds >= 2 * size });
    let Some((name, size)) = unit else { return "now".to_owned() };
    let count = (seconds + size / 2) / size;
    let plural = if count == 1 { "" } else { "s" };
    if millis > 0 { format!("in {count} {name}{plural}") } else { format!("{count} {name}{plural} ago") }
}

/// A time for people: its distance from now, and the exact time in UTC, to the second.
pub fn moment(now: Time, then: Time) -> String {
    format!("{} ({})", relative(now, then), Time::from_millis(then.millis().div_euclid(1_000) * 1_000))
}

/// A column of a [`Grid`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// Never wrapped: ids, times.
    Whole(&'static str),
    /// Wrapped when the terminal is too narrow: names, scopes.
    Wrapped(&'static str),
    /// Never wrapped, and left out when the terminal is too narrow: details that another command shows.
    Spare(&'static str),
}

impl Column {
    const fn title(self) -> &'static str {
        match self {
            Self::Whole(title) | Self::Wrapped(title) | Self::Spare(title) => title,
        }
    }
}

/// A table that fits the terminal: no borders, columns two spaces apart. If wrapping is not enough,
/// each row becomes a block of lines. Cells are cleaned (see [`clean`]).
#[derive(Debug)]
pub struct Grid {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

impl Grid {
    /// A wrapped column is not made narrower than this.
    const NARROWEST: usize = 12;

    pub fn new(columns: impl Into<Vec<Column>>) -> Self {
        Self { columns: columns.into(), rows: Vec::new() }
    }

    /// Adds a row, with one cell for each column.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| clean(&cell).into_owned()).collect());
    }

    /// Renders for a terminal of this width; without a width (a pipe, a file) nothing is wrapped.
    pub fn render(&self, width: Option<u16>) -> String {
        let fits = |with_spare: &bool| width.is_none_or(|width| self.narrowest(*with_spare) <= usize::from(width));
        match [true, false].into_iter().find(fits) {
            Some(with_spare) => self.table(with_spare, width),
            None => self.blocks(),
        }
    }

    /// The columns to show, with their indexes in a row.
    fn shown(&self, with_spare: bool) -> impl Iterator<Item = (usize, &Column)> {
        self.columns.iter().enumerate().filter(move |(_, column)| with_spare || !matches!(column, Column::Spare(_)))
    }

    fn narrowest(&self, with_spare: bool) -> usize {
        let widths = self.shown(with_spare).map(|(index, column)| {
            let cells = self.rows.iter().filter_map(|row| row.get(index));
            let widest = cells.map(|cell| cell.chars().count()).chain([column.title().len()]).max().unwrap_or(0);
            match column {
                Column::Whole(_) | Column::Spare(_) => widest,
                Column::Wrapped(_) => widest.min(Self::NARROWEST),
            }
        });
        // Two spaces between columns, none after the last.
        widths.map(|width| width + 2).sum::<usize>().saturating_sub(2)
    }

    fn table(&self, with_spare: bool, width: Option<u16>) -> String {
        let shown: Vec<(usize, &Column)> = self.shown(with_spare).collect();
        let mut table = Table::new();
        table.force_no_tty().load_style(presets::NOTHING);
        table.set_header(shown.iter().map(|(_, column)| column.title()));
        table.add_rows(self.rows.iter().map(|row| shown.iter().filter_map(|(index, _)| row.get(*index))));
        if let Some(width) = width {
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        }
        for (layout, (place, (_, column))) in table.column_iter_mut().zip(shown.iter().enumerate()) {
            layout.set_padding((0, if place + 1 == shown.len() { 0 } else { 2 }));
            if !matches!(column, Column::Wrapped(_)) {
                layout.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
        table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
    }

    fn blocks(&self) -> String {
        let title_width = self.columns.iter().map(|column| column.title().len()).max().unwrap_or(0);
        let blocks = self.rows.iter().map(|row| {
            let lines = self.columns.iter().zip(row).filter(|(_, cell)| !cell.is_empty());
            lines.map(|(column, cell)| format!("{:title_width$}  {cell}\n", column.title())).collect::<String>()
        });
        blocks.collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: i64) -> Time {
        Time::from_millis(1_800_000_000_000 + seconds * 1_000)
    }

    #[test]
    fn times_are_told_as_people_tell_them() {
        for (distance, told) in [
            (0, "now"),
            (1, "in 1 second"),
            (-45, "45 seconds ago"),
            (89, "in 89 seconds"),
            (-180, "3 minutes ago"),
            (7_100, "in 118 minutes"),
            (7_200, "in 2 hours"),
            (30 * 86_400 - 2, "in 30 days"),
            (-86_400 * 400, "400 days ago"),
            (86_400 * 365 * 3, "in 3 years"),
        ] {
            assert_eq!(relative(seconds(0), seconds(distance)), told, "{distance}");
        }
    }

    #[test]
    fn an_empty_setting_is_not_set_and_what_another_program_gets_is_left_alone() {
        let option = |name: &'static str| clap::Arg::new(name).long(name).global(true);
        let run = clap::Arg::new("run").num_args(1..).trailing_var_arg(true);
        let command = clap::Command::new("x")
            .args([option("server"), option("role").short('r'), option("force").action(clap::ArgAction::SetTrue)])
            .subcommand(clap::Command::new("exec").arg(run))
            .subcommand(clap::Command::new("update").arg(clap::Arg::new("text").long("text")));
        for (given, kept) in [
            (&["--server", "", "update"][..], &["update"][..]),
            (&["--server=", "--force", "-r", ""], &["--force"]),
            (&["update", "--text", "", "--server", "a"], &["update", "--text", "", "--server", "a"]),
            (&["--role", "exec", "update", "--role", ""], &["--role", "exec", "update"]),
            (&["exec", "--role", "", "aws", "--role", ""], &["exec", "aws", "--role", ""]),
            (&["exec", "--", "--role", ""], &["exec", "--", "--role", ""]),
            (&["update", "--server"], &["update", "--server"]),
        ] {
            let args = ["x"].iter().chain(given).map(OsString::from);
            let expected: Vec<OsString> = ["x"].iter().chain(kept).map(OsString::from).collect();
            assert_eq!(without_empty(&command, args), expected, "{given:?}");
        }
    }

    fn grid() -> Grid {
        let columns = [Column::Whole("ID"), Column::Wrapped("SCOPES"), Column::Whole("EXPIRES"), Column::Spare("USED")];
        let mut grid = Grid::new(columns);
        for row in
            [["0199", "orders:read orders:write orders:list", "in 29 days", "now"], ["0198", "read", "never", ""]]
        {
            grid.row(row.map(str::to_owned));
        }
        grid
    }

    #[test]
    fn a_pipe_gets_one_line_a_row() {
        assert_eq!(
            grid().render(None),
            "ID    SCOPES                                EXPIRES     USED\n\
             0199  orders:read orders:write orders:list  in 29 days  now\n\
             0198  read                                  never\n"
        );
    }

    #[test]
    fn a_table_fits_the_terminal_and_leaves_out_what_is_spare() {
        assert_eq!(
            grid().render(Some(34)),
            "ID    SCOPES        EXPIRES\n\
             0199  orders:read   in 29 days\n      orders:write\n      orders:list\n\
             0198  read          never\n"
        );
    }

    #[test]
    fn a_terminal_too_narrow_for_a_table_gets_blocks() {
        assert_eq!(
            grid().render(Some(20)),
            "ID       0199\nSCOPES   orders:read orders:write orders:list\nEXPIRES  in 29 days\nUSED     now\n\n\
             ID       0198\nSCOPES   read\nEXPIRES  never\n"
        );
    }

    #[test]
    fn objects_keep_the_names_of_the_api() {
        let mut out = Vec::new();
        assert!(write_object(&mut out, Format::Yaml, &serde_json::json!({"token_id": "x"})).unwrap());
        assert!(!write_object(&mut out, Format::Table, &1).unwrap());
        assert_eq!(String::from_utf8(out).unwrap(), "token_id: x\n");
    }

    #[test]
    fn an_object_has_the_same_values_in_every_format_and_no_unsafe_character() {
        let object = serde_json::json!({"name": "a\u{202e}b\u{9b}2J"});
        for format in [Format::Json, Format::Yaml] {
            let mut out = Vec::new();
            assert!(write_object(&mut out, format, &object).unwrap());
            let text = String::from_utf8(out).unwrap();
            assert_eq!(clean_lines(&text), text);
            assert_eq!(serde_norway::from_str::<serde_json::Value>(&text).unwrap(), object);
        }
    }
}
