//! What operators do, whichever way they ask: through `/ops`, or on the command line beside the gateway.

use super::route::{Order, Route};
use super::told;
use crate::audit::{Action, Entry};
use crate::clock::Clock;
use crate::config::Config;
use crate::findings::{Facts, judge};
use crate::intake::{Answer, Intake};
use crate::store::{Edit, JournalRow, Mending, Standing, StoreError, Withdrawal};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use contract::{Class, Contribution, Frame, IdKey, Json, Key, OutcomeKind};
use hyper::StatusCode;
use std::collections::BTreeSet;
use std::sync::Arc;

pub struct Desk {
    pub store: Arc<dyn Mending>,
    /// None where nothing is judged again.
    pub intake: Option<Intake>,
    pub config: Config,
    pub id_key: IdKey,
    pub clock: Clock,
}

/// What is answered, and whom it is about.
pub struct Told {
    pub status: StatusCode,
    pub body: Json,
    pub patients: Vec<String>,
    /// Its entry was written with what it did.
    pub is_written: bool,
}

/// Why nothing was done.
pub struct Refused {
    pub status: StatusCode,
    /// For the audit. Closed.
    pub word: &'static str,
    pub detail: String,
    pub allow: Option<&'static str>,
    /// Whom the detail names.
    pub patients: Vec<String>,
}

impl Desk {
    /// Writes down what came of it, in the entry of who asked: nothing is told of which no entry is durable.
    pub async fn write_down(&self, mut entry: Entry, done: Result<Told, Refused>) -> Result<Told, Refused> {
        match &done {
            Ok(told) if told.is_written => return done,
            Ok(told) => {
                entry.outcome = if told.status.is_server_error() { 8 } else { 0 };
                entry.patients.clone_from(&told.patients);
            }
            Err(refused) => {
                (entry.outcome, entry.reason) = (if refused.status.is_server_error() { 8 } else { 4 }, refused.word.into());
                entry.patients.clone_from(&refused.patients);
            }
        }
        match self.store.record(entry).await {
            Ok(()) => done,
            Err(error) => {
                tracing::error!(%error, "an operator's answer was withheld: its audit entry could not be made durable");
                Err(unavailable())
            }
        }
    }

    /// Does what is asked. `entry`: as it stands so far ([`begun`]). What was begun keeps its `place` to its end, also where
    /// nobody waits for it.
    pub async fn follow<P: Send + 'static>(self: Arc<Self>, route: Route, order: Order, entry: &Entry, place: P) -> Result<Told, Refused> {
        let because = || order.because.clone().ok_or_else(|| invalid("because: say why; it is kept with the message"));
        match route {
            Route::Replay(at) => {
                let answer = self.intake()?.replay(at, &entry.agent, order.release).await;
                self.judged(at, answer)
            }
            Route::Edit(of) => {
                let frame = order.frame.clone().ok_or_else(|| invalid("frame or frame_base64: the new version"))?;
                let frame_bytes = self.config.limits.frame_bytes;
                if frame.len() > frame_bytes {
                    return Err(invalid(&format!("the new version is larger than limits.frame_bytes, {frame_bytes} bytes")));
                }
                let (store, is_text) = (self.store.clone(), order.is_text);
                let stored = tokio::task::spawn_blocking(move || store.frame(of)).await.map_err(|_| unavailable())??;
                let stored = stored.ok_or_else(|| no_position(of))?.1;
                if is_text && std::str::from_utf8(stored.bytes()).is_err() {
                    return Err(conflict("the frame is in another character set than UTF-8, and text would alter it: give frame_base64"));
                }
                let edit = Edit { of, who: entry.agent.who.clone(), because: because()? };
                let answer = self.intake()?.edit(Frame::new(frame), edit, &entry.agent, order.release).await;
                self.judged(of, answer)
            }
            Route::Withdraw(position) => {
                let because = because()?;
                let action = if order.restore { Action::Restore } else { Action::Withdraw };
                let done = if order.restore { "put back" } else { "withdrawn" };
                let entry = Entry { action, request: format!("{done} because {because}"), position: Some(position), ..entry.clone() };
                let receipt = self.store.withdraw(Withdrawal { position, restores: order.restore, because, entry }).await?;
                let resources = Json::Array(receipt.resources.iter().map(|name| Json::from(name.as_str())).collect());
                let findings = Json::Array(receipt.findings.iter().map(|finding| Json::from(finding.word())).collect());
                let body = [("withdrawn", Json::Bool(!order.restore)), ("resources", resources), ("findings", findings)];
                let body = body.into_iter().collect();
                Ok(Told { status: StatusCode::OK, body, patients: Vec::new(), is_written: true })
            }
            other => {
                let look = move || {
                    let told = self.look(other);
                    drop(place);
                    told
                };
                tokio::task::spawn_blocking(look).await.unwrap_or_else(|_| Err(unavailable()))
            }
        }
    }

    /// What only looks. Off the runtime's own threads: it waits for disks.
    fn look(&self, route: Route) -> Result<Told, Refused> {
        let told = |body: Json, patients: Vec<String>| Ok(Told { status: StatusCode::OK, body, patients, is_written: false });
        match route {
            Route::Findings => {
                let facts = Facts::gather(self.in_force(), &*self.store, self.clock.now())?;
                told(told::findings(&judge(&facts)), Vec::new())
            }
            Route::Journal(filter, rows) => {
                let mut filter = *filter;
                filter.patient = filter.patient.map(|named| self.patient(&named)).transpose()?;
                let found = self.store.journal(&filter, rows)?;
                let last = found.last().filter(|_| found.len() == rows).map(|row| row.position);
                let lines = found.iter().map(|row| self.line(row)).collect::<Result<_, _>>()?;
                let mut body: Json = [("rows", Json::Array(lines))].into_iter().collect();
                if let Some(last) = last {
                    body.set(if filter.newest { "before" } else { "after" }, Json::Number(last.to_string().into()));
                }
                told(body, filter.patient.into_iter().collect())
            }
            Route::Frame(at) => {
                let (row, frame, issues) = self.store.frame(at)?.ok_or_else(|| no_position(at))?;
                let mut body = told::row(&row);
                body.set("issues", Json::Array(issues.iter().map(told::issue).collect()));
                body.set("mends", Json::Array(self.store.mends(at)?.iter().map(told::mend).collect()));
                match std::str::from_utf8(frame.bytes()) {
                    Ok(text) => body.set("frame", Json::from(text)),
                    Err(_) => body.set("frame_base64", Json::from(STANDARD.encode(frame.bytes()))),
                }
                told(body, self.named(at)?)
            }
            Route::Preview(at, restores) => {
                let (row, ..) = self.store.frame(at)?.ok_or_else(|| no_position(at))?;
                let effects = self.store.preview(at, restores)?;
                let mut patients: BTreeSet<String> = self.named(at)?.into_iter().collect();
                patients.extend(effects.iter().filter_map(|effect| effect.address.strip_prefix("Patient/")).map(str::to_owned));
                let changes = Json::Array(effects.iter().map(told::effect).collect());
                let body = [("message", told::row(&row)), ("changes", changes)].into_iter().collect();
                told(body, patients.into_iter().collect())
            }
            Route::Patient(named) => {
                let id = self.patient(&named)?;
                let none = || missing(format!("there is no record of Patient/{id}, and never was"));
                let record = self.store.patient(&id)?.ok_or_else(none)?;
                told(told::record(&id, &record), record.patients)
            }
            Route::Replay(_) | Route::Edit(_) | Route::Withdraw(_) => Err(unavailable()),
        }
    }

    /// The configuration, with the feeds as they are now.
    fn in_force(&self) -> Config {
        let mut config = self.config.clone();
        if let Some(intake) = &self.intake {
            config.feeds = intake.feeds().iter().map(|feed| (feed.name().to_owned(), feed.config.clone())).collect();
        }
        config
    }

    /// The id of the Patient that was named by it, or by one of its identifiers as SYSTEM|VALUE. Who has vanished is still
    /// found by the identifier that the id is made from.
    fn patient(&self, named: &str) -> Result<String, Refused> {
        let Some((system, value)) = named.rsplit_once('|') else {
            return Ok(named.strip_prefix("Patient/").unwrap_or(named).to_owned());
        };
        let mut found = self.store.patients_with(system, value)?;
        match found.len() {
            0 => Ok(self.id_key.id(&Key::new("Patient", system, value))),
            1 => Ok(found.remove(0)),
            _ => {
                let told = conflict(&format!("several patients have this identifier; give the id of one: {}", found.join(", ")));
                Err(Refused { patients: found, ..told })
            }
        }
    }

    /// A line of the journal, with why the frame waits where it does: its first issue of weight.
    fn line(&self, row: &JournalRow) -> Result<Json, Refused> {
        let mut line = told::row(row);
        if row.standing == Standing::Counts && !row.outcome.is_stored() {
            let (_, _, issues) = self.store.frame(row.position)?.ok_or_else(|| no_position(row.position))?;
            if let Some(issue) = issues.iter().max_by_key(|issue| issue.severity) {
                line.set("reason", Json::from(issue.to_string()));
            }
        }
        Ok(line)
    }

    fn intake(&self) -> Result<&Intake, Refused> {
        self.intake.as_ref().ok_or_else(unavailable)
    }

    /// What became of a frame that was judged again; its entry was written with the outcome.
    fn judged(&self, at: u64, answer: Result<Answer, String>) -> Result<Told, Refused> {
        let answer = match answer {
            Ok(answer) => answer,
            // Of this frame alone, or of the store?
            Err(_) if self.store.frame(at).is_err() => return Err(unavailable()),
            Err(reason) => return Err(conflict(&reason)),
        };
        let status = match answer.outcome {
            OutcomeKind::Transient => StatusCode::SERVICE_UNAVAILABLE,
            OutcomeKind::Duplicate => StatusCode::OK,
            outcome if outcome.is_stored() => StatusCode::OK,
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        };
        let is_written = answer.outcome != OutcomeKind::Transient;
        Ok(Told { status, body: told::judged(&answer), patients: Vec::new(), is_written })
    }

    /// Ids of the Patients whom a frame is about or names.
    fn named(&self, at: u64) -> Result<Vec<String>, StoreError> {
        Ok(patients(&self.store.contributions(at)?.unwrap_or_default(), &self.id_key))
    }
}

/// Ids of the Patients that a message is about or names.
fn patients(said: &[Contribution], id_key: &IdKey) -> Vec<String> {
    let keys = said.iter().filter(|contribution| contribution.class != Class::Message).map(|contribution| &contribution.key);
    let ids: BTreeSet<String> = keys.filter(|key| &*key.kind == "Patient").map(|key| id_key.id(key)).collect();
    ids.into_iter().collect()
}

/// Puts what is asked into its entry.
pub fn begun(entry: &mut Entry, route: &Route) {
    entry.action = match route {
        Route::Findings | Route::Journal(..) | Route::Frame(_) | Route::Preview(..) | Route::Patient(_) => Action::JournalShow,
        Route::Replay(_) => Action::JournalReplay,
        Route::Edit(_) => Action::JournalEdit,
        Route::Withdraw(_) => Action::Withdraw,
    };
    entry.position = match route {
        Route::Frame(at) | Route::Preview(at, _) | Route::Replay(at) | Route::Edit(at) | Route::Withdraw(at) => Some(*at),
        Route::Findings | Route::Journal(..) | Route::Patient(_) => None,
    };
}

pub fn refused(status: StatusCode, word: &'static str) -> Refused {
    Refused { status, word, detail: String::new(), allow: None, patients: Vec::new() }
}

pub fn missing(detail: impl Into<String>) -> Refused {
    Refused { detail: detail.into(), ..refused(StatusCode::NOT_FOUND, "not-found") }
}

fn no_position(at: u64) -> Refused {
    missing(format!("the journal has no position {at}: `journal list` tells them"))
}

pub fn invalid(reason: &str) -> Refused {
    Refused { detail: reason.into(), ..refused(StatusCode::BAD_REQUEST, "invalid") }
}

fn conflict(reason: &str) -> Refused {
    Refused { detail: reason.into(), ..refused(StatusCode::CONFLICT, "conflict") }
}

pub fn unavailable() -> Refused {
    Refused { detail: "the gateway cannot answer now; try again".into(), ..refused(StatusCode::SERVICE_UNAVAILABLE, "transient") }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Refused(reason) => conflict(&reason),
            StoreError::TooCostly => invalid("it takes too long: narrow it"),
            StoreError::Unavailable(_) | StoreError::Busy => unavailable(),
        }
    }
}
