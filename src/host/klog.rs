//! Which call a filter killed a process for: only the kernel's log has it.
//!
//! For whoever may read that log, which is root mostly. Where nobody listens for audit messages
//! the kernel prints them there, a little later than the process dies, and no more than it cares to.

#![forbid(unsafe_code)]

use crate::plan::seccomp::interpret::Call;
use crate::sys::{fs, io};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// How long the message may take.
const PATIENCE: Duration = Duration::from_millis(30);

/// The kernel's log, from here on.
#[derive(Debug)]
pub(crate) struct Log {
    messages: OwnedFd,
    /// The process that is meant, as the host knows it.
    pid: i32,
}

impl Log {
    /// Opens the log, and finds the only child of a jail's init.
    pub(crate) fn of_the_job(init: i32) -> Option<Log> {
        let children =
            std::fs::read_to_string(format!("/proc/{init}/task/{init}/children")).ok()?;
        let mut children = children.split_ascii_whitespace();
        let pid = children.next()?.parse().ok()?;
        if children.next().is_some() {
            return None;
        }
        let flags = libc::O_RDONLY | libc::O_NONBLOCK;
        let messages = fs::open_at(fs::cwd(), c"/dev/kmsg", flags, 0).ok()?;
        // What is there already is of others.
        io::seek_to_end(messages.as_fd()).ok()?;
        Some(Log { messages, pid })
    }

    /// The call that killed the process.
    pub(crate) fn killer(&self) -> Option<Call> {
        let begun = Instant::now();
        loop {
            match next(self.messages.as_fd()) {
                Ok(text) => {
                    if let Some(call) = killed(&text, self.pid) {
                        return Some(call);
                    }
                }
                // Records that were overwritten before they were read.
                Err(libc::EPIPE) => {}
                Err(libc::EAGAIN) if begun.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(_) => return None,
            }
        }
    }
}

/// One record.
fn next(messages: BorrowedFd<'_>) -> Result<String, i32> {
    let mut buf = [0u8; 2048];
    let n = io::read(messages, &mut buf).map_err(crate::sys::Errno::into_raw)?;
    Ok(String::from_utf8_lossy(buf.get(..n).unwrap_or_default()).into_owned())
}

/// `...audit: type=1326 audit(...): ... pid=N comm="..." ... sig=31 arch=HEX syscall=N ...`. The
/// name and the path are the process's own; the kernel escapes blanks and quotes in them.
fn killed(record: &str, pid: i32) -> Option<Call> {
    let (_, fields) = record.split_once("type=1326 ")?;
    let field = |name: &str| fields.split_ascii_whitespace().find_map(|f| f.strip_prefix(name));
    let same = field("pid=")?.parse() == Ok(pid) && field("sig=")? == "31";
    let arch = u32::from_str_radix(field("arch=")?, 16).ok()?;
    let nr: i32 = field("syscall=")?.parse().ok()?;
    same.then_some(Call { nr: nr.cast_unsigned(), arch, args: [0; 6] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_name_the_call() {
        let record = "5,1404,19166605165,-;audit: type=1326 audit(1795388518.866:69): auid=1 \
                      uid=2000065534 gid=2 ses=4 pid=14167 comm=\"python3\" exe=\"/usr/bin/x\" \
                      sig=31 arch=c000003e syscall=110 compat=0 ip=0x7f7 code=0x80000000";
        let call = Call { nr: 110, arch: 0xc000_003e, args: [0; 6] };
        assert_eq!(killed(record, 14167), Some(call));
        assert_eq!(killed(record, 14168), None);
        assert_eq!(killed(&record.replace("sig=31", "sig=0"), 14167), None);
        assert_eq!(killed("5,1,2,-;something else pid=14167 sig=31", 14167), None);
    }
}
