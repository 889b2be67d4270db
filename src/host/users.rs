//! User and group names, looked up where they count: in the jail's own root.

#![forbid(unsafe_code)]

use crate::error::{Error, Kind, Result};
use crate::host::probe::MAX_FILE;
use crate::plan::formats::passwd;
use crate::plan::values::quote;
use crate::plan::values::user::{IdOrName, User};
use crate::sys::fs::{self, Resolve};
use std::ffi::CString;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Ids of the job.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ids {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
}

/// The accounts of the host view, as plan::hostview makes them up.
const HOST_VIEW_PASSWD: &[u8] =
    b"root:x:0:0:root:/work:/bin/sh\nnobody:x:65534:65534:nobody:/work:/bin/sh\n";
const HOST_VIEW_GROUP: &[u8] = b"root:x:0:\ntty:x:5:\nnogroup:x:65534:\n";

/// Resolves `-u` and `--group-add`. Without a group a name brings the one that its passwd line
/// says, and a number its own line's if there is one, else the same number.
///
/// # Errors
/// A name that is not there; a file that cannot be read safely.
pub(crate) fn resolve(
    rootfs: Option<&Path>,
    user: Option<&User>,
    more: &[IdOrName],
) -> Result<Ids> {
    let mut files = Files { rootfs, passwd: None, group: None };
    let Some(user) = user else {
        let groups = more.iter().map(|g| files.gid(g)).collect::<Result<_>>()?;
        return Ok(Ids { uid: 65_534, gid: 65_534, groups });
    };
    let (uid, primary, name) = match &user.user {
        IdOrName::Id(id) => {
            let entry = if user.group.is_none() { files.by_uid(*id)? } else { None };
            (*id, entry.map_or(*id, |e| e.0), None)
        }
        IdOrName::Name(name) => {
            let (uid, gid) = files.by_name(name)?;
            (uid, gid, Some(name.as_str()))
        }
    };
    let gid = match &user.group {
        Some(group) => files.gid(group)?,
        None => primary,
    };
    let mut groups: Vec<u32> = Vec::new();
    // As Docker: memberships of the group file count when the user was named and no group was.
    if let (Some(name), None) = (name, &user.group) {
        groups = passwd::supplementary_groups(files.group()?, name)?;
    }
    for group in more {
        groups.push(files.gid(group)?);
    }
    groups.sort_unstable();
    groups.dedup();
    Ok(Ids { uid, gid, groups })
}

/// The home directory that the rootfs has for a user; `None`: it has no such account.
pub(crate) fn home(rootfs: &Path, uid: u32) -> Result<Option<String>> {
    let data = match read_in(rootfs, "etc/passwd") {
        Ok(data) => data,
        Err(e) if e.errno().is_some() => return Ok(None),
        Err(e) => return Err(e),
    };
    let home = passwd::passwd_by_uid(&data, uid).and_then(|e| std::str::from_utf8(e.home).ok());
    Ok(home.filter(|h| h.starts_with('/') && !h.contains('\0')).map(str::to_owned))
}

struct Files<'a> {
    rootfs: Option<&'a Path>,
    passwd: Option<Vec<u8>>,
    group: Option<Vec<u8>>,
}

impl Files<'_> {
    fn passwd(&mut self) -> Result<&[u8]> {
        if self.passwd.is_none() {
            self.passwd = Some(match self.rootfs {
                Some(dir) => read_in(dir, "etc/passwd")?,
                None => HOST_VIEW_PASSWD.to_vec(),
            });
        }
        Ok(self.passwd.as_deref().unwrap_or_default())
    }

    fn group(&mut self) -> Result<&[u8]> {
        if self.group.is_none() {
            self.group = Some(match self.rootfs {
                Some(dir) => read_in(dir, "etc/group")?,
                None => HOST_VIEW_GROUP.to_vec(),
            });
        }
        Ok(self.group.as_deref().unwrap_or_default())
    }

    fn by_uid(&mut self, uid: u32) -> Result<Option<(u32, ())>> {
        // Only the host view's file is known to be there; an image may have none, and a number
        // needs none.
        let data = match self.passwd() {
            Ok(data) => data,
            Err(e) if e.kind() == Kind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        Ok(passwd::passwd_by_uid(data, uid).map(|e| (e.gid, ())))
    }

    fn by_name(&mut self, name: &str) -> Result<(u32, u32)> {
        let where_ = self.where_("passwd");
        passwd::passwd_lookup(self.passwd()?, name)
            .map(|e| (e.uid, e.gid))
            .ok_or_else(|| unknown("user", name, &where_))
    }

    fn gid(&mut self, group: &IdOrName) -> Result<u32> {
        match group {
            IdOrName::Id(id) => Ok(*id),
            IdOrName::Name(name) => {
                let where_ = self.where_("group");
                passwd::group_lookup(self.group()?, name)
                    .ok_or_else(|| unknown("group", name, &where_))
            }
        }
    }

    fn where_(&self, file: &str) -> String {
        match self.rootfs {
            Some(_) => format!("/etc/{file} of the rootfs"),
            None => format!("/etc/{file} of the host view"),
        }
    }
}

fn unknown(what: &str, name: &str, place: &str) -> Error {
    Error::new(Kind::InvalidConfig, format!("no {what} {} in {place}", quote(name))).hint(NUMBERS)
}

/// What needs none of these files.
const NUMBERS: &str = "give a number, such as -u 1000:1000";

/// Reads a file of the rootfs: resolved inside it, a regular file, and not without end
/// (CVE-2022-31030: 1 GiB of group file, a FIFO, a symlink to /dev/zero).
fn read_in(rootfs: &Path, file: &str) -> Result<Vec<u8>> {
    let shown = || format!("read /{file} of the rootfs {}", quote(&rootfs.to_string_lossy()));
    let c = |p: &Path| {
        CString::new(p.as_os_str().as_bytes())
            .map_err(|_| Error::new(Kind::InvalidConfig, "a path holds a NUL"))
    };
    let dir = fs::open_at(fs::cwd(), &c(rootfs)?, libc::O_PATH | libc::O_DIRECTORY, 0)
        .map_err(|e| Error::os(shown(), e))?;
    // O_NONBLOCK: opening a FIFO must not wait for a writer.
    let flags = libc::O_RDONLY | libc::O_NONBLOCK;
    let fd = fs::open_beneath(dir.as_fd(), &c(Path::new(file))?, flags, 0, Resolve::InRoot)
        .map_err(|e| Error::os(shown(), e).hint(NUMBERS))?;
    let seen = fs::stat(fd.as_fd()).map_err(|e| Error::os(shown(), e))?;
    if !seen.is(libc::S_IFREG) {
        let what = format!("{}: it is no regular file", shown());
        return Err(Error::new(Kind::Refused, what).hint(NUMBERS));
    }
    let mut data = Vec::new();
    std::fs::File::from(fd)
        .take(MAX_FILE + 1)
        .read_to_end(&mut data)
        .map_err(|e| Error::os(shown(), e))?;
    if data.len() as u64 > MAX_FILE {
        return Err(Error::new(
            Kind::Refused,
            format!("{}: it is longer than {MAX_FILE} bytes", shown()),
        ));
    }
    Ok(data)
}
