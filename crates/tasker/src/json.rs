//! The one JSON validator, which stands at every door.
