//! Work over the pages of one step, on all cores if they are many.

use rayon::prelude::*;

use crate::id::Pgno;
use crate::page::PageBytes;

/// Pages up to which a step is worked on by the thread that has it, which need not be one that may
/// block: packing takes about 10 us a page.
pub(crate) const INLINE_PAGES_MAX: usize = 256;

/// `work` on every page, in order. Each core makes itself a `tool` first. With more pages than
/// [`INLINE_PAGES_MAX`] it blocks until other threads are done.
pub(crate) fn map<Tool, Done: Send>(
    pages: &[(Pgno, PageBytes)],
    tool: impl Fn() -> Tool + Sync + Send,
    work: impl Fn(&mut Tool, Pgno, &PageBytes) -> Done + Sync + Send,
) -> Vec<Done> {
    if pages.len() <= INLINE_PAGES_MAX {
        let mut tool = tool();
        return pages.iter().map(|(pgno, page)| work(&mut tool, *pgno, page)).collect();
    }
    // Pieces of some size: a page alone is little beside handing it over.
    let shared = pages.par_iter().with_min_len(32);
    shared.map_init(tool, |tool, (pgno, page)| work(tool, *pgno, page)).collect()
}
