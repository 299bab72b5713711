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
    /// Messages: a receiver that has a mark answers `open` with the conversation that it has.
    OpenId,
    /// Messages: a receiver that is asked for a conversation begins to count again.
    OpenLast,
    /// Messages: a `close` deletes any mark of the sender.
    CloseId,
    /// Messages: a conversation is closed while rows are in the outbox.
    CloseEmpty,
    /// Messages: `close` is said before the sender has committed that there is no conversation.
    CloseCommitted,
    /// Messages: a receiver does not ask for the row before.
    RowBefore,
    /// Messages: the row before is that of the number before, also when it has left the outbox.
    BeforeKept,
    /// Messages: a mark says nothing of the receiver that has made it.
    MarkName,
    /// Messages: the sender takes the answer to any question.
    QuestionLast,
    /// Messages: the sender's next generation counts questions from the beginning.
    QuestionRises,
    /// Messages: a delivery names no conversation; what comes first is taken.
    ConversationNamed,
    /// Messages: the numbers of a pair begin again with its next conversation.
    NumbersRise,
    /// Messages: the mark moves in a commit of its own.
    MarkCommit,
    /// Messages: an acknowledgement leaves before the commit.
    AckCommit,
    /// Messages: a row is sent before its transaction is durable.
    SendDurable,
    /// Messages: what fails too often waits in the sender's outbox, and later rows pass it.
    ParkReceiver,
    /// D14: the due time is written in a step of its own.
    DueStep,
    /// D14: a commit that has touched no due work says that nothing is due.
    UntouchedNull,
    /// D14: of transactions that become one commit the last one counts, whatever it has touched.
    MergedDue,
    /// D14: what a transaction has found is not read again when a savepoint has taken rows back.
    LookAgain,
    /// D14: what a refused transaction has said goes along with the next commit.
    DueDropped,
    /// D14: a due time is rewritten on condition of the generation alone.
    SettleTxid,
    /// D14: a due time is rewritten while accepted transactions are not durable.
    SettleRest,
    /// D14: an actor that has woken for nothing leaves the due time as it is.
    SettleSent,
    /// Alarms: a handler begins before its try is durable.
    TryDurable,
    /// Alarms: a try is given back although its handler has begun.
    GiveBack,
    /// Alarms: the end of a run names the alarm, not the set.
    SetNumber,
    /// Alarms: an alarm that its own handler sets again has no tries.
    SetInherits,
    /// Alarms: rows of another database are as those of this one.
    OwnRows,
    /// Alarms: a parked alarm is due.
    ParkedRest,
    /// D14: each look for due actors begins at the first one.
    LookBehind,
    /// D14: only the node of a shard looks for what is due.
    OverdueAny,
    /// Alarms: the death of a process that has begun due work is not counted.
    DeadCounted,
    /// Alarms: a node whose clock is wrong does due work.
    ClockHeld,
    /// D14: a wake makes the actor that it names.
    WakeDb,
    /// Call records: an actor's calls are counted for each commit, not for each generation.
    CallGeneration,
    /// Call records: a record says nothing of the callee that has made it.
    RecordName,
    /// Call records: a record says nothing of its caller.
    RecordPrincipal,
    /// Call records: a record says nothing of the arguments.
    RecordArguments,
    /// Call records: a call is settled as never without a commit.
    NeverCommits,
    /// Call records: the outcome is a commit of its own.
    OutcomeCommit,
    /// Call records: a method that commits step by step leaves no record before it begins.
    BegunDurable,
    /// Call records: an id does not say how old it is.
    ExpiredId,
    /// Call records: a record that finds no room takes that of the oldest.
    RecordsFull,
    /// Circles: a call is noted some time after it was sent.
    NotedFirst,
    /// Circles: what occupies an actor without being a call is in no chain.
    HookNoted,
    /// Circles: a circle is believed when each of its waits was seen once.
    LookTwice,
    /// Circles: the second look asks the caller's process, not the callee's.
    LookCallee,
    /// Circles: each probe refuses the call that it is for.
    Youngest,
    /// Circles: a call is refused though it has begun.
    BegunKept,
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
        Self::OpenId,
        Self::OpenLast,
        Self::CloseId,
        Self::CloseEmpty,
        Self::CloseCommitted,
        Self::RowBefore,
        Self::BeforeKept,
        Self::MarkName,
        Self::QuestionLast,
        Self::QuestionRises,
        Self::ConversationNamed,
        Self::NumbersRise,
        Self::MarkCommit,
        Self::AckCommit,
        Self::SendDurable,
        Self::ParkReceiver,
        Self::DueStep,
        Self::UntouchedNull,
        Self::MergedDue,
        Self::LookAgain,
        Self::DueDropped,
        Self::SettleTxid,
        Self::SettleRest,
        Self::SettleSent,
        Self::TryDurable,
        Self::GiveBack,
        Self::SetNumber,
        Self::SetInherits,
        Self::OwnRows,
        Self::ParkedRest,
        Self::LookBehind,
        Self::OverdueAny,
        Self::DeadCounted,
        Self::ClockHeld,
        Self::WakeDb,
        Self::CallGeneration,
        Self::RecordName,
        Self::RecordPrincipal,
        Self::RecordArguments,
        Self::NeverCommits,
        Self::OutcomeCommit,
        Self::BegunDurable,
        Self::ExpiredId,
        Self::RecordsFull,
        Self::NotedFirst,
        Self::HookNoted,
        Self::LookTwice,
        Self::LookCallee,
        Self::Youngest,
        Self::BegunKept,
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
            Self::OpenId => "open-id",
            Self::OpenLast => "open-last",
            Self::CloseId => "close-id",
            Self::CloseEmpty => "close-empty",
            Self::CloseCommitted => "close-committed",
            Self::RowBefore => "row-before",
            Self::BeforeKept => "before-kept",
            Self::MarkName => "mark-name",
            Self::QuestionLast => "question-last",
            Self::QuestionRises => "question-rises",
            Self::ConversationNamed => "conversation-named",
            Self::NumbersRise => "numbers-rise",
            Self::MarkCommit => "mark-commit",
            Self::AckCommit => "ack-commit",
            Self::SendDurable => "send-durable",
            Self::ParkReceiver => "park-receiver",
            Self::DueStep => "due-step",
            Self::UntouchedNull => "untouched-null",
            Self::MergedDue => "merged-due",
            Self::LookAgain => "look-again",
            Self::DueDropped => "due-dropped",
            Self::SettleTxid => "settle-txid",
            Self::SettleRest => "settle-rest",
            Self::SettleSent => "settle-sent",
            Self::TryDurable => "try-durable",
            Self::GiveBack => "give-back",
            Self::SetNumber => "set-number",
            Self::SetInherits => "set-inherits",
            Self::OwnRows => "own-rows",
            Self::ParkedRest => "parked-rest",
            Self::LookBehind => "look-behind",
            Self::OverdueAny => "overdue-any",
            Self::DeadCounted => "dead-counted",
            Self::ClockHeld => "clock-held",
            Self::WakeDb => "wake-db",
            Self::CallGeneration => "call-generation",
            Self::RecordName => "record-name",
            Self::RecordPrincipal => "record-principal",
            Self::RecordArguments => "record-arguments",
            Self::NeverCommits => "never-commits",
            Self::OutcomeCommit => "outcome-commit",
            Self::BegunDurable => "begun-durable",
            Self::ExpiredId => "expired-id",
            Self::RecordsFull => "records-full",
            Self::NotedFirst => "noted-first",
            Self::HookNoted => "hook-noted",
            Self::LookTwice => "look-twice",
            Self::LookCallee => "look-callee",
            Self::Youngest => "youngest",
            Self::BegunKept => "begun-kept",
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
