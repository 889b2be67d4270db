//! Containers of an ordinary user. Run by root they are those of a user without an account, a session
//! and a cgroup, and, where one is logged in, of that one from outside its cgroups; run by an ordinary
//! user in a delegated cgroup, as `scripts/vm run --user` has it, they are its own.

mod support;

use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use support::live::eventually;
use support::{Scratch, busybox_rootfs, is_root, pure_v2};

/// No account has this id.
const NOBODY: u32 = 4321;

static SERIAL: AtomicU32 = AtomicU32::new(0);

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum User {
    /// Who runs the tests.
    Caller,
    /// Another one, which root can be.
    Other(u32),
}

impl User {
    fn usual() -> User {
        if is_root() { User::Other(NOBODY) } else { User::Caller }
    }

    /// One whose systemd runs.
    fn logged_in() -> Option<User> {
        let uids = std::fs::read_dir("/run/user").ok()?.flatten();
        let mut uids = uids.filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
        let uid = uids.find(|uid| Path::new(&format!("/run/user/{uid}/bus")).exists())?;
        (is_root() && uid != 0).then_some(User::Other(uid))
    }

    fn uid(self) -> u32 {
        match self {
            User::Caller => nix::unistd::getuid().as_raw(),
            User::Other(uid) => uid,
        }
    }

    /// `program`, by this user, who is in no group but its own.
    fn command(self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.stdin(Stdio::null());
        if let User::Other(uid) = self {
            command.uid(uid).gid(uid).env_remove("DBUS_SESSION_BUS_ADDRESS");
            command.env("XDG_RUNTIME_DIR", format!("/run/user/{uid}"));
        }
        command
    }
}

/// A container of its own directory, state and root file system; gone when it is dropped.
#[derive(Debug)]
struct Container {
    user: User,
    program: PathBuf,
    id: String,
    scratch: Scratch,
    _rootfs: Scratch,
}

impl Container {
    fn new(user: User, change: impl FnOnce(&mut Value)) -> Container {
        let scratch = Scratch::new();
        let rootfs = busybox_rootfs();
        for applet in ["sleep", "tail", "ps", "grep", "readlink"] {
            std::os::unix::fs::symlink("busybox", rootfs.join("bin").join(applet)).unwrap();
        }
        let n = SERIAL.fetch_add(1, Ordering::Relaxed);
        let id = format!("rootless-{}-{n}", std::process::id());
        let mut program = PathBuf::from(support::bin());
        if !user.command(&program).arg("--version").output().is_ok_and(|o| o.status.success()) {
            // By another process: a descriptor that writes to it could reach what another test starts.
            let to = scratch.join("stockade");
            assert!(Command::new("cp").arg(&program).arg(&to).status().unwrap().success());
            program = to;
        }
        for dir in ["root", "bundle"] {
            std::fs::create_dir(scratch.join(dir)).unwrap();
            let private = std::fs::Permissions::from_mode(0o700);
            std::fs::set_permissions(scratch.join(dir), private).unwrap();
        }
        if let User::Other(uid) = user {
            for dir in [scratch.path(), rootfs.path()] {
                let owner = format!("{uid}:{uid}");
                assert!(
                    Command::new("chown").args(["-R", &owner]).arg(dir).status().unwrap().success()
                );
            }
        }
        let bundle = scratch.join("bundle");
        let spec =
            user.command(&program).args(["spec", "--rootless", "--bundle"]).arg(&bundle).status();
        assert!(spec.unwrap().success());
        let file = bundle.join("config.json");
        let mut config: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        config["root"] = json!({ "path": rootfs.path(), "readonly": false });
        config["process"]["terminal"] = false.into();
        config["process"]["args"] = json!(["sleep", "1000"]);
        change(&mut config);
        std::fs::write(&file, serde_json::to_vec(&config).unwrap()).unwrap();
        Container { user, program, id, scratch, _rootfs: rootfs }
    }

    /// `stockade ARGS`, with the id in the place of `ID`.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.user.command(&self.program);
        command.arg("--root").arg(self.scratch.join("root"));
        command.args(args.iter().map(|a| if *a == "ID" { self.id.as_str() } else { a }));
        command.current_dir(self.scratch.path());
        command
    }

    fn call(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
        let o = self.call(args);
        assert!(o.status.success(), "{args:?}: {o:?}");
        String::from_utf8(o.stdout).unwrap()
    }

    /// Which must fail, with this word on standard error.
    #[track_caller]
    fn fails(&self, args: &[&str], word: &str) {
        let o = self.call(args);
        let said = String::from_utf8_lossy(&o.stderr);
        assert!(!o.status.success() && said.contains(word), "no {word:?} for {args:?}: {o:?}");
    }

    /// `create` or `run`, with its streams in a file: what it said.
    #[track_caller]
    fn make(&self, options: &[&str], verb: &[&str]) -> String {
        let log = std::fs::File::create(self.scratch.join("output")).unwrap();
        let bundle = self.scratch.join("bundle").display().to_string();
        let status = self
            .command(&[options, verb, &["--bundle", &bundle, "ID"]].concat())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .status()
            .unwrap();
        let said = std::fs::read_to_string(self.scratch.join("output")).unwrap();
        assert!(status.success(), "{verb:?}: {said}");
        said
    }

    #[track_caller]
    fn started(self, options: &[&str]) -> Container {
        self.make(options, &["run", "--detach"]);
        self
    }

    #[track_caller]
    fn refused(&self, options: &[&str], word: &str) {
        let bundle = self.scratch.join("bundle").display().to_string();
        self.fails(&[options, &["run", "--bundle", &bundle, "ID"]].concat(), word);
        assert_eq!(self.ok(&["list", "-q"]), "", "something is left");
    }

    #[track_caller]
    fn exec(&self, script: &str) -> String {
        self.ok(&["exec", "ID", "sh", "-c", script])
    }

    #[track_caller]
    fn state(&self) -> Value {
        serde_json::from_str(&self.ok(&["state", "ID"])).unwrap()
    }

    #[track_caller]
    fn cgroup(&self) -> PathBuf {
        let text =
            std::fs::read_to_string(format!("/proc/{}/cgroup", self.state()["pid"])).unwrap();
        let path = text.lines().find_map(|l| l.strip_prefix("0::/")).unwrap();
        Path::new("/sys/fs/cgroup").join(path)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let o = self.call(&["delete", "--force", "ID"]);
        if !std::thread::panicking() {
            assert!(o.status.success(), "delete --force: {o:?}");
        }
    }
}

/// Whether the caller has a cgroup of v2 in which it may make others.
fn has_own_cgroup() -> bool {
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    let own = own.lines().find_map(|l| l.strip_prefix("0::/")).unwrap_or_default();
    let above = Path::new("/sys/fs/cgroup").join(own).join("../cgroup.procs");
    pure_v2() && !is_root() && std::fs::File::options().write(true).open(above).is_ok()
}

macro_rules! need_delegation {
    () => {
        if !has_own_cgroup() {
            skip_on_this_kind_of_host!(
                "needs an ordinary user's delegated cgroup: scripts/vm run --user has it"
            );
        }
    };
}

/// The managers that an ordinary user has here.
fn managers() -> Vec<&'static [&'static str]> {
    let mut list: Vec<&[&str]> = vec![&["--cgroup-manager", "cgroupfs"]];
    if Path::new("/run/systemd/system").is_dir() {
        list.push(&["--systemd-cgroup"]);
    }
    list
}

#[test]
fn a_container_lives_from_create_to_delete() {
    let c = Container::new(User::usual(), |_| {});
    assert_eq!(c.make(&[], &["create"]), "");
    assert_eq!(c.state()["status"], "created");
    c.ok(&["start", "ID"]);
    let state = c.state();
    assert_eq!(state["status"], "running");
    // Root inside, and outside its maker.
    let status = std::fs::read_to_string(format!("/proc/{}/status", state["pid"])).unwrap();
    let uid = c.user.uid();
    assert!(status.contains(&format!("\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n")), "{status}");
    let seen = c.exec("id -u; cat /proc/self/uid_map");
    let words: Vec<&str> = seen.split_whitespace().take(4).collect();
    assert_eq!(words, ["0", "0", &uid.to_string(), "1"]);
    let o = c.call(&["exec", "ID", "sh", "-c", "exit 7"]);
    assert_eq!(o.status.code(), Some(7), "{o:?}");
    assert!(c.ok(&["ps", "ID"]).contains("sleep 1000"));
    assert!(c.ok(&["list", "-q"]).contains(&c.id));
    c.ok(&["kill", "ID", "KILL"]);
    eventually("it has ended", || c.state()["status"] == "stopped");
    c.ok(&["delete", "ID"]);
    assert_eq!(c.ok(&["list", "-q"]), "");
}

/// As Podman calls its runtime: by root of a user namespace that is the user's.
#[test]
fn root_of_a_users_namespace_has_the_users_state_directory() {
    let user = User::usual();
    let c = Container::new(user, |_| {});
    let private = c.scratch.join("root");
    let log = std::fs::File::create(c.scratch.join("output")).unwrap();
    let mut command = user.command(&c.program);
    command.args(["run", "--detach", "--bundle"]).arg(c.scratch.join("bundle")).arg(&c.id);
    command.env("XDG_RUNTIME_DIR", &private).current_dir(c.scratch.path());
    let made = command.stdout(log.try_clone().unwrap()).stderr(log).status().unwrap();
    assert!(made.success(), "{}", std::fs::read_to_string(c.scratch.join("output")).unwrap());
    let list = |name: Option<&str>| {
        let mut command = user.command("unshare");
        command.args(["--user", "--map-root-user"]).arg(&c.program).args(["list", "-q"]);
        command.env("XDG_RUNTIME_DIR", &private).env_remove("USER");
        name.map(|name| command.env("USER", name));
        // What is below /run may be root's alone.
        let o = command.output().unwrap();
        assert!(o.status.success() || name == Some("root"), "{o:?}");
        String::from_utf8(o.stdout).unwrap().trim().to_owned()
    };
    let seen = [list(None), list(Some("somebody")), list(Some("root"))];
    let mut command = user.command(&c.program);
    command.env("XDG_RUNTIME_DIR", &private).args(["delete", "--force", &c.id]);
    assert!(command.status().unwrap().success());
    // Who is called root may be that of a container.
    assert_eq!(seen, [c.id.as_str(), c.id.as_str(), ""]);
}

/// As rootless Podman's: root of the user's namespace makes it, and joins it from the same one. The
/// program, which that root may not write to, is sealed none the less.
#[test]
fn exec_in_the_makers_own_user_namespace_runs_sealed() {
    if !is_root() {
        skip_on_this_kind_of_host!("needs root, to map more than one id");
    }
    let user = User::usual();
    let c = Container::new(user, |c| {
        let linux = c["linux"].as_object_mut().unwrap();
        linux.remove("uidMappings");
        linux.remove("gidMappings");
        linux["namespaces"].as_array_mut().unwrap().retain(|n| n["type"] != "user");
        // Its processes could look into the program that joins them.
        for set in ["bounding", "effective", "permitted"] {
            let caps = c["process"]["capabilities"][set].as_array_mut().unwrap();
            caps.push("CAP_SYS_PTRACE".into());
        }
    });
    let root = c.scratch.join("root").display().to_string();
    let program = c.program.display().to_string();
    // Who runs it waits until its ids are mapped.
    let script = format!(
        "read x; s='{program} --root {root}'; \
         setpriv --reuid 0 --regid 0 --clear-groups sh -euc \"\
         $s run --detach --bundle bundle {id} >output 2>&1 </dev/null; \
         $s exec {id} readlink /proc/self/exe; $s exec {id} id -u; $s delete --force {id}\"",
        id = c.id
    );
    let mut command = user.command("unshare");
    command.args(["--user", "--mount", "sh", "-c", &script]).current_dir(c.scratch.path());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let own = std::fs::read_link("/proc/self/ns/user").unwrap();
    let namespace = format!("/proc/{}/ns/user", child.id());
    eventually("its namespace", || std::fs::read_link(&namespace).is_ok_and(|ns| ns != own));
    for file in ["uid_map", "gid_map"] {
        // In one write, as the kernel wants it.
        let map = format!("0 {uid} 1\n1 700000 65535\n", uid = user.uid());
        std::fs::write(format!("/proc/{}/{file}", child.id()), map).unwrap();
    }
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"go\n").unwrap();
    let o = child.wait_with_output().unwrap();
    let said = std::fs::read_to_string(c.scratch.join("output")).unwrap_or_default();
    assert_eq!(
        (o.status.code(), &o.stdout[..]),
        (Some(0), &b"/bin/busybox\n0\n"[..]),
        "{o:?} {said}"
    );
}

#[test]
fn a_run_in_the_foreground_ends_as_its_program() {
    let c = Container::new(User::usual(), |c| {
        c["process"]["args"] = json!(["sh", "-c", "echo out; exit 5"]);
    });
    let bundle = c.scratch.join("bundle").display().to_string();
    let o = c.call(&["run", "--bundle", &bundle, "ID"]);
    assert_eq!((o.status.code(), &o.stdout[..]), (Some(5), &b"out\n"[..]), "{o:?}");
    assert!(o.stderr.is_empty(), "{o:?}");
}

/// What needs no cgroup works without; what does says why not.
#[test]
fn without_a_delegated_cgroup_limits_are_refused_by_name() {
    if !is_root() {
        skip_on_this_kind_of_host!("needs root, which can be a user without a cgroup");
    }
    let user = User::Other(NOBODY);
    let name = "cgroup-no-delegation";
    let c = Container::new(user, |_| {}).started(&[]);
    c.fails(&["pause", "ID"], name);
    c.fails(&["update", "--pids-limit", "20", "ID"], name);
    c.fails(&["events", "--stats", "ID"], name);
    assert_eq!(c.exec("echo hello"), "hello\n");
    c.ok(&["kill", "--all", "ID", "KILL"]);
    for limit in [json!({"memory": {"limit": 67_108_864}}), json!({"pids": {"limit": 20}})] {
        Container::new(user, |c| c["linux"]["resources"] = limit).refused(&[], name);
    }
    Container::new(user, |c| c["linux"]["cgroupsPath"] = "/stockade-none/x".into())
        .refused(&[], name);
    // Strictly nothing is let pass.
    Container::new(user, |_| {}).refused(&["--rootless", "false"], "permission denied");
}

/// As a container without a cgroup of its own is in its maker's.
#[test]
fn a_container_without_a_cgroup_sees_its_makers() {
    let script = "ls /sys/fs/cgroup | grep -c .; mkdir /sys/fs/cgroup/x 2>/dev/null || echo no";
    for own_namespace in [false, true] {
        let change = |c: &mut Value| {
            let list = c["linux"]["namespaces"].as_array_mut().unwrap();
            list.retain(|n| n["type"] != "cgroup");
            if own_namespace {
                list.push(json!({"type": "cgroup"}));
            }
        };
        let c = Container::new(User::usual(), change).started(&["--cgroup-manager", "disabled"]);
        let seen = c.exec(script);
        let count: u32 = seen.lines().next().unwrap().parse().unwrap();
        assert!(count > 3 && seen.ends_with("no\n"), "{seen}");
        c.fails(&["pause", "ID"], "no cgroup");
        if is_root() {
            let c = Container::new(User::usual(), change).started(&[]);
            assert!(c.exec(script).ends_with("no\n"));
        }
    }
}

#[test]
fn what_only_root_may_is_said_by_name() {
    let c = Container::new(User::usual(), |c| {
        c["process"]["oomScoreAdj"] = (-500).into();
        c["process"]["args"] = json!(["sleep", "1000"]);
    });
    let said = c.make(&[], &["run", "--detach"]);
    assert!(said.contains("no-lower-oom-score"), "{said}");
    assert_eq!(c.exec("cat /proc/1/oom_score_adj"), c.exec("cat /proc/self/oom_score_adj"));
    let c = Container::new(User::usual(), |c| {
        c["linux"]["netDevices"] = json!({"stk0": {}});
        c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "network"}));
    });
    c.refused(&[], "no-network-devices");
    if User::usual() == User::Other(NOBODY) && pure_v2() {
        let c = Container::new(User::usual(), |_| {});
        let word =
            if Path::new("/run/systemd/system").is_dir() { "no-user-manager" } else { "systemd" };
        c.refused(&["--systemd-cgroup"], word);
    }
}

const LIMITED: &str = r#"{"memory":{"limit":67108864},"cpu":{"quota":50000,"period":100000},
    "pids":{"limit":20},"devices":[{"allow":false,"access":"rwm"}]}"#;

fn limited(c: &mut Value) {
    c["linux"]["resources"] = serde_json::from_str(LIMITED).unwrap();
}

#[test]
fn the_limits_of_a_delegated_cgroup_are_set_changed_and_gone() {
    need_delegation!();
    for manager in managers() {
        let c = Container::new(User::Caller, limited);
        // Denying every device is what every configuration begins with: not worth a word.
        assert_eq!(c.make(manager, &["run", "--detach"]), "");
        let dir = c.cgroup();
        let read = |file: &str| std::fs::read_to_string(dir.join(file)).unwrap().trim().to_owned();
        assert_eq!(read("memory.max"), "67108864");
        assert_eq!(read("cpu.max"), "50000 100000");
        assert_eq!(read("pids.max"), "20");
        assert_eq!(c.exec("cat /sys/fs/cgroup/pids.max /proc/self/cgroup"), "20\n0::/\n");
        c.ok(&["update", "--memory", "50331648", "--pids-limit", "30", "ID"]);
        assert_eq!((read("memory.max").as_str(), read("pids.max").as_str()), ("50331648", "30"));
        c.ok(&["pause", "ID"]);
        assert_eq!(
            (c.state()["status"].as_str(), read("cgroup.freeze").as_str()),
            (Some("paused"), "1")
        );
        c.ok(&["resume", "ID"]);
        let stats: Value = serde_json::from_str(&c.ok(&["events", "--stats", "ID"])).unwrap();
        assert_eq!(stats["data"]["pids"]["limit"], 30);
        assert_eq!(stats["data"]["memory"]["usage"]["limit"], 50_331_648);
        c.ok(&["delete", "--force", "ID"]);
        assert!(!dir.exists(), "{dir:?}");
    }
}

#[test]
fn the_limits_of_a_delegated_cgroup_bite() {
    need_delegation!();
    for manager in managers() {
        let run = |args: Value| {
            let c = Container::new(User::Caller, |c| {
                limited(c);
                c["process"]["args"] = args;
            });
            let bundle = c.scratch.join("bundle").display().to_string();
            c.call(&[manager, &["run", "--bundle", &bundle, "ID"]].concat())
        };
        let o = run(json!(["tail", "/dev/zero"]));
        assert_eq!(o.status.code(), Some(137), "{o:?}");
        let script = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do sleep 1000 >/dev/null 2>&1 & done; echo all";
        let o = run(json!(["sh", "-c", script]));
        assert!(!o.status.success() && o.stdout.is_empty(), "{o:?}");
    }
}

/// A mount of the whole hierarchy would show others; the child finds its own by itself.
#[test]
fn without_a_namespace_of_cgroups_it_sees_its_own_cgroup() {
    need_delegation!();
    for manager in managers() {
        let c = Container::new(User::Caller, |c| {
            limited(c);
            c["linux"]["namespaces"].as_array_mut().unwrap().retain(|n| n["type"] != "cgroup");
        });
        let c = c.started(manager);
        assert_eq!(c.exec("cat /sys/fs/cgroup/pids.max"), "20\n");
        let own = c.exec("cat /proc/self/cgroup");
        assert!(c.cgroup().ends_with(own.trim().trim_start_matches("0::/")), "{own}");
    }
}

#[test]
fn what_a_delegated_cgroup_lacks_is_said_by_name() {
    need_delegation!();
    for manager in managers() {
        let c = Container::new(User::Caller, |c| {
            c["linux"]["resources"] = json!({"devices": [
                {"allow": false, "access": "rwm"},
                {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"}]});
        });
        let said = c.make(manager, &["run", "--detach"]);
        assert!(said.contains("no-device-rules"), "{said}");
    }
    Container::new(User::Caller, |_| {}).refused(&["--rootless", "false"], "no-device-rules");
    let own = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap();
    // systemd's user has five (scripts/vm), of which this is none.
    if Path::new("/run/systemd/system").is_dir() && own.contains("rdma") {
        let c = Container::new(User::Caller, |c| {
            c["linux"]["resources"] = json!({"rdma": {"mlx5_0": {"hcaHandles": 3}}});
        });
        c.refused(&[], "cgroup-controller");
    }
    let c = Container::new(User::Caller, |c| c["linux"]["cgroupsPath"] = "/stockade-none/x".into());
    c.refused(&[], "cgroup-no-delegation");
}

/// As from a shell of ssh's, which is a sibling of the user's manager.
#[test]
fn exec_from_outside_is_moved_in_by_the_users_systemd() {
    let Some(user) = User::logged_in() else {
        skip_on_this_kind_of_host!(
            "needs root, and a user whose systemd runs: scripts/vm run --systemd has them"
        );
    };
    let c = Container::new(user, limited).started(&["--systemd-cgroup"]);
    let dir = c.cgroup();
    let below = format!("user@{}.service/user.slice/stockade-{}.scope", user.uid(), c.id);
    assert!(dir.ends_with(&below), "{dir:?}");
    assert_eq!(c.exec("cat /proc/self/cgroup /sys/fs/cgroup/pids.max"), "0::/\n20\n");
    let o = c.call(&["exec", "ID", "sh", "-c", "exit 7"]);
    assert_eq!(o.status.code(), Some(7), "{o:?}");
    // Its limits hold: 20 with the init, and sh itself.
    let script = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do sleep 1000 >/dev/null 2>&1 & done; echo all";
    let o = c.call(&["exec", "ID", "sh", "-c", script]);
    assert!(!o.status.success() && o.stdout.is_empty(), "{o:?}");
    c.ok(&["kill", "--all", "ID", "KILL"]);
    eventually("it has ended", || c.state()["status"] == "stopped");
    drop(c);
    assert!(!dir.exists());
    // Into a cgroup below it, too, which the user has made.
    let c = Container::new(user, |_| {}).started(&["--systemd-cgroup"]);
    let made = user.command("mkdir").arg(c.cgroup().join("sub")).status().unwrap();
    assert!(made.success());
    let own = c.ok(&["exec", "--cgroup", "sub", "ID", "cat", "/proc/self/cgroup"]);
    assert_eq!(own, "0::/sub\n");
    c.ok(&["update", "--pids-limit", "25", "ID"]);
    c.ok(&["pause", "ID"]);
    c.ok(&["resume", "ID"]);
}

/// Nobody moves it there.
#[test]
fn exec_from_outside_into_a_cgroup_that_no_systemd_keeps_is_refused_by_name() {
    let Some(user) = User::logged_in() else {
        skip_on_this_kind_of_host!(
            "needs root, and a user whose systemd runs: scripts/vm run --systemd has them"
        );
    };
    let c = Container::new(user, limited);
    let bundle = c.scratch.join("bundle");
    let log = std::fs::File::create(c.scratch.join("output")).unwrap();
    let made = user
        .command("systemd-run")
        .args(["--user", "--scope", "--quiet", "-p", "Delegate=yes"])
        .arg(&c.program)
        .arg("--root")
        .arg(c.scratch.join("root"))
        .args(["run", "--detach", "--bundle"])
        .arg(&bundle)
        .arg(&c.id)
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .status()
        .unwrap();
    assert!(made.success(), "{}", std::fs::read_to_string(c.scratch.join("output")).unwrap());
    c.fails(&["exec", "ID", "true"], "cgroup-no-delegation");
    assert_eq!(c.state()["status"], "running");
    // A container that is to be there is refused as well.
    let there = c.cgroup().with_file_name(format!("{}-other", c.id));
    let there = there.strip_prefix("/sys/fs/cgroup").unwrap().display().to_string();
    let other = Container::new(user, |c| c["linux"]["cgroupsPath"] = format!("/{there}").into());
    other.refused(&[], "cgroup-no-delegation");
    assert!(!Path::new("/sys/fs/cgroup").join(&there).exists());
}
