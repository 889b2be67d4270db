//! Nothing is left: no process, mount, cgroup, file or descriptor. A crate of its own, and one
//! test at a time in it, because it compares the state of the whole host.

mod support;
use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;
use stockade::Jail;
use support::live::eventually;
use support::{bin, our_cgroups};

/// One at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// What a run could leave on the host.
#[derive(Debug, PartialEq)]
struct Host {
    mounts: Vec<String>,
    cgroups: BTreeSet<String>,
    temporary: BTreeSet<String>,
    processes: BTreeSet<String>,
}

impl Host {
    fn now() -> Host {
        let list = |dir: &str| {
            std::fs::read_dir(dir)
                .into_iter()
                .flatten()
                .flatten()
                .map(|e| e.path().display().to_string())
                .filter(|path| path.contains("stockade"))
                .collect::<BTreeSet<_>>()
        };
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mut temporary = list("/tmp");
        for dir in ["/dev/shm", "/run", "/var/tmp", "/dev/mqueue"] {
            temporary.append(&mut list(dir));
        }
        Host {
            mounts: mounts.lines().map(str::to_owned).collect(),
            cgroups: our_cgroups().into_iter().collect(),
            temporary,
            processes: processes(),
        }
    }

    /// Asserts that the host is as it was. Others may use stockade here meanwhile, and what is
    /// theirs comes and goes: what counts is what stays.
    #[track_caller]
    fn assert_unchanged(&self) {
        let mut left = Host::now().beyond(self);
        for _ in 0..600 {
            if left.is_empty() {
                let mounts = Host::now().mounts;
                assert!(mounts == self.mounts, "{mounts:#?} was {:#?}", self.mounts);
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
            let still = Host::now().beyond(self);
            left.retain(|thing| still.contains(thing));
        }
        panic!("left behind: {left:#?}");
    }

    /// What is here and was not there before.
    fn beyond(&self, before: &Host) -> BTreeSet<String> {
        let new = |now: &BTreeSet<String>, then: &BTreeSet<String>| {
            now.difference(then).cloned().collect::<Vec<_>>()
        };
        [
            new(&self.cgroups, &before.cgroups),
            new(&self.temporary, &before.temporary),
            new(&self.processes, &before.processes),
        ]
        .concat()
        .into_iter()
        .collect()
    }
}

/// Processes of a jail: our own descendants, and everything in a user namespace of ours.
fn processes() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let own = std::fs::read_link("/proc/self/ns/user").unwrap();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.bytes().all(|b| b.is_ascii_digit()) {
            continue;
        }
        let comm = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        let foreign = std::fs::read_link(entry.path().join("ns/user")).is_ok_and(|ns| ns != own);
        if foreign || comm.starts_with("stockade") {
            found.insert(format!("{name} {}", comm.trim()));
        }
    }
    found
}

fn run_once(script: &str) -> i32 {
    let status = Command::new(bin())
        .args(["jail", "--timeout", "60s", "--", "sh", "-c", script])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    status.code().unwrap_or(-1)
}

#[test]
fn a_thousand_runs_in_a_row_leave_nothing() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    let before = Host::now();
    let scripts = [
        ("exit 0", 0),
        ("exit 3", 3),
        ("echo x >/tmp/stockade-x; echo x >/dev/shm/stockade-x; sleep 100 & setsid sleep 100 &", 0),
        ("kill -KILL $$", 137),
        ("mkdir -p /tmp/a/b/c; (sleep 100 &) ; exec true", 0),
    ];
    for round in 0..support::times(200) {
        for (script, code) in scripts {
            assert_eq!(run_once(script), code, "{script} in round {round}");
        }
    }
    before.assert_unchanged();
}

#[test]
fn fifty_at_once_leave_nothing_and_all_succeed() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    let before = Host::now();
    for _ in 0..4 {
        let codes: Vec<i32> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..50i32)
                .map(|n| scope.spawn(move || run_once(&format!("sleep 0.2; exit {n}"))))
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert_eq!(codes, (0..50).collect::<Vec<i32>>());
    }
    before.assert_unchanged();
}

#[test]
fn runs_that_fail_in_every_way_leave_nothing() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    let before = Host::now();
    for _ in 0..20 {
        for (options, code) in [
            (&["-w", "/nope", "--", "true"][..], 125),
            (&["--rootfs", "/nope", "--", "true"], 125),
            (&["-v", "/etc/hostname:/usr/bin", "--", "true"], 125),
            (&["--", "/nope"], 127),
            (&["--", "/etc"], 126),
            (&["-m", "16m", "--", "sh", "-c", "exec head -c 50m /dev/zero >/tmp/x"], 137),
            (&["--timeout", "50ms", "--", "sleep", "100"], 124),
            (&["--output-limit", "1", "--", "yes"], 137),
        ] {
            let status = Command::new(bin())
                .arg("jail")
                .args(options)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .unwrap();
            assert_eq!(status.code(), Some(code), "{options:?}");
        }
    }
    before.assert_unchanged();
}

#[test]
fn h61_supervisors_killed_at_any_moment_leave_nothing_once_another_has_run() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    let before = Host::now();
    let kills = u64::from(support::times(150));
    for n in 0..kills {
        let mut child = Command::new(bin())
            .args(["jail", "--cpuset-cpus", "0", "--", "sh", "-c", "sleep 100 & sleep 100"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // From before the first system call until well into the run.
        std::thread::sleep(Duration::from_micros(n * 15_000 / kills));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let mut left = processes();
    left.retain(|process| !before.processes.contains(process));
    eventually("the jails' death", || {
        let still = processes();
        left.retain(|process| still.contains(process));
        left.is_empty()
    });
    assert_eq!(run_once("exit 0"), 0);
    before.assert_unchanged();
}

// --- within one process ----------------------------------------------------------------------

fn descriptors() -> BTreeSet<String> {
    std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .flatten()
        .filter_map(|e| {
            let target = std::fs::read_link(e.path()).ok()?;
            Some(format!("{} {}", e.file_name().to_string_lossy(), target.display()))
        })
        // The directory that is being listed.
        .filter(|line| !line.ends_with("/fd"))
        .collect()
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

#[test]
fn two_hundred_runs_in_one_process_leave_no_descriptor_thread_or_zombie() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    let before = Host::now();
    assert!(Jail::new("true").capture_output().run().unwrap().success());
    let (fds, tasks) = (descriptors(), threads());
    for n in 0..support::times(100) {
        let outcome = Jail::new("echo").arg(n.to_string()).capture_output().run().unwrap();
        assert_eq!(outcome.stdout.data.unwrap().data, format!("{n}\n"));
        let failed = Jail::new("/no/such/command").capture_output().run().unwrap_err();
        assert_eq!(failed.kind(), stockade::Kind::CommandNotFound);
    }
    for _ in 0..support::times(50) {
        let running = Jail::new("sleep").arg("100").capture_output().spawn().unwrap();
        running.kill();
        assert_eq!(running.wait().unwrap().signal, Some(9));
        // Dropped, it is killed.
        drop(Jail::new("sleep").arg("100").capture_output().spawn().unwrap());
    }
    assert_eq!(descriptors(), fds);
    eventually("the threads' end", || threads() <= tasks);
    // No child is left, dead or alive.
    let children = std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    assert_eq!(children.trim(), "");
    before.assert_unchanged();
}

#[test]
fn runs_from_many_threads_leave_no_descriptor() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    let before = Host::now();
    assert!(Jail::new("true").capture_output().run().unwrap().success());
    let fds = descriptors();
    std::thread::scope(|scope| {
        for n in 0..16 {
            scope.spawn(move || {
                for _ in 0..10 {
                    let outcome = Jail::new("sh")
                        .args(["-c", &format!("exit {n}")])
                        .capture_output()
                        .run()
                        .unwrap();
                    assert_eq!(outcome.exit_code, Some(n));
                }
            });
        }
    });
    assert_eq!(descriptors(), fds);
    before.assert_unchanged();
}
