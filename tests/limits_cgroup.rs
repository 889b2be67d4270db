//! The cgroup of a run: what is written there while it lives, and who removes it when.

mod support;
use nix::sys::signal::Signal;
use support::live::{Live, cgroups_of, eventually};
use support::{jail, sh};

const SLEEP: &str = "echo ready; sleep 100";

fn is_v2() -> bool {
    std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

fn v2_or_v1<'a>(v2: &'a str, v1: &'a str) -> &'a str {
    if is_v2() { v2 } else { v1 }
}

#[test]
fn h30_limits_are_in_the_cgroup_while_the_job_runs() {
    let options = [
        "-m",
        "96m",
        "--memory-swap",
        "96m",
        "--cpus",
        "0.5",
        "--pids-limit",
        "17",
        "--cpu-shares",
        "512",
        "--cpuset-cpus",
        "0",
    ];
    let live = Live::sh(&options, SLEEP);
    let bytes = (96 << 20).to_string();
    assert_eq!(live.control("memory.limit_in_bytes", "memory.max"), bytes);
    let swap = live.control("memory.memsw.limit_in_bytes", "memory.swap.max");
    assert_eq!(swap, v2_or_v1("0", &bytes));
    assert_eq!(live.control("pids.max", "pids.max"), "17");
    let quota = live.control("cpu.cfs_quota_us", "cpu.max");
    assert_eq!(quota, v2_or_v1("50000 100000", "50000"));
    if !is_v2() {
        assert_eq!(live.control("cpu.cfs_period_us", ""), "100000");
    }
    // 512 of 1024 shares, by the formula in src/host/cgroup/v2.rs.
    assert_eq!(live.control("cpu.shares", "cpu.weight"), v2_or_v1("59", "512"));
    assert_eq!(live.control("cpuset.cpus", "cpuset.cpus"), "0");
}

#[test]
fn h30_the_defaults_are_in_the_cgroup() {
    let live = Live::sh(&[], SLEEP);
    let bytes = (512u64 << 20).to_string();
    assert_eq!(live.control("memory.limit_in_bytes", "memory.max"), bytes);
    let swap = live.control("memory.memsw.limit_in_bytes", "memory.swap.max");
    assert_eq!(swap, v2_or_v1("0", &bytes));
    assert_eq!(live.control("pids.max", "pids.max"), "64");
    let quota = live.control("cpu.cfs_quota_us", "cpu.max");
    assert_eq!(quota, v2_or_v1("100000 100000", "100000"));
}

#[test]
fn h30_every_process_of_the_job_is_in_every_cgroup_of_the_run() {
    let live = Live::sh(&[], "sleep 100 & sleep 100 & echo ready; wait");
    let groups = live.cgroups();
    assert!(!groups.is_empty());
    for dir in groups {
        let list = std::fs::read_to_string(dir.join("cgroup.procs")).unwrap();
        // The init, the shell and two sleeps.
        assert_eq!(list.lines().count(), 4, "{} has {list:?}", dir.display());
    }
}

#[test]
fn no_limit_is_no_limit() {
    let live = Live::sh(&["-m", "0", "--pids-limit", "-1"], SLEEP);
    assert_eq!(live.control("pids.max", "pids.max"), "max");
    let memory = live.control("memory.limit_in_bytes", "memory.max");
    assert!(memory == "max" || memory.parse::<u64>().unwrap() > 1 << 60, "{memory}");
}

#[test]
fn no_limit_on_processes_is_none_in_effect() {
    let script = "i=0; while [ $i -lt 100 ]; do sleep 100 & i=$((i+1)); done; echo made $i";
    let run = sh(&["--pids-limit", "-1"], script).exits(0).says("made 100");
    assert_eq!(run.outcome["limits_hit"], serde_json::json!([]));
    // The control: with the default there are 64.
    let run = sh(&[], script);
    assert!(run.hit("pids"), "{run:#?}");
}

#[test]
fn swap_is_given_as_in_docker() {
    let both = |swap: &str| {
        let live = Live::sh(&["-m", "64m", "--memory-swap", swap], SLEEP);
        live.control("memory.memsw.limit_in_bytes", "memory.swap.max")
    };
    let mib = |n: u64| (n << 20).to_string();
    assert_eq!(both("128m"), v2_or_v1(&mib(64), &mib(128)));
    assert_eq!(both("64m"), v2_or_v1("0", &mib(64)));
    let unlimited = both("-1");
    assert!(unlimited == "max" || unlimited.parse::<u64>().unwrap() > 1 << 60, "{unlimited}");
    sh(&["-m", "64m", "--memory-swap", "32m"], "true")
        .exits(125)
        .complains("memory and swap together are less than the memory limit\nhint: ");
}

#[test]
fn ulimits_hold_inside() {
    let options =
        ["--ulimit", "nofile=64:128", "--ulimit", "memlock=65536", "--ulimit", "fsize=1000000"];
    let code = "
import resource as r
for name in ('NOFILE', 'MEMLOCK', 'FSIZE'):
    print(name, *r.getrlimit(getattr(r, 'RLIMIT_' + name)))
n = 0
try:
    keep = []
    while True:
        keep.append(open('/dev/null'))
except OSError as e:
    print('errno', e.errno, 3 + len(keep))
";
    let run = support::python(&options, code).exits(0);
    assert_eq!(
        run.stdout,
        "NOFILE 64 128\nMEMLOCK 65536 65536\nFSIZE 1000000 1000000\nerrno 24 64\n"
    );
}

// --- names and remains -----------------------------------------------------------------------

#[test]
fn h62_an_id_in_use_is_refused_and_its_owner_undisturbed() {
    let live = Live::sh(&[], SLEEP);
    let run = jail(["--id", &live.id, "--", "true"]).exits(125).has("status", "setup_failed");
    assert_eq!(
        run.stderr,
        format!(
            "stockade: the id \"{}\" is in use\nhint: give another --id, or none: stockade then \
             makes one up\n",
            live.id
        )
    );
    assert_eq!(live.control("pids.max", "pids.max"), "64");
    live.signal(Signal::SIGTERM);
    let id = live.id.clone();
    live.end().exits(143);
    // And afterwards it is free.
    jail(["--id", &id, "--", "true"]).exits(0).has("id", id.as_str());
}

#[test]
fn h62_of_many_that_want_one_id_at_once_one_has_it_at_any_time() {
    let id = support::live::fresh_id();
    let runs: Vec<_> = std::thread::scope(|scope| {
        let start = || jail(["--id", &id, "--", "sleep", "0.2"]);
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert!(runs.iter().any(|r| r.code == 0), "{runs:#?}");
    for run in runs {
        assert!(run.code == 0 || run.stderr.contains("is in use"), "{run:#?}");
    }
    assert_eq!(cgroups_of(&id), Vec::<std::path::PathBuf>::new());
}

#[test]
fn h61_what_a_killed_supervisor_left_is_removed_by_the_next_run() {
    let live = Live::sh(&[], "sleep 100 & setsid sleep 100 & echo ready; wait");
    let dirs = live.cgroups();
    assert!(!dirs.is_empty());
    live.signal(Signal::SIGKILL);
    let id = live.id.clone();
    live.end().exits(137);
    // It died with its supervisor; whoever runs next clears up.
    let empty = || {
        dirs.iter().all(|d| {
            std::fs::read_to_string(d.join("cgroup.procs")).map_or(true, |list| list.is_empty())
        })
    };
    eventually("the job's death", empty);
    sh(&[], "true").exits(0);
    eventually("the removal", || cgroups_of(&id).is_empty());
}

#[test]
fn h61_what_is_left_is_removed_by_a_run_with_other_limits_too() {
    let live = Live::sh(&["--cpuset-cpus", "0", "--cpu-shares", "100"], SLEEP);
    let id = live.id.clone();
    live.signal(Signal::SIGKILL);
    live.end().exits(137);
    sh(&[], "true").exits(0);
    eventually("the removal", || cgroups_of(&id).is_empty());
}

#[test]
fn h61_an_id_that_a_killed_supervisor_used_can_be_used_at_once() {
    for _ in 0..5 {
        let live = Live::sh(&[], SLEEP);
        live.signal(Signal::SIGKILL);
        let id = live.id.clone();
        live.end().exits(137);
        jail(["--id", &id, "--", "true"]).exits(0);
        assert_eq!(cgroups_of(&id), Vec::<std::path::PathBuf>::new());
    }
}

#[test]
fn h61_a_living_ones_cgroup_is_never_removed() {
    // As long as it takes: the living one ends only when it is told to.
    let live = Live::sh(&["--pids-limit", "31"], "echo ready; exec sleep 600");
    let dirs = live.cgroups();
    for _ in 0..20 {
        sh(&[], "true").exits(0);
    }
    assert_eq!(live.cgroups(), dirs);
    assert_eq!(live.control("pids.max", "pids.max"), "31");
    live.signal(Signal::SIGTERM);
    live.end().exits(143);
}

// --- another parent --------------------------------------------------------------------------

/// Directories of that name at the top of each hierarchy, gone when dropped.
struct Parent(Vec<std::path::PathBuf>);

impl Parent {
    fn new(name: &str) -> Parent {
        let top = std::path::Path::new("/sys/fs/cgroup");
        let mut made = Vec::new();
        if is_v2() {
            made.push(top.join(name));
        } else {
            for controller in ["pids", "memory", "cpu", "cpuacct", "cpuset"] {
                made.push(top.join(controller).join(name));
            }
        }
        for dir in &made {
            // Controllers may share a hierarchy.
            let _ = std::fs::create_dir(dir);
        }
        Parent(made)
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        for dir in &self.0 {
            let _ = std::fs::remove_dir(dir);
        }
    }
}

#[test]
fn a_cgroup_can_be_made_below_a_parent_of_the_users() {
    need_root!();
    let name = format!("of-a-test-{}", std::process::id());
    let parent = Parent::new(&name);
    for given in [name.clone(), format!("/{name}")] {
        let live = Live::sh(&["--cgroup-parent", &given, "--pids-limit", "13"], SLEEP);
        let dirs = live.cgroups();
        assert!(!dirs.is_empty(), "no cgroup");
        for dir in &dirs {
            assert_eq!(dir.parent().unwrap().file_name().unwrap().to_str(), Some(&*name));
        }
        assert_eq!(live.control("pids.max", "pids.max"), "13");
        live.signal(Signal::SIGTERM);
        let id = live.id.clone();
        live.end().exits(143);
        assert_eq!(cgroups_of(&id), Vec::<std::path::PathBuf>::new());
    }
    // Ours is gone, the user's own is still there.
    assert!(parent.0.iter().all(|dir| dir.exists()));
}

#[test]
fn a_limit_that_the_kernel_refuses_is_named_and_leaves_nothing() {
    need_root!();
    if is_v2() {
        skip_on_this_kind_of_host!("v2 takes a limit above the parent's");
    }
    let name = format!("narrow-of-a-test-{}", std::process::id());
    let _parent = Parent::new(&name);
    let quota = format!("/sys/fs/cgroup/cpu/{name}/cpu.cfs_quota_us");
    std::fs::write(quota, "10000").unwrap();
    let id = support::live::fresh_id();
    let run = sh(&["--cgroup-parent", &name, "--id", &id, "--cpus", "1"], "echo ran").exits(125);
    assert_eq!(run.stdout, "");
    assert_eq!(cgroups_of(&id), Vec::<std::path::PathBuf>::new());
    run.complains("cpu.cfs_quota_us").complains("hint: ");
}

#[test]
fn a_parent_that_is_not_there_is_named() {
    need_root!();
    if !std::path::Path::new("/sys/fs/cgroup").exists() {
        skip!("no cgroup file system");
    }
    let run = sh(&["--cgroup-parent", "no-such-parent"], "true").exits(125);
    let run = run.complains("no-such-parent").complains("hint: ");
    assert!(!run.stderr.contains("no cgroup file system is mounted"), "{run:#?}");
}

#[test]
fn a_parent_outside_the_hierarchy_is_refused() {
    for parent in ["../../../tmp", "a/../../.."] {
        let run = sh(&["--cgroup-parent", parent], "true").exits(125);
        run.complains("\"..\"").complains("hint: ");
    }
}
