//! `stockade fault`: makes an actor fail on purpose.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::Value as Json;

use super::Context;
use super::actors::exit;
use super::failure::Failure;
use super::output::cell;
use super::target::Target;
use stockade::fault::Fault;

/// Make an actor fail on purpose, to see how the actor and its callers take it
///
/// Only on a host that was started with `stockade serve --allow-faults`. An armed fault waits for
/// the actor's next steps until it has fired, has run out, or is cleared; `stockade actors show`
/// lists it. Faults of the store also wait for a sleeping actor; crash and fence need an actor that
/// is awake.
#[derive(Args)]
#[command(after_long_help = "\
Each fault has a class, seen from the commit in whose way it is: before-durable (the commit is not
made), ambiguous (it may have been), after-durable (it is kept), read-only (none is touched).

Examples:
  stockade fault counter/alice crash
  stockade fault counter/alice fence
  stockade fault counter/alice lost-reply --count 3
  stockade fault counter/alice slow-store --delay-ms 500 --for-ms 30000
  stockade fault counter/alice store-full --for-ms 5000
  stockade fault counter/alice freeze --for-ms 2000
  stockade fault counter/alice clear")]
pub(super) struct Inject {
    /// The actor, KIND/KEY
    actor: Target,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// The live instance dies as by a trap; committed data is kept (after-durable)
    ///
    /// A call in progress is answered `actor.trapped` with the verdict of its writes. In-memory
    /// state is lost, the end counts as a crash, the next call starts a new generation.
    Crash,
    /// Another owner takes the database over (before-durable)
    ///
    /// The live generation finds out at its next commit or answer: that call is
    /// `depot.head-fence-mismatch`, its answer is withheld and its writes are not kept; so are the
    /// calls in the queue by then. The next generation recovers.
    Fence,
    /// The next commits are applied and their answers lost (ambiguous)
    ///
    /// Callers get a success: the host asks the store for the verdict of the commit.
    LostReply {
        /// How many commits, 1 to 100
        #[arg(long, default_value_t = 1)]
        count: u32,
    },
    /// Steps of the store wait before they are sent (read-only)
    ///
    /// Calls take longer. A call that passes its deadline fails with that error.
    SlowStore {
        /// How long each step waits, 1 to 5000
        #[arg(long, default_value_t = 200)]
        delay_ms: u64,
        /// How many steps, 1 to 100; without it all steps
        #[arg(long)]
        count: Option<u32>,
        /// How long the fault lasts, 1 to 600000
        #[arg(long, default_value_t = 10_000)]
        for_ms: u64,
    },
    /// Commits are refused: no room (before-durable)
    ///
    /// A call that writes is `depot.full`, its writes are not kept, its generation ends. Calls that
    /// only read continue.
    StoreFull {
        /// How long the fault lasts, 1 to 600000
        #[arg(long, default_value_t = 10_000)]
        for_ms: u64,
    },
    /// The store does not answer (before-durable)
    ///
    /// Calls wait until the fault is over. Past the host's deadlines they fail, and a commit that
    /// was on its way is indeterminate.
    Freeze {
        /// How long the fault lasts, 1 to 600000
        #[arg(long, default_value_t = 10_000)]
        for_ms: u64,
    },
    /// Clear the faults that have not fired
    Clear,
}

impl What {
    /// The fault; `None` clears.
    fn fault(&self) -> Option<Fault> {
        Some(match *self {
            Self::Crash => Fault::Crash,
            Self::Fence => Fault::Fence,
            Self::LostReply { count } => Fault::LostReply { count },
            Self::SlowStore { delay_ms, count, for_ms } => {
                Fault::SlowStore { delay_ms, count, for_ms }
            }
            Self::StoreFull { for_ms } => Fault::StoreFull { for_ms },
            Self::Freeze { for_ms } => Fault::Freeze { for_ms },
            Self::Clear => return None,
        })
    }
}

impl Inject {
    pub(super) fn run(&self, context: &Context) -> Result<ExitCode, Failure> {
        let client = context.admin()?;
        let path = format!("/admin/actors{}/fault", self.actor.path());
        let document = match self.what.fault() {
            Some(fault) => {
                let body = serde_json::to_value(fault).expect("BUG: a fault is numbers");
                client.post_json(&path, &body)?.json()?
            }
            None => client.delete(&path)?.json()?,
        };
        context.output.result(&document, told)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn told(document: &Json) -> String {
    let actor = cell(&document["actor"]);
    if let Some(cleared) = document["cleared"].as_array() {
        if cleared.is_empty() {
            return format!("{actor} had no fault in wait");
        }
        let cleared: Vec<String> = cleared.iter().map(armed).collect();
        return format!("{actor}: taken back: {}", cleared.join("; "));
    }
    let class = cell(&document["class"]);
    match document["did"].as_str() {
        Some("crashed") => format!("{actor} crashed ({class}): {}", exit(&document["exit"])),
        Some("fenced") => format!(
            "{actor} is fenced ({class}): generation {} lost its database to generation {}, and \
             finds out at its next commit or answer",
            document["lost"], document["winner"]
        ),
        _ => format!("{actor}: armed: {}", armed(document)),
    }
}

/// A fault in one line.
pub(super) fn armed(fault: &Json) -> String {
    let mut text = format!("{} ({})", cell(&fault["fault"]), cell(&fault["class"]));
    for (name, words) in [("delay_ms", "ms each"), ("count", "times"), ("for_ms", "ms left")] {
        if let Some(number) = fault[name].as_u64() {
            text.push_str(&format!(", {number} {words}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_was_done_is_told_in_a_line() {
        let armed = json!({
            "actor": "c/a", "fault": "slow-store", "class": "read-only", "did": "armed",
            "delay_ms": 7, "count": null, "for_ms": 90,
        });
        assert_eq!(told(&armed), "c/a: armed: slow-store (read-only), 7 ms each, 90 ms left");
        let cleared = json!({"actor": "c/a", "cleared": []});
        assert_eq!(told(&cleared), "c/a had no fault in wait");
    }
}
