//! The figures of the PostgreSQL store: they are measured in a package of their own, which needs no host.

use crate::stand::Stand;
use crate::summary::Summary;

pub async fn run(stand: &Stand, summary: &mut Summary) -> anyhow::Result<()> {
    for figure in stockade_figures_pg::run(stand.quick).await? {
        summary.add(&figure.name, figure.value, &figure.made_from);
    }
    Ok(())
}
