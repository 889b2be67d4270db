//! Runs a filter as the kernel does, over a `struct seccomp_data`.
//!
//! The supervisor asks it what the profile says of a call that came to the listener: the same
//! program, over the same data, that the kernel would have run. It knows exactly the instructions
//! that our emitter makes; for any other, and for a jump or a read outside, it has no answer.
#![forbid(unsafe_code)]

use super::Instruction;
use super::emit::{AND_K, JA, JEQ, JGE, JGT, JSET, LD_W_ABS, RET};

/// `struct seccomp_data` of linux/seccomp.h, without the instruction pointer, which no filter of
/// ours reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// Number, with the x32 bit where that ABI was used.
    pub nr: u32,
    /// `AUDIT_ARCH_*`.
    pub arch: u32,
    /// Arguments, as they were in the registers.
    pub args: [u64; 6],
}

/// Where the arguments begin.
const ARGUMENTS: u32 = 16;

impl Call {
    fn load(&self, offset: u32) -> Option<u32> {
        let half = |arg: u64, high: bool| {
            let shifted = if high { arg >> 32 } else { arg & 0xffff_ffff };
            u32::try_from(shifted).ok()
        };
        match offset {
            0 => Some(self.nr),
            4 => Some(self.arch),
            16..=60 if offset.is_multiple_of(4) => {
                let index = usize::try_from((offset - 16) / 8).ok()?;
                half(*self.args.get(index)?, !(offset - 16).is_multiple_of(8))
            }
            _ => None,
        }
    }
}

/// What the filter returns for the call; `None`: it is no program of our emitter's.
#[must_use]
pub fn run(program: &[Instruction], call: &Call) -> Option<u32> {
    walk(program, call).map(|(ret, _)| ret)
}

/// What the filter returns for a call of which only some arguments are known (bit 0 is the first);
/// `None`: it looks at another one.
#[must_use]
pub fn run_knowing(program: &[Instruction], call: &Call, known: u8) -> Option<u32> {
    walk(program, call).filter(|(_, looked)| looked & !known == 0).map(|(ret, _)| ret)
}

/// What is returned, and which arguments were looked at.
fn walk(program: &[Instruction], call: &Call) -> Option<(u32, u8)> {
    let (mut at, mut acc, mut looked) = (0usize, 0u32, 0u8);
    loop {
        let now = program.get(at)?;
        at += 1;
        let holds = match now.code {
            LD_W_ABS => {
                acc = call.load(now.k)?;
                if let Some(offset) = now.k.checked_sub(ARGUMENTS) {
                    looked |= 1u8.checked_shl(offset / 8)?;
                }
                continue;
            }
            AND_K => {
                acc &= now.k;
                continue;
            }
            JA => {
                at = at.checked_add(usize::try_from(now.k).ok()?)?;
                continue;
            }
            RET => return Some((now.k, looked)),
            JEQ => acc == now.k,
            JGT => acc > now.k,
            JGE => acc >= now.k,
            JSET => acc & now.k != 0,
            _ => return None,
        };
        at += usize::from(if holds { now.jt } else { now.jf });
    }
}

/// What `bpf_check_classic` asks for: all jumps land inside, and the end is a return.
#[cfg(test)]
pub(super) fn check(program: &[Instruction]) {
    use super::MAX_INSTRUCTIONS;
    assert!(!program.is_empty() && program.len() <= MAX_INSTRUCTIONS, "{}", program.len());
    assert_eq!(program.last().map(|last| last.code), Some(RET));
    for (at, now) in program.iter().enumerate() {
        let furthest = match now.code {
            JA => now.k as usize,
            JEQ | JGT | JGE | JSET => usize::from(now.jt.max(now.jf)),
            _ => continue,
        };
        assert!(at + 1 + furthest < program.len(), "jump at {at} leaves the program");
    }
}
