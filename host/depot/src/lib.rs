//! The authority over actor databases: their owners, their pages, and what a commit may change.
//!
//! ```text
//!  depot     what a process calls
//!  session   one generation's open database: pipeline of commits, page cache, first fatal cause
//!  takeover  how the next owner is decided, and how a lost answer is settled
//!  inherit   how the owner that a seal has appointed begins
//!  parts     what sessions and steps of a process share;  gate   which answers may leave
//!  confirm   batched "is this fence still mine"
//!  retry     a step is sent until it is answered, or until it is settled
//!  ── rules above, engine below ──────────────────────────────────────────────
//!  retention what of the history may go;  import   a plain file becomes a database
//!  history   export and verify a database from its versions
//!  store     the seam: few coarse fenced steps, each atomic in the engine underneath
//!  store/embedded   SQLite files, one group committer each
//! ```
//!
//! The rules know no engine and nothing here knows the actors' SQL, wasm or HTTP. News travels up
//! as returned values: a session *returns* that it was fenced, its caller decides what that means.

#![forbid(unsafe_code)]

pub mod broken;
pub mod chain;
pub mod error;
pub mod fence;
pub mod history;
pub mod id;
pub mod page;
mod parallel;
pub mod reason;
pub mod store;

pub mod cache;
pub mod cause;
mod confirm;
mod create;
pub mod depot;
mod destroy;
mod eager;
pub mod gate;
pub mod import;
mod inherit;
pub mod limits;
mod opened;
pub mod parker;
mod parts;
pub mod random;
pub mod retention;
mod retry;
pub mod session;
mod source;
mod takeover;
pub mod tally;

pub use cause::{Cause, OpenError, PrepareError, ReadError, SealError, Verdict};
pub use depot::Depot;
pub use error::{FailureCause, HeadFenceMismatch, Limit, StoreError, StoreFailure, StoreFull};
pub use fence::{Fence, Head, Origin, OwnerRow, Standing};
pub use id::{
    ActorId, DbId, Digest, Generation, NameHash, NodeSession, PageCount, Pgno, Shard, StageId,
    Token, Txid,
};
pub use limits::{DepotLimits, PageShare, SessionLimits};
pub use opened::{HandedOver, Opened};
pub use page::{PAGE_SIZE, PageBytes};
pub use parker::{Parker, TokioParker};
pub use random::Random;
pub use reason::Reason;
pub use session::{Mark, Session};
pub use source::LargePages;
pub use store::Store;
pub use store::embedded::EmbeddedStore;
