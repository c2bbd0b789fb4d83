//! Key rules: what identifies a resource where no single identifier does (`state.md`, Keys and ids; notes on snapshot
//! groups). The list is closed; each is documented where it stands.

use crate::identifier::{self, Kind, NHS_NUMBER, text};
use crate::node::Node;
use crate::syntax::Er7;
use contract::Settings;
use mapping::{KeyPart, KeyRule};

pub(crate) fn named(name: &str) -> Option<KeyRule<Er7>> {
    Some(match name {
        "allergy" => allergy,
        "coded_device" => coded_device,
        "coded_organization" => coded_organization,
        "destination" => destination,
        "diagnosis" => diagnosis,
        "guarantor" => guarantor,
        "insurance" => insurance,
        "kin" => kin,
        "location" => location,
        "location_building" => location_building,
        "location_floor" => location_floor,
        "location_pointofcare" => location_pointofcare,
        "location_room" => location_room,
        "location_site" => location_site,
        "named_location" => named_location,
        "named_person" => named_person,
        "observation" => observation,
        "panel" => panel,
        "patient" => patient,
        "payor" => payor,
        "prior_patient" => prior_patient,
        "procedure" => procedure,
        "report" => report,
        "specimen" => specimen,
        "staff_role" => staff_role,
        "visit" => visit,
        _ => return None,
    })
}

/// What a rule reads, for a person who mends a feed.
pub(crate) fn fields(name: &str) -> &'static str {
    match name {
        "allergy" => "AL1-3, IAM-3",
        "diagnosis" => "DG1-3, DG1-4",
        "guarantor" => "GT1-2, GT1-3, GT1-21",
        "insurance" => "IN1-2, IN1-3, IN1-4",
        "kin" => "NK1-2, NK1-13, NK1-30",
        "observation" => "OBX-3",
        "panel" => "OBR-4",
        "patient" => "PID-3, PID-2",
        "prior_patient" => "MRG-1",
        "procedure" => "PR1-3, PR1-4",
        "report" => "OBR-4, OBR-7",
        "visit" => "PV1-19",
        _ => "",
    }
}

/// PID-3 of the feed's primary assigner; else the first whose assigner is mapped, the NHS number last; else the first.
/// Of several numbers of that assigner, whatever their order: the medical record number (MR), else the one without a
/// type, else the least. PID-2 only where PID-3 has none. A placeholder or mistyped NHS number identifies nobody.
pub(crate) fn patient(node: &Node<'_>, settings: &Settings) -> Option<KeyPart> {
    person(node, "PID-3", settings).or_else(|| person(node, "PID-2", settings))
}

/// One repetition of MRG-1: a number that was the person's.
fn prior_patient(node: &Node<'_>, settings: &Settings) -> Option<KeyPart> {
    person(node, ".", settings)
}

/// A person's numbers of one assigner: which of them is the key.
pub(crate) struct Number<'m> {
    pub node: Node<'m>,
    pub part: KeyPart,
    number_type: String,
}

impl Number<'_> {
    pub fn is_national(&self) -> bool {
        self.part.system == NHS_NUMBER
    }

    pub fn is_medical_record(&self) -> bool {
        self.number_type == "MR"
    }

    fn order(&self) -> (u8, &str, &str) {
        let first = match &*self.number_type {
            "MR" => 0,
            "" => 1,
            _ => 2,
        };
        (first, &self.number_type, &self.part.value)
    }
}

/// The numbers in a field that identify somebody.
pub(crate) fn numbers<'m>(node: &Node<'m>, field: &str, settings: &Settings) -> Vec<Number<'m>> {
    let placeholder = settings.own_system("NHS");
    let read = |node: Node<'m>| {
        let part = identifier::read(Kind::Cx, &node, settings).filter(|part| part.system != placeholder)?;
        Some(Number { node, part, number_type: text(&node, "5").unwrap_or_default().into_owned() })
    };
    node.all(field).into_iter().filter_map(read).collect()
}

/// The numbers of the assigner whose number is the key, the key first.
pub(crate) fn candidates<'m>(node: &Node<'m>, field: &str, settings: &Settings) -> Vec<Number<'m>> {
    let mut found = numbers(node, field, settings);
    let assigner = |number: &Number<'m>| identifier::assigner(Kind::Cx, &number.node);
    let is_mapped = |number: &Number<'m>| settings.assigners.values().any(|system| *system == number.part.system);
    let chosen = found
        .iter()
        .find(|number| assigner(number).is_primary(settings))
        .or_else(|| found.iter().find(|number| is_mapped(number) && !number.is_national()))
        .or_else(|| found.iter().find(|number| !number.is_national()))
        .or_else(|| found.first());
    let Some(chosen) = chosen.map(&assigner) else { return Vec::new() };
    // One assigner may have a system for each type of its numbers.
    let of_chosen = found.iter().filter(|number| assigner(number) == chosen);
    let Some(least) = of_chosen.min_by(|one, other| one.order().cmp(&other.order())) else { return Vec::new() };
    let system = least.part.system.clone();
    found.retain(|number| number.part.system == system);
    found.sort_by(|one, other| one.order().cmp(&other.order()));
    found
}

fn person(node: &Node<'_>, field: &str, settings: &Settings) -> Option<KeyPart> {
    candidates(node, field, settings).into_iter().next().map(|number| number.part)
}

/// PV1-19; where the feed names visit assigners, the first of them found in PV1-19 or PV1-50.
fn visit(node: &Node<'_>, settings: &Settings) -> Option<KeyPart> {
    let numbers: Vec<Node<'_>> = ["PV1-19", "PV1-50"].iter().flat_map(|field| node.all(field)).collect();
    let preferred = settings.visit_assigners.iter().find_map(|wanted| {
        numbers.iter().find(|number| {
            let assigner = identifier::assigner(Kind::Cx, number);
            assigner.name == *wanted || assigner.id == *wanted
        })
    });
    let number = preferred.copied().or_else(|| node.all("PV1-19").into_iter().find(|number| text(number, "1").is_some()))?;
    identifier::read(Kind::Cx, &number, settings).map(KeyPart::alone)
}

/// AL1-3, IAM-3: the substance.
fn allergy(node: &Node<'_>, settings: &Settings) -> Option<KeyPart> {
    let substance = coded(node, "AL1-3").or_else(|| coded(node, "IAM-3"))?;
    Some(part(settings, "allergy", &[Some(substance)]))
}

/// DG1-3 (or the words of DG1-4), with date and type.
fn diagnosis(node: &Node<'_>, settings: &Settings) -> Option<KeyPart> {
    let code = coded(node, "DG1-3").or_else(|| first(node, "DG1-4"))?;
    Some(part(settings, "diagnosis", &[Some(code), first(node, "DG1-5"), first(node, "DG1-6")]))
}

/// PR1-3 (or the words of PR1-4), with date and type.
fn procedure(node: &Node<'_>, settings: &Settings) -> Option<KeyPart> {
    let code = coded(node, "PR1-3").or_else(|| first(node, "PR1-4"))?;
    Some(part(settings, "procedure", &[Some(code), first(node, "PR1-5"), first(node, "PR1-6")]))
}

/// NK1-2 and -3: the set id is no key.
fn kin(node: &Node<'_>, settings: &Settings) -> Option<KeyPart> {
    let name = name(node, "NK1-2").or_else(|| first(node, "NK1-13")).or_else(|| name(node, "NK1-30"))?;
    Some(part(settings, "kin", &[Some(name), coded(node, "NK1-3")]))
}

/// GT1-2, else the name.
fn guarantor(node: &Node<'_>, settings: &Settings) -> Option<KeyPart> {
    let who = first(node, "GT1-2").or_else(|| name(node, "GT1-3")).or_else(|| first(node, "GT1-21"))?;
    Some(part(settings, "guarantor", &[Some(who)]))
}

/// IN1-2 and -3, plan and company; else the company's name.
fn insurance(node: &Node<'_>, settings: &Settings) -> Option<KeyPart> {
    let (plan, company) = (coded(node, "IN1-2"), first(node, "IN1-3"));
    if plan.is_none() && company.is_none() {
        return Some(part(settings, "insurance", &[Some(first(node, "IN1-4")?)]));
    }
    Some(part(settings, "insurance", &[plan, company]))
}

/// IN1-3, else the number or the name in IN1-4.
fn payor(node: &Node<'_>, settings: &Settings) -> Option<KeyPart> {
    if let Some(company) = node.first("IN1-3").and_then(|company| identifier::read(Kind::Cx, &company, settings)) {
        return Some(company.alone());
    }
    identifier::read(Kind::Xon, node, settings)
        .map(KeyPart::alone)
        .or_else(|| Some(part(settings, "payor", &[Some(text(node, "1")?.into_owned())])))
}

/// OBX-3 and -4: unique below a report or a visit.
fn observation(node: &Node<'_>, settings: &Settings) -> Option<KeyPart> {
    let sub_id = node.first("OBX-4").and_then(|node| node.whole_text()).map(|text| text.trim().to_owned());
    Some(part(settings, "OBX", &[Some(coded(node, "OBX-3")?), sub_id.filter(|text| !text.is_empty())]))
}

/// OBR-4, which panel of an order: its code, under its coding system where one is named. Several panels may stand under
/// one number of the laboratory's or the ward's.
fn panel(node: &Node<'_>, _: &Settings) -> Option<KeyPart> {
    let service = node.first("OBR-4")?;
    let part = |component: &str| text(&service, component).map(|text| text.into_owned());
    let by = |(value, system): (&str, &str)| Some(KeyPart { value: part(value)?, system: part(system).unwrap_or_default() });
    let words = || ["2", "5", "9"].iter().find_map(|component| part(component));
    [("1", "3"), ("4", "6")].into_iter().find_map(by).or_else(|| Some(KeyPart { system: String::new(), value: words()? }))
}

/// OBR-4 and -7, of a report without a number.
fn report(node: &Node<'_>, settings: &Settings) -> Option<KeyPart> {
    Some(part(settings, "OBR", &[Some(coded(node, "OBR-4")?), first(node, "OBR-7")]))
}

/// A specimen named by OBX-33: the filler's number, else the placer's.
fn specimen(node: &Node<'_>, settings: &Settings) -> Option<KeyPart> {
    let number = node.first("2").or_else(|| node.first("1"))?;
    identifier::read(Kind::Ei, &number, settings).map(KeyPart::alone)
}

/// A role: the person, what the person does, and for whom.
fn staff_role(node: &Node<'_>, settings: &Settings) -> Option<KeyPart> {
    let fields = match node.segment_name()? {
        "ROL" => ["ROL-4", "ROL-3", "ROL-14"],
        "PRT" => ["PRT-5", "PRT-4", "PRT-8"],
        "ORC" => ["ORC-12", "ORC-21", "ORC-24"],
        _ => return None,
    };
    let words = fields.map(|field| node.first(field).and_then(|node| node.whole_text()).map(|text| text.into_owned()));
    words.iter().any(Option::is_some).then(|| part(settings, "role", &words))
}

fn coded_organization(node: &Node<'_>, settings: &Settings) -> Option<KeyPart> {
    let code = text(node, "1").or_else(|| text(node, "2"))?;
    Some(part(settings, "organization", &[Some(code.into_owned())]))
}

fn coded_device(node: &Node<'_>, settings: &Settings) -> Option<KeyPart> {
    let code = text(node, "1").or_else(|| text(node, "2"))?;
    Some(part(settings, "device", &[Some(code.into_owned())]))
}

/// Where a patient was discharged to, without the time in DLD-2.
fn destination(node: &Node<'_>, settings: &Settings) -> Option<KeyPart> {
    let code = text(node, "1.1").or_else(|| text(node, "1.2"))?;
    Some(part(settings, "destination", &[Some(code.into_owned())]))
}

fn named_location(node: &Node<'_>, settings: &Settings) -> Option<KeyPart> {
    Some(part(settings, "location-name", &[Some(node.whole_text()?.trim().to_owned())]))
}

fn named_person(node: &Node<'_>, settings: &Settings) -> Option<KeyPart> {
    Some(part(settings, "person-name", &[Some(node.whole_text()?.trim().to_owned())]))
}

/// Components of PL from the widest: site, building, floor, point of care, room, bed.
const LEVELS: [&str; 6] = ["4", "7", "8", "1", "2", "3"];

/// A place by all that encloses it: room 2 of one ward is not that of another.
fn location(node: &Node<'_>, settings: &Settings) -> Option<KeyPart> {
    place(node, settings, 6)
}

fn location_site(node: &Node<'_>, settings: &Settings) -> Option<KeyPart> {
    place(node, settings, 1)
}

fn location_building(node: &Node<'_>, settings: &Settings) -> Option<KeyPart> {
    place(node, settings, 2)
}

fn location_floor(node: &Node<'_>, settings: &Settings) -> Option<KeyPart> {
    place(node, settings, 3)
}

fn location_pointofcare(node: &Node<'_>, settings: &Settings) -> Option<KeyPart> {
    place(node, settings, 4)
}

fn location_room(node: &Node<'_>, settings: &Settings) -> Option<KeyPart> {
    place(node, settings, 5)
}

fn place(node: &Node<'_>, settings: &Settings, levels: usize) -> Option<KeyPart> {
    let words: Vec<Option<String>> = LEVELS[..levels].iter().map(|level| text(node, level).map(|text| text.into_owned())).collect();
    if words.iter().any(Option::is_some) {
        return Some(part(settings, "location", &words));
    }
    let description = text(node, "9")?;
    Some(part(settings, "location-name", &[Some(description.into_owned())]))
}

fn first(node: &Node<'_>, selector: &str) -> Option<String> {
    text(node, selector).map(|text| text.into_owned())
}

/// Family and given name: what a relative is told apart by.
fn name(node: &Node<'_>, selector: &str) -> Option<String> {
    let node = node.first(selector)?;
    let parts = ["1", "2"].map(|component| text(&node, component));
    parts.iter().any(Option::is_some).then(|| parts.map(|part| part.unwrap_or_default().into_owned()).join(" "))
}

/// A code, or where there is none the alternate code or the words.
fn coded(node: &Node<'_>, selector: &str) -> Option<String> {
    let node = node.first(selector)?;
    ["1", "4", "2", "5", "9"].iter().find_map(|component| text(&node, component)).map(|text| text.into_owned())
}

/// Words joined so that none runs into the next; the system is the feed's own.
fn part(settings: &Settings, name: &str, words: &[Option<String>]) -> KeyPart {
    let words: Vec<String> = words.iter().map(|word| word.as_deref().unwrap_or_default().replace('%', "%25").replace('|', "%7C")).collect();
    KeyPart { system: settings.own_system(name), value: words.join("|").trim_end_matches('|').to_owned() }
}
