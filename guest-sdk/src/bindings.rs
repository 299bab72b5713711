//! Generated code and nothing else: the imports every actor has, and the hooks it may export.
//!
//! Invariant: nothing of this module appears in a public signature, except to the macros of this
//! package.

#![allow(
    missing_docs,
    unsafe_code,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    reason = "written by wit-bindgen from wit/"
)]

/// The imports: `sqlite`, `context`, `log`, `alarms`, `actors`, `messages`.
mod imports {
    wit_bindgen::generate!({
        path: "wit",
        world: "stockade:actor/imports",
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}

pub(crate) use imports::stockade::actor::{actors, alarms, context, log, messages, sqlite};

/// The handler of alarms. Public only because `export_alarms!` expands in the actor's package.
#[doc(hidden)]
pub mod handler {
    wit_bindgen::generate!({
        path: "wit",
        inline: "package stockade:sdk-handler; world handler { export stockade:actor/alarm-handler@0.2.1; }",
        world: "stockade:sdk-handler/handler",
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_handler",
        default_bindings_module: "stockade_sdk::bindings::handler",
    });
}

/// The optional hooks. Public only because `export_lifecycle!` expands in the actor's package.
#[doc(hidden)]
pub mod exports {
    wit_bindgen::generate!({
        path: "wit",
        inline: "package stockade:sdk-exports; world hooks { export stockade:actor/lifecycle@0.2.1; }",
        world: "stockade:sdk-exports/hooks",
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_hooks",
        default_bindings_module: "stockade_sdk::bindings::exports",
    });
}
