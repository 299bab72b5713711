//! The macro for calls of other actors by typed functions.

/// Makes Rust from the WIT that `stockade client KIND` has written: a module with a type for the actors
/// of the kind, made of a key, whose methods call theirs.
///
/// Takes the path of the WIT file, relative to the package's folder, and the name of the kind, which is
/// that of the module. Where the kind's name is no name of WIT, the first lines of the file say what to
/// write. The manifest of the actor's own kind must grant the calls: `calls = ["counter"]`.
///
/// ```sh
/// stockade client counter -o src/clients/counter.wit
/// ```
///
/// ```no_run
/// use stockade_sdk::actors::Error;
///
/// stockade_sdk::client!("src/clients/counter.wit", counter);
/// use counter::Counter;
///
/// fn visit(page: &str) -> Result<i64, Error> {
///     let visits = Counter::new(page);
///     // The outer error is that of the call, the inner one is the method's own.
///     visits.increment(1)?.map_err(Error::Other)
/// }
/// # fn main() {}
/// ```
///
/// Making a `Counter` calls nothing. Each method blocks until the callee has answered. The values go from
/// guest to guest as they are, without JSON; only between two nodes of a cluster the hosts write JSON.
///
/// # Errors
/// Each method returns a `Result`, whose error, `CallError`, becomes [`actors::Error`](crate::actors::Error)
/// by `?`. The host compares the types of this file with those of the callee at each call: if they differ,
/// the callee does not run, and the error is [`Invalid`](crate::actors::Error::Invalid) with the code
/// `request.signature` and the place. Then write the file again.
///
/// # Panics
/// Outside an actor: see [Test an actor](crate#test-an-actor). The 1,025th client of an actor at the same
/// time is a trap.
#[macro_export]
macro_rules! client {
    ($path:literal, $kind:ident) => {
        $crate::client!($path, $kind::$kind);
    };
    ($path:literal, $package:ident :: $name:ident) => {
        #[allow(
            missing_docs,
            dead_code,
            unreachable_pub,
            unsafe_code,
            unused_qualifications,
            clippy::all,
            clippy::undocumented_unsafe_blocks,
            reason = "written by wit-bindgen"
        )]
        pub mod $name {
            mod generated {
                $crate::wit_bindgen::generate!({
                    runtime_path: "stockade_sdk::wit_bindgen::rt",
                    path: $path,
                });
            }

            pub use self::generated::stockade_client::$package::$name::*;
            use self::generated::stockade_client::$package::call_errors as raw;

            $crate::from_contract!(errors of calls in raw);
            $crate::from_contract!(reasons in raw);
        }
    };
}
