//! The configuration as it is written: tables whose keys are taken by name. What is missing, of another type, or taken by
//! nobody is a mistake with its line; reading goes on after each, so that all are reported at once.

use super::Mistake;
use std::cell::RefCell;
use std::collections::BTreeSet;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A text with the mistakes found in it.
pub struct Page<'t> {
    text: &'t str,
    /// Lines that are not TOML: what else seems wrong there, or seems to be missing, may only be unreadable.
    broken: BTreeSet<usize>,
    mistakes: RefCell<Vec<Mistake>>,
}

/// One table. Dropped, it reports the keys that nobody asked for.
pub struct Section<'p, 't> {
    page: &'p Page<'t>,
    /// `feed.pas`; empty for the whole file.
    key: String,
    line: usize,
    /// `None`: it is missing, which was said once.
    table: Option<&'p DeTable<'t>>,
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

/// Reads a text and walks it. `Err` holds every mistake, in order of line.
pub fn read<T>(text: &str, walk: impl FnOnce(&Page, &Section) -> T) -> Result<T, Vec<Mistake>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut page = Page { text, broken: BTreeSet::new(), mistakes: RefCell::default() };
    for error in errors {
        let line = error.span().map_or(0, |span| page.line(span.start));
        page.mistake(line, "", error.message());
        page.broken.insert(line);
    }
    let read = walk(&page, &page.section(String::new(), 0, Some(table.get_ref()), false));
    let mut mistakes = page.mistakes.into_inner();
    if mistakes.is_empty() {
        return Ok(read);
    }
    mistakes.sort_by(|one, other| (one.line, &one.key).cmp(&(other.line, &other.key)));
    mistakes.dedup();
    Err(mistakes)
}

impl<'t> Page<'t> {
    pub fn wrong<T>(&self, at: &Word<T>, reason: impl Into<String>) {
        self.mistake(at.line, at.key.clone(), reason);
    }

    fn mistake(&self, line: usize, key: impl Into<String>, reason: impl Into<String>) {
        if self.broken.contains(&line) {
            return;
        }
        self.mistakes.borrow_mut().push(Mistake { line, key: key.into(), reason: reason.into() });
    }

    fn line(&self, offset: usize) -> usize {
        1 + self.text.as_bytes()[..offset.min(self.text.len())].iter().filter(|byte| **byte == b'\n').count()
    }

    fn section<'p>(&'p self, key: String, line: usize, table: Option<&'p DeTable<'t>>, open: bool) -> Section<'p, 't> {
        Section { page: self, key, line, table, known: RefCell::default(), open }
    }

    /// A value of the kind that `take` takes.
    fn word<'p, T>(
        &self,
        key: String,
        value: &'p Spanned<DeValue<'t>>,
        kind: &str,
        take: impl FnOnce(&'p DeValue<'t>) -> Option<T>,
    ) -> Option<Word<T>> {
        let line = self.line(value.span().start);
        match take(value.get_ref()) {
            Some(value) => Some(Word { value, key, line }),
            None => {
                self.mistake(line, key, format!("this is {}; write {kind}", article(value.get_ref().type_str())));
                None
            }
        }
    }
}

impl<'p, 't> Section<'p, 't> {
    /// The section as a place to report at.
    pub fn here(&self) -> Word<()> {
        Word { value: (), key: self.key.clone(), line: self.line }
    }

    pub fn text(&self, name: &'static str) -> Option<Word<String>> {
        self.required(name, "a text in quotes", text)
    }

    pub fn text_if_any(&self, name: &'static str) -> Option<Word<String>> {
        self.optional(name, "a text in quotes", text)
    }

    pub fn number_if_any(&self, name: &'static str) -> Option<Word<u64>> {
        self.optional(name, "a whole number above 0", |value| {
            let number = value.as_integer()?;
            u64::from_str_radix(number.as_str(), number.radix()).ok()
        })
    }

    /// The texts of a list; `None` where it is missing or wrong.
    pub fn texts(&self, name: &'static str) -> Option<Word<Vec<Word<String>>>> {
        let list = self.required(name, "a list of texts: [\"...\"]", DeValue::as_array)?;
        Some(self.elements(list))
    }

    pub fn texts_if_any(&self, name: &'static str) -> Vec<Word<String>> {
        let list = self.optional(name, "a list of texts: [\"...\"]", DeValue::as_array);
        list.map(|list| self.elements(list).value).unwrap_or_default()
    }

    fn elements(&self, list: Word<&'p toml::de::DeArray<'t>>) -> Word<Vec<Word<String>>> {
        let elements =
            list.value.iter().filter_map(|element| self.page.word(list.key.clone(), element, "a text in quotes", text)).collect();
        Word { value: elements, key: list.key, line: list.line }
    }

    /// A table that must be there; where it is not, one that asks for nothing more.
    pub fn section(&self, name: &'static str) -> Section<'p, 't> {
        let found = self.required(name, "a table", DeValue::as_table);
        self.child(name, found, false)
    }

    pub fn section_if_any(&self, name: &'static str) -> Section<'p, 't> {
        let found = self.optional(name, "a table", DeValue::as_table);
        self.child(name, found, false)
    }

    /// A table, or the text that stands in its place.
    pub fn section_or_text(&self, name: &'static str) -> Result<Section<'p, 't>, Word<String>> {
        match self.find(name) {
            Some((_, value)) if value.get_ref().is_str() => {
                let word = self.page.word(self.path(name), value, "", text);
                word.map_or_else(|| Ok(self.child(name, None, false)), Err)
            }
            _ => Ok(self.section(name)),
        }
    }

    /// The tables under names that the operator chooses: `[feed.NAME]`.
    pub fn named(&self, name: &'static str) -> Vec<(String, Section<'p, 't>)> {
        let found = self.optional(name, "a table", DeValue::as_table);
        let group = self.child(name, found, true);
        let mut named = Vec::new();
        for (name, value) in group.table.into_iter().flatten() {
            let path = format!("{}.{}", group.key, name.get_ref());
            let found = self.page.word(path.clone(), value, "a table", DeValue::as_table);
            let line = self.page.line(name.span().start);
            named.push((name.get_ref().to_string(), self.page.section(path, line, found.map(|word| word.value), false)));
        }
        named
    }

    /// The texts under names that the operator chooses: `assigners = { NAME = "..." }`.
    pub fn named_texts(&self, name: &'static str) -> Vec<(String, Word<String>)> {
        let found = self.optional(name, "a table: { NAME = \"...\" }", DeValue::as_table);
        let group = self.child(name, found, true);
        let entries = group.table.into_iter().flatten();
        entries
            .filter_map(|(name, value)| {
                let path = format!("{}.{}", group.key, name.get_ref());
                Some((name.get_ref().to_string(), self.page.word(path, value, "a text in quotes", text)?))
            })
            .collect()
    }

    /// The tables of a list: `[[issuer]]`.
    pub fn list(&self, name: &'static str) -> Vec<Section<'p, 't>> {
        let Some(list) = self.optional(name, "a list of tables: [[issuer]]", DeValue::as_array) else { return Vec::new() };
        let entry = |(at, value): (usize, &'p Spanned<DeValue<'t>>)| {
            let found = self.page.word(format!("{}[{at}]", list.key), value, "a table", DeValue::as_table)?;
            Some(self.page.section(found.key, found.line, Some(found.value), false))
        };
        list.value.iter().enumerate().filter_map(entry).collect()
    }

    fn child(&self, name: &str, found: Option<Word<&'p DeTable<'t>>>, open: bool) -> Section<'p, 't> {
        match found {
            Some(word) => self.page.section(word.key, word.line, Some(word.value), open),
            None => self.page.section(self.path(name), self.line, None, open),
        }
    }

    fn required<T>(&self, name: &'static str, kind: &str, take: impl FnOnce(&'p DeValue<'t>) -> Option<T>) -> Option<Word<T>> {
        let missing = self.table.is_some() && self.find(name).is_none();
        if missing && self.page.broken.is_empty() {
            self.page.mistake(self.line, self.path(name), format!("missing; write {kind}"));
        }
        self.optional(name, kind, take)
    }

    fn optional<T>(&self, name: &'static str, kind: &str, take: impl FnOnce(&'p DeValue<'t>) -> Option<T>) -> Option<Word<T>> {
        let (_, value) = self.find(name)?;
        self.page.word(self.path(name), value, kind, take)
    }

    fn find(&self, name: &'static str) -> Option<(&'p Spanned<toml::de::DeString<'t>>, &'p Spanned<DeValue<'t>>)> {
        self.known.borrow_mut().insert(name);
        self.table?.iter().find(|(key, _)| key.get_ref() == name)
    }

    fn path(&self, name: &str) -> String {
        if self.key.is_empty() { name.to_owned() } else { format!("{}.{name}", self.key) }
    }
}

impl Drop for Section<'_, '_> {
    fn drop(&mut self) {
        if self.open {
            return;
        }
        let known = self.known.borrow();
        for (key, _) in self.table.into_iter().flatten() {
            if !known.contains(key.get_ref().as_ref()) {
                let names = known.iter().copied().collect::<Vec<_>>().join(", ");
                let line = self.page.line(key.span().start);
                self.page.mistake(line, self.path(key.get_ref()), format!("unknown key; known here: {names}"));
            }
        }
    }
}

fn text(value: &DeValue) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn article(kind: &str) -> String {
    let an = kind.starts_with(['a', 'i', 'o', 'e']);
    format!("{} {kind}", if an { "an" } else { "a" })
}
