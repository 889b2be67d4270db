//! `ps`: the container's processes, shown by the host's ps(1) as runc does.

#![forbid(unsafe_code)]

use super::args::{Parsed, invalid};
use super::json::Json;
use super::state::{Format, format};
use super::{Context, life};
use crate::cli::print_line;
use crate::error::{Error, Kind, Result};
use crate::plan::values::escape;
use std::ffi::OsString;
use std::process::Command;

/// Prints them.
pub(super) fn ps(context: &Context, parsed: &Parsed) -> Result<u8> {
    let format = format(parsed)?;
    let pids = context.runtime.load(life::id(parsed)?)?.processes()?;
    match format {
        Format::Json if pids.is_empty() => print_line("null\n"),
        Format::Json => {
            let list = pids.iter().map(|pid| Json::from(*pid)).collect();
            print_line(&(Json::List(list).line() + "\n"));
        }
        Format::Table => {
            let options = parsed.words.get(1..).unwrap_or_default();
            print_line(&filtered(&output(options)?, &pids)?);
        }
    }
    Ok(0)
}

/// What ps prints with these options.
fn output(options: &[OsString]) -> Result<String> {
    let mut command = Command::new("ps");
    if options.is_empty() {
        command.arg("-ef");
    }
    let output = command.args(options).output().map_err(|e| {
        Error::os("run ps", e).hint("--format json needs no ps; Debian's package is procps")
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = escape(said.trim());
        return Err(Error::new(Kind::InvalidConfig, format!("ps: {}: {said}", output.status)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The head, and the lines of these processes.
fn filtered(text: &str, pids: &[i32]) -> Result<String> {
    let mut lines = text.lines();
    let head = lines.next().unwrap_or_default();
    let column = head.split_whitespace().position(|w| w == "PID").ok_or_else(|| {
        invalid("couldn't find PID field in ps output").hint("choose ps options that print one")
    })?;
    let mut out = format!("{head}\n");
    for line in lines {
        let pid = line.split_whitespace().nth(column).and_then(|w| w.parse().ok());
        if pid.is_some_and(|pid| pids.contains(&pid)) {
            out.push_str(line);
            out.push('\n');
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_container_s_lines_remain() {
        let text = "UID   PID  PPID CMD\nroot    1     0 init 7\nroot    7     1 sh\n";
        assert_eq!(filtered(text, &[7]).unwrap(), "UID   PID  PPID CMD\nroot    7     1 sh\n");
        assert!(filtered("CMD\nsh\n", &[7]).is_err());
    }
}
