//! Pseudo-terminals and their settings.

use super::{Result, check_int};
use libc::c_int;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Copies the window size from one terminal to another.
pub fn copy_window_size(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: winsize is four integers, for which all-zero is a value.
    let mut size: libc::winsize = unsafe { core::mem::zeroed() };
    // SAFETY: TIOCGWINSZ writes one winsize to the live local, TIOCSWINSZ reads it.
    check_int(unsafe { libc::ioctl(from.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) })?;
    // SAFETY: as above.
    check_int(unsafe { libc::ioctl(to.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) }).map(drop)
}

/// `ioctl(TIOCGPTPEER)` (Linux 4.13): the terminal side of a pty, by its descriptor and not by
/// a path that could be something else (CVE-2025-52565).
pub fn pty_peer(master: BorrowedFd<'_>) -> Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: the argument is an integer.
    let fd = check_int(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) })?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `ioctl(TIOCSPTLCK, 0)`: lets the terminal side of a new pty be opened.
pub fn unlock_pty(master: BorrowedFd<'_>) -> Result<()> {
    let unlocked: c_int = 0;
    // SAFETY: TIOCSPTLCK reads one int from the live local.
    check_int(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlocked) })
        .map(drop)
}

/// Columns and rows of a terminal (`TIOCGWINSZ`).
pub fn window_size(terminal: BorrowedFd<'_>) -> Result<(u16, u16)> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the kernel writes one winsize to the live local.
    check_int(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) })?;
    Ok((size.ws_col, size.ws_row))
}

/// Sets the window size of a terminal: columns, rows.
pub fn set_window_size(terminal: BorrowedFd<'_>, columns: u16, rows: u16) -> Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCSWINSZ reads one winsize from the live local.
    check_int(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) })
        .map(drop)
}

/// `ioctl(TIOCSCTTY)`: makes the terminal the session's controlling one.
pub fn set_controlling_terminal(fd: RawFd) -> Result<()> {
    // SAFETY: the argument is an integer.
    check_int(unsafe { libc::ioctl(fd, libc::TIOCSCTTY, 0) }).map(drop)
}

/// Lets a terminal pass line ends as they are written (ONLCR off).
pub fn keep_line_ends(terminal: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: termios is plain integers, for which all-zero is a value.
    let mut settings: libc::termios = unsafe { core::mem::zeroed() };
    // SAFETY: the kernel writes the live local.
    check_int(unsafe { libc::tcgetattr(terminal.as_raw_fd(), &raw mut settings) })?;
    settings.c_oflag &= !libc::ONLCR;
    // SAFETY: the kernel reads the live local.
    check_int(unsafe { libc::tcsetattr(terminal.as_raw_fd(), libc::TCSANOW, &raw const settings) })
        .map(drop)
}
