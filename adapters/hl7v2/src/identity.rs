//! Keys: which identifier a patient and a visit are known by.

use crate::node::Node;
use contract::{Issue, IssueCode, Rejection, Settings, Severity};
use mapping::KeyPart;
use std::collections::BTreeSet;

pub const NHS_NUMBER: &str = "https://fhir.nhs.uk/Id/nhs-number";

/// System and value of a CX, EI, XCN, XON or HD (HL7 v2.5.1 §2.A): the OID, else the assigner by name, else the field.
pub fn identifier(kind: &str, node: &Node<'_>, settings: &Settings) -> Option<KeyPart> {
    let text = |selector: &str| {
        node.first(selector).and_then(|node| node.text()).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    };
    let (value, name, oid, oid_kind) = match kind {
        "CX" => (text("1"), text("4.1"), text("4.2"), text("4.3")),
        "EI" => (text("1"), text("2"), text("3"), text("4")),
        "XCN" => (text("1"), text("9.1"), text("9.2"), text("9.3")),
        "XON" => (text("10").or_else(|| text("3")), text("6.1"), text("6.2"), text("6.3")),
        "HD" => (text("2").or_else(|| text("1")), None, None, None),
        _ => return None,
    };
    let value = value?;
    let oid = oid.filter(|_| oid_kind.as_deref().is_none_or(|kind| kind == "ISO"));
    let system = match (&name, &oid) {
        (None, None) => settings.own_system(&field(node)),
        (name, Some(oid)) => settings.system(name.as_deref().unwrap_or_default(), Some(oid)),
        (Some(name), None) => {
            let is_nhs = matches!(name.as_str(), "NHS" | "NHSNBR") && !settings.assigners.contains_key(name);
            if is_nhs && nhs_number_valid(&value) { NHS_NUMBER.to_owned() } else { settings.system(name, None) }
        }
    };
    Some(KeyPart { system, value })
}

/// `PID-3` of a node's place: the system of what has no assigner.
fn field(node: &Node<'_>) -> String {
    let place = node.place();
    let segment = place.split('[').next().unwrap_or_default();
    let number: String = place.split_once(']').map_or("", |(_, rest)| rest).chars().skip(1).take_while(char::is_ascii_digit).collect();
    format!("{segment}-{number}")
}

/// Ten digits, modulus 11, and none of the placeholders that pass it.
pub fn nhs_number_valid(number: &str) -> bool {
    let digits: Vec<u32> = number.chars().filter_map(|digit| digit.to_digit(10)).collect();
    if number.len() != 10 || digits.len() != 10 || digits.iter().all(|digit| *digit == digits[0]) {
        return false;
    }
    let sum: u32 = digits[..9].iter().zip((2..=10).rev()).map(|(digit, weight)| digit * weight).sum();
    match 11 - sum % 11 {
        11 => digits[9] == 0,
        10 => false,
        check => digits[9] == check,
    }
}

/// The Patient's key: the PID-3 of the primary assigner; else the first whose assigner is mapped, NHS last; else the
/// first, then PID-2.
pub fn patient(node: &Node<'_>, settings: &Settings) -> Option<KeyPart> {
    among(&fields(node, "PID-3"), settings)
        .or_else(|| among(&fields(node, "PID-2"), settings))
        .or_else(|| among(&fields(node, "PID-4"), settings))
}

/// The same of MRG: MRG-1, else MRG-4 (before 2.4).
pub fn merged(node: &Node<'_>, settings: &Settings) -> Option<KeyPart> {
    among(&fields(node, "MRG-1"), settings).or_else(|| among(&fields(node, "MRG-4"), settings))
}

fn fields<'m>(node: &Node<'m>, selector: &str) -> Vec<Node<'m>> {
    let mut found = Vec::new();
    if let Ok(selector) = crate::node::Selector::read(selector) {
        node.select(&selector, &mut found);
    }
    found
}

fn among(nodes: &[Node<'_>], settings: &Settings) -> Option<KeyPart> {
    let parts: Vec<KeyPart> = nodes.iter().filter_map(|node| identifier("CX", node, settings)).collect();
    let primary = settings.primary_assigner.as_ref().and_then(|name| settings.assigners.get(name));
    let is_nhs = |part: &&KeyPart| part.system == NHS_NUMBER;
    let is_mapped = |part: &&KeyPart| settings.assigners.values().any(|system| *system == part.system);
    let find = |wanted: &dyn Fn(&&KeyPart) -> bool| parts.iter().find(|part| wanted(part)).cloned();
    find(&|part| Some(&part.system) == primary)
        .or_else(|| find(&|part| is_mapped(part) && !is_nhs(part)))
        .or_else(|| find(&|part| !is_nhs(part) && parts.len() > 1 && parts.iter().any(|other| is_nhs(&other))))
        .or_else(|| find(&|part| is_nhs(part) && nhs_number_valid(&part.value)))
        .or_else(|| parts.first().cloned())
}

/// The visit's key: PV1-19 (or, where the feed names visit assigners, the first of them in PV1-19 or PV1-50); else the
/// patient's key with the admission time.
pub fn visit(node: &Node<'_>, settings: &Settings) -> Option<KeyPart> {
    let numbers: Vec<KeyPart> =
        fields(node, "PV1-19").iter().chain(&fields(node, "PV1-50")).filter_map(|node| identifier("CX", node, settings)).collect();
    let wanted = settings
        .visit_assigners
        .iter()
        .filter_map(|name| settings.assigners.get(name).cloned().or_else(|| Some(settings.own_system(name))));
    for system in wanted {
        if let Some(part) = numbers.iter().find(|part| part.system == system) {
            return Some(part.clone());
        }
    }
    let first = fields(node, "PV1-19").iter().find_map(|node| identifier("CX", node, settings));
    first.or_else(|| {
        let patient = patient(node, settings)?;
        let admitted = node.first("PV1-44")?.text()?.into_owned();
        Some(KeyPart { system: settings.own_system("PV1-44"), value: format!("{}|{}|{admitted}", patient.system, patient.value) })
    })
}

/// A message whose strong identifiers contradict one another waits for a person: two valid NHS numbers for one patient.
pub fn consistent(root: &Node<'_>, settings: &Settings) -> Result<(), Rejection> {
    for pid in fields(root, "PID") {
        let numbers: BTreeSet<String> = fields(&pid, "PID-3")
            .iter()
            .filter_map(|node| identifier("CX", node, settings))
            .filter(|part| part.system == NHS_NUMBER && nhs_number_valid(&part.value))
            .map(|part| part.value)
            .collect();
        if numbers.len() > 1 {
            let issue = Issue::new(
                Severity::Error,
                IssueCode::Identity,
                format!("{}-3", pid.place()),
                "two different valid NHS numbers for one patient: it waits for a person",
            );
            return Err(Rejection::Held(issue));
        }
    }
    Ok(())
}

/// A place (PL) down to a level: building, floor, point of care, room, bed.
pub fn place(node: &Node<'_>, settings: &Settings, components: &[&str]) -> Option<KeyPart> {
    let text = |selector: &&str| node.first(selector).and_then(|node| node.text()).unwrap_or_default().into_owned();
    let parts: Vec<String> = components.iter().map(text).collect();
    parts.iter().any(|part| !part.is_empty()).then(|| KeyPart { system: settings.own_system("PL"), value: parts.join("|") })
}
