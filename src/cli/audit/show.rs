//! `audit show`: one line a run. Columns have fixed widths, so that nothing has to be kept.

#![forbid(unsafe_code)]

use super::Failure;
use super::read::{Reader, Run};
use crate::outcome::safe;
use crate::plan::values::escape;
use std::collections::VecDeque;
use std::io::Write;

/// Longest command that is shown, in characters.
const COMMAND: usize = 72;

/// Prints the runs that are wanted, or the last of them.
pub(super) fn show(
    reader: &mut Reader,
    wanted: &dyn Fn(&Run) -> bool,
    last: Option<usize>,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    if !json {
        writeln!(out, "{}", head())?;
    }
    let mut kept: VecDeque<Kept> = VecDeque::new();
    while let Some((run, line)) = reader.next()? {
        if !wanted(&run) {
            continue;
        }
        let this = if json { Kept::Line(line.to_vec()) } else { Kept::Run(Box::new(run)) };
        match last {
            None => writeln!(out, "{}", this.text())?,
            Some(n) => {
                kept.push_back(this);
                if kept.len() > n {
                    kept.pop_front();
                }
            }
        }
    }
    for this in kept {
        writeln!(out, "{}", this.text())?;
    }
    Ok(())
}

/// What may have to be shown, once it is known to be among the last.
enum Kept {
    Line(Vec<u8>),
    Run(Box<Run>),
}

impl Kept {
    fn text(&self) -> String {
        match self {
            // A line of another writer may hold what must not reach a terminal.
            Kept::Line(line) => safe(String::from_utf8_lossy(line).into_owned()),
            Kept::Run(run) => row(run),
        }
    }
}

fn head() -> String {
    columns(["TIME", "ID", "USER", "STATUS", "WALL", "MEMORY", "COMMAND"])
}

fn columns([time, id, user, status, wall, memory, command]: [&str; 7]) -> String {
    format!("{time:<24} {id:<12} {user:<8} {status:<16} {wall:>9} {memory:>9}  {command}")
}

fn row(run: &Run) -> String {
    let o = &run.outcome;
    let user = run.user.name.as_deref().map_or_else(|| run.user.uid.to_string(), short_text);
    let id = if run.id.is_empty() { "-".to_owned() } else { short_text(&run.id) };
    let ran = o.status != "setup_failed";
    columns([
        &humantime::format_rfc3339_millis(run.began).to_string(),
        &id,
        &user,
        &how(run),
        &if ran { time(o.wall_ms) } else { "-".to_owned() },
        &o.memory_peak_bytes.map_or_else(|| "-".to_owned(), bytes),
        &command(&run.command),
    ])
}

/// A name of the log, safe to show.
pub(super) fn short_text(s: &str) -> String {
    shorten(&escape(s), 40)
}

fn shorten(s: &str, most: usize) -> String {
    match s.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", s.get(..end).unwrap_or_default()),
        None => s.to_owned(),
    }
}

/// How a run ended: the status, and the number that goes with it.
pub(super) fn how(run: &Run) -> String {
    let o = &run.outcome;
    let status = short_text(&o.status);
    let number = match o.status.as_str() {
        "exited" | "setup_failed" => o.exit_code,
        "signaled" => o.signal,
        _ => None,
    };
    number.map_or(status.clone(), |n| format!("{status} {n}"))
}

/// Milliseconds for people.
pub(super) fn time(ms: f64) -> String {
    match ms {
        ms if ms < 9.95 => format!("{ms:.1} ms"),
        ms if ms < 9_999.5 => format!("{ms:.0} ms"),
        ms if ms < 599_950.0 => format!("{:.1} s", ms / 1e3),
        ms => format!("{:.1} min", ms / 6e4),
    }
}

/// Bytes for people.
pub(super) fn bytes(n: u64) -> String {
    #[allow(clippy::cast_precision_loss)] // three digits are shown
    let n = n as f64;
    match n {
        n if n < 10_240.0 => format!("{n:.0} B"),
        n if n < 10_485_760.0 => format!("{:.0} KiB", n / 1024.0),
        n if n < 10_737_418_240.0 => format!("{:.0} MiB", n / 1_048_576.0),
        n => format!("{:.1} GiB", n / 1_073_741_824.0),
    }
}

/// The command as one would type it, more or less: words that need it are quoted.
fn command(words: &[String]) -> String {
    let plain = |w: &str| {
        !w.is_empty() && w.chars().all(|c| c.is_ascii_alphanumeric() || "-_./=:,+@%^".contains(c))
    };
    let mut text = String::new();
    for word in words {
        if text.chars().count() > COMMAND {
            break;
        }
        if !text.is_empty() {
            text.push(' ');
        }
        // A character of input gives at least one of output.
        let head: String = word.chars().take(COMMAND + 1).collect();
        if plain(&head) {
            text.push_str(&head);
        } else {
            text.push_str(&format!("\"{}\"", escape(&head)));
        }
    }
    if text.is_empty() { "-".to_owned() } else { shorten(&text, COMMAND) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_shown_in_units_that_people_read() {
        assert_eq!([time(0.4), time(9999.0), time(61_000.0)], ["0.4 ms", "9999 ms", "61.0 s"]);
        assert_eq!(time(3_600_000.0), "60.0 min");
        assert_eq!([bytes(0), bytes(262_144)], ["0 B", "256 KiB"]);
        assert_eq!([bytes(512 << 20), bytes(20 << 30)], ["512 MiB", "20.0 GiB"]);
    }

    #[test]
    fn t41_a_command_is_one_line_and_harmless() {
        let shown =
            |words: &[&str]| command(&words.iter().map(|w| (*w).into()).collect::<Vec<_>>());
        assert_eq!(shown(&["sh", "-c", "echo hi"]), "sh -c \"echo hi\"");
        assert_eq!(shown(&["a\n\x1b[2J\u{202e}"]), "\"a\\n\\u{1b}[2J\\u{202e}\"");
        assert_eq!(shown(&[""]), "\"\"");
        assert_eq!(shown(&[]), "-");
        let long = shown(&[&"x".repeat(5000), "y"]);
        assert_eq!(long.chars().count(), COMMAND + 1);
        assert!(long.ends_with('…'));
    }
}
