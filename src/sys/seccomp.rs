//! seccomp(2): loading a filter, and answering its listener.

use super::{Errno, Result, check, check_int, int};
use libc::{c_int, c_long};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const SET_MODE_FILTER: c_int = 1;
const GET_NOTIF_SIZES: c_int = 3;
const NEW_LISTENER: u32 = 1 << 3;
const WAIT_KILLABLE_RECV: u32 = 1 << 5;

/// Loads a program; the kernel's number: 0, or the listener's descriptor.
fn set_filter(program: &[seccompiler::sock_filter], flags: u32) -> Result<c_long> {
    #[repr(C)]
    struct Program {
        len: u16,
        filter: *const seccompiler::sock_filter,
    }
    let Ok(len) = u16::try_from(program.len()) else {
        return Err(Errno(libc::E2BIG));
    };
    let prog = Program { len, filter: program.as_ptr() };
    // SAFETY: `prog` has the layout of sock_fprog and describes a live slice; the kernel copies
    // it and keeps no pointer.
    check(unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, flags, &raw const prog) })
}

/// `seccomp(SECCOMP_SET_MODE_FILTER, flags, program)` (Linux 3.17).
pub fn load(program: &[seccompiler::sock_filter], flags: u32) -> Result<()> {
    set_filter(program, flags).map(drop)
}

/// The same with a listener (Linux 5.0), close-on-exec. A call that has been received is
/// interrupted by nothing but a fatal signal, where the kernel can do that (5.19).
///
/// # Errors
/// `EBUSY`: the process has a filter with a listener already.
pub fn load_with_listener(program: &[seccompiler::sock_filter], flags: u32) -> Result<OwnedFd> {
    let flags = flags | NEW_LISTENER;
    let fd = match set_filter(program, flags | WAIT_KILLABLE_RECV) {
        Err(e) if e.0 == libc::EINVAL => set_filter(program, flags),
        other => other,
    }?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(int(fd)) })
}

/// The same with these flags and no others beside NEW_LISTENER.
///
/// # Errors
/// `EBUSY`: the process has a filter with a listener already. `EINVAL`: an older kernel.
pub fn load_asking(program: &[seccompiler::sock_filter], flags: u32) -> Result<OwnedFd> {
    let fd = set_filter(program, flags | NEW_LISTENER)?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(int(fd)) })
}

/// A call that waits for an answer (`struct seccomp_notif`).
#[derive(Clone, Copy, Debug)]
pub struct Notification {
    /// Names it in the answer.
    pub id: u64,
    /// The thread that made it, as this process's pid namespace knows it.
    pub tid: i32,
    /// Number.
    pub nr: u32,
    /// `AUDIT_ARCH_*`.
    pub arch: u32,
    /// Arguments.
    pub args: [u64; 6],
}

/// The kernel's structures, with room for what later kernels may add behind.
#[repr(C, align(8))]
struct Received {
    id: u64,
    pid: u32,
    flags: u32,
    nr: c_int,
    arch: u32,
    instruction_pointer: u64,
    args: [u64; 6],
    more: [u8; 176],
}

#[repr(C, align(8))]
struct Response {
    id: u64,
    val: i64,
    error: i32,
    flags: u32,
    more: [u8; 232],
}

/// Whether this kernel's structures fit in ours.
pub fn sizes_fit() -> bool {
    #[repr(C)]
    #[derive(Default)]
    struct Sizes {
        notif: u16,
        resp: u16,
        data: u16,
    }
    let mut sizes = Sizes::default();
    // SAFETY: the kernel writes one `seccomp_notif_sizes` to the live local.
    let ret = unsafe { libc::syscall(libc::SYS_seccomp, GET_NOTIF_SIZES, 0, &raw mut sizes) };
    ret == 0
        && usize::from(sizes.notif) <= size_of::<Received>()
        && usize::from(sizes.resp) <= size_of::<Response>()
}

/// `ioctl(SECCOMP_IOCTL_NOTIF_RECV)`: the next call. Waits if there is none, so poll first.
pub fn receive(listener: BorrowedFd<'_>) -> Result<Notification> {
    // _IOWR('!', 0, struct seccomp_notif) with its 80 bytes.
    const NOTIF_RECV: u32 = 0xc050_2100;
    // SAFETY: integers only, for which all-zero is a value; the kernel insists on zeroes.
    let mut got: Received = unsafe { core::mem::zeroed() };
    // SAFETY: the kernel writes one seccomp_notif, of which `sizes_fit` has made sure that it is
    // no longer than the live local.
    check_int(unsafe {
        libc::ioctl(listener.as_raw_fd(), NOTIF_RECV as libc::Ioctl, &raw mut got)
    })?;
    Ok(Notification {
        id: got.id,
        tid: got.pid.cast_signed(),
        nr: got.nr.cast_unsigned(),
        arch: got.arch,
        args: got.args,
    })
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It fails with this error number.
    Errno(i32),
    /// It is carried out, with the arguments that it has by then: only for a caller that is
    /// trusted not to change them.
    Continue,
}

/// `ioctl(SECCOMP_IOCTL_NOTIF_SEND)`. `ENOENT`: the caller is gone.
pub fn respond(listener: BorrowedFd<'_>, id: u64, verdict: Verdict) -> Result<()> {
    // _IOWR('!', 1, struct seccomp_notif_resp) with its 24 bytes.
    const NOTIF_SEND: u32 = 0xc018_2101;
    const FLAG_CONTINUE: u32 = 1;
    let (error, flags) = match verdict {
        Verdict::Errno(number) => (-number.abs(), 0),
        Verdict::Continue => (0, FLAG_CONTINUE),
    };
    let mut answer = Response { id, val: 0, error, flags, more: [0; 232] };
    // SAFETY: the kernel reads one seccomp_notif_resp, no longer than the live local.
    check_int(unsafe {
        libc::ioctl(listener.as_raw_fd(), NOTIF_SEND as libc::Ioctl, &raw mut answer)
    })
    .map(drop)
}

/// `ioctl(SECCOMP_IOCTL_NOTIF_ID_VALID)`: whether the caller still waits, so that its thread id is
/// still its own.
pub fn still_waits(listener: BorrowedFd<'_>, id: u64) -> bool {
    // _IOW('!', 2, __u64); some kernels before 5.17 have _IOR.
    const ID_VALID: u32 = 0x4008_2102;
    // SAFETY: the kernel reads eight bytes of the live local.
    unsafe { libc::ioctl(listener.as_raw_fd(), ID_VALID as libc::Ioctl, &raw const id) == 0 }
}
