//! The guest of the fleet, in Rust: a list of numbers in one page, in the order in which calls have
//! added them. It adds what it is given, twice if it is asked twice: to notice that is the callers'
//! affair.
//!
//! ```text
//! page 1   count u64 | number u64 | number u64 | ...     little-endian, at most 511 numbers
//! ```

use std::path::Path;
use std::sync::OnceLock;

use bytes::Bytes;
use stockade::internal::{Engine, Native, PageAway};
use stockade::limits::Limits;
use stockade::{ActorId, Manifest};
use stockade_depot::page::PAGE_SIZE;
use stockade_depot::{PageCount, Pgno, Session, Store};
use tempfile::TempDir;

use crate::code;

/// The kind of the fleet's actors.
pub const KIND: &str = "ledger";
/// Adds its number, and returns how many there are.
pub const ADD: &str = "add";
/// Returns how many numbers there are.
pub const COUNT: &str = "count";

const NUMBER_BYTES: usize = 8;
const NUMBERS_MAX: usize = PAGE_SIZE / NUMBER_BYTES - 1;

/// The signatures of both methods. No instance is made of it.
const COMPONENT: &str = r#"(component
  (core module $m (func (export "f") (param i64) (result i64) local.get 0))
  (core instance $i (instantiate $m))
  (func $add (param "number" u64) (result u64) (canon lift (core func $i "f")))
  (func $count (param "number" u64) (result u64) (canon lift (core func $i "f")))
  (instance $api (export "add" (func $add)) (export "count" (func $count)))
  (export "fleet:ledger/api" (instance $api)))"#;

static COMPILED: OnceLock<TempDir> = OnceLock::new();

/// The guest.
pub struct Ledger;

impl Native for Ledger {
    fn run(&self, session: &Session, method: &str, number: u64) -> Result<u64, PageAway> {
        let mut numbers = match session.page_count() {
            PageCount(0) => Vec::new(),
            PageCount(_) => numbers(&session.read(Pgno(1)).map_err(|_| PageAway)?),
        };
        if method == ADD {
            assert!(numbers.len() < NUMBERS_MAX, "a caller has called too often");
            numbers.push(number);
            let size = PAGE_SIZE as u64;
            session.prepare(size, PageCount(1)).map_err(|_| PageAway)?;
            session.publish(vec![(Pgno(1), page(&numbers))], PageCount(1));
        }
        Ok(numbers.len() as u64)
    }
}

fn page(numbers: &[u64]) -> Bytes {
    let mut page = Vec::with_capacity(PAGE_SIZE);
    page.extend_from_slice(&(numbers.len() as u64).to_le_bytes());
    page.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    page.resize(PAGE_SIZE, 0);
    page.into()
}

fn numbers(page: &[u8]) -> Vec<u64> {
    let mut words = page
        .chunks_exact(NUMBER_BYTES)
        .map(|word| u64::from_le_bytes(word.try_into().expect("BUG: chunks have this size")));
    let count = usize::try_from(words.next().unwrap_or(0)).unwrap_or(0);
    words.take(count).collect()
}

/// The numbers that the store has of an actor, in their order.
pub async fn stored(store: &dyn Store, actor: &ActorId) -> Vec<u64> {
    let Some(state) = store.actor(actor).await.unwrap() else { return Vec::new() };
    let (db, txid) = (state.head.fence.db, state.head.txid);
    let pages = store.read_at(db, txid, Pgno(1), 1).await.unwrap();
    pages.first().map(|page| numbers(&page.bytes)).unwrap_or_default()
}

fn wasm() -> Vec<u8> {
    wat::parse_str(COMPONENT).unwrap()
}

/// Puts the kind into the store. All of its limits are the defaults but the memory, which is the
/// hosts'.
pub async fn deploy(store: &dyn Store) {
    let wasm = wasm();
    let digest = Engine::digest(&wasm);
    let limits = Limits { memory_bytes_max: code::limits().memory_bytes_max, ..Limits::default() };
    let manifest = serde_json::to_string(&Manifest { limits, ..Manifest::default() }).unwrap();
    store.put_component(digest, wasm).await.unwrap();
    store.put_kind(KIND, digest, &manifest).await.unwrap();
}

/// Copies the compiled component into `data_dir`, where a host finds it.
pub fn provide(data_dir: &Path) {
    let compiled = COMPILED.get_or_init(|| code::compile(KIND, wasm()));
    code::copy(compiled.path(), data_dir);
}
