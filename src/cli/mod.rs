//! The command line: which face is meant, and the one place that prints errors.

#![forbid(unsafe_code)]

mod jail;
mod options;

use crate::error::Error;
use std::ffi::OsString;

/// Exit status when stockade itself failed.
const FAILED: u8 = 125;

const USAGE: &str = "\
Runs hostile code contained, and says what happened.

Usage: stockade jail [OPTIONS] [--] COMMAND [ARG...]
       stockade --version | --help

  jail    run a command in a jail (stockade jail --help)
";

/// Runs the command line and returns the exit status.
pub fn main(args: Vec<OsString>) -> u8 {
    let began = std::time::Instant::now();
    let mut args = args.into_iter();
    args.next();
    match args.next().as_deref().and_then(std::ffi::OsStr::to_str) {
        Some("jail") => jail::main(args.collect(), began),
        Some("--version" | "-V") => {
            print_line(&format!("stockade {}\n", env!("CARGO_PKG_VERSION")));
            0
        }
        Some("--help" | "-h" | "help") => {
            print_line(USAGE);
            0
        }
        None => {
            eprint(
                &Error::new(crate::Kind::InvalidConfig, "no command given")
                    .hint("try: stockade jail -- python3 -c 'print(1)', or stockade --help"),
            );
            FAILED
        }
        Some(other) => {
            let shown = crate::plan::values::quote(other);
            let hint = crate::plan::values::nearest(other, ["jail", "--help", "--version"])
                .map_or_else(
                    || "stockade --help lists the commands".to_owned(),
                    |near| format!("did you mean {near}?"),
                );
            eprint(
                &Error::new(crate::Kind::InvalidConfig, format!("unknown command {shown}"))
                    .hint(hint),
            );
            FAILED
        }
    }
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
