//! The parameters of a statement: tuples, arrays, `params![]` and `named_params![]`.

use super::error::{Error, Result};
use super::pack;
use super::to_sql::{ToSql, ToSqlOutput};

/// Parameters of a statement.
///
/// One of:
/// - nothing: `[]` or `()`;
/// - values of one type: `[1, 2]`, a slice or a `Vec`;
/// - values of several types: `(1, "a")`, or [`params!`](crate::params) for more than 16;
/// - values by name: [`named_params!`](crate::named_params). Every parameter must be given.
///
/// ```
/// use stockade_sdk::{Params, named_params, params};
/// fn takes(_: impl Params) {}
/// takes([]);
/// takes([1, 2, 3]);
/// takes((1, "two", None::<f64>));
/// takes(params![1, "two", 3.0]);
/// takes(named_params! { ":one": 1, ":two": "two" });
/// ```
pub trait Params: sealed::Sealed {
    /// Whether the values go by name.
    #[doc(hidden)]
    const NAMED: bool = false;

    /// Hands each value to the sink, in order.
    #[doc(hidden)]
    fn feed<'a, S: Sink<'a>>(&'a self, sink: &mut S) -> Result<()>;
}

/// The destination of parameters.
#[doc(hidden)]
pub trait Sink<'a> {
    /// The next value by position.
    fn positional(&mut self, value: ToSqlOutput<'a>) -> Result<()>;
    /// A value by name.
    fn named(&mut self, name: &'a str, value: ToSqlOutput<'a>) -> Result<()>;
}

/// Parameters in order, for [`execute`](crate::Connection::execute) and similar functions.
///
/// ```no_run
/// use stockade_sdk::{Connection, Result, params};
/// fn add(name: &str, age: Option<u8>) -> Result<()> {
///     Connection::open()?.execute("INSERT INTO person VALUES (?, ?)", params![name, age])?;
///     Ok(())
/// }
/// ```
#[macro_export]
macro_rules! params {
    () => { &[] as &[&dyn $crate::ToSql] };
    ($($value:expr),+ $(,)?) => { &[$(&$value as &dyn $crate::ToSql),+] as &[&dyn $crate::ToSql] };
}

/// Parameters by name, with or without the `:`, `@` or `$` of the SQL text.
///
/// ```no_run
/// use stockade_sdk::{Connection, Result, named_params};
/// fn add(name: &str) -> Result<()> {
///     let connection = Connection::open()?;
///     connection.execute("INSERT INTO person VALUES (:name)", named_params! { ":name": name })?;
///     Ok(())
/// }
/// ```
#[macro_export]
macro_rules! named_params {
    () => { &[] as &[(&str, &dyn $crate::ToSql)] };
    ($($name:literal : $value:expr),+ $(,)?) => {
        &[$(($name, &$value as &dyn $crate::ToSql)),+] as &[(&str, &dyn $crate::ToSql)]
    };
}

/// Packs parameters into a buffer, in the order of the statement's parameters.
pub(crate) struct Packer<'b> {
    into: &'b mut Vec<u8>,
    count: usize,
}

impl<'b> Packer<'b> {
    /// Packs values by position at the end of `into`, and returns how many there were.
    ///
    /// # Errors
    /// `invalid-argument` if SQLite has no such value. The appended bytes are removed.
    pub(crate) fn pack(into: &'b mut Vec<u8>, params: &impl Params) -> Result<usize> {
        let start = into.len();
        let mut packer = Packer { into, count: 0 };
        match params.feed(&mut packer) {
            Ok(()) => Ok(packer.count),
            Err(error) => {
                packer.into.truncate(start);
                Err(error)
            }
        }
    }
}

impl<'a> Sink<'a> for Packer<'_> {
    #[inline]
    fn positional(&mut self, value: ToSqlOutput<'a>) -> Result<()> {
        self.count += 1;
        pack::put(self.into, value.value())
    }

    fn named(&mut self, name: &'a str, _: ToSqlOutput<'a>) -> Result<()> {
        Err(Error::InvalidArgument(format!("`{name}`: parameters go by position here")))
    }
}

/// Collects parameters unpacked, for calls that take typed values and for parameters by name.
#[derive(Default)]
pub(crate) struct Collector<'a> {
    /// Values in the order given; the name is empty for one by position.
    pub(crate) values: Vec<(&'a str, ToSqlOutput<'a>)>,
}

impl<'a> Collector<'a> {
    /// The values of `params`.
    ///
    /// # Errors
    /// `invalid-argument` if SQLite has no such value.
    pub(crate) fn collect(params: &'a impl Params) -> Result<Self> {
        let mut collector = Self::default();
        params.feed(&mut collector)?;
        Ok(collector)
    }

    /// Packs the named values in the order of `names`, the parameters of the statement.
    ///
    /// # Errors
    /// `invalid-argument` for a name that the statement does not have, and for a missing one.
    pub(crate) fn pack_by_name(&self, names: &[String], into: &mut Vec<u8>) -> Result<()> {
        for name in names {
            let wanted = bare(name);
            match self.values.iter().find(|(given, _)| bare(given) == wanted) {
                Some((_, value)) if !wanted.is_empty() => pack::put(into, value.value())?,
                _ => return Err(Error::InvalidArgument(format!("parameter `{name}` is missing"))),
            }
        }
        for (given, _) in &self.values {
            if !names.iter().any(|name| bare(name) == bare(given)) {
                return Err(Error::InvalidArgument(format!("there is no parameter `{given}`")));
            }
        }
        Ok(())
    }
}

impl<'a> Sink<'a> for Collector<'a> {
    fn positional(&mut self, value: ToSqlOutput<'a>) -> Result<()> {
        self.values.push(("", value));
        Ok(())
    }

    fn named(&mut self, name: &'a str, value: ToSqlOutput<'a>) -> Result<()> {
        self.values.push((name, value));
        Ok(())
    }
}

/// The name without the sign in front of it in SQL.
fn bare(name: &str) -> &str {
    name.strip_prefix([':', '@', '$', '?']).unwrap_or(name)
}

mod sealed {
    /// Keeps [`super::Params`] to the types listed there.
    pub trait Sealed {}
}

impl sealed::Sealed for () {}
impl Params for () {
    fn feed<'a, S: Sink<'a>>(&'a self, _: &mut S) -> Result<()> {
        Ok(())
    }
}

// The only array type of length 0, so that a bare `[]` has a type.
impl sealed::Sealed for [&dyn ToSql; 0] {}
impl Params for [&dyn ToSql; 0] {
    fn feed<'a, S: Sink<'a>>(&'a self, _: &mut S) -> Result<()> {
        Ok(())
    }
}

impl<T: ToSql> sealed::Sealed for [T] {}
impl<T: ToSql> Params for [T] {
    #[inline]
    fn feed<'a, S: Sink<'a>>(&'a self, sink: &mut S) -> Result<()> {
        self.iter().try_for_each(|value| sink.positional(value.to_sql()?))
    }
}

impl<T: ToSql> sealed::Sealed for Vec<T> {}
impl<T: ToSql> Params for Vec<T> {
    #[inline]
    fn feed<'a, S: Sink<'a>>(&'a self, sink: &mut S) -> Result<()> {
        self.as_slice().feed(sink)
    }
}

impl<T: ToSql + ?Sized> sealed::Sealed for [(&str, &T)] {}
impl<T: ToSql + ?Sized> Params for [(&str, &T)] {
    const NAMED: bool = true;

    fn feed<'a, S: Sink<'a>>(&'a self, sink: &mut S) -> Result<()> {
        self.iter().try_for_each(|(name, value)| sink.named(name, value.to_sql()?))
    }
}

impl<P: Params + ?Sized> sealed::Sealed for &P {}
impl<P: Params + ?Sized> Params for &P {
    const NAMED: bool = P::NAMED;

    #[inline]
    fn feed<'a, S: Sink<'a>>(&'a self, sink: &mut S) -> Result<()> {
        (**self).feed(sink)
    }
}

macro_rules! arrays {
    ($($length:literal)*) => {$(
        impl<T: ToSql> sealed::Sealed for [T; $length] {}
        impl<T: ToSql> Params for [T; $length] {
            #[inline]
            fn feed<'a, S: Sink<'a>>(&'a self, sink: &mut S) -> Result<()> {
                self.as_slice().feed(sink)
            }
        }
    )*};
}

arrays!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16);

macro_rules! tuples {
    ($($name:ident)*) => {
        impl<$($name: ToSql),*> sealed::Sealed for ($($name,)*) {}
        impl<$($name: ToSql),*> Params for ($($name,)*) {
            #[inline]
            fn feed<'a, S: Sink<'a>>(&'a self, sink: &mut S) -> Result<()> {
                #[allow(non_snake_case, reason = "a value is named as its type")]
                let ($($name,)*) = self;
                $(sink.positional($name.to_sql()?)?;)*
                Ok(())
            }
        }
    };
}

tuples!(A);
tuples!(A B);
tuples!(A B C);
tuples!(A B C D);
tuples!(A B C D E);
tuples!(A B C D E F);
tuples!(A B C D E F G);
tuples!(A B C D E F G H);
tuples!(A B C D E F G H I);
tuples!(A B C D E F G H I J);
tuples!(A B C D E F G H I J K);
tuples!(A B C D E F G H I J K L);
tuples!(A B C D E F G H I J K L M);
tuples!(A B C D E F G H I J K L M N);
tuples!(A B C D E F G H I J K L M N O);
tuples!(A B C D E F G H I J K L M N O P);

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(params: impl Params) -> (usize, Vec<u8>) {
        let mut into = Vec::new();
        let count = Packer::pack(&mut into, &params).unwrap();
        (count, into)
    }

    #[test]
    fn all_positional_forms_pack_alike() {
        let expected = packed((1_i64, 2_i64));
        assert_eq!(expected.0, 2);
        assert_eq!(packed([1_i64, 2]), expected);
        assert_eq!(packed(&[1_i64, 2][..]), expected);
        assert_eq!(packed(vec![1_i64, 2]), expected);
        assert_eq!(packed(params![1_i64, 2_i64]), expected);
        assert_eq!(packed([]), (0, vec![]));
        assert_eq!(packed(()), (0, vec![]));
        assert_eq!(packed(params![]), (0, vec![]));
    }

    #[test]
    fn a_failing_value_leaves_nothing_behind() {
        let mut into = vec![7];
        assert!(Packer::pack(&mut into, &(1, u64::MAX)).is_err());
        assert_eq!(into, [7]);
    }

    #[test]
    fn names_are_put_in_the_statement_s_order() {
        let names = [":a".to_owned(), "@b".to_owned(), "c".to_owned()];
        let given = named_params! { "$c": 3_i64, ":a": 1_i64, "b": 2_i64 };
        let mut into = Vec::new();
        Collector::collect(&given).unwrap().pack_by_name(&names, &mut into).unwrap();
        assert_eq!(into, packed((1_i64, 2_i64, 3_i64)).1);
    }

    #[test]
    fn unknown_and_missing_names_are_errors() {
        let names = [":a".to_owned()];
        for given in
            [named_params! { ":b": 1 }, named_params! {}, named_params! { ":a": 1, "x": 2 }]
        {
            let collected = Collector::collect(&given).unwrap();
            let result = collected.pack_by_name(&names, &mut Vec::new());
            assert!(matches!(result, Err(Error::InvalidArgument(_))));
        }
        let nameless = [String::new()];
        let collected = Collector::collect(&named_params! { "": 1 }).unwrap();
        assert!(collected.pack_by_name(&nameless, &mut Vec::new()).is_err());
    }
}
