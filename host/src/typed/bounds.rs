//! Numbers that bound the typed layer, with unit and reason.

/// Functions that a component may export from its own interfaces. 1,000: real ones have dozens.
pub const FUNCTIONS_MAX: usize = 1_000;

/// Nodes of all parameter and result types of a component. 100,000: types are trees once they
/// are written out, and a few lines of nested records can write out to millions.
pub const TYPE_NODES_MAX: usize = 100_000;

/// Bytes of all names in those types. 1 MiB: they are repeated in descriptions and records.
pub const TYPE_NAME_BYTES_MAX: usize = 1024 * 1024;

/// Bytes that the values of one call's arguments may take in the host's memory. 256 MiB: a
/// `list<u8>` of the default payload fits, and `[{},{},..]` of wide records does not explode.
pub const VALUE_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Bytes of one value in the host's memory, whatever it is of.
pub const VALUE_BYTES: usize = size_of::<wasmtime::component::Val>();

/// Bytes of WAVE text. 1 MiB: it is typed by hand; programs send JSON.
pub const WAVE_BYTES_MAX: usize = 1024 * 1024;

/// Characters of a type, a path or a value quoted in an error. 160: two lines of a terminal.
pub const QUOTE_CHARS_MAX: usize = 160;

/// Names listed in an error about an unknown name. 20: what a person reads.
pub const NAMES_LISTED_MAX: usize = 20;
