//! Where this process believes shards to be. Nothing rests on it: each step carries its own conditions,
//! and a primary that has not got a shard says so.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use stockade_depot::{DbId, Shard};

use crate::limits::STRAYS_MAX;
use crate::place::Led;

/// The number of a primary in the list.
pub(crate) type Number = usize;

/// A map from shards to primaries, and the databases that have moved before their shard.
pub(crate) struct Map {
    shards: Vec<AtomicUsize>,
    strays: Mutex<HashMap<DbId, (Number, Led)>>,
    has_strays: AtomicBool,
}

impl Map {
    /// A map that names `root` for every shard.
    pub(crate) fn new(shards: u16, root: Number) -> Self {
        let shards = (0..shards).map(|_| AtomicUsize::new(root)).collect();
        Self { shards, strays: Mutex::default(), has_strays: AtomicBool::new(false) }
    }

    /// Where a shard is. `None`: there is no such shard.
    pub(crate) fn of(&self, shard: Shard) -> Option<Number> {
        self.shards.get(usize::from(shard.0)).map(|at| at.load(Ordering::Relaxed))
    }

    /// Where a database is.
    pub(crate) fn of_db(&self, db: DbId) -> Option<(Number, Led)> {
        if self.has_strays.load(Ordering::Relaxed)
            && let Some(stray) = self.strays.lock().get(&db)
        {
            return Some(*stray);
        }
        self.of(db.shard()).map(|at| (at, Led::default()))
    }

    /// A shard is at `at`, all of it.
    pub(crate) fn put(&self, shard: Shard, at: Number) {
        let Some(place) = self.shards.get(usize::from(shard.0)) else { return };
        if place.swap(at, Ordering::Relaxed) != at {
            self.change(|strays| strays.retain(|db, _| db.shard() != shard));
        }
    }

    /// A database is at `at` already.
    pub(crate) fn stray(&self, db: DbId, at: Number, led: Led) {
        self.change(|strays| {
            if strays.len() >= STRAYS_MAX {
                strays.clear();
            }
            strays.insert(db, (at, led));
        });
    }

    /// A database is where its shard is.
    pub(crate) fn found(&self, db: DbId) {
        if self.has_strays.load(Ordering::Relaxed) {
            self.change(|strays| {
                strays.remove(&db);
            });
        }
    }

    fn change(&self, how: impl FnOnce(&mut HashMap<DbId, (Number, Led)>)) {
        let mut strays = self.strays.lock();
        how(&mut strays);
        self.has_strays.store(!strays.is_empty(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_may_move_before_its_shard() {
        let (one, two) = (DbId::new(Shard(1), [1; 15]), DbId::new(Shard(1), [2; 15]));
        let (map, led) = (Map::new(2, 0), Led(Some(4)));
        map.stray(one, 1, led);
        assert_eq!((map.of_db(one), map.of_db(two)), (Some((1, led)), Some((0, Led::default()))));
        map.put(Shard(1), 1);
        assert_eq!(map.of_db(one), Some((1, Led::default())));
        map.stray(two, 0, led);
        map.found(two);
        assert_eq!((map.of_db(two), map.of(Shard(2))), (Some((1, Led::default())), None));
    }

    #[test]
    fn strays_are_bounded() {
        let map = Map::new(1, 0);
        for number in 0..=u32::try_from(STRAYS_MAX).unwrap() {
            let mut random = [0; 15];
            random[..4].copy_from_slice(&number.to_le_bytes());
            map.stray(DbId::new(Shard(0), random), 1, Led::default());
        }
        assert_eq!(map.strays.lock().len(), 1);
    }
}
