//! The configuration as it is written: tables whose keys are taken by name. What is missing, of another type, or taken by
//! nobody is a mistake with its line; reading goes on after each, so that all are reported at once. The notation is TOML, or
//! YAML where the file's name says so: both are read into one tree.

use super::Mistake;
use super::tree::{Entry, Value, toml};
use super::yaml::yaml;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A text with what was found in it.
pub struct Page {
    /// Lines that cannot be read: what else seems wrong there, or seems to be missing, may only be unreadable.
    broken: BTreeSet<usize>,
    mistakes: RefCell<Vec<Mistake>>,
    places: RefCell<Places>,
    asked: RefCell<BTreeSet<String>>,
}

/// On which line each key stands, by its path: `feed.pas.peer`, `issuer[0].jwks`.
pub type Places = BTreeMap<String, usize>;

/// One table. Dropped, it reports the keys that nobody asked for.
pub struct Section<'p> {
    page: &'p Page,
    /// `feed.pas`; empty for the whole file.
    key: String,
    /// `feed.NAME`: its name in the dictionary.
    kind: String,
    line: usize,
    /// `None`: it is missing, which was said once.
    table: Option<&'p Vec<Entry>>,
    known: RefCell<BTreeSet<&'static str>>,
    /// Its keys are names that the operator chooses.
    open: bool,
}

/// A value with the place where it stands.
pub struct Word<T> {
    pub value: T,
    pub key: String,
    pub line: usize,
}

/// What a text was read as.
pub struct Reading<T> {
    /// As far as it could be made out.
    pub meant: T,
    /// In order of line; none: `meant` is what was written.
    pub mistakes: Vec<Mistake>,
    pub places: Places,
    /// The keys that were looked for, by their names in the dictionary.
    pub asked: BTreeSet<String>,
}

impl<T> Reading<T> {
    /// What was meant, if there is no mistake.
    pub fn whole(self) -> Result<T, Vec<Mistake>> {
        if self.mistakes.is_empty() { Ok(self.meant) } else { Err(self.mistakes) }
    }
}

/// Reads a text and walks it.
pub fn read<T>(text: &str, file: &Path, walk: impl FnOnce(&Page, &Section) -> T) -> Reading<T> {
    let in_yaml = file.extension().is_some_and(|kind| kind == "yaml" || kind == "yml");
    let (whole, mistakes) = if in_yaml { yaml(text) } else { toml(text) };
    let page = Page {
        broken: mistakes.iter().map(|mistake| mistake.line).collect(),
        mistakes: RefCell::new(mistakes),
        places: RefCell::default(),
        asked: RefCell::default(),
    };
    let meant = walk(&page, &page.section(String::new(), String::new(), 0, whole.table(), false));
    let Page { mistakes, places, asked, .. } = page;
    let mut mistakes = mistakes.into_inner();
    in_order(&mut mistakes);
    Reading { meant, mistakes, places: places.into_inner(), asked: asked.into_inner() }
}

/// Of line, each once.
pub fn in_order(mistakes: &mut Vec<Mistake>) {
    mistakes.sort_by(|one, other| (one.line, &one.key).cmp(&(other.line, &other.key)));
    mistakes.dedup();
}

impl Page {
    pub fn wrong<T>(&self, at: &Word<T>, reason: impl Into<String>) {
        self.mistake(at.line, at.key.clone(), reason);
    }

    fn mistake(&self, line: usize, key: impl Into<String>, reason: impl Into<String>) {
        if self.broken.contains(&line) {
            return;
        }
        self.mistakes.borrow_mut().push(Mistake { line, key: key.into(), reason: reason.into() });
    }

    fn section<'p>(&'p self, key: String, kind: String, line: usize, table: Option<&'p Vec<Entry>>, open: bool) -> Section<'p> {
        self.places.borrow_mut().insert(key.clone(), line);
        Section { page: self, key, kind, line, table, known: RefCell::default(), open }
    }

    /// A value of the kind that `take` takes.
    fn word<'p, T>(&self, key: String, value: &'p Value, kind: &str, take: impl FnOnce(&'p Value) -> Option<T>) -> Option<Word<T>> {
        let line = value.line;
        self.places.borrow_mut().insert(key.clone(), line);
        match take(value) {
            Some(value) => Some(Word { value, key, line }),
            None => {
                self.mistake(line, key, format!("this is {}; write {kind}", value.in_words()));
                None
            }
        }
    }
}

impl<'p> Section<'p> {
    /// The section as a place to report at.
    pub fn here(&self) -> Word<()> {
        Word { value: (), key: self.key.clone(), line: self.line }
    }

    pub fn text(&self, name: &'static str) -> Option<Word<String>> {
        self.required(name, "a text in quotes", Value::text)
    }

    pub fn text_if_any(&self, name: &'static str) -> Option<Word<String>> {
        self.optional(name, "a text in quotes", Value::text)
    }

    pub fn number_if_any(&self, name: &'static str) -> Option<Word<u64>> {
        self.optional(name, "a whole number above 0", Value::number)
    }

    /// The texts of a list; `None` where it is missing or wrong.
    pub fn texts(&self, name: &'static str) -> Option<Word<Vec<Word<String>>>> {
        let list = self.required(name, "a list of texts: [\"...\"]", Value::list)?;
        Some(self.elements(list))
    }

    pub fn texts_if_any(&self, name: &'static str) -> Vec<Word<String>> {
        let list = self.optional(name, "a list of texts: [\"...\"]", Value::list);
        list.map(|list| self.elements(list).value).unwrap_or_default()
    }

    fn elements(&self, list: Word<&'p Vec<Value>>) -> Word<Vec<Word<String>>> {
        let element = |element| {
            let take = |value: &Value| value.text();
            self.page.word(list.key.clone(), element, "a text in quotes", take)
        };
        let elements = list.value.iter().filter_map(element).collect();
        Word { value: elements, key: list.key.clone(), line: list.line }
    }

    /// A table that must be there; where it is not, one that asks for nothing more.
    pub fn section(&self, name: &'static str) -> Section<'p> {
        let found = self.required(name, "a table", Value::table);
        self.child(name, found, false)
    }

    pub fn section_if_any(&self, name: &'static str) -> Section<'p> {
        let found = self.optional(name, "a table", Value::table);
        self.child(name, found, false)
    }

    /// A table, where it is given.
    pub fn section_where_given(&self, name: &'static str) -> Option<Section<'p>> {
        self.find(name).map(|_| self.section_if_any(name))
    }

    /// A table, or the text that stands in its place.
    pub fn section_or_text(&self, name: &'static str) -> Result<Section<'p>, Word<String>> {
        match self.find(name).and_then(|entry| Some((entry, entry.value.text()?))) {
            Some((entry, text)) => {
                let (key, line) = (self.path(name), entry.value.line);
                self.page.places.borrow_mut().insert(key.clone(), line);
                Err(Word { value: text, key, line })
            }
            None => Ok(self.section(name)),
        }
    }

    /// The tables under names that the operator chooses: `[feed.NAME]`.
    pub fn named(&self, name: &'static str) -> Vec<(String, Section<'p>)> {
        let found = self.optional(name, "a table", Value::table);
        let group = self.child(name, found, true);
        let kind = format!("{}.NAME", group.kind);
        let mut named = Vec::new();
        for Entry { name, line, value } in group.table.into_iter().flatten() {
            let path = format!("{}.{name}", group.key);
            let found = self.page.word(path.clone(), value, "a table", Value::table);
            named.push((name.clone(), self.page.section(path, kind.clone(), *line, found.map(|word| word.value), false)));
        }
        named
    }

    /// The texts under names that the operator chooses: `assigners = { NAME = "..." }`.
    pub fn named_texts(&self, name: &'static str) -> Vec<(String, Word<String>)> {
        let found = self.optional(name, "a table: { NAME = \"...\" }", Value::table);
        let group = self.child(name, found, true);
        let entries = group.table.into_iter().flatten();
        entries
            .filter_map(|Entry { name, value, .. }| {
                let path = format!("{}.{name}", group.key);
                Some((name.clone(), self.page.word(path, value, "a text in quotes", Value::text)?))
            })
            .collect()
    }

    /// The tables of a list: `[[issuer]]`.
    pub fn list(&self, name: &'static str) -> Vec<Section<'p>> {
        let Some(list) = self.optional(name, "a list of tables", Value::list) else { return Vec::new() };
        let kind = format!("{}[]", self.kind_of(name));
        let entry = |(at, value): (usize, &'p Value)| {
            let found = self.page.word(format!("{}[{at}]", list.key), value, "a table", Value::table)?;
            Some(self.page.section(found.key, kind.clone(), found.line, Some(found.value), false))
        };
        list.value.iter().enumerate().filter_map(entry).collect()
    }

    fn child(&self, name: &str, found: Option<Word<&'p Vec<Entry>>>, open: bool) -> Section<'p> {
        let kind = self.kind_of(name);
        match found {
            Some(word) => self.page.section(word.key, kind, word.line, Some(word.value), open),
            None => self.page.section(self.path(name), kind, self.line, None, open),
        }
    }

    fn required<T>(&self, name: &'static str, kind: &str, take: impl FnOnce(&'p Value) -> Option<T>) -> Option<Word<T>> {
        let missing = self.table.is_some() && self.find(name).is_none();
        if missing && self.page.broken.is_empty() {
            self.page.mistake(self.line, self.path(name), format!("missing; write {kind}"));
        }
        self.optional(name, kind, take)
    }

    fn optional<T>(&self, name: &'static str, kind: &str, take: impl FnOnce(&'p Value) -> Option<T>) -> Option<Word<T>> {
        let entry = self.find(name)?;
        self.page.word(self.path(name), &entry.value, kind, take)
    }

    fn find(&self, name: &'static str) -> Option<&'p Entry> {
        self.known.borrow_mut().insert(name);
        self.page.asked.borrow_mut().insert(self.kind_of(name));
        self.table?.iter().find(|entry| entry.name == name)
    }

    fn path(&self, name: &str) -> String {
        under(&self.key, name)
    }

    fn kind_of(&self, name: &str) -> String {
        under(&self.kind, name)
    }
}

impl Drop for Section<'_> {
    fn drop(&mut self) {
        if self.open {
            return;
        }
        let known = self.known.borrow();
        for entry in self.table.into_iter().flatten() {
            if !known.contains(entry.name.as_str()) {
                let names = known.iter().copied().collect::<Vec<_>>().join(", ");
                let meant = nearest(&entry.name, known.iter().copied());
                let meant = meant.map(|name| format!("did you mean {name}? ")).unwrap_or_default();
                self.page.mistake(entry.line, self.path(&entry.name), format!("unknown key; {meant}known here: {names}"));
            }
        }
    }
}

fn under(key: &str, name: &str) -> String {
    if key.is_empty() { name.to_owned() } else { format!("{key}.{name}") }
}

/// Of some names the one that was probably meant.
fn nearest<'n>(word: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    names.filter_map(|name| Some((slips(word, name)?, name))).min().map(|(_, name)| name)
}

/// How many slips of the hand a word is away from a name; `None`: too many for it to have been meant.
pub fn slips(word: &str, name: &str) -> Option<usize> {
    let slips = strsim::osa_distance(&word.to_ascii_lowercase(), &name.to_ascii_lowercase());
    (slips <= (word.len().min(name.len()) / 3).max(1)).then_some(slips)
}
