//! Makes a component of a core module that was compiled for `wasm32-wasip1`, or for bare
//! `wasm32-unknown-unknown`, with bindings of `wit-bindgen`.
//!
//! ```text
//!  core module ── custom section component-type: its world ──┐
//!   imports wasi_snapshot_preview1 ──> adapter: WASI 0.2 ────┴──> component
//! ```
//! The adapter is wasmtime's, of the version that the host runs with. [`client()`] writes the WIT of a
//! component's callers.

mod client;

pub use client::{
    CALL_ERRORS, CLIENT_NAMESPACE, ClientError, Interfaces, client, client_names, is_for_callers,
    kind_of, package_of,
};

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wasmparser::{Encoding, Parser, Payload};
use wit_component::ComponentEncoder;

/// Why a module cannot become a component.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes are not a core module, or not a valid one.
    #[error("it is not a valid module: {0}")]
    Invalid(String),
    /// The module does not name its world: it was compiled without bindings.
    #[error(
        "it says nothing of its interfaces: a module needs bindings that `wit-bindgen` has made, as \
         the SDK does"
    )]
    NoWorld,
    /// The module imports something that its world does not have, or exports less than its world
    /// requires.
    #[error("{0}")]
    Unfit(String),
}

/// The two forms of a WebAssembly binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A core module.
    Module,
    /// A component.
    Component,
}

/// The form of the bytes, by their first bytes; `None`: neither.
#[must_use]
pub fn form(wasm: &[u8]) -> Option<Form> {
    match Parser::new(0).parse_all(wasm).next()?.ok()? {
        Payload::Version { encoding: Encoding::Module, .. } => Some(Form::Module),
        Payload::Version { encoding: Encoding::Component, .. } => Some(Form::Component),
        _ => None,
    }
}

/// Makes the component of a core module.
///
/// ```
/// let module = wat::parse_str("(module)")?;
/// assert_eq!(stockade_componentize::form(&module), Some(stockade_componentize::Form::Module));
/// let error = stockade_componentize::componentize(&module).unwrap_err();
/// assert_eq!(error, stockade_componentize::Error::NoWorld);
/// # Ok::<(), wat::Error>(())
/// ```
///
/// # Errors
/// [`Error`] says what the module lacks.
pub fn componentize(module: &[u8]) -> Result<Vec<u8>, Error> {
    if !has_world(module)? {
        return Err(Error::NoWorld);
    }
    let unfit = |error: anyhow::Error| Error::Unfit(format!("{error:#}"));
    ComponentEncoder::default()
        .validate(true)
        .module(module)
        .and_then(|encoder| {
            encoder.adapter(
                WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME,
                WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
            )
        })
        .and_then(|mut encoder| encoder.encode())
        .map_err(unfit)
}

/// Whether a module has a section that describes its world.
fn has_world(module: &[u8]) -> Result<bool, Error> {
    let mut found = false;
    for payload in Parser::new(0).parse_all(module) {
        match payload.map_err(|error| Error::Invalid(error.to_string()))? {
            Payload::Version { encoding: Encoding::Component, .. } => {
                return Err(Error::Invalid("it is a component already".to_owned()));
            }
            Payload::CustomSection(section) => {
                found |= section.name().starts_with("component-type")
            }
            _ => {}
        }
    }
    Ok(found)
}
