//! The arguments of a call from JSON, by the rule of [`crate::typed::arguments`].

use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use wasmtime::component::Val;

use super::read::{Reading, Seed, twice};
use super::scalar::{Name, Read, Scalar, Visit, rest_of};
use crate::typed::parameter::Parameter;
use crate::typed::place::{ArgumentError, Place, Room, similar};
use crate::typed::shape::Shape;

/// The arguments from JSON text.
pub(in crate::typed) fn of_text(
    text: &[u8],
    parameters: &[Parameter],
    room: Room<'_>,
) -> Result<Vec<Val>, ArgumentError> {
    let reader = || serde_json::Deserializer::from_slice(text);
    let is_object = text.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    let is_value = match parameters {
        [only] if is_object && can_be_object(&only.shape) => {
            let by_name = reader().deserialize_map(OnlyName(&only.name)).map_err(malformed)?;
            !by_name
        }
        _ => false,
    };
    let mut reading = Reading::new(room);
    let (mut json, whole) = (reader(), Whole { parameters, is_value, reading: &mut reading });
    let values = json.deserialize_any(Visit(whole)).and_then(|values| json.end().map(|()| values));
    reading.end(values.map_err(malformed)?)
}

/// The arguments from a JSON value.
pub(in crate::typed) fn of_value(
    json: &Value,
    parameters: &[Parameter],
    room: Room<'_>,
) -> Result<Vec<Val>, ArgumentError> {
    let is_value = match (json, parameters) {
        (Value::Object(object), [only]) => {
            let by_name = object.len() == 1 && object.contains_key(&only.name);
            can_be_object(&only.shape) && !by_name
        }
        _ => false,
    };
    let mut reading = Reading::new(room);
    let whole = Whole { parameters, is_value, reading: &mut reading };
    let values = json.deserialize_any(Visit(whole)).map_err(malformed)?;
    reading.end(values)
}

/// The error of a text that is not JSON.
pub(in crate::typed) fn malformed(error: serde_json::Error) -> ArgumentError {
    ArgumentError { malformed: true, ..Place::WHOLE.error("JSON", error.to_string()) }
}

fn can_be_object(shape: &Shape) -> bool {
    match shape {
        Shape::Record(_) | Shape::Variant(_) | Shape::Result { .. } => true,
        Shape::Option(inner) => matches!(**inner, Shape::Option(_)) || can_be_object(inner),
        _ => false,
    }
}

/// Whether an object has this name and no other.
struct OnlyName<'n>(&'n str);

impl<'de> Visitor<'de> for OnlyName<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<bool, A::Error> {
        let (mut count, mut is_it) = (0_usize, false);
        while let Some(same) = fields.next_key_seed(Name(|name: &str| name == self.0))? {
            fields.next_value::<IgnoredAny>()?;
            (count, is_it) = (count + 1, same);
        }
        Ok(count == 1 && is_it)
    }
}

/// Reads all arguments; `None`: something has failed.
struct Whole<'p, 'r> {
    parameters: &'p [Parameter],
    /// An object is the value of the only parameter.
    is_value: bool,
    reading: &'p mut Reading<'r>,
}

impl<'de> Read<'de> for Whole<'_, '_> {
    type Value = Option<Vec<Val>>;

    fn scalar(self, json: &Scalar<'_>) -> Option<Vec<Val>> {
        match (self.parameters, json) {
            ([only], _) => {
                let place = Place::WHOLE.name(&only.name);
                let seed = Seed { shape: &only.shape, place: &place, reading: self.reading };
                seed.scalar(json).map(|value| vec![value])
            }
            (several, Scalar::Null) => self.complete(vec![None; several.len()]),
            _ => self.wrong(json.to_string()),
        }
    }

    fn array<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let (mut values, mut count) = (vec![None; self.parameters.len()], 0);
        for parameter in self.parameters {
            let place = Place::WHOLE.name(&parameter.name);
            let seed = Seed { shape: &parameter.shape, place: &place, reading: self.reading };
            let Some(value) = items.next_element_seed(seed)? else { break };
            values[count] = value;
            count += 1;
        }
        count += rest_of(&mut items)?;
        if count > self.parameters.len() {
            return Ok(self.wrong(format!("{count} values")));
        }
        Ok(self.complete(values))
    }

    fn object<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        if let ([only], true) = (self.parameters, self.is_value) {
            let place = Place::WHOLE.name(&only.name);
            let seed = Seed { shape: &only.shape, place: &place, reading: self.reading };
            return Ok(seed.object(fields)?.map(|value| vec![value]));
        }
        let mut values = vec![None; self.parameters.len()];
        let parameters = self.parameters;
        let find = |name: &str| {
            let known = parameters.iter().position(|parameter| parameter.name == name);
            known.ok_or_else(|| unknown(name, parameters))
        };
        while let Some(known) = fields.next_key_seed(Name(find))? {
            match known {
                Ok(index) => {
                    let parameter = &parameters[index];
                    if values[index].is_some() {
                        return Err(twice(&parameter.name));
                    }
                    let place = Place::WHOLE.name(&parameter.name);
                    let (shape, reading) = (&parameter.shape, &mut *self.reading);
                    let seed = Seed { shape, place: &place, reading };
                    values[index] = fields.next_value_seed(seed)?;
                }
                Err(error) => {
                    fields.next_value::<IgnoredAny>()?;
                    self.reading.fail::<()>(error);
                }
            }
        }
        Ok(self.complete(values))
    }
}

impl Whole<'_, '_> {
    /// The arguments that were sent, with those that may be left out.
    fn complete(self, values: Vec<Option<Val>>) -> Option<Vec<Val>> {
        if self.reading.has_failed() {
            return None;
        }
        let all = values.into_iter().zip(self.parameters).map(|(value, parameter)| match value {
            Some(value) => Ok(value),
            None => parameter.left_out(&Place::WHOLE.name(&parameter.name)),
        });
        let all = all.collect();
        self.reading.keep(all)
    }

    fn wrong<T>(self, found: String) -> Option<T> {
        let expected = Parameter::list(self.parameters);
        self.reading.fail_whole(Place::WHOLE.error(expected, found))
    }
}

fn unknown(name: &str, parameters: &[Parameter]) -> ArgumentError {
    let known = parameters.iter().map(|parameter| parameter.name.as_str());
    let expected = match similar(name, known).first() {
        Some(name) => format!("a parameter's name, perhaps `{name}`"),
        None => Parameter::list(parameters),
    };
    Place::WHOLE.name(name).error(expected, "an unknown name")
}
