//! BETWEEN CLONE AND EXEC: a process that joins a container which runs already.
//!
//! Two processes do it, and the rules of [`crate::child`] hold for both. The first stays where the
//! container cannot see it, in the host's pid namespace: it lets go of everything of the caller's,
//! becomes undumpable and joins every namespace. Only then does it make the second one, which is a
//! process of the container's from its first instant on: its root and working directory are the
//! container's by then, and what it has open is the caller's standard streams and little more
//! (CVE-2016-9962, CVE-2019-5736).

#![forbid(unsafe_code)]

use super::{Armed, At, Done, become_job, close_all_but, fail, new_keyring, terminal, wait_for_go};
use crate::sys::sched::{self, Cpus};
use crate::sys::{fs, io, process};
use crate::wire::{Message, Step};
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};

/// What joining needs, beside what every job needs.
#[derive(Debug)]
pub struct ArmedExec {
    /// A pidfd of the container's init, which stands for its namespaces (Linux 5.8).
    pub init: OwnedFd,
    /// Which of them are joined: `CLONE_NEW*`, the user namespace first.
    pub kinds: Vec<i32>,
    /// The cgroups to join (v1), by their `tasks` files.
    pub tasks: Vec<OwnedFd>,
    /// The cgroup to be made in (v2).
    pub cgroup: Option<OwnedFd>,
    /// Whether the first process is moved to where that is by somebody else, and waits for it.
    pub moved: bool,
    /// Whether the ids of the caller mean nothing there.
    pub foreign_ids: bool,
    /// Where it runs while it joins.
    pub cpus: Option<Cpus>,
    /// What `/proc/PID/oom_score_adj` is to be, in digits, if it changes.
    pub oom_score_adj: Option<Vec<u8>>,
    /// The container's root, where that is not the root of its mount namespace.
    pub root: Option<OwnedFd>,
    /// The process.
    pub armed: Armed,
}

/// The first process. Never returns.
pub fn enter(exec: &ArmedExec) -> ! {
    #[cfg(debug_assertions)]
    crate::sys::guard::arm();
    let socket = exec.armed.socket.as_fd();
    let made = join(exec).and_then(|()| {
        let cgroup = exec.cgroup.as_ref().map(AsFd::as_fd);
        process::clone_sibling_into(0, cgroup, become_process, exec).at(Step::JoinNamespace)
    });
    let told = made.and_then(|(pid, pidfd)| {
        let message = Message::Sibling(pid).to_bytes();
        io::send(socket, &message, Some(pidfd.as_fd())).at(Step::Handshake)
    });
    match told {
        Ok(()) => process::exit_group(0),
        Err(failure) => fail(socket, &failure),
    }
}

fn join(exec: &ArmedExec) -> Done {
    // A maker that is killed meanwhile takes us with it.
    process::set_parent_death_signal(libc::SIGKILL).at(Step::ParentDeath)?;
    close_all_but(&exec.armed.kept)?;
    if let Some(score) = &exec.oom_score_adj {
        // In the host's own /proc, and while the kernel lets us write there: from the join on we are
        // undumpable. The second process inherits it.
        let flags = libc::O_WRONLY | libc::O_CLOEXEC;
        fs::open_at(fs::cwd(), c"/proc/self/oom_score_adj", flags, 0)
            .and_then(|file| io::write_whole(file.as_fd(), score))
            .at(Step::OomScore)?;
    }
    if exec.moved {
        // While it has the caller's ids, which decide about it, and nothing of the container's.
        wait_for_go(exec.armed.socket.as_fd())?;
    }
    if let Some(cpus) = &exec.cpus {
        sched::allow(0, cpus).at(Step::Scheduling)?;
    }
    // Before anything of ours is in the container's namespaces, and again after: joining a user
    // namespace changes the credentials, which decides anew.
    process::set_undumpable().at(Step::ParentDeath)?;
    join_all(exec)?;
    process::set_undumpable().at(Step::ParentDeath)?;
    let Some(root) = &exec.root else { return Ok(()) };
    fs::change_dir_fd(root.as_fd()).at(Step::Pivot)?;
    fs::chroot_here().at(Step::Pivot)
}

/// All at once. The cgroup namespace is left to the second process: who is in it can be cloned only
/// into cgroups that it shows (`nsdelegate`).
fn join_all(exec: &ArmedExec) -> Done {
    let init = exec.init.as_fd();
    let wanted = |kind: &&i32| **kind != libc::CLONE_NEWCGROUP;
    let all = exec.kinds.iter().filter(wanted).fold(0, |all, kind| all | kind);
    match process::join(init, all) {
        Err(e) if all == 0 && e.0 == libc::EINVAL => return Ok(()),
        // A namespace that belongs to our own user namespace must be joined before that is left,
        // and one that belongs to the container's after that.
        Err(e) if e.0 == libc::EPERM && exec.foreign_ids => {}
        other => return other.at(Step::JoinNamespace),
    }
    let mut joined = [false; 8];
    for (kind, done) in exec.kinds.iter().zip(&mut joined).skip(1) {
        *done = *kind == libc::CLONE_NEWCGROUP || process::join(init, *kind).is_ok();
    }
    for (index, (kind, done)) in (0..).zip(exec.kinds.iter().zip(&joined)) {
        if !done {
            process::join(init, *kind).at_index(Step::JoinNamespace, index)?;
        }
    }
    Ok(())
}

/// The second process.
fn become_process(exec: &ArmedExec) -> ! {
    let armed = &exec.armed;
    match set_up(exec) {
        Err(failure) => fail(armed.socket.as_fd(), &failure),
        Ok(terminal) => {
            let stdio = match terminal {
                Some(terminal) => [terminal.into_raw_fd(); 3],
                None => armed.stdio,
            };
            become_job(armed, stdio, None)
        }
    }
}

fn set_up(exec: &ArmedExec) -> Done<Option<OwnedFd>> {
    let armed = &exec.armed;
    process::set_parent_death_signal(libc::SIGKILL).at(Step::ParentDeath)?;
    if let Some(cgroup) = &exec.cgroup {
        // A directory of the host's, which nobody inside is to find here. (Closed as a range: the
        // handle is the first process's, whose copy lives on.)
        let fd = cgroup.as_raw_fd().cast_unsigned();
        io::close_range(fd, fd).at(Step::CloseFds)?;
    }
    // Before anything is done on the container's account that would have to be counted there.
    for (index, tasks) in (0..).zip(&exec.tasks) {
        io::write_whole(tasks.as_fd(), b"0").at_index(Step::JoinCgroup, index)?;
    }
    if let Some(cpus) = &armed.cpus {
        // Now that the cpuset is the container's.
        sched::allow(0, cpus).at(Step::Scheduling)?;
    }
    if exec.kinds.contains(&libc::CLONE_NEWCGROUP) {
        process::join(exec.init.as_fd(), libc::CLONE_NEWCGROUP).at(Step::NewCgroupNamespace)?;
    }
    if exec.foreign_ids {
        // Root of the container's user namespace, until the job's own ids are taken.
        crate::sys::cred::set_gid(0).at(Step::SetupIds)?;
        crate::sys::cred::set_uid(0).at(Step::SetupIds)?;
        process::set_undumpable().at(Step::ParentDeath)?;
        process::set_parent_death_signal(libc::SIGKILL).at(Step::ParentDeath)?;
    }
    process::setsid().at(Step::Session)?;
    new_keyring(&armed.keyring)?;
    let terminal = if armed.terminal { Some(terminal::open(armed)?) } else { None };
    Ok(terminal)
}
