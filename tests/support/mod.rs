//! What the integration tests share: running the real binary, a tiny rootfs, skips that count.

#![allow(dead_code)] // each test crate uses a part

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// The binary under test: cargo's, or the one that `STOCKADE_TEST_BINARY` names, such as the
/// release build, which has another C library.
pub fn bin() -> &'static str {
    static BINARY: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| {
        std::env::var("STOCKADE_TEST_BINARY")
            .unwrap_or_else(|_| env!("CARGO_BIN_EXE_stockade").to_owned())
    });
    &BINARY
}

/// A finished run.
#[derive(Debug)]
pub struct Run {
    /// Exit status; 128+N if a signal ended stockade itself.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    /// The outcome, if one was written.
    pub outcome: serde_json::Value,
}

impl Run {
    /// Asserts the exit status, showing everything if it is another.
    #[track_caller]
    pub fn exits(self, code: i32) -> Run {
        assert_eq!(self.code, code, "exit status\n{self:#?}");
        self
    }

    /// Asserts on a field of the outcome.
    #[track_caller]
    pub fn has(self, field: &str, value: impl Into<serde_json::Value>) -> Run {
        assert_eq!(self.outcome[field], value.into(), "{field}\n{self:#?}");
        self
    }

    /// Whether a limit is among those hit.
    pub fn hit(&self, limit: &str) -> bool {
        self.outcome["limits_hit"].as_array().is_some_and(|l| l.iter().any(|v| v == limit))
    }

    #[track_caller]
    pub fn says(self, text: &str) -> Run {
        assert!(self.stdout.contains(text), "no {text:?} on stdout\n{self:#?}");
        self
    }

    #[track_caller]
    pub fn complains(self, text: &str) -> Run {
        assert!(self.stderr.contains(text), "no {text:?} on stderr\n{self:#?}");
        self
    }
}

static SERIAL: AtomicU32 = AtomicU32::new(0);

/// A directory that is gone when it is dropped.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Scratch {
        let n = SERIAL.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("stockade-test-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Scratch(dir)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file and returns its path.
    pub fn file(&self, name: &str, contents: &str) -> PathBuf {
        let path = self.0.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).unwrap();
        }
        std::fs::write(&path, contents).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// `stockade jail ARGS`, to its end; stdin is empty.
#[track_caller]
pub fn jail<I, S>(args: I) -> Run
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    jail_with(args, |_| {})
}

/// The same, with a chance to change the command (environment, stdin, user).
#[track_caller]
pub fn jail_with<I, S>(args: I, change: impl FnOnce(&mut Command)) -> Run
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    let scratch = Scratch::new();
    let result = scratch.join("outcome.json");
    let mut command = Command::new(bin());
    command.arg("jail").arg("--result").arg(&result).args(args);
    command.stdin(Stdio::null());
    change(&mut command);
    let output = command.output().expect("stockade starts");
    let mut text = String::new();
    if let Ok(mut file) = std::fs::File::open(&result) {
        file.read_to_string(&mut text).unwrap();
    }
    Run {
        code: output
            .status
            .code()
            .unwrap_or_else(|| 128 + output.status.signal().unwrap_or_default()),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        outcome: serde_json::from_str(&text).unwrap_or(serde_json::Value::Null),
    }
}

/// A shell script in a jail with the host view.
#[track_caller]
pub fn sh(options: &[&str], script: &str) -> Run {
    jail(options.iter().copied().chain(["--", "sh", "-c", script]))
}

/// A Python program in a jail with the host view (the system's python3).
#[track_caller]
pub fn python(options: &[&str], code: &str) -> Run {
    jail(options.iter().copied().chain(["--", "/usr/bin/python3", "-c", code]))
}

/// A root file system of busybox alone, made anew: tests may spoil it.
pub fn busybox_rootfs() -> Scratch {
    let scratch = Scratch::new();
    let bin = scratch.join("bin");
    for dir in ["bin", "etc", "proc", "dev", "sys", "tmp"] {
        std::fs::create_dir_all(scratch.join(dir)).unwrap();
    }
    std::fs::copy("/bin/busybox", bin.join("busybox")).expect("busybox-static is installed");
    for applet in ["sh", "cat", "ls", "id", "echo", "true", "mount", "stat", "touch", "mkdir"] {
        std::os::unix::fs::symlink("busybox", bin.join(applet)).unwrap();
    }
    scratch.file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nann:x:1001:1002::/:/bin/sh\n");
    scratch.file("etc/group", "root:x:0:\nann:x:1002:\nextra:x:1010:ann\n");
    scratch
}

/// Names of stockade's cgroups on this host, in every hierarchy.
pub fn our_cgroups() -> Vec<String> {
    let mut found = Vec::new();
    let mut look = |dir: &Path| {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with("stockade-") {
                found.push(entry.path().display().to_string());
            }
        }
    };
    look(Path::new("/sys/fs/cgroup"));
    for entry in std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
        look(&entry.path());
    }
    found
}

/// Whether the host has cgroup v2 alone.
pub fn pure_v2() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// Whether the kernel is at least this version.
pub fn linux_has(major: u32, minor: u32) -> bool {
    let release = nix::sys::utsname::uname().unwrap().release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|n| n.parse().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (major, minor)
}

/// Whether a filter is on the test itself, as with `scripts/test --old-kernel`.
pub fn is_filtered() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    status.lines().any(|l| l == "Seccomp:\t2")
}

/// How often something is repeated: an emulated machine, where all takes so much longer, says in
/// `STOCKADE_TEST_SHARE` that a part of it is enough.
pub fn times(full: u32) -> u32 {
    (full / share()).max(1)
}

/// A limit of time in which something must have been done, which there is as much longer.
pub fn seconds(full: u32) -> String {
    format!("{}s", full * share())
}

fn share() -> u32 {
    let share = std::env::var("STOCKADE_TEST_SHARE").ok().and_then(|s| s.parse().ok());
    share.unwrap_or(1).max(1)
}

pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Records a skip: loud, counted by scripts/test, and a failure where skips are forbidden.
pub fn record_skip(test: &str, why: &str) {
    assert!(
        std::env::var("STOCKADE_TESTS").as_deref() != Ok("strict"),
        "skipping is forbidden here: {test}: {why}"
    );
    note_skip(test, why);
}

/// A skip that is none of the host's faults.
pub fn note_skip(test: &str, why: &str) {
    use std::io::Write;
    eprintln!("SKIPPED {test}: {why}");
    if let Some(list) = std::env::var_os("STOCKADE_SKIPS") {
        let mut file = std::fs::File::options().append(true).create(true).open(list).unwrap();
        writeln!(file, "{test}: {why}").unwrap();
    }
}

/// Ends the test as skipped.
#[macro_export]
macro_rules! skip {
    ($($why:tt)*) => {{
        $crate::support::record_skip(
            std::thread::current().name().unwrap_or("?"),
            &format!($($why)*),
        );
        return;
    }};
}

/// Ends the test as skipped where no host of this kind can run it, as with the other version of
/// cgroups or before a version of the kernel: counted, and no failure where skips are one.
#[macro_export]
macro_rules! skip_on_this_kind_of_host {
    ($($why:tt)*) => {{
        $crate::support::note_skip(
            std::thread::current().name().unwrap_or("?"),
            &format!($($why)*),
        );
        return;
    }};
}

/// Ends the test as skipped unless root runs it.
#[macro_export]
macro_rules! need_root {
    () => {
        if !$crate::support::is_root() {
            $crate::skip!("needs root");
        }
    };
}

pub mod bundle;
pub mod live;
pub mod pty;
