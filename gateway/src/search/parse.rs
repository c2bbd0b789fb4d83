//! From the parameters of a URL (or a form) to a [`Query`]: R4 search.html, read strictly.

use super::plan::{Path, Plan};
use super::value::{fold, interval, prefixed, split, unescape};
use super::{Filter, Include, Operand, Prefix, Query, Sort};
use jiff::tz::TimeZone;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Page size where the client names none.
pub const COUNT_DEFAULT: usize = 50;
/// The largest page.
pub const COUNT_MAX: usize = 500;
/// Parameters in one search; a list costs a sub-query each.
const PARAMETERS_MAX: usize = 64;
/// Alternatives in one search, over all parameters.
const OPERANDS_MAX: usize = 1000;
/// Parameters that one order is made of.
const SORTS_MAX: usize = 3;
/// `_include` and `_revinclude` in one search.
const INCLUDES_MAX: usize = 16;

/// How the values of a parameter are read. The types of R4 that no served parameter has are not among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParameterType {
    Token,
    String,
    Date,
    Reference,
}

/// One row of `schemas/r4/search.csv`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    pub kind: ParameterType,
    /// Where its values stand.
    pub paths: Vec<Path>,
    /// The resource types it may point at; empty but for references.
    pub targets: Vec<String>,
}

/// Parameters by resource type and code.
pub type Parameters = BTreeMap<(String, String), Parameter>;

/// Reads `search.csv` (`resource,code,type,paths,targets`; paths and targets separated by `;`). Rows of types that are not
/// served are passed over. Errors name the line.
pub fn parameters(table: &str) -> Result<Parameters, String> {
    let mut reader = csv::Reader::from_reader(table.as_bytes());
    let header = reader.headers().map_err(|error| format!("search.csv: {error}"))?;
    if header != vec!["resource", "code", "type", "paths", "targets"] {
        return Err("search.csv line 1: the header is resource,code,type,paths,targets".into());
    }
    let mut parameters = Parameters::new();
    for row in reader.records() {
        let row = row.map_err(|error| format!("search.csv: {error}"))?;
        let kind = match &row[2] {
            "token" => ParameterType::Token,
            "string" => ParameterType::String,
            "date" => ParameterType::Date,
            "reference" => ParameterType::Reference,
            _ => continue,
        };
        let list = |text: &str, separator| text.split(separator).filter(|part| !part.is_empty()).map(str::to_owned).collect::<Vec<_>>();
        let paths = list(&row[3], ';').iter().map(|path| list(path, '.')).collect();
        let parameter = Parameter { kind, paths, targets: list(&row[4], ';') };
        if parameters.insert((row[0].to_owned(), row[1].to_owned()), parameter).is_some() {
            let line = row.position().map_or(0, csv::Position::line);
            return Err(format!("search.csv line {line}: {} {} stands twice", &row[0], &row[1]));
        }
    }
    Ok(parameters)
}

/// What one search is read with.
pub struct Reading<'a> {
    pub kind: &'a str,
    pub what: What,
    /// The parameters served for this type, by code.
    pub parameters: &'a BTreeMap<String, Parameter>,
    /// The references that can be followed.
    pub plan: &'a Plan,
    /// Zone of dates that state none.
    pub timezone: &'a TimeZone,
    /// Our own base: references may be written as URLs below it.
    pub base_url: &'a str,
    /// `Prefer: handling=strict`: what is not understood is refused and not dropped.
    pub strict: bool,
}

/// Which interaction the parameters are of: each has its own beside those of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Search,
    History,
    Everything,
}

/// A search as it was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Without its cursor.
    pub query: Query,
    /// What was understood, decoded, in the order given: the self link. Without `_page`.
    pub applied: Vec<(String, String)>,
    /// The page token, not yet opened.
    pub page: Option<String>,
    /// What was dropped, for the outcome entry.
    pub dropped: Vec<Problem>,
}

/// A parameter that cannot be served, and why. Never holds its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub kind: ProblemKind,
    /// The parameter's name, as far as it looks like one.
    pub parameter: String,
    pub reason: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    Invalid,
    NotSupported,
    TooCostly,
}

impl Reading<'_> {
    /// Reads parameters as a client gave them: the query's, then the form's.
    pub fn read(&self, pairs: &[(String, String)]) -> Result<Asked, Problem> {
        if pairs.len() > PARAMETERS_MAX {
            return Err(problem(ProblemKind::TooCostly, "", "more than 64 parameters"));
        }
        let query = Query { kind: self.kind.to_owned(), count: COUNT_DEFAULT, total: true, ..Query::default() };
        let mut asked = Asked { query, applied: Vec::new(), page: None, dropped: Vec::new() };
        let mut count = None;
        for (name, value) in pairs {
            match self.one(&mut asked, &mut count, name, value)? {
                Fate::Applied => asked.applied.push((name.clone(), value.clone())),
                Fate::Absorbed => {}
                Fate::Dropped(reason) if self.strict => return Err(problem(ProblemKind::NotSupported, name, reason)),
                Fate::Dropped(reason) => asked.dropped.push(problem(ProblemKind::NotSupported, name, reason)),
            }
        }
        if let Some(count) = count {
            asked.query.count = count;
        }
        if asked.query.filters.iter().map(|filter| filter.any.len()).sum::<usize>() > OPERANDS_MAX {
            return Err(problem(ProblemKind::TooCostly, "", "more than 1000 alternatives"));
        }
        Ok(asked)
    }

    fn one(&self, asked: &mut Asked, count: &mut Option<usize>, name: &str, value: &str) -> Result<Fate, Problem> {
        match name {
            "_count" => {
                if count.is_some() {
                    return Err(problem(ProblemKind::Invalid, name, "given twice"));
                }
                let wanted = value.parse::<u64>().map_err(|_| problem(ProblemKind::Invalid, name, "not a number from 0"))?;
                let wanted = usize::try_from(wanted).unwrap_or(COUNT_MAX).min(COUNT_MAX);
                *count = Some(wanted);
                asked.applied.push((name.to_owned(), wanted.to_string()));
                Ok(Fate::Absorbed)
            }
            "_page" if asked.page.is_some() => Err(problem(ProblemKind::Invalid, name, "given twice")),
            "_page" => {
                asked.page = Some(value.to_owned());
                Ok(Fate::Absorbed)
            }
            "_format" | "_pretty" => Ok(Fate::Applied),
            "_total" if matches!(value, "none" | "estimate" | "accurate") => {
                asked.query.total = value != "none";
                Ok(Fate::Applied)
            }
            "_total" => Err(problem(ProblemKind::Invalid, name, "not one of none, estimate, accurate")),
            "_since" if self.what != What::Search && asked.query.since.is_some() => Err(problem(ProblemKind::Invalid, name, "given twice")),
            "_since" if self.what != What::Search => {
                let (since, _) = interval(value, self.timezone).ok_or_else(|| problem(ProblemKind::Invalid, name, "not a date or time"))?;
                asked.query.since = Some(since);
                Ok(Fate::Applied)
            }
            "_at" if self.what == What::History && asked.query.at.is_some() => Err(problem(ProblemKind::Invalid, name, "given twice")),
            "_at" if self.what == What::History => {
                let time = within(value, self.timezone).map_err(|reason| problem(ProblemKind::Invalid, name, reason))?;
                asked.query.at = Some(time);
                Ok(Fate::Applied)
            }
            "_type" if self.what == What::Everything => {
                let kinds: Vec<String> = value.split(',').filter(|kind| !kind.is_empty()).map(str::to_owned).collect();
                // A mistyped one would give a record without those, and nobody would see it.
                if kinds.iter().any(|kind| !self.plan.knows(kind)) {
                    return Err(problem(ProblemKind::Invalid, name, "it names a type that is not served"));
                }
                let fate = if kinds.is_empty() { Fate::Dropped("it has no value") } else { Fate::Applied };
                asked.query.kinds.extend(kinds);
                Ok(fate)
            }
            // Left out, it would widen the answer.
            "start" | "end" | "_typeFilter" if self.what == What::Everything => {
                Err(problem(ProblemKind::NotSupported, name, "not served; _type, _since and _count are"))
            }
            _ if self.what == What::History => Ok(Fate::Dropped("this parameter is not served here; _since, _at and _count are")),
            _ if self.what == What::Everything => Ok(Fate::Dropped("this parameter is not served here; _type, _since and _count are")),
            "_sort" if !asked.query.sort.is_empty() => Err(problem(ProblemKind::Invalid, name, "given twice")),
            "_sort" => Ok(self.sort(asked, value)),
            "_summary" if value == "false" => Ok(Fate::Applied),
            "_summary" if value == "count" => {
                *count = Some(0);
                Ok(Fate::Applied)
            }
            "_summary" => Ok(Fate::Dropped("this summary is not served; whole resources are given")),
            _ => match name.split_once(':').unwrap_or((name, "")) {
                ("_include", modifier) => self.include(asked, (false, name), modifier, value),
                ("_revinclude", modifier) => self.include(asked, (true, name), modifier, value),
                _ => self.filter(asked, name, value),
            },
        }
    }

    /// What is not found adds nothing to the answer: it is left out, and told.
    fn include(&self, asked: &mut Asked, (reverse, name): (bool, &str), modifier: &str, value: &str) -> Result<Fate, Problem> {
        let iterate = match modifier {
            "" => false,
            "iterate" | "recurse" => true,
            _ => return Err(problem(ProblemKind::NotSupported, name, "this modifier is not served; :iterate is")),
        };
        if asked.query.includes.len() == INCLUDES_MAX {
            return Err(problem(ProblemKind::TooCostly, name, "more than 16 of _include and _revinclude"));
        }
        let parts: Vec<&str> = value.split(':').collect();
        let (source, parameter, target) = match parts.as_slice() {
            ["*"] if !reverse => (self.kind, "*", None),
            [source, parameter] => (*source, *parameter, None),
            [source, parameter, target] => (*source, *parameter, Some(*target)),
            _ => return Ok(Fate::Dropped("not Type:parameter or Type:parameter:Target")),
        };
        let mut references = self.plan.references(source).filter(|(_, one)| parameter == "*" || one.code == parameter).peekable();
        if self.kind == "AuditEvent" || references.peek().is_none() {
            return Ok(Fate::Dropped("this reference is not served; the CapabilityStatement lists those that are"));
        }
        if target.is_some_and(|target| references.all(|(_, one)| one.targets.iter().all(|known| known != target))) {
            return Ok(Fate::Dropped("this reference does not point at that type"));
        }
        asked.query.includes.push(Include {
            reverse,
            iterate,
            source: source.to_owned(),
            parameter: (parameter != "*").then(|| parameter.to_owned()),
            target: target.map(str::to_owned),
        });
        Ok(Fate::Applied)
    }

    /// Another order gives the same matches: one that is not served is left out.
    fn sort(&self, asked: &mut Asked, value: &str) -> Fate {
        if self.kind == "AuditEvent" {
            return Fate::Dropped("the audit is told newest first");
        }
        let one = |text: &str| {
            let (descending, code) = text.strip_prefix('-').map_or((false, text), |code| (true, code));
            let parameter = self.parameters.get(code).filter(|_| code != "_id")?;
            (parameter.kind != ParameterType::Reference).then(|| Sort { parameter: code.to_owned(), descending })
        };
        match value.split(',').map(one).collect::<Option<Vec<_>>>() {
            Some(sort) if sort.len() <= SORTS_MAX => {
                asked.query.sort = sort;
                Fate::Applied
            }
            _ => Fate::Dropped(
                "this order is not served; up to three parameters of the type that are dates, strings or tokens, or _lastUpdated, are, each with or without - before it",
            ),
        }
    }

    fn filter(&self, asked: &mut Asked, name: &str, value: &str) -> Result<Fate, Problem> {
        let (code, modifier) = name.split_once(':').map_or((name, None), |(code, modifier)| (code, Some(modifier)));
        let base = code.split_once('.').map_or(code, |(base, _)| base);
        // A chain or a modifier that is dropped would widen the answer beyond what was asked.
        if code == "_has" || (base != code && self.parameters.contains_key(base)) {
            return Err(problem(ProblemKind::NotSupported, name, "chained search is not served"));
        }
        let Some(parameter) = self.parameters.get(code) else { return Ok(Fate::Dropped("this parameter is not served for this type")) };
        let modifier = self.modifier(code, parameter, modifier).map_err(|reason| problem(ProblemKind::NotSupported, name, reason))?;
        let any = split(value, ',')
            .into_iter()
            .filter(|part| !part.is_empty())
            .map(|part| self.operand(code, parameter, modifier, part))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|reason| problem(ProblemKind::Invalid, name, reason))?;
        if any.is_empty() {
            return Ok(Fate::Dropped("it has no value"));
        }
        if modifier == Modifier::Missing && any.len() > 1 {
            return Err(problem(ProblemKind::Invalid, name, "one of true and false"));
        }
        asked.query.filters.push(Filter { parameter: code.to_owned(), any, not: modifier == Modifier::Not });
        Ok(Fate::Applied)
    }

    /// Which modifier, if it goes with the parameter (R4 search.html §3.1.1.4.4). One that were dropped would widen the answer.
    fn modifier<'m>(&self, code: &str, parameter: &Parameter, modifier: Option<&'m str>) -> Result<Modifier<'m>, &'static str> {
        let Some(modifier) = modifier else { return Ok(Modifier::None) };
        // Every resource has these; and the audit is searched by its own index.
        if matches!(code, "_id" | "_lastUpdated") || self.kind == "AuditEvent" {
            return Err("no modifier is served on this parameter");
        }
        match (modifier, parameter.kind) {
            ("missing", _) => Ok(Modifier::Missing),
            ("not", ParameterType::Token) => Ok(Modifier::Not),
            ("exact", ParameterType::String) => Ok(Modifier::Exact),
            ("contains", ParameterType::String) => Ok(Modifier::Contains),
            (kind, ParameterType::Reference) if parameter.targets.iter().any(|target| target == kind) => Ok(Modifier::Type(kind)),
            (_, ParameterType::Token) => Err("this modifier is not served; on a token :not and :missing are"),
            (_, ParameterType::String) => Err("this modifier is not served; on a string :exact, :contains and :missing are"),
            (_, ParameterType::Date) => Err("this modifier is not served; on a date :missing is"),
            (_, ParameterType::Reference) => Err("this modifier is not served; on a reference :missing and its own types are"),
        }
    }

    fn operand(&self, code: &str, parameter: &Parameter, modifier: Modifier<'_>, text: &str) -> Result<Operand, &'static str> {
        if code == "_id" {
            return Ok(Operand::Id(unescape(text)));
        }
        let kind = match (modifier, text) {
            (Modifier::Missing, "true") => return Ok(Operand::Missing(true)),
            (Modifier::Missing, "false") => return Ok(Operand::Missing(false)),
            (Modifier::Missing, _) => return Err("one of true and false"),
            (Modifier::Exact, _) => return Ok(Operand::Exact(unescape(text))),
            (Modifier::Contains, _) => return Ok(Operand::Contains(fold(&unescape(text)))),
            (Modifier::Type(kind), _) => Some(kind),
            (Modifier::None | Modifier::Not, _) => None,
        };
        match parameter.kind {
            ParameterType::Token => token(text),
            ParameterType::String => Ok(Operand::Text(fold(&unescape(text)))),
            ParameterType::Date => {
                let (prefix, date) = prefixed(text);
                let (low, high) = interval(date, self.timezone).ok_or("not a date")?;
                Ok(Operand::Date { prefix, low, high })
            }
            ParameterType::Reference => self.reference(parameter, kind, &unescape(text)),
        }
    }

    /// `Type/id`, an id, or either below our own base. What is elsewhere is kept whole: no id of ours equals it.
    fn reference(&self, parameter: &Parameter, kind: Option<&str>, text: &str) -> Result<Operand, &'static str> {
        let relative = text.strip_prefix(self.base_url).and_then(|rest| rest.strip_prefix('/')).unwrap_or(text);
        if relative.contains("/_history/") {
            return Err("a reference to one version");
        }
        let only = match parameter.targets.as_slice() {
            [only] => Some(only.as_str()),
            _ => None,
        };
        Ok(match relative.split_once('/') {
            Some((_, id)) if id.contains('/') => Operand::Reference { kind: None, id: relative.to_owned() },
            Some((stated, _)) if kind.is_some_and(|kind| kind != stated) => return Err("the modifier names another type"),
            Some((stated, id)) => Operand::Reference { kind: Some(stated.to_owned()), id: id.to_owned() },
            None => Operand::Reference { kind: kind.or(only).map(str::to_owned), id: relative.to_owned() },
        })
    }
}

/// Decodes `application/x-www-form-urlencoded`, from a URL or a body. Pairs without a name are passed over. `None`:
/// not UTF-8, or with a control character.
pub fn pairs(encoded: &str) -> Option<Vec<(String, String)>> {
    let decode = |text: &str| -> Option<String> {
        let spaced: Cow<str> = if text.contains('+') { text.replace('+', " ").into() } else { text.into() };
        let plain = percent_decode_str(&spaced).decode_utf8().ok()?.into_owned();
        (!plain.contains(char::is_control)).then_some(plain)
    };
    encoded
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .filter(|(name, _)| !name.is_empty())
        .map(|(name, value)| Some((decode(name)?, decode(value)?)))
        .collect()
}

/// Encodes pairs for a URL, so that [`pairs`] gives them back.
pub fn encode(pairs: &[(String, String)]) -> String {
    const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':').remove(b',').remove(b'/');
    let mut encoded = String::new();
    for (name, value) in pairs {
        if !encoded.is_empty() {
            encoded.push('&');
        }
        encoded.extend(utf8_percent_encode(name, KEPT));
        encoded.push('=');
        encoded.extend(utf8_percent_encode(value, KEPT));
    }
    encoded
}

/// What stands behind a parameter's colon.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Modifier<'a> {
    None,
    Missing,
    Not,
    Exact,
    Contains,
    /// The type of what a reference points at.
    Type(&'a str),
}

/// What became of one parameter.
enum Fate {
    /// It stands in the self link as given.
    Applied,
    /// It is kept elsewhere.
    Absorbed,
    Dropped(&'static str),
}

/// The time that a date with or without a prefix stands for, as `[low, high)`.
fn within(text: &str, timezone: &TimeZone) -> Result<(i64, i64), &'static str> {
    let (prefix, date) = prefixed(text);
    let (low, high) = interval(date, timezone).ok_or("not a date or time")?;
    match prefix {
        Prefix::Eq => Ok((low, high)),
        Prefix::Ge => Ok((low, i64::MAX)),
        Prefix::Gt | Prefix::Sa => Ok((high, i64::MAX)),
        Prefix::Le => Ok((i64::MIN, high)),
        Prefix::Lt | Prefix::Eb => Ok((i64::MIN, low)),
        Prefix::Ne | Prefix::Ap => Err("this prefix names no one span of time"),
    }
}

fn token(text: &str) -> Result<Operand, &'static str> {
    let parts = split(text, '|');
    let (system, code) = match parts.as_slice() {
        [code] => (None, Some(unescape(code))),
        [system, rest @ ..] => (Some(unescape(system)), Some(unescape(&rest.join("|"))).filter(|code| !code.is_empty())),
        [] => return Err("it has no value"),
    };
    if code.is_none() && system.as_deref().is_none_or(str::is_empty) {
        return Err("neither a system nor a code");
    }
    Ok(Operand::Token { system, code })
}

fn problem(kind: ProblemKind, name: &str, reason: &'static str) -> Problem {
    let named = !name.is_empty()
        && name.len() <= 64
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':'));
    Problem { kind, parameter: if named { name.to_owned() } else { String::new() }, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "resource,code,type,paths,targets
Patient,_id,token,id,
Patient,_lastUpdated,date,meta.lastUpdated,
Patient,identifier,token,identifier,
Patient,family,string,name.family,
Patient,birthdate,date,birthDate,
Observation,patient,reference,subject,Patient
Observation,subject,reference,subject,Group;Patient
Observation,value-quantity,quantity,valueQuantity,
";

    fn read(kind: &str, query: &str, strict: bool) -> Result<Asked, Problem> {
        let served = parameters(TABLE).unwrap().into_iter().filter(|((of, _), _)| of == kind).map(|((_, code), row)| (code, row)).collect();
        of(What::Search, kind, &served, query, strict)
    }

    fn of(what: What, kind: &str, parameters: &BTreeMap<String, Parameter>, query: &str, strict: bool) -> Result<Asked, Problem> {
        let (plan, base_url) = (Plan::built_in(), "https://gw.example/fhir");
        let reading = Reading { kind, what, parameters, plan: &plan, timezone: &TimeZone::UTC, base_url, strict };
        reading.read(&pairs(query).unwrap())
    }

    fn filters(kind: &str, query: &str) -> Vec<Filter> {
        read(kind, query, true).unwrap().query.filters
    }

    fn token(system: Option<&str>, code: Option<&str>) -> Operand {
        Operand::Token { system: system.map(str::to_owned), code: code.map(str::to_owned) }
    }

    fn reference(kind: Option<&str>, id: &str) -> Operand {
        Operand::Reference { kind: kind.map(str::to_owned), id: id.to_owned() }
    }

    #[test]
    fn values_are_read_by_the_type_of_their_parameter() {
        let check = |kind: &str, query: &str, any: Vec<Operand>| {
            assert_eq!(filters(kind, query).iter().flat_map(|filter| filter.any.clone()).collect::<Vec<_>>(), any, "{query}");
        };
        check("Patient", "identifier=123", vec![token(None, Some("123"))]);
        check("Patient", "identifier=urn:a|123", vec![token(Some("urn:a"), Some("123"))]);
        check(
            "Patient",
            "identifier=urn:a%7C123,|4,urn:b|",
            vec![token(Some("urn:a"), Some("123")), token(Some(""), Some("4")), token(Some("urn:b"), None)],
        );
        check("Patient", r"identifier=urn%3Aa\,b|1\|2\,3\\", vec![token(Some("urn:a,b"), Some(r"1|2,3\"))]);
        check("Patient", r"identifier=1\,", vec![token(None, Some("1,"))]);
        check("Patient", "family=M%C3%BCller,O%27Neil+x", vec![Operand::Text("muller".into()), Operand::Text("o'neil x".into())]);
        check("Patient", "_id=a,b", vec![Operand::Id("a".into()), Operand::Id("b".into())]);
        let (low, high) = interval("1990-06", &TimeZone::UTC).unwrap();
        check("Patient", "birthdate=ge1990-06", vec![Operand::Date { prefix: Prefix::Ge, low, high }]);
        check("Patient", "family:exact=M%C3%BCller", vec![Operand::Exact("Müller".into())]);
        check("Patient", r"family:contains=%C3%9CLL,a\,b", vec![Operand::Contains("ull".into()), Operand::Contains("a,b".into())]);
        check("Patient", "birthdate:missing=true&family:missing=false", vec![Operand::Missing(true), Operand::Missing(false)]);
        check("Patient", "identifier:not=urn:a|1", vec![token(Some("urn:a"), Some("1"))]);
        assert_eq!(filters("Patient", "identifier:not=1&identifier=2").iter().map(|filter| filter.not).collect::<Vec<_>>(), [true, false]);
        let (low, high) = interval("2026-03-01", &TimeZone::UTC).unwrap();
        check("Patient", "_lastUpdated=gt2026-03-01", vec![Operand::Date { prefix: Prefix::Gt, low, high }]);
        check("Observation", "patient=1", vec![reference(Some("Patient"), "1")]);
        check("Observation", "patient=Patient/1", vec![reference(Some("Patient"), "1")]);
        check("Observation", "patient=https://gw.example/fhir/Patient/1", vec![reference(Some("Patient"), "1")]);
        check("Observation", "patient=https://other/fhir/Patient/1", vec![reference(None, "https://other/fhir/Patient/1")]);
        check("Observation", "subject=1", vec![reference(None, "1")]);
        check("Observation", "subject:Patient=1", vec![reference(Some("Patient"), "1")]);
    }

    #[test]
    fn what_would_widen_the_answer_or_cannot_be_read_is_refused_in_either_handling() {
        for (kind, query) in [
            ("Patient", "family:not=A"),
            ("Patient", "family:above=A"),
            ("Patient", "family:missing=maybe"),
            ("Patient", "family:missing=true,false"),
            ("Patient", "identifier:exact=A"),
            ("Patient", "identifier:in=urn:a"),
            ("Patient", "birthdate:not=1990"),
            ("Patient", "_id:missing=true"),
            ("Patient", "_lastUpdated:missing=true"),
            ("Patient", "birthdate=yesterday"),
            ("Patient", "birthdate=xx1990"),
            ("Patient", "identifier=|"),
            ("Patient", "_count=-1"),
            ("Patient", "_count=x"),
            ("Patient", "_count=1&_count=2"),
            ("Patient", "_total=some"),
            ("Patient", "_has:Observation:patient:code=1"),
            ("Observation", "patient.family=A"),
            ("Observation", "patient:identifier=1"),
            ("Observation", "subject:Group=Patient/1"),
            ("Observation", "patient=Patient/1/_history/2"),
        ] {
            for strict in [false, true] {
                let problem = read(kind, query, strict).unwrap_err();
                assert!(!problem.reason.is_empty(), "{query}");
            }
        }
    }

    #[test]
    fn what_is_not_known_is_dropped_and_told_or_under_strict_handling_refused() {
        for query in
            ["famly=A", "family=", "family=,", "_summary=true", "_totalMethod=count", "_sort=_id", "_include=Patient:x", "_since=2026"]
        {
            let asked = read("Patient", query, false).unwrap();
            assert_eq!((asked.query.filters.len(), asked.applied.len(), asked.dropped.len()), (0, 0, 1), "{query}");
            assert!(read("Patient", query, true).is_err(), "{query}");
        }
        assert!(read("Observation", "value-quantity=1", true).is_err(), "its type is not served");
        assert_eq!(read("Patient", "A%20name%20=x", false).unwrap().dropped[0].parameter, "", "it may be a value");
        assert!(read("Patient", "_summary=false&_format=json&_pretty=true", true).unwrap().query.total);
        assert!(!read("Patient", "_total=none", true).unwrap().query.total);
    }

    #[test]
    fn dates_strings_and_tokens_order() {
        let sort = |query: &str| read("Patient", query, false).map(|asked| asked.query.sort);
        let by = |parameter: &str, descending| Sort { parameter: parameter.into(), descending };
        assert_eq!(sort("_sort=birthdate").unwrap(), [by("birthdate", false)]);
        assert_eq!(sort("_sort=-_lastUpdated").unwrap(), [by("_lastUpdated", true)]);
        assert_eq!(
            sort("_sort=family,-birthdate,identifier").unwrap(),
            [by("family", false), by("birthdate", true), by("identifier", false)]
        );
        for other in
            ["_sort=_id", "_sort=family,_id", "_sort=", "_sort=--birthdate", "_sort=+birthdate", "_sort=family,family,family,family"]
        {
            assert_eq!(sort(other).unwrap(), [], "{other}");
            assert!(read("Patient", other, true).is_err(), "{other}");
        }
        assert!(sort("_sort=birthdate&_sort=_lastUpdated").is_err());
    }

    #[test]
    fn includes_name_references_that_are_served() {
        let include = |reverse, iterate, source: &str, parameter: Option<&str>, target: Option<&str>| Include {
            reverse,
            iterate,
            source: source.into(),
            parameter: parameter.map(str::to_owned),
            target: target.map(str::to_owned),
        };
        for (query, expected) in [
            ("_include=Observation:patient", include(false, false, "Observation", Some("patient"), None)),
            ("_include=Observation:subject:Patient", include(false, false, "Observation", Some("subject"), Some("Patient"))),
            ("_include:iterate=Encounter:location", include(false, true, "Encounter", Some("location"), None)),
            ("_include=*", include(false, false, "Observation", None, None)),
            ("_include=Observation:*", include(false, false, "Observation", None, None)),
            ("_revinclude=DiagnosticReport:result", include(true, false, "DiagnosticReport", Some("result"), None)),
        ] {
            let asked = read("Observation", query, true).unwrap();
            assert_eq!((asked.query.includes, asked.applied.len()), (vec![expected], 1), "{query}");
        }
        for query in [
            "_include=patient",
            "_include=",
            "_include=Observation:code",
            "_include=Observation:subject:Organization",
            "_include=Binary:securityContext",
            "_include=Martian:patient",
            "_include=a:b:c:d",
            "_revinclude=*",
        ] {
            assert_eq!(read("Observation", query, false).unwrap().dropped.len(), 1, "{query}");
        }
        assert!(read("Observation", "_include:wide=Observation:patient", false).is_err());
        let many = vec!["_include=Observation:patient"; INCLUDES_MAX + 1].join("&");
        assert_eq!(read("Observation", &many, false).unwrap_err().kind, ProblemKind::TooCostly);
    }

    #[test]
    fn a_history_and_an_everything_have_parameters_of_their_own() {
        let none = BTreeMap::new();
        let (since, _) = interval("2026-03-01T10:00:00Z", &TimeZone::UTC).unwrap();
        let history = of(What::History, "Patient", &none, "_since=2026-03-01T10:00:00Z&_count=3", true).unwrap();
        assert_eq!((history.query.since, history.query.count), (Some(since), 3));
        let at = |text: &str| of(What::History, "Patient", &none, &format!("_at={text}"), true).map(|asked| asked.query.at);
        let (low, high) = interval("2026-03-01", &TimeZone::UTC).unwrap();
        for (text, expected) in [
            ("2026-03-01", (low, high)),
            ("ge2026-03-01", (low, i64::MAX)),
            ("gt2026-03-01", (high, i64::MAX)),
            ("le2026-03-01", (i64::MIN, high)),
            ("lt2026-03-01", (i64::MIN, low)),
        ] {
            assert_eq!(at(text).unwrap(), Some(expected), "{text}");
        }
        assert!(at("ne2026").is_err() && at("then").is_err() && at("2026&_at=2026").is_err());
        let all = of(What::Everything, "Patient", &none, "_type=Observation,Encounter&_since=2026-03-01T10:00:00Z", true).unwrap();
        assert_eq!((all.query.since, all.query.kinds), (Some(since), vec!["Observation".to_owned(), "Encounter".to_owned()]));
        for (what, query) in [
            (What::History, "_since=then"),
            (What::History, "_since=2026&_since=2026"),
            (What::Everything, "start=2026"),
            (What::Everything, "_type=Observaton,Encounter"),
        ] {
            assert!(of(what, "Patient", &none, query, false).is_err(), "{query}");
        }
        for (what, query) in [(What::History, "_sort=_lastUpdated"), (What::History, "_type=Patient"), (What::Everything, "_at=2026")] {
            assert_eq!(of(what, "Patient", &none, query, false).unwrap().dropped.len(), 1, "{query}");
            assert!(of(what, "Patient", &none, query, true).is_err(), "{query}");
        }
    }

    #[test]
    fn counts_are_bounded() {
        let count = |query: &str| read("Patient", query, true).unwrap().query.count;
        assert_eq!(count(""), COUNT_DEFAULT);
        assert_eq!(count("_count=0"), 0);
        assert_eq!(count("_count=7"), 7);
        assert_eq!(count("_count=99999999999"), COUNT_MAX);
        assert_eq!(count("_summary=count"), 0);
        let many = vec!["family=a"; PARAMETERS_MAX + 1].join("&");
        assert_eq!(read("Patient", &many, false).unwrap_err().kind, ProblemKind::TooCostly);
        let list = format!("family={}", vec!["a"; OPERANDS_MAX + 1].join(","));
        assert_eq!(read("Patient", &list, false).unwrap_err().kind, ProblemKind::TooCostly);
    }

    #[test]
    fn pairs_survive_a_url() {
        for text in ["family=a%2Cb%5C%2Cc", "a=%C3%A9&b=1+2&c=%2B", "x=urn:a|1"] {
            let read = pairs(text).unwrap();
            assert_eq!(pairs(&encode(&read)).unwrap(), read);
        }
        assert_eq!(pairs("a=%FF"), None);
        assert_eq!(pairs("a=%00"), None);
        assert_eq!(pairs("&&=x&a").unwrap(), [("a".to_owned(), String::new())]);
    }
}
