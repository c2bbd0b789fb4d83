//! Whose a resource is, and what a reference points at.
//!
//! A sender's ids are its own: a resource stands under `urn:landbridge:FEED:Type` and its id. A Patient alone is whom others
//! mean too: it stands under the identifier of the feed's primary assigner, or of another that the feed speaks for; and the
//! sender's id for it becomes a second Patient that the first replaces, so that references from messages that know no more
//! than the id lead to the same record.

use crate::message::Part;
use contract::{Digest, Issue, IssueCode, Json, Key, Settings, Severity, nhs_number};
use std::collections::{HashMap, HashSet};

/// The NHS number's system in FHIR.
const NHS_NUMBER: &str = "https://fhir.nhs.uk/Id/nhs-number";
/// Elements that point at a Patient where nothing says at what.
const OF_A_PATIENT: [&str; 3] = ["patient", "subject", "beneficiary"];

/// The identities of one message.
pub struct Identities<'m> {
    settings: &'m Settings,
    /// By part.
    keys: Vec<Key>,
    /// By part, the base of its fullUrl, where that names it.
    bases: Vec<Option<&'m str>>,
    by_url: HashMap<&'m str, usize>,
    by_name: HashMap<(&'m str, &'m str), usize>,
    /// Of all parts: what is below one is the sender's own.
    known_bases: HashSet<&'m str>,
}

/// What a reference is rewritten to.
pub enum Pointed {
    /// As it stands: within the resource, or elsewhere.
    Kept,
    /// At this resource.
    At(Key),
    /// It cannot be told at what.
    Unknown(&'static str),
}

impl<'m> Identities<'m> {
    pub fn new(parts: &[Part<'m>], settings: &'m Settings, digest: Digest) -> (Self, Vec<Issue>) {
        let mut found = Self {
            settings,
            keys: Vec::with_capacity(parts.len()),
            bases: Vec::with_capacity(parts.len()),
            by_url: HashMap::new(),
            by_name: HashMap::new(),
            known_bases: HashSet::new(),
        };
        let (mut issues, mut said) = (Vec::new(), HashSet::new());
        for (number, part) in parts.iter().enumerate() {
            let key = found.key(part).unwrap_or_else(|| {
                let reason = "it has neither id nor identifier: sent again in another message it is another resource";
                issues.push(Issue::new(Severity::Information, IssueCode::Identity, part.place(), reason));
                Key::new(part.kind, settings.own_system("frame"), format!("{digest}#{number}"))
            });
            let full = part.full_url.and_then(named).filter(|(_, kind, _)| *kind == part.kind);
            let names = [full.map(|(_, _, id)| id), part.id()];
            let is_new = names.into_iter().flatten().all(|id| *found.by_name.entry((part.kind, id)).or_insert(number) == number);
            let wrong = if !said.insert(key.clone()) {
                Some("a second resource of the same identity in one message; which of them holds cannot be told")
            } else if !is_new {
                Some("a second resource of the same type and id in one message; send what another server holds by a feed of its own")
            } else {
                None
            };
            issues.extend(wrong.map(|reason| Issue::new(Severity::Error, IssueCode::Identity, part.place(), reason)));
            found.keys.push(key);
            found.bases.push(full.map(|(base, ..)| base));
            found.known_bases.extend(full.map(|(base, ..)| base));
            found.by_url.extend(part.full_url.map(|url| (url, number)));
        }
        (found, issues)
    }

    /// The key of a part, by its number.
    pub fn of(&self, part: usize) -> &Key {
        &self.keys[part]
    }

    /// Under which a sender's own id stands.
    pub fn own(&self, kind: &str, id: &str) -> Key {
        Key::new(kind, self.settings.own_system(kind), id)
    }

    fn key(&self, part: &Part<'_>) -> Option<Key> {
        if part.kind == "Patient"
            && let Some(key) = self.person(part.resource.get("identifier").map(Json::each).unwrap_or_default())
        {
            return Some(key);
        }
        if let Some(id) = part.id() {
            return Some(self.own(part.kind, id));
        }
        let identifiers = part.resource.get("identifier").map(Json::each).unwrap_or_default();
        let (system, value) = identifiers.iter().find_map(pair)?;
        Some(Key::new(part.kind, self.settings.own_system(&format!("{}:{system}", part.kind)), value))
    }

    /// The Patient whom identifiers name: of the primary assigner, else of another that the feed speaks for, the NHS number
    /// last.
    fn person(&self, identifiers: &[Json]) -> Option<Key> {
        let settings = self.settings;
        let primary = settings.primary_assigner.as_ref().and_then(|name| settings.assigners.get(name));
        let known = |system: &str| settings.assigners.values().any(|own| own == system);
        let national = |(system, _): &(&str, &str)| *system == NHS_NUMBER;
        let pairs: Vec<(&str, &str)> = identifiers
            .iter()
            .filter(|identifier| identifier.get("use").and_then(Json::as_str) != Some("old"))
            .filter_map(pair)
            .filter(|(system, value)| known(system) && (*system != NHS_NUMBER || nhs_number(value).is_some()))
            .collect();
        let of_primary = pairs.iter().find(|(system, _)| primary.is_some_and(|primary| primary == system));
        let chosen = of_primary.or_else(|| pairs.iter().find(|pair| !national(pair))).or_else(|| pairs.first())?;
        let value = if national(chosen) { nhs_number(chosen.1)? } else { chosen.1.to_owned() };
        Some(Key::new("Patient", chosen.0, value))
    }

    /// At what the text of a reference points that stands in a part: a relative one is below that one's base (R4
    /// bundle.html §2.36.4.1).
    pub fn pointed(&self, part: usize, reference: &str) -> Pointed {
        if reference.starts_with('#') {
            return Pointed::Kept;
        }
        let reference = reference.split_once("/_history/").map_or(reference, |(current, _)| current);
        if let Some(part) = self.by_url.get(reference) {
            return Pointed::At(self.keys[*part].clone());
        }
        if reference.starts_with("urn:uuid:") || reference.starts_with("urn:oid:") {
            return Pointed::Unknown("it points at an entry that is not in the Bundle");
        }
        if let Some((kind, query)) = reference.split_once('?') {
            let identifier = query.strip_prefix("identifier=").and_then(|token| token.split_once('|'));
            let person = identifier.filter(|_| kind == "Patient").and_then(|(system, value)| self.person(&[identifier_of(system, value)]));
            let reason = "a search in place of a reference: only Patient?identifier=SYSTEM|VALUE is understood, of an assigner of the feed";
            return person.map_or(Pointed::Unknown(reason), Pointed::At);
        }
        match named(reference) {
            Some((base, kind, id)) if base.is_empty() || self.known_bases.contains(base) => {
                let base = Some(base).filter(|base| !base.is_empty()).or(self.bases[part]);
                match self.by_name.get(&(kind, id)) {
                    None => Pointed::At(self.own(kind, id)),
                    Some(at) if base.is_some() && self.bases[*at].is_some_and(|other| Some(other) != base) => {
                        let reason =
                            "the Bundle has another server's resource of that type and id: send what it holds by a feed of its own";
                        Pointed::Unknown(reason)
                    }
                    Some(at) => Pointed::At(self.keys[*at].clone()),
                }
            }
            _ => Pointed::Kept,
        }
    }

    /// The Patient whom a reference names by identifier alone.
    pub fn pointed_by_identifier(&self, element: &str, reference: &Json) -> Option<Key> {
        let kind = reference.get("type").and_then(Json::as_str);
        let is_person = kind.map_or(OF_A_PATIENT.contains(&element), |kind| kind == "Patient");
        self.person(std::slice::from_ref(reference.get("identifier").filter(|_| is_person)?))
    }
}

/// An Identifier of these.
pub fn identifier_of(system: &str, value: &str) -> Json {
    [("system", Json::from(system)), ("value", Json::from(value))].into_iter().collect()
}

fn pair(identifier: &Json) -> Option<(&str, &str)> {
    let text = |name| identifier.get(name).and_then(Json::as_str).map(str::trim).filter(|text| !text.is_empty());
    Some((text("system")?, text("value")?))
}

/// Base, type and id of a URL that ends in `Type/id`; the base of a relative one is empty.
fn named(url: &str) -> Option<(&str, &str, &str)> {
    let (rest, id) = url.rsplit_once('/')?;
    let (base, kind) = rest.rsplit_once('/').unwrap_or(("", rest));
    if url.starts_with('/') {
        return None;
    }
    let is_kind = kind.starts_with(|first: char| first.is_ascii_uppercase()) && kind.bytes().all(|byte| byte.is_ascii_alphabetic());
    let is_id = !id.is_empty() && id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
    (is_kind && is_id && (base.is_empty() || base.contains("://"))).then_some((base, kind, id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_where_it_names_a_resource() {
        for (url, expected) in [
            ("Patient/1", Some(("", "Patient", "1"))),
            ("https://ehr.example/fhir/Patient/1", Some(("https://ehr.example/fhir", "Patient", "1"))),
            ("/Patient/1", None),
            ("x/Patient/1", None),
            ("Patient/", None),
            ("Patient", None),
            ("patient/1", None),
            ("Patient/a b", None),
            ("urn:uuid:0190f5c0-6b1e-8a7b-9c3d-2e4f5a6b7c8d", None),
        ] {
            assert_eq!(named(url), expected, "{url}");
        }
    }
}
