//! Where errors and warnings go, and in which form: `--log`, `--log-format`, `--debug`.
//!
//! The forms are logrus's, since containerd, CRI-O and Podman parse them: the last line with
//! level `error` is what their user is shown.

#![forbid(unsafe_code)]

use super::args::{Parsed, invalid};
use crate::error::{Error, Result};
use crate::plan::values::escape;
use std::cell::RefCell;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::time::SystemTime;

/// The log.
#[derive(Debug, Default)]
pub(super) struct Log {
    file: Option<File>,
    json: bool,
    debug: bool,
    /// Not yet written: this program may be run anew, and says it then.
    waiting: RefCell<String>,
    /// Whether what to do next is said on stderr; runc's callers expect its one line.
    pub(super) hints: bool,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Debug,
    Warning,
    Error,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Warning => "warning",
            Level::Error => "error",
        }
    }
}

impl Log {
    /// Opens what the options say.
    ///
    /// # Errors
    /// An unknown format; a file that cannot be opened. crun's destinations have a word in front.
    pub(super) fn open(parsed: &Parsed, crun: bool) -> Result<Log> {
        let json = match parsed.text("log-format")? {
            None | Some("text") => false,
            Some("json") => true,
            Some(other) => return Err(invalid(format!("invalid log-format: {}", escape(other)))),
        };
        // Synchronous, so that the reason for an end is on disk before the end is seen.
        let open = |path: std::path::PathBuf| {
            File::options()
                .create(true)
                .append(true)
                .mode(0o644)
                // Nor does anybody wait for the reader of a pipe.
                .custom_flags(libc::O_SYNC | libc::O_NOCTTY | libc::O_NONBLOCK)
                .open(&path)
                .map_err(|e| Error::os(format!("open the log {}", path.display()), e))
        };
        let destination = parsed.text("log")?;
        let words = destination.and_then(|d| d.split_once(':')).filter(|_| crun);
        let file = match words {
            Some((word @ ("journald" | "syslog"), _)) => {
                return Err(invalid(format!("--log {word}: is not supported"))
                    .hint("log to a file: --log file:PATH"));
            }
            Some(("file", path)) => Some(open(path.into())?),
            _ => parsed.path("log").map(open).transpose()?,
        };
        let debug = parsed.on("debug");
        Ok(Log { file, json, debug, waiting: RefCell::default(), hints: true })
    }

    /// Says what is going to be done, with the next line or at the end: once, also where the program goes
    /// on as a copy of itself that nobody can write to.
    pub(super) fn later(&self, message: impl FnOnce() -> String) {
        if self.debug {
            self.waiting.borrow_mut().push_str(&self.line(Level::Debug, &message()));
        }
    }

    /// Says what is being done, if asked to.
    pub(super) fn debug(&self, message: impl FnOnce() -> String) {
        if self.debug {
            self.write(Level::Debug, &message());
        }
    }

    /// Something that does not stop the verb.
    pub(super) fn warn(&self, message: &str) {
        self.write(Level::Warning, message);
    }

    /// The error that ends the verb: to the log and, as runc does, to stderr too.
    pub(super) fn error(&self, message: &str, hint: Option<&str>) {
        self.write(Level::Error, message);
        self.on_stderr(message, hint, self.file.is_some());
    }

    /// The same, but on stderr without the form of the log.
    pub(super) fn bare(&self, message: &str, hint: Option<&str>) {
        if self.file.is_some() {
            self.write(Level::Error, message);
        } else {
            self.flush();
        }
        self.on_stderr(message, hint, true);
    }

    fn on_stderr(&self, message: &str, hint: Option<&str>, whole: bool) {
        let mut text = String::new();
        if whole {
            text.push_str(message);
            text.push('\n');
        }
        if let Some(hint) = hint.filter(|_| self.hints && (self.file.is_some() || !self.json)) {
            text.push_str("hint: ");
            text.push_str(hint);
            text.push('\n');
        }
        // Whoever closed stderr does not want to know.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }

    fn line(&self, level: Level, message: &str) -> String {
        if self.json { json(level, message) } else { text(level, message) }
    }

    fn write(&self, level: Level, message: &str) {
        let line = self.line(level, message);
        self.waiting.borrow_mut().push_str(&line);
        self.flush();
    }

    fn flush(&self) {
        let lines = std::mem::take(&mut *self.waiting.borrow_mut());
        // One write, so that lines of several runtimes in one file do not mix. A full disk must
        // not hide the error from stderr.
        let _ = match &self.file {
            Some(file) => (&*file).write_all(lines.as_bytes()),
            None => std::io::stderr().write_all(lines.as_bytes()),
        };
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if !self.waiting.borrow().is_empty() {
            self.flush();
        }
    }
}

fn now() -> humantime::Rfc3339Timestamp {
    humantime::format_rfc3339_seconds(SystemTime::now())
}

fn text(level: Level, message: &str) -> String {
    format!("time=\"{}\" level={} msg={}\n", now(), level.name(), word(message))
}

fn json(level: Level, message: &str) -> String {
    format!(
        "{{\"level\":\"{}\",\"msg\":{},\"time\":\"{}\"}}\n",
        level.name(),
        serde_json::Value::from(message),
        now()
    )
}

/// A value as logrus writes it: between quotes unless it is of plain characters.
fn word(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._/@^+".contains(&b);
    if !text.is_empty() && text.bytes().all(plain) {
        return text.to_owned();
    }
    format!("\"{}\"", escape(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_logrus() {
        let line = text(Level::Error, "no \"such\"\nid");
        assert!(line.starts_with("time=\"2"), "{line}");
        assert!(line.ends_with(" level=error msg=\"no \\\"such\\\"\\nid\"\n"), "{line}");
        assert!(text(Level::Debug, "plain-word").ends_with(" level=debug msg=plain-word\n"));
        let value: serde_json::Value =
            serde_json::from_str(&json(Level::Warning, "a \"b\"\u{1b}\n")).unwrap();
        assert_eq!(value["level"], "warning");
        assert_eq!(value["msg"], "a \"b\"\u{1b}\n");
        let time = value["time"].as_str().unwrap();
        assert!(time.len() == 20 && time.ends_with('Z'), "{time}");
    }
}
