//! What is known of a request to a peer that got no answer.

/// Why a request got no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Nothing of the request can have been acted on.
    NotSent(String),
    /// The same, and the peer lives: waiting for the end of its lease is of no use.
    OutOfReach(String),
    /// The request may have been acted on.
    Lost(String),
}
