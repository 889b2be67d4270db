//! How a run ended, in the words of docs/outcome.md. Stable: fields are added, never changed.

#![forbid(unsafe_code)]

use serde::Serialize;
use std::collections::BTreeMap;

/// Version of the format.
pub const SCHEMA: u32 = 1;

/// How a run ended and what it used. A figure that this host cannot give is `None`.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Outcome {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The run's id.
    pub id: String,
    /// Labels that the caller gave.
    pub labels: BTreeMap<String, String>,
    /// How it ended.
    pub status: Status,
    /// The job's exit code, if it exited.
    pub exit_code: Option<i32>,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    /// One sentence for a person.
    pub reason: String,
    /// Wall time of the job, milliseconds.
    pub wall_ms: f64,
    /// CPU time of all its processes in user mode, milliseconds.
    pub cpu_user_ms: Option<f64>,
    /// The same in the kernel.
    pub cpu_sys_ms: Option<f64>,
    /// Most memory used at once, bytes; tmpfs pages and kernel memory included.
    pub memory_peak_bytes: Option<u64>,
    /// Processes that the kernel killed because of the memory limit.
    pub oom_kills: Option<u64>,
    /// Most processes and threads at once.
    pub pids_peak: Option<u64>,
    /// Limits that were reached.
    pub limits_hit: Vec<Limit>,
    /// System calls that the filter denied, the most frequent first; `None`: nobody listened.
    pub denied_syscalls: Option<Vec<DeniedSyscall>>,
    /// What the job wrote to standard output.
    pub stdout: Stream,
    /// What the job wrote to standard error.
    pub stderr: Stream,
    /// What kept the job in.
    pub isolation: Isolation,
    /// Where the time went.
    pub timings_ms: Timings,
    /// Why the audit log has no line of this run; absent if it has one or none was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit_error: Option<String>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Status {
    /// By itself.
    Exited,
    /// By a signal.
    Signaled,
    /// By the wall time limit.
    Timeout,
    /// By the CPU time limit.
    CpuTime,
    /// By the memory limit.
    OomKilled,
    /// By the output limit.
    OutputLimit,
    /// It was never run.
    SetupFailed,
}

/// A limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum Limit {
    Memory,
    Pids,
    Disk,
    Output,
    Wall,
    Cpu,
}

/// A system call that the filter denied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeniedSyscall {
    /// Its name, `syscall_N` for a number that has none, `others` for what is past the 64th.
    pub name: String,
    /// The ABI that it was made in: `x86_64`, `x32`, `x86`, `aarch64`, `arm`.
    pub arch: &'static str,
    /// How often.
    pub count: u64,
    /// `errno`: it failed; `kill`: it ended the job.
    pub action: &'static str,
}

/// An output stream.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Stream {
    /// Bytes that were passed on or kept.
    pub bytes: u64,
    /// Whether there was more than the limit.
    pub truncated: bool,
    /// What was captured.
    #[serde(flatten)]
    pub data: Option<Data>,
}

/// Captured output.
#[derive(Clone, Debug, Serialize)]
pub struct Data {
    /// The text, or base64 of the bytes where they are no UTF-8, or would be longer escaped.
    pub data: String,
    /// `utf-8` or `base64`.
    pub encoding: &'static str,
}

impl Data {
    /// Wraps captured bytes.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Data {
        use base64::Engine;
        let encode = |bytes: &[u8]| Data {
            data: base64::engine::general_purpose::STANDARD.encode(bytes),
            encoding: "base64",
        };
        // Each becomes six in JSON: ten megabytes of zeros would be sixty, in this process's memory. A few
        // are text all the same.
        let escaped =
            bytes.iter().filter(|b| b.is_ascii_control() && !b"\n\r\t".contains(b)).count();
        if escaped > 4096 && escaped > bytes.len() / 15 {
            return encode(&bytes);
        }
        match String::from_utf8(bytes) {
            Ok(data) => Data { data, encoding: "utf-8" },
            Err(e) => encode(e.as_bytes()),
        }
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        use base64::Engine;
        if self.encoding == "base64" {
            base64::engine::general_purpose::STANDARD.decode(&self.data).unwrap_or_default()
        } else {
            self.data.clone().into_bytes()
        }
    }
}

/// What kept the job in.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Isolation {
    /// Namespaces that were new.
    pub namespaces: Vec<&'static str>,
    /// Ids inside and outside, as `inside:outside:count`; `None` without a user namespace.
    pub uid_map: Option<Vec<String>>,
    /// The same for groups.
    pub gid_map: Option<Vec<String>>,
    /// `host-view` or the rootfs directory.
    pub rootfs: String,
    /// Whether the root was read-only.
    pub read_only_root: bool,
    /// `none` or `host`.
    pub network: &'static str,
    /// `v1`, `v2`; `None`: no cgroup.
    pub cgroup: Option<&'static str>,
    /// Limits in force, by the name of the option.
    pub limits: BTreeMap<&'static str, u64>,
    /// Name of the system call filter; `None`: none.
    pub seccomp: Option<String>,
    /// What Landlock denied beneath the mounts; `None`: it was off, or the kernel has none.
    pub landlock: Option<Landlock>,
    /// Whether execve could add rights.
    pub no_new_privs: bool,
    /// Capabilities kept.
    pub capabilities: Vec<String>,
    /// What the host could not give and `allow-degraded` let pass.
    pub degraded: Vec<String>,
}

/// What Landlock denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Landlock {
    /// The ABI that was made use of.
    pub abi: u32,
    /// Writing to files outside of what is writable.
    pub fs: bool,
    /// TCP.
    pub tcp: bool,
    /// Abstract UNIX sockets and signals out of the jail.
    pub scopes: bool,
}

/// Where the time went, milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Timings {
    /// Until the command was started.
    pub setup: f64,
    /// While it ran.
    pub run: f64,
    /// Until everything was removed.
    pub teardown: f64,
}

impl Outcome {
    /// The exit status that `stockade jail` has for it.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        let code = match self.status {
            Status::Timeout | Status::CpuTime => 124,
            Status::OomKilled | Status::OutputLimit => 137,
            Status::SetupFailed => self.exit_code.unwrap_or(125),
            Status::Exited => self.exit_code.unwrap_or(0),
            Status::Signaled => 128 + self.signal.unwrap_or(0),
        };
        u8::try_from(code & 0xff).unwrap_or(125)
    }

    /// Whether the job ended by itself with exit code 0.
    #[must_use]
    pub fn success(&self) -> bool {
        self.status == Status::Exited && self.exit_code == Some(0)
    }

    /// The outcome as JSON that can be shown on a terminal: what the job or the caller put into it
    /// is there as escapes, from which a parser makes the same text.
    ///
    /// # Panics
    /// Never: every field can be written.
    #[must_use]
    pub fn to_json(&self) -> String {
        safe(serde_json::to_string(self).unwrap_or_else(|e| format!("{{\"error\":\"{e}\"}}")))
    }
}

/// JSON text made safe to show on a terminal. JSON itself escapes what is below a space; here
/// DEL, the C1 controls, and characters that are not seen or turn the text around follow. Outside
/// of strings JSON is ASCII, so the meaning stays the same.
pub(crate) fn safe(json: String) -> String {
    // Captured output may be long, and has mostly none: then it is not copied.
    if !json.contains(is_unseen) {
        return json;
    }
    let mut out = String::with_capacity(json.len() + json.len() / 8);
    for c in json.chars() {
        if is_unseen(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// DEL and C1; all that Unicode 15 says is format (Cf) or ignored where it is not known how to show
/// it (`Default_Ignorable_Code_Point`: fillers, joiners, variation selectors, bidirectional marks,
/// tags); line and paragraph separators, private use, noncharacters.
pub(crate) fn is_unseen(c: char) -> bool {
    matches!(c,
        '\u{7f}'..='\u{9f}' | '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}'
        | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}' | '\u{8e2}' | '\u{115f}'..='\u{1160}'
        | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{e000}'..='\u{f8ff}' | '\u{fdd0}'..='\u{fdef}' | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}'
        | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..)
        || u32::from(c) & 0xfffe == 0xfffe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t41_what_is_not_seen_is_escaped_in_json_and_means_the_same() {
        let bad = "a\n\x1b[2J\x7f\u{9b}31m\u{202e}\u{2066}\u{2028}\u{feff}\u{e0041}\"\\é漢😀";
        let json = safe(serde_json::to_string(bad).unwrap());
        assert!(!json.contains(|c: char| c.is_control() || is_unseen(c)), "{json}");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), bad);
        assert!(json.contains("\\u009b31m\\u202e") && json.contains("\\udb40\\udc41"), "{json}");
        assert!(json.ends_with("é漢😀\""), "what is seen is left alone: {json}");
    }

    #[test]
    fn output_of_control_characters_is_not_blown_up() {
        for (bytes, encoding) in [
            (vec![0; 9000], "base64"),
            (vec![0; 5], "utf-8"),
            (b"\x1b[31mred\x1b[0m and a long line of plain text after it\n".to_vec(), "utf-8"),
            (b"a\nb\tc\r\n".to_vec(), "utf-8"),
            (Vec::new(), "utf-8"),
            (vec![0xff], "base64"),
        ] {
            let data = Data::new(bytes.clone());
            assert_eq!((data.encoding, data.bytes()), (encoding, bytes));
            assert!(serde_json::to_string(&data).unwrap().len() < 2 * data.bytes().len() + 64);
        }
    }

    #[test]
    fn t41_every_format_and_every_ignorable_character_is_one_that_is_not_seen() {
        // One of each range of Unicode's, its ends where it has two.
        let hidden = "\u{ad}\u{34f}\u{600}\u{605}\u{61c}\u{6dd}\u{70f}\u{890}\u{891}\u{8e2}\u{115f}\u{1160}\
                      \u{17b4}\u{17b5}\u{180b}\u{180e}\u{180f}\u{200b}\u{200f}\u{2028}\u{202e}\u{2060}\
                      \u{206f}\u{3164}\u{fdd0}\u{fe00}\u{fe0f}\u{feff}\u{ffa0}\u{fff0}\u{fffb}\u{ffff}\
                      \u{110bd}\u{110cd}\u{13430}\u{1343f}\u{1bca0}\u{1bca3}\u{1d173}\u{1d17a}\u{1fffe}\
                      \u{e0000}\u{e0fff}\u{f0000}\u{10ffff}";
        for c in hidden.chars() {
            assert!(is_unseen(c), "{c:?}");
        }
        for c in " ~é\u{300}\u{ac}\u{ae}\u{350}\u{606}\u{1161}\u{2010}\u{3165}漢\u{fdf0}\u{fe10}\u{fffd}😀".chars() {
            assert!(!is_unseen(c), "{c:?}");
        }
        // Messages and the table of `audit show` escape by another rule, and no less.
        let raw: Vec<char> = ('\u{1}'..=char::MAX)
            .filter(|c| is_unseen(*c) && crate::plan::values::escape(&c.to_string()).contains(*c))
            .collect();
        assert!(raw.is_empty(), "{raw:?}");
    }
}
