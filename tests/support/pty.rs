//! A terminal with a program at it.

use super::bin;
use nix::libc;
use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::termios::{self, Termios};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// A program, started at a terminal of its own, and what it prints there.
#[derive(Debug)]
pub struct Terminal {
    master: File,
    slave: OwnedFd,
    child: Child,
    output: Receiver<Vec<u8>>,
    pub seen: String,
    pub before: Termios,
}

impl Terminal {
    /// `stockade jail OPTIONS -- COMMAND` at a terminal of 24 lines and 80 columns.
    pub fn start(options: &[&str], command: &[&str]) -> Terminal {
        let mut stockade = Command::new(bin());
        stockade.args(["jail", "--timeout", "60s"]).args(options).arg("--").args(command);
        Terminal::run(stockade)
    }

    /// Any command at such a terminal.
    pub fn run(mut command: Command) -> Terminal {
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let OpenptyResult { master, slave } = openpty(&size, None).unwrap();
        let before = termios::tcgetattr(&slave).unwrap();
        let end = || std::process::Stdio::from(slave.try_clone().unwrap());
        command.stdin(end()).stdout(end()).stderr(end());
        // SAFETY: only async-signal-safe calls between fork and exec.
        unsafe {
            command.pre_exec(|| {
                nix::unistd::setsid()?;
                if libc::ioctl(0, libc::TIOCSCTTY, 0) == -1 {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let child = command.spawn().unwrap();
        let master = File::from(master);
        let mut reader = master.try_clone().unwrap();
        let (send, output) = channel();
        std::thread::spawn(move || {
            let mut buf = [0u8; 4096];
            while let Ok(n @ 1..) = reader.read(&mut buf) {
                if send.send(buf[..n].to_vec()).is_err() {
                    return;
                }
            }
        });
        Terminal { master, slave, child, output, seen: String::new(), before }
    }

    /// Waits until this text has been printed.
    #[track_caller]
    pub fn until(&mut self, text: &str) {
        while !self.seen.contains(text) {
            match self.output.recv_timeout(Duration::from_secs(30)) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(e) => panic!("no {text:?} on the terminal ({e}): {:?}", self.seen),
            }
        }
    }

    /// Types.
    pub fn type_in(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    /// Gives the terminal another size, as dragging its window does.
    pub fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: the kernel reads one winsize.
        let set = unsafe { libc::ioctl(self.master.as_raw_fd(), libc::TIOCSWINSZ, &size) };
        assert_eq!(set, 0);
    }

    /// How the terminal is set now.
    pub fn settings(&self) -> Termios {
        termios::tcgetattr(&self.slave).unwrap()
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// Waits for the end of the program: its exit status.
    #[track_caller]
    pub fn end(&mut self) -> i32 {
        for _ in 0..6000 {
            if let Some(status) = self.child.try_wait().unwrap() {
                // What it has printed comes before this.
                const LAST: &str = "<the end>";
                nix::unistd::write(&self.slave, LAST.as_bytes()).unwrap();
                self.until(LAST);
                self.seen.truncate(self.seen.len() - LAST.len());
                return status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it does not end: {:?}", self.seen);
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
