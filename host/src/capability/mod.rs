//! stub
#![allow(missing_docs, dead_code)]
use std::{path::PathBuf, sync::Arc};
use stockade_depot::*;
use crate::{grip::Grip, limits::Limits, sqlite::*};
pub enum StartReason { Created, Woken, Recovered, Upgraded }
pub struct Birth { pub actor: ActorId, pub generation: Generation, pub component: Digest, pub start_reason: StartReason, pub limits: Arc<Limits>, pub session: Session, pub scratch_dir: PathBuf, pub sql_grip: Grip, pub grip: Grip, pub meter: Meter }
pub struct State { l: wasmtime::StoreLimits }
impl State { pub fn new(_: Birth) -> Result<State, SqlError> { Err(SqlError::NotOpen) } pub fn sqlite(&mut self) -> Option<&mut Connection> { None } pub fn begin_call(&mut self) {} pub fn close_sqlite(&mut self) {} pub fn limiter(&mut self) -> &mut dyn wasmtime::ResourceLimiter { &mut self.l } pub fn limiter_refusal(&self) -> Option<String> { None } }
pub fn linker(_: &wasmtime::Engine) -> wasmtime::Result<wasmtime::component::Linker<State>> { unimplemented!() }
