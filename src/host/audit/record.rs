//! One audit line: what is in it, how it is escaped, and how it is shortened when a target takes
//! no more. Data in, text out.

#![forbid(unsafe_code)]

use crate::outcome::{Outcome, Status, safe};
use crate::plan::Plan;
use crate::plan::RootSource;
use crate::plan::digest::sha256;
use crate::plan::values::escape_bytes;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::SystemTime;

/// Version of the line's format.
pub(crate) const SCHEMA: u32 = 1;

/// Who called.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Caller {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) name: Option<String>,
    pub(crate) login_uid: Option<u32>,
}

/// What an audit line says besides the outcome; filled as it becomes known.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) began: SystemTime,
    pub(crate) id: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) caller: Caller,
    /// Ids inside, `uid:gid`.
    inside: Option<String>,
    command: Vec<String>,
    /// Which words of the command are in escaped form, since they are no UTF-8.
    escaped: Vec<usize>,
    policy: Option<String>,
    rootfs: Option<String>,
}

impl Entry {
    pub(crate) fn new(caller: Caller) -> Entry {
        Entry {
            began: SystemTime::now(),
            id: String::new(),
            labels: BTreeMap::new(),
            caller,
            inside: None,
            command: Vec::new(),
            escaped: Vec::new(),
            policy: None,
            rootfs: None,
        }
    }

    /// The command as it was typed, UTF-8 or not.
    pub(crate) fn command<S: AsRef<OsStr>>(&mut self, words: &[S]) {
        self.escaped.clear();
        self.command = words
            .iter()
            .enumerate()
            .map(|(i, word)| match word.as_ref().to_str() {
                Some(word) => word.to_owned(),
                None => {
                    self.escaped.push(i);
                    escape_bytes(word.as_ref().as_bytes())
                }
            })
            .collect();
    }

    /// What the plan has decided.
    pub(crate) fn planned(&mut self, plan: &Plan) {
        self.id.clone_from(&plan.id);
        self.inside = Some(format!("{}:{}", plan.process.uid, plan.process.gid));
        self.policy = Some(plan.digest());
        self.rootfs = Some(match &plan.root.source {
            RootSource::Pool => "host-view".to_owned(),
            RootSource::Directory(dir) => match dir.to_str() {
                Some(dir) => dir.to_owned(),
                None => escape_bytes(dir.as_os_str().as_bytes()),
            },
        });
    }

    /// The line, its newline included, in at most `limit` bytes (1024 or more).
    pub(crate) fn line(&self, outcome: &Outcome, limit: usize) -> String {
        let ended = SystemTime::now();
        let mut line = self.render(outcome, ended, None);
        for cut in CUTS {
            if line.len() <= limit {
                break;
            }
            line = self.render(outcome, ended, Some(cut));
        }
        line
    }

    fn render(&self, outcome: &Outcome, ended: SystemTime, cut: Option<&Cut>) -> String {
        let text = |s: &str| cut.map_or_else(|| s.to_owned(), |c| c.text(s));
        let items = cut.map_or(usize::MAX, |c| c.items);
        let truncated = cut.map(|_| Truncated {
            command_words: self.command.len(),
            command_bytes: self.command.iter().map(String::len).sum(),
            command_sha256: {
                let joined: String = self.command.iter().flat_map(|w| [w.as_str(), "\0"]).collect();
                sha256(joined.as_bytes())
            },
            labels: self.labels.len(),
        });
        let line = Line {
            schema: SCHEMA,
            time: humantime::format_rfc3339_millis(self.began).to_string(),
            ended: humantime::format_rfc3339_millis(ended).to_string(),
            id: text(&self.id),
            labels: self.labels.iter().take(items).map(|(k, v)| (text(k), text(v))).collect(),
            user: User { caller: &self.caller, inside: self.inside.as_deref() },
            command: self.command.iter().take(items).map(|w| text(w)).collect(),
            escaped: self.escaped.iter().copied().filter(|i| *i < items).collect(),
            policy: self.policy.as_deref(),
            rootfs: self.rootfs.as_deref().map(text),
            truncated,
            outcome: shown(outcome, cut),
        };
        // Neither a map with keys other than strings nor a failing type is in it.
        let json = serde_json::to_string(&line).unwrap_or_else(|_| "{}".to_owned());
        let mut line = safe(json);
        line.push('\n');
        line
    }
}

#[derive(Serialize)]
struct Line<'a> {
    schema: u32,
    time: String,
    ended: String,
    id: String,
    labels: BTreeMap<String, String>,
    user: User<'a>,
    command: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    escaped: Vec<usize>,
    policy: Option<&'a str>,
    rootfs: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    truncated: Option<Truncated>,
    outcome: Value,
}

#[derive(Serialize)]
struct User<'a> {
    #[serde(flatten)]
    caller: &'a Caller,
    inside: Option<&'a str>,
}

/// What there was before the line was shortened.
#[derive(Serialize)]
struct Truncated {
    command_words: usize,
    command_bytes: usize,
    /// Of all words, each with a NUL after it.
    command_sha256: String,
    labels: usize,
}

/// How much of a line is kept.
struct Cut {
    /// Characters of a string.
    chars: usize,
    /// Words of the command, labels, items of the outcome's lists.
    items: usize,
    /// Whether the outcome is kept but for its strings' ends; else its main fields.
    whole_outcome: bool,
}

/// Tried in this order. The last one fits into 1024 bytes whatever the strings are: a character
/// is at most 12 bytes once it is escaped.
const CUTS: &[Cut] = &[
    Cut { chars: 8192, items: 1024, whole_outcome: true },
    Cut { chars: 2048, items: 256, whole_outcome: true },
    Cut { chars: 512, items: 64, whole_outcome: true },
    Cut { chars: 200, items: 16, whole_outcome: true },
    Cut { chars: 200, items: 16, whole_outcome: false },
    Cut { chars: 64, items: 4, whole_outcome: false },
    Cut { chars: 8, items: 0, whole_outcome: false },
];

/// What is kept of an outcome at the least.
const MAIN: [&str; 6] = ["status", "exit_code", "signal", "reason", "wall_ms", "memory_peak_bytes"];

impl Cut {
    fn text(&self, s: &str) -> String {
        match s.char_indices().nth(self.chars) {
            Some((end, _)) => format!("{}…", s.get(..end).unwrap_or_default()),
            None => s.to_owned(),
        }
    }

    fn value(&self, value: &mut Value) {
        match value {
            Value::String(s) => *s = self.text(s),
            Value::Array(list) => {
                list.truncate(self.items);
                list.iter_mut().for_each(|v| self.value(v));
            }
            Value::Object(map) => map.values_mut().for_each(|v| self.value(v)),
            _ => {}
        }
    }
}

/// The outcome without what the job wrote, and without what the line has anyway.
fn shown(outcome: &Outcome, cut: Option<&Cut>) -> Value {
    let mut value = serde_json::to_value(outcome).unwrap_or_default();
    if let Value::Object(map) = &mut value {
        map.remove("id");
        map.remove("labels");
        for stream in ["stdout", "stderr"] {
            if let Some(Value::Object(stream)) = map.get_mut(stream) {
                stream.remove("data");
                stream.remove("encoding");
            }
        }
        // Of a run that did not come about the rest is zeros, which could be taken for facts.
        if outcome.status == Status::SetupFailed || cut.is_some_and(|c| !c.whole_outcome) {
            map.retain(|key, _| MAIN.contains(&key.as_str()));
        }
    }
    if let Some(cut) = cut {
        cut.value(&mut value);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Isolation, Stream, Timings, is_unseen};

    fn outcome() -> Outcome {
        Outcome {
            schema: 1,
            id: "x".to_owned(),
            labels: BTreeMap::new(),
            status: Status::Exited,
            exit_code: Some(0),
            signal: None,
            reason: "it exited with 0".to_owned(),
            wall_ms: 1.5,
            cpu_user_ms: None,
            cpu_sys_ms: None,
            memory_peak_bytes: Some(7),
            oom_kills: None,
            pids_peak: None,
            limits_hit: Vec::new(),
            denied_syscalls: None,
            stdout: Stream {
                bytes: 6,
                truncated: false,
                data: Some(crate::outcome::Data::new(b"secret".to_vec())),
            },
            stderr: Stream::default(),
            isolation: Isolation::default(),
            timings_ms: Timings::default(),
            audit_error: None,
        }
    }

    fn entry() -> Entry {
        let name = Some("root".to_owned());
        Entry::new(Caller { uid: 0, gid: 0, name, login_uid: None })
    }

    fn parsed(line: &str) -> Value {
        assert!(line.ends_with('\n') && line.matches('\n').count() == 1, "{line:?}");
        serde_json::from_str(line).unwrap()
    }

    /// T41
    #[test]
    fn t41_nothing_hostile_in_a_command_reaches_a_terminal() {
        let bad = "a\n\x1b[2J\x7f\u{9b}31m\u{202e}\u{2066}\u{2028}\u{2029}\u{feff}\u{e0041}\"\\";
        let mut e = entry();
        e.command(&["sh", bad]);
        e.labels.insert(bad.to_owned(), bad.to_owned());
        let line = e.line(&outcome(), 65_536);
        for c in line.trim_end_matches('\n').chars() {
            assert!(!c.is_control() && !is_unseen(c), "{c:?} in {line}");
        }
        let json = parsed(&line);
        assert_eq!(json["command"][1], bad, "it is all still there");
        assert_eq!(json["labels"][bad], bad);
    }

    #[test]
    fn t41_words_that_are_no_utf8_are_escaped_and_marked() {
        let mut e = entry();
        e.command(&[OsStr::new("sh"), OsStr::from_bytes(b"a\xffb\\")]);
        let json = parsed(&e.line(&outcome(), 65_536));
        assert_eq!(json["command"], serde_json::json!(["sh", "a\\xffb\\\\"]));
        assert_eq!(json["escaped"], serde_json::json!([1]));
    }

    #[test]
    fn what_the_job_wrote_is_not_in_the_line() {
        let line = entry().line(&outcome(), 65_536);
        assert!(!line.contains("secret"), "{line}");
        assert_eq!(parsed(&line)["outcome"]["stdout"]["bytes"], 6);
    }

    #[test]
    fn a_line_that_is_too_long_is_shortened_and_says_so() {
        let mut e = entry();
        let words: Vec<String> = (0..5000).map(|i| format!("word{i}")).collect();
        e.command(&words);
        for limit in [65_536, 8192, 4096, 1024] {
            let line = e.line(&outcome(), limit);
            assert!(line.len() <= limit, "{} > {limit}", line.len());
            let json = parsed(&line);
            if json["command"].as_array().unwrap().len() < 5000 {
                assert_eq!(json["truncated"]["command_words"], 5000);
                let joined = words.join("\0") + "\0";
                assert_eq!(json["truncated"]["command_sha256"], sha256(joined.as_bytes()));
            } else {
                assert_eq!(json.get("truncated"), None);
            }
        }
    }

    #[test]
    fn whatever_the_strings_are_a_line_fits_into_1024_bytes() {
        let long = "\u{e0041}".repeat(100_000);
        let mut e = entry();
        e.caller = Caller {
            uid: u32::MAX,
            gid: u32::MAX,
            name: Some("n".repeat(32)),
            login_uid: Some(u32::MAX),
        };
        e.id.clone_from(&long);
        e.rootfs = Some(long.clone());
        e.inside = Some(format!("{0}:{0}", u32::MAX));
        e.policy = Some(format!("sha256:{}", "f".repeat(64)));
        e.labels.insert(long.clone(), long.clone());
        e.command(&vec![long.as_str(); 20]);
        let o = Outcome {
            reason: long,
            wall_ms: 1e15 + 0.123,
            memory_peak_bytes: Some(u64::MAX),
            exit_code: Some(i32::MIN),
            signal: Some(i32::MIN),
            ..outcome()
        };
        let line = e.line(&o, 1024);
        assert!(line.len() <= 1024, "{}: {line}", line.len());
        assert_eq!(parsed(&line)["truncated"]["command_words"], 20);
    }

    #[test]
    fn times_are_rfc_3339_in_utc_with_milliseconds() {
        let mut e = entry();
        e.began = SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(1_234_567_890_123);
        assert_eq!(parsed(&e.line(&outcome(), 9999))["time"], "2009-02-13T23:31:30.123Z");
    }
}
