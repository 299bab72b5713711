//! Steps that are about several databases: each part goes to its primary.

use std::collections::BTreeMap;

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream;
use stockade_depot::store::Superseded;
use stockade_depot::{DbId, Fence, NodeSession, StoreError};

use crate::limits::TURNS_AT_ONCE_MAX;
use crate::map::Number;
use crate::route::{Of, Way};
use crate::store::PgStores;

type Confirmed = Result<(), StoreError>;

impl PgStores {
    /// Confirms fences, each at its primary. A primary that does not answer fails its own.
    pub(crate) async fn confirm_all(&self, fences: &[Fence]) -> Vec<Confirmed> {
        let mut answers: Vec<Option<Confirmed>> = vec![None; fences.len()];
        let mut ways: Vec<(usize, Fence, Way<'_>)> = Vec::with_capacity(fences.len());
        for (at, (fence, answer)) in fences.iter().zip(&mut answers).enumerate() {
            match self.way(Of::Db(fence.db)) {
                Ok(way) => ways.push((at, *fence, way)),
                Err(error) => *answer = Some(Err(error)),
            }
        }
        while !ways.is_empty() {
            let mut groups: BTreeMap<Number, Vec<(usize, Fence, Way<'_>)>> = BTreeMap::new();
            for way in ways {
                groups.entry(way.2.at).or_default().push(way);
            }
            let asked = groups.into_iter().map(|(number, group)| async move {
                let fences: Vec<Fence> = group.iter().map(|(_, fence, _)| *fence).collect();
                let told = match self.at(number) {
                    Ok(primary) => primary.confirm_fences(&fences).await,
                    Err(error) => vec![Err(error); fences.len()],
                };
                group.into_iter().zip(told)
            });
            let mut turns = Vec::new();
            for ((at, fence, way), told) in join_all(asked).await.into_iter().flatten() {
                match told {
                    Err(StoreError::Elsewhere { .. }) => {
                        turns.push(async move { (at, fence, self.turn(way).await) });
                    }
                    told => put(&mut answers, at, told),
                }
            }
            let turned: Vec<_> =
                stream::iter(turns).buffer_unordered(TURNS_AT_ONCE_MAX).collect().await;
            ways = Vec::new();
            for (at, fence, way) in turned {
                match way {
                    Ok(way) => ways.push((at, fence, way)),
                    Err(error) => put(&mut answers, at, Err(error)),
                }
            }
        }
        let lost = || Err(StoreError::Unavailable("the store lost the question".into()));
        answers.into_iter().map(|answer| answer.unwrap_or_else(lost)).collect()
    }

    /// Claims heirs, each where its database is believed to be: what is not there is left out.
    pub(crate) async fn claim_all(
        &self,
        owner: NodeSession,
        heirs: &[Fence],
    ) -> Result<(), StoreError> {
        let groups = self.by_primary(heirs, |heir| heir.db);
        let asked = groups.into_iter().map(|(number, heirs)| async move {
            self.at(number)?.claim_heirs(owner, &heirs).await
        });
        join_all(asked).await.into_iter().fold(Ok(()), Result::and)
    }

    /// Deletes page versions, each where its database is believed to be.
    pub(crate) async fn trim_all(&self, rows: &[Superseded]) -> Result<u64, StoreError> {
        let mut gone = 0;
        let groups = self.by_primary(rows, |row| row.db);
        if groups.is_empty() {
            return self.root()?.trim_page_rows(&[]).await;
        }
        for (number, rows) in groups {
            gone += self.at(number)?.trim_page_rows(&rows).await?;
        }
        Ok(gone)
    }

    /// Values by the primary that their database is believed to be at.
    fn by_primary<T: Copy>(&self, all: &[T], db: impl Fn(&T) -> DbId) -> BTreeMap<Number, Vec<T>> {
        let mut groups: BTreeMap<Number, Vec<T>> = BTreeMap::new();
        for one in all {
            if let Some((number, _)) = self.map.of_db(db(one)) {
                groups.entry(number).or_default().push(*one);
            }
        }
        groups
    }
}

fn put(answers: &mut [Option<Confirmed>], at: usize, told: Confirmed) {
    if let Some(answer) = answers.get_mut(at) {
        *answer = Some(told);
    }
}
