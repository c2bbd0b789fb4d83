//! What a sender of a Bundle is told: where each entry stands (R4 http.html §3.1.0.11.2).

use crate::dialect::HEADER;
use crate::message::{Message, Part};
use bytes::Bytes;
use contract::{Key, Outcome, Settings};
use serde_json::{Value, json};
use std::collections::HashMap;

/// A `transaction-response` or `batch-response`; `None` for what has none.
pub fn response(message: &Message, parts: &[Part<'_>], keys: &[Key], settings: &Settings, outcome: &Outcome) -> Option<Bytes> {
    let kind = match message.bundle.as_deref()? {
        "transaction" => "transaction-response",
        "batch" => "batch-response",
        _ => return None,
    };
    let mut issues: HashMap<&str, Vec<Value>> = HashMap::new();
    for one in &outcome.issues {
        if let Some(part) = part_of(&one.place) {
            issues.entry(part).or_default().push(issue(one));
        }
    }
    let entry = |(part, key): (&Part<'_>, &Key)| {
        let told = issues.remove(part.place().as_str()).unwrap_or_default();
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

/// Of `Bundle.entry[2].resource.code`, the part: `Bundle.entry[2].resource`.
fn part_of(place: &str) -> Option<&str> {
    const RESOURCE: &str = "].resource";
    let end = place.find(RESOURCE)? + RESOURCE.len();
    let (part, rest) = place.split_at(end);
    (rest.is_empty() || rest.starts_with('.')).then_some(part)
}

fn issue(issue: &contract::Issue) -> Value {
    json!({"severity": issue.severity.code(), "code": "processing", "diagnostics": issue.reason, "expression": [issue.place]})
}
