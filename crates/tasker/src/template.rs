//! Templates in workflow files.
