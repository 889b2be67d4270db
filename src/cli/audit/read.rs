//! Reading an audit log line by line. The file may hold anything: what makes no sense is counted.

#![forbid(unsafe_code)]

use super::Failure;
use crate::error::{Error, Result};
use crate::plan::values::quote;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::time::SystemTime;

/// Longest line that is taken for one of ours; those are at most 64 KiB.
const LONGEST: u64 = 1 << 20;

/// The newest format that is understood.
const SCHEMA: u32 = 1;

/// What is read of a line. Fields that are not here are ignored: later versions add some.
#[derive(Debug, Deserialize)]
struct Line {
    schema: u32,
    time: String,
    id: String,
    labels: BTreeMap<String, String>,
    user: User,
    command: Vec<String>,
    outcome: Outcome,
}

#[derive(Debug, Deserialize)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) name: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Outcome {
    pub(super) status: String,
    pub(super) exit_code: Option<i32>,
    pub(super) signal: Option<i32>,
    pub(super) wall_ms: f64,
    pub(super) memory_peak_bytes: Option<u64>,
}

/// One run.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) began: SystemTime,
    pub(super) id: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) user: User,
    pub(super) command: Vec<String>,
    pub(super) outcome: Outcome,
}

impl Run {
    pub(super) fn succeeded(&self) -> bool {
        self.outcome.status == "exited" && self.outcome.exit_code == Some(0)
    }

    fn parse(line: &[u8]) -> std::result::Result<Run, Damage> {
        #[derive(Deserialize)]
        struct Version {
            schema: u32,
        }
        let line: Line =
            serde_json::from_slice(line).map_err(|_| {
                match serde_json::from_slice::<Version>(line) {
                    Ok(v) if v.schema > SCHEMA => Damage::Newer,
                    _ => Damage::Broken,
                }
            })?;
        if line.schema > SCHEMA {
            return Err(Damage::Newer);
        }
        if !line.outcome.wall_ms.is_finite() {
            return Err(Damage::Broken);
        }
        Ok(Run {
            began: humantime::parse_rfc3339(&line.time).map_err(|_| Damage::Broken)?,
            id: line.id,
            labels: line.labels,
            user: line.user,
            command: line.command,
            outcome: line.outcome,
        })
    }
}

enum Damage {
    Broken,
    Newer,
}

/// Reads runs, and counts what is none.
pub(super) struct Reader {
    input: Box<dyn BufRead>,
    shown: String,
    line: Vec<u8>,
    number: u64,
    broken: u64,
    first_broken: u64,
    newer: u64,
}

impl Reader {
    pub(super) fn open(file: &str) -> Result<Reader> {
        let shown = if file == "-" { "standard input".to_owned() } else { quote(file) };
        let input: Box<dyn Read> = if file == "-" {
            Box::new(std::io::stdin())
        } else {
            let file = std::fs::File::open(file)
                .map_err(|e| Error::os(format!("open the audit log {shown}"), e))?;
            Box::new(file)
        };
        Ok(Reader::new(input, shown))
    }

    fn new(input: Box<dyn Read>, shown: String) -> Reader {
        Reader {
            input: Box::new(BufReader::with_capacity(1 << 18, input)),
            shown,
            line: Vec::new(),
            number: 0,
            broken: 0,
            first_broken: 0,
            newer: 0,
        }
    }

    /// The next run, and its line.
    pub(super) fn next(&mut self) -> std::result::Result<Option<(Run, &[u8])>, Failure> {
        loop {
            if !self.read_line()? {
                return Ok(None);
            }
            // After a write that was cut off the next writer begins with a newline, to be safe.
            if self.line.is_empty() {
                continue;
            }
            match Run::parse(&self.line) {
                Ok(run) => return Ok(Some((run, &self.line))),
                Err(Damage::Newer) => self.newer += 1,
                Err(Damage::Broken) => {
                    self.broken += 1;
                    if self.first_broken == 0 {
                        self.first_broken = self.number;
                    }
                }
            }
        }
    }

    /// One line without its newline; the rest of one that is too long is passed over.
    fn read_line(&mut self) -> Result<bool> {
        let cannot = |e| Error::os(format!("read the audit log {}", self.shown), e);
        self.line.clear();
        self.number += 1;
        let n = self.input.by_ref().take(LONGEST).read_until(b'\n', &mut self.line);
        if n.map_err(cannot)? == 0 {
            return Ok(false);
        }
        if self.line.last() == Some(&b'\n') {
            self.line.pop();
        } else if self.line.len() as u64 >= LONGEST {
            // No JSON: it counts as damaged.
            self.line.truncate(1);
            self.input.skip_until(b'\n').map_err(cannot)?;
            if let Some(first) = self.line.first_mut() {
                *first = b'!';
            }
        }
        Ok(true)
    }

    /// What was passed over, if anything was.
    pub(super) fn told(&self) -> Option<String> {
        let mut parts = Vec::new();
        let lines = |n: u64| if n == 1 { "1 line".to_owned() } else { format!("{n} lines") };
        if self.broken > 0 {
            let (n, at) = (lines(self.broken), self.first_broken);
            parts.push(format!("{n} damaged and passed over, the first is line {at}"));
        }
        if self.newer > 0 {
            parts.push(format!("{} of a newer version passed over", lines(self.newer)));
        }
        (!parts.is_empty()).then(|| format!("{}: {}", self.shown, parts.join("; ")))
    }

    /// Damaged lines, and those of a newer version.
    pub(super) fn passed_over(&self) -> (u64, u64) {
        (self.broken, self.newer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"schema":1,"time":"2026-01-01T00:00:00.000Z","id":"a","labels":{},"user":{"uid":0,"name":null},"command":["true"],"outcome":{"status":"exited","exit_code":0,"signal":null,"wall_ms":1.0,"memory_peak_bytes":null}}"#;

    fn read(text: String) -> (usize, Option<String>) {
        let mut reader = Reader::new(Box::new(std::io::Cursor::new(text)), "log".to_owned());
        let mut n = 0;
        while reader.next().unwrap().is_some() {
            n += 1;
        }
        (n, reader.told())
    }

    #[test]
    fn a_torn_line_costs_only_itself() {
        let torn = &GOOD[..40];
        let (n, told) = read(format!("{GOOD}\n{torn}\n{GOOD}\n\n{GOOD}\n{torn}"));
        assert_eq!(n, 3);
        let told = told.unwrap();
        assert_eq!(told, "log: 2 lines damaged and passed over, the first is line 2");
    }

    #[test]
    fn a_line_without_end_does_not_fill_the_memory() {
        let (n, told) = read(format!("{}\n{GOOD}\n", "x".repeat(5 << 20)));
        assert_eq!(n, 1);
        assert!(told.unwrap().contains("1 line damaged"));
        let (n, _) = read("[".repeat(3 << 20));
        assert_eq!(n, 0);
    }

    #[test]
    fn lines_of_a_newer_version_are_told_apart_from_damage() {
        let newer = GOOD.replace("\"schema\":1", "\"schema\":2");
        let other = r#"{"schema":3,"when":1}"#;
        let (n, told) = read(format!("{newer}\n{other}\n{GOOD}\n"));
        assert_eq!(n, 1);
        assert_eq!(told.unwrap(), "log: 2 lines of a newer version passed over");
        assert_eq!(read(format!("{GOOD}\n")), (1, None));
    }
}
