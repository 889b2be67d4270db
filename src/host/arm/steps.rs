//! What is put into the root, armed.

#![forbid(unsafe_code)]

use super::details::{any_mount, find, link_to_copy};
use super::{CgroupMount, attr_bits, c, c_path, options, place};
use crate::child::rootfs::ArmedStep;
use crate::error::Result;
use crate::host::sources::Pending;
use crate::plan::{Existing, MountStep};

/// One step; `None`: there is nothing to be done.
pub(super) fn step<'p>(
    step: &'p MountStep,
    index: usize,
    pending: Option<&mut Vec<Pending<'p>>>,
    cgroups: CgroupMount<'_>,
) -> Result<Option<ArmedStep>> {
    Ok(Some(match step {
        MountStep::Filesystem { fstype, options: list, target, attrs } => ArmedStep::Filesystem {
            fstype: c("file system", fstype.as_bytes())?,
            options: options(list)?,
            target: place(target)?,
            attrs: attr_bits(*attrs),
            // Only on real directories: a symlinked /proc would be somewhere else
            // (CVE-2019-16884).
            strict: matches!(fstype.as_str(), "proc" | "sysfs"),
        },
        MountStep::Bind { source, target, attrs, ids, expect, optional } => {
            let wanted = Pending { optional: *optional, ..Pending::new(source, *ids, *expect) };
            match find(wanted, pending) {
                Ok((tree, directory)) => ArmedStep::Bind {
                    tree,
                    target: place(target)?,
                    attrs: attr_bits(*attrs),
                    directory,
                },
                Err(e) if *optional && e.errno() == Some(libc::ENOENT) => return Ok(None),
                Err(e) => return Err(e),
            }
        }
        MountStep::PoolDir { target, mode, owner, attrs } => ArmedStep::PoolDir {
            name: c("name", format!("d{index}").as_bytes())?,
            target: place(target)?,
            mode: *mode,
            owner: *owner,
            attrs: attr_bits(*attrs),
        },
        MountStep::Directory { target, mode } => {
            ArmedStep::Directory { target: place(target)?, mode: *mode }
        }
        MountStep::File { target, mode, contents } => {
            ArmedStep::File { target: place(target)?, mode: *mode, contents: contents.clone() }
        }
        MountStep::Symlink { target, to, existing } => ArmedStep::Symlink {
            target: place(target)?,
            to: c_path(to)?,
            keep: *existing == Existing::Keep,
            replace: *existing == Existing::Replace,
            same: false,
        },
        MountStep::Mount(mount) => match link_to_copy(mount)? {
            Some(to) => ArmedStep::Symlink {
                target: place(&mount.target)?,
                to,
                keep: false,
                replace: false,
                same: true,
            },
            None => ArmedStep::Mount(any_mount(mount, index, pending, cgroups)?),
        },
        MountStep::Device(d) => ArmedStep::Device {
            target: place(&d.target)?,
            mode: d.kind | d.mode,
            device: libc::makedev(d.major, d.minor),
            owner: (d.uid, d.gid),
        },
        MountStep::WorkingDirectory { target } => {
            ArmedStep::WorkingDirectory { target: place(target)? }
        }
        MountStep::Mask { target } => ArmedStep::Mask { target: place(target)? },
        MountStep::Remount { target } => ArmedStep::Remount { target: place(target)? },
        MountStep::ReadOnly { target } => ArmedStep::ReadOnly { target: place(target)? },
    }))
}
