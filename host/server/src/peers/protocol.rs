//! Versions of what processes say to each other. Both sides of a connection agree on the newest one
//! that both speak, in the handshake of TLS (ALPN), so that versions may be mixed while a cluster is
//! upgraded.
//!
//! ```text
//!  h2                  1   calls with routes
//!  stockade-peers/2    2   and orders of operators; calls are checked for `stockade-txid`
//!  stockade-peers/3    3   and calls of actors, with their chains, and probes
//!  stockade-peers/4    4   and calls with an id, and questions what became of them
//!  stockade-peers/5    5   and parcels of messages
//!  stockade-peers/6    6   and the question whether a call is queued or begun
//! ```
//! Invariant: all versions are HTTP/2; a later one only adds. What an earlier one lacks is not asked
//! of a process that speaks no more than that.

/// A version. The order is that of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// Calls with routes: processes before there were versions.
    Calls,
    /// Orders of operators, and calls that ask for a commit.
    Orders,
    /// Calls of actors.
    Chains,
    /// Calls with an id.
    Records,
    /// Messages of actors.
    Messages,
    /// The second look of a probe at the called actor.
    Arrivals,
}

impl Protocol {
    /// The newest one.
    pub const NEWEST: Self = Self::Arrivals;

    /// Every version with its name in the handshake, newest first.
    const NAMES: [(Self, &'static [u8]); 6] = [
        (Self::Arrivals, b"stockade-peers/6"),
        (Self::Messages, b"stockade-peers/5"),
        (Self::Records, b"stockade-peers/4"),
        (Self::Chains, b"stockade-peers/3"),
        (Self::Orders, b"stockade-peers/2"),
        (Self::Calls, b"h2"),
    ];

    /// The version of this number.
    #[must_use]
    pub fn numbered(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Calls),
            2 => Some(Self::Orders),
            3 => Some(Self::Chains),
            4 => Some(Self::Records),
            5 => Some(Self::Messages),
            6 => Some(Self::Arrivals),
            _ => None,
        }
    }

    /// The names of this version and of those before it, newest first.
    pub(super) fn names(self) -> Vec<Vec<u8>> {
        let spoken = Self::NAMES.iter().filter(|(version, _)| *version <= self);
        spoken.map(|(_, name)| name.to_vec()).collect()
    }

    /// The version that a handshake has agreed on.
    pub(super) fn agreed(name: Option<&[u8]>) -> Option<Self> {
        let name = name?;
        Self::NAMES.iter().find(|(_, known)| *known == name).map(|(version, _)| *version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_speaks_those_before_it_as_well() {
        assert_eq!(Protocol::Calls.names(), [b"h2".to_vec()]);
        assert_eq!(Protocol::Orders.names(), [b"stockade-peers/2".to_vec(), b"h2".to_vec()]);
        assert_eq!(Protocol::NEWEST.names().len(), Protocol::NAMES.len());
    }

    #[test]
    fn a_name_is_agreed_on_or_there_is_no_connection() {
        assert_eq!(Protocol::agreed(Some(b"h2")), Some(Protocol::Calls));
        assert_eq!(Protocol::agreed(Some(b"stockade-peers/2")), Some(Protocol::Orders));
        assert_eq!(Protocol::agreed(Some(b"http/1.1")), None);
        assert_eq!(Protocol::agreed(None), None);
    }

    #[test]
    fn versions_are_in_the_order_of_their_numbers() {
        let numbered: Vec<Protocol> = (0..=u8::MAX).filter_map(Protocol::numbered).collect();
        assert_eq!(numbered.len(), Protocol::NAMES.len());
        assert!(numbered.is_sorted() && numbered.last() == Some(&Protocol::NEWEST));
    }
}
