//! A takeover that no host has asked for: the owner of the actor has lost it, and does not know.

use stockade::ActorId;
use stockade_depot::store::{PreviousEnd, TakenOver, TakeoverStep};
use stockade_depot::{NodeSession, Token};
use stockade_sim_depot::network::Network;

/// Takes an actor over without judging its owner dead, and does nothing with it.
pub async fn steal(network: &Network, actor: &ActorId) {
    let store = &network.store;
    let Some(state) = store.actor(actor).await.unwrap() else { return };
    let (mut token, mut owner) = ([0; 16], [0; 16]);
    network.dice.fill(&mut token);
    network.dice.fill(&mut owner);
    let fence = state.head.fence;
    let step = TakeoverStep {
        actor: actor.clone(),
        db: fence.db,
        replaces: (fence.generation, fence.token),
        token: Token(token),
        owner: NodeSession(owner),
        component: state.row.component,
        previous_end: PreviousEnd::Neutral,
        destroying: false,
    };
    if let Ok(TakenOver::Owned { head, .. }) = store.take_over(step).await {
        let generation = head.fence.generation;
        network.journal.say(&format!("a thief has {actor} as generation {generation}"));
    }
}
