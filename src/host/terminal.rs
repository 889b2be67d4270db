//! The caller's terminal: raw while the job has one of its own, and as before afterwards.

#![forbid(unsafe_code)]

use crate::error::{Error, Result};
use crate::sys::io;
use nix::sys::termios::{self, SetArg, Termios};
use std::os::fd::{AsFd, OwnedFd};

/// A terminal in raw mode; dropped, it is as before.
#[derive(Debug)]
pub(crate) struct Raw {
    fd: OwnedFd,
    before: Termios,
}

impl Raw {
    /// Makes it raw: every key goes to the job's terminal, which interprets it.
    pub(crate) fn enter(fd: &OwnedFd) -> Result<Raw> {
        let what = "put the terminal into raw mode";
        let before = termios::tcgetattr(fd).map_err(|e| Error::os(what, e))?;
        let mut raw = before.clone();
        termios::cfmakeraw(&mut raw);
        termios::tcsetattr(fd, SetArg::TCSANOW, &raw).map_err(|e| Error::os(what, e))?;
        let fd = io::duplicate(fd.as_fd()).map_err(|e| Error::os(what, e))?;
        Ok(Raw { fd, before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that is gone cannot be put back, and needs not.
        let _ = termios::tcsetattr(&self.fd, SetArg::TCSANOW, &self.before);
    }
}
