//! What comes out: one table for people, the same as JSON for programs.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::cores::Cores;

#[derive(Debug, Serialize)]
pub struct Report {
    pub machine: Machine,
    pub conditions: Vec<String>,
    pub rows: Vec<Row>,
}

/// Where it was measured.
#[derive(Debug, Serialize)]
pub struct Machine {
    pub cpu: String,
    pub cores: usize,
    pub memory_gib: u64,
    pub kernel: String,
    /// Of the folder with the databases.
    pub file_system: String,
    /// Load averages when the run began: what else the machine was doing.
    pub load: String,
    pub date: String,
}

/// One measure: the limit and authd beside it, both medians.
#[derive(Debug, Serialize)]
pub struct Row {
    pub measure: String,
    pub unit: &'static str,
    pub limit: Option<f64>,
    pub authd: f64,
    /// authd over limit.
    pub ratio: Option<f64>,
    pub target: Option<Target>,
    /// Each round, in order.
    pub rounds: Rounds,
}

#[derive(Debug, Default, Serialize)]
pub struct Rounds {
    pub limit: Vec<f64>,
    pub authd: Vec<f64>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Target {
    pub text: String,
    pub met: bool,
}

impl Row {
    /// A measure with a limit beside it.
    pub fn beside(measure: &str, unit: &'static str, limit: Vec<f64>, authd: Vec<f64>) -> Self {
        let (low, own) = (median(&limit), median(&authd));
        Self {
            measure: measure.to_owned(),
            unit,
            limit: Some(low),
            authd: own,
            ratio: Some(own / low),
            target: None,
            rounds: Rounds { limit, authd },
        }
    }

    /// A measure that stands alone.
    pub fn alone(measure: &str, unit: &'static str, authd: Vec<f64>) -> Self {
        Self {
            measure: measure.to_owned(),
            unit,
            limit: None,
            authd: median(&authd),
            ratio: None,
            target: None,
            rounds: Rounds { limit: Vec::new(), authd },
        }
    }

    #[must_use]
    pub fn ratio_at_most(self, most: f64) -> Self {
        let met = self.ratio.is_some_and(|ratio| ratio <= most);
        self.target(format!("≤ {most}x"), met)
    }

    #[must_use]
    pub fn ratio_at_least(self, least: f64) -> Self {
        let met = self.ratio.is_some_and(|ratio| ratio >= least);
        self.target(format!("≥ {least}x"), met)
    }

    #[must_use]
    pub fn at_most(self, most: f64) -> Self {
        let met = self.authd <= most;
        let text = format!("≤ {most} {}", self.unit);
        self.target(text, met)
    }

    #[must_use]
    pub fn target(mut self, text: String, met: bool) -> Self {
        self.target = Some(Target { text, met });
        self
    }
}

/// The middle one, or the mean of the two in the middle.
pub fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.get(middle) {
        None => f64::NAN,
        Some(value) if values.len() % 2 == 1 => *value,
        Some(value) => f64::midpoint(values[middle - 1], *value),
    }
}

impl Report {
    pub fn new(dir: &Path, cores: Cores) -> Result<Self> {
        let mut conditions = vec![
            "Both servers answer plain HTTP/1.1 on loopback, with keep-alive; authd runs with its defaults, everything on."
                .to_owned(),
        ];
        conditions.push(if cores.server == cores.generator {
            "This machine has one core: server and generator shared it, which makes the figures worse.".to_owned()
        } else {
            format!("Server pinned to core {}, generator to core {}.", cores.server, cores.generator)
        });
        Ok(Self { machine: Machine::here(dir)?, conditions, rows: Vec::new() })
    }

    pub fn missed(&self) -> usize {
        self.rows.iter().filter(|row| row.target.as_ref().is_some_and(|target| !target.met)).count()
    }

    pub fn markdown(&self) -> String {
        let machine = &self.machine;
        let mut text = format!(
            "Measured {} on {}, {} cores, {} GiB, Linux {}, {}; load averages before the run {}.\n",
            machine.date,
            machine.cpu,
            machine.cores,
            machine.memory_gib,
            machine.kernel,
            machine.file_system,
            machine.load
        );
        for condition in &self.conditions {
            text += condition;
            text += "\n";
        }
        text += "\n| measure | unit | limit | authd | of the limit | target | |\n|---|---|---:|---:|---:|---|---|\n";
        for row in &self.rows {
            let limit = row.limit.map(figure).unwrap_or_default();
            let ratio = row.ratio.map(|ratio| format!("{ratio:.2}x")).unwrap_or_default();
            let (target, met) = match &row.target {
                Some(target) => (target.text.as_str(), if target.met { "met" } else { "**missed**" }),
                None => ("", ""),
            };
            let (measure, unit, authd) = (&row.measure, row.unit, figure(row.authd));
            // Writing to a String cannot fail.
            writeln!(text, "| {measure} | {unit} | {limit} | {authd} | {ratio} | {target} | {met} |").ok();
        }
        text
    }
}

/// Three significant digits, thousands apart.
fn figure(value: f64) -> String {
    if value < 10.0 {
        return format!("{value:.2}");
    }
    if value < 100.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

impl Machine {
    #[expect(clippy::disallowed_methods, reason = "a benchmark says when it was run")]
    fn here(dir: &Path) -> Result<Self> {
        let read = |path: &str| fs::read_to_string(path).with_context(|| format!("cannot read {path}"));
        let cpuinfo = read("/proc/cpuinfo")?;
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let memory = read("/proc/meminfo")?;
        let kib = memory.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or_default();
        Ok(Self {
            cpu: model.map_or(std::env::consts::ARCH, |(_, model)| model).to_owned(),
            cores: std::thread::available_parallelism()?.get(),
            memory_gib: kib.div_ceil(1024 * 1024),
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            file_system: file_system(dir, &read("/proc/self/mounts")?)?,
            load: read("/proc/loadavg")?.split_whitespace().take(3).collect::<Vec<_>>().join(" "),
            date: jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string(),
        })
    }
}

/// The type of the mount with the longest path above the folder.
fn file_system(dir: &Path, mounts: &str) -> Result<String> {
    let dir = fs::canonicalize(dir)?;
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    let mount = mounts.filter(|(path, _)| dir.starts_with(path)).max_by_key(|(path, _)| path.len());
    Ok(mount.map_or("an unknown file system", |(_, kind)| kind).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(&[4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < f64::EPSILON);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn figures_are_short() {
        assert_eq!(figure(5.066), "5.07");
        assert_eq!(figure(51.24), "51.2");
        assert_eq!(figure(999.6), "1,000");
        assert_eq!(figure(165_123.4), "165,123");
    }

    #[test]
    fn a_target_compares_with_the_limit_or_stands_alone() {
        let row = || Row::beside("x", "µs", vec![2.0], vec![3.0]);
        let met = |row: Row| row.target.unwrap().met;
        assert!(met(row().ratio_at_most(1.5)) && !met(row().ratio_at_most(1.4)));
        assert!(met(row().ratio_at_least(1.5)) && !met(row().ratio_at_least(1.6)));
        assert!(met(row().at_most(3.0)) && !met(row().at_most(2.9)));
    }
}
