//! Components and random values for the tests of the typed layer.

use wasmtime::component::{Component, Val};

use crate::typed::shape::{Case, Field, Shape};

/// The component in this text.
pub(crate) fn component(text: &str) -> Component {
    let engine = wasmtime::Engine::default();
    let bytes = wat::parse_str(text).expect("the text is a component");
    Component::new(&engine, bytes).expect("the component is valid")
}

/// A component whose one function returns the list it is given, of records with every type.
pub(crate) const ECHO: &str = include_str!("echo.wat");

/// Deterministic random numbers: xorshift.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: u64) -> u64 {
        self.roll() % n
    }

    fn count(&mut self, n: u64) -> usize {
        usize::try_from(self.below(n)).expect("small")
    }

    /// A shape of at most this depth.
    pub(crate) fn shape(&mut self, depth: u32) -> Shape {
        let kinds = if depth == 0 { 13 } else { 21 };
        match self.below(kinds) {
            0 => Shape::Bool,
            1 => Shape::S8,
            2 => Shape::U8,
            3 => Shape::S16,
            4 => Shape::U16,
            5 => Shape::S32,
            6 => Shape::U32,
            7 => Shape::S64,
            8 => Shape::U64,
            9 => Shape::F32,
            10 => Shape::F64,
            11 => Shape::Char,
            12 => Shape::String,
            13 => Shape::List(Box::new(self.shape(depth - 1))),
            14 => {
                let names = self.names();
                let field = |name| Field { name, shape: self.shape(depth - 1) };
                Shape::Record(names.into_iter().map(field).collect())
            }
            15 => Shape::Tuple((0..=self.count(3)).map(|_| self.shape(depth - 1)).collect()),
            16 => {
                let names = self.names();
                let case = |name| Case { name, payload: self.side(depth).map(|shape| *shape) };
                Shape::Variant(names.into_iter().map(case).collect())
            }
            17 => Shape::Enum(self.names()),
            18 => Shape::Option(Box::new(self.shape(depth - 1))),
            19 => Shape::Result { ok: self.side(depth), err: self.side(depth) },
            _ => Shape::Flags(self.names()),
        }
    }

    /// A value of this shape, extremes more often than chance has them.
    pub(crate) fn value(&mut self, shape: &Shape) -> Val {
        #[allow(clippy::cast_possible_truncation, reason = "random bits")]
        #[allow(clippy::cast_possible_wrap, reason = "random bits")]
        match shape {
            Shape::Bool => Val::Bool(self.below(2) == 0),
            Shape::S8 => Val::S8(self.bits() as i8),
            Shape::U8 => Val::U8(self.bits() as u8),
            Shape::S16 => Val::S16(self.bits() as i16),
            Shape::U16 => Val::U16(self.bits() as u16),
            Shape::S32 => Val::S32(self.bits() as i32),
            Shape::U32 => Val::U32(self.bits() as u32),
            Shape::S64 => Val::S64(self.bits() as i64),
            Shape::U64 => Val::U64(self.bits()),
            Shape::F32 => Val::Float32(f32::from_bits(self.bits() as u32)),
            Shape::F64 => Val::Float64(f64::from_bits(self.bits())),
            Shape::Char => Val::Char(self.char()),
            Shape::String => Val::String((0..self.count(6)).map(|_| self.char()).collect()),
            Shape::List(element) => {
                Val::List((0..self.count(5)).map(|_| self.value(element)).collect())
            }
            Shape::Record(fields) => {
                Val::Record(fields.iter().map(|f| (f.name.clone(), self.value(&f.shape))).collect())
            }
            Shape::Tuple(parts) => Val::Tuple(parts.iter().map(|p| self.value(p)).collect()),
            Shape::Variant(cases) => {
                let case = &cases[self.count(cases.len() as u64)];
                let payload = case.payload.as_ref().map(|shape| Box::new(self.value(shape)));
                Val::Variant(case.name.clone(), payload)
            }
            Shape::Enum(names) => Val::Enum(names[self.count(names.len() as u64)].clone()),
            Shape::Option(inner) => {
                Val::Option((self.below(3) > 0).then(|| Box::new(self.value(inner))))
            }
            Shape::Result { ok, err } => {
                let good = self.below(2) == 0;
                let side = if good { ok } else { err };
                let value = side.as_ref().map(|shape| Box::new(self.value(shape)));
                Val::Result(if good { Ok(value) } else { Err(value) })
            }
            Shape::Flags(names) => {
                let names = names.iter().filter(|_| self.below(2) == 0);
                Val::Flags(names.cloned().collect::<Vec<_>>())
            }
        }
    }

    fn side(&mut self, depth: u32) -> Option<Box<Shape>> {
        (self.below(3) > 0).then(|| Box::new(self.shape(depth - 1)))
    }

    /// Names of fields or cases; some are WAVE's own words.
    fn names(&mut self) -> Vec<String> {
        let all = ["a", "some", "ok", "long-name", "true", "inf"];
        let first = self.count(3);
        all[first..=first + self.count(3)].iter().map(|name| (*name).to_owned()).collect()
    }

    fn bits(&mut self) -> u64 {
        match self.below(8) {
            0 => 0,
            1 => u64::MAX,
            2 => 1 << 63,
            3 => (1 << 63) - 1,
            4 => (1 << 53) + self.below(3) - 1,
            5 => self.below(10),
            _ => self.roll(),
        }
    }

    fn char(&mut self) -> char {
        match self.below(4) {
            0 => char::from_u32(u32::try_from(self.below(0x80)).expect("small")).expect("ASCII"),
            1 => ['"', '\'', '\\', '\0', '\n', '\u{FFFF}', '\u{10FFFF}', '{'][self.count(8)],
            _ => {
                let code = u32::try_from(self.below(0x11_0000)).expect("small");
                char::from_u32(code).unwrap_or('ß')
            }
        }
    }
}
