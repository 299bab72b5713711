//! Tests of the SQL layer over a real session on a store in memory.

mod alarms;
mod blobs;
mod budgets;
mod calls;
mod characters;
mod constraints;
mod forbidden;
mod frames;
mod functions;
mod fuzz;
mod imports;
mod limits;
mod lost;
mod messages;
mod nothing_left;
mod operators;
mod records;
mod revoked;
mod schemas;
mod slices;
mod statements;
mod torn;
mod transactions;
mod walk;
mod writes_with_rows;

use std::sync::Arc;
use std::time::Duration;

use stockade_depot::store::PreviousEnd;
use stockade_depot::{
    ActorId, Depot, DepotLimits, Digest, EmbeddedStore, NodeSession, Reason, Session, Store,
    TokioParker,
};
use stockade_testkit::faulty_store::FaultyStore;
use stockade_vfs::memory::{Pool, Share};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::time::Instant;

use super::{Connection, Meter, Spares, SqlError, Value};
use crate::grip::Grip;
use crate::limits::Limits;

/// A connection and the parts under it.
struct World {
    connection: Connection,
    session: Session,
    depot: Arc<Depot>,
    faults: Arc<FaultyStore>,
    grip: Grip,
    meter: Meter,
    limits: Limits,
    directory: TempDir,
    runtime: Runtime,
}

impl World {
    fn new() -> Self {
        Self::with(Limits::default(), DepotLimits::default())
    }

    fn with(limits: Limits, depot_limits: DepotLimits) -> Self {
        stockade_vfs::heap::install();
        let runtime = Runtime::new().unwrap();
        let faults = FaultyStore::new(Arc::new(EmbeddedStore::in_memory(1).unwrap()));
        let depot = Depot::new(
            Arc::clone(&faults) as Arc<dyn Store>,
            NodeSession([1; 16]),
            depot_limits,
            Arc::new(TokioParker(runtime.handle().clone())),
            runtime.handle().clone(),
        );
        let session =
            runtime.block_on(depot.create(&Self::actor(), Digest([0; 32]))).unwrap().session;
        let directory = tempfile::tempdir().unwrap();
        let (grip, meter) = (Grip::default(), Meter::default());
        let connection = Connection::open(
            &Spares::default(),
            session.clone(),
            directory.path(),
            &Share::of(&Pool::unbounded()),
            &limits,
            grip.clone(),
            meter.clone(),
        )
        .unwrap();
        let mut world =
            Self { connection, session, depot, faults, grip, meter, limits, directory, runtime };
        world.begin();
        world.serve();
        world
    }

    /// The hooks of the begin have run.
    fn serve(&mut self) {
        self.connection.end_of_call().unwrap();
        self.connection.serve().unwrap();
        self.begin();
    }

    /// The next generation: everything accepted is durable, nothing is cached in SQLite.
    fn reopen(&mut self) {
        self.reopen_with("");
    }

    /// The next generation, whose component runs a script in its `start`.
    fn reopen_with(&mut self, start: &str) {
        self.session.close(Reason::Slept);
        self.runtime.block_on(self.session.durable(self.session.mark())).unwrap();
        self.replace(start);
    }

    /// The next generation takes over what is durable, whatever this one has in hand.
    fn replace(&mut self, start: &str) {
        self.replace_with(Meter::default(), start);
    }

    fn replace_with(&mut self, meter: Meter, start: &str) {
        self.session = self.take_over();
        (self.grip, self.meter) = (Grip::default(), meter);
        self.begin();
        self.connection = Connection::open(
            &Spares::default(),
            self.session.clone(),
            self.directory.path(),
            &Share::of(&Pool::unbounded()),
            &self.limits,
            self.grip.clone(),
            self.meter.clone(),
        )
        .unwrap();
        self.script(start);
        self.serve();
    }

    fn actor() -> ActorId {
        ActorId::new("sql", "test").unwrap()
    }

    /// A new call of the guest.
    fn begin(&self) {
        self.meter.begin(&self.limits, Instant::now() + Duration::from_secs(60));
    }

    /// Another generation takes the database; returns its session.
    fn take_over(&self) -> Session {
        self.runtime.block_on(async {
            let store = self.depot.store();
            let state = store.actor(&Self::actor()).await.unwrap().unwrap();
            let digest = Digest([0; 32]);
            self.depot.take_over(&state, digest, PreviousEnd::Neutral).await.unwrap().session
        })
    }

    fn script(&mut self, sql: &str) {
        self.connection.execute_script(sql).unwrap();
    }

    fn run(&mut self, sql: &str) -> Result<u64, SqlError> {
        self.connection.execute(sql, &[]).map(|changes| changes.rows)
    }

    fn rows(&mut self, sql: &str) -> Vec<Vec<Value>> {
        self.connection.query(sql, &[]).unwrap().rows
    }

    /// The one value of a query.
    fn value(&mut self, sql: &str) -> Value {
        let rows = self.rows(sql);
        assert_eq!((rows.len(), rows[0].len()), (1, 1), "{sql}");
        rows[0][0].clone()
    }

    fn integer(&mut self, sql: &str) -> i64 {
        match self.value(sql) {
            Value::Integer(value) => value,
            other => panic!("{sql}: {other:?}"),
        }
    }
}

/// Stock SQLite to compare with. What counts memory must be there before SQLite is used first, by
/// whichever test that is.
fn stock() -> rusqlite::Connection {
    stockade_vfs::heap::install();
    rusqlite::Connection::open_in_memory().unwrap()
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

/// A packed row.
fn packed(values: &[Value]) -> Vec<u8> {
    let mut row = Vec::new();
    for value in values {
        let (tag, bytes) = match value {
            Value::Null => (0, Vec::new()),
            Value::Integer(value) => (1, value.to_le_bytes().to_vec()),
            Value::Real(value) => (2, value.to_bits().to_le_bytes().to_vec()),
            Value::Text(text) => (3, sized(text.as_bytes())),
            Value::Blob(bytes) => (4, sized(bytes)),
        };
        row.push(tag);
        row.extend(bytes);
    }
    row
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap();
    [&length.to_le_bytes(), bytes].concat()
}
