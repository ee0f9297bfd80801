//! SHA-256 in hexadecimal.

use sha2::{Digest, Sha256};

/// The digest of the parts, one after the other.
pub(crate) fn hex<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(part);
    }
    digest.finalize().iter().map(|b| format!("{b:02x}")).collect()
}
