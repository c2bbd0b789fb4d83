//! What an operator's request asks, and which scope that needs.

use crate::search::parse::pairs;
use crate::store::JournalFilter;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use contract::{Json, OutcomeKind};
use jiff::Timestamp;

/// Paths below it are this door's.
pub const PREFIX: &str = "/ops/";
/// Rows of a list.
const ROWS_DEFAULT: usize = 100;
const ROWS_MAX: usize = 1000;
/// Of a reason: it stands with the message and in the audit for good.
const BECAUSE_BYTES_MAX: usize = 1000;

/// Closed: everything that depends on it matches it exhaustively.
#[derive(Clone, Debug)]
pub enum Route {
    Findings,
    /// Rows that fit, up to so many.
    Journal(Box<JournalFilter>, usize),
    Frame(u64),
    /// What a withdrawal would change, or putting back.
    Preview(u64, bool),
    /// By resource id, or `SYSTEM|VALUE` of an identifier.
    Patient(String),
    Replay(u64),
    Edit(u64),
    Withdraw(u64),
}

/// Why it is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    Path,
    Method(&'static str),
    /// A parameter that is not understood, and why.
    Parameter(String),
}

/// What a token must carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Lists and findings: no patient's data.
    Read,
    /// Frames and records as well.
    Records,
    /// Replay, edit, withdraw.
    Mend,
}

impl Scope {
    pub fn word(self) -> &'static str {
        match self {
            Scope::Read => "ops.read",
            Scope::Records => "ops.records",
            Scope::Mend => "ops.mend",
        }
    }
}

impl Route {
    pub fn parse(method: &str, path: &str, query: &str) -> Result<Self, Unfit> {
        let segments: Vec<&str> = path.strip_prefix(PREFIX).ok_or(Unfit::Path)?.split('/').collect();
        let parameters = pairs(query).ok_or_else(|| Unfit::Parameter("the query is not URL-encoded UTF-8 text".into()))?;
        let bare = matches!(segments.as_slice(), ["findings"] | ["journal", _] | ["patient", _]) || method == "POST";
        if bare && !parameters.is_empty() {
            return Err(Unfit::Parameter("no parameter is known here; what a POST asks stands in its body".into()));
        }
        let position = |text: &str| text.parse().map_err(|_| Unfit::Path);
        let (allow, route): (_, fn(u64) -> Self) = match segments.as_slice() {
            ["findings"] => return get(method, Self::Findings),
            ["journal"] => return journal(&parameters).and_then(|route| get(method, route)),
            ["journal", at] => return get(method, Self::Frame(position(at)?)),
            ["journal", at, "withdraw"] if method == "GET" => return Ok(Self::Preview(position(at)?, restores(&parameters)?)),
            ["patient", id] if !id.is_empty() => return get(method, Self::Patient((*id).to_owned())),
            ["patient"] => return patient(&parameters).and_then(|route| get(method, route)),
            ["journal", _, "replay"] => ("POST", Self::Replay),
            ["journal", _, "edit"] => ("POST", Self::Edit),
            ["journal", _, "withdraw"] => ("GET, POST", Self::Withdraw),
            _ => return Err(Unfit::Path),
        };
        if method == "POST" { Ok(route(position(segments[1])?)) } else { Err(Unfit::Method(allow)) }
    }

    pub fn scope(&self) -> Scope {
        match self {
            Self::Findings => Scope::Read,
            // Which messages a patient has is of the patient.
            Self::Journal(filter, _) if filter.patient.is_none() => Scope::Read,
            Self::Journal(..) | Self::Frame(_) | Self::Preview(..) | Self::Patient(_) => Scope::Records,
            Self::Replay(_) | Self::Edit(_) | Self::Withdraw(_) => Scope::Mend,
        }
    }
}

fn get(method: &str, route: Route) -> Result<Route, Unfit> {
    if method == "GET" { Ok(route) } else { Err(Unfit::Method("GET")) }
}

/// As `journal list` has them.
fn journal(parameters: &[(String, String)]) -> Result<Route, Unfit> {
    let (mut filter, mut rows) = (JournalFilter::default(), ROWS_DEFAULT);
    for (name, value) in parameters {
        let wrong = |what: &str| Unfit::Parameter(format!("{name}: {what}"));
        let time = || value.parse::<Timestamp>().map_err(|_| wrong("no time: write 2026-03-01T09:30:00Z"));
        let number = || value.parse::<u64>().map_err(|_| wrong("no whole number"));
        match name.as_str() {
            "feed" => filter.feed = Some(value.clone()),
            "type" => filter.message_type = Some(value.clone()),
            "outcome" => filter.outcome = Some(OutcomeKind::from_word(value).ok_or_else(|| wrong("no outcome of the journal"))?),
            "waiting" => filter.waiting = flag(value).ok_or_else(|| wrong("true or false"))?,
            "newest" => filter.newest = flag(value).ok_or_else(|| wrong("true or false"))?,
            "from" => filter.from = Some(time()?),
            "to" => filter.to = Some(time()?),
            "reason" => filter.reason = Some(value.clone()),
            "control-id" => filter.control_id = Some(value.clone()),
            "patient" => filter.patient = Some(value.clone()),
            "after" => filter.after = number()?,
            "before" => filter.before = Some(number()?),
            "limit" => rows = usize::try_from(number()?).unwrap_or(ROWS_MAX).clamp(1, ROWS_MAX),
            // Left out, it would widen the list.
            _ => {
                return Err(wrong(
                    "not known; there are feed, type, outcome, waiting, from, to, reason, control-id, patient, after, before, newest, limit",
                ));
            }
        }
    }
    Ok(Route::Journal(Box::new(filter), rows))
}

fn patient(parameters: &[(String, String)]) -> Result<Route, Unfit> {
    let wrong = || Unfit::Parameter("write /ops/patient/ID, or /ops/patient?identifier=SYSTEM|VALUE".into());
    match parameters {
        [(name, value)] if name == "identifier" => {
            if value.contains('|') {
                Ok(Route::Patient(value.clone()))
            } else {
                Err(wrong())
            }
        }
        _ => Err(wrong()),
    }
}

fn restores(parameters: &[(String, String)]) -> Result<bool, Unfit> {
    match parameters {
        [] => Ok(false),
        [(name, value)] if name == "restore" => flag(value).ok_or_else(|| Unfit::Parameter("restore: true or false".into())),
        _ => Err(Unfit::Parameter("only restore is known here".into())),
    }
}

fn flag(value: &str) -> Option<bool> {
    match value {
        "true" | "" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// What a POST carries: members that are not known are refused, since they may matter.
#[derive(Clone, Debug, Default)]
pub struct Order {
    pub because: Option<String>,
    /// Store what was held for its processing id.
    pub release: bool,
    pub restore: bool,
    /// A new version.
    pub frame: Option<Bytes>,
    /// It came as text.
    pub is_text: bool,
}

impl Order {
    /// An empty body is an order without members.
    pub fn read(body: &[u8]) -> Result<Self, String> {
        let mut order = Self::default();
        if body.trim_ascii().is_empty() {
            return Ok(order);
        }
        let Ok(Json::Object(members)) = Json::parse(body) else { return Err("the body is not a JSON object".into()) };
        for (name, value) in members {
            match (&*name, &value) {
                ("because", Json::String(text)) if text.len() > BECAUSE_BYTES_MAX => {
                    return Err(format!("because: longer than {BECAUSE_BYTES_MAX} bytes; a sentence is enough"));
                }
                ("because", Json::String(text)) if !text.trim().is_empty() => order.because = Some(text.to_string()),
                ("frame", Json::String(text)) if order.frame.is_none() => {
                    (order.frame, order.is_text) = (Some(Bytes::copy_from_slice(text.as_bytes())), true);
                }
                ("frame_base64", Json::String(text)) if order.frame.is_none() => {
                    order.frame = Some(STANDARD.decode(text.as_bytes()).map_err(|_| "frame_base64 is not base64")?.into());
                }
                ("release", Json::Bool(flag)) => order.release = *flag,
                ("restore", Json::Bool(flag)) => order.restore = *flag,
                _ => {
                    return Err(
                        "a member is not known or not of its type; there are because, frame or frame_base64 (texts), release, restore \
                         (true or false)"
                            .into(),
                    );
                }
            }
        }
        Ok(order)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(method: &str, target: &str) -> Result<Route, Unfit> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Route::parse(method, path, query)
    }

    #[test]
    fn the_grammar_is_closed_and_each_route_has_its_scope() {
        for (method, target, scope) in [
            ("GET", "/ops/findings", Scope::Read),
            ("GET", "/ops/journal", Scope::Read),
            ("GET", "/ops/journal?feed=pas&waiting=true&from=2026-03-01T00:00:00Z&limit=5", Scope::Read),
            ("GET", "/ops/journal?patient=p", Scope::Records),
            ("GET", "/ops/journal/7", Scope::Records),
            ("GET", "/ops/journal/7/withdraw", Scope::Records),
            ("GET", "/ops/journal/7/withdraw?restore=true", Scope::Records),
            ("GET", "/ops/patient/p", Scope::Records),
            ("GET", "/ops/patient?identifier=urn:a%7C1", Scope::Records),
            ("POST", "/ops/journal/7/replay", Scope::Mend),
            ("POST", "/ops/journal/7/edit", Scope::Mend),
            ("POST", "/ops/journal/7/withdraw", Scope::Mend),
        ] {
            assert_eq!(parse(method, target).map(|route| route.scope()), Ok(scope), "{target}");
        }
        for (method, target, allow) in [
            ("POST", "/ops/findings", "GET"),
            ("DELETE", "/ops/journal/7", "GET"),
            ("GET", "/ops/journal/7/replay", "POST"),
            ("PUT", "/ops/journal/7/withdraw", "GET, POST"),
        ] {
            assert_eq!(parse(method, target).map(|_| ()), Err(Unfit::Method(allow)), "{target}");
        }
        for target in [
            "/ops/",
            "/ops/x",
            "/ops/journal/",
            "/ops/journal/x",
            "/ops/journal/-1",
            "/ops/journal/7/x",
            "/ops/patient/",
            "/fhir/ops/findings",
        ] {
            assert_eq!(parse("GET", target).map(|_| ()), Err(Unfit::Path), "{target}");
        }
        for target in [
            "/ops/journal?fed=pas",
            "/ops/journal?from=yesterday",
            "/ops/journal?outcome=x",
            "/ops/journal?after=-1",
            "/ops/patient",
            "/ops/journal/7/withdraw?yes=true",
            "/ops/journal/7?raw=true",
            "/ops/findings?x=1",
        ] {
            assert!(matches!(parse("GET", target), Err(Unfit::Parameter(_))), "{target}");
        }
    }

    #[test]
    fn an_order_asks_by_its_body_alone() {
        assert!(matches!(parse("POST", "/ops/journal/7/withdraw?restore=true"), Err(Unfit::Parameter(_))));
    }

    #[test]
    fn an_order_is_read_strictly() {
        let order = Order::read(br#"{"because":"a test","restore":true}"#).unwrap();
        assert_eq!((order.because.as_deref(), order.restore, order.release), (Some("a test"), true, false));
        assert!(Order::read(b" ").unwrap().because.is_none());
        let because = |bytes| Order::read(format!(r#"{{"because":"{}"}}"#, "x".repeat(bytes)).as_bytes());
        assert!(because(BECAUSE_BYTES_MAX).is_ok() && because(BECAUSE_BYTES_MAX + 1).is_err_and(|told| told.contains("1000 bytes")));
        let order = Order::read(br#"{"frame_base64":"TVNI/A=="}"#).unwrap();
        assert_eq!((order.frame.as_deref(), order.is_text), (Some(&b"MSH\xfc"[..]), false));
        for wrong in [
            &b"[]"[..],
            br#"{"frame":"a","frame_base64":"TVNI"}"#,
            br#"{"frame_base64":"?"}"#,
            b"x",
            br#"{"because":" "}"#,
            br#"{"restore":"true"}"#,
            br#"{"yes":true}"#,
        ] {
            assert!(Order::read(wrong).is_err());
        }
    }
}
