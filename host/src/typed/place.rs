//! Where in the arguments a value stands, and the error that names the place.

use std::borrow::Cow;
use std::mem::size_of;

use crate::typed::bounds::{QUOTE_CHARS_MAX, VALUE_BYTES, VALUE_BYTES_MAX};

/// An argument does not fit its parameter. The guest did not run.
///
/// Retrying the same call cannot help: the caller has to change the argument. All texts are for
/// people, bounded, and may quote what the caller sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgumentError {
    /// Where: `records[3].age`. It starts with the parameter's name; empty means the arguments
    /// as a whole.
    pub path: String,
    /// What fits there: a WIT type, or a sentence.
    pub expected: String,
    /// The value that was sent.
    pub got: String,
    /// The text itself is at fault: it is not JSON, or an object has a name twice.
    pub malformed: bool,
}

impl std::fmt::Display for ArgumentError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.malformed {
            return write!(f, "not JSON: {}", self.got);
        }
        let path = if self.path.is_empty() { "arguments" } else { &self.path };
        write!(f, "{path}: expected {}, got {}", self.expected, self.got)
    }
}

impl std::error::Error for ArgumentError {}

/// A place in the arguments, built while walking down; costs nothing until an error prints it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    up: Option<&'a Place<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Whole,
    Name(&'a str),
    Index(usize),
}

impl<'a> Place<'a> {
    /// The arguments as a whole.
    pub(super) const WHOLE: Place<'static> = Place { up: None, step: Step::Whole };

    /// The field, parameter, case or side `name` of this place.
    pub(super) fn name(&'a self, name: &'a str) -> Place<'a> {
        Place { up: Some(self), step: Step::Name(name) }
    }

    /// The element `index` of this place.
    pub(super) fn index(&'a self, index: usize) -> Place<'a> {
        Place { up: Some(self), step: Step::Index(index) }
    }

    /// The error at this place.
    pub(super) fn error(
        &self,
        expected: impl Into<String>,
        got: impl Into<String>,
    ) -> ArgumentError {
        let (path, malformed) = (self.path(), false);
        ArgumentError { path, expected: expected.into(), got: got.into(), malformed }
    }

    /// The path as text. A long one loses its middle: both ends help to find the place.
    fn path(&self) -> String {
        let mut steps = Vec::new();
        let mut place = Some(self);
        while let Some(at) = place {
            steps.push(at.step);
            place = at.up;
        }
        let mut path = String::new();
        for step in steps.into_iter().rev() {
            match step {
                Step::Whole => {}
                Step::Name(name) => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(&shortened(name, QUOTE_CHARS_MAX / 2));
                }
                Step::Index(index) => path.push_str(&format!("[{index}]")),
            }
        }
        let chars: Vec<char> = path.chars().collect();
        if chars.len() <= QUOTE_CHARS_MAX {
            return path;
        }
        let half = QUOTE_CHARS_MAX / 2;
        let head: String = chars[..half].iter().collect();
        let tail: String = chars[chars.len() - half..].iter().collect();
        format!("{head}...{tail}")
    }
}

/// Memory that the values of one call may still take.
///
/// Every value is charged before it is made, so arguments that are small as text and large as
/// values (`[{},{},..]` of records with many optional fields) are refused in time.
pub struct Room<'r> {
    bytes_left: usize,
    shared: Option<&'r mut dyn FnMut(usize) -> bool>,
}

/// Room for the arguments of one call.
impl Default for Room<'_> {
    fn default() -> Self {
        Self { bytes_left: VALUE_BYTES_MAX, shared: None }
    }
}

impl<'r> Room<'r> {
    /// The same, where `shared` grants room that all calls share, so many bytes at a time, or
    /// refuses it.
    pub fn within(shared: &'r mut dyn FnMut(usize) -> bool) -> Self {
        Self { shared: Some(shared), ..Self::default() }
    }

    #[cfg(test)]
    pub(super) fn of(bytes_left: usize) -> Self {
        Self { bytes_left, shared: None }
    }

    /// Takes the room of `count` values.
    pub(super) fn values(&mut self, count: usize, place: &Place<'_>) -> Result<(), ArgumentError> {
        self.bytes(count.saturating_mul(VALUE_BYTES), place)
    }

    /// Takes the room of a text or name that is copied, its allocation included.
    pub(super) fn text(&mut self, text: &str, place: &Place<'_>) -> Result<(), ArgumentError> {
        self.bytes(text.len().saturating_add(size_of::<String>()), place)
    }

    fn bytes(&mut self, bytes: usize, place: &Place<'_>) -> Result<(), ArgumentError> {
        let Some(left) = self.bytes_left.checked_sub(bytes) else {
            return Err(place.error(
                format!("arguments of at most {} MiB in memory", VALUE_BYTES_MAX / 1024 / 1024),
                "more values than that",
            ));
        };
        if let Some(shared) = &mut self.shared
            && !shared(bytes)
        {
            return Err(place.error("arguments for which there is room now", "more than that"));
        }
        self.bytes_left = left;
        Ok(())
    }
}

/// The first `chars_max` characters of a text, with dots if there is more.
pub(crate) fn shortened(text: &str, chars_max: usize) -> Cow<'_, str> {
    match text.char_indices().nth(chars_max) {
        None => Cow::Borrowed(text),
        Some(_) => {
            let keep = chars_max.saturating_sub(3);
            Cow::Owned(text.chars().take(keep).chain("...".chars()).collect())
        }
    }
}

/// The names among `known` that look most like `name`, at most three.
pub(crate) fn similar<'n>(name: &str, known: impl IntoIterator<Item = &'n str>) -> Vec<&'n str> {
    let wanted = normal(name);
    let mut scored: Vec<(usize, &str)> = known
        .into_iter()
        .filter_map(|candidate| {
            let other = normal(candidate);
            let far = distance(&wanted, &other);
            (far <= wanted.len().max(other.len()) / 3).then_some((far, candidate))
        })
        .collect();
    scored.sort_unstable();
    scored.dedup();
    let best = scored.first().map_or(0, |(far, _)| *far);
    let closest = scored.into_iter().take_while(|(far, _)| *far == best);
    closest.take(3).map(|(_, candidate)| candidate).collect()
}

/// Lower-case letters and digits only, so that `firstName`, `first_name` and `first-name` meet.
/// Cut to 64: names that differ later than that are not typing slips.
fn normal(name: &str) -> Vec<char> {
    let letters = name.chars().filter(|c| c.is_alphanumeric());
    letters.flat_map(char::to_lowercase).take(64).collect()
}

/// How many letters have to change: Levenshtein's distance.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = corner + usize::from(from != to);
            corner = row[j + 1];
            row[j + 1] = replaced.min(corner + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_like_the_argument() {
        let records = Place::WHOLE.name("records");
        let third = records.index(3);
        let age = third.name("age");
        let error = age.error("u32", "-1 (number)");
        assert_eq!(error.to_string(), "records[3].age: expected u32, got -1 (number)");
        let whole = Place::WHOLE.error("an array", "null");
        assert_eq!(whole.to_string(), "arguments: expected an array, got null");
    }

    #[test]
    fn a_long_path_keeps_both_ends() {
        fn deep(place: &Place<'_>, left: usize) -> String {
            match left {
                0 => place.name("end").path(),
                _ => deep(&place.name("abcdefgh"), left - 1),
            }
        }
        let path = deep(&Place::WHOLE, 90);
        assert!(path.starts_with("abcdefgh.") && path.ends_with(".end"), "{path}");
        assert!(path.chars().count() <= QUOTE_CHARS_MAX + 3);
    }

    #[test]
    fn slips_find_their_name() {
        let known = ["first-name", "last-name", "age"];
        assert_eq!(similar("firstName", known), ["first-name"]);
        assert_eq!(similar("lst_name", known)[0], "last-name");
        assert!(similar("zzz", known).is_empty());
    }

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(shortened("äöü", 3), "äöü");
        assert_eq!(shortened("äöüäöü", 5), "äö...");
    }
}
