//! What was seen, as a document: a row for each moment, a column for each kind of probe.

use std::fmt::Write as _;
use std::time::Duration;

use stockade_tests::node::target;
use stockade_tests::wire::{Called, Known};

use super::probes::{AGES, Seen, WAYS};
use super::stage::{Loaded, Victim};
use super::{LEASE, TIME};

/// The document of one sweep.
pub(super) fn of(victim: Victim, seen: &[Seen], restarted: Duration, load: &Loaded) -> String {
    let what = match victim {
        Victim::Owner => "The owner of the actors, called through another node",
        Victim::Entry => "The node that is called, before the owner of the actors",
        Victim::Both => "The owner of the actors, called directly",
        Victim::Store => "The store",
    };
    let (counts, restarted) = (load.counts(), restarted.as_millis());
    let mut text = format!(
        "# {what}, is killed and restarts\n\n\
         Killed with SIGKILL at 0 ms, serves again at {restarted} ms on the same address. Lease {} ms. A \
         probe is one call that writes, of an actor that is called once, with {} ms for the server. \
         Load in the same time: {} acknowledged, {} unknown, {} not done.\n\n",
        LEASE.as_millis(),
        TIME.as_millis(),
        counts.acknowledged,
        counts.unknown,
        counts.not_done
    );
    let columns = WAYS.into_iter().flat_map(|way| AGES.into_iter().map(move |age| (way, age)));
    let columns: Vec<_> = columns.collect();
    text.push_str("| begins at |");
    for (way, age) in &columns {
        let _ = write!(text, " {way:?}: {age:?} |");
    }
    let _ = write!(text, "\n|---|{}\n", "---|".repeat(columns.len()));
    let mut moments: Vec<Duration> = seen.iter().map(|probe| probe.at).collect();
    moments.dedup();
    for at in moments {
        let _ = write!(text, "| {} ms |", at.as_millis());
        for (way, age) in &columns {
            let is_it = |probe: &&Seen| (probe.at, probe.way, probe.age) == (at, *way, *age);
            let cell =
                seen.iter().find(is_it).map_or_else(String::new, |probe| cell(&probe.called));
            let _ = write!(text, " {cell} |");
        }
        text.push('\n');
    }
    text
}

fn cell(called: &Called) -> String {
    let Called { known, took, .. } = called;
    let how = match known {
        Known::Done(_) => "ok".to_owned(),
        Known::NotDone(why) => format!("not done, {why}"),
        Known::Unknown(why) => format!("UNKNOWN, {why}"),
        Known::Silent => "SILENT".to_owned(),
        Known::Wrong(what) => format!("WRONG, {what}"),
    };
    format!("{how} ({} ms)", took.as_millis())
}

/// Writes and prints it.
pub(super) fn write(victim: Victim, text: &str) {
    let folder = target().unwrap().join("restart-sweep");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(format!("{}.md", victim.name())), text).unwrap();
    println!("{text}");
}
