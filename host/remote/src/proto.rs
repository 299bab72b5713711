//! The messages of `proto/remote.proto`, as they are compiled.

#![allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    reason = "generated; the protocol is described in its file"
)]

tonic::include_proto!("stockade.remote");
