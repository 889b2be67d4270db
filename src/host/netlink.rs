//! The five requests of rtnetlink(7) that moving a network device takes, each over a socket of the
//! namespace that it is about.

#![forbid(unsafe_code)]

use crate::sys::{Errno, Result, io, net};
use std::cell::Cell;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

// linux/netlink.h, linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h
const ERROR: u16 = 2;
const DONE: u16 = 3;
const NEW_LINK: u16 = 16;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const GET_ADDRESS: u16 = 22;
/// `NLM_F_REQUEST | NLM_F_ACK`: what is done ends with an answer, what is listed with its end.
const ACKNOWLEDGED: u16 = 5;
const LIST: u16 = 0x300;
const CREATE_NEW: u16 = 0x600;
/// Something was changed while it was listed.
const INTERRUPTED: u16 = 0x10;

const LINK_NAME: u16 = 3;
const LINK_NAMESPACE: u16 = 28;
const LINK_MASK: u16 = 29;
/// `RTEXT_FILTER_SKIP_STATS`
const NO_STATISTICS: u32 = 8;
const ADDRESS: u16 = 1;
const ADDRESS_LOCAL: u16 = 2;
const ADDRESS_BROADCAST: u16 = 4;
const ADDRESS_FLAGS: u16 = 8;

const UP: u32 = 1;
/// Of IPv6; of IPv4 the same bit says that it is not the first of its net.
const TEMPORARY: u32 = 1;
const PERMANENT: u32 = 0x80;
/// `IFA_F_NODAD | IFA_F_NOPREFIXROUTE`: what the one who gave the address has asked for.
const KEPT_FLAGS: u32 = 0x202;

/// The most that the kernel puts into one answer to a list.
const BUFFER: usize = 32 << 10;
/// How often a list is asked for that changes meanwhile.
const TRIES: usize = 16;

/// A network device.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) index: i32,
    pub(crate) name: Vec<u8>,
    pub(crate) up: bool,
}

/// An address of a device.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    family: u8,
    prefix: u8,
    scope: u8,
    flags: u32,
    /// Its parts by their number: the address, the peer's, the broadcast address.
    parts: Vec<(u16, Vec<u8>)>,
}

impl Address {
    /// Whether it goes along: given for good, and of a meaning beyond this host and link.
    pub(crate) fn is_kept(&self) -> bool {
        const EVERYWHERE: u8 = 0;
        let temporary = i32::from(self.family) == libc::AF_INET6 && self.flags & TEMPORARY != 0;
        self.flags & PERMANENT != 0 && self.scope == EVERYWHERE && !temporary
    }
}

/// A message in the making.
struct Request(Vec<u8>);

impl Request {
    fn new(kind: u16, flags: u16, body: &[u8]) -> Request {
        let mut bytes = vec![0; 4]; // the length, in the end
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((ACKNOWLEDGED | flags).to_ne_bytes());
        bytes.extend([0; 8]); // the number, when it is sent; the sender
        bytes.extend(body);
        Request(bytes)
    }

    /// About a device.
    fn link(kind: u16, index: i32, flags: u32) -> Request {
        let mut body = [0; 16];
        body[4..8].copy_from_slice(&index.to_ne_bytes());
        body[8..12].copy_from_slice(&flags.to_ne_bytes());
        body[12..].copy_from_slice(&flags.to_ne_bytes());
        Request::new(kind, 0, &body)
    }

    fn with(mut self, kind: u16, value: &[u8]) -> Request {
        let len = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
        self.0.extend(len.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn named(self, kind: u16, name: &[u8]) -> Request {
        let mut value = name.to_vec();
        value.push(0);
        self.with(kind, &value)
    }
}

/// A socket in one namespace.
#[derive(Debug)]
pub(crate) struct Route {
    socket: OwnedFd,
    number: Cell<u32>,
}

impl Route {
    /// In this thread's network namespace.
    pub(crate) fn open() -> Result<Route> {
        Ok(Route { socket: net::route_socket()?, number: Cell::new(0) })
    }

    /// The namespace.
    pub(crate) fn namespace(&self) -> Result<OwnedFd> {
        net::namespace_of(self.socket.as_fd())
    }

    /// The device of this name, or one that has it beside its own.
    pub(crate) fn link(&self, name: &[u8]) -> Result<Option<Link>> {
        let request = Request::link(GET_LINK, 0, 0)
            .with(LINK_MASK, &NO_STATISTICS.to_ne_bytes())
            .named(LINK_NAME, name);
        let mut found = None;
        match self.ask(request, |kind, body| found = found.take().or_else(|| link_of(kind, body))) {
            Ok(()) => Ok(found),
            Err(Errno(libc::ENODEV)) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The addresses of a device.
    pub(crate) fn addresses(&self, index: i32) -> Result<Vec<Address>> {
        for _ in 0..TRIES {
            let mut found = Vec::new();
            let request = Request::new(GET_ADDRESS, LIST, &[0; 8]);
            match self.ask(request, |kind, body| found.extend(address_of(kind, body, index))) {
                Ok(()) => return Ok(found),
                Err(Errno(libc::EAGAIN)) => {}
                Err(e) => return Err(e),
            }
        }
        Err(Errno(libc::EAGAIN))
    }

    /// Moves a device into another namespace, under this name. The kernel takes it down for that,
    /// once nothing but the name there can go wrong.
    pub(crate) fn move_link(&self, index: i32, to: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
        let request = Request::link(NEW_LINK, index, 0)
            .named(LINK_NAME, name)
            .with(LINK_NAMESPACE, &to.as_raw_fd().to_ne_bytes());
        self.ask(request, |_, _| ())
    }

    /// Sets a device up.
    pub(crate) fn set_up(&self, index: i32) -> Result<()> {
        self.ask(Request::link(NEW_LINK, index, UP), |_, _| ())
    }

    /// Gives a device an address, if it has not got it.
    pub(crate) fn add(&self, index: i32, address: &Address) -> Result<()> {
        let mut body = [address.family, address.prefix, 0, address.scope, 0, 0, 0, 0];
        body[4..].copy_from_slice(&index.to_ne_bytes());
        let flags = (address.flags & KEPT_FLAGS).to_ne_bytes();
        let request = Request::new(NEW_ADDRESS, CREATE_NEW, &body).with(ADDRESS_FLAGS, &flags);
        let request = address.parts.iter().fold(request, |r, (kind, value)| r.with(*kind, value));
        match self.ask(request, |_, _| ()) {
            Err(Errno(libc::EEXIST)) => Ok(()),
            other => other,
        }
    }

    /// Asks, and hears everything of the answer. `EAGAIN`: it does not hang together.
    fn ask(&self, Request(mut bytes): Request, mut each: impl FnMut(u16, &[u8])) -> Result<()> {
        let number = self.number.get() + 1;
        self.number.set(number);
        let len = u32::try_from(bytes.len()).map_err(|_| Errno(libc::EMSGSIZE))?;
        bytes[..4].copy_from_slice(&len.to_ne_bytes());
        bytes[8..12].copy_from_slice(&number.to_ne_bytes());
        io::write_whole(self.socket.as_fd(), &bytes)?;
        let mut buf = vec![0; BUFFER];
        let mut whole = true;
        loop {
            let Some(len) = net::receive_from_kernel(self.socket.as_fd(), &mut buf)? else {
                continue;
            };
            let mut rest = buf.get(..len).unwrap_or_default();
            while let Some(message) = next_message(&mut rest) {
                if message.number != number {
                    continue;
                }
                whole &= message.flags & INTERRUPTED == 0;
                match message.kind {
                    ERROR | DONE => {
                        let code = i32::from_ne_bytes(field(message.body, 0).unwrap_or_default());
                        return match code {
                            0 if whole => Ok(()),
                            0 => Err(Errno(libc::EAGAIN)),
                            code => Err(Errno(code.saturating_neg())),
                        };
                    }
                    kind => each(kind, message.body),
                }
            }
        }
    }
}

struct Received<'a> {
    kind: u16,
    flags: u16,
    number: u32,
    body: &'a [u8],
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// Cuts off what has this length, and what fills it up to a multiple of four.
fn cut<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let whole = rest.get(..len)?;
    *rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
    Some(whole)
}

fn next_message<'a>(rest: &mut &'a [u8]) -> Option<Received<'a>> {
    let len = usize::try_from(u32::from_ne_bytes(field(rest, 0)?)).ok()?;
    let whole = cut(rest, len)?;
    Some(Received {
        kind: u16::from_ne_bytes(field(whole, 4)?),
        flags: u16::from_ne_bytes(field(whole, 6)?),
        number: u32::from_ne_bytes(field(whole, 8)?),
        body: whole.get(16..)?,
    })
}

fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let len = usize::from(u16::from_ne_bytes(field(rest, 0)?));
        let whole = cut(&mut rest, len)?;
        Some((u16::from_ne_bytes(field(whole, 2)?) & 0x3fff, whole.get(4..)?))
    })
}

fn link_of(kind: u16, body: &[u8]) -> Option<Link> {
    let index = i32::from_ne_bytes(field(body, 4)?);
    let up = u32::from_ne_bytes(field(body, 8)?) & UP != 0;
    let (_, name) = attributes(body.get(16..)?).find(|(kind, _)| *kind == LINK_NAME)?;
    let name = name.split(|b| *b == 0).next()?.to_vec();
    (kind == NEW_LINK).then_some(Link { index, name, up })
}

fn address_of(kind: u16, body: &[u8], index: i32) -> Option<Address> {
    let [family, prefix, flags, scope] = field(body, 0)?;
    if kind != NEW_ADDRESS || field(body, 4)? != index.to_ne_bytes() {
        return None;
    }
    let mut address = Address { family, prefix, scope, flags: u32::from(flags), parts: Vec::new() };
    for (kind, value) in attributes(body.get(8..)?) {
        match kind {
            ADDRESS | ADDRESS_LOCAL | ADDRESS_BROADCAST => {
                address.parts.push((kind, value.to_vec()));
            }
            // All of them; the field has room for eight only.
            ADDRESS_FLAGS => address.flags = u32::from_ne_bytes(field(value, 0)?),
            _ => {}
        }
    }
    Some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_short_or_lies_about_its_length_is_let_be() {
        let name = b"eth0";
        let Request(mut whole) = Request::link(NEW_LINK, 7, UP).named(LINK_NAME, name);
        let len = u32::try_from(whole.len()).unwrap();
        whole[..4].copy_from_slice(&len.to_ne_bytes());
        let read = |mut bytes: &[u8]| {
            next_message(&mut bytes).and_then(|m| link_of(m.kind, m.body)).map(|l| l.index)
        };
        assert_eq!(read(&whole), Some(7));
        for len in 0..whole.len() {
            assert_eq!(read(&whole[..len]), None, "{len} bytes");
        }
        for len in [0u32, 1, 15, 16, 20, u32::MAX] {
            let mut lies = whole.clone();
            lies[..4].copy_from_slice(&len.to_ne_bytes());
            assert_eq!(read(&lies), None, "said to have {len}");
        }
        for len in [0u16, 1, 3, u16::MAX] {
            let mut lies = whole.clone();
            lies[32..34].copy_from_slice(&len.to_ne_bytes());
            assert_eq!(read(&lies), None, "a name said to have {len}");
        }
    }

    #[test]
    fn lo_is_found_with_its_index_and_nothing_else_is_made_up() {
        let route = Route::open().unwrap();
        let lo = route.link(b"lo").unwrap().unwrap();
        assert_eq!((lo.index, lo.name.as_slice()), (1, &b"lo"[..]));
        assert!(route.link(b"no-such-device").unwrap().is_none());
        // Of the scope host, all of them.
        assert!(route.addresses(lo.index).unwrap().iter().all(|a| !a.is_kept()));
    }
}
