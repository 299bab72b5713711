//! A call's arguments as they come over HTTP: JSON, WAVE, words of a shell, or nothing at all.

use axum::http::{HeaderMap, HeaderName, header};

use super::body::Held;
use super::reply::Refusal;
use stockade::Arguments;
use stockade::error::Code;

/// Content type of arguments and results as WAVE text.
pub const WAVE_CONTENT_TYPE: &str = "application/x-wave";

/// Content type of arguments as typed in a shell: a JSON array with one text per argument. Each
/// text is WAVE or, where a `string` is expected, the string itself. The program `stockade` sends
/// this type.
pub const WORDS_CONTENT_TYPE: &str = "application/x-wave-words+json";

/// How many times its own bytes a body of shell words takes in memory: an empty word has three bytes
/// in the body, and 24 as a text in memory.
const WORDS_FACTOR: usize = 8;

/// The same for WAVE: the copy of the text, and the tree from which the values are made.
const WAVE_FACTOR: usize = 4;

/// The notation of arguments and results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `[1, "a"]`: by position; `{"by": 1}`: by name.
    Json,
    /// `1, "a"`, as in a WIT call.
    Wave,
}

/// Reads the arguments of a call from its body. An empty body means no arguments, whatever the
/// content type. The values take memory in addition to the body.
pub(super) fn read(headers: &HeaderMap, held: &mut Held) -> Result<Arguments, Refusal> {
    let body = held.bytes.clone();
    if body.is_empty() {
        return Ok(Arguments::None);
    }
    if is_of_type(headers, WORDS_CONTENT_TYPE) {
        held.take(body.len().saturating_mul(WORDS_FACTOR))?;
        return serde_json::from_slice(&body)
            .map(Arguments::Words)
            .map_err(|error| Refusal::new(Code::InvalidBody, format!("not texts: {error}")));
    }
    let Some(form) = form_of(headers, &header::CONTENT_TYPE) else {
        let words = format!("arguments are application/json or {WAVE_CONTENT_TYPE}");
        return Err(not_of_type(&words));
    };
    match form {
        // The values take their room when they are made.
        Form::Json => Ok(Arguments::JsonText(body)),
        Form::Wave => {
            held.take(body.len().saturating_mul(WAVE_FACTOR))?;
            std::str::from_utf8(&body)
                .map(|text| Arguments::Wave(text.to_owned()))
                .map_err(|error| Refusal::new(Code::InvalidBody, format!("not UTF-8: {error}")))
        }
    }
}

/// The notation that the caller wants for its answer: JSON unless it asks for WAVE.
pub(super) fn wanted(headers: &HeaderMap) -> Form {
    form_of(headers, &header::ACCEPT).unwrap_or(Form::Json)
}

/// Whether the body has this content type, parameters such as the character set aside.
pub(super) fn is_of_type(headers: &HeaderMap, content_type: &str) -> bool {
    media_type(headers, &header::CONTENT_TYPE)
        .is_some_and(|found| found.eq_ignore_ascii_case(content_type))
}

/// The refusal of a body that has another content type.
pub(super) fn not_of_type(expected: &str) -> Refusal {
    Refusal::of_field(Code::ContentType, &header::CONTENT_TYPE, expected)
}

fn form_of(headers: &HeaderMap, name: &HeaderName) -> Option<Form> {
    let found = media_type(headers, name)?;
    if found.eq_ignore_ascii_case("application/json") {
        Some(Form::Json)
    } else if found.eq_ignore_ascii_case(WAVE_CONTENT_TYPE) {
        Some(Form::Wave)
    } else {
        None
    }
}

fn media_type<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()?.split(';').next().map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::response::IntoResponse;

    fn check(content_type: Option<&str>, body: &str) -> Result<Arguments, u16> {
        let mut headers = HeaderMap::new();
        if let Some(content_type) = content_type {
            headers.insert(header::CONTENT_TYPE, content_type.parse().expect("header"));
        }
        let mut held = Held::of(body.as_bytes().to_vec());
        read(&headers, &mut held).map_err(|refusal| refusal.into_response().status().as_u16())
    }

    #[test]
    fn arguments_are_read_in_the_notation_they_are_said_to_have() {
        assert!(matches!(check(None, ""), Ok(Arguments::None)));
        let json = check(Some("application/json; charset=utf-8"), "[1]");
        assert!(matches!(json, Ok(Arguments::JsonText(text)) if text == "[1]"));
        let wave = check(Some(WAVE_CONTENT_TYPE), "1, \"a\"");
        assert!(matches!(wave, Ok(Arguments::Wave(text)) if text == "1, \"a\""));
        let words = check(Some(WORDS_CONTENT_TYPE), "[\"1\", \"a\"]");
        assert!(matches!(words, Ok(Arguments::Words(words)) if words == ["1", "a"]));
    }

    #[test]
    fn anything_else_is_refused_with_its_code() {
        assert_eq!(check(None, "[1]").map(|_| ()), Err(415));
        assert_eq!(check(Some("text/plain"), "[1]").map(|_| ()), Err(415));
        assert_eq!(check(Some(WORDS_CONTENT_TYPE), "[1]").map(|_| ()), Err(400));
    }
}
