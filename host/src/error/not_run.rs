//! Why a call that has an id does not run.

use super::Code;

/// Why a call that has an id does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotRun {
    /// The id was used for another method, or for other arguments.
    #[error("the id was used for another method or other arguments; take another one")]
    Reused,
    /// The time in the id is more than a day ago, and there is no record: whether it ran is not known.
    #[error("the time in the id is more than a day ago, and nothing is recorded of it any more")]
    Expired,
    /// The time in the id is more than a day ahead.
    #[error("the time in the id is more than a day ahead of this host's clock")]
    Ahead,
    /// A question for the outcome has settled that the call never runs.
    #[error("its outcome was asked for and settled: it never runs")]
    Settled,
    /// The call has begun and has not ended: some of its commits may be kept.
    #[error("it has begun and has not ended: some of what it writes may be kept")]
    Partial,
    /// The call has been done, and its answer was not kept.
    #[error("it has been done; its answer was not kept")]
    AnswerGone,
}

impl NotRun {
    /// The row of the table.
    pub(super) fn code(self) -> Code {
        match self {
            Self::Reused => Code::CallIdReused,
            Self::Expired => Code::CallExpired,
            Self::Ahead => Code::Malformed,
            Self::Settled => Code::CallSettled,
            Self::Partial => Code::CallPartial,
            Self::AnswerGone => Code::CallAnswerGone,
        }
    }
}
