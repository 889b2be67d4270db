//! Docker with stockade as its runtime: Debian's dockerd, started by these tests, does with
//! `--runtime stockade` what it does with runc.
//!
//! One dockerd serves them all; it is stopped when the program ends, and what it leaves behind
//! then is a failure.

#[macro_use]
#[path = "../support/clients.rs"]
mod clients;
#[path = "../support/images.rs"]
mod images;
#[path = "../support/mod.rs"]
mod support;

mod checkpoint;
mod daemon;
mod install;
mod isolation;
mod lifecycle;
mod limits;
mod requirements;
mod restart;
mod run;
