//! Hosts with an older kernel: `support/old_kernel.c` hides from a run what came later, or single calls.
//! Each either works without or is refused, with the missing call's name, and leaves nothing.

mod support;

use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use support::Scratch;
use support::bundle::Bundle;

/// The program, built once.
fn launcher() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
        std::fs::create_dir_all(dir).unwrap();
        let to = dir.join(format!("old-kernel-{}", std::process::id()));
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/old_kernel.c");
        let built = Command::new("gcc")
            .args(["-O1", "-Wall", "-Wextra", "-Werror", "-static", "-o"])
            .arg(&to)
            .arg(source)
            .output()
            .expect("gcc is installed");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        to
    })
}

/// stockade where this is missing: a version, or numbers of calls.
fn without(missing: &str) -> Command {
    let mut command = Command::new(launcher());
    command.arg(missing).arg(support::bin()).stdin(Stdio::null());
    command
}

#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
    outcome: serde_json::Value,
}

impl Ran {
    fn of(output: &Output) -> Ran {
        Ran {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            outcome: serde_json::Value::Null,
        }
    }

    #[track_caller]
    fn exits(self, code: i32) -> Ran {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    #[track_caller]
    fn complains(self, text: &str) -> Ran {
        assert!(self.stderr.contains(text), "no {text:?}: {self:#?}");
        self
    }
}

/// `stockade jail OPTIONS -- sh -c SCRIPT`, which leaves no cgroup.
#[track_caller]
fn sh(missing: &str, options: &[&str], script: &str) -> Ran {
    let scratch = Scratch::new();
    let result = scratch.join("outcome.json");
    let name = scratch.path().file_name().unwrap().to_str().unwrap().to_owned();
    let id = format!("old-{name}");
    let output = without(missing)
        .args(["jail", "--id", &id, "--result"])
        .arg(&result)
        .args(options)
        .args(["--", "sh", "-c", script])
        .output()
        .unwrap();
    let left: Vec<_> = support::our_cgroups().into_iter().filter(|c| c.contains(&id)).collect();
    assert!(left.is_empty(), "{left:?}");
    let mut ran = Ran::of(&output);
    if let Ok(text) = std::fs::read_to_string(&result) {
        ran.outcome = serde_json::from_str(&text).unwrap();
    }
    ran
}

/// A container whose runtime is stockade where something is missing.
struct Container {
    bundle: Bundle,
    missing: String,
}

impl Container {
    fn new(missing: &str, script: &str) -> Container {
        let bundle = Bundle::new(|config| {
            config["process"]["args"] = json!(["sh", "-c", script]);
            config["linux"]["resources"]["memory"] = json!({ "limit": 32 << 20, "swap": 32 << 20 });
            config["linux"]["resources"]["pids"] = json!({ "limit": 20 });
        });
        Container { bundle, missing: missing.to_owned() }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = without(&self.missing);
        command.arg("--root").arg(self.bundle.scratch.join("root"));
        command.args(args.iter().map(|a| if *a == "ID" { self.bundle.id.as_str() } else { a }));
        command.current_dir(self.bundle.dir());
        command
    }

    fn call(&self, args: &[&str]) -> Ran {
        Ran::of(&self.command(args).output().unwrap())
    }

    #[track_caller]
    fn ok(&self, args: &[&str]) -> Ran {
        self.call(args).exits(0)
    }

    /// In the background; its streams are not ours.
    #[track_caller]
    fn start(&self) {
        let log = std::fs::File::create(self.bundle.scratch.join("output")).unwrap();
        let status = self
            .command(&["run", "--detach", "ID"])
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .status()
            .unwrap();
        let said = std::fs::read_to_string(self.bundle.scratch.join("output")).unwrap();
        assert!(status.success(), "{said}");
    }

    #[track_caller]
    fn left_nothing(&self) {
        let states: Vec<_> =
            std::fs::read_dir(self.bundle.scratch.join("root")).unwrap().flatten().collect();
        assert!(states.is_empty(), "{states:?}");
        for dir in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
            assert!(!dir.path().join(&self.bundle.id).exists(), "{dir:?}");
            assert_ne!(dir.file_name().to_str(), Some(self.bundle.id.as_str()));
        }
    }
}

/// Its verbs, one after the other, with limits that bite.
fn container_works(missing: &str) {
    let c = Container::new(missing, "sleep 1000");
    c.start();
    let ran =
        c.ok(&["exec", "ID", "sh", "-c", "id -u; echo x > /proc/sys/kernel/hostname || echo ro"]);
    assert_eq!(ran.stdout, "0\nro\n", "{missing}: {ran:#?}");
    c.ok(&["pause", "ID"]);
    c.ok(&["resume", "ID"]);
    c.ok(&["update", "--pids-limit", "10", "ID"]);
    let bomb = "i=0; while [ $i -lt 30 ]; do sleep 100 >&- 2>&- & i=$((i+1)); done; echo all";
    let ran = c.call(&["exec", "ID", "sh", "-c", bomb]);
    assert!(!ran.stdout.contains("all"), "{missing}: {ran:#?}");
    let ran =
        c.call(&["exec", "ID", "sh", "-c", "x=$(head -c 60m /dev/zero | tr '\\0' x); echo fits"]);
    assert!(!ran.stdout.contains("fits"), "{missing}: {ran:#?}");
    assert!(c.ok(&["ps", "ID"]).stdout.contains("sleep"));
    assert!(c.ok(&["events", "--stats", "ID"]).stdout.contains("\"limit\":10"));
    c.ok(&["kill", "ID", "KILL"]);
    c.ok(&["delete", "--force", "ID"]);
    c.left_nothing();
}

/// A jail's limits and walls.
fn jail_works(missing: &str) {
    let view =
        "echo in; ls -d /root /home 2>/dev/null; echo x 2>/dev/null > /usr/x || echo read-only
        ls /proc/self/fd | wc -l; echo x > /tmp/x && cat /tmp/x";
    let ran = sh(missing, &[], view).exits(0);
    assert_eq!(ran.stdout, "in\nread-only\n4\nx\n", "{missing}: {ran:#?}");
    assert_eq!(ran.outcome["isolation"]["degraded"], json!([]), "{missing}: {ran:#?}");
    let ran = sh(missing, &["--timeout", "300ms"], "sleep 1000").exits(124);
    assert_eq!(ran.outcome["limits_hit"], json!(["wall"]), "{missing}: {ran:#?}");
    let hog = "tail /dev/zero";
    let ran = sh(missing, &["--memory", "32m"], hog).exits(137);
    assert_eq!(ran.outcome["limits_hit"], json!(["memory"]), "{missing}: {ran:#?}");
    let bomb = "i=0; while [ $i -lt 30 ]; do sleep 100 >&- 2>&- & i=$((i+1)); done; echo all";
    let ran = sh(missing, &["--pids-limit", "10"], bomb);
    assert!(!ran.stdout.contains("all"), "{missing}: {ran:#?}");
    assert_eq!(ran.outcome["limits_hit"], json!(["pids"]), "{missing}: {ran:#?}");
}

#[test]
fn from_5_12_on_jails_and_containers_work_with_their_limits() {
    need_root!();
    for version in ["5.12", "5.15", "6.1", "6.12"] {
        jail_works(version);
        container_works(version);
    }
}

#[test]
fn on_5_10_nothing_runs_and_the_missing_call_is_named() {
    need_root!();
    let ran = sh("5.10", &[], "echo ran").exits(125).complains("mount_setattr (Linux 5.12)");
    assert_eq!(ran.stdout, "");
    assert_eq!(ran.outcome["status"], "setup_failed", "{ran:#?}");
    let c = Container::new("5.10", "echo ran");
    for verb in ["run", "create"] {
        let ran = c.call(&[verb, "ID"]).exits(1).complains("mount_setattr (Linux 5.12)");
        assert_eq!(ran.stdout, "");
        c.left_nothing();
    }
    let doctor = Ran::of(&without("5.10").arg("doctor").output().unwrap()).exits(2);
    assert!(doctor.stdout.contains("mount_setattr"), "{doctor:#?}");
}

/// Calls that no run can do without; the kernel that has one may have a filter in front of it.
#[test]
fn a_call_that_is_needed_is_named_where_it_is_missing() {
    need_root!();
    for (name, call) in [
        ("clone3", libc::SYS_clone3),
        ("openat2", libc::SYS_openat2),
        ("close_range", libc::SYS_close_range),
        ("mount_setattr", libc::SYS_mount_setattr),
        ("open_tree", libc::SYS_open_tree),
        ("move_mount", libc::SYS_move_mount),
        ("fsopen", libc::SYS_fsopen),
        ("fsconfig", libc::SYS_fsconfig),
        ("fsmount", libc::SYS_fsmount),
        ("seccomp", libc::SYS_seccomp),
        ("unshare", libc::SYS_unshare),
    ] {
        let missing = call.to_string();
        let ran = sh(&missing, &[], "echo ran").exits(125).complains(&format!("{name} (Linux "));
        assert_eq!(ran.stdout, "", "{name}");
        if name == "seccomp" {
            // The container of these tests has no filter.
            continue;
        }
        let c = Container::new(&missing, "echo ran");
        let ran = c.call(&["run", "ID"]).exits(1).complains(&format!("{name} (Linux "));
        assert_eq!(ran.stdout, "", "{name}");
        c.left_nothing();
    }
    // The program of a container is executed by its descriptor, and beyond its reach; a jail's is one
    // that it cannot change.
    for (name, call) in [("execveat", libc::SYS_execveat), ("memfd_create", libc::SYS_memfd_create)]
    {
        let missing = call.to_string();
        let c = Container::new(&missing, "echo ran");
        c.call(&["run", "ID"]).exits(1).complains(&format!("{name} (Linux "));
        c.left_nothing();
        jail_works(&missing);
    }
}

/// Calls that a run does without where they are missing.
#[test]
fn a_call_that_is_not_needed_may_be_missing() {
    need_root!();
    for call in [
        libc::SYS_faccessat2,
        libc::SYS_pidfd_getfd,
        libc::SYS_landlock_create_ruleset,
        libc::SYS_epoll_pwait2,
        libc::SYS_process_mrelease,
        libc::SYS_statx,
        libc::SYS_copy_file_range,
        libc::SYS_futex_waitv,
        libc::SYS_keyctl,
        libc::SYS_bpf,
    ] {
        let missing = call.to_string();
        // Under v2 device rules are programs, and without them a container is refused.
        let refused = call == libc::SYS_bpf && support::pure_v2();
        jail_works(&missing);
        if refused {
            let c = Container::new(&missing, "echo ran");
            let ran = c.call(&["run", "ID"]).exits(1).complains("device");
            assert_eq!(ran.stdout, "");
            c.left_nothing();
        } else {
            container_works(&missing);
        }
    }
}

/// A jail's own processes are children, which end by their number as well.
#[test]
fn h50_a_time_limit_holds_where_a_filter_hides_pidfd_send_signal() {
    need_root!();
    jail_works(&libc::SYS_pidfd_send_signal.to_string());
    let stop = ["--timeout", "300ms", "--stop-signal", "TERM", "--stop-timeout", "300ms"];
    let ran = sh(&libc::SYS_pidfd_send_signal.to_string(), &stop, "trap '' TERM; sleep 1000");
    assert_eq!(ran.outcome["limits_hit"], json!(["wall"]), "{ran:#?}");
}

#[test]
fn landlock_that_is_missing_is_told_and_refused_where_it_is_required() {
    need_root!();
    for missing in ["5.12".to_owned(), libc::SYS_landlock_create_ruleset.to_string()] {
        let ran = sh(&missing, &[], "true").exits(0);
        assert_eq!(ran.outcome["isolation"]["landlock"], serde_json::Value::Null, "{ran:#?}");
        let ran = sh(&missing, &["--security-opt", "landlock=required"], "echo ran").exits(125);
        assert!(ran.stdout.is_empty() && ran.stderr.contains("Landlock"), "{ran:#?}");
    }
}

/// The kernel says that it has Landlock, so the layer is not left out for a filter's sake.
#[test]
fn landlock_that_is_only_half_there_is_refused() {
    need_root!();
    let missing = libc::SYS_landlock_restrict_self.to_string();
    let ran = sh(&missing, &[], "echo ran").exits(125).complains("Landlock");
    assert_eq!(ran.stdout, "");
    ran.complains("landlock=off");
    sh(&missing, &["--security-opt", "landlock=off"], "true").exits(0);
}

/// Linux 5.19 brought a wait that only a fatal signal ends; the listener does without.
#[test]
fn denied_calls_are_named_and_restricted_jobs_run_before_5_19() {
    need_root!();
    let ran = sh("5.15", &[], "unshare -U true; echo went on").exits(0);
    assert_eq!(ran.outcome["denied_syscalls"][0]["name"], "unshare", "{ran:#?}");
    let code = "import os
print('ran')
try: os.execv('/bin/true', ['true'])
except OSError: print('once')
try: open('/tmp/x', 'w')
except OSError: print('no files')";
    let output = without("5.15")
        .args(["jail", "--profile", "restricted", "--", "/usr/bin/python3", "-c", code])
        .output()
        .unwrap();
    let ran = Ran::of(&output).exits(0);
    assert_eq!(ran.stdout, "ran\nonce\nno files\n", "{ran:#?}");
}
