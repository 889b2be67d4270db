//! The attacker's programs: `attack.c`, built once a test process, and callers that prepare what
//! a job must not inherit.

#![allow(dead_code)] // each test crate uses a part

use crate::support::{Run, Scratch, bin, jail, jail_with};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The directory that holds the static program `attack`, readable by everybody.
pub fn dir() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT
        .get_or_init(|| {
            // Below the target directory: a static is never dropped, and /tmp stays clean.
            let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
                .join(format!("attack-{}", std::process::id()));
            // The name is this process's, so whatever is there is a dead one's.
            let _ = std::fs::remove_dir_all(&dir);
            std::fs::create_dir_all(&dir).unwrap();
            let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/attack.c");
            let built = Command::new("gcc")
                .args(["-O1", "-static", "-o"])
                .arg(dir.join("attack"))
                .args([source, "-lpthread", "-lrt"])
                .output()
                .expect("gcc is installed");
            assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
            dir
        })
        .clone()
}

/// The program on the host.
pub fn program() -> PathBuf {
    dir().join("attack")
}

/// `-v` of the program's directory on /t.
pub fn volume() -> String {
    format!("{}:/t:ro", dir().display())
}

/// Runs `attack MODE...` in a jail.
#[track_caller]
pub fn attack(options: &[&str], mode: &[&str]) -> Run {
    let volume = volume();
    let words = ["-v", &volume].into_iter().chain(options.iter().copied());
    jail(words.chain(["--", "/t/attack"]).chain(mode.iter().copied()))
}

/// Runs `attack MODE...` outside: the control.
pub fn outside(mode: &[&str]) -> String {
    // Some modes make files, device nodes even, where they are.
    let place = Scratch::new();
    let mut command = Command::new(program());
    command.args(mode).current_dir(place.path()).stdin(Stdio::null());
    let output = command.output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The answer to one question: the word behind `name`.
#[track_caller]
pub fn answer<'a>(text: &'a str, name: &str) -> &'a str {
    text.lines()
        // A terminal may have echoed what was typed into it.
        .find_map(|line| line.trim_start_matches("^@").strip_prefix(name)?.strip_prefix(' '))
        .unwrap_or_else(|| panic!("no answer about {name} in:\n{text}"))
}

/// Has the command started by a Python program that first does `prepare` (os, sys, signal,
/// resource and fcntl are imported): what a careless caller leaves open, ignored or set.
pub fn careless(prepare: &str) -> impl FnOnce(&mut Command) + use<> {
    let program = format!(
        "import os, sys, signal, resource, fcntl\n{prepare}\nos.execv(sys.argv[1], sys.argv[1:])"
    );
    move |command| {
        let args: Vec<OsString> = command.get_args().map(OsString::from).collect();
        let mut outer = Command::new("/usr/bin/python3");
        outer.arg("-c").arg(program).arg(command.get_program()).args(args).stdin(Stdio::null());
        *command = outer;
    }
}

/// A jail started by a careless caller.
#[track_caller]
pub fn careless_jail(prepare: &str, args: &[&str]) -> Run {
    jail_with(args, careless(prepare))
}

/// A running stockade with an id of its own, killed and reaped when dropped.
#[derive(Debug)]
pub struct Live {
    pub id: String,
    pub child: std::process::Child,
}

impl Live {
    /// Starts `stockade jail --id ID ARGS` and waits for the first line on its stdout.
    pub fn start(name: &str, args: &[&str]) -> Live {
        use std::io::{BufRead, BufReader};
        let id = format!("t-{name}-{}", std::process::id());
        let mut child = Command::new(bin())
            .args(["jail", "--id", &id])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "the job said nothing");
        child.stdout = Some(stdout.into_inner());
        Live { id, child }
    }

    /// Its cgroup directories, one a controller.
    pub fn cgroups(&self) -> Vec<PathBuf> {
        let name = format!("stockade-{}", self.id);
        crate::support::our_cgroups()
            .into_iter()
            .filter(|c| c.rsplit('/').next() == Some(&name))
            .map(PathBuf::from)
            .collect()
    }

    /// Host pids of everything in the jail.
    pub fn pids(&self) -> Vec<i32> {
        let mut pids: Vec<i32> = self
            .cgroups()
            .iter()
            .flat_map(|c| std::fs::read_to_string(c.join("cgroup.procs")))
            .flat_map(|t| t.lines().filter_map(|l| l.parse().ok()).collect::<Vec<i32>>())
            .collect();
        pids.sort_unstable();
        pids.dedup();
        pids
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until none of these processes runs any more: gone, or a zombie that PID 1 has yet to
/// reap. Up to a minute, since nothing here measures time.
pub fn all_dead(pids: &[i32]) -> bool {
    let runs = |pid: &i32| {
        std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
            let state = stat.rsplit(") ").next().and_then(|s| s.chars().next());
            !matches!(state, Some('Z' | 'X'))
        })
    };
    for _ in 0..6000 {
        if !pids.iter().any(runs) {
            return true;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    false
}

/// A scratch directory that everybody may enter and write to.
pub fn open_scratch() -> Scratch {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new();
    std::fs::set_permissions(scratch.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    scratch
}
