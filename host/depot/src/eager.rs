//! Work that begins on the thread that asks for it.

use std::task::{Context, Waker};

use tokio::runtime::Handle;

/// Runs `work`: up to its first wait on the calling thread, the rest in a task. A step that the
/// store answers immediately, or on the caller's thread, needs no thread of the runtime first.
pub(crate) fn run(runtime: &Handle, work: impl Future<Output = ()> + Send + 'static) {
    let _runtime = runtime.enter();
    let mut work = Box::pin(work);
    let mut context = Context::from_waker(Waker::noop());
    if work.as_mut().poll(&mut context).is_pending() {
        runtime.spawn(work);
    }
}
