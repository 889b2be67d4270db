//! Denials that stockade adds on top of any profile (`Extra`).
//!
//! Each is "strictest wins": where the condition holds and the profile would let the call
//! through, it is denied; where the profile already stops it, the profile's answer stays.
#![forbid(unsafe_code)]

use oci_spec::runtime::{Arch as OciArch, LinuxSeccomp, LinuxSeccompAction};

use super::profile::oci_arch;
use super::rules::{Cond, ENOSYS, EPERM, Ret, Rule, Table, Test, Verdict, is_permissive};
use super::syscalls::Abi;
use super::{Arch, Computation, Extra};

/// Arguments are C ints here (`mode_t`, open flags), of which the kernel reads the low 32 bits:
/// all masks below lie there, so bits set above do not matter.
const S_ISUID_S_ISGID: u64 = 0o6000;
/// `O_CREAT` and `__O_TMPFILE`, the flags that make open(2) read its mode. Both have the same
/// value on x86 and ARM, unlike `O_DIRECTORY`, which is also in C's `O_TMPFILE`.
const O_CREAT_TMPFILE: u64 = 0o100 | 0o20_000_000;
/// The `CLONE_NEW*` flags that clone(2) knows. `CLONE_NEWTIME` (0x80) is not among them: in
/// clone(2) that bit belongs to the exit signal.
const CLONE_NEW: u64 = 0x7e02_0000;
const UNSHARE_NEW: u64 = CLONE_NEW | 0x80;

/// A call, the bits that must not be set in which arguments (empty: any call), and the answer.
type Denial = (&'static str, &'static [(u8, u64)], Ret);

/// As systemd's `RestrictSUIDSGID=`: a job that shares a uid with the host could leave a setuid
/// file in a volume, for another user of the host to run.
const SUID_FILES: [Denial; 11] = [
    ("chmod", &[(1, S_ISUID_S_ISGID)], EPERM),
    ("fchmod", &[(1, S_ISUID_S_ISGID)], EPERM),
    ("fchmodat", &[(2, S_ISUID_S_ISGID)], EPERM),
    ("fchmodat2", &[(2, S_ISUID_S_ISGID)], EPERM),
    ("mknod", &[(1, S_ISUID_S_ISGID)], EPERM),
    ("mknodat", &[(2, S_ISUID_S_ISGID)], EPERM),
    ("creat", &[(1, S_ISUID_S_ISGID)], EPERM),
    ("open", &[(1, O_CREAT_TMPFILE), (2, S_ISUID_S_ISGID)], EPERM),
    ("openat", &[(2, O_CREAT_TMPFILE), (3, S_ISUID_S_ISGID)], EPERM),
    // The mode lies behind a pointer. C libraries fall back to openat on ENOSYS.
    ("openat2", &[], ENOSYS),
    // IORING_OP_OPENAT takes a mode too, and a filter does not see what the ring does (5.6).
    ("io_uring_setup", &[], ENOSYS),
];

const EOPNOTSUPP: Ret = libc::SECCOMP_RET_ERRNO | 95;

/// Through an id-mapped mount root of a user namespace is the owner of what is on disk, and the
/// capabilities that it gives a file are good for the host: another user there could run it. As on a
/// file system without attributes, which programs that copy files are prepared for.
const FILE_CAPABILITIES: [Denial; 4] = [
    ("setxattr", &[], EOPNOTSUPP),
    ("lsetxattr", &[], EOPNOTSUPP),
    ("fsetxattr", &[], EOPNOTSUPP),
    ("setxattrat", &[], EOPNOTSUPP),
];

const NAMESPACES: [Denial; 4] = [
    ("clone", &[(0, CLONE_NEW)], EPERM),
    // The flags lie behind a pointer. glibc falls back to clone on ENOSYS, but not on EPERM.
    ("clone3", &[], ENOSYS),
    ("unshare", &[(0, UNSHARE_NEW)], EPERM),
    ("setns", &[], EPERM),
];

/// No further program. The first execve, the job's own start, is denied as well: the supervisor
/// lets it through by count, since nothing that a filter sees tells it from the next one.
const PROGRAMS: [Denial; 2] = [("execve", &[], EPERM), ("execveat", &[], EPERM)];

/// No process: without CLONE_THREAD clone(2) makes one.
const PROCESSES: [Denial; 5] = [
    ("fork", &[], EPERM),
    ("vfork", &[], EPERM),
    // The flags lie behind a pointer. glibc falls back to clone on ENOSYS, but not on EPERM.
    ("clone3", &[], ENOSYS),
    ("setns", &[], EPERM),
    // In a user namespace of its own it would be root, and could mount what it can write to.
    ("unshare", &[], EPERM),
];
const CLONE_THREAD: u64 = 0x1_0000;

/// No socket, no file that is not of the file system, and nothing that does either elsewhere.
const CHANNELS: [Denial; 18] = [
    ("socket", &[], EPERM),
    ("socketpair", &[], EPERM),
    ("socketcall", &[], EPERM),
    ("connect", &[], EPERM),
    ("bind", &[], EPERM),
    ("listen", &[], EPERM),
    ("accept", &[], EPERM),
    ("accept4", &[], EPERM),
    ("memfd_create", &[], EPERM),
    ("memfd_secret", &[], EPERM),
    ("io_uring_setup", &[], EPERM),
    ("mq_open", &[], EPERM),
    ("ipc", &[], EPERM),
    ("shmget", &[], EPERM),
    // A user of the host has 128 of the first two, in all jails together.
    ("inotify_init", &[], EPERM),
    ("inotify_init1", &[], EPERM),
    ("fanotify_init", &[], EPERM),
    ("io_setup", &[], EPERM),
];

/// Adds the denials that `extra` asks for.
pub(super) fn harden(table: &mut Table, abi: Abi, extra: &Extra) {
    let suid = extra.restrict_suid_files.then_some(&SUID_FILES[..]);
    let caps = extra.restrict_file_caps.then_some(&FILE_CAPABILITIES[..]);
    let namespaces = extra.restrict_namespaces.then_some(&NAMESPACES[..]);
    let computing = extra.computation.map(|_| [&PROGRAMS[..], &PROCESSES, &CHANNELS]);
    let computing = computing.into_iter().flatten();
    for (name, bits, ret) in
        suid.into_iter().chain(caps).chain(namespaces).chain(computing).flatten()
    {
        let when: Vec<Cond> =
            bits.iter().map(|(arg, bits)| Cond { arg: *arg, test: Test::AnyBit(*bits) }).collect();
        deny(table, abi, name, &when, *ret);
    }
    match extra.computation {
        None => {}
        Some(Computation { threads: false }) => deny(table, abi, "clone", &[], EPERM),
        Some(Computation { threads: true }) => {
            let process = Test::Masked { mask: CLONE_THREAD, value: 0 };
            deny(table, abi, "clone", &[Cond { arg: 0, test: process }], EPERM);
        }
    }
}

fn deny(table: &mut Table, abi: Abi, name: &str, when: &[Cond], ret: Ret) {
    let Some(number) = abi.number(name) else { return };
    let at = match table.calls.binary_search_by_key(&number, |call| call.0) {
        Ok(at) => at,
        Err(at) => {
            let unlisted = Verdict::always(table.unlisted(number));
            table.calls.insert(at, (number, unlisted));
            at
        }
    };
    deny_when(&mut table.calls[at].1, when, ret);
}

/// Makes `verdict` answer `deny` where `when` holds and it would let the call through.
fn deny_when(verdict: &mut Verdict, when: &[Cond], deny: Ret) {
    let strict = |ret| if is_permissive(ret) { deny } else { ret };
    let rules = &mut verdict.rules;
    if when.is_empty() {
        for rule in rules.iter_mut() {
            rule.ret = strict(rule.ret);
        }
        verdict.otherwise = strict(verdict.otherwise);
        return;
    }
    if rules.iter().all(|rule| !is_permissive(rule.ret)) && !is_permissive(verdict.otherwise) {
        return;
    }
    // The profile's rules once more under `when`, made strict, and then as they were.
    let last = strict(verdict.otherwise);
    let mut both: Vec<Rule> = Vec::with_capacity(2 * rules.len() + 1);
    if rules.iter().any(|rule| strict(rule.ret) != last) {
        both.extend(rules.iter().map(|rule| Rule {
            conds: when.iter().chain(&rule.conds).copied().collect(),
            ret: strict(rule.ret),
        }));
    }
    both.push(Rule { conds: when.to_vec(), ret: last });
    both.append(rules);
    *rules = both;
}

/// A profile that allows everything, in every ABI of the machine: for `seccomp=unconfined`
/// together with an [`Extra`]. Without the other ABIs, 32-bit programs would be killed.
#[must_use]
pub fn unconfined(native: Arch) -> LinuxSeccomp {
    let others: &[OciArch] = match native {
        Arch::X86_64 => &[OciArch::ScmpArchX86, OciArch::ScmpArchX32],
        Arch::Aarch64 => &[OciArch::ScmpArchArm],
    };
    let mut spec = LinuxSeccomp::default();
    spec.set_default_action(LinuxSeccompAction::ScmpActAllow);
    spec.set_architectures(Some([&[oci_arch(native)], others].concat()));
    spec
}
