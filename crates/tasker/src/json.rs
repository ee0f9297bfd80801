//! The one JSON validator, which stands at every door.

/// The greatest size of a JSON text, in bytes: 1 MiB.
pub const MAX_BYTES: usize = 1 << 20;
/// The greatest depth of nesting: `[]` has 1.
pub const MAX_DEPTH: usize = 64;
