use crate::{Class, IdKey, Key};
use std::collections::{BTreeMap, BTreeSet};

/// Resources that carry a person's record: a feed speaks of those alone whose assigner is its own, or is refused.
const OF_A_PERSON: [&str; 3] = ["Patient", "Encounter", "DiagnosticReport"];

/// Resources that feeds only mention, and have in common.
const DIRECTORY: [&str; 5] = ["Practitioner", "PractitionerRole", "Organization", "Location", "Device"];

/// What a feed's configuration says that bears on translation. Part of the recipe: other settings, another translation.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The feed's name in the configuration.
    pub feed: String,
    /// Key of resource ids.
    pub id_key: IdKey,
    /// Base of fullUrls, without a slash at the end.
    pub base_url: String,
    /// Zone of stamps that state none.
    pub timezone: jiff::tz::TimeZone,
    /// Name of the assigner (HD.1, OID or root) whose identifier is the Patient's key.
    pub primary_assigner: Option<String>,
    /// Assigner (HD.1, OID or root, as the sender writes it) to identifier system; in HL7 v2 also `ASSIGNER:TYPE` (CX.5) and
    /// `ASSIGNER:FIELD`, which go before.
    pub assigners: BTreeMap<String, String>,
    /// Resource types where this feed outranks others.
    pub owns: BTreeSet<String>,
    /// Where the sender counts its messages; else control ids do not rank.
    pub sequence: Option<Sequence>,
    /// Assigners of visit numbers, first wins, where the scheme changes within a stay.
    pub visit_assigners: Vec<String>,
    /// Character set (a name of HL7 table 0211, or an IANA name) of messages that declare none.
    pub character_set: Option<String>,
}

/// Which counter of the sender ranks its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sequence {
    /// MSH-10, as a number.
    ControlId,
    /// MSH-13.
    Msh13,
}

impl Settings {
    /// What `convert` uses without a configuration: the published key, UTC, no assigners.
    pub fn demonstration() -> Self {
        Self {
            feed: "convert".into(),
            id_key: IdKey::demonstration(),
            base_url: "https://landbridge.example/fhir".into(),
            timezone: jiff::tz::TimeZone::UTC,
            primary_assigner: None,
            assigners: BTreeMap::new(),
            owns: BTreeSet::new(),
            sequence: None,
            visit_assigners: Vec::new(),
            character_set: None,
        }
    }

    /// Identifier system of an assigner: the table by OID, else `urn:oid:`, else the table by name, else
    /// `urn:landbridge:FEED:NAME` (percent-encoded where a URI needs it).
    pub fn system(&self, name: &str, oid: Option<&str>) -> String {
        if let Some(oid) = oid.filter(|oid| !oid.is_empty()) {
            return self.assigners.get(oid).cloned().unwrap_or_else(|| format!("urn:oid:{oid}"));
        }
        self.assigners.get(name).cloned().unwrap_or_else(|| self.own_system(name))
    }

    /// The system of what this feed names without a known assigner: `urn:landbridge:FEED:NAME`.
    pub fn own_system(&self, name: &str) -> String {
        let mut system = format!("urn:landbridge:{}:", self.feed);
        for byte in name.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b':' => system.push(char::from(byte)),
                _ => system.push_str(&format!("%{byte:02X}")),
            }
        }
        system
    }

    /// Whether the feed may speak of a resource of this key: an assigner of its own, or its own namespace.
    pub fn speaks_for(&self, key: &Key) -> bool {
        self.assigners.values().any(|system| **system == *key.system)
            || key
                .system
                .strip_prefix("urn:landbridge:")
                .and_then(|rest| rest.strip_prefix(self.feed.as_str()))
                .is_some_and(|rest| rest.starts_with(':'))
    }

    /// The key under which this feed's word of a resource stands. By an assigner that is not its own a feed cannot touch
    /// what others say: its word stands in its own namespace. Keys of a person's record stay where they are, so that
    /// `admit` can refuse them; those of a directory stay, because there many feeds speak of one and the same.
    pub fn own_key(&self, key: Key, class: Class) -> Key {
        let is_refused = class == Class::Record && OF_A_PERSON.contains(&&*key.kind);
        if is_refused || self.speaks_for(&key) || DIRECTORY.contains(&&*key.kind) {
            return key;
        }
        Key { system: self.own_system(&key.system).into(), ..key }
    }

    /// `Type/id` of a key.
    pub fn reference(&self, key: &Key) -> String {
        format!("{}/{}", key.kind, self.id_key.id(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_a_feeds_own_stands_in_its_namespace() {
        let mut settings = Settings { feed: "lab".into(), ..Settings::demonstration() };
        settings.assigners.insert("RXX".into(), "https://rxx.example/mrn".into());
        for (kind, system, expected) in [
            ("Observation", "https://rxx.example/mrn", "https://rxx.example/mrn"),
            ("Observation", "urn:landbridge:lab:OBX", "urn:landbridge:lab:OBX"),
            ("Observation", "urn:oid:1.2.3", "urn:landbridge:lab:urn:oid:1.2.3"),
            ("Observation", "urn:landbridge:lab2:OBX", "urn:landbridge:lab:urn:landbridge:lab2:OBX"),
            ("DocumentReference", "https://a b", "urn:landbridge:lab:https:%2F%2Fa%20b"),
            ("Patient", "urn:oid:1.2.3", "urn:oid:1.2.3"),
            ("Practitioner", "urn:oid:1.2.3", "urn:oid:1.2.3"),
        ] {
            let key = settings.own_key(Key::new(kind, system, "7"), Class::Record);
            assert_eq!((&*key.kind, &*key.system, &*key.value), (kind, expected, "7"));
        }
        // A visit that a laboratory names in passing is another's too.
        let key = settings.own_key(Key::new("Encounter", "urn:oid:1.2.3", "7"), Class::Mention);
        assert_eq!(&*key.system, "urn:landbridge:lab:urn:oid:1.2.3");
    }
}
