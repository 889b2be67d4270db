//! The command line: which face is meant, and the one place that prints errors.

#![forbid(unsafe_code)]

mod audit;
mod docker;
mod doctor;
mod jail;
mod oci;
mod options;
mod policy;
mod profile;
mod result;
mod settings;
mod typed;

use crate::error::{Error, Kind};
use crate::plan::values::{self, quote};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use std::ffi::OsString;

/// Exit status when stockade itself failed.
const FAILED: u8 = 125;

const USAGE: &str = "\
Runs hostile code contained, and says what happened.

Usage: stockade jail [OPTIONS] [--] COMMAND [ARG...]
       stockade audit show|stats [OPTIONS] FILE
       stockade doctor [--json]
       stockade policy check FILE | schema
       stockade [GLOBAL OPTIONS] create|start|run|exec|... [OPTIONS] CONTAINER-ID
       stockade --version | --help

  jail    run a command in a jail (stockade jail --help)
  audit   read an audit log (stockade audit --help)
  doctor  say what this host can enforce, and what mends the rest
  policy  look at a file of options for --profile (stockade policy --help)
  help    the OCI runtime's commands, which are runc's (stockade help VERB)
";

/// Runs the command line and returns the exit status.
pub fn main(args: Vec<OsString>) -> u8 {
    let began = std::time::Instant::now();
    let program = oci::Program::of(args.first());
    let own = args.get(1..).unwrap_or_default();
    let word = own.first().and_then(|w| w.to_str());
    if program != oci::Program::Stockade || word.is_some_and(oci::is_ours) {
        return oci::main(program, own);
    }
    let rest = || own.get(1..).unwrap_or_default().to_vec();
    match word {
        Some("jail") => jail::main(&rest(), began),
        Some("audit") => audit::main(rest()),
        Some("doctor") => doctor::main(&rest()),
        Some("policy") => policy::main(rest()),
        Some("help") if own.len() > 1 => oci::main(program, own),
        Some("--help" | "-h" | "help") => {
            print_line(USAGE);
            0
        }
        Some(other) => {
            let hint = nearest(other).map_or_else(
                || "stockade --help lists the commands".to_owned(),
                |near| format!("did you mean {near}?"),
            );
            let message = format!("unknown command {}", quote(other));
            eprint(&Error::new(Kind::InvalidConfig, message).hint(hint));
            FAILED
        }
        None => {
            eprint(
                &Error::new(Kind::InvalidConfig, "no command given")
                    .hint("try: stockade jail -- python3 -c 'print(1)', or stockade --help"),
            );
            FAILED
        }
    }
}

/// The command of either face that was most likely meant.
fn nearest(word: &str) -> Option<&'static str> {
    const OWN: [&str; 6] = ["jail", "audit", "doctor", "policy", "--help", "--version"];
    values::nearest(word, OWN.into_iter().chain(oci::names()))
}

/// Prints an error: one line, and its hint.
fn eprint(error: &Error) {
    use std::io::Write;
    let mut text = format!("stockade: {error}\n");
    if let Some(hint) = error.hint_text() {
        text.push_str(&format!("hint: {hint}\n"));
    }
    // Whoever closed stderr does not want to know.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Prints to stdout; a reader who is gone is no error.
fn print_line(text: &str) {
    use std::io::Write;
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// clap's several lines as one, and its suggestion as the hint.
fn misunderstood(e: &clap::Error, command: &str) -> Error {
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
    let instead = docker::instead(name).filter(|_| command.ends_with("jail"));
    let hint = match (text(ContextKind::SuggestedArg), instead) {
        // Far from what clap finds near.
        (_, Some(instead)) => instead.to_owned(),
        (Some(near), _) => format!("did you mean {near}?"),
        _ if command.ends_with("jail") => {
            format!("{command} --help lists the options; put -- before the command")
        }
        _ => format!("{command} --help lists the options"),
    };
    Error::new(Kind::InvalidConfig, message).hint(hint)
}
