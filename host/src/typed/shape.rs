//! The type of a parameter or result, read once from the component and kept as a plain tree.
//!
//! A shape is finite and counted ([`ShapeRoom`]), has only types that JSON and WAVE can carry, and
//! prints as WIT text. Everything else of the typed layer looks at shapes, not at the engine.

use std::fmt;

use wasmtime::component::Type;

use crate::typed::bounds::{QUOTE_CHARS_MAX, TYPE_NAME_BYTES_MAX, TYPE_NODES_MAX};

/// A WIT type without handles.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are WIT's")]
pub enum Shape {
    Bool,
    S8,
    U8,
    S16,
    U16,
    S32,
    U32,
    S64,
    U64,
    F32,
    F64,
    Char,
    String,
    List(Box<Shape>),
    Record(Vec<Field>),
    Tuple(Vec<Shape>),
    Variant(Vec<Case>),
    Enum(Vec<String>),
    Option(Box<Shape>),
    Result { ok: Option<Box<Shape>>, err: Option<Box<Shape>> },
    Flags(Vec<String>),
}

/// A field of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name, as in WIT.
    pub name: String,
    /// Its type.
    pub shape: Shape,
}

/// A case of a variant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Its name, as in WIT.
    pub name: String,
    /// Its payload, if it has one.
    pub payload: Option<Shape>,
}

/// Why a type cannot be the type of a method's parameter or result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsupported {
    /// Handles of the guest's own resources mean nothing to a caller outside.
    #[error("its signature has a resource handle")]
    Resource,
    /// A stream needs both sides to be running.
    #[error("its signature has a stream")]
    Stream,
    /// A future needs both sides to be running.
    #[error("its signature has a future")]
    Future,
    /// An error context is bound to the instance.
    #[error("its signature has an error-context")]
    ErrorContext,
    /// Maps are not part of the component model's first release.
    #[error("its signature has a map")]
    Map,
    /// Fixed-length lists are not part of the component model's first release.
    #[error("its signature has a fixed-length list")]
    FixedLengthList,
    /// The function is declared `async`, which this host does not run.
    #[error("it is an async function")]
    Async,
    /// The function is exported by itself, or in an interface without a package: a leftover of a
    /// toolchain, unless the kind's manifest says otherwise.
    #[error("it belongs to no package; a manifest can name it (`methods`)")]
    NoPackage,
    /// The types of the component, written out, pass a bound.
    #[error(
        "the component's types are too large: at most {nodes_max} parts with {name_bytes_max} \
             bytes of names are described"
    )]
    TooLarge {
        /// Most nodes of all types together.
        nodes_max: usize,
        /// Most bytes of names in them.
        name_bytes_max: usize,
    },
}

/// What the types of one component may still use.
#[derive(Debug)]
pub(crate) struct ShapeRoom {
    nodes: usize,
    name_bytes: usize,
}

impl ShapeRoom {
    /// Room for all types of one component.
    pub(crate) fn new() -> Self {
        Self { nodes: TYPE_NODES_MAX, name_bytes: TYPE_NAME_BYTES_MAX }
    }

    /// Takes a node out of the room.
    fn node(&mut self) -> Result<(), Unsupported> {
        self.nodes = self.nodes.checked_sub(1).ok_or(Unsupported::too_large())?;
        Ok(())
    }

    /// A copy of `name`, taken out of the room.
    pub(crate) fn name(&mut self, name: &str) -> Result<String, Unsupported> {
        self.node()?;
        let left = self.name_bytes.checked_sub(name.len());
        self.name_bytes = left.ok_or(Unsupported::too_large())?;
        Ok(name.to_owned())
    }
}

impl Unsupported {
    fn too_large() -> Self {
        Self::TooLarge { nodes_max: TYPE_NODES_MAX, name_bytes_max: TYPE_NAME_BYTES_MAX }
    }
}

impl Shape {
    /// The shape of a type of the engine. Types nest at most 100 deep, which the engine's
    /// validation holds, so the recursion is bounded.
    pub(crate) fn of(ty: &Type, room: &mut ShapeRoom) -> Result<Self, Unsupported> {
        room.node()?;
        Ok(match ty {
            Type::Bool => Self::Bool,
            Type::S8 => Self::S8,
            Type::U8 => Self::U8,
            Type::S16 => Self::S16,
            Type::U16 => Self::U16,
            Type::S32 => Self::S32,
            Type::U32 => Self::U32,
            Type::S64 => Self::S64,
            Type::U64 => Self::U64,
            Type::Float32 => Self::F32,
            Type::Float64 => Self::F64,
            Type::Char => Self::Char,
            Type::String => Self::String,
            Type::List(list) => Self::List(Box::new(Self::of(&list.ty(), room)?)),
            Type::Record(record) => Self::Record(
                record
                    .fields()
                    .map(|field| {
                        let name = room.name(field.name)?;
                        Ok(Field { name, shape: Self::of(&field.ty, room)? })
                    })
                    .collect::<Result<_, _>>()?,
            ),
            Type::Tuple(tuple) => {
                Self::Tuple(tuple.types().map(|ty| Self::of(&ty, room)).collect::<Result<_, _>>()?)
            }
            Type::Variant(variant) => Self::Variant(
                variant
                    .cases()
                    .map(|case| {
                        let name = room.name(case.name)?;
                        Ok(Case { name, payload: Self::payload(case.ty, room)?.map(|b| *b) })
                    })
                    .collect::<Result<_, _>>()?,
            ),
            Type::Enum(names) => {
                Self::Enum(names.names().map(|name| room.name(name)).collect::<Result<_, _>>()?)
            }
            Type::Option(option) => Self::Option(Box::new(Self::of(&option.ty(), room)?)),
            Type::Result(result) => Self::Result {
                ok: Self::payload(result.ok(), room)?,
                err: Self::payload(result.err(), room)?,
            },
            Type::Flags(flags) => {
                Self::Flags(flags.names().map(|name| room.name(name)).collect::<Result<_, _>>()?)
            }
            Type::Own(_) | Type::Borrow(_) => return Err(Unsupported::Resource),
            Type::Stream(_) => return Err(Unsupported::Stream),
            Type::Future(_) => return Err(Unsupported::Future),
            Type::ErrorContext => return Err(Unsupported::ErrorContext),
            Type::Map(_) => return Err(Unsupported::Map),
            Type::FixedLengthList(_) => return Err(Unsupported::FixedLengthList),
        })
    }

    fn payload(ty: Option<Type>, room: &mut ShapeRoom) -> Result<Option<Box<Self>>, Unsupported> {
        ty.map(|ty| Self::of(&ty, room).map(Box::new)).transpose()
    }

    /// Whether this is `list<u8>`, which JSON carries as base64.
    #[must_use]
    pub fn is_bytes(&self) -> bool {
        matches!(self, Self::List(element) if **element == Self::U8)
    }

    /// The WIT text, shortened to what fits in an error.
    #[must_use]
    pub fn brief(&self) -> String {
        let mut text = Brief { text: String::new(), chars_left: QUOTE_CHARS_MAX };
        // Ends early, with an error of the writer, once the text is full.
        let full = fmt::write(&mut text, format_args!("{self}")).is_err();
        if full { text.text + "..." } else { text.text }
    }
}

/// WIT text, with types written out where they stand: `list<record { a: u32, b: string }>`.
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("bool"),
            Self::S8 => f.write_str("s8"),
            Self::U8 => f.write_str("u8"),
            Self::S16 => f.write_str("s16"),
            Self::U16 => f.write_str("u16"),
            Self::S32 => f.write_str("s32"),
            Self::U32 => f.write_str("u32"),
            Self::S64 => f.write_str("s64"),
            Self::U64 => f.write_str("u64"),
            Self::F32 => f.write_str("f32"),
            Self::F64 => f.write_str("f64"),
            Self::Char => f.write_str("char"),
            Self::String => f.write_str("string"),
            Self::List(element) => write!(f, "list<{element}>"),
            Self::Record(fields) => {
                f.write_str("record { ")?;
                separated(f, fields, |f, field| write!(f, "{}: {}", field.name, field.shape))?;
                f.write_str(" }")
            }
            Self::Tuple(parts) => {
                f.write_str("tuple<")?;
                separated(f, parts, |f, part| part.fmt(f))?;
                f.write_str(">")
            }
            Self::Variant(cases) => {
                f.write_str("variant { ")?;
                separated(f, cases, |f, case| match &case.payload {
                    Some(payload) => write!(f, "{}({payload})", case.name),
                    None => f.write_str(&case.name),
                })?;
                f.write_str(" }")
            }
            Self::Enum(names) => {
                f.write_str("enum { ")?;
                separated(f, names, |f, name| f.write_str(name))?;
                f.write_str(" }")
            }
            Self::Flags(names) => {
                f.write_str("flags { ")?;
                separated(f, names, |f, name| f.write_str(name))?;
                f.write_str(" }")
            }
            Self::Option(inner) => write!(f, "option<{inner}>"),
            Self::Result { ok: Some(ok), err: Some(err) } => write!(f, "result<{ok}, {err}>"),
            Self::Result { ok: Some(ok), err: None } => write!(f, "result<{ok}>"),
            Self::Result { ok: None, err: Some(err) } => write!(f, "result<_, {err}>"),
            Self::Result { ok: None, err: None } => f.write_str("result"),
        }
    }
}

fn separated<T>(
    f: &mut fmt::Formatter<'_>,
    items: &[T],
    write: impl Fn(&mut fmt::Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        write(f, item)?;
    }
    Ok(())
}

/// Takes text until it is full, so that a huge type costs no more than what is shown.
struct Brief {
    text: String,
    chars_left: usize,
}

impl fmt::Write for Brief {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        for c in part.chars() {
            self.chars_left = self.chars_left.checked_sub(1).ok_or(fmt::Error)?;
            self.text.push(c);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(shape: Shape, text: &str) {
        assert_eq!(shape.to_string(), text);
        assert_eq!(shape.brief(), text);
    }

    #[test]
    fn shapes_print_as_wit() {
        let field = |name: &str, shape| Field { name: name.into(), shape };
        let case = |name: &str, payload| Case { name: name.into(), payload };
        check(Shape::List(Box::new(Shape::U8)), "list<u8>");
        check(
            Shape::Record(vec![field("a", Shape::F32), field("b-c", Shape::Char)]),
            "record { a: f32, b-c: char }",
        );
        check(
            Shape::Variant(vec![case("none", None), case("one", Some(Shape::S64))]),
            "variant { none, one(s64) }",
        );
        check(Shape::Tuple(vec![Shape::Bool, Shape::String]), "tuple<bool, string>");
        check(Shape::Flags(vec!["r".into(), "w".into()]), "flags { r, w }");
        check(
            Shape::Result { ok: None, err: Some(Box::new(Shape::Enum(vec!["x".into()]))) },
            "result<_, enum { x }>",
        );
        check(Shape::Result { ok: Some(Box::new(Shape::U64)), err: None }, "result<u64>");
        check(Shape::Result { ok: None, err: None }, "result");
    }

    #[test]
    fn a_long_shape_is_cut_in_errors() {
        let names = (0..1_000).map(|n| format!("case-{n}")).collect();
        let brief = Shape::Enum(names).brief();
        assert!(brief.starts_with("enum { case-0, "));
        assert!(brief.ends_with("..."));
        assert!(brief.chars().count() <= QUOTE_CHARS_MAX + 3);
    }
}
