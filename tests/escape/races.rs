//! Races: somebody swaps a name for a symlink to the decoy while jails start.

use crate::decoy::{Decoy, SECRET};
use crate::need_root;
use crate::support::{Run, Scratch, busybox_rootfs, jail, times};
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Swaps two names until it is dropped.
struct Swapper {
    stop: Arc<AtomicBool>,
    swaps: Arc<AtomicU64>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Swapper {
    fn start(a: PathBuf, b: PathBuf) -> Swapper {
        let (stop, swaps) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stop2, swaps2) = (stop.clone(), swaps.clone());
        let thread = std::thread::spawn(move || {
            while !stop2.load(Ordering::Relaxed) {
                // While one of them is busy as a mount point it may fail; the next round comes.
                let flags = RenameFlags::RENAME_EXCHANGE;
                if renameat2(AT_FDCWD, &a, AT_FDCWD, &b, flags).is_ok() {
                    swaps2.fetch_add(1, Ordering::Relaxed);
                }
                std::thread::sleep(std::time::Duration::from_micros(150));
            }
        });
        Swapper { stop, swaps, thread: Some(thread) }
    }
}

impl Drop for Swapper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

/// Runs jails while `name` in `dir` is now a directory and now a symlink to the decoy.
fn race(dir: &Path, name: &str, decoy: &Decoy, to: &str, mut run: impl FnMut() -> Run) {
    let other = dir.join(format!("{name}.other"));
    std::fs::create_dir_all(dir.join(name)).unwrap();
    std::os::unix::fs::symlink(to, &other).unwrap();
    let swapper = Swapper::start(dir.join(name), other.clone());
    let (rounds, mut started) = (times(200), 0);
    for round in 0..rounds {
        let run = run();
        assert!(!run.stdout.contains(SECRET), "round {round} shows the decoy: {run:#?}");
        assert!(run.stdout.contains("started") || run.code == 125, "round {round}: {run:#?}");
        started += usize::from(run.stdout.contains("started"));
    }
    let swaps = swapper.swaps.load(Ordering::Relaxed);
    drop(swapper);
    assert!(swaps > u64::from(rounds) / 2, "only {swaps} swaps in {rounds} rounds");
    eprintln!("{started} of {rounds} started, {swaps} swaps");
    decoy.unchanged();
}

#[test]
fn t10_t11_a_component_of_a_mount_target_is_swapped() {
    need_root!();
    let decoy = Decoy::new();
    let given = Scratch::new();
    given.file("hello", "given");
    let volume = format!("{}:/vol/a/b/c", given.path().display());
    let root = busybox_rootfs();
    std::fs::create_dir(root.join("vol")).unwrap();
    let dir = root.path().display().to_string();
    let climb = format!("../../../../../../../../..{}", decoy.shown());
    race(&root.join("vol"), "a", &decoy, &climb, || {
        let script = "echo started; cat /vol/a/secret /vol/a/sub/deep/file 2>/dev/null";
        jail(["--rootfs", &dir, "--writable", "-v", &volume, "--", "sh", "-c", script])
    });
}

#[test]
fn t06_proc_and_dev_are_swapped() {
    need_root!();
    for name in ["proc", "dev", "work", "etc"] {
        let decoy = Decoy::new();
        let root = busybox_rootfs();
        let dir = root.path().display().to_string();
        race(root.path(), name, &decoy, &decoy.shown(), || {
            let script = "echo started; cat /work/secret /etc/secret /dev/secret 2>/dev/null";
            jail(["--rootfs", &dir, "--writable", "-u", "0", "--", "/bin/sh", "-c", script])
        });
    }
}

#[test]
fn t09_a_component_inside_a_shared_volume_is_swapped() {
    need_root!();
    // Two jails share a volume; a third mount goes into it, and one of the sharers swaps.
    let decoy = Decoy::new();
    let shared = Scratch::new();
    let given = Scratch::new();
    given.file("hello", "given");
    let volume = format!("{}:/shared", shared.path().display());
    let inner = format!("{}:/shared/a/b:ro", given.path().display());
    race(shared.path(), "a", &decoy, &decoy.shown(), || {
        let script = "echo started; cat /shared/a/secret /shared/a/*/secret 2>/dev/null; true";
        jail(["-v", &volume, "-v", &inner, "--", "sh", "-c", script])
    });
}

#[test]
fn t19_the_working_directory_is_swapped() {
    need_root!();
    let decoy = Decoy::new();
    let shared = Scratch::new();
    let volume = format!("{}:/shared", shared.path().display());
    race(shared.path(), "a", &decoy, &decoy.shown(), || {
        jail(["-v", &volume, "-w", "/shared/a", "--", "sh", "-c", "echo started; cat secret; true"])
    });
}
