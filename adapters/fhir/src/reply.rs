//! What a sender of a Bundle is told: where each entry stands (R4 http.html §3.1.0.11.2).

use crate::dialect::HEADER;
use crate::message::{Message, Part};
use bytes::Bytes;
use contract::{Key, Outcome, Settings};
use serde_json::{Value, json};

/// A `transaction-response` or `batch-response`; `None` for what has none.
pub fn response(message: &Message, parts: &[Part<'_>], keys: &[Key], settings: &Settings, outcome: &Outcome) -> Option<Bytes> {
    let kind = match message.bundle.as_deref()? {
        "transaction" => "transaction-response",
        "batch" => "batch-response",
        _ => return None,
    };
    let entry = |(part, key): (&Part<'_>, &Key)| {
        let told: Vec<Value> = outcome.issues.iter().filter(|issue| is_below(&issue.place, &part.place())).map(issue).collect();
        let mut response = match part.kind {
            HEADER => json!({"status": "204 No Content"}),
            _ => json!({"status": "201 Created", "location": settings.reference(key), "lastModified": outcome.at.to_string()}),
        };
        if !told.is_empty() {
            response["outcome"] = json!({"resourceType": "OperationOutcome", "issue": told});
        }
        json!({"response": response})
    };
    let entries: Vec<Value> = parts.iter().zip(keys).map(entry).collect();
    let mut bundle = json!({"resourceType": "Bundle", "type": kind, "entry": entries});
    // Which message is answered.
    if let Some(id) = message.text(&["identifier", "value"]) {
        bundle["meta"] = json!({"source": format!("{}#{id}", message.text(&["identifier", "system"]).unwrap_or_default())});
    }
    Some(bundle.to_string().into())
}

fn is_below(place: &str, part: &str) -> bool {
    place.strip_prefix(part).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn issue(issue: &contract::Issue) -> Value {
    json!({"severity": issue.severity.code(), "code": "processing", "diagnostics": issue.reason, "expression": [issue.place]})
}
