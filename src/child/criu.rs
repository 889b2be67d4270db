//! BETWEEN CLONE AND EXEC: the process that becomes criu.
//!
//! It is a process of the host's, with the host's rights, and gets what criu is told to use by
//! descriptor and nothing else. For a restore it is in a mount namespace of its own, in which the
//! root file system is a mount, as criu needs it: nothing of that shows on the host, and nothing is
//! left of it however criu ends. Directories that criu works in have to be of that namespace too, since
//! criu mounts in them: it opens them there and sends them to its maker, by whose numbers criu is told
//! of them.

#![forbid(unsafe_code)]

use super::tuning::{self, ArmedTuning};
use super::{ArmedKeyring, At, Done, Failure};
use crate::sys::process::CStringArray;
use crate::sys::{self, Errno, fs, io, mount, process, sched, signal};
use crate::wire::Step;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// What it is made of.
#[derive(Debug)]
pub struct ArmedCriu {
    /// The program.
    pub path: CString,
    /// Its arguments.
    pub argv: CStringArray,
    /// Its environment.
    pub envp: CStringArray,
    /// What becomes 0, 1, 2 and so on, in this order. Those behind the first three have numbers
    /// above all of the new ones.
    pub descriptors: Vec<RawFd>,
    /// Our end of the socket.
    pub socket: OwnedFd,
    /// The root file system, for a restore.
    pub root: Option<ArmedCriuRoot>,
    /// Where it is told that criu could not be executed: the step, and four bytes of errno. Above
    /// all of the new numbers.
    pub report: OwnedFd,
}

/// What restored processes have from criu, which does not bring it back.
#[derive(Debug)]
pub struct ArmedInherited {
    /// Whether they may gain no rights by execve. criu restores it from 4.0 on.
    pub no_new_privs: bool,
    /// The session keyring; otherwise it would be the caller's.
    pub keyring: ArmedKeyring,
    /// How they are scheduled, as far as criu does not know it.
    pub tuning: ArmedTuning,
}

/// A root file system that becomes a mount of criu's.
#[derive(Debug)]
pub struct ArmedCriuRoot {
    /// A detached copy of what is mounted there.
    pub tree: OwnedFd,
    /// The directory that it is attached on.
    pub place: ArmedDirectory,
    /// Directories that are sent to the maker, in this order.
    pub sent: Vec<ArmedDirectory>,
    /// What else is made ready for the processes.
    pub inherited: ArmedInherited,
}

/// A directory that the maker has looked at.
#[derive(Debug)]
pub struct ArmedDirectory {
    /// Its path.
    pub path: CString,
    /// Its device and inode.
    pub is: (u64, u64),
}

/// Which step failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CriuStep {
    /// Mounting the root file system.
    Root = 1,
    /// Placing the descriptors.
    Descriptors = 2,
    /// Executing criu.
    Exec = 3,
    /// What the processes inherit.
    Inherited = 4,
}

/// Becomes criu. Never returns.
pub fn become_criu(armed: &ArmedCriu) -> ! {
    #[cfg(debug_assertions)]
    sys::guard::arm();
    let (step, errno) = match ready(armed) {
        Ok(()) => (CriuStep::Exec, process::execve(&armed.path, &armed.argv, &armed.envp)),
        Err(failed) => failed,
    };
    let [a, b, c, d] = errno.0.to_ne_bytes();
    // There is nobody else to tell.
    let _ = io::write(armed.report.as_fd(), &[step as u8, a, b, c, d]);
    process::exit_group(127)
}

fn ready(armed: &ArmedCriu) -> Result<(), (CriuStep, Errno)> {
    if let Some(root) = &armed.root {
        mount_root(root, armed.socket.as_fd()).map_err(|e| (CriuStep::Root, e))?;
        inherit(&root.inherited).map_err(|Failure(.., e)| (CriuStep::Inherited, e))?;
    }
    place(armed).map_err(|e| (CriuStep::Descriptors, e))
}

/// In a mount namespace that was cloned with this process.
fn mount_root(root: &ArmedCriuRoot, socket: BorrowedFd<'_>) -> sys::Result<()> {
    // No more: a mount that followed its source on the host follows it again.
    mount::make_all_slaves()?;
    for directory in &root.sent {
        let here = open(directory, libc::O_RDONLY)?;
        io::send(socket, b"d", Some(here.as_fd()))?;
    }
    let place = open(&root.place, libc::O_PATH)?;
    mount::attach(root.tree.as_fd(), place.as_fd())
}

/// The same directory as its maker's, in this namespace.
fn open(directory: &ArmedDirectory, flags: i32) -> sys::Result<OwnedFd> {
    let flags = flags | libc::O_DIRECTORY | libc::O_NOFOLLOW;
    let fd = fs::open_at(fs::cwd(), &directory.path, flags, 0)?;
    let seen = fs::stat(fd.as_fd())?;
    if (seen.dev, seen.ino) == directory.is { Ok(fd) } else { Err(Errno(libc::ESTALE)) }
}

fn inherit(inherited: &ArmedInherited) -> Done {
    super::new_keyring(&inherited.keyring)?;
    tuning::apply(&inherited.tuning)?;
    // Wherever the caller may run: theirs are their cpuset's. Refused only where that would hold anyway.
    let _ = sched::allow(0, &sched::Cpus::ALL);
    if inherited.no_new_privs {
        process::set_no_new_privs().at(Step::NoNewPrivs)?;
    }
    Ok(())
}

fn place(armed: &ArmedCriu) -> sys::Result<()> {
    let mut next = 0;
    for fd in &armed.descriptors {
        io::dup_inheritable(*fd, next)?;
        next += 1;
    }
    let report = armed.report.as_raw_fd().unsigned_abs();
    io::close_range(next.unsigned_abs(), report - 1)?;
    io::close_range(report + 1, u32::MAX)?;
    signal::reset_dispositions();
    signal::set_mask(0).map(drop)
}
