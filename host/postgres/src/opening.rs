//! Opening a list of primaries: they become one store, or are one, or are refused.
//!
//! ```text
//! all empty    the root (the least name) is made first, in one statement that says for each shard who
//!              keeps it; programs that start together find one row
//! one empty    made by what the root says; a primary that was not there then begins without shards
//! then         the root notes the primary's own id, once: no other database takes that name
//! ```
//! Invariants:
//! - a primary beside the root is used only if the root has noted its id: a database that was emptied, or that is another
//!   one under the same name, is refused;
//! - of every shard each primary is in the list that keeps it, or a part of it.

use futures_util::future::try_join_all;
use stockade_depot::Shard;
use stockade_depot::store::NodeRow;
use tokio::time::timeout;

use crate::config::{OpenPgError, PgConfig};
use crate::connection::{Connection, Connector, NotConnected, params};
use crate::place::{Place, ShardRow, ShardState};
use crate::primary::Primary;
use crate::rows;
use crate::schema::{self, Identity, Plan};
use crate::sql::cluster::NODES;
use crate::sql::shards::{MEMBER_PUT, MEMBERS, SHARDS};
use crate::{limits, schema::SCHEMA_VERSION};

/// How often the shards are looked at that a move has changed in between.
const LOOKS_MAX: u32 = 3;

/// What is found in a database that may hold a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The version of the schema, and the program that made it; `None`: there is none, and the first
    /// start makes it.
    pub schema: Option<(i32, String)>,
    /// What the primary is called, in a schema that this program serves.
    pub name: Option<String>,
    /// Processes that are registered, of a schema that this program serves.
    pub nodes: Vec<NodeRow>,
}

/// A store whose primaries are open.
pub(crate) struct Opened {
    pub(crate) primaries: Vec<Primary>,
    /// Which of them keeps what all share.
    pub(crate) root: usize,
    /// What they say of the shards that they keep or get.
    pub(crate) rows: Vec<ShardRow>,
}

/// The way to one server while the store is opened.
struct Line<'a> {
    config: &'a PgConfig,
    connector: Connector,
    connection: Connection,
}

/// Looks at each database. Changes nothing.
pub(crate) async fn look(configs: &[PgConfig]) -> Result<Vec<Found>, OpenPgError> {
    check_list(configs)?;
    try_join_all(configs.iter().map(|config| async move {
        let line = connect(config).await?;
        line.in_time(find(&line.connection)).await
    }))
    .await
}

/// Opens the store that the primaries of the list are, or make.
pub(crate) async fn open(configs: &[PgConfig]) -> Result<Opened, OpenPgError> {
    check_list(configs)?;
    let lines = try_join_all(configs.iter().map(connect)).await?;
    let identities = identify(&lines).await?;
    let root = root_of(&lines, &identities)?;
    let identities = join(&lines, root, identities).await?;
    let rows = shards(&lines, &identities).await?;
    let mut primaries = Vec::new();
    for (line, identity) in lines.into_iter().zip(identities) {
        let Line { config, connector, connection } = line;
        connection.done();
        primaries.push(Primary::start(config, &connector, identity.name, identity.shards)?);
    }
    Ok(Opened { primaries, root, rows })
}

/// Refuses a list that cannot be one store.
fn check_list(configs: &[PgConfig]) -> Result<(), OpenPgError> {
    if configs.is_empty() || configs.len() > limits::PRIMARIES_MAX {
        return Err(OpenPgError::Primaries { asked: configs.len() });
    }
    for (at, config) in configs.iter().enumerate() {
        if config.shards == 0 || config.shards > limits::SHARDS_MAX {
            return Err(OpenPgError::Shards { asked: config.shards });
        }
        let Some(name) = &config.name else {
            if configs.len() == 1 {
                continue;
            }
            return Err(OpenPgError::Unnamed { server: config.address.to_string() });
        };
        if configs.iter().take(at).any(|other| other.name.as_ref() == Some(name)) {
            return Err(OpenPgError::SameName { name: name.clone() });
        }
    }
    Ok(())
}

/// The first connection, and how others are made.
async fn connect(config: &PgConfig) -> Result<Line<'_>, OpenPgError> {
    let (security, tls) = (config.address.security(), config.address.tls()?);
    let hosts = config.address.hosts(&config.password);
    let connector = Connector::new(hosts, security, tls, config.has_standby)
        .map_err(|error| OpenPgError::Random(error.to_string()))?;
    let connection = connector.connect().await.map_err(|error| OpenPgError::Connect {
        server: config.address.to_string(),
        what: match error {
            NotConnected::Hosts(what) => what,
            NotConnected::Ending => "the process is going down".into(),
        },
    })?;
    Ok(Line { config, connector, connection })
}

impl Line<'_> {
    /// Hosts, ports and database.
    fn server(&self) -> String {
        self.config.address.to_string()
    }

    /// What the primary is called if it is made, or converted, now.
    fn name(&self) -> &str {
        self.config.name.as_deref().unwrap_or(limits::NAME)
    }

    /// What becomes of `work` with the schema, if that is ready in time.
    async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, OpenPgError>>,
    ) -> Result<T, OpenPgError> {
        let late = || OpenPgError::Late { server: self.server() };
        timeout(limits::OPEN_DEADLINE, work).await.unwrap_or_else(|_| Err(late()))
    }

    async fn settle(&self) -> Result<Option<Identity>, OpenPgError> {
        self.in_time(schema::settle(&self.connection, self.name())).await
    }

    async fn make(&self, plan: &Plan) -> Result<Identity, OpenPgError> {
        self.in_time(schema::make(&self.connection, plan)).await
    }

    /// The rows of all shards.
    async fn shards(&self, name: &str) -> Result<Vec<ShardRow>, OpenPgError> {
        let found = self.connection.rows(SHARDS, &[]).await.map_err(OpenPgError::Server)?;
        let read = found.iter().map(|row| ShardRow::of(row, name));
        read.collect::<Result<_, _>>().map_err(OpenPgError::Row)
    }
}

/// What the databases are. Of a list of empty ones the root is made, which is the first that is
/// anything then.
async fn identify(lines: &[Line<'_>]) -> Result<Vec<Option<Identity>>, OpenPgError> {
    let mut found = try_join_all(lines.iter().map(Line::settle)).await?;
    if found.iter().all(Option::is_none) {
        let least = lines.iter().enumerate().min_by_key(|(_, line)| line.name());
        if let Some((at, line)) = least {
            let identity = line.make(&plan_of_root(lines, line.name())?).await?;
            if let Some(place) = found.get_mut(at) {
                *place = Some(identity);
            }
        }
    }
    // Another program may be making all of them, the root first: what was looked at before it was made
    // is looked at again.
    for (line, place) in lines.iter().zip(&mut found) {
        if place.is_none() {
            *place = line.settle().await?;
        }
    }
    Ok(found)
}

/// What the first primary of a new store is made to: its shards, and those of the others.
fn plan_of_root(lines: &[Line<'_>], root: &str) -> Result<Plan, OpenPgError> {
    let mut names: Vec<&str> = lines.iter().map(Line::name).collect();
    names.sort_unstable();
    let shards = lines.first().map_or(limits::SHARDS, |line| line.config.shards);
    let row = |(shard, name): (Shard, &&str)| {
        let is_here = *name == root;
        let state = if is_here { ShardState::Here } else { ShardState::Gone };
        (shard, Place { state, peer: (!is_here).then(|| (*name).to_owned()), version: 0 })
    };
    Ok(Plan {
        identity: Identity {
            store: schema::random_id()?,
            own: schema::random_id()?,
            name: root.to_owned(),
            root: root.to_owned(),
            shards,
        },
        rows: Shard::all(shards).zip(names.iter().cycle()).map(row).collect(),
    })
}

/// What another primary of the store is made to, by what the root says.
fn plan_beside(root: &Identity, rows: &[ShardRow], name: &str) -> Result<Plan, OpenPgError> {
    let row = |row: &ShardRow| {
        let is_for = |peer: &String| peer == name && row.state == ShardState::Gone;
        let place = if row.peer.as_ref().is_some_and(is_for) {
            Place { state: ShardState::Here, peer: None, version: row.version }
        } else {
            let keeper = match row.state {
                ShardState::Here | ShardState::Leaving => None,
                ShardState::Gone | ShardState::Coming => row.peer.clone(),
            };
            let peer = Some(keeper.unwrap_or_else(|| root.name.clone()));
            Place { state: ShardState::Gone, peer, version: row.version }
        };
        (row.shard, place)
    };
    let own = schema::random_id()?;
    let identity = Identity { own, name: name.to_owned(), ..root.clone() };
    Ok(Plan { identity, rows: rows.iter().map(row).collect() })
}

/// Which line leads to the root. Refuses databases of different stores, and other names.
fn root_of(lines: &[Line<'_>], found: &[Option<Identity>]) -> Result<usize, OpenPgError> {
    let known = || lines.iter().zip(found).filter_map(|(line, of)| Some((line, of.as_ref()?)));
    let Some((first, of)) = known().next() else { return Err(OpenPgError::Damaged) };
    for (line, identity) in known() {
        if (identity.store, &identity.root) != (of.store, &of.root) {
            let (server, other) = (line.server(), first.server());
            return Err(OpenPgError::OtherStore { server, other });
        }
        check_name(line, identity)?;
    }
    let is_root = |found: &Option<Identity>| {
        found.as_ref().is_some_and(|identity| identity.name == identity.root)
    };
    if let Some(at) = found.iter().position(is_root) {
        return Ok(at);
    }
    // It is in the list, and empty.
    match lines.iter().find(|line| line.name() == of.root) {
        Some(line) => Err(OpenPgError::Lost { server: line.server(), name: of.root.clone() }),
        None => Err(OpenPgError::NoRoot { root: of.root.clone() }),
    }
}

fn check_name(line: &Line<'_>, identity: &Identity) -> Result<(), OpenPgError> {
    match &line.config.name {
        Some(asked) if *asked != identity.name => Err(OpenPgError::OtherName {
            server: line.server(),
            recorded: identity.name.clone(),
            asked: asked.clone(),
        }),
        _ => Ok(()),
    }
}

/// Makes the empty ones, and has the root note all of them.
async fn join(
    lines: &[Line<'_>],
    root: usize,
    found: Vec<Option<Identity>>,
) -> Result<Vec<Identity>, OpenPgError> {
    let (Some(line_of_root), Some(Some(of_root))) = (lines.get(root), found.get(root).cloned())
    else {
        return Err(OpenPgError::Damaged);
    };
    let lost = |line: &Line<'_>, name: &str| OpenPgError::Lost {
        server: line.server(),
        name: name.to_owned(),
    };
    let noted = members(&line_of_root.connection).await?;
    let rows = line_of_root.shards(&of_root.name).await?;
    let mut identities = Vec::with_capacity(found.len());
    for (line, identity) in lines.iter().zip(found) {
        let identity = match identity {
            Some(identity) => identity,
            None if noted.iter().any(|(name, _)| name == line.name()) => {
                return Err(lost(line, line.name()));
            }
            None => line.make(&plan_beside(&of_root, &rows, line.name())?).await?,
        };
        if (identity.store, &identity.root) != (of_root.store, &of_root.root) {
            let (server, other) = (line.server(), line_of_root.server());
            return Err(OpenPgError::OtherStore { server, other });
        }
        check_name(line, &identity)?;
        identities.push(identity);
    }
    // The root is what the others are compared with.
    let beside = |identity: &Identity| identity.name != of_root.name;
    for identity in identities.iter().filter(|identity| beside(identity)) {
        if !noted.iter().any(|(name, _)| *name == identity.name) {
            let row = params![identity.name, &identity.own[..]];
            line_of_root.connection.execute(MEMBER_PUT, row).await.map_err(OpenPgError::Server)?;
        }
    }
    let noted = members(&line_of_root.connection).await?;
    for (line, identity) in lines.iter().zip(&identities) {
        let is_noted = |(name, own): &(String, Vec<u8>)| {
            *name == identity.name && own.as_slice() == identity.own.as_slice()
        };
        if beside(identity) && !noted.iter().any(is_noted) {
            return Err(lost(line, &identity.name));
        }
    }
    Ok(identities)
}

/// The primaries that the root has noted, with their own ids.
async fn members(root: &Connection) -> Result<Vec<(String, Vec<u8>)>, OpenPgError> {
    let found = root.rows(MEMBERS, &[]).await.map_err(OpenPgError::Server)?;
    let read = |row| Some((rows::text(row, 0).ok()??, rows::blob(row, 1).ok()?.to_vec()));
    found.iter().map(read).collect::<Option<_>>().ok_or(OpenPgError::Damaged)
}

/// What the primaries say of the shards that they keep or get. Refuses a list without one of those.
async fn shards(lines: &[Line<'_>], identities: &[Identity]) -> Result<Vec<ShardRow>, OpenPgError> {
    let count = identities.first().map_or(0, |identity| identity.shards);
    let mut looks = 0;
    loop {
        let mut rows = Vec::new();
        for (line, identity) in lines.iter().zip(identities) {
            rows.extend(line.shards(&identity.name).await?);
        }
        looks += 1;
        match unlisted(&rows, count, identities) {
            None => {
                rows.retain(ShardRow::concerns);
                return Ok(rows);
            }
            // What a move has changed between two looks may be missing in both.
            Some(_) if looks < LOOKS_MAX => {}
            Some((name, shard)) => {
                return Err(OpenPgError::Unlisted { name, shard: shard.0.into() });
            }
        }
    }
}

/// A primary that keeps a shard, or a part of one, and is not in the list.
fn unlisted(rows: &[ShardRow], count: u16, list: &[Identity]) -> Option<(String, Shard)> {
    let is_listed = |name: &String| list.iter().any(|identity| identity.name == *name);
    let moving = rows.iter().filter(|row| row.concerns()).find_map(|row| {
        row.peer.as_ref().filter(|peer| !is_listed(peer)).map(|peer| (peer.clone(), row.shard))
    });
    if moving.is_some() {
        return moving;
    }
    Shard::all(count).find_map(|shard| {
        let of_shard = || rows.iter().filter(|row| row.shard == shard);
        if of_shard().any(ShardRow::concerns) {
            return None;
        }
        // The primary that knows of the newest move, and of those the one that names none of the list.
        let newest = of_shard().max_by_key(|row| {
            (row.version, row.peer.as_ref().is_some_and(|peer| !is_listed(peer)))
        });
        Some((newest.and_then(|row| row.peer.clone()).unwrap_or_default(), shard))
    })
}

async fn find(connection: &Connection) -> Result<Found, OpenPgError> {
    let schema = schema::found(connection).await?;
    let is_served = schema.as_ref().is_some_and(|(version, _)| *version == SCHEMA_VERSION);
    if !is_served {
        return Ok(Found { schema, name: None, nodes: Vec::new() });
    }
    let name = Some(schema::identity(connection).await?.name);
    let rows = connection.rows(NODES, &[]).await.map_err(OpenPgError::Server)?;
    let nodes = rows.iter().map(rows::node).collect::<Result<_, _>>().map_err(OpenPgError::Row)?;
    Ok(Found { schema, name, nodes })
}
