//! The binary: parse, call, print one error, exit.

#![forbid(unsafe_code)]

use std::process::ExitCode;

/// Aborts a child that allocates between clone and exec.
#[cfg(debug_assertions)]
#[global_allocator]
static GUARD: stockade::sys::guard::Guarded = stockade::sys::guard::Guarded;

/// musl's allocator asks the kernel for each group of blocks: 68 calls in one start.
#[cfg(all(not(debug_assertions), target_env = "musl"))]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    ExitCode::from(stockade::cli::main(std::env::args_os().collect()))
}
