//! Debian's package index in one actor: ingested by the thousand, searched by words.

use bindings::exports::stockade_example::catalog::catalog::{Error, Guest, Hit, Package};
use catalog_records::sql;
use stockade_sdk::lifecycle::{self, Lifecycle};
use stockade_sdk::migrations::Migrations;
use stockade_sdk::{Connection, Error as SqlError, OptionalRow, Row};

stockade_alloc::install!();

const SCHEMA: Migrations<'_> = Migrations::new(&[sql::SCHEMA]);
const HITS_MAX: u32 = 100;

struct Catalog;

impl Guest for Catalog {
    fn ingest(text: String) -> Result<u64, Error> {
        let mut connection = Connection::open()?;
        let transaction = connection.transaction()?;
        let (mut count, mut malformed) = (0, false);
        let rows = catalog_records::records(&text).map_while(|record| {
            let Some(r) = record else {
                malformed = true;
                return None;
            };
            count += 1;
            let who = (r.name, r.version, r.architecture, r.section, r.priority);
            Some((
                who.0,
                who.1,
                who.2,
                who.3,
                who.4,
                r.size,
                r.installed_size,
                r.maintainer,
                r.homepage,
                r.depends,
                r.description,
            ))
        });
        transaction.prepare(sql::INSERT)?.execute_many(rows)?;
        if malformed {
            return Err(Error::MalformedRecord(count)); // drops the transaction, and its rows
        }
        transaction.commit()?;
        log::info!(count; "ingested");
        Ok(count)
    }

    fn search(query: String, limit: u32) -> Result<Vec<Hit>, Error> {
        let connection = Connection::open()?;
        let mut select = connection.prepare(sql::SEARCH)?;
        let hits = select.query_map((words(&query)?, limit.min(HITS_MAX)), |row| {
            Ok(Hit {
                name: row.get(0)?,
                version: row.get(1)?,
                section: row.get(2)?,
                excerpt: row.get(3)?,
                score: row.get(4)?,
            })
        })?;
        Ok(hits.collect::<stockade_sdk::Result<_>>()?)
    }

    fn show(name: String) -> Result<Option<Package>, Error> {
        Ok(Connection::open()?.query_row(sql::SHOW, [name], package).optional()?)
    }

    fn count() -> Result<u64, Error> {
        Ok(Connection::open()?.query_row(sql::COUNT, [], |row| row.get(0))?)
    }
}

/// The search text in FTS5's syntax: every word in quotes, so that no word is taken for an
/// operator.
fn words(query: &str) -> Result<String, Error> {
    let mut quoted = String::new();
    for word in query.split_whitespace() {
        let (word, star) = word.strip_suffix('*').map_or((word, ""), |stem| (stem, " *"));
        if word.contains(char::is_alphanumeric) {
            quoted.push_str(&format!("\"{}\"{star} ", word.replace('"', "\"\"")));
        }
    }
    if quoted.is_empty() { Err(Error::EmptyQuery) } else { Ok(quoted) }
}

fn package(row: &Row<'_>) -> stockade_sdk::Result<Package> {
    Ok(Package {
        name: row.get(0)?,
        version: row.get(1)?,
        architecture: row.get(2)?,
        section: row.get(3)?,
        priority: row.get(4)?,
        size: row.get(5)?,
        installed_size_kib: row.get(6)?,
        maintainer: row.get(7)?,
        homepage: row.get(8)?,
        depends: row.get(9)?,
        description: row.get(10)?,
    })
}

impl Lifecycle for Catalog {
    fn start() -> lifecycle::Result {
        stockade_sdk::log::init();
        SCHEMA.apply(&mut Connection::open()?)?;
        Ok(())
    }
}

/// So that `?` turns an error of the database into the actor's own error.
impl From<SqlError> for Error {
    fn from(error: SqlError) -> Self {
        Self::Failed(error.to_string())
    }
}

mod bindings {
    //! Generated from `world.wit`.
    stockade_sdk::world!("world.wit");
}

bindings::export!(Catalog with_types_in bindings);
stockade_sdk::export_lifecycle!(Catalog);
