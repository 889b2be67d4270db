//! Making a container's directories, and taking back what was made when a later step fails.

use super::{Part, Request, freezer, is_v2, lacks_right, rootless, walk};
use crate::error::{Error, Kind, Result};
use crate::host::cgroup::dir::Dir;
use crate::sys;

/// Directories that were made: removed on drop, last first, unless they are kept.
#[derive(Debug, Default)]
pub(super) struct Made(Vec<(String, String)>);

impl Made {
    /// The container is complete.
    pub(super) fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for (top, path) in self.0.drain(..).rev() {
            // Empty as yet. What is above may be somebody else's by now, and then it stays.
            if let Ok(top) = Dir::open(&top) {
                let _ = top.remove_child(&path);
            }
        }
    }
}

/// Makes the directory of each part and readies it for processes.
pub(super) fn directories(
    parts: &mut Vec<Part>,
    request: &Request<'_>,
    made: &mut Made,
) -> Result<()> {
    let v2_only = is_v2(parts);
    let mut refused = Vec::new();
    for (at, part) in parts.iter_mut().enumerate().filter(|(_, part)| part.dir.is_none()) {
        match directory(part, v2_only, request, made) {
            Ok(dir) => part.dir = Some(dir),
            Err(e) if request.may_lack() && lacks_right(&e) => {
                refused.push(at);
            }
            Err(e) => return Err(e),
        }
    }
    for at in refused.into_iter().rev() {
        parts.remove(at);
    }
    Ok(())
}

/// Opens what systemd has made.
pub(super) fn of_unit(parts: &mut [Part]) -> Result<()> {
    for part in parts {
        let dir = part
            .top
            .below(&part.path)
            .map_err(|e| Error::os(format!("open the unit's cgroup {}", part.full_path()), e))?;
        // systemd gives only those controllers that it has properties for.
        enable_controllers(part, &dir)?;
        part.dir = Some(dir);
    }
    Ok(())
}

/// Makes the directory in the hierarchy of v2 that has no controllers (hybrid).
pub(super) fn unified(parts: &mut Vec<Part>, request: &Request<'_>, made: &mut Made) -> Result<()> {
    let Some(at) = parts.iter().position(|p| p.v2) else { return Ok(()) };
    let Some(part) = parts.get_mut(at) else { return Ok(()) };
    match directory(part, false, request, made) {
        Ok(dir) => part.dir = Some(dir),
        Err(e) if request.may_lack() && lacks_right(&e) => {
            parts.remove(at);
        }
        Err(e) => return Err(e),
    }
    Ok(())
}

fn directory(part: &Part, v2_only: bool, request: &Request<'_>, made: &mut Made) -> Result<Dir> {
    let failed = |e: sys::Errno| {
        let error = Error::os(format!("make the cgroup {}", part.full_path()), e);
        if lacks_right(&error) { error.hint(rootless::NOT_DELEGATED) } else { error }
    };
    let is_new = make(part, made).map_err(failed)?;
    let dir = part.top.below(&part.path).map_err(failed)?;
    if !is_new {
        refuse_populated(&dir)?;
    }
    if part.controllers.iter().any(|c| c == "cpuset") {
        fill_cpuset(part, request, is_new)?;
    }
    if part.v2 && v2_only {
        enable_controllers(part, &dir)?;
    }
    // Frozen itself, or below one that is: whoever joins would stop, and we with it.
    if (part.v2 || part.controllers.iter().any(|c| c == "freezer")) && freezer::holds(&dir) {
        let text = format!("container's cgroup unexpectedly frozen: {}", dir.path);
        return Err(Error::new(Kind::InvalidConfig, text)
            .hint("thaw it first, or give another linux.cgroupsPath"));
    }
    Ok(dir)
}

/// Makes the directory with what is missing above it; whether it was not there before.
fn make(part: &Part, made: &mut Made) -> sys::Result<bool> {
    let mut note = |path: &str| made.0.push((part.top.path.clone(), path.to_owned()));
    match part.top.make_below(&part.path) {
        Ok(()) => {
            note(&part.path);
            return Ok(true);
        }
        Err(e) if e.0 == libc::EEXIST => return Ok(false),
        Err(e) if e.0 != libc::ENOENT => return Err(e),
        Err(_) => {}
    }
    let ends = part.path.match_indices('/').map(|(at, _)| at).chain([part.path.len()]);
    let mut is_new = false;
    for path in ends.filter_map(|end| part.path.get(..end)) {
        is_new = match part.top.make_below(path) {
            Ok(()) => {
                note(path);
                true
            }
            Err(e) if e.0 == libc::EEXIST => false,
            Err(e) => return Err(e),
        };
    }
    Ok(is_new)
}

/// A look ahead at one hierarchy, as runc has it; all are looked at when they are made.
pub(super) fn refuse_taken(parts: &[Part]) -> Result<()> {
    let devices = parts.iter().find(|p| p.controllers.iter().any(|c| c == "devices"));
    let Some(part) = devices.or_else(|| parts.first()) else { return Ok(()) };
    part.top.below(&part.path).map_or(Ok(()), |dir| refuse_populated(&dir))
}

/// A cgroup may have been prepared by the caller, but nobody may be in it: limits, freezing and
/// killing would hit strangers.
fn refuse_populated(dir: &Dir) -> Result<()> {
    let inside = walk::processes(dir)
        .map_err(|e| Error::os(format!("read the processes of the cgroup {}", dir.path), e))?;
    if inside.is_empty() {
        return Ok(());
    }
    let text = format!(
        "container's cgroup is not empty: {} process(es) found in {}",
        inside.len(),
        dir.path
    );
    Err(Error::new(Kind::Exists, text).hint("give each container a linux.cgroupsPath of its own"))
}

/// A new cpuset of v1 has neither CPUs nor memory nodes, and nobody may join it so. What was not
/// asked for comes from above, where it may be missing as well.
fn fill_cpuset(part: &Part, request: &Request<'_>, is_new: bool) -> Result<()> {
    let cpu = request.resources.cpu().as_ref();
    let asked = |list: Option<&Option<String>>| {
        list.and_then(Option::as_deref).is_some_and(|l| !l.is_empty())
    };
    for (file, asked) in [
        ("cpuset.cpus", asked(cpu.map(|c| c.cpus()))),
        ("cpuset.mems", asked(cpu.map(|c| c.mems()))),
    ] {
        // What is asked for is set with the other limits, but has to be within the parent's.
        if asked {
            inherit(part, above(&part.path), file)?;
        } else if is_new {
            let value = inherit(part, above(&part.path), file)?;
            part.top.set(&format!("{}/{file}", part.path), &value)?;
        } else {
            inherit(part, &part.path, file)?;
        }
    }
    Ok(())
}

fn above(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(up, _)| up)
}

fn inherit(part: &Part, path: &str, file: &str) -> Result<String> {
    let name = if path.is_empty() { file.to_owned() } else { format!("{path}/{file}") };
    let own =
        part.top.read(&name).map_err(|e| Error::os(format!("read {}/{name}", part.top.path), e))?;
    if !own.trim().is_empty() || path.is_empty() {
        return Ok(own.trim().to_owned());
    }
    let value = inherit(part, above(path), file)?;
    part.top.set(&name, &value)?;
    Ok(value)
}

fn has_processes(part: &Part, level: &str) -> bool {
    part.top.read(&format!("{level}/cgroup.procs")).is_ok_and(|list| !list.is_empty())
}

/// Sees that the cgroup gets every controller that its hierarchy has, since statistics need them,
/// too. What cannot be had is missed when a limit needs it.
fn enable_controllers(part: &Part, dir: &Dir) -> Result<()> {
    let read = |dir: &Dir, file: &str| {
        dir.read(file).map_err(|e| Error::os(format!("read {}/{file}", dir.path), e))
    };
    // The type says whether its controllers would work at all.
    let kind = read(dir, "cgroup.type")?;
    if kind.trim() != "domain" {
        let text = format!("the cgroup {} is of type {:?}", dir.path, kind.trim());
        return Err(Error::new(Kind::Unsupported, text).hint(
            "a threaded cgroup above it allows no container; give another linux.cgroupsPath",
        ));
    }
    let wanted = read(&part.top, "cgroup.controllers")?;
    let lacking = |have: &str| -> Vec<String> {
        let missing = |c: &&str| !have.split_whitespace().any(|h| h == *c);
        wanted.split_whitespace().filter(missing).map(|c| format!("+{c}")).collect()
    };
    if lacking(&read(dir, "cgroup.controllers")?).is_empty() {
        return Ok(());
    }
    let levels = part.path.match_indices('/').filter_map(|(at, _)| part.path.get(..at));
    for level in std::iter::once("").chain(levels) {
        let file = if level.is_empty() {
            "cgroup.subtree_control".to_owned()
        } else {
            format!("{level}/cgroup.subtree_control")
        };
        let lacking = lacking(&read(&part.top, &file)?);
        // With processes of its own it can give those controllers only that are for threads, and what is
        // below it could then have no processes at all.
        if !level.is_empty() && !lacking.is_empty() && has_processes(part, level) {
            return Ok(());
        }
        // One write, so that the kernel walks the tree once; one by one if it wants not all.
        if !lacking.is_empty() && part.top.write(&file, &lacking.join(" ")).is_err() {
            for controller in lacking {
                let _ = part.top.write(&file, &controller);
            }
        }
    }
    Ok(())
}
