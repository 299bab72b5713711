//! Which actors the actors of a kind may call: the setting `calls` of a manifest.
//!
//! ```text
//!  *              every actor
//!  KIND           every actor of the kind
//!  KIND/KEY       one actor
//!  KIND/PREFIX*   those of the kind whose keys begin so
//! ```
//! Invariant: without the setting none is granted.

use stockade_depot::ActorId;

use crate::limits::GRANTS_MAX;

/// What the actors of a kind may call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants(Vec<Grant>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Grant {
    All,
    Kind(String),
    Actor(ActorId),
    Prefix { kind: String, prefix: String },
}

impl Grants {
    /// The grants that the texts state.
    ///
    /// # Errors
    /// A sentence that names the first text which is none, or the bound.
    pub fn of(texts: &[String]) -> Result<Self, String> {
        let (count_max, bytes_max) = GRANTS_MAX;
        let bytes = texts.iter().map(String::len).fold(0, usize::saturating_add);
        if texts.len() > count_max || bytes > bytes_max {
            return Err(format!(
                "calls has {} patterns of {bytes} bytes; at most {count_max} patterns of {bytes_max} \
                 bytes are possible",
                texts.len()
            ));
        }
        let grants: Result<Vec<Grant>, &String> =
            texts.iter().map(|text| Grant::of(text).ok_or(text)).collect();
        grants.map(Self).map_err(|text| {
            let text: String = text.chars().take(80).collect();
            format!("calls has {text:?}; possible are *, KIND, KIND/KEY and KIND/PREFIX*")
        })
    }

    /// Whether the actor may be called.
    #[must_use]
    pub fn allow(&self, actor: &ActorId) -> bool {
        self.0.iter().any(|grant| match grant {
            Grant::All => true,
            Grant::Kind(kind) => kind == actor.kind(),
            Grant::Actor(granted) => granted == actor,
            Grant::Prefix { kind, prefix } => {
                kind == actor.kind() && actor.key().starts_with(prefix)
            }
        })
    }

    /// The line of a manifest that would grant a call of the actor.
    #[must_use]
    pub fn line(actor: &ActorId) -> String {
        format!("calls = [\"{}\"]", actor.kind())
    }
}

impl Grant {
    fn of(text: &str) -> Option<Self> {
        let is_kind = |kind: &str| ActorId::new(kind, "key").is_ok();
        if text == "*" {
            return Some(Self::All);
        }
        let Some((kind, key)) = text.split_once('/') else {
            return is_kind(text).then(|| Self::Kind(text.to_owned()));
        };
        match key.strip_suffix('*') {
            Some(prefix) if is_kind(kind) => {
                Some(Self::Prefix { kind: kind.to_owned(), prefix: prefix.to_owned() })
            }
            Some(_) => None,
            None => ActorId::new(kind, key).ok().map(Self::Actor),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allow(texts: &[&str], kind: &str, key: &str) -> bool {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        let grants = Grants::of(&texts).expect("patterns");
        grants.allow(&ActorId::new(kind, key).expect("a name"))
    }

    #[test]
    fn what_is_not_granted_is_refused() {
        assert!(!allow(&[], "room", "a"));
        assert!(allow(&["*"], "room", "a"));
        assert!(allow(&["room"], "room", "a") && !allow(&["room"], "rooms", "a"));
        assert!(allow(&["room/a"], "room", "a") && !allow(&["room/a"], "room", "ab"));
        assert!(allow(&["room/a*"], "room", "ab") && !allow(&["room/a*"], "room", "b"));
        assert!(allow(&["x", "room/*"], "room", "any/key") && !allow(&["room/*"], "x", "any/key"));
    }

    #[test]
    fn what_is_no_pattern_is_refused_by_name() {
        for wrong in ["", "/", "room/", "Room", "**", "*/a", "*x", "/a*"] {
            let refused = Grants::of(&[wrong.to_owned()]).expect_err(wrong);
            assert!(refused.contains(&format!("{wrong:?}")), "{refused}");
        }
        assert!(Grants::of(&vec!["a".to_owned(); GRANTS_MAX.0 + 1]).is_err());
        let actor = ActorId::new("room", "a").expect("a name");
        assert_eq!(Grants::line(&actor), "calls = [\"room\"]");
    }
}
