//! A frame as resources: one, or those of a Bundle.

use contract::{Frame, Issue, IssueCode, Json, Rejection, Severity};
use mapping::{Kind, Shape};

/// Resource types that no feed says: the audit is ours, and the others are of an exchange and not of a record.
const NOT_SAID: [&str; 2] = ["AuditEvent", "OperationOutcome"];
/// Bundles whose entries say how things are (R4 bundle.html).
const BUNDLES: [&str; 6] = ["transaction", "batch", "collection", "message", "document", "searchset"];

/// Of a Bundle: one message must not keep all others waiting.
pub const ENTRIES_MAX: usize = 10_000;

/// What a frame holds.
pub struct Message {
    pub root: Json,
    /// Of a Bundle, its type.
    pub bundle: Option<String>,
}

/// One resource of a message.
#[derive(Clone, Copy)]
pub struct Part<'m> {
    pub kind: &'m str,
    pub resource: &'m Json,
    /// Where its entry says that it is.
    pub full_url: Option<&'m str>,
    /// Its entry's number; `None`: it is the message.
    pub entry: Option<usize>,
}

impl<'m> Part<'m> {
    /// `Bundle.entry[2].resource` or, alone, its type.
    pub fn place(&self) -> String {
        self.entry.map_or_else(|| self.kind.to_owned(), |entry| format!("Bundle.entry[{entry}].resource"))
    }

    pub fn id(&self) -> Option<&'m str> {
        self.resource.get("id").and_then(Json::as_str).filter(|id| !id.is_empty())
    }
}

impl Message {
    /// Malformed where it is no JSON or no resource; unsupported where it is a resource that no feed says.
    pub fn read(frame: &Frame, shape: &Shape) -> Result<Self, Rejection> {
        let malformed =
            |place: String, reason: &'static str| Rejection::Malformed(Issue::new(Severity::Error, IssueCode::Structure, place, reason));
        let root = Json::parse(frame.bytes()).map_err(|error| {
            let place = format!("line {} column {}", error.line, error.column);
            Rejection::Malformed(Issue::new(Severity::Error, IssueCode::Structure, place, format!("not FHIR JSON: {}", error.reason)))
        })?;
        let Some(kind) = root.get("resourceType").and_then(Json::as_str) else {
            return Err(malformed("resourceType".into(), "there is none: one FHIR resource or Bundle as JSON is expected"));
        };
        if kind != "Bundle" {
            if !is_said(kind, shape) {
                return Err(unsupported("resourceType", "no feed says this type of resource, or R4 has none of that name"));
            }
            return Ok(Self { root, bundle: None });
        }
        let bundle = root.get("type").and_then(Json::as_str).unwrap_or_default().to_owned();
        if !BUNDLES.contains(&bundle.as_str()) {
            let reason = "a Bundle of another type than transaction, batch, collection, message, document or searchset; of a history \
                          send the current resources";
            return Err(unsupported("Bundle.type", reason));
        }
        Ok(Self { root, bundle: Some(bundle) })
    }

    /// The resources in it, or all reasons why it cannot be taken whole.
    pub fn parts(&self, shape: &Shape) -> Result<Vec<Part<'_>>, Vec<Issue>> {
        if self.bundle.is_none() {
            let kind = self.root.get("resourceType").and_then(Json::as_str).unwrap_or_default();
            return Ok(vec![Part { kind, resource: &self.root, full_url: None, entry: None }]);
        }
        let (mut parts, mut wrong) = (Vec::new(), Vec::new());
        let mut refuse = |code, place: String, reason: &'static str| wrong.push(Issue::new(Severity::Error, code, place, reason));
        let entries = match self.root.get("entry") {
            Some(Json::Array(entries)) => entries.as_slice(),
            _ => &[],
        };
        if entries.len() > ENTRIES_MAX {
            let reason = format!("it has more than {ENTRIES_MAX} entries: send it as several Bundles");
            return Err(vec![Issue::new(Severity::Error, IssueCode::Limit, "Bundle.entry", reason)]);
        }
        for (number, entry) in entries.iter().enumerate() {
            let place = |rest: &str| format!("Bundle.entry[{number}]{rest}");
            match entry.get("request").and_then(|request| request.get("method")).and_then(Json::as_str) {
                None | Some("PUT" | "POST") => {}
                Some("GET" | "HEAD") => {
                    refuse(IssueCode::NotSupported, place(".request.method"), "what is read is read at the FHIR API, and not here");
                    continue;
                }
                Some(_) => {
                    let reason = "only whole resources are taken (PUT or POST): what is withdrawn says so in its status, or an operator withdraws it";
                    refuse(IssueCode::NotSupported, place(".request.method"), reason);
                    continue;
                }
            }
            let outcome = entry.get("search").and_then(|search| search.get("mode")).and_then(Json::as_str) == Some("outcome");
            let Some(resource) = entry.get("resource").filter(|_| !outcome) else {
                if !outcome {
                    refuse(IssueCode::Required, place(".resource"), "there is none");
                }
                continue;
            };
            match resource.get("resourceType").and_then(Json::as_str) {
                Some(kind) if is_said(kind, shape) => {
                    let full_url = entry.get("fullUrl").and_then(Json::as_str);
                    parts.push(Part { kind, resource, full_url, entry: Some(number) });
                }
                Some(_) => {
                    let reason = "no feed says this type of resource, or R4 has none of that name";
                    refuse(IssueCode::NotSupported, place(".resource.resourceType"), reason);
                }
                None => refuse(IssueCode::Structure, place(".resource.resourceType"), "there is none"),
            }
        }
        if parts.is_empty() && wrong.is_empty() {
            wrong.push(Issue::new(Severity::Error, IssueCode::Required, "Bundle.entry", "it holds no resource"));
        }
        if wrong.is_empty() { Ok(parts) } else { Err(wrong) }
    }

    /// A text of the message's root, at a path of member names.
    pub fn text(&self, path: &[&str]) -> Option<&str> {
        path.iter().try_fold(&self.root, |json, name| json.get(name)).and_then(Json::as_str)
    }
}

fn is_said(kind: &str, shape: &Shape) -> bool {
    kind != "Bundle" && !NOT_SAID.contains(&kind) && shape.id(kind).is_some_and(|id| shape.of(id).kind == Kind::Resource)
}

fn unsupported(place: &str, reason: &'static str) -> Rejection {
    Rejection::Unsupported(Issue::new(Severity::Error, IssueCode::NotSupported, place, reason))
}
