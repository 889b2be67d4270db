//! The one network call of the engine itself: bringing up `lo`.

use super::{Result, check_int};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// `IFF_UP | IFF_RUNNING`, in the width of `ifr_flags`.
const UP_RUNNING: i16 = 0x41;

// In the width of ioctl: libc's constant is of another one with musl.
const SIOCSIFFLAGS: libc::Ioctl = 0x8914;
const SIOCGSKNS: libc::Ioctl = 0x894c;

/// Brings up the loopback interface of the current network namespace and returns a descriptor of
/// the namespace, by its socket (`SIOCGSKNS`, Linux 4.9) and not by a path of some /proc.
pub fn loopback_up() -> Result<OwnedFd> {
    // SAFETY: integers only.
    let fd = check_int(unsafe {
        libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0)
    })?;
    // SAFETY: a new descriptor that nobody else owns.
    let sock = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: ifreq is integers and a union of plain data, for which all-zero is a value.
    let mut req: libc::ifreq = unsafe { core::mem::zeroed() };
    for (slot, byte) in req.ifr_name.iter_mut().zip(c"lo".to_bytes()) {
        *slot = libc::c_char::from_ne_bytes([*byte]);
    }
    // A new namespace's lo has no other flag that would have to be kept.
    req.ifr_ifru.ifru_flags = UP_RUNNING;
    // SAFETY: SIOCSIFFLAGS reads one ifreq from the live local.
    check_int(unsafe { libc::ioctl(sock.as_raw_fd(), SIOCSIFFLAGS, &raw const req) }).map(drop)?;
    // SAFETY: the call takes no argument.
    let namespace = check_int(unsafe { libc::ioctl(sock.as_raw_fd(), SIOCGSKNS) })?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(namespace) })
}
