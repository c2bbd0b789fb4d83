//! A made-up day in a made-up hospital. All names, numbers and places are invented; the NHS numbers are of the range 999,
//! which is never given to anyone.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// Which door a message takes, and what the gateway should make of it.
pub struct Sent {
    /// The name of its file, and of the message in what is printed.
    pub name: &'static str,
    /// What happens at the hospital.
    pub tale: &'static str,
    /// The client whose certificate is shown.
    pub client: &'static str,
    pub bytes: Vec<u8>,
    pub expected: Expected,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// An acknowledgement with this code.
    Acknowledged(&'static str),
    /// A negative one, with whichever code the sender's standard has for it.
    Refused,
    /// The reply to the message of this name, once more.
    SameAs(&'static str),
}

pub const NHS_SYSTEM: &str = "https://fhir.nhs.uk/Id/nhs-number";

pub struct Person {
    pub number: &'static str,
    pub nhs: &'static str,
    pub family: &'static str,
    given: &'static str,
    title: &'static str,
    born: &'static str,
    sex: &'static str,
}

/// Whose day it is.
pub const MARIGOLD: Person =
    Person { number: "4100017", nhs: "9991230017", family: "Thistlewick", given: "Marigold", title: "Mrs", born: "19580412", sex: "F" };
/// The same woman, registered a second time by mistake.
pub const MARIGOLD_AGAIN: Person = Person { number: "4100099", nhs: "", ..MARIGOLD };
/// Another patient.
pub const BARNABY: Person =
    Person { number: "4100025", nhs: "9994560018", family: "Ploverdale", given: "Barnaby", title: "Mr", born: "19711130", sex: "M" };

/// The day before `now`, hour by hour, in the order in which the messages are sent.
pub fn messages(now: Timestamp) -> Vec<Sent> {
    use Expected::{Acknowledged, Refused, SameAs};
    let day = Day::before(now);
    let sent = |name, tale, client, bytes, expected| Sent { name, tale, client, bytes, expected };
    let stay = |ward: &str, left: &str| visit(ward, &day.at("0930"), left);
    let result = |control, at: &str, status, value| day.oru(control, at, &MARIGOLD, status, value);
    let admission = day.adt("A01", "PAS0003", "0930", &MARIGOLD, "12 Sedge Row", &[&stay("AMBER", "")]);
    vec![
        sent(
            "01-A28",
            "Marigold Thistlewick is registered",
            "pas",
            day.adt("A28", "PAS0001", "0800", &MARIGOLD, "12 Sedge Row", &[KIN]),
            Acknowledged("AA"),
        ),
        sent(
            "02-A28",
            "Barnaby Ploverdale is registered",
            "pas",
            day.adt("A28", "PAS0002", "0815", &BARNABY, "3 Heron Quay", &[]),
            Acknowledged("AA"),
        ),
        sent("03-A01", "Marigold is admitted to ward AMBER", "pas", admission.clone(), Acknowledged("AA")),
        sent(
            "04-A08",
            "she has moved house",
            "pas",
            day.adt("A08", "PAS0004", "1010", &MARIGOLD, "7 Alder Mews", &[&stay("AMBER", "")]),
            Acknowledged("AA"),
        ),
        sent("05-ORU", "the laboratory: potassium 6.30, preliminary", "lab", result("LAB0001", "1105", "P", "6.30"), Acknowledged("AA")),
        sent("06-ORU", "potassium 6.30, final", "lab", result("LAB0002", "1140", "F", "6.30"), Acknowledged("AA")),
        sent(
            "07-A03",
            "she goes home from ward BIRCH",
            "pas",
            day.adt("A03", "PAS0006", "1630", &MARIGOLD, "7 Alder Mews", &[&stay("BIRCH", &day.at("1630"))]),
            Acknowledged("AA"),
        ),
        sent(
            "08-A02-late",
            "her move to ward BIRCH at 13:00 is told only now",
            "pas",
            day.adt("A02", "PAS0005", "1300", &MARIGOLD, "7 Alder Mews", &[&stay("BIRCH", "")]),
            Acknowledged("AA"),
        ),
        sent(
            "09-ORU-corrected",
            "the laboratory corrects: potassium 5.10",
            "lab",
            result("LAB0003", "1715", "C", "5.10"),
            Acknowledged("AA"),
        ),
        sent(
            "10-A28",
            "Marigold is registered again, by mistake",
            "pas",
            day.adt("A28", "PAS0007", "1730", &MARIGOLD_AGAIN, "7 Alder Mews", &[]),
            Acknowledged("AA"),
        ),
        sent(
            "11-A40",
            "the second number is merged into the first",
            "pas",
            day.merge("PAS0008", "1745", &MARIGOLD, MARIGOLD_AGAIN.number),
            Acknowledged("AA"),
        ),
        sent("12-A01-duplicate", "the admission is sent again, byte for byte", "pas", admission, SameAs("03-A01")),
        sent("13-malformed", "a message whose head was cut off", "pas", b"PID|1||4100017^^^RXX^MR\r".to_vec(), Refused),
        sent(
            "14-forbidden",
            "the laboratory sends an admission: it may not",
            "lab",
            day.adt("A01", "LAB0004", "1800", &BARNABY, "3 Heron Quay", &[&visit("AMBER", &day.at("1800"), "")]),
            Acknowledged("AR"),
        ),
    ]
}

/// The letter that goes to her doctor: a CDA document.
pub fn document(now: Timestamp) -> Vec<u8> {
    let at = Day::before(now).at("1900");
    let Person { number, nhs, family, given, born, sex, .. } = MARIGOLD;
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<ClinicalDocument xmlns="urn:hl7-org:v3" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
  <typeId root="2.16.840.1.113883.1.3" extension="POCD_HD000040"/>
  <id root="2.999.1.5" extension="LETTER-1"/>
  <code code="18842-5" codeSystem="2.16.840.1.113883.6.1" displayName="Discharge summary"/>
  <title>Discharge summary</title>
  <effectiveTime value="{at}+0000"/>
  <confidentialityCode code="N" codeSystem="2.16.840.1.113883.5.25"/>
  <languageCode code="en-GB"/>
  <setId root="2.999.1.5" extension="LETTER"/>
  <versionNumber value="1"/>
  <recordTarget>
    <patientRole>
      <id root="2.999.1" extension="{number}"/>
      <id root="2.16.840.1.113883.2.1.4.1" extension="{nhs}"/>
      <patient>
        <name><given>{given}</given><family>{family}</family></name>
        <administrativeGenderCode code="{sex}" codeSystem="2.16.840.1.113883.5.1"/>
        <birthTime value="{born}"/>
      </patient>
    </patientRole>
  </recordTarget>
  <author>
    <time value="{at}+0000"/>
    <assignedAuthor>
      <id root="2.999.1.7" extension="D77"/>
      <assignedPerson><name><prefix>Dr</prefix><given>Cosima</given><family>Wrenfield</family></name></assignedPerson>
    </assignedAuthor>
  </author>
  <custodian>
    <assignedCustodian>
      <representedCustodianOrganization><id root="2.999.1"/><name>Sedgemoor Hospital</name></representedCustodianOrganization>
    </assignedCustodian>
  </custodian>
  <component>
    <structuredBody>
      <component><section><title>Summary</title><text>Potassium was high on admission and fell. Home in good health.</text></section></component>
    </structuredBody>
  </component>
</ClinicalDocument>
"#
    )
    .into_bytes()
}

const KIN: &str = "NK1|1|Thistlewick^Horatio^^^Mr|SPO^Spouse^HL70063|12 Sedge Row^^Sedgemoor^^ZZ99 3VZ^GBR|01632960111";

/// One calendar day in London.
struct Day(String);

impl Day {
    /// Yesterday: no stamp of it lies ahead of anyone's clock.
    fn before(now: Timestamp) -> Self {
        let zone = TimeZone::get("Europe/London").unwrap_or(TimeZone::UTC);
        let date = zone.to_datetime(now - SignedDuration::from_hours(24)).date();
        Self(date.strftime("%Y%m%d").to_string())
    }

    /// A stamp of this day, to the minute of `HHMM`.
    fn at(&self, time: &str) -> String {
        format!("{}{time}00", self.0)
    }

    fn head(&self, application: &str, time: &str, kind: &str, control: &str) -> String {
        format!("MSH|^~\\&|{application}|RXX|LANDBRIDGE|RXX|{}||{kind}|{control}|P|2.5.1||||||UNICODE UTF-8", self.at(time))
    }

    fn adt(&self, event: &str, control: &str, time: &str, person: &Person, line: &str, rest: &[&str]) -> Vec<u8> {
        let structure = match event {
            "A08" => "A01",
            "A28" => "A05",
            own => own,
        };
        let mut segments = vec![
            self.head("PAS", time, &format!("ADT^{event}^ADT_{structure}"), control),
            format!("EVN|{event}|{}", self.at(time)),
            pid(person, line),
        ];
        segments.extend(rest.iter().map(|segment| (*segment).to_owned()));
        finish(&segments)
    }

    fn merge(&self, control: &str, time: &str, survivor: &Person, loser: &str) -> Vec<u8> {
        finish(&[
            self.head("PAS", time, "ADT^A40^ADT_A39", control),
            format!("EVN|A40|{}", self.at(time)),
            pid(survivor, "7 Alder Mews"),
            format!("MRG|{loser}^^^RXX^MR"),
        ])
    }

    fn oru(&self, control: &str, time: &str, person: &Person, status: &str, value: &str) -> Vec<u8> {
        let (taken, reported) = (self.at("1015"), self.at(time));
        finish(&[
            self.head("LAB", time, "ORU^R01^ORU_R01", control),
            pid(person, "7 Alder Mews"),
            "ORC|RE|ORD5150^PAS|LAB8899^LAB".to_owned(),
            format!(
                "OBR|1|ORD5150^PAS|LAB8899^LAB|24326-1^Electrolytes 1998 panel - Serum or Plasma^LN|||{taken}|||||||||C5550001^Wrenfield^Cosima^^^Dr||||||{reported}|||{status}"
            ),
            format!("OBX|1|NM|2823-3^Potassium [Moles/volume] in Serum or Plasma^LN||{value}|mmol/L|3.5-5.3|H|||{status}|||{taken}"),
        ])
    }
}

fn pid(person: &Person, line: &str) -> String {
    let Person { number, nhs, family, given, title, born, sex } = person;
    let nhs = if nhs.is_empty() { String::new() } else { format!("~{nhs}^^^NHS^NH") };
    format!("PID|1||{number}^^^RXX^MR{nhs}||{family}^{given}^^^{title}||{born}|{sex}|||{line}^^Sedgemoor^^ZZ99 3VZ^GBR||01632960222")
}

/// PV1 of the one stay: an inpatient on a ward; `left` is the stamp of the discharge, or empty.
fn visit(ward: &str, came: &str, left: &str) -> String {
    let mut fields = vec![String::new(); 46];
    fields[0] = "PV1".into();
    fields[1] = "1".into();
    fields[2] = "I".into();
    fields[3] = format!("{ward}^BAY2^4^RXX");
    fields[7] = "C5550001^Wrenfield^Cosima^^^Dr".into();
    fields[19] = "V70001^^^RXX^VN".into();
    fields[44] = came.into();
    fields[45] = left.into();
    fields.join("|").trim_end_matches('|').to_owned()
}

fn finish(segments: &[String]) -> Vec<u8> {
    let mut text = segments.join("\r");
    text.push('\r');
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_nhs_numbers_are_valid_and_nobodys() {
        for person in [&MARIGOLD, &BARNABY] {
            assert!(person.nhs.starts_with("999"));
            assert!(contract::nhs_number(person.nhs).is_some(), "{}", person.nhs);
        }
    }

    #[test]
    fn the_day_is_the_same_for_the_same_time_and_lies_in_the_past() {
        let now = "2026-03-02T07:00:00Z".parse().unwrap();
        let (one, two) = (messages(now), messages(now));
        assert!(one.iter().zip(&two).all(|(one, two)| one.bytes == two.bytes));
        let names: BTreeSet<&str> = one.iter().map(|sent| sent.name).collect();
        assert_eq!(names.len(), one.len());
        assert!(one.iter().filter_map(|sent| std::str::from_utf8(&sent.bytes).ok()).all(|text| !text.contains("20260302")));
        assert_eq!(Day::before(now).at("0930"), "20260301093000");
    }
}
