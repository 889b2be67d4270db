//! Namespaces that a container joins: opened once, looked at by descriptor.

#![forbid(unsafe_code)]

use crate::error::{Error, Kind, Result};
use crate::host::arm;
use crate::plan::Plan;
use crate::plan::detail::NamespaceKind;
use crate::plan::oci::sysctl;
use crate::plan::values::quote;
use crate::sys::{self, fs, process};
use std::os::fd::{AsFd, OwnedFd};

/// A namespace to be joined.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) kind: NamespaceKind,
    pub(super) fd: OwnedFd,
}

/// `CLONE_NEW*`.
pub(super) const fn flag(kind: NamespaceKind) -> i32 {
    match kind {
        NamespaceKind::User => libc::CLONE_NEWUSER,
        NamespaceKind::Mount => libc::CLONE_NEWNS,
        NamespaceKind::Pid => libc::CLONE_NEWPID,
        NamespaceKind::Network => libc::CLONE_NEWNET,
        NamespaceKind::Ipc => libc::CLONE_NEWIPC,
        NamespaceKind::Uts => libc::CLONE_NEWUTS,
        NamespaceKind::Cgroup => libc::CLONE_NEWCGROUP,
        NamespaceKind::Time => 0x80,
    }
}

/// Opens all that the plan joins.
pub(super) fn open(plan: &Plan) -> Result<Vec<Opened>> {
    let d = &plan.details;
    let mut opened = Vec::with_capacity(d.joined.len());
    for join in &d.joined {
        let shown = quote(&join.path.to_string_lossy());
        let name = join.kind.name();
        let path = arm::c_path(&join.path)?;
        let fd = fs::open_at(fs::cwd(), &path, libc::O_RDONLY | libc::O_NONBLOCK, 0)
            .map_err(|e| Error::os(format!("open the {name} namespace {shown}"), e))?;
        match process::namespace_kind(fd.as_fd()) {
            Ok(kind) if kind == flag(join.kind) => {}
            Ok(_) => {
                return Err(Error::new(
                    Kind::InvalidConfig,
                    format!("{shown} is a namespace of another kind than {name}"),
                )
                .hint("the types in linux.namespaces must be those of the files"));
            }
            Err(_) => {
                return Err(Error::new(Kind::InvalidConfig, format!("{shown} is no namespace"))
                    .hint("name a file such as /proc/PID/ns/net"));
            }
        }
        let fd = arm::out_of_the_way(fd, d.preserved_fds)?;
        opened.push(Opened { kind: join.kind, fd });
    }
    refuse_host_sysctls(plan, &opened)?;
    Ok(opened)
}

/// A system control of a joined namespace that is the caller's own would be the host's.
fn refuse_host_sysctls(plan: &Plan, opened: &[Opened]) -> Result<()> {
    for joined in opened {
        let about = |path: &str| sysctl::namespace_of(path) == Some(joined.kind);
        let sysctls = &plan.details.sysctls;
        let Some((path, _)) = sysctls.iter().find(|(path, _)| about(path)) else { continue };
        let name = joined.kind.name();
        let own = std::ffi::CString::new(format!("/proc/self/ns/{name}")).unwrap_or_default();
        let look = |e: sys::Errno| Error::os(format!("look at the {name} namespace"), e);
        let own = fs::open_at(fs::cwd(), &own, libc::O_RDONLY, 0).map_err(look)?;
        let a = fs::stat(own.as_fd()).map_err(look)?;
        let b = fs::stat(joined.fd.as_fd()).map_err(look)?;
        if (a.dev, a.ino) == (b.dev, b.ino) {
            return Err(Error::new(
                Kind::Refused,
                format!("sysctl {}: the {name} namespace is the host's own", quote(path)),
            )
            .hint("leave it out of linux.sysctl, or give the container a namespace of its own"));
        }
    }
    Ok(())
}

/// Joins the network namespace of a process of ours that stands still.
fn visit_network(pid: i32) -> Result<Visit> {
    let kind = NamespaceKind::Network;
    let path = std::ffi::CString::new(format!("/proc/{pid}/ns/net")).unwrap_or_default();
    let fd = fs::open_at(fs::cwd(), &path, libc::O_RDONLY, 0)
        .map_err(|e| Error::os("open the container's network namespace", e))?;
    Visit::begin(&[Opened { kind, fd }], &[kind])
}

/// Brings up `lo` there.
pub(super) fn loopback_up(pid: i32) -> Result<()> {
    let _visit = visit_network(pid)?;
    sys::net::loopback_up()
        .map(drop)
        .map_err(|e| Error::os("bring up lo in the container's network namespace", e))
}

/// Sets those of these system controls that belong to it: /proc/sys/net is that of whoever looks.
pub(super) fn set_network_sysctls(pid: i32, list: &[(String, String)]) -> Result<()> {
    let list: Vec<_> = list.iter().filter(|(path, _)| path.starts_with("net/")).collect();
    if list.is_empty() {
        return Ok(());
    }
    let _visit = visit_network(pid)?;
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    let top = fs::open_at(fs::cwd(), c"/proc/sys", flags, 0)
        .map_err(|e| Error::os("open /proc/sys", e))?;
    for (path, value) in list {
        let name = arm::c_path(path.as_ref())?;
        fs::open_beneath(top.as_fd(), &name, libc::O_WRONLY, 0, fs::Resolve::Beneath)
            .and_then(|file| sys::io::write_whole(file.as_fd(), value.as_bytes()))
            .map_err(|e| {
                Error::os(format!("set the sysctl {} to {}", quote(path), quote(value)), e)
            })?;
    }
    Ok(())
}

/// Namespaces that this thread takes for its children while it clones one. Dropped, it is back in
/// its own.
#[derive(Debug)]
pub(super) struct Visit {
    own: Vec<(OwnedFd, i32)>,
}

impl Visit {
    /// Joins those of these kinds.
    pub(super) fn begin(opened: &[Opened], kinds: &[NamespaceKind]) -> Result<Visit> {
        let mut visit = Visit { own: Vec::new() };
        for joined in opened.iter().filter(|o| kinds.contains(&o.kind)) {
            let name = match joined.kind {
                NamespaceKind::Pid => "pid_for_children",
                kind => kind.name(),
            };
            let path =
                std::ffi::CString::new(format!("/proc/thread-self/ns/{name}")).unwrap_or_default();
            let own = fs::open_at(fs::cwd(), &path, libc::O_RDONLY, 0)
                .map_err(|e| Error::os(format!("open this thread's own {name} namespace"), e))?;
            process::join(joined.fd.as_fd(), flag(joined.kind))
                .map_err(|e| Error::os(format!("join the {name} namespace"), e))?;
            visit.own.push((own, flag(joined.kind)));
        }
        Ok(visit)
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        for (own, kind) in self.own.drain(..).rev() {
            if process::join(own.as_fd(), kind).is_err() {
                // Never the case: this thread has come from there. Going on in a container's
                // namespace would be worse than not going on.
                std::process::abort();
            }
        }
    }
}
