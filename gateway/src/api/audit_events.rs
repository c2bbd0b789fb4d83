//! AuditEvents: entries, rendered when they are read. One entry gives one AuditEvent per patient named in it, so that a
//! page may end in the midst of one.

use super::Corridor;
use super::answer::Answer;
use super::bundle::Bundle;
use super::fault::Fault;
use super::paging::Position;
use super::search::{Links, dropped};
use crate::access::Grant;
use crate::audit::Entry;
use crate::audit::render::{Rendered, render};
use crate::search::parse::Asked;
use crate::search::{Cursor, Filter, Operand, Query};
use crate::store::AuditPage;
use bytes::Bytes;
use hyper::StatusCode;
use std::sync::Arc;

const KIND: &str = "AuditEvent";

pub async fn read(corridor: &Corridor, grant: &Arc<Grant>, id: &str) -> Result<Answer, Fault> {
    // An entry that names several patients is read by number: `ENTRY-n`.
    let mut of = id;
    let mut found = entry(corridor, grant, of).await?;
    if found.is_none()
        && let Some((whole, _)) = id.rsplit_once('-')
    {
        of = whole;
        found = entry(corridor, grant, of).await?;
    }
    let entry = found.ok_or(Fault::NotFound)?;
    let events = render(of, &entry, &corridor.settings.base_url);
    let event = events.into_iter().find(|event| event.id == id).ok_or(Fault::NotFound)?;
    let mut answer = Answer::json(StatusCode::OK, Bytes::copy_from_slice(&event.body));
    answer.dated(1, entry.at);
    name(&mut answer, &event);
    Ok(answer)
}

pub async fn search(
    corridor: &Corridor,
    grant: &Arc<Grant>,
    asked: &Asked,
    links: &Links<'_>,
    start: Option<Position>,
) -> Result<Answer, Fault> {
    let mut page = Page { asked: &asked.query, base_url: &corridor.settings.base_url, events: Vec::new() };
    let (next, total) = page.fill(corridor, grant, start).await?;
    let mut bundle = Bundle::searchset(Some(total), links.this(), links.next(next));
    let mut answer = Answer::json(StatusCode::OK, Bytes::new());
    for event in &page.events {
        bundle.found(format!("{}/{KIND}/{}", corridor.settings.base_url, event.id), &event.body).ok_or(Fault::Exception)?;
        name(&mut answer, event);
    }
    let dropped = dropped(asked);
    if let Some(outcome) = &dropped {
        bundle.told(outcome).ok_or(Fault::Exception)?;
    }
    answer.body = bundle.to_bytes();
    Ok(answer)
}

/// One page in the making.
struct Page<'a> {
    asked: &'a Query,
    base_url: &'a str,
    events: Vec<Rendered>,
}

impl Page<'_> {
    /// Where the next page starts, and the total.
    async fn fill(&mut self, corridor: &Corridor, grant: &Arc<Grant>, start: Option<Position>) -> Result<(Option<Position>, u64), Fault> {
        let (cursor, ended) = match &start {
            None => (None, false),
            Some(position) => (position.cursor.clone(), position.cursor.is_none()),
        };
        if let Some((id, from)) = start.and_then(|position| position.rest)
            && let Some(entry) = entry(corridor, grant, &id).await?
            && let Some(taken) = self.take(&id, &entry, from)
        {
            let total = self.ask(corridor, grant, 0, None).await?.total;
            return Ok((Some(Position { cursor, rest: Some((id, taken)) }), total));
        }
        let mut count = self.asked.count - self.events.len();
        if count == 0 || ended {
            let total = self.ask(corridor, grant, 0, None).await?.total;
            return Ok((cursor.filter(|_| self.asked.count > 0).map(Into::into), total));
        }
        let before = self.events.len();
        loop {
            let page = self.ask(corridor, grant, count, cursor.clone()).await?;
            let last = page.entries.len().saturating_sub(1);
            // How many entries the page has place for, where it has not for all of them.
            let mut fits = None;
            for (at, (id, entry)) in page.entries.iter().enumerate() {
                if at > 0 && self.events.len() == self.asked.count {
                    fits = Some(at);
                    break;
                }
                match self.take(id, entry, 0) {
                    Some(taken) if at == last => {
                        return Ok((Some(Position { cursor: page.next, rest: Some((id.clone(), taken)) }), page.total));
                    }
                    Some(_) => {
                        fits = Some(at + 1);
                        break;
                    }
                    None => {}
                }
            }
            match fits {
                None => return Ok((page.next.map(Into::into), page.total)),
                // Asked again for so many, the store says where it goes on after the last of them.
                Some(fewer) => count = fewer,
            }
            self.events.truncate(before);
        }
    }

    /// Takes an entry's events from one on, as far as there is place; where there is not, says which is the next.
    fn take(&mut self, id: &str, entry: &Entry, from: u32) -> Option<u32> {
        let room = self.asked.count - self.events.len();
        let mut events =
            render(id, entry, self.base_url).into_iter().filter(|event| self.asked.filters.iter().all(|filter| fits(filter, event)));
        let skipped = usize::try_from(from).unwrap_or(usize::MAX);
        let taken: Vec<Rendered> = events.by_ref().skip(skipped).take(room).collect();
        let next = from + u32::try_from(taken.len()).unwrap_or(u32::MAX);
        let cut = events.next().is_some();
        self.events.extend(taken);
        cut.then_some(next)
    }

    async fn ask(&self, corridor: &Corridor, grant: &Arc<Grant>, count: usize, cursor: Option<Cursor>) -> Result<AuditPage, Fault> {
        let mut query = Query { count, cursor, ..self.asked.clone() };
        // The store knows entries: an id with a number behind it is one of the events of the entry before it.
        for filter in query.filters.iter_mut().filter(|filter| filter.parameter == "_id") {
            let entries = filter.any.iter().filter_map(|operand| match operand {
                Operand::Id(id) => Some(Operand::Id(id.rsplit_once('-')?.0.to_owned())),
                _ => None,
            });
            let entries: Vec<Operand> = entries.collect();
            filter.any.extend(entries);
        }
        corridor.look(grant, move |store, grant| store.audit_search(grant, &query)).await
    }
}

/// Whether an event, and not only its entry, is among those asked for.
fn fits(filter: &Filter, event: &Rendered) -> bool {
    match filter.parameter.as_str() {
        "_id" => filter.any.iter().any(|operand| matches!(operand, Operand::Id(id) if *id == event.id)),
        "patient" => {
            filter.any.iter().any(|operand| matches!(operand, Operand::Reference { id, .. } if event.patient.as_ref() == Some(id)))
        }
        _ => true,
    }
}

/// An entry by its own id.
async fn entry(corridor: &Corridor, grant: &Arc<Grant>, id: &str) -> Result<Option<Entry>, Fault> {
    let filter = Filter { parameter: "_id".into(), any: vec![Operand::Id(id.to_owned())], not: false };
    let query = Query { kind: KIND.into(), filters: vec![filter], count: 1, ..Query::default() };
    let page = corridor.look(grant, move |store, grant| store.audit_search(grant, &query)).await?;
    Ok(page.entries.into_iter().find(|(found, _)| found == id).map(|(_, entry)| entry))
}

fn name(answer: &mut Answer, event: &Rendered) {
    answer.resources.push(format!("{KIND}/{}", event.id));
    if let Some(patient) = &event.patient {
        answer.name_patient(patient);
    }
}
