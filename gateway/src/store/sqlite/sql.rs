//! SQL in the making: text and values together, so that no value is ever text.

use rusqlite::types::Value;

#[derive(Clone, Default)]
pub(super) struct Sql {
    pub(super) text: String,
    pub(super) values: Vec<Value>,
}

impl Sql {
    pub(super) fn new(text: &str) -> Self {
        Self { text: text.to_owned(), values: Vec::new() }
    }

    /// Text with one `?` for each value.
    pub(super) fn with(text: &str, values: impl IntoIterator<Item = Value>) -> Self {
        Self { text: text.to_owned(), values: values.into_iter().collect() }
    }

    pub(super) fn push(&mut self, text: &str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    pub(super) fn add(&mut self, other: Sql) -> &mut Self {
        self.text.push_str(&other.text);
        self.values.extend(other.values);
        self
    }

    /// `column IN (?, ?, …)`; of nothing, false.
    pub(super) fn within(column: &str, values: Vec<Value>) -> Self {
        match values.len() {
            0 => Self::new("0"),
            1 => Self::with(&format!("{column} = ?"), values),
            count => Self { text: format!("{column} IN (?{})", ", ?".repeat(count - 1)), values },
        }
    }

    /// Any of them; of nothing, false. A tree and not a list: SQLite bounds the depth of an expression.
    pub(super) fn any(mut conditions: Vec<Sql>) -> Self {
        match conditions.len() {
            0 => Self::new("0"),
            1 => conditions.remove(0),
            count => {
                let right = Self::any(conditions.split_off(count / 2));
                let mut whole = Self::new("(");
                whole.add(Self::any(conditions)).push(" OR ").add(right).push(")");
                whole
            }
        }
    }
}
