//! Hooks: which run where and in which order, with what, and what a failure does.

use crate::bundle::{Bundle, wait};
use crate::need_root;
use serde_json::json;

fn script(bundle: &Bundle, name: &str, body: &str) -> std::path::PathBuf {
    let path = bundle.dir.file(name, &format!("#!/bin/sh\n{body}\n"));
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    path
}

#[test]
fn all_six_kinds_run_in_their_order_with_the_state_on_stdin() {
    need_root!();
    let mut bundle = Bundle::new("exec sleep 100");
    let log = bundle.dir.file("log", "");
    let body = format!(
        "read -r state; echo \"$1 $(readlink /proc/self/ns/mnt) $PWD $state\" >>{}",
        log.display()
    );
    let path = script(&bundle, "hook", &body);
    // Inside there is a shell of the container's, and its root.
    bundle.rootfs.file("log", "");
    let inside =
        bundle.rootfs.file("hook", "#!/bin/sh\nread -r state; echo \"$1 $state\" >>/log\n");
    std::fs::set_permissions(inside, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let hook = |name: &str| json!([{"path": &path, "args": ["hook", name], "env": ["PATH=/bin:/usr/bin"]}]);
    bundle.set("/hooks", json!({
        "prestart": hook("prestart"), "createRuntime": hook("createRuntime"),
        "createContainer": hook("createContainer"),
        "startContainer": [{"path": "/hook", "args": ["hook", "startContainer"], "env": ["PATH=/bin"]}],
        "poststart": hook("poststart"), "poststop": hook("poststop")
    }));
    let read = || std::fs::read_to_string(&log).unwrap();
    let names = || -> Vec<String> {
        read().lines().map(|l| l.split(' ').next().unwrap().to_owned()).collect()
    };
    let container = bundle.create().unwrap();
    let pid = container.state().unwrap().pid;
    assert_eq!(names(), ["prestart", "createRuntime", "createContainer"]);
    container.start().unwrap();
    assert_eq!(names().last().unwrap(), "poststart");
    let started = std::fs::read_to_string(bundle.rootfs.join("log")).unwrap();
    assert!(started.starts_with("startContainer {"), "{started}");
    assert!(started.contains("\"status\":\"created\""), "{started}");
    container.delete(true).unwrap();
    wait(pid);
    assert_eq!(names().last().unwrap(), "poststop");
    let own = std::fs::read_link("/proc/self/ns/mnt").unwrap();
    for line in read().lines() {
        let mut words = line.splitn(4, ' ');
        let (name, ns, cwd) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
        let state: serde_json::Value = serde_json::from_str(words.next().unwrap()).unwrap();
        assert_eq!(state["id"], bundle.id.as_str());
        let status = match name {
            "poststart" => "running",
            "poststop" => "stopped",
            _ => "creating",
        };
        assert_eq!(state["status"], status, "{line}");
        assert_eq!(state["pid"] == pid, name != "poststop", "{line}");
        let rootfs = bundle.rootfs.path().to_str();
        let begins = if name == "createContainer" { rootfs } else { state["bundle"].as_str() };
        assert_eq!(Some(cwd), begins, "{line}");
        assert_eq!(*ns == *own.to_string_lossy(), name != "createContainer", "{line}");
    }
    bundle.is_gone();
}

/// T24, CVE-2025-23266: nothing of the container's environment, and none of the caller's.
#[test]
fn t24_a_hook_has_the_environment_of_its_own_and_no_descriptor_of_the_callers() {
    need_root!();
    let mut bundle = Bundle::new("true");
    let log = bundle.dir.file("log", "");
    let path = script(&bundle, "hook", &format!("(env; ls -l /proc/self/fd) >{}", log.display()));
    bundle.add("/process/env", "LD_PRELOAD=/evil.so");
    bundle.set(
        "/hooks",
        json!({"createRuntime": [{"path": path, "env": ["ONLY=this", "PATH=/bin"]}]}),
    );
    let held = std::fs::File::open("/etc/hostname").unwrap();
    nix::fcntl::fcntl(&held, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
    bundle.run().ends(0);
    let seen = std::fs::read_to_string(log).unwrap();
    assert!(seen.contains("ONLY=this"), "{seen}");
    for other in ["LD_PRELOAD", "CARGO", "HOME=", "/etc/hostname"] {
        assert!(!seen.contains(other), "{other}\n{seen}");
    }
}

#[test]
fn t24_a_hook_that_fails_or_takes_too_long_ends_the_create_and_leaves_nothing() {
    need_root!();
    for kind in ["prestart", "createRuntime", "createContainer", "startContainer", "poststart"] {
        for (body, words) in [("echo why >&2; exit 3", "failed"), ("sleep 60", "killed")] {
            let mut bundle = Bundle::new("exec sleep 100");
            let path = script(&bundle, "hook", body);
            let inside = bundle.rootfs.file("hook", &format!("#!/bin/sh\n{body}\n"));
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(inside, mode).unwrap();
            let path = if kind == "startContainer" { "/hook".into() } else { path };
            bundle
                .set("/hooks", json!({kind: [{"path": path, "timeout": 1, "env": ["PATH=/bin"]}]}));
            let error = match bundle.create() {
                Err(e) => e,
                Ok(container) => {
                    let pid = container.state().unwrap().pid;
                    let error = container.start().unwrap_err();
                    wait(pid);
                    container.delete(true).unwrap();
                    error
                }
            };
            let text = error.to_string();
            assert!(text.contains(kind) && text.contains(words), "{kind}: {text}");
            if words == "failed" && !kind.starts_with("start") {
                assert!(text.contains("why"), "{text}");
            }
            bundle.is_gone();
        }
    }
}

#[test]
fn a_container_whose_poststart_hook_fails_is_gone_after_start() {
    need_root!();
    let mut bundle = Bundle::new("exec sleep 100");
    let after = bundle.dir.file("after", "");
    let fails = script(&bundle, "fails", "exit 3");
    let tells = script(&bundle, "tells", &format!("echo ran >{}", after.display()));
    bundle.set("/hooks", json!({"poststart": [{"path": fails}], "poststop": [{"path": tells}]}));
    let container = bundle.create().unwrap();
    let pid = container.state().unwrap().pid;
    assert!(container.start().unwrap_err().to_string().contains("poststart"));
    wait(pid);
    assert_eq!(std::fs::read_to_string(after).unwrap(), "ran\n");
    assert!(container.state().is_err());
    bundle.is_gone();
}

/// What the hooks before it have set up is cleared away by the last ones.
#[test]
fn poststop_hooks_run_also_where_the_create_failed() {
    need_root!();
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let mut bundle = Bundle::new("exec sleep 100");
        let after = bundle.dir.file("after", "");
        let fails = script(&bundle, "fails", "exit 3");
        let tells = script(&bundle, "tells", &format!("cat >{}", after.display()));
        bundle.set("/hooks", json!({kind: [{"path": fails}], "poststop": [{"path": tells}]}));
        assert!(bundle.create().unwrap_err().to_string().contains(kind));
        let state = std::fs::read_to_string(after).unwrap();
        assert!(state.contains("\"stopped\""), "{kind}: {state}");
        bundle.is_gone();
    }
}

#[test]
fn poststop_hooks_that_fail_are_warnings_and_the_others_run() {
    need_root!();
    let mut bundle = Bundle::new("exec sleep 100");
    let after = bundle.dir.file("after", "");
    let fails = script(&bundle, "fails", "echo why; exit 3");
    let tells = script(&bundle, "tells", &format!("echo ran >{}", after.display()));
    bundle.set(
        "/hooks",
        json!({"poststop": [{"path": fails}, {"path": "/not/there"}, {"path": tells}]}),
    );
    let container = bundle.create().unwrap();
    let pid = container.state().unwrap().pid;
    container.start().unwrap();
    container.kill(9, false).unwrap();
    wait(pid);
    let warnings = container.delete(true).unwrap();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("poststop hook failed with exit code 3"), "{warnings:?}");
    assert!(warnings[0].contains("why") && warnings[1].contains("/not/there"), "{warnings:?}");
    assert_eq!(std::fs::read_to_string(after).unwrap(), "ran\n");
    bundle.is_gone();
}
