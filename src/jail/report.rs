//! The outcome of a run, put together from what the host side saw.

#![forbid(unsafe_code)]

use super::Jail;
use crate::error::Error;
use crate::host::launch::Launched;
use crate::host::pump::Output;
use crate::host::reason;
use crate::host::supervise::{Ended, Streams};
use crate::outcome::{Data, Isolation, Landlock, Outcome, Status, Stream, Timings};
use crate::plan::{Plan, RootSource};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

impl Jail {
    pub(super) fn outcome(
        &mut self,
        plan: &Plan,
        launched: &mut Launched,
        streams: &mut Streams<'_>,
        mut ended: Ended,
        began: Instant,
    ) -> Outcome {
        let counted = ended.counted;
        let shmem = counted.oom_kills.filter(|n| *n > 0).and_then(|_| launched.cgroup.shmem());
        let verdict = reason::judge(plan, &ended, &counted, shmem);
        let isolation = isolation(plan, launched);
        // From here on the tmpfs may go, and with it the last pages; then the cgroup.
        ended.pool_fd = None;
        launched.cgroup.remove();
        let stream = |o: &mut Output| Stream {
            bytes: o.bytes,
            truncated: o.truncated || o.failed.is_some(),
            data: o.take_captured().map(Data::new),
        };
        let ms = |d: Duration| (d.as_secs_f64() * 1e6).round() / 1e3;
        let us = |n: u64| Duration::from_micros(n);
        let run = ended.finished - ended.started;
        Outcome {
            schema: crate::outcome::SCHEMA,
            id: plan.id.clone(),
            labels: std::mem::take(&mut self.labels),
            status: verdict.status,
            exit_code: verdict.exit_code,
            signal: verdict.signal,
            reason: verdict.reason,
            wall_ms: ms(run),
            cpu_user_ms: Some(ms(us(counted.cpu_user_us.unwrap_or(ended.exit.utime_us)))),
            cpu_sys_ms: Some(ms(us(counted.cpu_sys_us.unwrap_or(ended.exit.stime_us)))),
            memory_peak_bytes: counted.memory_peak,
            oom_kills: counted.oom_kills,
            pids_peak: counted.pids_peak,
            limits_hit: verdict.limits_hit,
            denied_syscalls: ended.denied,
            stdout: stream(&mut streams.stdout),
            stderr: stream(&mut streams.stderr),
            isolation,
            timings_ms: Timings {
                setup: ms(ended.started.saturating_duration_since(began)),
                run: ms(run),
                teardown: ms(ended.finished.elapsed()),
            },
            audit_error: None,
        }
    }

    /// The outcome of a run that did not come about.
    #[must_use]
    pub fn setup_failed(error: &Error, id: &str, labels: BTreeMap<String, String>) -> Outcome {
        Outcome {
            schema: crate::outcome::SCHEMA,
            id: id.to_owned(),
            labels,
            status: Status::SetupFailed,
            exit_code: Some(i32::from(error.exit_code())),
            signal: None,
            reason: match error.hint_text() {
                Some(hint) => format!("{error}; {hint}"),
                None => error.to_string(),
            },
            wall_ms: 0.0,
            cpu_user_ms: None,
            cpu_sys_ms: None,
            memory_peak_bytes: None,
            oom_kills: None,
            pids_peak: None,
            limits_hit: Vec::new(),
            denied_syscalls: None,
            stdout: Stream::default(),
            stderr: Stream::default(),
            isolation: Isolation::default(),
            timings_ms: Timings::default(),
            audit_error: None,
        }
    }
}

fn isolation(plan: &Plan, launched: &Launched) -> Isolation {
    let lines = |maps: &[crate::plan::ids::IdMap]| {
        maps.iter().map(|m| format!("{}:{}:{}", m.inside, m.outside, m.count)).collect()
    };
    let user = plan.namespaces.user.as_ref();
    let mut limits: BTreeMap<&'static str, u64> = launched.cgroup.limits.iter().copied().collect();
    if let Some(pool) = &plan.pool {
        limits.insert("disk", pool.size);
    }
    let millis = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
    let s = &plan.supervision;
    for (name, value) in [
        ("output", s.output),
        ("timeout_ms", s.wall.map(millis)),
        ("cpu_time_ms", s.cpu.map(millis)),
    ] {
        if let Some(value) = value {
            limits.insert(name, value);
        }
    }
    let mut degraded = launched.cgroup.missing.clone();
    if plan.process.groups.is_none() {
        degraded.push("the caller's supplementary groups could not be dropped".to_owned());
    }
    Isolation {
        namespaces: plan.namespace_names(),
        uid_map: user.map(|u| lines(&u.uids)),
        gid_map: user.map(|u| lines(&u.gids)),
        rootfs: match &plan.root.source {
            RootSource::Pool => "host-view".to_owned(),
            RootSource::Directory(dir) => dir.to_string_lossy().into_owned(),
        },
        read_only_root: plan.root.read_only,
        network: if plan.namespaces.network { "none" } else { "host" },
        cgroup: launched.cgroup.version(),
        limits,
        seccomp: (!plan.process.seccomp.filter.is_empty())
            .then(|| plan.process.seccomp.name.clone()),
        landlock: plan.landlock.as_ref().map(|l| Landlock {
            abi: l.abi,
            fs: l.fs != 0,
            tcp: l.net != 0,
            scopes: l.scoped != 0,
        }),
        no_new_privs: plan.process.no_new_privs,
        capabilities: crate::plan::caps::names(plan.process.caps.bounding),
        degraded,
    }
}
