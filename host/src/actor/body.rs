//! What runs a generation's methods: an instance of its component with a connection to its database,
//! or a guest in Rust that a simulation supplies (`environment::Native`).
//!
//! Invariant: a guest in Rust has neither SQL nor hooks, so what concerns them does nothing there.

use std::sync::Arc;

use stockade_depot::Session;
use wasmtime::component::{Func, Instance, Val};
use wasmtime::{Error, Store};

use super::watch::Watch;
use crate::calls::Chain;
use crate::capability::State;
use crate::environment::{Native, PageAway};
use crate::error::Crash;
use crate::messages::Received;
use crate::sqlite::{Connection, Leftovers, SqlError};
use crate::typed::Method;

/// What runs the methods.
pub(super) enum Body {
    /// An instance of the component.
    Wasm {
        /// The instance's store, which has the database connection.
        store: Store<State>,
        /// The instance.
        instance: Instance,
    },
    /// A guest of a simulation.
    Native(Arc<dyn Native>),
}

impl Body {
    /// Begins one of the guest's exports, for which the actors of `chain` wait.
    pub(super) fn begin(&mut self, chain: Option<&Chain>) {
        if let Self::Wasm { store, .. } = self {
            store.data_mut().begin_call(chain);
            store.set_epoch_deadline(1);
        }
    }

    /// The method that runs next handles this message; `None`: it handles none.
    pub(super) fn receives(&mut self, message: Option<Received>) {
        if let Self::Wasm { store, .. } = self {
            store.data_mut().receives(message);
        }
    }

    /// Ends what an export left open in SQLite.
    ///
    /// # Errors
    /// As [`State::end_call`].
    pub(super) fn end(&mut self) -> Result<Leftovers, SqlError> {
        match self {
            Self::Wasm { store, .. } => store.data_mut().end_call(),
            Self::Native(_) => Ok(Leftovers::default()),
        }
    }

    /// Runs a method. The outer error: the instance died; the inner one: see [`PageAway`].
    pub(super) async fn run(
        &mut self,
        (watch, session): (&Watch, &Session),
        method: &Method,
        arguments: &[Val],
    ) -> wasmtime::Result<Result<Vec<Val>, SqlError>> {
        match self {
            Self::Wasm { store, instance } => {
                let func: Func = instance
                    .get_func(&mut *store, method.export())
                    .expect("BUG: methods come from this component");
                let mut values = vec![Val::Bool(false); method.results_len()];
                watch.over(func.call_async(store, arguments, &mut values)).await?;
                Ok(Ok(values))
            }
            Self::Native(native) => {
                let number = match arguments {
                    [Val::U64(number)] => *number,
                    _ => 0,
                };
                let mut ran = native.run(session, &method.name, number);
                if ran.is_err() {
                    session.load_first_pages().await;
                    ran = native.run(session, &method.name, number);
                }
                Ok(ran.map(|n| vec![Val::U64(n)]).map_err(|PageAway| SqlError::Unavailable))
            }
        }
    }

    /// The database connection; `None` once it is closed.
    pub(super) fn sqlite(&mut self) -> Option<&mut Connection> {
        match self {
            Self::Wasm { store, .. } => store.data_mut().sqlite(),
            Self::Native(_) => None,
        }
    }

    /// See [`State::close_sqlite`].
    pub(super) fn close_sqlite(&mut self) {
        if let Self::Wasm { store, .. } = self {
            store.data_mut().close_sqlite();
        }
    }

    /// See [`State::serve`].
    ///
    /// # Errors
    /// As there.
    pub(super) fn serve(&mut self) -> Result<(), SqlError> {
        match self {
            Self::Wasm { store, .. } => store.data_mut().serve(),
            Self::Native(_) => Ok(()),
        }
    }

    /// What the guest wrote last: see [`State::last_words`].
    pub(super) fn last_words(&self) -> String {
        match self {
            Self::Wasm { store, .. } => store.data().last_words(),
            Self::Native(_) => String::new(),
        }
    }

    /// How the watched guest died.
    pub(super) fn crash(&self, watch: &Watch, error: &Error, last_words: &str) -> Crash {
        match self {
            Self::Wasm { store, .. } => watch.crash(error, store.data(), last_words),
            Self::Native(_) => unreachable!("BUG: a guest in Rust does not die: {error}"),
        }
    }
}
