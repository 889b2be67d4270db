//! Known attacks on container runtimes, by the ids of the project's list of security properties.

use crate::bundle::{Bundle, wait};
use crate::need_root;
use crate::support::Scratch;
use serde_json::json;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use stockade::Kind;
use stockade::container::Runtime;

/// A tree outside of the root that must not change: names, types, owners, contents.
fn digest(dir: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut look = vec![dir.to_path_buf()];
    while let Some(path) = look.pop() {
        let m = std::fs::symlink_metadata(&path).unwrap();
        let contents = if m.is_file() { std::fs::read(&path).unwrap() } else { Vec::new() };
        lines.push(format!(
            "{path:?} {:o} {} {} {} {contents:?}",
            m.mode(),
            m.uid(),
            m.ino(),
            m.rdev()
        ));
        if m.is_dir() {
            look.extend(std::fs::read_dir(&path).unwrap().flatten().map(|e| e.path()));
        }
    }
    lines.sort();
    lines
}

fn decoy() -> Scratch {
    let decoy = Scratch::new();
    for name in ["ptmx", "null", "console", "a", "b", "inner/file"] {
        decoy.file(name, "decoy");
    }
    decoy
}

fn without_mount(bundle: &mut Bundle, below: &str) {
    let mounts = bundle.config["mounts"].as_array_mut().unwrap();
    mounts.retain(|m| !m["destination"].as_str().unwrap().starts_with(below));
}

/// CVE-2026-41579, CVE-2026-47766.
#[test]
fn t1_a_dev_that_is_a_symlink_leads_nowhere_outside() {
    need_root!();
    let decoy = decoy();
    let before = digest(decoy.path());
    for to in [
        decoy.path().to_path_buf(),
        Path::new("../../../..").join(decoy.path().strip_prefix("/").unwrap()),
    ] {
        for keep_mount in [true, false] {
            let mut bundle = Bundle::new("true");
            if !keep_mount {
                without_mount(&mut bundle, "/dev");
            }
            std::fs::remove_dir(bundle.rootfs.join("dev")).unwrap();
            symlink(&to, bundle.rootfs.join("dev")).unwrap();
            // An error, or a start whose effect stays inside.
            let _ = bundle.try_run();
            assert_eq!(digest(decoy.path()), before, "{to:?} {keep_mount}");
            bundle.is_gone();
        }
    }
}

/// CVE-2026-88264, -88265: no /dev of its own, and links where the runtime makes or opens files.
#[test]
fn t2_links_in_the_images_dev_are_not_followed() {
    need_root!();
    let decoy = decoy();
    let before = digest(decoy.path());
    for terminal in [false, true] {
        let mut bundle = Bundle::new("true");
        without_mount(&mut bundle, "/dev");
        symlink(decoy.join("a"), bundle.rootfs.join("dev/console")).unwrap();
        symlink(decoy.join("b"), bundle.rootfs.join("dev/null")).unwrap();
        symlink(decoy.join("inner"), bundle.rootfs.join("dev/pts")).unwrap();
        bundle.set("/process/user", json!({"uid": 1001, "gid": 1002}));
        if terminal {
            bundle.set("/process/terminal", true);
            let socket = bundle.dir.join("console.sock");
            let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
            let mut options = bundle.options();
            options.console_socket = Some(socket);
            let made = bundle.runtime().create(&bundle.id, &options);
            if let Ok(container) = made {
                let pid = container.state().unwrap().pid;
                container.delete(true).unwrap();
                wait(pid);
            }
        } else {
            let _ = bundle.try_run();
        }
        assert_eq!(digest(decoy.path()), before, "terminal: {terminal}");
        bundle.is_gone();
    }
}

/// CVE-2025-31133: what hides a file is the null device and nothing else.
#[test]
fn t4_a_planted_null_device_is_not_taken_for_one() {
    need_root!();
    let mut bundle = Bundle::new("cat /secret; stat -c '%F' /secret; echo ended");
    without_mount(&mut bundle, "/dev");
    let planted = Scratch::new();
    bundle.rootfs.file("marker", "planted");
    bundle.rootfs.file("secret", "secret");
    symlink("/marker", planted.join("null")).unwrap();
    bundle.add(
        "/mounts",
        json!({"destination": "/dev", "source": planted.path(), "options": ["bind"]}),
    );
    bundle.add("/linux/maskedPaths", "/secret");
    if let Ok(ran) = bundle.try_run() {
        assert!(ran.output.contains("character special file"), "{ran:?}");
        assert!(!ran.output.contains("planted") && !ran.output.contains("secret\n"), "{ran:?}");
    }
    bundle.is_gone();
}

/// CVE-2019-16884, CVE-2019-19921, CVE-2023-27561, CVE-2023-28642.
#[test]
fn t7_proc_is_mounted_on_a_real_directory_and_nothing_is_put_over_it() {
    need_root!();
    for (link, to) in [("proc", "/bad"), ("sys", "/bad")] {
        let bundle = Bundle::new("true");
        std::fs::create_dir(bundle.rootfs.join("bad")).unwrap();
        std::fs::remove_dir(bundle.rootfs.join(link)).unwrap();
        symlink(to, bundle.rootfs.join(link)).unwrap();
        assert!(bundle.create().is_err(), "{link}");
        bundle.is_gone();
    }
    let source = Scratch::new();
    for (target, kind) in
        [("/proc", "tmpfs"), ("/proc", "bind"), ("/proc/self/attr", "tmpfs"), ("/proc/sys", "bind")]
    {
        let mut bundle = Bundle::new("true");
        bundle.add(
            "/mounts",
            json!({"destination": target, "type": kind, "source": source.path(),
            "options": if kind == "bind" { json!(["bind"]) } else { json!([]) }}),
        );
        assert!(bundle.create().is_err(), "{kind} on {target}");
        bundle.is_gone();
    }
    // A link of the image's that leads there.
    let mut bundle = Bundle::new("true");
    symlink("/proc/self", bundle.rootfs.join("there")).unwrap();
    bundle
        .add("/mounts", json!({"destination": "/there/attr", "type": "tmpfs", "source": "tmpfs"}));
    assert!(bundle.create().is_err());
    bundle.is_gone();
}

/// CVE-2025-52881: what is in the root's place of procfs is neither read nor written.
#[test]
fn t6_sysctls_reach_the_kernel_whatever_the_root_has_for_proc() {
    need_root!();
    let name = "proc/sys/net/core/somaxconn";
    for (mounted, swapped) in [(false, false), (true, false), (false, true)] {
        let mut bundle = Bundle::new("exec sleep 100");
        if !mounted {
            without_mount(&mut bundle, "/proc");
        }
        bundle.rootfs.file(name, "decoy");
        bundle.rootfs.file("other/sys/net/core/somaxconn", "decoy");
        bundle.set("/linux/sysctl", json!({"net.core.somaxconn": "1234"}));
        let (proc, other) = (bundle.rootfs.join("proc"), bundle.rootfs.join("other"));
        let container = with_swaps(&proc, &other, swapped, || bundle.create()).unwrap();
        let pid = container.state().unwrap().pid;
        // By our own procfs, in its network namespace.
        let seen = std::process::Command::new("nsenter")
            .args(["-t", &pid.to_string(), "-n", "cat"])
            .arg(Path::new("/").join(name))
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&seen.stdout), "1234\n", "{mounted} {swapped}");
        for decoy in [name, "other/sys/net/core/somaxconn"] {
            assert_eq!(std::fs::read(bundle.rootfs.join(decoy)).unwrap(), b"decoy", "{decoy}");
        }
        container.delete(true).unwrap();
        wait(pid);
        bundle.is_gone();
    }
    // Nor is there a way to put something over a part of it, by whatever name.
    let source = Scratch::new();
    for (target, link) in
        [("/proc/sys/net", ""), ("/there/sys/net", "/proc"), ("/there", "/proc/sys")]
    {
        let mut bundle = Bundle::new("true");
        bundle.set("/linux/sysctl", json!({"net.core.somaxconn": "1234"}));
        if !link.is_empty() {
            symlink(link, bundle.rootfs.join("there")).unwrap();
        }
        bundle.add(
            "/mounts",
            json!({"destination": target, "source": source.path(), "options": ["bind"]}),
        );
        assert!(bundle.create().is_err(), "{target}");
        bundle.is_gone();
    }
}

/// Exchanges two names over and over while something is done.
fn with_swaps<T>(a: &Path, b: &Path, on: bool, work: impl FnOnce() -> T) -> T {
    use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
    use std::sync::atomic::{AtomicBool, Ordering};
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let stop = AtomicBool::new(!on);
    std::thread::scope(|s| {
        // Also where the work panics.
        let _stop = Stop(&stop);
        s.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let _ = renameat2(AT_FDCWD, a, AT_FDCWD, b, RenameFlags::RENAME_EXCHANGE);
            }
        });
        work()
    })
}

/// GHSA-3q8j-pf29-vwv8: a read-only path, or a masked one, of which a part is swapped meanwhile. What is
/// looked up and what is mounted is one opened file, in the root; a file that was looked at is never
/// another one's cover.
#[test]
fn t9_read_only_and_masked_paths_in_a_shared_volume_stay_in_the_root() {
    need_root!();
    let (volume, decoy) = (Scratch::new(), decoy());
    let before = digest(decoy.path());
    volume.file("a/inner/file", "the volume's");
    symlink(decoy.path(), volume.join("link")).unwrap();
    let host = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let shown = decoy.path().to_str().unwrap();
    with_swaps(&volume.join("a"), &volume.join("link"), true, || {
        for _ in 0..40 {
            let mut bundle = Bundle::new("cat /proc/self/mountinfo");
            bundle.add(
                "/mounts",
                json!({"destination": "/vol", "source": volume.path(), "options": ["bind"]}),
            );
            bundle.add("/linux/readonlyPaths", "/vol/a/inner");
            bundle.add("/linux/maskedPaths", "/vol/a/inner/file");
            // An error, or a start whose effect stays inside.
            if let Ok(ran) = bundle.try_run() {
                let mounts = ran.output.lines().map(|l| l.split(' ').collect::<Vec<_>>());
                for mount in mounts.filter(|m| m.len() > 5) {
                    assert!(!Path::new(mount[3]).starts_with(shown), "{mount:?}");
                }
            }
            bundle.is_gone();
        }
    });
    assert_eq!(digest(decoy.path()), before);
    assert_eq!(std::fs::read_to_string("/proc/self/mountinfo").unwrap(), host);
    // Undisturbed it is what was asked for.
    let mut bundle =
        Bundle::new("echo x >/vol/a/inner/new; wc -c </vol/a/inner/file; cat /vol/a/inner/file");
    std::fs::remove_dir_all(volume.path()).unwrap();
    volume.file("a/inner/file", "the volume's");
    bundle.add(
        "/mounts",
        json!({"destination": "/vol", "source": volume.path(), "options": ["bind"]}),
    );
    bundle.add("/linux/readonlyPaths", "/vol/a/inner");
    bundle.add("/linux/maskedPaths", "/vol/a/inner/file");
    let ran = bundle.run().says("Read-only file system").says("0\n").ends(0);
    assert!(!ran.output.contains("the volume's"), "{ran:?}");
}

/// CVE-2024-45310, CVE-2021-30465: a mount point is made and a mount lands inside, whoever swaps
/// what meanwhile.
#[test]
fn t10_t11_mount_points_in_a_shared_volume_are_made_inside() {
    need_root!();
    let (volume, decoy) = (Scratch::new(), decoy());
    let before = digest(decoy.path());
    std::fs::create_dir(volume.join("a")).unwrap();
    symlink(decoy.path(), volume.join("link")).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|s| {
        s.spawn(|| {
            let (a, b) = (volume.join("a"), volume.join("link"));
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let _ = nix::fcntl::renameat2(
                    nix::fcntl::AT_FDCWD,
                    &a,
                    nix::fcntl::AT_FDCWD,
                    &b,
                    nix::fcntl::RenameFlags::RENAME_EXCHANGE,
                );
            }
        });
        for _ in 0..30 {
            let mut bundle = Bundle::new("cat /proc/self/mountinfo");
            bundle.add(
                "/mounts",
                json!({"destination": "/vol", "source": volume.path(), "options": ["bind"]}),
            );
            bundle.add(
                "/mounts",
                json!({"destination": "/vol/a/b/c", "type": "tmpfs", "source": "tmpfs"}),
            );
            bundle.add("/linux/readonlyPaths", "/vol/a/inner");
            bundle.add("/linux/maskedPaths", "/vol/a/inner/file");
            let _ = bundle.try_run();
            bundle.is_gone();
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert_eq!(digest(decoy.path()), before);
}

/// CVE-2026-3888: whoever can write there decides what is killed and joined.
#[test]
fn t16_a_state_directory_of_somebody_elses_is_refused() {
    need_root!();
    let bundle = Bundle::new("true");
    let options = bundle.options();
    let base = Scratch::new();
    let dir = |name: &str| {
        let path = base.join(name);
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o700)).unwrap();
        path
    };
    let open = dir("open");
    std::fs::set_permissions(&open, PermissionsExt::from_mode(0o777)).unwrap();
    let foreign = dir("foreign");
    std::os::unix::fs::chown(&foreign, Some(65_534), None).unwrap();
    let link = base.join("link");
    symlink(dir("target"), &link).unwrap();
    for root in [open, foreign, link] {
        let error = Runtime::new(&root).create(&bundle.id, &options).unwrap_err();
        assert_eq!(error.kind(), Kind::Refused, "{root:?}: {error}");
        assert!(Runtime::new(&root).list().is_err());
    }
}

/// CVE-2021-41091, CVE-2024-25621.
#[test]
fn t39_state_is_for_its_owner_alone() {
    need_root!();
    let bundle = Bundle::new("exec sleep 100");
    let container = bundle.create().unwrap();
    let pid = container.state().unwrap().pid;
    let dir = bundle.state.join(&bundle.id);
    assert_eq!(std::fs::metadata(&dir).unwrap().mode() & 0o777, 0o700);
    for entry in std::fs::read_dir(&dir).unwrap().flatten() {
        let mode = entry.metadata().unwrap();
        assert!(!mode.is_file() || mode.mode() & 0o777 == 0o600, "{entry:?}");
    }
    container.delete(true).unwrap();
    wait(pid);
}

/// H63: state that was tampered with is refused before anything follows from it.
#[test]
fn h63_damaged_state_is_refused_and_deleted_by_force() {
    need_root!();
    let bystander = std::process::Command::new("sleep").arg("100").spawn().unwrap();
    let id = i32::try_from(bystander.id()).unwrap();
    let victim = Victim(bystander);
    type Change = fn(&mut serde_json::Value, i32);
    let changes: [(&str, Change); 6] = [
        ("a group", |v, _| v["pid"] = json!(-1)),
        ("the host's init", |v, _| v["pid"] = json!(1)),
        ("another id", |v, _| v["id"] = json!("other")),
        ("more", |v, _| v["surprise"] = json!(1)),
        ("no number", |v, _| v["pid"] = json!("1")),
        ("a bystander", |v, pid| v["pid"] = json!(pid)),
    ];
    for (what, change) in changes {
        let bundle = Bundle::new("exec sleep 100");
        let container = bundle.create().unwrap();
        let pid = container.state().unwrap().pid;
        let file = bundle.state.join(&bundle.id).join("state.json");
        let mut value: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let good = value.clone();
        change(&mut value, id);
        std::fs::write(&file, value.to_string()).unwrap();
        // A pid that was reused is not the container's process.
        assert!(container.kill(libc::SIGKILL, false).is_err(), "{what}");
        std::fs::write(&file, good.to_string()).unwrap();
        container.delete(true).unwrap();
        wait(pid);
        bundle.is_gone();
    }
    for contents in ["", "{", "null", &"x".repeat(17 << 20)] {
        let bundle = Bundle::new("exec sleep 100");
        let container = bundle.create().unwrap();
        let pid = container.state().unwrap().pid;
        std::fs::write(bundle.state.join(&bundle.id).join("state.json"), contents).unwrap();
        assert!(container.state().is_err() && container.kill(9, true).is_err());
        assert!(container.delete(false).is_err());
        bundle.runtime().delete(&bundle.id, true).unwrap();
        // Nothing was known of the process any more.
        let _ = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(pid),
            nix::sys::signal::Signal::SIGKILL,
        );
        wait(pid);
        for dir in crate::bundle::cgroups_of(&bundle.id) {
            let _ = std::fs::remove_dir(dir);
        }
    }
    drop(victim);
}

/// Killed in any case.
struct Victim(std::process::Child);

impl Drop for Victim {
    fn drop(&mut self) {
        assert!(self.0.try_wait().unwrap().is_none(), "a bystander was killed");
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// CVE-2019-5736: a program that is "self".
#[test]
fn t18_the_runtimes_own_binary_is_out_of_reach() {
    need_root!();
    let own = std::env::current_exe().unwrap();
    let before = std::fs::metadata(&own).unwrap();
    for script in [true, false] {
        let mut bundle = Bundle::new("");
        let path = bundle.rootfs.join("bin/self");
        if script {
            bundle.rootfs.file("bin/self", "#!/proc/self/exe\n");
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        } else {
            symlink("/proc/self/exe", &path).unwrap();
        }
        bundle.set("/process/args", json!(["/bin/self"]));
        // It must not have run our own tests in there.
        let ran = bundle.try_run();
        assert!(!format!("{ran:?}").contains("running "), "{ran:?}");
        bundle.is_gone();
    }
    let after = std::fs::metadata(&own).unwrap();
    assert_eq!((before.mtime(), before.size()), (after.mtime(), after.size()));
}

/// T42: a parent with shared mounts sees none of the container's.
#[test]
fn t42_no_mount_reaches_the_host() {
    need_root!();
    let before = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    for propagation in ["", "rprivate", "rslave", "rshared"] {
        let mut bundle = Bundle::new("mount -t tmpfs x /tmp; cat /proc/self/mountinfo");
        if !propagation.is_empty() {
            bundle.set("/linux/rootfsPropagation", propagation);
        }
        bundle.run().ends(0);
        assert_eq!(
            std::fs::read_to_string("/proc/self/mountinfo").unwrap(),
            before,
            "{propagation}"
        );
    }
}
