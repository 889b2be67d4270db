//! A run that is watched while it goes on, and the cgroup files that it has meanwhile.

use super::{Run, Scratch, bin};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

static SERIAL: AtomicU32 = AtomicU32::new(0);

/// An id that nobody else uses.
pub fn fresh_id() -> String {
    format!("test-{}-{}", std::process::id(), SERIAL.fetch_add(1, Ordering::Relaxed))
}

/// A job that runs. Dropped, it is killed.
#[derive(Debug)]
pub struct Live {
    pub id: String,
    child: Option<Child>,
    stdout: Option<BufReader<ChildStdout>>,
    seen: String,
    scratch: Scratch,
}

impl Live {
    /// Starts it, with 60 s to live unless the options say otherwise.
    pub fn start(options: &[&str], command: &[&str]) -> Live {
        Live::start_with(options, command, |_| {})
    }

    /// The same, with a chance to change the command.
    pub fn start_with(
        options: &[&str],
        command: &[&str],
        change: impl FnOnce(&mut Command),
    ) -> Live {
        let id = fresh_id();
        let scratch = Scratch::new();
        let mut stockade = Command::new(bin());
        stockade.args(["jail", "--timeout", "60s", "--id", &id, "--result"]);
        stockade.arg(scratch.join("outcome.json")).args(options).arg("--").args(command);
        stockade.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        change(&mut stockade);
        let mut child = stockade.spawn().expect("stockade starts");
        let stdout = child.stdout.take().map(BufReader::new);
        Live { id, child: Some(child), stdout, seen: String::new(), scratch }
    }

    /// A shell script that says `ready` when it is.
    #[track_caller]
    pub fn sh(options: &[&str], script: &str) -> Live {
        let mut live = Live::start(options, &["sh", "-c", script]);
        live.until("ready");
        live
    }

    /// Reads lines until one has this text, and returns that.
    #[track_caller]
    pub fn until(&mut self, text: &str) -> String {
        loop {
            let mut line = String::new();
            let n = self.stdout.as_mut().unwrap().read_line(&mut line).unwrap();
            self.seen.push_str(&line);
            if n == 0 {
                let mut said = String::new();
                self.child.as_mut().unwrap().stderr.take().unwrap().read_to_string(&mut said).ok();
                panic!("it ended without {text:?}: {:?} {said:?}", self.seen);
            }
            if line.contains(text) {
                return line;
            }
        }
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.as_ref().unwrap().id()).unwrap()
    }

    /// Sends a signal to stockade.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// Its directories in the cgroup hierarchies.
    pub fn cgroups(&self) -> Vec<PathBuf> {
        cgroups_of(&self.id)
    }

    /// Contents of a control file, by its name in v1 or in v2.
    #[track_caller]
    pub fn control(&self, v1: &str, v2: &str) -> String {
        let dirs = self.cgroups();
        let found = dirs.iter().find_map(|dir| {
            let file = [v1, v2].into_iter().map(|f| dir.join(f)).find(|f| f.exists())?;
            std::fs::read_to_string(file).ok()
        });
        found.unwrap_or_else(|| panic!("neither {v1} nor {v2} in {dirs:?}")).trim().to_owned()
    }

    /// Most memory that stockade itself has used, in KiB.
    pub fn peak_rss_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|l| l.starts_with("VmHWM:")).expect("VmHWM");
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Our end of its standard input, if that was piped.
    pub fn stdin(&mut self) -> std::process::ChildStdin {
        self.child.as_mut().unwrap().stdin.take().unwrap()
    }

    /// Closes our end of its standard output.
    pub fn stop_reading(&mut self) {
        self.stdout = None;
    }

    /// Waits for the end, reading what is left.
    #[track_caller]
    pub fn end(mut self) -> Run {
        let mut child = self.child.take().unwrap();
        let mut stdout = std::mem::take(&mut self.seen);
        if let Some(mut rest) = self.stdout.take() {
            let mut bytes = Vec::new();
            rest.read_to_end(&mut bytes).unwrap();
            stdout.push_str(&String::from_utf8_lossy(&bytes));
        }
        let mut stderr = String::new();
        if let Some(mut pipe) = child.stderr.take() {
            pipe.read_to_string(&mut stderr).unwrap();
        }
        let status = child.wait().unwrap();
        let text = std::fs::read_to_string(self.scratch.join("outcome.json")).unwrap_or_default();
        Run {
            code: status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default()),
            stdout,
            stderr,
            outcome: serde_json::from_str(&text).unwrap_or(serde_json::Value::Null),
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Directories of this run's cgroup, wherever they are below the usual place.
pub fn cgroups_of(id: &str) -> Vec<PathBuf> {
    fn look(dir: &Path, name: &str, depth: u32, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            // v1 has co-mounted controllers under several names: symlinks are not followed.
            if !entry.file_type().is_ok_and(|t| t.is_dir()) {
                continue;
            }
            if entry.file_name().to_string_lossy() == name {
                found.push(entry.path());
            } else if depth > 0 {
                look(&entry.path(), name, depth - 1, found);
            }
        }
    }
    let mut found = Vec::new();
    look(Path::new("/sys/fs/cgroup"), &format!("stockade-{id}"), 4, &mut found);
    found
}

/// Waits until this is so; that it never comes is the failure.
#[track_caller]
pub fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !so() {
        assert!(Instant::now() < until, "it never came about: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
