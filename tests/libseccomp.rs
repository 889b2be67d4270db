//! T45: our filters against libseccomp's, as runc drives it, over the same calls.
//!
//! `support/libseccomp.py` compiles with Debian's libseccomp. Both programs are run by the
//! interpreter that the supervisor uses; where they differ on purpose, [`expected`] says so.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};

use oci_spec::runtime::{
    Arch as OciArch, LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg,
    LinuxSeccompArgBuilder, LinuxSeccompOperator as Op, LinuxSyscall,
};
use stockade::plan::seccomp::interpret::{Call, run};
use stockade::plan::seccomp::{Arch, Extra, Instruction, Profile, Target, compile};

// --- The two compilers ------------------------------------------------------------------------

const X86_64: u32 = 0xc000_003e;
const I386: u32 = 0x4000_0003;
const X32_BIT: u32 = 0x4000_0000;

const KILL_THREAD: u32 = libc::SECCOMP_RET_KILL_THREAD;
const KILL_PROCESS: u32 = libc::SECCOMP_RET_KILL_PROCESS;
const ENOSYS: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();

/// A way to make calls.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Abi {
    X86_64,
    I386,
    X32,
}

impl Abi {
    const ALL: [Self; 3] = [Self::X86_64, Self::I386, Self::X32];

    fn arch(self) -> OciArch {
        match self {
            Self::X86_64 => OciArch::ScmpArchX86_64,
            Self::I386 => OciArch::ScmpArchX86,
            Self::X32 => OciArch::ScmpArchX32,
        }
    }

    fn listed(self, spec: &LinuxSeccomp) -> bool {
        self == Self::X86_64 || spec.architectures().iter().flatten().any(|a| *a == self.arch())
    }

    fn audit_arch(self) -> u32 {
        if self == Self::I386 { I386 } else { X86_64 }
    }

    /// What is added to the numbers.
    fn base(self) -> u32 {
        if self == Self::X32 { X32_BIT } else { 0 }
    }
}

/// What libseccomp made of a profile.
struct Reference {
    program: Vec<Instruction>,
    /// Numbers of the names in the profile, by ABI.
    numbers: BTreeMap<String, BTreeMap<String, u32>>,
    /// Indices of rules that it does not take.
    refused: Vec<usize>,
}

impl Reference {
    fn number(&self, abi: Abi, name: &str) -> Option<u32> {
        let own = MULTIPLEXED.iter().find(|own| abi == Abi::I386 && own.0 == name && own.2 > 0);
        own.map(|own| own.2).or_else(|| self.numbers[&abi.arch().to_string()].get(name).copied())
    }

    /// The highest number that the profile names.
    fn newest(&self, spec: &LinuxSeccomp, abi: Abi) -> u32 {
        let names = spec.syscalls().iter().flatten().flat_map(LinuxSyscall::names);
        names.filter_map(|name| self.number(abi, name)).max().unwrap_or(0)
    }

    /// The rules about a call.
    fn rules<'a>(&self, spec: &'a LinuxSeccomp, abi: Abi, nr: u32) -> Vec<&'a LinuxSyscall> {
        let named = |name: &String| self.number(abi, name) == Some(nr);
        let rules = spec.syscalls().iter().flatten();
        rules.filter(|rule| rule.names().iter().any(named)).collect()
    }

    /// Whether the profile names a call that i386 has and x32 has not.
    fn has_i386_only(&self, spec: &LinuxSeccomp) -> bool {
        let mut names = spec.syscalls().iter().flatten().flat_map(LinuxSyscall::names);
        names.any(|name| {
            self.number(Abi::I386, name).is_some() && self.number(Abi::X32, name).is_none()
        })
    }

    /// The rules about calls of i386 that also are sub-calls of this one.
    fn sub_call_rules<'a>(&self, spec: &'a LinuxSeccomp, nr: u32) -> Vec<&'a LinuxSyscall> {
        let named = |name: &String| MULTIPLEXED.iter().any(|sub| sub.0 == name && sub.1 == nr);
        let rules = spec.syscalls().iter().flatten();
        rules.filter(|rule| rule.names().iter().any(named)).collect()
    }
}

/// Whether there is a libseccomp that the helper can use.
fn has_libseccomp() -> bool {
    let probe = "import ctypes; ctypes.CDLL('libseccomp.so.2')";
    let done = Command::new("python3").args(["-c", probe]).stderr(Stdio::null()).status();
    done.is_ok_and(|status| status.success())
}

/// Compiles all profiles by libseccomp.
fn by_libseccomp(specs: &[LinuxSeccomp]) -> Vec<Option<Reference>> {
    let mut child = Command::new("python3")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/libseccomp.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let lines: String =
        specs.iter().map(|spec| serde_json::to_string(spec).unwrap() + "\n").collect();
    let writer = std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success());
    let answers = String::from_utf8(output.stdout).unwrap();
    let made: Vec<_> = answers.lines().map(reference).collect();
    assert_eq!(made.len(), specs.len());
    made
}

fn reference(line: &str) -> Option<Reference> {
    let answer: serde_json::Value = serde_json::from_str(line).unwrap();
    if answer.is_null() {
        return None;
    }
    let hex = answer["program"].as_str().unwrap();
    let bytes: Vec<u8> = (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect();
    let program = bytes
        .chunks_exact(8)
        .map(|one| Instruction {
            code: u16::from_le_bytes([one[0], one[1]]),
            jt: one[2],
            jf: one[3],
            k: u32::from_le_bytes([one[4], one[5], one[6], one[7]]),
        })
        .collect();
    Some(Reference {
        program,
        numbers: serde_json::from_value(answer["numbers"].clone()).unwrap(),
        refused: serde_json::from_value(answer["refused"].clone()).unwrap(),
    })
}

// --- What differs on purpose ------------------------------------------------------------------

/// Calls of i386 that also are sub-calls of `socketcall` or `ipc`, with the number that they have
/// besides; 0: none. libseccomp has pseudo numbers for all of them.
const MULTIPLEXED: [(&str, u32, u32); 32] = [
    ("socket", 102, 359),
    ("socketpair", 102, 360),
    ("bind", 102, 361),
    ("connect", 102, 362),
    ("listen", 102, 363),
    ("accept4", 102, 364),
    ("getsockopt", 102, 365),
    ("setsockopt", 102, 366),
    ("getsockname", 102, 367),
    ("getpeername", 102, 368),
    ("sendto", 102, 369),
    ("sendmsg", 102, 370),
    ("recvfrom", 102, 371),
    ("recvmsg", 102, 372),
    ("shutdown", 102, 373),
    ("recvmmsg", 102, 337),
    ("sendmmsg", 102, 345),
    ("accept", 102, 0),
    ("send", 102, 0),
    ("recv", 102, 0),
    ("semget", 117, 393),
    ("semctl", 117, 394),
    ("shmget", 117, 395),
    ("shmctl", 117, 396),
    ("shmat", 117, 397),
    ("shmdt", 117, 398),
    ("msgget", 117, 399),
    ("msgsnd", 117, 400),
    ("msgrcv", 117, 401),
    ("msgctl", 117, 402),
    ("semop", 117, 0),
    ("semtimedop", 117, 0),
];

/// What we should answer.
#[derive(Debug)]
enum Expected {
    Exactly(u32),
    /// Not libseccomp's answer, for a reason, but one that a rule gives which is about the call;
    /// the default if there is none.
    OneOf(&'static str, BTreeSet<u32>),
}
use Expected::{Exactly, OneOf};

/// What we should answer where libseccomp's program gives `theirs`. All differences that are meant
/// to be are here; whatever else differs fails the test.
fn expected(pair: &Pair, abi: Abi, call: &Call, theirs: u32) -> Expected {
    let Pair { spec, made, default, .. } = pair;
    // 1. A call of an ABI that the profile does not list: libseccomp kills the thread, we the
    //    process, since a program that loses one thread after the other fails in no clear way.
    //    Number -1, with which a tracer skips a call, is not x32's.
    if !abi.listed(spec) {
        if call.nr == u32::MAX {
            return Exactly(theirs);
        }
        assert_eq!(theirs, KILL_THREAD, "libseccomp's action for a wrong architecture");
        return Exactly(KILL_PROCESS);
    }
    // 2. runc puts a stub before libseccomp's program: ENOSYS above the newest call that the
    //    profile names.
    let permissive = [Action::ScmpActAllow, Action::ScmpActLog, Action::ScmpActTrace];
    let stub = !permissive.contains(&spec.default_action());
    let newest = made.newest(spec, abi);
    if stub && newest > 0 && call.nr > newest && theirs == *default {
        return Exactly(ENOSYS);
    }
    // 3. Until Linux 5.4 these numbers of x32 worked without its bit: a way around a rule.
    if abi == Abi::X86_64 && !stub && (512..548).contains(&call.nr) {
        return Exactly(ENOSYS);
    }
    let rules = made.rules(spec, abi, call.nr);
    // 4. i386's multiplexers: libseccomp keeps a rule's conditions for the sub-call, whose
    //    arguments lie behind a pointer or are shifted by one. We stop the sub-call altogether, or
    //    do not let it through. And we see a sub-call of ipc(2) through the version above it.
    if abi == Abi::I386 && [102, 117].contains(&call.nr) {
        let subs = made.sub_call_rules(spec, call.nr);
        if call.nr == 117 && call.args[0] > 0xffff || subs.iter().any(|rule| has_conditions(rule)) {
            let mut any: BTreeSet<u32> = subs.iter().chain(&rules).map(|r| ret(r)).collect();
            any.insert(*default);
            return OneOf("i386 multiplexer", any);
        }
    }
    let said = said(&rules, *default, |rule| matches(rule, &call.args, abi != Abi::I386));
    if said.len() == 1 && said.contains(&theirs) {
        return Exactly(theirs);
    }
    // 5. x32 has 64-bit registers, and the kernel reads all of them for some calls. libseccomp
    //    compares the low halves, we both.
    let conditions = || rules.iter().flat_map(|rule| rule.args().iter().flatten());
    let wide = |value: u64| value > u64::from(u32::MAX);
    let wide_value = |c: &LinuxSeccompArg| {
        let masked = c.op() == Op::ScmpCmpMaskedEq;
        wide(c.value()) || masked && c.value_two().is_some_and(wide)
    };
    let compared = conditions().any(|c| wide_value(c) || wide(call.args[c.index()]));
    if abi == Abi::X32 && compared {
        return OneOf("x32 compared in full", said);
    }
    // 6. Rules of one call, several of which hold and say different things: libseccomp tries
    //    conditions in an order of its own, and so do we; but where there is something in the upper
    //    half of a value or an argument, it is halves that it orders.
    if said.len() > 1 && compared {
        return OneOf("wide values in another order", said);
    }
    // 7. libseccomp 2.5.4 makes one tree of all the rules of a call, and with some that share an
    //    argument the tree is wrong: an answer that no rule gives which holds.
    let several = rules.iter().map(|rule| alternatives(rule)).sum::<usize>() > 1;
    if several && !said.contains(&theirs) {
        return OneOf("wrong tree", said);
    }
    // 8. A call of i386 alone in a profile for x32: libseccomp 2.5.4 puts its pseudo number among
    //    those of x32, and the rule of another call is lost.
    if Abi::X32.listed(spec) && made.has_i386_only(spec) && theirs == *default {
        return OneOf("rule lost to x32", said);
    }
    Exactly(theirs)
}

/// How many rules runc makes of a rule for one of its names.
fn alternatives(rule: &LinuxSyscall) -> usize {
    let conditions = rule.args().as_deref().unwrap_or_default();
    let indices: BTreeSet<usize> = conditions.iter().map(LinuxSeccompArg::index).collect();
    if indices.len() < conditions.len() { conditions.len() } else { 1 }
}

/// The verdicts of the rules that hold; the default if none does.
fn said(
    rules: &[&LinuxSyscall],
    default: u32,
    holds: impl Fn(&LinuxSyscall) -> bool,
) -> BTreeSet<u32> {
    let counts = rules.iter().filter(|rule| ret(rule) != default);
    let mut said: BTreeSet<u32> = counts.filter(|rule| holds(rule)).map(|rule| ret(rule)).collect();
    if said.is_empty() {
        said.insert(default);
    }
    said
}

fn ret(rule: &LinuxSyscall) -> u32 {
    rule.action().as_u32(rule.errno_ret())
}

fn has_conditions(rule: &LinuxSyscall) -> bool {
    rule.args().as_ref().is_some_and(|args| !args.is_empty())
}

/// Whether a condition holds, in plain words.
fn holds(condition: &LinuxSeccompArg, args: &[u64; 6], wide: bool) -> bool {
    let cut = |value: u64| if wide { value } else { value & 0xffff_ffff };
    let (given, value) = (cut(args[condition.index()]), cut(condition.value()));
    match condition.op() {
        Op::ScmpCmpEq => given == value,
        Op::ScmpCmpNe => given != value,
        Op::ScmpCmpLt => given < value,
        Op::ScmpCmpLe => given <= value,
        Op::ScmpCmpGt => given > value,
        Op::ScmpCmpGe => given >= value,
        Op::ScmpCmpMaskedEq => given & value == cut(condition.value_two().unwrap_or(0)) & value,
    }
}

/// Whether a rule is about the call, as runc reads it: an argument that is named twice makes each
/// condition a rule of its own.
fn matches(rule: &LinuxSyscall, args: &[u64; 6], wide: bool) -> bool {
    let conditions = rule.args().as_deref().unwrap_or_default();
    if alternatives(rule) > 1 {
        conditions.iter().any(|condition| holds(condition, args, wide))
    } else {
        conditions.iter().all(|condition| holds(condition, args, wide))
    }
}

// --- Comparing --------------------------------------------------------------------------------

#[derive(Debug, Default)]
struct Seen {
    calls: usize,
    not_default: usize,
    /// Calls that we answer otherwise than libseccomp where we may, by the reason.
    apart: BTreeMap<&'static str, usize>,
    wrong: Vec<String>,
}

struct Pair<'a> {
    spec: &'a LinuxSeccomp,
    made: &'a Reference,
    default: u32,
    ours: Vec<Instruction>,
}

impl<'a> Pair<'a> {
    fn new(spec: &'a LinuxSeccomp, made: &'a Reference) -> Self {
        let ours = compile(spec, Arch::X86_64, &Extra::default()).unwrap().instructions;
        let default = spec.default_action().as_u32(spec.default_errno_ret());
        Self { spec, made, default, ours }
    }

    fn compare(&self, abi: Abi, nr: u32, args: [u64; 6], seen: &mut Seen) {
        let call = Call { nr, arch: abi.audit_arch(), args };
        let ours = run(&self.ours, &call).expect("our program");
        let theirs = run(&self.made.program, &call).expect("libseccomp's program");
        let expected = expected(self, abi, &call, theirs);
        seen.calls += 1;
        seen.not_default += usize::from(ours != self.default);
        let right = match &expected {
            Exactly(want) => ours == *want,
            OneOf(reason, any) => {
                *seen.apart.entry(reason).or_default() += usize::from(ours != theirs);
                any.contains(&ours)
            }
        };
        if !right {
            let rules = self.made.rules(self.spec, abi, nr);
            seen.wrong.push(format!(
                "{abi:?} {nr:#x} {args:x?}: we say {ours:#x}, libseccomp {theirs:#x}, expected \
                 {expected:x?}, default {:#x}, rules {rules:#?}",
                self.default
            ));
        }
    }
}

#[track_caller]
fn all_right(seen: &Seen) {
    let first: Vec<&String> = seen.wrong.iter().take(5).collect();
    assert!(seen.wrong.is_empty(), "{} calls; the first: {first:#?}", seen.wrong.len());
}

// --- Random profiles --------------------------------------------------------------------------

/// xorshift64*, so that a failure repeats.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 8
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next()).unwrap() % limit
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// Few, so that rules and calls meet; halves equal, halves apart, and their neighbours.
const VALUES: [u64; 14] = [
    0,
    1,
    2,
    5,
    6,
    0x7fff_ffff,
    0xffff_fffe,
    0xffff_ffff,
    0x1_0000_0000,
    0x1_0000_0001,
    0x2_0000_0005,
    0xffff_ffff_0000_0000,
    u64::MAX - 1,
    u64::MAX,
];
const OPS: [Op; 7] = [
    Op::ScmpCmpEq,
    Op::ScmpCmpNe,
    Op::ScmpCmpLt,
    Op::ScmpCmpLe,
    Op::ScmpCmpGt,
    Op::ScmpCmpGe,
    Op::ScmpCmpMaskedEq,
];
const ACTIONS: [(Action, Option<u32>); 9] = [
    (Action::ScmpActAllow, None),
    (Action::ScmpActErrno, None),
    (Action::ScmpActErrno, Some(38)),
    (Action::ScmpActErrno, Some(0)),
    (Action::ScmpActKillProcess, None),
    (Action::ScmpActKillThread, None),
    (Action::ScmpActTrap, None),
    (Action::ScmpActLog, None),
    (Action::ScmpActTrace, Some(7)),
];
/// Neighbours, multiplexed calls of i386, calls that only i386 has, others with a number of their
/// own on x32, and one that nobody has.
const NAMES: [&str; 24] = [
    "read",
    "write",
    "open",
    "close",
    "stat",
    "fstat",
    "lstat",
    "poll",
    "getpid",
    "ioctl",
    "execve",
    "openat",
    "clone",
    "clone3",
    "futex_waitv",
    "chown32",
    "waitpid",
    "unshare",
    "socket",
    "sendmsg",
    "shmget",
    "semctl",
    "ptrace",
    "nonesuch",
];

fn profile(random: &mut Random) -> LinuxSeccomp {
    let mut spec = LinuxSeccomp::default();
    let default = random.pick(&ACTIONS);
    spec.set_default_action(default.0);
    spec.set_default_errno_ret(default.1);
    let listed = [OciArch::ScmpArchX86, OciArch::ScmpArchX32, OciArch::ScmpArchX86_64];
    let listed = listed.into_iter().filter(|_| random.below(2) == 0).collect();
    spec.set_architectures(Some(listed));
    // Few names at a time, so that several rules are about one call.
    let names: Vec<&str> = (0..=random.below(5) + 2).map(|_| random.pick(&NAMES)).collect();
    let rules = (0..=random.below(8)).map(|_| {
        let mut rule = LinuxSyscall::default();
        let chosen = (0..=random.below(2)).map(|_| random.pick(&names).to_owned());
        rule.set_names(chosen.collect());
        let action = random.pick(&ACTIONS);
        rule.set_action(action.0);
        rule.set_errno_ret(action.1);
        if random.below(5) > 0 {
            rule.set_args(Some((0..=random.below(3)).map(|_| condition(random)).collect()));
        }
        rule
    });
    spec.set_syscalls(Some(rules.collect()));
    spec
}

fn condition(random: &mut Random) -> LinuxSeccompArg {
    LinuxSeccompArgBuilder::default()
        .index(random.below(3))
        .op(random.pick(&OPS))
        .value(random.pick(&VALUES))
        .value_two(random.pick(&VALUES))
        .build()
        .unwrap()
}

/// runc takes no profile that contradicts itself. We do, and the first rule holds.
fn without(mut spec: LinuxSeccomp, refused: &[usize]) -> LinuxSeccomp {
    let rules = spec.syscalls().iter().flatten().enumerate();
    let left = rules.filter(|(at, _)| !refused.contains(at)).map(|(_, rule)| rule.clone());
    spec.set_syscalls(Some(left.collect()));
    spec
}

#[test]
fn t45_random_rules_give_libseccomps_verdicts() {
    if !has_libseccomp() {
        skip!("no libseccomp.so.2 for python3");
    }
    let mut random = Random(0x5eed_0f57_0c4a_de01);
    let specs: Vec<LinuxSeccomp> = (0..3000).map(|_| profile(&mut random)).collect();
    let references = by_libseccomp(&specs);
    let pairs: Vec<(LinuxSeccomp, Reference)> = specs
        .into_iter()
        .zip(references)
        .filter_map(|(spec, made)| made.map(|made| (without(spec, &made.refused), made)))
        .collect();
    let rules: usize = pairs.iter().flat_map(|pair| pair.0.syscalls()).map(Vec::len).sum();
    let mut seen = Seen::default();
    for (spec, made) in &pairs {
        let pair = Pair::new(spec, made);
        let rules = spec.syscalls().iter().flatten();
        let names: Vec<&str> = rules.flat_map(LinuxSyscall::names).map(String::as_str).collect();
        for _ in 0..40 {
            let abi = random.pick(&Abi::ALL);
            let named = names.get(random.below(names.len().max(1)));
            let number = named.and_then(|name| made.number(abi, name));
            let mut args = [0; 6].map(|_: u64| random.pick(&VALUES));
            let nr = match (number, random.below(8)) {
                (Some(nr), 2..) => nr,
                (_, 1) if abi == Abi::I386 => random.pick(&[102, 117]),
                _ => abi.base() | u32::try_from(random.below(560)).unwrap(),
            };
            if abi == Abi::I386 {
                args = args.map(|arg| arg & 0xffff_ffff);
                if [102, 117].contains(&nr) && random.below(4) > 0 {
                    args[0] = u64::try_from(random.below(30)).unwrap();
                }
            }
            pair.compare(abi, nr, args, &mut seen);
        }
    }
    all_right(&seen);
    println!("{rules} rules, {} calls, otherwise: {:?}", seen.calls, seen.apart);
    // The controls: many rules, which decide; and nearly all verdicts are libseccomp's.
    assert!(rules > 10_000 && seen.calls > 100_000, "{rules} rules, {} calls", seen.calls);
    assert!(seen.not_default > seen.calls / 3, "{}", seen.not_default);
    assert!(seen.apart.values().sum::<usize>() < seen.calls / 20, "{:?}", seen.apart);
}

// --- Docker's profile and ours ----------------------------------------------------------------

/// Values of the conditions, and what is near them.
fn values_near(spec: &LinuxSeccomp) -> Vec<u64> {
    let rules = spec.syscalls().iter().flatten();
    let conditions = rules.flat_map(|rule| rule.args().iter().flatten());
    let given = conditions.flat_map(|c| [c.value(), c.value_two().unwrap_or(0)]);
    let near = |v: u64| [v, v.wrapping_add(1), v.wrapping_sub(1), v ^ 1 << 32, v | 0x1000_0000];
    given.chain(VALUES).flat_map(near).collect::<BTreeSet<u64>>().into_iter().collect()
}

/// Every number of every ABI, each with arguments around those that the profile tests.
fn every_call(json: &[u8], architectures: &[OciArch]) {
    let mut random = Random(0xd0c0_0d0c_5eed_0002);
    let profile = Profile::parse(json).unwrap();
    // Without capabilities, as the jail; Docker's default; everything.
    let resolved: Vec<LinuxSeccomp> = [0, 0xa804_25fb, u64::MAX]
        .iter()
        .map(|caps| {
            let target = Target { arch: Arch::X86_64, caps: *caps, kernel: (6, 1) };
            let mut spec = profile.resolve(&target).unwrap();
            if !architectures.is_empty() {
                spec.set_architectures(Some(architectures.to_vec()));
            }
            spec
        })
        .collect();
    // Names that this libseccomp is too old for are taken out for both.
    let first = by_libseccomp(&resolved);
    let known: Vec<LinuxSeccomp> =
        resolved.into_iter().zip(first).map(|(spec, made)| known(spec, &made.unwrap())).collect();
    for (spec, made) in known.iter().zip(by_libseccomp(&known)) {
        let made = made.unwrap();
        assert!(made.refused.is_empty());
        let values = values_near(spec);
        let pair = Pair::new(spec, &made);
        let mut seen = Seen::default();
        for abi in Abi::ALL {
            for number in 0..600 {
                let nr = abi.base() | number;
                let tested = made.rules(spec, abi, nr).iter().any(|rule| has_conditions(rule));
                for _ in 0..if tested { 400 } else { 4 } {
                    let mut args = [0; 6].map(|_: u64| random.pick(&values));
                    if abi == Abi::I386 || abi == Abi::X32 && random.below(2) == 0 {
                        args = args.map(|arg| arg & 0xffff_ffff);
                    }
                    pair.compare(abi, nr, args, &mut seen);
                }
            }
        }
        if !Abi::X32.listed(spec) {
            pair.compare(Abi::X32, u32::MAX, [0; 6], &mut seen);
        }
        all_right(&seen);
        println!("{} calls, otherwise: {:?}", seen.calls, seen.apart);
        assert!(seen.not_default > 500, "{}", seen.not_default);
        assert!(seen.apart.values().sum::<usize>() < seen.calls / 100, "{:?}", seen.apart);
    }
}

/// The profile with the names only that libseccomp knows for some ABI.
fn known(mut spec: LinuxSeccomp, made: &Reference) -> LinuxSeccomp {
    let known = |name: &String| Abi::ALL.iter().any(|abi| made.number(*abi, name).is_some());
    let mut rules = Vec::new();
    let (mut left_out, mut kept) = (0, 0);
    for rule in spec.syscalls().iter().flatten() {
        let (names, others): (Vec<String>, Vec<String>) =
            rule.names().iter().cloned().partition(known);
        left_out += others.len();
        kept += names.len();
        if !names.is_empty() {
            let mut rule = rule.clone();
            rule.set_names(names);
            rules.push(rule);
        }
    }
    assert!(left_out < kept / 5, "{left_out} names unknown to libseccomp, {kept} known");
    spec.set_syscalls(Some(rules));
    spec
}

#[test]
fn t45_dockers_profile_gives_libseccomps_verdicts() {
    if !has_libseccomp() {
        skip!("no libseccomp.so.2 for python3");
    }
    let found = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/docker-profile"))
        .arg(env!("CARGO_TARGET_TMPDIR"))
        .output()
        .unwrap();
    if !found.status.success() {
        skip!("no profile of Docker's: {}", String::from_utf8_lossy(&found.stderr));
    }
    let path = String::from_utf8(found.stdout).unwrap();
    every_call(&std::fs::read(path.trim_end()).unwrap(), &[]);
}

#[test]
fn t45_the_jails_profile_gives_libseccomps_verdicts() {
    if !has_libseccomp() {
        skip!("no libseccomp.so.2 for python3");
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/profiles/seccomp-default.json");
    let json = std::fs::read(path).unwrap();
    every_call(&json, &[]);
    every_call(&json, &[OciArch::ScmpArchX86, OciArch::ScmpArchX32]);
}
