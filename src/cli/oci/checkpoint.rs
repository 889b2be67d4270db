//! `checkpoint`, and the options that it shares with `restore`.

#![forbid(unsafe_code)]

use super::args::{Parsed, invalid};
use super::{Context, life};
use crate::container::{CgroupsMode, CheckpointOptions, CriuOptions};
use crate::error::{Error, Result};
use crate::plan::values::quote;
use crate::sys::io;
use std::os::fd::{OwnedFd, RawFd};

/// `checkpoint`.
pub(super) fn checkpoint(context: &Context, parsed: &Parsed) -> Result<u8> {
    let id = life::id(parsed)?;
    let container = context.runtime.load(id)?;
    let options = CheckpointOptions {
        criu: criu(parsed)?,
        parent: parsed.path("parent-path"),
        leave_running: parsed.on("leave-running"),
        pre_dump: parsed.on("pre-dump"),
        tcp_skip_in_flight: parsed.on("tcp-skip-in-flight"),
        link_remap: parsed.on("link-remap"),
        page_server: parsed.text("page-server")?.map(page_server).transpose()?,
        ready: ready(parsed)?,
    };
    context.log.debug(|| format!("checkpoint {id} to {}", options.criu.images.display()));
    for warning in container.checkpoint(options)? {
        context.log.warn(&warning);
    }
    Ok(0)
}

/// What both have.
pub(super) fn criu(parsed: &Parsed) -> Result<CriuOptions> {
    // runc makes no others, and has found no use for configuring this one.
    for kind in parsed.texts("empty-ns")? {
        if kind != "network" {
            return Err(invalid(format!("namespace {} is not supported", quote(kind)))
                .hint("--empty-ns network is the only one, and always so"));
        }
    }
    Ok(CriuOptions {
        images: parsed.path("image-path").unwrap_or_else(|| "checkpoint".into()),
        work: parsed.path("work-path"),
        tcp_established: parsed.on("tcp-established"),
        ext_unix_sockets: parsed.on("ext-unix-sk"),
        shell_job: parsed.on("shell-job"),
        file_locks: parsed.on("file-locks"),
        cgroups: cgroups_mode(parsed.text("manage-cgroups-mode")?)?,
        auto_dedup: parsed.on("auto-dedup"),
        lazy_pages: parsed.on("lazy-pages"),
    })
}

fn cgroups_mode(word: Option<&str>) -> Result<CgroupsMode> {
    Ok(match word {
        None => CgroupsMode::Default,
        Some("ignore") => CgroupsMode::Ignore,
        Some("soft") => CgroupsMode::Soft,
        Some("full") => CgroupsMode::Full,
        Some("strict") => CgroupsMode::Strict,
        Some(other) => {
            return Err(invalid(format!("invalid manage-cgroups-mode value {}", quote(other)))
                .hint("it is soft, full, strict or ignore"));
        }
    })
}

/// `ADDRESS:PORT`; the address of IPv6 stands between brackets.
fn page_server(word: &str) -> Result<(String, u16)> {
    let bad = || {
        invalid("Use --page-server ADDRESS:PORT to specify page server")
            .hint(format!("{} is none", quote(word)))
    };
    let (address, port) = word.rsplit_once(':').ok_or_else(bad)?;
    let inner = address.strip_prefix('[').and_then(|a| a.strip_suffix(']'));
    let address = match inner {
        Some(inner) => inner,
        None if address.contains(':') => return Err(bad()),
        None => address,
    };
    let port: u16 = port.parse().map_err(|_| invalid("Invalid port number").hint("1 to 65535"))?;
    if address.is_empty() || port == 0 {
        return Err(bad());
    }
    Ok((address.to_owned(), port))
}

/// The descriptor that the caller named, which becomes ours, so that its end is closed when the byte is
/// written.
fn ready(parsed: &Parsed) -> Result<Option<OwnedFd>> {
    let Some(number) = parsed.number::<RawFd>("status-fd")?.filter(|n| *n != -1) else {
        return Ok(None);
    };
    let bad = |e: std::io::Error| Error::os(format!("invalid --status-fd argument {number}"), e);
    if number < 3 {
        return Err(invalid(format!("invalid --status-fd argument {number}"))
            .hint("it is the number of an open descriptor above 2"));
    }
    let ours = io::duplicate_number(number).map_err(|e| bad(e.into()))?;
    let flags =
        nix::fcntl::fcntl(&ours, nix::fcntl::FcntlArg::F_GETFL).map_err(|e| bad(e.into()))?;
    if flags & libc::O_ACCMODE == libc::O_RDONLY {
        return Err(invalid(format!("invalid --status-fd argument {number}: not writable"))
            .hint("hand over the writing end of a pipe"));
    }
    nix::unistd::close(number).map_err(|e| bad(e.into()))?;
    Ok(Some(ours))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_servers_are_addresses_with_ports() {
        assert_eq!(page_server("0.0.0.0:27277").unwrap(), ("0.0.0.0".into(), 27277));
        assert_eq!(page_server("[::1]:1").unwrap(), ("::1".into(), 1));
        for bad in ["", ":1", "a", "a:", "a:0", "a:70000", "::1:1", "a:x"] {
            assert!(page_server(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn modes_are_criu_s() {
        assert_eq!(cgroups_mode(None).unwrap(), CgroupsMode::Default);
        assert_eq!(cgroups_mode(Some("strict")).unwrap(), CgroupsMode::Strict);
        assert!(cgroups_mode(Some("none")).is_err());
    }
}
