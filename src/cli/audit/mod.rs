//! `stockade audit show|stats`: what an audit log says, for people.

#![forbid(unsafe_code)]

mod read;
mod show;
mod stats;

use super::{FAILED, eprint, print_line};
use crate::error::{Error, Kind, Result};
use crate::plan::values::duration::{self, Zero};
use crate::plan::values::{nearest, quote};
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command};
use read::{Reader, Run};
use std::ffi::OsString;
use std::io::Write;
use std::time::SystemTime;

const USAGE: &str = "\
Reads audit logs, which stockade jail --audit-log writes.

Usage: stockade audit show [--last N] [--failed] [--since TIME] [--json] FILE
       stockade audit stats [--by LABEL] [--since TIME] [--json] FILE

  show    one line a run, the newest last
  stats   how many ran and failed and why, how long they took, how much memory
";

fn filter() -> Vec<Arg> {
    vec![
        Arg::new("since")
            .long("since")
            .value_name("TIME")
            .allow_hyphen_values(true)
            .help("Runs that began at or after it: 2026-01-31T12:00:00Z, or 90m for 90 min ago"),
        Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print JSON"),
        Arg::new("file").value_name("FILE").help("The log; - is standard input"),
    ]
}

fn command(words: &'static str) -> Command {
    let base = Command::new(words).disable_version_flag(true);
    if words.ends_with("show") {
        base.about("Prints one line a run, the newest last.")
            .arg(Arg::new("last").long("last").short('n').value_name("N").help("The last N only"))
            .arg(
                Arg::new("failed")
                    .long("failed")
                    .action(ArgAction::SetTrue)
                    .help("Runs that did not end with exit code 0"),
            )
            .args(filter())
    } else {
        base.about("Sums up: runs, failures, p50 and p95 of wall time and peak memory.")
            .arg(
                Arg::new("by")
                    .long("by")
                    .value_name("LABEL")
                    .help("A row for each value of this label"),
            )
            .args(filter())
    }
}

/// Runs it and returns the exit status.
pub(super) fn main(args: Vec<OsString>) -> u8 {
    let mut args = args.into_iter();
    let given = args.next().unwrap_or_default();
    let words = match given.to_str() {
        Some("show") => "stockade audit show",
        Some("stats") => "stockade audit stats",
        Some("--help" | "-h" | "help") => {
            print_line(USAGE);
            return 0;
        }
        _ => {
            eprint(&unknown(&given.to_string_lossy()));
            return FAILED;
        }
    };
    let all = std::iter::once(OsString::from(words)).chain(args);
    let matches = match command(words).try_get_matches_from(all) {
        Ok(matches) => matches,
        Err(e) if e.kind() == ErrorKind::DisplayHelp => {
            print_line(&e.to_string());
            return 0;
        }
        Err(e) => {
            eprint(&super::misunderstood(&e, words));
            return FAILED;
        }
    };
    match run(words, &matches) {
        Ok(()) => 0,
        Err(error) => {
            eprint(&error);
            FAILED
        }
    }
}

fn unknown(given: &str) -> Error {
    let error = if given.is_empty() {
        Error::new(Kind::InvalidConfig, "no audit command given")
    } else {
        Error::new(Kind::InvalidConfig, format!("unknown audit command {}", quote(given)))
    };
    match nearest(given, ["show", "stats"]) {
        Some(near) => error.hint(format!("did you mean {near}?")),
        None => error.hint("try: stockade audit show FILE, or stockade audit stats FILE"),
    }
}

fn run(words: &str, m: &ArgMatches) -> Result<()> {
    let text = |name: &str| m.get_one::<String>(name).map(String::as_str);
    let file = text("file").ok_or_else(|| {
        Error::new(Kind::InvalidConfig, "no audit log given")
            .hint(format!("say which: {words} FILE"))
    })?;
    let since = text("since").map(since).transpose()?;
    let json = m.get_flag("json");
    // clap knows only the options that the command has.
    let last = match words.ends_with("show") {
        true => text("last").map(count).transpose()?,
        false => None,
    };
    let mut reader = Reader::open(file)?;
    let stdout = std::io::stdout().lock();
    let mut out = std::io::BufWriter::new(stdout);
    let wanted = |run: &Run| since.is_none_or(|since| run.began >= since);
    let done = if words.ends_with("show") {
        let failed = m.get_flag("failed");
        let wanted = |run: &Run| wanted(run) && !(failed && run.succeeded());
        show::show(&mut reader, &wanted, last, json, &mut out)
    } else {
        stats::stats(&mut reader, &wanted, text("by"), json, &mut out)
    };
    match done.and_then(|()| Ok(out.flush()?)) {
        // A reader who has seen enough is no error.
        Err(Failure::Write(e)) if e.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
        Err(Failure::Write(e)) => return Err(Error::os("print the audit log", e)),
        Err(Failure::Read(e)) => return Err(e),
        Ok(()) => {}
    }
    if let Some(told) = reader.told() {
        let mut stderr = std::io::stderr();
        // Whoever closed stderr does not want to know.
        let _ = writeln!(stderr, "stockade: {told}");
    }
    Ok(())
}

/// Why reading or printing ended early.
#[derive(Debug)]
enum Failure {
    Read(Error),
    Write(std::io::Error),
}

impl From<Error> for Failure {
    fn from(e: Error) -> Failure {
        Failure::Read(e)
    }
}

impl From<std::io::Error> for Failure {
    fn from(e: std::io::Error) -> Failure {
        Failure::Write(e)
    }
}

fn count(text: &str) -> Result<usize> {
    text.parse().map_err(|_| {
        Error::new(Kind::InvalidConfig, format!("invalid number of runs {}", quote(text)))
            .hint("give a number, such as --last 20")
    })
}

/// A point in time, or how long ago.
fn since(text: &str) -> Result<SystemTime> {
    for form in [text, &format!("{text}T00:00:00Z")] {
        if let Ok(time) = humantime::parse_rfc3339_weak(form) {
            return Ok(time);
        }
    }
    if let Ok(ago) = duration::duration("time", text, Zero::Allowed) {
        return Ok(SystemTime::now().checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH));
    }
    Err(Error::new(Kind::InvalidConfig, format!("invalid time {}", quote(text))).hint(
        "give a time in UTC, such as 2026-01-31T12:00:00Z, or how long ago, such as 90m or 24h",
    ))
}
