//! `mounts add` and `mounts remove`, which crun has.

#![forbid(unsafe_code)]

use super::args::{Parsed, invalid};
use super::{Context, path_error};
use crate::error::Result;
use crate::plan::values::quote;
use std::io::Read;
use std::path::Path;

/// Most bytes of a list of mounts.
const LONGEST: u64 = 1 << 20;

/// `mounts`.
pub(super) fn mounts(context: &Context, parsed: &Parsed) -> Result<u8> {
    let verb = parsed.word(0)?;
    let add = match verb {
        "add" => true,
        "remove" => false,
        other => {
            return Err(invalid(format!("mounts: {} is neither add nor remove", quote(other))));
        }
    };
    let container = context.runtime.load(parsed.word(1)?)?;
    let path = Path::new(parsed.words.get(2).map_or("".as_ref(), |w| w.as_os_str()));
    let failed = |e: std::io::Error| path_error("read", path, e);
    let mut json = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(LONGEST + 1).read_to_end(&mut json))
        .map_err(failed)?;
    if json.len() as u64 > LONGEST {
        return Err(invalid(format!("{}: a list of mounts has at most 1 MiB", path.display())));
    }
    if !add {
        return container.remove_mounts(&json, true).map(|()| 0);
    }
    for warning in container.add_mounts(&json, true)? {
        context.log.warn(&warning);
    }
    Ok(0)
}
