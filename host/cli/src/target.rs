//! Names on the command line and in URLs: `KIND/KEY`.

use std::str::FromStr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use stockade_depot::ActorId;
use stockade_depot::id::InvalidActorId;

/// The characters to encode: all but those that RFC 3986 calls unreserved.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// An actor as people write it. The key may hold more slashes.
#[derive(Clone, Debug)]
pub(super) struct Target(pub(super) ActorId);

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((kind, key)) = text.split_once('/') else {
            return Err("an actor is written KIND/KEY, for example counter/alice".to_owned());
        };
        ActorId::existing(kind, key).map(Self).map_err(|error: InvalidActorId| error.to_string())
    }
}

/// The name of a kind, checked before a server is asked.
#[derive(Clone, Debug)]
pub(super) struct KindName(String);

impl FromStr for KindName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Any key is valid here, so an error is about the kind.
        let named = ActorId::new(text, "key").map_err(|error| error.to_string())?;
        Ok(Self(named.kind().to_owned()))
    }
}

impl std::fmt::Display for KindName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::ops::Deref for KindName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Target {
    /// `/kind/key` for a URL.
    pub(super) fn path(&self) -> String {
        format!("/{}/{}", segment(self.0.kind()), segment(self.0.key()))
    }
}

/// A name as one segment of a URL's path, or a value of its query.
pub(super) fn segment(name: &str) -> String {
    utf8_percent_encode(name, SEGMENT).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_their_slashes_and_lose_their_dangers() {
        let target: Target = "room/eu/1 ?#ü".parse().expect("an actor");
        assert_eq!(target.0.key(), "eu/1 ?#ü");
        assert_eq!(target.path(), "/room/eu%2F1%20%3F%23%C3%BC");
    }

    #[test]
    fn what_is_no_actor_is_told_how_to_write_one() {
        assert!("counter".parse::<Target>().expect_err("no key").contains("KIND/KEY"));
        assert!("Counter/a".parse::<Target>().is_err());
        assert!("counter/".parse::<Target>().is_err());
        assert!("Counter".parse::<KindName>().is_err());
        assert_eq!(&*"counter".parse::<KindName>().expect("a kind"), "counter");
    }
}
