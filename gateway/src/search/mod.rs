//! Search as data: what a query asks, apart from URL and SQL. Parameters are rows of `schemas/r4/search.csv`.

pub mod extract;
pub mod parse;
pub mod plan;
pub mod value;

use jiff::Timestamp;

/// One search over one resource type. The Grant is not part of it: the store lays it over every sub-query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    pub kind: String,
    /// All of them must hold.
    pub filters: Vec<Filter>,
    /// Page size, already bounded; 0 asks for the total alone.
    pub count: usize,
    /// Whether the matches are counted: on a large answer that costs more than the page.
    pub total: bool,
    /// By what matches are ordered, the first before the next; none: as they came.
    pub sort: Vec<Sort>,
    /// What comes along with the matches.
    pub includes: Vec<Include>,
    /// Of a history or an `$everything`: what was stored at or after this, in microseconds of UTC.
    pub since: Option<i64>,
    /// Of a history: what was current at some time within `[low, high)`.
    pub at: Option<(i64, i64)>,
    /// Of an `$everything`: the resource types; none: all.
    pub kinds: Vec<String>,
    /// Where the page starts: what the last page's link carried.
    pub cursor: Option<Cursor>,
}

/// An order of matches: by the least value of a parameter, or backwards by the greatest. Those without a value come last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sort {
    pub parameter: String,
    pub descending: bool,
}

/// `_include`: what the matches point at; `_revinclude`: what points at them (R4 search.html §3.1.1.5.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Include {
    pub reverse: bool,
    /// `:iterate`: also from what came along.
    pub iterate: bool,
    /// The type that points.
    pub source: String,
    /// Its reference parameter; `None`: all of them.
    pub parameter: Option<String>,
    /// Only where this type is pointed at.
    pub target: Option<String>,
}

/// One parameter with its alternatives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The parameter's code, a row of the table for this type (`identifier`, `_id`).
    pub parameter: String,
    /// Any of them must match.
    pub any: Vec<Operand>,
    /// `:not`: none of them may match; what has no value is found too.
    pub not: bool,
}

/// One value, read by the parameter's type (R4 search.html).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operand {
    /// `code` (any system), `system|code`, `|code` (no system: empty), `system|` (code `None`).
    Token { system: Option<String>, code: Option<String> },
    /// Folded prefix.
    Text(String),
    /// `:exact`: the whole text as it stands, case and accents too.
    Exact(String),
    /// `:contains`: folded, anywhere in the text.
    Contains(String),
    /// `:missing`: whether there is no value.
    Missing(bool),
    /// A comparison with an interval `[low, high)` of UTC microseconds.
    Date { prefix: Prefix, low: i64, high: i64 },
    /// `Type/id`, or an id of the parameter's only target type.
    Reference { kind: Option<String>, id: String },
    /// A resource id (`_id`).
    Id(String),
}

/// R4 search.html §3.1.1.4.5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefix {
    Eq,
    Ne,
    Gt,
    Lt,
    Ge,
    Le,
    Sa,
    Eb,
    Ap,
}

/// Where a page starts. Opaque outside; bound to the query that made it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Internal row of the last match.
    pub after: i64,
    /// What a sorted search had for it, by the parameters of its order.
    pub keys: Vec<SortKey>,
}

/// What a match is ordered by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SortKey {
    /// It has no value.
    Nothing,
    Number(i64),
    Text(String),
}

/// One version of one resource, as stored.
#[derive(Clone, PartialEq, Eq)]
pub struct Version {
    pub kind: String,
    pub id: String,
    /// From 1.
    pub version: u64,
    pub last_updated: Timestamp,
    /// The resource with `id` and `meta`; `None` where this version is a deletion.
    pub body: Option<Vec<u8>>,
    /// Ids of the Patients in whose compartments it lies: the audit names them.
    pub patients: Vec<String>,
}

/// Shows which, not what.
impl std::fmt::Debug for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Version({}/{}/{})", self.kind, self.id, self.version)
    }
}

/// One page of a search or a history. It may end before the count that was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    pub matches: Vec<Version>,
    /// What came along with them, each once.
    pub included: Vec<Version>,
    pub total: u64,
    pub next: Option<Cursor>,
}
