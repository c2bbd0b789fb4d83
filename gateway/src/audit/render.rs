//! An [`Entry`] as FHIR AuditEvents by IHE BALP (ITI Basic Audit Log Patterns): one per patient named, so that each
//! patient's events can be found and given without another's name in them.

use super::{Action, Entry};
use fhir_sdk::r4b::codes::{AuditEventAction, AuditEventAgentNetworkType, AuditEventOutcome};
use fhir_sdk::r4b::resources::{AuditEvent, AuditEventAgent, AuditEventAgentNetwork, AuditEventEntity, AuditEventSource};
use fhir_sdk::r4b::types::{CodeableConcept, Coding, Identifier, Meta, Reference};
use fhir_sdk::{Base64Binary, BuilderError, Instant, time};
use jiff::Timestamp;

/// One AuditEvent as JSON.
#[derive(Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The entry's id; with `-1`, `-2` … behind it where the entry names several patients.
    pub id: String,
    /// The one patient that it names.
    pub patient: Option<String>,
    pub body: Vec<u8>,
}

/// Shows which.
impl std::fmt::Debug for Rendered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rendered({})", self.id)
    }
}

/// `id`: the entry's, `WRITER-SEQ`. `base_url`: by which we are known. At least one; pure.
pub fn render(id: &str, entry: &Entry, base_url: &str) -> Vec<Rendered> {
    let one = |id: String, patient: Option<&String>| {
        let event = event(&id, entry, patient, base_url).expect("all that R4 requires is given");
        let body = typed::to_bytes(event).expect("a time between the years 0 and 9999, and strings");
        Rendered { id, patient: patient.cloned(), body }
    };
    match entry.patients.as_slice() {
        [] => vec![one(id.to_owned(), None)],
        [patient] => vec![one(id.to_owned(), Some(patient))],
        patients => (1..).zip(patients).map(|(number, patient)| one(format!("{id}-{number}"), Some(patient))).collect(),
    }
}

const DCM: &str = "http://dicom.nema.org/resources/ontology/DCM";
const RESTFUL: &str = "http://hl7.org/fhir/restful-interaction";
const LIFECYCLE: &str = "http://terminology.hl7.org/CodeSystem/iso-21089-lifecycle";
const EVENT_TYPE: &str = "http://terminology.hl7.org/CodeSystem/audit-event-type";
const ENTITY_TYPE: &str = "http://terminology.hl7.org/CodeSystem/audit-entity-type";
const OBJECT_ROLE: &str = "http://terminology.hl7.org/CodeSystem/object-role";
const PARTICIPATION: &str = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType";

/// A code with the words that the standard has for it.
type Term = (&'static str, &'static str, &'static str);

const SOURCE: Term = (DCM, "110153", "Source Role ID");
const DESTINATION: Term = (DCM, "110152", "Destination Role ID");
const APPLICATION: Term = (DCM, "110150", "Application");

/// What BALP says of one kind of crossing.
struct Pattern {
    kind: Term,
    subtypes: &'static [Term],
    action: AuditEventAction,
    /// Role of the other end, and ours.
    client: Term,
    server: Term,
    /// Whether the entity is the request itself, or what it was about.
    query: bool,
}

/// Exhaustive: a new action does not compile before it has its pattern.
fn pattern(action: Action) -> Pattern {
    const REST: Term = (EVENT_TYPE, "rest", "RESTful Operation");
    const ACTIVITY: Term = (DCM, "110100", "Application Activity");
    let read = |subtypes| Pattern { kind: REST, subtypes, action: AuditEventAction::R, client: DESTINATION, server: SOURCE, query: false };
    let own = |kind, subtypes, action| Pattern { kind, subtypes, action, client: APPLICATION, server: APPLICATION, query: false };
    match action {
        Action::Read => read(&[(RESTFUL, "read", "read")]),
        Action::Vread => read(&[(RESTFUL, "vread", "vread")]),
        Action::History => read(&[(RESTFUL, "history-instance", "history-instance")]),
        Action::Capabilities => read(&[(RESTFUL, "capabilities", "capabilities")]),
        Action::Search => Pattern {
            kind: REST,
            subtypes: &[(RESTFUL, "search", "search"), (RESTFUL, "search-type", "search-type")],
            action: AuditEventAction::E,
            client: SOURCE,
            server: DESTINATION,
            query: true,
        },
        Action::Refused => {
            Pattern { kind: REST, subtypes: &[], action: AuditEventAction::E, client: SOURCE, server: DESTINATION, query: true }
        }
        Action::Import => Pattern {
            kind: (DCM, "110107", "Import"),
            subtypes: &[(LIFECYCLE, "disclose", "Disclose Record Lifecycle Event")],
            action: AuditEventAction::C,
            client: SOURCE,
            server: DESTINATION,
            query: false,
        },
        Action::Relay => Pattern {
            kind: (DCM, "110106", "Export"),
            subtypes: &[(LIFECYCLE, "disclose", "Disclose Record Lifecycle Event")],
            action: AuditEventAction::R,
            client: DESTINATION,
            server: SOURCE,
            query: false,
        },
        Action::JournalShow => own((LIFECYCLE, "access", "Access/View Record Lifecycle Event"), &[], AuditEventAction::R),
        Action::JournalReplay => own((LIFECYCLE, "transform", "Transform/Translate Record Lifecycle Event"), &[], AuditEventAction::U),
        Action::JournalEdit => own((LIFECYCLE, "amend", "Amend (Update) Record Lifecycle Event"), &[], AuditEventAction::U),
        Action::Withdraw => own((LIFECYCLE, "deprecate", "Deprecate Record Lifecycle Event"), &[], AuditEventAction::U),
        Action::Restore => own((LIFECYCLE, "reactivate", "Re-activate Record Lifecycle Event"), &[], AuditEventAction::U),
        Action::RelayReplay => own((LIFECYCLE, "transmit", "Transmit Record Lifecycle Event"), &[], AuditEventAction::E),
        Action::RelaySkip => own((LIFECYCLE, "deprecate", "Deprecate Record Lifecycle Event"), &[], AuditEventAction::U),
        Action::Start => own(ACTIVITY, &[(DCM, "110120", "Application Start")], AuditEventAction::E),
        Action::Stop => own(ACTIVITY, &[(DCM, "110121", "Application Stop")], AuditEventAction::E),
        Action::Configure => own((DCM, "110113", "Security Alert"), &[(DCM, "110129", "Security Configuration")], AuditEventAction::U),
    }
}

fn event(id: &str, entry: &Entry, patient: Option<&String>, base_url: &str) -> Result<AuditEvent, BuilderError> {
    let pattern = pattern(entry.action);
    let us = reference(named(base_url, "Landbridge", None)?)?;
    let mut entities = Vec::new();
    if let Some(patient) = patient {
        entities.push(Some(about(patient, "Patient", (ENTITY_TYPE, "1", "Person"), (OBJECT_ROLE, "1", "Patient"))?));
    }
    if pattern.query {
        let query = AuditEventEntity::builder()
            .r#type(coding((ENTITY_TYPE, "2", "System Object"))?)
            .role(coding((OBJECT_ROLE, "24", "Query"))?)
            .query(Base64Binary(entry.request.clone().into_bytes()));
        entities.push(Some(query.build()?));
    } else {
        // A Patient's own entity is there already.
        for resource in entry.resources.iter().filter(|resource| !is_of(resource, &entry.patients)) {
            entities.push(Some(data(resource)?));
        }
        entities.extend(own_version(entry, patient).map(|resource| data(resource).map(Some)).transpose()?);
        if entry.resources.is_empty() && !entry.request.is_empty() {
            let asked = AuditEventEntity::builder()
                .r#type(coding((ENTITY_TYPE, "2", "System Object"))?)
                .role(coding((OBJECT_ROLE, "4", "Domain Resource"))?)
                .query(Base64Binary(entry.request.clone().into_bytes()));
            entities.push(Some(asked.build()?));
        }
    }
    let mut builder = AuditEvent::builder()
        .id(id.to_owned())
        .meta(Meta::builder().version_id("1".into()).last_updated(instant(entry.at)).build()?)
        .r#type(coding(pattern.kind)?)
        .subtype(pattern.subtypes.iter().map(|term| coding(*term).map(Some)).collect::<Result<_, _>>()?)
        .action(pattern.action)
        .recorded(instant(entry.at))
        .outcome(match entry.outcome {
            0 => AuditEventOutcome::N0,
            4 => AuditEventOutcome::N4,
            8 => AuditEventOutcome::N8,
            _ => AuditEventOutcome::N12,
        })
        .agent(agents(entry, &pattern, us.clone(), base_url)?)
        .source(
            AuditEventSource::builder()
                .observer(us)
                .r#type(vec![Some(coding(("http://terminology.hl7.org/CodeSystem/security-source-type", "4", "Application Server"))?)])
                .build()?,
        )
        .entity(entities);
    let words = match (entry.reason.as_str(), entry.count) {
        ("", 1) => None,
        ("", count) => Some(format!("{count} equal events")),
        (reason, 1) => Some(reason.to_owned()),
        (reason, count) => Some(format!("{reason}: {count} equal events")),
    };
    if let Some(words) = words {
        builder = builder.outcome_desc(words);
    }
    builder.build()
}

/// The other end, the person where one is known, and we. One of them is the requestor.
fn agents(entry: &Entry, pattern: &Pattern, us: Reference, base_url: &str) -> Result<Vec<Option<AuditEventAgent>>, BuilderError> {
    let agent = &entry.agent;
    let has_user = !agent.user.is_empty();
    let policy = || {
        let token = (!agent.token.is_empty()).then(|| Some(format!("urn:ietf:params:oauth:jti:{}", agent.token)));
        token.into_iter().collect::<Vec<_>>()
    };
    let mut client = AuditEventAgent::builder()
        .r#type(concept(pattern.client)?)
        .who(reference(named(&agent.issuer, &agent.who, None)?)?)
        .requestor(!has_user)
        .policy(if has_user { Vec::new() } else { policy() });
    if !agent.address.is_empty() {
        client = client.network(network(host(&agent.address))?);
    }
    let server =
        AuditEventAgent::builder().r#type(concept(pattern.server)?).who(us).requestor(false).network(network(authority(base_url))?);
    let mut agents = vec![Some(client.build()?), Some(server.build()?)];
    if has_user {
        let user = AuditEventAgent::builder()
            .r#type(concept((PARTICIPATION, "IRCP", "information recipient"))?)
            .who(reference(named(&agent.issuer, &agent.user, None)?)?)
            .requestor(true)
            .policy(policy());
        agents.push(Some(user.build()?));
    }
    Ok(agents)
}

fn data(resource: &str) -> Result<AuditEventEntity, BuilderError> {
    AuditEventEntity::builder()
        .what(Reference::builder().reference(resource.to_owned()).build()?)
        .r#type(coding((ENTITY_TYPE, "2", "System Object"))?)
        .role(coding((OBJECT_ROLE, "4", "Domain Resource"))?)
        .build()
}

fn about(id: &str, kind: &str, entity: Term, role: Term) -> Result<AuditEventEntity, BuilderError> {
    AuditEventEntity::builder()
        .what(Reference::builder().reference(format!("{kind}/{id}")).build()?)
        .r#type(coding(entity)?)
        .role(coding(role)?)
        .build()
}

/// Whether a resource is one of these Patients: then it stands in the event of that patient alone.
fn is_of(resource: &str, patients: &[String]) -> bool {
    patient_of(resource).is_some_and(|id| patients.iter().any(|patient| patient == id))
}

/// The version of this patient's own Patient, where the entry has it.
fn own_version<'a>(entry: &'a Entry, patient: Option<&String>) -> Option<&'a String> {
    let patient = patient?;
    entry.resources.iter().find(|resource| patient_of(resource) == Some(patient))
}

fn patient_of(resource: &str) -> Option<&str> {
    resource.strip_prefix("Patient/").map(|rest| rest.split('/').next().unwrap_or(rest))
}

/// An identifier, with the system where it has one.
fn named(system: &str, value: &str, display: Option<&str>) -> Result<(Identifier, String), BuilderError> {
    let value = if value.is_empty() { "unknown" } else { value };
    let mut identifier = Identifier::builder().value(value.to_owned());
    if !system.is_empty() {
        identifier = identifier.system(system.to_owned());
    }
    Ok((identifier.build()?, display.unwrap_or(value).to_owned()))
}

fn reference((identifier, display): (Identifier, String)) -> Result<Reference, BuilderError> {
    Reference::builder().identifier(identifier).display(display).build()
}

/// By address where it is one, else by name.
fn network(address: &str) -> Result<AuditEventAgentNetwork, BuilderError> {
    let bare = address.trim_start_matches('[').trim_end_matches(']');
    let kind = if bare.parse::<std::net::IpAddr>().is_ok() { AuditEventAgentNetworkType::N2 } else { AuditEventAgentNetworkType::N1 };
    AuditEventAgentNetwork::builder().address(bare.to_owned()).r#type(kind).build()
}

/// Without the port.
fn host(address: &str) -> &str {
    address.rsplit_once(':').map_or(address, |(host, _)| host)
}

fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or(rest);
    if authority.ends_with(']') { authority } else { host(authority) }
}

fn coding((system, code, display): Term) -> Result<Coding, BuilderError> {
    Coding::builder().system(system.into()).code(code.into()).display(display.into()).build()
}

fn concept(term: Term) -> Result<CodeableConcept, BuilderError> {
    CodeableConcept::builder().coding(vec![Some(coding(term)?)]).build()
}

fn instant(at: Timestamp) -> Instant {
    // A Timestamp lies between the years -9999 and 9999, and `time` reaches as far.
    Instant(time::OffsetDateTime::from_unix_timestamp_nanos(at.as_nanosecond()).unwrap_or(time::OffsetDateTime::UNIX_EPOCH))
}

#[cfg(test)]
#[path = "render_tests.rs"]
mod tests;
