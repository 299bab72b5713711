//! SQL functions of the host, under SQLite's names and with SQLite's answers.
//!
//! `instr`, `replace`, `unhex`, the trims, LIKE and GLOB replace SQLite's, whose loops take
//! quadratic time in C code that no progress handler can interrupt. The math functions are SQLite's
//! optional ones, which a plain build leaves out.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use memchr::memmem;
use rusqlite::Connection;

use super::pattern::{Text, glob, like};
use stockade_sqlite::{Answer, Arguments, Code, Function, Kind};

/// Registers all functions.
pub(crate) fn register(connection: &Connection) -> Result<(), Code> {
    FUNCTIONS.iter().try_for_each(|function| function.register(connection))?;
    COUNTERS.iter().try_for_each(|function| function.register_volatile(connection))
}

/// Functions that count over the life of a connection, which outlives a call.
static COUNTERS: [Function; 2] = [
    Function { name: c"changes", arity: 0, call: |a| Answer::Integer(a.changes().0) },
    Function { name: c"total_changes", arity: 0, call: |a| Answer::Integer(a.changes().1) },
];

static FUNCTIONS: [Function; 43] = [
    Function { name: c"glob", arity: 2, call: glob },
    Function { name: c"like", arity: 2, call: like },
    Function { name: c"like", arity: 3, call: like },
    Function { name: c"instr", arity: 2, call: instr },
    Function { name: c"replace", arity: 3, call: replace },
    Function { name: c"trim", arity: 1, call: |a| trim(a, Ends::Both) },
    Function { name: c"trim", arity: 2, call: |a| trim(a, Ends::Both) },
    Function { name: c"ltrim", arity: 1, call: |a| trim(a, Ends::Left) },
    Function { name: c"ltrim", arity: 2, call: |a| trim(a, Ends::Left) },
    Function { name: c"rtrim", arity: 1, call: |a| trim(a, Ends::Right) },
    Function { name: c"rtrim", arity: 2, call: |a| trim(a, Ends::Right) },
    Function { name: c"unhex", arity: 1, call: unhex },
    Function { name: c"unhex", arity: 2, call: unhex },
    Function { name: c"acos", arity: 1, call: |a| math(a, f64::acos) },
    Function { name: c"acosh", arity: 1, call: |a| math(a, f64::acosh) },
    Function { name: c"asin", arity: 1, call: |a| math(a, f64::asin) },
    Function { name: c"asinh", arity: 1, call: |a| math(a, f64::asinh) },
    Function { name: c"atan", arity: 1, call: |a| math(a, f64::atan) },
    Function { name: c"atan2", arity: 2, call: |a| math2(a, f64::atan2) },
    Function { name: c"atanh", arity: 1, call: |a| math(a, f64::atanh) },
    Function { name: c"ceil", arity: 1, call: |a| rounding(a, f64::ceil) },
    Function { name: c"ceiling", arity: 1, call: |a| rounding(a, f64::ceil) },
    Function { name: c"cos", arity: 1, call: |a| math(a, f64::cos) },
    Function { name: c"cosh", arity: 1, call: |a| math(a, f64::cosh) },
    Function { name: c"degrees", arity: 1, call: |a| math(a, |x| x * DEGREES_PER_RADIAN) },
    Function { name: c"exp", arity: 1, call: |a| math(a, f64::exp) },
    Function { name: c"floor", arity: 1, call: |a| rounding(a, f64::floor) },
    Function { name: c"ln", arity: 1, call: |a| logarithm(a, f64::ln) },
    Function { name: c"log", arity: 1, call: |a| logarithm(a, f64::log10) },
    Function { name: c"log", arity: 2, call: logarithm_to_base },
    Function { name: c"log10", arity: 1, call: |a| logarithm(a, f64::log10) },
    Function { name: c"log2", arity: 1, call: |a| logarithm(a, f64::log2) },
    Function { name: c"mod", arity: 2, call: |a| math2(a, |x, y| x % y) },
    Function { name: c"pi", arity: 0, call: |_| Answer::Real(std::f64::consts::PI) },
    Function { name: c"pow", arity: 2, call: |a| math2(a, f64::powf) },
    Function { name: c"power", arity: 2, call: |a| math2(a, f64::powf) },
    Function { name: c"radians", arity: 1, call: |a| math(a, |x| x * RADIANS_PER_DEGREE) },
    Function { name: c"sin", arity: 1, call: |a| math(a, f64::sin) },
    Function { name: c"sinh", arity: 1, call: |a| math(a, f64::sinh) },
    Function { name: c"sqrt", arity: 1, call: |a| math(a, f64::sqrt) },
    Function { name: c"tan", arity: 1, call: |a| math(a, f64::tan) },
    Function { name: c"tanh", arity: 1, call: |a| math(a, f64::tanh) },
    Function { name: c"trunc", arity: 1, call: |a| rounding(a, f64::trunc) },
];

const DEGREES_PER_RADIAN: f64 = 180.0 / std::f64::consts::PI;
const RADIANS_PER_DEGREE: f64 = std::f64::consts::PI / 180.0;

/// Where the needle first begins in the haystack, from 1: in characters, or in bytes if both are
/// blobs. 0 if it does not occur.
fn instr<'a>(arguments: &Arguments<'a>) -> Answer<'a> {
    let (left, right) = (arguments.kind(0), arguments.kind(1));
    if left == Kind::Null || right == Kind::Null {
        return Answer::Null;
    }
    let is_text = !(left == Kind::Blob && right == Kind::Blob);
    let [haystack, needle] = [0, 1].map(|index| arguments.bytes(index).unwrap_or_default());
    Answer::Integer(position(haystack, needle, is_text))
}

/// SQLite looks for the needle at the start and at each byte that begins a character.
fn position(haystack: &[u8], needle: &[u8], is_text: bool) -> i64 {
    let Some(&first) = needle.first() else { return 1 };
    if is_text && is_continuation(first) {
        return i64::from(haystack.starts_with(needle));
    }
    let Some(at) = memmem::find(haystack, needle) else { return 0 };
    let before = if is_text {
        haystack[1..].iter().take(at).filter(|byte| !is_continuation(**byte)).count()
    } else {
        at
    };
    i64::try_from(before + 1).unwrap_or(i64::MAX)
}

fn is_continuation(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}

/// Every occurrence of the second argument in the first, from the left, becomes the third.
fn replace<'a>(arguments: &Arguments<'a>) -> Answer<'a> {
    let (Some(text), Some(pattern)) = (arguments.bytes(0), arguments.bytes(1)) else {
        return Answer::Null;
    };
    // SQLite takes a pattern that begins with U+0000 for an empty one, before it reads the third
    // argument.
    if pattern.first().is_none_or(|first| *first == 0) {
        return Answer::Text(Cow::Borrowed(text));
    }
    let Some(by) = arguments.bytes(2) else { return Answer::Null };
    let length_max = arguments.length_max();
    let mut out = Vec::with_capacity(text.len());
    let mut from = 0;
    for at in memmem::find_iter(text, pattern) {
        out.extend_from_slice(&text[from..at]);
        out.extend_from_slice(by);
        from = at + pattern.len();
        if out.len() > length_max {
            return Answer::TooBig;
        }
    }
    out.extend_from_slice(&text[from..]);
    if out.len() > length_max { Answer::TooBig } else { Answer::Text(Cow::Owned(out)) }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ends {
    Left,
    Right,
    Both,
}

fn trim<'a>(arguments: &Arguments<'a>, ends: Ends) -> Answer<'a> {
    let Some(text) = arguments.bytes(0) else { return Answer::Null };
    let characters = if arguments.count() == 1 {
        b" "
    } else {
        match arguments.bytes(1) {
            Some(characters) => characters,
            None => return Answer::Null,
        }
    };
    match Characters::new(characters) {
        Some(characters) => Answer::Text(Cow::Borrowed(characters.trim(text, ends))),
        None => Answer::Wrong("the characters to trim are not UTF-8"),
    }
}

/// The set of characters of a trim, in the order given.
enum Characters<'a> {
    /// Few: compared one by one, as SQLite does.
    Few(Vec<&'a [u8]>),
    /// Many: by their bytes, with their place in the order.
    Many(HashMap<&'a [u8], usize>),
}

/// More characters than this are looked up by hash.
const FEW: usize = 16;
/// Bytes of the longest character of UTF-8.
const CHARACTER_BYTES_MAX: usize = 4;

impl<'a> Characters<'a> {
    /// Splits as SQLite does: a byte from 0xc0 on takes the continuation bytes behind it along, any
    /// other byte stands alone, U+0000 ends the set. `None` if a character has more bytes than
    /// UTF-8 allows: only broken text does, and bounding them keeps a trim linear.
    fn new(set: &'a [u8]) -> Option<Self> {
        let set = &set[..memchr::memchr(0, set).unwrap_or(set.len())];
        let mut all = Vec::new();
        let mut rest = set;
        while let Some((&first, behind)) = rest.split_first() {
            let more = if first >= 0xc0 {
                behind.iter().take_while(|byte| is_continuation(**byte)).count()
            } else {
                0
            };
            let (character, tail) = rest.split_at(1 + more);
            if character.len() > CHARACTER_BYTES_MAX {
                return None;
            }
            all.push(character);
            rest = tail;
        }
        if all.len() <= FEW {
            return Some(Self::Few(all));
        }
        let mut many = HashMap::with_capacity(all.len());
        for (place, character) in all.into_iter().enumerate() {
            many.entry(character).or_insert(place);
        }
        Some(Self::Many(many))
    }

    fn trim<'t>(&self, mut text: &'t [u8], ends: Ends) -> &'t [u8] {
        if ends != Ends::Right {
            while let Some(length) = self.first(|length| text.get(..length)) {
                text = &text[length..];
            }
        }
        if ends != Ends::Left {
            while let Some(length) =
                self.first(|length| text.len().checked_sub(length).map(|from| &text[from..]))
            {
                text = &text[..text.len() - length];
            }
        }
        text
    }

    /// Length of the first character of the set that `part(its length)` is.
    fn first<'t>(&self, part: impl Fn(usize) -> Option<&'t [u8]>) -> Option<usize> {
        match self {
            Self::Few(all) => all
                .iter()
                .find(|character| part(character.len()).is_some_and(|part| part == **character))
                .map(|character| character.len()),
            Self::Many(all) => (1..=CHARACTER_BYTES_MAX)
                .filter_map(|length| Some((*all.get(part(length)?)?, length)))
                .min()
                .map(|(_, length)| length),
        }
    }
}

/// The bytes that hexadecimal digits spell, in pairs; between pairs stand any characters of the
/// second argument. NULL if there is anything else.
fn unhex<'a>(arguments: &Arguments<'a>) -> Answer<'a> {
    let Some(text) = arguments.bytes(0) else { return Answer::Null };
    let mut passed = Passed::default();
    if arguments.count() == 2 {
        let Some(characters) = arguments.bytes(1) else { return Answer::Null };
        passed.add(characters);
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut out = Vec::with_capacity(text.len() / 2);
    let mut text = Text(text);
    // U+0000 ends the text, as its end does.
    while text.peek() != 0 {
        let Some(high) = digit(text.peek()) else {
            if passed.has(text.next()) {
                continue;
            }
            return Answer::Null;
        };
        text.next();
        let Some(low) = digit(text.peek()) else { return Answer::Null };
        text.next();
        out.push((high << 4) | low);
    }
    Answer::Blob(out)
}

/// A set of characters, as SQLite reads them. Building the set and looking a character up take the
/// same time for all contents.
#[derive(Default)]
struct Passed {
    /// A bit for each character of Unicode.
    bits: Vec<u64>,
    /// Numbers beyond Unicode that broken text decodes to.
    others: HashSet<u32>,
}

impl Passed {
    fn place(character: u32) -> Option<(usize, u64)> {
        let word = usize::try_from(character / u64::BITS).ok()?;
        (character <= u32::from(char::MAX)).then_some((word, 1 << (character % u64::BITS)))
    }

    /// U+0000 is a character here.
    fn add(&mut self, characters: &[u8]) {
        let mut rest = Text(characters);
        while !rest.0.is_empty() {
            let character = rest.next();
            let Some((word, bit)) = Self::place(character) else {
                self.others.insert(character);
                continue;
            };
            if self.bits.len() <= word {
                self.bits.resize(word + 1, 0);
            }
            self.bits[word] |= bit;
        }
    }

    fn has(&self, character: u32) -> bool {
        match Self::place(character) {
            Some((word, bit)) => self.bits.get(word).is_some_and(|bits| bits & bit != 0),
            None => self.others.contains(&character),
        }
    }
}

fn number(arguments: &Arguments<'_>, index: usize) -> Option<f64> {
    match arguments.numeric_kind(index) {
        Kind::Integer | Kind::Real => Some(arguments.real(index)),
        Kind::Null | Kind::Text | Kind::Blob => None,
    }
}

/// NaN becomes NULL in SQLite itself.
fn math<'a>(arguments: &Arguments<'a>, function: fn(f64) -> f64) -> Answer<'a> {
    number(arguments, 0).map_or(Answer::Null, |x| Answer::Real(function(x)))
}

fn math2<'a>(arguments: &Arguments<'a>, function: fn(f64, f64) -> f64) -> Answer<'a> {
    match (number(arguments, 0), number(arguments, 1)) {
        (Some(x), Some(y)) => Answer::Real(function(x, y)),
        _ => Answer::Null,
    }
}

/// Integers stay integers.
fn rounding<'a>(arguments: &Arguments<'a>, function: fn(f64) -> f64) -> Answer<'a> {
    match arguments.numeric_kind(0) {
        Kind::Integer => Answer::Integer(arguments.integer(0)),
        Kind::Real => Answer::Real(function(arguments.real(0))),
        Kind::Null | Kind::Text | Kind::Blob => Answer::Null,
    }
}

fn logarithm<'a>(arguments: &Arguments<'a>, function: fn(f64) -> f64) -> Answer<'a> {
    match number(arguments, 0) {
        Some(x) if x > 0.0 => Answer::Real(function(x)),
        _ => Answer::Null,
    }
}

/// `log(base, x)`. As in SQLite, the base must be above 1 and the second argument may be text.
fn logarithm_to_base<'a>(arguments: &Arguments<'a>) -> Answer<'a> {
    let Some(base) = number(arguments, 0).filter(|base| *base > 0.0).map(f64::ln) else {
        return Answer::Null;
    };
    let x = arguments.real(1);
    if base > 0.0 && x > 0.0 { Answer::Real(x.ln() / base) } else { Answer::Null }
}
