//! Ends a guest that runs or waits, and must stop.

use std::time::Duration;

use stockade_depot::Session;
use wasmtime::{Store, UpdateDeadline};

use crate::capability::State;
use crate::engine::Pace;
use crate::grip::Grip;
use crate::sqlite::Meter;

/// How often a guest that waits, inside the host or for its turn, is checked. 10 ms: a tenth of the
/// time that a lost fence may take to end the guest.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Whether a guest must stop: its session is dead, its handles were revoked, or its time is up.
#[derive(Clone)]
pub(super) struct Watch {
    pub(super) session: Session,
    pub(super) grip: Grip,
    pub(super) meter: Meter,
    pub(super) pace: Pace,
}

impl Watch {
    fn is_over(&self) -> bool {
        self.session.is_dead() || self.grip.reason().is_some() || self.meter.past_deadline()
    }

    /// At every epoch tick: stops a guest that must stop, else gives the thread back, unless the
    /// guest may keep it (`CpuTime::tick`).
    pub(super) fn at_every_tick(&self, store: &mut Store<State>) {
        let watch = self.clone();
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(move |_| {
            Ok(if watch.is_over() {
                UpdateDeadline::Interrupt
            } else if watch.meter.cpu().tick() {
                UpdateDeadline::Continue(1)
            } else {
                UpdateDeadline::Yield(1)
            })
        });
    }

    /// Runs the guest, unless it must not begin. No epoch reaches the guest while it waits, inside
    /// the host (a sleep, a flush) or for its turn, so it is checked from outside as well: then its
    /// future is dropped, and with it the instance is dead.
    pub(super) async fn over<T>(
        &self,
        guest: impl Future<Output = wasmtime::Result<T>>,
    ) -> wasmtime::Result<T> {
        if self.is_over() {
            return Err(wasmtime::Error::msg("stopped before it ran"));
        }
        let _running = self.pace.run();
        let waits_too_long = async {
            while !self.is_over() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::select! {
            // The guest first: a guest that never waits costs no timer.
            biased;
            done = self.meter.cpu().paced(guest) => done,
            () = waits_too_long => Err(wasmtime::Error::msg("stopped while it waited")),
        }
    }
}
