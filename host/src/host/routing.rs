//! Finds the process that a call goes to, and checks the routes of calls that others pass on:
//! `places.rs` has the picture.

use stockade_depot::broken::{self, Variant};
use stockade_depot::{ActorId, DbId, Generation, NodeSession};
use tokio::time::Instant;

use super::Host;
use super::places::{AfterRefusal, Attempts, Place, Route, is_moved};
use crate::error::{Code, HostError, Retry};
use crate::limits::{LOAD_PERMILLE_LESS, LOAD_PERMILLE_MAX};
use crate::membership::Peer;
use crate::router::slots::Standing;

/// What a seal in this process has left of an actor. It may have lived elsewhere since.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    /// A start here begins with it, which finds out.
    Tried,
    /// Nothing starts here: the head says where the actor is.
    Compared,
}

/// Who owns an actor, as far as this process knows.
enum Owner {
    /// This process; or one that lives and takes no calls from others, which a start here finds
    /// out.
    This,
    /// Another one, which is asked for this.
    Peer { peer: Peer, route: Route },
    /// No process that lives. `released`: what the head still names.
    Nobody { released: Option<(DbId, Generation)> },
}

impl Host {
    /// This run of the process.
    #[doc(hidden)]
    #[must_use]
    pub fn session(&self) -> NodeSession {
        self.shared().depot.node()
    }

    /// Whether this process passes calls on to others, and takes calls from them.
    #[doc(hidden)]
    #[must_use]
    pub fn has_peers(&self) -> bool {
        let nodes = &self.shared().nodes;
        nodes.has_peers_address() && (nodes.is_draining() || !nodes.is_alone())
    }

    /// Where a call of the actor goes. Asks the store only if neither this process nor an earlier
    /// call knows.
    ///
    /// # Errors
    /// Those of the store.
    #[doc(hidden)]
    pub async fn place(&self, actor: &ActorId, attempts: &Attempts) -> Result<Place, HostError> {
        Ok(match self.owner(actor, Left::Tried).await? {
            Owner::This => Place::Here,
            Owner::Peer { peer, route } => Place::There { peer, route },
            Owner::Nobody { released } => match self.place_near(actor, released, attempts).await {
                Some(place) => place,
                None => self.place_by_load(actor, released, attempts),
            },
        })
    }

    /// Where an operator's order goes: to the process that owns the actor; if there is none, to
    /// this one, since an order begins no generation.
    ///
    /// # Errors
    /// Those of the store.
    #[doc(hidden)]
    pub async fn place_of_order(&self, actor: &ActorId) -> Result<Place, HostError> {
        Ok(match self.owner(actor, Left::Compared).await? {
            Owner::Peer { peer, route } => Place::There { peer, route },
            Owner::This | Owner::Nobody { .. } => Place::Here,
        })
    }

    async fn owner(&self, actor: &ActorId, left: Left) -> Result<Owner, HostError> {
        let shared = self.shared();
        if !self.has_peers() || self.inner.router.slot(actor).is_some() {
            return Ok(Owner::This);
        }
        let known = self.inner.places.get(actor);
        if let Some((session, route)) = known
            && let Some(peer) = shared.nodes.peer_if_alive(session)
        {
            return Ok(Owner::Peer { peer, route });
        }
        let draining = shared.nodes.is_draining();
        let stays = !draining && !shared.handed.has(actor);
        if stays && left == Left::Tried && shared.reservations.has(actor) {
            return Ok(Owner::This);
        }
        let Some(state) = self.inner.store.actor(actor).await? else {
            return Ok(Owner::Nobody { released: None });
        };
        let head = &state.head;
        let of_head = (head.fence.db, head.fence.generation);
        if head.is_free() {
            return Ok(Owner::Nobody { released: None });
        }
        if head.owner == shared.depot.node() {
            // It crashed here: no slot has it.
            let released = Some(of_head);
            return Ok(if draining { Owner::Nobody { released } } else { Owner::This });
        }
        if shared.released.has(actor, &head.fence) {
            return Ok(Owner::Nobody { released: Some(of_head) });
        }
        shared.meet_owner(head).await?;
        if let Some(peer) = shared.nodes.peer_if_alive(head.owner) {
            let route = Route::Run { db: of_head.0, generation: of_head.1 };
            self.inner.places.put(actor, peer.session, route);
            return Ok(Owner::Peer { peer, route });
        }
        // The owner is dead, or it takes no calls from others: then the start here says so.
        let is_dead = shared.elsewhere(head).is_none();
        Ok(if is_dead { Owner::Nobody { released: None } } else { Owner::This })
    }

    /// At the process that owns the actor which the settings of the kind name, if that is another
    /// one that lives, does not drain, is not over its share, and has not refused.
    async fn place_near(
        &self,
        actor: &ActorId,
        released: Option<(DbId, Generation)>,
        attempts: &Attempts,
    ) -> Option<Place> {
        let shared = self.shared();
        let other = shared.kinds.kind(actor.kind()).await.ok()?.manifest.near(actor)?;
        // A store that does not answer is found out by the start itself.
        let Owner::Peer { peer, .. } = self.owner(&other, Left::Compared).await.ok()? else {
            return None;
        };
        let takers = shared.nodes.takers();
        let (_, load) = takers.iter().find(|(taker, _)| taker.session == peer.session)?;
        let takes =
            load.permille() < LOAD_PERMILLE_MAX && !attempts.refused.contains(&peer.session);
        takes.then_some(Place::There { peer, route: Route::Start { released } })
    }

    /// Where an actor starts that no process owns: here, unless this process drains, is over its
    /// share or has handed the actor over; then at the less loaded of two others drawn at random.
    fn place_by_load(
        &self,
        actor: &ActorId,
        released: Option<(DbId, Generation)>,
        attempts: &Attempts,
    ) -> Place {
        let shared = self.shared();
        let (draining, handed) = (shared.nodes.is_draining(), shared.handed.has(actor));
        let own_load = shared.nodes.load();
        let own = own_load.permille();
        if broken::is_off(Variant::PlaceByLoad) && !draining {
            return Place::Here;
        }
        // Another one that refused is as full as this one.
        if !draining && ((own < LOAD_PERMILLE_MAX && !handed) || !attempts.refused.is_empty()) {
            return Place::Here;
        }
        let mut takers = shared.nodes.takers();
        takers.retain(|(peer, _)| !attempts.refused.contains(&peer.session));
        let mut draw = || {
            (!takers.is_empty())
                .then(|| takers.swap_remove(shared.ground.random.below(takers.len())))
        };
        let drawn = [draw(), draw()];
        let least = drawn.into_iter().flatten().min_by_key(|(_, load)| load.permille());
        match least {
            Some((peer, load))
                if draining
                    || load.permille() + LOAD_PERMILLE_LESS <= own
                    || (handed && load.has_fewer_awake(&own_load)) =>
            {
                Place::There { peer, route: Route::Start { released } }
            }
            Some(_) | None => Place::Here,
        }
    }

    /// Whether a call that another process passes on may begin here. Asked before its body is read.
    ///
    /// # Errors
    /// `Reroute` if the route is not of this process or of what it runs, `Starting` if what it runs
    /// is about to change, `Draining` for a start while it drains.
    #[doc(hidden)]
    pub fn check_route(
        &self,
        actor: &ActorId,
        to: NodeSession,
        route: Route,
    ) -> Result<(), HostError> {
        let shared = self.shared();
        let reroute = |runs| {
            let address = self.inner.places.get(actor);
            let address = address.and_then(|(node, _)| shared.nodes.address_if_alive(node));
            Err(HostError::Reroute { actor: actor.clone(), runs, address })
        };
        if to != shared.depot.node() && !broken::is_off(Variant::RouteSession) {
            return reroute(None);
        }
        match route {
            Route::Start { .. } if shared.nodes.is_draining() => Err(HostError::Draining),
            Route::Start { released } => {
                if let Some((db, generation)) = released {
                    shared.released.note(actor, db, generation);
                }
                Ok(())
            }
            Route::Run { db, generation } => {
                match self.inner.router.standing(actor, db, generation) {
                    Standing::Runs => Ok(()),
                    Standing::Another(db, generation) => reroute(Some((db, generation))),
                    // A takeover under way must not look like none.
                    Standing::Busy => Err(HostError::Starting { actor: actor.clone() }),
                    Standing::Not => reroute(None),
                }
            }
        }
    }

    /// Whether an operator's order that another process passes on is for this process: it runs the
    /// actor, or is about to begin or to end a generation of it. Asked before its body is read.
    ///
    /// # Errors
    /// `Reroute`.
    #[doc(hidden)]
    pub fn check_order(&self, actor: &ActorId, to: NodeSession) -> Result<(), HostError> {
        // An order goes to the slot, which also takes it while a start waits.
        let is_here = to == self.shared().depot.node() && self.inner.router.slot(actor).is_some();
        if is_here {
            return Ok(());
        }
        Err(HostError::Reroute { actor: actor.clone(), runs: None, address: None })
    }

    /// Records that another process has refused a call that was passed on to it, and returns how the
    /// call continues. `runs`: the generation that the other one runs, if its refusal names one.
    #[doc(hidden)]
    pub fn was_refused(
        &self,
        actor: &ActorId,
        (peer, route): (&Peer, Route),
        (code, advice): (Code, Retry),
        runs: Option<(DbId, Generation)>,
    ) -> AfterRefusal {
        let starts = matches!(route, Route::Start { .. });
        let no_room = starts && code == Code::ActorOverloaded && advice == Retry::Retry;
        if !is_moved(code, advice) && !no_room {
            return AfterRefusal::Told;
        }
        if code == Code::Reroute {
            self.was_rerouted(actor, peer, route, runs);
        } else {
            self.inner.places.forget(actor);
        }
        AfterRefusal::Again { now: code == Code::Reroute || no_room }
    }

    /// Records the answer of another process that does not run a generation: `runs` is the one that
    /// it runs; without one, this process may take the actor over.
    fn was_rerouted(
        &self,
        actor: &ActorId,
        peer: &Peer,
        route: Route,
        runs: Option<(DbId, Generation)>,
    ) {
        match (runs, route) {
            (Some((db, generation)), _) => {
                let route = Route::Run { db, generation };
                self.inner.places.put(actor, peer.session, route);
            }
            (None, Route::Run { db, generation }) => {
                self.inner.places.forget(actor);
                self.shared().released.note(actor, db, generation);
            }
            (None, Route::Start { .. }) => self.inner.places.forget(actor),
        }
    }

    /// Whether another process has shown a sign of life after `moment`, as far as this one has looked.
    #[doc(hidden)]
    #[must_use]
    pub fn lives_since(&self, session: NodeSession, moment: Instant) -> bool {
        self.shared().nodes.lives_since(session, moment)
    }

    /// Forgets where an actor was: its process was not reached, or it has moved.
    #[doc(hidden)]
    pub fn forget_place(&self, actor: &ActorId) {
        self.inner.places.forget(actor);
    }
}
