//! All parts of one connection, which move between threads together.
//!
//! - F3: SQLite, opened without its own mutexes or with them, is entered by one thread at a time,
//!   so a database, its statements and its blobs are on one thread at a time.
//! - Parts are made inside, from values that are `Send`; a closure that uses them brings and takes
//!   only values that are `Send`. So no part gets out, or in. (A thread-local variable would be a
//!   way: no code puts a part there.)

/// The parts of one connection, moved between threads only as a whole.
pub struct Whole<T>(T);

// SAFETY: what is inside is not `Send` because it shares an `Rc<Database>` and holds raw pointers
// into one SQLite connection. All owners of that `Rc` and all those pointers are inside: they were
// made there (`build`), and closures that are `Send` neither bring nor take any (`with`). So they
// move together (F3). SQLite has no thread affinity.
unsafe impl<T> Send for Whole<T> {}

impl<T> Whole<T> {
    /// Makes the parts.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn build<E: Send>(make: impl FnOnce() -> Result<T, E> + Send) -> Result<Self, E> {
        make().map(Self)
    }

    /// Uses the parts.
    #[inline]
    pub fn with<R: Send>(&mut self, work: impl FnOnce(&mut T) -> R + Send) -> R {
        work(&mut self.0)
    }
}
