//! Appending a line of the audit log from a process of its own, so that a SIGKILL of stockade
//! cannot stop it: the kernel ends the write(2) of a killed process at the next page, and the
//! rest of the line would be missing.
//!
//! It holds the log's lock together with its maker, so nobody writes before it has ended.

#![forbid(unsafe_code)]

use crate::sys::{self, Errno, io, process};
use std::os::fd::BorrowedFd;

/// What is to be written, and where.
pub(crate) struct Append<'a> {
    pub(crate) file: BorrowedFd<'a>,
    pub(crate) bytes: &'a [u8],
    /// Whether nobody can come between, so that a short write may be followed by the rest.
    pub(crate) locked: bool,
}

impl Append<'_> {
    /// One write(2), and a second one after a short write.
    pub(crate) fn write(&self) -> sys::Result<()> {
        let mut done = 0;
        while let Some(rest) = self.bytes.get(done..).filter(|rest| !rest.is_empty()) {
            match io::write(self.file, rest) {
                Ok(0) => return Err(Errno(libc::EIO)),
                Ok(n) => done += n,
                Err(e) if e.0 == libc::EINTR => continue,
                Err(e) => return Err(e),
            }
            if done < self.bytes.len() && !self.locked {
                return Err(Errno(libc::EIO));
            }
        }
        Ok(())
    }
}

/// In the new process: writes, and ends with the errno or 0.
pub(crate) fn run(append: &Append<'_>) -> ! {
    #[cfg(debug_assertions)]
    sys::guard::arm();
    process::exit_group(match append.write() {
        Ok(()) => 0,
        Err(e) if (1..255).contains(&e.0) => e.0,
        Err(_) => libc::EIO,
    })
}
