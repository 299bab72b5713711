//! Import (D11): every step is conditional on the origin `Importing`.

use stockade_depot::store::limits::DESTROY_ROWS_MAX;
use stockade_depot::store::{Emptied, TakenOver, TakeoverStep};
use stockade_depot::{Fence, Head, StoreError, Txid};

use crate::connection::params;
use crate::directory::delete_rows;
use crate::echo::{Asked, Wrote};
use crate::failure::Stop;
use crate::link::{Transaction, in_transaction};
use crate::primary::Primary;
use crate::refusal::{head_in, head_of};
use crate::rows::{self, Sealed};
use crate::sql::import as sql;
use crate::sql::ownership::HEAD;

impl Primary {
    pub(crate) async fn take_import_over(
        &self,
        step: &TakeoverStep,
    ) -> Result<TakenOver, StoreError> {
        let (generation, token) = &step.replaces;
        let name = step.actor.name_hash();
        let asked = params![
            &step.db.0[..],
            rows::to_sql(generation.0)?,
            &token.0[..],
            &step.token.0[..],
            &step.owner.0[..],
            &name.0[..],
        ];
        let head: Asked<'_> = (HEAD, params![&step.db.0[..]]);
        let mut taken = self.link.write_or_look((sql::IMPORT_TAKE_OVER, asked), head).await?;
        if let Wrote::Nothing(Some(row)) = &taken
            && rows::sealed(row)? == Sealed::Moving
        {
            self.wait_for_move(step.db, step.replaces).await?;
            taken = self.link.write_or_look((sql::IMPORT_TAKE_OVER, asked), head).await?;
        }
        match taken {
            Wrote::Row(row) => {
                let head = rows::head(&row, 0)?;
                Ok(TakenOver::Owned { head, restarts: 0, snapshot: None, leftovers: false })
            }
            Wrote::Nothing(row) => {
                let head = head_of(row, step.db)?;
                head.check_name(&step.actor).map(|()| TakenOver::Moved(head))
            }
        }
    }

    pub(crate) async fn empty_import_of(&self, fence: Fence) -> Result<Emptied, StoreError> {
        in_transaction!(self.link, tx => empty(&tx, &fence))
    }

    pub(crate) async fn finish_import_of(
        &self,
        fence: Fence,
        base: Txid,
    ) -> Result<Head, StoreError> {
        let row = params![
            &fence.db.0[..],
            rows::to_sql(fence.generation.0)?,
            &fence.token.0[..],
            rows::to_sql(base.0)?,
        ];
        let head: Asked<'_> = (HEAD, params![&fence.db.0[..]]);
        match self.link.write_or_look((sql::IMPORT_FINISH, row), head).await? {
            Wrote::Row(row) => rows::head(&row, 0),
            // Where the fence holds, it is the origin: a head that is no import is not imported into.
            Wrote::Nothing(row) => {
                Err(head_of(row, fence.db)?.owner_row().mismatch(&fence, base).into())
            }
        }
    }
}

async fn empty(tx: &Transaction, fence: &Fence) -> Result<Emptied, Stop> {
    let (db, generation) = (&fence.db.0[..], rows::to_sql(fence.generation.0)?);
    let holder = params![db, generation, &fence.token.0[..]];
    let Some(row) = tx.row(sql::IMPORT_HOLD, holder).await? else {
        let head = head_in(tx, fence.db).await?;
        return Err(StoreError::from(head.owner_row().mismatch(fence, Txid(0))).into());
    };
    if delete_rows(tx, fence.db).await? >= u64::from(DESTROY_ROWS_MAX) {
        return Ok(Emptied::More);
    }
    let chain = rows::head(&row, 0)?.first_chain();
    let empty = params![db, generation, &fence.token.0[..], &chain[..]];
    tx.change(sql::IMPORT_EMPTY, empty).await?;
    Ok(Emptied::Done)
}
