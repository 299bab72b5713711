//! Statements that are never part of a fenced step: components, kinds, nodes, the echo.

statements! {
    /// (digest, wasm)
    COMPONENT_INSERT = "INSERT INTO component (digest, wasm) VALUES ($1, $2) \
        ON CONFLICT (digest) DO NOTHING";
    /// (digest)
    COMPONENT = "SELECT c.wasm FROM component c WHERE c.digest = $1";
    /// (name, component, manifest)
    KIND_PUT = "INSERT INTO kind (name, component, manifest, version) VALUES ($1, $2, $3, 1) \
        ON CONFLICT (name) DO UPDATE SET component = excluded.component, \
        manifest = excluded.manifest, version = kind.version + 1 \
        RETURNING name, component, manifest, version";
    /// (name)
    KIND = "SELECT k.name, k.component, k.manifest, k.version FROM kind k WHERE k.name = $1";
    /// (after, most)
    KINDS = "SELECT k.name, k.component, k.manifest, k.version FROM kind k WHERE k.name > $1 \
        ORDER BY k.name LIMIT $2";
    /// (name)
    KIND_DELETE = "DELETE FROM kind WHERE name = $1";
    /// (session, address, pid, version, oldest and newest schema, peers, draining, awake, awake_max,
    /// bytes, bytes_max, cpu)
    NODE_BEAT = "INSERT INTO node (session, address, counter, pid, version, format_min, format_max, \
        peers, draining, awake, awake_max, bytes, bytes_max, cpu) \
        VALUES ($1, $2, 1, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) \
        ON CONFLICT (session) DO UPDATE SET \
        address = excluded.address, counter = node.counter + 1, peers = excluded.peers, \
        draining = excluded.draining, awake = excluded.awake, awake_max = excluded.awake_max, \
        bytes = excluded.bytes, bytes_max = excluded.bytes_max, cpu = excluded.cpu";
    /// No parameters.
    NODES = "SELECT n.session, n.address, n.counter, n.pid, n.version, n.format_min, n.format_max, \
        n.peers, n.draining, n.awake, n.awake_max, n.bytes, n.bytes_max, n.cpu \
        FROM node n ORDER BY n.session";
    /// (session)
    NODE_GONE = "DELETE FROM node WHERE session = $1";
    /// A small write, whose answer proves what was read before on the connection. (row)
    ECHO = "INSERT INTO echo (id, n) VALUES ($1, 1) ON CONFLICT (id) DO UPDATE SET n = echo.n + 1";
}
