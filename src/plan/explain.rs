//! A plan as text, for `--explain` and for tests: every line is something that will happen.

#![forbid(unsafe_code)]

use super::detail::NamespaceKind;
use super::values::quote;
use super::{Attrs, BindIds, MountStep, Plan, RootSource, SeccompWhen, caps, rlimits};
use std::fmt;
use std::path::Path;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "id              {}", self.id)?;
        self.namespaces(f)?;
        writeln!(f, "hostname        {}", quote(&self.hostname))?;
        self.limits(f)?;
        self.process(f)?;
        self.file_system(f)
    }
}

fn path(p: &Path) -> String {
    quote(&p.to_string_lossy())
}

fn or_none<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "unlimited".to_owned(), |v| v.to_string())
}

fn attrs(a: Attrs) -> String {
    let mut words = vec![if a.read_only { "ro" } else { "rw" }];
    for (on, word) in [(a.no_suid, "nosuid"), (a.no_dev, "nodev"), (a.no_exec, "noexec")] {
        if on {
            words.push(word);
        }
    }
    words.join(",")
}

impl Plan {
    fn namespaces(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "namespaces      {}", self.namespace_names().join(" "))?;
        match &self.namespaces.user {
            Some(user) => {
                for (what, maps) in [("uid map", &user.uids), ("gid map", &user.gids)] {
                    for m in maps {
                        writeln!(
                            f,
                            "{what:<15} {} inside is {} outside, {} ids",
                            m.inside, m.outside, m.count
                        )?;
                    }
                }
            }
            None => writeln!(f, "user namespace  the caller's: ids inside are ids outside")?,
        }
        let network = if self.namespaces.network { "none (only lo)" } else { "host" };
        writeln!(f, "network         {network}")?;
        for device in &self.details.net_devices {
            let (name, new) = (quote(&device.name), quote(&device.new_name));
            writeln!(f, "net device      {name} moved in as {new}")?;
        }
        Ok(())
    }

    /// Names of the new namespaces, as /proc/PID/ns has them.
    #[must_use]
    pub fn namespace_names(&self) -> Vec<&'static str> {
        let mut names = vec!["mnt"];
        names.extend(
            [NamespaceKind::Pid, NamespaceKind::Ipc, NamespaceKind::Uts, NamespaceKind::Cgroup]
                .into_iter()
                .filter(|kind| self.is_new(*kind))
                .map(NamespaceKind::name),
        );
        let n = &self.namespaces;
        for (on, name) in [(n.user.is_some(), "user"), (n.network, "net"), (n.time, "time")] {
            if on {
                names.push(name);
            }
        }
        names
    }

    fn limits(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let r = &self.resources;
        let s = &self.supervision;
        writeln!(f, "memory          {} bytes", or_none(r.memory))?;
        writeln!(f, "memory+swap     {} bytes", or_none(r.memory_swap))?;
        writeln!(f, "cpus            {} us per 100 ms", or_none(r.cpu_quota_us))?;
        if let Some(shares) = r.cpu_shares {
            writeln!(f, "cpu shares      {shares}")?;
        }
        if let Some(list) = &r.cpuset {
            writeln!(f, "cpuset          {list}")?;
        }
        writeln!(f, "processes       {}", or_none(r.pids))?;
        writeln!(f, "wall time       {}", or_none(s.wall.map(|d| format!("{d:?}"))))?;
        writeln!(f, "cpu time        {}", or_none(s.cpu.map(|d| format!("{d:?}"))))?;
        writeln!(f, "output          {} bytes a stream", or_none(s.output))?;
        if let Some(pool) = &self.pool {
            let inodes = or_none(pool.inodes);
            writeln!(f, "disk            {} bytes, {inodes} inodes", pool.size)?;
        }
        let list: Vec<String> = self
            .process
            .rlimits
            .iter()
            .map(|r| {
                let show =
                    |v: u64| if v == rlimits::UNLIMITED { "inf".to_owned() } else { v.to_string() };
                format!("{}={}:{}", rlimits::name(r.resource), show(r.soft), show(r.hard))
            })
            .collect();
        writeln!(f, "ulimits         {}", list.join(" "))
    }

    fn process(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let p = &self.process;
        let quoted = |list: &[String]| list.iter().map(|s| quote(s)).collect::<Vec<_>>().join(" ");
        writeln!(f, "command         {}", quoted(&p.argv))?;
        writeln!(f, "directory       {}", quote(&p.cwd))?;
        writeln!(f, "environment     {}", quoted(&p.env))?;
        let groups = match &p.groups {
            Some(groups) => format!("{groups:?}"),
            None => "the caller's (they cannot be dropped)".to_owned(),
        };
        writeln!(f, "user            {}:{} groups {groups}", p.uid, p.gid)?;
        let names = caps::names(p.caps.bounding);
        let kept = if names.is_empty() { "none".to_owned() } else { names.join(" ") };
        writeln!(f, "capabilities    {kept}")?;
        writeln!(f, "no_new_privs    {}", p.no_new_privs)?;
        let when = match p.seccomp.when {
            SeccompWhen::Last => "loaded last",
            SeccompWhen::BeforeDroppingCaps => "loaded before the capabilities go",
        };
        let size = p.seccomp.filter.len();
        writeln!(f, "seccomp         {}, {size} instructions, {when}", quote(&p.seccomp.name))?;
        writeln!(f, "landlock        {}", self.landlock_in_words())?;
        writeln!(f, "init            {}", p.init)?;
        writeln!(f, "terminal        {}", p.terminal)
    }

    fn landlock_in_words(&self) -> String {
        let Some(l) = &self.landlock else { return "not used".to_owned() };
        let parts = [
            (l.fs, "writing outside of what is writable"),
            (l.net, "TCP"),
            (l.scoped, "abstract sockets and signals out of the jail"),
        ];
        let denied: Vec<&str> = parts.iter().filter(|(n, _)| *n != 0).map(|(_, s)| *s).collect();
        format!("ABI {}, denies {}", l.abi, denied.join(", "))
    }

    fn file_system(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = if self.root.read_only { "read-only" } else { "writable" };
        match &self.root.source {
            RootSource::Pool => writeln!(f, "root            host view, {mode}")?,
            RootSource::Directory(dir) => {
                let ids = if self.root.idmap { ", id-mapped" } else { "" };
                writeln!(f, "root            {}, {mode}{ids}", path(dir))?;
            }
        }
        for step in &self.steps {
            match step {
                MountStep::Filesystem { fstype, options, target, attrs: a } => {
                    let options: Vec<String> = options
                        .iter()
                        .map(|(k, v)| v.as_ref().map_or_else(|| k.clone(), |v| format!("{k}={v}")))
                        .collect();
                    writeln!(
                        f,
                        "  mount         {fstype} on {} ({}) {}",
                        path(target),
                        attrs(*a),
                        options.join(",")
                    )?;
                }
                MountStep::Bind { source, target, attrs: a, ids, optional, .. } => {
                    let ids = match ids {
                        BindIds::Plain => String::new(),
                        BindIds::Same => ", ids as on disk".to_owned(),
                        BindIds::OwnerIs(uid, gid) => format!(", its owner is {uid}:{gid} inside"),
                    };
                    let there = if *optional { ", if there" } else { "" };
                    writeln!(
                        f,
                        "  bind          {} on {} ({}{ids}{there})",
                        path(source),
                        path(target),
                        attrs(*a)
                    )?;
                }
                MountStep::PoolDir { target, mode, attrs: a, .. } => {
                    writeln!(f, "  tmpfs         {} mode {mode:o} ({})", path(target), attrs(*a))?;
                }
                MountStep::Directory { target, mode } => {
                    writeln!(f, "  directory     {} mode {mode:o}", path(target))?;
                }
                MountStep::File { target, mode, contents } => {
                    writeln!(
                        f,
                        "  file          {} mode {mode:o}, {} bytes",
                        path(target),
                        contents.len()
                    )?;
                }
                MountStep::Mount(m) => {
                    writeln!(f, "  mount         {:?} on {}", m.source, path(&m.target))?;
                }
                MountStep::Device(d) => {
                    writeln!(f, "  device        {} {}:{}", path(&d.target), d.major, d.minor)?;
                }
                MountStep::WorkingDirectory { target } => {
                    writeln!(f, "  directory     {} if missing", path(target))?;
                }
                MountStep::Symlink { target, to, .. } => {
                    writeln!(f, "  symlink       {} to {}", path(target), path(to))?;
                }
                MountStep::Mask { target } => writeln!(f, "  mask          {}", path(target))?,
                MountStep::Remount { target } | MountStep::ReadOnly { target } => {
                    writeln!(f, "  read-only     {}", path(target))?;
                }
            }
        }
        Ok(())
    }
}
