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
    /// D13: a primary says that there is no such actor without looking at the shard's row.
    AbsentRow,
    /// D13: a database counts as missing at a primary that its shard is leaving.
    AbsentDb,
    /// D13: a create does not look at the shard's row.
    CreateRow,
    /// D13: a create looks at the shard's row before its own step.
    CreateLock,
    /// D13: the target has the shard before the source says that it is gone.
    GoneFirst,
    /// D13: a step that the source has sent on is accepted for any move.
    DirectedVersion,
    /// D13: a leaving shard's steps are sent on without a look at the row that they want.
    LookTogether,
    /// D13: the source gives the shard away while a head is left.
    FlipEmpty,
    /// D13: a head is marked as moved whichever mover has it.
    DecideOwner,
    /// D13: a head is marked as moved though its pins have changed since they were copied.
    DecidePins,
    /// D13: a mover that is started again keeps the copy that it finds.
    CopyAnew,
    /// D13: a copy is written by any mover.
    CopyClaim,
    /// D13: a copy is begun again while the mover before may still decide on it.
    HoldEnded,
    /// D13: a copy is made valid without the source's mark.
    HelpMark,
    /// D13: a mark makes any copy valid, not only its own.
    HelpOwner,
    /// D13: a copy of a destroyed database is left in the way.
    CopyVoid,
    /// D13: only a mover takes a head from a mover.
    ReleaseMoving,
    /// D13: a verdict takes a moved head for one of another owner.
    VerdictMoved,
    /// D13: rows of a moved database are deleted without a look at its mark.
    StripMoved,
    /// D13: moved heads are deleted wherever the shard is.
    PurgeGone,
    /// D13: what is done to a copy does not look at the move that it belongs to.
    ComesStill,
    /// D13: a target awaits any move, also an earlier one.
    ComeVersion,
    /// D13: a second mover moves the shard elsewhere.
    MoverTarget,
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
        Self::AbsentRow,
        Self::AbsentDb,
        Self::CreateRow,
        Self::CreateLock,
        Self::GoneFirst,
        Self::DirectedVersion,
        Self::LookTogether,
        Self::FlipEmpty,
        Self::DecideOwner,
        Self::DecidePins,
        Self::CopyAnew,
        Self::CopyClaim,
        Self::HoldEnded,
        Self::HelpMark,
        Self::HelpOwner,
        Self::CopyVoid,
        Self::ReleaseMoving,
        Self::VerdictMoved,
        Self::StripMoved,
        Self::PurgeGone,
        Self::ComesStill,
        Self::ComeVersion,
        Self::MoverTarget,
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
            Self::AbsentRow => "absent-row",
            Self::AbsentDb => "absent-db",
            Self::CreateRow => "create-row",
            Self::CreateLock => "create-lock",
            Self::GoneFirst => "gone-first",
            Self::DirectedVersion => "directed-version",
            Self::LookTogether => "look-together",
            Self::FlipEmpty => "flip-empty",
            Self::DecideOwner => "decide-owner",
            Self::DecidePins => "decide-pins",
            Self::CopyAnew => "copy-anew",
            Self::CopyClaim => "copy-claim",
            Self::HoldEnded => "hold-ended",
            Self::HelpMark => "help-mark",
            Self::HelpOwner => "help-owner",
            Self::CopyVoid => "copy-void",
            Self::ReleaseMoving => "release-moving",
            Self::VerdictMoved => "verdict-moved",
            Self::StripMoved => "strip-moved",
            Self::PurgeGone => "purge-gone",
            Self::ComesStill => "comes-still",
            Self::ComeVersion => "come-version",
            Self::MoverTarget => "mover-target",
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
