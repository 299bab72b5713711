//! The actions of each party, with the rule that each follows.

use super::store::{Answer, Leaves, Owner, Place, Step, heir_of};
use super::{Ending, First, Flight, Gated, Heir, Host, Letter, Ownership, Session, World, Writes};
use crate::Variant;

/// One thing that happens. Hosts and letters by their place in the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// D4: a host reads the head, judges its owner replaceable, and sends an attempt. Whether the
    /// judgement was right is no matter of safety.
    TakeOver(usize),
    /// A host asks whether the heir that was appointed here still owns the head, and begins it.
    Inherit(usize),
    /// D1: a page comes from the store, and only to the owner: the first one, and any that is
    /// missed while a commit is in flight.
    ReadPage(usize),
    /// A call begins, its guest runs and writes; COMMIT answers *accepted*.
    CallWrites(usize),
    /// A call begins and its guest reads from SQLite's cache, without a question to the store.
    CallReads(usize),
    /// D2: what was collected becomes the one commit in flight.
    SendCommit(usize),
    /// D12: the store is asked, after the call began, whether the fence still holds.
    Confirm(usize, usize),
    /// The gate: an answer passes the gate and reaches its caller.
    Hear(usize, usize),
    /// The orderly end, steps 1 to 6: no more calls, SQL is revoked, the snapshot is taken.
    Stop(usize),
    /// D5 and the orderly end, step 7: when all accepted work is done, the seal is sent.
    SendSeal(usize),
    /// The same without the snapshot, with the takeover of the next generation in it.
    SendSealForHeir(usize),
    /// The process dies. Its letters stay on their way.
    HostCrash(usize),
    /// A letter reaches the store.
    Arrive(usize),
    /// It does, and a copy of it is still on its way.
    ArriveTwice(usize),
    /// The store says for sure that it did nothing (`Unavailable`).
    Refuse(usize),
    /// The open group is on disk: its answers leave.
    Sync,
    /// The store dies: its open group and all requests in its queues are gone.
    StoreCrash,
    /// An answer arrives at the host that waits for it.
    Deliver(usize),
    /// The host that waits for an answer stops waiting (`Unknown`) and asks for the verdict.
    TimeOut(usize),
    /// The same, with the store away until the deadline.
    GiveUp(usize),
}

impl Ownership {
    /// Everything that may happen next.
    pub(super) fn possible(&self, world: &World, actions: &mut Vec<Action>) {
        for (at, host) in world.hosts.iter().enumerate() {
            match host {
                Host::Idle => {
                    if world.left.next_token <= self.size.attempts {
                        actions.push(Action::TakeOver(at));
                    }
                }
                Host::Taking { .. } => self.possible_crash(world, at, actions),
                Host::Waiting(_) => {
                    actions.push(Action::Inherit(at));
                    self.possible_crash(world, at, actions);
                }
                Host::Serving(session) => {
                    self.possible_in(world, at, session, actions);
                    self.possible_crash(world, at, actions);
                }
            }
        }
        for (at, letter) in world.letters.iter().enumerate() {
            self.possible_for(world, at, letter, actions);
        }
        if world.open.is_some() {
            actions.push(Action::Sync);
        }
        if world.left.store_crashes > 0 && !world.letters.is_empty() {
            actions.push(Action::StoreCrash);
        }
    }

    fn possible_crash(&self, world: &World, at: usize, actions: &mut Vec<Action>) {
        if world.left.host_crashes > 0 {
            actions.push(Action::HostCrash(at));
        }
    }

    fn possible_in(&self, world: &World, at: usize, session: &Session, actions: &mut Vec<Action>) {
        let alive = !session.dead;
        let running = alive && session.ending == Ending::Running;
        if running && (session.cached.is_none() || session.flight.is_some()) {
            actions.push(Action::ReadPage(at));
        }
        if running && session.cached.is_some() && session.gated.len() < self.size.gated {
            if world.left.next_write < self.size.writes {
                actions.push(Action::CallWrites(at));
            }
            if world.left.reads > 0 {
                actions.push(Action::CallReads(at));
            }
        }
        if alive && session.flight.is_none() && session.collected != 0 {
            actions.push(Action::SendCommit(at));
        }
        for (number, gated) in session.gated.iter().enumerate() {
            if alive && gated.wrote == 0 && !gated.confirmed {
                actions.push(Action::Confirm(at, number));
            }
            if self.passes(session, gated) {
                actions.push(Action::Hear(at, number));
            }
        }
        match session.ending {
            Ending::Running if running && world.left.seals > 0 && session.cached.is_some() => {
                actions.push(Action::Stop(at));
            }
            Ending::Stopped { .. } if alive && self.may_seal(session) => {
                actions.push(Action::SendSeal(at));
                if self.size.heirs && world.left.next_token <= self.size.attempts {
                    actions.push(Action::SendSealForHeir(at));
                }
            }
            Ending::Running | Ending::Stopped { .. } | Ending::Sealing { .. } => {}
        }
    }

    fn possible_for(&self, world: &World, at: usize, letter: &Letter, actions: &mut Vec<Action>) {
        let commit = matches!(letter.step, Step::Commit { .. });
        if letter.place == Place::Sent {
            actions.push(Action::Arrive(at));
            if world.left.copies > 0 {
                actions.push(Action::ArriveTwice(at));
            }
            if world.left.refusals > 0 && commit && letter.awaited.is_some() {
                actions.push(Action::Refuse(at));
            }
        }
        if letter.awaited.is_some() {
            if matches!(letter.place, Place::Answered(_)) {
                actions.push(Action::Deliver(at));
            }
            // The connection to a store that died breaks: that costs nothing of the bound.
            if world.left.timeouts > 0 || letter.place == Place::Lost {
                actions.push(Action::TimeOut(at));
                if commit {
                    actions.push(Action::GiveUp(at));
                }
            }
        }
    }

    /// The gate: (a) everything it rests on is durable, (b) ownership is confirmed; a durable
    /// commit of the call itself is a confirmation.
    fn passes(&self, session: &Session, gated: &Gated) -> bool {
        let waiting = session.collected | session.flight.map_or(0, |flight| flight.writes);
        let durable = gated.rests_on & waiting == 0 || !self.checks.make(Variant::GateDurable);
        let confirmed =
            gated.wrote != 0 || gated.confirmed || !self.checks.make(Variant::GateConfirm);
        durable && confirmed
    }

    /// The work of the generation is done, and the answers before the seal have left.
    fn may_seal(&self, session: &Session) -> bool {
        let joined = session.flight.is_none() && session.collected == 0 && session.gated.is_empty();
        joined || !self.checks.make(Variant::Join)
    }

    /// Does it.
    pub(super) fn act(&self, world: &mut World, action: Action) {
        match action {
            Action::TakeOver(host) => self.take_over(world, host),
            Action::Inherit(host) => self.inherit(world, host),
            Action::ReadPage(host) => self.read_page(world, host),
            Action::CallWrites(host) => {
                let write = 1 << world.left.next_write;
                world.left.next_write += 1;
                self.call(world, host, write);
            }
            Action::CallReads(host) => {
                world.left.reads -= 1;
                self.call(world, host, 0);
            }
            Action::SendCommit(host) => {
                let session = serving(world, host);
                let writes = std::mem::take(&mut session.collected);
                session.flight = Some(Flight { writes, sends: 1, doubt: false });
                send_flight(world, host);
            }
            Action::Confirm(host, number) => self.confirm(world, host, number),
            Action::Hear(host, number) => hear(world, host, number),
            Action::Stop(host) => {
                world.left.seals -= 1;
                let session = serving(world, host);
                let snapshot = session.cached.unwrap_or(0);
                session.ending = Ending::Stopped { snapshot };
            }
            Action::SendSeal(host) => {
                let session = serving(world, host);
                if let Ending::Stopped { snapshot } = session.ending {
                    let leaves = Leaves::Snapshot(snapshot);
                    session.ending = Ending::Sealing { leaves, sends: 1 };
                }
                send_seal(world, host);
            }
            Action::SendSealForHeir(host) => {
                let leaves = Leaves::Heir(world.left.next_token);
                world.left.next_token += 1;
                serving(world, host).ending = Ending::Sealing { leaves, sends: 1 };
                send_seal(world, host);
            }
            Action::HostCrash(host) => {
                world.left.host_crashes -= 1;
                leave(world, host);
            }
            Action::Arrive(letter) => self.arrive(world, letter),
            Action::ArriveTwice(letter) => {
                world.left.copies -= 1;
                let copy = Letter { awaited: None, ..world.letters[letter].clone() };
                self.arrive(world, letter);
                world.letters.push(copy);
            }
            Action::Refuse(letter) => {
                world.left.refusals -= 1;
                let letter = world.letters.remove(letter);
                if let Some(host) = letter.awaited {
                    self.send_commit_again(world, host);
                }
            }
            Action::Sync => sync(world),
            Action::StoreCrash => store_crash(world),
            Action::Deliver(letter) => {
                let letter = world.letters.remove(letter);
                if let (Some(host), Place::Answered(answer)) = (letter.awaited, letter.place) {
                    self.deliver(world, host, letter.step, answer);
                }
            }
            Action::TimeOut(letter) => {
                if let Some((host, step)) = stop_waiting(world, letter) {
                    self.unknown(world, host, step);
                }
            }
            Action::GiveUp(letter) => {
                if let Some((host, _)) = stop_waiting(world, letter) {
                    indeterminate(world, host);
                }
            }
        }
    }

    // --- the host ------------------------------------------------------------------------------

    /// D4: what the attempt expects is fixed here and never raised.
    fn take_over(&self, world: &mut World, host: usize) {
        let token = world.left.next_token;
        world.left.next_token += 1;
        let (replaces, acknowledged) = (world.durable.owner, world.told.committed);
        world.hosts[host] = Host::Taking { replaces, token, sends: 1, acknowledged };
        send(world, host, Step::TakeOver { replaces, token });
    }

    /// D4: the attempt was won.
    fn start(
        &self,
        world: &mut World,
        host: usize,
        owner: Owner,
        txid: u8,
        handed: Option<Writes>,
    ) {
        let bit = 1 << owner.generation;
        world.breaches.two_owners |= world.held & bit != 0;
        world.held |= bit;
        world.breaches.wrong_snapshot |=
            handed.is_some_and(|knows| knows != world.durable.writes(txid));
        let acknowledged = match world.hosts[host] {
            Host::Taking { acknowledged, .. } => acknowledged,
            Host::Idle | Host::Serving(_) | Host::Waiting(_) => world.told.committed,
        };
        world.hosts[host] = Host::Serving(Session {
            owner,
            durable: txid,
            first: Some(First { fenced: false, acknowledged }),
            kept: None,
            cached: None,
            collected: 0,
            flight: None,
            gated: Vec::new(),
            dead: false,
            ending: Ending::Running,
        });
    }

    /// The heir that was appointed here begins, if the head is still its own. It writes nothing,
    /// and what was cached of the generation before it is still right.
    fn inherit(&self, world: &mut World, host: usize) {
        let Host::Waiting(heir) = world.hosts[host] else { return };
        let fenced = world.durable.owner != heir.owner;
        if fenced && self.checks.make(Variant::HeirAsked) {
            world.hosts[host] = Host::Idle;
            return;
        }
        let cached = world.durable.writes(heir.durable);
        self.start(world, host, heir.owner, heir.durable, None);
        let session = serving(world, host);
        if let Some(first) = &mut session.first {
            first.fenced = fenced;
        }
        session.cached = Some(cached);
        session.kept = (!self.checks.make(Variant::HeirOnce)).then_some(heir);
    }

    /// D4: whose is the head? Our token, still the one we replace, or another owner's.
    fn settle_attempt(&self, world: &mut World, host: usize, head: Owner) {
        let Host::Taking { replaces, token, sends, acknowledged } = world.hosts[host] else {
            return;
        };
        let ours = if self.checks.make(Variant::Token) {
            head.token == token
        } else {
            head.generation == replaces.generation + 1
        };
        if ours {
            // It owns what the head says; what the snapshot was, the lost answer knew.
            let txid = world.durable.txid();
            self.start(world, host, Owner { generation: head.generation, token }, txid, None);
        } else if head == replaces && sends < self.size.sends {
            let sends = sends + 1;
            world.hosts[host] = Host::Taking { replaces, token, sends, acknowledged };
            send(world, host, Step::TakeOver { replaces, token });
        } else {
            // Superseded, or past the deadline.
            world.hosts[host] = Host::Idle;
        }
    }

    /// D1.
    fn read_page(&self, world: &mut World, host: usize) {
        let durable = world.durable.clone();
        let session = serving(world, host);
        let owns = self.owns(&durable, session.owner);
        // The store may be at any commit that this session has sent: its txid is only a bound.
        let bound = durable.txid() == session.durable || self.checks.make(Variant::ReadBound);
        if (owns && bound) || !self.checks.make(Variant::ReadFence) {
            if session.cached.is_none() {
                session.cached = Some(durable.writes(session.durable));
            }
            let true_owner = durable.owner == session.owner && !durable.sealed;
            world.breaches.foreign_read |= !true_owner;
        } else {
            fenced(world, host);
        }
    }

    /// A guest runs. What it writes is accepted, and its answer waits.
    fn call(&self, world: &mut World, host: usize, wrote: Writes) {
        let durable = world.durable.clone();
        let acknowledged = world.told.committed;
        let session = serving(world, host);
        let first = session.first.take();
        // The first call began before the fence was won.
        let acknowledged = first.map_or(acknowledged, |first| first.acknowledged);
        let cached = session.cached.unwrap_or(0);
        session.cached = Some(cached | wrote);
        session.collected |= wrote;
        let waiting = session.collected | session.flight.map_or(0, |flight| flight.writes);
        // Whatever its SQLite shows and the store does not have waits for a verdict, if all is
        // well.
        let rests_on = waiting | (cached & !durable.all_writes());
        session.gated.push(Gated {
            wrote,
            rests_on,
            confirmed: first.is_some(),
            began_fenced: first
                .map_or(durable.owner != session.owner || durable.sealed, |first| first.fenced),
            stale: acknowledged & !(cached | wrote) != 0,
        });
    }

    /// D12.
    fn confirm(&self, world: &mut World, host: usize, number: usize) {
        let durable = world.durable.clone();
        let session = serving(world, host);
        let owns = self.owns(&durable, session.owner);
        if owns || !self.checks.make(Variant::ConfirmFence) {
            session.gated[number].confirmed = true;
        } else {
            fenced(world, host);
        }
    }

    // --- letters -------------------------------------------------------------------------------

    /// The store executes a step. Without groups the step is durable immediately.
    fn arrive(&self, world: &mut World, letter: usize) {
        let step = world.letters[letter].step;
        let mut books = world.open.take().unwrap_or_else(|| world.durable.clone());
        let answer = self.execute(&mut books, step, &mut world.breaches);
        world.letters[letter].place = Place::Executed(answer);
        world.open = Some(books);
        if !self.groups() {
            sync(world);
        }
    }

    /// The store's answer.
    fn deliver(&self, world: &mut World, host: usize, step: Step, answer: Answer) {
        match (step, answer) {
            (Step::TakeOver { .. }, Answer::Owned { owner, txid, handed }) => {
                self.start(world, host, owner, txid, handed);
            }
            (Step::TakeOver { .. }, Answer::Refused(head)) => {
                self.settle_attempt(world, host, head);
            }
            (Step::Commit { .. }, Answer::Done) => committed(world, host),
            (Step::Commit { owner, .. }, Answer::Refused(head)) => {
                let session = serving(world, host);
                let Some(flight) = session.flight else { return };
                // Only our own step can have moved a head that is ours.
                let in_doubt = flight.doubt || flight.sends > 1 || self.same(head, owner);
                if in_doubt && self.checks.make(Variant::Resend) {
                    self.verdict(world, host);
                } else {
                    note_fence(world, host);
                    self.not_committed(world, host);
                }
            }
            (Step::Seal { .. }, Answer::Done) => sealed(world, host),
            (Step::Seal { .. }, Answer::Refused(_)) => self.settle_seal(world, host),
            (Step::TakeOver { .. }, Answer::Done)
            | (Step::Commit { .. } | Step::Seal { .. }, Answer::Owned { .. }) => {
                unreachable!("BUG: an answer to another step")
            }
        }
    }

    /// No answer came: whether the step was applied is not known.
    fn unknown(&self, world: &mut World, host: usize, step: Step) {
        match step {
            Step::TakeOver { .. } => {
                let head = world.durable.owner;
                self.settle_attempt(world, host, head);
            }
            Step::Commit { .. } => {
                if let Some(flight) = &mut serving(world, host).flight {
                    flight.doubt = true;
                }
                if self.checks.make(Variant::Resend) {
                    self.verdict(world, host);
                } else {
                    self.send_commit_again(world, host);
                }
            }
            Step::Seal { .. } => self.settle_seal(world, host),
        }
    }

    /// D3: head and commit row, read in one statement.
    fn verdict(&self, world: &mut World, host: usize) {
        let durable = world.durable.clone();
        let session = serving(world, host);
        let Some(flight) = session.flight else { return };
        let row = durable.log.get(usize::from(session.durable));
        let ours = row.is_some_and(|row| {
            row.generation == session.owner.generation && row.writes == flight.writes
        });
        let owns = self.owns(&durable, session.owner);
        match (ours, owns) {
            (true, true) => committed(world, host),
            // Committed, whichever host owns the head now.
            (true, false) => {
                committed(world, host);
                die(world, host);
            }
            (false, false) => {
                note_fence(world, host);
                self.not_committed(world, host);
            }
            (false, true) if durable.txid() == session.durable => {
                self.send_commit_again(world, host);
            }
            // The head is ours and has moved without us: the row is damaged.
            (false, true) => self.not_committed(world, host),
        }
    }

    /// The commit in flight is lost, and with it everything after: a published commit cannot be
    /// taken back from SQLite, so the session is dead.
    fn not_committed(&self, world: &mut World, host: usize) {
        let session = serving(world, host);
        let writes = session.flight.take().map_or(0, |flight| flight.writes);
        refuse(world, host, writes);
        if self.checks.make(Variant::FatalLoss) {
            die(world, host);
        }
    }

    /// The same bytes again, until the deadline. A dead session only asks.
    fn send_commit_again(&self, world: &mut World, host: usize) {
        let sends_max = self.size.sends;
        let session = serving(world, host);
        let Some(flight) = &mut session.flight else { return };
        if !session.dead && flight.sends < sends_max {
            flight.sends += 1;
            send_flight(world, host);
        } else if flight.doubt {
            indeterminate(world, host);
        } else {
            self.not_committed(world, host);
        }
    }

    /// D5: sealed with our token, or owned by our heir, is sealed by us; ours and open is sent
    /// again; else it is lost.
    fn settle_seal(&self, world: &mut World, host: usize) {
        let session = serving(world, host);
        let (owner, ending) = (session.owner, session.ending);
        let Ending::Sealing { leaves, sends } = ending else { return leave(world, host) };
        if matches!(leaves, Leaves::Heir(token) if world.durable.owner == heir_of(owner, token)) {
            sealed(world, host);
        } else if self.owns(&world.durable, owner) && sends < self.size.sends {
            serving(world, host).ending = Ending::Sealing { leaves, sends: sends + 1 };
            send_seal(world, host);
        } else {
            leave(world, host);
        }
    }
}

/// The session of a host that serves.
fn serving(world: &mut World, host: usize) -> &mut Session {
    match &mut world.hosts[host] {
        Host::Serving(session) => session,
        Host::Idle | Host::Taking { .. } | Host::Waiting(_) => {
            unreachable!("BUG: no session here")
        }
    }
}

fn send(world: &mut World, host: usize, step: Step) {
    world.letters.push(Letter { step, place: Place::Sent, awaited: Some(host) });
}

fn send_flight(world: &mut World, host: usize) {
    let session = serving(world, host);
    if let Some(flight) = session.flight {
        let (owner, base) = (session.owner, session.durable);
        send(world, host, Step::Commit { owner, base, writes: flight.writes });
    }
}

fn send_seal(world: &mut World, host: usize) {
    let session = serving(world, host);
    if let Ending::Sealing { leaves, .. } = session.ending {
        let (owner, base) = (session.owner, session.durable);
        send(world, host, Step::Seal { owner, base, leaves });
    }
}

/// The open group is on disk.
fn sync(world: &mut World) {
    if let Some(open) = world.open.take() {
        world.durable = open;
    }
    for letter in &mut world.letters {
        if let Place::Executed(answer) = letter.place {
            letter.place = Place::Answered(answer);
        }
    }
    world.letters.retain(|letter| letter.awaited.is_some() || letter.place == Place::Sent);
}

/// What was acknowledged is on disk; everything else may be gone, and is.
fn store_crash(world: &mut World) {
    world.left.store_crashes -= 1;
    world.open = None;
    for letter in &mut world.letters {
        match letter.place {
            Place::Sent | Place::Executed(_) => letter.place = Place::Lost,
            Place::Answered(_) | Place::Lost => {}
        }
    }
    world.letters.retain(|letter| letter.awaited.is_some());
}

/// The sender does not wait any more; the letter stays on its way.
fn stop_waiting(world: &mut World, at: usize) -> Option<(usize, Step)> {
    let letter = &mut world.letters[at];
    let (host, step, place) = (letter.awaited.take(), letter.step, letter.place);
    match place {
        Place::Lost => {
            world.letters.remove(at);
        }
        Place::Answered(_) => {
            world.left.timeouts -= 1;
            world.letters.remove(at);
        }
        Place::Sent | Place::Executed(_) => world.left.timeouts -= 1,
    }
    host.map(|host| (host, step))
}

/// The host runs nothing any more, and no longer waits for its letters.
fn leave(world: &mut World, host: usize) {
    for letter in &mut world.letters {
        if letter.awaited == Some(host) {
            letter.awaited = None;
        }
    }
    world.letters.retain(|letter| {
        letter.awaited.is_some() || matches!(letter.place, Place::Sent | Place::Executed(_))
    });
    world.hosts[host] = match &world.hosts[host] {
        Host::Serving(Session { kept: Some(heir), .. }) => Host::Waiting(*heir),
        Host::Idle | Host::Taking { .. } | Host::Serving(_) | Host::Waiting(_) => Host::Idle,
    };
}

/// The generation is sealed: its heir, if it has one, may begin here.
fn sealed(world: &mut World, host: usize) {
    let Session { owner, durable, ending, .. } = *serving(world, host);
    leave(world, host);
    if let Ending::Sealing { leaves: Leaves::Heir(token), .. } = ending {
        world.hosts[host] = Host::Waiting(Heir { owner: heir_of(owner, token), durable });
    }
}

/// The commit in flight is durable.
fn committed(world: &mut World, host: usize) {
    let session = serving(world, host);
    session.durable += 1;
    session.flight = None;
    release_dead(world, host);
}

/// The deadline has passed without a verdict. The waiting callers get just that.
fn indeterminate(world: &mut World, host: usize) {
    let session = serving(world, host);
    let writes = session.flight.take().map_or(0, |flight| flight.writes);
    session.gated.retain(|gated| gated.wrote & writes == 0);
    die(world, host);
}

/// Callers of these writes get the answer "not kept".
fn refuse(world: &mut World, host: usize, writes: Writes) {
    let session = serving(world, host);
    let told: Writes = session
        .gated
        .iter()
        .filter(|gated| gated.wrote & writes != 0)
        .fold(0, |told, gated| told | gated.wrote);
    session.gated.retain(|gated| gated.wrote & writes == 0);
    world.told.refused |= told;
}

/// The store has said that another owner has the database.
fn fenced(world: &mut World, host: usize) {
    note_fence(world, host);
    die(world, host);
}

/// For the properties: whether it is true.
fn note_fence(world: &mut World, host: usize) {
    let owner = serving(world, host).owner;
    world.breaches.healthy_ended |= world.durable.owner == owner && !world.durable.sealed;
}

/// Fatal: unsent steps are never sent, reads reach no caller, a commit in flight still gets its
/// verdict.
fn die(world: &mut World, host: usize) {
    // Its verdict may have been the last thing that a dead session waited for.
    let Host::Serving(session) = &mut world.hosts[host] else { return };
    session.dead = true;
    let unsent = std::mem::take(&mut session.collected);
    session.gated.retain(|gated| gated.wrote != 0);
    refuse(world, host, unsent);
    release_dead(world, host);
}

/// A dead session without a commit in flight: durable writes are reported, then the session is
/// gone.
fn release_dead(world: &mut World, host: usize) {
    let session = serving(world, host);
    if !session.dead || session.flight.is_some() {
        return;
    }
    while !serving(world, host).gated.is_empty() {
        hear(world, host, 0);
    }
    leave(world, host);
}

/// An answer reaches its caller.
fn hear(world: &mut World, host: usize, number: usize) {
    let durable = world.durable.all_writes();
    let gated = serving(world, host).gated.remove(number);
    world.told.committed |= gated.wrote;
    world.breaches.heard_early |= gated.rests_on & !durable != 0;
    world.breaches.heard_fenced |= gated.began_fenced;
    world.breaches.heard_stale |= gated.stale;
}
