//! The store: opened, closed, and its steps, each sent to the server.

use async_trait::async_trait;
use prost::Message;
use stockade_depot::store::limits::{
    self, COMPONENT_BYTES_MAX, MANIFEST_BYTES_MAX, PIN_NAME_BYTES_MAX, SNAPSHOT_BYTES_MAX,
};
use stockade_depot::store::packed::{check_commit, check_step_bytes};
use stockade_depot::store::{
    ActorState, CheckAt, Checked, Cluster, Collected, CommitRow, CommitStep, Counted, CreateStep,
    Created, Destroyed, Directory, Due, DueLook, DuePage, DueWork, Emptied, History, Import, Keep,
    KindRow, Look, NodeBeat, NodeProgram, NodeRow, Ownership, PageVersion, Pages, PagesRead,
    READ_PAGES_MAX, SealStep, StageStep, Superseded, TakenOver, TakeoverStep, VersionKey, Versions,
};
use stockade_depot::{
    ActorId, DbId, Digest, Fence, Head, Limit, NodeSession, Pgno, Shard, Store, StoreError,
    StoreFull, Txid,
};
use tokio::runtime::Handle;

use crate::address::RemoteAddress;
use crate::exchange::{Dial, Exchange, connect};
use crate::handshake::{DUE_SINCE, OLDEST_VERSION, Refusal, Terms};
use crate::keys::ClientKeys;
use crate::limits::{CLAIM_FENCES_MAX, CONFIRM_FENCES_MAX};
use crate::line::NotOpen;
use crate::proto::{self, Step};
use crate::steps::each_step;
use crate::token::StoreToken;
use crate::wire::Wire;

/// How the store of another node is reached. Start from [`RemoteConfig::new`].
#[derive(Clone, Debug)]
pub struct RemoteConfig {
    /// Where it is.
    pub address: RemoteAddress,
    /// Which servers are believed, and what is shown to them.
    pub keys: ClientKeys,
    /// What is presented beside, or instead of, a certificate.
    pub token: Option<StoreToken>,
    /// What this side can do. Another value than [`Terms::ours`] is for tests of other versions.
    pub terms: Terms,
}

impl RemoteConfig {
    /// A client that shows its certificate, if it has one.
    #[must_use]
    pub fn new(address: RemoteAddress, keys: ClientKeys) -> Self {
        Self { address, keys, token: None, terms: Terms::ours() }
    }
}

/// Why a store cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenRemoteError {
    /// The server cannot be reached, or it does not believe this side, or this side does not believe
    /// it.
    #[error("connect to {store}: {why}")]
    Connect {
        /// Where the store is.
        store: String,
        /// The cause.
        why: String,
    },
    /// One of both sides does not speak with the other.
    #[error("{store} is not used: {refusal}")]
    Refused {
        /// Where the store is.
        store: String,
        /// Why.
        refusal: Refusal,
    },
}

/// A store of another node.
pub struct RemoteStore {
    exchange: Exchange,
    shards: u16,
    agreed: (u32, String),
}

impl std::fmt::Debug for RemoteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteStore").field("shards", &self.shards).finish_non_exhaustive()
    }
}

type Confirmed = Vec<Result<(), StoreError>>;

impl RemoteStore {
    /// Connects to the server and agrees with it. Connections live on the runtime that this is called
    /// on; a lost one is made again by the next step.
    ///
    /// # Errors
    /// The server is away, or one side does not speak with the other.
    pub async fn open(config: RemoteConfig) -> Result<Self, OpenRemoteError> {
        let home = Handle::current();
        let store = config.address.to_string();
        let first = connect(&config, &home).await.map_err(|error| match error {
            NotOpen::Away(why) => OpenRemoteError::Connect { store: store.clone(), why },
            NotOpen::Refused(refusal) => {
                tracing::warn!(%store, code = ?refusal.code, %refusal, "the store is not used");
                OpenRemoteError::Refused { store: store.clone(), refusal }
            }
        })?;
        let (shards, agreed) = (first.shards, (first.version, first.program.clone()));
        let dial = Dial::Wire(Box::new(config), home);
        Ok(Self { exchange: Exchange::new(dial, first), shards, agreed })
    }

    /// A store whose steps a simulation carries.
    #[cfg(feature = "simulated")]
    #[must_use]
    pub fn over(carrier: std::sync::Arc<dyn crate::carried::Carrier>, shards: u16) -> Self {
        let first = crate::carried::line(&carrier, shards);
        let agreed = (first.version, first.program.clone());
        let exchange = Exchange::new(Dial::Carried(carrier, shards), first);
        Self { exchange, shards, agreed }
    }

    /// The version of the protocol that the first connection agreed on, and the version of the program
    /// that serves the store.
    #[must_use]
    pub fn agreed(&self) -> (u32, &str) {
        (self.agreed.0, &self.agreed.1)
    }

    /// In bounded questions; one that is not answered fails its own fences only.
    async fn confirm_all(&self, fences: &[Fence]) -> Confirmed {
        let mut confirmed = Vec::with_capacity(fences.len());
        for some in fences.chunks(CONFIRM_FENCES_MAX) {
            let message = proto::Confirm { fences: some.to_vec().put() };
            let asked = self.ask::<proto::Confirmed, Confirmed>(Step::Confirm, message);
            match asked.await {
                Ok(answers) if answers.len() == some.len() => confirmed.extend(answers),
                Ok(_) => {
                    let what = "an answer with another number of fences".to_owned();
                    confirmed.extend(vec![Err(StoreError::Unavailable(what)); some.len()]);
                }
                Err(error) => confirmed.extend(vec![Err(error); some.len()]),
            }
        }
        confirmed
    }

    async fn claim_all(&self, owner: NodeSession, heirs: &[Fence]) -> Result<(), StoreError> {
        let mut result = Ok(());
        for some in heirs.chunks(CLAIM_FENCES_MAX) {
            let message = proto::Claim { owner: owner.put(), heirs: some.to_vec().put() };
            result = result.and(self.ask::<proto::Done, ()>(Step::Claim, message).await);
        }
        result
    }

    /// With this program, since the store is open in another one.
    async fn beat(&self, session: NodeSession, beat: &NodeBeat) -> Result<(), StoreError> {
        let (pid, version) = (std::process::id(), env!("CARGO_PKG_VERSION").to_owned());
        let program = beat.program.clone().or(Some(NodeProgram { pid, version }));
        let beat = NodeBeat { program, ..beat.clone() };
        let message = proto::NodeBeatStep { session: session.put(), beat: beat.put() };
        self.ask::<proto::Done, ()>(Step::NodeBeat, message).await
    }

    /// Sends a step that every version knows.
    async fn ask<M: Message + Default, T: Wire<M>>(
        &self,
        step: Step,
        message: impl Message,
    ) -> Result<T, StoreError> {
        self.exchange.ask::<M, T>(step, OLDEST_VERSION, message).await
    }
}

// The store beneath would refuse these as well; here they are refused before they cross.

fn check_snapshot(step: &SealStep) -> Result<(), StoreError> {
    let bytes = limits::len(step.snapshot.as_ref().map_or(0, Vec::len));
    limits::check(Limit::SnapshotBytes, bytes, SNAPSHOT_BYTES_MAX)
}

fn check_component(wasm: &[u8]) -> Result<(), StoreError> {
    limits::check(Limit::ComponentBytes, limits::len(wasm.len()), COMPONENT_BYTES_MAX)
}

fn check_manifest(manifest: &str) -> Result<(), StoreError> {
    limits::check(Limit::ManifestBytes, limits::len(manifest.len()), MANIFEST_BYTES_MAX)
}

fn check_pin(name: &str) -> Result<(), StoreError> {
    limits::check(Limit::PinNameBytes, limits::len(name.len()), PIN_NAME_BYTES_MAX)
}

fn check_read(pages: &[Pgno]) -> Result<(), StoreError> {
    let max = limits::len(READ_PAGES_MAX);
    limits::check(Limit::PagesPerRead, limits::len(pages.len()), max)
}

/// The version that can carry a commit.
fn version_of(step: &CommitStep) -> u32 {
    if step.due == Due::Untouched { OLDEST_VERSION } else { DUE_SINCE }
}

/// Makes the depot's traits of the table of steps.
macro_rules! client {
    ($($group:ident {$(
        $asked:ident as $message:ident = $method:ident($(
            $arg:ident: $($kept:ident $(<$of:ident>)?)? $(&$lent:tt)? $(?$maybe:tt)?
        ),*) -> $answer:ty as $reply:ident [$effect:ident $carries:ident]
            $(since($since:expr))? $(after $check:expr)?;
    )*} with {$($own:tt)*})*) => {
        $(#[async_trait]
        impl $group for RemoteStore {
            $(async fn $method(
                &self,
                $($arg: $($kept $(<$of>)?)? $(&$lent)? $(Option<&$maybe>)?),*
            ) -> Result<$answer, StoreError> {
                $($check?;)?
                $($(let $arg = <$lent>::to_owned($arg);)?
                $(let $arg = $arg.map(<$maybe>::to_owned);)?)*
                let since = OLDEST_VERSION$(.max($since))?;
                let message = proto::$message { $($arg: Wire::put($arg)),* };
                self.exchange.ask::<proto::$reply, $answer>(Step::$asked, since, message).await
            })*

            $($own)*
        })*
    };
}

each_step!(client);
