//! Podman with stockade as its runtime: `podman --runtime`, with the storage and state of these
//! tests alone.

#[macro_use]
#[path = "support/clients.rs"]
mod clients;
#[path = "support/images.rs"]
mod images;
mod support;

use clients::{Place, finish, installed, patient, runtime};
use nix::libc;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use support::live::eventually;
use support::pty::Terminal;
use support::{Run, Scratch};

const BUSYBOX: &str = "stockade.test/busybox:1";

static SERIAL: AtomicU32 = AtomicU32::new(0);
static SHARED: OnceLock<Podman> = OnceLock::new();

/// A podman with storage, state and configuration of its own.
#[derive(Debug)]
struct Podman {
    place: Place,
    /// Whether its usual cgroup was there before.
    had_parent: bool,
}

/// Podman's cgroup for what has no other parent.
fn usual_parents() -> Vec<PathBuf> {
    let all = clients::hierarchies().into_iter().map(|h| h.join("libpod_parent"));
    all.filter(|dir| dir.is_dir()).collect()
}

/// The one that all tests share.
fn podman() -> &'static Podman {
    SHARED.get_or_init(|| {
        // SAFETY: a function that may be called at the end of the program, after main.
        assert_eq!(unsafe { libc::atexit(clean_shared) }, 0);
        Podman::new()
    })
}

/// Runs when the test program ends, whatever the tests' outcome.
extern "C" fn clean_shared() {
    if SHARED.get().is_some_and(|podman| !podman.clean()) {
        // SAFETY: ends the program, as it is about to.
        unsafe { libc::_exit(101) };
    }
}

impl Podman {
    fn new() -> Podman {
        let place = Place::new("podman");
        let at = |name: &str| place.join(name).display().to_string();
        // The limits that Podman sets unasked are above what root without CAP_SYS_RESOURCE may. Locks
        // in files are this one's alone; those in /dev/shm are all Podmans', and a new one frees all.
        let containers = format!(
            "[containers]
default_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]
cgroupns = \"host\"
[engine]
cgroup_manager = \"cgroupfs\"
events_logger = \"file\"
lock_type = \"file\"
tmp_dir = {:?}
[network]
network_config_dir = {:?}
",
            at("tmp"),
            at("networks")
        );
        std::fs::write(place.join("containers.conf"), containers).unwrap();
        let storage = format!(
            "[storage]
driver = \"overlay\"
graphroot = {:?}
runroot = {:?}
",
            at("storage"),
            at("run")
        );
        std::fs::write(place.join("storage.conf"), storage).unwrap();
        let podman = Podman { place, had_parent: !usual_parents().is_empty() };
        let image = images::busybox(podman.place.path());
        podman.run(&["load", "--quiet", "--input", image.archive.to_str().unwrap()]).exits(0);
        podman
    }

    /// Removes what is left of all containers; whether nothing is left after that.
    fn clean(&self) -> bool {
        self.run(&["pod", "rm", "--all", "--force", "--time", "0"]);
        let removed = self.run(&["rm", "--all", "--force", "--time", "0"]);
        // Podman keeps its monitors' cgroup, and those of pods in hierarchies that it does not know.
        let mut left = self.place.leftovers_of(|cgroup| cgroup.starts_with("libpod-"));
        if !self.had_parent {
            for dir in usual_parents() {
                for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
                    if entry.file_name().to_string_lossy().starts_with("libpod-") {
                        left.push(format!("cgroup {}", entry.path().display()));
                    }
                }
                for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
                    // The files in it cannot be removed, and need not.
                    let _ = std::fs::remove_dir(entry.path());
                }
                let _ = std::fs::remove_dir(dir);
            }
        }
        let _ = std::fs::remove_dir_all(self.place.path());
        if removed.code != 0 || !left.is_empty() {
            eprintln!("left by podman and its runtime: {left:#?} {removed:#?}");
        }
        removed.code == 0 && left.is_empty()
    }

    fn set_up(&self, command: &mut Command) {
        command.env("CONTAINERS_CONF", self.place.join("containers.conf"));
        command.env("CONTAINERS_STORAGE_CONF", self.place.join("storage.conf"));
        command.args(["--runtime", &runtime()]);
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = patient("podman");
        self.set_up(&mut command);
        command.args(args);
        command
    }

    /// `podman ARGS`, to its end.
    fn run(&self, args: &[&str]) -> Run {
        finish(&mut self.command(args))
    }

    /// `podman run --rm` without a network.
    fn job(&self, options: &[&str], rest: &[&str]) -> Run {
        let parent = self.parent();
        let head = ["run", "--rm", "--network", "none", "--cgroup-parent", &parent];
        self.run(&[&head, options, &[BUSYBOX], rest].concat())
    }

    fn parent(&self) -> String {
        format!("/{}", self.place.cgroup)
    }

    #[track_caller]
    fn detached(&self, options: &[&str], rest: &[&str]) -> Container<'_> {
        let name = fresh_name();
        let parent = self.parent();
        let head = ["run", "--detach", "--cgroup-parent", &parent, "--name", &name];
        let run = self.run(&[&head, options, &[BUSYBOX], rest].concat());
        let container = Container { podman: self, name, id: run.stdout.trim().to_owned() };
        run.exits(0);
        container
    }
}

fn fresh_name() -> String {
    format!("job-{}", SERIAL.fetch_add(1, Ordering::Relaxed))
}

struct Container<'a> {
    podman: &'a Podman,
    name: String,
    id: String,
}

impl Container<'_> {
    fn ask(&self, verb: &[&str], args: &[&str]) -> Run {
        self.podman.run(&[verb, &[&self.name], args].concat())
    }

    fn exec(&self, options: &[&str], rest: &[&str]) -> Run {
        self.ask(&[&["exec"], options].concat(), rest)
    }

    #[track_caller]
    fn inspect(&self, path: &str) -> String {
        let run = self.ask(&["inspect", "--format", &format!("{{{{{path}}}}}")], &[]);
        run.exits(0).stdout.trim().to_owned()
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        self.podman.run(&["rm", "--force", "--time", "0", &self.name]);
    }
}

const NONE: [&str; 2] = ["--network", "none"];

#[test]
fn run_gives_output_and_the_exit_status() {
    need_clients!("podman", "conmon");
    let script = "echo out; echo err >&2; exit 42";
    let run = podman().job(&[], &["sh", "-c", script]).exits(42);
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("out\n", "err\n"));
    podman().job(&[], &["no-such-program"]).exits(127).complains("no-such-program");
    podman().job(&[], &["/etc/passwd"]).exits(126).complains("ermission denied");
    let options =
        ["--read-only", "--tmpfs", "/scratch:size=1m", "--user", "ann", "--hostname", "box"];
    let script = "id; hostname; (: > /new) || grep ' /scratch ' /proc/mounts";
    let run = podman().job(&options, &["sh", "-c", script]).exits(0);
    assert!(run.stdout.starts_with("uid=1001(ann) gid=1002(ann)"), "{run:#?}");
    assert!(run.stdout.contains("\nbox\n") && run.stdout.contains("size=1024k"), "{run:#?}");
    let run = podman()
        .job(
            &["--cap-drop", "ALL", "--security-opt", "no-new-privileges"],
            &["grep", "-E", "^(CapBnd|NoNewPrivs|Seccomp):", "/proc/self/status"],
        )
        .exits(0);
    assert_eq!(run.stdout, "CapBnd:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n");
}

#[test]
fn a_terminal_is_talked_to() {
    need_clients!("podman", "conmon");
    let parent = podman().parent();
    let script =
        "tty; while read line; do echo got $line $(stty size); test $line = end && exit 4; done";
    let head = ["run", "--rm", "-it", "--network", "none", "--cgroup-parent", &parent];
    let mut terminal =
        Terminal::run(podman().command(&[&head[..], &[BUSYBOX, "sh", "-c", script]].concat()));
    terminal.until("/dev/pts/0");
    terminal.type_in("end\n");
    terminal.until("got end");
    assert_eq!(terminal.end(), 4, "{:?}", terminal.seen);
}

#[test]
fn exec_logs_top_pause_and_stop() {
    need_clients!("podman", "conmon");
    let options = ["--memory", "100m", "--pids-limit", "50", "--cpus", "0.5"];
    let script = "trap 'echo got TERM; exit 9' TERM; echo ready; while :; do sleep 0.1; done";
    let job = podman().detached(&[&NONE[..], &options].concat(), &["sh", "-c", script]);
    eventually("ready", || job.ask(&["logs"], &[]).stdout.contains("ready"));
    let run = job.exec(&[], &["sh", "-c", "echo out; echo err >&2; exit 7"]).exits(7);
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("out\n", "err\n"));
    job.exec(
        &["--user", "ann", "--env", "X=y", "--workdir", "/etc"],
        &["sh", "-c", "id -u; echo $X; pwd"],
    )
    .exits(0)
    .says("1001\ny\n/etc\n");
    job.exec(&["-t"], &["tty"]).exits(0).says("/dev/pts/");
    job.exec(&[], &["no-such-program"]).exits(127);
    job.ask(&["top"], &[]).exits(0).says("sh -c");
    let control =
        |v1: &str, v2: &str| podman().place.control(&format!("libpod-{}", job.id), v1, v2);
    assert_eq!(control("memory.limit_in_bytes", "memory.max"), "104857600");
    assert_eq!(control("pids.max", "pids.max"), "50");
    job.ask(&["pause"], &[]).exits(0);
    assert_eq!(job.inspect(".State.Status"), "paused");
    job.ask(&["unpause"], &[]).exits(0);
    job.ask(&["stop", "--time", "20"], &[]).exits(0);
    assert_eq!(job.inspect(".State.ExitCode"), "9");
    job.ask(&["start"], &[]).exits(0);
    job.ask(&["kill"], &[]).exits(0);
    job.ask(&["wait"], &[]).exits(0).says("137");
}

#[test]
fn out_of_memory_is_137() {
    need_clients!("podman", "conmon");
    let options = ["--memory", "20m", "--memory-swap", "20m"];
    let job = podman().detached(&[&NONE[..], &options].concat(), &["tail", "/dev/zero"]);
    job.ask(&["wait"], &[]).exits(0).says("137");
}

#[test]
fn a_volume_and_a_device() {
    need_clients!("podman", "conmon");
    let scratch = Scratch::new();
    scratch.file("data", "from outside");
    let volume = format!("{}:/in:ro", scratch.path().display());
    let script = "cat /in/data; (: > /in/new) || head -c 3 /dev/there | wc -c";
    let options = ["-v", &volume, "--device", "/dev/zero:/dev/there:r"];
    let run = podman().job(&options, &["sh", "-c", script]).exits(0);
    assert_eq!(run.stdout, "from outside3\n");
}

#[test]
fn a_pods_containers_share_their_namespaces() {
    need_clients!("podman", "conmon", "catatonit");
    let pod = fresh_name();
    let parent = podman().parent();
    podman()
        .run(&["pod", "create", "--name", &pod, "--network", "none", "--cgroup-parent", &parent])
        .exits(0);
    let member = |script: &str| {
        let run = podman().run(&["run", "--detach", "--pod", &pod, BUSYBOX, "sh", "-c", script]);
        run.exits(0).stdout.trim().to_owned()
    };
    let server = member("nc -l -p 8080 -e echo hello from next door; sleep 1000");
    let client = member("sleep 1000");
    let namespaces = |id: &str| {
        let script = "for n in ipc net uts mnt pid; do readlink /proc/self/ns/$n; done";
        let run = podman().run(&["exec", id, "sh", "-c", script]).exits(0);
        run.stdout.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let (one, other) = (namespaces(&server), namespaces(&client));
    assert_eq!(one[..3], other[..3]);
    assert!(one[3] != other[3] && one[4] != other[4], "{one:?} {other:?}");
    eventually("an answer", || {
        let run = podman().run(&["exec", &client, "nc", "127.0.0.1", "8080"]);
        run.stdout.contains("hello from next door")
    });
    podman().run(&["pod", "pause", &pod]).exits(0);
    podman().run(&["pod", "unpause", &pod]).exits(0);
    podman().run(&["pod", "stop", "--time", "0", &pod]).exits(0);
    podman().run(&["pod", "rm", "--force", "--time", "0", &pod]).exits(0);
}

#[test]
fn a_small_kube_yaml_is_played() {
    need_clients!("podman", "conmon", "catatonit");
    let scratch = Scratch::new();
    let name = fresh_name();
    let yaml = format!(
        "apiVersion: v1
kind: Pod
metadata:
  name: {name}
spec:
  restartPolicy: Never
  containers:
  - name: one
    image: {BUSYBOX}
    imagePullPolicy: Never
    command: [sh, -c, 'id -u; grep CapEff /proc/self/status; (: > /new) || echo refused; sleep 1000']
    securityContext:
      runAsUser: 1001
      readOnlyRootFilesystem: true
      allowPrivilegeEscalation: false
      capabilities: {{ drop: [ALL] }}
    resources:
      limits: {{ memory: 64Mi, cpu: '0.5' }}
  - name: two
    image: {BUSYBOX}
    imagePullPolicy: Never
    command: [sleep, '1000']
"
    );
    let file = scratch.file("pod.yaml", &yaml);
    let file = file.to_str().unwrap();
    podman().run(&["play", "kube", "--network", "none", file]).exits(0);
    let one = format!("{name}-one");
    eventually("its output", || podman().run(&["logs", &one]).stdout.ends_with("refused\n"));
    let run = podman().run(&["logs", &one]).exits(0);
    assert_eq!(run.stdout, "1001\nCapEff:\t0000000000000000\nrefused\n");
    podman().run(&["exec", &format!("{name}-two"), "true"]).exits(0);
    podman().run(&["play", "kube", "--down", file]).exits(0);
    let run = podman().run(&["ps", "--all", "--quiet", "--filter", &format!("name={name}")]);
    assert_eq!(run.exits(0).stdout, "");
}

#[test]
fn a_user_namespace_by_hand() {
    need_clients!("podman", "conmon");
    let job = podman().detached(
        &[&NONE[..], &["--uidmap", "0:200000:2000", "--gidmap", "0:200000:2000"]].concat(),
        &["sh", "-c", "cat /proc/self/uid_map; id -u; touch /made; stat -c %u /made; sleep 1000"],
    );
    eventually("its output", || job.ask(&["logs"], &[]).stdout.lines().count() == 3);
    let logs = job.ask(&["logs"], &[]).stdout;
    let words: Vec<&str> = logs.split_whitespace().collect();
    assert_eq!(words, ["0", "200000", "2000", "0", "0"]);
    let pid: i32 = job.inspect(".State.Pid").parse().unwrap();
    assert_eq!(clients::status(pid, "Uid").split_whitespace().next(), Some("200000"));
    job.exec(&["--user", "1001"], &["id", "-u"]).exits(0).says("1001");
}

/// It needs an entry for the user `containers` in /etc/subuid, so it runs where that file is
/// another one.
#[test]
fn userns_auto_gives_each_its_own_range() {
    need_clients!("podman", "conmon", "unshare");
    let scratch = Scratch::new();
    let ranges = scratch.file("subid", "containers:300000:65536\n");
    let inside = format!(
        "set -e
for file in /etc/subuid /etc/subgid; do
    mount --bind {} $file
done
exec \"$@\"",
        ranges.display()
    );
    let auto = |script: &str| {
        let mut command = patient("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", &inside, "sh"]);
        command.arg(installed("podman").unwrap());
        podman().set_up(&mut command);
        command.args([
            "run",
            "--rm",
            "-i",
            "--network",
            "none",
            "--userns=auto",
            "--cgroup-parent",
        ]);
        command.args([&podman().parent(), BUSYBOX, "sh", "-c", script]);
        command
    };
    // Two at once: the second learns the range of the first, which waits for it.
    let mut first = auto("cat /proc/self/uid_map; cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut out = std::io::BufReader::new(first.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut out, &mut line).unwrap();
    let second = finish(&mut auto("cat /proc/self/uid_map; id -u")).exits(0);
    drop(first.stdin.take());
    first.wait().unwrap();
    let start = |text: &str| text.split_whitespace().nth(1).unwrap().parse::<u32>().unwrap();
    assert!(start(&line) >= 300_000 && start(&second.stdout) >= 300_000, "{line} {second:#?}");
    assert_ne!(start(&line), start(&second.stdout));
    assert!(second.stdout.ends_with("\n0\n"), "{second:#?}");
}

#[test]
fn nothing_is_left_of_a_container() {
    need_clients!("podman", "conmon");
    let job = podman().detached(&NONE, &["sleep", "1000"]);
    let id = job.id.clone();
    assert!(!clients::mounts_below(&podman().place.path().display().to_string()).is_empty());
    let dirs = |podman: &Podman| {
        let all = podman.place.cgroups().into_iter();
        all.filter(|d| d.to_string_lossy().contains(&id)).collect::<Vec<_>>()
    };
    assert!(!dirs(podman()).is_empty(), "the control: it has cgroups");
    job.exec(&["--detach"], &["sleep", "999"]).exits(0);
    job.ask(&["rm", "--force", "--time", "0"], &[]).exits(0);
    eventually("its monitor has ended", || clients::processes(&id).is_empty());
    assert_eq!(dirs(podman()), Vec::<PathBuf>::new());
    assert!(!Path::new("/run/stockade").join(&id).exists());
    assert!(!Path::new("/run/runc").join(&id).exists());
}
