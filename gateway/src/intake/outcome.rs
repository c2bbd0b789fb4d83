//! An outcome in HTTP's words: status and OperationOutcome (the table in ARCHITECTURE.md).

use super::Answer;
use bytes::Bytes;
use contract::{Issue, IssueCode, OutcomeKind, Severity};
use hyper::StatusCode;
use serde_json::{Value, json};

impl Answer {
    pub fn status(&self) -> StatusCode {
        match self.outcome {
            OutcomeKind::Stored | OutcomeKind::StoredWithIssues => StatusCode::CREATED,
            OutcomeKind::Duplicate => StatusCode::OK,
            OutcomeKind::Malformed if self.issues.iter().any(|issue| issue.code == IssueCode::Limit) => StatusCode::PAYLOAD_TOO_LARGE,
            OutcomeKind::Malformed => StatusCode::BAD_REQUEST,
            OutcomeKind::Unsupported | OutcomeKind::Untranslatable if !self.accepted => StatusCode::UNPROCESSABLE_ENTITY,
            OutcomeKind::Unsupported | OutcomeKind::Untranslatable | OutcomeKind::Held => StatusCode::ACCEPTED,
            OutcomeKind::Unauthenticated => StatusCode::UNAUTHORIZED,
            OutcomeKind::Forbidden => StatusCode::FORBIDDEN,
            OutcomeKind::Transient => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// `stored_as`: `Type/id` of the resources that the message is about, where the sender is told.
    pub fn operation_outcome(&self, stored_as: &[String]) -> Bytes {
        let (severity, code, text) = match self.outcome {
            OutcomeKind::Stored => ("information", "informational", "stored"),
            OutcomeKind::StoredWithIssues => ("information", "informational", "stored, with issues"),
            OutcomeKind::Duplicate => ("information", "informational", "received before; it was stored then"),
            OutcomeKind::Malformed => ("error", "structure", "the message cannot be read"),
            OutcomeKind::Unsupported => ("error", "not-supported", "no table knows this type of message"),
            OutcomeKind::Untranslatable => ("error", "processing", "no resource can be made of the message"),
            OutcomeKind::Held => ("error", "processing", "the message waits for a person"),
            OutcomeKind::Unauthenticated => ("error", "login", "the sender is not known"),
            OutcomeKind::Forbidden => ("error", "forbidden", "the sender may not say this"),
            OutcomeKind::Transient => ("error", "transient", "the gateway cannot store the message now; send it again"),
        };
        let first = json!({"severity": severity, "code": code, "diagnostics": text});
        let stored =
            |name: &String| json!({"severity": "information", "code": "informational", "diagnostics": format!("stored as {name}")});
        operation_outcome(std::iter::once(first).chain(stored_as.iter().map(stored)).chain(self.issues.iter().map(issue)))
    }
}

/// An OperationOutcome of these issues.
pub fn operation_outcome(issues: impl IntoIterator<Item = Value>) -> Bytes {
    let issues: Vec<Value> = issues.into_iter().collect();
    json!({"resourceType": "OperationOutcome", "issue": issues}).to_string().into()
}

fn issue(issue: &Issue) -> Value {
    let diagnostics = if issue.place.is_empty() { issue.reason.to_string() } else { format!("{}: {}", issue.place, issue.reason) };
    json!({"severity": issue.severity.code(), "code": issue_type(issue.code, issue.severity), "diagnostics": diagnostics})
}

/// FHIR R4 issue-type.
fn issue_type(code: IssueCode, severity: Severity) -> &'static str {
    match code {
        IssueCode::Structure => "structure",
        IssueCode::Required => "required",
        IssueCode::DataType | IssueCode::Time | IssueCode::Characters => "value",
        IssueCode::UnknownCode => "code-invalid",
        IssueCode::NotMapped | IssueCode::Altered if severity == Severity::Information => "informational",
        IssueCode::NotMapped | IssueCode::NotSupported => "not-supported",
        IssueCode::Altered => "processing",
        IssueCode::Identity => "multiple-matches",
        IssueCode::Limit => "too-long",
        IssueCode::Forbidden => "forbidden",
        IssueCode::Internal => "exception",
    }
}
