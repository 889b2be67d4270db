//! From an OCI seccomp section to one filter: a part for each architecture, in each a binary
//! search over ranges of calls that get the same verdict.
//!
//! ```text
//!   ld arch
//!   jeq x86_64 ──► ld nr ─► search          x32 calls are just the upper half of the numbers
//!   jeq i386   ──► ld nr ─► search
//!   ret KILL_PROCESS                        an architecture that the profile does not list
//! ```
//!
//! Docker's 306 allowed calls are 66 ranges, so six or seven comparisons decide. A call that is
//! allowed whatever its arguments costs nothing at all since Linux 5.11, which runs the filter
//! once per number when it is loaded and keeps a bitmap of those.
#![forbid(unsafe_code)]

use oci_spec::runtime::{
    Arch as OciArch, LinuxSeccomp, LinuxSeccompFilterFlag as Flag, LinuxSyscall,
};

use super::asking;
use super::emit::{ARCH, Emitter, JEQ, LD_W_ABS, Leaf, NR, RET, Range};
use super::harden::harden;
use super::rules::{self, ENOSYS, Table, is_permissive};
use super::syscalls::{Abi, X32_BIT, is_known};
use super::{Arch, Extra, Filter, SeccompError};

const KILL_PROCESS: u32 = libc::SECCOMP_RET_KILL_PROCESS;

// linux/seccomp.h
const FLAG_LOG: u32 = 1 << 1;
/// `SECCOMP_FILTER_FLAG_SPEC_ALLOW`: speculative store bypass stays as it is.
pub(crate) const SPEC_ALLOW: u32 = 1 << 2;

/// Compiles the `linux.seccomp` section of a config, or a resolved profile.
///
/// # Errors
/// What the section asks for and cannot be had (a listener for the calls that
/// hand it over, an errno that no call can return, more
/// than 4096 instructions); the error names the item.
pub fn compile(spec: &LinuxSeccomp, native: Arch, extra: &Extra) -> Result<Filter, SeccompError> {
    let mut warnings = Vec::new();
    let flags = flags(spec);
    let listener = asking::listener(spec, &mut warnings)?;
    let (default, entries) = rules::read(spec)?;
    let abis = abis(spec, native, &mut warnings);
    unknown_names(spec, &mut warnings);

    let tables: Vec<(Abi, Table)> = abis
        .into_iter()
        .map(|abi| {
            let mut table = rules::table(abi, default, &entries);
            harden(&mut table, abi, extra);
            (abi, table)
        })
        .collect();

    let mut emitter = Emitter::with_capacity(512);
    emitter.push(LD_W_ABS, ARCH);
    for (abi, table) in tables.iter().filter(|(abi, _)| *abi != Abi::X32) {
        let x32 = tables.iter().find(|(other, _)| *other == Abi::X32).map(|(_, table)| table);
        let mut ranges = Ranges::default();
        ranges.add_table(table, 0);
        if *abi == Abi::X86_64 {
            ranges.add_x32(table, x32);
        }
        let at = emitter.push(JEQ, abi.audit_arch());
        emitter.wide = abi.wide_arguments();
        emitter.skip_over(at, false, |emitter| {
            emitter.push(LD_W_ABS, NR);
            emitter.search(&ranges.0)
        })?;
    }
    emitter.push(RET, KILL_PROCESS);
    let (instructions, asking) = asking::split(emitter.finish()?, spec, flags, listener);
    Ok(Filter { instructions, flags, asking, warnings })
}

/// Ranges in ascending order; neighbours with the same plain verdict are one.
#[derive(Default)]
struct Ranges<'a>(Vec<Range<'a>>);

impl<'a> Ranges<'a> {
    fn add(&mut self, from: u32, leaf: Leaf<'a>) {
        if let (Some(Range { leaf: Leaf::Ret(last), .. }), Leaf::Ret(ret)) = (self.0.last(), leaf)
            && *last == ret
        {
            return;
        }
        self.0.push(Range { from, leaf });
    }

    /// Everything from `base` on, as the table says.
    fn add_table(&mut self, table: &'a Table, base: u32) {
        let mut next = base;
        for (number, verdict) in &table.calls {
            self.add_unlisted(table, next, *number);
            let leaf = match verdict.rules.as_slice() {
                [] => Leaf::Ret(verdict.otherwise),
                _ => Leaf::Rules(verdict),
            };
            self.add(*number, leaf);
            next = number + 1;
        }
        self.add_unlisted(table, next, u32::MAX);
    }

    /// The numbers of `from..to` that the profile does not mention.
    fn add_unlisted(&mut self, table: &Table, from: u32, to: u32) {
        if from < to {
            self.add(from, Leaf::Ret(table.unlisted(from)));
        }
        if from < table.tail_from && table.tail_from < to {
            self.add(table.tail_from, Leaf::Ret(table.tail));
        }
    }

    /// Behind the numbers of `x86_64`, those of x32. If the profile does not list x32, such calls
    /// kill the process, as a wrong architecture does; but not number -1, with which a tracer skips
    /// a call.
    fn add_x32(&mut self, native: &Table, x32: Option<&'a Table>) {
        if is_permissive(native.default) {
            // Until Linux 5.4 the numbers 512 to 547, which are x32's, worked without the x32 bit:
            // a way around a profile that denies `ptrace`. Later kernels say ENOSYS.
            self.add(512, Leaf::Ret(ENOSYS));
            self.add(548, Leaf::Ret(native.default));
        }
        if let Some(x32) = x32 {
            self.add_table(x32, X32_BIT);
        } else {
            self.add(X32_BIT, Leaf::Ret(KILL_PROCESS));
            self.add(u32::MAX, Leaf::Ret(native.default));
        }
    }
}

/// The ABIs of the filter, the native one first; runc adds it even if the profile does not.
fn abis(spec: &LinuxSeccomp, native: Arch, warnings: &mut Vec<String>) -> Vec<Abi> {
    let mut abis = vec![Abi::of(native)];
    for arch in spec.architectures().iter().flatten() {
        let abi = match (native, arch) {
            (_, OciArch::ScmpArchNative) => Abi::of(native),
            (Arch::X86_64, OciArch::ScmpArchX86_64) => Abi::X86_64,
            (Arch::X86_64, OciArch::ScmpArchX86) => Abi::I386,
            (Arch::X86_64, OciArch::ScmpArchX32) => Abi::X32,
            (Arch::Aarch64, OciArch::ScmpArchAarch64) => Abi::Aarch64,
            (Arch::Aarch64, OciArch::ScmpArchArm) => Abi::Arm,
            _ => {
                warnings.push(format!("architecture {arch} has no effect on this machine"));
                continue;
            }
        };
        if !abis.contains(&abi) {
            abis.push(abi);
        }
    }
    abis
}

/// `SPEC_ALLOW`, which turns a mitigation off, only if it is asked for: what runc does where the field is
/// missing is for containers alone. TSYNC is about other threads, and the process that loads our filter has none.
fn flags(spec: &LinuxSeccomp) -> u32 {
    let mut flags = 0;
    for flag in spec.flags().iter().flatten() {
        flags |= match flag {
            Flag::SeccompFilterFlagLog => FLAG_LOG,
            Flag::SeccompFilterFlagSpecAllow => SPEC_ALLOW,
            // The other is about a listener: see `asking`.
            Flag::SeccompFilterFlagTsync | Flag::SeccompFilterFlagWaitKillableRecv => 0,
        };
    }
    flags
}

fn unknown_names(spec: &LinuxSeccomp, warnings: &mut Vec<String>) {
    for name in spec.syscalls().iter().flatten().flat_map(LinuxSyscall::names) {
        if !is_known(name) {
            warnings.push(format!("unknown system call {name:?} is skipped"));
        }
    }
}
