//! Rules that a test build can switch off, one at a time, to show that the tests notice.
//!
//! Each rule asks [`is_off`] in its one place. Without the feature `broken-variants` the answer is
//! the constant `false` and nothing of the question is left; with it, a thread that holds an `Off`
//! runs without the rule. A build without debug assertions cannot have the feature.

#[cfg(all(feature = "broken-variants", not(debug_assertions)))]
compile_error!("`broken-variants` is for test builds: it must not come into a release");

/// A rule that can be switched off. The names of a depot's rules are those of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Variant {
    /// Pages are served to the owner only.
    ReadFence,
    /// Only the owner commits.
    CommitFence,
    /// Only the owner seals.
    SealFence,
    /// A takeover replaces only the head that was judged.
    TakeoverCondition,
    /// Only the owner gets the answer that it owns.
    ConfirmFence,
    /// Only the owner stages pages.
    StageFence,
    /// Staged pages are seen only if their commit names their stage.
    StageId,
    /// The seal waits for what was accepted.
    Join,
    /// No answer leaves before it is durable.
    GateDurable,
    /// No answer leaves before ownership is confirmed.
    GateConfirm,
    /// After a lost answer the token tells which attempt won a takeover, not the number.
    Token,
    /// The commit row tells what became of a step that was sent.
    Resend,
    /// A commit that grows the database writes every page that it adds.
    NoHoles,
    /// A state below the floor is not read.
    Floor,
    /// Cached pages outlive their session only if no commit came since.
    CacheTag,
    /// An heir begins only while the head is its own.
    HeirAsked,
    /// A process rescues a bounded number of actors at the same time.
    RescueRoom,
    /// A process that is over its share passes starts on.
    PlaceByLoad,
    /// A process begins no call once its lease may have ended elsewhere.
    LeaseEnd,
    /// A route is for one run of a process.
    RouteSession,
    /// A process that drains begins no actor.
    DrainRefuses,
    /// One look at the processes serves all calls that ask for one in that moment.
    LooksShared,
    /// A write to the store of another node that has no answer may have been applied.
    RemoteUnknown,
    /// To open a conversation keeps the number of the last message that was run.
    OpenLast,
    /// A message is run in the conversation that its receiver has opened last.
    ConversationNamed,
    /// A message that was run moves the number of its sender.
    MarkMoves,
    /// Deliveries of a message are counted.
    DeliveryCounted,
    /// A call that arrives follows the waits of its callee.
    CallProbe,
    /// A call that was refused does not begin.
    CallRefused,
    /// A call of an id that has a record does not run.
    CallRecord,
    /// A call that was settled as never does not run.
    CallSettled,
}

impl Variant {
    /// The rules of hosts that share a store: the packages above ask for them. A depot alone does
    /// not have them.
    pub const OF_HOSTS: [Self; 6] = [
        Self::RescueRoom,
        Self::PlaceByLoad,
        Self::LeaseEnd,
        Self::RouteSession,
        Self::DrainRefuses,
        Self::LooksShared,
    ];

    /// The rules of messages between actors of such hosts.
    pub const OF_MESSAGES: [Self; 4] =
        [Self::OpenLast, Self::ConversationNamed, Self::MarkMoves, Self::DeliveryCounted];

    /// The rules of calls between actors of such hosts.
    pub const OF_CALLS: [Self; 4] =
        [Self::CallProbe, Self::CallRefused, Self::CallRecord, Self::CallSettled];

    /// The rules of the protocol between a node and the node with the store.
    pub const OF_REMOTE: [Self; 1] = [Self::RemoteUnknown];

    /// Every rule of a depot.
    pub const ALL: [Self; 16] = [
        Self::ReadFence,
        Self::CommitFence,
        Self::SealFence,
        Self::TakeoverCondition,
        Self::ConfirmFence,
        Self::StageFence,
        Self::StageId,
        Self::Join,
        Self::GateDurable,
        Self::GateConfirm,
        Self::Token,
        Self::Resend,
        Self::NoHoles,
        Self::Floor,
        Self::CacheTag,
        Self::HeirAsked,
    ];

    /// Its name in tables and in the model.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ReadFence => "read-fence",
            Self::CommitFence => "commit-fence",
            Self::SealFence => "seal-fence",
            Self::TakeoverCondition => "takeover-condition",
            Self::ConfirmFence => "confirm-fence",
            Self::StageFence => "stage-fence",
            Self::StageId => "stage-id",
            Self::Join => "join",
            Self::GateDurable => "gate-durable",
            Self::GateConfirm => "gate-confirm",
            Self::Token => "token",
            Self::Resend => "resend",
            Self::NoHoles => "no-holes",
            Self::Floor => "floor",
            Self::CacheTag => "cache-tag",
            Self::HeirAsked => "heir-asked",
            Self::RescueRoom => "rescue-room",
            Self::PlaceByLoad => "place-by-load",
            Self::LeaseEnd => "lease-end",
            Self::RouteSession => "route-session",
            Self::DrainRefuses => "drain-refuses",
            Self::LooksShared => "looks-shared",
            Self::RemoteUnknown => "remote-unknown",
            Self::OpenLast => "open-last",
            Self::ConversationNamed => "conversation-named",
            Self::MarkMoves => "mark-moves",
            Self::DeliveryCounted => "delivery-counted",
            Self::CallProbe => "call-probe",
            Self::CallRefused => "call-refused",
            Self::CallRecord => "call-record",
            Self::CallSettled => "call-settled",
        }
    }
}

/// Whether the rule is switched off on this thread.
#[cfg(not(feature = "broken-variants"))]
#[must_use]
#[inline]
pub const fn is_off(_rule: Variant) -> bool {
    false
}

#[cfg(feature = "broken-variants")]
pub use switched::{Off, is_off};

#[cfg(feature = "broken-variants")]
mod switched {
    use std::cell::Cell;
    use std::marker::PhantomData;

    use super::Variant;

    thread_local! {
        static OFF: Cell<Option<Variant>> = const { Cell::new(None) };
    }

    /// Whether the rule is switched off on this thread.
    #[must_use]
    pub fn is_off(rule: Variant) -> bool {
        OFF.get() == Some(rule)
    }

    /// Keeps a rule switched off on the thread that made it, until it is dropped.
    #[derive(Debug)]
    pub struct Off {
        before: Option<Variant>,
        _of_this_thread: PhantomData<*const ()>,
    }

    impl Off {
        /// Switches `rule` off; `None` switches all on.
        #[must_use]
        pub fn new(rule: Option<Variant>) -> Self {
            Self { before: OFF.replace(rule), _of_this_thread: PhantomData }
        }
    }

    impl Drop for Off {
        fn drop(&mut self) {
            OFF.set(self.before);
        }
    }
}
