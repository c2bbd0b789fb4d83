//! FHIR's URL grammar (R4 http.html): from method and path to one closed list of interactions.

use super::served::Served;
use crate::access::Permission;
use crate::audit::Action;

/// What is asked. Everything that depends on it (rule, audit, answer) matches it exhaustively, so that a new one does
/// not compile before it has a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Interaction {
    Capabilities,
    SmartConfiguration,
    Read {
        kind: String,
        id: String,
    },
    Vread {
        kind: String,
        id: String,
        version: String,
    },
    History {
        kind: String,
        id: String,
    },
    /// Of all resources of a type.
    TypeHistory {
        kind: String,
    },
    /// `Patient/ID/$everything`. `posted`: by POST, with parameters in the body too.
    Everything {
        id: String,
        posted: bool,
    },
    /// `form`: by POST, with parameters in the body too.
    Search {
        kind: String,
        form: bool,
    },
}

/// Why a request is no interaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// Nothing is served at this path.
    Path,
    /// Not by this method; what `Allow` says.
    Method(&'static str),
}

/// Who may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Anyone, without a token, and without an audit entry: holds no patient data and is the same for all.
    Public,
    /// A scope that covers the type with this permission.
    Scope(String, Permission),
}

impl Interaction {
    /// `base`: the path of the configured base URL, without a slash at the end.
    pub fn parse(served: &[Served], base: &str, method: &str, path: &str) -> Result<Self, Unfit> {
        let fetch = |interaction: Self| match method {
            "GET" | "HEAD" => Ok(interaction),
            _ => Err(Unfit::Method("GET, HEAD")),
        };
        if path == "/.well-known/smart-configuration" {
            return fetch(Self::SmartConfiguration);
        }
        let below = path.strip_prefix(base).and_then(|rest| rest.strip_prefix('/')).ok_or(Unfit::Path)?;
        let segments: Vec<&str> = below.strip_suffix('/').unwrap_or(below).split('/').collect();
        match segments.as_slice() {
            ["metadata"] => return fetch(Self::Capabilities),
            [".well-known", "smart-configuration"] => return fetch(Self::SmartConfiguration),
            _ => {}
        }
        let row = served.iter().find(|row| row.kind == segments[0]).ok_or(Unfit::Path)?;
        let kind = row.kind.clone();
        match segments.as_slice() {
            [_] if row.search => fetch(Self::Search { kind, form: false }),
            [_, "_search"] if row.search && method == "POST" => Ok(Self::Search { kind, form: true }),
            [_, "_search"] if row.search => Err(Unfit::Method("POST")),
            [_, "_history"] if row.type_history => fetch(Self::TypeHistory { kind }),
            [_, id, "$everything"] if row.everything && is_name(id) => match method {
                "GET" | "HEAD" | "POST" => Ok(Self::Everything { id: (*id).to_owned(), posted: method == "POST" }),
                _ => Err(Unfit::Method("GET, HEAD, POST")),
            },
            [_, id] if row.read && is_name(id) => fetch(Self::Read { kind, id: (*id).to_owned() }),
            [_, id, "_history"] if row.history && is_name(id) => fetch(Self::History { kind, id: (*id).to_owned() }),
            [_, id, "_history", version] if row.vread && is_name(id) => {
                fetch(Self::Vread { kind, id: (*id).to_owned(), version: (*version).to_owned() })
            }
            _ => Err(Unfit::Path),
        }
    }

    pub fn rule(&self) -> Rule {
        match self {
            Self::Capabilities | Self::SmartConfiguration => Rule::Public,
            // SMART: r is read, vread and history; s is search. What $everything holds beside the Patient is judged by type.
            Self::Read { kind, .. } | Self::Vread { kind, .. } | Self::History { kind, .. } | Self::TypeHistory { kind } => {
                Rule::Scope(kind.clone(), Permission::Read)
            }
            Self::Everything { .. } => Rule::Scope("Patient".to_owned(), Permission::Read),
            Self::Search { kind, .. } => Rule::Scope(kind.clone(), Permission::Search),
        }
    }

    /// How the audit names it; `None` for the closed list that is not written down.
    pub fn action(&self) -> Option<Action> {
        match self {
            Self::Capabilities | Self::SmartConfiguration => None,
            Self::Read { .. } => Some(Action::Read),
            Self::Vread { .. } => Some(Action::Vread),
            Self::History { .. } | Self::TypeHistory { .. } => Some(Action::History),
            // A query, as its entry's request tells.
            Self::Everything { .. } => Some(Action::Search),
            Self::Search { .. } => Some(Action::Search),
        }
    }
}

/// What may stand where an id stands: not an operation (`$`) and not a keyword (`_`).
fn is_name(text: &str) -> bool {
    !text.is_empty() && !text.starts_with(['$', '_'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Vec<Served> {
        let row = |kind: &str, search: bool| Served {
            kind: kind.into(),
            read: true,
            vread: true,
            history: true,
            type_history: kind == "Patient",
            everything: kind == "Patient",
            search,
            parameters: std::collections::BTreeMap::new(),
        };
        vec![row("Patient", true), row("Binary", false)]
    }

    #[test]
    fn the_grammar_is_closed() {
        let check = |method: &str, path: &str, expected: Result<Interaction, Unfit>| {
            assert_eq!(Interaction::parse(&table(), "/fhir", method, path), expected, "{method} {path}");
        };
        let (kind, id) = ("Patient".to_owned(), "a-1.B".to_owned());
        check("GET", "/fhir/metadata", Ok(Interaction::Capabilities));
        check("HEAD", "/fhir/metadata", Ok(Interaction::Capabilities));
        check("GET", "/fhir/.well-known/smart-configuration", Ok(Interaction::SmartConfiguration));
        check("GET", "/.well-known/smart-configuration", Ok(Interaction::SmartConfiguration));
        check("GET", "/fhir/Patient", Ok(Interaction::Search { kind: kind.clone(), form: false }));
        check("GET", "/fhir/Patient/", Ok(Interaction::Search { kind: kind.clone(), form: false }));
        check("POST", "/fhir/Patient/_search", Ok(Interaction::Search { kind: kind.clone(), form: true }));
        check("GET", "/fhir/Patient/a-1.B", Ok(Interaction::Read { kind: kind.clone(), id: id.clone() }));
        check("GET", "/fhir/Patient/a-1.B/_history", Ok(Interaction::History { kind: kind.clone(), id: id.clone() }));
        check("GET", "/fhir/Patient/_history", Ok(Interaction::TypeHistory { kind: kind.clone() }));
        check("GET", "/fhir/Patient/a-1.B/$everything", Ok(Interaction::Everything { id: id.clone(), posted: false }));
        check("POST", "/fhir/Patient/a-1.B/$everything", Ok(Interaction::Everything { id: id.clone(), posted: true }));
        check("GET", "/fhir/Patient/a-1.B/_history/2", Ok(Interaction::Vread { kind, id, version: "2".into() }));
        for (method, path, allow) in [
            ("POST", "/fhir/metadata", "GET, HEAD"),
            ("POST", "/fhir/Patient", "GET, HEAD"),
            ("PUT", "/fhir/Patient/1", "GET, HEAD"),
            ("DELETE", "/fhir/Patient/1", "GET, HEAD"),
            ("PATCH", "/fhir/Patient/1/_history/1", "GET, HEAD"),
            ("GET", "/fhir/Patient/_search", "POST"),
            ("PUT", "/fhir/Patient/1/$everything", "GET, HEAD, POST"),
            ("OPTIONS", "/fhir/Patient", "GET, HEAD"),
            ("get", "/fhir/Patient", "GET, HEAD"),
        ] {
            check(method, path, Err(Unfit::Method(allow)));
        }
        for path in [
            "/",
            "",
            "/fhir",
            "/fhir/",
            "/fhirPatient/1",
            "/other/Patient/1",
            "/fhir//Patient",
            "/fhir/Patient//1",
            "/fhir/Patient/1//",
            "/fhir/patient/1",
            "/fhir/Martian/1",
            "/fhir/Patient/$everything",
            "/fhir/Binary/1/$everything",
            "/fhir/Binary/_history",
            "/fhir/Patient/1/$validate",
            "/fhir/_history",
            "/fhir/_search",
            "/fhir/Patient/1/Observation",
            "/fhir/Patient/1/_history/1/x",
            "/fhir/Binary",
            "/fhir/Binary/_search",
        ] {
            check("GET", path, Err(Unfit::Path));
        }
    }
}
