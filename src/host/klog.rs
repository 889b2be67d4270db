//! Which call a filter killed a process for: only the kernel's log has it.
//!
//! For whoever may read that log, which is root mostly. Where nobody listens for audit messages
//! the kernel prints them there, a little later than the process dies, and no more than it cares to.

#![forbid(unsafe_code)]

use crate::plan::seccomp::interpret::Call;
use crate::sys::{fs, io};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// How long the message may take.
const PATIENCE: Duration = Duration::from_millis(30);

/// How far the clock of the log may be from CLOCK_MONOTONIC, microseconds.
const SLACK_US: u64 = 1_000_000;

/// The call that `pid`, as the host knows it, was killed for after `since_ns` (CLOCK_MONOTONIC): an
/// older record may be about another process of that number.
pub(crate) fn killer(pid: i32, since_ns: u64) -> Option<Call> {
    let flags = libc::O_RDONLY | libc::O_NONBLOCK;
    let messages = fs::open_at(fs::cwd(), c"/dev/kmsg", flags, 0).ok()?;
    let since_us = (since_ns / 1000).saturating_sub(SLACK_US);
    let begun = Instant::now();
    // However fast others write to the log.
    while begun.elapsed() < PATIENCE {
        match next(messages.as_fd()) {
            Ok(text) => {
                if let Some(call) = killed(&text, pid, since_us) {
                    return Some(call);
                }
            }
            // Records that were overwritten before they were read.
            Err(libc::EPIPE) => {}
            Err(libc::EAGAIN) => std::thread::sleep(Duration::from_millis(1)),
            Err(_) => return None,
        }
    }
    None
}

/// One record.
fn next(messages: BorrowedFd<'_>) -> Result<String, i32> {
    let mut buf = [0u8; 2048];
    let n = io::read(messages, &mut buf).map_err(crate::sys::Errno::into_raw)?;
    Ok(String::from_utf8_lossy(buf.get(..n).unwrap_or_default()).into_owned())
}

/// `PRIORITY,NUMBER,MICROSECONDS,FLAGS;audit: type=1326 audit(...): ... pid=N comm="..." ... sig=31
/// arch=HEX syscall=N ...`. The name and the path are the process's own; the kernel escapes blanks and
/// quotes in them. What a process writes to the log begins with another word.
fn killed(record: &str, pid: i32, since_us: u64) -> Option<Call> {
    let (head, text) = record.split_once(';')?;
    let at: u64 = head.split(',').nth(2)?.parse().ok()?;
    let fields = text.strip_prefix("audit: type=1326 ").filter(|_| at >= since_us)?;
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
        assert_eq!(killed(record, 14167, 0), Some(call));
        assert_eq!(killed(record, 14167, 19_166_605_165), Some(call));
        assert_eq!(killed(record, 14167, 19_166_605_166), None);
        assert_eq!(killed(record, 14168, 0), None);
        assert_eq!(killed(&record.replace("sig=31", "sig=0"), 14167, 0), None);
        assert_eq!(killed("5,1,2,-;something else pid=14167 sig=31", 14167, 0), None);
        assert_eq!(killed(&record.replace(";audit", ";x audit"), 14167, 0), None);
    }
}
