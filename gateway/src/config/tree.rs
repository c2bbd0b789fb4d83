//! What a configuration file says, whichever notation it is in: values with the line each stands on.

use super::Mistake;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub struct Value {
    /// From 1.
    pub line: usize,
    pub kind: Kind,
}

pub enum Kind {
    Text(String),
    /// `None`: below 0, or beyond 64 bits.
    Number(Option<u64>),
    /// What no key takes: its kind in words.
    Other(&'static str),
    List(Vec<Value>),
    Table(Vec<Entry>),
}

pub struct Entry {
    pub name: String,
    pub line: usize,
    pub value: Value,
}

impl Value {
    pub fn empty_table(line: usize) -> Self {
        Value { line, kind: Kind::Table(Vec::new()) }
    }

    /// With an article, for a mistake.
    pub fn in_words(&self) -> &'static str {
        match self.kind {
            Kind::Text(_) => "a text",
            Kind::Number(_) => "a number",
            Kind::Other(words) => words,
            Kind::List(_) => "a list",
            Kind::Table(_) => "a table",
        }
    }

    pub fn text(&self) -> Option<String> {
        if let Kind::Text(text) = &self.kind { Some(text.clone()) } else { None }
    }

    pub fn number(&self) -> Option<u64> {
        if let Kind::Number(number) = self.kind { number } else { None }
    }

    pub fn list(&self) -> Option<&Vec<Value>> {
        if let Kind::List(list) = &self.kind { Some(list) } else { None }
    }

    pub fn table(&self) -> Option<&Vec<Entry>> {
        if let Kind::Table(table) = &self.kind { Some(table) } else { None }
    }
}

/// A TOML text, as far as it is one, and what of it is none.
pub fn toml(text: &str) -> (Value, Vec<Mistake>) {
    let lines = Lines { text };
    let (table, errors) = DeTable::parse_recoverable(text);
    let mistake = |error: toml::de::Error| Mistake {
        line: error.span().map_or(0, |span| lines.of(span.start)),
        key: String::new(),
        reason: error.message().to_owned(),
    };
    (Value { line: 0, kind: lines.table(table.get_ref()) }, errors.into_iter().map(mistake).collect())
}

struct Lines<'t> {
    text: &'t str,
}

impl Lines<'_> {
    fn of(&self, offset: usize) -> usize {
        1 + self.text.as_bytes()[..offset.min(self.text.len())].iter().filter(|byte| **byte == b'\n').count()
    }

    fn value(&self, value: &Spanned<DeValue>) -> Value {
        let kind = match value.get_ref() {
            DeValue::String(text) => Kind::Text(text.to_string()),
            DeValue::Integer(number) => Kind::Number(u64::from_str_radix(number.as_str(), number.radix()).ok()),
            DeValue::Float(_) => Kind::Other("a decimal"),
            DeValue::Boolean(_) => Kind::Other("a boolean"),
            DeValue::Datetime(_) => Kind::Other("a date"),
            DeValue::Array(list) => Kind::List(list.iter().map(|element| self.value(element)).collect()),
            DeValue::Table(table) => self.table(table),
        };
        Value { line: self.of(value.span().start), kind }
    }

    fn table(&self, table: &DeTable) -> Kind {
        let entry = |(name, value): (&Spanned<_>, &Spanned<DeValue>)| {
            let name: &Spanned<toml::de::DeString> = name;
            Entry { name: name.get_ref().to_string(), line: self.of(name.span().start), value: self.value(value) }
        };
        Kind::Table(table.iter().map(entry).collect())
    }
}
