//! Tests over both directions: random values, every type through a real guest, hostile input.

use std::fmt::Debug;

use serde::Deserializer;
use serde::de::DeserializeSeed;
use serde_json::{Value, json};
use wasmtime::Store;
use wasmtime::component::{Linker, Val};

use crate::typed::bounds::{QUOTE_CHARS_MAX, VALUE_BYTES};
use crate::typed::check::check;
use crate::typed::example::example;
use crate::typed::place::{ArgumentError, Place, Room};
use crate::typed::samples::{Dice, ECHO, component};
use crate::typed::shape::{Field, Shape};
use crate::typed::wave::Parsed;
use crate::typed::{Arguments, MethodTable, json as json_layer};

/// From a value and from its text: the same.
fn read_json(json: &Value, shape: &Shape) -> Result<Val, ArgumentError> {
    let from_value = read_json_within(json, shape, Room::default());
    let text = json.to_string();
    let mut text = serde_json::Deserializer::from_str(&text);
    assert_eq!(read_json_within(&mut text, shape, Room::default()), from_value);
    from_value
}

fn read_json_within<'de, D: Deserializer<'de, Error: Debug>>(
    json: D,
    shape: &Shape,
    room: Room<'_>,
) -> Result<Val, ArgumentError> {
    let (mut reading, place) = (json_layer::Reading::new(room), Place::WHOLE.name("x"));
    let seed = json_layer::Seed { shape, place: &place, reading: &mut reading };
    let read = seed.deserialize(json).expect("JSON");
    reading.end(read)
}

fn read_wave(text: &str, shape: &Shape) -> Result<Val, ArgumentError> {
    Parsed::of(text)?.read(0, shape, &Place::WHOLE.name("x"), &mut Room::default())
}

#[test]
fn random_values_survive_json_and_wave() {
    let mut dice = Dice::new(7);
    for round in 0..4_000 {
        let shape = dice.shape(4);
        let value = dice.value(&shape);
        check(&value, &shape, &Place::WHOLE).expect("a value has its own shape");

        let json = json_layer::write(&value, &shape);
        let text = serde_json::to_string(&json).expect("JSON prints");
        let parsed: Value = serde_json::from_str(&text).expect("and parses");
        let back = read_json(&parsed, &shape);
        assert_eq!(back.as_ref(), Ok(&value), "round {round}: {text} as {shape}");

        let text = value.to_wave().expect("WAVE has all types");
        let back = read_wave(&text, &shape);
        assert_eq!(back.as_ref(), Ok(&value), "round {round}: {text} as {shape}");

        let fits = read_json(&example(&shape), &shape);
        assert!(fits.is_ok(), "round {round}: the example of {shape}: {fits:?}");
    }
}

#[test]
fn random_json_of_another_shape_is_refused_or_fits_exactly() {
    let mut dice = Dice::new(11);
    for _ in 0..4_000 {
        let (from, to) = (dice.shape(3), dice.shape(3));
        let value = dice.value(&from);
        match read_json(&json_layer::write(&value, &from), &to) {
            Ok(read) => check(&read, &to, &Place::WHOLE).expect("what is read has the shape"),
            Err(error) => {
                assert!(error.path.starts_with('x'), "{error}");
                assert!(error.to_string().chars().count() < 5 * QUOTE_CHARS_MAX, "{error}");
            }
        }
    }
}

#[track_caller]
fn same(json: Value, shape: &Shape) {
    let value = read_json(&json, shape).expect("the JSON fits");
    assert_eq!(json_layer::write(&value, shape), json);
}

#[track_caller]
fn becomes(json: Value, shape: &Shape, out: Value) {
    let value = read_json(&json, shape).expect("the JSON fits");
    assert_eq!(json_layer::write(&value, shape), out);
}

#[track_caller]
fn refused(json: Value, shape: &Shape, error: &str) {
    assert_eq!(read_json(&json, shape).expect_err("it does not fit").to_string(), error);
}

#[test]
fn integers_to_the_last_digit() {
    for (shape, min, max) in [
        (Shape::S8, -128, 127),
        (Shape::U8, 0, 255),
        (Shape::S16, -32_768, 32_767),
        (Shape::U16, 0, 65_535),
        (Shape::S32, -2_147_483_648, 2_147_483_647_i64),
        (Shape::U32, 0, 4_294_967_295),
    ] {
        same(json!(min), &shape);
        same(json!(max), &shape);
        for wrong in [min - 1, max + 1] {
            refused(json!(wrong), &shape, &format!("x: expected {shape}, got {wrong} (number)"));
        }
        refused(json!("1"), &shape, &format!("x: expected {shape}, got \"1\" (string)"));
        refused(json!(1.5), &shape, &format!("x: expected {shape}, got 1.5 (number)"));
        becomes(json!(1.0), &shape, json!(1));
    }
    let exact = 9_007_199_254_740_992_i64;
    same(json!(exact), &Shape::S64);
    same(json!(-exact), &Shape::S64);
    same(json!(exact), &Shape::U64);
    becomes(json!(exact + 1), &Shape::U64, json!("9007199254740993"));
    becomes(json!(i64::MIN), &Shape::S64, json!("-9223372036854775808"));
    same(json!("9223372036854775807"), &Shape::S64);
    same(json!("18446744073709551615"), &Shape::U64);
    becomes(json!(u64::MAX), &Shape::U64, json!("18446744073709551615"));
    becomes(json!("7"), &Shape::U64, json!(7));
    for wrong in [
        json!("18446744073709551616"),
        json!(-1),
        json!("-1"),
        json!("+1"),
        json!(" 1"),
        json!(""),
        json!("1.0"),
        json!(1e19),
        json!(9_007_199_254_740_993.0),
        json!(null),
        json!([1]),
    ] {
        read_json(&wrong, &Shape::U64).expect_err(&wrong.to_string());
    }
}

#[test]
fn floats_come_back_bit_by_bit() {
    for value in [0.1_f32, 1.0e-45, f32::MAX, f32::MIN_POSITIVE, -0.0, 16_777_217.0, 3.402_823e38] {
        let json = json_layer::write(&Val::Float32(value), &Shape::F32);
        match read_json(&json, &Shape::F32) {
            Ok(Val::Float32(back)) => assert_eq!(back.to_bits(), value.to_bits(), "{json}"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(json_layer::write(&Val::Float32(0.1), &Shape::F32), json!(0.1));
    for shape in [Shape::F32, Shape::F64] {
        for special in ["nan", "inf", "-inf"] {
            same(json!(special), &shape);
        }
        same(json!(1.5), &shape);
        becomes(json!(2), &shape, json!(2.0));
        refused(json!("1.5"), &shape, &format!("x: expected {shape}, got \"1.5\" (string)"));
    }
    refused(json!(1e300), &Shape::F32, "x: expected f32, got 1e+300 (number)");
    read_wave("1e400", &Shape::F64).expect_err("it would be infinity");
    read_wave("1e39", &Shape::F32).expect_err("it would be infinity");
    assert_eq!(read_wave("-inf", &Shape::F32), Ok(Val::Float32(f32::NEG_INFINITY)));
}

#[test]
fn texts_and_bytes() {
    same(json!("ß"), &Shape::Char);
    refused(json!("ab"), &Shape::Char, "x: expected char, got \"ab\" (string)");
    refused(json!(""), &Shape::Char, "x: expected char, got \"\" (string)");
    same(json!("a\u{0}\u{10FFFF}"), &Shape::String);
    refused(json!(1), &Shape::String, "x: expected string, got 1 (number)");
    let bytes = Shape::List(Box::new(Shape::U8));
    same(json!("AAEC/w=="), &bytes);
    becomes(json!("AAEC/w"), &bytes, json!("AAEC/w=="));
    becomes(json!([0, 1, 2, 255]), &bytes, json!("AAEC/w=="));
    becomes(json!([]), &bytes, json!(""));
    refused(json!([0, 256]), &bytes, "x[1]: expected u8, got 256 (number)");
    refused(json!(7), &bytes, "x: expected list<u8> (base64 or an array), got 7 (number)");
    let error = read_json(&json!("???"), &bytes).expect_err("not base64").to_string();
    assert!(
        error.starts_with("x: expected list<u8> (base64 or an array), got \"???\" (not base64")
    );
}

#[test]
fn options_nest_without_loss() {
    let one = Shape::Option(Box::new(Shape::U8));
    let two = Shape::Option(Box::new(one.clone()));
    let three = Shape::Option(Box::new(two.clone()));
    same(json!(null), &one);
    same(json!(1), &one);
    same(json!(null), &two);
    same(json!({ "some": null }), &two);
    same(json!({ "some": 1 }), &two);
    same(json!({ "some": { "some": null } }), &three);
    refused(
        json!(1),
        &two,
        "x: expected option<option<u8>>: null or {\"some\": ..}, got 1 (number)",
    );
    refused(json!({ "some": "a" }), &two, "x.some: expected u8, got \"a\" (string)");
}

#[test]
fn records_variants_results_flags() {
    let field = |name: &str, shape| Field { name: name.into(), shape };
    let person = Shape::Record(vec![
        field("first-name", Shape::String),
        field("age", Shape::Option(Box::new(Shape::U32))),
    ]);
    becomes(json!({"first-name": "a"}), &person, json!({"first-name": "a", "age": null}));
    refused(
        json!({"first-name": "a", "Age": 1}),
        &person,
        "x.Age: expected a field of the record, perhaps `age`, got an unknown field",
    );
    refused(
        json!({"first-name": "a", "zzzzzz": 1}),
        &person,
        "x.zzzzzz: expected a field of the record (first-name, age), got an unknown field",
    );
    refused(json!({}), &person, "x.first-name: expected string, got nothing: the field is missing");
    refused(json!({"first-name": "a", "age": -1}), &person, "x.age: expected u32, got -1 (number)");
    refused(
        json!([1]),
        &person,
        "x: expected record { first-name: string, age: option<u32> }, got an array of 1",
    );
    let result = Shape::Result { ok: Some(Box::new(Shape::U8)), err: None };
    same(json!({"ok": 1}), &result);
    same(json!({"err": null}), &result);
    refused(
        json!({"err": 1}),
        &result,
        "x.err: expected null: there is no payload, got 1 (number)",
    );
    refused(json!({"fine": 1}), &result, "x: expected result<u8>, got an object with fine");
    refused(
        json!({"ok": 1, "err": null}),
        &result,
        "x: expected result<u8>, got an object with \
                                                     ok, err",
    );
    let flags = Shape::Flags(vec!["r".into(), "w".into()]);
    same(json!([]), &flags);
    becomes(json!(["w", "r"]), &flags, json!(["r", "w"]));
    refused(json!(["r", "r"]), &flags, "x[1]: expected each flag once, got \"r\" (string)");
    refused(json!(["q"]), &flags, "x[0]: expected flags { r, w }, got \"q\" (string)");
}

#[test]
fn every_type_passes_through_a_guest() {
    let component = component(ECHO);
    let table = MethodTable::of(&component, &["echo".to_owned()]).expect("few functions");
    let echo = table.find("echo").expect("it is exported");
    let items = json!([
        {
            "a-bool": true, "a-s8": -128, "a-u8": 255, "a-s16": -32768, "a-u16": 65535,
            "a-s32": i32::MIN, "a-u32": u32::MAX, "a-s64": "-9223372036854775808",
            "a-u64": "18446744073709551615", "a-f32": 0.1, "a-f64": "nan", "a-char": "🦀",
            "a-string": "dağ", "a-bytes": "AAEC", "a-list": ["", "two"], "a-tuple": [1, "t"],
            "a-shape": {"named": ["n", "dark-blue"]}, "a-color": "red", "an-option": null,
            "an-option-option": {"some": null}, "a-result": {"err": "dark-blue"},
            "a-bare-result": {"ok": null}, "an-err": {"err": 3}, "some-rights": ["read", "run-it"]
        },
        {
            "a-bool": false, "a-s8": 127, "a-u8": 0, "a-s16": 32767, "a-u16": 0,
            "a-s32": i32::MAX, "a-u32": 0, "a-s64": 9_007_199_254_740_992_i64, "a-u64": 0,
            "a-f32": "-inf", "a-f64": -0.0, "a-char": "\u{0}", "a-string": "", "a-bytes": "",
            "a-list": [], "a-tuple": [0, ""], "a-shape": "dot", "a-color": "dark-blue",
            "an-option": 7, "an-option-option": {"some": 8}, "a-result": {"ok": "yes"},
            "a-bare-result": {"err": null}, "an-err": {"ok": null}, "some-rights": []
        }
    ]);
    let mut store = Store::new(component.engine(), ());
    let linker = Linker::new(component.engine());
    let instance = linker.instantiate(&mut store, &component).expect("it imports nothing");
    let func = instance.get_func(&mut store, echo.export()).expect("the method's export");
    let mut call = |arguments: Arguments| {
        let values = echo.arguments(&arguments).expect("they fit");
        let mut results = vec![Val::Bool(false); echo.results_len()];
        func.call(&mut store, &values, &mut results).expect("it runs");
        (echo.to_json(&results), echo.to_wave(&results))
    };
    let (json, wave) = call(Arguments::Json(json!({ "items": items })));
    assert_eq!(json, items);
    let (json, again) = call(Arguments::Wave(wave.clone()));
    assert_eq!(json, items);
    assert_eq!(again, wave);
}

#[test]
fn wave_errors_name_the_place() {
    let list = Shape::List(Box::new(Shape::Record(vec![
        Field { name: "age".into(), shape: Shape::U32 },
        Field { name: "tag".into(), shape: Shape::Option(Box::new(Shape::String)) },
    ])));
    let error = |text: &str| read_wave(text, &list).expect_err(text).to_string();
    assert_eq!(error("[{age: 1}, {age: -1}]"), "x[1].age: expected u32, got -1");
    assert_eq!(
        error("[{tag: some(\"a\")}]"),
        "x[0].age: expected u32, got nothing: the field is missing"
    );
    assert_eq!(
        error("[{age: 1, tagg: \"a\"}]"),
        "x[0].tagg: expected a field of the record, perhaps `tag`, got an unknown field"
    );
    assert_eq!(
        error("[{age: 1"),
        "arguments: expected WAVE text, as in `1, \"text\", {name: \"x\"}`, got unexpected token \
         at the end"
    );
    assert_eq!(
        error("[] // comment\n ]"),
        "arguments: expected WAVE text, as in `1, \"text\", {name: \"x\"}`, got unexpected token \
         at byte 15: \"]\""
    );
    assert!(error("[{age: 1}) (").contains("at byte 9"));
    assert_eq!(read_wave("[] // comment", &list), Ok(Val::List(vec![])));
}

#[test]
fn hostile_input_is_refused_in_time() {
    let wide = (0..1_000).map(|n| Field {
        name: format!("field-number-{n}"),
        shape: Shape::Option(Box::new(Shape::U8)),
    });
    let list = Shape::List(Box::new(Shape::Record(wide.collect())));
    let many = Value::Array(vec![json!({}); 1_000_000]);
    let error = read_json(&many, &list).expect_err("a thousand times its size");
    assert!(error.to_string().contains("at most 256 MiB"), "{error}");
    let text = format!("[{}]", vec!["{:}"; 200_000].join(","));
    let error = read_wave(&text, &list).expect_err("a thousand times its size");
    assert!(error.to_string().contains("at most 256 MiB"), "{error}");

    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    let error = read_wave(&deep, &list).expect_err("too deep");
    assert!(error.got.contains("nest"), "{error}");
    let long = "1,".repeat(600_000);
    assert!(Parsed::of(&long).is_err_and(|error| error.got.contains("bytes")));

    let shape = Shape::List(Box::new(Shape::U8));
    let bytes = Value::String("A".repeat(4_000));
    read_json_within(&bytes, &shape, Room::of(2_000)).expect_err("no room");
    let mut left = 2_000_usize;
    let mut shared = |bytes| left.checked_sub(bytes).map(|less| left = less).is_some();
    read_json_within(&bytes, &shape, Room::within(&mut shared)).expect_err("none is left");
    let few = Value::String("A".repeat(40));
    read_json_within(&few, &shape, Room::within(&mut shared)).expect("they fit");
    assert!(left < 2_000, "what is made takes room: {left} bytes are left");

    // A value without parts takes room as well.
    let takes = |json: Value, of: Shape| {
        let shape = Shape::List(Box::new(of));
        let fits = |values: &usize| {
            read_json_within(&json, &shape, Room::of(values * VALUE_BYTES)).is_ok()
        };
        (0..10).find(fits)
    };
    assert_eq!(takes(json!([[], [], []]), Shape::List(Box::new(Shape::S32))), Some(4));
    let empty = Shape::Result { ok: None, err: None };
    assert_eq!(takes(json!([{"ok": null}, {"err": null}]), empty), Some(3));
}
