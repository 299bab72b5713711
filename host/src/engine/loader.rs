//! Turns verified machine code from the cache into a component. The only unsafe step of the
//! engine, alone in its file.
#![allow(unsafe_code, reason = "loading compiled code is unsafe by nature; see SAFETY below")]

use crate::engine::cache::VerifiedCode;

/// The component in `code`.
///
/// # Errors
/// The code was made by another version of the engine, or for other settings or another machine.
pub(super) fn load(
    engine: &wasmtime::Engine,
    code: VerifiedCode,
) -> wasmtime::Result<wasmtime::component::Component> {
    // SAFETY: `deserialize` needs bytes that `Component::serialize` made and that are unchanged.
    // `VerifiedCode` is only made by `cache.rs`, from a file in a directory that was found to
    // belong to this user and to be writable by no other, whose bytes have the SHA-256 that was
    // written with them. The bytes are a private copy, so a later change of the file cannot reach
    // them.
    unsafe { wasmtime::component::Component::deserialize(engine, code.bytes()) }
}
