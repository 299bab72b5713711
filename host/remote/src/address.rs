//! Where a store of another node is: `stockade://HOST:PORT`.

use std::fmt;

/// The port if an address has none.
const PORT: u16 = 7073;

/// The address of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteAddress {
    host: String,
    port: u16,
}

/// Why an address cannot be used. None repeats it: it may hold a secret by mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It has another form.
    #[error("write stockade://HOST:PORT, for example stockade://10.0.0.1:7073")]
    Form,
    /// It has a user, a password, a path or options.
    #[error(
        "the address has host and port only: a token goes into a file for --store-token-file, which \
         process lists and histories do not show"
    )]
    More,
}

impl RemoteAddress {
    /// Reads an address.
    ///
    /// # Errors
    /// `AddressError`.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let rest = text.strip_prefix("stockade://").ok_or(AddressError::Form)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['@', '/', '?', '#']) {
            return Err(AddressError::More);
        }
        let (host, port) = match rest.rsplit_once(':') {
            // The colons of a bare IPv6 address.
            Some((_, port)) if port.ends_with(']') => (rest, None),
            Some((host, port)) => (host, Some(port)),
            None => (rest, None),
        };
        let port = match port {
            Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or(AddressError::Form)?,
            None => PORT,
        };
        let inside = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_whole = match inside {
            Some(inside) => inside.parse::<std::net::Ipv6Addr>().is_ok(),
            None => {
                let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
                (1..=253).contains(&host.len()) && host.chars().all(plain)
            }
        };
        if !is_whole {
            return Err(AddressError::Form);
        }
        Ok(Self { host: host.to_owned(), port })
    }

    /// As the system resolves it.
    pub(crate) fn target(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl fmt::Display for RemoteAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stockade://{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for (text, shown) in [
            ("stockade://one:7000", "stockade://one:7000"),
            ("stockade://one.example/", "stockade://one.example:7073"),
            ("stockade://[::1]:9", "stockade://[::1]:9"),
            ("stockade://[::1]", "stockade://[::1]:7073"),
            ("stockade://10.0.0.1", "stockade://10.0.0.1:7073"),
        ] {
            let read = RemoteAddress::parse(text).expect(text);
            assert_eq!(read.to_string(), shown);
        }
        for text in ["one:7", "stockade://", "stockade://a:0", "stockade://a:b", "stockade://::1:7"]
        {
            assert_eq!(RemoteAddress::parse(text), Err(AddressError::Form), "{text}");
        }
        for text in ["stockade://u:secret@h:1", "stockade://h/path", "stockade://h?token=x"] {
            let refused = RemoteAddress::parse(text).expect_err(text);
            assert_eq!(refused, AddressError::More);
            assert!(!refused.to_string().contains("secret"));
        }
    }
}
