//! JSON values without parts as component values, and the names of JSON values in errors.

use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Number;
use wasmtime::component::Val;

use super::{EXACT_INTEGER_MAX, INFINITY, MINUS_INFINITY, NOT_A_NUMBER};
use crate::typed::bounds::QUOTE_CHARS_MAX;
use crate::typed::place::{ArgumentError, Place, Room, shortened};
use crate::typed::shape::{Case, Shape};

/// Standard alphabet; padding may be left out, as many encoders do.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A JSON value without parts.
pub(in crate::typed) enum Scalar<'j> {
    Null,
    Bool(bool),
    Number(Number),
    Text(&'j str),
}

impl Scalar<'_> {
    /// A real that JSON has a number for.
    fn real<E: Error>(value: f64) -> Result<Self, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("number out of range"))?;
        Ok(Self::Number(number))
    }

    /// The value as `shape`.
    pub(super) fn read(
        &self,
        shape: &Shape,
        place: &Place<'_>,
        room: &mut Room<'_>,
    ) -> Result<Val, ArgumentError> {
        room.values(1, place)?;
        let wrong = || place.error(shape.brief(), self.to_string());
        let value = match (shape, self) {
            (Shape::Bool, Self::Bool(value)) => Some(Val::Bool(*value)),
            (Shape::S8, Self::Number(number)) => narrow(number).map(Val::S8),
            (Shape::U8, Self::Number(number)) => narrow(number).map(Val::U8),
            (Shape::S16, Self::Number(number)) => narrow(number).map(Val::S16),
            (Shape::U16, Self::Number(number)) => narrow(number).map(Val::U16),
            (Shape::S32, Self::Number(number)) => narrow(number).map(Val::S32),
            (Shape::U32, Self::Number(number)) => narrow(number).map(Val::U32),
            (Shape::S64, _) => self.wide().map(Val::S64),
            (Shape::U64, _) => self.wide().map(Val::U64),
            (Shape::F32, _) => self.float32().map(Val::Float32),
            (Shape::F64, _) => self.float64().map(Val::Float64),
            (Shape::Char, Self::Text(text)) => character(text).map(Val::Char),
            (Shape::String, Self::Text(text)) => {
                room.text(text, place)?;
                Some(Val::String((*text).to_owned()))
            }
            (Shape::List(_), Self::Text(text)) if shape.is_bytes() => {
                Some(bytes(text, place, room)?)
            }
            (Shape::List(_), _) if shape.is_bytes() => {
                return Err(place.error(BYTES, self.to_string()));
            }
            (Shape::Variant(cases), Self::Text(name)) => {
                Some(case(name, cases, place, room)?.ok_or_else(wrong)?)
            }
            (Shape::Enum(names), Self::Text(name)) if names.iter().any(|n| n == name) => {
                room.text(name, place)?;
                Some(Val::Enum((*name).to_owned()))
            }
            (Shape::Option(_), Self::Null) => Some(Val::Option(None)),
            (Shape::Option(_), _) if is_nested_option(shape) => {
                return Err(place.error(nested_option(shape), self.to_string()));
            }
            (Shape::Option(inner), _) => {
                Some(Val::Option(Some(Box::new(self.read(inner, place, room)?))))
            }
            _ => None,
        };
        value.ok_or_else(wrong)
    }

    /// An integer of 64 bits: a number, or its digits in a string.
    fn wide<T: TryFrom<i128>>(&self) -> Option<T> {
        let integer = match self {
            Self::Number(number) => integer(number)?,
            // Only digits and a minus: `parse` alone would take a plus. 20 is the longest of both.
            Self::Text(text) if text.len() <= 20 && !text.starts_with('+') => text.parse().ok()?,
            _ => return None,
        };
        T::try_from(integer).ok()
    }

    fn float64(&self) -> Option<f64> {
        match self {
            Self::Number(number) => number.as_f64().filter(|value| value.is_finite()),
            Self::Text(text) => special_float(text),
            _ => None,
        }
    }

    /// The nearest single: rounding is what the type means, overflow to infinity is not.
    fn float32(&self) -> Option<f32> {
        let wide = self.float64()?;
        #[allow(clippy::cast_possible_truncation, reason = "the cast rounds; overflow is tested")]
        let value = wide as f32;
        (value.is_finite() || !wide.is_finite()).then_some(value)
    }
}

/// The value in words, for an error: bounded, with the value itself if that is short.
impl fmt::Display for Scalar<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value} (boolean)"),
            Self::Number(number) => write!(f, "{number} (number)"),
            Self::Text(text) => write!(f, "{:?} (string)", shortened(text, QUOTE_CHARS_MAX / 4)),
        }
    }
}

/// The forms of a `list<u8>`, for an error.
pub(super) const BYTES: &str = "list<u8> (base64 or an array)";

/// Whether `null` of this shape could be meant at two depths.
pub(super) fn is_nested_option(shape: &Shape) -> bool {
    matches!(shape, Shape::Option(inner) if matches!(**inner, Shape::Option(_)))
}

/// The forms of an option of an option, for an error.
pub(super) fn nested_option(shape: &Shape) -> String {
    format!("{}: null or {{\"some\": ..}}", shape.brief())
}

/// The name of an array in an error.
pub(in crate::typed) fn array(items: usize) -> String {
    format!("an array of {items}")
}

/// The name of an object in an error: its first names. `first` were read already.
pub(in crate::typed) fn object<'de, A: MapAccess<'de>>(
    first: &[&str],
    mut rest: A,
) -> Result<String, A::Error> {
    let mut names = String::new();
    let mut count = 0;
    let mut name = |next: &str| {
        count += 1;
        if count <= 4 {
            names.push_str(if names.is_empty() { "" } else { ", " });
            names.push_str(&shortened(next, QUOTE_CHARS_MAX / 8));
        }
    };
    first.iter().for_each(|next| name(next));
    while rest.next_key_seed(Name(|next: &str| name(next)))?.is_some() {
        rest.next_value::<IgnoredAny>()?;
    }
    Ok(match count {
        0 => "an empty object".to_owned(),
        1..=4 => format!("an object with {names}"),
        _ => format!("an object with {names}, ..."),
    })
}

/// A JSON value of any sort.
pub(super) enum Found<'j> {
    Scalar(&'j Scalar<'j>),
    /// An array or an object, by its name in an error.
    Parts(String),
}

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scalar(scalar) => scalar.fmt(f),
            Self::Parts(called) => f.write_str(called),
        }
    }
}

/// Reads a value of any sort and passes it on.
pub(super) struct Any<F>(pub(super) F);

impl<'de, T, F: FnOnce(Found<'_>) -> T> DeserializeSeed<'de> for Any<F> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<T, D::Error> {
        json.deserialize_any(Visit(self))
    }
}

impl<'de, T, F: FnOnce(Found<'_>) -> T> Read<'de> for Any<F> {
    type Value = T;

    fn scalar(self, json: &Scalar<'_>) -> T {
        self.0(Found::Scalar(json))
    }

    fn array<A: SeqAccess<'de>>(self, mut items: A) -> Result<T, A::Error> {
        Ok(self.0(Found::Parts(array(rest_of(&mut items)?))))
    }

    fn object<A: MapAccess<'de>>(self, fields: A) -> Result<T, A::Error> {
        Ok(self.0(Found::Parts(object(&[], fields)?)))
    }
}

/// Reads one JSON value, of any sort.
pub(in crate::typed) trait Read<'de>: Sized {
    /// The result.
    type Value;

    /// Reads a value without parts.
    fn scalar(self, json: &Scalar<'_>) -> Self::Value;

    /// Reads an array, to its end.
    fn array<A: SeqAccess<'de>>(self, items: A) -> Result<Self::Value, A::Error>;

    /// Reads an object, to its end.
    fn object<A: MapAccess<'de>>(self, fields: A) -> Result<Self::Value, A::Error>;
}

/// Passes a JSON value to its reader.
pub(in crate::typed) struct Visit<R>(pub(in crate::typed) R);

impl<'de, R: Read<'de>> Visitor<'de> for Visit<R> {
    type Value = R::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<R::Value, E> {
        Ok(self.0.scalar(&Scalar::Null))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<R::Value, E> {
        Ok(self.0.scalar(&Scalar::Bool(value)))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<R::Value, E> {
        Ok(self.0.scalar(&Scalar::Number(value.into())))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<R::Value, E> {
        Ok(self.0.scalar(&Scalar::Number(value.into())))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<R::Value, E> {
        Ok(self.0.scalar(&Scalar::real(value)?))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<R::Value, E> {
        Ok(self.0.scalar(&Scalar::Text(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<R::Value, A::Error> {
        self.0.array(items)
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<R::Value, A::Error> {
        self.0.object(fields)
    }
}

/// Reads a name of an object and passes it on.
pub(in crate::typed) struct Name<F>(pub(in crate::typed) F);

impl<'de, T, F: FnOnce(&str) -> T> DeserializeSeed<'de> for Name<F> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, name: D) -> Result<T, D::Error> {
        name.deserialize_str(self)
    }
}

impl<T, F: FnOnce(&str) -> T> Visitor<'_> for Name<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<T, E> {
        Ok(self.0(name))
    }
}

/// Skips the rest of an array. Returns how many items there were.
pub(in crate::typed) fn rest_of<'de, A: SeqAccess<'de>>(items: &mut A) -> Result<usize, A::Error> {
    let mut count = 0;
    while items.next_element::<IgnoredAny>()?.is_some() {
        count += 1;
    }
    Ok(count)
}

/// An integer of at most 32 bits.
fn narrow<T: TryFrom<i128>>(number: &Number) -> Option<T> {
    T::try_from(integer(number)?).ok()
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

fn special_float(text: &str) -> Option<f64> {
    match text {
        NOT_A_NUMBER => Some(f64::NAN),
        INFINITY => Some(f64::INFINITY),
        MINUS_INFINITY => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

fn character(text: &str) -> Option<char> {
    let mut chars = text.chars();
    let first = chars.next()?;
    chars.next().is_none().then_some(first)
}

fn bytes(text: &str, place: &Place<'_>, room: &mut Room<'_>) -> Result<Val, ArgumentError> {
    room.values(text.len() / 4 * 3, place)?;
    let bytes = BASE64.decode(text).map_err(|error| {
        let text = shortened(text, QUOTE_CHARS_MAX / 4);
        place.error(BYTES, format!("{text:?} (not base64: {error})"))
    })?;
    Ok(Val::List(bytes.into_iter().map(Val::U8).collect()))
}

/// The case without a payload that a text names.
fn case(
    name: &str,
    cases: &[Case],
    place: &Place<'_>,
    room: &mut Room<'_>,
) -> Result<Option<Val>, ArgumentError> {
    let Some(case) = cases.iter().find(|case| case.name == name) else { return Ok(None) };
    room.text(name, place)?;
    match &case.payload {
        None => Ok(Some(Val::Variant(name.to_owned(), None))),
        Some(payload) => {
            let expected = format!("{{\"{name}\": {}}}", payload.brief());
            Err(place.error(expected, format!("{name:?} without its payload")))
        }
    }
}
