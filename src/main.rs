//! The binary: parse, call, print one error, exit.

#![forbid(unsafe_code)]

use std::process::ExitCode;

/// Aborts a child that allocates between clone and exec.
#[cfg(debug_assertions)]
#[global_allocator]
static GUARD: stockade::sys::guard::Guarded = stockade::sys::guard::Guarded;

fn main() -> ExitCode {
    ExitCode::from(stockade::cli::main(std::env::args_os().collect()))
}
