//! `audit stats`: sums over a log. Two numbers a run are kept, for the percentiles.

#![forbid(unsafe_code)]

use super::Failure;
use super::read::{Reader, Run};
use super::show::{bytes, how, short_text, time};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Write;

#[derive(Default)]
struct Group {
    runs: u64,
    failed: u64,
    wall: Vec<f64>,
    memory: Vec<u64>,
}

impl Group {
    fn add(&mut self, run: &Run) {
        self.runs += 1;
        self.failed += u64::from(!run.succeeded());
        // What was never run took no time, and would make the others look faster.
        if run.outcome.status != "setup_failed" {
            self.wall.push(run.outcome.wall_ms);
            self.memory.extend(run.outcome.memory_peak_bytes);
        }
    }

    fn sums(mut self) -> Sums {
        self.wall.sort_unstable_by(f64::total_cmp);
        self.memory.sort_unstable();
        Sums {
            runs: self.runs,
            failed: self.failed,
            wall_ms: Figures::of(&self.wall),
            memory_peak_bytes: Figures::of(&self.memory),
        }
    }
}

#[derive(Serialize)]
struct Sums {
    runs: u64,
    failed: u64,
    wall_ms: Option<Figures<f64>>,
    memory_peak_bytes: Option<Figures<u64>>,
}

#[derive(Clone, Copy, Serialize)]
struct Figures<T> {
    p50: T,
    p95: T,
    max: T,
}

impl<T: Copy> Figures<T> {
    /// Nearest rank: the least value that so many percent do not exceed.
    fn of(sorted: &[T]) -> Option<Figures<T>> {
        let rank = |percent: usize| {
            let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
            sorted.get(at).copied()
        };
        Some(Figures { p50: rank(50)?, p95: rank(95)?, max: rank(100)? })
    }
}

#[derive(Serialize)]
struct Report {
    schema: u32,
    /// Of the runs that are counted.
    first: Option<String>,
    last: Option<String>,
    #[serde(flatten)]
    sums: Sums,
    /// How runs ended that failed, by number.
    failures: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<BTreeMap<String, Sums>>,
    damaged_lines: u64,
    newer_lines: u64,
}

/// Reads all and prints the sums.
pub(super) fn stats(
    reader: &mut Reader,
    wanted: &dyn Fn(&Run) -> bool,
    by: Option<&str>,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut all = Group::default();
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    let mut failures: BTreeMap<String, u64> = BTreeMap::new();
    let mut between = None;
    while let Some((run, _)) = reader.next()? {
        if !wanted(&run) {
            continue;
        }
        let (first, last) = between.unwrap_or((run.began, run.began));
        between = Some((run.began.min(first), run.began.max(last)));
        all.add(&run);
        if !run.succeeded() {
            *failures.entry(how(&run)).or_default() += 1;
        }
        if let Some(label) = by {
            let value = run.labels.get(label).map_or_else(|| "-".to_owned(), |v| short_text(v));
            groups.entry(value).or_default().add(&run);
        }
    }
    let shown = |time| humantime::format_rfc3339_millis(time).to_string();
    let (damaged_lines, newer_lines) = reader.passed_over();
    let report = Report {
        schema: 1,
        first: between.map(|b| shown(b.0)),
        last: between.map(|b| shown(b.1)),
        sums: all.sums(),
        failures,
        by: by.map(|_| groups.into_iter().map(|(name, g)| (name, g.sums())).collect()),
        damaged_lines,
        newer_lines,
    };
    if json {
        // Its keys are strings and its numbers finite.
        let text = serde_json::to_string(&report).unwrap_or_default();
        return Ok(writeln!(out, "{}", crate::outcome::safe(text))?);
    }
    Ok(print(&report, by, out)?)
}

fn print(report: &Report, by: Option<&str>, out: &mut dyn Write) -> std::io::Result<()> {
    let sums = &report.sums;
    writeln!(out, "runs        {}", sums.runs)?;
    writeln!(out, "failed      {}", sums.failed)?;
    if let (Some(first), Some(last)) = (&report.first, &report.last) {
        writeln!(out, "between     {first} and {last}")?;
    }
    let mut failures: Vec<_> = report.failures.iter().collect();
    failures.sort_by_key(|(_, n)| std::cmp::Reverse(**n));
    for (how, n) in failures {
        writeln!(out, "  {n:>8}  {how}")?;
    }
    if let Some(f) = sums.wall_ms {
        let [a, b, c] = [time(f.p50), time(f.p95), time(f.max)];
        writeln!(out, "wall time   p50 {a}, p95 {b}, most {c}")?;
    }
    if let Some(f) = sums.memory_peak_bytes {
        let [a, b, c] = [bytes(f.p50), bytes(f.p95), bytes(f.max)];
        writeln!(out, "memory      p50 {a}, p95 {b}, most {c}")?;
    }
    let (Some(groups), Some(label)) = (&report.by, by) else { return Ok(()) };
    let row = |out: &mut dyn Write, cells: [&str; 7]| {
        let [name, runs, failed, w50, w95, m50, m95] = cells;
        writeln!(out, "{name:<24} {runs:>8} {failed:>8} {w50:>9} {w95:>9} {m50:>10} {m95:>10}")
    };
    writeln!(out)?;
    let label = short_text(label);
    row(out, [&label, "RUNS", "FAILED", "WALL p50", "WALL p95", "MEMORY p50", "MEMORY p95"])?;
    for (name, g) in groups {
        let wall = |pick: fn(&Figures<f64>) -> f64| {
            g.wall_ms.as_ref().map_or_else(|| "-".to_owned(), |f| time(pick(f)))
        };
        let memory = |pick: fn(&Figures<u64>) -> u64| {
            g.memory_peak_bytes.as_ref().map_or_else(|| "-".to_owned(), |f| bytes(pick(f)))
        };
        row(
            out,
            [
                name,
                &g.runs.to_string(),
                &g.failed.to_string(),
                &wall(|f| f.p50),
                &wall(|f| f.p95),
                &memory(|f| f.p50),
                &memory(|f| f.p95),
            ],
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_there() {
        let list: Vec<u64> = (1..=100).collect();
        let f = Figures::of(&list).unwrap();
        assert_eq!((f.p50, f.p95, f.max), (50, 95, 100));
        let f = Figures::of(&[7u64]).unwrap();
        assert_eq!((f.p50, f.p95, f.max), (7, 7, 7));
        assert!(Figures::<u64>::of(&[]).is_none());
    }
}
