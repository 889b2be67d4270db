//! The life cycle of containers through the library: what is asked for in config.json is what the
//! program inside finds.

#[path = "../support/mod.rs"]
mod support;

mod attacks;
mod bundle;
mod hooks;
mod inside;
mod invalid;
mod lifecycle;
mod terminal;
