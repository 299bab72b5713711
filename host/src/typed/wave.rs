//! WAVE text into component values: `1, "text", {name: "x", tags: [a, b]}`.
//!
//! WAVE is the value syntax of the component model's tools. The engine's parser builds the syntax
//! tree (nesting at most 100); the values are made here, so that an error names the parameter and
//! the place inside it, and so that values are charged before they are made.

use std::str::FromStr;

use wasmtime::component::Val;
use wasmtime::component::wasm_wave::ast::{Node, NodeType};
use wasmtime::component::wasm_wave::parser::ParserError;
use wasmtime::component::wasm_wave::untyped::UntypedFuncCall;

use crate::typed::bounds::{QUOTE_CHARS_MAX, WAVE_BYTES_MAX};
use crate::typed::place::{ArgumentError, Place, Room, shortened, similar};
use crate::typed::shape::{Case, Field, Shape};

/// What the parser sees around the text of the arguments: a call needs a name, and a line break
/// ends a comment at the end of the text.
const BEFORE: &str = "call(";
const AFTER: &str = "\n)";

/// The syntax tree of the arguments.
pub(super) struct Parsed {
    source: String,
    nodes: Vec<Node>,
}

impl Parsed {
    /// Parses the text between the parentheses of a call.
    pub(super) fn of(text: &str) -> Result<Self, ArgumentError> {
        if text.len() > WAVE_BYTES_MAX {
            return Err(Place::WHOLE.error(
                format!("at most {WAVE_BYTES_MAX} bytes of WAVE text (send JSON instead)"),
                format!("{} bytes", text.len()),
            ));
        }
        let source = format!("{BEFORE}{text}{AFTER}");
        let nodes = match UntypedFuncCall::parse(&source) {
            Ok(call) => match call.params_node() {
                Some(node) => node.as_tuple().map(|nodes| nodes.cloned().collect()),
                None => Ok(Vec::new()),
            },
            Err(error) => Err(error),
        };
        let nodes = nodes.map_err(|error| syntax(&error, text))?;
        Ok(Self { source, nodes })
    }

    /// How many arguments there are.
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The argument `index` as a value of `shape`.
    pub(super) fn read(
        &self,
        index: usize,
        shape: &Shape,
        place: &Place<'_>,
        room: &mut Room<'_>,
    ) -> Result<Val, ArgumentError> {
        Reader { source: &self.source }.read(&self.nodes[index], shape, place, room)
    }
}

/// A syntax error, with the text from the place on.
fn syntax(error: &ParserError, text: &str) -> ArgumentError {
    let start = error.span().start.saturating_sub(BEFORE.len()).min(text.len());
    let rest = text.get(start..).unwrap_or("");
    let got = match rest.trim() {
        "" => format!("{} at the end", error.kind()),
        rest => {
            format!("{} at byte {start}: {:?}", error.kind(), shortened(rest, QUOTE_CHARS_MAX / 4))
        }
    };
    Place::WHOLE.error("WAVE text, as in `1, \"text\", {name: \"x\"}`", got)
}

struct Reader<'s> {
    source: &'s str,
}

impl Reader<'_> {
    fn read(
        &self,
        node: &Node,
        shape: &Shape,
        place: &Place<'_>,
        room: &mut Room<'_>,
    ) -> Result<Val, ArgumentError> {
        room.values(1, place)?;
        let wrong = |_: ParserError| place.error(shape.brief(), self.quote(node));
        Ok(match shape {
            Shape::Bool => Val::Bool(node.as_bool().map_err(wrong)?),
            Shape::S8 => Val::S8(self.number(node).map_err(wrong)?),
            Shape::U8 => Val::U8(self.number(node).map_err(wrong)?),
            Shape::S16 => Val::S16(self.number(node).map_err(wrong)?),
            Shape::U16 => Val::U16(self.number(node).map_err(wrong)?),
            Shape::S32 => Val::S32(self.number(node).map_err(wrong)?),
            Shape::U32 => Val::U32(self.number(node).map_err(wrong)?),
            Shape::S64 => Val::S64(self.number(node).map_err(wrong)?),
            Shape::U64 => Val::U64(self.number(node).map_err(wrong)?),
            Shape::F32 => {
                let value: f32 = self.number(node).map_err(wrong)?;
                self.no_overflow(node, value.is_infinite(), shape, place)?;
                Val::Float32(value)
            }
            Shape::F64 => {
                let value: f64 = self.number(node).map_err(wrong)?;
                self.no_overflow(node, value.is_infinite(), shape, place)?;
                Val::Float64(value)
            }
            Shape::Char => Val::Char(node.as_char(self.source).map_err(wrong)?),
            Shape::String => {
                let text = node.as_str(self.source).map_err(wrong)?;
                room.text(&text, place)?;
                Val::String(text.into_owned())
            }
            Shape::List(element) => {
                let mut values = Vec::new();
                for (index, item) in node.as_list().map_err(wrong)?.enumerate() {
                    values.push(self.read(item, element, &place.index(index), room)?);
                }
                Val::List(values)
            }
            Shape::Tuple(parts) => {
                let items = node.as_tuple().map_err(wrong)?;
                if items.len() != parts.len() {
                    return Err(place.error(shape.brief(), self.quote(node)));
                }
                let mut values = Vec::with_capacity(parts.len());
                for (index, (item, part)) in items.zip(parts).enumerate() {
                    values.push(self.read(item, part, &place.index(index), room)?);
                }
                Val::Tuple(values)
            }
            Shape::Record(fields) => self.record(node, shape, fields, place, room)?,
            Shape::Variant(cases) => self.variant(node, shape, cases, place, room)?,
            Shape::Enum(names) => {
                let name = node.as_enum(self.source).map_err(wrong)?;
                if !names.iter().any(|known| known == name) {
                    return Err(place.error(shape.brief(), self.quote(node)));
                }
                room.text(name, place)?;
                Val::Enum(name.to_owned())
            }
            Shape::Flags(names) => self.flags(node, shape, names, place, room)?,
            Shape::Option(inner) => match node.ty() {
                NodeType::OptionNone => Val::Option(None),
                NodeType::OptionSome => {
                    let payload = node.as_option().map_err(wrong)?;
                    let inner = Some(&**inner);
                    Val::Option(self.payload(node, payload, inner, &place.name("some"), room)?)
                }
                // WAVE lets `some(..)` be left out where that is not ambiguous.
                _ if can_stand_alone(inner) => {
                    Val::Option(Some(Box::new(self.read(node, inner, place, room)?)))
                }
                _ => return Err(place.error(shape.brief(), self.quote(node))),
            },
            Shape::Result { ok, err } => match (node.ty(), ok) {
                (NodeType::ResultOk | NodeType::ResultErr, _) => {
                    match node.as_result().map_err(wrong)? {
                        Ok(payload) => {
                            let at = place.name("ok");
                            Val::Result(Ok(self.payload(
                                node,
                                payload,
                                ok.as_deref(),
                                &at,
                                room,
                            )?))
                        }
                        Err(payload) => {
                            let at = place.name("err");
                            let err = err.as_deref();
                            Val::Result(Err(self.payload(node, payload, err, &at, room)?))
                        }
                    }
                }
                (_, Some(ok)) if can_stand_alone(ok) => {
                    Val::Result(Ok(Some(Box::new(self.read(node, ok, place, room)?))))
                }
                _ => return Err(place.error(shape.brief(), self.quote(node))),
            },
        })
    }

    fn number<T: FromStr>(&self, node: &Node) -> Result<T, ParserError> {
        node.as_number(self.source)
    }

    /// `inf` may be written; a number that is too large to be finite may not become it.
    fn no_overflow(
        &self,
        node: &Node,
        infinite: bool,
        shape: &Shape,
        place: &Place<'_>,
    ) -> Result<(), ArgumentError> {
        let text = &self.source[node.span()];
        match infinite && !text.ends_with("inf") {
            true => Err(place.error(shape.brief(), self.quote(node))),
            false => Ok(()),
        }
    }

    fn record(
        &self,
        node: &Node,
        shape: &Shape,
        fields: &[Field],
        place: &Place<'_>,
        room: &mut Room<'_>,
    ) -> Result<Val, ArgumentError> {
        let given = node.as_record(self.source);
        let given = given.map_err(|_| place.error(shape.brief(), self.quote(node)))?;
        let mut given: Vec<(&str, &Node)> = given.collect();
        let mut values = Vec::with_capacity(fields.len());
        for field in fields {
            let at = place.name(&field.name);
            room.text(&field.name, &at)?;
            let found = given.iter().position(|(name, _)| *name == field.name);
            let value = match (found, &field.shape) {
                (Some(index), shape) => self.read(given.remove(index).1, shape, &at, room)?,
                (None, Shape::Option(_)) => {
                    room.values(1, &at)?;
                    Val::Option(None)
                }
                (None, shape) => {
                    return Err(at.error(shape.brief(), "nothing: the field is missing"));
                }
            };
            values.push((field.name.clone(), value));
        }
        match given.first() {
            None => Ok(Val::Record(values)),
            Some((name, _)) => {
                let known = fields.iter().map(|field| field.name.as_str());
                let expected = match similar(name, known).first() {
                    Some(known) => format!("a field of the record, perhaps `{known}`"),
                    None => format!("a field of {}", shape.brief()),
                };
                Err(place.name(name).error(expected, "an unknown field"))
            }
        }
    }

    fn variant(
        &self,
        node: &Node,
        shape: &Shape,
        cases: &[Case],
        place: &Place<'_>,
        room: &mut Room<'_>,
    ) -> Result<Val, ArgumentError> {
        let wrong = || place.error(shape.brief(), self.quote(node));
        let (name, payload) = node.as_variant(self.source).map_err(|_| wrong())?;
        let case = cases.iter().find(|case| case.name == name).ok_or_else(wrong)?;
        room.text(name, place)?;
        let at = place.name(&case.name);
        let value = self.payload(node, payload, case.payload.as_ref(), &at, room)?;
        Ok(Val::Variant(name.to_owned(), value))
    }

    fn flags(
        &self,
        node: &Node,
        shape: &Shape,
        names: &[String],
        place: &Place<'_>,
        room: &mut Room<'_>,
    ) -> Result<Val, ArgumentError> {
        let wrong = || place.error(shape.brief(), self.quote(node));
        let mut set = vec![false; names.len()];
        for flag in node.as_flags(self.source).map_err(|_| wrong())? {
            let flag = flag.strip_prefix('%').unwrap_or(flag);
            let known = names.iter().position(|name| name == flag).ok_or_else(wrong)?;
            if std::mem::replace(&mut set[known], true) {
                return Err(place.error("each flag once", self.quote(node)));
            }
        }
        let mut given = Vec::new();
        for (name, _) in names.iter().zip(set).filter(|(_, set)| *set) {
            room.text(name, place)?;
            given.push(name.clone());
        }
        Ok(Val::Flags(given))
    }

    fn payload(
        &self,
        node: &Node,
        payload: Option<&Node>,
        shape: Option<&Shape>,
        place: &Place<'_>,
        room: &mut Room<'_>,
    ) -> Result<Option<Box<Val>>, ArgumentError> {
        match (payload, shape) {
            (Some(payload), Some(shape)) => {
                Ok(Some(Box::new(self.read(payload, shape, place, room)?)))
            }
            (None, None) => Ok(None),
            (Some(payload), None) => Err(place.error("no payload", self.quote(payload))),
            (None, Some(shape)) => {
                let got = format!("{} without its payload", self.quote(node));
                Err(place.error(shape.brief(), got))
            }
        }
    }

    /// The text of a node, shortened.
    fn quote(&self, node: &Node) -> String {
        let text = self.source.get(node.span()).unwrap_or("");
        shortened(text, QUOTE_CHARS_MAX / 2).into_owned()
    }
}

/// Whether `some(..)` or `ok(..)` around a value of this shape may be left out.
fn can_stand_alone(shape: &Shape) -> bool {
    !matches!(shape, Shape::Option(_) | Shape::Result { .. })
}
