//! What is wrong with a request, or with us: one closed list, with its status and OperationOutcome.

use super::answer::Answer;
use super::throttle::Busy;
use crate::store::StoreError;
use bytes::Bytes;
use fhir_sdk::r4b::codes::{IssueSeverity, IssueType};
use fhir_sdk::r4b::resources::{OperationOutcome, OperationOutcomeIssue};
use hyper::StatusCode;
use hyper::header::{ALLOW, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};

/// How long a client waits before it asks again, in seconds.
const RETRY_SECONDS: u32 = 5;

/// The words here go to clients: they hold no value of a request and nothing of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    NoToken,
    /// With a token that is not believed; the word tells the audit why, the client is not told.
    BadToken(&'static str),
    Forbidden,
    /// Never was, or is not in the asker's compartment: the same bytes.
    NotFound,
    /// Nothing is served at this path.
    NoRoute,
    Method(&'static str),
    NotAcceptable,
    BodyTimeout,
    Gone,
    BodyTooLarge,
    NotAForm,
    NotParameters,
    /// A parameter: its name (where it looks like one), and why.
    Invalid(String),
    NotSupported(String),
    TooCostly(String),
    /// The store's own word, for the log.
    Unavailable,
    Busy,
    Exception,
}

impl Fault {
    pub fn status(&self) -> StatusCode {
        match self {
            Fault::NoToken | Fault::BadToken(_) => StatusCode::UNAUTHORIZED,
            Fault::Forbidden => StatusCode::FORBIDDEN,
            Fault::NotFound | Fault::NoRoute => StatusCode::NOT_FOUND,
            Fault::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Fault::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
            Fault::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Fault::Gone => StatusCode::GONE,
            Fault::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Fault::NotAForm | Fault::NotParameters => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Fault::Invalid(_) | Fault::NotSupported(_) | Fault::TooCostly(_) => StatusCode::BAD_REQUEST,
            Fault::Unavailable | Fault::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Fault::Exception => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// FHIR audit-event-outcome: whose fault, and how bad.
    pub fn audit_outcome(&self) -> u8 {
        match self {
            Fault::Unavailable | Fault::Busy => 8,
            Fault::Exception => 12,
            _ => 4,
        }
    }

    /// Why, for the audit: a closed word.
    pub fn word(&self) -> &'static str {
        match self {
            Fault::NoToken => "no-token",
            Fault::BadToken(word) => word,
            Fault::Forbidden => "forbidden",
            Fault::NotFound => "not-found",
            Fault::NoRoute => "no-route",
            Fault::Method(_) => "method",
            Fault::NotAcceptable => "not-acceptable",
            Fault::BodyTimeout => "timeout",
            Fault::Gone => "deleted",
            Fault::BodyTooLarge => "too-long",
            Fault::NotAForm | Fault::NotParameters => "media-type",
            Fault::Invalid(_) => "invalid",
            Fault::NotSupported(_) => "not-supported",
            Fault::TooCostly(_) => "too-costly",
            Fault::Unavailable => "transient",
            Fault::Busy => "throttled",
            Fault::Exception => "exception",
        }
    }

    /// Whether it was refused before anyone was known: then repeats are counted.
    pub fn is_before_authentication(&self) -> bool {
        matches!(self, Fault::NoToken | Fault::BadToken(_))
    }

    pub fn answer(&self) -> Answer {
        let mut answer = Answer::json(self.status(), outcome(IssueSeverity::Error, self.code(), self.diagnostics()));
        let mut header = |name, value: HeaderValue| answer.headers.insert(name, value);
        match self {
            Fault::NoToken => {
                header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"fhir\""));
            }
            Fault::BadToken(_) => {
                header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"fhir\", error=\"invalid_token\""));
            }
            Fault::Forbidden => {
                header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"fhir\", error=\"insufficient_scope\""));
            }
            Fault::Method(allow) => {
                header(ALLOW, HeaderValue::from_static(allow));
            }
            Fault::Unavailable | Fault::Busy => {
                header(RETRY_AFTER, RETRY_SECONDS.into());
            }
            _ => {}
        }
        answer
    }

    fn code(&self) -> IssueType {
        match self {
            Fault::NoToken | Fault::BadToken(_) => IssueType::Login,
            Fault::Forbidden => IssueType::Forbidden,
            Fault::NotFound => IssueType::NotFound,
            Fault::NoRoute | Fault::Method(_) | Fault::NotAcceptable | Fault::NotAForm | Fault::NotParameters | Fault::NotSupported(_) => {
                IssueType::NotSupported
            }
            Fault::BodyTimeout => IssueType::Timeout,
            Fault::Gone => IssueType::Deleted,
            Fault::BodyTooLarge => IssueType::TooLong,
            Fault::Invalid(_) => IssueType::Invalid,
            Fault::TooCostly(_) => IssueType::TooCostly,
            Fault::Unavailable => IssueType::Transient,
            Fault::Busy => IssueType::Throttled,
            Fault::Exception => IssueType::Exception,
        }
    }

    fn diagnostics(&self) -> &str {
        match self {
            Fault::NoToken => "a bearer token is needed",
            Fault::BadToken(_) => "the bearer token is not valid here",
            Fault::Forbidden => "the token's scopes do not cover this request",
            Fault::NotFound => "no such resource",
            Fault::NoRoute => "nothing is served at this path; see metadata",
            Fault::Method(_) => "this method is not served at this path; see Allow",
            Fault::NotAcceptable => "only FHIR R4 JSON is served",
            Fault::BodyTimeout => "the body did not arrive in time",
            Fault::Gone => "the resource was deleted; its history is kept",
            Fault::BodyTooLarge => "the body is too large",
            Fault::NotAForm => "the body of _search is application/x-www-form-urlencoded",
            Fault::NotParameters => "the body of an operation is a Parameters resource, as application/fhir+json",
            Fault::Invalid(why) | Fault::NotSupported(why) | Fault::TooCostly(why) => why,
            Fault::Unavailable => "the gateway cannot answer now; try again",
            Fault::Busy => "the gateway is busy; try again",
            Fault::Exception => "the gateway could not answer",
        }
    }
}

/// The store's reasons are the operator's, and not the client's.
impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(code) => {
                tracing::warn!(code, "the store is not available");
                Fault::Unavailable
            }
            StoreError::Busy => Fault::Busy,
            StoreError::TooCostly => Fault::TooCostly("the search takes too long: narrow it, or give fewer alternatives".into()),
            StoreError::Refused(reason) => {
                tracing::error!(reason, "the store refused a read");
                Fault::Exception
            }
        }
    }
}

impl From<Busy> for Fault {
    fn from(_: Busy) -> Self {
        Fault::Busy
    }
}

/// An OperationOutcome of one issue.
pub fn outcome(severity: IssueSeverity, code: IssueType, diagnostics: &str) -> Bytes {
    outcomes([(severity, code, diagnostics.to_owned())])
}

pub fn outcomes(issues: impl IntoIterator<Item = (IssueSeverity, IssueType, String)>) -> Bytes {
    let issues = issues.into_iter().map(|(severity, code, diagnostics)| {
        OperationOutcomeIssue::builder().severity(severity).code(code).diagnostics(diagnostics).build().map(Some)
    });
    let outcome = issues
        .collect::<Result<Vec<_>, _>>()
        .and_then(|issues| OperationOutcome::builder().issue(issues).build())
        .expect("all that R4 requires is given");
    typed::to_bytes(outcome).expect("strings are written to memory").into()
}
