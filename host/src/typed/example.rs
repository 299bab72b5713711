//! An example value of a shape, as JSON, for descriptions and help texts.

use serde_json::{Map, Value, json};

use crate::typed::shape::Shape;

/// A small JSON value that fits `shape`.
pub(super) fn example(shape: &Shape) -> Value {
    match shape {
        Shape::Bool => json!(true),
        Shape::S8
        | Shape::U8
        | Shape::S16
        | Shape::U16
        | Shape::S32
        | Shape::U32
        | Shape::S64
        | Shape::U64 => json!(1),
        Shape::F32 | Shape::F64 => json!(1.5),
        Shape::Char => json!("x"),
        Shape::String => json!("text"),
        Shape::List(_) if shape.is_bytes() => json!("AQID"),
        Shape::List(element) => Value::Array(vec![example(element)]),
        Shape::Tuple(parts) => parts.iter().map(example).collect(),
        Shape::Record(fields) => {
            let fields = fields.iter().map(|field| (field.name.clone(), example(&field.shape)));
            Value::Object(fields.collect::<Map<_, _>>())
        }
        Shape::Variant(cases) => match cases.first().map(|case| (&case.name, &case.payload)) {
            Some((name, Some(payload))) => {
                Value::Object(Map::from_iter([(name.clone(), example(payload))]))
            }
            Some((name, None)) => json!(name),
            None => Value::Null,
        },
        Shape::Enum(names) => json!(names.first()),
        Shape::Flags(names) => names.first().into_iter().map(String::as_str).collect(),
        Shape::Option(inner) => match **inner {
            Shape::Option(_) => json!({ "some": example(inner) }),
            _ => example(inner),
        },
        Shape::Result { ok, .. } => json!({ "ok": ok.as_deref().map(example) }),
    }
}
