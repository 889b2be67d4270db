//! Hooks: programs of the host's administrator at points of a container's life.
//!
//! They get the state on standard input and what the configuration gives them as arguments and
//! environment, nothing of the caller's (CVE-2025-23266), and the bundle as the working directory.

#![forbid(unsafe_code)]

use super::state::{OCI_VERSION, Saved, Status};
use crate::child::detached::{EXITED, SIGNALLED, run_hook};
use crate::error::{Error, Kind, Result};
use crate::host::arm;
use crate::plan::detail::Hook;
use crate::plan::oci::{self, annotations::hook_files};
use crate::plan::values::quote;
use crate::sys::{fs, io};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Most of what a failed hook has printed that an error repeats.
const SHOWN: usize = 2000;

/// The state as hooks get it.
pub(super) fn state_json(saved: &Saved, status: Status) -> Result<Vec<u8>> {
    serde_json::to_vec(&state_value(saved, status))
        .map_err(|e| Error::new(Kind::Os, format!("write the state: {e}")))
}

/// The state that the runtime specification has for others (runtime.md, State).
pub(super) fn state_value(saved: &Saved, status: Status) -> serde_json::Value {
    let pid = if status == Status::Stopped { 0 } else { saved.pid };
    serde_json::json!({
        "ociVersion": OCI_VERSION,
        "id": saved.id,
        "status": status,
        "pid": pid,
        "bundle": saved.bundle,
        "annotations": saved.annotations,
    })
}

/// A file in memory.
pub(super) fn memory() -> Result<OwnedFd> {
    io::memory_file(c"stockade").map_err(|e| Error::os("make a memory file", e))
}

/// Replaces what is in it.
pub(super) fn fill(file: BorrowedFd<'_>, bytes: &[u8]) -> Result<()> {
    fs::truncate(file)
        .and_then(|()| fs::seek(file, 0, libc::SEEK_SET))
        .and_then(|_| io::write_whole(file, bytes))
        .map_err(|e| Error::os("fill a memory file", e))
}

/// What is in it, as far as an error shows it.
pub(super) fn printed(file: BorrowedFd<'_>) -> String {
    let mut bytes = vec![0; SHOWN];
    let read = fs::seek(file, 0, libc::SEEK_SET).and_then(|_| io::read(file, &mut bytes));
    bytes.truncate(read.unwrap_or(0));
    let text = String::from_utf8_lossy(&bytes);
    if text.trim().is_empty() { String::new() } else { format!(": {}", quote(text.trim())) }
}

/// Runs each in turn; the first that fails is the error.
pub(super) fn run(name: &str, hooks: &[Hook], saved: &Saved, status: Status) -> Result<()> {
    each(hooks, saved, status, &mut |at, hook, errno, printed| {
        Err(failed(name, at, hook, errno, printed))
    })
}

/// Runs the hooks after a container's end, all of them; one that fails is a warning, as the
/// specification has it (runtime.md, Lifecycle, 13).
///
/// # Errors
/// The first that fails, where an annotation asks for it.
pub(super) fn run_poststop(hooks: &[Hook], saved: &Saved) -> Result<Vec<String>> {
    if oci::own(&saved.annotations).is_ok_and(|own| own.strict_poststop) {
        return run("poststop", hooks, saved, Status::Stopped).map(|()| Vec::new());
    }
    let mut warnings = Vec::new();
    for (at, hook) in hooks.iter().enumerate() {
        let one = std::slice::from_ref(hook);
        let ended = each(one, saved, Status::Stopped, &mut |_, hook, errno, printed| {
            warnings.push(match errno {
                // crun's words.
                code if code >= EXITED => format!(
                    "poststop hook failed with exit code {}: {}{printed}",
                    code - EXITED,
                    quote(&hook.path.to_string_lossy())
                ),
                errno => failed("poststop", at, hook, errno, printed).to_string(),
            });
            Ok(())
        });
        warnings.extend(ended.err().map(|e| e.to_string()));
    }
    Ok(warnings)
}

/// What becomes of a hook that failed: its number, itself, how it ended, and what it printed.
type OnFailure<'a> = &'a mut dyn FnMut(usize, &Hook, i32, &str) -> Result<()>;

fn each(hooks: &[Hook], saved: &Saved, status: Status, on_failure: OnFailure<'_>) -> Result<()> {
    if hooks.is_empty() {
        return Ok(());
    }
    let (state, output) = (memory()?, memory()?);
    let json = state_json(saved, status)?;
    let cwd = directory(saved)?;
    let files = files(saved)?;
    let outputs = files.each_ref().map(|file| Some(file.as_ref().unwrap_or(&output).as_raw_fd()));
    for (at, hook) in hooks.iter().enumerate() {
        fill(state.as_fd(), &json)?;
        fill(output.as_fd(), b"")?;
        fs::seek(state.as_fd(), 0, libc::SEEK_SET).map_err(|e| Error::os("rewind a file", e))?;
        let armed = arm::hook(hook)?;
        run_hook(&armed, state.as_raw_fd(), outputs, None, Some(cwd.as_fd()))
            .or_else(|e| on_failure(at, hook, e.into_raw(), &printed(output.as_fd())))?;
    }
    Ok(())
}

/// The files that annotations send hooks' output and errors to, as in crun: appended to, and made where
/// they are missing. A relative path counts from the bundle.
pub(super) fn files(saved: &Saved) -> Result<[Option<OwnedFd>; 2]> {
    let open = |path: &std::path::Path| {
        let path = saved.bundle.join(path);
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND;
        fs::open_at(fs::cwd(), &arm::c_path(&path)?, flags, 0o600).map_err(|e| {
            let shown = quote(&path.to_string_lossy());
            Error::os(format!("open {shown} for the output of hooks (run.oci.hooks)"), e)
        })
    };
    let [out, err] = hook_files(&saved.annotations);
    Ok([out.map(open).transpose()?, err.map(open).transpose()?])
}

/// Where hooks of the host begin: in the bundle, as in runc, or where that is gone in `/`.
fn directory(saved: &Saved) -> Result<OwnedFd> {
    let open = |path: &std::path::Path| {
        let path = arm::c_path(path)?;
        fs::open_at(fs::cwd(), &path, libc::O_PATH | libc::O_DIRECTORY, 0)
            .map_err(|e| Error::os("open the working directory of hooks", e))
    };
    open(&saved.bundle).or_else(|_| open("/".as_ref()))
}

/// The words for a hook that failed.
pub(super) fn failed(name: &str, at: usize, hook: &Hook, errno: i32, printed: &str) -> Error {
    let why = match errno {
        libc::ETIME => format!(
            "did not end within {} s and was killed",
            hook.timeout.map_or(0, |t| t.as_secs())
        ),
        // The status of a process that could not execute it.
        code if code == EXITED + 127 => "failed, or could not be executed".to_owned(),
        code if code >= EXITED => format!("failed: exit status {}", code - EXITED),
        code if code >= SIGNALLED => format!("failed: {}", ended_by(code - SIGNALLED)),
        other => format!("could not be run: {}", crate::error::describe_errno(other)),
    };
    let path = quote(&hook.path.to_string_lossy());
    // runc's words in front: its callers look for them.
    Error::new(Kind::Os, format!("error running {name} hook #{at}: {path} {why}{printed}"))
}

/// A signal as Go's programs call it.
fn ended_by(number: i32) -> String {
    match nix::sys::signal::Signal::try_from(number) {
        Ok(nix::sys::signal::Signal::SIGSYS) => "signal: bad system call".to_owned(),
        Ok(signal) => format!("signal: {signal}"),
        Err(_) => format!("signal: {number}"),
    }
}
