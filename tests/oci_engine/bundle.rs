//! Bundles of a busybox, and the life cycle of what they describe.

use crate::support::{Scratch, busybox_rootfs};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use stockade::container::{Container, CreateOptions, Runtime};

/// The binary, in the debug build, aborts a child that allocates; so does this one.
#[cfg(debug_assertions)]
#[global_allocator]
static GUARD: stockade::sys::guard::Guarded = stockade::sys::guard::Guarded;

static SERIAL: AtomicU32 = AtomicU32::new(0);

/// A bundle, a state directory, and an id that nobody else uses.
pub struct Bundle {
    pub rootfs: Scratch,
    pub dir: Scratch,
    pub state: Scratch,
    pub config: Value,
    pub id: String,
}

/// What a container's run came to.
#[derive(Debug)]
pub struct Ran {
    pub status: i32,
    pub output: String,
}

impl Ran {
    #[track_caller]
    pub fn says(self, text: &str) -> Ran {
        assert!(self.output.contains(text), "no {text:?} in\n{self:#?}");
        self
    }

    #[track_caller]
    pub fn ends(self, status: i32) -> Ran {
        assert_eq!(self.status, status, "{self:#?}");
        self
    }
}

impl Bundle {
    /// `sh -c script` with what Docker 20.10 writes for a container without a network.
    pub fn new(script: &str) -> Bundle {
        let rootfs = busybox_rootfs();
        for applet in [
            "sleep", "ps", "hostname", "readlink", "dd", "mknod", "umount", "kill", "grep", "env",
            "chown", "chmod", "ln", "rm", "cp", "test", "tty", "stty", "wc", "head", "sort",
            "find", "chroot", "nc", "printf", "rmdir", "unshare", "dmesg", "date", "ulimit", "cut",
            "tr",
        ] {
            let _ = std::os::unix::fs::symlink("busybox", rootfs.join("bin").join(applet));
        }
        let n = SERIAL.fetch_add(1, Ordering::Relaxed);
        let id = format!("test-{}-{n}", std::process::id());
        let config = json!({
            "ociVersion": "1.0.2-dev",
            "process": {
                "user": {"uid": 0, "gid": 0},
                "args": ["sh", "-c", script],
                "env": ["PATH=/bin", "HOSTNAME=box"],
                "cwd": "/",
                "capabilities": {
                    "bounding": docker_caps(), "effective": docker_caps(),
                    "inheritable": docker_caps(), "permitted": docker_caps()
                },
                "oomScoreAdj": 0
            },
            "root": {"path": rootfs.path()},
            "hostname": "box",
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc",
                 "options": ["nosuid", "noexec", "nodev"]},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                 "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
                {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
                 "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
                {"destination": "/sys", "type": "sysfs", "source": "sysfs",
                 "options": ["nosuid", "noexec", "nodev", "ro"]},
                {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
                 "options": ["ro", "nosuid", "noexec", "nodev"]},
                {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
                 "options": ["nosuid", "noexec", "nodev"]},
                {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
                 "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=67108864"]}
            ],
            "linux": {
                "resources": {"devices": [{"allow": false, "access": "rwm"},
                    {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"},
                    {"allow": true, "type": "c", "major": 1, "minor": 5, "access": "rwm"},
                    {"allow": true, "type": "c", "major": 1, "minor": 9, "access": "rwm"},
                    {"allow": true, "type": "c", "major": 5, "minor": 0, "access": "rwm"}],
                    "memory": {}},
                "cgroupsPath": format!("/oci-test-{id}"),
                "namespaces": [{"type": "mount"}, {"type": "network"}, {"type": "uts"},
                    {"type": "pid"}, {"type": "ipc"}],
                "maskedPaths": ["/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys",
                    "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
                    "/proc/sched_debug", "/proc/scsi", "/sys/firmware"],
                "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
                    "/proc/sysrq-trigger"]
            }
        });
        Bundle { rootfs, dir: Scratch::new(), state: private(), config, id }
    }

    /// A field of the configuration, by its JSON pointer; made where missing.
    pub fn set(&mut self, pointer: &str, value: impl Into<Value>) -> &mut Bundle {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let parent = self.config.pointer_mut(parent).unwrap_or_else(|| panic!("no {pointer}"));
        parent[name] = value.into();
        self
    }

    /// Adds to a list.
    pub fn add(&mut self, pointer: &str, value: impl Into<Value>) -> &mut Bundle {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let parent = self.config.pointer_mut(parent).unwrap_or_else(|| panic!("no {pointer}"));
        if parent[name].is_null() {
            parent[name] = json!([]);
        }
        parent[name].as_array_mut().unwrap().push(value.into());
        self
    }

    /// In a user namespace of its own.
    pub fn with_user_namespace(&mut self) -> &mut Bundle {
        let map = json!([{"containerID": 0, "hostID": 2_000_100_000u32, "size": 65536}]);
        // The image belongs to the namespace's root, as Docker has it.
        give(self.rootfs.path(), 2_000_100_000);
        self.add("/linux/namespaces", json!({"type": "user"}));
        self.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map)
    }

    pub fn runtime(&self) -> Runtime {
        Runtime::new(self.state.path())
    }

    pub fn write(&self) -> &Path {
        let text = serde_json::to_vec(&self.config).unwrap();
        std::fs::write(self.dir.join("config.json"), text).unwrap();
        self.dir.path()
    }

    pub fn options(&self) -> CreateOptions {
        CreateOptions::new(self.write())
    }

    pub fn create(&self) -> stockade::Result<Container> {
        self.runtime().create(&self.id, &self.options())
    }

    /// A file that the container finds on `/out`, and that is its standard output: tests share one
    /// process, and with it one standard output.
    fn output_file(&mut self) -> PathBuf {
        let path = self.dir.file("out", "");
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o666))
            .unwrap();
        let args = self.config["process"]["args"].as_array_mut().unwrap();
        let mut all =
            vec![json!("sh"), json!("-c"), json!("exec >/out 2>&1; exec \"$@\""), json!("sh")];
        all.append(args);
        *args = all;
        self.add(
            "/mounts",
            json!({"destination": "/out", "type": "bind", "source": &path, "options": ["bind"]}),
        );
        path
    }

    /// Runs it to its end in the background of this process.
    #[track_caller]
    pub fn run(&mut self) -> Ran {
        match self.try_run() {
            Ok(ran) => ran,
            Err(e) => panic!("{e} ({:?})", e.hint_text()),
        }
    }

    pub fn try_run(&mut self) -> stockade::Result<Ran> {
        let path = self.output_file();
        let container = self.create()?;
        let pid = container.state()?.pid;
        if let Err(e) = container.start() {
            wait(pid);
            container.delete(true)?;
            return Err(e);
        }
        let status = wait(pid);
        container.delete(true)?;
        Ok(Ran { status, output: std::fs::read_to_string(path).unwrap() })
    }

    /// Nothing of it is there any more.
    #[track_caller]
    pub fn is_gone(&self) {
        let left: Vec<_> = std::fs::read_dir(self.state.path()).unwrap().flatten().collect();
        assert!(left.is_empty(), "{left:?}");
        let cgroups = cgroups_of(&self.id);
        assert!(cgroups.is_empty(), "{cgroups:?}");
    }
}

/// Directories of this name in the cgroup file systems.
pub fn cgroups_of(id: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let tops = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
    for top in tops.map(|e| e.path()).chain([PathBuf::from("/sys/fs/cgroup")]) {
        let dir = top.join(format!("oci-test-{id}"));
        if dir.exists() {
            found.push(dir);
        }
    }
    found
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let _ = self.runtime().delete(&self.id, true);
    }
}

/// The exit status of a child, as a shell has it.
pub fn wait(pid: i32) -> i32 {
    use nix::sys::wait::{WaitStatus, waitpid};
    match waitpid(nix::unistd::Pid::from_raw(pid), None) {
        Ok(WaitStatus::Exited(_, code)) => code,
        Ok(WaitStatus::Signaled(_, signal, _)) => 128 + signal as i32,
        other => panic!("{other:?}"),
    }
}

/// A directory for the caller alone, as the state directory has to be.
pub fn private() -> Scratch {
    let scratch = Scratch::new();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(scratch.path(), mode).unwrap();
    scratch
}

fn give(dir: &Path, id: u32) {
    std::os::unix::fs::lchown(dir, Some(id), Some(id)).unwrap();
    if dir.is_dir() && !dir.is_symlink() {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            give(&entry.path(), id);
        }
    }
}

pub fn docker_caps() -> Value {
    json!([
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FSETID",
        "CAP_FOWNER",
        "CAP_MKNOD",
        "CAP_NET_RAW",
        "CAP_SETGID",
        "CAP_SETUID",
        "CAP_SETFCAP",
        "CAP_SETPCAP",
        "CAP_NET_BIND_SERVICE",
        "CAP_SYS_CHROOT",
        "CAP_KILL",
        "CAP_AUDIT_WRITE"
    ])
}

/// The numbers of open descriptors of a process, and what they are.
pub fn descriptors(pid: i32) -> Vec<(i32, String)> {
    let dir = format!("/proc/{pid}/fd");
    let mut list: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .flatten()
        .map(|e| {
            let number = e.file_name().to_string_lossy().parse().unwrap();
            let target = std::fs::read_link(e.path()).unwrap_or_default();
            (number, target.to_string_lossy().into_owned())
        })
        .collect();
    list.sort();
    list
}
