//! containerd with stockade as its runtime: Debian's containerd, started by these tests, and
//! its `ctr run --runc-binary`.
//!
//! Each test has a containerd of its own: it starts in a fifth of a second.

#[macro_use]
#[path = "support/clients.rs"]
mod clients;
#[path = "support/images.rs"]
mod images;
mod support;

use clients::{Daemon, Place, finish, patient, runtime};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use support::bundle::Bundle;
use support::live::eventually;
use support::pty::Terminal;
use support::{Run, Scratch};

static SERIAL: AtomicU32 = AtomicU32::new(0);

/// A containerd with the image of busybox.
struct Containerd {
    place: Place,
    image: String,
    daemon: Option<Daemon>,
}

impl Containerd {
    fn start() -> Containerd {
        let place = Place::new("containerd");
        let at = |name: &str| place.join(name).display().to_string();
        let config = format!(
            "version = 2
root = {:?}
state = {:?}
disabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.internal.v1.opt\"]
[grpc]
address = {:?}
[ttrpc]
address = {:?}
",
            at("root"),
            at("state"),
            at("sock"),
            at("ttrpc")
        );
        std::fs::write(place.join("config.toml"), config).unwrap();
        let mut command = Command::new("containerd");
        command.arg("--config").arg(place.join("config.toml"));
        let mut containerd = Containerd { place, image: String::new(), daemon: None };
        let daemon = Daemon::start(command, &containerd.place.join("log"), || {
            containerd.ctr(&["version"]).code == 0
        });
        containerd.daemon = Some(daemon);
        let image = images::busybox(containerd.place.path());
        let archive = image.archive.to_str().unwrap();
        containerd.ctr(&["images", "import", archive]).exits(0);
        containerd.image = image.name;
        containerd
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = patient("ctr");
        command.arg("--address").arg(self.place.join("sock")).args(args);
        command
    }

    fn ctr(&self, args: &[&str]) -> Run {
        finish(&mut self.command(args))
    }

    /// `ctr run` with these options, as a command, and the container's id.
    fn to_run(&self, options: &[&str], rest: &[&str]) -> (Command, String) {
        let id = format!("job-{}", SERIAL.fetch_add(1, Ordering::Relaxed));
        let mut command = self.command(&["run", "--runc-binary"]);
        command.arg(runtime()).arg("--runc-root").arg(self.place.join("runc"));
        command.arg("--fifo-dir").arg(self.place.join("fifo"));
        command.args(["--cgroup", &format!("/{}/{id}", self.place.cgroup)]);
        command.args(options).args([&self.image, &id]).args(rest);
        (command, id)
    }

    fn job(&self, options: &[&str], rest: &[&str]) -> Run {
        finish(&mut self.to_run(&[&["--rm"], options].concat(), rest).0)
    }

    /// `ctr run --detach`: its id.
    #[track_caller]
    fn detached(&self, options: &[&str], rest: &[&str]) -> String {
        let (mut command, id) = self.to_run(&[&["--detach"], options].concat(), rest);
        // What it prints goes to a file, as there is nobody to read it.
        finish(&mut command).exits(0);
        id
    }

    fn exec(&self, id: &str, options: &[&str], rest: &[&str]) -> Run {
        let exec_id = format!("exec-{}", SERIAL.fetch_add(1, Ordering::Relaxed));
        let fifos = self.place.join("fifo").display().to_string();
        let head = ["task", "exec", "--exec-id", &exec_id, "--fifo-dir", &fifos];
        self.ctr(&[&head, options, &[id], rest].concat())
    }

    fn task_state(&self, id: &str) -> String {
        let list = self.ctr(&["task", "list"]).stdout;
        let line = list.lines().find(|l| l.split_whitespace().next() == Some(id));
        line.and_then(|l| l.split_whitespace().nth(2)).unwrap_or("none").to_owned()
    }

    /// Stops it and looks at what is left.
    #[track_caller]
    fn stop(mut self) {
        let ended = self.daemon.take().expect("it runs").stop();
        let left = self.place.leftovers();
        assert_eq!((ended, left), (Ok(()), Vec::<String>::new()));
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            let _ = daemon.stop();
            self.place.leftovers();
        }
    }
}

#[test]
fn ctr_run_gives_output_and_the_exit_status() {
    need_clients!("containerd", "ctr");
    let containerd = Containerd::start();
    let script = "echo out; echo err >&2; id -u; hostname; exit 42";
    let run = containerd.job(&[], &["sh", "-c", script]).exits(42);
    assert!(run.stdout.starts_with("out\n0\n"), "{run:#?}");
    assert_eq!(run.stderr, "err\n");
    let run = containerd.job(&["--env", "X=1 2", "--cwd", "/etc"], &["sh", "-c", "echo $X; pwd"]);
    assert_eq!(run.exits(0).stdout, "1 2\n/etc\n");
    let run = containerd.job(&[], &["no-such-program"]);
    assert_ne!(run.code, 0);
    run.complains("no-such-program").complains("not found in $PATH");
    let run = containerd.job(&["--read-only"], &["sh", "-c", ": > /new"]).exits(1);
    run.complains("Read-only file system");
    let capabilities = ["--cap-drop", "CAP_CHOWN", "--cap-add", "CAP_SYS_TIME"];
    let run = containerd.job(&capabilities, &["grep", "CapBnd", "/proc/self/status"]).exits(0);
    assert_eq!(run.stdout, "CapBnd:\t00000000aa0425fa\n");
    containerd.stop();
}

#[test]
fn stdin_and_terminals() {
    need_clients!("containerd", "ctr");
    let containerd = Containerd::start();
    let (mut command, _) = containerd.to_run(&["--rm"], &["cat"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"typed\n").unwrap();
    // The end of the input only then: ctr loses one that comes before the container is there.
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    drop(stdin);
    assert_eq!((child.wait().unwrap().code(), &*line), (Some(0), "typed\n"));
    let script = "tty; while read line; do echo got $line; test $line = end && exit 4; done";
    let (command, _) = containerd.to_run(&["--rm", "--tty"], &["sh", "-c", script]);
    let mut terminal = Terminal::run(command);
    terminal.until("/dev/pts/0");
    terminal.type_in("end\n");
    terminal.until("got end");
    assert_eq!(terminal.end(), 4, "{:?}", terminal.seen);
    containerd.stop();
}

#[test]
fn task_exec_kill_and_delete() {
    need_clients!("containerd", "ctr");
    let containerd = Containerd::start();
    let id =
        containerd.detached(&["--memory-limit", "50000000", "--cpus", "0.5"], &["sleep", "1000"]);
    let run = containerd.exec(&id, &[], &["sh", "-c", "echo in $(hostname); exit 7"]).exits(7);
    assert!(run.stdout.starts_with("in "), "{run:#?}");
    containerd.exec(&id, &["--user", "1001"], &["id", "-u"]).exits(0).says("1001\n");
    containerd.exec(&id, &["--cwd", "/etc"], &["pwd"]).exits(0).says("/etc\n");
    // Its limits.
    let limit = containerd.place.control(&id, "memory.limit_in_bytes", "memory.max");
    assert_eq!(limit.parse::<u64>().unwrap(), 50_000_000 / 4096 * 4096);
    let quota = containerd.place.control(&id, "cpu.cfs_quota_us", "cpu.max");
    assert!(["50000", "50000 100000"].contains(&&*quota), "{quota}");
    containerd.ctr(&["task", "metrics", &id]).exits(0).says("memory");
    let run = containerd.ctr(&["task", "ps", &id]).exits(0);
    assert_eq!(run.stdout.lines().count(), 2, "{run:#?}");
    containerd.ctr(&["task", "pause", &id]).exits(0);
    assert_eq!(containerd.task_state(&id), "PAUSED");
    containerd.ctr(&["task", "resume", &id]).exits(0);
    assert_eq!(containerd.task_state(&id), "RUNNING");
    containerd.ctr(&["task", "kill", "--signal", "SIGKILL", &id]).exits(0);
    eventually("stopped", || containerd.task_state(&id) == "STOPPED");
    containerd.ctr(&["task", "delete", &id]).exits(0).complains("code 137");
    containerd.ctr(&["containers", "delete", &id]).exits(0);
    assert!(!containerd.place.cgroups().iter().any(|d| d.ends_with(&id)));
    containerd.stop();
}

#[test]
fn a_running_task_is_deleted_by_force() {
    need_clients!("containerd", "ctr");
    let containerd = Containerd::start();
    let id = containerd.detached(&[], &["sh", "-c", "trap : TERM; while :; do sleep 0.1; done"]);
    let run = containerd.ctr(&["task", "delete", &id]);
    assert_ne!(run.code, 0, "{run:#?}");
    containerd.ctr(&["task", "delete", "--force", &id]).exits(0).complains("code 137");
    containerd.ctr(&["containers", "delete", &id]).exits(0);
    containerd.stop();
}

#[test]
fn mounts_devices_and_namespaces() {
    need_clients!("containerd", "ctr");
    let containerd = Containerd::start();
    let scratch = Scratch::new();
    scratch.file("data", "from outside");
    let source = scratch.path().display();
    let bind = format!("type=bind,src={source},dst=/in,options=rbind:ro");
    let tmpfs = "type=tmpfs,src=tmpfs,dst=/scratch,options=size=64k:mode=0700:nosuid";
    let script = "cat /in/data; (: > /in/new) || grep ' /scratch ' /proc/mounts; \
                  head -c 3 /dev/full | wc -c";
    let options = ["--mount", &bind, "--mount", tmpfs, "--device", "/dev/full"];
    let run = containerd.job(&options, &["sh", "-c", script]).exits(0);
    assert!(run.stdout.starts_with("from outside"), "{run:#?}");
    assert!(run.stdout.contains("size=64k") && run.stdout.ends_with("3\n"), "{run:#?}");
    // The namespaces of another container.
    let first = containerd.detached(&[], &["sleep", "4321"]);
    let list = containerd.ctr(&["task", "list"]).stdout;
    let line = list.lines().find(|l| l.starts_with(&first)).unwrap();
    let pid = line.split_whitespace().nth(1).unwrap();
    let join = |kind: &str, file: &str| format!("{kind}:/proc/{pid}/ns/{file}");
    let (pid_ns, ipc, net) = (join("pid", "pid"), join("ipc", "ipc"), join("network", "net"));
    let options = ["--with-ns", &pid_ns, "--with-ns", &ipc, "--with-ns", &net];
    containerd.job(&options, &["ps"]).exits(0).says("sleep 4321");
    containerd.ctr(&["task", "delete", "--force", &first]).exits(0);
    containerd.ctr(&["containers", "delete", &first]).exits(0);
    containerd.stop();
}

#[test]
fn the_default_seccomp_profile() {
    need_clients!("containerd", "ctr");
    let containerd = Containerd::start();
    let script = "grep -E '^(Seccomp|NoNewPrivs):' /proc/self/status";
    let run = containerd.job(&["--seccomp"], &["sh", "-c", script]).exits(0);
    assert_eq!(run.stdout, "NoNewPrivs:\t1\nSeccomp:\t2\n");
    let run = containerd.job(&["--allow-new-privs"], &["sh", "-c", script]).exits(0);
    assert_eq!(run.stdout, "NoNewPrivs:\t0\nSeccomp:\t0\n");
    containerd.stop();
}

/// The shim finds out by itself that a container has run out of memory, in the cgroup that the
/// runtime has made.
#[test]
fn out_of_memory_is_an_event() {
    need_clients!("containerd", "ctr");
    let containerd = Containerd::start();
    let log = containerd.place.join("events");
    let mut events = Command::new("ctr")
        .arg("--address")
        .arg(containerd.place.join("sock"))
        .arg("events")
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    // Before the job: that it is listening shows when something else happens.
    let heard = |what: &str| std::fs::read_to_string(&log).unwrap().contains(what);
    eventually("it listens", || {
        let id = format!("mark-{}", SERIAL.fetch_add(1, Ordering::Relaxed));
        containerd.ctr(&["containers", "create", &containerd.image, &id]);
        containerd.ctr(&["containers", "delete", &id]);
        heard("/containers/create")
    });
    let run = containerd.job(&["--memory-limit", "20000000"], &["tail", "/dev/zero"]);
    eventually("the event", || heard("/tasks/oom"));
    events.kill().unwrap();
    events.wait().unwrap();
    run.exits(137);
    containerd.stop();
}

/// As Kubernetes has it on a host with systemd: `SystemdCgroup = true`.
#[test]
fn with_systemd_cgroup_the_limits_are_in_a_scope_and_bite() {
    need_clients!("containerd", "ctr");
    if !Path::new("/run/systemd/system").is_dir() || !support::pure_v2() {
        skip_on_this_kind_of_host!("needs systemd with cgroup v2: scripts/vm run --systemd has it");
    }
    let containerd = Containerd::start();
    let limits = serde_json::json!({"memory": {"limit": 67_108_864, "swap": 67_108_864},
        "pids": {"limit": 20}, "devices": [{"allow": false, "access": "rwm"}]});
    // ctr has no option for a limit of processes, so the whole configuration is given.
    let bundle = |args: &[&str]| {
        Bundle::new(|c| {
            c["process"]["args"] = serde_json::json!(args);
            c["linux"]["resources"] = limits.clone();
            let id = c["linux"]["cgroupsPath"].as_str().unwrap().trim_start_matches('/').to_owned();
            c["linux"]["cgroupsPath"] = format!("stockade-tests.slice:ctr:{id}").into();
        })
    };
    let run = |bundle: &Bundle, mode: &str| {
        let mut command = containerd.command(&["run", mode, "--runc-systemd-cgroup"]);
        command
            .args(["--runc-binary", &runtime(), "--runc-root"])
            .arg(containerd.place.join("runc"));
        command.arg("--fifo-dir").arg(containerd.place.join("fifo"));
        // Which it wants to hear, and then takes the configuration's.
        command.args(["--cgroup", &format!("stockade-tests.slice:ctr:{}", bundle.id)]);
        command.arg("--config").arg(bundle.dir().join("config.json")).arg(&bundle.id);
        finish(&mut command)
    };
    let property = |unit: &str, name: &str| {
        let run = finish(patient("systemctl").args(["show", "--property", name, "--value", unit]));
        run.exits(0).stdout.trim().to_owned()
    };
    let job = bundle(&["sleep", "1000"]);
    run(&job, "--detach").exits(0);
    let unit = format!("ctr-{}.scope", job.id);
    for (name, value) in
        [("MemoryMax", "67108864"), ("TasksMax", "20"), ("Slice", "stockade-tests.slice")]
    {
        assert_eq!(property(&unit, name), value, "{name}");
    }
    containerd.exec(&job.id, &[], &["cat", "/sys/fs/cgroup/pids.max"]).exits(0).says("20");
    containerd.ctr(&["task", "kill", "--signal", "SIGKILL", &job.id]).exits(0);
    eventually("it has stopped", || containerd.task_state(&job.id) == "STOPPED");
    containerd.ctr(&["task", "delete", &job.id]);
    containerd.ctr(&["containers", "delete", &job.id]).exits(0);
    assert_eq!(property(&unit, "LoadState"), "not-found");
    run(&bundle(&["busybox", "tail", "/dev/zero"]), "--rm").exits(137);
    let script = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do sleep 1000 & done; \
                  echo all";
    let greedy = run(&bundle(&["sh", "-c", script]), "--rm");
    assert!(greedy.code != 0 && !greedy.stdout.contains("all"), "{greedy:#?}");
    containerd.stop();
}

/// The snippet that docs/kubernetes.md gives for containerd.
static SNIPPET: LazyLock<String> = LazyLock::new(|| {
    let doc = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/kubernetes.md");
    let text = std::fs::read_to_string(doc).unwrap();
    let start = text.find("```toml\nversion = 2\n").expect("a snippet for containerd") + 8;
    text[start..start + text[start..].find("```").unwrap()].to_owned()
});

#[test]
fn the_configuration_for_kubernetes_is_understood() {
    need_clients!("containerd");
    let scratch = Scratch::new();
    let file: PathBuf = scratch.file("config.toml", &SNIPPET);
    let run = finish(patient("containerd").arg("--config").arg(file).args(["config", "dump"]));
    let run = run.exits(0);
    let at = run.stdout.find("runtimes.stockade]").expect("the handler");
    let section = &run.stdout[at..at + 1500];
    assert!(section.contains("BinaryName = \"/usr/local/bin/stockade\""), "{section}");
    assert!(section.contains("runtime_type = \"io.containerd.runc.v2\""), "{section}");
}
