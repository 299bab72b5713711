//! One actor, as an embedder holds it.

use std::path::Path;

use stockade_depot::history::Progress;
use stockade_depot::{ActorId, Txid};

use super::Host;
use super::fault::FaultReport;
use super::history::{Export, VerifyReport};
use super::info::{ActorInfo, ExitInfo, Reply, SqlReply, SqlRequest};
use super::outcomes::OutcomeReply;
use crate::calls::CallKey;
use crate::error::{CallError, HostError};
use crate::fault::Fault;
use crate::import::{Imported, Intake};
use crate::sqlite::{AlarmOrder, MessageOrder};
use crate::typed::IntoArguments;

/// One actor of a host: [`Host::actor`]. It is cheap to make, and the actor need not exist.
///
/// ```no_run
/// # async fn count(host: stockade::Host) -> Result<(), stockade::CallError> {
/// let alice = host.actor(&stockade::ActorId::new("counter", "alice")?);
/// let reply = alice.call("increment", (5,)).await?;
/// println!("{} as of commit {}", reply.to_json(), reply.txid);
/// alice.stop().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ActorHandle {
    host: Host,
    id: ActorId,
    txid_min: Txid,
    key: Option<CallKey>,
}

impl ActorHandle {
    pub(super) fn new(host: Host, id: ActorId) -> Self {
        Self { host, id, txid_min: Txid(0), key: None }
    }

    /// The same actor, whose calls, statements and exports are never answered as of an older commit
    /// than this one, whichever process answered with it: they are refused as `Behind`, before
    /// anything runs. An actor that does not exist is not created. One that was destroyed counts from
    /// 1 when it is created again.
    ///
    /// ```no_run
    /// # async fn read(host: stockade::Host, other: stockade::Host) -> Result<(), stockade::CallError> {
    /// let alice = stockade::ActorId::new("counter", "alice")?;
    /// let written = host.actor(&alice).call("increment", (5,)).await?;
    /// let read = other.actor(&alice).at_least(written.txid).call("get", ()).await?;
    /// assert!(read.txid >= written.txid);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn at_least(&self, txid: Txid) -> Self {
        Self { txid_min: txid, ..self.clone() }
    }

    /// The same actor, whose next call has this id: however often it is sent, the method runs once at
    /// most, and a repeat gets the answer of the first one. The actor keeps a record for a day.
    ///
    /// ```no_run
    /// # async fn pay(host: stockade::Host) -> Result<(), stockade::CallError> {
    /// use stockade::host::Outcome;
    /// use stockade::{ActorId, CallKey};
    ///
    /// let account = host.actor(&ActorId::new("account", "alice")?);
    /// let key = CallKey::new("1764561101000-order-17")?;
    /// match account.identified(&key).call("withdraw", (5,)).await {
    ///     Ok(reply) => println!("{}", reply.to_json()),
    ///     Err(error) => {
    ///         // It may have run, or come later. From here on it has, or never will.
    ///         let settled = account.settle(&key).await?.outcome;
    ///         println!("{error}: {}", settled.as_str());
    ///         assert!(settled != Outcome::NotSeen);
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn identified(&self, key: &CallKey) -> Self {
        Self { key: Some(key.clone()), ..self.clone() }
    }

    /// What became of a call that has an id. Waits behind the calls that the actor has; does not wake it.
    ///
    /// # Errors
    /// `ActorMissing`: nothing has run, and the call may still come; those of [`Self::sql`].
    pub async fn outcome(&self, key: &CallKey) -> Result<OutcomeReply, CallError> {
        self.host.outcome(&self.id, key, false).await
    }

    /// The same, for good: if nothing is recorded of the call, it is refused from now on, wherever a
    /// copy of it still waits, and the answer is `Never`.
    ///
    /// # Errors
    /// As [`Self::outcome`]; `CallRecordsFull` if there is no room for the refusal.
    pub async fn settle(&self, key: &CallKey) -> Result<OutcomeReply, CallError> {
        self.host.outcome(&self.id, key, true).await
    }

    /// The actor's name.
    #[must_use]
    pub fn id(&self) -> &ActorId {
        &self.id
    }

    /// Calls a method; creates the actor if it does not exist. Returns when what the call wrote is
    /// durable and the actor's ownership is confirmed. Arguments are a tuple by position, or
    /// [`Arguments`](crate::Arguments).
    ///
    /// # Errors
    /// Before anything runs: `KindMissing`, `MethodMissing`, `Arguments`, `PayloadTooLarge`,
    /// `Overloaded`, `Behind`; with an id `NotRun`, `CallRecordsFull`. From the run: `Trapped`, `BudgetExhausted`, `StartFailed`. From the store:
    /// `Fenced`, `CommitLost`. What to do is [`CallError::retry`].
    pub async fn call(
        &self,
        method: &str,
        arguments: impl IntoArguments,
    ) -> Result<Reply, CallError> {
        let (arguments, key) = (arguments.into_arguments()?, self.key.clone());
        self.host.call(&self.id, method, arguments, self.txid_min, key).await
    }

    /// Runs an operator's statements through the actor's live session; if it sleeps, on its
    /// database alone: no instance is made and no hook runs. They end when the future is dropped.
    ///
    /// # Errors
    /// `ActorMissing` (never creates), `Sql`, and those of [`Self::call`].
    pub async fn sql(&self, request: SqlRequest) -> Result<SqlReply, CallError> {
        self.host.sql(&self.id, request, self.txid_min).await
    }

    /// Shows, retries or removes alarms of the actor, without waking it. The rows of the answer are its
    /// alarms as they are then; `changes` is the number of those that the order has changed.
    ///
    /// ```no_run
    /// # async fn example(host: stockade::Host) -> Result<(), stockade::CallError> {
    /// use stockade::{ActorId, AlarmOrder};
    ///
    /// let alice = host.actor(&ActorId::new("reminders", "alice")?);
    /// let all = alice.order_alarms(AlarmOrder::Retry { name: None }).await?;
    /// println!("{} of {} alarms run again", all.changes, all.rows.len());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Self::sql`].
    pub async fn order_alarms(&self, order: AlarmOrder) -> Result<SqlReply, CallError> {
        self.host.order_alarms(&self.id, order).await
    }

    /// Shows, retries or removes messages: those that the actor has sent and their receivers do not
    /// have, and those that it has received and parked. Without waking it. The rows of the answer are
    /// its messages as they are then; `changes` is the number of those that the order has changed.
    ///
    /// ```no_run
    /// # async fn example(host: stockade::Host) -> Result<(), stockade::CallError> {
    /// use stockade::{ActorId, MessageOrder};
    ///
    /// let bank = host.actor(&ActorId::new("account", "alice")?);
    /// let all = bank.order_messages(MessageOrder::Retry { id: None }).await?;
    /// println!("{} of {} messages are tried again", all.changes, all.rows.len());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Self::sql`].
    pub async fn order_messages(&self, order: MessageOrder) -> Result<SqlReply, CallError> {
        self.host.order_messages(&self.id, order).await
    }

    /// Ends the actor's generation in order. `None`: it was asleep.
    ///
    /// # Errors
    /// `ActorMissing`; `Elsewhere` if another process runs it; `Overloaded`; those of the store.
    pub async fn stop(&self) -> Result<Option<ExitInfo>, HostError> {
        self.host.stop(&self.id).await
    }

    /// Forgets the crashes of the actor and that it was found damaged: its next call starts it
    /// immediately, and the row of crashes that opens its breaker begins again.
    ///
    /// # Errors
    /// `ActorMissing`, `KindMissing`; `Elsewhere` if another process runs it; `Overloaded`; those of
    /// the store.
    pub async fn reset(&self) -> Result<(), HostError> {
        self.host.reset(&self.id).await
    }

    /// Removes the actor and everything stored of it. Resumes a destroy that was interrupted.
    ///
    /// # Errors
    /// `ActorMissing`; `HasOutbox` if it has sent messages that their receivers do not have, and what
    /// keeps the host from looking; those of the store: call again to continue.
    pub async fn destroy(&self) -> Result<(), HostError> {
        self.host.destroy(&self.id, false).await
    }

    /// [`Self::destroy`], also of an actor that has sent messages which their receivers do not have.
    /// They are lost.
    ///
    /// # Errors
    /// `ActorMissing`; those of the store: call again to continue.
    pub async fn destroy_with_outbox(&self) -> Result<(), HostError> {
        self.host.destroy(&self.id, true).await
    }

    /// What the store and this host know of the actor.
    ///
    /// # Errors
    /// `ActorMissing`, and those of the store.
    pub async fn info(&self) -> Result<ActorInfo, HostError> {
        self.host.info(&self.id).await
    }

    /// The actor's database as of its last durable commit, as a plain SQLite file.
    ///
    /// # Errors
    /// `ActorMissing`, and those of the store.
    pub async fn export(&self) -> Result<Export, HostError> {
        self.host.export(&self.id, self.txid_min).await
    }

    /// Makes the actor of a plain SQLite file, which is only read: with its WAL or hot journal beside
    /// it, of any page size. Starts over where an earlier import of the actor did not finish.
    /// `progress` receives each bounded commit. The actor is asleep afterwards.
    ///
    /// # Errors
    /// `KindMissing`; `ImportExists`: nothing is imported over an actor; `Import` says what is wrong
    /// with the file; those of the store: the same import starts over.
    pub async fn import(
        &self,
        file: &Path,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Imported, HostError> {
        self.host.import(&self.id, file, progress).await
    }

    /// Checks every stored page and commit of the actor against its checksums.
    ///
    /// # Errors
    /// `ActorMissing`, and those of the store. Damage is in the report, not an error.
    pub async fn verify(&self) -> Result<VerifyReport, HostError> {
        self.host.verify(&self.id).await
    }

    /// Makes something go wrong for the actor: see [`Fault`]. For tests of actors and of their
    /// callers.
    ///
    /// ```no_run
    /// # async fn example(wasm: Vec<u8>) -> Result<(), stockade::CallError> {
    /// use stockade::{ActorId, Fault, Host, HostConfig};
    ///
    /// let config = HostConfig::new("data").advanced(|settings| settings.with_faults_allowed(true));
    /// let host = Host::start(config).await?;
    /// host.deploy("counter", wasm, host.manifest()).await?;
    /// let alice = host.actor(&ActorId::new("counter", "alice")?);
    /// alice.call("increment", (5,)).await?;
    ///
    /// // The answer to the next commit is lost, and the caller gets a success all the same.
    /// alice.fault(Fault::LostReply { count: 1 }).await?;
    /// let reply = alice.call("increment", (5,)).await?;
    /// assert_eq!(reply.to_json(), serde_json::json!({ "ok": 10 }));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `FaultsNotAllowed` if the host was not started with them allowed: then nothing happens.
    /// `InvalidFault`, `ActorMissing`, `Elsewhere`; `ActorAsleep` for a crash or a fence of an
    /// actor that is not awake here; `Overloaded` if too many are armed; those of the store.
    pub async fn fault(&self, fault: Fault) -> Result<FaultReport, HostError> {
        self.host.fault(&self.id, fault).await
    }

    /// Takes back what was armed for the actor and has not fired; returns what that was.
    ///
    /// # Errors
    /// `FaultsNotAllowed`, `ActorMissing`, and those of the store.
    pub async fn clear_faults(&self) -> Result<Vec<Fault>, HostError> {
        self.host.clear_faults(&self.id).await
    }

    /// A private place for a file that is to become the actor.
    ///
    /// # Errors
    /// `KindMissing`, `ImportExists`, those of the store and of the directory.
    pub async fn intake(&self) -> Result<Intake, HostError> {
        self.host.intake(&self.id).await
    }

    /// [`Self::import`] of a file that is in its place.
    ///
    /// # Errors
    /// As [`Self::import`].
    pub async fn import_intake(
        &self,
        intake: Intake,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Imported, HostError> {
        self.host.import_intake(&self.id, intake, progress).await
    }

    /// Bytes that a database of the actor's kind may have.
    ///
    /// # Errors
    /// `KindMissing`, and those of the store.
    pub async fn database_bytes_max(&self) -> Result<u64, HostError> {
        self.host.database_bytes_max(&self.id).await
    }
}
