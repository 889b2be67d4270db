//! The library in a program that has threads: what the child may do between clone and exec.
//!
//! The allocator of this test crate aborts a child that allocates there (debug builds). A hang
//! of one launch in five is what a child that allocates costs a program with busy threads.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use stockade::{Jail, Status, Stdio};

#[cfg(debug_assertions)]
#[global_allocator]
static GUARD: stockade::sys::guard::Guarded = stockade::sys::guard::Guarded;

/// Threads that do nothing but hold the allocator's locks.
struct Busy {
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<usize>>,
}

impl Busy {
    fn start(n: usize) -> Busy {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..n)
            .map(|i| {
                let stop = Arc::clone(&stop);
                std::thread::spawn(move || {
                    let mut total = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let text: Vec<String> =
                            (0..64).map(|n| format!("{i} {n} {}", "x".repeat(n * 7))).collect();
                        total += text.iter().map(String::len).sum::<usize>();
                    }
                    total
                })
            })
            .collect();
        Busy { stop, threads }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

#[test]
fn sixteen_busy_threads_launch_three_hundred_jails() {
    need_root!();
    let _busy = Busy::start(16);
    for n in 0..support::times(300) {
        let outcome = Jail::new("/bin/echo").arg(n.to_string()).capture_output().run().unwrap();
        assert!(outcome.success(), "run {n}: {outcome:#?}");
        assert_eq!(outcome.stdout.data.unwrap().data, format!("{n}\n"));
    }
}

#[test]
fn every_path_of_the_child_keeps_from_allocating() {
    need_root!();
    // Each of these takes other steps: volumes, a rootfs, no init, another network, a failure.
    let scratch = support::Scratch::new();
    let rootfs = support::busybox_rootfs();
    let jails: Vec<(&str, Jail)> = vec![
        ("volume", Jail::new("true").volume(scratch.path(), "/data/deep/er")),
        ("rootfs", Jail::new("/bin/true").rootfs(rootfs.path())),
        ("network", Jail::new("true").network(stockade::Network::Host)),
        ("ids", Jail::new("true").user(1000, 1000)),
        ("missing", Jail::new("/missing")),
        ("workdir", Jail::new("true").workdir("/missing")),
    ];
    for (name, jail) in jails {
        // A child that allocates aborts, and its supervisor says that it ended without a word.
        match jail.capture_output().run() {
            Ok(outcome) => assert!(outcome.success(), "{name}: {outcome:#?}"),
            Err(e) => {
                assert!(["missing", "workdir"].contains(&name), "{name}: {e:?}");
                assert!(e.to_string().contains("missing"), "{name}: {e:?}");
            }
        }
    }
    let mut jail = Jail::new("true").capture_output();
    jail.policy_mut().init = false;
    assert!(jail.run().unwrap().success());
}

#[cfg(debug_assertions)]
#[test]
fn a_child_that_allocates_is_caught() {
    fn allocates(_: &()) -> ! {
        stockade::sys::guard::arm();
        let text = "x".repeat(100).into_bytes();
        stockade::sys::process::exit_group(i32::from(text[99] == b'y'))
    }
    let (pid, _pidfd) = stockade::sys::process::clone_into(0, None, allocates, &()).unwrap();
    let waited = stockade::sys::process::wait4(pid, 0).unwrap().unwrap();
    assert!(libc::WIFSIGNALED(waited.status), "{waited:?}");
    assert_eq!(libc::WTERMSIG(waited.status), libc::SIGABRT);
}

#[test]
fn an_event_loop_waits_for_the_descriptor() {
    need_root!();
    use std::os::fd::AsFd;
    let running = Jail::new("sleep").arg("0.2").capture_output().spawn().unwrap();
    let mut fds = [nix::poll::PollFd::new(running.as_fd(), nix::poll::PollFlags::POLLIN)];
    let ready = nix::poll::poll(&mut fds, 20_000u16).unwrap();
    assert_eq!(ready, 1, "the descriptor never became readable");
    assert!(running.wait().unwrap().success());
}

#[test]
fn a_spawned_job_talks_over_its_pipes_and_outlives_the_thread_that_spawned_it() {
    need_root!();
    use std::io::{Read, Write};
    let mut running = std::thread::spawn(|| {
        Jail::new("cat")
            .stdin(Stdio::Piped)
            .stdout(Stdio::Piped)
            .stderr(Stdio::Null)
            .spawn()
            .unwrap()
    })
    .join()
    .unwrap();
    // PR_SET_PDEATHSIG goes by thread: the one above has ended, and the jail must not care.
    let mut input = std::fs::File::from(running.stdin.take().unwrap());
    let mut output = std::fs::File::from(running.stdout.take().unwrap());
    input.write_all(b"there and back").unwrap();
    drop(input);
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    assert_eq!(text, "there and back");
    assert!(running.wait().unwrap().success());
}

#[test]
fn a_killed_job_says_who_killed_it() {
    need_root!();
    let running = Jail::new("sleep").arg("60").capture_output().spawn().unwrap();
    running.kill();
    let outcome = running.wait().unwrap();
    assert_eq!(outcome.status, Status::Signaled);
    assert_eq!(outcome.signal, Some(9));
    assert!(outcome.reason.contains("the caller"), "{}", outcome.reason);
}

#[test]
fn a_dropped_run_leaves_nothing() {
    need_root!();
    let id = format!("dropped-{}", std::process::id());
    let running = Jail::new("sleep").arg("60").id(&id).capture_output().spawn().unwrap();
    let there = || support::our_cgroups().iter().any(|c| c.ends_with(&id));
    assert!(there(), "the run has no cgroup to look at");
    drop(running);
    assert!(!there());
}

#[test]
fn a_set_up_that_fails_is_an_error_with_a_kind() {
    need_root!();
    let error = Jail::new("nowhere").capture_output().run().unwrap_err();
    assert_eq!(error.kind(), stockade::Kind::CommandNotFound);
    assert_eq!(error.exit_code(), 127);
    let error = Jail::new("true").volume("/does/not/exist", "/x").run().unwrap_err();
    assert_eq!(error.kind(), stockade::Kind::NotFound);
    let error = Jail::new("nowhere").capture_output().spawn().unwrap_err();
    assert_eq!(error.kind(), stockade::Kind::CommandNotFound);
}
