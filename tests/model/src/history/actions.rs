//! Creating, importing, writing, pinning, trimming, destroying, each with the rule it follows.

use super::{Actor, Database, Head, History, Letter, Origin, PAGES, Txids, World};
use crate::Variant;

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// D6: directory row and head in one step, refused while there is one. Never reuses a db id.
    Create,
    /// D11: the same with origin `importing`.
    BeginImport,
    /// D11: pages of the imported file, as one commit.
    ImportPages,
    /// D11: the import's last step makes it `imported`.
    EndImport,
    /// D11: an import that was interrupted starts over, some time.
    AskReset,
    /// D4: the next generation. Refused for `importing` and while it is destroyed.
    TakeOver,
    /// D2: the owner writes one page.
    Commit(usize),
    /// D7: the owner sends a chunk of a transaction that it will give up.
    SendChunk(usize),
    /// D10: a pin is set, if its commit is not below the floor.
    Pin(u8),
    /// A pin is dropped.
    Unpin(u8),
    /// D10: a fork pins the state that it begins from.
    Fork(u8),
    /// A fork is destroyed, and its pin with it.
    Unfork(u8),
    /// D10: retention looks at head and pins and asks for a floor.
    AskFloor(u8),
    /// D10: deletes the oldest version of a page that a committed one at or below the floor
    /// supersedes.
    Trim(usize),
    /// D10: a takeover that marks the actor as being destroyed; also the resumption of one that
    /// was interrupted. Refused while a fork holds history; other pins go with the database.
    BeginDestroy,
    /// D10: one bounded step that deletes the pins.
    DestroyPins,
    /// D10: one bounded step of deletes.
    DestroyRows(usize),
    /// D10: head and directory row in one step, last.
    EndDestroy,
    /// The process that destroys dies.
    DestroyerCrash,
    /// A letter reaches the store.
    Arrive(usize),
    /// It does, and a copy of it is still on its way.
    ArriveTwice(usize),
}

impl History {
    /// Everything that may happen next.
    pub(super) fn possible(&self, world: &World, actions: &mut Vec<Action>) {
        for at in 0..world.letters.len() {
            actions.push(Action::Arrive(at));
            actions.push(Action::ArriveTwice(at));
        }
        let Some(actor) = world.actor else {
            if world.databases.len() < self.size.databases {
                actions.push(Action::Create);
                if world.left.imports > 0 {
                    actions.push(Action::BeginImport);
                }
            }
            return;
        };
        let database = &world.databases[actor.db];
        let Some(head) = database.head else {
            // Only a broken destroy leaves a directory row without a head.
            return;
        };
        if actor.destroying {
            self.possible_destroy(world, database, head, actions);
            return;
        }
        match head.origin {
            Origin::Importing => {
                if head.txid < self.size.commits {
                    actions.push(Action::ImportPages);
                }
                if head.txid > 0 {
                    actions.push(Action::EndImport);
                }
                if world.letters.len() < self.size.letters {
                    actions.push(Action::AskReset);
                }
            }
            Origin::Native | Origin::Imported => {
                self.possible_life(world, database, head, actions);
            }
        }
        if head.generation < self.size.generations && database.forks == 0 {
            actions.push(Action::BeginDestroy);
        }
    }

    fn possible_life(
        &self,
        world: &World,
        database: &Database,
        head: Head,
        actions: &mut Vec<Action>,
    ) {
        if head.generation < self.size.generations {
            actions.push(Action::TakeOver);
        }
        let room = world.letters.len() < self.size.letters;
        for page in 0..PAGES {
            if head.txid < self.size.commits {
                actions.push(Action::Commit(page));
            }
            if room && world.left.chunks > 0 {
                actions.push(Action::SendChunk(page));
            }
            if self.trimmed(database, head.floor, page).is_some() {
                actions.push(Action::Trim(page));
            }
        }
        for txid in 1..=head.txid {
            let kept = txid >= head.floor || !self.checks.make(Variant::Floor);
            if world.left.pins > 0 && kept && database.held() & (1 << txid) == 0 {
                actions.extend([Action::Pin(txid), Action::Fork(txid)]);
            }
            if database.pins & (1 << txid) != 0 {
                actions.push(Action::Unpin(txid));
            }
            if database.forks & (1 << txid) != 0 {
                actions.push(Action::Unfork(txid));
            }
            if room && txid > head.floor && txid <= oldest_pin(database) {
                actions.push(Action::AskFloor(txid));
            }
        }
    }

    fn possible_destroy(
        &self,
        world: &World,
        database: &Database,
        head: Head,
        actions: &mut Vec<Action>,
    ) {
        match world.destroyer {
            Some(generation) if generation == head.generation => {
                for page in 0..PAGES {
                    if database.rows[page] != 0 || database.staged[page] != 0 {
                        actions.push(Action::DestroyRows(page));
                    }
                }
                if database.pins != 0 {
                    actions.push(Action::DestroyPins);
                }
                if database.row_count() == 0 || !self.checks.make(Variant::DestroyOrder) {
                    actions.push(Action::EndDestroy);
                }
                if world.left.crashes > 0 {
                    actions.push(Action::DestroyerCrash);
                }
            }
            // Any caller that finds the mark continues, with a generation of its own.
            Some(_) | None => actions.push(Action::BeginDestroy),
        }
    }

    /// Does it.
    pub(super) fn act(&self, world: &mut World, action: Action) {
        match action {
            Action::Create => create(world, Origin::Native),
            Action::BeginImport => {
                world.left.imports -= 1;
                create(world, Origin::Importing);
            }
            Action::ImportPages => commit(world, &[0, 1]),
            Action::EndImport => {
                if self.checks.make(Variant::ImportOrigin) {
                    head(world).origin = Origin::Imported;
                } else {
                    // Open to all hosts, and still marked as an import.
                    head(world).origin = Origin::Native;
                }
            }
            Action::AskReset => {
                let db = current(world);
                world.letters.push(Letter::ResetImport { db });
            }
            Action::TakeOver => head(world).generation += 1,
            Action::Commit(page) => commit(world, &[page]),
            Action::SendChunk(page) => {
                world.left.chunks -= 1;
                let (db, generation) = (current(world), head(world).generation);
                world.letters.push(Letter::Chunk { db, generation, page });
            }
            Action::Pin(txid) => {
                world.left.pins -= 1;
                let db = current(world);
                world.databases[db].pins |= 1 << txid;
            }
            Action::Unpin(txid) => {
                let db = current(world);
                world.databases[db].pins &= !(1 << txid);
            }
            Action::Fork(txid) => {
                world.left.pins -= 1;
                let db = current(world);
                world.databases[db].forks |= 1 << txid;
            }
            Action::Unfork(txid) => {
                let db = current(world);
                world.databases[db].forks &= !(1 << txid);
            }
            Action::AskFloor(floor) => {
                let db = current(world);
                world.letters.push(Letter::RaiseFloor { db, floor });
            }
            Action::Trim(page) => {
                let (db, floor) = (current(world), head(world).floor);
                let database = &mut world.databases[db];
                if let Some(txid) = self.trimmed(database, floor, page) {
                    database.rows[page] &= !(1 << txid);
                }
            }
            Action::BeginDestroy => {
                let db = current(world);
                world.forks_ignored |= world.databases[db].forks != 0;
                let head = head(world);
                head.generation += 1;
                world.destroyer = Some(head.generation);
                world.actor = Some(Actor { db, destroying: true });
            }
            Action::DestroyRows(page) => {
                let db = current(world);
                world.databases[db].rows[page] = 0;
                world.databases[db].staged[page] = 0;
            }
            Action::DestroyPins => {
                let db = current(world);
                world.databases[db].pins = 0;
            }
            Action::EndDestroy => {
                let db = current(world);
                world.databases[db].head = None;
                // No caller can ask for the database any more: worlds that differ in it only are
                // the same.
                world.databases[db].written = [0; PAGES];
                world.actor = None;
                world.destroyer = None;
            }
            Action::DestroyerCrash => {
                world.left.crashes -= 1;
                world.destroyer = None;
            }
            Action::Arrive(letter) => {
                let letter = world.letters.remove(letter);
                self.arrive(world, letter);
            }
            Action::ArriveTwice(letter) => {
                let letter = world.letters[letter];
                self.arrive(world, letter);
            }
        }
    }

    /// D10: the oldest version of a page that a committed one at or below the floor supersedes.
    fn trimmed(&self, database: &Database, floor: u8, page: usize) -> Option<u8> {
        let newest = Database::newest(database.rows, page, floor)?;
        let staged = database.staged[page] != 0 && !self.checks.make(Variant::TrimCommitted);
        let superseded_from = if staged { newest + 1 } else { newest };
        (1..superseded_from).find(|txid| database.rows[page] & (1 << txid) != 0)
    }

    fn arrive(&self, world: &mut World, letter: Letter) {
        match letter {
            Letter::Chunk { db, generation, page } => {
                let database = &mut world.databases[db];
                let owns = database.head.is_some_and(|head| head.generation == generation);
                if owns || !self.checks.make(Variant::StageFence) {
                    database.staged[page] = 1;
                }
            }
            Letter::RaiseFloor { db, floor } => {
                let database = &mut world.databases[db];
                let oldest = oldest_pin(database);
                if let Some(head) = &mut database.head
                    && floor > head.floor
                    && floor <= head.txid
                    && floor <= oldest
                {
                    head.floor = floor;
                }
            }
            Letter::ResetImport { db } => self.reset_import(world, db),
        }
    }

    /// D11: on condition that the import has not ended.
    fn reset_import(&self, world: &mut World, db: usize) {
        let database = &mut world.databases[db];
        let Some(head) = &mut database.head else { return };
        let may = head.origin == Origin::Importing || !self.checks.make(Variant::ImportOrigin);
        if !may {
            return;
        }
        world.import_touched |= head.origin != Origin::Importing;
        head.txid = 0;
        head.floor = 0;
        database.rows = [0; PAGES];
        database.written = [0; PAGES];
    }
}

/// The database that the actor's name leads to.
fn current(world: &World) -> usize {
    world.actor.expect("BUG: the actor exists").db
}

fn head(world: &mut World) -> &mut Head {
    let db = current(world);
    world.databases[db].head.as_mut().expect("BUG: the database has a head")
}

fn create(world: &mut World, origin: Origin) {
    world.actor = Some(Actor { db: world.databases.len(), destroying: false });
    world.databases.push(Database {
        head: Some(Head { generation: 1, txid: 0, floor: 0, origin }),
        rows: [0; PAGES],
        staged: [0; PAGES],
        pins: 0,
        forks: 0,
        written: [0; PAGES],
    });
}

fn commit(world: &mut World, pages: &[usize]) {
    let head = head(world);
    head.txid += 1;
    let bit: Txids = 1 << head.txid;
    let db = current(world);
    for &page in pages {
        world.databases[db].rows[page] |= bit;
        world.databases[db].written[page] |= bit;
    }
}

fn oldest_pin(database: &Database) -> u8 {
    u8::try_from(database.held().trailing_zeros()).expect("BUG: at most 16")
}
