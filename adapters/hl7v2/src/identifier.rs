//! Identifiers: which component holds the value, and which system its assigner stands for.

use crate::keys;
use crate::node::Node;
use contract::{Settings, nhs_number};
use mapping::KeyPart;
use std::borrow::Cow;

pub(crate) const NHS_NUMBER: &str = "https://fhir.nhs.uk/Id/nhs-number";
const CHI: &str = "urn:oid:2.16.840.1.113883.2.1.3.2.4.16.53";
const GMC: &str = "https://fhir.hl7.org.uk/Id/gmc-number";
const GMP: &str = "https://fhir.hl7.org.uk/Id/gmp-number";
const NPI: &str = "http://hl7.org/fhir/sid/us-npi";
const RFC3986: &str = "urn:ietf:rfc:3986";

/// Data types that hold an identifier.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Cx,
    Ei,
    Xcn,
    Xon,
    Hd,
    Ndl,
}

impl Kind {
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "CX" => Kind::Cx,
            "EI" => Kind::Ei,
            "XCN" => Kind::Xcn,
            "XON" => Kind::Xon,
            "HD" => Kind::Hd,
            "NDL" => Kind::Ndl,
            _ => return None,
        })
    }
}

/// A hierarchic designator: namespace, universal id and its type.
#[derive(Default, PartialEq, Eq)]
pub(crate) struct Assigner<'m> {
    pub name: Cow<'m, str>,
    pub id: Cow<'m, str>,
    pub id_type: Cow<'m, str>,
}

impl<'m> Assigner<'m> {
    fn read(node: &Node<'m>, parts: [&str; 3]) -> Self {
        let [name, id, id_type] = parts.map(|part| text(node, part).unwrap_or_default());
        Self { name, id, id_type }
    }

    /// Whether the feed's settings name it.
    fn is_mapped(&self, settings: &Settings) -> bool {
        settings.assigners.contains_key(&*self.name) || settings.assigners.contains_key(&*self.id)
    }

    pub fn is_primary(&self, settings: &Settings) -> bool {
        settings.primary_assigner.as_deref().is_some_and(|primary| primary == self.name || primary == self.id)
    }

    /// The identifier system that it stands for (`state.md`, Keys and ids); `None` where it names nobody.
    fn system(&self, settings: &Settings) -> Option<String> {
        let uri = self.uri();
        if let (Some(uri), false) = (&uri, self.is_oid()) {
            return Some(settings.assigners.get(&*self.id).cloned().unwrap_or_else(|| uri.clone()));
        }
        if uri.is_some() {
            return Some(settings.system(&self.name, Some(&self.id)));
        }
        let name = if self.name.is_empty() { &self.id } else { &self.name };
        (!name.is_empty()).then(|| settings.system(name, None))
    }

    /// The system that the feed's settings give to its numbers of this type (`RXX:VN`), or in this field (`RXX:OBR-3`).
    fn narrower(&self, number_type: &str, node: &Node<'_>, settings: &Settings) -> Option<String> {
        let of = |name: &str| {
            let prefix = format!("{name}:");
            let (next, _) = settings.assigners.range(prefix.clone()..).next()?;
            if name.is_empty() || !next.starts_with(&prefix) {
                return None;
            }
            let named = |what: &str| settings.assigners.get(&format!("{prefix}{what}")).cloned();
            named(number_type).or_else(|| named(of_the_same(&field(node))))
        };
        of(&self.name).or_else(|| of(&self.id))
    }

    fn is_oid(&self) -> bool {
        is_oid(&self.id) && matches!(&*self.id_type, "" | "ISO")
    }

    /// The universal id as a URI, where it is one.
    pub fn uri(&self) -> Option<String> {
        match &*self.id_type {
            _ if self.id.is_empty() => None,
            "" | "ISO" if is_oid(&self.id) => Some(format!("urn:oid:{}", self.id)),
            "UUID" | "GUID" => Some(format!("urn:uuid:{}", self.id.to_ascii_lowercase())),
            // The feeds' own namespaces are nobody's to state.
            "URI" | "URL" if !self.id.contains(char::is_whitespace) && !self.id.starts_with("urn:landbridge:") => Some(self.id.to_string()),
            _ => None,
        }
    }
}

/// The text of a component below a node, or of the node itself (`.`).
pub(crate) fn text<'m>(node: &Node<'m>, part: &str) -> Option<Cow<'m, str>> {
    let text = node.first(part)?.text()?;
    match text.trim().len() {
        0 => None,
        length if length == text.len() => Some(text),
        _ => Some(Cow::Owned(text.trim().to_owned())),
    }
}

/// Where a type holds its assigner: namespace, universal id and its type.
pub(crate) fn assigner_parts(kind: Kind) -> [&'static str; 3] {
    match kind {
        Kind::Cx => ["4.1", "4.2", "4.3"],
        Kind::Ei => ["2", "3", "4"],
        Kind::Xcn => ["9.1", "9.2", "9.3"],
        Kind::Xon => ["6.1", "6.2", "6.3"],
        Kind::Hd => ["1", "2", "3"],
        Kind::Ndl => ["1.9", "1.10", "1.11"],
    }
}

pub(crate) fn assigner<'m>(kind: Kind, node: &Node<'m>) -> Assigner<'m> {
    Assigner::read(node, assigner_parts(kind))
}

/// System and value; `None` without a value, and for numbers that stand for nobody.
pub fn read(kind: Kind, node: &Node<'_>, settings: &Settings) -> Option<KeyPart> {
    let assigner = assigner(kind, node);
    match kind {
        Kind::Cx => {
            let value = text(node, "1")?;
            Some(patient_number(&value, &assigner, &text(node, "5").unwrap_or_default(), node, settings))
        }
        Kind::Ei => {
            let value = text(node, "1")?;
            let system = assigner.narrower("", node, settings).or_else(|| assigner.system(settings));
            let system = system.unwrap_or_else(|| settings.own_system(&field(node)));
            Some(KeyPart { system, value: value.into_owned() })
        }
        Kind::Xcn => {
            let value = text(node, "1")?;
            staff_number(&value, &assigner, &text(node, "13").unwrap_or_default(), settings)
        }
        Kind::Ndl => {
            let value = text(node, "1.1")?;
            staff_number(&value, &assigner, "", settings)
        }
        Kind::Xon => {
            let value = text(node, "10").or_else(|| text(node, "3"))?;
            let system = assigner.system(settings).unwrap_or_else(|| settings.own_system("organization"));
            Some(KeyPart { system, value: value.into_owned() })
        }
        Kind::Hd => match assigner.uri() {
            Some(uri) => Some(KeyPart { system: RFC3986.into(), value: uri }),
            None => {
                let value = if assigner.name.is_empty() { &assigner.id } else { &assigner.name };
                (!value.is_empty()).then(|| KeyPart { system: settings.own_system("HD"), value: value.to_string() })
            }
        },
    }
}

/// A CX: the UK's national numbers are told by assigner or type, whether or not the feed maps them.
fn patient_number(value: &str, assigner: &Assigner<'_>, number_type: &str, node: &Node<'_>, settings: &Settings) -> KeyPart {
    let mapped = assigner.is_mapped(settings).then(|| assigner.system(settings)).flatten();
    let mapped = assigner.narrower(number_type, node, settings).or(mapped);
    let system = match mapped {
        Some(system) => Some(system),
        None if assigner.name.contains("CHI") && matches!(number_type, "NH" | "CHI") => Some(CHI.to_owned()),
        None if matches!(&*assigner.name, "NHS" | "NHSNBR") || matches!(number_type, "NH" | "NHSNMBR" | "NHSNBR") => {
            Some(NHS_NUMBER.to_owned())
        }
        None => assigner.system(settings),
    };
    let system = system.unwrap_or_else(|| unassigned(node, value, settings));
    if system != NHS_NUMBER {
        return KeyPart { system, value: value.to_owned() };
    }
    match nhs_number(value) {
        Some(value) => KeyPart { system, value },
        None => KeyPart { system: settings.own_system("NHS"), value: value.to_owned() },
    }
}

/// The system of a number whose assigner is not told: its field's own. MRG-1 names what PID-3 named before: a bare
/// number there is one of the assigner of the surviving number, else what a bare PID-3 is.
fn unassigned(node: &Node<'_>, value: &str, settings: &Settings) -> String {
    let field = field(node);
    if field != "MRG-1" {
        return settings.own_system(&field);
    }
    let survivor = keys::patient(node, settings).map(|part| part.system);
    let is_of = |system: &String| *system != NHS_NUMBER || nhs_number(value).is_some();
    survivor.filter(is_of).unwrap_or_else(|| settings.own_system("PID-3"))
}

/// A practitioner's number. UK: C and 7 digits is a consultant's GMC number, G and 7 digits a GP's, whatever its
/// assigner says; placeholders stand for nobody.
fn staff_number(value: &str, assigner: &Assigner<'_>, number_type: &str, settings: &Settings) -> Option<KeyPart> {
    let digits = |text: &str| text.len() == 7 && text.bytes().all(|byte| byte.is_ascii_digit());
    let british = matches!(&*assigner.name, "GMC" | "GMP" | "NHS") || matches!(number_type, "GMC" | "GMP");
    let system = match (value.get(..1), value.get(1..)) {
        _ if matches!(value, "C9999998" | "G9999998" | "V81999" | "G9999981") && british => return None,
        (Some("C"), Some(rest)) if british && digits(rest) => Some(GMC.to_owned()),
        (Some("G"), Some(rest)) if british && digits(rest) => Some(GMP.to_owned()),
        _ => assigner.system(settings),
    };
    let system = system.unwrap_or_else(|| if number_type == "NPI" { NPI.to_owned() } else { settings.own_system("staff") });
    Some(KeyPart { system, value: value.to_owned() })
}

/// What PID-19 and its like hold: a number of the US social security, a national number of the UK that is sent there by a
/// feed which has one, or neither.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Social {
    Security,
    National(String),
    Other,
}

pub(crate) fn social(value: &str, settings: &Settings) -> Social {
    let digits = value.bytes().filter(u8::is_ascii_digit).count();
    if digits == 9 && value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') {
        return Social::Security;
    }
    let is_national = settings.assigners.values().any(|system| system == NHS_NUMBER);
    nhs_number(value).filter(|_| is_national).map_or(Social::Other, Social::National)
}

/// The field that leads where several hold numbers of one kind.
fn of_the_same(field: &str) -> &str {
    match field {
        "PID-2" | "PID-4" | "MRG-1" | "MRG-4" => "PID-3",
        "MRG-3" => "PID-18",
        "PV1-50" | "MRG-5" | "MRG-6" => "PV1-19",
        "ORC-2" => "OBR-2",
        "ORC-3" => "OBR-3",
        "OBX-33" => "SPM-2",
        other => other,
    }
}

/// `PV1-19`: the field that a node stands in.
fn field(node: &Node<'_>) -> String {
    let place = node.place();
    let (segment, rest) = place.split_once('-').unwrap_or((&place, ""));
    let segment = segment.split('[').next().unwrap_or(segment);
    let number = rest.split(['.', '[']).next().unwrap_or(rest);
    format!("{segment}-{number}")
}

pub(crate) fn is_oid(text: &str) -> bool {
    text.contains('.')
        && text.split('.').all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
        && text.starts_with(['0', '1', '2'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::er7::Message;
    use crate::structure::Structures;

    #[test]
    fn social_numbers_are_nine_digits() {
        let without = Settings::demonstration();
        let mut with = Settings::demonstration();
        with.assigners.insert("NHS".into(), NHS_NUMBER.into());
        for (value, expected) in [
            ("987-65-4320", Social::Security),
            ("987654320", Social::Security),
            ("98765432", Social::Other),
            ("98765432A", Social::Other),
            ("943 476 5919", Social::National("9434765919".into())),
            ("9434765918", Social::Other),
        ] {
            assert_eq!(social(value, &with), expected, "{value}");
        }
        assert_eq!(social("9434765919", &without), Social::Other);
    }

    fn settings() -> Settings {
        let mut settings = Settings::demonstration();
        for (name, system) in [("RXX", "mrn"), ("RXX:VN", "visit"), ("RYY:PID-3", "in-pid-3")] {
            settings.assigners.insert(name.into(), format!("https://hospital.example/id/{system}"));
        }
        settings
    }

    fn check(kind: &str, field: &str, expected: Option<(&str, &str)>) {
        let text = format!("MSH|^~\\&|||||||ADT^A01\rPID|||{field}\r");
        let message = Message::parse(text.as_bytes(), None, &Structures::flat()).unwrap();
        let node = message.root().first("PID-3").unwrap();
        let found = read(Kind::named(kind).unwrap(), &node, &settings());
        assert_eq!(found.as_ref().map(|part| (&*part.system, &*part.value)), expected, "{kind} {field}");
    }

    #[test]
    fn systems_of_assigners() {
        check("CX", "7^^^RXX^MR", Some(("https://hospital.example/id/mrn", "7")));
        check("CX", "7^^^ABC&1.2.3&ISO^MR", Some(("urn:oid:1.2.3", "7")));
        check("CX", "7^^^ABC&lab.example&DNS^MR", Some(("urn:landbridge:convert:ABC", "7")));
        check("CX", "7^^^&AB-12&UUID", Some(("urn:uuid:ab-12", "7")));
        check("CX", "7", Some(("urn:landbridge:convert:PID-3", "7")));
        check("CX", "^^^RXX", None);
        check("CX", "9434765919^^^NHS", Some((NHS_NUMBER, "9434765919")));
        check("CX", "9434765919^^^^NH", Some((NHS_NUMBER, "9434765919")));
        check("CX", "9434765919^^^NHSNBR^NHSNMBR", Some((NHS_NUMBER, "9434765919")));
        check("CX", "0101010010^^^CHI^NH", Some((CHI, "0101010010")));
        check("CX", "9999999999^^^NHS", Some(("urn:landbridge:convert:NHS", "9999999999")));
        check("XCN", "C1234567^Test^Ann^^^^^^GMC", Some((GMC, "C1234567")));
        check("XCN", "G1234567^Test^Ann^^^^^^GMC", Some((GMP, "G1234567")));
        check("XCN", "C9999998^^^^^^^^GMC", None);
        check("XCN", "C1234567^Test", Some(("urn:landbridge:convert:staff", "C1234567")));
        check("XCN", "1234567893^Test^^^^^^^^^^^NPI", Some((NPI, "1234567893")));
        check("XON", "Ward^^9^^^ABC&1.2&ISO^^^^77", Some(("urn:oid:1.2", "77")));
        check("HD", "LAB^1.2.3^ISO", Some(("urn:ietf:rfc:3986", "urn:oid:1.2.3")));
        check("HD", "LAB", Some(("urn:landbridge:convert:HD", "LAB")));
        check("EI", "12^PLACER", Some(("urn:landbridge:convert:PLACER", "12")));
        check("CX", "7^^^RXX^VN", Some(("https://hospital.example/id/visit", "7")));
        check("CX", "7^^^&RXX&L^VN", Some(("https://hospital.example/id/visit", "7")));
        check("EI", "7^RYY", Some(("https://hospital.example/id/in-pid-3", "7")));
        check("EI", "7^RXX", Some(("https://hospital.example/id/mrn", "7")));
    }
}
