//! Why criu has failed: its log says so, and nothing else does.

#![forbid(unsafe_code)]

use super::images::Directory;
use crate::plan::values::escape;
use crate::sys::fs::{self, Resolve};
use std::ffi::CString;
use std::io::Read;
use std::os::fd::AsFd;

/// Most of a log that is read, from its beginning: what follows the cause is its consequences.
const MOST: u64 = 32 << 20;
/// Most lines that an error repeats.
const LINES: usize = 6;
/// Most characters of one.
const WIDTH: usize = 300;

/// The first lines about errors, without the time and the process before them.
pub(super) fn causes(dir: &Directory, name: &str) -> Vec<String> {
    let file = CString::new(name).unwrap_or_default();
    let flags = libc::O_RDONLY | libc::O_NONBLOCK;
    let Ok(fd) = fs::open_beneath(dir.fd(), &file, flags, 0, Resolve::Beneath) else {
        return Vec::new();
    };
    if !fs::stat(fd.as_fd()).is_ok_and(|seen| seen.is(libc::S_IFREG)) {
        return Vec::new();
    }
    let mut bytes = Vec::new();
    // What could be read is worth showing.
    let _ = std::fs::File::from(fd).take(MOST).read_to_end(&mut bytes);
    errors(&bytes)
}

/// Of text that is one. The first lines name the cause, the last ones what came of it; between them
/// there may be any number.
pub(super) fn errors(log: &[u8]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in log.split(|b| *b == b'\n') {
        let line = String::from_utf8_lossy(line);
        let Some(at) = line.find("Error (") else { continue };
        // What it has kept from before it had a log may be padded.
        let text = line.get(at..).unwrap_or_default().trim_end_matches(['\0', ' ', '\r']);
        let text = escape(&text.chars().take(WIDTH).collect::<String>());
        if lines.contains(&text) {
            continue;
        }
        if lines.len() == LINES {
            lines.remove(LINES / 2);
        }
        lines.push(text);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::errors;

    #[test]
    fn the_first_errors_of_a_log_are_the_cause() {
        let log = b"(00.000001) Version: 3.17.1\n\
            (00.004512) Error (criu/vdso.c:381): vdso: Unexpected rt vDSO area bounds\n\
            (00.004513)      1: Error (criu/x.c:1): \x1b[31mred\n\
            (00.004514)      2: Error (criu/x.c:1): \x1b[31mred\n\
            (00.004515) Warn  (criu/x.c:1): Error\n";
        let found = errors(log);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[0], "Error (criu/vdso.c:381): vdso: Unexpected rt vDSO area bounds");
        assert!(!found[1].contains('\x1b'), "{found:?}");
        let many: String =
            (0..50).map(|n| format!("(0) Error (a.c:{n}): {}\n", "x".repeat(999))).collect();
        let found = errors(many.as_bytes());
        assert!(found[2].contains("a.c:2)") && found[3].contains("a.c:47)"), "{found:?}");
        assert!(found.len() == 6 && found.iter().all(|l| l.len() <= 300), "{found:?}");
    }
}
