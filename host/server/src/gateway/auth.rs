//! Who may use a listener: the tokens, and which addresses only this machine reaches.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use sha2::{Digest, Sha256};

use super::origin::{HostName, Origin};

/// The shortest token, in bytes. A shorter one could be guessed over a network.
const TOKEN_BYTES_MIN: usize = 16;
/// The longest token, in bytes. It has to fit into a header beside others.
pub(crate) const TOKEN_BYTES_MAX: usize = 1024;

/// A secret that callers or operators present as `Authorization: Bearer`.
///
/// Only its hash is kept, so that neither a log nor a core file of the gateway shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token([u8; 32]);

/// The tokens and names that both listeners accept.
#[derive(Clone, Debug)]
pub struct Access {
    /// What callers present. `None`: callers present nothing, which is allowed on loopback alone.
    pub callers: Option<Token>,
    /// What operators present. This token opens everything.
    pub operators: Token,
    /// The file of the operators' token, if the token is the data directory's.
    pub operators_file: Option<PathBuf>,
    /// Sites whose pages may call actors.
    pub origins: Vec<Origin>,
    /// Names under which proxies reach this host.
    pub hosts: Vec<HostName>,
}

/// The text cannot be a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a token has 16 to 1024 printable ASCII characters without spaces")]
pub struct InvalidToken;

impl Token {
    /// Makes a token from its text. White space around the text, such as a file's last line end, is
    /// dropped.
    ///
    /// # Errors
    /// `InvalidToken` if the text is too short for a secret, or could not be sent in a header.
    pub fn new(text: &str) -> Result<Self, InvalidToken> {
        let text = text.trim();
        let fits = (TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX).contains(&text.len());
        if !fits || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(InvalidToken);
        }
        Ok(Self(Sha256::digest(text.as_bytes()).into()))
    }

    /// Whether these bytes are the token. The time of the comparison does not depend on how many
    /// bytes are right.
    #[must_use]
    pub fn matches(&self, presented: &[u8]) -> bool {
        let presented: [u8; 32] = Sha256::digest(presented).into();
        let differing = self.0.iter().zip(presented).fold(0, |all, (a, b)| all | (a ^ b));
        std::hint::black_box(differing) == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Whether only this machine can reach the address.
#[must_use]
pub fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_matches_itself_only() {
        let token = Token::new("0123456789abcdef\n").expect("valid");
        assert!(token.matches(b"0123456789abcdef"));
        assert!(!token.matches(b"0123456789abcdeF"));
        assert!(!token.matches(b"0123456789abcdef0"));
        assert!(!token.matches(b""));
        assert_eq!(format!("{token:?}"), "Token(..)");
    }

    #[test]
    fn weak_or_unsendable_tokens_are_refused() {
        for text in ["", "short", "with spaces inside it", "ümlaut-0123456789"] {
            assert_eq!(Token::new(text).map(|_| ()), Err(InvalidToken), "{text:?}");
        }
    }

    #[test]
    fn loopback_is_recognized_in_every_spelling() {
        for (text, expected) in [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("0.0.0.0", false),
            ("::", false),
            ("10.0.0.1", false),
        ] {
            assert_eq!(is_loopback(text.parse().expect("address")), expected, "{text}");
        }
    }
}
