//! JSON into component values, straight from its text, checked against the shape on the way down.
//!
//! Invariants:
//! - The recursion follows the shape, never the JSON alone, so its depth is bounded by the type.
//! - What does not fit is read to its end and thrown away: if the text behind it is no JSON, the
//!   error says that instead.
//! - A value takes room before it is made.

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess};
use wasmtime::component::Val;

use super::scalar::{
    Any, BYTES, Found, Name, Read, Scalar, Visit, array, is_nested_option, nested_option, object,
    rest_of,
};
use crate::typed::bounds::QUOTE_CHARS_MAX;
use crate::typed::place::{ArgumentError, Place, Room, shortened, similar};
use crate::typed::shape::{Case, Field, Shape};

/// The room that values take during a read, and the first error.
pub(in crate::typed) struct Reading<'r> {
    pub(in crate::typed) room: Room<'r>,
    failed: Option<ArgumentError>,
}

impl<'r> Reading<'r> {
    /// Nothing was read yet.
    pub(in crate::typed) fn new(room: Room<'r>) -> Self {
        Self { room, failed: None }
    }

    /// What was read, unless something did not fit.
    pub(in crate::typed) fn end<T>(self, read: Option<T>) -> Result<T, ArgumentError> {
        match self.failed {
            Some(error) => Err(error),
            None => Ok(read.expect("BUG: nothing was read and nothing failed")),
        }
    }

    /// Whether something did not fit: the rest is only skipped.
    pub(in crate::typed) fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// Records that something does not fit. The first such error is reported.
    pub(in crate::typed) fn fail<T>(&mut self, error: ArgumentError) -> Option<T> {
        self.failed.get_or_insert(error);
        None
    }

    /// Records that the whole does not fit, whatever is wrong with its parts.
    pub(in crate::typed) fn fail_whole<T>(&mut self, error: ArgumentError) -> Option<T> {
        self.failed = Some(error);
        None
    }

    /// Keeps the value of a read, or its error.
    pub(in crate::typed) fn keep<T>(&mut self, read: Result<T, ArgumentError>) -> Option<T> {
        read.map_or_else(|error| self.fail(error), Some)
    }
}

/// Reads a value of `shape`. `None`: something has failed.
pub(in crate::typed) struct Seed<'s, 'r> {
    pub(in crate::typed) shape: &'s Shape,
    pub(in crate::typed) place: &'s Place<'s>,
    pub(in crate::typed) reading: &'s mut Reading<'r>,
}

impl<'de> DeserializeSeed<'de> for Seed<'_, '_> {
    type Value = Option<Val>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Option<Val>, D::Error> {
        if self.reading.has_failed() {
            return json.deserialize_ignored_any(IgnoredAny).map(|_| None);
        }
        json.deserialize_any(Visit(self))
    }
}

impl<'de> Read<'de> for Seed<'_, '_> {
    type Value = Option<Val>;

    fn scalar(self, json: &Scalar<'_>) -> Option<Val> {
        let read = json.read(self.shape, self.place, &mut self.reading.room);
        self.reading.keep(read)
    }

    fn array<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Option<Val>, A::Error> {
        if !self.takes_room() {
            return rest_of(&mut items).map(|_| None);
        }
        match self.shape {
            Shape::List(element) => self.list(element, items),
            Shape::Tuple(parts) => self.tuple(parts, items),
            Shape::Flags(names) => self.flags(names, items),
            Shape::Option(inner) if !is_nested_option(self.shape) => {
                Ok(some(self.inside(inner).array(items)?))
            }
            _ => {
                let found = array(rest_of(&mut items)?);
                Ok(self.wrong(found))
            }
        }
    }

    fn object<A: MapAccess<'de>>(mut self, mut fields: A) -> Result<Option<Val>, A::Error> {
        if !self.takes_room() {
            while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(None);
        }
        match self.shape {
            Shape::Record(shapes) => self.record(shapes, fields),
            Shape::Variant(cases) => self.variant(cases, fields),
            Shape::Result { ok, err } => self.result(ok.as_deref(), err.as_deref(), fields),
            Shape::Option(inner) if is_nested_option(self.shape) => {
                let shape_of = |name: &str| (name == "some").then_some(Some(&**inner));
                let value = self.only(fields, shape_of)?;
                Ok(value.map(|(_, value)| Val::Option(value)))
            }
            Shape::Option(inner) => Ok(some(self.inside(inner).object(fields)?)),
            _ => {
                let found = object(&[], fields)?;
                Ok(self.wrong(found))
            }
        }
    }
}

fn some(value: Option<Val>) -> Option<Val> {
    value.map(|value| Val::Option(Some(Box::new(value))))
}

/// The name of an object's only field, and its value.
type Only = (String, Option<Box<Val>>);

impl<'s, 'r> Seed<'s, 'r> {
    fn takes_room(&mut self) -> bool {
        let taken = self.reading.room.values(1, self.place);
        self.reading.keep(taken).is_some()
    }

    /// The place of an option's inner value: the same as the option's.
    fn inside(self, inner: &'s Shape) -> Self {
        Self { shape: inner, ..self }
    }

    /// The seed of a part, at its own place.
    fn part<'p>(&'p mut self, shape: &'p Shape, place: &'p Place<'p>) -> Seed<'p, 'r> {
        Seed { shape, place, reading: self.reading }
    }

    fn wrong<T>(&mut self, found: String) -> Option<T> {
        let expected = match self.shape {
            shape if shape.is_bytes() => BYTES.to_owned(),
            shape if is_nested_option(shape) => nested_option(shape),
            shape => shape.brief(),
        };
        self.reading.fail_whole(self.place.error(expected, found))
    }

    fn list<'de, A: SeqAccess<'de>>(
        mut self,
        element: &Shape,
        mut items: A,
    ) -> Result<Option<Val>, A::Error> {
        let (mut values, at) = (Vec::new(), self.place);
        loop {
            let place = at.index(values.len());
            match items.next_element_seed(self.part(element, &place))? {
                None => return Ok(Some(Val::List(values))),
                Some(Some(value)) => values.push(value),
                Some(None) => return rest_of(&mut items).map(|_| None),
            }
        }
    }

    fn tuple<'de, A: SeqAccess<'de>>(
        mut self,
        parts: &[Shape],
        mut items: A,
    ) -> Result<Option<Val>, A::Error> {
        let (mut values, mut count, at) = (Vec::with_capacity(parts.len()), 0, self.place);
        for (index, part) in parts.iter().enumerate() {
            let place = at.index(index);
            let Some(value) = items.next_element_seed(self.part(part, &place))? else { break };
            values.extend(value);
            count += 1;
        }
        count += rest_of(&mut items)?;
        if count != parts.len() {
            return Ok(self.wrong(array(count)));
        }
        Ok((values.len() == count).then_some(Val::Tuple(values)))
    }

    fn flags<'de, A: SeqAccess<'de>>(
        self,
        names: &[String],
        mut items: A,
    ) -> Result<Option<Val>, A::Error> {
        let mut set = vec![false; names.len()];
        for index in 0.. {
            let at = self.place.index(index);
            let one = |flag: Found<'_>| {
                let known = match flag {
                    Found::Scalar(Scalar::Text(flag)) => names.iter().position(|n| n == flag),
                    _ => None,
                };
                match known {
                    None => Err(at.error(self.shape.brief(), flag.to_string())),
                    Some(known) if std::mem::replace(&mut set[known], true) => {
                        Err(at.error("each flag once", flag.to_string()))
                    }
                    Some(_) => Ok(()),
                }
            };
            match items.next_element_seed(Any(one))? {
                None => break,
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    rest_of(&mut items)?;
                    return Ok(self.reading.fail(error));
                }
            }
        }
        let given = names.iter().zip(set).filter(|(_, set)| *set).map(|(name, _)| name);
        let given = given.map(|name| {
            self.reading.room.text(name, self.place)?;
            Ok(name.clone())
        });
        let given = given.collect::<Result<Vec<_>, _>>();
        Ok(self.reading.keep(given).map(Val::Flags))
    }

    fn record<'de, A: MapAccess<'de>>(
        mut self,
        shapes: &[Field],
        mut fields: A,
    ) -> Result<Option<Val>, A::Error> {
        let (mut found, at) = (vec![None; shapes.len()], self.place);
        let find = |name: &str| {
            let known = shapes.iter().position(|field| field.name == name);
            known.ok_or_else(|| unknown_field(name, shapes, at))
        };
        while let Some(known) = fields.next_key_seed(Name(find))? {
            match known {
                Ok(index) if found[index].is_some() => return Err(twice(&shapes[index].name)),
                Ok(index) => {
                    let place = at.name(&shapes[index].name);
                    let seed = self.part(&shapes[index].shape, &place);
                    found[index] = fields.next_value_seed(seed)?;
                }
                Err(error) => {
                    fields.next_value::<IgnoredAny>()?;
                    self.reading.fail::<()>(error);
                }
            }
        }
        if self.reading.has_failed() {
            return Ok(None);
        }
        let room = &mut self.reading.room;
        let values = shapes.iter().zip(found).map(|(field, value)| {
            let place = at.name(&field.name);
            room.text(&field.name, &place)?;
            let value = match (value, &field.shape) {
                (Some(value), _) => value,
                (None, Shape::Option(_)) => {
                    room.values(1, &place)?;
                    Val::Option(None)
                }
                (None, shape) => {
                    return Err(place.error(shape.brief(), "nothing: the field is missing"));
                }
            };
            Ok((field.name.clone(), value))
        });
        let values = values.collect::<Result<Vec<_>, _>>();
        Ok(self.reading.keep(values).map(Val::Record))
    }

    fn variant<'de, A: MapAccess<'de>>(
        mut self,
        cases: &'s [Case],
        fields: A,
    ) -> Result<Option<Val>, A::Error> {
        let shape_of = |name: &str| {
            let case = cases.iter().find(|case| case.name == name);
            case.map(|case| case.payload.as_ref())
        };
        let Some((name, payload)) = self.only(fields, shape_of)? else { return Ok(None) };
        let taken = self.reading.room.text(&name, self.place);
        Ok(self.reading.keep(taken).map(|()| Val::Variant(name, payload)))
    }

    fn result<'de, A: MapAccess<'de>>(
        mut self,
        ok: Option<&'s Shape>,
        err: Option<&'s Shape>,
        fields: A,
    ) -> Result<Option<Val>, A::Error> {
        let shape_of = |side: &str| match side {
            "ok" => Some(ok),
            "err" => Some(err),
            _ => None,
        };
        let only = self.only(fields, shape_of)?;
        Ok(only.map(|(side, payload)| {
            Val::Result(if side == "ok" { Ok(payload) } else { Err(payload) })
        }))
    }

    /// The only field of an object: `shape_of` gives the payload of its name.
    fn only<'de, A: MapAccess<'de>>(
        &mut self,
        mut fields: A,
        shape_of: impl FnOnce(&str) -> Option<Option<&'s Shape>>,
    ) -> Result<Option<Only>, A::Error> {
        let Some(name) = fields.next_key::<String>()? else {
            return Ok(self.wrong(object(&[], fields)?));
        };
        let Some(shape) = shape_of(&name) else {
            fields.next_value::<IgnoredAny>()?;
            return Ok(self.wrong(object(&[&name], fields)?));
        };
        let at = self.place;
        let place = at.name(&name);
        let payload = match shape {
            Some(shape) => {
                let value = fields.next_value_seed(self.part(shape, &place))?;
                value.map(|value| Some(Box::new(value)))
            }
            None => {
                let nothing = |found: Found<'_>| match found {
                    Found::Scalar(Scalar::Null) => Ok(None),
                    found => Err(place.error("null: there is no payload", found.to_string())),
                };
                let nothing = fields.next_value_seed(Any(nothing))?;
                self.reading.keep(nothing)
            }
        };
        if let Some(second) = fields.next_key::<String>()? {
            fields.next_value::<IgnoredAny>()?;
            return Ok(self.wrong(object(&[&name, &second], fields)?));
        }
        Ok(payload.map(|payload| (name.clone(), payload)))
    }
}

/// A name stands twice in an object. The last value would count, and no error would show that the
/// first does not.
pub(in crate::typed) fn twice<E: Error>(name: &str) -> E {
    E::custom(format_args!("the name {:?} stands twice in an object", shortened(name, 80)))
}

fn unknown_field(unknown: &str, fields: &[Field], place: &Place<'_>) -> ArgumentError {
    let known = || fields.iter().map(|field| field.name.as_str());
    let expected = match similar(unknown, known()).first() {
        Some(name) => format!("a field of the record, perhaps `{name}`"),
        None => {
            let names = known().take(8).collect::<Vec<_>>().join(", ");
            format!("a field of the record ({})", shortened(&names, QUOTE_CHARS_MAX))
        }
    };
    place.name(unknown).error(expected, "an unknown field")
}
