//! What every module's Config is checked with: faults are collected, so that one run of `authd check` reports all of
//! them, and URLs and folders are judged by the same rules everywhere.
//!
//! A fault names the setting and its variable, the value unless it is a secret, and what to write instead.

mod folder;

use http::Uri;
use shared::url;

pub use self::folder::{check_file, check_folder, check_usable, check_writers};

/// What is wrong with the settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// With these authd does not start.
    pub refused: Vec<String>,
    /// With these it starts, and says so.
    pub warned: Vec<String>,
}

impl Faults {
    pub fn refuse(&mut self, fault: impl Into<String>) {
        self.refused.push(fault.into());
    }

    pub fn warn(&mut self, fault: impl Into<String>) {
        self.warned.push(fault.into());
    }

    /// Refuses unless this holds.
    pub fn require(&mut self, holds: bool, fault: &str) {
        if !holds {
            self.refuse(fault);
        }
    }

    /// An http or https URL; `None` if it was refused.
    pub fn url(&mut self, name: &str, text: &str) -> Option<Uri> {
        // A refused URL may have a password in it.
        let shown = if text.contains('@') { String::new() } else { format!("{text:?}: ") };
        url::parse(text).map_err(|fault| self.refuse(format!("{name}: {shown}{fault}"))).ok()
    }

    /// A URL without a query, to which paths are appended.
    pub fn base_url(&mut self, name: &str, text: &str) -> Option<Uri> {
        let uri = self.url(name, text)?;
        if uri.query().is_some() {
            self.refuse(format!("{name}: {text:?}: a query (from ? on) has no meaning there; remove it"));
            return None;
        }
        Some(uri)
    }

    /// Refuses http to another machine: whoever is between could read and replace what is sent.
    pub fn private(&mut self, name: &str, uri: &Uri) {
        if !url::is_private(uri) {
            let fault = "http is accepted only for this machine, because others on the network could read and replace what is sent";
            self.refuse(format!("{name}: \"{uri}\": {fault}; use https"));
        }
    }
}

/// The known word that is most like an unknown one, which is probably what was meant.
pub fn nearest<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known.into_iter().min_by_key(|known| distance(unknown, known))
}

/// The Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.chars().enumerate() {
            let cost = (diagonal + usize::from(x != y)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = std::mem::replace(&mut row[j + 1], cost);
        }
    }
    row[row.len() - 1]
}
