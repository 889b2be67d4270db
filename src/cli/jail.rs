//! `stockade jail`: from the command line to the exit status.

#![forbid(unsafe_code)]

use super::options::{self, Report};
use super::result::ResultTo;
use super::typed::Typed;
use super::{FAILED, eprint, print_line};
use crate::error::{Error, Kind, Result, Stage};
use crate::host::audit::AuditLog;
use crate::host::doctor::{self, blockers::Blocker};
use crate::jail::audit::Audit;
use crate::jail::{Jail, Stdio};
use crate::outcome::Outcome;
use crate::sys::signal;
use clap::error::ErrorKind;
use std::ffi::OsString;
use std::time::Instant;

/// Runs it and returns the exit status.
pub(super) fn main(args: &[OsString], began: Instant) -> u8 {
    let typed = match options::read(args) {
        Ok(typed) => typed,
        Err(e) if e.kind() == ErrorKind::DisplayHelp => {
            print_line(&e.to_string());
            return 0;
        }
        Err(e) => {
            let error = super::misunderstood(&e, "stockade jail");
            eprint(&error);
            audit_misunderstood(&error, &options::report_so_far(args));
            return FAILED;
        }
    };
    let report = options::report(&typed);
    // Both before the run: afterwards it would be too late to say that they cannot be written.
    let mut audit = match open_audit(&report) {
        Ok(audit) => audit,
        Err(error) => {
            let result = open_result(&report).unwrap_or_default();
            return failed(error, &report, result.as_ref(), None);
        }
    };
    let result = match open_result(&report) {
        Ok(result) => result,
        Err(error) => return failed(error, &report, None, audit),
    };
    match run(&typed, &report, result.as_ref(), &mut audit, began) {
        Ok(status) => status,
        Err(error) => failed(error, &report, result.as_ref(), audit),
    }
}

/// Says so, on stderr, where the outcome is wanted, and in the audit log if the jail has not.
fn failed(error: Error, report: &Report, result: Option<&ResultTo>, audit: Option<Audit>) -> u8 {
    let error = with_a_hint(diagnosed(error));
    eprint(&error);
    let id = report.id.clone().unwrap_or_default();
    let mut outcome = Jail::setup_failed(&error, &id, report.labels.clone());
    if let Some(Err(e)) = audit.map(|audit| audit.not_run(&error)) {
        eprint(&e);
        outcome.audit_error = Some(e.to_string());
    }
    if let Err(e) = publish(report, &outcome, result) {
        eprint(&e);
    }
    error.exit_code()
}

/// Opens the audit log. With --explain nothing is run, so there is nothing to log.
fn open_audit(report: &Report) -> Result<Option<Audit>> {
    let Some(to) = report.audit.as_deref().filter(|_| !report.explain) else { return Ok(None) };
    let mut audit = Audit::open(AuditLog::parse(to)?)?;
    audit.about(report.id.as_deref().unwrap_or_default(), &report.labels, &report.command);
    Ok(Some(audit))
}

/// A command line with an unknown option is an attempt too, as far as it was understood.
fn audit_misunderstood(error: &Error, report: &Report) {
    match open_audit(report).and_then(|audit| audit.map_or(Ok(()), |a| a.not_run(error))) {
        Ok(()) => {}
        Err(e) => eprint(&e),
    }
}

/// Where the host may be why, the little of `stockade doctor` that bears on it is asked now, and
/// what is found is the hint: it knows more than the errno does.
fn diagnosed(error: Error) -> Error {
    let hosts =
        [Kind::Os, Kind::Permission, Kind::Unsupported, Kind::NotFound].contains(&error.kind());
    let Some(stage) = error.stage().filter(|_| hosts) else { return error };
    let found = doctor::diagnose(stage);
    if found.is_empty() {
        return error;
    }
    let mut hint: Vec<String> = found.iter().map(Blocker::sentence).collect();
    if stage == Stage::Cgroup {
        hint.push("--allow-degraded runs with what rlimits and timers can do".to_owned());
    }
    hint.push("stockade doctor tells more".to_owned());
    error.hint(hint.join("; "))
}

/// What was typed is wrong: then there is always somewhere to look.
fn with_a_hint(error: Error) -> Error {
    if error.hint_text().is_some() {
        return error;
    }
    match error.kind() {
        Kind::InvalidConfig => error.hint("stockade jail --help lists the options and their forms"),
        // What names a path quotes it.
        Kind::NotFound | Kind::Permission if error.to_string().contains("\"/") => {
            error.hint("such a path is one of the host, as the caller sees it")
        }
        _ => error,
    }
}

fn run(
    typed: &Typed,
    report: &Report,
    result: Option<&ResultTo>,
    audit: &mut Option<Audit>,
    began: Instant,
) -> Result<u8> {
    let mut jail = options::jail(typed)?.began(began);
    if report.explain {
        print_line(&jail.explain()?);
        return Ok(0);
    }
    signal::default_sigchld().map_err(|e| Error::os("wait for children", e))?;
    if report.json {
        jail = jail.stdout(Stdio::Capture).stderr(Stdio::Capture);
    }
    if jail.policy_mut().tty {
        terminal_or_error()?;
    }
    let signals = forwarded();
    let mask = signals.iter().fold(0, |mask, s| mask | 1u64 << (s - 1));
    let before = signal::set_mask(mask).map_err(|e| Error::os("block signals", e))?;
    jail.forward_signals = signals;
    // From here on the jail writes the line, whatever happens.
    if let Some(audit) = audit.take() {
        jail = jail.audit_open(audit);
    }
    let outcome = jail.run();
    signal::set_mask(before).map_err(|e| Error::os("unblock signals", e))?;
    let outcome = outcome?;
    // The job has run, and its status is the answer, whether or not the rest can be delivered.
    if let Some(e) = &outcome.audit_error {
        eprint(&Error::new(Kind::Os, e.as_str()));
    }
    if let Err(e) = publish(report, &outcome, result) {
        eprint(&e);
    }
    sum_up(report, &outcome);
    Ok(outcome.exit_status())
}

/// One line for a person who looks on: why it failed.
fn sum_up(report: &Report, outcome: &Outcome) {
    use std::io::{IsTerminal, Write};
    let stderr = std::io::stderr();
    if outcome.success() || report.quiet || !stderr.is_terminal() {
        return;
    }
    // The job's last line may have no end. Whoever closed stderr does not want to know.
    let _ = writeln!(stderr.lock(), "stockade: the job failed: {}", outcome.reason);
}

/// Signals that are the job's to handle. Not those of job control, by which the caller's shell
/// stops stockade itself, and not those that a fault of our own raises.
fn forwarded() -> Vec<i32> {
    vec![
        libc::SIGHUP,
        libc::SIGINT,
        libc::SIGQUIT,
        libc::SIGTERM,
        libc::SIGUSR1,
        libc::SIGUSR2,
        libc::SIGALRM,
        libc::SIGWINCH,
    ]
}

fn terminal_or_error() -> Result<()> {
    if nix::unistd::isatty(std::io::stdin()).unwrap_or(false) {
        return Ok(());
    }
    Err(Error::new(Kind::InvalidConfig, "-t, but standard input is no terminal")
        .hint("leave -t out, or run it in a terminal"))
}

/// Opens where the outcome goes.
fn open_result(report: &Report) -> Result<Option<ResultTo>> {
    report.result.as_deref().filter(|_| !report.explain).map(ResultTo::open).transpose()
}

fn publish(report: &Report, outcome: &Outcome, result: Option<&ResultTo>) -> Result<()> {
    if result.is_none() && !report.json {
        return Ok(());
    }
    let text = outcome.to_json() + "\n";
    if report.json {
        print_line(&text);
    }
    if let Some(result) = result {
        result.write(&text)?;
    }
    Ok(())
}
