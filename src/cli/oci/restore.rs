//! `restore`.

#![forbid(unsafe_code)]

use super::args::Parsed;
use super::{Context, checkpoint, life};
use crate::container::{CreateOptions, RestoreOptions, RunOptions};
use crate::error::Result;

/// `restore`.
pub(super) fn restore(context: &Context, parsed: &Parsed) -> Result<u8> {
    let id = life::id(parsed)?;
    let mut create = CreateOptions::new(parsed.path("bundle").unwrap_or_else(|| ".".into()));
    create.console_socket = parsed.path("console-socket");
    create.pid_file = parsed.path("pid-file");
    create.no_pivot = parsed.on("no-pivot");
    let options = RestoreOptions {
        criu: checkpoint::criu(parsed)?,
        lsm_profile: parsed.text("lsm-profile")?.map(str::to_owned),
        lsm_mount_context: parsed.text("lsm-mount-context")?.map(str::to_owned),
    };
    let run = RunOptions {
        detach: parsed.on("detach"),
        keep: false,
        subreaper: !parsed.on("no-subreaper"),
    };
    context.log.debug(|| format!("restore {id} from {}", options.criu.images.display()));
    let mut warned = |warning: &str| context.log.warn(warning);
    let status = context.runtime.restore(id, &create, &options, run, &mut warned)?;
    Ok(life::exit_code(status))
}
