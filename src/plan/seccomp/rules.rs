//! What a profile means: for every call of one ABI, which verdict under which arguments.
//!
//! OCI profiles are written for runc with libseccomp, so their rules are ours:
//! * a rule whose action is the default action does nothing;
//! * a name that the ABI does not have is skipped;
//! * a rule that names one argument twice is several rules, any of which may match (runc keeps
//!   this for old profiles, `seccomp_linux.go`);
//! * an unconditional rule beats every conditional one for the same call, and the first
//!   unconditional rule beats later ones;
//! * overlapping conditions are tried in libseccomp's order (`_db_chain_lt`), not in the
//!   profile's: see [`order`];
//! * above the newest call that the profile names, the answer is ENOSYS, so that a program falls
//!   back to an older call instead of giving up on EPERM (runc 1.0.0-rc93) - unless the default
//!   lets calls through or is ENOSYS already.
#![forbid(unsafe_code)]

use std::cmp::Ordering;

use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSeccompOperator as Op,
};

use super::SeccompError;
use super::syscalls::{Abi, i386_multiplexed};

/// What a filter returns to the kernel: `SECCOMP_RET_*` with its data.
pub(super) type Ret = u32;

pub(super) const ENOSYS: Ret = errno(libc::ENOSYS);
pub(super) const EPERM: Ret = errno(libc::EPERM);

pub(super) const fn errno(number: i32) -> Ret {
    libc::SECCOMP_RET_ERRNO | number.unsigned_abs()
}

/// Whether the call happens. TRACE counts: a tracer decides, and it expects to see the call.
pub(super) const fn is_permissive(ret: Ret) -> bool {
    matches!(
        ret & libc::SECCOMP_RET_ACTION_FULL,
        libc::SECCOMP_RET_ALLOW | libc::SECCOMP_RET_LOG | libc::SECCOMP_RET_TRACE
    )
}

/// A test of one argument.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Cond {
    pub(super) arg: u8,
    pub(super) test: Test,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Test {
    /// `argument & mask == value`; plain equality has all bits in the mask.
    Masked {
        mask: u64,
        value: u64,
    },
    Ne(u64),
    Lt(u64),
    Le(u64),
    Ge(u64),
    Gt(u64),
    /// `argument & mask != 0`. Not in OCI: for the denials of `harden.rs`.
    AnyBit(u64),
}

impl Test {
    pub(super) const fn eq(value: u64) -> Self {
        Self::Masked { mask: u64::MAX, value }
    }
}

/// All conditions hold: the verdict is `ret`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Rule {
    pub(super) conds: Vec<Cond>,
    pub(super) ret: Ret,
}

/// The first rule that matches decides; if none does, `otherwise`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Verdict {
    pub(super) rules: Vec<Rule>,
    pub(super) otherwise: Ret,
}

impl Verdict {
    pub(super) const fn always(ret: Ret) -> Self {
        Self { rules: Vec::new(), otherwise: ret }
    }
}

/// All verdicts of one ABI.
#[derive(Debug)]
pub(super) struct Table {
    /// Sorted by number, no number twice.
    pub(super) calls: Vec<(u32, Verdict)>,
    pub(super) default: Ret,
    /// From this number on the verdict is `tail` and no longer `default`.
    pub(super) tail_from: u32,
    pub(super) tail: Ret,
}

impl Table {
    /// The verdict for a call that has no entry.
    pub(super) const fn unlisted(&self, number: u32) -> Ret {
        if number >= self.tail_from { self.tail } else { self.default }
    }
}

/// One entry of the profile's `syscalls`, checked, before it is looked at for an ABI.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    names: &'a [String],
    /// Empty: unconditional. Otherwise a list of alternatives.
    any_of: Vec<Vec<Cond>>,
    ret: Ret,
}

/// Checks the profile's rules, once for all ABIs. Returns the default verdict and the entries.
pub(super) fn read(spec: &LinuxSeccomp) -> Result<(Ret, Vec<Entry<'_>>), SeccompError> {
    let default =
        ret_of(spec.default_action(), spec.default_errno_ret(), || "defaultAction".into())?;
    let mut entries = Vec::with_capacity(spec.syscalls().as_ref().map_or(0, Vec::len));
    for (at, call) in spec.syscalls().iter().flatten().enumerate() {
        let item = || format!("syscalls[{at}] ({:?})", call.names().first().map_or("", |n| n));
        if call.names().iter().all(String::is_empty) {
            return Err(SeccompError::NoName(at));
        }
        let ret = ret_of(call.action(), call.errno_ret(), item)?;
        let args = call.args().as_deref().unwrap_or_default();
        entries.push(Entry { names: call.names(), any_of: alternatives(args, item)?, ret });
    }
    Ok((default, entries))
}

/// Builds the table of one ABI.
pub(super) fn table(abi: Abi, default: Ret, entries: &[Entry]) -> Table {
    // A reference per name and rule; sorted by number, the profile's order kept within a number.
    let mut found: Vec<(u32, Found)> = Vec::with_capacity(512);
    let mut newest = 0;
    for entry in entries {
        for name in entry.names {
            let number = abi.number(name);
            newest = newest.max(number.unwrap_or(0));
            if entry.ret == default {
                continue;
            }
            if let Some(number) = number {
                found.push((number, Found::Entry(entry)));
            }
            if abi == Abi::I386 {
                found.extend(multiplexed(name, entry));
            }
        }
    }
    found.sort_by_key(|item| item.0);

    let mut calls: Vec<(u32, Verdict)> = Vec::with_capacity(found.len());
    for group in found.chunk_by(|a, b| a.0 == b.0) {
        calls.push((group[0].0, verdict(group, default)));
    }
    // As runc: no stub for a profile that names no call (or only number 0) of this ABI.
    let stub = newest > 0 && !is_permissive(default);
    let tail = if stub { ENOSYS } else { default };
    Table { calls, default, tail_from: newest + 1, tail }
}

/// What the profile says about one number.
enum Found<'a> {
    Entry(&'a Entry<'a>),
    /// A rule for a sub-call of a multiplexer.
    Rule(Rule),
}

fn verdict(group: &[(u32, Found)], default: Ret) -> Verdict {
    let mut rules: Vec<Rule> = Vec::new();
    for (_, found) in group {
        match found {
            Found::Entry(entry) if entry.any_of.is_empty() => return Verdict::always(entry.ret),
            Found::Entry(entry) => {
                let rule = |conds: &Vec<Cond>| Rule { conds: conds.clone(), ret: entry.ret };
                rules.extend(entry.any_of.iter().map(rule));
            }
            Found::Rule(rule) => rules.push(rule.clone()),
        }
    }
    rules.sort_by(|a, b| order(&a.conds, &b.conds));
    Verdict { rules, otherwise: default }
}

/// i386 programs reach sockets and System V IPC also through `socketcall` and `ipc`, whose first
/// argument is the sub-call; a rule on `socket` must hold there too. The other arguments lie
/// behind a pointer (or are shifted by one), where a filter cannot look. So a conditional rule that
/// lets calls through is not carried over, and one that stops calls stops the sub-call altogether:
/// never laxer than the profile. (libseccomp keeps the conditions, and compares wrong values.)
fn multiplexed(name: &str, entry: &Entry) -> Option<(u32, Found<'static>)> {
    let (multiplexer, sub_call) = i386_multiplexed(name)?;
    let permissive = is_permissive(entry.ret);
    if permissive && !entry.any_of.is_empty() {
        return None;
    }
    // ipc(2) ignores the upper 16 bits of the sub-call (a version), so a stop must as well.
    let mask = if permissive || multiplexer == "socketcall" { u64::MAX } else { 0xffff };
    let test = Test::Masked { mask, value: u64::from(sub_call) };
    let rule = Rule { conds: vec![Cond { arg: 0, test }], ret: entry.ret };
    Some((Abi::I386.number(multiplexer)?, Found::Rule(rule)))
}

/// The order in which libseccomp tries overlapping conditions, whatever the order in the profile:
/// higher argument numbers first, then equality before LT/LE before GT/GE, then the narrower
/// bound. Of two rules one of which begins like the other, the shorter one. (Where something lies
/// in the upper half of a value or an argument, libseccomp orders halves, and contradicting rules
/// may come out otherwise: tests/libseccomp.rs.)
fn order(a: &[Cond], b: &[Cond]) -> Ordering {
    for (a, b) in a.iter().zip(b) {
        let (a_key, b_key) = (order_key(a), order_key(b));
        if a_key != b_key {
            return b_key.cmp(&a_key);
        }
    }
    a.len().cmp(&b.len())
}

/// Greater is tried earlier.
fn order_key(cond: &Cond) -> (u8, u8, u64) {
    let (class, datum) = match cond.test {
        Test::Masked { value, .. } | Test::Ne(value) => (3, value),
        Test::Lt(value) | Test::Le(value) => (2, !value),
        Test::Ge(value) | Test::Gt(value) => (1, value),
        Test::AnyBit(mask) => (0, mask),
    };
    (cond.arg, class, datum)
}

/// The conditions of a rule, sorted by argument as libseccomp stores them. No alternatives mean
/// that the rule is unconditional; so it is if a condition that holds always is all there is
/// (`MASKED_EQ` with an empty mask, as libseccomp sees it).
fn alternatives(
    args: &[LinuxSeccompArg],
    item: impl Fn() -> String,
) -> Result<Vec<Vec<Cond>>, SeccompError> {
    let mut conds = Vec::with_capacity(args.len());
    for arg in args {
        let index = u8::try_from(arg.index()).ok().filter(|index| *index < 6);
        let Some(index) = index else {
            return Err(SeccompError::ArgIndex { item: item(), index: arg.index() });
        };
        conds.push(Cond { arg: index, test: test_of(arg) });
    }
    conds.sort_by_key(|cond| cond.arg);
    let twice = conds.windows(2).any(|pair| pair[0].arg == pair[1].arg);
    let count = conds.len();
    conds.retain(|cond| !matches!(cond.test, Test::Masked { mask: 0, .. }));
    Ok(match (twice, conds.len()) {
        (_, 0) => Vec::new(),
        (true, left) if left < count => Vec::new(),
        (true, _) => conds.into_iter().map(|cond| vec![cond]).collect(),
        (false, _) => vec![conds],
    })
}

/// `valueTwo` counts for `MASKED_EQ` only, where `value` is the mask; other operators ignore it as
/// libseccomp does (Docker writes a 0 there).
fn test_of(arg: &LinuxSeccompArg) -> Test {
    let value = arg.value();
    match arg.op() {
        Op::ScmpCmpEq => Test::eq(value),
        Op::ScmpCmpNe => Test::Ne(value),
        Op::ScmpCmpLt => Test::Lt(value),
        Op::ScmpCmpLe => Test::Le(value),
        Op::ScmpCmpGt => Test::Gt(value),
        Op::ScmpCmpGe => Test::Ge(value),
        Op::ScmpCmpMaskedEq => {
            Test::Masked { mask: value, value: arg.value_two().unwrap_or(0) & value }
        }
    }
}

/// runtime-spec, seccomp: an errno for an action that takes none MUST be an error.
fn ret_of(
    action: Action,
    errno: Option<u32>,
    item: impl Fn() -> String,
) -> Result<Ret, SeccompError> {
    let max = match action {
        // The kernel cuts a larger errno down to MAX_ERRNO.
        Action::ScmpActErrno => 4095,
        Action::ScmpActTrace => libc::SECCOMP_RET_DATA,
        _ if errno.is_some() => return Err(SeccompError::ErrnoNotTaken { item: item(), action }),
        _ => 0,
    };
    match errno {
        Some(value) if value > max => {
            Err(SeccompError::ErrnoTooLarge { item: item(), action, value, max })
        }
        // Without an errno: EPERM, also for TRACE, as runc.
        _ => Ok(action.as_u32(errno)),
    }
}
