//! Records of a Debian `Packages` file, read in place.
//!
//! ```text
//! Package: 0ad                 a field, up to the end of the line ...
//! Tag: game::strategy,
//!  interface::graphical        ... and the lines after it that begin with a blank
//!                              an empty line ends the record
//! ```
//!
//! It knows nothing of actors. [`sql`] has the statements that take records in.

pub mod sql;

/// The fields of one record that the catalog keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record<'t> {
    /// `Package`.
    pub name: &'t str,
    /// `Version`.
    pub version: &'t str,
    /// `Architecture`.
    pub architecture: &'t str,
    /// `Section`.
    pub section: &'t str,
    /// `Priority`.
    pub priority: &'t str,
    /// `Size`, in bytes; 0 if it is missing or no number.
    pub size: i64,
    /// `Installed-Size`, in KiB.
    pub installed_size: Option<i64>,
    /// `Maintainer`.
    pub maintainer: &'t str,
    /// `Homepage`.
    pub homepage: Option<&'t str>,
    /// `Depends`.
    pub depends: &'t str,
    /// `Description`, with the lines that belong to it.
    pub description: &'t str,
}

/// The records of `text`, which holds whole records. `None` stands for one without name or version.
pub fn records(text: &str) -> impl Iterator<Item = Option<Record<'_>>> {
    let mut rest = text;
    core::iter::from_fn(move || {
        rest = rest.trim_start_matches(['\n', '\r']);
        if rest.is_empty() {
            return None;
        }
        let (record, after) = take(rest);
        rest = after;
        Some(Some(record).filter(|record| !record.name.is_empty() && !record.version.is_empty()))
    })
}

/// Reads the record that `text` begins with. Returns the rest of the text as well.
fn take(text: &str) -> (Record<'_>, &str) {
    let mut record = Record::default();
    let mut rest = text;
    while let Some((field, after)) = field(rest) {
        rest = after;
        if let Some((name, value)) = field.split_once(':') {
            record.set(name, value.trim());
        }
    }
    (record, rest)
}

/// The field that `text` begins with, with the lines that continue it; `None` at an empty line.
fn field(text: &str) -> Option<(&str, &str)> {
    if text.is_empty() || text.starts_with('\n') || text.starts_with("\r\n") {
        return None;
    }
    let mut end = 0;
    loop {
        end = text[end..].find('\n').map_or(text.len(), |at| end + at + 1);
        if !text[end..].starts_with([' ', '\t']) {
            return Some(text.split_at(end));
        }
    }
}

impl<'t> Record<'t> {
    fn set(&mut self, name: &str, value: &'t str) {
        match name {
            "Package" => self.name = value,
            "Version" => self.version = value,
            "Architecture" => self.architecture = value,
            "Section" => self.section = value,
            "Priority" => self.priority = value,
            "Size" => self.size = value.parse().unwrap_or(0),
            "Installed-Size" => self.installed_size = value.parse().ok(),
            "Maintainer" => self.maintainer = value,
            "Homepage" => self.homepage = Some(value),
            "Depends" => self.depends = value,
            "Description" => self.description = value,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\nPackage: a\nVersion: 1:2-3\nTag: x,\n y,\n z\nSize: 12\n\n\n\
        Package: b\nDescription: one\n two\nVersion: 2\nInstalled-Size: 7\nnot a field";

    #[test]
    fn fields_and_their_continuations_are_read_in_place() {
        let records: Vec<_> = records(TEXT).collect();
        let a = Record { name: "a", version: "1:2-3", size: 12, ..Record::default() };
        let b = Record {
            name: "b",
            version: "2",
            installed_size: Some(7),
            description: "one\n two",
            ..Record::default()
        };
        assert_eq!(records, [Some(a), Some(b)]);
    }

    #[test]
    fn a_record_without_version_is_reported_in_its_place() {
        let found: Vec<_> = records("Package: a\nVersion: 1\n\nPackage: b\n").collect();
        assert_eq!(found.len(), 2);
        assert!(found[0].is_some() && found[1].is_none());
        assert_eq!(records("\n\r\n").count(), 0);
        assert_eq!(records("Package: a\r\nVersion: 1\r\n\r\nPackage: b\r\nVersion: 2").count(), 2);
    }
}
