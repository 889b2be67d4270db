//! This program's own file, kept out of reach of what it joins (CVE-2019-5736).
//!
//! A process that is about to execute something in a container can be looked at there, through
//! its `/proc/PID/exe`, by whoever has CAP_SYS_PTRACE in the user namespace that it comes from. That
//! link is the way to the file itself, which a later open for writing would change. Through a mount
//! that is read-only, and is attached nowhere so that nobody can make it writable, it is none.

#![forbid(unsafe_code)]

use crate::error::{Error, Kind};
use crate::sys::process::CStringArray;
use crate::sys::{Errno, fs, io, mount, process};
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

/// Whether this program runs from where nobody can write to it.
pub(crate) fn is_sealed() -> bool {
    const EXE: &std::ffi::CStr = c"/proc/self/exe";
    fs::is_on_read_only_mount(EXE)
        || fs::open_at(fs::cwd(), EXE, libc::O_RDONLY, 0)
            .is_ok_and(|fd| fs::is_write_sealed(fd.as_fd()))
}

/// Goes on as the same program with the same arguments, from where nobody can write to it. Comes
/// back only with an error; what is open is closed unless the caller handed it on.
pub(crate) fn run_sealed() -> Error {
    let failed = |e: Errno| {
        Error::os("run from a read-only copy of this program's mount", e)
            .with_kind(Kind::Unsupported)
            .hint("the container has CAP_SYS_PTRACE and could change this program's file")
    };
    let own = |strings: &mut dyn Iterator<Item = std::ffi::OsString>| {
        strings.map(|s| CString::new(s.into_vec())).collect::<std::result::Result<Vec<_>, _>>()
    };
    let argv = own(&mut std::env::args_os());
    let envp = own(&mut std::env::vars_os().map(|(mut k, v)| {
        k.push("=");
        k.push(v);
        k
    }));
    let (Ok(argv), Ok(envp)) = (argv, envp) else { return failed(Errno(libc::EINVAL)) };
    let program = match detached().or_else(|_| copied()) {
        Ok(program) => program,
        Err(e) => return failed(e),
    };
    let (argv, envp) = (CStringArray::new(argv), CStringArray::new(envp));
    failed(process::execve_descriptor(program.as_fd(), &argv, &envp))
}

/// A mount of the program's file alone.
fn detached() -> crate::sys::Result<OwnedFd> {
    let tree = mount::clone_tree(fs::cwd(), c"/proc/self/exe", false)?;
    mount::set_attr(tree.as_fd(), mount::attr::RDONLY | mount::attr::NOSUID, 0, false, None)?;
    Ok(tree)
}

/// For who may not mount: a sealed copy in memory.
fn copied() -> crate::sys::Result<OwnedFd> {
    let from = fs::open_at(fs::cwd(), c"/proc/self/exe", libc::O_RDONLY, 0)?;
    let to = io::memory_program(c"stockade")?;
    let mut from = std::fs::File::from(from);
    let mut file = std::fs::File::from(io::duplicate(to.as_fd())?);
    std::io::copy(&mut from, &mut file)
        .map_err(|e| Errno(e.raw_os_error().unwrap_or(libc::EIO)))?;
    drop(file);
    fs::seal(to.as_fd())?;
    // What is open for writing is not executed (ETXTBSY).
    let path = CString::new(format!("/proc/self/fd/{}", to.as_raw_fd())).unwrap_or_default();
    fs::open_at(fs::cwd(), &path, libc::O_RDONLY, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_in_memory_is_sealed_and_not_open_for_writing() {
        let copy = copied().unwrap();
        assert!(fs::is_write_sealed(copy.as_fd()));
        assert!(io::write_whole(copy.as_fd(), b"x").is_err());
        let path = format!("/proc/self/fd/{}", copy.as_raw_fd());
        // It can be executed: the unit tests, that list themselves.
        let o = std::process::Command::new(path).arg("--list").output().unwrap();
        assert!(o.status.success(), "{o:?}");
    }
}
