//! A runtime of the host's own, which may be dropped anywhere: its threads end by themselves.

use std::io;

use tokio::runtime::{Builder, Handle, Runtime};

/// The nice value of threads whose work may wait. 10: beside busy threads of the usual priority such a
/// thread gets a tenth of a core.
const LOW: i32 = 10;

/// A runtime that lives until this is dropped, in any context.
pub struct OwnRuntime(Option<Runtime>);

impl OwnRuntime {
    /// Starts the runtime that `builder` describes.
    ///
    /// # Errors
    /// The system has no resources left for a runtime.
    pub fn start(builder: &mut Builder) -> io::Result<Self> {
        builder.build().map(Some).map(Self)
    }

    /// A handle to spawn on the runtime.
    pub fn handle(&self) -> &Handle {
        self.0.as_ref().expect("BUG: it runs until the drop").handle()
    }
}

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        // A runtime must not be dropped where it would block.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Gives the calling thread a low priority (nice 10), for work that may wait for other work.
/// Irrevocable without privileges, so only for threads that do nothing else.
pub fn lower_priority() {
    // On Linux no process means the calling thread alone.
    if let Err(error) = rustix::process::setpriority_process(None, LOW) {
        tracing::debug!(%error, "a thread keeps its priority");
    }
}

/// Cores that this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZero::get)
}
