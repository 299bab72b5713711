//! How a caller hands over arguments, and which value goes to which parameter.
//!
//! The rule for JSON, in this order:
//! 1. an **array** is by position, always: a single `list` parameter is called with `[[1, 2]]`;
//! 2. an **object** is by parameter name, with one exception: the method has exactly one
//!    parameter, whose own JSON can be an object (record, variant, result), and the object is not
//!    `{"<that parameter's name>": ..}`. Then the object is that parameter's value;
//! 3. **anything else** is the value of the single parameter of a method that has exactly one.
//!
//! Parameters of type `option` may be left out: at the end by position, anywhere by name.

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;
use wasmtime::component::Val;

use crate::typed::check::check;
use crate::typed::json;
use crate::typed::parameter::Parameter;
use crate::typed::place::{ArgumentError, Place, Room};
use crate::typed::shape::Shape;
use crate::typed::wave::Parsed;

/// The arguments of a call, as the caller has them.
#[derive(Clone, Debug, Default)]
pub enum Arguments {
    /// Nothing was sent. Fits methods whose parameters are all optional, or that have none.
    #[default]
    None,
    /// JSON: an array by position, an object by parameter name, or the value of the single
    /// parameter.
    Json(Value),
    /// WAVE text, separated by commas: `1, "text", {name: "x"}`. Trailing options may be left
    /// out.
    Wave(String),
    /// One text per argument, as typed in a shell: WAVE, and texts may lack their quotes. Where a
    /// `string` is expected, what does not begin with `"` is the text itself. Trailing options may
    /// be left out.
    Words(Vec<String>),
    /// JSON as it came, of the same meaning: it is read straight into the method's types.
    JsonText(Bytes),
    /// Values, by position, all of them.
    Values(Vec<Val>),
}

impl Arguments {
    /// Arguments as JSON text: `[5]` by position, `{"by": 5}` by name, `5` for a single parameter.
    ///
    /// # Errors
    /// If the text is not JSON. The call checks whether the arguments fit the method.
    pub fn json(text: &str) -> Result<Self, ArgumentError> {
        serde_json::from_str(text).map(Self::Json).map_err(json::malformed)
    }

    /// Arguments from Rust values: a tuple by position, a struct by parameter name.
    ///
    /// ```
    /// use stockade::Arguments;
    ///
    /// #[derive(serde::Serialize)]
    /// struct Transfer<'a> {
    ///     source: &'a str,
    ///     target: &'a str,
    ///     amount: i64,
    /// }
    ///
    /// let by_name = Arguments::of(&Transfer { source: "alice", target: "bob", amount: 30 })?;
    /// let by_position = Arguments::of(&("alice", "bob", 30))?;
    /// # Ok::<(), stockade::HostError>(())
    /// ```
    ///
    /// # Errors
    /// If the value has no form in JSON, such as a map whose keys are no strings.
    pub fn of(value: &impl Serialize) -> Result<Self, ArgumentError> {
        serde_json::to_value(value).map(Self::Json).map_err(|error| {
            Place::WHOLE.error("values that can be written as JSON", error.to_string())
        })
    }
}

/// What can be handed to a method: [`Arguments`], or a tuple of Rust values by position.
///
/// ```
/// use stockade::{Arguments, IntoArguments};
///
/// assert!(matches!(("alice", 5).into_arguments()?, Arguments::Json(_)));
/// assert!(matches!(().into_arguments()?, Arguments::None));
/// # Ok::<(), stockade::HostError>(())
/// ```
pub trait IntoArguments {
    /// The arguments.
    ///
    /// # Errors
    /// If a value has no form in JSON, such as a map whose keys are no strings.
    fn into_arguments(self) -> Result<Arguments, ArgumentError>;
}

impl IntoArguments for Arguments {
    fn into_arguments(self) -> Result<Arguments, ArgumentError> {
        Ok(self)
    }
}

impl IntoArguments for () {
    fn into_arguments(self) -> Result<Arguments, ArgumentError> {
        Ok(Arguments::None)
    }
}

macro_rules! tuples {
    ($(($($name:ident)+))+) => {$(
        impl<$($name: Serialize),+> IntoArguments for ($($name,)+) {
            fn into_arguments(self) -> Result<Arguments, ArgumentError> {
                Arguments::of(&self)
            }
        }
    )+};
}

tuples! { (A) (A B) (A B C) (A B C D) (A B C D E) (A B C D E F) (A B C D E F G) (A B C D E F G H) }

impl From<Value> for Arguments {
    fn from(json: Value) -> Self {
        Self::Json(json)
    }
}

impl From<Vec<Val>> for Arguments {
    fn from(values: Vec<Val>) -> Self {
        Self::Values(values)
    }
}

/// The arguments as values of `parameters`, one each, which take `room`.
pub(super) fn bind(
    arguments: &Arguments,
    parameters: &[Parameter],
    room: Room<'_>,
) -> Result<Vec<Val>, ArgumentError> {
    let mut binder = Binder { parameters, room };
    match arguments {
        Arguments::None => binder.nothing(),
        Arguments::Json(json) => json::of_value(json, parameters, binder.room),
        Arguments::JsonText(text) => json::of_text(text, parameters, binder.room),
        Arguments::Wave(text) => binder.wave(text),
        Arguments::Words(words) => binder.words(words),
        Arguments::Values(values) => binder.values(values),
    }
}

struct Binder<'p, 'r> {
    parameters: &'p [Parameter],
    room: Room<'r>,
}

impl Binder<'_, '_> {
    fn wave(&mut self, text: &str) -> Result<Vec<Val>, ArgumentError> {
        let parsed = Parsed::of(text)?;
        if parsed.len() > self.parameters.len() {
            return Err(self.wrong_count(parsed.len()));
        }
        let mut values = Vec::with_capacity(self.parameters.len());
        for (index, parameter) in self.parameters.iter().enumerate() {
            let place = Place::WHOLE.name(&parameter.name);
            values.push(match index < parsed.len() {
                true => parsed.read(index, &parameter.shape, &place, &mut self.room)?,
                false => parameter.left_out(&place)?,
            });
        }
        Ok(values)
    }

    fn words(&mut self, words: &[String]) -> Result<Vec<Val>, ArgumentError> {
        if words.len() > self.parameters.len() {
            return Err(self.wrong_count(words.len()));
        }
        let mut values = Vec::with_capacity(self.parameters.len());
        for (index, parameter) in self.parameters.iter().enumerate() {
            let place = Place::WHOLE.name(&parameter.name);
            values.push(match words.get(index) {
                Some(word) => self.word(word, &parameter.shape, &place)?,
                None => parameter.left_out(&place)?,
            });
        }
        Ok(values)
    }

    fn word(&mut self, word: &str, shape: &Shape, place: &Place<'_>) -> Result<Val, ArgumentError> {
        if is_bare_text(word, shape) {
            self.room.values(2, place)?;
            self.room.text(word, place)?;
            let text = Val::String(word.to_owned());
            return Ok(match shape {
                Shape::Option(_) => Val::Option(Some(Box::new(text))),
                _ => text,
            });
        }
        // A syntax error is reported for this argument, not for all of them.
        let parsed = Parsed::of(word).map_err(|error| place.error(shape.brief(), error.got))?;
        match parsed.len() {
            1 => parsed.read(0, shape, place, &mut self.room),
            0 => Err(place.error(shape.brief(), "nothing: the text is empty")),
            several => Err(place.error(shape.brief(), format!("{several} values"))),
        }
    }

    fn values(&mut self, values: &[Val]) -> Result<Vec<Val>, ArgumentError> {
        if values.len() != self.parameters.len() {
            return Err(self.wrong_count(values.len()));
        }
        for (value, parameter) in values.iter().zip(self.parameters) {
            check(value, &parameter.shape, &Place::WHOLE.name(&parameter.name))?;
        }
        Ok(values.to_vec())
    }

    fn nothing(&mut self) -> Result<Vec<Val>, ArgumentError> {
        let left_out =
            |parameter: &Parameter| parameter.left_out(&Place::WHOLE.name(&parameter.name));
        self.parameters.iter().map(left_out).collect()
    }

    fn wrong_count(&self, count: usize) -> ArgumentError {
        Place::WHOLE.error(Parameter::list(self.parameters), format!("{count} values"))
    }
}

/// Whether a word is a text that lacks its quotes, rather than WAVE.
fn is_bare_text(word: &str, shape: &Shape) -> bool {
    match shape {
        Shape::String => !word.starts_with('"'),
        Shape::Option(inner) => {
            matches!(**inner, Shape::String)
                && word != "none"
                && !word.starts_with("some(")
                && !word.starts_with('"')
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::typed::shape::Field;

    fn parameters(list: &[(&str, Shape)]) -> Vec<Parameter> {
        let list = list.iter().cloned();
        list.map(|(name, shape)| Parameter { name: name.to_owned(), shape }).collect()
    }

    fn point() -> Shape {
        let field = |name: &str| Field { name: name.to_owned(), shape: Shape::S32 };
        Shape::Record(vec![field("x"), field("y")])
    }

    fn text(result: Result<Vec<Val>, ArgumentError>) -> String {
        match result {
            Ok(values) => values
                .iter()
                .map(|v| v.to_wave().expect("WAVE has all types"))
                .collect::<Vec<_>>()
                .join("; "),
            Err(error) => error.to_string(),
        }
    }

    #[track_caller]
    fn check_json(parameters: &[Parameter], json: Value, expected: &str) {
        let from_text = Arguments::JsonText(json.to_string().into());
        assert_eq!(text(bind(&from_text, parameters)), expected);
        assert_eq!(text(bind(&Arguments::Json(json), parameters)), expected);
    }

    fn bind(arguments: &Arguments, to: &[Parameter]) -> Result<Vec<Val>, ArgumentError> {
        super::bind(arguments, to, Room::default())
    }

    #[test]
    fn several_parameters_by_position_and_by_name() {
        let list = parameters(&[
            ("a", Shape::U32),
            ("b", Shape::String),
            ("note", Shape::Option(Box::new(Shape::String))),
        ]);
        check_json(&list, json!([1, "x", "n"]), "1; \"x\"; some(\"n\")");
        check_json(&list, json!([1, "x"]), "1; \"x\"; none");
        check_json(&list, json!({"b": "x", "a": 1}), "1; \"x\"; none");
        check_json(&list, json!([1]), "b: expected string, got nothing: the argument is missing");
        check_json(&list, json!([-1, "x"]), "a: expected u32, got -1 (number)");
        // The first that does not fit.
        check_json(&list, json!({"a": -1, "notes": 1}), "a: expected u32, got -1 (number)");
        check_json(
            &list,
            json!({"a": 1, "b": "x", "notes": 1}),
            "notes: expected a parameter's name, perhaps `note`, got an unknown name",
        );
        check_json(
            &list,
            json!([1, "x", null, 4]),
            "arguments: expected 3 arguments (a: u32, b: string, note: option<string>), in an \
             array or by name, got 4 values",
        );
        check_json(
            &list,
            json!(7),
            "arguments: expected 3 arguments (a: u32, b: string, note: option<string>), in an \
             array or by name, got 7 (number)",
        );
    }

    #[test]
    fn words_of_a_shell_need_no_quotes_where_a_text_is_expected() {
        let list = parameters(&[
            ("name", Shape::String),
            ("amount", Shape::S64),
            ("note", Shape::Option(Box::new(Shape::String))),
        ]);
        let check = |words: &[&str], expected: &str| {
            let words = words.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(text(bind(&Arguments::Words(words), &list)), expected);
        };
        check(&["alice", "5"], "\"alice\"; 5; none");
        check(&["\"alice\"", "-5", "a note"], "\"alice\"; -5; some(\"a note\")");
        check(&["a, b) {", "5", "some(\"x\")"], "\"a, b) {\"; 5; some(\"x\")");
        check(&["5", "5", "none"], "\"5\"; 5; none");
        check(&["", "5", ""], "\"\"; 5; some(\"\")");
        check(&["alice", "five"], "amount: expected s64, got five");
        check(&["alice", "5, 6"], "amount: expected s64, got 2 values");
        check(&["alice", ""], "amount: expected s64, got nothing: the text is empty");
        check(&["alice"], "amount: expected s64, got nothing: the argument is missing");
        let got = bind(&Arguments::Words(vec!["\"open".to_owned(), "5".to_owned()]), &list);
        assert!(text(got).starts_with("name: expected string, got "));
    }

    #[test]
    fn rust_values_are_arguments() {
        let list = parameters(&[("name", Shape::String), ("amount", Shape::S64)]);
        let tuple = Arguments::of(&("alice", 5)).expect("JSON");
        assert_eq!(text(bind(&tuple, &list)), "\"alice\"; 5");
        let parsed = Arguments::json("{\"amount\": 5, \"name\": \"alice\"}").expect("JSON");
        assert_eq!(text(bind(&parsed, &list)), "\"alice\"; 5");
        let error = Arguments::json("[1").expect_err("not JSON");
        assert!(error.malformed && error.to_string().contains("line 1"), "{error}");
    }

    #[test]
    fn text_that_is_not_json_is_told_whatever_does_not_fit() {
        let list = parameters(&[("p", point()), ("n", Shape::U8)]);
        let deep = "[".repeat(100_000);
        for malformed in [
            "",
            "[1",
            "[{}] 1",
            "[1, 2, 3, }",
            "{\"p\": 1, \"n\": 01}",
            "{\"n\": 1, \"n\": 1}",
            "{\"n\": 1, \"\\u006e\": 1}",
            "[{\"x\": 1, \"y\": 1, \"x\": 1}, 1]",
            "{\"n\": 1e999}",
            &deep,
        ] {
            let error = bind(&Arguments::JsonText(malformed.to_owned().into()), &list);
            assert!(error.as_ref().is_err_and(|error| error.malformed), "{malformed:?}: {error:?}");
        }
        let many = "[{\"x\": 1, \"z\": 1, \"y\": true}, 1, 2]".to_owned();
        assert_eq!(
            text(bind(&Arguments::JsonText(many.into()), &list)),
            "arguments: expected 2 arguments (p: record { x: s32, y: s32 }, n: u8), in an array or \
             by name, got 3 values"
        );
    }

    #[test]
    fn a_single_parameter_may_stand_alone() {
        let number = parameters(&[("n", Shape::U8)]);
        for json in [json!(7), json!([7]), json!({"n": 7})] {
            check_json(&number, json, "7");
        }
        check_json(
            &number,
            json!({"m": 7}),
            "m: expected 1 argument (n: u8), in an array or by name, got an unknown name",
        );
        let list = parameters(&[("xs", Shape::List(Box::new(Shape::U32)))]);
        check_json(&list, json!([[1, 2]]), "[1, 2]");
        check_json(&list, json!({"xs": [1, 2]}), "[1, 2]");
        check_json(
            &list,
            json!([1, 2]),
            "arguments: expected 1 argument (xs: list<u32>), in an \
                                          array or by name, got 2 values",
        );
        let option = parameters(&[("o", Shape::Option(Box::new(Shape::U8)))]);
        for json in [json!(null), json!([]), json!([null]), json!({}), json!({"o": null})] {
            check_json(&option, json, "none");
        }
    }

    #[test]
    fn a_single_record_may_stand_alone_unless_it_looks_like_a_name() {
        let record = parameters(&[("p", point())]);
        for json in
            [json!({"x": 1, "y": 2}), json!({"p": {"x": 1, "y": 2}}), json!([{"x": 1, "y": 2}])]
        {
            check_json(&record, json, "{x: 1, y: 2}");
        }
        check_json(
            &record,
            json!({"x": 1}),
            "p.y: expected s32, got nothing: the field is missing",
        );
        let inner = Shape::Record(vec![Field { name: "p".into(), shape: Shape::U8 }]);
        let same = parameters(&[("p", inner)]);
        check_json(&same, json!({"p": {"p": 1}}), "{p: 1}");
        check_json(&same, json!({"p": 1}), "p: expected record { p: u8 }, got 1 (number)");
    }

    #[test]
    fn no_parameters_take_nothing() {
        for json in [json!(null), json!([]), json!({})] {
            check_json(&[], json, "");
        }
        check_json(&[], json!([1]), "arguments: expected no arguments, got 1 values");
        check_json(&[], json!(1), "arguments: expected no arguments, got 1 (number)");
        assert_eq!(text(bind(&Arguments::None, &[])), "");
        assert_eq!(text(bind(&Arguments::Wave(String::new()), &[])), "");
        let one = parameters(&[("a", Shape::U8)]);
        assert_eq!(
            text(bind(&Arguments::None, &one)),
            "a: expected u8, got nothing: the argument is missing"
        );
    }

    #[test]
    fn values_are_checked_too() {
        let list = parameters(&[("p", point())]);
        let good = Val::Record(vec![("x".into(), Val::S32(1)), ("y".into(), Val::S32(2))]);
        assert_eq!(text(bind(&Arguments::Values(vec![good]), &list)), "{x: 1, y: 2}");
        let bad = Val::Record(vec![("x".into(), Val::S32(1)), ("y".into(), Val::U8(2))]);
        assert_eq!(
            text(bind(&Arguments::Values(vec![bad]), &list)),
            "p.y: expected s32, got 2 (u8)"
        );
        assert_eq!(
            text(bind(&Arguments::Values(vec![]), &list)),
            "arguments: expected 1 argument (p: record { x: s32, y: s32 }), in an array or by \
             name, got 0 values"
        );
    }
}
