//! Names of a client: of its package, its resource, and the methods of the resource.
//!
//! ```text
//!  kind counter        package stockade-client:counter             resource counter
//!  kind user_profile   package stockade-client:x757365725f70..     resource user-profile
//!
//!  add of a:b/api, alone               add
//!  add of a:b/api and of a:b/tools     api-add, tools-add
//!  add of a:b/api and of c:d/api       a-b-api-add, c-d-api-add
//! ```
//! Invariants:
//! - The package says the kind exactly: two kinds never have the same package.
//! - A method's name says one method, or there is none; it depends on the methods beside it only where
//!   names are the same.

use std::collections::{HashMap, HashSet};

/// The namespace of clients, as it begins the name of an import.
pub const CLIENT_NAMESPACE: &str = "stockade-client:";

/// Words that some version of WIT reads as something else unless they are escaped.
const KEYWORDS: &str = "as async bool borrow char constructor enum error-context export f32 f64 flags float32 \
    float64 from func future import include interface list map option own package record \
    resource result s16 s32 s64 s8 static stream string tuple type u16 u32 u64 u8 use \
    variant with world";

/// Whether an exported interface is for callers: those of the host and of WASI are not.
#[must_use]
pub fn is_for_callers(interface: &str) -> bool {
    !interface.starts_with("stockade:actor/") && !interface.starts_with("wasi:")
}

/// The name of the package in which a kind's client is.
#[must_use]
pub fn package_of(kind: &str) -> String {
    if is_plain(kind) && unescaped(kind).is_none() {
        return kind.to_owned();
    }
    let digits = kind.bytes().map(|byte| format!("{byte:02x}"));
    format!("x{}", digits.collect::<String>())
}

/// The kind whose client the import is, and the name of its interface. `import` is guest-controlled, as
/// in `stockade-client:counter/counter`. `None`: it is no name of a client.
#[must_use]
pub fn kind_of(import: &str) -> Option<(String, &str)> {
    let (package, interface) = import.strip_prefix(CLIENT_NAMESPACE)?.split_once('/')?;
    let kind = match unescaped(package) {
        Some(bytes) => String::from_utf8(bytes).ok()?,
        None => package.to_owned(),
    };
    (package_of(&kind) == package && is_plain(interface)).then_some((kind, interface))
}

/// A name for people that is one of WIT: that of the interface and of the resource.
pub(super) fn readable(kind: &str) -> String {
    let words = kind.split(['-', '_']).filter(|word| !word.is_empty()).map(|word| {
        let is_number = word.starts_with(|c: char| c.is_ascii_digit());
        if is_number { format!("n{word}") } else { word.to_owned() }
    });
    words.collect::<Vec<_>>().join("-")
}

/// The name as WIT text: a word of WIT itself is escaped.
pub(super) fn ident(name: &str) -> String {
    match KEYWORDS.split(' ').any(|word| word == name) {
        true => format!("%{name}"),
        false => name.to_owned(),
    }
}

/// The name of each method in a client. Each method is the name of its interface, empty for none, and
/// its own. `None`: there is no name that is this method's alone, or none that WIT allows.
#[must_use]
pub fn client_names<'m>(
    methods: impl IntoIterator<Item = (&'m str, &'m str)>,
) -> Vec<Option<String>> {
    let methods: Vec<(&str, &str)> = methods.into_iter().collect();
    let mut names: Vec<Option<String>> = vec![None; methods.len()];
    let mut taken = HashSet::new();
    let own = |_: &str, name: &str| name.to_owned();
    let all: [fn(&str, &str) -> String; 3] = [own, short, long];
    for form in all {
        let forms: Vec<String> = methods.iter().map(|(i, name)| form(i, name)).collect();
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for form in &forms {
            *counts.entry(form).or_default() += 1;
        }
        // A name that several would have is given to none, in any form.
        let free = |form: &str| counts[form] == 1 && !taken.contains(form) && is_id(form);
        let now: Vec<bool> =
            forms.iter().zip(&names).map(|(form, name)| name.is_none() && free(form)).collect();
        for ((form, name), now) in forms.into_iter().zip(&mut names).zip(now) {
            if now {
                *name = Some(form.clone());
            }
            taken.insert(form);
        }
    }
    names
}

fn short(interface: &str, name: &str) -> String {
    let unversioned = interface.split('@').next().unwrap_or(interface);
    match unversioned.rsplit('/').next().unwrap_or("") {
        "" => name.to_owned(),
        last => format!("{last}-{name}"),
    }
}

fn long(interface: &str, name: &str) -> String {
    let (unversioned, version) = interface.split_once('@').unwrap_or((interface, ""));
    let versions = version.split(['.', '+']).filter(|part| !part.is_empty());
    let versions: String = versions.map(|part| format!("v{part}-")).collect();
    match unversioned {
        "" => name.to_owned(),
        unversioned => format!("{}-{versions}{name}", unversioned.replace([':', '/'], "-")),
    }
}

/// Whether every version of WIT takes the name, and as it is.
fn is_plain(name: &str) -> bool {
    is_id(name) && !name.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn is_id(name: &str) -> bool {
    name.split('-').all(|word| {
        let is_word = |all: fn(&u8) -> bool| {
            word.bytes().all(|byte| all(&byte) || byte.is_ascii_digit())
                && word.starts_with(|c: char| c.is_ascii_alphabetic())
        };
        is_word(u8::is_ascii_lowercase) || is_word(u8::is_ascii_uppercase)
    })
}

/// What an escaped name stands for. `None`: it is not escaped.
fn unescaped(name: &str) -> Option<Vec<u8>> {
    let digits = name.strip_prefix('x')?.as_bytes();
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    if digits.is_empty() || digits.len() % 2 != 0 {
        return None;
    }
    digits.chunks(2).map(|pair| Some(digit(pair[0])? * 16 + digit(pair[1])?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_says_its_kind() {
        for (kind, package) in [
            ("counter", "counter"),
            ("chat-room", "chat-room"),
            ("a_b", "x615f62"),
            ("a-1", "x612d31"),
            ("a-", "x612d"),
            // As it looks like an escaped one, it is escaped itself.
            ("xab", "x786162"),
            ("x", "x"),
            ("record", "record"),
        ] {
            assert_eq!(package_of(kind), package);
            let import = format!("stockade-client:{package}/name");
            assert_eq!(kind_of(&import), Some((kind.to_owned(), "name")));
        }
        for import in [
            "stockade-client:counter",
            "stockade-client:counter/",
            "stockade-client:counter/counter@1.0.0",
            "stockade-client:/counter",
            "stockade-client:xab/a",
            "stockade-client:x636f756e746572/counter",
            "stockade:client/counter",
        ] {
            assert_eq!(kind_of(import), None, "{import}");
        }
    }

    #[test]
    fn a_readable_name_is_one_of_wit() {
        for (kind, name) in
            [("counter", "counter"), ("a_b--c-", "a-b-c"), ("v-2", "v-n2"), ("a_9x", "a-n9x")]
        {
            assert_eq!(readable(kind), name);
            assert!(is_plain(name));
        }
        assert_eq!((ident("record"), ident("records")), ("%record".into(), "records".into()));
        assert!(KEYWORDS.split(' ').is_sorted());
    }

    #[test]
    fn a_method_has_the_shortest_name_that_is_its_own() {
        let names = |methods: &[(&'static str, &'static str)]| {
            client_names(methods.iter().copied())
                .into_iter()
                .map(|name| name.unwrap_or_else(|| "none".to_owned()))
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&[("a:b/api@1.0.0", "add"), ("", "get")]), ["add", "get"]);
        assert_eq!(names(&[("a:b/api", "add"), ("a:b/tools", "add")]), ["api-add", "tools-add"]);
        assert_eq!(
            names(&[("a:b/api@0.1.0", "add"), ("a:b/api@0.2.0", "add"), ("c:d/x", "set")]),
            ["a-b-api-v0-v1-v0-add", "a-b-api-v0-v2-v0-add", "set"]
        );
        // A short name that a method has by itself is not given to another one.
        assert_eq!(
            names(&[("a:b/api", "add"), ("a:b/tools", "add"), ("a:b/x", "api-add")]),
            ["a-b-api-add", "tools-add", "api-add"]
        );
        assert_eq!(names(&[("a:b/c", "[static]x.make"), ("a:b/c", "ok")]), ["none", "ok"]);
    }
}
