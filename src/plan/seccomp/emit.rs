//! BPF instructions: the binary search over call numbers, and the tests of arguments.
//!
//! Why not seccompiler's own rule compiler: it spends two jumps and several allocations on each
//! rule, and has no "any of these bits" test. Its instruction type is used.
//!
//! A conditional jump reaches 255 instructions, `JA` reaches everything, and all jumps go
//! forward only. `jt` and `jf` count the instructions to skip.
#![forbid(unsafe_code)]

use super::rules::{Cond, Ret, Test, Verdict};
use super::{Instruction, MAX_INSTRUCTIONS, SeccompError};

// linux/bpf_common.h
pub(super) const LD_W_ABS: u16 = 0x20;
pub(super) const AND_K: u16 = 0x54;
pub(super) const JA: u16 = 0x05;
pub(super) const JEQ: u16 = 0x15;
pub(super) const JGT: u16 = 0x25;
pub(super) const JGE: u16 = 0x35;
pub(super) const JSET: u16 = 0x45;
pub(super) const RET: u16 = 0x06;

// Offsets in struct seccomp_data (linux/seccomp.h). Both machines are little-endian, so the low
// half of an argument comes first.
pub(super) const NR: u32 = 0;
pub(super) const ARCH: u32 = 4;
const ARGS: u32 = 16;

/// Calls from `from` up to the next range's start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range<'a> {
    pub(super) from: u32,
    pub(super) leaf: Leaf<'a>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Leaf<'a> {
    Ret(Ret),
    /// A single call whose verdict depends on its arguments.
    Rules(&'a Verdict),
}

/// The program under construction.
#[derive(Debug, Default)]
pub(super) struct Emitter {
    out: Vec<Instruction>,
    /// Whether arguments of the ABI at hand have 64 bits.
    pub(super) wide: bool,
}

/// Where a condition that does not hold leaves the rule; patched once the rule's end is known.
#[derive(Clone, Copy)]
enum Miss {
    True(usize),
    False(usize),
}

impl Emitter {
    pub(super) fn with_capacity(instructions: usize) -> Self {
        Self { out: Vec::with_capacity(instructions), wide: true }
    }

    pub(super) fn push(&mut self, code: u16, k: u32) -> usize {
        self.jump(code, k, 0, 0)
    }

    fn jump(&mut self, code: u16, k: u32, jt: u8, jf: u8) -> usize {
        self.out.push(Instruction { code, jt, jf, k });
        self.out.len() - 1
    }

    pub(super) fn finish(self) -> Result<Vec<Instruction>, SeccompError> {
        if self.out.len() > MAX_INSTRUCTIONS {
            return Err(SeccompError::TooLong(self.out.len()));
        }
        Ok(self.out)
    }

    /// Emits `body`, and makes the jump at `at` (the instruction just before it) skip it when its
    /// comparison holds (`when`) or fails. Beyond 255 instructions a `JA` is put in between; that
    /// moves the body, whose own jumps are relative and stay inside.
    pub(super) fn skip_over(
        &mut self,
        at: usize,
        when: bool,
        body: impl FnOnce(&mut Self) -> Result<(), SeccompError>,
    ) -> Result<(), SeccompError> {
        body(self)?;
        let len = self.out.len() - at - 1;
        let (mut skip, mut stay) = (u8::try_from(len).unwrap_or(0), 0);
        if len > 255 {
            // Far beyond what the kernel takes: stop before a hostile profile costs us time.
            let far = u32::try_from(len).map_err(|_| SeccompError::TooLong(len))?;
            self.out.insert(at + 1, Instruction { code: JA, jt: 0, jf: 0, k: far });
            (skip, stay) = (0, 1);
        }
        let jump = &mut self.out[at];
        (jump.jt, jump.jf) = if when { (skip, stay) } else { (stay, skip) };
        Ok(())
    }

    /// Binary search: the call's number is in the accumulator, and the ranges cover it.
    pub(super) fn search(&mut self, ranges: &[Range]) -> Result<(), SeccompError> {
        if self.out.len() > MAX_INSTRUCTIONS {
            return Err(SeccompError::TooLong(self.out.len()));
        }
        match ranges {
            [] => Ok(()),
            [range] => self.leaf(range.leaf),
            _ => {
                let (low, high) = ranges.split_at(ranges.len() / 2);
                let at = self.push(JGE, high[0].from);
                self.skip_over(at, true, |this| this.search(low))?;
                self.search(high)
            }
        }
    }

    fn leaf(&mut self, leaf: Leaf) -> Result<(), SeccompError> {
        match leaf {
            Leaf::Ret(ret) => self.push(RET, ret),
            Leaf::Rules(verdict) => {
                for rule in &verdict.rules {
                    self.rule(&rule.conds, rule.ret)?;
                }
                self.push(RET, verdict.otherwise)
            }
        };
        Ok(())
    }

    /// All conditions, then the verdict. The first that does not hold jumps behind the verdict.
    fn rule(&mut self, conds: &[Cond], ret: Ret) -> Result<(), SeccompError> {
        let start = self.out.len();
        let mut misses = Vec::with_capacity(2 * conds.len());
        for cond in conds {
            self.cond(*cond, &mut misses);
        }
        self.push(RET, ret);
        let end = self.out.len();
        for miss in misses {
            let (Miss::True(at) | Miss::False(at)) = miss;
            let skip =
                u8::try_from(end - at - 1).map_err(|_| SeccompError::TooLong(end - start))?;
            match miss {
                Miss::True(at) => self.out[at].jt = skip,
                Miss::False(at) => self.out[at].jf = skip,
            }
        }
        Ok(())
    }

    /// A comparison of 64 bits is two of 32: the high halves decide unless they are equal. Where
    /// arguments have 32 bits, only the low half is compared, as libseccomp does.
    fn cond(&mut self, cond: Cond, misses: &mut Vec<Miss>) {
        let low = ARGS + 8 * u32::from(cond.arg);
        match cond.test {
            Test::Masked { mask, value } => {
                if self.wide {
                    self.masked_half(low + 4, high_half(mask), high_half(value), misses);
                }
                self.masked_half(low, low_half(mask), low_half(value), misses);
            }
            Test::Ne(value) => {
                if self.wide {
                    self.push(LD_W_ABS, low + 4);
                    self.jump(JEQ, high_half(value), 0, 2);
                }
                self.push(LD_W_ABS, low);
                misses.push(Miss::True(self.push(JEQ, low_half(value))));
            }
            Test::Ge(value) => self.at_least(low, JGE, value, misses),
            Test::Gt(value) => self.at_least(low, JGT, value, misses),
            Test::Lt(value) => self.less(low, JGE, value, misses),
            Test::Le(value) => self.less(low, JGT, value, misses),
            Test::AnyBit(mask) => {
                if self.wide && high_half(mask) != 0 {
                    self.push(LD_W_ABS, low + 4);
                    self.jump(JSET, high_half(mask), 2, 0);
                }
                self.push(LD_W_ABS, low);
                misses.push(Miss::False(self.push(JSET, low_half(mask))));
            }
        }
    }

    fn masked_half(&mut self, offset: u32, mask: u32, value: u32, misses: &mut Vec<Miss>) {
        if mask == 0 {
            return;
        }
        self.push(LD_W_ABS, offset);
        if mask != u32::MAX {
            self.push(AND_K, mask);
        }
        misses.push(Miss::False(self.push(JEQ, value)));
    }

    /// `argument >= value` (`JGE`) or `argument > value` (`JGT`).
    fn at_least(&mut self, low: u32, compare: u16, value: u64, misses: &mut Vec<Miss>) {
        if compare == JGE && value == 0 {
            return; // always true
        }
        if self.wide {
            self.push(LD_W_ABS, low + 4);
            self.jump(JGT, high_half(value), 3, 0);
            misses.push(Miss::False(self.push(JEQ, high_half(value))));
        }
        self.push(LD_W_ABS, low);
        misses.push(Miss::False(self.push(compare, low_half(value))));
    }

    /// The opposite: `argument < value` (`JGE`) or `argument <= value` (`JGT`).
    fn less(&mut self, low: u32, compare: u16, value: u64, misses: &mut Vec<Miss>) {
        if self.wide {
            self.push(LD_W_ABS, low + 4);
            misses.push(Miss::True(self.push(JGT, high_half(value))));
            self.jump(JEQ, high_half(value), 0, 2);
        }
        self.push(LD_W_ABS, low);
        misses.push(Miss::True(self.push(compare, low_half(value))));
    }
}

#[allow(clippy::cast_possible_truncation, reason = "shifted by 32 bits it fits")]
const fn high_half(value: u64) -> u32 {
    (value >> 32) as u32
}

#[allow(clippy::cast_possible_truncation, reason = "the low half is what is asked for")]
const fn low_half(value: u64) -> u32 {
    value as u32
}
