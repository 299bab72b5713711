//! Decodes component values into Rust values, through `serde`.
//!
//! ```text
//!  bool, numbers, char, string    the same, if it fits      record          struct, or map
//!  list, tuple, flags             sequence                  option          Option
//!  list<u8>                       also bytes                result          Result
//!  variant, enum                  enum                      no result       ()
//! ```
//! Names are those of the WIT: `#[serde(rename_all = "kebab-case")]` makes them Rust's. Nothing
//! passes through text or floats, so no number loses a digit.

use std::fmt;

use serde::de::value::{MapDeserializer, SeqDeserializer, StrDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer,
    Unexpected, VariantAccess, Visitor,
};
use wasmtime::component::Val;

/// A result does not have the Rust type that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the method's result: {0}")]
pub struct ResultError(String);

impl serde::de::Error for ResultError {
    fn custom<T: fmt::Display>(what: T) -> Self {
        Self(what.to_string())
    }
}

/// The results of a call, none or one, as a Rust value.
pub(crate) fn decode<T: DeserializeOwned>(results: &[Val]) -> Result<T, ResultError> {
    match results.first() {
        Some(value) => T::deserialize(Of(value)),
        None => T::deserialize(().into_deserializer()),
    }
}

/// A value being read.
#[derive(Clone, Copy)]
struct Of<'v>(&'v Val);

impl<'v> IntoDeserializer<'_, ResultError> for Of<'v> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Of<'_> {
    type Error = ResultError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ResultError> {
        match self.0 {
            Val::Bool(value) => visitor.visit_bool(*value),
            Val::S8(value) => visitor.visit_i8(*value),
            Val::U8(value) => visitor.visit_u8(*value),
            Val::S16(value) => visitor.visit_i16(*value),
            Val::U16(value) => visitor.visit_u16(*value),
            Val::S32(value) => visitor.visit_i32(*value),
            Val::U32(value) => visitor.visit_u32(*value),
            Val::S64(value) => visitor.visit_i64(*value),
            Val::U64(value) => visitor.visit_u64(*value),
            Val::Float32(value) => visitor.visit_f32(*value),
            Val::Float64(value) => visitor.visit_f64(*value),
            Val::Char(value) => visitor.visit_char(*value),
            Val::String(text) | Val::Enum(text) => visitor.visit_str(text),
            Val::List(values) | Val::Tuple(values) => {
                visitor.visit_seq(SeqDeserializer::new(values.iter().map(Of)))
            }
            Val::Record(fields) => {
                let fields = fields.iter().map(|(name, value)| (name.as_str(), Of(value)));
                visitor.visit_map(MapDeserializer::new(fields))
            }
            Val::Flags(names) => {
                visitor.visit_seq(SeqDeserializer::new(names.iter().map(String::as_str)))
            }
            Val::Option(None) => visitor.visit_none(),
            Val::Option(Some(value)) => visitor.visit_some(Of(value)),
            Val::Variant(name, payload) => {
                visitor.visit_enum(Case { name, payload: payload.as_deref() })
            }
            Val::Result(Ok(payload)) => {
                visitor.visit_enum(Case { name: "Ok", payload: payload.as_deref() })
            }
            Val::Result(Err(payload)) => {
                visitor.visit_enum(Case { name: "Err", payload: payload.as_deref() })
            }
            other => Err(ResultError(format!("{other:?} has no Rust form"))),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ResultError> {
        match self.0 {
            Val::Enum(name) => visitor.visit_enum(Case { name, payload: None }),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ResultError> {
        self.deserialize_byte_buf(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ResultError> {
        let Val::List(values) = self.0 else { return self.deserialize_any(visitor) };
        let byte = |value: &Val| match value {
            Val::U8(byte) => Some(*byte),
            _ => None,
        };
        match values.iter().map(byte).collect::<Option<Vec<u8>>>() {
            Some(bytes) => visitor.visit_byte_buf(bytes),
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ResultError> {
        visitor.visit_newtype_struct(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string option unit unit_struct
        seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// A case of a variant, result or enum with its payload.
struct Case<'v> {
    name: &'v str,
    payload: Option<&'v Val>,
}

impl<'de, 'v> EnumAccess<'de> for Case<'v> {
    type Error = ResultError;
    type Variant = Payload<'v>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Payload<'v>), ResultError> {
        let name: StrDeserializer<'_, ResultError> = self.name.into_deserializer();
        Ok((seed.deserialize(name)?, Payload(self.payload)))
    }
}

struct Payload<'v>(Option<&'v Val>);

impl Payload<'_> {
    fn present(&self) -> Result<Of<'_>, ResultError> {
        let missing = || ResultError::invalid_type(Unexpected::UnitVariant, &"a payload");
        self.0.map(Of).ok_or_else(missing)
    }
}

impl<'de> VariantAccess<'de> for Payload<'_> {
    type Error = ResultError;

    fn unit_variant(self) -> Result<(), ResultError> {
        match self.0 {
            None => Ok(()),
            Some(_) => Err(ResultError::invalid_type(Unexpected::NewtypeVariant, &"no payload")),
        }
    }

    /// `Result<(), E>` asks for a payload where the WIT has none.
    fn newtype_variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<S::Value, ResultError> {
        match self.0 {
            Some(value) => seed.deserialize(Of(value)),
            None => seed.deserialize(().into_deserializer()),
        }
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, ResultError> {
        self.present()?.deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ResultError> {
        self.present()?.deserialize_any(visitor)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    fn one<T: DeserializeOwned>(value: Val) -> Result<T, ResultError> {
        decode(&[value])
    }

    fn text(text: &str) -> Val {
        Val::String(text.to_owned())
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    struct Account {
        name: String,
        balance_cents: i64,
        note: Option<String>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    enum Refused {
        EmptyName,
        UnknownAccount(String),
        InsufficientFunds { balance: i64, needed: i64 },
        Between(u8, u8),
    }

    #[test]
    fn numbers_and_texts_are_exact_or_refused() {
        assert_eq!(one::<i64>(Val::S64(i64::MIN)), Ok(i64::MIN));
        assert_eq!(one::<u64>(Val::U64(u64::MAX)), Ok(u64::MAX));
        assert_eq!(one::<f64>(Val::Float64(1.5)), Ok(1.5));
        assert_eq!(one::<String>(text("a")), Ok("a".to_owned()));
        assert_eq!(one::<u8>(Val::U64(7)), Ok(7));
        assert!(one::<u8>(Val::U64(300)).is_err());
        let error = one::<String>(Val::U64(3)).expect_err("a number").to_string();
        assert!(error.contains("expected a string"), "{error}");
        assert_eq!(decode::<()>(&[]), Ok(()));
        assert!(decode::<u8>(&[]).is_err());
    }

    #[test]
    fn lists_tuples_flags_and_options_are_what_rust_has() {
        let list = || Val::List(vec![Val::U8(1), Val::U8(2)]);
        assert_eq!(one::<Vec<u8>>(list()), Ok(vec![1, 2]));
        let pair = Val::Tuple(vec![text("a"), Val::Bool(true)]);
        assert_eq!(one::<(String, bool)>(pair), Ok(("a".to_owned(), true)));
        let flags = Val::Flags(vec!["read".to_owned()]);
        assert_eq!(one::<Vec<String>>(flags), Ok(vec!["read".to_owned()]));
        assert_eq!(one::<Option<u8>>(Val::Option(None)), Ok(None));
        let some = Val::Option(Some(Box::new(Val::U8(1))));
        assert_eq!(one::<Option<u8>>(some), Ok(Some(1)));
    }

    #[test]
    fn records_are_structs_or_maps() {
        let record = || {
            Val::Record(vec![
                ("name".to_owned(), text("alice")),
                ("balance-cents".to_owned(), Val::S64(5)),
                ("note".to_owned(), Val::Option(None)),
            ])
        };
        let alice = Account { name: "alice".to_owned(), balance_cents: 5, note: None };
        assert_eq!(one::<Account>(record()), Ok(alice));
        let point = Val::Record(vec![("x".to_owned(), Val::S32(1))]);
        assert_eq!(one::<BTreeMap<String, i32>>(point), Ok(BTreeMap::from([("x".to_owned(), 1)])));
    }

    #[test]
    fn cases_are_enums_and_results_are_results() {
        let case = |name: &str, payload: Option<Val>| {
            one::<Refused>(Val::Variant(name.to_owned(), payload.map(Box::new)))
        };
        assert_eq!(case("empty-name", None), Ok(Refused::EmptyName));
        assert_eq!(one::<Refused>(Val::Enum("empty-name".to_owned())), Ok(Refused::EmptyName));
        let unknown = Refused::UnknownAccount("bob".to_owned());
        assert_eq!(case("unknown-account", Some(text("bob"))), Ok(unknown));
        let shortage = Val::Record(vec![
            ("balance".to_owned(), Val::S64(1)),
            ("needed".to_owned(), Val::S64(2)),
        ]);
        let funds = Refused::InsufficientFunds { balance: 1, needed: 2 };
        assert_eq!(case("insufficient-funds", Some(shortage)), Ok(funds));
        let pair = Val::Tuple(vec![Val::U8(1), Val::U8(2)]);
        assert_eq!(case("between", Some(pair)), Ok(Refused::Between(1, 2)));
        assert!(case("empty-name", Some(Val::U8(1))).is_err());
        assert!(case("insufficient-funds", None).is_err());
        assert!(case("other", None).is_err());
        let ok = Val::Result(Ok(Some(Box::new(Val::S64(5)))));
        assert_eq!(one::<Result<i64, String>>(ok), Ok(Ok(5)));
        let err = Val::Result(Err(Some(Box::new(text("no")))));
        assert_eq!(one::<Result<i64, String>>(err), Ok(Err("no".to_owned())));
        assert_eq!(one::<Result<(), String>>(Val::Result(Ok(None))), Ok(Ok(())));
    }
}
