//! Rootless Podman with stockade as its runtime: by an ordinary user with a session of systemd, as
//! `scripts/vm run --systemd --user` has it. Elsewhere it is skipped.

#[path = "support/images.rs"]
mod images;
mod support;

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use support::live::eventually;
use support::{Run, Scratch};

const IMAGE: &str = "stockade.test/busybox:1";

static SERIAL: AtomicU32 = AtomicU32::new(0);

/// A podman with storage and state of its own.
struct Podman {
    scratch: Scratch,
    runtime: String,
    manager: &'static str,
}

fn is_here() -> bool {
    let bus = format!("/run/user/{}/bus", nix::unistd::getuid());
    !support::is_root()
        && support::pure_v2()
        && Path::new(&bus).exists()
        && Path::new("/usr/bin/podman").exists()
}

macro_rules! need_session {
    () => {
        if !is_here() {
            skip_on_this_kind_of_host!(
                "needs podman, and an ordinary user's session of systemd: scripts/vm run --systemd --user"
            );
        }
    };
}

impl Podman {
    fn new(manager: &'static str) -> Podman {
        let scratch = Scratch::new();
        let runtime = std::env::var("STOCKADE_CLIENT_RUNTIME");
        let runtime = runtime.unwrap_or_else(|_| support::bin().to_owned());
        scratch.file("containers.conf", "[engine]\nevents_logger = \"file\"\n");
        let podman = Podman { scratch, runtime, manager };
        let image = images::busybox(podman.scratch.path());
        podman.run(&["load", "--quiet", "--input", image.archive.to_str().unwrap()]).exits(0);
        podman
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", "120", "podman", "--runtime", &self.runtime]);
        for (option, dir) in [("--root", "storage"), ("--runroot", "run"), ("--tmpdir", "tmp")] {
            command.arg(option).arg(self.scratch.join(dir));
        }
        command.args(["--storage-driver", "overlay", "--cgroup-manager", self.manager]);
        command.args(args).stdin(Stdio::null());
        command.env("CONTAINERS_CONF", self.scratch.join("containers.conf"));
        command
    }

    fn run(&self, args: &[&str]) -> Run {
        let output = self.command(args).output().unwrap();
        Run {
            code: output.status.code().unwrap_or(255),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            outcome: serde_json::Value::Null,
        }
    }

    /// `podman run --rm` without a network.
    fn job(&self, options: &[&str], rest: &[&str]) -> Run {
        self.run(&[&["run", "--rm", "--network", "none"], options, &[IMAGE], rest].concat())
    }

    /// In the background: its name.
    #[track_caller]
    fn detached(&self, options: &[&str], rest: &[&str]) -> String {
        let name = format!("job-{}", SERIAL.fetch_add(1, Ordering::Relaxed));
        let head = ["run", "--detach", "--network", "none", "--name", &name];
        self.run(&[&head, options, &[IMAGE], rest].concat()).exits(0);
        name
    }

    #[track_caller]
    fn inspect(&self, name: &str, path: &str) -> String {
        let run = self.run(&["inspect", "--format", &format!("{{{{{path}}}}}"), name]);
        run.exits(0).stdout.trim().to_owned()
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        let pods = self.run(&["pod", "rm", "--all", "--force", "--time", "0"]);
        let rest = self.run(&["rm", "--all", "--force", "--time", "0"]);
        // Its files are of other ids; and then the process that holds its user namespace ends.
        let storage = self.scratch.join("storage").display().to_string();
        let removed = self.run(&["unshare", "rm", "-rf", &storage]);
        let migrated = self.run(&["system", "migrate"]);
        if !std::thread::panicking() {
            assert_eq!(
                (pods.code, rest.code),
                (0, 0),
                "{pods:?} {rest:?} {removed:?} {migrated:?}"
            );
            assert_eq!(scopes(), "", "units are left");
        }
    }
}

/// Units of containers and their monitors.
fn scopes() -> String {
    let o = Command::new("systemctl")
        .args(["--user", "list-units", "--all", "--plain", "--no-legend", "libpod-*"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    // The monitor's scope goes when the monitor does.
    let text = String::from_utf8_lossy(&o.stdout).into_owned();
    text.lines().filter(|l| !l.contains("libpod-conmon-")).collect::<Vec<_>>().join("\n")
}

const LIMITS: [&str; 6] = ["--memory", "100m", "--pids-limit", "50", "--cpus", "0.5"];

/// One podman, so that the tests do not wait for each other's storage: what it does, one after the other.
fn life(manager: &'static str) {
    let podman = Podman::new(manager);
    // Output, exit status, ids.
    let run = podman.job(&[], &["sh", "-c", "echo out; echo err >&2; id -u; exit 42"]).exits(42);
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("out\n0\n", "err\n"));
    podman.job(&[], &["no-such-program"]).exits(127);
    let run = podman.job(&["--userns", "keep-id"], &["id", "-u"]).exits(0);
    assert_eq!(run.stdout.trim(), nix::unistd::getuid().to_string());
    let run = podman.job(&["--user", "ann"], &["id", "-u"]).exits(0);
    assert_eq!(run.stdout, "1001\n");
    // Limits, which hold.
    let job = podman.detached(&LIMITS, &["sleep", "1000"]);
    let script = "cd /sys/fs/cgroup; cat memory.max pids.max cpu.max";
    let run = podman.run(&["exec", &job, "sh", "-c", script]).exits(0);
    assert_eq!(run.stdout, "104857600\n50\n50000 100000\n");
    podman.run(&["update", "--memory", "64m", &job]).exits(0);
    let run = podman.run(&["exec", &job, "cat", "/sys/fs/cgroup/memory.max"]).exits(0);
    assert_eq!(run.stdout, "67108864\n");
    let o = podman.run(&["exec", &job, "sh", "-c", "exit 7"]);
    assert_eq!(o.code, 7, "{o:?}");
    podman.run(&["pause", &job]).exits(0);
    assert_eq!(podman.inspect(&job, ".State.Status"), "paused");
    podman.run(&["unpause", &job]).exits(0);
    podman.run(&["top", &job]).exits(0).says("sleep 1000");
    podman.run(&["stop", "--time", "0", &job]).exits(0);
    podman.run(&["start", &job]).exits(0);
    podman.run(&["rm", "--force", "--time", "0", &job]).exits(0);
    let memory = ["--memory", "20m", "--memory-swap", "20m"];
    podman.job(&memory, &["tail", "/dev/zero"]).exits(137);
    // Which cgroups are seen.
    podman.job(&["--cgroupns", "host"], &["cat", "/sys/fs/cgroup/pids.max"]).exits(0);
    eventually("no unit is left", || scopes().is_empty());
}

#[test]
fn with_systemd_everything_that_a_user_does() {
    need_session!();
    life("systemd");
}

#[test]
fn with_cgroupfs_everything_that_a_user_does() {
    need_session!();
    life("cgroupfs");
}

#[test]
fn a_pods_containers_share_their_namespaces() {
    need_session!();
    let podman = Podman::new("systemd");
    podman.run(&["pod", "create", "--name", "p", "--network", "none"]).exits(0);
    let member = || {
        let run = podman.run(&["run", "--detach", "--pod", "p", IMAGE, "sleep", "1000"]);
        run.exits(0).stdout.trim().to_owned()
    };
    let (one, other) = (member(), member());
    let namespaces = |id: &str| {
        let script = "for n in ipc net uts user mnt pid; do readlink /proc/self/ns/$n; done";
        let run = podman.run(&["exec", id, "sh", "-c", script]).exits(0);
        run.stdout.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let (one, other) = (namespaces(&one), namespaces(&other));
    assert_eq!(one[..4], other[..4]);
    assert!(one[4] != other[4] && one[5] != other[5], "{one:?} {other:?}");
    podman.run(&["pod", "pause", "p"]).exits(0);
    podman.run(&["pod", "unpause", "p"]).exits(0);
    podman.run(&["pod", "stop", "--time", "0", "p"]).exits(0);
}
