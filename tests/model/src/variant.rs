//! The checks that can be switched off, one at a time. The simulation has the same names.

/// The protocol without one of its checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Variant {
    /// D1: pages are given to any session that asks.
    ReadFence,
    /// D1: a read compares the txid as well, as if it were part of the ownership.
    ReadBound,
    /// D2: a commit compares the txid and nothing else.
    CommitFence,
    /// D5: a seal compares the txid and nothing else.
    SealFence,
    /// D4: a takeover raises whatever generation it finds, not only the one that was judged.
    TakeoverCondition,
    /// D4: pages are read in the statement that takes over.
    PreloadApart,
    /// D12: the store confirms every fence.
    ConfirmFence,
    /// D7: chunks of a stage are written for any session that sends them.
    StageFence,
    /// D7: staged rows carry no stage id; the coming txid alone makes them visible.
    StageId,
    /// D7: a page that SQLite spills twice is staged twice, under one key.
    StageOnce,
    /// The orderly end: the seal does not wait for the work of its own generation.
    Join,
    /// The gate (a): an answer leaves before the commits before it are durable.
    GateDurable,
    /// The gate (b): an answer leaves without a confirmation.
    GateConfirm,
    /// D4: an attempt knows itself by the generation number alone.
    Token,
    /// D3: a refusal is believed, also when the step was sent before.
    Resend,
    /// A lost commit is fatal: a session lives on after it has lost a commit.
    FatalLoss,
    /// D8: a growing commit writes only the pages that SQLite wrote.
    NoHoles,
    /// D10: pins and historical reads do not look at the floor.
    Floor,
    /// D10: a staged row supersedes, as if it were committed.
    TrimCommitted,
    /// D1: a cached page is served without looking at how far it is valid.
    CacheTag,
    /// D5: any stored snapshot counts as current.
    SnapshotCurrent,
    /// An heir begins without asking whether the head is still its own.
    HeirAsked,
    /// What is known of an heir is kept when it has begun, for another life.
    HeirOnce,
    /// D10: a destroy may delete the head first.
    DestroyOrder,
    /// D11: a finished import stays marked as one.
    ImportOrigin,
}

impl Variant {
    /// Every variant, in the order of the table.
    pub const ALL: &[Self] = &[
        Self::ReadFence,
        Self::ReadBound,
        Self::CommitFence,
        Self::SealFence,
        Self::TakeoverCondition,
        Self::PreloadApart,
        Self::ConfirmFence,
        Self::StageFence,
        Self::StageId,
        Self::StageOnce,
        Self::Join,
        Self::GateDurable,
        Self::GateConfirm,
        Self::Token,
        Self::Resend,
        Self::FatalLoss,
        Self::NoHoles,
        Self::Floor,
        Self::TrimCommitted,
        Self::CacheTag,
        Self::SnapshotCurrent,
        Self::HeirAsked,
        Self::HeirOnce,
        Self::DestroyOrder,
        Self::ImportOrigin,
    ];

    /// The name that simulation, model and tables share.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ReadFence => "read-fence",
            Self::ReadBound => "read-bound",
            Self::CommitFence => "commit-fence",
            Self::SealFence => "seal-fence",
            Self::TakeoverCondition => "takeover-condition",
            Self::PreloadApart => "preload-apart",
            Self::ConfirmFence => "confirm-fence",
            Self::StageFence => "stage-fence",
            Self::StageId => "stage-id",
            Self::StageOnce => "stage-once",
            Self::Join => "join",
            Self::GateDurable => "gate-durable",
            Self::GateConfirm => "gate-confirm",
            Self::Token => "token",
            Self::Resend => "resend",
            Self::FatalLoss => "fatal-loss",
            Self::NoHoles => "no-holes",
            Self::Floor => "floor",
            Self::TrimCommitted => "trim-committed",
            Self::CacheTag => "cache-tag",
            Self::SnapshotCurrent => "snapshot-current",
            Self::HeirAsked => "heir-asked",
            Self::HeirOnce => "heir-once",
            Self::DestroyOrder => "destroy-order",
            Self::ImportOrigin => "import-origin",
        }
    }
}

/// Which check, if any, is switched off.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Checks(pub(crate) Option<Variant>);

impl Checks {
    /// Whether the check that `variant` names is made.
    pub(crate) fn make(self, variant: Variant) -> bool {
        self.0 != Some(variant)
    }
}
