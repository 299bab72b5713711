//! The schema, and the row that says which one it is.
//!
//! The tables and columns are those of `stockade_depot`'s embedded store, but for `actor.shard` (all
//! shards are in one table here), `echo`, and `stockade_schema`. Names of actors sort by their bytes.

statements! {
    /// Which schema is here, which program made it, and what it was made with.
    CREATE_VERSION = r#"CREATE TABLE IF NOT EXISTS stockade_schema (
        id      BIGINT NOT NULL PRIMARY KEY,
        version BIGINT NOT NULL,
        program TEXT   NOT NULL,
        shards  BIGINT NOT NULL,
        store   BYTEA,
        own     BYTEA,
        name    TEXT,
        root    TEXT
    )"#;
    /// What tells primaries of one store from others, since version 3: the store's id.
    VERSION_STORE = "ALTER TABLE stockade_schema ADD COLUMN IF NOT EXISTS store BYTEA";
    /// The primary's own.
    VERSION_OWN = "ALTER TABLE stockade_schema ADD COLUMN IF NOT EXISTS own BYTEA";
    /// The primary's name.
    VERSION_NAME = "ALTER TABLE stockade_schema ADD COLUMN IF NOT EXISTS name TEXT";
    /// The name of the primary that keeps kinds, components and nodes.
    VERSION_ROOT = "ALTER TABLE stockade_schema ADD COLUMN IF NOT EXISTS root TEXT";
    /// Where each shard is, as this primary knows it. State 0: here; 1: here, and it leaves for `peer`;
    /// 2: gone to `peer`; 3: it comes from `peer`. `version`: moves of the shard that were begun.
    CREATE_SHARD = r#"CREATE TABLE IF NOT EXISTS shard (
        number  BIGINT NOT NULL PRIMARY KEY,
        state   BIGINT NOT NULL,
        peer    TEXT,
        version BIGINT NOT NULL
    )"#;
    /// At the root: which primaries have been part of the store, by their own ids.
    CREATE_MEMBER = r#"CREATE TABLE IF NOT EXISTS member (
        name TEXT  NOT NULL PRIMARY KEY,
        own  BYTEA NOT NULL
    )"#;
    /// One row a database.
    CREATE_HEAD = r#"CREATE TABLE IF NOT EXISTS head (
        db         BYTEA  NOT NULL PRIMARY KEY,
        generation BIGINT NOT NULL,
        token      BYTEA  NOT NULL,
        owner      BYTEA  NOT NULL,
        txid       BIGINT NOT NULL,
        page_count BIGINT NOT NULL,
        chain      BYTEA  NOT NULL,
        sealed     BIGINT NOT NULL,
        origin     BIGINT NOT NULL,
        floor      BIGINT NOT NULL,
        format     BIGINT NOT NULL,
        base_db    BYTEA,
        base_txid  BIGINT,
        time_ms    BIGINT NOT NULL,
        name       BYTEA  NOT NULL
    )"#;
    /// Forks by their base.
    CREATE_HEAD_BASE =
        "CREATE INDEX IF NOT EXISTS head_base ON head (base_db) WHERE base_db IS NOT NULL";
    /// Page versions.
    CREATE_PAGE = r#"CREATE TABLE IF NOT EXISTS page (
        db    BYTEA  NOT NULL,
        pgno  BIGINT NOT NULL,
        txid  BIGINT NOT NULL,
        stage BYTEA  NOT NULL,
        sum   BYTEA  NOT NULL,
        bytes BYTEA  NOT NULL,
        PRIMARY KEY (db, pgno, txid, stage)
    )"#;
    /// Rows of large commits.
    CREATE_PAGE_STAGE = "CREATE INDEX IF NOT EXISTS page_stage ON page (db, stage, pgno) \
        WHERE length(stage) > 0";
    /// What was staged for commits that are not made yet.
    CREATE_STAGE = r#"CREATE TABLE IF NOT EXISTS stage (
        db         BYTEA  NOT NULL,
        stage      BYTEA  NOT NULL,
        txid       BIGINT NOT NULL,
        generation BIGINT NOT NULL,
        chunks     BIGINT NOT NULL,
        pages      BIGINT NOT NULL,
        run_from   BIGINT NOT NULL,
        last       BIGINT NOT NULL,
        PRIMARY KEY (db, stage)
    )"#;
    /// The commit log.
    CREATE_COMMIT = r#"CREATE TABLE IF NOT EXISTS "commit" (
        db         BYTEA  NOT NULL,
        txid       BIGINT NOT NULL,
        generation BIGINT NOT NULL,
        page_count BIGINT NOT NULL,
        content    BYTEA  NOT NULL,
        chain      BYTEA  NOT NULL,
        stage      BYTEA  NOT NULL,
        time_ms    BIGINT NOT NULL,
        PRIMARY KEY (db, txid)
    )"#;
    /// In-memory state that was handed over.
    CREATE_SNAPSHOT = r#"CREATE TABLE IF NOT EXISTS snapshot (
        db         BYTEA  NOT NULL PRIMARY KEY,
        generation BIGINT NOT NULL,
        txid       BIGINT NOT NULL,
        component  BYTEA  NOT NULL,
        state      BYTEA  NOT NULL
    )"#;
    /// What holds history.
    CREATE_PIN = r#"CREATE TABLE IF NOT EXISTS pin (
        db   BYTEA  NOT NULL,
        txid BIGINT NOT NULL,
        name TEXT COLLATE "C" NOT NULL,
        PRIMARY KEY (db, txid, name)
    )"#;
    /// What exists.
    CREATE_ACTOR = r#"CREATE TABLE IF NOT EXISTS actor (
        kind      TEXT COLLATE "C" NOT NULL,
        key       TEXT COLLATE "C" NOT NULL,
        db        BYTEA  NOT NULL UNIQUE,
        shard     BIGINT NOT NULL,
        component BYTEA  NOT NULL,
        wanted    BIGINT NOT NULL,
        restarts  BIGINT NOT NULL,
        next_due  BIGINT,
        PRIMARY KEY (kind, key)
    )"#;
    /// Actors of one shard.
    CREATE_ACTOR_SHARD =
        "CREATE INDEX IF NOT EXISTS actor_shard ON actor (kind, shard, key)";
    /// Actors with due work, since version 4: of each shard by time and name.
    CREATE_ACTOR_DUE = "CREATE INDEX IF NOT EXISTS actor_shard_due \
        ON actor (shard, next_due, kind, key) WHERE next_due IS NOT NULL";
    /// Those of all shards, before version 4.
    DROP_ACTOR_DUE = "DROP INDEX IF EXISTS actor_due";
    /// Actors that are being destroyed.
    CREATE_ACTOR_DESTROYING =
        "CREATE INDEX IF NOT EXISTS actor_destroying ON actor (kind, key) WHERE wanted = 1";
    /// Processes.
    CREATE_NODE = r#"CREATE TABLE IF NOT EXISTS node (
        session    BYTEA  NOT NULL PRIMARY KEY,
        address    TEXT   NOT NULL,
        counter    BIGINT NOT NULL,
        pid        BIGINT,
        version    TEXT,
        format_min BIGINT,
        format_max BIGINT,
        peers      TEXT,
        draining   BIGINT,
        awake      BIGINT,
        awake_max  BIGINT,
        bytes      BIGINT,
        bytes_max  BIGINT,
        cpu        BIGINT
    )"#;
    /// What processes report since version 2: where their peers reach them.
    NODE_PEERS = "ALTER TABLE node ADD COLUMN IF NOT EXISTS peers TEXT";
    /// Whether they give up their actors.
    NODE_DRAINING = "ALTER TABLE node ADD COLUMN IF NOT EXISTS draining BIGINT";
    /// Their actors that are awake.
    NODE_AWAKE = "ALTER TABLE node ADD COLUMN IF NOT EXISTS awake BIGINT";
    /// How many of these there may be.
    NODE_AWAKE_MAX = "ALTER TABLE node ADD COLUMN IF NOT EXISTS awake_max BIGINT";
    /// The memory of their guests.
    NODE_BYTES = "ALTER TABLE node ADD COLUMN IF NOT EXISTS bytes BIGINT";
    /// How much of it there may be.
    NODE_BYTES_MAX = "ALTER TABLE node ADD COLUMN IF NOT EXISTS bytes_max BIGINT";
    /// Their use of the cores.
    NODE_CPU = "ALTER TABLE node ADD COLUMN IF NOT EXISTS cpu BIGINT";
    /// Components by digest.
    CREATE_COMPONENT = r#"CREATE TABLE IF NOT EXISTS component (
        digest BYTEA NOT NULL PRIMARY KEY,
        wasm   BYTEA NOT NULL
    )"#;
    /// Kinds by name.
    CREATE_KIND = r#"CREATE TABLE IF NOT EXISTS kind (
        name      TEXT COLLATE "C" NOT NULL PRIMARY KEY,
        component BYTEA  NOT NULL,
        manifest  TEXT   NOT NULL,
        version   BIGINT NOT NULL
    )"#;
    /// What small writes are for that only prove that the standby follows.
    CREATE_ECHO = r#"CREATE TABLE IF NOT EXISTS echo (
        id BYTEA  NOT NULL PRIMARY KEY,
        n  BIGINT NOT NULL
    )"#;

    /// The schema's row. No parameters.
    VERSION = "SELECT v.version, v.program, v.shards FROM stockade_schema v WHERE v.id = 1";
    /// Which primary of which store this is, since version 3. No parameters.
    IDENTITY = "SELECT v.shards, v.store, v.own, v.name, v.root FROM stockade_schema v WHERE v.id = 1";
    /// The last step of making a schema, with the shards: it is whole. (version, program, shards, store,
    /// own id, name, root; of each shard: number, state, peer, version)
    VERSION_PUT = "WITH v AS (INSERT INTO stockade_schema (id, version, program, shards, store, own, \
        name, root) VALUES (1, $1, $2, $3, $4, $5, $6, $7) ON CONFLICT (id) DO NOTHING RETURNING id) \
        INSERT INTO shard (number, state, peer, version) SELECT u.number, u.state, u.peer, u.version \
        FROM v CROSS JOIN unnest($8::int8[], $9::int8[], $10::text[], $11::int8[]) \
        AS u (number, state, peer, version) ON CONFLICT (number) DO UPDATE SET \
        state = excluded.state, peer = excluded.peer, version = excluded.version";
    /// The last step of a conversion. (from, to, program)
    VERSION_RAISE = "UPDATE stockade_schema SET version = $2, program = $3 \
        WHERE id = 1 AND version = $1";
    /// The last step of the conversion to version 3: a store by itself, with all of its shards.
    /// (from, to, program, store, own id, name; numbers of the shards)
    VERSION_RAISE_3 = "WITH v AS (UPDATE stockade_schema SET version = $2, program = $3, store = $4, \
        own = $5, name = $6, root = $6 WHERE id = 1 AND version = $1 RETURNING id) \
        INSERT INTO shard (number, state, peer, version) SELECT u.number, 0, NULL, 0 \
        FROM v CROSS JOIN unnest($7::int8[]) AS u (number) ON CONFLICT (number) DO UPDATE SET \
        state = excluded.state, peer = excluded.peer, version = excluded.version";
}

/// What makes the schema, in order. Each may run again.
pub(crate) const CREATE: [&str; 19] = [
    CREATE_VERSION,
    CREATE_HEAD,
    CREATE_HEAD_BASE,
    CREATE_PAGE,
    CREATE_PAGE_STAGE,
    CREATE_STAGE,
    CREATE_COMMIT,
    CREATE_SNAPSHOT,
    CREATE_PIN,
    CREATE_ACTOR,
    CREATE_ACTOR_SHARD,
    CREATE_ACTOR_DUE,
    CREATE_ACTOR_DESTROYING,
    CREATE_NODE,
    CREATE_COMPONENT,
    CREATE_KIND,
    CREATE_ECHO,
    CREATE_SHARD,
    CREATE_MEMBER,
];

/// What leads from version 1 to version 2. Each may run again, and programs of version 1 that run
/// beside it continue: they insert and select by name.
pub(crate) const TO_2: [&str; 7] =
    [NODE_PEERS, NODE_DRAINING, NODE_AWAKE, NODE_AWAKE_MAX, NODE_BYTES, NODE_BYTES_MAX, NODE_CPU];

/// What leads from version 2 to version 3. Likewise, until a shard is moved.
pub(crate) const TO_3: [&str; 6] =
    [VERSION_STORE, VERSION_OWN, VERSION_NAME, VERSION_ROOT, CREATE_SHARD, CREATE_MEMBER];

/// What leads from version 3 to version 4. Likewise: programs of version 3 write no due time.
pub(crate) const TO_4: [&str; 2] = [CREATE_ACTOR_DUE, DROP_ACTOR_DUE];

/// What helps PostgreSQL and may be refused by others: pages are compressed already, and heads are
/// updated in place.
pub(crate) const TUNING: [&str; 3] = [
    "ALTER TABLE page ALTER COLUMN bytes SET STORAGE EXTERNAL",
    "ALTER TABLE component ALTER COLUMN wasm SET STORAGE EXTERNAL",
    "ALTER TABLE head SET (fillfactor = 50)",
];
