//! Tests of `profiles/seccomp-default.json` and of `Extra`, by row of the security properties.
#![forbid(unsafe_code)]

use super::interpret::check;
use super::syscalls::{Abi, X32_BIT};
use super::tests::{ALLOW, Asked, KILL_PROCESS, err, filter_of};
use super::*;

fn embedded(arch: Arch, caps: u64, extra: &Extra) -> Asked {
    let target = Target { arch, caps, kernel: (6, 1) };
    let spec = Profile::embedded().resolve(&target).unwrap();
    let filter = compile(&spec, arch, extra).unwrap();
    check(&filter.instructions);
    Asked(filter)
}

fn jail() -> Asked {
    embedded(Arch::X86_64, 0, &Extra::default())
}

#[test]
fn the_embedded_profile_is_small_and_names_only_known_calls() {
    for arch in [Arch::X86_64, Arch::Aarch64] {
        let asked = embedded(arch, u64::MAX, &Extra::default());
        assert_eq!(asked.0.warnings, [""; 0]);
        assert_eq!(asked.0.flags, 0);
        assert!(asked.0.instructions.len() < 300, "{}", asked.0.instructions.len());
    }
}

/// Also T22 (pidfd_getfd, kcmp) and T31 (the new mount API).
#[test]
fn h33_kernel_surface_calls_are_denied() {
    let denied = "keyctl add_key request_key bpf perf_event_open userfaultfd io_uring_setup \
        io_uring_enter io_uring_register mount umount2 pivot_root open_tree move_mount fsopen \
        fsconfig fsmount fspick mount_setattr kexec_load kexec_file_load init_module \
        finit_module delete_module create_module query_module open_by_handle_at pidfd_getfd kcmp \
        process_madvise quotactl quotactl_fd acct swapon swapoff settimeofday clock_settime reboot \
        iopl ioperm vhangup fanotify_init lookup_dcookie setns unshare ptrace process_vm_readv \
        process_vm_writev memfd_secret name_to_handle_at chroot syslog modify_ldt uselib ustat \
        sysfs _sysctl nfsservctl get_mempolicy set_mempolicy mbind move_pages migrate_pages \
        sethostname setdomainname lsm_set_self_attr";
    let asked = jail();
    for name in denied.split_whitespace() {
        assert_eq!(asked.ask(name, &[]), err(libc::EPERM), "{name}");
    }
    for name in ["open_tree_attr", "file_getattr", "file_setattr"] {
        assert_eq!(asked.ask(name, &[]), err(libc::ENOSYS), "{name} is newer than the profile");
    }
    let arm = embedded(Arch::Aarch64, 0, &Extra::default());
    for name in denied.split_whitespace() {
        if let Some(nr) = Abi::Aarch64.number(name) {
            assert_eq!(arm.call(Abi::Aarch64, nr, &[]), err(libc::EPERM), "{name}");
        }
    }
}

#[test]
fn h33_the_jail_s_own_denials_hold_with_all_capabilities() {
    let asked = embedded(Arch::X86_64, u64::MAX, &Extra::default());
    let denied = "keyctl add_key request_key bpf perf_event_open userfaultfd io_uring_setup \
        kexec_load init_module finit_module open_by_handle_at name_to_handle_at ptrace \
        process_vm_readv process_vm_writev memfd_secret iopl ioperm acct swapon";
    for name in denied.split_whitespace() {
        assert_eq!(asked.ask(name, &[]), err(libc::EPERM), "{name}");
    }
    for name in ["mount", "fsopen", "setns", "chroot", "clock_settime", "kcmp", "clone3"] {
        assert_eq!(asked.ask(name, &[]), ALLOW, "{name}");
    }
    assert_eq!(asked.ask("clone", &[0x1000_0000]), ALLOW);
}

#[test]
fn h33_personality_takes_the_plain_values_only() {
    let asked = jail();
    for value in [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff] {
        assert_eq!(asked.ask("personality", &[value]), ALLOW, "{value:#x}");
    }
    // ADDR_NO_RANDOMIZE, READ_IMPLIES_EXEC, MMAP_PAGE_ZERO, and a mix.
    for value in [0x004_0000, 0x040_0000, 0x010_0000, 0x004_0008, 1, 0x0400_0000] {
        assert_eq!(asked.ask("personality", &[value]), err(libc::EPERM), "{value:#x}");
        let high = value | 1 << 32;
        assert_eq!(asked.ask("personality", &[high]), err(libc::EPERM), "{high:#x}");
    }
}

#[test]
fn h35_clone_makes_threads_but_no_namespace() {
    let asked = jail();
    let pthread = 0x003d_0f00; // what glibc's pthread_create passes
    let posix_spawn = 0x4100 | 17; // CLONE_VM | CLONE_VFORK | SIGCHLD
    for flags in [pthread, posix_spawn, 17, 0x80] {
        assert_eq!(asked.ask("clone", &[flags]), ALLOW, "{flags:#x}");
    }
    for bit in [17, 25, 26, 27, 28, 29, 30] {
        let flags = 17 | 1 << bit;
        assert_eq!(asked.ask("clone", &[flags]), err(libc::EPERM), "{flags:#x}");
        assert_eq!(asked.ask("clone", &[flags | 1 << 40]), err(libc::EPERM), "{flags:#x}");
    }
    assert_eq!(asked.ask("clone3", &[]), err(libc::ENOSYS));
    for name in ["fork", "vfork", "execve", "rseq", "set_robust_list", "futex", "prctl"] {
        assert_eq!(asked.ask(name, &[]), ALLOW, "{name}");
    }
}

#[test]
fn h36_t32_calls_of_another_architecture_kill_the_process() {
    let asked = jail();
    for abi in [Abi::I386, Abi::Aarch64, Abi::Arm] {
        for name in ["read", "openat", "socket", "getpid"] {
            assert_eq!(asked.ask_abi(abi, name, &[]), KILL_PROCESS, "{abi:?} {name}");
        }
    }
    for nr in [0, 41, 257, 520] {
        assert_eq!(asked.call(Abi::X86_64, X32_BIT | nr, &[]), KILL_PROCESS, "x32 {nr}");
    }
    let arm = embedded(Arch::Aarch64, 0, &Extra::default());
    assert_eq!(arm.ask_abi(Abi::Aarch64, "openat", &[]), ALLOW);
    assert_eq!(arm.ask_abi(Abi::Arm, "openat", &[]), KILL_PROCESS);
}

/// Also T32: AF_ALG.
#[test]
fn h37_socket_families_are_an_allow_list() {
    let asked = jail();
    let (stream, dgram, raw, packet, seqpacket) = (1, 2, 3, 10, 5);
    let flags = 0x8_0800; // SOCK_CLOEXEC | SOCK_NONBLOCK
    for args in [[1, stream, 0], [1, seqpacket, 0], [2, stream, 6], [2, dgram, 17], [10, stream, 0]]
    {
        assert_eq!(asked.ask("socket", &args), ALLOW, "{args:?}");
        assert_eq!(asked.ask("socket", &[args[0], args[1] | flags, args[2]]), ALLOW, "{args:?}");
    }
    // NETLINK_ROUTE, for getifaddrs; the type does not matter.
    assert_eq!(asked.ask("socket", &[16, raw | flags, 0]), ALLOW);
    for protocol in (1..=22).chain([1 << 32 | 9]) {
        assert_eq!(asked.ask("socket", &[16, raw, protocol]), err(1), "netlink {protocol}");
    }
    // The kernel reads an int, so bits above do not make another family of it.
    for family in (0..64).filter(|family| ![1, 2, 10, 16].contains(family)) {
        for high in [0, 1 << 32, 0xffff_ffff << 32] {
            for kind in [stream, dgram, raw, seqpacket] {
                let args = [family | high, kind, 0];
                assert_eq!(asked.ask("socket", &args), err(1), "{args:x?}");
            }
        }
    }
    assert_eq!(asked.ask("socket", &[2, raw, 1]), err(1));
    assert_eq!(asked.ask("socket", &[2, packet, 768]), err(1), "becomes AF_PACKET");
    assert_eq!(asked.ask("socket", &[2, packet | 1 << 32, 768]), err(1));
    assert_eq!(asked.ask("socketpair", &[1, stream, 0]), ALLOW);
    assert_eq!(asked.ask("socketpair", &[30, stream, 0]), err(1), "AF_TIPC");
    let net_raw = embedded(Arch::X86_64, 1 << 13, &Extra::default());
    assert_eq!(net_raw.ask("socket", &[2, raw, 1]), ALLOW);
    assert_eq!(net_raw.ask("socket", &[17, raw, 768]), err(1));
}

#[test]
fn t30_tiocsti_and_tioclinux_are_denied_on_their_low_32_bits() {
    let asked = jail();
    for command in [0x5412, 0x541c] {
        for high in [0, 1 << 32, 1 << 63, 0xffff_ffff << 32] {
            let verdict = asked.ask("ioctl", &[0, command | high]);
            assert_eq!(verdict, err(libc::EIO), "{command:#x} {high:#x}");
        }
    }
    // TCGETS, TIOCGWINSZ, FIONREAD, neighbours, and TIOCGPTN sign-extended as musl passes it.
    for command in [0, 0x5401, 0x5411, 0x5413, 0x541b, 0x541d, 0x8004_5430, 0xffff_ffff_8004_5430] {
        assert_eq!(asked.ask("ioctl", &[0, command]), ALLOW, "{command:#x}");
    }
}

#[test]
fn what_programs_need_is_allowed() {
    let needed = "read write openat openat2 close mmap mprotect munmap brk rt_sigaction \
        rt_sigprocmask rt_sigreturn clock_gettime nanosleep epoll_create1 epoll_ctl \
        epoll_pwait epoll_pwait2 eventfd2 inotify_init1 inotify_add_watch timerfd_create \
        memfd_create rseq membarrier sched_getaffinity sched_setaffinity sched_yield prlimit64 \
        statx getrandom landlock_create_ruleset landlock_add_rule landlock_restrict_self seccomp \
        prctl futex futex_waitv mseal cachestat map_shadow_stack execve execveat wait4 waitid \
        pipe2 dup3 fcntl flock getdents64 renameat2 linkat symlinkat unlinkat fchmodat fchmodat2 \
        copy_file_range sendfile splice accept4 bind connect sendmmsg recvmmsg setsockopt \
        signalfd4 sysinfo uname getrusage setsid setpgid kill tgkill pidfd_open \
        pidfd_send_signal close_range faccessat2 newfstatat readlinkat utimensat mremap madvise \
        mincore set_tid_address sigaltstack getcpu restart_syscall exit exit_group";
    for (arch, abi) in [(Arch::X86_64, Abi::X86_64), (Arch::Aarch64, Abi::Aarch64)] {
        let asked = embedded(arch, 0, &Extra::default());
        for name in needed.split_whitespace() {
            assert_eq!(asked.ask_abi(abi, name, &[]), ALLOW, "{abi:?} {name}");
        }
    }
    assert_eq!(jail().ask("arch_prctl", &[0x1002]), ALLOW);
}

const SUID: Extra = Extra {
    restrict_suid_files: true,
    restrict_file_caps: false,
    restrict_namespaces: false,
    computation: None,
};

fn no_suid_files(asked: &Asked, abi: Abi) {
    const O_CREAT: u64 = 0o100;
    const O_TMPFILE: u64 = 0o20_200_000;
    let maybe = |name: &str, args: &[u64]| abi.number(name).map(|nr| asked.call(abi, nr, args));
    let cases: [(&str, &[u64], usize); 7] = [
        ("chmod", &[7, 0], 1),
        ("fchmod", &[7, 0], 1),
        ("fchmodat", &[7, 7, 0], 2),
        ("fchmodat2", &[7, 7, 0, 0], 2),
        ("mknod", &[7, 0, 0], 1),
        ("mknodat", &[7, 7, 0, 0], 2),
        ("creat", &[7, 0], 1),
    ];
    for (name, args, mode_at) in cases {
        for (mode, denied) in [
            (0o755, false),
            (0o1777, false),
            (0o10_0644, false),
            (0o4755, true),
            (0o2755, true),
            (0o6000, true),
            (0o10_4644, true),
            (0o4755 | 1 << 32, true),
        ] {
            let mut args = args.to_vec();
            args[mode_at] = mode;
            let want = if denied { err(libc::EPERM) } else { ALLOW };
            let verdict = maybe(name, &args);
            assert!(verdict.is_none_or(|verdict| verdict == want), "{abi:?} {name} {mode:#o}");
        }
    }
    for (flags, mode, denied) in [
        (0, 0o4755, false), // the mode is not read
        (O_CREAT, 0o755, false),
        (O_CREAT | 1, 0o4755, true),
        (O_CREAT | 1, 0o2755, true),
        (O_TMPFILE | 2, 0o4700, true),
        (O_TMPFILE | 2, 0o700, false),
        (0o200_000, 0o4700, false), // O_DIRECTORY alone
        (O_CREAT | 1 << 32, 0o4755 | 1 << 40, true),
    ] {
        let want = if denied { err(libc::EPERM) } else { ALLOW };
        for verdict in [maybe("open", &[7, flags, mode]), maybe("openat", &[7, 7, flags, mode])] {
            assert!(verdict.is_none_or(|verdict| verdict == want), "{abi:?} {flags:#o} {mode:#o}");
        }
    }
    assert_eq!(maybe("openat2", &[]), Some(err(libc::ENOSYS)));
    assert!(maybe("io_uring_setup", &[]).is_some_and(|verdict| verdict != ALLOW));
}

#[test]
fn restrict_suid_files_holds_on_the_default_profile() {
    no_suid_files(&embedded(Arch::X86_64, 0, &SUID), Abi::X86_64);
    no_suid_files(&embedded(Arch::Aarch64, 0, &SUID), Abi::Aarch64);
}

#[test]
fn restrict_suid_files_holds_on_an_unconfined_job_in_every_abi() {
    for (arch, abis) in [
        (Arch::X86_64, &[Abi::X86_64, Abi::I386, Abi::X32][..]),
        (Arch::Aarch64, &[Abi::Aarch64, Abi::Arm]),
    ] {
        let filter = compile(&unconfined(arch), arch, &SUID).unwrap();
        check(&filter.instructions);
        let asked = Asked(filter);
        for abi in abis {
            no_suid_files(&asked, *abi);
            for name in ["mount", "ptrace", "clone3", "unshare", "mseal"] {
                assert_eq!(asked.ask_abi(*abi, name, &[]), ALLOW, "{abi:?} {name}");
            }
        }
    }
}

#[test]
fn restrict_suid_files_leaves_a_stricter_profile_alone() {
    let json = r#"{ "defaultAction": "SCMP_ACT_KILL_PROCESS", "syscalls": [
        { "names": ["openat2", "fchmod"], "action": "SCMP_ACT_TRAP" },
        { "names": ["chmod"], "action": "SCMP_ACT_ALLOW",
          "args": [{ "index": 0, "value": 5, "op": "SCMP_CMP_EQ" }] },
        { "names": ["chmod"], "action": "SCMP_ACT_TRAP",
          "args": [{ "index": 0, "value": 6, "op": "SCMP_CMP_EQ" }] }] }"#;
    let target = Target { arch: Arch::X86_64, caps: 0, kernel: (6, 1) };
    let asked = Asked(filter_of(json, &target, &SUID).unwrap());
    let trap = libc::SECCOMP_RET_TRAP;
    for (name, args, want) in [
        ("openat2", [0, 0], trap),
        ("fchmod", [0, 0o4755], trap),
        ("creat", [0, 0o4755], KILL_PROCESS),
        ("chmod", [5, 0o755], ALLOW),
        ("chmod", [5, 0o4755], err(libc::EPERM)),
        ("chmod", [6, 0o4755], trap),
        ("chmod", [7, 0o4755], KILL_PROCESS),
        ("chmod", [7, 0o755], KILL_PROCESS),
    ] {
        assert_eq!(asked.ask(name, &args), want, "{name} {args:?}");
    }
}

#[test]
fn h40_restrict_namespaces_holds_whatever_the_profile_allows() {
    let extra = Extra { restrict_suid_files: false, restrict_namespaces: true, ..Extra::default() };
    for asked in [
        Asked(compile(&unconfined(Arch::X86_64), Arch::X86_64, &extra).unwrap()),
        embedded(Arch::X86_64, u64::MAX, &extra),
    ] {
        for bit in [17, 25, 26, 27, 28, 29, 30] {
            assert_eq!(asked.ask("clone", &[17 | 1 << bit]), err(libc::EPERM), "{bit}");
            assert_eq!(asked.ask("unshare", &[1 << bit]), err(libc::EPERM), "{bit}");
        }
        assert_eq!(asked.ask("unshare", &[0x80]), err(libc::EPERM), "CLONE_NEWTIME");
        assert_eq!(asked.ask("unshare", &[0x400]), ALLOW, "CLONE_FILES");
        assert_eq!(asked.ask("clone", &[0x003d_0f00]), ALLOW, "a thread");
        assert_eq!(asked.ask("clone3", &[]), err(libc::ENOSYS));
        assert_eq!(asked.ask("setns", &[]), err(libc::EPERM));
        assert_eq!(asked.ask("mount", &[]), ALLOW);
    }
}
