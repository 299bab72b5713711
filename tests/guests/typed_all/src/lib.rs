//! Echoes every WIT type and counts how often a method ran.

#![allow(unsafe_code, missing_docs, reason = "the component ABI is written by wit-bindgen")]

use std::sync::atomic::{AtomicU64, Ordering};

mod bindings {
    wit_bindgen::generate!({
        path: ["../../../wit", "world.wit"],
        world: "tests:typed-all/guest",
        generate_all,
    });
}

use bindings::exports::tests::typed_all::echo::{Access, Color, Guest, Nested, Point, Shape};

static RUNS: AtomicU64 = AtomicU64::new(0);

fn ran<T>(value: T) -> T {
    RUNS.fetch_add(1, Ordering::Relaxed);
    value
}

struct Actor;

/// Methods that return their argument.
macro_rules! echoes {
    ($($name:ident: $type:ty),* $(,)?) => {
        $(fn $name(v: $type) -> $type {
            ran(v)
        })*
    };
}

impl Guest for Actor {
    echoes! {
        echo_bool: bool,
        echo_u8: u8,
        echo_s8: i8,
        echo_u16: u16,
        echo_s16: i16,
        echo_u32: u32,
        echo_s32: i32,
        echo_u64: u64,
        echo_s64: i64,
        echo_f32: f32,
        echo_f64: f64,
        echo_char: char,
        echo_string: String,
        echo_bytes: Vec<u8>,
        echo_list: Vec<i64>,
        echo_option: Option<u64>,
        echo_option_twice: Option<Option<u8>>,
        echo_result: Result<u32, String>,
        echo_result_empty: Result<(), ()>,
        echo_tuple: (u8, String, bool),
        echo_record: Point,
        echo_nested: Nested,
        echo_variant: Shape,
        echo_enum: Color,
        echo_flags: Access,
    }

    fn join(first: String, count: u32, last: Option<String>) -> String {
        ran(format!("{first}-{count}-{}", last.as_deref().unwrap_or("none")))
    }

    fn nothing() {
        ran(());
    }

    fn runs() -> u64 {
        RUNS.load(Ordering::Relaxed)
    }
}

bindings::export!(Actor with_types_in bindings);
