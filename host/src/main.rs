//! The `stockade` program.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// A call allocates on one thread and frees on another, a few dozen times. Of the program alone: an
/// embedder chooses its own.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    stockade::cli::main()
}
