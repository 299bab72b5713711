//! What happens to a machine, and the rules of nftables that make it happen.

use super::stage::Ports;

/// What happens to one of the nodes, or to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// SIGKILL.
    Killed,
    /// SIGSTOP until long after its lease.
    Frozen,
    /// No packet between it and the store.
    CutFromStore,
    /// None between it and the other nodes.
    CutFromPeers,
    /// None between it and callers.
    CutFromCallers,
    /// 200 ms more for each byte, in each direction: to the store, from callers, from peers.
    Slow,
    /// Every fifth packet is lost, in each direction.
    Lossy,
    /// The primary of the store is killed and restarts.
    EngineRestarted,
}

/// All of them, in the order of the run.
pub(super) const EVENTS: [Event; 8] = [
    Event::Killed,
    Event::Frozen,
    Event::CutFromStore,
    Event::CutFromPeers,
    Event::CutFromCallers,
    Event::Slow,
    Event::Lossy,
    Event::EngineRestarted,
];

impl Event {
    /// Whether the node lives on for the others, slowly or out of their reach: no lease ends, and
    /// callers turn to one node after the other.
    pub(super) fn leaves_it_alive(self) -> bool {
        matches!(self, Self::CutFromPeers | Self::Slow | Self::Lossy)
    }

    /// What is dropped of the packets that leave a node, and of those that arrive there.
    pub(super) fn dropped(self, own: &Ports, others: &[u16]) -> (Vec<String>, Vec<String>) {
        let port = |side: &str, port: u16| format!("tcp {side} {port}");
        match self {
            Self::CutFromStore => (vec![port("dport", own.store)], vec![port("sport", own.store)]),
            Self::CutFromCallers => {
                (vec![port("sport", own.listen)], vec![port("dport", own.listen)])
            }
            Self::CutFromPeers => {
                let out = others.iter().map(|other| port("dport", *other));
                let arriving = others.iter().map(|other| port("sport", *other));
                (
                    out.chain([port("sport", own.peers)]).collect(),
                    arriving.chain([port("dport", own.peers)]).collect(),
                )
            }
            Self::Lossy => {
                let fifth = || vec!["numgen random mod 100 < 20".to_owned()];
                (fifth(), fifth())
            }
            Self::Killed | Self::Frozen | Self::Slow | Self::EngineRestarted => {
                (Vec::new(), Vec::new())
            }
        }
    }
}
