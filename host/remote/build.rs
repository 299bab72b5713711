//! Compiles the protocol, without a compiler of the system.

#![allow(clippy::print_stdout, reason = "how a build script speaks with cargo")]

use std::error::Error;

const PROTO: &str = "proto/remote.proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={PROTO}");
    let compiled = protox::compile([PROTO], ["proto"])?;
    tonic_prost_build::configure()
        .build_transport(false)
        .bytes(".")
        .emit_rerun_if_changed(false)
        .compile_fds(compiled)?;
    Ok(())
}
