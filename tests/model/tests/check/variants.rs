//! Each check switched off: the model finds a way to break the property that the table names.

use stockade_model::Variant;
use stockade_model::checking::shortest_trace;
use stockade_model::circles::{self, Circles};
use stockade_model::due::{self, Due};
use stockade_model::history::{self, History};
use stockade_model::messages::{self, Messages};
use stockade_model::ownership::{self, Ownership};
use stockade_model::pages::{self, Pages};
use stockade_model::records::{self, Records};
use stockade_model::shards::{self, Shards};
use stockade_model::sweep::{self, Sweep};

use super::sizes::{self, Scale};

/// Which machine, at which size.
#[derive(Clone, Copy)]
enum Machine {
    Ownership(fn(Scale) -> ownership::Size),
    Pages(fn(Scale) -> pages::Size),
    History(fn(Scale) -> history::Size),
    Shards(fn(Scale) -> shards::Size),
    Due(fn(Scale) -> due::Size),
    Sweep(fn(Scale) -> sweep::Size),
    Messages(fn(Scale) -> messages::Size),
    Records(fn(Scale) -> records::Size),
    Circles(fn(Scale) -> circles::Size),
}

const RACES: Machine = Machine::Ownership(sizes::races);
const READERS: Machine = Machine::Ownership(sizes::readers);
const HEIRS: Machine = Machine::Ownership(sizes::heirs);
const REFUSALS: Machine = Machine::Ownership(sizes::refusals);
const ENDINGS: Machine = Machine::Ownership(sizes::endings);
const STAGING: Machine = Machine::Pages(sizes::staging);
const CACHING: Machine = Machine::Pages(sizes::caching);
const LIVES: Machine = Machine::History(sizes::lives);
const MOVING: Machine = Machine::Shards(sizes::moving);
const CALLERS: Machine = Machine::Shards(sizes::callers);
const MOVERS: Machine = Machine::Shards(sizes::movers);
const RETURNING: Machine = Machine::Shards(sizes::returning);
const REMAKING: Machine = Machine::Shards(sizes::remaking);
const MAKING: Machine = Machine::Shards(sizes::making);
const TARGETS: Machine = Machine::Shards(sizes::targets);
const SAYING: Machine = Machine::Due(sizes::saying);
const TRYING: Machine = Machine::Due(sizes::trying);
const LOOKING: Machine = Machine::Sweep(sizes::looking);
const TALKING: Machine = Machine::Messages(sizes::talking);
const CLOSING: Machine = Machine::Messages(sizes::closing);
const REVIVING: Machine = Machine::Messages(sizes::reviving);
const RENEWING: Machine = Machine::Messages(sizes::renewing);
const FORKING: Machine = Machine::Messages(sizes::forking);
const RESTORING: Machine = Machine::Messages(sizes::restoring);
const KEYS: Machine = Machine::Records(sizes::keys);
const FILLING: Machine = Machine::Records(sizes::filling);
const SETTLING: Machine = Machine::Records(sizes::settling);
const STEPPING: Machine = Machine::Records(sizes::stepping);
const CALLING: Machine = Machine::Records(sizes::calling);
const PAIRS: Machine = Machine::Circles(sizes::pairs);
const RINGS: Machine = Machine::Circles(sizes::rings);

/// The check that is switched off, the machine, the property that it breaks, and how many actions
/// that takes.
const CAUGHT: &[(Variant, Machine, &str, usize)] = &[
    (Variant::ReadFence, CACHING, pages::names::OWN_READS, 4),
    (Variant::ReadBound, RACES, ownership::names::HEALTHY, 8),
    (Variant::CommitFence, READERS, ownership::names::HEARD_IS_FRESH, 16),
    (Variant::SealFence, ENDINGS, ownership::names::OWN_SEALS, 9),
    (Variant::TakeoverCondition, RACES, ownership::names::JUDGED, 3),
    (Variant::PreloadApart, CACHING, pages::names::CACHE_IS_CURRENT, 4),
    (Variant::ConfirmFence, READERS, ownership::names::HEARD_IS_OWNED, 10),
    (Variant::StageFence, LIVES, history::names::NOTHING_IS_LEFT, 5),
    (Variant::StageId, STAGING, pages::names::READS_ARE_COMMITTED, 4),
    (Variant::StageOnce, STAGING, pages::names::READS_ARE_COMMITTED, 5),
    (Variant::Join, ENDINGS, ownership::names::CURRENT, 11),
    (Variant::GateDurable, RACES, ownership::names::ACKNOWLEDGED_IS_KEPT, 6),
    (Variant::GateConfirm, READERS, ownership::names::HEARD_IS_FRESH, 16),
    (Variant::Token, RACES, ownership::names::ONE_OWNER, 5),
    (Variant::Resend, RACES, ownership::names::REFUSED_IS_NOT_KEPT, 10),
    (Variant::FatalLoss, REFUSALS, ownership::names::HEARD_IS_DURABLE, 11),
    (Variant::NoHoles, STAGING, pages::names::READS_ARE_COMMITTED, 1),
    (Variant::Floor, LIVES, history::names::PINS_HOLD, 7),
    (Variant::TrimCommitted, LIVES, history::names::HEAD_IS_WHOLE, 7),
    (Variant::CacheTag, CACHING, pages::names::CACHE_IS_CURRENT, 4),
    (Variant::SnapshotCurrent, ENDINGS, ownership::names::CURRENT, 18),
    (Variant::HeirAsked, HEIRS, ownership::names::HEARD_IS_OWNED, 13),
    (Variant::HeirOnce, HEIRS, ownership::names::ONE_OWNER, 13),
    (Variant::DestroyOrder, LIVES, history::names::NOTHING_IS_LEFT, 4),
    (Variant::ImportOrigin, LIVES, history::names::IMPORT_KEEPS_OUT, 5),
    (Variant::AbsentRow, MAKING, shards::names::ABSENT_IS_TRUE, 4),
    (Variant::AbsentDb, REMAKING, shards::names::ABSENT_IS_TRUE, 37),
    (Variant::CreateRow, MAKING, shards::names::ONE_LIVE, 4),
    (Variant::CreateLock, MAKING, shards::names::ONE_LIVE, 16),
    (Variant::GoneFirst, MAKING, shards::names::ONE_LIVE, 12),
    (Variant::DirectedVersion, MAKING, shards::names::ONE_LIVE, 25),
    (Variant::LookTogether, MAKING, shards::names::ONE_LIVE, 24),
    (Variant::FlipEmpty, MAKING, shards::names::ONE_LIVE, 15),
    (Variant::DecideOwner, MOVING, shards::names::SOMEWHERE, 25),
    (Variant::DecidePins, MOVING, shards::names::AS_IT_WAS, 21),
    (Variant::CopyAnew, MOVING, shards::names::KEPT, 31),
    (Variant::CopyClaim, MOVERS, shards::names::SOMEWHERE, 24),
    (Variant::HoldEnded, MOVING, shards::names::SOMEWHERE, 28),
    (Variant::HelpMark, CALLERS, shards::names::ONE_LIVE, 16),
    (Variant::HelpOwner, REMAKING, shards::names::AS_IT_WAS, 32),
    (Variant::CopyVoid, REMAKING, shards::names::ANSWERS, 25),
    (Variant::ReleaseMoving, MOVING, shards::names::ANSWERS, 11),
    (Variant::VerdictMoved, MOVING, shards::names::NOT_KEPT, 27),
    (Variant::StripMoved, RETURNING, shards::names::SOMEWHERE, 53),
    (Variant::PurgeGone, RETURNING, shards::names::SOMEWHERE, 62),
    (Variant::ComesStill, RETURNING, shards::names::SOMEWHERE, 66),
    (Variant::ComeVersion, RETURNING, shards::names::ENDS, 51),
    (Variant::MoverTarget, TARGETS, shards::names::ABSENT_IS_TRUE, 22),
    (Variant::OpenId, TALKING, messages::names::ONCE, 22),
    (Variant::OpenLast, TALKING, messages::names::ONCE, 14),
    (Variant::CloseId, CLOSING, messages::names::ONCE, 22),
    (Variant::CloseEmpty, CLOSING, messages::names::ONCE, 13),
    (Variant::CloseCommitted, CLOSING, messages::names::ONCE, 19),
    (Variant::RowBefore, TALKING, messages::names::HANDLED, 10),
    (Variant::BeforeKept, RESTORING, messages::names::DELIVERED, 10),
    (Variant::MarkName, FORKING, messages::names::HANDLED, 14),
    (Variant::QuestionLast, REVIVING, messages::names::ONCE, 17),
    (Variant::QuestionRises, RENEWING, messages::names::ONCE, 22),
    (Variant::ConversationNamed, TALKING, messages::names::ONCE, 10),
    (Variant::NumbersRise, TALKING, messages::names::HANDLED, 10),
    (Variant::MarkCommit, TALKING, messages::names::ONCE, 8),
    (Variant::AckCommit, TALKING, messages::names::HANDLED, 7),
    (Variant::SendDurable, TALKING, messages::names::HANDLED, 9),
    (Variant::ParkReceiver, TALKING, messages::names::HANDLED, 12),
    (Variant::DueStep, SAYING, due::names::NEVER_LATE, 4),
    (Variant::UntouchedNull, SAYING, due::names::NEVER_LATE, 5),
    (Variant::MergedDue, SAYING, due::names::NEVER_LATE, 5),
    (Variant::LookAgain, SAYING, due::names::NEVER_LATE, 5),
    (Variant::DueDropped, SAYING, due::names::NEVER_LATE, 6),
    (Variant::SettleTxid, SAYING, due::names::NEVER_LATE, 7),
    (Variant::SettleRest, SAYING, due::names::DUE_TIME, 4),
    (Variant::SettleSent, SAYING, due::names::QUIET, 1),
    (Variant::TryDurable, TRYING, due::names::LIMITED, 13),
    (Variant::GiveBack, TRYING, due::names::COUNTED, 11),
    (Variant::SetNumber, TRYING, due::names::KEPT, 10),
    (Variant::SetInherits, TRYING, due::names::LIMITED, 17),
    (Variant::OwnRows, TRYING, due::names::COPIES_REST, 5),
    (Variant::ParkedRest, TRYING, due::names::DUE_TIME, 15),
    (Variant::LookBehind, LOOKING, sweep::names::WOKEN, 0),
    (Variant::OverdueAny, LOOKING, sweep::names::WOKEN, 1),
    (Variant::DeadCounted, LOOKING, sweep::names::ENDED, 12),
    (Variant::ClockHeld, LOOKING, sweep::names::NOT_EARLY, 13),
    (Variant::WakeDb, LOOKING, sweep::names::NOT_MADE, 7),
    (Variant::CallGeneration, CALLING, records::names::OWN_ANSWER, 5),
    (Variant::RecordName, KEYS, records::names::OWN_ANSWER, 5),
    (Variant::RecordPrincipal, KEYS, records::names::OWN_ANSWER, 4),
    (Variant::RecordArguments, KEYS, records::names::OWN_ANSWER, 4),
    (Variant::NeverCommits, SETTLING, records::names::ONCE, 6),
    (Variant::OutcomeCommit, SETTLING, records::names::ONCE, 4),
    (Variant::BegunDurable, STEPPING, records::names::ONCE, 6),
    (Variant::ExpiredId, SETTLING, records::names::ONCE, 5),
    (Variant::RecordsFull, FILLING, records::names::ONCE, 5),
    (Variant::NotedFirst, PAIRS, circles::names::OPENED, 6),
    (Variant::HookNoted, PAIRS, circles::names::OPENED, 4),
    (Variant::LookTwice, RINGS, circles::names::REAL, 8),
    (Variant::LookCallee, PAIRS, circles::names::REAL, 11),
    (Variant::Youngest, PAIRS, circles::names::ONE, 10),
    (Variant::BegunKept, PAIRS, circles::names::BEGUN, 10),
];

fn trace(variant: Variant, machine: Machine, property: &'static str) -> Option<Vec<String>> {
    match machine {
        Machine::Ownership(size) => {
            shortest_trace(&Ownership::without(size(Scale::Small), variant), property)
        }
        Machine::Pages(size) => {
            shortest_trace(&Pages::without(size(Scale::Small), variant), property)
        }
        Machine::History(size) => {
            shortest_trace(&History::without(size(Scale::Small), variant), property)
        }
        Machine::Shards(size) => {
            shortest_trace(&Shards::without(size(Scale::Small), variant), property)
        }
        Machine::Due(size) => shortest_trace(&Due::without(size(Scale::Small), variant), property),
        Machine::Sweep(size) => {
            shortest_trace(&Sweep::without(size(Scale::Small), variant), property)
        }
        Machine::Messages(size) => {
            shortest_trace(&Messages::without(size(Scale::Small), variant), property)
        }
        Machine::Records(size) => {
            shortest_trace(&Records::without(size(Scale::Small), variant), property)
        }
        Machine::Circles(size) => {
            shortest_trace(&Circles::without(size(Scale::Small), variant), property)
        }
    }
}

#[test]
fn every_variant_is_caught() {
    let mut wrong = Vec::new();
    for (variant, machine, property, length) in CAUGHT {
        let name = variant.name();
        let Some(actions) = trace(*variant, *machine, property) else {
            wrong.push(format!("{name} does not break `{property}`"));
            continue;
        };
        println!("{name} breaks `{property}` in {} actions", actions.len());
        println!("    {}", actions.join(", "));
        if actions.len() != *length {
            wrong.push(format!("{name}: {} actions, the table says {length}", actions.len()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_table_has_every_variant_once() {
    let mut names: Vec<&str> = CAUGHT.iter().map(|row| row.0.name()).collect();
    let mut all: Vec<&str> = Variant::ALL.iter().map(|variant| variant.name()).collect();
    names.sort_unstable();
    all.sort_unstable();
    assert_eq!(names, all);
}

/// What people read is what is checked.
#[test]
fn the_readme_has_the_table() {
    let readme = include_str!("../../../README.md");
    let missing: Vec<String> = CAUGHT
        .iter()
        .map(|(variant, _, property, length)| {
            format!("| `{}` | {property} | {length} |", variant.name())
        })
        .filter(|row| !readme.contains(row.as_str()))
        .collect();
    assert!(missing.is_empty(), "tests/README.md lacks\n{}", missing.join("\n"));
}
