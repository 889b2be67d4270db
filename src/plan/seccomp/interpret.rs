//! Test only: runs a filter as the kernel would, over a `struct seccomp_data`.
//!
//! It knows exactly the instructions that our emitter makes, and panics on any other, on a jump
//! out of the program and on a read outside the data, as the kernel's checker would refuse them.
#![forbid(unsafe_code)]

use super::emit::{AND_K, JA, JEQ, JGE, JGT, JSET, LD_W_ABS, RET};
use super::{Instruction, MAX_INSTRUCTIONS};

/// `struct seccomp_data` of linux/seccomp.h.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) nr: u32,
    pub(super) arch: u32,
    pub(super) args: [u64; 6],
}

impl Call {
    fn load(&self, offset: u32) -> u32 {
        let mut bytes = [0; 64];
        bytes[0..4].copy_from_slice(&self.nr.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.arch.to_le_bytes());
        for (arg, place) in self.args.iter().zip(bytes[16..].chunks_mut(8)) {
            place.copy_from_slice(&arg.to_le_bytes());
        }
        assert!(offset.is_multiple_of(4) && offset <= 60, "load at offset {offset}");
        let at = offset as usize;
        u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
    }
}

/// What the filter returns for the call.
pub(super) fn run(program: &[Instruction], call: &Call) -> u32 {
    let (mut at, mut acc) = (0, 0);
    loop {
        let now = &program[at];
        let holds = match now.code {
            LD_W_ABS => {
                acc = call.load(now.k);
                at += 1;
                continue;
            }
            AND_K => {
                acc &= now.k;
                at += 1;
                continue;
            }
            JA => {
                at += 1 + now.k as usize;
                continue;
            }
            RET => return now.k,
            JEQ => acc == now.k,
            JGT => acc > now.k,
            JGE => acc >= now.k,
            JSET => acc & now.k != 0,
            code => panic!("instruction {at} has the unknown code {code:#x}"),
        };
        at += 1 + usize::from(if holds { now.jt } else { now.jf });
    }
}

/// What `bpf_check_classic` asks for: all jumps land inside, and the end is a return.
pub(super) fn check(program: &[Instruction]) {
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
