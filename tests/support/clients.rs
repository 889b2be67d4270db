//! The programs that call a runtime: Debian's dockerd, containerd and podman, each started by a
//! test, with all it makes below one directory, and stopped by its pid.
//!
//! The runtime that they call is stockade, or the one that STOCKADE_CLIENT_RUNTIME names. With
//! Debian's runc there, the same tests show that it is not they who are wrong.

#![allow(dead_code)] // each test crate uses a part

use crate::support::{Run, Scratch, bin};
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

/// The runtime's binary, by its absolute path.
pub fn runtime() -> String {
    std::env::var("STOCKADE_CLIENT_RUNTIME").unwrap_or_else(|_| bin().to_owned())
}

/// Whether the tests run against another runtime than stockade.
pub fn is_control() -> bool {
    std::env::var_os("STOCKADE_CLIENT_RUNTIME").is_some()
}

/// A program's path, if it is installed.
pub fn installed(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = [PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")];
    std::env::split_paths(&path).chain(usual).map(|dir| dir.join(program)).find(|p| p.exists())
}

/// Ends the test as skipped if root or one of the programs is missing.
#[macro_export]
macro_rules! need_clients {
    ($($program:literal),+) => {
        $crate::need_root!();
        $(if $crate::clients::installed($program).is_none() {
            $crate::skip!("needs {} (scripts/install-deps clients)", $program);
        })+
    };
}

/// Two minutes for anything that a client is asked; a client that hangs is a failure.
const PATIENCE: &str = "120";

/// A client's command, which is ended if it hangs.
pub fn patient(program: &str) -> Command {
    let mut command = Command::new("timeout");
    // In the foreground: else it would be out of the terminal that it may be run at.
    command.args(["--foreground", "--kill-after=5", PATIENCE, program]).stdin(Stdio::null());
    command
}

/// Runs it to its end.
pub fn finish(command: &mut Command) -> Run {
    let output = command.output().expect("timeout of coreutils starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Run {
        code: code(output.status),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
        outcome: serde_json::Value::Null,
    }
}

fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

/// A daemon that a test has started.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    log: PathBuf,
}

type Order = (Command, Sender<std::io::Result<Child>>);

/// The thread that starts daemons. They are tied to its life, and it lives as long as the
/// program: a test that is killed leaves no daemon behind, and a test that ends ends none.
static KEEPER: LazyLock<Mutex<Sender<Order>>> = LazyLock::new(|| {
    let (orders, todo) = channel::<Order>();
    std::thread::spawn(move || {
        for (mut command, answer) in todo {
            let _ = answer.send(command.spawn());
        }
    });
    Mutex::new(orders)
});

impl Daemon {
    /// Starts it and waits until it answers.
    #[track_caller]
    pub fn start(mut command: Command, log: &Path, mut ready: impl FnMut() -> bool) -> Daemon {
        let file = File::options().create(true).append(true).open(log).unwrap();
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        // Not with the terminal's Ctrl-C: it has containers to end first.
        command.process_group(0);
        // SAFETY: between fork and exec, one system call that reads numbers.
        unsafe {
            command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            });
        }
        let (answer, child) = channel();
        KEEPER.lock().unwrap().send((command, answer)).unwrap();
        let child = child.recv().unwrap().expect("the daemon starts");
        let mut daemon = Daemon { child, log: log.to_owned() };
        let until = Instant::now() + Duration::from_secs(60);
        while !ready() {
            let ended = daemon.child.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < until, "no answer: {}", daemon.said());
            std::thread::sleep(Duration::from_millis(20));
        }
        daemon
    }

    /// The end of what it has said.
    pub fn said(&self) -> String {
        let mut text = String::new();
        let _ = File::open(&self.log).and_then(|mut f| f.read_to_string(&mut text));
        let lines: Vec<&str> = text.lines().rev().take(30).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// Asks it to end and waits for that.
    pub fn stop(mut self) -> Result<(), String> {
        self.end()
    }

    fn end(&mut self) -> Result<(), String> {
        if self.child.try_wait().is_ok_and(|s| s.is_some()) {
            return Ok(());
        }
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a pid"));
        let _ = kill(pid, Signal::SIGTERM);
        let until = Instant::now() + Duration::from_secs(60);
        while Instant::now() < until {
            if self.child.try_wait().is_ok_and(|s| s.is_some()) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        Err(format!("it did not end within a minute: {}", self.said()))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Err(why) = self.end() {
            eprintln!("{why}");
        }
    }
}

/// A path where a client keeps things, and the cgroup below which its containers are.
#[derive(Debug)]
pub struct Place {
    scratch: Scratch,
    /// Name of a cgroup directly below the root of each hierarchy.
    pub cgroup: String,
}

impl Place {
    pub fn new(client: &str) -> Place {
        let scratch = Scratch::new();
        // The pid and a number of its own are in the directory's name.
        let own = scratch.path().file_name().unwrap().to_string_lossy().into_owned();
        Place { scratch, cgroup: own.replace("stockade-test", &format!("clients-{client}")) }
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }

    pub fn path(&self) -> &Path {
        self.scratch.path()
    }

    /// The directories of the cgroup that exist, with all below them; the deepest first.
    pub fn cgroups(&self) -> Vec<PathBuf> {
        fn below(dir: &Path, found: &mut Vec<PathBuf>) {
            for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|t| t.is_dir()) {
                    below(&entry.path(), found);
                }
            }
            found.push(dir.to_owned());
        }
        let mut found = Vec::new();
        for hierarchy in hierarchies() {
            let dir = hierarchy.join(&self.cgroup);
            if dir.is_dir() {
                below(&dir, &mut found);
            }
        }
        found
    }

    /// Its value of a control file, by the names in v1 and in v2, in the cgroup of a container.
    #[track_caller]
    pub fn control(&self, id: &str, v1: &str, v2: &str) -> String {
        let dirs = self.cgroups();
        let files = dirs.iter().filter(|d| d.ends_with(id)).flat_map(|d| [d.join(v1), d.join(v2)]);
        let found = files.map(std::fs::read_to_string).find_map(Result::ok);
        found.unwrap_or_else(|| panic!("neither {v1} nor {v2}: {id} in {dirs:?}")).trim().to_owned()
    }

    /// What is left of the client when it has ended, all of which this ends and removes:
    /// processes, mounts, cgroups. Empty cgroups directly below the root are not counted: the
    /// clients leave those themselves.
    pub fn leftovers(&self) -> Vec<String> {
        self.leftovers_of(|_| true)
    }

    /// The same, where only cgroups of such a name are counted if no process is in them.
    pub fn leftovers_of(&self, counted: fn(&str) -> bool) -> Vec<String> {
        let mut found = Vec::new();
        // With the slash: another's name may begin as this one.
        let name = format!("{}/", self.path().display());
        for pid in processes(&name) {
            let what = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            // A shim ends a moment after the daemon that it has told of its container's end.
            if gone(Duration::from_secs(5), || processes(&name).contains(&pid)) {
                continue;
            }
            found.push(format!("process {pid}: {}", what.replace('\0', " ")));
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        for at in mounts_below(&name).into_iter().rev() {
            // A client's own directories, which it mounts on themselves.
            if !at.ends_with("/data") && !at.ends_with("/storage/overlay") {
                found.push(format!("mount {at}"));
            }
            let _ = Command::new("umount").args(["--lazy", &at]).output();
        }
        for dir in self.cgroups() {
            let tasks = std::fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
            let name = dir.file_name().unwrap_or_default().to_string_lossy();
            if !tasks.is_empty() || name != self.cgroup && counted(&name) {
                found.push(format!("cgroup {} with {tasks:?}", dir.display()));
            }
            for pid in tasks.lines().filter_map(|l| l.parse().ok()) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            gone(Duration::from_secs(5), || std::fs::remove_dir(&dir).is_err());
        }
        found
    }
}

/// Whether it has come to be not so within this time.
fn gone(time: Duration, mut so: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + time;
    while so() {
        if Instant::now() > until {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    true
}

/// Where cgroup hierarchies are mounted, without the other names of co-mounted controllers.
pub fn hierarchies() -> Vec<PathBuf> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let cgroup = |line: &&str| line.contains(" - cgroup ") || line.contains(" - cgroup2 ");
    let at = |line: &str| line.split(' ').nth(4).map(PathBuf::from);
    table.lines().filter(cgroup).filter_map(at).collect()
}

/// Mount points that have this in their path.
pub fn mounts_below(part: &str) -> Vec<String> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let at = table.lines().filter_map(|l| l.split(' ').nth(4));
    at.filter(|p| p.contains(part)).map(str::to_owned).collect()
}

/// Processes that have this in their command line.
pub fn processes(part: &str) -> Vec<i32> {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = all.filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok());
    let named = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(part)
    };
    let own = i32::try_from(std::process::id()).expect("a pid");
    pids.filter(|pid| *pid != own).filter(named).collect()
}

/// A field of /proc/PID/status.
pub fn status(pid: i32, field: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|l| l.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {field} in {text}")).trim().to_owned()
}
