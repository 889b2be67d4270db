//! `stockade jail`: from the command line to the exit status.

#![forbid(unsafe_code)]

use super::options::{self, Report};
use super::{FAILED, eprint, print_line};
use crate::error::{Error, Kind, Result};
use crate::jail::{Jail, Stdio};
use crate::outcome::Outcome;
use crate::plan::values::quote;
use crate::sys::{io, signal};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

/// Runs it and returns the exit status.
pub(super) fn main(args: Vec<OsString>, began: Instant) -> u8 {
    let words = std::iter::once(OsString::from("stockade jail")).chain(args);
    let matches = match options::command().try_get_matches_from(words) {
        Ok(matches) => matches,
        Err(e) if e.kind() == ErrorKind::DisplayHelp => {
            print_line(&e.to_string());
            return 0;
        }
        Err(e) => {
            eprint(&misunderstood(&e));
            return FAILED;
        }
    };
    let report = match options::report(&matches) {
        Ok(report) => report,
        Err(e) => {
            eprint(&with_a_hint(e));
            return FAILED;
        }
    };
    // Before the run: afterwards it would be too late to say that it cannot be written.
    let result = match open_result(&report) {
        Ok(result) => result,
        Err(error) => return failed(error, &report, None),
    };
    match run(&matches, &report, result.as_ref(), began) {
        Ok(status) => status,
        Err(error) => failed(error, &report, result.as_ref()),
    }
}

/// Says so, on stderr and where the outcome is wanted.
fn failed(error: Error, report: &Report, result: Option<&OwnedFd>) -> u8 {
    let error = with_a_hint(error);
    eprint(&error);
    let id = report.id.clone().unwrap_or_default();
    let labels = report.labels.iter().cloned().collect();
    let outcome = Jail::setup_failed(&error, &id, labels);
    if let Err(e) = publish(report, &outcome, result) {
        eprint(&e);
    }
    error.exit_code()
}

/// What was typed is wrong: then there is always somewhere to look.
fn with_a_hint(error: Error) -> Error {
    if error.hint_text().is_some() {
        return error;
    }
    match error.kind() {
        Kind::InvalidConfig => error.hint("stockade jail --help lists the options and their forms"),
        Kind::NotFound | Kind::Permission => {
            error.hint("such a path is one of the host, as the caller sees it")
        }
        _ => error,
    }
}

fn run(
    matches: &clap::ArgMatches,
    report: &Report,
    result: Option<&OwnedFd>,
    began: Instant,
) -> Result<u8> {
    let mut jail = options::jail(matches)?.began(began);
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
    let outcome = jail.run();
    signal::set_mask(before).map_err(|e| Error::os("unblock signals", e))?;
    let outcome = outcome?;
    // The job has run, and its status is the answer, whether or not the rest can be delivered.
    if let Err(e) = publish(report, &outcome, result) {
        eprint(&e);
    }
    Ok(outcome.exit_status())
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

/// Opens where the outcome goes: a number is a descriptor that the caller has open.
fn open_result(report: &Report) -> Result<Option<OwnedFd>> {
    let Some(to) = report.result.as_deref().filter(|_| !report.explain) else { return Ok(None) };
    if let Ok(number) = to.parse::<i32>() {
        return io::duplicate_number(number).map(Some).map_err(|e| {
            Error::os(format!("write the result to descriptor {number}"), e)
                .with_kind(Kind::InvalidConfig)
                .hint("open it for the call, such as --result 3 3>outcome.json")
        });
    }
    let file = std::fs::File::create(to)
        .map_err(|e| Error::os(format!("write the result to {}", quote(to)), e))?;
    Ok(Some(file.into()))
}

fn publish(report: &Report, outcome: &Outcome, result: Option<&OwnedFd>) -> Result<()> {
    if result.is_none() && !report.json {
        return Ok(());
    }
    let text = outcome.to_json() + "\n";
    if report.json {
        print_line(&text);
    }
    if let Some(fd) = result {
        write_all(fd, text.as_bytes()).map_err(|e| Error::os("write the result", e))?;
    }
    Ok(())
}

fn write_all(fd: &OwnedFd, mut bytes: &[u8]) -> crate::sys::Result<()> {
    while !bytes.is_empty() {
        match io::write(fd.as_fd(), bytes) {
            Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
            Err(e) if e.0 == libc::EINTR => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// clap's several lines as one, and its suggestion as the hint.
fn misunderstood(e: &clap::Error) -> Error {
    let text = |kind| match e.get(kind) {
        Some(ContextValue::String(s)) => Some(s.clone()),
        Some(ContextValue::Strings(list)) => list.first().cloned(),
        _ => None,
    };
    let given = text(ContextKind::InvalidArg).unwrap_or_default();
    let name = given.split_whitespace().next().unwrap_or_default();
    let message = match e.kind() {
        ErrorKind::UnknownArgument => format!("unknown option {}", quote(&given)),
        ErrorKind::InvalidValue | ErrorKind::ValueValidation
            if text(ContextKind::InvalidValue).is_some_and(|v| !v.is_empty()) =>
        {
            let value = text(ContextKind::InvalidValue).unwrap_or_default();
            let option = name.split('[').next().unwrap_or(name);
            format!("the option {option} is true or false, and not {}", quote(&value))
        }
        ErrorKind::InvalidValue | ErrorKind::WrongNumberOfValues | ErrorKind::NoEquals => {
            format!("the option {name} needs a value")
        }
        ErrorKind::TooManyValues => format!("the option {name} takes no value"),
        _ => {
            let all = e.to_string();
            let first = all.lines().next().unwrap_or("it makes no sense");
            first.trim_start_matches("error: ").to_owned()
        }
    };
    let hint = match text(ContextKind::SuggestedArg) {
        Some(near) => format!("did you mean {near}?"),
        None => "stockade jail --help lists the options; put -- before the command".to_owned(),
    };
    Error::new(Kind::InvalidConfig, message).hint(hint)
}
