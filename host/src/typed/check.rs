//! Checks component values from an embedder against the shape.

use wasmtime::component::Val;

use crate::typed::place::{ArgumentError, Place};
use crate::typed::shape::Shape;

/// Whether `value` has exactly the shape `shape`; the engine would refuse it later, without the
/// place.
pub(super) fn check(value: &Val, shape: &Shape, place: &Place<'_>) -> Result<(), ArgumentError> {
    let wrong = || Err(place.error(shape.brief(), name_of(value)));
    match (value, shape) {
        (Val::Bool(_), Shape::Bool)
        | (Val::S8(_), Shape::S8)
        | (Val::U8(_), Shape::U8)
        | (Val::S16(_), Shape::S16)
        | (Val::U16(_), Shape::U16)
        | (Val::S32(_), Shape::S32)
        | (Val::U32(_), Shape::U32)
        | (Val::S64(_), Shape::S64)
        | (Val::U64(_), Shape::U64)
        | (Val::Float32(_), Shape::F32)
        | (Val::Float64(_), Shape::F64)
        | (Val::Char(_), Shape::Char)
        | (Val::String(_), Shape::String)
        | (Val::Option(None), Shape::Option(_)) => Ok(()),
        (Val::List(items), Shape::List(element)) => items
            .iter()
            .enumerate()
            .try_for_each(|(index, item)| check(item, element, &place.index(index))),
        (Val::Tuple(items), Shape::Tuple(parts)) if items.len() == parts.len() => items
            .iter()
            .zip(parts)
            .enumerate()
            .try_for_each(|(index, (item, part))| check(item, part, &place.index(index))),
        (Val::Record(values), Shape::Record(fields)) if values.len() == fields.len() => {
            values.iter().zip(fields).try_for_each(|((name, value), field)| {
                let at = place.name(&field.name);
                match *name == field.name {
                    true => check(value, &field.shape, &at),
                    false => Err(at.error(field.shape.brief(), format!("the field {name:?}"))),
                }
            })
        }
        (Val::Variant(name, payload), Shape::Variant(cases)) => {
            match cases.iter().find(|case| case.name == *name) {
                Some(case) => side(payload, case.payload.as_ref(), &place.name(&case.name)),
                None => wrong(),
            }
        }
        (Val::Enum(name), Shape::Enum(names)) if names.contains(name) => Ok(()),
        (Val::Flags(given), Shape::Flags(names)) if given.iter().all(|f| names.contains(f)) => {
            Ok(())
        }
        (Val::Option(Some(value)), Shape::Option(inner)) => {
            check(value, inner, &place.name("some"))
        }
        (Val::Result(Ok(payload)), Shape::Result { ok, .. }) => {
            side(payload, ok.as_deref(), &place.name("ok"))
        }
        (Val::Result(Err(payload)), Shape::Result { err, .. }) => {
            side(payload, err.as_deref(), &place.name("err"))
        }
        _ => wrong(),
    }
}

fn side(
    payload: &Option<Box<Val>>,
    shape: Option<&Shape>,
    place: &Place<'_>,
) -> Result<(), ArgumentError> {
    match (payload, shape) {
        (Some(value), Some(shape)) => check(value, shape, place),
        (None, None) => Ok(()),
        (Some(value), None) => Err(place.error("no payload", name_of(value))),
        (None, Some(shape)) => Err(place.error(shape.brief(), "no payload")),
    }
}

/// The name of a component value, for an error.
fn name_of(value: &Val) -> String {
    match value {
        Val::Bool(value) => format!("{value} (bool)"),
        Val::S8(value) => format!("{value} (s8)"),
        Val::U8(value) => format!("{value} (u8)"),
        Val::S16(value) => format!("{value} (s16)"),
        Val::U16(value) => format!("{value} (u16)"),
        Val::S32(value) => format!("{value} (s32)"),
        Val::U32(value) => format!("{value} (u32)"),
        Val::S64(value) => format!("{value} (s64)"),
        Val::U64(value) => format!("{value} (u64)"),
        Val::Float32(value) => format!("{value} (f32)"),
        Val::Float64(value) => format!("{value} (f64)"),
        Val::Char(_) => "a char".to_owned(),
        Val::String(_) => "a string".to_owned(),
        Val::List(items) => format!("a list of {}", items.len()),
        Val::Record(fields) => format!("a record of {}", fields.len()),
        Val::Tuple(items) => format!("a tuple of {}", items.len()),
        Val::Variant(..) => "a variant".to_owned(),
        Val::Enum(_) => "an enum".to_owned(),
        Val::Option(_) => "an option".to_owned(),
        Val::Result(_) => "a result".to_owned(),
        Val::Flags(_) => "flags".to_owned(),
        Val::Map(_)
        | Val::Resource(_)
        | Val::Future(_)
        | Val::Stream(_)
        | Val::ErrorContext(_)
        | Val::FixedLengthList(_) => "a value that methods cannot carry".to_owned(),
    }
}
