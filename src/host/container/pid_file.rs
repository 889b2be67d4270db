//! The file that `--pid-file` names.

#![forbid(unsafe_code)]

use crate::error::{Error, Kind, Result};
use crate::plan::values::quote;
use std::path::Path;

/// Writes it, under another name first: who waits for the file finds the number in it.
pub(super) fn write(path: &Path, pid: i32) -> Result<()> {
    let what = || format!("write the pid file {}", quote(&path.to_string_lossy()));
    let name = path
        .file_name()
        .ok_or_else(|| Error::new(Kind::InvalidConfig, format!("{}: it has no name", what())))?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    let temporary = path.with_file_name(temporary);
    let write = || {
        // A name that can be foreseen: nobody's link there is followed.
        match std::fs::remove_file(&temporary) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let mut file = std::fs::File::create_new(&temporary)?;
        std::io::Write::write_all(&mut file, pid.to_string().as_bytes())?;
        std::fs::rename(&temporary, path)
    };
    write().map_err(|e| {
        // Nobody would look for it.
        let _ = std::fs::remove_file(&temporary);
        Error::os(what(), e)
    })
}
