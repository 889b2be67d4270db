//! Options of `docker run` that a jail has not, and what stands in for each: a line that is moved over
//! by replacing its first words may have them, and what clap finds near them means something else.

#![forbid(unsafe_code)]

const LACKING: &[(&[&str], &str)] = &[
    (
        &["--privileged"],
        "a jail never is: give what the job needs, such as --cap-add CAP or -v SRC:DST",
    ),
    (&["--entrypoint"], "a jail has none: write the program first, behind --"),
    (&["--name"], "say --id NAME"),
    (&["-d", "--detach"], "a jail runs in the foreground: let the shell or a service keep it (&)"),
    (
        &["-p", "--publish", "-P", "--publish-all", "--expose"],
        "there are no ports: --network is none or host",
    ),
    (
        &[
            "--ip",
            "--ip6",
            "--dns",
            "--dns-option",
            "--dns-search",
            "--add-host",
            "--link",
            "--net-alias",
            "--network-alias",
            "--mac-address",
        ],
        "there are no networks but none and host",
    ),
    (&["--device", "--device-cgroup-rule", "--gpus"], "a jail gets no devices of the host's"),
    (&["--cpu-quota", "--cpu-period"], "say --cpus N: quota / period"),
    (
        &["--cpu-rt-period", "--cpu-rt-runtime"],
        "a jail gets no realtime scheduling; --cpus N limits it",
    ),
    (
        &["--runtime"],
        "stockade is the runtime; as one of Docker's it is called by docker run --runtime stockade",
    ),
    (&["--restart"], "a jail runs once; let a service manager start it again"),
    (
        &[
            "--memory-reservation",
            "--kernel-memory",
            "--memory-swappiness",
            "--oom-kill-disable",
            "--oom-score-adj",
        ],
        "--memory and --memory-swap limit it",
    ),
    (&["--pid", "--ipc", "--uts", "--cgroupns"], "a jail's are always its own"),
    (&["--sysctl"], "a jail has the kernel's settings of a new namespace"),
    (&["--volumes-from", "--volume-driver", "--storage-opt"], "say -v SRC:DST for each directory"),
    (
        &["--pull", "--platform", "--cidfile", "--isolation", "--disable-content-trust"],
        "there is no image: --rootfs DIR is an unpacked one",
    ),
    (
        &["--log-driver", "--log-opt"],
        "the job's output is the caller's; --result and the audit log tell of the run",
    ),
    (
        &[
            "--health-cmd",
            "--health-interval",
            "--health-retries",
            "--health-timeout",
            "--health-start-period",
            "--no-healthcheck",
        ],
        "a jail has no health checks; --timeout ends what hangs",
    ),
    (
        &["-a", "--attach", "--sig-proxy", "--detach-keys"],
        "the job's streams and signals are the caller's; -i and -t as in Docker",
    ),
    (&["--domainname"], "say --hostname"),
    (&["--label-file"], "say --label KEY=VALUE for each"),
    (
        &[
            "--blkio-weight",
            "--blkio-weight-device",
            "--device-read-bps",
            "--device-write-bps",
            "--device-read-iops",
            "--device-write-iops",
        ],
        "a jail's writable places are in memory: --disk limits them",
    ),
];

/// What to do instead.
pub(super) fn instead(option: &str) -> Option<&'static str> {
    LACKING.iter().find(|(names, _)| names.contains(&option)).map(|(_, hint)| *hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_of_dockers_is_told_what_stands_in_for_it() {
        assert_eq!(instead("--name"), Some("say --id NAME"));
        assert!(instead("--memory").is_none());
        let mut all: Vec<&str> =
            LACKING.iter().flat_map(|(names, _)| names.iter().copied()).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count, "one is there twice");
    }
}
