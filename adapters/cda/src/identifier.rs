//! Instance identifiers (II): which system a root is.

use crate::node::Node;
use contract::{Settings, nhs_number};
use mapping::KeyPart;

/// The NHS number's system in FHIR.
pub const NHS_NUMBER: &str = "https://fhir.nhs.uk/Id/nhs-number";

/// Roots that have a system of their own in FHIR. An id of such a root without an extension is a missing value.
const KNOWN: [(&str, &str); 6] = [
    ("2.16.840.1.113883.2.1.4.1", NHS_NUMBER),
    // The same number, not verified (NHS Message Implementation Manual).
    ("2.16.840.1.113883.2.1.3.2.4.18.23", NHS_NUMBER),
    ("2.16.840.1.113883.2.1.3.2.4.19.1", "https://fhir.nhs.uk/Id/ods-organization-code"),
    ("2.16.840.1.113883.2.1.3.2.4.19.2", "https://fhir.nhs.uk/Id/ods-site-code"),
    ("2.16.840.1.113883.4.1", "http://hl7.org/fhir/sid/us-ssn"),
    ("2.16.840.1.113883.4.6", "http://hl7.org/fhir/sid/us-npi"),
];

/// The root of local numbers that all NHS organisations share: the assigner is in assigningAuthorityName.
const SHARED_LOCAL: &str = "2.16.840.1.113883.2.1.3.2.4.18.24";

/// System and value of an id. A root alone is itself the value, of system `urn:ietf:rfc:3986`.
pub fn read(node: &Node<'_>, settings: &Settings) -> Option<KeyPart> {
    let root = node.value("root").map(|root| root.strip_prefix('_').filter(|rest| is_uuid(rest)).unwrap_or(root));
    let name = node.value("assigningAuthorityName");
    let (root, extension) = match (root, node.value("extension")) {
        (Some(root), Some(extension)) => (root, extension),
        (Some(root), None) if known(root, settings).is_none() && root != SHARED_LOCAL => {
            return uri(root).map(|value| KeyPart { system: "urn:ietf:rfc:3986".into(), value });
        }
        (None, Some(extension)) => {
            let system = name.map_or_else(|| settings.own_system("II"), |name| settings.system(name, None));
            return Some(KeyPart { system, value: extension.to_owned() });
        }
        _ => return None,
    };
    let system = if root == SHARED_LOCAL {
        let assigner = name.map(assigner);
        let mapped = assigner.and_then(|assigner| settings.assigners.get(assigner)).cloned();
        mapped.unwrap_or_else(|| settings.own_system(&assigner.map_or_else(|| root.to_owned(), |assigner| format!("{root}:{assigner}"))))
    } else {
        known(root, settings).or_else(|| uri(root)).unwrap_or_else(|| settings.own_system(root))
    };
    // NHS numbers are written in groups of 3, 3 and 4.
    let value = if system == NHS_NUMBER { extension.replace(' ', "") } else { extension.to_owned() };
    Some(KeyPart { system, value })
}

/// The Patient's key (`state.md`, Keys): the id of the feed's primary assigner, else the first whose assigner is known
/// to the feed, an NHS number last, else the first. A placeholder that looks like an NHS number joins nothing.
pub fn patient(role: &Node<'_>, settings: &Settings) -> Option<KeyPart> {
    let ids: Vec<(Node<'_>, KeyPart)> = role.children("id").filter_map(|id| Some((id, read(&id, settings)?))).collect();
    let ids: Vec<_> = ids.into_iter().filter(|(_, part)| part.system != NHS_NUMBER || nhs_number(&part.value).is_some()).collect();
    let is_primary = |(id, part): &&(Node<'_>, KeyPart)| {
        settings.primary_assigner.as_deref().is_some_and(|primary| {
            id.value("root") == Some(primary)
                || id.value("assigningAuthorityName").map(assigner) == Some(primary)
                || settings.assigners.get(primary) == Some(&part.system)
        })
    };
    let is_mapped = |(_, part): &&(Node<'_>, KeyPart)| settings.assigners.values().any(|system| *system == part.system);
    let is_local = |(_, part): &&(Node<'_>, KeyPart)| part.system != NHS_NUMBER;
    let found = ids.iter().find(is_primary);
    let found = found.or_else(|| ids.iter().filter(is_local).find(is_mapped));
    let found = found.or_else(|| ids.iter().find(is_mapped)).or_else(|| ids.iter().find(is_local)).or_else(|| ids.first());
    found.map(|(_, part)| part.clone())
}

/// The code before the colon: `RX8:Yorkshire Ambulance Service`.
fn assigner(name: &str) -> &str {
    name.split(':').next().unwrap_or(name).trim()
}

/// What the feed calls a root, else what the world does.
fn known(root: &str, settings: &Settings) -> Option<String> {
    let own = settings.assigners.get(root).cloned();
    own.or_else(|| KNOWN.iter().find(|(known, _)| *known == root).map(|(_, system)| (*system).to_owned()))
}

/// `urn:oid:` or `urn:uuid:`, whichever a root is.
pub fn uri(root: &str) -> Option<String> {
    if is_oid(root) { Some(format!("urn:oid:{root}")) } else { is_uuid(root).then(|| format!("urn:uuid:{}", root.to_ascii_lowercase())) }
}

fn is_oid(text: &str) -> bool {
    let good = |arc: &str| !arc.is_empty() && arc.bytes().all(|byte| byte.is_ascii_digit()) && (arc == "0" || !arc.starts_with('0'));
    text.starts_with(['0', '1', '2']) && text.contains('.') && text.split('.').all(good)
}

fn is_uuid(text: &str) -> bool {
    let groups = [8, 4, 4, 4, 12];
    let mut found = text.split('-');
    groups
        .iter()
        .all(|length| found.next().is_some_and(|group| group.len() == *length && group.bytes().all(|byte| byte.is_ascii_hexdigit())))
        && found.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xml::Tree;

    fn settings() -> Settings {
        let mut settings = Settings { feed: "docs".into(), ..Settings::demonstration() };
        settings.assigners.insert("RX8".into(), "https://rx8.example/id".into());
        settings.assigners.insert("1.2.3".into(), "https://hospital.example/id".into());
        settings
    }

    fn check(ids: &str, expected: &[&str], key: Option<&str>) {
        let tree = Tree::read(format!("<a xmlns='urn:hl7-org:v3'>{ids}</a>")).unwrap_or_else(|issue| panic!("{issue}"));
        let shown = |part: KeyPart| format!("{}|{}", part.system, part.value);
        let role = Node::new(&tree, 0);
        let found: Vec<String> = role.children("id").map(|id| read(&id, &settings()).map(shown).unwrap_or_default()).collect();
        assert_eq!(found, expected, "{ids}");
        assert_eq!(patient(&role, &settings()).map(shown).as_deref(), key, "{ids}");
    }

    #[test]
    fn roots_become_systems() {
        let one = |id: &str, expected: &str| check(id, &[expected], (!expected.is_empty()).then_some(expected));
        one("<id root='1.2.3' extension='7'/>", "https://hospital.example/id|7");
        one("<id root='1.2.4' extension='7'/>", "urn:oid:1.2.4|7");
        one("<id root='1.2.4'/>", "urn:ietf:rfc:3986|urn:oid:1.2.4");
        one("<id root='A709A442-3CF4-476E-8377-376500E829C9'/>", "urn:ietf:rfc:3986|urn:uuid:a709a442-3cf4-476e-8377-376500e829c9");
        one("<id root='_A709A442-3CF4-476E-8377-376500E829C9' extension='x'/>", "urn:uuid:a709a442-3cf4-476e-8377-376500e829c9|x");
        one("<id root='2.16.840.1.113883.4.6' extension='123'/>", "http://hl7.org/fhir/sid/us-npi|123");
        one("<id root='2.16.840.1.113883.4.6'/>", "");
        one("<id nullFlavor='UNK'/>", "");
        one("<id extension='7'/>", "urn:landbridge:docs:II|7");
        one("<id extension='7' assigningAuthorityName='RX8'/>", "https://rx8.example/id|7");
        one("<id root='LOCAL' extension='7'/>", "urn:landbridge:docs:LOCAL|7");
        one("<id root='2.16.840.1.113883.2.1.3.2.4.18.24' extension='7' assigningAuthorityName='RX8:North'/>", "https://rx8.example/id|7");
        one(
            "<id root='2.16.840.1.113883.2.1.3.2.4.18.24' extension='7' assigningAuthorityName='RX9:South'/>",
            "urn:landbridge:docs:2.16.840.1.113883.2.1.3.2.4.18.24:RX9|7",
        );
        one("<id root='2.16.840.1.113883.2.1.4.1' extension='943 476 5919'/>", "https://fhir.nhs.uk/Id/nhs-number|9434765919");
    }

    #[test]
    fn the_patients_key_is_local_before_national_and_never_a_placeholder() {
        let nhs = "<id root='2.16.840.1.113883.2.1.4.1' extension='9434765919'/>";
        let nhs_shown = "https://fhir.nhs.uk/Id/nhs-number|9434765919";
        check(&format!("{nhs}<id root='1.9' extension='5'/>"), &[nhs_shown, "urn:oid:1.9|5"], Some("urn:oid:1.9|5"));
        check(
            &format!("{nhs}<id root='1.9' extension='5'/><id root='1.2.3' extension='6'/>"),
            &[nhs_shown, "urn:oid:1.9|5", "https://hospital.example/id|6"],
            Some("https://hospital.example/id|6"),
        );
        for placeholder in ["9999999999", "3333333333", "9434765918", "123", "@@number@@"] {
            let shown = format!("https://fhir.nhs.uk/Id/nhs-number|{placeholder}");
            check(&format!("<id root='2.16.840.1.113883.2.1.4.1' extension='{placeholder}'/>"), &[&shown], None);
        }
    }
}
