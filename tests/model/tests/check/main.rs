//! Every state of every machine, and every broken variant caught.
//!
//! `MODEL=large` takes the larger bounds (`make model`).

#![allow(clippy::print_stdout, reason = "a search tells how far it went")]

mod exhaustive;
mod sizes;
mod variants;
