//! read, vread and history of an instance or a type (R4 http.html §3.1.0.2, .3, .12).

use super::answer::{Answer, etag};
use super::bundle::Bundle;
use super::fault::Fault;
use super::{Corridor, search};
use crate::access::{Grant, is_id};
use crate::search::parse::{Asked, Reading, What};
use crate::search::{Page, Version};
use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{
    CONTENT_DISPOSITION, CONTENT_LOCATION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderMap, IF_MODIFIED_SINCE, IF_NONE_MATCH,
};
use std::collections::BTreeMap;
use std::sync::Arc;

pub async fn read(corridor: &Corridor, grant: &Arc<Grant>, headers: &HeaderMap, kind: String, id: String) -> Result<Answer, Fault> {
    if !is_id(&id) {
        return Err(Fault::NotFound);
    }
    let version = corridor.ask(grant, move |store, grant| store.read(grant, &kind, &id)).await?.ok_or(Fault::NotFound)?;
    one(corridor, headers, version)
}

pub async fn vread(
    corridor: &Corridor,
    grant: &Arc<Grant>,
    headers: &HeaderMap,
    kind: String,
    id: String,
    version: &str,
) -> Result<Answer, Fault> {
    let plain = version.bytes().all(|byte| byte.is_ascii_digit()) && !version.starts_with('0');
    let Some(number) = version.parse::<u64>().ok().filter(|_| plain && is_id(&id)) else { return Err(Fault::NotFound) };
    let version = corridor.ask(grant, move |store, grant| store.vread(grant, &kind, &id, number)).await?.ok_or(Fault::NotFound)?;
    one(corridor, headers, version)
}

pub async fn history(
    corridor: &Corridor,
    grant: &Arc<Grant>,
    pairs: &[(String, String)],
    strict: bool,
    kind: String,
    id: String,
) -> Result<Answer, Fault> {
    let asked = asked(corridor, What::History, &kind, pairs, strict)?;
    if !is_id(&id) {
        return Err(Fault::NotFound);
    }
    let (links, query) = search::Links::with_query(corridor, format!("{kind}/{id}/_history"), &asked)?;
    let page = corridor.ask(grant, move |store, grant| store.history(grant, &id, &query)).await?.ok_or(Fault::NotFound)?;
    versions(corridor, &links, &asked, page, true)
}

pub async fn type_history(
    corridor: &Corridor,
    grant: &Arc<Grant>,
    pairs: &[(String, String)],
    strict: bool,
    kind: String,
) -> Result<Answer, Fault> {
    let asked = asked(corridor, What::History, &kind, pairs, strict)?;
    let (links, query) = search::Links::with_query(corridor, format!("{kind}/_history"), &asked)?;
    let page = corridor.look(grant, move |store, grant| store.changes(grant, &query)).await?;
    versions(corridor, &links, &asked, page, false)
}

/// The parameters of an interaction that has no search parameters of a type.
pub fn asked(corridor: &Corridor, what: What, kind: &str, pairs: &[(String, String)], strict: bool) -> Result<Asked, Fault> {
    let none = BTreeMap::new();
    let (timezone, base_url) = (&corridor.settings.timezone, corridor.settings.base_url.as_str());
    let reading = Reading { kind, what, parameters: &none, plan: &corridor.plan, timezone, base_url, strict };
    reading.read(pairs).map_err(search::fault)
}

/// A history Bundle. `counted`: the page tells how many there are.
fn versions(corridor: &Corridor, links: &search::Links<'_>, asked: &Asked, page: Page, counted: bool) -> Result<Answer, Fault> {
    let count = asked.query.count;
    let next = links.next(page.next.filter(|_| count > 0).map(Into::into));
    let mut bundle = Bundle::history(counted.then_some(page.total), links.this(), next);
    let mut answer = Answer::json(StatusCode::OK, Bytes::new());
    for version in page.matches.iter().take(count) {
        bundle.version(&corridor.settings.base_url, version).ok_or(Fault::Exception)?;
        answer.names(version);
    }
    let dropped = search::dropped(asked);
    if let Some(outcome) = &dropped {
        bundle.told(outcome).ok_or(Fault::Exception)?;
    }
    answer.body = bundle.to_bytes();
    Ok(answer)
}

fn one(corridor: &Corridor, headers: &HeaderMap, version: Version) -> Result<Answer, Fault> {
    let Some(body) = &version.body else { return Err(Fault::Gone) };
    let mut answer = Answer::json(StatusCode::OK, Bytes::copy_from_slice(body));
    answer.names(&version);
    answer.dated(version.version, version.last_updated);
    let url = format!("{}/{}/{}/_history/{}", corridor.settings.base_url, version.kind, version.id, version.version);
    answer.set(CONTENT_LOCATION, &url);
    if version.kind == "Binary" {
        // What a sender put into it is nothing that a browser should show as ours.
        answer.set(CONTENT_DISPOSITION, "attachment");
        answer.set(CONTENT_SECURITY_POLICY, "sandbox");
    }
    if is_known(headers, &version) {
        answer.status = StatusCode::NOT_MODIFIED;
        answer.body = Bytes::new();
        answer.headers.remove(CONTENT_TYPE);
    }
    debug_assert!(answer.headers.contains_key(ETAG));
    Ok(answer)
}

/// Whether the client has this version: by entity tag, compared weakly, or only where it names none by date (RFC 9110
/// §13.1).
fn is_known(headers: &HeaderMap, version: &Version) -> bool {
    let tag = etag(version.version);
    let mut tags = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok()).peekable();
    if tags.peek().is_some() {
        let opaque = tag.trim_start_matches("W/");
        return tags.flat_map(|tags| tags.split(',')).map(str::trim).any(|tag| tag == "*" || tag.trim_start_matches("W/") == opaque);
    }
    let since = headers.get(IF_MODIFIED_SINCE).and_then(|value| value.to_str().ok());
    let since = since.and_then(|text| jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok());
    since.is_some_and(|since| version.last_updated.as_second() <= since.as_second())
}
