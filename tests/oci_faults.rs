//! H60: stockade is killed at each of its system calls, and `delete --force` then leaves nothing.
//!
//! strace delivers SIGKILL at the N-th call of a traced name; which calls there are is read from a
//! run that is not disturbed.

mod support;

use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use support::{Scratch, busybox_rootfs};

static SERIAL: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);

struct Bundle {
    /// The name of its cgroup.
    name: String,
    dir: Scratch,
    _rootfs: Scratch,
    state: Scratch,
}

const ID: &str = "victim";

impl Bundle {
    fn new(hook: bool) -> Bundle {
        let rootfs = busybox_rootfs();
        std::os::unix::fs::symlink("busybox", rootfs.join("bin/sleep")).unwrap();
        let (dir, state) = (Scratch::new(), Scratch::new());
        let n = SERIAL.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("{}-{n}", std::process::id());
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(state.path(), mode).unwrap();
        let mut config = json!({
            "ociVersion": "1.0.2",
            "process": {"user": {"uid": 0, "gid": 0}, "args": ["sleep", "1000"],
                "env": ["PATH=/bin"], "cwd": "/"},
            "root": {"path": rootfs.path()},
            "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"}],
            "linux": {"cgroupsPath": format!("/oci-faults-{name}"),
                "namespaces": [{"type": "mount"}, {"type": "pid"}, {"type": "ipc"}, {"type": "uts"}],
                "resources": {"pids": {"limit": 50}}}
        });
        if hook {
            config["hooks"] = json!({"createRuntime": [{"path": "/bin/true"}]});
        }
        std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
        Bundle { name, dir, _rootfs: rootfs, state }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(support::bin());
        command.arg("--root").arg(self.state.path()).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn create_args(&self) -> Vec<String> {
        let bundle = self.dir.path().to_string_lossy().into_owned();
        ["create", "--bundle", &bundle, ID].map(str::to_owned).to_vec()
    }

    fn run(&self, args: &[&str]) -> bool {
        self.command(args).status().unwrap().success()
    }

    /// Under strace, with what it is to do; the calls that were made, in their order.
    fn traced(&self, args: &[&str], inject: Option<&str>) -> Vec<String> {
        let log = self.dir.join("strace");
        let mut command = Command::new("strace");
        command.arg("-o").arg(&log);
        if let Some(inject) = inject {
            command.arg("-e").arg(inject);
        }
        command.arg(support::bin()).arg("--root").arg(self.state.path()).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().unwrap();
        let text = String::from_utf8_lossy(&std::fs::read(&log).unwrap()).into_owned();
        text.lines()
            .filter_map(|l| l.split_once('(').map(|(name, _)| name.to_owned()))
            .filter(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
            .collect()
    }

    fn cgroups(&self) -> Vec<PathBuf> {
        let name = format!("oci-faults-{}", self.name);
        let tops = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        tops.map(|e| e.path().join(&name)).filter(|p| p.exists()).collect()
    }

    /// Processes of the container.
    fn processes(&self) -> Vec<String> {
        let ours = format!("oci-faults-{}\n", self.name);
        let look = |dir: PathBuf| {
            let text = std::fs::read_to_string(dir.join("cgroup")).ok()?;
            let stat = std::fs::read_to_string(dir.join("stat")).ok()?;
            let zombie = stat.rsplit_once(')').is_some_and(|(_, s)| s.starts_with(" Z"));
            (text.contains(&ours) && !zombie).then_some(stat)
        };
        let all = std::fs::read_dir("/proc").unwrap().flatten();
        all.filter_map(|e| look(e.path())).collect()
    }

    #[track_caller]
    fn is_clean(&self, when: &str) {
        assert!(self.run(&["delete", "--force", ID]), "{when}: delete --force failed");
        let left: Vec<_> = std::fs::read_dir(self.state.path()).unwrap().flatten().collect();
        assert!(left.is_empty(), "{when}: {left:?}");
        assert!(self.cgroups().is_empty(), "{when}: {:?}", self.cgroups());
        assert!(self.processes().is_empty(), "{when}");
    }
}

/// Kills at each call of a verb, a step of them at a time.
fn killed_at_each_call(
    verb: &str,
    prepare: &dyn Fn(&Bundle),
    args: &dyn Fn(&Bundle) -> Vec<String>,
) {
    let bundle = Bundle::new(true);
    let strings = args(&bundle);
    let list: Vec<&str> = strings.iter().map(String::as_str).collect();
    prepare(&bundle);
    let calls = bundle.traced(&list, None);
    bundle.is_clean("undisturbed");
    assert!(calls.len() > 20, "{verb}: {calls:?}");
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    // What comes before the program's own work is the loader's and the allocator's.
    let quiet = [
        "execve",
        "brk",
        "mmap",
        "munmap",
        "mprotect",
        "arch_prctl",
        "exit_group",
        "rt_sigaction",
        "sigaltstack",
        "poll",
        "getrandom",
        "prlimit64",
    ];
    for name in &calls {
        let n = count.entry(name).or_default();
        *n += 1;
        if quiet.contains(&name.as_str()) {
            continue;
        }
        prepare(&bundle);
        bundle.traced(&list, Some(&format!("inject={name}:signal=KILL:when={n}")));
        bundle.is_clean(&format!("{verb} killed at {name} #{n}"));
    }
    // The id is free again.
    let create = bundle.create_args();
    let create: Vec<&str> = create.iter().map(String::as_str).collect();
    assert!(bundle.run(&create));
    bundle.is_clean("in the end");
}

fn have_strace() -> bool {
    Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_ok_and(|s| s.success())
}

fn create(bundle: &Bundle) {
    let args = bundle.create_args();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    assert!(bundle.run(&args));
}

fn verb(name: &'static str) -> impl Fn(&Bundle) -> Vec<String> {
    move |_| vec![name.to_owned(), ID.to_owned()]
}

#[test]
fn h60_create_is_killed_at_each_call() {
    need_root!();
    if !have_strace() {
        skip!("strace is not installed");
    }
    killed_at_each_call("create", &|_| {}, &|b| b.create_args());
}

#[test]
fn h60_start_kill_and_delete_are_killed_at_each_call() {
    need_root!();
    if !have_strace() {
        skip!("strace is not installed");
    }
    killed_at_each_call("start", &create, &verb("start"));
    killed_at_each_call("kill", &create, &|_| vec!["kill".into(), ID.into(), "KILL".into()]);
    let force = |_: &Bundle| ["delete", "--force", ID].map(str::to_owned).to_vec();
    killed_at_each_call("delete", &create, &force);
}
