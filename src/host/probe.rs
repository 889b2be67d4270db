//! Facts about the host and the caller, for the plan.

#![forbid(unsafe_code)]

use crate::error::{Error, Result};
use crate::plan::facts::Facts;
use crate::plan::formats::{passwd, subid};
use crate::plan::hostview::TOPLEVEL;
use crate::plan::ids::{RANGE, SubIds};
use crate::sys::{self, cred, process};
use std::fs;
use std::io::Read;
use std::path::Path;

const CAP_SYS_ADMIN: u32 = 21;
const CAP_SETUID: u32 = 7;
const CAP_SETGID: u32 = 6;
const CAP_SYS_RESOURCE: u32 = 24;

/// Files that are read whole are at most this long (CVE-2022-31030).
pub(crate) const MAX_FILE: u64 = 4 << 20;

/// Looks.
///
/// # Errors
/// The kernel gives no random bytes.
pub(crate) fn probe() -> Result<Facts> {
    let (uid, gid) = (cred::euid(), cred::egid());
    let privileged =
        uid == 0 && [CAP_SYS_ADMIN, CAP_SETUID, CAP_SETGID].iter().all(|c| cred::has_effective(*c));
    let mut hard_rlimits = [u64::MAX; 16];
    for (resource, hard) in (0u32..).zip(&mut hard_rlimits) {
        if let Ok((_, h)) = process::get_rlimit(resource) {
            *hard = h;
        }
    }
    Ok(Facts {
        uid,
        gid,
        privileged,
        sub_ids: sub_ids(uid, privileged),
        id_map_helpers: !privileged && crate::host::idmap::helpers_installed(),
        kernel: kernel(),
        // Whatever keeps it from being used: then it is not there.
        landlock_abi: sys::landlock::abi().unwrap_or(0),
        last_cap: cred::last_cap(),
        may_raise_limits: cred::has_effective(CAP_SYS_RESOURCE),
        hard_rlimits,
        toplevel: toplevel(),
        cpu_lists: cpu_lists(),
        fresh_id: fresh_id()?,
    })
}

/// Looks for what a container's plan needs.
pub(crate) fn probe_for_container() -> Result<Facts> {
    let (uid, gid) = (cred::euid(), cred::egid());
    let privileged =
        uid == 0 && [CAP_SYS_ADMIN, CAP_SETUID, CAP_SETGID].iter().all(|c| cred::has_effective(*c));
    Ok(Facts {
        uid,
        gid,
        privileged,
        sub_ids: None,
        id_map_helpers: !privileged && crate::host::idmap::helpers_installed(),
        kernel: kernel(),
        landlock_abi: 0,
        last_cap: cred::last_cap(),
        may_raise_limits: cred::has_effective(CAP_SYS_RESOURCE),
        hard_rlimits: [u64::MAX; 16],
        toplevel: Vec::new(),
        cpu_lists: Vec::new(),
        fresh_id: String::new(),
    })
}

/// Reads a file up to [`MAX_FILE`] bytes.
pub(crate) fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(MAX_FILE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Root's jails take the ids of the account `stockade`, or of root, if the administrator has
/// given them some; an ordinary user's take its own.
fn sub_ids(uid: u32, privileged: bool) -> Option<SubIds> {
    let (uids, gids) = (
        read_bounded(Path::new("/etc/subuid")).ok()?,
        read_bounded(Path::new("/etc/subgid")).ok()?,
    );
    let find = |name: Option<&str>, uid: u32| {
        let first =
            |data| subid::ranges(data, name, uid).into_iter().find(|r| r.count >= RANGE - 1);
        let (u, g) = (first(&uids)?, first(&gids)?);
        Some(SubIds { uid: u.start, gid: g.start, count: u.count.min(g.count) })
    };
    if privileged {
        return find(Some("stockade"), u32::MAX).or_else(|| find(Some("root"), 0));
    }
    let accounts = read_bounded(Path::new("/etc/passwd")).unwrap_or_default();
    let name = passwd::passwd_by_uid(&accounts, uid)
        .and_then(|e| std::str::from_utf8(e.name).ok())
        .map(str::to_owned);
    find(name.as_deref(), uid)
}

fn kernel() -> (u32, u32) {
    let Ok(name) = nix::sys::utsname::uname() else { return (0, 0) };
    let release = name.release().to_string_lossy().into_owned();
    let mut parts = release.split(|c: char| !c.is_ascii_digit()).map(|p| p.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

fn toplevel() -> Vec<(String, Option<std::path::PathBuf>)> {
    TOPLEVEL
        .iter()
        .filter_map(|name| {
            let path = Path::new("/").join(name);
            match fs::read_link(&path) {
                Ok(link) => Some(((*name).to_owned(), Some(link))),
                // EINVAL: it is there and no symlink.
                Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {
                    Some(((*name).to_owned(), None))
                }
                Err(_) => None,
            }
        })
        .collect()
}

fn cpu_lists() -> Vec<(String, Vec<u8>)> {
    ["online", "possible", "present"]
        .into_iter()
        .filter_map(|name| {
            let path = format!("/sys/devices/system/cpu/{name}");
            Some((name.to_owned(), read_bounded(Path::new(&path)).ok()?))
        })
        .collect()
}

/// Twelve hexadecimal digits, as Docker's short ids.
fn fresh_id() -> Result<String> {
    let bytes =
        sys::process::random().map_err(|e| Error::os("get random bytes for the run's id", e))?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}
