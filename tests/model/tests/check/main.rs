//! Every state of every machine, and every broken variant caught.
//!
//! `MODEL=large` takes the larger bounds (`make model`).

mod exhaustive;
mod sizes;
mod variants;
