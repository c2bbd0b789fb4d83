//! HL7 v2 against HL7 v2: each valued component, in the words of the message that it is in; separators, escapes and character set
//! may differ. Segments of one name are paired in their order.

use super::Said;
use contract::Issue;
use hl7v2::charset::{self, Decoded};
use hl7v2::er7::Delimiters;
use hl7v2::escape::unescape;
use std::collections::BTreeMap;

/// Segment, which of its name, field, repetition, component, subcomponent.
type Place = (String, usize, usize, usize, usize, usize);

/// Both messages, component by component. `Err`: which one is no HL7 v2, and why.
pub fn compare(ours: &[u8], theirs: &[u8]) -> Result<Vec<Said>, (Side, Issue)> {
    let mut ours = valued(ours).map_err(|issue| (Side::Ours, issue))?;
    let mut theirs = valued(theirs).map_err(|issue| (Side::Theirs, issue))?;
    let mut places: Vec<Place> = ours.keys().chain(theirs.keys()).cloned().collect();
    places.sort();
    places.dedup();
    let said = |place: Place| Said { ours: ours.remove(&place), theirs: theirs.remove(&place), element: element(&place) };
    Ok(places.into_iter().map(said).collect())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Ours,
    Theirs,
}

/// `PID-5.1`; a subcomponent beyond the first is named, the first is the component's own.
fn element((segment, _, field, _, component, subcomponent): &Place) -> String {
    let component = format!("{segment}-{field}.{component}");
    if *subcomponent == 1 { component } else { format!("{component}.{subcomponent}") }
}

/// What stands in a message.
fn valued(bytes: &[u8]) -> Result<BTreeMap<Place, String>, Issue> {
    let Decoded { text, charset, .. } = charset::decode(bytes, None);
    let delimiters = Delimiters::of(&text)?;
    let (mut found, mut count) = (BTreeMap::new(), BTreeMap::<&str, usize>::new());
    for line in text.split(['\r', '\n']).filter(|line| !line.is_empty()) {
        let mut fields = line.split(char::from(delimiters.field));
        // A line that breaks a free text is no segment, and its words are a patient's: they are no name to be shown.
        let is_name = |name: &&str| name.len() == 3 && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
        let segment = fields.next().filter(is_name).unwrap_or("???");
        let occurrence = count.entry(segment).and_modify(|count| *count += 1).or_insert(1);
        // MSH-1 is the separator itself, and MSH-2 the others.
        let (first, passed_over) = if segment == "MSH" { (2, 1) } else { (1, 0) };
        for (field, value) in (first..).zip(fields).skip(passed_over) {
            for (repetition, value) in (1..).zip(value.split(char::from(delimiters.repetition))) {
                for (component, value) in (1..).zip(value.split(char::from(delimiters.component))) {
                    for (subcomponent, value) in (1..).zip(value.split(char::from(delimiters.subcomponent))) {
                        if !value.is_empty() {
                            let place = (segment.to_owned(), *occurrence, field, repetition, component, subcomponent);
                            found.insert(place, unescape(value, &delimiters, charset).into_owned());
                        }
                    }
                }
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn differences(ours: &str, theirs: &str) -> Vec<(String, Option<String>, Option<String>)> {
        let said = compare(ours.as_bytes(), theirs.as_bytes()).unwrap();
        said.into_iter().filter(|said| !said.is_same()).map(|said| (said.element, said.ours, said.theirs)).collect()
    }

    #[test]
    fn components_are_compared_by_their_place_and_by_what_they_mean() {
        let check = |ours: &str, theirs: &str, expected: &[(&str, Option<&str>, Option<&str>)]| {
            let text = |text: Option<&str>| text.map(str::to_owned);
            let expected: Vec<_> =
                expected.iter().map(|(element, ours, theirs)| ((*element).to_owned(), text(*ours), text(*theirs))).collect();
            assert_eq!(differences(ours, theirs), expected);
        };
        const HEAD: &str = "MSH|^~\\&|PAS|RXX|||1||ADT^A01|C1|P|2.5\r";
        let with = |rest: &str| format!("{HEAD}{rest}\r");
        check(&with("PID|1||7^^^RXX&2.999&ISO"), &with("PID|1||7^^^RXX&2.999&ISO|||\n"), &[]);
        // Other separators, and a separator within a value.
        let other = "MSH$^~\\&$PAS$RXX$$$1$$ADT^A01$C1$P$2.5\nPID$1$$$$A|B\n";
        check(&with("PID|1||||A\\F\\B"), other, &[]);
        check(
            &with("PID|1||7^^^RXX~8|||x^y"),
            &with("PID|1||7^^^RYY||| x^y|F"),
            &[
                ("PID-3.4", Some("RXX"), Some("RYY")),
                ("PID-3.1", Some("8"), None),
                ("PID-6.1", Some("x"), Some(" x")),
                ("PID-7.1", None, Some("F")),
            ],
        );
        check(&with("OBX|1\rOBX|2"), &with("OBX|1"), &[("OBX-1.1", Some("2"), None)]);
        check(&with("PV1||I|a^b&c"), &with("PV1||I|a^b&d"), &[("PV1-3.2.2", Some("c"), Some("d"))]);
        assert_eq!(compare(HEAD.as_bytes(), b"PID|1").unwrap_err().0, Side::Theirs);
    }
}
