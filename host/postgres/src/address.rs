//! Where the server is, how the way there is secured, and who signs in.
//!
//! ```text
//! postgres://USER@HOST:PORT,HOST:PORT/DATABASE?sslmode=MODE&sslrootcert=FILE&standby=yes&name=NAME
//! ```
//! The password never stands in the address: what is typed there ends up in histories, process lists
//! and logs. It comes from an environment variable or from a file. `standby` is a property of the
//! server, so it travels with the address: no process of a store forgets it. So does `name`, which tells
//! the primaries of one store apart.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

use crate::limits;
use crate::tls::Tls;

/// What PostgreSQL is asked for where the address has no `options` of its own: plans that do not
/// change with the values, and that never look at whole tables; and that a transaction ends which a
/// machine that is frozen or gone has left open, since others wait for its locks. 3 s: they get
/// through within [`limits::WRITE_DEADLINE`].
const OPTIONS: &str = "-c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c jit=off \
    -c idle_in_transaction_session_timeout=3000";

/// Why an address cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It does not begin like one.
    #[error("the address must begin with postgres:// or postgresql://")]
    Scheme,
    /// It holds a password.
    #[error(
        "the address must not hold a password: give it in an environment variable or in a file"
    )]
    Password,
    /// A part of it means nothing.
    #[error("the address is malformed: {0}")]
    Malformed(String),
    /// It names no database, no user or no host.
    #[error("the address must name a user, a host and a database")]
    Incomplete,
    /// It names an unknown `sslmode`.
    #[error("sslmode must be disable, require or verify-full")]
    Mode,
    /// It says of the standby what means nothing.
    #[error("standby must be yes or no")]
    Standby,
    /// It gives the primary a name that none may have.
    #[error("name must be 1 to {} characters of a-z, 0-9 or '-'", limits::NAME_BYTES_MAX)]
    Name,
    /// `verify-full`, which is meant where nothing is said, needs authorities to trust.
    #[error(
        "sslmode=verify-full needs sslrootcert=FILE, the certificates of the server's authorities \
         (PEM); sslmode=require trusts any server, sslmode=disable is not secret"
    )]
    NoRoots,
    /// The file with the authorities cannot be used.
    #[error("sslrootcert {}: {what}", path.display())]
    Roots {
        /// The file.
        path: PathBuf,
        /// Why.
        what: String,
    },
    /// TLS cannot be set up.
    #[error("TLS: {0}")]
    Tls(String),
}

/// How the way to the server is secured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Security {
    /// Not at all.
    Disable,
    /// Secret, from any server.
    Require,
    /// Secret, and the server proves its name by these authorities.
    VerifyFull {
        /// Their certificates (PEM).
        roots: PathBuf,
    },
}

/// Where a store's server is. Its text has neither user nor password.
#[derive(Clone)]
pub struct PgAddress {
    /// One for each host, in order.
    hosts: Vec<tokio_postgres::Config>,
    security: Security,
    has_standby: bool,
    name: Option<String>,
    /// Hosts, ports and database.
    place: String,
}

impl PgAddress {
    /// Reads an address.
    ///
    /// # Errors
    /// What is wrong with it, without the address.
    pub fn parse(address: &str) -> Result<Self, AddressError> {
        let rest = address
            .strip_prefix("postgres://")
            .or_else(|| address.strip_prefix("postgresql://"))
            .ok_or(AddressError::Scheme)?;
        // A password may hold any sign, a question mark too: it reaches to the last `@`.
        if rest.rsplit_once('@').is_some_and(|(user, _)| user.contains(':')) {
            return Err(AddressError::Password);
        }
        let (before, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (mut mode, mut roots, mut has_standby, mut kept) = (None, None, false, Vec::new());
        let mut called = None;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match (percent_decode_str(name).decode_utf8_lossy().as_ref(), value) {
                ("password", _) => return Err(AddressError::Password),
                ("sslmode", value) => mode = Some(value),
                ("sslrootcert", value) => {
                    let path = percent_decode_str(value).decode_utf8_lossy();
                    roots = Some(PathBuf::from(path.as_ref()));
                }
                ("standby", "yes") => has_standby = true,
                ("standby", "no") => has_standby = false,
                ("standby", _) => return Err(AddressError::Standby),
                ("name", value) => called = Some(primary_name(value)?),
                _ => kept.push(pair),
            }
        }
        let security = match (mode, roots) {
            (Some("disable"), _) => Security::Disable,
            (Some("require"), _) => Security::Require,
            (Some("verify-full") | None, Some(roots)) => Security::VerifyFull { roots },
            (Some("verify-full") | None, None) => return Err(AddressError::NoRoots),
            (Some(_), _) => return Err(AddressError::Mode),
        };
        let (user, place) = before.rsplit_once('@').unwrap_or(("", before));
        let (hosts, database) = place.split_once('/').unwrap_or((place, ""));
        let one = |host: &str| {
            let address = format!("postgres://{user}@{host}/{database}?{}", kept.join("&"));
            let config = tokio_postgres::Config::from_str(&address)
                .map_err(|error| AddressError::Malformed(crate::failure::text(&error)))?;
            let is_whole = config.get_user().is_some_and(|user| !user.is_empty())
                && config.get_dbname().is_some_and(|name| !name.is_empty());
            if is_whole && !config.get_hosts().is_empty() {
                Ok(settled(config, &security))
            } else {
                Err(AddressError::Incomplete)
            }
        };
        let hosts = hosts.split(',').map(one).collect::<Result<Vec<_>, _>>()?;
        let place = server_of(&hosts);
        Ok(Self { hosts, security, has_standby, name: called, place })
    }

    /// How the way there is secured.
    #[must_use]
    pub fn security(&self) -> &Security {
        &self.security
    }

    /// Whether the server has a synchronous standby (`standby=yes`).
    #[must_use]
    pub fn has_standby(&self) -> bool {
        self.has_standby
    }

    /// What the primary is called (`name=`).
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// How to connect to each host, with `password`.
    pub(crate) fn hosts(&self, password: &Password) -> Vec<tokio_postgres::Config> {
        let mut hosts = self.hosts.clone();
        if let Some(secret) = &password.0 {
            for host in &mut hosts {
                host.password(secret);
            }
        }
        hosts
    }

    /// How connections are secured.
    pub(crate) fn tls(&self) -> Result<Tls, AddressError> {
        Tls::new(&self.security)
    }
}

/// A name that a primary may have.
fn primary_name(name: &str) -> Result<String, AddressError> {
    let is_name = (1..=limits::NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    if is_name { Ok(name.to_owned()) } else { Err(AddressError::Name) }
}

/// What holds for every host.
fn settled(mut config: tokio_postgres::Config, security: &Security) -> tokio_postgres::Config {
    config.ssl_mode(match security {
        Security::Disable => SslMode::Disable,
        Security::Require | Security::VerifyFull { .. } => SslMode::Require,
    });
    if config.get_options().is_none() {
        config.options(OPTIONS);
    }
    // A server that only reads cannot be a store's.
    config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    config.application_name("stockade");
    config.keepalives_idle(limits::KEEPALIVE_IDLE);
    config.tcp_user_timeout(limits::WRITE_DEADLINE);
    config
}

/// Host and port.
pub(crate) fn host_of(config: &tokio_postgres::Config) -> String {
    let port = config.get_ports().first().copied().unwrap_or(5432);
    match config.get_hosts().first() {
        Some(Host::Tcp(host)) => format!("{host}:{port}"),
        Some(Host::Unix(path)) => format!("{}:{port}", path.display()),
        None => String::new(),
    }
}

/// Hosts, ports and database.
fn server_of(hosts: &[tokio_postgres::Config]) -> String {
    let database = hosts.first().and_then(tokio_postgres::Config::get_dbname).unwrap_or_default();
    let hosts: Vec<String> = hosts.iter().map(host_of).collect();
    format!("postgres://{}/{database}", hosts.join(","))
}

impl fmt::Display for PgAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place)
    }
}

impl fmt::Debug for PgAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PgAddress({})", self.place)
    }
}

/// Why there is no password.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// The environment has no such variable, or its value is no text.
    #[error("the environment variable {0} is not set, or is not UTF-8")]
    Variable(String),
    /// The file cannot be read.
    #[error("password file {}: {error}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
}

/// What proves who signs in. Never printed.
#[derive(Clone, Default)]
pub struct Password(Option<Vec<u8>>);

impl Password {
    /// None: the server believes the user by other means.
    #[must_use]
    pub fn none() -> Self {
        Self(None)
    }

    /// The value of an environment variable.
    ///
    /// # Errors
    /// If it is not set.
    pub fn from_variable(name: &str) -> Result<Self, PasswordError> {
        match std::env::var(name) {
            Ok(secret) => Ok(Self(Some(secret.into_bytes()))),
            Err(_) => Err(PasswordError::Variable(name.to_owned())),
        }
    }

    /// What stands in a file, without the end of its last line.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn from_file(path: &Path) -> Result<Self, PasswordError> {
        let mut secret = std::fs::read(path)
            .map_err(|error| PasswordError::File { path: path.to_owned(), error })?;
        if secret.last() == Some(&b'\n') {
            secret.pop();
            if secret.last() == Some(&b'\r') {
                secret.pop();
            }
        }
        Ok(Self(Some(secret)))
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Password(set)" } else { "Password(none)" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(address: &str) -> AddressError {
        PgAddress::parse(address).map(|address| address.to_string()).unwrap_err()
    }

    #[test]
    fn an_address_tells_servers_and_security() {
        let address = PgAddress::parse(
            "postgres://app@db1:5433,db2:5434/store?sslmode=verify-full&sslrootcert=%2Fetc%2Fca.pem",
        )
        .unwrap();
        assert_eq!(address.to_string(), "postgres://db1:5433,db2:5434/store");
        let roots = PathBuf::from("/etc/ca.pem");
        assert_eq!(*address.security(), Security::VerifyFull { roots });
        let target = address.hosts[1].get_target_session_attrs();
        assert_eq!(target, TargetSessionAttrs::ReadWrite);
        assert_eq!(address.hosts[0].get_options(), Some(OPTIONS));
        let own = PgAddress::parse("postgresql://a@h/d?sslmode=disable&options=-c%20jit%3Don");
        assert_eq!(own.unwrap().hosts[0].get_options(), Some("-c jit=on"));
        assert!(!address.has_standby());
        let followed = PgAddress::parse("postgres://a@h/d?sslmode=disable&standby=yes").unwrap();
        assert!(followed.has_standby());
        assert_eq!(followed.name(), None);
        let named = PgAddress::parse("postgres://a@h/d?sslmode=disable&name=b-2").unwrap();
        assert_eq!(named.name(), Some("b-2"));
    }

    #[test]
    fn what_is_wrong_is_told_without_the_address() {
        assert_eq!(refused("host=h user=u"), AddressError::Scheme);
        assert_eq!(refused("postgres://u:secret@h/d?sslmode=disable"), AddressError::Password);
        assert_eq!(
            refused("postgres://u@h/d?sslmode=disable&password=secret"),
            AddressError::Password
        );
        for hidden in [
            "postgres://u:se?cret@h/d?sslmode=disable",
            "postgres://u:se/c@ret@h/d?sslmode=disable",
            "postgres://u@h/d?sslmode=disable&pass%77ord=secret",
        ] {
            assert_eq!(refused(hidden), AddressError::Password, "{hidden}");
        }
        assert_eq!(refused("postgres://u@h/d?sslmode=prefer"), AddressError::Mode);
        assert_eq!(refused("postgres://u@h/d?sslmode=disable&standby=on"), AddressError::Standby);
        for name in ["", "A", "a_b", "a%62", &"a".repeat(33)] {
            let named = format!("postgres://u@h/d?sslmode=disable&name={name}");
            assert_eq!(refused(&named), AddressError::Name);
        }
        assert_eq!(refused("postgres://u@h/d"), AddressError::NoRoots);
        assert_eq!(refused("postgres://u@h?sslmode=disable"), AddressError::Incomplete);
        let unknown = refused("postgres://u@h/d?sslmode=disable&colour=red");
        assert!(matches!(unknown, AddressError::Malformed(_)), "{unknown:?}");
    }

    #[test]
    fn a_password_is_not_shown() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "secret \r\n").unwrap();
        let password = Password::from_file(file.path()).unwrap();
        assert_eq!(password.0.as_deref(), Some(&b"secret "[..]));
        assert_eq!(format!("{password:?}"), "Password(set)");
        let address = PgAddress::parse("postgres://u@h/d?sslmode=disable").unwrap();
        assert!(!format!("{address:?} {:?}", address.hosts(&password)).contains("secret"));
        let missing = Password::from_variable("STOCKADE_NO_SUCH_VARIABLE").unwrap_err();
        assert!(missing.to_string().contains("STOCKADE_NO_SUCH_VARIABLE"));
    }
}
