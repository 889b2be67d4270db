//! The one error type, and the only place that turns an errno into words.
//!
//! A message says what was tried, on what, and why it failed; the hint says what to do next.
//! Errors are returned and printed once, by `main`.

#![forbid(unsafe_code)]

use crate::wire::Step;
use std::fmt;

/// What sort of failure it was. More may come: match with a wildcard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// What was asked for makes no sense or contradicts itself.
    InvalidConfig,
    /// This kernel, file system or host cannot do it.
    Unsupported,
    /// The caller may not.
    Permission,
    /// A file or directory of the host that was named is not there.
    NotFound,
    /// The id is taken.
    Exists,
    /// The command is not in the jail (exit status 127).
    CommandNotFound,
    /// The command is there and cannot be executed (exit status 126).
    CommandNotExecutable,
    /// Something looked like an attack: the run was refused.
    Refused,
    /// A system call failed.
    Os,
}

/// What of a set-up failed, for whoever looks on the host for the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Making the namespaces.
    Namespaces,
    /// Mapping and changing ids.
    Ids,
    /// Mounting.
    Mounts,
    /// The cgroup: making, limiting, joining it.
    Cgroup,
}

/// Why stockade itself failed. The job was not run, or its end could not be seen.
pub struct Error {
    inner: Box<Inner>,
}

struct Inner {
    kind: Kind,
    message: String,
    hint: Option<String>,
    errno: Option<i32>,
    step: Option<Step>,
    stage: Option<Stage>,
    warnings: Vec<String>,
}

impl Error {
    /// An error of this kind with this message: lower case, no final period.
    #[must_use]
    pub fn new(kind: Kind, message: impl Into<String>) -> Error {
        Error {
            inner: Box::new(Inner {
                kind,
                message: message.into(),
                hint: None,
                errno: None,
                step: None,
                stage: None,
                warnings: Vec::new(),
            }),
        }
    }

    /// A failed system call: what was tried, and the errno.
    #[must_use]
    pub fn os(what: impl fmt::Display, errno: impl Into<std::io::Error>) -> Error {
        let source = errno.into();
        let number = source.raw_os_error();
        let kind = match number {
            Some(libc::EPERM | libc::EACCES) => Kind::Permission,
            Some(libc::ENOENT) => Kind::NotFound,
            Some(libc::ENOSYS | libc::EOPNOTSUPP) => Kind::Unsupported,
            _ => Kind::Os,
        };
        let text = number.map_or_else(|| source.to_string(), describe_errno);
        let mut error = Error::new(kind, format!("{what}: {text}"));
        error.inner.errno = number;
        error
    }

    /// A set-up step that failed in the child.
    #[must_use]
    pub fn step(step: Step, what: impl fmt::Display, errno: i32) -> Error {
        let mut error = Error::os(what, std::io::Error::from_raw_os_error(errno));
        error.inner.step = Some(step);
        if error.inner.kind == Kind::NotFound {
            error.inner.kind = Kind::Os;
        }
        if let Some(hint) = hint_for(step, errno) {
            error.inner.hint = Some(hint.to_owned());
        }
        error
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Error {
        self.inner.hint = Some(hint.into());
        self
    }

    /// Puts what was being done before the message.
    #[must_use]
    pub fn context(mut self, what: impl fmt::Display) -> Error {
        self.inner.message = format!("{what}: {}", self.inner.message);
        self
    }

    /// Puts the cause behind the message.
    #[must_use]
    pub(crate) fn because(mut self, why: impl fmt::Display) -> Error {
        self.inner.message = format!("{}: {why}", self.inner.message);
        self
    }

    /// Changes the kind.
    #[must_use]
    pub fn with_kind(mut self, kind: Kind) -> Error {
        self.inner.kind = kind;
        self
    }

    /// Adds what had no effect of that which was asked for: it may be why.
    #[must_use]
    pub(crate) fn with_warnings(mut self, warnings: Vec<String>) -> Error {
        self.inner.warnings = warnings;
        self
    }

    /// What had no effect of that which was asked for, where that was known before.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.inner.warnings
    }

    /// Whether it was execve itself that failed, in a process that had nothing else to do any more.
    #[must_use]
    pub(crate) fn is_of_execve(&self) -> bool {
        self.inner.step == Some(Step::Exec)
    }

    /// Notes what of the set-up it was.
    #[must_use]
    pub(crate) fn during(mut self, stage: Stage) -> Error {
        self.inner.stage = Some(stage);
        self
    }

    /// What of the set-up it was, if the host can be why.
    pub(crate) fn stage(&self) -> Option<Stage> {
        let of_step = || match self.inner.step? {
            Step::Handshake => Some(Stage::Namespaces),
            Step::SetupIds | Step::Groups | Step::Gid | Step::Uid => Some(Stage::Ids),
            Step::Network | Step::Propagation | Step::Pool | Step::Root | Step::Mount => {
                Some(Stage::Mounts)
            }
            Step::Pivot | Step::DetachOldRoot | Step::RootReadOnly => Some(Stage::Mounts),
            Step::JoinCgroup | Step::NewCgroupNamespace => Some(Stage::Cgroup),
            _ => None,
        };
        self.inner.stage.or_else(of_step)
    }

    /// What sort of failure it was.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.inner.kind
    }

    /// What to do next, where that is known.
    #[must_use]
    pub fn hint_text(&self) -> Option<&str> {
        self.inner.hint.as_deref()
    }

    /// The errno behind it, if a system call failed.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        self.inner.errno
    }

    /// The exit status that `stockade jail` has for it.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.inner.kind {
            Kind::CommandNotFound => 127,
            Kind::CommandNotExecutable => 126,
            _ => 125,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.inner.kind)
            .field("message", &self.inner.message)
            .field("hint", &self.inner.hint)
            .field("step", &self.inner.step)
            .finish()
    }
}

impl std::error::Error for Error {}

impl From<crate::plan::values::ValueError> for Error {
    fn from(e: crate::plan::values::ValueError) -> Error {
        let hint = e.hint.clone();
        let error = Error::new(Kind::InvalidConfig, e.to_string());
        match hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

/// Result with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// The C library's words, in lower case and without a number.
#[must_use]
pub fn describe_errno(errno: i32) -> String {
    let text = nix::errno::Errno::from_raw(errno).desc();
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |c| c.to_ascii_lowercase().to_string() + chars.as_str())
}

/// (step, errno) → what to do next. `0` stands for any errno.
const HINTS: &[(Step, i32, &str)] = &[
    (
        Step::Handshake,
        libc::EPERM,
        "user namespaces may be switched off here: see the sysctls kernel.unprivileged_userns_clone, \
         user.max_user_namespaces and kernel.apparmor_restrict_unprivileged_userns, or, inside a \
         container, its seccomp profile",
    ),
    (
        Step::Mount,
        libc::EEXIST,
        "something else stands there in the root file system: a symlink or a file of the image",
    ),
    (
        Step::Mount,
        libc::EPERM,
        "inside a container /proc may be masked or the source's mount locked; run the outer \
         container with an unmasked /proc (docker: --security-opt systempaths=unconfined)",
    ),
    (
        Step::Mount,
        libc::ELOOP,
        "the target is, or passes through, a symlink where only a real directory is safe",
    ),
    (Step::Mount, libc::ENOTDIR, "source and target must both be directories or both be files"),
    (
        Step::Mount,
        libc::EROFS,
        "make the mount point in the rootfs first: it is on a read-only file system",
    ),
    (
        Step::Mount,
        libc::ENOSPC,
        "the mount table of the namespace may be full: see the sysctl fs.mount-max",
    ),
    (
        Step::Mount,
        libc::EACCES,
        "the rootfs belongs to somebody else: make the mount point there first",
    ),
    (Step::Mount, libc::EXDEV, "the path leads out of the rootfs"),
    (Step::Root, libc::EINVAL, "the directory may hold mounts that an ordinary user cannot copy"),
    (
        Step::DetachOldRoot,
        libc::EINVAL,
        "a user namespace cannot detach the host's procfs and sysfs, which would stay in reach without \
         pivot_root: leave --no-pivot away",
    ),
    (Step::Pivot, libc::EINVAL, "the root of the host is a ramfs, which pivot_root cannot leave"),
    (
        Step::Cwd,
        libc::ENOENT,
        "name a directory that is in there: -w of a jail, such as /work or /tmp, --cwd of exec",
    ),
    (Step::Cwd, libc::EACCES, "the job's user may not enter it: see -u and the directory's mode"),
    (Step::Rlimit, libc::EPERM, "a hard limit above the caller's own needs CAP_SYS_RESOURCE"),
    (
        Step::Uid,
        libc::EINVAL,
        "the id is not mapped in the user namespace: see /etc/subuid and --userns",
    ),
    (
        Step::Gid,
        libc::EINVAL,
        "the id is not mapped in the user namespace: see /etc/subgid and --userns",
    ),
    (
        Step::Groups,
        libc::EPERM,
        "an ordinary user without newgidmap cannot set supplementary groups",
    ),
    (Step::Seccomp, libc::EINVAL, "the kernel has no seccomp filters or refuses this one"),
    (
        Step::Seccomp,
        libc::EACCES,
        "without no_new_privs a filter needs CAP_SYS_ADMIN: leave no-new-privileges on",
    ),
    (
        Step::Landlock,
        libc::E2BIG,
        "Landlock stacks sixteen rulesets at most, and that many are in force here already: \
         --security-opt landlock=off leaves this one out",
    ),
    (
        Step::Landlock,
        0,
        "--security-opt landlock=off leaves this layer out; the mounts hold without it",
    ),
    (
        Step::Network,
        libc::ENOSPC,
        "there are too many network namespaces: see the sysctl user.max_net_namespaces",
    ),
    (Step::Keyring, libc::EDQUOT, "the user has too many keys: see the sysctl kernel.keys.maxkeys"),
    (Step::JoinCgroup, libc::ENOSPC, "the cgroup has no CPUs or memory nodes: see --cpuset-cpus"),
];

/// What to do next when this step fails so.
#[must_use]
pub fn hint_for(step: Step, errno: i32) -> Option<&'static str> {
    HINTS.iter().find(|(s, e, _)| *s == step && (*e == errno || *e == 0)).map(|(_, _, hint)| *hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_what_was_tried_and_why_it_failed() {
        let e = Error::step(Step::Cwd, "change to the working directory /nope", libc::ENOENT);
        assert_eq!(
            e.to_string(),
            "change to the working directory /nope: no such file or directory"
        );
        assert!(e.hint_text().unwrap().contains("-w"));
        assert_eq!(e.exit_code(), 125);
    }

    #[test]
    fn every_hint_is_reachable() {
        for (i, (step, errno, hint)) in HINTS.iter().enumerate() {
            assert_eq!(hint_for(*step, *errno), Some(*hint), "hint {i} is hidden by another");
        }
    }
}
