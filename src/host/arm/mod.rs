//! Arming: the parent opens every descriptor and builds every C string, so that the child has
//! nothing left to decide, to look up twice or to allocate. Errors here have all the words; of
//! the jail nothing exists yet.

#![forbid(unsafe_code)]

mod details;
mod steps;

use crate::child::detached::ArmedDetached;
use crate::child::landlock::ArmedLandlock;
use crate::child::mounts::ArmedMount;
use crate::child::namespaces::{ArmedJoin, ArmedOuter};
use crate::child::network::ArmedNetwork;
use crate::child::place::Place;
use crate::child::rootfs::{ArmedRoot, Options, Tree};
use crate::child::sources::{Inbox, Source};
use crate::child::{Armed, ArmedCaps, ArmedPrivs, TellingFilter};
use crate::error::{Error, Kind, Result};
use crate::host::sources::{self, Pending};
use crate::plan::detail::{self, Lifetime, NamespaceKind, RootChange};
use crate::plan::ids;
use crate::plan::values::quote;
use crate::plan::{Attrs, BindIds, Expect, Plan, RootSource, SeccompWhen, rlimits};
use crate::sys::io;
use crate::sys::landlock::Handled;
use crate::sys::mount::attr;
use crate::sys::process::CStringArray;
use crate::sys::sched::Cpus;
use details::{asking, bare_mounts, hides_stub, stub_paths, tuning, writes};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

pub(crate) use details::{hook, inherited};

/// Builds a C string; a NUL inside is an error that names what it is in.
fn c(what: &str, bytes: &[u8]) -> Result<CString> {
    CString::new(bytes).map_err(|_| {
        Error::new(
            Kind::InvalidConfig,
            format!("{what} {} holds a NUL byte", quote(&String::from_utf8_lossy(bytes))),
        )
    })
}

pub(crate) fn c_path(path: &Path) -> Result<CString> {
    c("path", path.as_os_str().as_bytes())
}

pub(crate) fn attr_bits(a: Attrs) -> u64 {
    let bit = |on: bool, bit: u64| if on { bit } else { 0 };
    bit(a.read_only, attr::RDONLY)
        | bit(a.no_suid, attr::NOSUID)
        | bit(a.no_dev, attr::NODEV)
        | bit(a.no_exec, attr::NOEXEC)
}

/// The place of an absolute path in the root. `..` does not get here: the plan's check refuses it.
pub(crate) fn place(path: &Path) -> Result<Place> {
    let bytes = path.as_os_str().as_bytes();
    if bytes.contains(&0) {
        c("path", bytes)?;
    }
    let names = || bytes.split(|b| *b == b'/').filter(|name| !name.is_empty() && *name != b".");
    let count = names().count();
    if count == 0 {
        return Ok(Place::new(b".\0".to_vec(), vec![(0, 0)]));
    }
    let mut text: Vec<u8> = Vec::with_capacity((bytes.len() + 1) * count);
    let mut starts = Vec::with_capacity(count);
    let mut above = 0..0;
    for name in names() {
        let start = text.len();
        if !above.is_empty() {
            text.extend_from_within(above);
            text.push(b'/');
        }
        starts.push((start, text.len()));
        text.extend_from_slice(name);
        above = start..text.len();
        text.push(0);
    }
    Ok(Place::new(text, starts))
}

fn options(list: &[(String, Option<String>)]) -> Result<Options> {
    list.iter()
        .map(|(key, value)| {
            let value = value.as_ref().map(|v| c("mount option", v.as_bytes())).transpose()?;
            Ok((c("mount option", key.as_bytes())?, value))
        })
        .collect()
}

/// What a mount of the cgroup file systems shows.
#[derive(Clone, Copy)]
struct CgroupMount<'a> {
    /// Directory by controller.
    paths: &'a BTreeMap<String, String>,
    /// Whether it can be mounted anew.
    anew: bool,
    /// Whether the child has to copy it by itself otherwise.
    by_child: bool,
}

/// Arms mounts for a container that runs. The sources are left to be sent.
pub(crate) fn mounts(list: &[detail::Mount]) -> Result<(Vec<ArmedMount>, Vec<Pending<'_>>)> {
    let none = BTreeMap::new();
    let cgroups = CgroupMount { paths: &none, anew: false, by_child: false };
    let mut pending = Vec::new();
    let armed = list
        .iter()
        .enumerate()
        .map(|(at, m)| details::any_mount(m, at, Some(&mut pending), cgroups));
    let armed = armed.collect::<Result<_>>()?;
    Ok((armed, pending))
}

/// Arms the file system part. With `privileged` the sources are left to be sent.
pub(crate) fn root<'p>(
    plan: &'p Plan,
    privileged: bool,
    cgroups: &BTreeMap<String, String>,
) -> Result<(ArmedRoot, Vec<Pending<'p>>)> {
    let anew = plan.is_new(NamespaceKind::Cgroup);
    let cgroups = CgroupMount { paths: cgroups, anew, by_child: !privileged };
    let mut pending = Vec::with_capacity(if privileged { 32 } else { 0 });
    let root = match &plan.root.source {
        RootSource::Pool => None,
        RootSource::Directory(dir) if privileged => {
            let ids = if plan.root.idmap { BindIds::Same } else { BindIds::Plain };
            let expect = Expect::FileOrDirectory;
            pending.push(Pending {
                root: true,
                guarded: plan.root.guarded,
                ..Pending::new(dir, ids, expect)
            });
            Some(Tree::Sent(0))
        }
        RootSource::Directory(dir) => {
            let expect = Expect::FileOrDirectory;
            let wanted = Pending {
                root: true,
                guarded: plan.root.guarded,
                ..Pending::new(dir, BindIds::Plain, expect)
            };
            let (tree, is_dir) = sources::look(&wanted).map_err(|e| e.context("the rootfs"))?;
            if !is_dir {
                return Err(Error::new(
                    Kind::InvalidConfig,
                    format!("the rootfs {} is no directory", quote(&dir.to_string_lossy())),
                ));
            }
            Some(tree)
        }
    };
    let mut steps = Vec::with_capacity(plan.steps.len());
    let mut present = Vec::with_capacity(plan.steps.len());
    let mut step_rights = Vec::with_capacity(plan.steps.len());
    for (index, step) in plan.steps.iter().enumerate() {
        let sent = privileged.then_some(&mut pending);
        if let Some(armed) = steps::step(step, index, sent, cgroups)? {
            step_rights.push(rights(plan, index));
            steps.push(armed);
            present.push(index);
        }
    }
    let d = &plan.details;
    let place = match &plan.root.source {
        RootSource::Directory(dir) if d.rootfs_in_place => Some(c_path(dir)?),
        _ => None,
    };
    let armed = ArmedRoot {
        pool: pool(plan)?,
        root,
        place,
        guarded: plan.root.guarded,
        chroot: (d.root_change == RootChange::Chroot).then(|| bare_mounts(plan)).transpose()?,
        in_place: d.root_change == RootChange::InPlace,
        propagation: d.root_propagation.map(|p| (p.flag, p.recursive)),
        read_only: plan.root.read_only,
        steps,
        inbox: Inbox::new(vec![Cell::new(Source::Awaited); pending.len()]),
        foreign_modes: plan.namespaces.user.as_ref().is_some_and(|u| !ids::is_outside(&u.uids, 0)),
        present,
        rights: plan.landlock.as_ref().map_or(0, |l| l.root),
        step_rights,
    };
    Ok((armed, pending))
}

fn pool(plan: &Plan) -> Result<Option<Options>> {
    let Some(pool) = &plan.pool else { return Ok(None) };
    let mut list = vec![
        ("size".to_owned(), Some(pool.size.to_string())),
        ("mode".to_owned(), Some("0755".to_owned())),
    ];
    if let Some(n) = pool.inodes {
        list.push(("nr_inodes".to_owned(), Some(n.to_string())));
    }
    options(&list).map(Some)
}

/// What Landlock allows on the mount of a step.
fn rights(plan: &Plan, index: usize) -> u64 {
    let rules = plan.landlock.as_ref().map_or(&[][..], |l| &l.rules);
    rules.iter().find(|(i, _)| *i == index).map_or(0, |(_, rights)| *rights)
}

/// Where PATH says the program may be.
fn candidates(plan: &Plan) -> Result<Vec<CString>> {
    let program =
        plan.process.argv.first().ok_or_else(|| Error::new(Kind::InvalidConfig, "no command"))?;
    if program.contains('/') || program.is_empty() {
        return Ok(vec![c("command", program.as_bytes())?]);
    }
    let path = plan
        .process
        .env
        .iter()
        .find_map(|e| e.strip_prefix("PATH="))
        .unwrap_or("/usr/local/bin:/usr/bin:/bin");
    path.split(':')
        .map(|dir| {
            let dir = if dir.is_empty() { "." } else { dir };
            c("command", format!("{dir}/{program}").as_bytes())
        })
        .collect()
}

/// What the launch adds to the plan.
pub(crate) struct Wiring {
    pub(crate) socket: OwnedFd,
    pub(crate) stdio: [RawFd; 3],
    pub(crate) unshare_cgroup: bool,
    /// Limits that stand in for what the cgroup lacks.
    pub(crate) rlimits: Vec<(u32, u64)>,
    pub(crate) last_cap: u32,
    pub(crate) exposed: bool,
    /// Namespaces that the child joins.
    pub(crate) joins: Vec<ArmedJoin>,
    /// A user namespace that it joins first.
    pub(crate) outer: Option<ArmedOuter>,
    /// For a process that outlives its maker.
    pub(crate) detached: Option<ArmedDetached>,
    /// Whether a terminal passes line ends as they are written.
    pub(crate) plain_lines: bool,
    /// Where a network namespace that is made already is sent.
    pub(crate) network: Option<RawFd>,
}

/// A descriptor at a number that is in nobody's way: not of the job's standard streams, not of
/// what the caller hands on, and not of where the child puts what it keeps.
pub(crate) fn out_of_the_way(fd: OwnedFd, preserved: u32) -> Result<OwnedFd> {
    io::move_above(fd, 16 + preserved.cast_signed())
        .map_err(|e| Error::os("move a descriptor out of the way", e))
}

/// Arms the rest.
pub(crate) fn all(plan: &Plan, rootfs: Option<ArmedRoot>, wiring: Wiring) -> Result<Armed> {
    debug_assert!(wiring.socket.as_raw_fd() >= 16);
    let p = &plan.process;
    let list = |what: &str, strings: &[String]| -> Result<Vec<CString>> {
        strings.iter().map(|s| c(what, s.as_bytes())).collect()
    };
    let mut argv = list("argument", &p.argv)?;
    let stub = if wiring.exposed {
        // The stub's own program name is the path that it executes; see sys::stub.
        argv.insert(0, CString::default());
        Some(
            crate::sys::stub::sealed()
                .map_err(|e| Error::os("make the sealed exec stub", e))
                .and_then(|fd| out_of_the_way(fd, plan.details.preserved_fds))?,
        )
    } else {
        None
    };
    let mut kept = wiring.stdio.to_vec();
    kept.push(wiring.socket.as_raw_fd());
    kept.extend(stub.as_ref().map(AsRawFd::as_raw_fd));
    let outer = wiring.outer.iter().flat_map(|o| &o.joins);
    kept.extend(wiring.joins.iter().chain(outer).map(|j| j.fd));
    let d = &plan.details;
    if let Some(detached) = &wiring.detached {
        kept.extend(detached.listener.as_ref().map(AsRawFd::as_raw_fd));
        kept.extend(
            [&detached.state, &detached.output]
                .into_iter()
                .chain(&detached.files)
                .flatten()
                .map(AsRawFd::as_raw_fd),
        );
    }
    kept.extend(wiring.network);
    kept.extend((0..d.preserved_fds.cast_signed()).map(|n| 3 + n));
    kept.sort_unstable();
    let places = candidates(plan)?;
    Ok(Armed {
        hide_stub: stub.is_some() && hides_stub(plan),
        socket: wiring.socket,
        kept,
        // A container's processors are its cpuset's, whatever its maker may use.
        cpus: match (d.lifetime, d.tuning.exec_affinity.1) {
            (Lifetime::Tied, _) => crate::sys::sched::allowed().ok(),
            (Lifetime::Released, Some(mask)) => Some(Cpus::of(mask)),
            _ => Some(Cpus::ALL),
        },
        unshare_cgroup: wiring.unshare_cgroup,
        network: match wiring.network {
            Some(fd) => ArmedNetwork::Ahead(fd),
            None if plan.namespaces.network => ArmedNetwork::Made,
            None => ArmedNetwork::None,
        },
        // Root of a user namespace that was joined: the caller's own ids mean nothing there.
        setup_ids: match &wiring.outer {
            Some(_) => Some((0, 0)),
            None => plan.namespaces.user.as_ref().and_then(|u| u.setup_ids),
        },
        joins: wiring.joins,
        outer: wiring.outer,
        hostname: c("hostname", plan.hostname.as_bytes())?,
        domainname: d.domainname.as_ref().map(|n| c("domain name", n.as_bytes())).transpose()?,
        keyring: details::keyring(d)?,
        writes: writes(d)?,
        in_cgroups: Cell::new(false),
        rootfs,
        tied: plan.details.lifetime == Lifetime::Tied,
        stdio: wiring.stdio,
        terminal: p.terminal,
        terminal_size: d.terminal.size,
        plain_lines: wiring.plain_lines,
        console: d.terminal.console,
        own_stdio: d.lifetime != Lifetime::Tied && !p.terminal,
        preserved: d.preserved_fds,
        tuning: tuning(d),
        detached: wiring.detached,
        released: d.lifetime == Lifetime::Released,
        cwd: c("working directory", p.cwd.as_bytes())?,
        rlimits: p
            .rlimits
            .iter()
            .map(|r| match wiring.rlimits.iter().find(|(resource, _)| *resource == r.resource) {
                // A second more for the hard one of CPU time: there the kernel sends SIGKILL, and
                // at the soft one SIGXCPU, which says why.
                Some((resource, value)) => {
                    let more = u64::from(*resource == rlimits::CPU);
                    (r.resource, r.soft.min(*value), r.hard.min(*value + more))
                }
                None => (r.resource, r.soft, r.hard),
            })
            .collect(),
        umask: p.umask,
        landlock: plan.landlock.as_ref().map(|l| ArmedLandlock {
            handled: Handled { fs: l.fs, net: l.net, scoped: l.scoped },
            flags: l.flags,
        }),
        privs: ArmedPrivs {
            uid: p.uid,
            gid: p.gid,
            groups: p.groups.clone(),
            caps: ArmedCaps {
                bounding: p.caps.bounding,
                effective: p.caps.effective,
                permitted: p.caps.permitted,
                inheritable: p.caps.inheritable,
                ambient: p.caps.ambient,
            },
            last_cap: wiring.last_cap,
            no_new_privs: p.no_new_privs,
            filter: p.seccomp.filter.clone(),
            filter_flags: p.seccomp.flags,
            filter_early: p.seccomp.when == SeccompWhen::BeforeDroppingCaps,
            hold_for_filter: p.seccomp.when == SeccompWhen::BeforeDroppingCaps
                && !p.seccomp.filter.is_empty()
                && d.lifetime != Lifetime::Tied,
            telling: p
                .seccomp
                .telling
                .as_ref()
                .map(|t| TellingFilter { first: t.first.clone(), second: t.second.clone() }),
            asking: asking(p),
            must_tell: p.seccomp.execs > 0,
        },
        one_exec: p.seccomp.execs > 0,
        init: p.init,
        stub_paths: if stub.is_some() { stub_paths(&places, d.preserved_fds)? } else { Vec::new() },
        candidates: places,
        stub,
        argv: CStringArray::new(argv),
        envp: CStringArray::new(list("environment variable", &p.env)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_knows_its_ancestors() {
        let p = place(Path::new("/a//bb/./c/")).unwrap();
        assert_eq!((p.full(), p.first()), (c"a/bb/c", c"a"));
        assert_eq!(p.ancestors().collect::<Vec<_>>(), [(c"a", c"bb"), (c"a/bb", c"c")]);
        assert_eq!(p.parent(), Some((c"a/bb", c"c")));
        let p = place(Path::new("/a")).unwrap();
        assert_eq!((p.full(), p.first(), p.parent()), (c"a", c"a", None));
        let root = place(Path::new("/")).unwrap();
        assert_eq!((root.full(), root.first(), root.ancestors().count()), (c".", c".", 0));
        assert!(place(Path::new("/a\0b")).is_err());
    }
}
