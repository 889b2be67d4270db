//! bpf(2): programs of type `BPF_PROG_TYPE_CGROUP_DEVICE` (Linux 4.15) and their place on a
//! cgroup v2 directory.

use super::{Errno, Result, check, int};
use libc::c_long;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const PROG_LOAD: c_long = 5;
const PROG_ATTACH: c_long = 8;
const PROG_DETACH: c_long = 9;
const PROG_GET_FD_BY_ID: c_long = 13;
const OBJ_GET_INFO_BY_FD: c_long = 15;
const PROG_QUERY: c_long = 16;

/// `BPF_PROG_TYPE_CGROUP_DEVICE`.
const TYPE_CGROUP_DEVICE: u32 = 15;
/// `BPF_CGROUP_DEVICE`.
const AT_CGROUP_DEVICE: u32 = 6;
/// `BPF_F_ALLOW_MULTI`: other programs stay, and every one has to agree.
const ALLOW_MULTI: u32 = 1 << 1;
/// `BPF_F_REPLACE` (Linux 5.6).
const REPLACE: u32 = 1 << 2;

/// Length of a program's name with its NUL (`BPF_OBJ_NAME_LEN`).
pub const NAME_LENGTH: usize = 16;

/// One instruction (`struct bpf_insn`).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Class, operation and source.
    pub code: u8,
    /// Destination register in the low half, source register in the high one.
    pub registers: u8,
    /// Jump distance or address offset.
    pub offset: i16,
    /// Constant.
    pub immediate: i32,
}

/// A system call's arguments. The kernel reads as many bytes as it is told and takes what is
/// missing for zero, so each command has its own struct.
fn bpf<T>(command: c_long, attr: &mut T) -> Result<c_long> {
    // SAFETY: `attr` is a live struct of this file whose layout is that command's part of `union
    // bpf_attr`; the addresses in it are of live memory of the lengths that stand beside them.
    check(unsafe {
        libc::syscall(libc::SYS_bpf, command, core::ptr::from_mut(attr), size_of::<T>())
    })
}

fn owned(fd: c_long) -> OwnedFd {
    // SAFETY: called with a descriptor that the kernel has just made; nobody else owns it. They
    // are close-on-exec (bpf_prog_new_fd in kernel/bpf/syscall.c).
    unsafe { OwnedFd::from_raw_fd(int(fd)) }
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

/// `BPF_PROG_LOAD` of a device program. It calls no helper, so any licence will do.
pub fn load_device_program(program: &[Instruction], name: &[u8; NAME_LENGTH]) -> Result<OwnedFd> {
    #[repr(C)]
    #[derive(Default)]
    struct Attr {
        kind: u32,
        count: u32,
        instructions: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log: u64,
        kernel_version: u32,
        flags: u32,
        name: [u8; NAME_LENGTH],
    }
    let count = u32::try_from(program.len()).map_err(|_| Errno(libc::E2BIG))?;
    let mut attr = Attr {
        kind: TYPE_CGROUP_DEVICE,
        count,
        instructions: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        name: *name,
        ..Attr::default()
    };
    let mut tries = 0;
    loop {
        match bpf(PROG_LOAD, &mut attr) {
            Ok(fd) => return Ok(owned(fd)),
            // A signal came while the verifier ran (Linux 5.0 on).
            Err(e) if (e.0 == libc::EAGAIN || e.0 == libc::EINTR) && tries < 5 => tries += 1,
            Err(e) => return Err(e),
        }
    }
}

#[repr(C)]
#[derive(Default)]
struct Place {
    cgroup: u32,
    program: u32,
    at: u32,
    flags: u32,
    replaced: u32,
}

/// `BPF_PROG_ATTACH`: besides what is there, or atomically in place of `replaced`.
pub fn attach_device_program(
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    replaced: Option<BorrowedFd<'_>>,
) -> Result<()> {
    let mut place = Place {
        cgroup: raw(cgroup),
        program: raw(program),
        at: AT_CGROUP_DEVICE,
        flags: ALLOW_MULTI,
        replaced: 0,
    };
    if let Some(old) = replaced {
        place.flags |= REPLACE;
        place.replaced = raw(old);
    }
    bpf(PROG_ATTACH, &mut place).map(drop)
}

/// `BPF_PROG_DETACH`.
pub fn detach_device_program(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<()> {
    let mut place = Place {
        cgroup: raw(cgroup),
        program: raw(program),
        at: AT_CGROUP_DEVICE,
        ..Place::default()
    };
    bpf(PROG_DETACH, &mut place).map(drop)
}

/// `BPF_PROG_QUERY`: ids of the device programs on this cgroup itself; how many there are.
///
/// # Errors
/// `ENOSPC`: there are more than `ids` takes.
pub fn query_device_programs(cgroup: BorrowedFd<'_>, ids: &mut [u32]) -> Result<usize> {
    #[repr(C)]
    #[derive(Default)]
    struct Attr {
        cgroup: u32,
        at: u32,
        query_flags: u32,
        attach_flags: u32,
        ids: u64,
        count: u32,
        padding: u32,
    }
    let mut attr = Attr {
        cgroup: raw(cgroup),
        at: AT_CGROUP_DEVICE,
        ids: ids.as_mut_ptr() as u64,
        count: u32::try_from(ids.len()).unwrap_or(u32::MAX),
        ..Attr::default()
    };
    bpf(PROG_QUERY, &mut attr)?;
    usize::try_from(attr.count).map_err(|_| Errno(libc::EOVERFLOW))
}

/// `BPF_PROG_GET_FD_BY_ID` (Linux 4.13; CAP_SYS_ADMIN).
pub fn program_by_id(id: u32) -> Result<OwnedFd> {
    let mut attr = [id, 0u32, 0u32];
    bpf(PROG_GET_FD_BY_ID, &mut attr).map(owned)
}

/// `BPF_OBJ_GET_INFO_BY_FD`: the name that a program was loaded with.
pub fn program_name(program: BorrowedFd<'_>) -> Result<[u8; NAME_LENGTH]> {
    /// `struct bpf_prog_info` up to the name. The kernel gives as much of it as there is room for.
    #[repr(C)]
    #[derive(Default)]
    struct Info {
        kind: u32,
        id: u32,
        tag: [u8; 8],
        jited_length: u32,
        translated_length: u32,
        jited: u64,
        translated: u64,
        load_time: u64,
        created_by: u32,
        map_count: u32,
        maps: u64,
        name: [u8; NAME_LENGTH],
    }
    #[repr(C)]
    struct Attr {
        fd: u32,
        length: u32,
        info: u64,
    }
    let mut info = Info::default();
    let mut attr = Attr {
        fd: raw(program),
        length: u32::try_from(size_of::<Info>()).unwrap_or(0),
        info: core::ptr::from_mut(&mut info) as u64,
    };
    bpf(OBJ_GET_INFO_BY_FD, &mut attr)?;
    Ok(info.name)
}

const _: () = assert!(size_of::<Instruction>() == 8);
