use contract::Json;
use std::collections::HashMap;
use std::fmt;

/// One mistake in a table: the file, the line, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableError {
    /// Name below the dialect's folder, without `.csv`.
    pub table: String,
    pub line: u64,
    pub reason: String,
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.csv:{}: {}", self.table, self.line, self.reason)
    }
}

/// All mistakes of all tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableErrors(pub Vec<TableError>);

impl TableErrors {
    pub fn push(&mut self, table: &str, line: u64, reason: impl Into<String>) {
        self.0.push(TableError { table: table.into(), line, reason: reason.into() });
    }
}

impl fmt::Display for TableErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            write!(f, "{}{error}", if index > 0 { "\n" } else { "" })?;
        }
        Ok(())
    }
}

impl std::error::Error for TableErrors {}

/// The columns of message, segment and data type tables, in their order.
const COLUMNS: [&str; 18] = [
    "each", "from", "join", "to", "as", "as_by", "codes", "assign", "when", "resource", "key", "group", "class", "ref", "slot", "asserted",
    "rule", "note",
];

const CODE_COLUMNS: [&str; 5] = ["code", "system", "target", "display", "note"];

/// One row as written, cells trimmed.
pub(crate) struct Raw {
    pub line: u64,
    cells: Vec<String>,
}

impl Raw {
    pub fn cell(&self, column: &str) -> &str {
        COLUMNS.iter().position(|name| *name == column).map_or("", |at| self.cells[at].as_str())
    }
}

pub(crate) fn rows(table: &str, text: &str, errors: &mut TableErrors) -> Vec<Raw> {
    records(table, text, &COLUMNS, errors)
}

fn records(table: &str, text: &str, columns: &[&str], errors: &mut TableErrors) -> Vec<Raw> {
    let text = text.trim_start_matches('\u{feff}');
    let mut reader = csv::ReaderBuilder::new().comment(Some(b'#')).has_headers(false).flexible(true).from_reader(text.as_bytes());
    let mut rows = Vec::new();
    let mut is_head = true;
    for record in reader.records() {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                errors.push(
                    table,
                    error.position().map_or(0, csv::Position::line),
                    "not CSV: quotes do not match, or the text is not UTF-8",
                );
                continue;
            }
        };
        let line = record.position().map_or(0, csv::Position::line);
        if is_head {
            is_head = false;
            if !record.iter().map(str::trim).eq(columns.iter().copied()) {
                errors.push(table, line, format!("the header must be `{}`", columns.join(",")));
                return rows;
            }
            continue;
        }
        if record.len() > columns.len() {
            errors.push(
                table,
                line,
                format!("{} cells where the header has {}: a cell with a comma needs quotes", record.len(), columns.len()),
            );
            continue;
        }
        let mut cells: Vec<String> = record.iter().map(|cell| cell.trim().to_owned()).collect();
        cells.resize(columns.len(), String::new());
        if cells.iter().any(|cell| !cell.is_empty()) {
            rows.push(Raw { line, cells });
        }
    }
    if is_head {
        errors.push(table, 1, format!("the header must be `{}`", columns.join(",")));
    }
    rows
}

/// A code map: source code to target codings.
pub(crate) struct CodeMap {
    codes: HashMap<Box<str>, Vec<Coding>>,
    default: Option<Vec<Coding>>,
}

/// A target: a Coding, or nothing.
#[derive(Clone)]
pub struct Coding {
    /// `None`: the source code itself.
    code: Option<Json>,
    system: Option<Json>,
    display: Option<Json>,
}

impl CodeMap {
    pub fn read(table: &str, text: &str, errors: &mut TableErrors) -> Self {
        let mut map = CodeMap { codes: HashMap::new(), default: None };
        for row in records(table, text, &CODE_COLUMNS, errors) {
            let [code, system, target, display] = [0, 1, 2, 3].map(|at| row.cells[at].as_str());
            let some = |text: &str| (!text.is_empty()).then(|| Json::from(text));
            let list = match code {
                "" => {
                    errors.push(table, row.line, "a row without a code; `*` stands for any other");
                    continue;
                }
                "*" => map.default.get_or_insert_default(),
                code => map.codes.entry(code.into()).or_default(),
            };
            if !target.is_empty() {
                list.push(Coding { code: (target != "=").then(|| Json::from(target)), system: some(system), display: some(display) });
            }
        }
        map
    }

    /// The targets of a code, perhaps none; `None` if the map does not know it.
    pub fn get(&self, code: &str) -> Option<&[Coding]> {
        self.codes.get(code).or_else(|| self.codes.get(code.trim())).or(self.default.as_ref()).map(Vec::as_slice)
    }
}

impl Coding {
    /// The target code, for a source code.
    pub fn code(&self, source: &str) -> Json {
        self.code.clone().unwrap_or_else(|| Json::from(source.trim()))
    }

    /// A FHIR Coding.
    pub fn coding(&self, source: &str) -> Json {
        let members = [("system", self.system.clone()), ("code", Some(self.code(source))), ("display", self.display.clone())];
        members.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}
