//! The tables that Landbridge is built with, embedded in the binary, and the same from a folder.

use include_dir::{Dir, include_dir};
use std::borrow::Cow;
use std::io;
use std::path::Path;

static EMBEDDED: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR");

/// One table: its name below the dialect's folder without `.csv` (`segments/PID[Patient]`), and its text.
pub type Table = (String, Cow<'static, str>);

/// The tables of one dialect (`hl7v2`, `cda`, `r4`), in the order of their names.
pub struct Tables(Vec<Table>);

impl Tables {
    /// Those built in. A dialect that has none gives none.
    pub fn embedded(dialect: &str) -> Self {
        let mut tables = Vec::new();
        if let Some(dir) = EMBEDDED.get_dir(dialect) {
            walk(dir, dialect, &mut tables);
        }
        tables.sort();
        Self(tables)
    }

    /// Those of a folder laid out like `schemas/` (the folder itself, not the dialect's).
    pub fn from_dir(schemas: &Path, dialect: &str) -> io::Result<Self> {
        let mut tables = Vec::new();
        read(&schemas.join(dialect), "", &mut tables)?;
        tables.sort();
        Ok(Self(tables))
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, text)| (name.as_str(), text.as_ref()))
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(table, _)| *table == name).map(|(_, text)| text)
    }
}

/// Tables by name, from elsewhere.
impl FromIterator<(String, String)> for Tables {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(tables: I) -> Self {
        let mut tables: Vec<Table> = tables.into_iter().map(|(name, text)| (name, Cow::Owned(text))).collect();
        tables.sort();
        Self(tables)
    }
}

fn walk(dir: &Dir<'static>, dialect: &str, tables: &mut Vec<Table>) {
    for file in dir.files() {
        let name = file.path().to_str().and_then(|path| path.strip_prefix(dialect)?.strip_prefix('/')?.strip_suffix(".csv"));
        if let (Some(name), Some(text)) = (name, file.contents_utf8()) {
            tables.push((name.to_owned(), Cow::Borrowed(text)));
        }
    }
    dir.dirs().for_each(|dir| walk(dir, dialect, tables));
}

fn read(dir: &Path, below: &str, tables: &mut Vec<Table>) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if entry.file_type()?.is_dir() {
            read(&entry.path(), &format!("{below}{name}/"), tables)?;
        } else if let Some(stem) = name.strip_suffix(".csv") {
            tables.push((format!("{below}{stem}"), Cow::Owned(std::fs::read_to_string(entry.path())?)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn embedded_tables_are_those_of_the_folder() {
        let folder = Tables::from_dir(Path::new(env!("CARGO_MANIFEST_DIR")), "r4").unwrap();
        let embedded = Tables::embedded("r4");
        assert!(embedded.iter().eq(folder.iter()));
        assert!(embedded.get("shape").is_some_and(|text| text.starts_with("path,min,max,types,codes\n")));
        assert!(Tables::embedded("klingon").iter().next().is_none());
    }
}
