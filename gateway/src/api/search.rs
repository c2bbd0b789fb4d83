//! search-type by GET and POST (R4 http.html §3.1.0.9).

use super::answer::Answer;
use super::bundle::Bundle;
use super::fault::{self, Fault};
use super::paging::Position;
use super::served::Served;
use super::{Corridor, audit_events, read};
use crate::access::{Grant, Permission, Predicate, is_id};
use crate::search::parse::{Asked, Problem, ProblemKind, Reading, What, encode};
use crate::search::plan::Plan;
use crate::search::{Include, Page, Query, Version};
use bytes::Bytes;
use fhir_sdk::r4b::codes::{IssueSeverity, IssueType};
use hyper::StatusCode;
use std::sync::Arc;

pub async fn search(
    corridor: &Corridor,
    grant: &Arc<Grant>,
    row: &Served,
    pairs: &[(String, String)],
    strict: bool,
) -> Result<Answer, Fault> {
    let (timezone, base_url) = (&corridor.settings.timezone, corridor.settings.base_url.as_str());
    let (kind, parameters) = (row.kind.as_str(), &row.parameters);
    let reading = Reading { kind, what: What::Search, parameters, plan: &corridor.plan, timezone, base_url, strict };
    let mut asked = reading.read(pairs).map_err(fault)?;
    not_covered(&mut asked, &corridor.plan, grant, strict).map_err(fault)?;
    let links = Links::new(corridor, row.kind.clone(), &asked);
    let start = links.start()?;
    if row.kind == "AuditEvent" {
        return audit_events::search(corridor, grant, &asked, &links, start).await;
    }
    let query = Query { cursor: start.and_then(|position| position.cursor), ..asked.query.clone() };
    let page = corridor.look(grant, move |store, grant| store.search(grant, &query)).await?;
    let total = (asked.query.total || asked.query.count == 0).then_some(page.total);
    found(corridor, &links, &asked, total, page)
}

/// `Patient/ID/$everything` (R4 patient-operation-everything.html): what the Grant reaches of it, by pages.
pub async fn everything(
    corridor: &Corridor,
    grant: &Arc<Grant>,
    pairs: &[(String, String)],
    strict: bool,
    id: String,
) -> Result<Answer, Fault> {
    let asked = read::asked(corridor, What::Everything, "Patient", pairs, strict)?;
    if !is_id(&id) {
        return Err(Fault::NotFound);
    }
    let (links, query) = Links::with_query(corridor, format!("Patient/{id}/$everything"), &asked)?;
    let page = corridor.look(grant, move |store, grant| store.everything(grant, &id, &query)).await?.ok_or(Fault::NotFound)?;
    let total = Some(page.total);
    found(corridor, &links, &asked, total, page)
}

/// A searchset of one page.
fn found(corridor: &Corridor, links: &Links<'_>, asked: &Asked, total: Option<u64>, page: Page) -> Result<Answer, Fault> {
    let next = page.next.filter(|_| asked.query.count > 0).map(Into::into);
    let mut bundle = Bundle::searchset(total, links.this(), links.next(next));
    let mut answer = Answer::json(StatusCode::OK, Bytes::new());
    let url = |version: &Version| format!("{}/{}/{}", corridor.settings.base_url, version.kind, version.id);
    for version in page.matches.iter().take(asked.query.count) {
        let body = version.body.as_deref().ok_or(Fault::Exception)?;
        bundle.found(url(version), body).ok_or(Fault::Exception)?;
        answer.names(version);
    }
    for version in &page.included {
        let body = version.body.as_deref().ok_or(Fault::Exception)?;
        bundle.included(url(version), body).ok_or(Fault::Exception)?;
        answer.names(version);
    }
    let dropped = dropped(asked);
    if let Some(outcome) = &dropped {
        bundle.told(outcome).ok_or(Fault::Exception)?;
    }
    answer.body = bundle.to_bytes();
    Ok(answer)
}

/// Leaves out, and tells, what no scope of the client covers: what comes along is judged by its own type. Strictly, it is
/// refused.
fn not_covered(asked: &mut Asked, plan: &Plan, grant: &Grant, strict: bool) -> Result<(), Problem> {
    let covered = |include: &Include| {
        let mut references =
            plan.references(&include.source).filter(|(_, one)| include.parameter.as_ref().is_none_or(|code| *code == one.code));
        match (include.reverse, &include.target) {
            (true, _) => grant.predicate(&include.source, Permission::Search) != Predicate::Nothing,
            (false, Some(target)) => grant.predicate(target, Permission::Read) != Predicate::Nothing,
            (false, None) => {
                references.any(|(_, one)| one.targets.iter().any(|target| grant.predicate(target, Permission::Read) != Predicate::Nothing))
            }
        }
    };
    // Each include stands among what was applied, in the same order.
    let is_covered: Vec<bool> = asked.query.includes.iter().map(covered).collect();
    let (mut of_includes, mut of_applied, mut dropped) = (is_covered.iter(), is_covered.iter(), Vec::new());
    asked.query.includes.retain(|_| of_includes.next().is_none_or(|covered| *covered));
    asked.applied.retain(|(name, _)| {
        if !matches!(name.split(':').next(), Some("_include" | "_revinclude")) || of_applied.next().is_none_or(|covered| *covered) {
            return true;
        }
        let reason = "no scope of the token covers the type that it would bring";
        dropped.push(Problem { kind: ProblemKind::NotSupported, parameter: name.clone(), reason });
        false
    });
    if let Some(problem) = dropped.pop_if(|_| strict) {
        return Err(problem);
    }
    asked.dropped.extend(dropped);
    Ok(())
}

/// What a problem with a parameter is to the client.
pub fn fault(problem: Problem) -> Fault {
    let told = told(&problem);
    match problem.kind {
        ProblemKind::Invalid => Fault::Invalid(told),
        ProblemKind::NotSupported => Fault::NotSupported(told),
        ProblemKind::TooCostly => Fault::TooCostly(told),
    }
}

/// The outcome entry about parameters that were dropped: without it a typing error gives everything, in silence.
pub fn dropped(asked: &Asked) -> Option<Bytes> {
    let issues =
        asked.dropped.iter().map(|problem| (IssueSeverity::Warning, IssueType::NotSupported, format!("left out: {}", told(problem))));
    (!asked.dropped.is_empty()).then(|| fault::outcomes(issues))
}

fn told(problem: &Problem) -> String {
    let name = if problem.parameter.is_empty() { "a parameter" } else { &problem.parameter };
    format!("{name}: {}", problem.reason)
}

/// The links of one answer. A page token is bound to the path and to all parameters as understood.
pub struct Links<'a> {
    corridor: &'a Corridor,
    url: String,
    query: String,
    page: Option<&'a str>,
}

impl<'a> Links<'a> {
    pub fn new(corridor: &'a Corridor, path: String, asked: &'a Asked) -> Self {
        let url = format!("{}/{path}", corridor.settings.base_url);
        Self { corridor, url, query: encode(&asked.applied), page: asked.page.as_deref() }
    }

    /// With the query of the page that is asked for.
    pub fn with_query(corridor: &'a Corridor, path: String, asked: &'a Asked) -> Result<(Self, Query), Fault> {
        let links = Self::new(corridor, path, asked);
        let query = Query { cursor: links.start()?.and_then(|position| position.cursor), ..asked.query.clone() };
        Ok((links, query))
    }

    /// Where this page starts; `None`: at the beginning.
    pub fn start(&self) -> Result<Option<Position>, Fault> {
        let Some(token) = self.page else { return Ok(None) };
        let wrong = || Fault::Invalid("_page: not a link of this search".into());
        self.corridor.pager.open(&self.bound(), token).map(Some).ok_or_else(wrong)
    }

    pub fn this(&self) -> String {
        self.with(self.page)
    }

    pub fn next(&self, position: Option<Position>) -> Option<String> {
        position.map(|position| self.with(Some(&self.corridor.pager.seal(&self.bound(), &position))))
    }

    fn bound(&self) -> String {
        format!("{}?{}", self.url, self.query)
    }

    fn with(&self, page: Option<&str>) -> String {
        let page = page.map(|page| encode(&[("_page".to_owned(), page.to_owned())]));
        let query: Vec<&str> =
            [self.query.as_str(), page.as_deref().unwrap_or_default()].into_iter().filter(|part| !part.is_empty()).collect();
        if query.is_empty() { self.url.clone() } else { format!("{}?{}", self.url, query.join("&")) }
    }
}
