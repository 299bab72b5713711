//! Generated arguments: JSON, WAVE and words of a shell against every type.

use serde_json::{Value, json};
use stockade_testkit::cases::unit_cases;
use stockade_testkit::mutated::mutated_text;
use stockade_testkit::random::Random;
use wasmtime::component::Val;

use crate::typed::arguments;
use crate::typed::bounds::QUOTE_CHARS_MAX;
use crate::typed::check::check;
use crate::typed::example::example;
use crate::typed::place::{ArgumentError, Place, Room};
use crate::typed::samples::{Dice, ECHO, component};
use crate::typed::{Arguments, MethodTable, Parameter, json as json_layer};

/// Pieces of the formats, and texts that readers may misread.
const DICTIONARY: [&str; 44] = [
    "null",
    "true",
    "false",
    "[",
    "]",
    "{",
    "}",
    "(",
    ")",
    ",",
    ":",
    "\"",
    "'",
    "\\",
    "\\u0000",
    "\\ud800",
    "\u{10FFFF}",
    "\u{0}",
    "//",
    "some(",
    "none",
    "ok(",
    "err(",
    "nan",
    "-inf",
    "1e999",
    "-0.0",
    "0.1",
    "18446744073709551616",
    "-9223372036854775809",
    "1.0",
    "256",
    "{\"some\":",
    "{\"ok\":",
    "{\"items\":",
    "\"a-bytes\":",
    "\"AA==\"",
    "\"A\"",
    "dark-blue",
    "{read}",
    "%true",
    "[[[[[[[[",
    "{:}",
    "\u{FEFF}",
];

/// Texts that fit `echo`, in each notation.
fn corpus() -> Vec<String> {
    let full = json!([[{
        "a-bool": true, "a-s8": -128, "a-u8": 255, "a-s16": -32768, "a-u16": 65535,
        "a-s32": i32::MIN, "a-u32": u32::MAX, "a-s64": "-9223372036854775808",
        "a-u64": "18446744073709551615", "a-f32": 0.1, "a-f64": "nan", "a-char": "🦀",
        "a-string": "dağ", "a-bytes": "AAEC", "a-list": ["", "two"], "a-tuple": [1, "t"],
        "a-shape": {"named": ["n", "dark-blue"]}, "a-color": "red", "an-option": null,
        "an-option-option": {"some": null}, "a-result": {"err": "dark-blue"},
        "a-bare-result": {"ok": null}, "an-err": {"err": 3}, "some-rights": ["read", "run-it"]
    }]]);
    let component = component(ECHO);
    let table = MethodTable::of(&component, &["echo".to_owned()]).expect("few functions");
    let echo = table.find("echo").expect("it is exported");
    let values = echo.arguments(&Arguments::Json(full.clone())).expect("they fit");
    let wave = values[0].to_wave().expect("WAVE has all types");
    vec![full.to_string(), json!({ "items": full[0] }).to_string(), wave, "[]".to_owned()]
}

/// Values have the shapes of their parameters and survive both notations; errors name a place.
fn judge(found: Result<Vec<Val>, ArgumentError>, parameters: &[Parameter], sent: &str) -> bool {
    let values = match found {
        Ok(values) => values,
        Err(error) => {
            let path = &error.path;
            let known = parameters.iter().any(|parameter| path.starts_with(&parameter.name));
            let unknown = error.got == "an unknown name";
            assert!(path.is_empty() || known || unknown, "{error}: of {sent:?}");
            assert!(!error.expected.is_empty() && !error.got.is_empty(), "{error}: of {sent:?}");
            let length = error.to_string().chars().count();
            assert!(length < 8 * QUOTE_CHARS_MAX, "{length} characters: {error}");
            return false;
        }
    };
    assert_eq!(values.len(), parameters.len(), "{sent:?}");
    let mut written = Vec::new();
    let mut waves = Vec::new();
    for (value, parameter) in values.iter().zip(parameters) {
        check(value, &parameter.shape, &Place::WHOLE).expect("what is read has the shape");
        written.push(json_layer::write(value, &parameter.shape));
        waves.push(value.to_wave().expect("WAVE has all types"));
    }
    let text = Value::Array(written).to_string();
    let again = Arguments::json(&text).and_then(|json| bind(&json, parameters));
    assert_eq!(again.as_ref(), Ok(&values), "{text}, of {sent:?}");
    let text = waves.join(", ");
    let again = bind(&Arguments::Wave(text.clone()), parameters);
    assert_eq!(again.as_ref(), Ok(&values), "{text}, of {sent:?}");
    true
}

fn bind(arguments: &Arguments, parameters: &[Parameter]) -> Result<Vec<Val>, ArgumentError> {
    arguments::bind(arguments, parameters, Room::default())
}

/// How many names all objects have.
fn names(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(names).sum(),
        Value::Object(object) => object.len() + object.values().map(names).sum::<usize>(),
        _ => 0,
    }
}

/// One text in every notation. Returns how many notations accepted it.
fn judge_text(text: &str, parameters: &[Parameter]) -> usize {
    let parsed = Arguments::json(text).and_then(|json| bind(&json, parameters));
    let json = bind(&Arguments::JsonText(text.to_owned().into()), parameters);
    match serde_json::from_str::<Value>(text) {
        // Of a name that stands twice a value has the last alone.
        Ok(value) if names(&value) == text.matches(':').count() => {
            assert_eq!(json, parsed, "{text:?}");
        }
        Ok(_) => {}
        Err(_) => assert!(json.is_err(), "{text:?}"),
    }
    let wave = bind(&Arguments::Wave(text.to_owned()), parameters);
    let words = text.split(';').map(str::to_owned).collect();
    let words = bind(&Arguments::Words(words), parameters);
    [json, wave, words].into_iter().filter(|found| judge(found.clone(), parameters, text)).count()
}

/// Parameters of random types, and texts that fit them.
fn invented(random: &mut Random) -> (Vec<Parameter>, Vec<String>) {
    let mut dice = Dice::new(random.next());
    let names = ["a", "note", "some"].iter().take(1 + usize::from(random.below(2) == 0));
    let parameters: Vec<Parameter> =
        names.map(|name| Parameter { name: (*name).to_owned(), shape: dice.shape(3) }).collect();
    let values: Vec<Val> = parameters.iter().map(|one| dice.value(&one.shape)).collect();
    let pairs = || values.iter().zip(&parameters);
    let json = pairs().map(|(value, one)| json_layer::write(value, &one.shape)).collect();
    let examples = parameters.iter().map(|one| example(&one.shape)).collect();
    let wave: Vec<String> =
        values.iter().map(|value| value.to_wave().expect("WAVE has all types")).collect();
    let texts = vec![
        Value::Array(json).to_string(),
        Value::Array(examples).to_string(),
        wave.join(", "),
        wave.join(";"),
    ];
    (parameters, texts)
}

#[test]
fn arguments() {
    let component = component(ECHO);
    let table = MethodTable::of(&component, &["echo".to_owned()]).expect("few functions");
    let echo = table.find("echo").expect("it is exported").params();
    let corpus = corpus();
    let mut taken = 0;
    unit_cases("typed::fuzz::arguments", 3_000, |random| {
        let (own, texts);
        let (parameters, texts): (&[Parameter], &[String]) = if random.below(3) == 0 {
            (echo, &corpus)
        } else {
            (own, texts) = invented(random);
            (&own, &texts)
        };
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        taken += judge_text(&mutated_text(random, &texts, &DICTIONARY), parameters);
    });
    // Else the texts are noise and nothing behind the first error is reached.
    assert!(taken > 0 || std::env::var_os("SEED").is_some(), "no text was taken");
}
