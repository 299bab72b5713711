//! The types that a caller was built with, and where those of a method differ from them.
//!
//! ```text
//!  import of a guest ── Signature ──┬── compared with the method: `parameter 1 ("by"): u64, u32`
//!                                   └── digest, for a comparison in another process
//! ```
//! Invariant: types are the same if their WIT text is, with the names of parameters, fields and cases:
//! values of the one are values of the other.

use std::sync::Arc;

use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};
use stockade_depot::Digest;
use wasmtime::component::Val;

use crate::typed::json;
use crate::typed::method::{Method, signature};
use crate::typed::parameter::Parameter;
use crate::typed::place::{ArgumentError, Room, shortened};
use crate::typed::shape::{Case, Field, Shape};

/// Characters of a place in an error. 300: three lines of a terminal.
const PLACE_CHARS_MAX: usize = 300;

/// A method as a caller knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The method's name in clients of its kind.
    pub method: String,
    /// The parameters, in order.
    pub parameters: Vec<Parameter>,
    /// The result, if there is one.
    pub result: Option<Shape>,
}

/// What a caller expects of a method's types.
#[derive(Clone, Debug)]
pub enum Expected {
    /// These types.
    Types(Arc<Signature>),
    /// Types with this digest.
    Digest(Digest),
}

/// A method has other types than its caller was built with. The method did not run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("method `{method}`, {place}: {here} here, {there} at the callee; write the client again")]
pub struct Difference {
    /// The method's name, as the caller knows it.
    pub method: String,
    /// Where: `parameter 1 ("item").price`.
    pub place: String,
    /// The caller's side.
    pub here: String,
    /// The callee's side.
    pub there: String,
}

impl Signature {
    /// The digest of the types.
    #[must_use]
    pub fn digest(&self) -> Digest {
        digest(&self.parameters, self.result.as_ref())
    }

    /// Arguments as JSON, for a callee in another process. The values have the types of the parameters.
    #[must_use]
    pub fn write_arguments(&self, values: &[Val]) -> String {
        let list = values.iter().zip(&self.parameters);
        let list = list.map(|(value, parameter)| json::write(value, &parameter.shape));
        Json::Array(list.collect()).to_string()
    }

    /// A result from the JSON of another process. The value takes `room`.
    ///
    /// # Errors
    /// It does not fit, which a callee of these types does not do, or there is no room.
    pub fn read_result(&self, text: &[u8], room: Room<'_>) -> Result<Option<Val>, ArgumentError> {
        let Some(shape) = &self.result else { return Ok(None) };
        let only = Parameter { name: "result".to_owned(), shape: shape.clone() };
        let list = [b"[", text, b"]"].concat();
        Ok(json::of_text(&list, &[only], room)?.pop())
    }
}

impl Expected {
    /// Checks a method that a client calls `name`.
    ///
    /// # Errors
    /// The first place where the types differ.
    pub fn check(&self, name: &str, method: &Method) -> Result<(), Difference> {
        let (place, here, there) = match self {
            Self::Types(signature) => match of_signatures(signature, method) {
                Some(difference) => difference,
                None => return Ok(()),
            },
            Self::Digest(expected) => {
                let actual = digest(method.params(), method.result());
                if actual == *expected {
                    return Ok(());
                }
                let there = signature(method.params(), method.result());
                ("its types".to_owned(), "others".to_owned(), there)
            }
        };
        Err(Difference {
            method: shortened(name, 128).into_owned(),
            place: shortened(&place, PLACE_CHARS_MAX).into_owned(),
            here: shortened(&here, PLACE_CHARS_MAX).into_owned(),
            there: shortened(&there, PLACE_CHARS_MAX).into_owned(),
        })
    }
}

fn digest(parameters: &[Parameter], result: Option<&Shape>) -> Digest {
    Digest(Sha256::digest(signature(parameters, result)).into())
}

/// Place, the caller's side and the callee's side.
type Sides = (String, String, String);

fn of_signatures(here: &Signature, there: &Method) -> Option<Sides> {
    let (mine, theirs) = (&here.parameters, there.params());
    for (number, (mine, theirs)) in (1..).zip(mine.iter().zip(theirs)) {
        if mine.name != theirs.name {
            let name = |parameter: &Parameter| format!("\"{}\"", parameter.name);
            return Some((format!("the name of parameter {number}"), name(mine), name(theirs)));
        }
        let place = format!("parameter {number} (\"{}\")", mine.name);
        if let Some(difference) = of_shapes(&mine.shape, &theirs.shape, &place) {
            return Some(difference);
        }
    }
    if mine.len() != theirs.len() {
        let place = "the number of parameters".to_owned();
        return Some((place, mine.len().to_string(), theirs.len().to_string()));
    }
    match (&here.result, there.result()) {
        (None, None) => None,
        (Some(mine), Some(theirs)) => of_shapes(mine, theirs, "result"),
        (mine, theirs) => {
            let side = |shape: Option<&Shape>| shape.map_or("none".to_owned(), Shape::brief);
            Some(("result".to_owned(), side(mine.as_ref()), side(theirs)))
        }
    }
}

/// The innermost place where two shapes differ. Shapes nest at most 100 deep.
fn of_shapes(here: &Shape, there: &Shape, place: &str) -> Option<Sides> {
    if here == there {
        return None;
    }
    let whole = || Some((place.to_owned(), here.brief(), there.brief()));
    // The place is written down only on the way to a difference: there may be thousands of equal parts
    // with long names, and the guest's author has chosen them.
    let inner = |mine: &Shape, theirs: &Shape, step: &dyn Fn() -> String| {
        if mine == theirs {
            return None;
        }
        of_shapes(mine, theirs, &format!("{place}{}", step()))
    };
    match (here, there) {
        (Shape::List(mine), Shape::List(theirs)) => inner(mine, theirs, &|| "[]".to_owned()),
        (Shape::Option(mine), Shape::Option(theirs)) => inner(mine, theirs, &|| ".some".to_owned()),
        (Shape::Tuple(mine), Shape::Tuple(theirs)) if mine.len() == theirs.len() => {
            let mut parts = mine.iter().zip(theirs).enumerate();
            parts.find_map(|(at, (mine, theirs))| inner(mine, theirs, &|| format!("[{at}]")))
        }
        (Shape::Record(mine), Shape::Record(theirs)) => {
            let name = |field: &Field| field.name.clone();
            named((mine, theirs), name, place, "field").or_else(|| {
                let mut fields = mine.iter().zip(theirs);
                fields.find_map(|(mine, theirs)| {
                    inner(&mine.shape, &theirs.shape, &|| format!(".{}", mine.name))
                })
            })
        }
        (Shape::Variant(mine), Shape::Variant(theirs)) => {
            let name = |case: &Case| case.name.clone();
            named((mine, theirs), name, place, "case").or_else(|| {
                let mut cases = mine.iter().zip(theirs);
                cases.find_map(|(mine, theirs)| {
                    let place = || format!("{place}.{}", mine.name);
                    of_payloads(mine.payload.as_ref(), theirs.payload.as_ref(), place)
                })
            })
        }
        (Shape::Enum(mine), Shape::Enum(theirs)) => {
            named((mine, theirs), String::clone, place, "case")
        }
        (Shape::Flags(mine), Shape::Flags(theirs)) => {
            named((mine, theirs), String::clone, place, "flag")
        }
        (Shape::Result { ok, err }, Shape::Result { ok: their_ok, err: their_err }) => {
            let of_ok = of_payloads(ok.as_deref(), their_ok.as_deref(), || format!("{place}.ok"));
            let of_err =
                || of_payloads(err.as_deref(), their_err.as_deref(), || format!("{place}.err"));
            of_ok.or_else(of_err)
        }
        _ => whole(),
    }
}

fn of_payloads(
    here: Option<&Shape>,
    there: Option<&Shape>,
    place: impl Fn() -> String,
) -> Option<Sides> {
    match (here, there) {
        (None, None) => None,
        (Some(mine), Some(theirs)) if mine == theirs => None,
        (Some(mine), Some(theirs)) => of_shapes(mine, theirs, &place()),
        (mine, theirs) => {
            let side = |shape: Option<&Shape>| shape.map_or("no payload".to_owned(), Shape::brief);
            Some((place(), side(mine), side(theirs)))
        }
    }
}

/// The first name of two lists that differs: the order counts, since it tells values apart.
fn named<T>(
    (here, there): (&[T], &[T]),
    name: impl Fn(&T) -> String,
    place: &str,
    what: &str,
) -> Option<Sides> {
    let side = |list: &[T], at: usize| {
        list.get(at).map_or(format!("no such {what}"), |item| format!("\"{}\"", name(item)))
    };
    let same = |at: &usize| match (here.get(*at), there.get(*at)) {
        (Some(mine), Some(theirs)) => name(mine) == name(theirs),
        (mine, theirs) => mine.is_none() && theirs.is_none(),
    };
    let at = (0..here.len().max(there.len())).find(|at| !same(at))?;
    Some((format!("{place}, {what} {}", at + 1), side(here, at), side(there, at)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::typed::MethodTable;

    fn record(fields: &[(&str, Shape)]) -> Shape {
        let field = |(name, shape): &(&str, Shape)| Field {
            name: (*name).to_owned(),
            shape: shape.clone(),
        };
        Shape::Record(fields.iter().map(field).collect())
    }

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    #[track_caller]
    fn check(here: &Shape, there: &Shape, expected: &str) {
        let found = of_shapes(here, there, "p");
        let found = found.map(|(place, here, there)| format!("{place}: {here} / {there}"));
        assert_eq!(found.as_deref().unwrap_or("same"), expected);
        assert_eq!(of_shapes(here, here, "p"), None);
    }

    #[test]
    fn the_innermost_place_that_differs_is_named() {
        let list = |shape| Shape::List(Box::new(shape));
        let some = |shape| Shape::Option(Box::new(shape));
        check(&Shape::U64, &Shape::U32, "p: u64 / u32");
        check(&list(some(Shape::U8)), &list(some(Shape::S8)), "p[].some: u8 / s8");
        let (a, b) = (("a", Shape::U8), ("b", Shape::String));
        let item = record(&[a.clone(), b.clone()]);
        check(&item, &record(&[a.clone(), ("b", Shape::Char)]), "p.b: string / char");
        check(&item, &record(&[a.clone(), ("c", Shape::String)]), "p, field 2: \"b\" / \"c\"");
        check(&item, &record(&[b.clone(), a.clone()]), "p, field 1: \"a\" / \"b\"");
        check(&item, &record(&[a]), "p, field 2: \"b\" / no such field");
        let red = Shape::Enum(names(&["red"]));
        let more = Shape::Enum(names(&["red", "blue"]));
        check(&red, &more, "p, case 2: no such case / \"blue\"");
        check(
            &Shape::Flags(names(&["r"])),
            &Shape::Flags(names(&["w"])),
            "p, flag 1: \"r\" / \"w\"",
        );
        let case = |payload| Shape::Variant(vec![Case { name: "one".into(), payload }]);
        check(&case(None), &case(Some(Shape::U8)), "p.one: no payload / u8");
        check(&case(Some(Shape::U16)), &case(Some(Shape::U8)), "p.one: u16 / u8");
        let result = |ok: Option<Shape>, err: Option<Shape>| Shape::Result {
            ok: ok.map(Box::new),
            err: err.map(Box::new),
        };
        check(&result(None, Some(Shape::U8)), &result(None, Some(Shape::U16)), "p.err: u8 / u16");
        let pair = |second| Shape::Tuple(vec![Shape::Bool, second]);
        check(&pair(Shape::U8), &pair(Shape::S8), "p[1]: u8 / s8");
        check(&pair(Shape::U8), &Shape::Tuple(vec![]), "p: tuple<bool, u8> / tuple<>");
    }

    #[test]
    fn a_method_is_checked_by_types_or_by_their_digest() {
        let text = r#"(component
            (core module $m (func (export "f") (param i32) (result i32) local.get 0))
            (core instance $i (instantiate $m))
            (func $f (param "by" u32) (result u32) (canon lift (core func $i "f")))
            (instance $api (export "add" (func $f)))
            (export "demo:a/api" (instance $api)))"#;
        let engine = wasmtime::Engine::default();
        let wasm = wat::parse_str(text).expect("the text is wasm");
        let component = wasmtime::component::Component::new(&engine, wasm).expect("it is valid");
        let table = MethodTable::of(&component, &[]).expect("one method");
        let method = table.find_for_client("add").expect("it is there");
        let of = |name: &str, shape, result| Signature {
            method: "add".to_owned(),
            parameters: vec![Parameter { name: name.to_owned(), shape }],
            result,
        };
        let same = of("by", Shape::U32, Some(Shape::U32));
        let both = |signature: &Signature| {
            let types = Expected::Types(Arc::new(signature.clone())).check("add", method);
            let digest = Expected::Digest(signature.digest()).check("add", method);
            assert_eq!(types.is_ok(), digest.is_ok());
            let there = digest.err().map(|difference| difference.there);
            assert!(there.is_none_or(|there| there == "func(by: u32) -> u32"));
            types.err().map(|difference| difference.to_string())
        };
        assert_eq!(both(&same), None);
        let end = "write the client again";
        for (other, words) in [
            (of("by", Shape::U64, Some(Shape::U32)), "parameter 1 (\"by\"): u64 here, u32"),
            (
                of("to", Shape::U32, Some(Shape::U32)),
                "the name of parameter 1: \"to\" here, \"by\"",
            ),
            (of("by", Shape::U32, None), "result: none here, u32"),
            (
                Signature { parameters: Vec::new(), ..same.clone() },
                "the number of parameters: 0 here, 1",
            ),
        ] {
            let expected = format!("method `add`, {words} at the callee; {end}");
            assert_eq!(both(&other).as_deref(), Some(expected.as_str()));
        }
    }

    #[test]
    fn values_come_back_from_the_json_of_another_process() {
        let shape = Shape::Result {
            ok: Some(Box::new(Shape::List(Box::new(Shape::U8)))),
            err: Some(Box::new(Shape::Option(Box::new(Shape::U64)))),
        };
        let parameters = vec![Parameter { name: "a".to_owned(), shape: shape.clone() }];
        let signature = Signature { method: "m".to_owned(), parameters, result: Some(shape) };
        let ok = Val::List(vec![Val::U8(0), Val::U8(255)]);
        let err = Val::Option(Some(Box::new(Val::U64(u64::MAX))));
        for value in [Ok(Some(Box::new(ok))), Err(Some(Box::new(err)))].map(Val::Result) {
            let list = signature.write_arguments(std::slice::from_ref(&value));
            let text = list.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
            let text = text.expect("a list").as_bytes();
            let read = signature.read_result(text, Room::default());
            assert_eq!(read.expect("it fits"), Some(value));
            assert!(signature.read_result(b"[1]", Room::default()).is_err());
            assert!(signature.read_result(text, Room::of(1)).is_err(), "no room");
        }
        let none = Signature { result: None, ..signature };
        assert_eq!(none.read_result(b"null", Room::default()), Ok(None));
    }

    #[test]
    fn a_digest_is_that_of_the_types_alone() {
        let signature = |method: &str, name: &str, shape| Signature {
            method: method.to_owned(),
            parameters: vec![Parameter { name: name.to_owned(), shape }],
            result: None,
        };
        let one = signature("add", "by", Shape::U64);
        assert_eq!(one.digest(), signature("plus", "by", Shape::U64).digest());
        assert_ne!(one.digest(), signature("add", "to", Shape::U64).digest());
        assert_ne!(one.digest(), signature("add", "by", Shape::U32).digest());
        assert_ne!(one.digest(), Signature { result: Some(Shape::U64), ..one.clone() }.digest());
    }
}
