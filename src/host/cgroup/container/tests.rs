//! Against the real kernel, with real processes, on whatever version of cgroups the host has.
//! All need root.

use super::*;
use crate::sys::{bpf, io, process};
use oci_spec::runtime::LinuxResources;
use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// As the integration tests' skips: loud, counted, forbidden where STOCKADE_TESTS is strict.
fn skipped(why: &str) {
    assert!(
        std::env::var("STOCKADE_TESTS").as_deref() != Ok("strict"),
        "skipping is forbidden here: {why}"
    );
    skipped_on_this_kind_of_host(why);
}

/// What no host of this kind can run is loud and counted, and no failure anywhere.
fn skipped_on_this_kind_of_host(why: &str) {
    use std::io::Write;
    let test = std::thread::current().name().unwrap_or("?").to_owned();
    eprintln!("SKIPPED {test}: {why}");
    if let Some(list) = std::env::var_os("STOCKADE_SKIPS") {
        let mut file = std::fs::File::options().append(true).create(true).open(list).unwrap();
        writeln!(file, "{test}: {why}").unwrap();
    }
}

macro_rules! need_root {
    () => {
        if crate::sys::cred::euid() != 0 {
            return skipped("needs root");
        }
    };
}

static SERIAL: AtomicU32 = AtomicU32::new(0);

/// A path in the hierarchies and a directory for files, both gone in the end.
struct Place {
    name: String,
    files: PathBuf,
}

impl Place {
    fn new() -> Place {
        let n = SERIAL.fetch_add(1, Ordering::Relaxed);
        let name = format!("cgroup-test-{}-{n}", std::process::id());
        let files = std::env::temp_dir().join(&name);
        std::fs::create_dir_all(&files).unwrap();
        Place { name, files }
    }

    fn path(&self) -> CgroupPath {
        CgroupPath::new(Some(Path::new(&format!("/{}/c", self.name))), "c").unwrap()
    }

    fn file(&self, name: &str) -> String {
        self.files.join(name).display().to_string()
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.files.join(name)).unwrap_or_default()
    }

    fn create(&self, json: &str) -> ContainerCgroup {
        self.try_create(json).unwrap()
    }

    fn try_create(&self, json: &str) -> Result<ContainerCgroup> {
        let resources: LinuxResources = serde_json::from_str(json).unwrap();
        let path = self.path();
        ContainerCgroup::create(request(&path, &resources))
    }

    /// Directories of ours that are there, in every hierarchy.
    fn there(&self) -> Vec<PathBuf> {
        places::parts(&self.path())
            .unwrap()
            .iter()
            .map(|p| Path::new(&p.top.path).join(&self.name))
            .filter(|p| p.exists())
            .collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for dir in self.there() {
            let dir = Dir::open(&dir.display().to_string()).unwrap();
            // What was killed is there until it has ended.
            for _ in 0..500 {
                for pid in walk::processes(&dir).unwrap_or_default() {
                    let _ = process::kill(pid, libc::SIGKILL);
                }
                let _ = walk::below(&dir, |parent, name, _| parent.remove_child_bytes(name));
                match std::fs::remove_dir(&dir.path) {
                    Err(e) if e.kind() != std::io::ErrorKind::NotFound => {}
                    _ => break,
                }
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
        }
        let _ = std::fs::remove_dir_all(&self.files);
    }
}

fn request<'a>(path: &'a CgroupPath, resources: &'a LinuxResources) -> Request<'a> {
    Request { path, manager: Manager::Cgroupfs, unit: None, rootless: false, resources, nodes: &[] }
}

/// A process that goes into a container's cgroups as the engine's does and becomes a shell.
struct Kid {
    pid: i32,
    ended: Option<i32>,
}

struct Start {
    tasks: Vec<OwnedFd>,
    program: CString,
    argv: process::CStringArray,
    env: process::CStringArray,
}

fn child(start: &Start) -> ! {
    for fd in &start.tasks {
        if io::write_whole(fd.as_fd(), b"0").is_err() {
            process::exit_group(99);
        }
    }
    process::execve(&start.program, &start.argv, &start.env);
    process::exit_group(98)
}

fn busybox() -> CString {
    let found = ["/usr/bin/busybox", "/bin/busybox", "./busybox"]
        .into_iter()
        .find(|p| Path::new(p).exists())
        .expect("busybox is installed");
    CString::new(found).unwrap()
}

fn start(tasks: Vec<OwnedFd>, cgroup: Option<BorrowedFd<'_>>, script: &str) -> Kid {
    let c = |s: &str| CString::new(s).unwrap();
    let start = Start {
        tasks,
        program: busybox(),
        argv: process::CStringArray::new(vec![c("busybox"), c("sh"), c("-c"), c(script)]),
        env: process::CStringArray::new(vec![c("PATH=/bin:/usr/bin")]),
    };
    let (pid, _) = process::clone_into(0, cgroup, child, &start).unwrap();
    Kid { pid, ended: None }
}

/// Commands are busybox's own.
fn run(group: &ContainerCgroup, script: &str) -> Kid {
    let script = format!(
        "for c in cat dd echo head mknod mkdir sleep tail true; do alias $c=\"{0} $c\"; done\n{script}",
        busybox().to_str().unwrap()
    );
    start(group.tasks().unwrap(), group.clone_into(), &script)
}

impl Kid {
    /// The exit status, or 128 and the signal.
    fn wait(&mut self) -> i32 {
        if let Some(code) = self.ended {
            return code;
        }
        let status = process::wait4(self.pid, 0).unwrap().unwrap().status;
        let code = if libc::WIFSIGNALED(status) {
            128 + libc::WTERMSIG(status)
        } else {
            libc::WEXITSTATUS(status)
        };
        *self.ended.insert(code)
    }
}

impl Drop for Kid {
    fn drop(&mut self) {
        if self.ended.is_none() {
            let _ = process::kill(self.pid, libc::SIGKILL);
            self.wait();
        }
    }
}

fn until(what: &str, mut true_: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !true_() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn v2(group: &ContainerCgroup) -> bool {
    is_v2(&group.parts)
}

/// The value of a file: of the controller's directory on v1, of the only one on v2.
fn value(group: &ContainerCgroup, controller: &str, v1: &str, v2: &str) -> String {
    let (dir, file) = match is_v2(&group.parts) {
        true => (group.dir(""), v2),
        false => (group.dir(controller), v1),
    };
    dir.unwrap().read(file).unwrap().trim().to_owned()
}

fn bytes(group: &ContainerCgroup) -> String {
    value(group, "memory", "memory.limit_in_bytes", "memory.max")
}

/// H30: limits are read back equal, and what was made can be found again and goes away.
#[test]
fn h30_limits_are_made_saved_opened_and_removed() {
    need_root!();
    let place = Place::new();
    let mut group = place.create(
        r#"{"memory":{"limit":67108864,"swap":134217728,"reservation":33554432},
            "cpu":{"shares":512,"quota":50000,"period":200000,"burst":10000,"cpus":"0"},
            "pids":{"limit":17}}"#,
    );
    let saved = group.saved();
    let json = serde_json::to_string(&saved).unwrap();
    assert_eq!(serde_json::from_str::<Saved>(&json).unwrap(), saved);
    group = ContainerCgroup::open(&saved).unwrap();
    assert!(group.exists());
    assert_eq!(group.saved(), saved);
    let is = |controller, v1, v2, want: &str, want_v2: &str| {
        let want = if super::is_v2(&group.parts) { want_v2 } else { want };
        assert_eq!(value(&group, controller, v1, v2), want, "{controller}");
    };
    is("memory", "memory.limit_in_bytes", "memory.max", "67108864", "67108864");
    is("memory", "memory.memsw.limit_in_bytes", "memory.swap.max", "134217728", "67108864");
    is("memory", "memory.soft_limit_in_bytes", "memory.low", "33554432", "33554432");
    is("cpu", "cpu.shares", "cpu.weight", "512", "59");
    is("cpu", "cpu.cfs_quota_us", "cpu.max", "50000", "50000 200000");
    is("cpu", "cpu.cfs_burst_us", "cpu.max.burst", "10000", "10000");
    is("cpuset", "cpuset.cpus", "cpuset.cpus", "0", "0");
    is("pids", "pids.max", "pids.max", "17", "17");
    if !v2(&group) {
        assert_ne!(group.dir("cpuset").unwrap().read("cpuset.mems").unwrap().trim(), "");
    }
    for path in saved.paths.values() {
        assert!(Path::new(path).is_dir(), "{path}");
        assert!(path.ends_with(&format!("/{}/c", place.name)), "{path}");
    }
    group.delete().unwrap();
    assert!(!group.exists());
    assert!(saved.paths.values().all(|p| !Path::new(p).exists()));
    // Again is no error: somebody else may have been faster.
    group.delete().unwrap();
    ContainerCgroup::open(&saved).unwrap().delete().unwrap();
}

/// H29: the process is in its cgroups before exec, in every hierarchy.
#[test]
fn h29_a_process_joins_every_hierarchy_by_itself() {
    need_root!();
    let place = Place::new();
    let group = place.create("{}");
    let out = place.file("cgroup");
    assert_eq!(run(&group, &format!("cat /proc/self/cgroup > {out}")).wait(), 0);
    let text = place.read("cgroup");
    let saved = group.saved();
    for controller in saved.paths.keys() {
        let line = text.lines().find(|l| {
            let names = l.split(':').nth(1).unwrap_or_default();
            names.split(',').any(|n| n == controller)
        });
        let line = line.unwrap_or_else(|| panic!("no {controller:?} in {text}"));
        assert!(line.ends_with(&format!(":/{}/c", place.name)), "{line}");
    }
    // And one that is moved.
    let mut kid = start(Vec::new(), None, "read x < /dev/zero; sleep 60");
    group.join(kid.pid).unwrap();
    assert_eq!(group.processes().unwrap(), [kid.pid]);
    group.kill_all().unwrap();
    assert_eq!(kid.wait(), 137);
}

#[test]
fn without_a_path_it_is_below_or_beside_the_callers_own() {
    need_root!();
    let place = Place::new();
    let path = CgroupPath::new(None, &place.name).unwrap();
    let none = LinuxResources::default();
    let mut group = ContainerCgroup::create(request(&path, &none)).unwrap();
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    for (controller, full) in &group.saved().paths {
        let line =
            own.lines().find(|l| l.split(':').nth(1).unwrap().split(',').any(|c| c == controller));
        let own = line.unwrap().splitn(3, ':').nth(2).unwrap().trim_matches('/');
        let base = if v2(&group) { own.rsplit_once('/').map_or("", |(up, _)| up) } else { own };
        let end = format!("{base}/{}", place.name);
        assert!(full.ends_with(&end), "{controller}: {full} does not end in {end}");
    }
    group.delete().unwrap();
}

/// H50
#[test]
fn h50_the_limit_of_processes_bites() {
    need_root!();
    let place = Place::new();
    let group = place.create(r#"{"pids":{"limit":3}}"#);
    let mut kid = run(&group, "sleep 60 & sleep 60 & sleep 60 & sleep 60 & sleep 60 & true");
    assert_ne!(kid.wait(), 0);
    let events = value(&group, "pids", "pids.events", "pids.events");
    assert!(!events.contains("max 0"), "{events}");
    group.kill_all().unwrap();
}

/// H51
#[test]
fn h51_the_memory_limit_bites_and_is_told() {
    need_root!();
    let place = Place::new();
    let mut group = place.create(r#"{"memory":{"limit":16777216,"swap":16777216}}"#);
    let mut events = group.oom_events().unwrap();
    let mut kid = run(&group, "tail /dev/zero; echo $? > /dev/null; kill -9 $$");
    assert_eq!(events.next(Some(Duration::from_secs(60))).unwrap(), Some(OomEvent::Oom));
    kid.wait();
    until("a kill is counted", || group.oom_kills().is_some_and(|n| n > 0));
    group.kill_all().unwrap();
    group.delete().unwrap();
    until("the watch ends", || {
        matches!(events.next(Some(Duration::from_secs(1))), Ok(Some(OomEvent::End)))
    });
}

#[test]
fn freezing_stops_a_process_and_thawing_lets_it_go_on() {
    need_root!();
    let place = Place::new();
    let group = place.create("{}");
    assert!(!group.is_frozen().unwrap());
    let script = format!("i=0; while :; do i=$((i+1)); echo $i > {}; done", place.file("n"));
    let _kid = run(&group, &script);
    until("it runs", || !place.read("n").is_empty());
    for _ in 0..3 {
        group.freeze().unwrap();
        assert!(group.is_frozen().unwrap());
        let before = place.read("n");
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(place.read("n"), before);
        group.thaw().unwrap();
        assert!(!group.is_frozen().unwrap());
        until("it goes on", || {
            let now = place.read("n");
            !now.is_empty() && now != before
        });
    }
}

/// T43: a paused container can be killed and removed.
#[test]
fn t43_a_frozen_container_goes_away() {
    need_root!();
    let place = Place::new();
    let mut group = place.create("{}");
    let mut kid = run(&group, "sleep 60 & sleep 60 & sleep 60 & wait");
    until("all three run", || group.processes().unwrap().len() >= 4);
    // Processes in cgroups of the container's own making go, too.
    let sub = group.main_dir().unwrap().make_child("own").unwrap();
    let one = *group.processes().unwrap().last().unwrap();
    sub.write("cgroup.procs", &one.to_string()).unwrap();
    assert!(group.processes().unwrap().contains(&one));
    group.freeze().unwrap();
    assert!(group.delete().is_err(), "removed with processes inside");
    group.freeze().unwrap();
    let saved = group.saved();
    group = ContainerCgroup::open(&saved).unwrap();
    group.kill_all().unwrap();
    assert_eq!(kid.wait(), 137);
    assert_eq!(group.processes().unwrap(), [0i32; 0]);
    group.delete().unwrap();
    assert!(saved.paths.values().all(|p| !Path::new(p).exists()));
}

#[test]
fn a_signal_reaches_every_process() {
    need_root!();
    let place = Place::new();
    let group = place.create("{}");
    let script = |n: u32| {
        format!(
            "trap 'echo x > {}; exit 7' TERM; echo > {}; while :; do sleep 0.01; done",
            place.file(&format!("t{n}")),
            place.file(&format!("r{n}"))
        )
    };
    let mut kids: Vec<Kid> = (0..3).map(|n| run(&group, &script(n))).collect();
    until("all run", || (0..3).all(|n| place.files.join(format!("r{n}")).exists()));
    group.signal_all(libc::SIGTERM).unwrap();
    assert!(!group.is_frozen().unwrap());
    for kid in &mut kids {
        assert_eq!(kid.wait(), 7);
    }
}

/// T33, H26: default deny, in the rules' order; open and mknod.
#[test]
fn t33_device_rules_deny_what_is_not_allowed() {
    need_root!();
    let place = Place::new();
    let kmsg = place.file("kmsg");
    let node = nix::sys::stat::SFlag::S_IFCHR;
    let mode = nix::sys::stat::Mode::from_bits_truncate(0o600);
    nix::sys::stat::mknod(kmsg.as_str(), node, mode, nix::sys::stat::makedev(1, 11)).unwrap();
    let open = format!("exec 3< {kmsg}");
    // The control: without rules it opens.
    assert_eq!(start(Vec::new(), None, &open).wait(), 0);
    let mut group = place.create("{}");
    assert_ne!(run(&group, &open).wait(), 0);
    assert_eq!(run(&group, "exec 3<> /dev/null 4< /dev/zero 5< /dev/urandom").wait(), 0);
    let disk = place.file("disk");
    assert_ne!(run(&group, &format!("mknod {disk} b 8 0")).wait(), 0);
    assert!(!Path::new(&disk).exists());
    // An update that allows reading it: reading only.
    let rules = r#"{"devices":[{"allow":false,"access":"rwm"},
        {"allow":true,"type":"c","major":1,"minor":11,"access":"r"}]}"#;
    group.apply(&serde_json::from_str(rules).unwrap()).unwrap();
    assert_eq!(run(&group, &open).wait(), 0);
    assert_ne!(run(&group, &format!("exec 3> {kmsg}")).wait(), 0);
    // Another update leaves the rules alone.
    group.apply(&serde_json::from_str(r#"{"pids":{"limit":50}}"#).unwrap()).unwrap();
    assert_eq!(run(&group, &open).wait(), 0);
    group
        .apply(&serde_json::from_str(r#"{"devices":[{"allow":false,"access":"rwm"}]}"#).unwrap())
        .unwrap();
    assert_ne!(run(&group, &open).wait(), 0);
    // All, as a privileged container has it.
    group.delete().unwrap();
    let group = place.create(r#"{"devices":[{"allow":true,"access":"rwm"}]}"#);
    assert_eq!(run(&group, &format!("exec 3<> {kmsg}")).wait(), 0);
    assert_eq!(run(&group, &format!("mknod {disk} b 8 0")).wait(), 0);
}

/// T33 on v2, which a hybrid host can show as well.
#[test]
fn t33_the_filter_of_v2_denies_and_is_replaced_alone() {
    need_root!();
    let place = Place::new();
    let group = place.create(r#"{"devices":[{"allow":true,"access":"rwm"}]}"#);
    let Some(dir) = group.unified() else {
        return skipped_on_this_kind_of_host("needs the cgroup v2 hierarchy");
    };
    let rules = |json: &str| {
        devices::Rules::of_container(&serde_json::from_str(json).unwrap(), &[]).unwrap()
    };
    match filter::set(dir, &rules("{}")) {
        Err(e) if e.kind() == Kind::Unsupported => {
            return skipped(&format!("needs device programs: {e}"));
        }
        done => done.unwrap(),
    }
    let count = || {
        let mut ids = [0; 64];
        let n = bpf::query_device_programs(dir.as_fd(), &mut ids).unwrap();
        ids[..n].to_vec()
    };
    let kmsg = place.file("kmsg");
    let node = nix::sys::stat::SFlag::S_IFCHR;
    let mode = nix::sys::stat::Mode::from_bits_truncate(0o600);
    nix::sys::stat::mknod(kmsg.as_str(), node, mode, nix::sys::stat::makedev(1, 11)).unwrap();
    let open = format!("exec 3< {kmsg}");
    assert_eq!(start(Vec::new(), None, &open).wait(), 0);
    assert_ne!(run(&group, &open).wait(), 0);
    assert_eq!(run(&group, "exec 3<> /dev/null").wait(), 0);
    assert_ne!(run(&group, &format!("mknod {} b 8 0", place.file("disk"))).wait(), 0);
    let first = count();
    assert_eq!(first.len(), 1);
    // Somebody else's program stays, and ours is another one in the same place.
    let theirs = filter::assemble(&rules(r#"{"devices":[{"allow":true,"access":"rwm"}]}"#));
    let theirs = bpf::load_device_program(&theirs, b"somebody_else\0\0\0").unwrap();
    bpf::attach_device_program(dir.as_fd(), theirs.as_fd(), None).unwrap();
    let allow = r#"{"devices":[{"allow":true,"type":"c","major":1,"minor":11,"access":"r"}]}"#;
    filter::set(dir, &rules(allow)).unwrap();
    let second = count();
    assert_eq!(second.len(), 2);
    assert!(!second.contains(&first[0]), "{first:?} {second:?}");
    assert_eq!(run(&group, &open).wait(), 0);
    assert_ne!(run(&group, &format!("exec 3> {kmsg}")).wait(), 0);
    filter::set(dir, &rules(r#"{"devices":[{"allow":true,"access":"rwm"}]}"#)).unwrap();
    assert_eq!(count().len(), 2);
    assert_eq!(run(&group, &format!("exec 3<> {kmsg}")).wait(), 0);
}

#[test]
fn a_cgroup_with_processes_is_refused() {
    need_root!();
    let place = Place::new();
    let mut group = place.create("{}");
    // Prepared by somebody and empty: fine.
    let again = place.create("{}");
    assert_eq!(again.saved(), group.saved());
    let kid = run(&group, "sleep 60");
    until("it is in", || !group.processes().unwrap().is_empty());
    let e = place.try_create("{}").unwrap_err();
    assert!(e.to_string().contains("container's cgroup is not empty: 1 process(es) found"), "{e}");
    // And so before anything of it is written down.
    let (path, none) = (place.path(), LinuxResources::default());
    assert!(Found::look(request(&path, &none)).is_err());
    drop(kid);
    group.kill_all().unwrap();
    group.freeze().unwrap();
    let e = place.try_create("{}").unwrap_err();
    assert!(e.to_string().contains("frozen"), "{e}");
    assert!(group.exists() && group.is_frozen().unwrap(), "what was there stays");
    group.delete().unwrap();
}

#[test]
fn a_limit_that_fails_leaves_nothing() {
    need_root!();
    let place = Place::new();
    for bad in [
        r#"{"cpu":{"cpus":"4000"}}"#,
        r#"{"memory":{"limit":1048576},"cpu":{"quota":1}}"#,
        r#"{"hugepageLimits":[{"pageSize":"3MB","limit":1}]}"#,
        r#"{"rdma":{"mlx5_9":{"hcaHandles":1}}}"#,
        r#"{"blockIO":{"throttleReadBpsDevice":[{"major":4000,"minor":1,"rate":1}]}}"#,
    ] {
        let e = place.try_create(bad).unwrap_err();
        assert!(!e.to_string().is_empty());
        assert_eq!(place.there(), [""; 0].map(PathBuf::from), "{bad}: {e}");
    }
    let group = place.create("{}");
    let (wrong, right) = (r#"{"unified":{"memory.high":"1"}}"#, r#"{"cpu":{"realtimePeriod":1}}"#);
    let lacking = if v2(&group) { right } else { wrong };
    drop(group);
    assert_eq!(place.try_create(lacking).unwrap_err().kind(), Kind::Unsupported);
}

#[test]
fn an_update_changes_what_it_names() {
    need_root!();
    let place = Place::new();
    let mut group = place.create(
        r#"{"memory":{"limit":33554432,"swap":33554432},"cpu":{"quota":20000,"period":100000}}"#,
    );
    let mut apply = |json: &str| {
        group.apply(&serde_json::from_str(json).unwrap()).map(|()| {
            let sum = value(&group, "memory", "memory.memsw.limit_in_bytes", "memory.swap.max");
            let cpu = value(&group, "cpu", "cpu.cfs_quota_us", "cpu.max");
            (bytes(&group), sum, cpu)
        })
    };
    let v2 = place.path();
    let v2 = is_v2(&places::parts(&v2).unwrap());
    // Up and down again, both at once: the sum is never below the limit.
    let up = apply(r#"{"memory":{"limit":67108864,"swap":100663296}}"#).unwrap();
    assert_eq!(up.0, "67108864");
    assert_eq!(up.1, if v2 { "33554432" } else { "100663296" });
    let down = apply(r#"{"memory":{"limit":33554432,"swap":50331648}}"#).unwrap();
    assert_eq!(
        (down.0.as_str(), down.1.as_str()),
        ("33554432", if v2 { "16777216" } else { "50331648" })
    );
    // The sum alone.
    let sum = apply(r#"{"memory":{"swap":67108864}}"#).unwrap();
    assert_eq!(sum.1, if v2 { "33554432" } else { "67108864" });
    // Quota without period, period without quota.
    assert_eq!(
        apply(r#"{"cpu":{"quota":30000}}"#).unwrap().2,
        if v2 { "30000 100000" } else { "30000" }
    );
    assert_eq!(
        apply(r#"{"cpu":{"period":50000}}"#).unwrap().2,
        if v2 { "30000 50000" } else { "30000" }
    );
    assert!(apply(r#"{"cpu":{"quota":-1}}"#).unwrap().2.starts_with(if v2 { "max" } else { "-1" }));
    // No limit at all.
    let none = apply(r#"{"memory":{"limit":-1}}"#).unwrap();
    if v2 {
        assert_eq!((none.0.as_str(), none.1.as_str()), ("max", "max"));
    } else {
        assert!(
            none.0.parse::<u64>().unwrap() > 1 << 60 && none.1.parse::<u64>().unwrap() > 1 << 60
        );
    }
    apply(r#"{"cpu":{"shares":256,"idle":1}}"#).unwrap();
    apply(r#"{"cpu":{"shares":1024,"idle":0}}"#).unwrap();
    assert!(apply(r#"{"memory":{"limit":-7}}"#).is_err());
    assert_eq!(value(&group, "cpu", "cpu.shares", "cpu.weight"), if v2 { "100" } else { "1024" });
}

#[test]
fn a_limit_below_what_is_in_use_is_refused_where_asked() {
    need_root!();
    let place = Place::new();
    let mut group = place.create(r#"{"memory":{"limit":134217728,"swap":134217728}}"#);
    let script = format!(
        "x=$(head -c 20000000 /dev/zero | tr '\\0' a); echo > {}; read y < {}",
        place.file("go"),
        place.file("fifo")
    );
    nix::unistd::mkfifo(
        place.file("fifo").as_str(),
        nix::sys::stat::Mode::from_bits_truncate(0o600),
    )
    .unwrap();
    let kid =
        run(&group, &script.replace("| tr", &format!("| {} tr", busybox().to_str().unwrap())));
    until("it holds memory", || place.files.join("go").exists());
    let lower = r#"{"memory":{"limit":1048576,"swap":1048576,"checkBeforeUpdate":true}}"#;
    let e = group.apply(&serde_json::from_str(lower).unwrap()).unwrap_err();
    assert_eq!(e.kind(), Kind::InvalidConfig, "{e}");
    assert!(group.processes().unwrap().contains(&kid.pid));
    assert_eq!(bytes(&group), "134217728");
}

#[test]
fn figures_are_read() {
    need_root!();
    let place = Place::new();
    let group = place.create(
        r#"{"memory":{"limit":67108864},"pids":{"limit":9},"cpu":{"quota":5000,"period":10000}}"#,
    );
    let script = format!(
        "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo > {}; while :; do :; done",
        place.file("go")
    );
    let _kid = run(&group, &script);
    until("it has worked", || place.files.join("go").exists());
    until("it was throttled", || group.stats().unwrap().cpu.throttling.throttled_time.is_some());
    let stats = group.stats().unwrap();
    assert!(stats.cpu.usage.total.is_some());
    assert!(stats.cpu.throttling.periods >= stats.cpu.throttling.throttled_periods);
    assert!(stats.cpu.throttling.throttled_time.is_some());
    assert_eq!(stats.memory.usage.limit, 67_108_864);
    assert!(stats.memory.usage.usage.is_some_and(|u| u < 67_108_864));
    assert!(stats.memory.usage.max >= stats.memory.usage.usage);
    assert!(stats.memory.raw.len() > 10);
    assert!(stats.pids.current.is_some());
    assert_eq!(stats.pids.limit, Some(9));
    if v2(&group) {
        assert!(stats.memory.swap.usage >= stats.memory.usage.usage);
    } else {
        assert!(!stats.cpu.usage.percpu.is_empty() && !stats.cpu.usage.percpu_user.is_empty());
        assert!(!stats.cpuset.cpus.is_empty() && !stats.cpuset.mems.is_empty());
        assert!(stats.memory.swap.limit > stats.memory.usage.limit);
    }
    let json = serde_json::to_value(&stats).unwrap();
    for pointer in [
        "/cpu/usage/total",
        "/cpu/usage/kernel",
        "/cpu/throttling/throttledTime",
        "/cpuset/cpu_exclusive",
        "/memory/usage/limit",
        "/memory/usage/failcnt",
        "/memory/kernelTCP/limit",
        "/memory/raw",
        "/pids/limit",
        "/blkio",
        "/hugetlb",
        "/intel_rdt",
    ] {
        assert!(json.pointer(pointer).is_some(), "no {pointer} in {json}");
    }
}

/// T34
#[test]
fn t34_a_process_joins_a_cgroup_below_and_none_beside() {
    need_root!();
    let place = Place::new();
    let group = place.create("{}");
    let none = SubCgroups::default();
    let out = |name: &str| format!("cat /proc/self/cgroup > {}", place.file(name));
    let enter = |entry: &Entry, script: &str| {
        let script = script.replace("cat", &format!("{} cat", busybox().to_str().unwrap()));
        start(entry.tasks().unwrap(), entry.clone_into(), &script).wait()
    };
    assert_eq!(enter(&group.entry(&none, 1).unwrap(), &out("own")), 0);
    assert!(place.read("own").contains(&format!("/{}/c\n", place.name)));
    let sub = SubCgroups::parse(&["/w"]).unwrap();
    assert_eq!(group.entry(&sub, 1).unwrap_err().kind(), Kind::NotFound);
    for part in &group.parts {
        let dir = part.dir.as_ref().unwrap().make_child("w").unwrap();
        if part.controllers.iter().any(|c| c == "cpuset") {
            for file in ["cpuset.cpus", "cpuset.mems"] {
                dir.write(file, part.dir.as_ref().unwrap().read(file).unwrap().trim()).unwrap();
            }
        }
    }
    assert_eq!(enter(&group.entry(&sub, 1).unwrap(), &out("sub")), 0);
    let text = place.read("sub");
    let inside = text.lines().filter(|l| l.ends_with(&format!("/{}/c/w", place.name))).count();
    assert_eq!(inside, group.parts.len(), "{text}");
    assert!(SubCgroups::parse(&["../x"]).is_err());
    let one = SubCgroups::parse(&["memory:w"]).unwrap();
    match group.entry(&one, 1) {
        Ok(entry) => {
            assert_eq!(enter(&entry, &out("one")), 0);
            let text = place.read("one");
            let inside = text.lines().filter(|l| l.ends_with("/c/w")).count();
            assert_eq!(inside, 1, "{text}");
        }
        Err(e) => assert!(v2(&group), "{e}"),
    }
    assert!(group.entry(&SubCgroups::parse(&["nope:w"]).unwrap(), 1).is_err());
}

/// On v2 an init may have moved itself to a child and given its own cgroup's controllers away.
#[test]
fn a_process_joins_where_the_init_has_gone() {
    need_root!();
    let place = Place::new();
    let group = place.create("{}");
    if !v2(&group) {
        return skipped_on_this_kind_of_host("needs a host with cgroup v2 only");
    }
    let init = run(&group, "while :; do sleep 1; done");
    let own = group.unified().unwrap();
    own.make_child("init").unwrap().write("cgroup.procs", &init.pid.to_string()).unwrap();
    for pid in group.processes().unwrap() {
        let _ = own.write("init/cgroup.procs", &pid.to_string());
    }
    until("controllers are given away", || own.write("cgroup.subtree_control", "+memory").is_ok());
    let entry = group.entry(&SubCgroups::default(), init.pid).unwrap();
    let script = format!("read x < /proc/self/cgroup; echo $x > {}", place.file("x"));
    assert_eq!(start(entry.tasks().unwrap(), entry.clone_into(), &script).wait(), 0);
    assert!(place.read("x").trim().ends_with("/c/init"), "{}", place.read("x"));
    drop(init);
    group.kill_all().unwrap();
}

/// H63: a directory of the same name that somebody else has made is left alone.
#[test]
fn h63_another_cgroup_of_that_name_is_not_ours() {
    need_root!();
    let place = Place::new();
    let mut group = place.create("{}");
    let saved = group.saved();
    group.delete().unwrap();
    let other = place.create("{}");
    let mut stale = ContainerCgroup::open(&saved).unwrap();
    assert!(!stale.exists());
    assert_eq!(stale.processes().unwrap(), [0i32; 0]);
    assert!(stale.join(std::process::id().cast_signed()).is_ok());
    stale.kill_all().unwrap();
    stale.delete().unwrap();
    assert!(other.exists() && other.saved().paths.values().all(|p| Path::new(p).is_dir()));
    // Before they were made nobody knows their numbers.
    let path = place.path();
    let none = LinuxResources::default();
    let before = Found::look(request(&path, &none)).unwrap().saved();
    assert_eq!(before.paths, other.saved().paths);
    assert!(before.inodes.is_empty());
    ContainerCgroup::open(&before).unwrap().delete().unwrap();
    assert!(!ContainerCgroup::open(&other.saved()).unwrap().exists());
}

#[test]
fn cgroups_of_any_depth_are_removed() {
    need_root!();
    let place = Place::new();
    let mut group = place.create("{}");
    let main = group.main_dir().unwrap();
    let mut dir = main.make_child("d").unwrap();
    for n in 0..300 {
        dir.make_child("side").unwrap();
        dir = dir.make_child(if n % 2 == 0 { "d" } else { "a\u{fc} b" }).unwrap();
    }
    drop(dir);
    group.delete().unwrap();
    assert!(!group.exists());
}

#[test]
fn a_disabled_manager_makes_nothing() {
    let path = CgroupPath::new(None, "x").unwrap();
    let none = LinuxResources::default();
    let with = |resources| Request { manager: Manager::Disabled, ..request(&path, resources) };
    let mut group = ContainerCgroup::create(with(&none)).unwrap();
    assert!(!group.exists() && group.clone_into().is_none() && group.tasks().unwrap().is_empty());
    group.kill_all().unwrap();
    group.delete().unwrap();
    assert_eq!(ContainerCgroup::open(&group.saved()).unwrap().saved(), group.saved());
    let limited = serde_json::from_str(r#"{"pids":{"limit":1}}"#).unwrap();
    assert!(ContainerCgroup::create(with(&limited)).is_err());
}
