//! Transactions, chunks, reads, takeovers, each with the rule it follows.

use super::store::after;
use super::{Entry, Letter, NODES, PAGES, Pages, Row, SPILLED, Staging, World};
use crate::Variant;

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// D2: a transaction that fits into one step.
    Commit(Transaction),
    /// D7: a transaction that does not: its chunks are sent, no other commit is in flight.
    Stage(Transaction),
    /// D7: all chunks are acknowledged, the commit row names the stage.
    CommitStage,
    /// The transaction is rolled back. Nothing is cleaned up, and chunks may still be on their way.
    GiveUpStage,
    /// D4: the next generation, on a node. What the former one staged is garbage.
    TakeOver(usize),
    /// The same as one statement that waits for the head's lock and reads pages as they were
    /// before.
    SendTakeOver(usize),
    /// D7: garbage is collected, some time.
    Collect,
    /// D1: the session asks for a page.
    Read(usize),
    /// A letter reaches the store, or an answer the node that asked.
    Arrive(usize),
    /// It does, and a copy of it is still on its way.
    ArriveTwice(usize),
    /// A cache makes room.
    Evict(usize, usize),
}

/// What a transaction does: which pages it writes, and how many there are afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Transaction {
    /// Pages that SQLite writes, as bits.
    pub writes: u8,
    /// Pages afterwards.
    pub count: usize,
}

impl Transaction {
    fn pages(self) -> Vec<usize> {
        (0..PAGES).filter(|page| self.writes & (1 << page) != 0).collect()
    }

    /// Writing one page or both, growing, shrinking.
    fn all() -> impl Iterator<Item = Self> {
        (1..=PAGES).flat_map(|count| (1..1_u8 << count).map(move |writes| Self { writes, count }))
    }
}

impl Pages {
    /// Everything that may happen next.
    pub(super) fn possible(&self, world: &World, actions: &mut Vec<Action>) {
        let left = &world.left;
        match &world.staging {
            None if left.next_value <= self.size.transactions => {
                for transaction in Transaction::all() {
                    actions.push(Action::Commit(transaction));
                    if left.next_stage <= self.size.stages {
                        actions.push(Action::Stage(transaction));
                    }
                }
            }
            None => {}
            Some(staging) => {
                if staging.waiting == 0 {
                    actions.push(Action::CommitStage);
                }
                actions.push(Action::GiveUpStage);
            }
        }
        if world.generation < self.size.generations {
            if self.checks.make(Variant::PreloadApart) {
                actions.extend((0..NODES).map(Action::TakeOver));
            } else if world.letters.is_empty() {
                actions.extend((0..NODES).map(Action::SendTakeOver));
            }
        }
        if left.collections > 0 && world.rows.iter().any(|row| row.stage != 0) {
            actions.push(Action::Collect);
        }
        if left.reads > 0 {
            actions.extend((0..world.image().len()).map(Action::Read));
        }
        for (at, letter) in world.letters.iter().enumerate() {
            actions.push(Action::Arrive(at));
            if left.copies > 0 && !matches!(letter, Letter::Answer { .. }) {
                actions.push(Action::ArriveTwice(at));
            }
        }
        if left.evictions > 0 {
            for (node, cache) in world.caches.iter().enumerate() {
                for (page, entry) in cache.iter().enumerate() {
                    if entry.is_some() {
                        actions.push(Action::Evict(node, page));
                    }
                }
            }
        }
    }

    /// Does it.
    pub(super) fn act(&self, world: &mut World, action: Action) {
        match action {
            Action::Commit(transaction) => {
                let (image, pages) = self.run(world, transaction);
                world.commit(0, image, &pages);
                remember_commit(world, &pages);
            }
            Action::Stage(transaction) => self.stage(world, transaction),
            Action::CommitStage => {
                if let Some(staging) = world.staging.take() {
                    let pages: Vec<usize> = (0..PAGES)
                        .filter(|page| world.image().get(*page) != staging.image.get(*page))
                        .collect();
                    world.commit(staging.stage, staging.image, &[]);
                    remember_commit(world, &pages);
                }
            }
            Action::GiveUpStage => world.staging = None,
            Action::TakeOver(node) => take_over(world, node),
            Action::SendTakeOver(node) => {
                let seen = world.txid();
                world.letters.push(Letter::TakeOver { node, seen });
            }
            Action::Collect => {
                world.left.collections -= 1;
                world.collect();
            }
            Action::Read(page) => {
                world.left.reads -= 1;
                let (generation, node, at) = (world.generation, world.node, world.txid());
                world.letters.push(Letter::Read { generation, node, page, at });
            }
            Action::Arrive(letter) => {
                let letter = world.letters.remove(letter);
                self.arrive(world, letter);
            }
            Action::ArriveTwice(letter) => {
                world.left.copies -= 1;
                let letter = world.letters[letter];
                self.arrive(world, letter);
            }
            Action::Evict(node, page) => {
                world.left.evictions -= 1;
                world.caches[node][page] = None;
            }
        }
    }

    /// Runs a transaction: what SQLite has then, and the pages that its commit must write.
    fn run(&self, world: &mut World, transaction: Transaction) -> (Vec<u8>, Vec<usize>) {
        let value = world.left.next_value;
        world.left.next_value += 1;
        let mut pages = transaction.pages();
        let image = after(world.image(), transaction.count, &pages, value);
        if self.checks.make(Variant::NoHoles) {
            // D8: a row for every page between old and new count.
            pages.extend(world.image().len()..transaction.count);
            pages.sort_unstable();
            pages.dedup();
        }
        (image, pages)
    }

    fn stage(&self, world: &mut World, transaction: Transaction) {
        let (image, pages) = self.run(world, transaction);
        let (generation, txid) = (world.generation, world.txid() + 1);
        let stage = world.left.next_stage;
        world.left.next_stage += 1;
        let mut waiting = 0;
        for page in pages {
            waiting |= 1 << page;
            // What SQLite spills in the middle of a transaction is not yet what it commits.
            let early = if self.checks.make(Variant::StageOnce) { 0 } else { SPILLED };
            let row = Row { page, txid, stage, value: image[page] + early };
            world.letters.push(Letter::Chunk { generation, row });
        }
        world.staging = Some(Staging { stage, image, waiting });
    }

    fn arrive(&self, world: &mut World, letter: Letter) {
        match letter {
            Letter::Chunk { generation, row } => {
                if generation != world.generation && self.checks.make(Variant::StageFence) {
                    return;
                }
                let stage = if self.checks.make(Variant::StageId) { row.stage } else { 0 };
                world.write(Row { stage, ..row });
                if let Some(staging) = &mut world.staging
                    && staging.stage == row.stage
                    && staging.waiting & (1 << row.page) != 0
                {
                    if row.value >= SPILLED {
                        let row = Row { value: row.value - SPILLED, ..row };
                        world.letters.push(Letter::Chunk { generation, row });
                    } else {
                        staging.waiting &= !(1 << row.page);
                    }
                }
            }
            Letter::TakeOver { node, seen } => {
                take_over(world, node);
                let valid_through = world.txid();
                for page in 0..PAGES {
                    let value = world.visible(page, seen);
                    let entry = value.map(|value| Entry { value, valid_through });
                    world.caches[node][page] = entry;
                }
            }
            Letter::Read { generation, node, page, at } => {
                let owns = generation == world.generation;
                if !owns && self.checks.make(Variant::ReadFence) {
                    return;
                }
                world.foreign_read |= !owns;
                if let Some(value) = world.visible(page, at) {
                    world.letters.push(Letter::Answer { node, page, at, value });
                }
            }
            Letter::Answer { node, page, at, value } => {
                // An answer older than what the session wrote itself is dropped.
                let entry = &mut world.caches[node][page];
                if entry.is_none_or(|entry| entry.valid_through <= at) {
                    *entry = Some(Entry { value, valid_through: at });
                }
            }
        }
    }

    /// D1: whether the session may serve a page from its node's cache.
    pub(super) fn serves(&self, world: &World, entry: Entry) -> bool {
        entry.valid_through >= world.txid() || !self.checks.make(Variant::CacheTag)
    }
}

fn take_over(world: &mut World, node: usize) {
    world.generation += 1;
    world.node = node;
    world.staging = None;
}

/// The owner's own commit keeps its cache up to date: what it wrote is new, what it did not write
/// and was valid is valid still, what was cut off is gone.
fn remember_commit(world: &mut World, pages: &[usize]) {
    let txid = world.txid();
    let image = world.image().to_vec();
    for (page, entry) in world.caches[world.node].iter_mut().enumerate() {
        match image.get(page) {
            None => *entry = None,
            Some(&value) if pages.contains(&page) => {
                *entry = Some(Entry { value, valid_through: txid });
            }
            Some(_) => {
                if let Some(entry) = entry
                    && entry.valid_through + 1 == txid
                {
                    entry.valid_through = txid;
                }
            }
        }
    }
}
