//! What a row of the tables cannot say. The list is closed; each rule is documented where it stands, and a test prints
//! the share of rows that name one.

mod encounter;
mod identity;
mod results;

use crate::identifier::{self, Kind, Social, text};
use crate::node::Node;
use crate::syntax::Er7;
use contract::{IssueCode, Json, Name, Severity, Slot};
use mapping::{Action, Call, Primitive, Rule};

pub(crate) use identity::{contradiction, doubts};

pub(crate) type Ask<'c, 'r, 'm> = &'c mut Call<'r, 'm, Er7>;

/// Where our own extensions are defined; the element that HL7 v2 names follows.
pub(crate) const OWN: &str = "https://landbridge.example/fhir/StructureDefinition/hl7v2-";

pub(crate) fn named(name: &str) -> Option<Rule<Er7>> {
    Some(match name {
        "action_dg1" => action_dg1,
        "action_iam" => action_iam,
        "action_pr1" => action_pr1,
        "birth_date" => birth_date,
        "birth_time" => birth_time,
        "clear" => clear,
        "coding_system" => coding_system,
        "control_system" => control_system,
        "cx_system" => cx_system,
        "cx_value" => cx_value,
        "ei_system" => ei_system,
        "endpoint" => endpoint,
        "hd_identifier" => hd_identifier,
        "issuer_system" => issuer_system,
        "link" => identity::link,
        "local_segments" => local_segments,
        "merge" => identity::merge,
        "move_class" => encounter::move_class,
        "move_location" => encounter::move_location,
        "move_prior" => encounter::move_prior,
        "move_status" => encounter::move_status,
        "ndl_system" => ndl_system,
        "nhs_verification" => nhs_verification,
        "no_merge" => identity::no_merge,
        "prior_numbers" => identity::prior_numbers,
        "recorded" => recorded,
        "reference_range" => results::reference_range,
        "ssn_system" => ssn_system,
        "ssn_type" => ssn_type,
        "ssn_value" => ssn_value,
        "unit" => results::unit,
        "unlink" => identity::unlink,
        "value_attachment" => results::value_attachment,
        "value_components" => results::value_components,
        "value_concept" => results::value_concept,
        "value_period" => results::value_period,
        "value_quantity" => results::value_quantity,
        "value_range" => results::value_range,
        "value_ratio" => results::value_ratio,
        "value_text" => results::value_text,
        "value_when" => results::value_when,
        "xcn_system" => xcn_system,
        "xon_system" => xon_system,
        _ => return None,
    })
}

/// Table 0206 in DG1-21: D takes the diagnosis away, anything else states it.
fn action_dg1(call: Ask<'_, '_, '_>) {
    action(call, "DG1-21");
}

/// Table 0206 in PR1-20.
fn action_pr1(call: Ask<'_, '_, '_>) {
    action(call, "PR1-20");
}

/// Table 0323 in IAM-6.
fn action_iam(call: Ask<'_, '_, '_>) {
    action(call, "IAM-6");
}

/// A segment without an action code is an item of a snapshot.
fn action(call: Ask<'_, '_, '_>, field: &str) {
    let code = call.context().first(field).and_then(|node| call.text(&node).map(|text| text.trim().to_owned()));
    match code.as_deref() {
        Some("D") => call.act(Action::Delete),
        Some(_) => call.act(Action::Assert),
        None => {}
    }
}

/// Clears the row's element: what a cancel takes back.
fn clear(call: Ask<'_, '_, '_>) {
    call.clear();
}

/// PID-7 without its time of day, which [`birth_time`] carries.
fn birth_date(call: Ask<'_, '_, '_>) {
    for node in call.nodes() {
        if node.is_delete() {
            call.text(&node);
            return call.clear();
        }
        let Some(text) = call.text(&node) else { continue };
        let date = match call.stamp(&text) {
            Ok(stamp) => Some(Json::from(stamp.date().0)),
            Err(_) => call.scalar(Primitive::Date, &node),
        };
        if let Some(date) = date {
            return call.give(date, &node);
        }
    }
}

/// PID-7 with a time of day, as the extension patient-birthTime.
fn birth_time(call: Ask<'_, '_, '_>) {
    for node in call.nodes() {
        let Some(text) = node.text() else { continue };
        if call.stamp(&text).is_ok_and(|stamp| stamp.time().is_some())
            && let Some(time) = call.scalar(Primitive::DateTime, &node)
        {
            let url = Json::from("http://hl7.org/fhir/StructureDefinition/patient-birthTime");
            call.give([("url", url), ("valueDateTime", time)].into_iter().collect(), &node);
            return;
        }
    }
}

/// The first stamp that is exact enough for an instant.
fn recorded(call: Ask<'_, '_, '_>) {
    for index in 0..3 {
        for node in call.from(index) {
            let Some(text) = node.text() else { continue };
            if call.stamp(&text).is_ok_and(|stamp| stamp.instant(&call.settings().timezone).is_ok())
                && let Some(instant) = call.scalar(Primitive::Instant, &node)
            {
                return call.give(instant, &node);
            }
        }
    }
}

/// Name of a coding system as a URI: by the row's map (table 0396), `HL7nnnn` as HL7's own table, an OID as `urn:oid:`, as it stands where it is a URI, else
/// below the feed: the same local name may mean another table at the next sender.
fn coding_system(call: Ask<'_, '_, '_>) {
    for node in call.nodes() {
        let Some(name) = call.text(&node).map(|text| text.trim().to_owned()).filter(|name| !name.is_empty()) else { continue };
        let mapped = call.codes(&name).or_else(|| call.codes(&name.to_ascii_uppercase()));
        let system = match mapped.and_then(|codings| codings.first()) {
            Some(coding) => coding.code(&name),
            None if table_number(&name).is_some() => Json::from(format!("http://terminology.hl7.org/CodeSystem/v2-{}", &name[3..])),
            None if identifier::is_oid(&name) => Json::from(format!("urn:oid:{name}")),
            None if (name.starts_with("http") || name.starts_with("urn:")) && !name.contains(char::is_whitespace) => Json::from(&*name),
            None => Json::from(call.settings().own_system(&name)),
        };
        return call.give(system, &node);
    }
}

/// `HL70001`: a table of HL7.
fn table_number(name: &str) -> Option<u16> {
    let digits = name.strip_prefix("HL7")?;
    (digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// System of the control id: the sender's own numbers.
fn control_system(call: Ask<'_, '_, '_>) {
    if let Some(node) = call.nodes().into_iter().next() {
        let sender = call.envelope().sender.application.clone();
        let system = call.settings().own_system(if sender.is_empty() { "MSH-10" } else { &sender });
        call.give(Json::from(system), &node);
    }
}

/// The value of a CX; an NHS number without its spaces. One that fails its check digit is kept, outside of its system.
fn cx_value(call: Ask<'_, '_, '_>) {
    let context = *call.context();
    let Some(value) = context.first("1") else { return };
    if let Some(part) = identifier::read(Kind::Cx, &context, call.settings()) {
        if part.system == call.settings().own_system("NHS") {
            let reason = "not a valid NHS number, or a placeholder: kept, and identifies nobody";
            call.issue(Severity::Warning, IssueCode::Identity, &value, reason);
        }
        call.mark_all(&value);
        call.give(Json::from(part.value), &value);
    }
}

fn cx_system(call: Ask<'_, '_, '_>) {
    system(call, Kind::Cx);
}

fn ei_system(call: Ask<'_, '_, '_>) {
    system(call, Kind::Ei);
}

fn xcn_system(call: Ask<'_, '_, '_>) {
    system(call, Kind::Xcn);
}

fn xon_system(call: Ask<'_, '_, '_>) {
    system(call, Kind::Xon);
}

fn ndl_system(call: Ask<'_, '_, '_>) {
    system(call, Kind::Ndl);
}

/// The system of an identifier, by its assigner ([`identifier::read`]).
fn system(call: Ask<'_, '_, '_>, kind: Kind) {
    let context = *call.context();
    if let Some(part) = identifier::read(kind, &context, call.settings()) {
        for part in identifier::assigner_parts(kind) {
            if let Some(node) = context.first(part) {
                call.text(&node);
            }
        }
        call.give(Json::from(part.system), &context);
    }
}

/// PID-19 and its like: the number, of an NHS number its ten digits.
fn ssn_value(call: Ask<'_, '_, '_>) {
    for node in call.nodes() {
        let Some(value) = call.scalar(Primitive::String, &node) else { continue };
        let value = match identifier::social(value.as_str().unwrap_or_default(), call.settings()) {
            Social::National(digits) => Json::from(digits),
            Social::Security | Social::Other => value,
        };
        return call.give(value, &node);
    }
}

/// The system of the number in PID-19; none where it is neither the US's nor the NHS's.
fn ssn_system(call: Ask<'_, '_, '_>) {
    for node in call.nodes() {
        let Some(value) = text(&node, ".") else { continue };
        match identifier::social(&value, call.settings()) {
            Social::Security => return call.give(Json::from("http://hl7.org/fhir/sid/us-ssn"), &node),
            Social::National(_) => return call.give(Json::from(identifier::NHS_NUMBER), &node),
            Social::Other => {}
        }
    }
}

/// Its type (table 0203).
fn ssn_type(call: Ask<'_, '_, '_>) {
    for node in call.nodes() {
        let Some(value) = text(&node, ".") else { continue };
        let is_national = matches!(identifier::social(&value, call.settings()), Social::National(_));
        return call.give(Json::from(if is_national { "NH" } else { "SS" }), &node);
    }
}

/// System of what an office has issued, known by its name alone.
fn issuer_system(call: Ask<'_, '_, '_>) {
    for node in call.nodes() {
        if let Some(issuer) = call.text(&node).map(|text| text.trim().to_owned()).filter(|issuer| !issuer.is_empty()) {
            let system = call.settings().own_system(&issuer);
            call.give(Json::from(system), &node);
        }
    }
}

/// Identifiers of an HD: its universal id as a URI, and its name.
fn hd_identifier(call: Ask<'_, '_, '_>) {
    for node in call.nodes() {
        let designator = identifier::assigner(Kind::Hd, &node);
        call.mark_all(&node);
        let own = |kind: &str| call.settings().own_system(if kind.is_empty() { "HD" } else { kind });
        let id = match designator.uri() {
            Some(uri) => Some(("urn:ietf:rfc:3986".to_owned(), uri)),
            None if designator.id.is_empty() => None,
            None => Some((own(&designator.id_type), designator.id.to_string())),
        };
        let name = (!designator.name.is_empty()).then(|| (own("HD"), designator.name.to_string()));
        for (system, value) in id.into_iter().chain(name) {
            call.give([("system", Json::from(system)), ("value", Json::from(value))].into_iter().collect(), &node);
        }
    }
}

/// Where an application is reached: its universal id or address as a URL, else its name below the feed.
fn endpoint(call: Ask<'_, '_, '_>) {
    let Some(node) = call.nodes().into_iter().next() else { return };
    call.mark_all(&node);
    let designator = identifier::assigner(Kind::Hd, &node);
    let url = designator.uri().or_else(|| {
        let name = if designator.name.is_empty() { &designator.id } else { &designator.name };
        (!name.is_empty()).then(|| call.settings().own_system(name))
    });
    if let Some(url) = url {
        call.give(Json::from(url), &node);
    }
}

/// PID-32 mixes reliability codes with NSTS01 to NSTS08, the verification of the NHS number: those alone, and only in
/// the NHS number's own identifier.
fn nhs_verification(call: Ask<'_, '_, '_>) {
    let context = *call.context();
    let is_national = identifier::read(Kind::Cx, &context, call.settings()).is_some_and(|part| part.system == identifier::NHS_NUMBER);
    if !is_national {
        return;
    }
    for node in call.nodes() {
        let Some(code) = text(&node, ".") else { continue };
        if let Some(coding) = call.codes(&code).and_then(|codings| codings.first()).map(|coding| coding.coding(&code)) {
            call.text(&node);
            let concept: Json = [("coding", Json::Array(vec![coding]))].into_iter().collect();
            let url = Json::from("https://fhir.hl7.org.uk/StructureDefinition/Extension-UKCore-NHSNumberVerificationStatus");
            return call.give([("url", url), ("valueCodeableConcept", concept)].into_iter().collect(), &node);
        }
    }
}

/// Segments that the sender defined (Z..): each value with its place, in an extension of ours, one slot a segment.
fn local_segments(call: Ask<'_, '_, '_>) {
    let context = *call.context();
    let within: Vec<std::ops::Range<usize>> = match context.group_name() {
        Some("ORDER_OBSERVATION") => Vec::new(),
        _ => context.all("ORDER_OBSERVATION").iter().map(Node::span).collect(),
    };
    let mut leaves = Vec::new();
    context.leaves(&mut |leaf| leaves.push(leaf));
    leaves.retain(|leaf| {
        leaf.segment_name().is_some_and(|name| name.starts_with('Z')) && !within.iter().any(|span| span.contains(&leaf.id()))
    });
    let mut segments: Vec<(&str, Node<'_>, Vec<Json>)> = Vec::new();
    for leaf in leaves {
        let (Some(name), Some(value)) = (leaf.segment_name(), call.scalar(Primitive::String, &leaf)) else { continue };
        let part = [("url", Json::from(leaf.place())), ("valueString", value)].into_iter().collect();
        match segments.iter_mut().find(|(known, _, _)| *known == name) {
            Some((_, _, parts)) => parts.push(part),
            None => segments.push((name, leaf, vec![part])),
        }
    }
    for (name, node, parts) in segments {
        let extension: Json = [("url", Json::from(format!("{OWN}{name}"))), ("extension", Json::Array(parts))].into_iter().collect();
        let value = [("extension", Json::Array(vec![extension]))].into_iter().collect();
        call.say(Slot::Element(Name::from(format!("extension:{name}"))), Some(value), &node);
    }
}
