//! Component values into JSON.
//!
//! Writing cannot fail for values of the shape, which the engine guarantees for results; a value of
//! another shape is a mistake of the host and shows as `null`, loudly in tests.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Number, Value};
use wasmtime::component::Val;

use super::{EXACT_INTEGER_MAX, INFINITY, MINUS_INFINITY, NOT_A_NUMBER};
use crate::typed::shape::Shape;

/// The JSON of `value`, which has the shape `shape`.
pub(in crate::typed) fn write(value: &Val, shape: &Shape) -> Value {
    match (value, shape) {
        (Val::Bool(value), Shape::Bool) => Value::Bool(*value),
        (Val::S8(value), Shape::S8) => Value::from(*value),
        (Val::U8(value), Shape::U8) => Value::from(*value),
        (Val::S16(value), Shape::S16) => Value::from(*value),
        (Val::U16(value), Shape::U16) => Value::from(*value),
        (Val::S32(value), Shape::S32) => Value::from(*value),
        (Val::U32(value), Shape::U32) => Value::from(*value),
        (Val::S64(value), Shape::S64) if value.unsigned_abs() <= EXACT_INTEGER_MAX => {
            Value::from(*value)
        }
        (Val::S64(value), Shape::S64) => Value::String(value.to_string()),
        (Val::U64(value), Shape::U64) if *value <= EXACT_INTEGER_MAX => Value::from(*value),
        (Val::U64(value), Shape::U64) => Value::String(value.to_string()),
        (Val::Float32(value), Shape::F32) => float(single(*value)),
        (Val::Float64(value), Shape::F64) => float(*value),
        (Val::Char(value), Shape::Char) => Value::String(value.to_string()),
        (Val::String(value), Shape::String) => Value::String(value.clone()),
        (Val::List(items), Shape::List(element)) if **element == Shape::U8 => {
            let bytes = items.iter().map(|item| match item {
                Val::U8(byte) => *byte,
                _ => 0,
            });
            Value::String(STANDARD.encode(bytes.collect::<Vec<u8>>()))
        }
        (Val::List(items), Shape::List(element)) => {
            items.iter().map(|item| write(item, element)).collect()
        }
        (Val::Tuple(items), Shape::Tuple(parts)) => {
            items.iter().zip(parts).map(|(item, part)| write(item, part)).collect()
        }
        (Val::Record(values), Shape::Record(fields)) => {
            let pairs = values.iter().zip(fields);
            let pairs =
                pairs.map(|((name, value), field)| (name.clone(), write(value, &field.shape)));
            Value::Object(pairs.collect::<Map<_, _>>())
        }
        (Val::Variant(name, payload), Shape::Variant(cases)) => {
            let case = cases.iter().find(|case| case.name == *name);
            match (payload, case.and_then(|case| case.payload.as_ref())) {
                (Some(value), Some(shape)) => single_key(name, write(value, shape)),
                _ => Value::String(name.clone()),
            }
        }
        (Val::Enum(name), Shape::Enum(_)) => Value::String(name.clone()),
        (Val::Flags(names), Shape::Flags(_)) => names.iter().map(String::as_str).collect(),
        (Val::Option(None), Shape::Option(_)) => Value::Null,
        (Val::Option(Some(value)), Shape::Option(inner)) => match **inner {
            Shape::Option(_) => single_key("some", write(value, inner)),
            _ => write(value, inner),
        },
        (Val::Result(Ok(payload)), Shape::Result { ok, .. }) => side("ok", payload, ok),
        (Val::Result(Err(payload)), Shape::Result { err, .. }) => side("err", payload, err),
        (value, shape) => {
            debug_assert!(false, "BUG: {value:?} is not of type {shape}");
            Value::Null
        }
    }
}

fn side(name: &str, payload: &Option<Box<Val>>, shape: &Option<Box<Shape>>) -> Value {
    let value = match (payload, shape) {
        (Some(value), Some(shape)) => write(value, shape),
        _ => Value::Null,
    };
    single_key(name, value)
}

fn single_key(name: &str, value: Value) -> Value {
    Value::Object(Map::from_iter([(name.to_owned(), value)]))
}

fn float(value: f64) -> Value {
    let special = || {
        if value.is_nan() {
            NOT_A_NUMBER
        } else if value > 0.0 {
            INFINITY
        } else {
            MINUS_INFINITY
        }
    };
    Number::from_f64(value).map_or_else(|| Value::String(special().to_owned()), Value::Number)
}

/// The double with the fewest digits that still reads back as `value`: 0.1 stays 0.1.
fn single(value: f32) -> f64 {
    let exact = f64::from(value);
    let short = value.to_string().parse().unwrap_or(exact);
    #[allow(clippy::cast_possible_truncation, reason = "the test is whether the cast comes back")]
    let back = short as f32;
    if back.to_bits() == value.to_bits() { short } else { exact }
}
