//! What both command-line programs have in common: exit codes, formats of output, and how people read times.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;

use comfy_table::{Cell, ColumnConstraint, ContentArrangement, Table, presets};
use serde::Serialize;

use crate::time::Time;

/// Exit codes, the same for both programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Ok = 0,
    /// The daemon, or this program, said no.
    Refused = 1,
    /// The command line is wrong.
    Usage = 2,
    /// No session, or credentials that are not good.
    NotAuthenticated = 3,
    /// Nobody answers.
    Unreachable = 4,
    /// What was compared is not the same; only where that was asked for.
    Different = 5,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
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

/// How an answer is printed: `-o`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// The API's own object.
    Json,
    /// The same object.
    Yaml,
}

impl Format {
    pub const NAMES: [&str; 3] = ["table", "json", "yaml"];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Json => "json",
            Self::Yaml => "yaml",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Table, Self::Json, Self::Yaml]
            .into_iter()
            .find(|format| format.as_str() == text)
            .ok_or_else(|| format!("expected one of {}", Self::NAMES.join(", ")))
    }
}

/// Writes an object of the API as JSON or YAML. In the table format it writes nothing and answers `false`: the caller
/// knows what a person wants to see.
pub fn write_object(out: &mut dyn Write, format: Format, object: &impl Serialize) -> io::Result<bool> {
    let text = match format {
        Format::Table => return Ok(false),
        Format::Json => serde_json::to_string_pretty(object).map_err(io::Error::other)? + "\n",
        Format::Yaml => serde_norway::to_string(object).map_err(io::Error::other)?,
    };
    out.write_all(text.as_bytes())?;
    Ok(true)
}

/// Text that somebody else wrote (a device's name, a reason) without what could move the cursor, recolour the screen or
/// turn the direction of writing: such characters are shown as `\u{…}`.
pub fn clean(text: &str) -> Cow<'_, str> {
    let unsafe_to_show = |c: char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(unsafe_to_show) {
        return Cow::Borrowed(text);
    }
    let escaped = text.chars().flat_map(|c| {
        let (escape, plain) = if unsafe_to_show(c) { (Some(c.escape_unicode()), None) } else { (None, Some(c)) };
        escape.into_iter().flatten().chain(plain)
    });
    Cow::Owned(escaped.collect())
}

/// How far a moment is from now, rounded to its largest unit: `in 29 days`, `3 minutes ago`, `now`.
pub fn relative(now: Time, then: Time) -> String {
    const UNITS: [(&str, i64); 5] =
        [("year", 365 * 86_400), ("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1)];
    let millis = then.millis() - now.millis();
    let seconds = (millis.abs() + 500) / 1_000;
    // A unit is used from two of the next larger one: "in 29 hours" says more than "in 1 day".
    let unit = UNITS.into_iter().find(|(_, size)| if *size == 1 { seconds >= 1 } else { seconds >= 2 * size });
    let Some((name, size)) = unit else { return "now".to_owned() };
    let count = (seconds + size / 2) / size;
    let plural = if count == 1 { "" } else { "s" };
    if millis > 0 { format!("in {count} {name}{plural}") } else { format!("{count} {name}{plural} ago") }
}

/// A moment for people: how far it is, and when exactly, to the second in UTC.
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
    /// Never wrapped, and left out when the terminal is too narrow: what a person can ask for elsewhere.
    Spare(&'static str),
}

impl Column {
    const fn title(self) -> &'static str {
        match self {
            Self::Whole(title) | Self::Wrapped(title) | Self::Spare(title) => title,
        }
    }
}

/// A table that fits the terminal: no lines, columns two spaces apart; where even wrapping cannot make it fit, one
/// block of lines for each row. Cells are cleaned (see [`clean`]).
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

    /// A row has one cell for each column.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| clean(&cell).into_owned()).collect());
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// For a terminal of this width; without a width (a pipe, a file) nothing is wrapped.
    pub fn render(&self, width: Option<u16>) -> String {
        let everything: Vec<usize> = (0..self.columns.len()).collect();
        let is_needed = |index: &usize| !matches!(self.columns.get(*index), Some(Column::Spare(_)));
        let needed: Vec<usize> = everything.iter().copied().filter(is_needed).collect();
        let fits = |shown: &[usize]| width.is_none_or(|width| self.narrowest(shown) <= usize::from(width));
        match [&everything, &needed].into_iter().find(|shown| fits(shown)) {
            Some(shown) => self.table(shown, width),
            None => self.blocks(),
        }
    }

    fn narrowest(&self, shown: &[usize]) -> usize {
        let widths =
            shown.iter().filter_map(|index| Some((*index, self.columns.get(*index)?))).map(|(index, column)| {
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

    fn table(&self, shown: &[usize], width: Option<u16>) -> String {
        let columns: Vec<Column> = shown.iter().filter_map(|index| self.columns.get(*index).copied()).collect();
        let mut table = Table::new();
        table.force_no_tty().load_style(presets::NOTHING);
        table.set_header(columns.iter().map(|column| Cell::new(column.title())));
        table.add_rows(self.rows.iter().map(|row| shown.iter().filter_map(|index| row.get(*index)).map(Cell::new)));
        if let Some(width) = width {
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        }
        for (index, column) in columns.iter().enumerate() {
            if let Some(layout) = table.column_mut(index) {
                layout.set_padding((0, if index + 1 == columns.len() { 0 } else { 2 }));
                if !matches!(column, Column::Wrapped(_)) {
                    layout.set_constraint(ColumnConstraint::ContentWidth);
                }
            }
        }
        let lines = table.lines().map(|line| line.trim_end().to_owned() + "\n");
        lines.collect()
    }

    fn blocks(&self) -> String {
        let title_width = self.columns.iter().map(|column| column.title().len()).max().unwrap_or(0);
        let blocks = self.rows.iter().map(|row| {
            let lines = self.columns.iter().zip(row).filter(|(_, cell)| !cell.is_empty());
            lines
                .map(|(column, cell)| format!("{:title_width$}  {cell}\n", column.title()))
                .collect::<Vec<_>>()
                .concat()
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
    fn text_of_others_cannot_drive_the_terminal() {
        assert_eq!(clean("laptop of Zoë"), "laptop of Zoë");
        assert_eq!(clean("a\u{1b}[2Jb\u{202e}c\n"), "a\\u{1b}[2Jb\\u{202e}c\\u{a}");
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
}
