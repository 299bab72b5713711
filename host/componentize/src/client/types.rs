//! The types of a callee's methods, as a client declares them: each named type once, other types where
//! they stand.
//!
//! Invariant: work and text are bounded by [`TYPE_NODES_MAX`], whatever the component is.

use std::collections::{HashMap, HashSet};

use wit_parser::{
    Docs, Function, FunctionKind, Resolve, Type, TypeDef, TypeDefKind, TypeId, TypeOwner,
};

use super::names::ident;

/// Types that are looked at and written. 100,000: a few lines of nested types can write out to
/// millions.
const TYPE_NODES_MAX: usize = 100_000;

/// Characters of a line in a comment. 1,000: none that is written by hand is longer.
const LINE_CHARS_MAX: usize = 1_000;

/// Why a method is not in a client, or why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// Its signature has something that callers cannot send or take.
    Has(&'static str),
    /// It is asynchronous.
    Async,
    /// The types are too many.
    TooLarge,
}

/// Declares the types that methods need.
pub(super) struct Types<'r> {
    resolve: &'r Resolve,
    /// Types that were looked at, and fit.
    fitting: HashSet<TypeId>,
    names: HashMap<TypeId, String>,
    taken: HashSet<String>,
    /// The text of the declarations.
    pub(super) declared: String,
    nodes_left: usize,
}

impl<'r> Types<'r> {
    /// None yet; `taken` are names that no type may have.
    pub(super) fn new(resolve: &'r Resolve, taken: &[&str]) -> Self {
        Self {
            resolve,
            fitting: HashSet::new(),
            names: HashMap::new(),
            taken: taken.iter().map(|name| (*name).to_owned()).collect(),
            declared: String::new(),
            nodes_left: TYPE_NODES_MAX,
        }
    }

    /// Whether callers can reach a function of this type.
    pub(super) fn check(&mut self, function: &Function) -> Result<(), Unfit> {
        match function.kind {
            FunctionKind::AsyncFreestanding
            | FunctionKind::AsyncMethod(_)
            | FunctionKind::AsyncStatic(_) => return Err(Unfit::Async),
            FunctionKind::Freestanding
            | FunctionKind::Method(_)
            | FunctionKind::Static(_)
            | FunctionKind::Constructor(_) => {}
        }
        let types = function.params.iter().map(|parameter| &parameter.ty).chain(&function.result);
        types.copied().try_for_each(|ty| self.fits(ty))
    }

    /// The signature of a method of the client, `func(by: u64) -> result<u64, call-error>`, with the
    /// declarations of what it names. The function must have passed [`Types::check`].
    pub(super) fn signature(&mut self, function: &Function, error: &str) -> Result<String, Unfit> {
        let mut list = Vec::new();
        for parameter in &function.params {
            list.push(format!("{}: {}", ident(&parameter.name), self.text(parameter.ty)?));
        }
        let result = match function.result {
            Some(result) => self.text(result)?,
            None => "_".to_owned(),
        };
        Ok(format!("func({}) -> result<{result}, {error}>", list.join(", ")))
    }

    fn fits(&mut self, ty: Type) -> Result<(), Unfit> {
        let Type::Id(id) = ty else {
            return if ty == Type::ErrorContext {
                Err(Unfit::Has("an error-context"))
            } else {
                Ok(())
            };
        };
        if self.fitting.contains(&id) {
            return Ok(());
        }
        self.nodes_left = self.nodes_left.checked_sub(1).ok_or(Unfit::TooLarge)?;
        let parts: Vec<Type> = match &self.resolve.types[id].kind {
            TypeDefKind::Resource | TypeDefKind::Handle(_) => {
                return Err(Unfit::Has("a resource handle"));
            }
            TypeDefKind::Stream(_) => return Err(Unfit::Has("a stream")),
            TypeDefKind::Future(_) => return Err(Unfit::Has("a future")),
            TypeDefKind::Map(..) => return Err(Unfit::Has("a map")),
            TypeDefKind::FixedLengthList(..) => return Err(Unfit::Has("a fixed-length list")),
            TypeDefKind::Unknown => return Err(Unfit::Has("an unknown type")),
            TypeDefKind::Record(record) => record.fields.iter().map(|field| field.ty).collect(),
            TypeDefKind::Tuple(tuple) => tuple.types.clone(),
            TypeDefKind::Variant(variant) => {
                variant.cases.iter().filter_map(|case| case.ty).collect()
            }
            TypeDefKind::Option(ty) | TypeDefKind::List(ty) | TypeDefKind::Type(ty) => vec![*ty],
            TypeDefKind::Result(result) => result.ok.into_iter().chain(result.err).collect(),
            TypeDefKind::Flags(_) | TypeDefKind::Enum(_) => Vec::new(),
        };
        parts.into_iter().try_for_each(|ty| self.fits(ty))?;
        self.fitting.insert(id);
        Ok(())
    }

    /// A type where it stands: its name, or its text if it has none.
    fn text(&mut self, ty: Type) -> Result<String, Unfit> {
        self.nodes_left = self.nodes_left.checked_sub(1).ok_or(Unfit::TooLarge)?;
        let word = match ty {
            Type::Bool => "bool",
            Type::U8 => "u8",
            Type::U16 => "u16",
            Type::U32 => "u32",
            Type::U64 => "u64",
            Type::S8 => "s8",
            Type::S16 => "s16",
            Type::S32 => "s32",
            Type::S64 => "s64",
            Type::F32 => "f32",
            Type::F64 => "f64",
            Type::Char => "char",
            Type::String => "string",
            Type::ErrorContext => return Err(Unfit::Has("an error-context")),
            Type::Id(id) => return self.text_of(id),
        };
        Ok(word.to_owned())
    }

    fn text_of(&mut self, id: TypeId) -> Result<String, Unfit> {
        let id = self.original(id);
        if let Some(name) = self.names.get(&id) {
            return Ok(ident(name));
        }
        let resolve = self.resolve;
        let definition = &resolve.types[id];
        match &definition.name {
            Some(name) => self.declare(id, definition, name),
            None => self.inline(&definition.kind),
        }
    }

    /// The type behind names that are the same: another interface uses it.
    fn original(&self, id: TypeId) -> TypeId {
        let mut at = id;
        while let TypeDefKind::Type(Type::Id(next)) = self.resolve.types[at].kind
            && self.resolve.types[next].name == self.resolve.types[at].name
        {
            at = next;
        }
        at
    }

    fn inline(&mut self, kind: &TypeDefKind) -> Result<String, Unfit> {
        Ok(match kind {
            TypeDefKind::List(ty) => format!("list<{}>", self.text(*ty)?),
            TypeDefKind::Option(ty) => format!("option<{}>", self.text(*ty)?),
            TypeDefKind::Type(ty) => self.text(*ty)?,
            TypeDefKind::Tuple(tuple) => {
                let mut parts = Vec::new();
                for ty in &tuple.types {
                    parts.push(self.text(*ty)?);
                }
                format!("tuple<{}>", parts.join(", "))
            }
            TypeDefKind::Result(result) => match (result.ok, result.err) {
                (None, None) => "result".to_owned(),
                (Some(ok), None) => format!("result<{}>", self.text(ok)?),
                (None, Some(err)) => format!("result<_, {}>", self.text(err)?),
                (Some(ok), Some(err)) => {
                    format!("result<{}, {}>", self.text(ok)?, self.text(err)?)
                }
            },
            // These have names, or do not fit.
            TypeDefKind::Record(_)
            | TypeDefKind::Variant(_)
            | TypeDefKind::Enum(_)
            | TypeDefKind::Flags(_)
            | TypeDefKind::Resource
            | TypeDefKind::Handle(_)
            | TypeDefKind::Map(..)
            | TypeDefKind::FixedLengthList(..)
            | TypeDefKind::Future(_)
            | TypeDefKind::Stream(_)
            | TypeDefKind::Unknown => return Err(Unfit::Has("a type without a name")),
        })
    }

    /// Declares a type that has a name, after those that it consists of. Returns its name here.
    fn declare(&mut self, id: TypeId, definition: &TypeDef, name: &str) -> Result<String, Unfit> {
        let mut lines = Vec::new();
        let word = match &definition.kind {
            TypeDefKind::Record(record) => {
                for field in &record.fields {
                    let line = format!("{}: {},", ident(&field.name), self.text(field.ty)?);
                    lines.push((&field.docs, line));
                }
                "record"
            }
            TypeDefKind::Variant(variant) => {
                for case in &variant.cases {
                    let payload = case.ty.map(|ty| self.text(ty)).transpose()?;
                    let payload = payload.map(|ty| format!("({ty})")).unwrap_or_default();
                    lines.push((&case.docs, format!("{}{payload},", ident(&case.name))));
                }
                "variant"
            }
            TypeDefKind::Enum(cases) => {
                let cases = cases.cases.iter();
                lines.extend(cases.map(|case| (&case.docs, format!("{},", ident(&case.name)))));
                "enum"
            }
            TypeDefKind::Flags(flags) => {
                let flags = flags.flags.iter();
                lines.extend(flags.map(|flag| (&flag.docs, format!("{},", ident(&flag.name)))));
                "flags"
            }
            other => {
                let text = self.inline(other)?;
                let name = self.own_name(id, definition, name);
                self.declared.push_str(&docs(&definition.docs, "  "));
                self.declared.push_str(&format!("  type {name} = {text};\n\n"));
                return Ok(name);
            }
        };
        let name = self.own_name(id, definition, name);
        self.declared.push_str(&docs(&definition.docs, "  "));
        self.declared.push_str(&format!("  {word} {name} {{\n"));
        for (line_docs, line) in lines {
            self.declared.push_str(&format!("{}    {line}\n", docs(line_docs, "    ")));
        }
        self.declared.push_str("  }\n\n");
        Ok(name)
    }

    /// A name that no other type has here, as WIT text.
    fn own_name(&mut self, id: TypeId, definition: &TypeDef, name: &str) -> String {
        let mut own = name.to_owned();
        if self.taken.contains(&own)
            && let TypeOwner::Interface(interface) = definition.owner
            && let Some(interface) = &self.resolve.interfaces[interface].name
        {
            own = format!("{interface}-{name}");
        }
        while self.taken.contains(&own) {
            own.push_str("-too");
        }
        self.taken.insert(own.clone());
        let text = ident(&own);
        self.names.insert(id, own);
        text
    }
}

/// A text of the component in one line of a comment.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LINE_CHARS_MAX).collect()
}

/// Documentation as lines of WIT.
pub(super) fn docs(docs: &Docs, indent: &str) -> String {
    let lines = docs.contents.as_deref().unwrap_or("").trim_end().lines();
    let line = |line| format!("{indent}/// {}", printable(line)).trim_end().to_owned() + "\n";
    lines.map(line).collect()
}
