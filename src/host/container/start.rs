//! Letting a created container's process go on to its program.

#![forbid(unsafe_code)]

use super::state::Container;
use crate::error::{Error, Kind, Result};

/// Starts it.
pub(crate) fn start(_container: &Container) -> Result<()> {
    Err(Error::new(Kind::Unsupported, "start is not there yet"))
}
