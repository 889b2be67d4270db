//! When an `exec` has to run from where nobody can write to the program's file.

#![forbid(unsafe_code)]

use super::state::{Container, Saved};
use crate::error::Result;
use crate::host::seal;
use crate::plan::detail::NamespaceKind;

/// Before anything is read that can be read once only. Goes on as a sealed copy, if one is needed.
///
/// Who has CAP_SYS_PTRACE in our own user namespace can open this program's file through the
/// `/proc/PID/exe` of a process that is about to execute another one, undumpable or not, and can
/// write to it later (CVE-2019-5736). Such a process need not be of this container: another one may
/// share its pid namespace, or come to share it. So the program runs from where nobody can write to
/// it, whatever the configuration says; only a user namespace of the container's does without.
pub(crate) fn before(container: &Container) -> Result<()> {
    instead(&container.saved()?, true)
}

/// The same once the state is known.
pub(super) fn instead(saved: &Saved, may_replace_program: bool) -> Result<()> {
    let needed = may_replace_program && !has_user_namespace(saved) && !seal::is_sealed();
    if needed { Err(seal::run_sealed()) } else { Ok(()) }
}

pub(super) fn has_user_namespace(saved: &Saved) -> bool {
    saved.namespaces.iter().any(|n| n == NamespaceKind::User.name())
}
