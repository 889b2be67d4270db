//! `linux.seccomp.listenerPath`: an agent of the user's answers for the calls that the filter asks about.

mod support;

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use stockade::plan::seccomp::interpret::Call;
use stockade::plan::seccomp::notify::name_of;
use stockade::sys::io::{self, PollFd};
use stockade::sys::seccomp::{self, Verdict};
use support::bundle::Bundle;

/// What the agent makes of a call; `None`: it leaves, as one that was killed.
type Answer = fn(&str) -> Option<Verdict>;

fn carry_on(_: &str) -> Option<Verdict> {
    Some(Verdict::Continue)
}

fn no_medium(name: &str) -> Option<Verdict> {
    let made = ["mkdir", "mkdirat"].contains(&name);
    Some(if made { Verdict::Errno(libc::ENOMEDIUM) } else { Verdict::Continue })
}

/// An agent: one thread for each process that it is told of.
struct Agent {
    told: Receiver<Value>,
    asked: Arc<Mutex<BTreeSet<String>>>,
}

impl Agent {
    fn at(listener: UnixListener, answer: Answer) -> Agent {
        let (sender, told) = channel();
        let asked = Arc::new(Mutex::new(BTreeSet::new()));
        let heard = Arc::clone(&asked);
        std::thread::spawn(move || {
            for peer in listener.incoming() {
                let peer = peer.unwrap();
                let mut bytes = vec![0; 65536];
                let (n, fd) = io::recv(peer.as_fd(), &mut bytes, false).unwrap();
                // One who failed on the way.
                let (Some(fd), Ok(state)) = (fd, serde_json::from_slice(&bytes[..n])) else {
                    continue;
                };
                // That is all that is said.
                assert_eq!(io::recv(peer.as_fd(), &mut bytes, false).unwrap().0, 0);
                if sender.send(state).is_err() {
                    return;
                }
                let heard = Arc::clone(&heard);
                std::thread::spawn(move || serve(fd, answer, &heard));
            }
        });
        Agent { told, asked }
    }

    fn new(c: &Bundle, answer: Answer) -> Agent {
        Agent::at(UnixListener::bind(socket(c)).unwrap(), answer)
    }

    #[track_caller]
    fn told(&self) -> Value {
        self.told.recv_timeout(Duration::from_secs(30)).expect("the agent is told of a process")
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().iter().cloned().collect()
    }
}

fn serve(listener: OwnedFd, answer: Answer, heard: &Mutex<BTreeSet<String>>) {
    loop {
        let mut fds = [PollFd::new(listener.as_raw_fd(), libc::POLLIN)];
        io::poll(&mut fds, None).unwrap();
        let [got] = fds;
        if got.revents() & libc::POLLIN == 0 {
            // Nobody is left who could ask.
            return;
        }
        // The one who asked may have been killed meanwhile.
        let Ok(call) = seccomp::receive(listener.as_fd()) else { continue };
        let (name, _) = name_of(&Call { nr: call.nr, arch: call.arch, args: call.args });
        heard.lock().unwrap().insert(name.clone());
        let Some(verdict) = answer(&name) else { return };
        let _ = seccomp::respond(listener.as_fd(), call.id, verdict);
    }
}

fn socket(c: &Bundle) -> PathBuf {
    c.scratch.join("agent.sock")
}

/// A container whose filter asks about these calls, and does what `more` says of others.
fn asking(names: &[&str], args: &[&str], more: impl FnOnce(&mut Value)) -> Bundle {
    let (names, args) = (json!(names), json!(args));
    let c = Bundle::new(|config| {
        config["process"]["args"] = args;
        config["annotations"] = json!({ "org.example": "annotated" });
        config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "", "listenerMetadata": "of the agent's",
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
            "syscalls": [{ "names": names, "action": "SCMP_ACT_NOTIFY" }],
        });
        more(config);
    });
    if configured(&c)["linux"]["seccomp"]["listenerPath"] == "" {
        listen_at(&c, socket(&c).to_str().unwrap());
    }
    c
}

fn configured(c: &Bundle) -> Value {
    serde_json::from_slice(&std::fs::read(c.dir().join("config.json")).unwrap()).unwrap()
}

fn listen_at(c: &Bundle, path: &str) {
    let mut config = configured(c);
    config["linux"]["seccomp"]["listenerPath"] = path.into();
    std::fs::write(c.dir().join("config.json"), config.to_string()).unwrap();
}

const MAKE: [&str; 3] = ["sh", "-c", "mkdir /tmp/made || exit 7"];

#[track_caller]
fn nothing_is_left(c: &Bundle) {
    assert_eq!(c.ok(&["list", "-q"]), "");
    assert!(!c.scratch.join("root").join(&c.id).exists());
    let of = |controller: &str| Path::new("/sys/fs/cgroup").join(controller).join(&c.id);
    assert!(!of("memory").exists() && !of("").exists());
}

/// crun's annotation stands in for listenerPath, and only where there is none.
#[test]
fn an_annotation_names_the_agent_too() {
    need_root!();
    let c = asking(&["mkdir", "mkdirat"], &["mkdir", "/x"], |config| {
        config["linux"]["seccomp"].as_object_mut().unwrap().remove("listenerPath");
    });
    assert!(c.fails(&["run", "ID"]).contains("listenerPath is not set"));
    let mut config = configured(&c);
    config["annotations"]["run.oci.seccomp.receiver"] = json!(socket(&c));
    std::fs::write(c.dir().join("config.json"), config.to_string()).unwrap();
    let agent = Agent::new(&c, no_medium);
    let said = c.fails(&["run", "ID"]);
    assert!(said.contains("No medium found"), "{said}");
    assert_eq!(agent.told()["state"]["id"], c.id.as_str());
}

#[test]
fn the_agent_answers_for_a_call_and_is_told_of_which_container() {
    need_root!();
    for no_new_privileges in [true, false] {
        let c = asking(&["mkdir", "mkdirat"], &MAKE, |config| {
            config["process"]["noNewPrivileges"] = no_new_privileges.into();
        });
        let agent = Agent::new(&c, no_medium);
        let o = c.call(&["run", "--pid-file", "pid", "ID"]);
        assert_eq!(o.status.code(), Some(7), "{o:?}");
        let said = String::from_utf8_lossy(&o.stderr);
        assert!(said.contains("No medium found"), "{said}");
        let told = agent.told();
        let pid: i32 =
            std::fs::read_to_string(c.dir().join("pid")).unwrap().trim().parse().unwrap();
        assert_eq!(
            told,
            json!({
                "ociVersion": told["state"]["ociVersion"], "fds": ["seccompFd"], "pid": pid,
                "metadata": "of the agent's",
                "state": {
                    "ociVersion": told["ociVersion"], "id": c.id, "status": "creating", "pid": pid,
                    "bundle": c.dir(), "annotations": { "org.example": "annotated" },
                },
            })
        );
        assert_eq!(agent.asked(), ["mkdir"]);
        assert!(!c.rootfs().join("tmp/made").exists());
        nothing_is_left(&c);
    }
}

#[test]
fn a_created_container_has_its_agent_before_its_start_which_is_asked_about_its_hooks_too() {
    need_root!();
    let c = asking(&["mkdir", "mkdirat"], &["sh", "-c", "mkdir /tmp/made; sleep 1000"], |config| {
        config["hooks"] = json!({ "startContainer": [{
            "path": "/bin/sh",
            "args": ["sh", "-c", "mkdir /tmp/hooked && ls /proc/self/fd | wc -l >/tmp/fds"],
        }] });
    });
    let agent = Agent::new(&c, carry_on);
    let log = std::fs::File::create(c.scratch.join("output")).unwrap();
    let made =
        c.command(&["create", "ID"]).stdout(log.try_clone().unwrap()).stderr(log).status().unwrap();
    assert!(made.success(), "{}", std::fs::read_to_string(c.scratch.join("output")).unwrap());
    let told = agent.told();
    assert_eq!(told["state"]["status"], "creating");
    assert_eq!(told["pid"], c.pid());
    assert!(!c.rootfs().join("tmp/hooked").exists() && agent.asked().is_empty());
    c.ok(&["start", "ID"]);
    support::live::eventually("the program makes its directory", || {
        c.rootfs().join("tmp/made").exists()
    });
    assert!(c.rootfs().join("tmp/hooked").exists());
    // Its standard streams, and that of the directory itself.
    assert_eq!(std::fs::read_to_string(c.rootfs().join("tmp/fds")).unwrap().trim(), "4");
    assert_eq!(agent.asked(), ["mkdir"]);
    assert!(agent.told.try_recv().is_err(), "told once");
}

#[test]
fn a_further_process_is_told_of_by_its_own_number() {
    need_root!();
    for no_new_privileges in [true, false] {
        let c = asking(&["mkdir", "mkdirat"], &["sleep", "1000"], |config| {
            config["process"]["noNewPrivileges"] = no_new_privileges.into();
        });
        let agent = Agent::new(&c, no_medium);
        let c = c.start();
        assert_eq!(agent.told()["state"]["status"], "creating");
        let said = c.fails(&["exec", "--pid-file", "pid", "ID", "mkdir", "/tmp/made"]);
        assert!(said.contains("No medium found"), "{said}");
        let told = agent.told();
        let pid: i32 =
            std::fs::read_to_string(c.dir().join("pid")).unwrap().trim().parse().unwrap();
        assert_eq!((&told["pid"], &told["metadata"]), (&json!(pid), &json!("of the agent's")));
        assert_eq!(
            (&told["state"]["pid"], &told["state"]["status"]),
            (&json!(c.pid()), &json!("running"))
        );
        assert_ne!(pid, c.pid());
    }
}

/// Between the filter and the program; each is asked about, and carried out.
const OURS: [&str; 19] = [
    "execve",
    "execveat",
    "open",
    "openat",
    "read",
    "close",
    "fcntl",
    "close_range",
    "prctl",
    "seccomp",
    "capset",
    "rt_sigprocmask",
    "signalfd4",
    "ppoll",
    "accept4",
    "dup3",
    "faccessat2",
    "clone",
    "clock_gettime",
];

#[test]
fn calls_that_the_runtime_itself_makes_may_be_asked_about() {
    need_root!();
    for no_new_privileges in [true, false] {
        let c = asking(&OURS, &["true"], |config| {
            config["process"]["noNewPrivileges"] = no_new_privileges.into();
        });
        let agent = Agent::new(&c, carry_on);
        c.ok(&["run", "ID"]);
        let asked = agent.asked();
        for name in ["execve", "close", "seccomp"] {
            assert!(asked.iter().any(|n| n == name), "{name}: {asked:?}");
        }
        let log = std::fs::File::create(c.scratch.join("output")).unwrap();
        let made =
            c.command(&["create", "ID"]).stdout(log.try_clone().unwrap()).stderr(log).status();
        assert!(made.unwrap().success());
        c.ok(&["start", "ID"]);
        for name in ["accept4", "ppoll"] {
            assert!(agent.asked().iter().any(|n| n == name), "{name}: {:?}", agent.asked());
        }
    }
    let c = asking(&OURS, &["sleep", "1000"], |_| {});
    let _agent = Agent::new(&c, carry_on);
    let c = c.start();
    assert_eq!(c.exec(&["echo", "through"]), "through\n");
}

#[test]
fn the_rest_of_the_profile_holds_and_does_not_meet_what_the_runtime_needs() {
    need_root!();
    for no_new_privileges in [true, false] {
        // All of these are made while it waits for its start, and none by the program.
        let ours = ["accept4", "signalfd4", "sendmsg", "ppoll", "dup3"];
        let c = asking(
            &["mkdir", "mkdirat"],
            &["sh", "-c", "chmod 777 /tmp; mkdir /tmp/made; sleep 1000"],
            |config| {
                config["process"]["noNewPrivileges"] = no_new_privileges.into();
                let rules = config["linux"]["seccomp"]["syscalls"].as_array_mut().unwrap();
                let denied = json!(["chmod", "fchmodat", "fchmodat2"]);
                rules.push(json!({ "names": denied, "action": "SCMP_ACT_ERRNO", "errnoRet": 100 }));
                rules.push(json!({ "names": ours, "action": "SCMP_ACT_ERRNO" }));
            },
        );
        let agent = Agent::new(&c, no_medium);
        let output = c.scratch.join("output");
        let log = std::fs::File::create(&output).unwrap();
        let made =
            c.command(&["create", "ID"]).stdout(log.try_clone().unwrap()).stderr(log).status();
        let said = || std::fs::read_to_string(&output).unwrap();
        assert!(made.unwrap().success(), "{}", said());
        c.ok(&["start", "ID"]);
        support::live::eventually("the program is answered", || said().contains("No medium found"));
        assert!(said().contains("Network is down"), "{}", said());
        assert_eq!(agent.asked(), ["mkdir"]);
        let status = std::fs::read_to_string(format!("/proc/{}/status", c.pid())).unwrap();
        let of = |key: &str| support::bundle::status_line(&status, key).to_owned();
        assert_eq!((of("Seccomp").trim(), of("Seccomp_filters").trim()), ("2", "2"));
        let rights = u64::from_str_radix(of("CapEff").trim(), 16).unwrap();
        assert_eq!(rights & (1 << 21), 0, "CAP_SYS_ADMIN is not the program's");
    }
}

#[test]
fn without_an_agent_nothing_is_made() {
    need_root!();
    let c = asking(&["mkdir"], &["true"], |_| {});
    let abstract_name = "@stockade-test-nobody-listens";
    for path in [socket(&c).to_str().unwrap(), "/not/there.sock", abstract_name, "/bin/sh"] {
        listen_at(&c, path);
        for verb in ["run", "create"] {
            let said = c.fails(&[verb, "ID"]);
            assert!(said.contains("failed to connect with seccomp agent"), "{path}: {said}");
            nothing_is_left(&c);
        }
    }
    // And no further process.
    listen_at(&c, socket(&c).to_str().unwrap());
    let c = {
        let mut config = configured(&c);
        config["process"]["args"] = json!(["sleep", "1000"]);
        std::fs::write(c.dir().join("config.json"), config.to_string()).unwrap();
        let _agent = Agent::new(&c, carry_on);
        let c = c.start();
        std::fs::remove_file(socket(&c)).unwrap();
        c
    };
    let said = c.fails(&["exec", "ID", "true"]);
    assert!(said.contains("failed to connect with seccomp agent"), "{said}");
}

#[test]
fn an_agent_may_listen_at_an_abstract_name() {
    need_root!();
    let c = asking(&["mkdir", "mkdirat"], &MAKE, |_| {});
    let name = format!("stockade-test-{}", c.id);
    listen_at(&c, &format!("@{name}"));
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let agent = Agent::at(UnixListener::bind_addr(&address).unwrap(), no_medium);
    assert_eq!(c.call(&["run", "ID"]).status.code(), Some(7));
    assert_eq!(agent.told()["state"]["id"], c.id);
}

#[test]
fn a_call_fails_once_its_agent_has_ended_and_does_not_wait_for_ever() {
    need_root!();
    let c = asking(&["mkdir", "mkdirat"], &MAKE, |_| {});
    let _agent = Agent::new(&c, |_| None);
    let o = c.call(&["run", "ID"]);
    assert_eq!(o.status.code(), Some(7), "{o:?}");
    assert!(String::from_utf8_lossy(&o.stderr).contains("Function not implemented"), "{o:?}");
}

#[test]
fn a_start_that_the_agent_denies_is_an_error_and_no_container_that_waits_for_ever() {
    need_root!();
    for name in ["read", "execve"] {
        let c = asking(&[name], &["true"], |_| {});
        let agent = Agent::new(&c, |_| Some(Verdict::Errno(libc::ENOMEDIUM)));
        let log = std::fs::File::create(c.scratch.join("output")).unwrap();
        let made =
            c.command(&["create", "ID"]).stdout(log.try_clone().unwrap()).stderr(log).status();
        assert!(made.unwrap().success());
        let said = c.fails(&["start", "ID"]);
        assert!(said.to_lowercase().contains("no medium found"), "{name}: {said}");
        assert_eq!(agent.asked(), [name]);
        support::live::eventually("it has ended", || c.state()["status"] == "stopped");
    }
}

#[test]
fn what_nobody_could_answer_is_refused_before_anything_is_made() {
    need_root!();
    for (name, text) in [
        ("write", "SCMP_ACT_NOTIFY cannot be used for the write syscall"),
        ("sendmsg", "SCMP_ACT_NOTIFY cannot be used for the sendmsg syscall"),
    ] {
        let c = asking(&[name], &["true"], |_| {});
        let _agent = Agent::new(&c, carry_on);
        let said = c.fails(&["run", "ID"]);
        assert!(said.contains(text), "{said}");
        nothing_is_left(&c);
    }
    let c = asking(&[], &["true"], |config| {
        config["linux"]["seccomp"]["defaultAction"] = "SCMP_ACT_NOTIFY".into();
        config["linux"]["seccomp"]["syscalls"] = json!([]);
    });
    let said = c.fails(&["run", "ID"]);
    assert!(said.contains("SCMP_ACT_NOTIFY cannot be used as default action"), "{said}");
    let c = asking(&["mkdir"], &["true"], |_| {});
    listen_at(&c, "");
    let said = c.fails(&["run", "ID"]);
    assert!(said.contains("seccomp listenerPath is not set"), "{said}");
}

#[test]
fn a_listener_that_no_rule_asks_is_left_alone() {
    need_root!();
    let c = asking(&["mkdir"], &["mkdir", "/tmp/made"], |config| {
        config["linux"]["seccomp"]["syscalls"][0]["action"] = "SCMP_ACT_LOG".into();
    });
    // Nobody listens there.
    c.ok(&["run", "ID"]);
    assert!(c.rootfs().join("tmp/made").exists());
}

#[test]
fn an_agent_that_hangs_up_ends_the_making_and_leaves_nothing() {
    need_root!();
    let c = asking(&["mkdir"], &["true"], |_| {});
    let listener = UnixListener::bind(socket(&c)).unwrap();
    std::thread::spawn(move || {
        for peer in listener.incoming() {
            drop(peer);
        }
    });
    let said = c.fails(&["run", "ID"]);
    assert!(said.contains("seccomp agent"), "{said}");
    nothing_is_left(&c);
}

/// Both would wait for the agent for ever, and with them whoever wants something of the container.
#[test]
fn an_agent_that_neither_accepts_nor_reads_does_not_hold_up_the_making() {
    need_root!();
    let c = asking(&["mkdir"], &["true"], |config| {
        // More than a socket holds of what nobody reads.
        config["linux"]["seccomp"]["listenerMetadata"] = "x".repeat(1 << 20).into();
    });
    let listener = UnixListener::bind(socket(&c)).unwrap();
    let short = nix::sys::socket::Backlog::new(1).unwrap();
    nix::sys::socket::listen(&listener, short).unwrap();
    let said = c.fails(&["run", "ID"]);
    assert!(said.contains("does not read what it is sent"), "{said}");
    nothing_is_left(&c);
    let name = socket(&c);
    let name = name.to_str().unwrap();
    let mut queue = Vec::new();
    while let Ok(waiting) = stockade::sys::net::connect_now(name.as_bytes()) {
        queue.push(waiting);
    }
    let said = c.fails(&["create", "ID"]);
    assert!(said.contains("failed to connect with seccomp agent"), "{said}");
    assert!(said.contains("does not accept"), "{said}");
    nothing_is_left(&c);
}
