//! Moves network devices of the caller into the container (`linux.netDevices`), and back if the
//! container does not come about.

#![forbid(unsafe_code)]

use super::namespaces::{Opened, Visit};
use crate::error::{Error, Kind, Result};
use crate::host::netlink::{Address, Link, Route};
use crate::plan::Plan;
use crate::plan::detail::{NamespaceKind, NetDevice};
use crate::plan::values::quote;
use crate::sys::{self, fs};
use std::cell::RefCell;
use std::os::fd::{AsFd, OwnedFd};

/// Devices that are there and can be named as they are to be.
pub(super) struct Found<'a> {
    own: Route,
    namespace: OwnedFd,
    devices: Vec<(Link, &'a NetDevice)>,
}

fn about(device: &NetDevice, what: &str, e: sys::Errno) -> Error {
    let errno = e.0;
    let failed = Error::os(format!("{what} the network device {}", quote(&device.name)), e);
    match errno {
        libc::EINVAL => failed.hint("some devices cannot leave their namespace, such as a bridge"),
        libc::EPERM => failed.hint("it needs CAP_NET_ADMIN here and in the container's namespace"),
        _ => failed,
    }
}

/// Looks for all of them before there is a process: nothing is touched.
pub(super) fn find<'a>(plan: &'a Plan, opened: &[Opened]) -> Result<Option<Found<'a>>> {
    let list = &plan.details.net_devices;
    if list.is_empty() {
        return Ok(None);
    }
    let open = |e| Error::os("ask for the network devices of this namespace (rtnetlink)", e);
    let own = Route::open().map_err(open)?;
    let namespace = own.namespace().map_err(open)?;
    let joined = opened.iter().find(|o| o.kind == NamespaceKind::Network);
    let there = joined.map(|o| Target::open(&o.fd, &namespace)).transpose()?;
    let mut devices = Vec::with_capacity(list.len());
    for device in list {
        let found = own.link(device.name.as_bytes()).map_err(|e| about(device, "find", e))?;
        let Some(link) = found else {
            return Err(Error::new(
                Kind::NotFound,
                format!("link not found for the network device {}", quote(&device.name)),
            )
            .hint("linux.netDevices names devices of the caller's network namespace (ip link)"));
        };
        if link.name != device.name.as_bytes() {
            let real = quote(&String::from_utf8_lossy(&link.name));
            return Err(Error::new(
                Kind::InvalidConfig,
                format!("{} is another name of the network device {real}", quote(&device.name)),
            )
            .hint("name the device itself in linux.netDevices"));
        }
        if let Some(there) = &there {
            there.check_free(device)?;
        }
        devices.push((link, device));
    }
    Ok(Some(Found { own, namespace, devices }))
}

/// The container's network namespace.
struct Target {
    route: Route,
    namespace: OwnedFd,
}

impl Target {
    /// A socket in it, which must not be the caller's own namespace.
    fn open(fd: &OwnedFd, own: &OwnedFd) -> Result<Target> {
        let look = |e: sys::Errno| Error::os("look at the container's network namespace", e);
        let (a, b) = (fs::stat(fd.as_fd()).map_err(look)?, fs::stat(own.as_fd()).map_err(look)?);
        if (a.dev, a.ino) == (b.dev, b.ino) {
            return Err(Error::new(
                Kind::InvalidConfig,
                "unable to move network devices: the container's network namespace is the caller's own",
            )
            .hint("give the container a network namespace of its own, or take linux.netDevices out"));
        }
        let namespace = sys::io::duplicate(fd.as_fd()).map_err(look)?;
        let visited = [Opened { kind: NamespaceKind::Network, fd: namespace }];
        let visit = Visit::begin(&visited, &[NamespaceKind::Network])?;
        let route = Route::open();
        drop(visit);
        let [Opened { fd: namespace, .. }] = visited;
        Ok(Target { route: route.map_err(look)?, namespace })
    }

    fn check_free(&self, device: &NetDevice) -> Result<()> {
        let taken = self.route.link(device.new_name.as_bytes());
        if taken.map_err(|e| about(device, "find room for", e))?.is_none() {
            return Ok(());
        }
        Err(Error::new(
            Kind::Exists,
            format!(
                "the network device {} cannot be {} in the container: its network namespace has one",
                quote(&device.name),
                quote(&device.new_name)
            ),
        )
        .hint("give it another name in linux.netDevices, or remove the other one"))
    }
}

/// Devices that are in the container. Dropped, they are given back, unless they are kept.
pub(super) struct Moved {
    own: Route,
    namespace: OwnedFd,
    target: Target,
    devices: Vec<Away>,
}

/// One of them.
struct Away {
    /// As it was here.
    before: Link,
    addresses: Vec<Address>,
    /// Its number there, if that is known; it has this name else.
    index: Option<i32>,
    name: Vec<u8>,
}

impl Found<'_> {
    /// Moves them into the namespace of this process, which waits. What was moved stands in `moved`
    /// even if one fails.
    pub(super) fn move_to(self, pid: i32, moved: &RefCell<Option<Moved>>) -> Result<()> {
        let path = std::ffi::CString::new(format!("/proc/{pid}/ns/net")).unwrap_or_default();
        let namespace = fs::open_at(fs::cwd(), &path, libc::O_RDONLY, 0)
            .map_err(|e| Error::os("open the container's network namespace", e))?;
        let target = Target::open(&namespace, &self.namespace)?;
        let Found { own, namespace, devices } = self;
        let mut slot = moved.borrow_mut();
        let all = slot.insert(Moved { own, namespace, target, devices: Vec::new() });
        devices.into_iter().try_for_each(|(link, device)| all.take(link, device))
    }
}

impl Moved {
    fn take(&mut self, before: Link, device: &NetDevice) -> Result<()> {
        // As short before as can be. The kernel forgets them.
        let addresses = self.own.addresses(before.index);
        let mut addresses = addresses.map_err(|e| about(device, "list the addresses of", e))?;
        addresses.retain(Address::is_kept);
        let (index, name) = (before.index, device.new_name.as_bytes());
        let target = self.target.namespace.as_fd();
        let done = self.own.move_link(index, target, name);
        if let Err(e) = done {
            // It may be there under its old name: somebody has taken the new one just now.
            if self.own.link(&before.name).is_ok_and(|here| here.is_none()) {
                let name = before.name.clone();
                self.devices.push(Away { before, addresses, index: None, name });
            }
            return Err(about(device, "move into the container", e));
        }
        let there = self.target.route.link(name);
        let index = there.as_ref().ok().and_then(|there| there.as_ref()).map(|link| link.index);
        let kept = addresses.clone();
        self.devices.push(Away { before, addresses, index, name: name.to_vec() });
        let index = index.ok_or_else(|| {
            let e = there.err().unwrap_or(sys::Errno(libc::ENODEV));
            about(device, "find in the container", e)
        })?;
        for address in &kept {
            let added = self.target.route.add(index, address);
            added.map_err(|e| about(device, "give its addresses back to", e))?;
        }
        self.target.route.set_up(index).map_err(|e| about(device, "set up", e))
    }

    /// Nothing is given back any more.
    pub(super) fn keep(mut self) {
        self.devices.clear();
    }

    /// The names of those that could not be given back, and why.
    fn give_back(&mut self) -> Vec<String> {
        let mut lost = Vec::new();
        for away in std::mem::take(&mut self.devices).into_iter().rev() {
            if let Err(e) = self.give(&away) {
                let name = quote(&String::from_utf8_lossy(&away.before.name));
                lost.push(format!("{name} ({})", crate::error::describe_errno(e.0)));
            }
        }
        lost
    }

    fn give(&self, away: &Away) -> sys::Result<()> {
        const GONE: sys::Errno = sys::Errno(libc::ENODEV);
        let (name, there) = (&away.before.name, &self.target.route);
        let index = match away.index {
            Some(index) => index,
            None => there.link(&away.name)?.ok_or(GONE)?.index,
        };
        there.move_link(index, self.namespace.as_fd(), name)?;
        let index = self.own.link(name)?.ok_or(GONE)?.index;
        for address in &away.addresses {
            self.own.add(index, address)?;
        }
        if away.before.up { self.own.set_up(index) } else { Ok(()) }
    }
}

impl Drop for Moved {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// Gives back what was moved for a container that has failed, and says in its error what could
/// not be.
pub(super) fn undo(moved: &RefCell<Option<Moved>>, error: Error) -> Error {
    let Some(mut moved) = moved.borrow_mut().take() else { return error };
    let lost = moved.give_back();
    if lost.is_empty() {
        return error;
    }
    error.context(format!("network devices that could not be given back: {}", lost.join(", ")))
}
