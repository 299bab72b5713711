//! Why a generation's handles were revoked.

use std::fmt;

/// Why a generation's handles were revoked. A closed set; the same words in WIT, HTTP and logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Reason {
    /// The host is shutting down.
    Shutdown = 1,
    /// The actor goes to sleep.
    Slept = 2,
    /// Another generation owns the database.
    Fenced = 3,
    /// The component trapped.
    Trapped = 4,
    /// A call used up its budget.
    Budget = 5,
    /// A new component was deployed.
    Upgraded = 6,
    /// The actor is being destroyed.
    Destroyed = 7,
    /// The store failed, or a commit could not be made durable.
    Storage = 8,
    /// An operator stopped the actor.
    Operator = 9,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 9] = [
        Self::Shutdown,
        Self::Slept,
        Self::Fenced,
        Self::Trapped,
        Self::Budget,
        Self::Upgraded,
        Self::Destroyed,
        Self::Storage,
        Self::Operator,
    ];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shutdown => "shutdown",
            Self::Slept => "slept",
            Self::Fenced => "fenced",
            Self::Trapped => "trapped",
            Self::Budget => "budget",
            Self::Upgraded => "upgraded",
            Self::Destroyed => "destroyed",
            Self::Storage => "storage",
            Self::Operator => "operator",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
