//! The parts of a depot that the steps and the sessions of one process share.

use std::sync::Arc;

use tokio::runtime::Handle;

use crate::cache::Cache;
use crate::confirm::Confirmer;
use crate::id::NodeSession;
use crate::limits::DepotLimits;
use crate::parker::{Parker, Parking};
use crate::random::Random;
use crate::retry::Retry;
use crate::store::Store;

/// The parts of a [`crate::Depot`].
pub(crate) struct Parts {
    pub(crate) store: Arc<dyn Store>,
    /// This run of this process.
    pub(crate) node: NodeSession,
    pub(crate) limits: DepotLimits,
    pub(crate) parker: Arc<dyn Parker>,
    pub(crate) parking: Parking,
    pub(crate) runtime: Handle,
    pub(crate) random: Random,
    pub(crate) cache: Arc<Cache>,
    pub(crate) confirmer: Arc<Confirmer>,
}

impl Parts {
    /// The retry policy of a step that is sent from now on.
    pub(crate) fn retry(&self) -> Retry {
        Retry::new(self.limits.step_deadline, &self.random)
    }
}
