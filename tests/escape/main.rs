//! Ways out of a jail: hostile root file systems, symlinks, descriptors, races, volumes, and the
//! runtime's own binary. What is asserted is the effect: a decoy tree outside stays as it was.

#[path = "../support/attack.rs"]
mod attack;
#[path = "../support/decoy.rs"]
mod decoy;
#[path = "../support/mod.rs"]
mod support;

mod binary;
mod descriptors;
mod races;
mod rootfs;
mod users;
mod volumes;
