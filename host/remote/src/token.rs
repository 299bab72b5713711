//! A secret that clients present instead of a certificate. It opens the store and nothing else.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// The shortest token, in bytes. A shorter one could be guessed over a network.
const TOKEN_BYTES_MIN: usize = 16;
/// The longest token, in bytes.
const TOKEN_BYTES_MAX: usize = 1024;

/// The token of a store. `Debug` does not show it.
#[derive(Clone)]
pub struct StoreToken(String);

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum StoreTokenError {
    /// The file cannot be read.
    #[error("read the store's token from {}: {error}", .path.display())]
    Unread {
        /// The file.
        path: PathBuf,
        /// The cause.
        error: io::Error,
    },
    /// The text cannot be a token.
    #[error("a store's token has 16 to 1024 printable ASCII characters without spaces")]
    Invalid,
}

impl StoreToken {
    /// Makes a token from its text. White space around it, such as a file's last line end, is dropped.
    ///
    /// # Errors
    /// `Invalid`.
    pub fn new(text: &str) -> Result<Self, StoreTokenError> {
        let text = text.trim();
        let fits = (TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX).contains(&text.len());
        if !fits || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(StoreTokenError::Invalid);
        }
        Ok(Self(text.to_owned()))
    }

    /// Reads a token from a file.
    ///
    /// # Errors
    /// `StoreTokenError`.
    pub fn from_file(path: &Path) -> Result<Self, StoreTokenError> {
        let unread = |error| StoreTokenError::Unread { path: path.to_owned(), error };
        let mut text = String::new();
        let bounded = File::open(path).map_err(unread)?.take(2 * TOKEN_BYTES_MAX as u64);
        { bounded }.read_to_string(&mut text).map_err(unread)?;
        Self::new(&text)
    }

    /// As it is sent.
    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    /// Whether this text is the token. The time of the comparison does not depend on how many bytes
    /// are right.
    pub(crate) fn matches(&self, presented: &str) -> bool {
        let (own, presented) = (Sha256::digest(&self.0), Sha256::digest(presented));
        let differing = own.iter().zip(presented).fold(0, |all, (a, b)| all | (a ^ b));
        std::hint::black_box(differing) == 0
    }
}

impl fmt::Debug for StoreToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreToken(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_compared_whole_and_never_shown() {
        let token = StoreToken::new(" 0123456789abcdef\n").expect("long enough");
        assert!(token.matches("0123456789abcdef"));
        for other in ["", "0123456789abcde", "0123456789abcdeg", "0123456789abcdef\n"] {
            assert!(!token.matches(other), "{other:?}");
        }
        assert_eq!(format!("{token:?}"), "StoreToken(..)");
        for text in ["short", "with a space in the middle", &"x".repeat(1025)] {
            assert!(StoreToken::new(text).is_err(), "{text}");
        }
    }
}
