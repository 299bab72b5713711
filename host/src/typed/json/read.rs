//! JSON into component values, checked against the shape on the way down.
//!
//! The recursion follows the shape, never the JSON alone, so its depth is bounded by the type.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Number, Value};
use wasmtime::component::Val;

use super::{EXACT_INTEGER_MAX, INFINITY, MINUS_INFINITY, NOT_A_NUMBER};
use crate::typed::bounds::QUOTE_CHARS_MAX;
use crate::typed::place::{ArgumentError, Place, Room, shortened, similar};
use crate::typed::shape::{Case, Field, Shape};

/// Standard alphabet; padding may be left out, as many encoders do.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The value of `json` as `shape`.
pub(in crate::typed) fn read(
    json: &Value,
    shape: &Shape,
    place: &Place<'_>,
    room: &mut Room,
) -> Result<Val, ArgumentError> {
    room.values(1, place)?;
    let wrong = || place.error(shape.brief(), kind_of(json));
    Ok(match shape {
        Shape::Bool => Val::Bool(json.as_bool().ok_or_else(wrong)?),
        Shape::S8 => Val::S8(narrow(json).ok_or_else(wrong)?),
        Shape::U8 => Val::U8(narrow(json).ok_or_else(wrong)?),
        Shape::S16 => Val::S16(narrow(json).ok_or_else(wrong)?),
        Shape::U16 => Val::U16(narrow(json).ok_or_else(wrong)?),
        Shape::S32 => Val::S32(narrow(json).ok_or_else(wrong)?),
        Shape::U32 => Val::U32(narrow(json).ok_or_else(wrong)?),
        Shape::S64 => Val::S64(wide(json).ok_or_else(wrong)?),
        Shape::U64 => Val::U64(wide(json).ok_or_else(wrong)?),
        Shape::F32 => Val::Float32(float32(json).ok_or_else(wrong)?),
        Shape::F64 => Val::Float64(float64(json).ok_or_else(wrong)?),
        Shape::Char => Val::Char(character(json).ok_or_else(wrong)?),
        Shape::String => {
            let text = json.as_str().ok_or_else(wrong)?;
            room.text(text, place)?;
            Val::String(text.to_owned())
        }
        Shape::List(element) => match json {
            Value::Array(items) => Val::List(elements(items, element, place, room)?),
            Value::String(text) if shape.is_bytes() => bytes(text, place, room)?,
            _ if shape.is_bytes() => {
                return Err(place.error("list<u8> (base64 or an array)", kind_of(json)));
            }
            _ => return Err(wrong()),
        },
        Shape::Tuple(parts) => match json {
            Value::Array(items) if items.len() == parts.len() => {
                let mut values = Vec::with_capacity(parts.len());
                for (index, (item, part)) in items.iter().zip(parts).enumerate() {
                    values.push(read(item, part, &place.index(index), room)?);
                }
                Val::Tuple(values)
            }
            _ => return Err(wrong()),
        },
        Shape::Record(fields) => match json {
            Value::Object(object) => record(object, fields, place, room)?,
            _ => return Err(wrong()),
        },
        Shape::Variant(cases) => variant(json, shape, cases, place, room)?,
        Shape::Enum(names) => {
            let name = json.as_str().filter(|name| names.iter().any(|n| n == name));
            let name = name.ok_or_else(wrong)?;
            room.text(name, place)?;
            Val::Enum(name.to_owned())
        }
        Shape::Flags(names) => flags(json, shape, names, place, room)?,
        Shape::Option(inner) => option(json, shape, inner, place, room)?,
        Shape::Result { ok, err } => {
            let (side, payload) = only_key(json).ok_or_else(wrong)?;
            match side {
                "ok" => Val::Result(Ok(side_payload(payload, ok, &place.name("ok"), room)?)),
                "err" => Val::Result(Err(side_payload(payload, err, &place.name("err"), room)?)),
                _ => return Err(wrong()),
            }
        }
    })
}

/// What a JSON value is, for an error: bounded, with the value itself if it is short.
pub(in crate::typed) fn kind_of(json: &Value) -> String {
    match json {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => format!("{value} (boolean)"),
        Value::Number(number) => format!("{number} (number)"),
        Value::String(text) => {
            format!("{:?} (string)", shortened(text, QUOTE_CHARS_MAX / 4))
        }
        Value::Array(items) => format!("an array of {}", items.len()),
        Value::Object(object) if object.is_empty() => "an empty object".to_owned(),
        Value::Object(object) => {
            let mut names = String::new();
            for name in object.keys().take(4) {
                names.push_str(if names.is_empty() { "" } else { ", " });
                names.push_str(&shortened(name, QUOTE_CHARS_MAX / 8));
            }
            let more = if object.len() > 4 { ", ..." } else { "" };
            format!("an object with {names}{more}")
        }
    }
}

/// An integer of at most 32 bits.
fn narrow<T: TryFrom<i128>>(json: &Value) -> Option<T> {
    T::try_from(integer(json.as_number()?)?).ok()
}

/// An integer of 64 bits: a number, or its digits in a string.
fn wide<T: TryFrom<i128>>(json: &Value) -> Option<T> {
    let integer = match json {
        Value::Number(number) => integer(number)?,
        // Only digits and a minus: `parse` alone would take a plus. 20 is the longest of both.
        Value::String(text) if text.len() <= 20 && !text.starts_with('+') => text.parse().ok()?,
        _ => return None,
    };
    T::try_from(integer).ok()
}

/// The integer that a JSON number surely means. A fraction, or an exponent, goes through a
/// double: from 2^53 on it may already have lost a digit, so it is refused there.
fn integer(number: &Number) -> Option<i128> {
    if let Some(value) = number.as_i64() {
        return Some(value.into());
    }
    if let Some(value) = number.as_u64() {
        return Some(value.into());
    }
    let value = number.as_f64()?;
    #[allow(clippy::cast_precision_loss, reason = "2^53 is exact in a double")]
    let bound = EXACT_INTEGER_MAX as f64;
    if value.fract() != 0.0 || value.abs() >= bound {
        return None;
    }
    #[allow(clippy::cast_possible_truncation, reason = "integral and below 2^53")]
    Some(value as i128)
}

fn float64(json: &Value) -> Option<f64> {
    match json {
        Value::Number(number) => number.as_f64().filter(|value| value.is_finite()),
        Value::String(text) => special_float(text),
        _ => None,
    }
}

/// The nearest single: rounding is what the type means, overflow to infinity is not.
fn float32(json: &Value) -> Option<f32> {
    let wide = float64(json)?;
    #[allow(clippy::cast_possible_truncation, reason = "the cast rounds; overflow is tested")]
    let value = wide as f32;
    (value.is_finite() || !wide.is_finite()).then_some(value)
}

fn special_float(text: &str) -> Option<f64> {
    match text {
        NOT_A_NUMBER => Some(f64::NAN),
        INFINITY => Some(f64::INFINITY),
        MINUS_INFINITY => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

fn character(json: &Value) -> Option<char> {
    let mut chars = json.as_str()?.chars();
    let first = chars.next()?;
    chars.next().is_none().then_some(first)
}

fn elements(
    items: &[Value],
    element: &Shape,
    place: &Place<'_>,
    room: &mut Room,
) -> Result<Vec<Val>, ArgumentError> {
    let mut values = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        values.push(read(item, element, &place.index(index), room)?);
    }
    Ok(values)
}

fn bytes(text: &str, place: &Place<'_>, room: &mut Room) -> Result<Val, ArgumentError> {
    room.values(text.len() / 4 * 3, place)?;
    let bytes = BASE64.decode(text).map_err(|error| {
        let text = shortened(text, QUOTE_CHARS_MAX / 4);
        place.error("list<u8> (base64 or an array)", format!("{text:?} (not base64: {error})"))
    })?;
    Ok(Val::List(bytes.into_iter().map(Val::U8).collect()))
}

fn record(
    object: &Map<String, Value>,
    fields: &[Field],
    place: &Place<'_>,
    room: &mut Room,
) -> Result<Val, ArgumentError> {
    let mut values = Vec::with_capacity(fields.len());
    let mut used = 0;
    for field in fields {
        let at = place.name(&field.name);
        room.text(&field.name, &at)?;
        let value = match (object.get(&field.name), &field.shape) {
            (Some(json), shape) => {
                used += 1;
                read(json, shape, &at, room)?
            }
            (None, Shape::Option(_)) => {
                room.values(1, &at)?;
                Val::Option(None)
            }
            (None, shape) => return Err(at.error(shape.brief(), "nothing: the field is missing")),
        };
        values.push((field.name.clone(), value));
    }
    if used < object.len() {
        return Err(unknown_field(object, fields, place));
    }
    Ok(Val::Record(values))
}

fn unknown_field(
    object: &Map<String, Value>,
    fields: &[Field],
    place: &Place<'_>,
) -> ArgumentError {
    let known = || fields.iter().map(|field| field.name.as_str());
    let unknown = object.keys().find(|key| !known().any(|name| name == key.as_str()));
    let unknown = unknown.map_or("", String::as_str);
    let expected = match similar(unknown, known()).first() {
        Some(name) => format!("a field of the record, perhaps `{name}`"),
        None => {
            let names = known().take(8).collect::<Vec<_>>().join(", ");
            format!("a field of the record ({})", shortened(&names, QUOTE_CHARS_MAX))
        }
    };
    place.name(unknown).error(expected, "an unknown field")
}

fn variant(
    json: &Value,
    shape: &Shape,
    cases: &[Case],
    place: &Place<'_>,
    room: &mut Room,
) -> Result<Val, ArgumentError> {
    let wrong = || place.error(shape.brief(), kind_of(json));
    let (name, payload) = match json {
        Value::String(name) => (name.as_str(), &Value::Null),
        _ => only_key(json).ok_or_else(wrong)?,
    };
    let case = cases.iter().find(|case| case.name == name).ok_or_else(wrong)?;
    room.text(name, place)?;
    let at = place.name(&case.name);
    let value = match (&case.payload, json) {
        (Some(payload), Value::String(_)) => {
            let expected = format!("{{\"{name}\": {}}}", payload.brief());
            return Err(place.error(expected, format!("{name:?} without its payload")));
        }
        (Some(shape), _) => Some(Box::new(read(payload, shape, &at, room)?)),
        (None, _) if payload.is_null() => None,
        (None, _) => return Err(at.error("no payload", kind_of(payload))),
    };
    Ok(Val::Variant(name.to_owned(), value))
}

fn flags(
    json: &Value,
    shape: &Shape,
    names: &[String],
    place: &Place<'_>,
    room: &mut Room,
) -> Result<Val, ArgumentError> {
    let wrong = || place.error(shape.brief(), kind_of(json));
    let items = json.as_array().ok_or_else(wrong)?;
    let mut set = vec![false; names.len()];
    for (index, item) in items.iter().enumerate() {
        let at = place.index(index);
        let known = item.as_str().and_then(|flag| names.iter().position(|name| name == flag));
        let known = known.ok_or_else(|| at.error(shape.brief(), kind_of(item)))?;
        if std::mem::replace(&mut set[known], true) {
            return Err(at.error("each flag once", kind_of(item)));
        }
    }
    let mut given = Vec::with_capacity(items.len());
    for (name, _) in names.iter().zip(set).filter(|(_, set)| *set) {
        room.text(name, place)?;
        given.push(name.clone());
    }
    Ok(Val::Flags(given))
}

fn option(
    json: &Value,
    shape: &Shape,
    inner: &Shape,
    place: &Place<'_>,
    room: &mut Room,
) -> Result<Val, ArgumentError> {
    if json.is_null() {
        return Ok(Val::Option(None));
    }
    let value = match inner {
        Shape::Option(_) => match only_key(json) {
            Some(("some", value)) => read(value, inner, &place.name("some"), room)?,
            _ => {
                let expected = format!("{}: null or {{\"some\": ..}}", shape.brief());
                return Err(place.error(expected, kind_of(json)));
            }
        },
        _ => read(json, inner, place, room)?,
    };
    Ok(Val::Option(Some(Box::new(value))))
}

/// The payload of `ok` or `err`; without one, JSON has `null` there.
fn side_payload(
    json: &Value,
    shape: &Option<Box<Shape>>,
    place: &Place<'_>,
    room: &mut Room,
) -> Result<Option<Box<Val>>, ArgumentError> {
    match shape {
        Some(shape) => Ok(Some(Box::new(read(json, shape, place, room)?))),
        None if json.is_null() => Ok(None),
        None => Err(place.error("null: there is no payload", kind_of(json))),
    }
}

/// The key and value of an object that has exactly one.
fn only_key(json: &Value) -> Option<(&str, &Value)> {
    let object = json.as_object().filter(|object| object.len() == 1)?;
    object.iter().next().map(|(key, value)| (key.as_str(), value))
}
