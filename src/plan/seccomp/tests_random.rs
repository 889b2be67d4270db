//! Random profiles against a second, naive reading of the rules: no tables, no ranges, no BPF.
#![forbid(unsafe_code)]

use oci_spec::runtime::{
    Arch as OciArch, LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg,
    LinuxSeccompArgBuilder, LinuxSeccompOperator as Op, LinuxSyscall,
};

use super::interpret::check;
use super::syscalls::{Abi, X32_BIT};
use super::tests::{Asked, KILL_PROCESS, err};
use super::*;

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

const VALUES: [u64; 12] = [
    0,
    1,
    2,
    5,
    0x7fff_ffff,
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
const ACTIONS: [Action; 5] = [
    Action::ScmpActAllow,
    Action::ScmpActErrno,
    Action::ScmpActKillProcess,
    Action::ScmpActTrap,
    Action::ScmpActLog,
];
/// Many neighbours, some calls of i386 only, one that nobody has.
const NAMES: [&str; 20] = [
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
    "mseal",
    "chown32",
    "waitpid",
    "unshare",
    "fchmodat2",
    "nonesuch",
];

fn profile(random: &mut Random) -> LinuxSeccomp {
    let mut spec = LinuxSeccomp::default();
    spec.set_default_action(random.pick(&ACTIONS));
    if spec.default_action() == Action::ScmpActErrno && random.below(3) == 0 {
        spec.set_default_errno_ret(Some(38));
    }
    let arches = [OciArch::ScmpArchX86, OciArch::ScmpArchX32, OciArch::ScmpArchX86_64];
    let listed: Vec<OciArch> = arches.into_iter().filter(|_| random.below(2) == 0).collect();
    spec.set_architectures(Some(listed));
    // One call gets conditional rules of one action only, so that overlaps have no order to test:
    // `order` has tests of its own.
    let conditional = random.pick(&ACTIONS);
    let mut rules = Vec::new();
    for _ in 0..random.below(12) {
        let mut rule = LinuxSyscall::default();
        let names = (0..=random.below(5)).map(|_| random.pick(&NAMES).to_owned()).collect();
        rule.set_names(names);
        rule.set_action(random.pick(&ACTIONS));
        if random.below(2) == 0 {
            rule.set_action(conditional);
            let args = (0..=random.below(3)).map(|_| {
                LinuxSeccompArgBuilder::default()
                    .index(random.below(6))
                    .op(random.pick(&OPS))
                    .value(random.pick(&VALUES))
                    .value_two(random.pick(&VALUES))
                    .build()
                    .unwrap()
            });
            rule.set_args(Some(args.collect()));
        }
        rules.push(rule);
    }
    spec.set_syscalls(Some(rules));
    spec
}

fn holds(arg: &LinuxSeccompArg, args: &[u64; 6], wide: bool) -> bool {
    let cut = |value: u64| if wide { value } else { value & 0xffff_ffff };
    let (given, value) = (cut(args[arg.index()]), cut(arg.value()));
    match arg.op() {
        Op::ScmpCmpEq => given == value,
        Op::ScmpCmpNe => given != value,
        Op::ScmpCmpLt => given < value,
        Op::ScmpCmpLe => given <= value,
        Op::ScmpCmpGt => given > value,
        Op::ScmpCmpGe => given >= value,
        Op::ScmpCmpMaskedEq => given & value == cut(arg.value_two().unwrap()) & value,
    }
}

fn matches(rule: &LinuxSyscall, args: &[u64; 6], wide: bool) -> bool {
    let conds = rule.args().as_deref().unwrap_or_default();
    let twice = (0..6).any(|index| conds.iter().filter(|cond| cond.index() == index).count() > 1);
    match (conds.is_empty(), twice) {
        (true, _) => true,
        (_, true) => conds.iter().any(|cond| holds(cond, args, wide)),
        (_, false) => conds.iter().all(|cond| holds(cond, args, wide)),
    }
}

/// Unconditional: no conditions, or none that looks at anything.
fn always(rule: &LinuxSyscall) -> bool {
    let conds = rule.args().as_deref().unwrap_or_default();
    let empty = |cond: &LinuxSeccompArg| cond.op() == Op::ScmpCmpMaskedEq && cond.value() == 0;
    let twice = (0..6).any(|index| conds.iter().filter(|cond| cond.index() == index).count() > 1);
    conds.iter().all(empty) || twice && conds.iter().any(empty)
}

/// The verdict, straight from the profile.
fn naive(spec: &LinuxSeccomp, abi: Abi, nr: u32, args: &[u64; 6]) -> u32 {
    let listed = |arch| spec.architectures().iter().flatten().any(|listed| *listed == arch);
    let allowed = match abi {
        Abi::I386 => listed(OciArch::ScmpArchX86),
        Abi::X32 => listed(OciArch::ScmpArchX32),
        _ => true,
    };
    if !allowed {
        return KILL_PROCESS;
    }
    let default = spec.default_action().as_u32(spec.default_errno_ret());
    let all = || spec.syscalls().iter().flatten();
    let named = |rule: &LinuxSyscall| rule.names().iter().any(|name| abi.number(name) == Some(nr));
    let counts = |rule: &&LinuxSyscall| named(rule) && rule.action().as_u32(None) != default;
    let plain = |rule: &&LinuxSyscall| always(rule);
    if let Some(rule) = all().filter(counts).find(plain) {
        return rule.action().as_u32(None);
    }
    let wide = abi != Abi::I386;
    if let Some(rule) = all().filter(counts).find(|rule| matches(rule, args, wide)) {
        return rule.action().as_u32(None);
    }
    let numbers = all().flat_map(|rule| rule.names()).filter_map(|name| abi.number(name));
    let newest = numbers.max().unwrap_or(0);
    let permissive = matches!(spec.default_action(), Action::ScmpActAllow | Action::ScmpActLog);
    if newest > 0 && nr > newest && !permissive {
        return err(libc::ENOSYS);
    }
    default
}

#[test]
fn random_profiles_agree_with_the_naive_reading() {
    let mut random = Random(0x5eed_0f57_0c4a_de01);
    let (mut asked_calls, mut not_default) = (0, 0);
    for round in 0..3000 {
        let spec = profile(&mut random);
        let filter = compile(&spec, Arch::X86_64, &Extra::default()).unwrap();
        check(&filter.instructions);
        let asked = Asked(filter);
        let default = spec.default_action().as_u32(spec.default_errno_ret());
        for _ in 0..40 {
            let abi = random.pick(&[Abi::X86_64, Abi::X86_64, Abi::X32, Abi::I386]);
            let base = if abi == Abi::X32 { X32_BIT } else { 0 };
            let nr = match abi.number(random.pick(&NAMES)) {
                Some(nr) if random.below(4) > 0 => nr,
                _ => base | u32::try_from(random.below(480)).unwrap(),
            };
            let mut args = [0; 6].map(|_: u64| random.pick(&VALUES));
            if abi == Abi::I386 {
                args = args.map(|arg| arg & 0xffff_ffff);
            }
            let want = naive(&spec, abi, nr, &args);
            let got = asked.call(abi, nr, &args);
            assert_eq!(got, want, "round {round}: {abi:?} {nr} {args:x?}\n{spec:#?}");
            asked_calls += 1;
            not_default += usize::from(want != default);
        }
    }
    // The control: the profiles must decide something.
    assert!(asked_calls == 120_000 && not_default > 30_000, "{not_default}");
}

/// `Extra` never makes a verdict laxer, and changes nothing but what lets a call through.
#[test]
fn extra_denials_only_ever_tighten() {
    let mut random = Random(0xdead_beef_0bad_cafe);
    let extra = Extra { restrict_suid_files: true, restrict_namespaces: true, ..Extra::default() };
    let mut tightened = 0;
    for _ in 0..2000 {
        let spec = profile(&mut random);
        let [plain, hard] = [Extra::default(), extra].map(|extra| {
            let filter = compile(&spec, Arch::X86_64, &extra).unwrap();
            check(&filter.instructions);
            Asked(filter)
        });
        for name in ["open", "openat", "clone", "clone3", "unshare", "fchmodat2", "setns", "read"] {
            let args = [0; 6].map(|_: u64| random.pick(&VALUES));
            let (before, after) = (plain.ask(name, &args), hard.ask(name, &args));
            if before != after {
                assert!(rules::is_permissive(before), "{name} {before:#x} -> {after:#x}");
                assert!([err(libc::EPERM), err(libc::ENOSYS)].contains(&after), "{name}");
                tightened += 1;
            }
        }
    }
    assert!(tightened > 500, "{tightened}");
}
