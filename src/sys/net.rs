//! The network calls of the engine itself: bringing up `lo`, and talking to rtnetlink.

use super::{Errno, Result, check_int};
use libc::c_void;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// `IFF_UP | IFF_RUNNING`, in the width of `ifr_flags`.
const UP_RUNNING: i16 = 0x41;

// In the width of ioctl: libc's constant is of another one with musl.
const SIOCSIFFLAGS: libc::Ioctl = 0x8914;
const SIOCGSKNS: libc::Ioctl = 0x894c;

fn socket(domain: libc::c_int, kind: libc::c_int, protocol: libc::c_int) -> Result<OwnedFd> {
    // SAFETY: integers only.
    let fd = check_int(unsafe { libc::socket(domain, kind | libc::SOCK_CLOEXEC, protocol) })?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Brings up the loopback interface of the current network namespace and returns a descriptor of
/// the namespace, by its socket and not by a path of some /proc.
pub fn loopback_up() -> Result<OwnedFd> {
    let sock = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    // SAFETY: ifreq is integers and a union of plain data, for which all-zero is a value.
    let mut req: libc::ifreq = unsafe { core::mem::zeroed() };
    for (slot, byte) in req.ifr_name.iter_mut().zip(c"lo".to_bytes()) {
        *slot = libc::c_char::from_ne_bytes([*byte]);
    }
    // A new namespace's lo has no other flag that would have to be kept.
    req.ifr_ifru.ifru_flags = UP_RUNNING;
    // SAFETY: SIOCSIFFLAGS reads one ifreq from the live local.
    check_int(unsafe { libc::ioctl(sock.as_raw_fd(), SIOCSIFFLAGS, &raw const req) }).map(drop)?;
    namespace_of(sock.as_fd())
}

/// `ioctl(SIOCGSKNS)` (Linux 4.9): a socket's network namespace.
pub fn namespace_of(sock: BorrowedFd<'_>) -> Result<OwnedFd> {
    // SAFETY: the call takes no argument.
    let namespace = check_int(unsafe { libc::ioctl(sock.as_raw_fd(), SIOCGSKNS) })?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(namespace) })
}

/// Connects to a stream socket of this name, without waiting: `EAGAIN` where the queue of who listens
/// there is full. The name of an abstract one begins with a NUL. The socket stays non-blocking.
pub fn connect_now(name: &[u8]) -> Result<OwnedFd> {
    // SAFETY: sockaddr_un is integers, for which all-zero is a value.
    let mut to: libc::sockaddr_un = unsafe { core::mem::zeroed() };
    to.sun_family = libc::sa_family_t::try_from(libc::AF_UNIX).unwrap_or_default();
    let is_abstract = name.first() == Some(&0);
    // A path ends with a NUL and has none before.
    if !is_abstract && (name.is_empty() || name.contains(&0)) {
        return Err(Errno(libc::EINVAL));
    }
    let end = if is_abstract { name.len() } else { name.len() + 1 };
    if end > to.sun_path.len() {
        return Err(Errno(libc::ENAMETOOLONG));
    }
    for (slot, byte) in to.sun_path.iter_mut().zip(name) {
        *slot = libc::c_char::from_ne_bytes([*byte]);
    }
    let size = core::mem::offset_of!(libc::sockaddr_un, sun_path) + end;
    let size = libc::socklen_t::try_from(size).unwrap_or(0);
    let sock = socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0)?;
    // SAFETY: the pointer is to the live local, of which `size` bytes are within it, as checked above.
    check_int(unsafe { libc::connect(sock.as_raw_fd(), (&raw const to).cast(), size) })?;
    Ok(sock)
}

/// A socket of rtnetlink in this thread's network namespace.
pub fn route_socket() -> Result<OwnedFd> {
    socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE)
}

/// Receives what the kernel sends, and lets by what others do: `None`. What is longer than the
/// buffer is `EMSGSIZE`.
pub fn receive_from_kernel(sock: BorrowedFd<'_>, buf: &mut [u8]) -> Result<Option<usize>> {
    // SAFETY: sockaddr_nl is integers, for which all-zero is a value.
    let mut from: libc::sockaddr_nl = unsafe { core::mem::zeroed() };
    let mut size = libc::socklen_t::try_from(size_of::<libc::sockaddr_nl>()).unwrap_or(0);
    loop {
        // SAFETY: the pointers are to the live buffer, of that length, and to the two locals; the
        // kernel writes at most `size` bytes of an address. With MSG_TRUNC only the result is longer.
        let received = unsafe {
            libc::recvfrom(
                sock.as_raw_fd(),
                buf.as_mut_ptr().cast::<c_void>(),
                buf.len(),
                libc::MSG_TRUNC,
                (&raw mut from).cast::<libc::sockaddr>(),
                &raw mut size,
            )
        };
        match usize::try_from(received) {
            Ok(_) if from.nl_pid != 0 => return Ok(None),
            Ok(len) if len > buf.len() => return Err(Errno(libc::EMSGSIZE)),
            Ok(len) => return Ok(Some(len)),
            Err(_) if Errno::last().0 == libc::EINTR => {}
            Err(_) => return Err(Errno::last()),
        }
    }
}
