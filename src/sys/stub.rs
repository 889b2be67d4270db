//! A program of a few instructions that executes another one.
//!
//! While a job's first execve resolves `#!/proc/self/exe`, "self" is still the program that
//! called it. For a child of stockade that would be stockade's (or the embedder's) own binary,
//! and where the job's ids may write to that binary it is a way out (CVE-2019-5736). So the
//! child first becomes this stub, from a sealed memfd, and the stub executes the job.
//!
//! The stub expects `argv[0]` to be the number of a descriptor, as one byte, and the path to execute
//! behind it; the job's own arguments follow. It marks that descriptor close-on-exec and calls
//! execve; if that fails it sends `Failed{Exec, 0, errno}` of `crate::wire` to it and exits with
//! 126. Without such a descriptor it exits at once: then it was not stockade that called it, but a job whose interpreter is "self", and
//! going on would execute itself for ever.

use super::{Result, check_int};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};

#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(
    ".pushsection .rodata.stockade_stub, \"a\"",
    ".balign 8",
    ".globl stockade_stub_start",
    ".hidden stockade_stub_start",
    "stockade_stub_start:",
    // ELF header: 64 bit, little endian, executable for x86-64 (62).
    ".byte 0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0",
    ".short 2, 62",
    ".long 1",
    ".quad 0x400000 + (200f - stockade_stub_start)",
    ".quad 64, 0",
    ".long 0",
    ".short 64, 56, 1, 0, 0, 0",
    // One segment: the whole file, readable and executable.
    ".long 1, 5",
    ".quad 0, 0x400000, 0x400000",
    ".quad 201f - stockade_stub_start, 201f - stockade_stub_start, 0x1000",
    "200:",
    "mov r8, [rsp]",
    "lea r12, [rsp + 8]",
    "lea r13, [r12 + r8 * 8 + 8]",
    // The descriptor's number is in front of the path.
    "mov r14, [r12]",
    "movzx r15d, byte ptr [r14]",
    "inc r14",
    // fcntl(N, F_SETFD, FD_CLOEXEC)
    "mov eax, 72",
    "mov edi, r15d",
    "mov esi, 2",
    "mov edx, 1",
    "syscall",
    "test eax, eax",
    "jnz 202f",
    // execve(path, argv + 1, envp)
    "mov eax, 59",
    "mov rdi, r14",
    "lea rsi, [r12 + 8]",
    "mov rdx, r13",
    "syscall",
    // write(N, {3, 32, 0, errno, 0, 0, 0}, 40)
    "neg eax",
    "xor ecx, ecx",
    "push rcx",
    "push rcx",
    "push rcx",
    "shl rax, 32",
    "push rax",
    "mov rcx, 0x2000000003",
    "push rcx",
    "mov eax, 1",
    "mov edi, r15d",
    "mov rsi, rsp",
    "mov edx, 40",
    "syscall",
    // exit_group(126)
    "202:",
    "mov eax, 231",
    "mov edi, 126",
    "syscall",
    "hlt",
    "201:",
    ".globl stockade_stub_end",
    ".hidden stockade_stub_end",
    "stockade_stub_end:",
    ".popsection",
);

#[cfg(target_arch = "aarch64")]
core::arch::global_asm!(
    ".pushsection .rodata.stockade_stub, \"a\"",
    ".balign 8",
    ".globl stockade_stub_start",
    ".hidden stockade_stub_start",
    "stockade_stub_start:",
    // ELF header: 64 bit, little endian, executable for AArch64 (183).
    ".byte 0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0",
    ".short 2, 183",
    ".long 1",
    ".quad 0x400000 + (200f - stockade_stub_start)",
    ".quad 64, 0",
    ".long 0",
    ".short 64, 56, 1, 0, 0, 0",
    ".long 1, 5",
    ".quad 0, 0x400000, 0x400000",
    ".quad 201f - stockade_stub_start, 201f - stockade_stub_start, 0x10000",
    "200:",
    "ldr x19, [sp]",
    "add x20, sp, #8",
    "add x21, x20, x19, lsl #3",
    "add x21, x21, #8",
    "ldr x22, [x20]",
    "ldrb w23, [x22], #1",
    // fcntl(N, F_SETFD, FD_CLOEXEC)
    "mov x8, #25",
    "mov x0, x23",
    "mov x1, #2",
    "mov x2, #1",
    "svc #0",
    "cbnz w0, 202f",
    // execve(path, argv + 1, envp)
    "mov x8, #221",
    "mov x0, x22",
    "add x1, x20, #8",
    "mov x2, x21",
    "svc #0",
    // write(N, {3, 32, 0, errno, 0, 0, 0}, 40)
    "neg w9, w0",
    "lsl x9, x9, #32",
    "mov x10, #3",
    "movk x10, #32, lsl #32",
    "sub sp, sp, #48",
    "stp x10, x9, [sp]",
    "stp xzr, xzr, [sp, #16]",
    "str xzr, [sp, #32]",
    "mov x8, #64",
    "mov x0, x23",
    "mov x1, sp",
    "mov x2, #40",
    "svc #0",
    // exit_group(126)
    "202:",
    "mov x8, #94",
    "mov x0, #126",
    "svc #0",
    "brk #0",
    "201:",
    ".globl stockade_stub_end",
    ".hidden stockade_stub_end",
    "stockade_stub_end:",
    ".popsection",
);

unsafe extern "C" {
    static stockade_stub_start: u8;
    static stockade_stub_end: u8;
}

/// The stub's bytes.
fn image() -> &'static [u8] {
    let start = &raw const stockade_stub_start;
    let end = &raw const stockade_stub_end;
    // SAFETY: both symbols are in one read-only section of this binary, start before end, with
    // nothing but the stub between them.
    unsafe { core::slice::from_raw_parts(start, end.offset_from_unsigned(start)) }
}

/// The stub as a sealed memfd.
pub fn sealed() -> Result<OwnedFd> {
    // Seen in /proc of a container that waits for its start: runc's name for what keeps its own
    // binary out of reach.
    let name = c"runc_cloned:/proc/self/exe";
    // SAFETY: a static C string.
    let fd = check_int(unsafe {
        libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING)
    })?;
    // SAFETY: a new descriptor that nobody else owns.
    let file = unsafe { OwnedFd::from_raw_fd(fd) };
    super::io::write_whole(file.as_fd(), image())?;
    // Executed and not read: whoever may not read what it executes cannot be looked into, from its first
    // instant on.
    super::fs::chmod(file.as_fd(), 0o111)?;
    super::fs::seal(file.as_fd())?;
    Ok(file)
}
