//! The built guests: every folder of `tests/guests` and `examples`, as a constant.

use std::path::Path;

use anyhow::Context;

/// A guest that `build.rs` has built, or could not build.
#[derive(Clone, Copy, Debug)]
pub struct Guest {
    /// The name of its folder.
    pub name: &'static str,
    /// The path of its component, or why there is none.
    path: Result<&'static str, &'static str>,
}

impl Guest {
    /// The component's bytes.
    ///
    /// # Errors
    /// Why the component was not built.
    pub fn wasm(self) -> anyhow::Result<Vec<u8>> {
        let path = self.path.map_err(|reason| anyhow::anyhow!("guest {}: {reason}", self.name))?;
        std::fs::read(path).with_context(|| format!("read guest {path}"))
    }

    /// The core module from which the component was made.
    ///
    /// # Errors
    /// Why the module was not built.
    pub fn core_module(self) -> anyhow::Result<Vec<u8>> {
        Ok(std::fs::read(Path::new(self.path()?).with_extension("core.wasm"))?)
    }

    /// The path of the component.
    ///
    /// # Errors
    /// Why the component was not built.
    pub fn path(self) -> anyhow::Result<&'static str> {
        self.path.map_err(|reason| anyhow::anyhow!("guest {}: {reason}", self.name))
    }
}

include!(concat!(env!("OUT_DIR"), "/guests.rs"));
