//! A machine: how far it goes, and which check is switched off.

use crate::Variant;
use crate::variant::Checks;

/// A state machine of some size.
#[derive(Clone, Copy, Debug)]
pub struct Machine<Size> {
    pub(crate) size: Size,
    pub(crate) checks: Checks,
}

impl<Size> Machine<Size> {
    /// The whole protocol.
    #[must_use]
    pub fn whole(size: Size) -> Self {
        Self { size, checks: Checks(None) }
    }

    /// The protocol without one check.
    #[must_use]
    pub fn without(size: Size, variant: Variant) -> Self {
        Self { size, checks: Checks(Some(variant)) }
    }
}
