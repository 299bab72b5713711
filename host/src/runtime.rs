//! A runtime of the host's own, which may be dropped anywhere: its threads end by themselves.

use std::io;

use tokio::runtime::{Builder, Handle, Runtime};

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

/// Cores that this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZero::get)
}
