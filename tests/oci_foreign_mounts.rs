//! Containers without a mount namespace of their own: in the host's, or in one that they join.
//!
//! What such a container mounts stays. So the host of these tests is a mount namespace of a test's own.

mod support;

use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use support::bundle::Bundle;

fn container(mount: Option<&str>, more: impl FnOnce(&mut Value)) -> Bundle {
    let c = Bundle::new(|c| {
        let list = c["linux"]["namespaces"].as_array_mut().unwrap();
        list.retain(|n| n["type"] != "mount");
        if let Some(path) = mount {
            list.push(json!({"type": "mount", "path": path}));
        }
        c["linux"]["maskedPaths"] = json!([]);
        c["linux"]["readonlyPaths"] = json!([]);
        more(c);
    });
    for tool in ["ls", "grep", "mount"] {
        let _ = std::os::unix::fs::symlink("busybox", c.rootfs().join("bin").join(tool));
    }
    std::fs::write(c.rootfs().join("inside"), "").unwrap();
    c
}

/// A shell in a mount namespace of its own, in the bundle, where `$S` is stockade with its root, `$ID` the
/// container and `$ROOTFS` its root: what it prints.
#[track_caller]
fn apart(c: &Bundle, script: &str) -> String {
    let o = Command::new("unshare")
        .args(["-m", "--propagation", "private", "sh", "-c", script])
        .env("S", format!("{} --root {}", support::bin(), c.scratch.join("root").display()))
        .env("ID", &c.id)
        .env("ROOTFS", c.rootfs())
        .current_dir(c.dir())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&o.stdout), String::from_utf8_lossy(&o.stderr));
    assert!(o.status.success(), "{text}");
    text
}

#[test]
fn in_the_host_s_mount_namespace_the_root_is_the_container_s_and_that_is_told() {
    need_root!();
    let c = container(None, |c| c["root"]["readonly"] = true.into());
    let before = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let text = apart(
        &c,
        "set -e
        grep ' / / ' /proc/self/mountinfo >before
        $S run -d $ID </dev/null >said 2>&1
        cat said
        pid=$($S state $ID | sed -n 's/.*\"pid\": *\\([0-9]*\\).*/\\1/p')
        test \"$(readlink /proc/$pid/ns/mnt)\" = \"$(readlink /proc/self/ns/mnt)\"
        $S exec $ID ls /
        $S exec $ID ls /proc/1/root/inside
        $S exec $ID sh -c 'echo >/x' || echo read-only
        $S delete --force $ID
        # Its mounts are there, and those of the host are as they were.
        grep -c \" $ROOTFS/proc \" /proc/self/mountinfo
        grep ' / / ' /proc/self/mountinfo | cmp - before && echo unchanged",
    );
    assert!(text.contains("its mounts below") && text.contains("the host's"), "{text}");
    assert!(text.contains("inside\n") && !text.contains("vmlinuz"), "{text}");
    assert!(text.contains("read-only\n") && text.contains("\n1\nunchanged"), "{text}");
    assert_eq!(std::fs::read_to_string("/proc/self/mountinfo").unwrap(), before);
}

#[test]
fn a_container_that_does_not_come_about_leaves_no_mounts_in_the_host_s() {
    need_root!();
    let c = container(None, |c| c["process"]["args"] = json!(["/no/such/program"]));
    let text = apart(
        &c,
        "cat /proc/self/mountinfo >before; $S run $ID; cat /proc/self/mountinfo | cmp - before && echo same",
    );
    assert!(text.contains("no such file") && text.contains("same\n"), "{text}");
}

#[test]
fn what_makes_no_sense_in_the_host_s_mount_namespace_is_an_error() {
    need_root!();
    for (more, why) in [
        (json!({"maskedPaths": ["/proc/kcore"]}), "without a private MNT namespace"),
        (json!({"readonlyPaths": ["/proc/sys"]}), "without a private MNT namespace"),
        (
            json!({"namespaces": [{"type": "pid"}, {"type": "user"}],
                "uidMappings": [{"containerID": 0, "hostID": 0, "size": 1}],
                "gidMappings": [{"containerID": 0, "hostID": 0, "size": 1}]}),
            "no rights over the host's mounts",
        ),
    ] {
        let c = container(None, |c| {
            let linux = c["linux"].as_object_mut().unwrap();
            linux.extend(more.as_object().unwrap().clone());
            c["hostname"] = json!("");
        });
        let said = c.fails(&["run", "ID"]);
        assert!(said.contains(why), "{said}");
    }
}

/// A process that is in a mount namespace of its own.
struct Holder(Child);

impl Holder {
    fn new() -> Holder {
        let mut child = Command::new("unshare")
            .args(["-m", "--propagation", "private", "sh", "-c", "echo; exec sleep 1000"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Holder(child)
    }

    fn namespace(&self) -> String {
        format!("/proc/{}/ns/mnt", self.0.id())
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The others there keep their root, which runc's pivot_root takes from them.
#[test]
fn a_mount_namespace_is_joined_and_those_who_are_in_it_keep_their_root() {
    need_root!();
    let holder = Holder::new();
    let root = || std::fs::read_dir(format!("/proc/{}/root", holder.0.id())).unwrap().count();
    let before = root();
    let c = container(Some(&holder.namespace()), |_| {}).start();
    let said = std::fs::read_to_string(c.scratch.join("output")).unwrap();
    assert!(said.contains("mount namespace that it joins"), "{said}");
    let of = |pid: i32| std::fs::read_link(format!("/proc/{pid}/ns/mnt")).unwrap();
    assert_eq!(of(c.pid()), std::fs::read_link(holder.namespace()).unwrap());
    assert_eq!(root(), before);
    assert!(c.exec(&["ls", "/"]).lines().any(|l| l == "inside"));
    let inside = c.exec(&["readlink", "/proc/self/ns/mnt"]);
    assert_eq!(inside.trim(), of(c.pid()).to_str().unwrap());
    // The host has nothing of it.
    let host = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!host.contains(c.rootfs().to_str().unwrap()));
}

/// Root of a user namespace has every right over the mounts of its own, but for those that the host has
/// locked: what is added while the container runs is no way around that.
#[test]
fn what_the_host_has_read_only_stays_so_in_a_mount_that_is_added() {
    need_root!();
    let c = Bundle::new(|c| {
        c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
        let ids = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
        c["linux"]["uidMappings"] = ids.clone();
        c["linux"]["gidMappings"] = ids;
        for set in ["bounding", "effective", "permitted"] {
            c["process"]["capabilities"][set] = json!(["CAP_SYS_ADMIN"]);
        }
    });
    let _ = std::os::unix::fs::symlink("busybox", c.rootfs().join("bin/mount"));
    let shared = c.dir().join("shared");
    std::fs::create_dir(&shared).unwrap();
    let list =
        json!([{"destination": "/added", "type": "bind", "source": shared, "options": ["bind"]}]);
    std::fs::write(c.dir().join("list.json"), list.to_string()).unwrap();
    let text = apart(
        &c,
        "set -e
        mount --bind shared shared
        mount -o remount,bind,ro shared
        $S run -d $ID </dev/null >said 2>&1 || { cat said; exit 1; }
        $S mounts add $ID list.json
        $S exec $ID sh -c 'echo >/added/x' && echo written || echo refused
        $S exec $ID mount -o remount,bind,rw /added && echo opened || echo locked
        $S exec $ID sh -c 'echo >/added/x' && echo written || echo refused
        $S delete --force $ID",
    );
    let said: Vec<&str> =
        text.lines().filter(|l| ["written", "refused", "opened", "locked"].contains(l)).collect();
    assert_eq!(said, ["refused", "locked", "refused"], "{text}");
}
