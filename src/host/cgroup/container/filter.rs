//! Device rules on v2, where there is no controller but an eBPF program on the directory
//! (`BPF_PROG_TYPE_CGROUP_DEVICE`, Linux 4.15).
//!
//! The program goes through the rules from the last to the first. A rule about the device settles
//! the kinds of access that it names; when all that was asked for is allowed the answer is yes, at
//! the first that is denied it is no, and what no rule settles is denied.

use super::devices::{ALL, Rule, Rules, Which};
use crate::error::{Error, Kind, Result};
use crate::host::cgroup::dir::Dir;
use crate::sys::bpf::{self, Instruction, NAME_LENGTH};
use std::os::fd::{AsFd, OwnedFd};

/// By which a later call finds its own program among those of other managers.
const NAME: &[u8; NAME_LENGTH] = b"stockade_device\0";

// Instruction codes of linux/bpf.h and linux/bpf_common.h: class | size or operation | source.
const LOAD_WORD: u8 = 0x61; // LDX | MEM | W
const MOVE: u8 = 0xb7; // ALU64 | MOV | K
const MOVE_REGISTER: u8 = 0xbf; // ALU64 | MOV | X
const AND: u8 = 0x57; // ALU64 | AND | K
const SHIFT_RIGHT: u8 = 0x77; // ALU64 | RSH | K
const JUMP_IF_EQUAL: u8 = 0x15; // JMP | JEQ | K
const JUMP_IF_NOT_EQUAL: u8 = 0x55; // JMP | JNE | K
const EXIT: u8 = 0x95; // JMP | EXIT

// Registers: what the program returns, its argument, and ours.
const ANSWER: u8 = 0;
const CONTEXT: u8 = 1;
const TYPE: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SCRATCH: u8 = 0; // the answer is set right before each exit

/// `BPF_DEVCG_DEV_BLOCK` and `BPF_DEVCG_DEV_CHAR`.
const TYPE_BLOCK: i32 = 1;
const TYPE_CHAR: i32 = 2;

fn op(code: u8, to: u8, immediate: i32) -> Instruction {
    Instruction { code, registers: to, offset: 0, immediate }
}

fn load(to: u8, offset: i16) -> Instruction {
    Instruction { code: LOAD_WORD, registers: to | CONTEXT << 4, offset, immediate: 0 }
}

fn jump(code: u8, register: u8, value: i32, over: usize) -> Instruction {
    // A rule is at most ten instructions.
    let offset = i16::try_from(over).unwrap_or(i16::MAX);
    Instruction { code, registers: register, offset, immediate: value }
}

fn answer(yes: bool) -> [Instruction; 2] {
    [op(MOVE, ANSWER, i32::from(yes)), op(EXIT, 0, 0)]
}

/// The program for these rules.
pub(super) fn assemble(rules: &Rules) -> Vec<Instruction> {
    // struct bpf_cgroup_dev_ctx: access << 16 | type, major, minor.
    let mut program = vec![
        load(TYPE, 0),
        op(AND, TYPE, 0xffff),
        load(ACCESS, 0),
        op(SHIFT_RIGHT, ACCESS, 16),
        load(MAJOR, 4),
        load(MINOR, 8),
    ];
    for rule in rules.0.iter().rev() {
        if rule.which == Which::Any {
            // Whatever comes before it no longer counts; the verifier wants no dead code either.
            program.extend(answer(rule.allow));
            return program;
        }
        program.extend(one(rule));
    }
    program.extend(answer(false));
    program
}

fn one(rule: &Rule) -> Vec<Instruction> {
    let mut body = Vec::with_capacity(6);
    if rule.access == ALL {
        body.extend(answer(rule.allow));
    } else if rule.allow {
        body.push(op(AND, ACCESS, i32::from(ALL & !rule.access)));
        body.push(jump(JUMP_IF_NOT_EQUAL, ACCESS, 0, 2));
        body.extend(answer(true));
    } else {
        body.push(Instruction {
            code: MOVE_REGISTER,
            registers: SCRATCH | ACCESS << 4,
            offset: 0,
            immediate: 0,
        });
        body.push(op(AND, SCRATCH, i32::from(rule.access)));
        body.push(jump(JUMP_IF_EQUAL, SCRATCH, 0, 2));
        body.extend(answer(false));
    }
    let kind = if rule.which == Which::Block { TYPE_BLOCK } else { TYPE_CHAR };
    let mut tests = vec![(TYPE, kind)];
    for (register, number) in [(MAJOR, rule.major), (MINOR, rule.minor)] {
        match number.map(i32::try_from) {
            None => {}
            Some(Ok(number)) => tests.push((register, number)),
            // Beyond what the kernel numbers devices with (12 and 20 bits), and a constant that
            // would be extended by its sign: it is about no device.
            Some(Err(_)) => return Vec::new(),
        }
    }
    let count = tests.len();
    let mut rule: Vec<Instruction> = tests
        .into_iter()
        .enumerate()
        .map(|(at, (register, value))| {
            jump(JUMP_IF_NOT_EQUAL, register, value, count - at - 1 + body.len())
        })
        .collect();
    rule.append(&mut body);
    rule
}

/// Puts the program for these rules on the directory, atomically in the place of the one that was
/// there before. Programs of others stay, and every one has to agree.
pub(super) fn set(dir: &Dir, rules: &Rules) -> Result<()> {
    let cgroup = dir.as_fd();
    let ours = ours(dir)?;
    let everything = Rule { allow: true, which: Which::Any, major: None, minor: None, access: ALL };
    let program = assemble(rules);
    if ours.is_empty() && program == assemble(&Rules(vec![everything])) {
        // Nothing to forbid.
        return Ok(());
    }
    let failed = |what: &str, e: crate::sys::Errno| {
        let error = Error::os(format!("{what} the device rules of {}", dir.path), e);
        match e.0 {
            libc::EPERM => error.hint(
                "it takes CAP_BPF and CAP_NET_ADMIN or CAP_SYS_ADMIN, and a cgroup above without \
                 a device program that allows no further ones",
            ),
            libc::ENOSYS | libc::EINVAL => error
                .with_kind(Kind::Unsupported)
                .hint("the kernel needs CONFIG_CGROUP_BPF and Linux 5.6"),
            _ => error,
        }
    };
    let program = bpf::load_device_program(&program, NAME).map_err(|e| failed("load", e))?;
    let (old, more) = match ours.split_first() {
        Some((old, more)) => (Some(old.as_fd()), more),
        None => (None, &[][..]),
    };
    bpf::attach_device_program(cgroup, program.as_fd(), old).map_err(|e| failed("attach", e))?;
    for old in more {
        bpf::detach_device_program(cgroup, old.as_fd()).map_err(|e| failed("detach", e))?;
    }
    Ok(())
}

/// Whether this process may have device rules at all: loads a program that is on no cgroup.
///
/// # Errors
/// The kernel refuses.
pub(crate) fn try_to_load() -> crate::sys::Result<()> {
    bpf::load_device_program(&assemble(&Rules::default()), NAME).map(drop)
}

/// Programs on the directory that an earlier call has put there.
fn ours(dir: &Dir) -> Result<Vec<OwnedFd>> {
    // The kernel allows 64 (BPF_CGROUP_MAX_PROGS).
    let mut ids = [0u32; 64];
    let count = match bpf::query_device_programs(dir.as_fd(), &mut ids) {
        Ok(count) => count,
        Err(e) => {
            let error = Error::os(format!("list the device programs of {}", dir.path), e);
            return Err(match e.0 {
                libc::EINVAL | libc::ENOSYS => error.with_kind(Kind::Unsupported),
                _ => error,
            });
        }
    };
    let mut found = Vec::new();
    for id in ids.iter().take(count) {
        match bpf::program_by_id(*id) {
            Ok(program) if bpf::program_name(program.as_fd()).ok().as_ref() == Some(NAME) => {
                found.push(program);
            }
            Ok(_) => {}
            // Taken away meanwhile.
            Err(e) if e.0 == libc::ENOENT => {}
            Err(e) => {
                return Err(Error::os(format!("open a device program of {}", dir.path), e));
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::devices::{MAKE, READ, WRITE};
    use super::*;

    /// The kernel's machine, for these instructions.
    fn run(program: &[Instruction], kind: u64, access: u8, major: u32, minor: u32) -> bool {
        let mut r = [0u64; 11];
        let context = [u64::from(access) << 16 | kind, u64::from(major), u64::from(minor)];
        let mut at = 0;
        for _ in 0..10_000 {
            let i = program[at];
            at += 1;
            let (to, from) = (usize::from(i.registers & 15), usize::from(i.registers >> 4));
            let constant = i64::from(i.immediate).cast_unsigned();
            let jump = |yes: bool, at: usize| {
                if yes { at + usize::try_from(i.offset).expect("forward") } else { at }
            };
            match i.code {
                LOAD_WORD => {
                    assert_eq!(from, 1, "loads are from the context");
                    r[to] = context[usize::try_from(i.offset).unwrap() / 4];
                }
                MOVE => r[to] = constant,
                MOVE_REGISTER => r[to] = r[from],
                AND => r[to] &= constant,
                SHIFT_RIGHT => r[to] >>= constant,
                JUMP_IF_EQUAL => at = jump(r[to] == constant, at),
                JUMP_IF_NOT_EQUAL => at = jump(r[to] != constant, at),
                EXIT => return r[0] == 1,
                other => panic!("no such instruction: {other:#x}"),
            }
        }
        panic!("it does not end");
    }

    /// What the rules mean, said another way: for each kind of access the last rule about it.
    fn meaning(rules: &Rules, kind: Which, access: u8, major: u32, minor: u32) -> bool {
        [MAKE, READ, WRITE].into_iter().filter(|bit| access & bit != 0).all(|bit| {
            let about = |r: &&Rule| {
                (r.which == Which::Any || r.which == kind)
                    && r.major.is_none_or(|m| m == major)
                    && r.minor.is_none_or(|m| m == minor)
                    && r.access & bit != 0
            };
            rules.0.iter().rev().find(about).is_some_and(|r| r.allow)
        })
    }

    fn compare(rules: &Rules) {
        let program = assemble(rules);
        let numbers = [0, 1, 3, 8, 136, 200, u32::MAX];
        for (kind, code) in [(Which::Block, 1), (Which::Char, 2)] {
            for access in 1..=ALL {
                for major in numbers {
                    for minor in numbers {
                        assert_eq!(
                            run(&program, code, access, major, minor),
                            meaning(rules, kind, access, major, minor),
                            "{kind:?} {major}:{minor} access {access} under {rules:?}"
                        );
                    }
                }
            }
        }
    }

    /// T33
    #[test]
    fn the_program_means_what_the_rules_mean() {
        compare(&Rules::default());
        let none = oci_spec::runtime::LinuxResources::default();
        compare(&Rules::of_container(&none, &[]).unwrap());
        // Every rule of a small world, in sets of five drawn by a fixed sequence.
        let mut world = Vec::new();
        for which in [Which::Any, Which::Block, Which::Char, Which::Block, Which::Char] {
            for (major, minor) in [
                (None, None),
                (Some(1), None),
                (None, Some(3)),
                (Some(1), Some(3)),
                (Some(u32::MAX), Some(3)),
            ] {
                for access in 1..=ALL {
                    for allow in [true, false] {
                        let any = which == Which::Any;
                        world.push(Rule {
                            allow,
                            which,
                            major: major.filter(|_| !any),
                            minor: minor.filter(|_| !any),
                            access: if any { ALL } else { access },
                        });
                    }
                }
            }
        }
        let mut seed = 1u64;
        let mut next = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
            usize::try_from(seed >> 33).unwrap()
        };
        for _ in 0..400 {
            let rules = Rules((0..5).map(|_| world[next() % world.len()]).collect());
            // A number beyond the kernel's is about no device, and these devices have none.
            let rules = Rules(rules.0.into_iter().filter(|r| r.major != Some(u32::MAX)).collect());
            compare(&rules);
        }
    }

    #[test]
    fn a_number_that_no_device_has_matches_none() {
        let rule = Rule {
            allow: true,
            which: Which::Char,
            major: Some(1 << 31),
            minor: None,
            access: ALL,
        };
        let program = assemble(&Rules(vec![rule]));
        assert!(!run(&program, 2, READ, 1, 3));
        assert_eq!(program, assemble(&Rules::default()));
    }
}
