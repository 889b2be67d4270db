//! `stockade doctor`: the table or the JSON, and the exit status.

#![forbid(unsafe_code)]

use super::{FAILED, eprint, print_line};
use crate::error::{Error, Kind, Result};
use crate::host::doctor;
use crate::host::doctor::report::{Findings, Report, State, Trial, Verdict, printable, settle};
use crate::jail::Jail;
use crate::outcome::{Status, safe};
use crate::plan::values::{nearest, quote};
use crate::sys::signal;
use std::ffi::OsString;
use std::time::Duration;

const USAGE: &str = "\
Says what this host can enforce, what is missing, and what mends it.

Usage: stockade doctor [--json]

  --json  the same for programs: one JSON object, which docs/doctor.md describes

Exit status: 0 a default jail runs in full, 1 only degraded, 2 not at all, 125 doctor failed
";

/// Runs it and returns the exit status.
pub(super) fn main(args: &[OsString]) -> u8 {
    let mut json = false;
    for arg in args {
        match arg.to_string_lossy().as_ref() {
            "--json" => json = true,
            "--help" | "-h" => {
                print_line(USAGE);
                return 0;
            }
            other => {
                eprint(&unknown(other));
                return FAILED;
            }
        }
    }
    match run(json) {
        Ok(verdict) => verdict.exit_status(),
        Err(e) => {
            eprint(&e);
            FAILED
        }
    }
}

fn unknown(option: &str) -> Error {
    let hint = match nearest(option, ["--json", "--help"]) {
        Some(near) => format!("did you mean {near}?"),
        None => "stockade doctor takes --json and nothing else".to_owned(),
    };
    Error::new(Kind::InvalidConfig, format!("unknown option {}", quote(option))).hint(hint)
}

fn run(json: bool) -> Result<Verdict> {
    // Children are waited for, which a caller that ignores SIGCHLD would make impossible.
    signal::default_sigchld().map_err(|e| Error::os("wait for children", e))?;
    let mut found = doctor::examine()?;
    let trial = try_jail();
    settle(&mut found, &trial);
    if json {
        let text = serde_json::to_string_pretty(&Report::new(&found, &trial))
            .map_err(|e| Error::new(Kind::Os, format!("write the report: {e}")))?;
        print_line(&(safe(text) + "\n"));
    } else {
        print_line(&table(&found, &trial));
    }
    Ok(trial.result)
}

/// The proof: a default jail, to its end; and if it does not run, one that may be degraded.
fn try_jail() -> Trial {
    let jail = || Jail::new("true").timeout(Duration::from_secs(20)).capture_output();
    let failed = match try_one(jail()) {
        Ok(missing) if missing.is_empty() => {
            return Trial { result: Verdict::Full, degraded: missing, error: None };
        }
        Ok(degraded) => return Trial { result: Verdict::Degraded, degraded, error: None },
        Err(e) => Some(e),
    };
    let mut again = jail();
    again.policy_mut().allow_degraded = true;
    match try_one(again) {
        Ok(degraded) => Trial { result: Verdict::Degraded, degraded, error: failed },
        // What remains when nothing is asked of the host that it may lack.
        Err(e) => Trial { result: Verdict::None, degraded: Vec::new(), error: Some(e) },
    }
}

/// What it lacked, or why it did not run.
fn try_one(jail: Jail) -> std::result::Result<Vec<String>, String> {
    match jail.run() {
        Ok(outcome) if outcome.status == Status::Exited => {
            Ok(outcome.isolation.degraded.iter().map(|d| printable(d)).collect())
        }
        Ok(outcome) => Err(printable(&outcome.reason)),
        // The jail was complete, and has no such program.
        Err(e) if matches!(e.kind(), Kind::CommandNotFound | Kind::CommandNotExecutable) => {
            Ok(Vec::new())
        }
        Err(e) => Err(printable(&e.to_string())),
    }
}

/// For people. Everything of the host's in it has been escaped where it was found.
fn table(found: &Findings, trial: &Trial) -> String {
    let user = found.user;
    let mut out = format!(
        "stockade {} on Linux {}, as {}:{}{}\n\n",
        env!("CARGO_PKG_VERSION"),
        found.kernel.release,
        user.uid,
        user.gid,
        if user.privileged { "" } else { " (not privileged)" },
    );
    let width = |get: fn(&doctor::report::Feature) -> usize| {
        found.features.iter().map(get).max().unwrap_or(0)
    };
    let (first, second) = (width(|f| f.layer.len()), width(|f| f.name.chars().count()));
    let mut last = "";
    for f in &found.features {
        let layer = if f.layer == last { "" } else { f.layer };
        last = f.layer;
        let state = match f.state {
            State::Yes => "yes",
            State::No => "no",
            State::Unknown => "?",
        };
        let blocker = f.blocker.map_or_else(String::new, |id| format!(" [{id}]"));
        let name = &f.name;
        let line = format!("{layer:first$}  {name:second$}  {state:3}  {}{blocker}", f.detail);
        out.push_str(line.trim_end());
        out.push('\n');
    }
    for b in &found.blockers {
        let effect = match b.effect {
            doctor::blockers::Effect::Blocks => "no jail runs",
            doctor::blockers::Effect::Degrades => "jails run degraded",
            doctor::blockers::Effect::Option => "an option is missing",
        };
        out.push_str(&format!("\n{} ({effect})\n  {}\n  fix: {}\n", b.id, b.what, b.fix));
    }
    out.push('\n');
    out.push_str(&match trial.result {
        Verdict::Full => "a default jail runs here in full\n".to_owned(),
        Verdict::Degraded => {
            let how = match trial.error {
                Some(_) => "a default jail runs here only with --allow-degraded",
                None => "a default jail runs here, degraded",
            };
            format!("{how}: {}\n", trial.degraded.join("; "))
        }
        Verdict::None => {
            let why = trial.error.as_deref().unwrap_or("see above");
            format!("no default jail runs here: {why}\n")
        }
    });
    out
}
