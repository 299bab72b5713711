//! A host inside your own program: deploys a component, calls one of its actors, ends in order.
//!
//! ```text
//! cargo run -p embed -- counter.wasm data
//! ```

#![allow(clippy::print_stdout, reason = "it says what it sees")]

use std::path::Path;

use anyhow::{Context, Result};
use stockade::{ActorId, Host, HostConfig, HostError};

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let component = arguments.next().context("usage: embed COMPONENT [DATA_DIR]")?;
    let data = arguments.next().unwrap_or_else(|| "data".to_owned());

    let host = Host::start(HostConfig::new(Path::new(&data))).await?;
    host.deploy("counter", std::fs::read(component)?, host.manifest()).await?;

    // The first call creates the actor. When the reply is here, its writes are durable.
    let alice = host.actor(&ActorId::new("counter", "alice")?);
    let reply = alice.call("increment", (5,)).await?;
    let value: Result<i64, String> = reply.read()?;
    println!("{value:?} as of commit {}", reply.txid);

    // An error says what to do: in this case, correct the arguments.
    match alice.call("increment", ("five",)).await {
        Err(error) if matches!(error.cause, HostError::Arguments(_)) => {
            println!("{}: {error}", error.retry().as_str());
        }
        other => println!("{:?}", other?.to_json()),
    }

    host.shutdown().await;
    Ok(())
}
