//! Reading, writing, polling, pipes and the socket pair.

pub use super::pty::{
    copy_window_size, keep_line_ends, pty_peer, set_controlling_terminal, set_window_size,
    unlock_pty, window_size,
};
use super::{Errno, Result, check, check_int, int};
use libc::{c_int, c_void};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// `read(fd, buf)`.
pub fn read(fd: BorrowedFd<'_>, buf: &mut [u8]) -> Result<usize> {
    // SAFETY: the kernel writes at most `len` bytes to the live, writable slice.
    let n = unsafe { libc::read(fd.as_raw_fd(), buf.as_mut_ptr().cast::<c_void>(), buf.len()) };
    usize::try_from(n).map_err(|_| Errno::last())
}

/// `write(fd, buf)`.
pub fn write(fd: BorrowedFd<'_>, buf: &[u8]) -> Result<usize> {
    // SAFETY: the kernel reads at most `len` bytes from the live slice.
    let n = unsafe { libc::write(fd.as_raw_fd(), buf.as_ptr().cast::<c_void>(), buf.len()) };
    usize::try_from(n).map_err(|_| Errno::last())
}

/// `lseek(fd, 0, SEEK_END)`.
pub fn seek_to_end(fd: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: integers only.
    let at = unsafe { libc::lseek(fd.as_raw_fd(), 0, libc::SEEK_END) };
    if at == -1 { Err(Errno::last()) } else { Ok(()) }
}

/// Writes all of `buf`; a short write is an error, since control files take a value whole.
pub fn write_whole(fd: BorrowedFd<'_>, buf: &[u8]) -> Result<()> {
    loop {
        match write(fd, buf) {
            Ok(n) if n == buf.len() => return Ok(()),
            Ok(_) => return Err(Errno(libc::EIO)),
            Err(e) if e.0 == libc::EINTR => {}
            Err(e) => return Err(e),
        }
    }
}

/// `pipe2(O_CLOEXEC)`: the read end, the write end.
pub fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    let mut fds: [RawFd; 2] = [-1, -1];
    // SAFETY: the kernel writes two descriptors to the live array.
    check_int(unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) })?;
    // SAFETY: both are new and nobody else owns them.
    Ok(unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) })
}

/// `socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)`.
pub fn seqpacket_pair() -> Result<(OwnedFd, OwnedFd)> {
    let mut fds: [RawFd; 2] = [-1, -1];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    // SAFETY: the kernel writes two descriptors to the live array.
    check_int(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) })?;
    // SAFETY: both are new and nobody else owns them.
    Ok(unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) })
}

/// Most descriptors in one packet.
const MOST_FDS: usize = 32;

/// Room for the control message that carries them (`CMSG_SPACE(128)` is 144 on 64 bit).
#[repr(C, align(8))]
struct Control([u8; 160]);

/// Bytes of this many descriptors.
fn bytes_of(fds: usize) -> u32 {
    u32::try_from(fds * size_of::<c_int>()).unwrap_or(0)
}

/// Sends one packet with at most one descriptor.
pub fn send(sock: BorrowedFd<'_>, data: &[u8], fd: Option<BorrowedFd<'_>>) -> Result<()> {
    match fd {
        Some(fd) => send_many(sock, data, &[fd]),
        None => send_many(sock, data, &[]),
    }
}

/// Sends one packet with at most 32 descriptors.
pub fn send_many(sock: BorrowedFd<'_>, data: &[u8], fds: &[BorrowedFd<'_>]) -> Result<()> {
    if fds.len() > MOST_FDS {
        return Err(Errno(libc::E2BIG));
    }
    let mut iov =
        libc::iovec { iov_base: data.as_ptr().cast_mut().cast::<c_void>(), iov_len: data.len() };
    let mut control = Control([0; 160]);
    // SAFETY: msghdr is integers and pointers, for which all-zero is a value.
    let mut msg: libc::msghdr = unsafe { core::mem::zeroed() };
    msg.msg_iov = &raw mut iov;
    msg.msg_iovlen = 1;
    if !fds.is_empty() {
        msg.msg_control = control.0.as_mut_ptr().cast::<c_void>();
        // SAFETY: CMSG_SPACE and CMSG_LEN are arithmetic; CMSG_FIRSTHDR returns a pointer into
        // `control`, which is aligned and large enough for one header and MOST_FDS descriptors.
        unsafe {
            msg.msg_controllen = libc::CMSG_SPACE(bytes_of(fds.len())) as _;
            let head = libc::CMSG_FIRSTHDR(&raw const msg);
            (*head).cmsg_level = libc::SOL_SOCKET;
            (*head).cmsg_type = libc::SCM_RIGHTS;
            (*head).cmsg_len = libc::CMSG_LEN(bytes_of(fds.len())) as _;
            let mut place = libc::CMSG_DATA(head).cast::<c_int>();
            for fd in fds {
                place.write_unaligned(fd.as_raw_fd());
                place = place.add(1);
            }
        }
    }
    send_message(sock, &msg, data.len())
}

/// Receives one packet and at most one descriptor (close-on-exec). 0 bytes: the peer is gone.
pub fn recv(
    sock: BorrowedFd<'_>,
    buf: &mut [u8],
    nonblocking: bool,
) -> Result<(usize, Option<OwnedFd>)> {
    let mut fds = [-1];
    let n = recv_many(sock, buf, nonblocking, &mut fds)?;
    let [fd] = fds;
    // SAFETY: a new descriptor that nobody else owns.
    Ok((n, (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) })))
}

/// Who sends a packet: itself, as the kernel checks.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)] // struct ucred of unix(7)
pub struct Credentials {
    pub pid: i32,
    pub uid: u32,
    pub gid: u32,
}

/// Sends one packet with a descriptor and the sender's credentials.
pub fn send_as(
    sock: BorrowedFd<'_>,
    data: &[u8],
    fd: BorrowedFd<'_>,
    sender: Credentials,
) -> Result<()> {
    let mut iov =
        libc::iovec { iov_base: data.as_ptr().cast_mut().cast::<c_void>(), iov_len: data.len() };
    let mut control = Control([0; 160]);
    // SAFETY: msghdr is integers and pointers, for which all-zero is a value.
    let mut msg: libc::msghdr = unsafe { core::mem::zeroed() };
    msg.msg_iov = &raw mut iov;
    msg.msg_iovlen = 1;
    msg.msg_control = control.0.as_mut_ptr().cast::<c_void>();
    let ucred = libc::ucred { pid: sender.pid, uid: sender.uid, gid: sender.gid };
    let size = u32::try_from(size_of::<libc::ucred>()).unwrap_or(0);
    // SAFETY: CMSG_SPACE and CMSG_LEN are arithmetic; the two headers and their data take less than
    // `control` has, into which CMSG_FIRSTHDR and CMSG_NXTHDR point as long as that is so.
    unsafe {
        msg.msg_controllen = (libc::CMSG_SPACE(size) + libc::CMSG_SPACE(bytes_of(1))) as _;
        let head = libc::CMSG_FIRSTHDR(&raw const msg);
        (*head).cmsg_level = libc::SOL_SOCKET;
        (*head).cmsg_type = libc::SCM_CREDENTIALS;
        (*head).cmsg_len = libc::CMSG_LEN(size) as _;
        libc::CMSG_DATA(head).cast::<libc::ucred>().write_unaligned(ucred);
        let next = libc::CMSG_NXTHDR(&raw const msg, head);
        if next.is_null() {
            return Err(Errno(libc::EINVAL));
        }
        (*next).cmsg_level = libc::SOL_SOCKET;
        (*next).cmsg_type = libc::SCM_RIGHTS;
        (*next).cmsg_len = libc::CMSG_LEN(bytes_of(1)) as _;
        libc::CMSG_DATA(next).cast::<c_int>().write_unaligned(fd.as_raw_fd());
    }
    send_message(sock, &msg, data.len())
}

/// sendmsg(2), again where a signal came in between.
fn send_message(sock: BorrowedFd<'_>, msg: &libc::msghdr, len: usize) -> Result<()> {
    loop {
        // SAFETY: the callers' pointers in `msg` are to live locals of theirs; data is only read.
        let n = unsafe { libc::sendmsg(sock.as_raw_fd(), &raw const *msg, libc::MSG_NOSIGNAL) };
        match usize::try_from(n) {
            Ok(n) if n == len => return Ok(()),
            Ok(_) => return Err(Errno(libc::EIO)),
            Err(_) if Errno::last().0 == libc::EINTR => {}
            Err(_) => return Err(Errno::last()),
        }
    }
}

/// `setsockopt(SO_PASSCRED)`: credentials that are sent along are received. The next send over such a
/// socket gives it an abstract name.
pub fn pass_credentials(sock: BorrowedFd<'_>) -> Result<()> {
    let on: c_int = 1;
    // SAFETY: the kernel reads one c_int from the live local.
    check_int(unsafe {
        libc::setsockopt(
            sock.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PASSCRED,
            (&raw const on).cast::<c_void>(),
            libc::socklen_t::try_from(size_of::<c_int>()).unwrap_or(0),
        )
    })
    .map(drop)
}

/// What came over a socket that passes credentials.
#[derive(Debug)]
pub struct Packet {
    /// Bytes received; 0: the peer is gone.
    pub len: usize,
    /// The descriptor that came along (close-on-exec).
    pub fd: Option<OwnedFd>,
    /// Who sent it, as this process's pid namespace knows it.
    pub sender: Option<i32>,
}

/// Receives one packet with at most one descriptor and the sender's credentials.
pub fn recv_from(sock: BorrowedFd<'_>, buf: &mut [u8], nonblocking: bool) -> Result<Packet> {
    let mut iov = libc::iovec { iov_base: buf.as_mut_ptr().cast::<c_void>(), iov_len: buf.len() };
    let mut control = Control([0; 160]);
    // SAFETY: msghdr is integers and pointers, for which all-zero is a value.
    let mut msg: libc::msghdr = unsafe { core::mem::zeroed() };
    msg.msg_iov = &raw mut iov;
    msg.msg_iovlen = 1;
    msg.msg_control = control.0.as_mut_ptr().cast::<c_void>();
    let ucred = u32::try_from(size_of::<libc::ucred>()).unwrap_or(0);
    // SAFETY: arithmetic. Where no credentials come, more descriptors than one have room; they are
    // closed below.
    msg.msg_controllen = unsafe { libc::CMSG_SPACE(ucred) + libc::CMSG_LEN(bytes_of(1)) } as _;
    let len = receive_message(sock, &mut msg, nonblocking)?;
    let mut packet = Packet { len, fd: None, sender: None };
    // SAFETY: the kernel has set msg_controllen to what it wrote; CMSG_FIRSTHDR and CMSG_NXTHDR are
    // null where that ends, and otherwise point into `control`, to as many bytes as cmsg_len says,
    // header and data, which are the kernel's.
    unsafe {
        let mut head = libc::CMSG_FIRSTHDR(&raw const msg);
        while !head.is_null() {
            let data = libc::CMSG_DATA(head);
            let bytes = ((*head).cmsg_len as usize).saturating_sub(libc::CMSG_LEN(0) as usize);
            match ((*head).cmsg_level, (*head).cmsg_type) {
                (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) if bytes >= size_of::<libc::ucred>() => {
                    let ucred = data.cast::<libc::ucred>().read_unaligned();
                    packet.sender = (ucred.pid > 0).then_some(ucred.pid);
                }
                (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                    for index in 0..bytes / size_of::<c_int>() {
                        let fd = data.cast::<c_int>().add(index).read_unaligned();
                        // A new descriptor that nobody else owns; the one before it is dropped.
                        packet.fd = Some(OwnedFd::from_raw_fd(fd));
                    }
                }
                _ => {}
            }
            head = libc::CMSG_NXTHDR(&raw const msg, head);
        }
    }
    Ok(packet)
}

/// recvmsg(2), again where a signal came in between.
fn receive_message(
    sock: BorrowedFd<'_>,
    msg: &mut libc::msghdr,
    nonblocking: bool,
) -> Result<usize> {
    let wait = if nonblocking { libc::MSG_DONTWAIT } else { 0 };
    loop {
        // SAFETY: the callers' pointers in `msg` are to live, writable locals of theirs.
        let n = unsafe {
            libc::recvmsg(sock.as_raw_fd(), &raw mut *msg, libc::MSG_CMSG_CLOEXEC | wait)
        };
        match usize::try_from(n) {
            Ok(n) => return Ok(n),
            Err(_) if Errno::last().0 == libc::EINTR => {}
            Err(_) => return Err(Errno::last()),
        }
    }
}

/// Receives one packet and as many descriptors (close-on-exec) as `fds` has room for, at most 32;
/// the numbers behind the last one stay as they were. The kernel closes what does not fit.
pub fn recv_many(
    sock: BorrowedFd<'_>,
    buf: &mut [u8],
    nonblocking: bool,
    fds: &mut [RawFd],
) -> Result<usize> {
    let mut iov = libc::iovec { iov_base: buf.as_mut_ptr().cast::<c_void>(), iov_len: buf.len() };
    let mut control = Control([0; 160]);
    // SAFETY: msghdr is integers and pointers, for which all-zero is a value.
    let mut msg: libc::msghdr = unsafe { core::mem::zeroed() };
    msg.msg_iov = &raw mut iov;
    msg.msg_iovlen = 1;
    msg.msg_control = control.0.as_mut_ptr().cast::<c_void>();
    // SAFETY: arithmetic; not CMSG_SPACE, whose padding has room for one descriptor more.
    msg.msg_controllen = unsafe { libc::CMSG_LEN(bytes_of(fds.len().min(MOST_FDS))) } as _;
    let n = receive_message(sock, &mut msg, nonblocking)?;
    // SAFETY: the kernel has set msg_controllen to what it wrote; CMSG_FIRSTHDR is null when
    // that is less than a header, and otherwise points into `control`, of which cmsg_len bytes,
    // header and descriptors, are the kernel's.
    unsafe {
        let head = libc::CMSG_FIRSTHDR(&raw const msg);
        if !head.is_null()
            && (*head).cmsg_level == libc::SOL_SOCKET
            && (*head).cmsg_type == libc::SCM_RIGHTS
        {
            let bytes = ((*head).cmsg_len as usize).saturating_sub(libc::CMSG_LEN(0) as usize);
            let mut place = libc::CMSG_DATA(head).cast::<c_int>();
            for slot in fds.iter_mut().take(bytes / size_of::<c_int>()) {
                *slot = place.read_unaligned();
                place = place.add(1);
            }
        }
    }
    Ok(n)
}

/// `accept4(listener, SOCK_CLOEXEC)`.
pub fn accept(listener: BorrowedFd<'_>) -> Result<OwnedFd> {
    loop {
        // SAFETY: null addresses: the peer's is not wanted.
        let fd = unsafe {
            libc::accept4(
                listener.as_raw_fd(),
                core::ptr::null_mut(),
                core::ptr::null_mut(),
                libc::SOCK_CLOEXEC,
            )
        };
        match check_int(fd) {
            // SAFETY: a new descriptor that nobody else owns.
            Ok(fd) => return Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
            Err(e) if e.0 == libc::EINTR || e.0 == libc::ECONNABORTED => {}
            Err(e) => return Err(e),
        }
    }
}

/// `memfd_create(name)`, close-on-exec.
pub fn memory_file(name: &core::ffi::CStr) -> Result<OwnedFd> {
    // SAFETY: a live C string.
    let fd = check_int(unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) })?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The same for a program that is sealed before it is executed. Linux 6.3 wants to be told that it is one.
pub fn memory_program(name: &core::ffi::CStr) -> Result<OwnedFd> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: a live C string.
    let create = |flags| check_int(unsafe { libc::memfd_create(name.as_ptr(), flags) });
    let fd = match create(flags | libc::MFD_EXEC) {
        Err(e) if e.0 == libc::EINVAL => create(flags)?,
        other => other?,
    };
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `fcntl(F_SETFD)`: whether a descriptor is closed by execve.
pub fn set_cloexec(fd: RawFd, on: bool) -> Result<()> {
    let flags = if on { libc::FD_CLOEXEC } else { 0 };
    // SAFETY: integers only.
    check_int(unsafe { libc::fcntl(fd, libc::F_SETFD, flags) }).map(drop)
}

/// One descriptor of a poll(2) call.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct PollFd(libc::pollfd);

impl PollFd {
    /// Waits for `events` (`POLLIN`, `POLLOUT`); a negative descriptor is skipped.
    #[must_use]
    pub fn new(fd: RawFd, events: i16) -> PollFd {
        PollFd(libc::pollfd { fd, events, revents: 0 })
    }

    /// What happened, `POLLHUP` and `POLLERR` included.
    #[must_use]
    pub fn revents(&self) -> i16 {
        self.0.revents
    }
}

/// `ppoll(fds, timeout)` without a mask; `None` waits for ever. An interrupted call reports
/// nothing ready.
pub fn poll(fds: &mut [PollFd], timeout_ns: Option<u64>) -> Result<()> {
    let time = timeout_ns.map(|ns| libc::timespec {
        tv_sec: i64::try_from(ns / 1_000_000_000).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(ns % 1_000_000_000).unwrap_or(0),
    });
    let time = time.as_ref().map_or(core::ptr::null(), core::ptr::from_ref);
    let count = libc::nfds_t::try_from(fds.len()).unwrap_or(0);
    // SAFETY: PollFd is a transparent pollfd, so the slice is `count` writable pollfds; the
    // timeout is null or a live timespec; no mask.
    let n = unsafe {
        libc::ppoll(fds.as_mut_ptr().cast::<libc::pollfd>(), count, time, core::ptr::null())
    };
    match check_int(n) {
        Ok(_) => Ok(()),
        Err(e) if e.0 == libc::EINTR => {
            for fd in fds {
                fd.0.revents = 0;
            }
            Ok(())
        }
        Err(e) => Err(e),
    }
}

/// The same to its end: a signal that comes meanwhile does not cut the time-out short.
pub fn poll_through(fds: &mut [PollFd], timeout_ns: Option<u64>) -> Result<()> {
    let began = super::clock::monotonic_ns();
    loop {
        let passed = super::clock::monotonic_ns().saturating_sub(began);
        let left = timeout_ns.map(|ns| ns.saturating_sub(passed));
        poll(fds, left)?;
        if left == Some(0) || fds.iter().any(|fd| fd.revents() != 0) {
            return Ok(());
        }
    }
}

/// `sendfile(to, from, len)`, from where both are.
pub fn send_file(from: BorrowedFd<'_>, to: BorrowedFd<'_>, len: usize) -> Result<usize> {
    // SAFETY: a null offset uses the descriptor's own.
    let n = unsafe { libc::sendfile(to.as_raw_fd(), from.as_raw_fd(), core::ptr::null_mut(), len) };
    usize::try_from(n).map_err(|_| Errno::last())
}

/// `splice(from, to, len)`, never waiting for a pipe.
pub fn splice(from: BorrowedFd<'_>, to: BorrowedFd<'_>, len: usize) -> Result<usize> {
    let flags = libc::SPLICE_F_NONBLOCK | libc::SPLICE_F_MOVE;
    // SAFETY: null offsets use the descriptors' own.
    let n = unsafe {
        libc::splice(
            from.as_raw_fd(),
            core::ptr::null_mut(),
            to.as_raw_fd(),
            core::ptr::null_mut(),
            len,
            flags,
        )
    };
    usize::try_from(n).map_err(|_| Errno::last())
}

/// `send(fd, buf, MSG_DONTWAIT | MSG_NOSIGNAL)`: to a socket without waiting, leaving the
/// blocking mode that others share alone.
pub fn send_now(fd: BorrowedFd<'_>, buf: &[u8]) -> Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the kernel reads at most `len` bytes from the live slice.
    let n = unsafe { libc::send(fd.as_raw_fd(), buf.as_ptr().cast::<c_void>(), buf.len(), flags) };
    usize::try_from(n).map_err(|_| Errno::last())
}

/// `ioctl(FIONREAD)`: bytes waiting in a pipe.
pub fn bytes_waiting(fd: BorrowedFd<'_>) -> Result<usize> {
    let mut n: c_int = 0;
    // SAFETY: FIONREAD writes one int to the live local.
    check_int(unsafe { libc::ioctl(fd.as_raw_fd(), libc::FIONREAD, &raw mut n) })?;
    Ok(usize::try_from(n).unwrap_or(0))
}

/// `dup3(from, to, 0)`: `to` stays open across execve, which is what it is for.
pub fn dup_inheritable(from: RawFd, to: RawFd) -> Result<()> {
    if from == to {
        // dup3 refuses equal descriptors; clear close-on-exec instead.
        // SAFETY: integers only.
        return check_int(unsafe { libc::fcntl(from, libc::F_SETFD, 0) }).map(drop);
    }
    // SAFETY: integers only; the kernel closes what `to` was.
    check_int(unsafe { libc::dup3(from, to, 0) }).map(drop)
}

/// `dup3(from, to, O_CLOEXEC)`.
pub fn dup_cloexec(from: RawFd, to: RawFd) -> Result<()> {
    if from == to {
        return Ok(());
    }
    // SAFETY: integers only; the kernel closes what `to` was.
    check_int(unsafe { libc::dup3(from, to, libc::O_CLOEXEC) }).map(drop)
}

/// `close_range(first, last)` (Linux 5.9).
pub fn close_range(first: u32, last: u32) -> Result<()> {
    // SAFETY: integers only. The caller closes its own descriptors before exec or exit, and
    // owns no handle to them that would be used again.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }).map(drop)
}

/// `eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)`.
pub fn eventfd() -> Result<OwnedFd> {
    // SAFETY: integers only.
    let fd = check_int(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(int(fd.into())) })
}

/// Takes ownership of a descriptor that the user named by number, made close-on-exec. The
/// duplicate is at 3 or higher; the named one stays as it was.
pub fn duplicate_number(fd: RawFd) -> Result<OwnedFd> {
    // SAFETY: integers only; the kernel checks that the descriptor is open.
    let new = check_int(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) })?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(new) })
}

/// `flock(fd, operation | LOCK_NB)`; `Ok(false)`: somebody else holds it.
pub fn try_lock(fd: BorrowedFd<'_>) -> Result<bool> {
    // SAFETY: integers only.
    match check_int(unsafe { libc::flock(fd.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) }) {
        Ok(_) => Ok(true),
        Err(e) if e.0 == libc::EWOULDBLOCK => Ok(false),
        Err(e) => Err(e),
    }
}

/// A descriptor known by its number, such as the child's socket after its move.
#[must_use]
pub fn well_known(fd: RawFd) -> BorrowedFd<'static> {
    debug_assert!(fd >= 0);
    // SAFETY: used for a number that the caller has just made with dup3 and that stays open
    // until execve or exit; were it closed, the kernel would answer EBADF.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

/// [`move_above`] 16, out of the way of the fixed numbers that a job's process has.
pub fn move_high(fd: OwnedFd) -> Result<OwnedFd> {
    move_above(fd, 16)
}

/// `fcntl(F_DUPFD_CLOEXEC, least)`: moves a descriptor to this number or higher.
pub fn move_above(fd: OwnedFd, least: RawFd) -> Result<OwnedFd> {
    // SAFETY: integers only; `fd` is open until it is dropped below.
    let new = check_int(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, least) })?;
    drop(fd);
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(new) })
}

/// `fcntl(F_DUPFD_CLOEXEC)`: another descriptor of the same open file, at 3 or higher.
pub fn duplicate(fd: BorrowedFd<'_>) -> Result<OwnedFd> {
    duplicate_number(fd.as_raw_fd())
}

/// Sets `O_NONBLOCK` on the open file, for all who share it: only for those of our own making.
pub fn set_nonblocking(fd: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: integers only.
    let flags = check_int(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) })?;
    // SAFETY: integers only.
    check_int(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK) })
        .map(drop)
}
