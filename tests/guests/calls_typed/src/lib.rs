//! Calls other actors by typed functions: a counter, and an actor that returns a value of each type.

use core::fmt::Debug;

use bindings::exports::tests::calls_typed::caller::Guest;
use counter::Counter;
use stockade_sdk::lifecycle::{self, Lifecycle};
use stockade_sdk::{Connection, Error, actors};
use typed_all::{Access, Color, Nested, Point, Shape, TypedAll};

stockade_alloc::install!();

stockade_sdk::client!("../../../guest-sdk/src/clients/counter.wit", counter);
stockade_sdk::client!("typed-all.wit", x74797065645f616c6c::typed_all);

struct Caller;

impl Guest for Caller {
    fn visit(key: String, by: i64) -> Result<i64, String> {
        Counter::new(&key).increment(by).map_err(shown)?
    }

    fn current(key: String) -> Result<i64, String> {
        Counter::new(&key).get().map_err(shown)?
    }

    fn write_and_visit(key: String, by: i64) -> Result<i64, String> {
        let connection = Connection::open().map_err(words)?;
        connection.execute("INSERT INTO t VALUES (1)", []).map_err(words)?;
        Self::visit(key, by)
    }

    fn visit_within(key: String, by: i64) -> Result<i64, String> {
        let mut connection = Connection::open().map_err(words)?;
        let _open = connection.transaction().map_err(words)?;
        Self::visit(key, by)
    }

    fn echo_all(key: String) -> Result<u32, String> {
        let mut same = 0;
        echo(&TypedAll::new(&key), &mut same).map_err(shown)?;
        Ok(same)
    }

    fn echo_bytes(key: String, bytes: u32) -> Result<u32, String> {
        let sent = vec![7; usize::try_from(bytes).unwrap_or(0)];
        let got = TypedAll::new(&key).echo_bytes(&sent).map_err(shown)?;
        u32::try_from(got.len()).map_err(|error| error.to_string())
    }

    fn hold(count: u32) {
        let held: Vec<Counter> =
            (0..count).map(|number| Counter::new(&number.to_string())).collect();
        drop(held);
    }

    fn rows() -> Result<i64, String> {
        let connection = Connection::open().map_err(words)?;
        connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).map_err(words)
    }
}

impl Lifecycle for Caller {
    fn start() -> lifecycle::Result {
        Ok(Connection::open()?.execute_script("CREATE TABLE IF NOT EXISTS t(a)")?)
    }
}

/// Sends a value of each type, and counts those that come back the same.
fn echo(all: &TypedAll, same: &mut u32) -> Result<(), typed_all::CallError> {
    let mut check = |sent: &dyn Debug, got: &dyn Debug| {
        *same += u32::from(format!("{sent:?}") == format!("{got:?}"));
    };
    check(&true, &all.echo_bool(true)?);
    check(&u8::MAX, &all.echo_u8(u8::MAX)?);
    check(&i8::MIN, &all.echo_s8(i8::MIN)?);
    check(&u16::MAX, &all.echo_u16(u16::MAX)?);
    check(&i16::MIN, &all.echo_s16(i16::MIN)?);
    check(&u32::MAX, &all.echo_u32(u32::MAX)?);
    check(&i32::MIN, &all.echo_s32(i32::MIN)?);
    check(&u64::MAX, &all.echo_u64(u64::MAX)?);
    check(&i64::MIN, &all.echo_s64(i64::MIN)?);
    check(&0.1_f32, &all.echo_f32(0.1)?);
    check(&f64::NEG_INFINITY, &all.echo_f64(f64::NEG_INFINITY)?);
    check(&'ü', &all.echo_char('ü')?);
    check(&"text \u{1F980}", &all.echo_string("text \u{1F980}")?);
    check(&[0_u8, 255], &all.echo_bytes(&[0, 255])?);
    check(&[i64::MIN, 0, i64::MAX], &all.echo_list(&[i64::MIN, 0, i64::MAX])?);
    check(&Some(u64::MAX), &all.echo_option(Some(u64::MAX))?);
    check(&Some(None::<u8>), &all.echo_option_twice(Some(None))?);
    let sent: Result<u32, &str> = Err("no");
    check(&sent, &all.echo_result(sent)?);
    let sent: Result<(), ()> = Err(());
    check(&sent, &all.echo_result_empty(sent)?);
    check(&(1_u8, "b", false), &all.echo_tuple((1, "b", false))?);
    let point = Point { x: -1, y: 2, label: Some("here".to_owned()) };
    check(&point, &all.echo_record(&point)?);
    let unnamed = Point { label: None, ..point.clone() };
    let nested = Nested { corners: vec![point.clone(), unnamed], pair: (3, "c".to_owned()) };
    check(&nested, &all.echo_nested(&nested)?);
    let shape = Shape::Named(point);
    check(&shape, &all.echo_variant(&shape)?);
    check(&Color::DarkBlue, &all.echo_enum(Color::DarkBlue)?);
    let access = Access::READ | Access::RUN_IT;
    check(&access, &all.echo_flags(access)?);
    check(&"a-2-none", &all.join("a", 2, None)?);
    check(&(), &all.nothing()?);
    Ok(())
}

fn shown(error: impl Into<actors::Error>) -> String {
    format!("{:?}", error.into())
}

fn words(error: Error) -> String {
    error.to_string()
}

mod bindings {
    //! Generated from `world.wit`.
    stockade_sdk::world!("world.wit");
}

bindings::export!(Caller with_types_in bindings);
stockade_sdk::export_lifecycle!(Caller);
