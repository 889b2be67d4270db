//! Call names to numbers, for every ABI through which a call can reach our kernels.
//!
//! The names come from the tables of the `syscalls` crate. Its own look-up compares with one name
//! after the other, which costs more than the rest of the compilation; so a hash table per ABI is
//! built here at compile time.
#![forbid(unsafe_code)]

use super::Arch;

/// A way to make system calls. One architecture of the kernel can offer several.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Abi {
    X86_64,
    /// 32-bit pointers in 64-bit mode: the architecture of `x86_64`, and bit 30 set in the number.
    X32,
    I386,
    Aarch64,
    Arm,
}

/// x32 calls are `x86_64` calls with this bit set in the number.
pub(super) const X32_BIT: u32 = 0x4000_0000;

const SLOTS: usize = 1024;
/// Above the newest number of every table; numbers with a base, as ARM's own calls, are apart.
const NUMBERS: u16 = 1000;

impl Abi {
    /// The `arch` field of `struct seccomp_data` (linux/audit.h).
    pub(super) const fn audit_arch(self) -> u32 {
        match self {
            Self::X86_64 | Self::X32 => 0xc000_003e,
            Self::I386 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
            Self::Arm => 0x4000_0028,
        }
    }

    /// Whether the arguments have 64 bits. x32 passes 64-bit registers too, and the kernel reads
    /// all of them for some calls, so comparing only the low half would be too lax.
    pub(super) const fn wide_arguments(self) -> bool {
        !matches!(self, Self::I386 | Self::Arm)
    }

    pub(super) const fn of(arch: Arch) -> Self {
        match arch {
            Arch::X86_64 => Self::X86_64,
            Arch::Aarch64 => Self::Aarch64,
        }
    }

    /// The name of a number, or `None` if this ABI does not have it.
    pub(super) fn name(self, number: u32) -> Option<&'static str> {
        let low = number & !X32_BIT;
        let own = |list: &'static [(&'static str, u32)], n: u32| {
            list.iter().find(|own| own.1 == n).map(|own| own.0)
        };
        let name = match self {
            Self::X86_64 => x86_64::name(number),
            Self::X32 if NOT_X32.contains(&low) => None,
            Self::X32 => own(&X32_OWN, low).or_else(|| x86_64::name(low)),
            Self::I386 => i386::name(number),
            Self::Aarch64 if number == 79 => Some("newfstatat"),
            Self::Aarch64 => aarch64::name(number),
            Self::Arm => arm::name(number).or_else(|| own(&ARM_OWN, number)),
        };
        name.or_else(|| own(&NEWER, low))
    }

    /// The number of a call, or `None` if this ABI does not have it.
    pub(super) fn number(self, name: &str) -> Option<u32> {
        let number = match self {
            Self::X86_64 => x86_64::number(name),
            Self::X32 => X32_OWN
                .iter()
                .find(|own| own.0 == name)
                .map(|own| own.1)
                .or_else(|| x86_64::number(name).filter(|number| !NOT_X32.contains(number)))
                .map(|number| number | X32_BIT),
            Self::I386 => i386::number(name),
            // The kernel calls it newfstatat, as everywhere; the table has the C function's name.
            Self::Aarch64 if name == "newfstatat" => aarch64::number("fstatat"),
            // 403 to 423 are for 32-bit ABIs only (asm-generic/unistd.h); the table has them too.
            Self::Aarch64 => aarch64::number(name).filter(|number| !(403..=423).contains(number)),
            Self::Arm => arm::number(name)
                .or_else(|| ARM_OWN.iter().find(|own| own.0 == name).map(|own| own.1)),
        };
        number.or_else(|| {
            let bit = if self == Self::X32 { X32_BIT } else { 0 };
            NEWER.iter().find(|newer| newer.0 == name).map(|newer| newer.1 | bit)
        })
    }
}

/// The ABI of a call that came to a listener, and what it is called. x32 has the architecture of
/// `x86_64`.
pub(super) fn abi_of(audit_arch: u32, number: u32) -> Option<(Abi, &'static str)> {
    [(Abi::X86_64, "x86_64"), (Abi::I386, "x86"), (Abi::Aarch64, "aarch64"), (Abi::Arm, "arm")]
        .into_iter()
        .find(|(abi, _)| abi.audit_arch() == audit_arch)
        .map(|found| match found.0 {
            // Number -1 is what a tracer sets to skip a call.
            Abi::X86_64 if number & X32_BIT != 0 && number != u32::MAX => (Abi::X32, "x32"),
            _ => found,
        })
}

/// Whether any ABI knows the name: a profile written for several architectures is no reason to
/// warn, a misspelt name is.
pub(super) fn is_known(name: &str) -> bool {
    [Abi::X86_64, Abi::I386, Abi::Aarch64, Abi::Arm].iter().any(|abi| abi.number(name).is_some())
        || i386_multiplexed(name).is_some()
        || FOREIGN.contains(&name)
}

/// Names in Docker's profile that only architectures have which stockade does not run on.
const FOREIGN: [&str; 2] = ["riscv_hwprobe", "riscv_flush_icache"];

/// `socketcall(2)` and `ipc(2)` of i386: the multiplexer's name and the number of the sub-call.
/// `accept`, `send` and `recv` exist only there (linux/net.h, linux/ipc.h).
pub(super) fn i386_multiplexed(name: &str) -> Option<(&'static str, u32)> {
    let call = |list: &[(&str, u32)]| list.iter().find(|c| c.0 == name).map(|c| c.1);
    call(&SOCKETCALL)
        .map(|number| ("socketcall", number))
        .or_else(|| call(&IPC).map(|number| ("ipc", number)))
}

const SOCKETCALL: [(&str, u32); 20] = [
    ("socket", 1),
    ("bind", 2),
    ("connect", 3),
    ("listen", 4),
    ("accept", 5),
    ("getsockname", 6),
    ("getpeername", 7),
    ("socketpair", 8),
    ("send", 9),
    ("recv", 10),
    ("sendto", 11),
    ("recvfrom", 12),
    ("shutdown", 13),
    ("setsockopt", 14),
    ("getsockopt", 15),
    ("sendmsg", 16),
    ("recvmsg", 17),
    ("accept4", 18),
    ("recvmmsg", 19),
    ("sendmmsg", 20),
];

const IPC: [(&str, u32); 12] = [
    ("semop", 1),
    ("semget", 2),
    ("semctl", 3),
    ("semtimedop", 4),
    ("msgsnd", 11),
    ("msgrcv", 12),
    ("msgget", 13),
    ("msgctl", 14),
    ("shmat", 21),
    ("shmdt", 22),
    ("shmget", 23),
    ("shmctl", 24),
];

/// Calls of 64 bits only that have no other number on x32 (arch/x86/entry/syscalls/syscall_64.tbl):
/// uselib, _sysctl, create_module, get_kernel_syms, query_module, nfsservctl, set_thread_area,
/// get_thread_area, epoll_ctl_old, epoll_wait_old, vserver, uretprobe, uprobe, map_shadow_stack.
const NOT_X32: [u32; 14] = [134, 156, 174, 177, 178, 180, 205, 211, 214, 215, 236, 335, 336, 453];

/// The calls for which x32 has its own number (`asm/unistd_x32.h`); all others share that of
/// `x86_64`, but for [`NOT_X32`].
const X32_OWN: [(&str, u32); 36] = [
    ("rt_sigaction", 512),
    ("rt_sigreturn", 513),
    ("ioctl", 514),
    ("readv", 515),
    ("writev", 516),
    ("recvfrom", 517),
    ("sendmsg", 518),
    ("recvmsg", 519),
    ("execve", 520),
    ("ptrace", 521),
    ("rt_sigpending", 522),
    ("rt_sigtimedwait", 523),
    ("rt_sigqueueinfo", 524),
    ("sigaltstack", 525),
    ("timer_create", 526),
    ("mq_notify", 527),
    ("kexec_load", 528),
    ("waitid", 529),
    ("set_robust_list", 530),
    ("get_robust_list", 531),
    ("vmsplice", 532),
    ("move_pages", 533),
    ("preadv", 534),
    ("pwritev", 535),
    ("rt_tgsigqueueinfo", 536),
    ("recvmmsg", 537),
    ("sendmmsg", 538),
    ("process_vm_readv", 539),
    ("process_vm_writev", 540),
    ("setsockopt", 541),
    ("getsockopt", 542),
    ("io_setup", 543),
    ("io_submit", 544),
    ("execveat", 545),
    ("preadv2", 546),
    ("pwritev2", 547),
];

/// Calls that are newer than the tables, which end with Linux 6.17. New calls have one number for
/// all ABIs since 5.1.
const NEWER: [(&str, u32); 2] = [("listns", 470), ("rseq_slice_yield", 471)];

/// ARM's own calls live above `__ARM_NR_BASE` (arch/arm/include/uapi/asm/unistd.h).
const ARM_OWN: [(&str, u32); 6] = [
    ("breakpoint", 0x0f_0001),
    ("cacheflush", 0x0f_0002),
    ("usr26", 0x0f_0003),
    ("usr32", 0x0f_0004),
    ("set_tls", 0x0f_0005),
    ("get_tls", 0x0f_0006),
];

/// FNV-1a, folded to a slot.
const fn slot_of(name: &str) -> usize {
    let bytes = name.as_bytes();
    let mut hash: u32 = 0x811c_9dc5;
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u32).wrapping_mul(0x0100_0193);
        at += 1;
    }
    ((hash >> 16) ^ hash) as usize % SLOTS
}

/// The names of one ABI, hashed. No pointers in it: a table of `&str` would be relocated at every
/// start of a static-PIE, whether or not a filter is wanted.
struct Names<const BYTES: usize> {
    slots: [Slot; SLOTS],
    text: [u8; BYTES],
}

#[derive(Clone, Copy)]
struct Slot {
    number: u16,
    /// Where the name is in the text.
    at: u16,
    len: u16,
}

const FREE: Slot = Slot { number: 0, at: 0, len: 0 };

impl<const BYTES: usize> Names<BYTES> {
    fn number(&self, name: &str) -> Option<u32> {
        let mut at = slot_of(name);
        loop {
            let slot = self.slots[at];
            if slot.len == 0 {
                return None;
            }
            let start = usize::from(slot.at);
            if &self.text[start..start + usize::from(slot.len)] == name.as_bytes() {
                return Some(u32::from(slot.number));
            }
            at = (at + 1) % SLOTS;
        }
    }
}

impl<const BYTES: usize> Names<BYTES> {
    /// Off the hot path, so all slots are looked at.
    fn name(&'static self, number: u32) -> Option<&'static str> {
        let slot = self.slots.iter().find(|s| s.len > 0 && u32::from(s.number) == number)?;
        let start = usize::from(slot.at);
        str::from_utf8(self.text.get(start..start + usize::from(slot.len))?).ok()
    }
}

macro_rules! table {
    ($abi:ident, $names:ident) => {
        mod $abi {
            use super::{FREE, NUMBERS, Names, SLOTS, Slot, slot_of};
            use syscalls::$names::Sysno;

            const BYTES: usize = {
                let (mut bytes, mut number) = (0, 0);
                while number < NUMBERS {
                    if let Some(call) = Sysno::new(number as usize) {
                        bytes += call.name().len();
                    }
                    number += 1;
                }
                assert!(bytes < u16::MAX as usize);
                bytes
            };

            #[allow(clippy::cast_possible_truncation, reason = "BYTES fits, see above")]
            static NAMES: Names<BYTES> = {
                let mut names = Names { slots: [FREE; SLOTS], text: [0; BYTES] };
                let (mut end, mut number) = (0, 0);
                while number < NUMBERS {
                    if let Some(call) = Sysno::new(number as usize) {
                        let name = call.name();
                        let mut slot = slot_of(name);
                        while names.slots[slot].len != 0 {
                            slot = (slot + 1) % SLOTS;
                        }
                        names.slots[slot] = Slot { number, at: end as u16, len: name.len() as u16 };
                        let mut byte = 0;
                        while byte < name.len() {
                            names.text[end] = name.as_bytes()[byte];
                            end += 1;
                            byte += 1;
                        }
                    }
                    number += 1;
                }
                names
            };

            pub(super) fn number(name: &str) -> Option<u32> {
                NAMES.number(name)
            }

            pub(super) fn name(number: u32) -> Option<&'static str> {
                NAMES.name(number)
            }
        }
    };
}

table!(x86_64, x86_64);
table!(i386, x86);
table!(aarch64, aarch64);
table!(arm, arm);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_a_table_is_found_with_its_number() {
        let mut found = 0;
        for call in (0..1000).filter_map(syscalls::x86_64::Sysno::new) {
            assert_eq!(Abi::X86_64.number(call.name()), u32::try_from(call.id()).ok());
            found += 1;
        }
        for call in (0..1000).filter_map(syscalls::aarch64::Sysno::new) {
            let number =
                u32::try_from(call.id()).ok().filter(|number| !(403..=423).contains(number));
            assert_eq!(Abi::Aarch64.number(call.name()), number);
        }
        assert_eq!(found, syscalls::x86_64::Sysno::count(), "a number above 1000 is new");
        assert!(found > 360);
    }

    #[test]
    fn the_native_numbers_agree_with_the_c_library() {
        for (name, number) in [
            ("read", libc::SYS_read),
            ("clone3", libc::SYS_clone3),
            ("newfstatat", libc::SYS_newfstatat),
            ("openat2", libc::SYS_openat2),
            ("ioctl", libc::SYS_ioctl),
            ("landlock_restrict_self", libc::SYS_landlock_restrict_self),
            ("mseal", libc::SYS_mseal),
        ] {
            let ours = Abi::of(Arch::native()).number(name).map(i64::from);
            assert_eq!(ours, Some(number), "{name}");
        }
    }

    #[test]
    fn each_abi_has_its_own_numbers() {
        let numbers = |name| {
            [Abi::X86_64, Abi::X32, Abi::I386, Abi::Aarch64, Abi::Arm].map(|abi| abi.number(name))
        };
        assert_eq!(numbers("openat"), [257, X32_BIT + 257, 295, 56, 322].map(Some));
        assert_eq!(numbers("execve"), [59, X32_BIT + 520, 11, 221, 11].map(Some));
        assert_eq!(numbers("newfstatat"), [Some(262), Some(X32_BIT + 262), None, Some(79), None]);
        assert_eq!(numbers("socketcall"), [None, None, Some(102), None, None]);
        assert_eq!(numbers("cacheflush"), [None, None, None, None, Some(0x0f_0002)]);
        assert_eq!(numbers("futex_time64"), [None, None, Some(422), None, Some(422)]);
        assert_eq!(numbers("listns"), [470, X32_BIT + 470, 470, 470, 470].map(Some));
        assert_eq!(numbers("no_such_call"), [None; 5]);
        assert_eq!(numbers(""), [None; 5]);
    }

    #[test]
    fn only_names_that_no_abi_has_are_unknown() {
        for name in ["chown32", "set_tls", "recv", "fstatat64", "riscv_hwprobe", "mseal"] {
            assert!(is_known(name), "{name}");
        }
        for name in ["opneat", "", "OPENAT", "openat\0"] {
            assert!(!is_known(name), "{name:?}");
        }
    }
}
