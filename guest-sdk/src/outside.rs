//! The replacement for the host where there is none: in `cargo test` of an actor's package.
//!
//! Without it, generated code ends the whole test program by SIGABRT, in a function of the
//! generator.

/// Called wherever an actor begins to use the host, before the host is called.
///
/// # Panics
/// Always, unless this code is a component.
#[track_caller]
pub(crate) fn needs_host() {
    #[cfg(not(target_family = "wasm"))]
    panic!(
        "there is no Stockade host here: the database, the context, the calls, the messages and the log of an actor work only \
         in a component that a host runs. Test plain functions here, and the actor in a host: see \
         \"Test an actor\" in the documentation of stockade-sdk"
    );
}

#[cfg(test)]
mod tests {
    use crate::{Connection, actors, alarms, context, log, messages};

    /// The panic and its message. Its place is that of the calling code, not of generated code.
    #[track_caller]
    fn check(call: impl FnOnce() + std::panic::UnwindSafe) {
        let panicked = std::panic::catch_unwind(call).expect_err("there is no host");
        let said = panicked.downcast_ref::<&str>().expect("a text");
        assert!(said.contains("no Stockade host here") && said.contains("Test an actor"), "{said}");
    }

    #[test]
    fn every_way_to_the_host_ends_in_a_panic_that_says_how_to_test() {
        check(|| drop(Connection::open()));
        check(|| drop(context::identity()));
        check(|| drop(context::start_reason()));
        check(|| drop(context::budget()));
        check(|| drop(actors::call("kind", "key", "method", "")));
        check(|| drop(actors::start("kind", "key", "method", "")));
        check(|| drop(actors::wait_any(&[])));
        check(|| drop(messages::send("kind", "key", "method", "")));
        check(|| drop(messages::current()));
        check(|| drop(log::write(log::Level::Info, "a", &[])));
        check(|| drop(alarms::set("a", &alarms::Schedule::After(1), &[])));
        check(|| drop(alarms::cancel("a")));
        check(|| drop(alarms::get("a")));
        check(|| drop(alarms::list(None, 1)));
    }
}
