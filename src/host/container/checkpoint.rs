//! Saving a running container to files, by criu.

#![forbid(unsafe_code)]

use super::criu_options::{CgroupsMode, CheckpointOptions, CriuOptions};
use super::state::{CONFIG, Container, Saved, Status};
use super::store::Entry;
use super::{cgroups, delete, externals};
use crate::error::{Error, Kind, Result};
use crate::host::arm;
use crate::host::cgroup::container as cgroup;
use crate::host::criu::{Criu, Directory, Fields, Log, Needs, Streams, Verb, opt};
use crate::plan::detail::NamespaceKind;
use crate::plan::oci::{self, outside::outside, spec::Config};
use crate::plan::values::quote;
use crate::sys::{cred, fs, io};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The file, runc's, which tells what the standard streams were. It is there only with complete images.
pub(super) const STREAMS: &str = "descriptors.json";

/// As much as criu tells.
const LOG_LEVEL: i32 = 4;

/// Saves it. What comes back are warnings: poststop hooks that failed.
pub(crate) fn checkpoint(
    container: &Container,
    mut options: CheckpointOptions,
) -> Result<Vec<String>> {
    only_root("checkpoint")?;
    let entry = container.entry()?.lock()?;
    let saved = Saved::read(&entry)?;
    let init = saved.init()?;
    let status = container.state_of(saved.clone(), init.is_some()).status;
    let (Status::Running | Status::Paused, Some(init)) = (status, init) else {
        // runc's words.
        return Err(Error::new(
            Kind::InvalidConfig,
            format!("Container cannot be checkpointed in {status} state"),
        )
        .hint("start it first"));
    };
    let config = oci::parse(&entry.read(CONFIG)?)?;
    own_mounts(&config)?;
    let has_users = saved.namespaces.iter().any(|n| n == NamespaceKind::User.name());
    let dirs = Directories::make(&options, has_users)?;
    let cgroup = cgroups::open(&saved)?;
    let fields = fields(&saved, &config, &options, &dirs, &init, cgroup.as_ref())?;
    let criu = Criu::start(Streams::Kept, &[], None)?;
    criu.check(Needs {
        mem_track: options.pre_dump,
        lazy_pages: options.criu.lazy_pages,
        label: false,
    })?;
    let verb = if options.pre_dump { Verb::PreDump } else { Verb::Dump };
    if verb == Verb::Dump {
        dirs.images.remove(STREAMS)?;
        let streams = serde_json::to_vec(&saved.streams).unwrap_or_default();
        dirs.images.write(STREAMS, &streams)?;
    }
    let mut ready = options.ready.take();
    let mut notified = |script: &str, _: Option<i32>, _: Option<OwnedFd>| match script {
        "status-ready" => ready.take().map_or(Ok(()), |fd| {
            io::write_whole(fd.as_fd(), &[0])
                .map_err(|e| Error::os("say that lazy pages can be asked for", e))
        }),
        _ => Ok(()),
    };
    let done = criu.work(verb, &fields, dirs.log(), &mut notified).and_then(|_| {
        match criu.finish()? {
            // After a pre-dump it waits for another one, and takes our end for a failure.
            0 => Ok(()),
            _ if verb == Verb::PreDump => Ok(()),
            status => Err(Error::new(Kind::Os, format!("criu ended with the status {status:#x}"))),
        }
    });
    if let Err(e) = done {
        if verb == Verb::Dump {
            // Half-made images are not to be restored.
            let _ = dirs.images.remove(STREAMS);
        }
        if status == Status::Running {
            // Whatever has become of criu, the container goes on.
            let _ = super::thaw(&saved);
        }
        return Err(e);
    }
    if options.leave_running || options.pre_dump {
        return Ok(Vec::new());
    }
    remove(&entry, &saved, &init)
}

fn remove(entry: &Entry, saved: &Saved, init: &OwnedFd) -> Result<Vec<String>> {
    delete::end(saved, init)?;
    delete::remove(entry, saved)
}

/// criu reads and writes what ordinary users may not, and so may nobody in a user namespace.
pub(super) fn only_root(verb: &str) -> Result<()> {
    if cred::euid() == 0 && !super::in_user_namespace() {
        return Ok(());
    }
    Err(Error::new(
        Kind::Permission,
        format!("{verb} needs root of the host: criu can do it for nobody else"),
    )
    .hint("run it as root, outside of user namespaces"))
}

/// What criu would dump and mount of a foreign mount namespace is not the container's.
///
/// # Errors
/// It is one.
pub(super) fn own_mounts(config: &Config) -> Result<()> {
    let namespaces = config.linux.iter().flat_map(|l| &l.namespaces);
    if namespaces.clone().any(|n| n.kind == "mount" && n.path.as_os_str().is_empty()) {
        return Ok(());
    }
    let text = "a container without a mount namespace of its own cannot be saved or restored";
    Err(Error::new(Kind::Unsupported, text).hint("give it a new one in linux.namespaces"))
}

struct Directories {
    images: Directory,
    work: Option<Directory>,
}

impl Directories {
    fn make(options: &CheckpointOptions, for_others: bool) -> Result<Directories> {
        let images = Directory::make(&options.criu.images, "the image directory", for_others)?;
        if let Some(parent) = &options.parent {
            if parent.is_absolute() {
                return Err(Error::new(Kind::InvalidConfig, "--parent-path must be relative")
                    .hint(
                        "it counts from the image directory, also when they are moved together",
                    ));
            }
            images
                .relative(parent, "the directory of earlier images")
                .map_err(|e| e.context("invalid --parent-path"))?;
        }
        let make = |path: &Path| Directory::make(path, "the work directory", false);
        let work = options.criu.work.as_deref().map(make).transpose()?;
        Ok(Directories { images, work })
    }

    fn log(&self) -> Log<'_> {
        Log { dir: self.work.as_ref().unwrap_or(&self.images), name: "dump.log" }
    }
}

/// What a dump and a restore are told alike, the directories by our numbers of them.
pub(super) fn common(
    options: &CriuOptions,
    config: &Config,
    (images, work): (i32, Option<i32>),
    log: &str,
) -> Fields {
    let mode = match options.cgroups {
        CgroupsMode::Ignore => 0,
        CgroupsMode::Soft => 3,
        CgroupsMode::Full => 4,
        CgroupsMode::Strict => 5,
        CgroupsMode::Default => 6,
    };
    let mut fields = Fields::default();
    fields
        .int(opt::IMAGES_DIR_FD, images)
        .int(opt::LOG_LEVEL, LOG_LEVEL)
        .text(opt::LOG_FILE, log)
        .bool(opt::NOTIFY_SCRIPTS, true)
        .bool(opt::MANAGE_CGROUPS, true)
        .int(opt::MANAGE_CGROUPS_MODE, mode)
        .bool(opt::EXT_UNIX_SK, options.ext_unix_sockets)
        .bool(opt::TCP_ESTABLISHED, options.tcp_established)
        .bool(opt::SHELL_JOB, options.shell_job)
        .bool(opt::FILE_LOCKS, options.file_locks)
        .bool(opt::AUTO_DEDUP, options.auto_dedup)
        .bool(opt::LAZY_PAGES, options.lazy_pages)
        .bool(opt::ORPHAN_PTS_MASTER, true)
        // Interfaces and addresses are whose who has made the network namespace: hooks', or the
        // caller's.
        .int(opt::EMPTY_NS, libc::CLONE_NEWNET);
    if let Some(work) = work {
        fields.int(opt::WORK_DIR_FD, work);
    }
    // A file of options that goes before ours, as in runc.
    match config.annotations.get("org.criu.config").map(String::as_str) {
        None => {
            fields.text(opt::CONFIG_FILE, "/etc/criu/runc.conf");
        }
        Some("") => {}
        Some(file) => {
            fields.text(opt::CONFIG_FILE, file);
        }
    }
    fields
}

fn fields(
    saved: &Saved,
    config: &Config,
    options: &CheckpointOptions,
    dirs: &Directories,
    init: &OwnedFd,
    cgroup: Option<&cgroup::ContainerCgroup>,
) -> Result<Fields> {
    let numbers = (dirs.images.number(), dirs.work.as_ref().map(Directory::number));
    let mut fields = common(&options.criu, config, numbers, dirs.log().name);
    fields
        .text(opt::ROOT, saved.rootfs.as_os_str().as_bytes())
        .int(opt::PID, saved.pid)
        .bool(opt::LEAVE_RUNNING, options.leave_running)
        .bool(opt::TCP_SKIP_IN_FLIGHT, options.tcp_skip_in_flight)
        .bool(opt::LINK_REMAP, options.link_remap);
    if let Some((address, port)) = &options.page_server {
        fields.numbered(opt::PAGE_SERVER, address, i32::from(*port));
    }
    if let Some(parent) = &options.parent {
        fields.text(opt::PARENT_IMG, parent.as_os_str().as_bytes()).bool(opt::TRACK_MEM, true);
    }
    if let Some(freezer) = cgroup.and_then(|c| c.freezer_path()) {
        fields.text(opt::FREEZE_CGROUP, freezer);
    }
    let linux = config.linux.as_ref();
    let joined = |kind: &str| {
        linux.is_some_and(|l| {
            l.namespaces.iter().any(|n| n.kind == kind && !n.path.as_os_str().is_empty())
        })
    };
    for (kind, name, key) in EXTERNAL {
        if joined(kind) {
            let inode = namespace(saved.pid, name)?;
            fields.text(opt::EXTERNAL, format!("{name}[{inode}]:{key}"));
        }
    }
    if !options.pre_dump {
        let outside = outside(config, &saved.bundle)?;
        let paths = cgroup.map(|c| c.saved().paths).unwrap_or_default();
        let inside = directory(Path::new(&format!("/proc/{}/root", saved.pid)))?;
        // It may be gone: then the names are those inside.
        let rootfs = directory(&saved.rootfs).ok();
        let rootfs = rootfs.as_ref().map(AsFd::as_fd);
        externals::for_dump(&mut fields, &outside, &paths, inside.as_fd(), rootfs)?;
    }
    // What was looked at by its pid counts only if it has lived on.
    let mut ended = [io::PollFd::new(init.as_raw_fd(), libc::POLLIN)];
    io::poll(&mut ended, Some(0)).map_err(|e| Error::os("look at the container's init", e))?;
    let [ended] = ended;
    if ended.revents() != 0 {
        return Err(Error::new(Kind::InvalidConfig, "the container has ended")
            .hint("only a running one can be checkpointed"));
    }
    Ok(fields)
}

/// Namespaces that criu can leave out: the type, the name in /proc, and under which key they are found
/// again, which is runc's.
pub(super) const EXTERNAL: [(&str, &str, &str); 2] =
    [("network", "net", "extRootNetNS"), ("pid", "pid", "extRootPidNS")];

/// The inode of the namespace that it is in, whatever the path in the configuration is by now.
pub(super) fn namespace(pid: i32, name: &str) -> Result<u64> {
    let failed = |e| Error::os(format!("look at the container's {name} namespace"), e);
    let path = std::ffi::CString::new(format!("/proc/{pid}/ns/{name}")).unwrap_or_default();
    let fd = fs::open_at(fs::cwd(), &path, libc::O_RDONLY, 0).map_err(failed)?;
    fs::stat(fd.as_fd()).map(|seen| seen.ino).map_err(failed)
}

/// A directory of the host.
pub(super) fn directory(path: &Path) -> Result<OwnedFd> {
    fs::open_at(fs::cwd(), &arm::c_path(path)?, libc::O_PATH | libc::O_DIRECTORY, 0)
        .map_err(|e| Error::os(format!("open {}", quote(&path.to_string_lossy())), e))
}
