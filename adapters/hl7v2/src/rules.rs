//! The closed list of rules: what rows of the tables cannot say. Each is named in the column `rule`.

use crate::event;
use crate::identity;
use crate::node::{Node, Selector};
use crate::syntax::Er7;
use contract::{IssueCode, Json, Key, Severity, Slot};
use mapping::{Action, Call};

type Rules<'r, 'm> = Call<'r, 'm, Er7>;

/// Identifier system of the CX that is the context.
pub fn cx_system(call: &mut Rules<'_, '_>) {
    system(call, "CX");
}

/// Identifier system of the EI that the row names.
pub fn ei_system(call: &mut Rules<'_, '_>) {
    system(call, "EI");
}

/// Identifier system of the XCN that is the context.
pub fn xcn_system(call: &mut Rules<'_, '_>) {
    system(call, "XCN");
}

/// Identifier system of the XON that is the context.
pub fn xon_system(call: &mut Rules<'_, '_>) {
    system(call, "XON");
}

fn system(call: &mut Rules<'_, '_>, kind: &str) {
    for node in call.nodes() {
        if let Some(part) = call.identifier(kind, &node) {
            call.give(Json::from(part.system), &node);
        }
    }
}

/// The URI of a coding system's name (table 0396): known ones, HL7's own tables, an OID; else one of the feed's own.
pub fn coding_system(call: &mut Rules<'_, '_>) {
    for node in call.nodes() {
        if let Some(name) = call.text(&node) {
            let uri = coding_system_uri(name.trim()).unwrap_or_else(|| call.settings().own_system(name.trim()));
            call.give(Json::from(uri), &node);
        }
    }
}

fn coding_system_uri(name: &str) -> Option<String> {
    let known = match name.to_ascii_uppercase().as_str() {
        "LN" | "LOINC" => "http://loinc.org",
        "SCT" | "SNM3" | "SNOMED" | "SNOMED-CT" | "SNOMED CT" | "SNOMEDCT" => "http://snomed.info/sct",
        "UCUM" => "http://unitsofmeasure.org",
        "I10" | "ICD10" | "ICD-10" => "http://hl7.org/fhir/sid/icd-10",
        "I10C" | "I10CM" | "ICD10CM" | "ICD-10-CM" => "http://hl7.org/fhir/sid/icd-10-cm",
        "I9C" | "I9CDX" | "ICD9CM" => "http://hl7.org/fhir/sid/icd-9-cm",
        "CVX" => "http://hl7.org/fhir/sid/cvx",
        "MVX" => "http://terminology.hl7.org/CodeSystem/MVX",
        "NDC" => "http://hl7.org/fhir/sid/ndc",
        "RXNORM" => "http://www.nlm.nih.gov/research/umls/rxnorm",
        "C4" | "CPT4" | "CPTM" => "http://www.ama-assn.org/go/cpt",
        "ATC" => "http://www.whocc.no/atc",
        "CDCREC" => "urn:oid:2.16.840.1.113883.6.238",
        "ISO3166_1" => "urn:iso:std:iso:3166",
        "OPCS4" | "OPCS-4" => "https://fhir.hl7.org.uk/CodeSystem/OPCS-4",
        other => {
            if let Some(table) =
                other.strip_prefix("HL7").filter(|table| table.len() == 4 && table.bytes().all(|byte| byte.is_ascii_digit()))
            {
                return Some(format!("http://terminology.hl7.org/CodeSystem/v2-{table}"));
            }
            let is_oid = other.contains('.')
                && other.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
                && other.starts_with(['0', '1', '2']);
            return is_oid.then(|| format!("urn:oid:{other}")).or_else(|| {
                (name.starts_with("http://") || name.starts_with("https://") || name.starts_with("urn:")).then(|| name.to_owned())
            });
        }
    };
    Some(known.to_owned())
}

/// UCUM as the system of a unit, where the message says that it is one (CE.3).
pub fn unit_system(call: &mut Rules<'_, '_>) {
    unit(call, |_| Json::from("http://unitsofmeasure.org"));
}

/// A unit's UCUM code, where the message says that it is one.
pub fn unit_code(call: &mut Rules<'_, '_>) {
    unit(call, |code| Json::from(code));
}

fn unit(call: &mut Rules<'_, '_>, value: impl Fn(&str) -> Json) {
    for node in call.nodes() {
        let system = node.first("3").map(|system| (call.text(&system), system));
        if let Some((Some(system), _)) = system
            && let Some(code) = call.text(&node)
            && system.eq_ignore_ascii_case("UCUM")
        {
            call.give(value(&code), &node);
        }
    }
}

/// The media type of ED or RP: type and subtype (tables 0191, 0291).
pub fn content_type(call: &mut Rules<'_, '_>) {
    let nodes: Vec<Node<'_>> = [0, 1].into_iter().flat_map(|index| call.from(index).into_iter().next()).collect();
    let parts: Vec<(String, Node<'_>)> = nodes.into_iter().filter_map(|node| Some((call.text(&node)?.into_owned(), node))).collect();
    let words: Vec<String> = parts.iter().map(|(word, _)| word.to_ascii_lowercase()).collect();
    let media = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [.., "pdf"] => "application/pdf".to_owned(),
        [.., "jpeg" | "jpg"] => "image/jpeg".to_owned(),
        [.., "png"] => "image/png".to_owned(),
        [.., "tiff"] => "image/tiff".to_owned(),
        [.., "html"] => "text/html".to_owned(),
        [.., "rtf"] => "text/rtf".to_owned(),
        [.., "xml"] => "text/xml".to_owned(),
        ["text" | "tx", ..] | [.., "plain" | "text"] => "text/plain".to_owned(),
        [kind, sub] if !kind.contains('/') => format!("{kind}/{}", sub.replace(' ', "")),
        [one] if one.contains('/') => one.to_owned(),
        _ => return,
    };
    if let Some((_, node)) = parts.first() {
        call.give(Json::from(media), &node.clone());
    }
}

/// MessageHeader needs an endpoint: the application in the feed's own namespace.
pub fn endpoint(call: &mut Rules<'_, '_>) {
    if let Some(node) = call.nodes().into_iter().next()
        && let Some(name) = call.text(&node)
    {
        let uri = call.settings().own_system(&name);
        call.give(Json::from(uri), &node);
    }
}

/// The time of birth, where PID-7 states one: extension patient-birthTime on birthDate.
pub fn birth_time(call: &mut Rules<'_, '_>) {
    for node in call.nodes() {
        let Some(text) = node.text().filter(|text| text.split(['+', '-']).next().is_some_and(|digits| digits.len() > 8)) else { continue };
        if let Ok(stamp) = call.stamp(&text) {
            let time = stamp.date_time(&call.settings().timezone);
            let extension =
                [("url", Json::from("http://hl7.org/fhir/StructureDefinition/patient-birthTime")), ("valueDateTime", Json::from(time))];
            call.give(extension.into_iter().collect(), &node);
        }
    }
}

/// A visit's description as its narrative.
pub fn narrative(call: &mut Rules<'_, '_>) {
    if let Some(node) = call.nodes().into_iter().next()
        && let Some(text) = call.text(&node)
    {
        let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let div = format!("<div xmlns=\"http://www.w3.org/1999/xhtml\">{escaped}</div>");
        call.give([("status", Json::from("additional")), ("div", Json::from(div))].into_iter().collect(), &node);
    }
}

/// What DG1-21 (table 0206) wants of a diagnosis.
pub fn dg1_action(call: &mut Rules<'_, '_>) {
    action(call, "DG1-21");
}

/// What PR1-20 (table 0206) wants of a procedure.
pub fn pr1_action(call: &mut Rules<'_, '_>) {
    action(call, "PR1-20");
}

/// What IAM-6 (table 0323) wants of an allergy.
pub fn iam_action(call: &mut Rules<'_, '_>) {
    action(call, "IAM-6");
}

fn action(call: &mut Rules<'_, '_>, field: &str) {
    if let Some(node) = call.context().first(field)
        && let Some(code) = call.text(&node)
    {
        call.act(if matches!(&*code, "D" | "X") { Action::Delete } else { Action::Assert });
    }
}

/// What the event says of the visit's status, and what it takes back.
pub fn moves(call: &mut Rules<'_, '_>) {
    let event = call.envelope().message_type.event.clone();
    let node = *call.context();
    if let Some(status) = event::status(&event) {
        step(call, &event, "status", "status", Json::from(status));
    }
    if let Some(cancelled) = event::cancels(&event) {
        step(call, &event, "cancel", "of", Json::from(cancelled));
    }
    if event == "A13" {
        // The discharge did not happen: its time and its circumstances are taken away, unless stated anew.
        for (slot, field) in
            [("period.end", "PV1-45"), ("hospitalization.dischargeDisposition", "PV1-36"), ("hospitalization.destination", "PV1-37")]
        {
            if node.first(field).is_none() {
                call.say(Slot::Element(slot.into()), None, &node);
            }
        }
    }
}

/// The visit's place, as one step of the visit.
pub fn move_location(call: &mut Rules<'_, '_>) {
    let event = call.envelope().message_type.event.clone();
    for node in call.nodes() {
        if let Some(reference) = call.make(&node) {
            let location: Json = [("location", reference)].into_iter().collect();
            step(call, &event, "location", "location", location);
        }
    }
}

/// The visit's class, as one step of the visit.
pub fn move_class(call: &mut Rules<'_, '_>) {
    let event = call.envelope().message_type.event.clone();
    for node in call.nodes() {
        if let Some(class) = call.make(&node) {
            step(call, &event, "class", "class", class);
        }
    }
}

fn step(call: &mut Rules<'_, '_>, event: &str, kind: &str, member: &str, value: Json) {
    let what = format!("{kind} {value}");
    let value: Json = [("kind", Json::from(kind)), (member, value)].into_iter().collect();
    let slot = Slot::Move { at: call.asserted(), event: event.into(), what: what.into() };
    let node = *call.context();
    call.say(slot, Some(value), &node);
}

/// Merge (A18 A30 A34 A36 A40): the patient of MRG-1 is replaced by the patient of PID-3. A patient is not merged into
/// itself.
pub fn merge(call: &mut Rules<'_, '_>) {
    let node = *call.context();
    let (Some(loser), Some(survivor)) = (call.own_key().cloned(), call.key("Patient").cloned()) else { return };
    if loser == survivor {
        call.issue(Severity::Warning, IssueCode::Identity, &node, "the patient to be merged is the one that survives: nothing is merged");
        return;
    }
    let reference = call.reference(&survivor);
    call.say(Slot::Edge { kind: "replaced-by".into(), other: "".into() }, Some(reference), &node);
}

/// A24: the two patients are linked, each to the other.
pub fn link(call: &mut Rules<'_, '_>) {
    pair(call, true);
}

/// A37: the link between the two patients is taken away.
pub fn unlink(call: &mut Rules<'_, '_>) {
    pair(call, false);
}

fn pair(call: &mut Rules<'_, '_>, linked: bool) {
    let Some(own) = call.own_key().cloned() else { return };
    let node = *call.context();
    let mut found = Vec::new();
    if let Ok(selector) = Selector::read("PID") {
        call.root().select(&selector, &mut found);
    }
    for pid in found {
        if let Some(part) = identity::patient(&pid, call.settings()) {
            let other = Key::new("Patient", part.system, part.value);
            if other != own {
                let value = linked.then(|| call.reference(&other));
                let slot = Slot::Edge { kind: "seealso".into(), other: format!("{}|{}", other.system, other.value).into() };
                call.say(slot, value, &node);
            }
        }
    }
}
