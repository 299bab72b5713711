//! stub
#![allow(missing_docs, dead_code)]
mod error; mod value; mod meter;
pub use error::*; pub use value::Value; pub use meter::*;
pub struct OperatorRows { pub columns: Vec<String>, pub rows: Vec<Vec<Value>>, pub changes: u64, pub more: bool }
pub struct Connection;
impl Connection { pub fn end_of_call(&mut self) {} pub fn run_operator(&mut self, _: &str, _: &[Value], _: bool, _: u64) -> Result<OperatorRows, SqlError> { Err(SqlError::NotOpen) } }
