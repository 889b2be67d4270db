//! Mounts of the host's files in containers: their flags, where their sources are looked for, and what a
//! container's root can change of them.

mod support;

use serde_json::{Value, json};
use std::os::unix::fs::{chown, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use support::Scratch;
use support::bundle::Bundle;

/// Where the ids of a container with a user namespace begin on the host.
const FIRST: u32 = 2_000_100_000;

fn give(dir: &Path) {
    std::os::unix::fs::lchown(dir, Some(FIRST), Some(FIRST)).unwrap();
    if dir.is_dir() && !dir.is_symlink() {
        std::fs::read_dir(dir).unwrap().flatten().for_each(|e| give(&e.path()));
    }
}

/// `sh -c script`, perhaps in a user namespace.
fn shell(script: &str, user: bool, change: impl FnOnce(&mut Value, &Path)) -> Bundle {
    let mut root = None;
    let bundle = Bundle::new(|c| {
        c["process"]["args"] = json!(["sh", "-c", script]);
        if user {
            let map = json!([{"containerID": 0, "hostID": FIRST, "size": 65536}]);
            c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
            c["linux"]["uidMappings"] = map.clone();
            c["linux"]["gidMappings"] = map;
        }
        let path = c["root"]["path"].as_str().unwrap().to_owned();
        for applet in ["umount", "awk", "grep"] {
            let _ = symlink("busybox", Path::new(&path).join("bin").join(applet));
        }
        change(c, Path::new(&path));
        root = Some(path);
    });
    if user {
        give(Path::new(&root.unwrap()));
    }
    bundle
}

fn add_mount(c: &mut Value, source: &Path, target: &str, options: &[&str]) {
    let mount =
        json!({"destination": target, "type": "bind", "source": source, "options": options});
    c["mounts"].as_array_mut().unwrap().push(mount);
}

/// `run` in a mount namespace of the test's own, after `prepare` with the source as its `$1`.
fn run_after(bundle: &Bundle, prepare: &str, source: &Path) -> Output {
    let script = format!("{{ {prepare}; }} || exit 99; shift; exec \"$@\"");
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", &script, "sh"]);
    command.arg(source).arg(support::bin()).arg("--root").arg(bundle.scratch.join("root"));
    command.args(["run", &bundle.id]).current_dir(bundle.dir()).stdin(Stdio::null());
    command.output().unwrap()
}

/// What the mount has, sorted; or nothing where it was refused, which has to be said.
fn flags(host: &str, options: &[&str], user: bool) -> Option<String> {
    let source = Scratch::new();
    let print = "awk '$2 == \"/m\" { print $4 }' /proc/self/mounts";
    let bundle = shell(print, user, |c, _| add_mount(c, source.path(), "/m", options));
    let prepare = format!("mount -t tmpfs none \"$1\" && mount -o remount,bind,{host} \"$1\"");
    let o = run_after(&bundle, &prepare, source.path());
    let said = String::from_utf8_lossy(&o.stderr);
    assert_ne!(o.status.code(), Some(99), "{said}");
    if !o.status.success() {
        let words =
            ["error during container init: error mounting", "to rootfs at", "not permitted"];
        assert!(words.iter().all(|w| said.to_lowercase().contains(w)), "{said}");
        return None;
    }
    let text = String::from_utf8(o.stdout).unwrap();
    let known = ["ro", "rw", "nosuid", "nodev", "noexec", "noatime", "relatime", "nodiratime"];
    let mut words: Vec<&str> =
        text.trim().split(',').filter(|w| known.contains(w) || *w == "nosymfollow").collect();
    words.sort_unstable();
    Some(words.join(","))
}

/// As runc has it: with no flag the mount keeps what the host's has; with one it has what was said.
#[test]
fn a_bind_mount_has_the_flags_that_were_said_and_no_others() {
    need_root!();
    for (host, options, expected) in [
        ("ro,noexec,nodiratime", &["bind"][..], "nodiratime,noexec,relatime,ro"),
        ("ro,noexec,nodiratime", &["bind", "dev"], "nodiratime,relatime,rw"),
        ("ro,nosuid", &["bind", "nodev", "rprivate"], "nodev,relatime,rw"),
        ("nosuid,nodev,noexec,noatime", &["bind", "ro"], "noatime,ro"),
        ("nosymfollow", &["rbind", "ro"], "relatime,ro"),
        // Nothing is said by taking a flag of access times away, as with mount(8).
        ("noatime", &["bind", "atime"], "noatime,rw"),
        ("noatime", &["bind", "nodiratime"], "nodiratime,relatime,rw"),
        ("nodiratime", &["bind", "strictatime"], "rw"),
    ] {
        let has = flags(host, options, false);
        assert_eq!(has.as_deref(), Some(expected), "{host} {options:?}");
    }
}

/// In a user namespace what the host has put on the mount stays, and asking for something else is an
/// error.
#[test]
fn in_a_user_namespace_a_bind_mount_keeps_what_the_host_has_put_on_it() {
    need_root!();
    for (host, options, expected) in [
        ("ro,noexec,nosymfollow", &["bind", "nodev"][..], Some("nodev,noexec,relatime,ro")),
        ("nosuid,nodev,noexec,noatime", &["bind", "ro"], Some("noatime,nodev,noexec,nosuid,ro")),
        ("noatime,nodiratime", &["bind", "atime", "norelatime"], Some("noatime,nodiratime,rw")),
        ("noatime,ro", &["bind", "noatime", "nosuid"], Some("noatime,nosuid,ro")),
        ("ro", &["bind", "rw", "nosuid"], None),
        ("nodev", &["rbind", "dev"], None),
        ("relatime", &["bind", "noatime"], None),
        ("noatime", &["bind", "relatime"], None),
        ("strictatime", &["bind", "nodiratime"], None),
    ] {
        let has = flags(host, options, true);
        assert_eq!(has.as_deref(), expected, "{host} {options:?}");
    }
}

/// mount_namespaces(7): mounts that come from a more privileged namespace are locked. A copy that the
/// runtime made on the host and handed in would not be.
#[test]
fn root_of_a_user_namespace_changes_and_uncovers_nothing_that_the_host_has_mounted() {
    need_root!();
    let source = Scratch::new();
    let script = "mount -o remount,bind,rw /m; echo x > /m/written; umount /m/sub; cat /m/sub/hidden; \
                  umount /m; cat /m/hidden; true";
    let bundle = shell(script, true, |c, _| {
        for set in ["bounding", "effective", "permitted"] {
            c["process"]["capabilities"][set] = json!(["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"]);
        }
        add_mount(c, source.path(), "/m", &["rbind"]);
    });
    let prepare = "echo under > \"$1\"/hidden && mount -t tmpfs -o mode=777 none \"$1\" && mkdir \"$1\"/sub && \
                   echo under > \"$1\"/sub/hidden && mount -t tmpfs none \"$1\"/sub && \
                   mount -o remount,bind,ro \"$1\"";
    let o = run_after(&bundle, prepare, source.path());
    let said = String::from_utf8_lossy(&o.stderr);
    assert!(o.status.success(), "{o:?}");
    assert!(said.contains("Read-only file system") && said.contains("permission denied"), "{said}");
    assert!(!String::from_utf8_lossy(&o.stdout).contains("under"), "{o:?}");
}

/// What a bind that is not recursive would uncover is not uncovered either; that is said.
#[test]
fn in_a_user_namespace_a_bind_without_what_lies_below_is_refused_where_that_covers_something() {
    need_root!();
    let source = Scratch::new();
    let bundle = shell("true", true, |c, _| add_mount(c, source.path(), "/m", &["bind"]));
    let prepare = "mkdir \"$1\"/sub && mount -t tmpfs none \"$1\"/sub";
    let o = run_after(&bundle, prepare, source.path());
    let said = String::from_utf8_lossy(&o.stderr);
    assert!(!o.status.success() && said.contains("rbind"), "{said}");
}

/// Sources and targets may be told as the host sees them: what is there when the mounts before are made
/// counts, as in runc.
#[test]
fn a_source_in_the_root_is_what_the_mounts_before_have_put_there() {
    need_root!();
    for user in [false, true] {
        let (a, b) = (Scratch::new(), Scratch::new());
        a.file("name", "a");
        std::fs::create_dir(a.join("below")).unwrap();
        b.file("name", "b");
        let bundle = shell("cat /final/name /final/below/name /one", user, |c, root| {
            add_mount(c, a.path(), "/mnt", &["bind"]);
            add_mount(c, b.path(), "/mnt/below", &["bind"]);
            let target = root.join("final");
            add_mount(c, &root.join("mnt"), target.to_str().unwrap(), &["rbind"]);
            add_mount(c, &root.join("mnt/below/name"), "/one", &["bind", "ro"]);
        });
        assert_eq!(bundle.ok(&["run", "ID"]), "abb", "user namespace: {user}");
    }
}

/// Likewise where its ids are mapped, for which the set-up inside has no rights.
#[test]
fn the_ids_of_a_source_in_the_root_are_mapped() {
    need_root!();
    for (user, before, after) in [(false, 1000, 5000), (true, 65534, 3)] {
        let source = Scratch::new();
        let file = source.file("file", "");
        chown(&file, Some(1000), Some(1000)).unwrap();
        let bundle = shell("stat -c %u:%g /mnt/file /final/file", user, |c, root| {
            add_mount(c, source.path(), "/mnt", &["bind"]);
            let to = if user { FIRST + 3 } else { 5000 };
            let map = json!([{"containerID": 1000, "hostID": to, "size": 1}]);
            c["mounts"].as_array_mut().unwrap().push(json!({"destination": "/final",
                "source": root.join("mnt"), "options": ["bind"],
                "uidMappings": map, "gidMappings": map}));
        });
        let said = bundle.ok(&["run", "ID"]);
        assert_eq!(said, format!("{before}:{before}\n{after}:{after}\n"), "user: {user}");
    }
}

/// T12's neighbour: a link of the image at a source that was told to be in the root.
#[test]
fn t12_a_link_in_the_image_at_a_source_does_not_lead_to_the_hosts_files() {
    need_root!();
    let decoy = Scratch::new();
    decoy.file("secret", "the host's");
    for to in [
        decoy.path().to_path_buf(),
        Path::new("../../../../../../..").join(decoy.path().strip_prefix("/").unwrap()),
    ] {
        let bundle = shell("cat /m/secret", false, |c, root| {
            symlink(&to, root.join("link")).unwrap();
            add_mount(c, &root.join("link"), "/m", &["rbind"]);
        });
        let o = bundle.call(&["run", "ID"]);
        assert!(!o.status.success() && !format!("{o:?}").contains("the host's"), "{o:?}");
    }
}

/// T7: nor is what belongs to the kernel taken from there, or covered by another name.
#[test]
fn t7_a_source_in_the_root_is_no_procfs_and_no_target_is_in_it() {
    need_root!();
    for (source, target) in [("bin", "/proc"), ("bin", "/sys"), ("bin", "ROOT/proc/self/attr")] {
        let bundle = shell("true", false, |c, root| {
            let target = target.replace("ROOT", root.to_str().unwrap());
            add_mount(c, &root.join(source), &target, &["bind"]);
        });
        let said = bundle.fails(&["run", "ID"]);
        assert!(said.contains("/proc") || said.contains("/sys"), "{said}");
    }
}
