//! Giving up rights: ids, capabilities, no_new_privs, the filter. In this order.

#![forbid(unsafe_code)]

use super::{At, Done, Failure};
use crate::sys::{cred, io, process, seccomp};
use crate::wire::{Message, Step};
use std::os::fd::{AsFd, BorrowedFd};

/// Its number.
const CAP_KILL: u32 = 5;
/// Its number.
const CAP_SYS_ADMIN: u32 = 21;

/// What the job may keep.
#[derive(Debug)]
pub struct ArmedPrivs {
    /// User id inside.
    pub uid: u32,
    /// Group id inside.
    pub gid: u32,
    /// All supplementary groups; `None`: they cannot be set.
    pub groups: Option<Vec<u32>>,
    /// Capabilities: bounding, effective, permitted, inheritable, ambient.
    pub caps: ArmedCaps,
    /// Newest capability of the kernel.
    pub last_cap: u32,
    /// Whether execve can never add rights.
    pub no_new_privs: bool,
    /// The filter; empty: none.
    pub filter: Vec<seccompiler::sock_filter>,
    /// Flags of seccomp(2).
    pub filter_flags: u32,
    /// Whether the filter is loaded before the capabilities go.
    pub filter_early: bool,
    /// Whether CAP_SYS_ADMIN is kept beyond the others until that filter is loaded, last of all: then
    /// it need not permit what a process does that waits for its start.
    pub hold_for_filter: bool,
    /// The filter in the form that tells what it denies; never with `filter_early`.
    pub telling: Option<TellingFilter>,
    /// What of the filter asks a listener; `filter` is the rest then.
    pub asking: Option<AskingFilter>,
    /// Whether it must be that form.
    pub must_tell: bool,
}

/// The five sets.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct ArmedCaps {
    pub bounding: u64,
    pub effective: u64,
    pub permitted: u64,
    pub inheritable: u64,
    pub ambient: u64,
}

/// A filter with a listener, and what is loaded behind it; empty: nothing.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct TellingFilter {
    pub first: Vec<seccompiler::sock_filter>,
    pub second: Vec<seccompiler::sock_filter>,
}

/// What asks a listener, and the flags of its load.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct AskingFilter {
    pub program: Vec<seccompiler::sock_filter>,
    pub flags: u32,
}

/// Everything up to the filter.
pub fn drop_all(p: &ArmedPrivs) -> Done {
    if p.filter_early && !p.hold_for_filter && !p.filter.is_empty() {
        // Without no_new_privs the load needs CAP_SYS_ADMIN, which is about to go.
        seccomp::load(&p.filter, p.filter_flags).at(Step::Seccomp)?;
    }
    // First, since dropping from the bounding set needs CAP_SETPCAP. To the last one that this
    // kernel has: a list of our own would leave a newer one in.
    for cap in 0..=p.last_cap {
        if p.caps.bounding & (1 << cap) == 0 {
            cred::drop_bounding(cap).at_index(Step::Bounding, cap)?;
        }
    }
    let held = if p.hold_for_filter { 1 << CAP_SYS_ADMIN } else { 0 };
    if p.caps.permitted | p.caps.inheritable | held != 0 {
        // Leaving uid 0 would empty the permitted set, and what is in neither that nor the inheritable one
        // cannot become inheritable.
        cred::keep_caps().at(Step::Capabilities)?;
    }
    set_ids(p)?;
    // Under a permissive fs.suid_dumpable the change of ids has undone it (CVE-2016-9962).
    process::set_undumpable().at(Step::ParentDeath)?;
    let c = &p.caps;
    cred::set_caps(c.effective | held, c.permitted | held, c.inheritable).at(Step::Capabilities)?;
    cred::set_ambient(c.ambient).at(Step::Capabilities)?;
    if p.no_new_privs {
        process::set_no_new_privs().at(Step::NoNewPrivs)?;
    }
    Ok(())
}

/// Groups before gid before uid: each change takes away the right to make the one before it.
fn set_ids(p: &ArmedPrivs) -> Done {
    if let Some(groups) = &p.groups {
        cred::set_groups(groups).at(Step::Groups)?;
    }
    cred::set_gid(p.gid).at(Step::Gid)?;
    cred::set_uid(p.uid).at(Step::Uid)
}

/// The job's filter for a hook, where the hook has not inherited it.
pub(super) fn load_for_hook(p: &ArmedPrivs) -> crate::sys::Result<()> {
    if p.filter.is_empty() || (p.filter_early && !p.hold_for_filter) {
        return Ok(());
    }
    seccomp::load(&p.filter, p.filter_flags)
}

/// What of the filter asks a listener. Its descriptor goes to the supervisor, who hands it on without
/// any help of ours: from here on what the listener is asked about may wait for its answer. It is
/// trusted: it could answer in the kernel's place for the calls by which the last rights go, where the
/// profile has it asked about those.
pub(super) fn load_asking(p: &ArmedPrivs, socket: BorrowedFd<'_>) -> Done {
    let Some(asking) = &p.asking else { return Ok(()) };
    let listener = seccomp::load_asking(&asking.program, asking.flags).at(Step::Seccomp)?;
    // Closed behind that, since nobody hears of the listener's end who has it himself.
    io::send(socket, &Message::Listener(0).to_bytes(), Some(listener.as_fd())).at(Step::Seccomp)
}

/// The filter, as the last act before exec, which began at `began`; and where it has a listener, whose
/// hand-over should not meet it, the limit on descriptors.
pub fn load_filter_last(
    p: &ArmedPrivs,
    socket: BorrowedFd<'_>,
    began: u64,
    limit_descriptors: &mut impl FnMut() -> Done,
) -> Done {
    if p.hold_for_filter {
        seccomp::load(&p.filter, p.filter_flags).at(Step::Seccomp)?;
        let c = &p.caps;
        return cred::set_caps(c.effective, c.permitted, c.inheritable).at(Step::Capabilities);
    }
    if p.filter_early || p.filter.is_empty() {
        return Ok(());
    }
    if let Some(telling) = &p.telling {
        // Now, since the filter may deny to ask.
        let sender = io::Credentials { pid: process::own_pid(), uid: p.uid, gid: p.gid };
        match seccomp::load_with_listener(&telling.first, p.filter_flags) {
            Ok(listener) => {
                let word = Message::Listener(began).to_bytes();
                io::send_as(socket, &word, listener.as_fd(), sender).at(Step::Seccomp)?;
                limit_descriptors()?;
                if !telling.second.is_empty() {
                    seccomp::load(&telling.second, p.filter_flags).at(Step::Seccomp)?;
                }
                // Its close might be denied by now; execve does it.
                core::mem::forget(listener);
                return Ok(());
            }
            Err(e) if p.must_tell => return Err(Failure(Step::Seccomp, 0, e)),
            // Somebody around us listens already (a container engine, a jail that we are in): the
            // filter is as strict without.
            Err(_) => limit_descriptors()?,
        }
    }
    seccomp::load(&p.filter, p.filter_flags).at(Step::Seccomp)
}

/// The init keeps only what it needs to signal the job.
///
/// Where the set-up's ids are not the job's it stays what it is, nobody outside and the
/// namespace's root inside, with CAP_KILL alone: a job with the same ids could set its limits
/// (prlimit) and its scheduling.
pub fn drop_for_init(p: &ArmedPrivs, setup_ids: Option<(u32, u32)>) -> Done {
    let own = setup_ids.is_some_and(|(uid, _)| uid != p.uid);
    if !own {
        set_ids(p)?;
    }
    let kept = if own { 1 << CAP_KILL } else { 0 };
    cred::set_ambient(0).at(Step::Capabilities)?;
    cred::set_caps(kept, kept, 0).at(Step::Capabilities)?;
    process::set_no_new_privs().at(Step::NoNewPrivs)?;
    // The change of ids may have made the process dumpable again under a permissive
    // fs.suid_dumpable: nothing in the jail may look into it (CVE-2016-9962).
    process::set_undumpable().at(Step::ParentDeath)?;
    // It has also cleared this one.
    process::set_parent_death_signal(libc::SIGKILL).at(Step::ParentDeath)
}
