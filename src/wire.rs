//! Fixed-size messages between the supervisor and the child; no heap on either side.
//!
//! ```text
//!   supervisor                              child (PID 1 of the jail)
//!       |  ------------- clone3 ------------->  |
//!       |  id maps, id-mapped mounts            |
//!       |  -------------- Go ---------------->  |
//!       |  ----- Sources (+ descriptors) ---->  |  attached as the steps come to them
//!       |  <----- Pool (+ descriptor) --------  |  mounts, pivot_root, ...
//!       |  makes the cgroups (v1)               |
//!       |  ------- Join (+ descriptors) ----->  |  joins each (v1)
//!       |  ------------- Proceed ------------>  |
//!       |  <---- Console (+ descriptor) ------  |  if the job has a terminal
//!       |  <--- Listener (+ descriptor) ------  |  if denied calls are told, or asked about
//!       |  <-- Failed{step,index,errno} ------  |  or, when all went well:
//!       |  <------------ Started -------------  |  execve has succeeded
//!       |  <------- Exited{status, usage} ----  |  the init reaped the job
//!       |  <-------------- EOF ---------------  |
//! ```
//!
//! A process that outlives its maker says when it has come so far that hooks of the host may run,
//! and later that it waits; who starts it then talks to it by a socket of its own:
//!
//! ```text
//!       |  ------- Trees (+ descriptors) ---->  |  mounts of its cgroups, after Join
//!       |  <----- MapIds (+ descriptor) ------  |  if a source in the root is to be mapped
//!       |  <------------- Hooks --------------  |  if there are any
//!       |  ------------- Hooked ------------->  |
//!       |  <------------- Ready --------------  |  waits
//!
//!   starter                                 child
//!       |  -------------- Start ------------->  |  hooks, execve
//!       |  <-- Failed{...}, or EOF at execve -  |
//! ```
//!
//! Where a joined namespace takes effect on children only, the child makes the real one and says
//! so (`Sibling`, with its pidfd) before anything else.
//!
//! Without an init the job itself is PID 1: nobody is left to say `Started`, and the
//! end of file at `execve` (the socket is close-on-exec) says it.

#![forbid(unsafe_code)]

/// The steps, in the order of their numbers, with a list of all of them.
macro_rules! steps {
    ($first:ident, $($step:ident,)*) => {
        /// What the child was doing when it failed. The numbers are the wire format.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        #[allow(missing_docs)] // each name says what it is; error.rs has the sentences
        pub enum Step {
            $first = 1,
            $($step,)*
        }

        impl Step {
            const ALL: &[Step] = &[Step::$first, $(Step::$step,)*];
        }
    };
}

steps! {
    Handshake,
    JoinCgroup,
    NewCgroupNamespace,
    ParentDeath,
    SetupIds,
    Session,
    Keyring,
    Network,
    Propagation,
    Pool,
    Root,
    Mount,
    Pivot,
    DetachOldRoot,
    RootReadOnly,
    Hostname,
    SpawnInit,
    Stdio,
    Terminal,
    Rlimit,
    Umask,
    Cwd,
    CwdEscaped,
    Bounding,
    Groups,
    Gid,
    Uid,
    Capabilities,
    NoNewPrivs,
    Seccomp,
    CloseFds,
    Exec,
    Landlock,
    JoinNamespace,
    TimeOffsets,
    Sysctl,
    Domainname,
    CreateHook,
    StartHook,
    RootPropagation,
    Scheduling,
    IoPriority,
    Personality,
    MemoryPolicy,
    Label,
    Wait,
    Console,
    OomScore,
    FindProgram,
}

impl Step {
    fn from_wire(n: u32) -> Option<Step> {
        Step::ALL.iter().copied().find(|s| *s as u32 == n)
    }
}

/// Where a child stopped: the step, which of several (the third mount, say), and the errno.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fail {
    /// What it was doing.
    pub step: Step,
    /// Which one, for steps that come in lists; 0 otherwise.
    pub index: u32,
    /// The kernel's answer.
    pub errno: i32,
}

/// How the job ended, as PID 1 saw it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exit {
    /// The status word of wait4(2).
    pub status: i32,
    /// User CPU time of the job and its reaped descendants, microseconds.
    pub utime_us: u64,
    /// System CPU time, likewise.
    pub stime_us: u64,
    /// Largest resident set of one process, KiB.
    pub maxrss_kib: u64,
}

/// The next sources, in the order in which the steps need them. Bit 0 is the first of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// How many; at most [`Sources::MOST`].
    pub count: u32,
    /// Which are missing on the host, and optional: no descriptor comes for them.
    pub absent: u64,
    /// Which are directories.
    pub directories: u64,
}

impl Sources {
    /// Most in one message.
    pub const MOST: usize = 32;
}

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// Supervisor to child: the id maps are in place.
    Go,
    /// Supervisor to child, with the descriptors: detached mounts of the host's files.
    Sources(Sources),
    /// Supervisor to child, with the descriptors: the `tasks` files of cgroups to join (v1).
    Join,
    /// Supervisor to child: every limit is in place.
    Proceed,
    /// Child to supervisor, with a descriptor: the tmpfs that all writable mounts share.
    Pool,
    /// Child to supervisor, with a descriptor: the master side of the job's terminal.
    Console,
    /// Child to supervisor, with a descriptor: the listener of the job's filter, and when the
    /// command is about to be executed (CLOCK_MONOTONIC, nanoseconds); 0: not yet.
    Listener(u64),
    /// Child to supervisor: set-up failed here; the job was not run.
    Failed(Fail),
    /// Child to supervisor: execve succeeded; when it began (CLOCK_MONOTONIC, nanoseconds).
    Started(u64),
    /// Child to supervisor: the job ended.
    Exited(Exit),
    /// Supervisor to child, with the descriptors: mounts of its cgroups.
    Trees,
    /// Child to supervisor: everything is mounted, and the old root still there.
    Hooks,
    /// Supervisor to child: its hooks have run.
    Hooked,
    /// Child to supervisor: set-up is complete; the command is executed when it is told so.
    Ready,
    /// To the child: execute the command.
    Start,
    /// Child to supervisor, with a socket over which the mount of this step comes: its ids are to be
    /// mapped. The same over that socket: they are.
    MapIds(u32),
    /// Child to supervisor, with a pidfd: this process, and not the child, becomes the job.
    Sibling(i32),
}

/// Size of every message, bytes.
pub const SIZE: usize = 40;

// The stub of `sys::stub` has this message in its instructions.
const _: () = assert!(Step::Exec as u32 == 32 && SIZE == 40);

impl Message {
    /// The bytes that go over the socket.
    #[must_use]
    pub fn to_bytes(self) -> [u8; SIZE] {
        let mut out = [0u8; SIZE];
        let (kind, a, b, c) = match self {
            Message::Go => (1u32, 0, 0, 0),
            Message::Pool => (2, 0, 0, 0),
            Message::Console => (6, 0, 0, 0),
            Message::Join => (7, 0, 0, 0),
            Message::Proceed => (8, 0, 0, 0),
            Message::Listener(at) => {
                put(&mut out, 16, &at.to_ne_bytes());
                (9, 0, 0, 0)
            }
            Message::Sources(s) => {
                put(&mut out, 16, &s.absent.to_ne_bytes());
                put(&mut out, 24, &s.directories.to_ne_bytes());
                (10, s.count, 0, 0)
            }
            Message::Failed(f) => (3, f.step as u32, f.index, f.errno),
            Message::Started(at) => {
                put(&mut out, 16, &at.to_ne_bytes());
                (4, 0, 0, 0)
            }
            Message::Trees => (11, 0, 0, 0),
            Message::Hooks => (12, 0, 0, 0),
            Message::Hooked => (13, 0, 0, 0),
            Message::Ready => (14, 0, 0, 0),
            Message::Start => (15, 0, 0, 0),
            Message::Sibling(pid) => (16, 0, 0, pid),
            Message::MapIds(step) => (17, step, 0, 0),
            Message::Exited(e) => {
                put(&mut out, 16, &e.utime_us.to_ne_bytes());
                put(&mut out, 24, &e.stime_us.to_ne_bytes());
                put(&mut out, 32, &e.maxrss_kib.to_ne_bytes());
                (5, 0, 0, e.status)
            }
        };
        put(&mut out, 0, &kind.to_ne_bytes());
        put(&mut out, 4, &a.to_ne_bytes());
        put(&mut out, 8, &b.to_ne_bytes());
        put(&mut out, 12, &c.to_ne_bytes());
        out
    }

    /// Reads a message; `None` if the bytes are none of ours.
    #[must_use]
    pub fn from_bytes(b: &[u8]) -> Option<Message> {
        if b.len() != SIZE {
            return None;
        }
        let word = |at: usize| b.get(at..at + 4).and_then(|s| s.try_into().ok());
        let long = |at: usize| b.get(at..at + 8).and_then(|s| s.try_into().ok());
        let kind = u32::from_ne_bytes(word(0)?);
        Some(match kind {
            1 => Message::Go,
            2 => Message::Pool,
            6 => Message::Console,
            7 => Message::Join,
            8 => Message::Proceed,
            3 => Message::Failed(Fail {
                step: Step::from_wire(u32::from_ne_bytes(word(4)?))?,
                index: u32::from_ne_bytes(word(8)?),
                errno: i32::from_ne_bytes(word(12)?),
            }),
            9 => Message::Listener(u64::from_ne_bytes(long(16)?)),
            10 => Message::Sources(Sources {
                count: u32::from_ne_bytes(word(4)?),
                absent: u64::from_ne_bytes(long(16)?),
                directories: u64::from_ne_bytes(long(24)?),
            }),
            4 => Message::Started(u64::from_ne_bytes(long(16)?)),
            11 => Message::Trees,
            12 => Message::Hooks,
            13 => Message::Hooked,
            14 => Message::Ready,
            15 => Message::Start,
            16 => Message::Sibling(i32::from_ne_bytes(word(12)?)),
            17 => Message::MapIds(u32::from_ne_bytes(word(4)?)),
            5 => Message::Exited(Exit {
                status: i32::from_ne_bytes(word(12)?),
                utime_us: u64::from_ne_bytes(long(16)?),
                stime_us: u64::from_ne_bytes(long(24)?),
                maxrss_kib: u64::from_ne_bytes(long(32)?),
            }),
            _ => return None,
        })
    }
}

/// Copies without a bounds panic: the child must never unwind.
fn put(out: &mut [u8; SIZE], at: usize, bytes: &[u8]) {
    for (slot, byte) in out.iter_mut().skip(at).zip(bytes) {
        *slot = *byte;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_survives_the_wire() {
        let exit = Exit { status: -7, utime_us: 1 << 40, stime_us: 3, maxrss_kib: u64::MAX };
        let mut all = vec![
            Message::Go,
            Message::Pool,
            Message::Console,
            Message::Listener(u64::MAX),
            Message::Sources(Sources { count: 32, absent: 1 << 31, directories: 3 }),
            Message::Started(1 << 40),
            Message::Exited(exit),
            Message::Trees,
            Message::Hooks,
            Message::Hooked,
            Message::Ready,
            Message::Start,
            Message::Sibling(4_194_303),
            Message::MapIds(7),
        ];
        for step in Step::ALL.iter().copied() {
            all.push(Message::Failed(Fail { step, index: 9, errno: 22 }));
        }
        for m in all {
            assert_eq!(Message::from_bytes(&m.to_bytes()), Some(m));
        }
    }

    #[test]
    fn foreign_bytes_are_not_a_message() {
        assert_eq!(Message::from_bytes(&[]), None);
        assert_eq!(Message::from_bytes(&[0; SIZE]), None);
        assert_eq!(Message::from_bytes(&[3; SIZE]), None);
        assert_eq!(Message::from_bytes(&[0; SIZE + 1]), None);
    }
}
