//! The value of an OBX, by its type in OBX-2 and by what stands in it: a number that is none stays as text. One function
//! decides ([`carried`]), and each rule gives the one form that its row is for.

use super::{Ask, OWN};
use crate::identifier::text;
use crate::node::Node;
use crate::syntax::Er7;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use contract::{IssueCode, Json, Severity};
use mapping::{Call, Stamp};

/// What OBX-5 is carried as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Carried {
    Quantity,
    Ratio,
    Range,
    Text,
    Concept,
    Components,
    When,
    Period,
    Attachment,
}

/// How many fields an OBX has (2.9).
const FIELDS: u16 = 33;
const UCUM: &str = "http://unitsofmeasure.org";

/// The form of the value, with its repetitions; `None` where there is no value.
fn carried<'m>(obx: &Node<'m>) -> Option<(Carried, Vec<Node<'m>>)> {
    let lines = obx.lines();
    let nodes: Vec<Node<'m>> = lines.iter().flat_map(|line| line.all("OBX-5")).filter(|node| !node.is_delete()).collect();
    let first = nodes.first()?;
    if lines.len() > 1 {
        return Some((Carried::Text, nodes));
    }
    let kind = text(obx, "OBX-2").unwrap_or_default();
    let form = match (&*kind, nodes.len()) {
        ("CE" | "CWE" | "CNE" | "CF" | "IS" | "ID", 1) => Carried::Concept,
        ("CE" | "CWE" | "CNE" | "CF" | "IS" | "ID", _) => Carried::Components,
        ("NM" | "CQ", 1) if number(first, "1").is_some() => Carried::Quantity,
        ("SN", 1) => structured(first),
        ("NR", 1) if number(first, "1").or_else(|| number(first, "2")).is_some() => Carried::Range,
        ("DT" | "DTM" | "TS", 1) if text(first, ".").is_some_and(|text| Stamp::parse(&text).is_ok()) => Carried::When,
        ("TM", 1) if text(first, ".").is_some_and(|text| is_time(&text)) => Carried::When,
        ("DR", 1) if ["1", "2"].iter().any(|part| text(first, part).is_some_and(|text| Stamp::parse(&text).is_ok())) => Carried::Period,
        ("ED", 1) if text(first, "5").is_some() => Carried::Attachment,
        ("RP", 1) => Carried::Attachment,
        _ => Carried::Text,
    };
    Some((form, nodes))
}

/// SN (§2.A.72): comparator, number, separator or suffix, number.
fn structured(node: &Node<'_>) -> Carried {
    let [low, high] = ["2", "4"].map(|part| number(node, part));
    let comparator = text(node, "1").unwrap_or_default();
    let known = matches!(&*comparator, "" | "=" | "<" | ">" | "<=" | ">=");
    match text(node, "3").as_deref() {
        Some(":" | "/") if low.is_some() && high.is_some() && known => Carried::Ratio,
        Some("-") if low.is_some() && high.is_some() && matches!(&*comparator, "" | "=") => Carried::Range,
        None if low.is_some() && known => Carried::Quantity,
        _ => Carried::Text,
    }
}

fn value_of<'m>(call: &mut Call<'_, 'm, Er7>, wanted: Carried) -> Option<Vec<Node<'m>>> {
    carried(call.context()).filter(|(form, _)| *form == wanted).map(|(_, nodes)| nodes)
}

/// NM, CQ and SN with one number.
pub fn value_quantity(call: Ask<'_, '_, '_>) {
    let Some(node) = value_of(call, Carried::Quantity).and_then(|nodes| nodes.first().copied()) else { return };
    let is_structured = text(call.context(), "OBX-2").as_deref() == Some("SN");
    let part = if is_structured { "2" } else { "1" };
    let comparator = if is_structured { comparator(&node) } else { None };
    let own_unit = node.first("2").filter(|_| !is_structured);
    if let Some(value) = quantity(call, &node, part, comparator, own_unit) {
        call.mark_all(&node);
        call.give(value, &node);
    }
}

/// SN `^1^:^128`.
pub fn value_ratio(call: Ask<'_, '_, '_>) {
    let Some(node) = value_of(call, Carried::Ratio).and_then(|nodes| nodes.first().copied()) else { return };
    let numerator = quantity(call, &node, "2", comparator(&node), None);
    let denominator = quantity(call, &node, "4", None, None);
    if let (Some(numerator), Some(denominator)) = (numerator, denominator) {
        call.mark_all(&node);
        call.give([("numerator", numerator), ("denominator", denominator)].into_iter().collect(), &node);
    }
}

/// SN `^3^-^5`, and NR.
pub fn value_range(call: Ask<'_, '_, '_>) {
    let Some(node) = value_of(call, Carried::Range).and_then(|nodes| nodes.first().copied()) else { return };
    let parts = if text(call.context(), "OBX-2").as_deref() == Some("NR") { ["1", "2"] } else { ["2", "4"] };
    let mut range = Json::object();
    for (name, part) in ["low", "high"].into_iter().zip(parts) {
        if let Some(value) = quantity(call, &node, part, None, None) {
            range.set(name, value);
        }
    }
    call.mark_all(&node);
    call.give(range, &node);
}

/// Text, of each repetition a line, and of each OBX that continues it; and whatever is not what its type says.
pub fn value_text(call: Ask<'_, '_, '_>) {
    let deleted = call.context().first("OBX-5").filter(Node::is_delete);
    if let Some(node) = deleted {
        call.mark_all(&node);
        call.issue(Severity::Information, IssueCode::NotMapped, &node, "the value is deleted: nothing is carried in its place");
    }
    let Some(nodes) = value_of(call, Carried::Text) else { return };
    let segments = call.context().lines();
    let lines: Vec<String> = segments.iter().map(line).collect();
    nodes.iter().for_each(|node| call.mark_all(node));
    for segment in segments.iter().skip(1) {
        mark_repeated(call, &segments[0], segment);
    }
    let text: String = lines.join("\n").chars().filter(|char| !char.is_control() || matches!(char, '\n' | '\r' | '\t')).collect();
    if !text.trim().is_empty() {
        call.give(Json::from(text), &nodes[0]);
    }
    let number_wanted = matches!(crate::identifier::text(call.context(), "OBX-2").as_deref(), Some("NM" | "SN" | "NR" | "CQ"));
    if number_wanted {
        let reason = "not the number that OBX-2 announces: carried as text";
        call.issue(Severity::Information, IssueCode::DataType, &nodes[0], reason);
    }
}

/// The text of one OBX: a line, or one of each repetition.
fn line(obx: &Node<'_>) -> String {
    let texts: Vec<_> = obx.all("OBX-5").iter().filter_map(Node::whole_text).collect();
    texts.join("\n")
}

/// What a line of a text says again as the first one did.
fn mark_repeated<'m>(call: &mut Call<'_, 'm, Er7>, first: &Node<'m>, line: &Node<'m>) {
    for number in 1..=FIELDS {
        let field = format!("OBX-{number}");
        let (said, nodes) = (first.all(&field), line.all(&field));
        let is_known =
            number <= 5 || said.len() == nodes.len() && said.iter().zip(&nodes).all(|(one, other)| one.whole_text() == other.whole_text());
        if is_known {
            nodes.iter().for_each(|node| call.mark_all(node));
        }
    }
}

/// One coded answer.
pub fn value_concept(call: Ask<'_, '_, '_>) {
    let Some(node) = value_of(call, Carried::Concept).and_then(|nodes| nodes.first().copied()) else { return };
    if let Some(value) = call.make(&node) {
        call.give(value, &node);
    }
}

/// Several coded answers to one question: a component each, under the question's own code.
pub fn value_components(call: Ask<'_, '_, '_>) {
    let Some(nodes) = value_of(call, Carried::Components) else { return };
    let Some(code) = call.context().first("OBX-3").and_then(|question| call.make(&question)) else { return };
    for node in nodes {
        if let Some(value) = call.make(&node) {
            call.give([("code", code.clone()), ("valueCodeableConcept", value)].into_iter().collect(), &node);
        }
    }
}

/// DT, DTM, TS; TM.
pub fn value_when(call: Ask<'_, '_, '_>) {
    made(call, Carried::When);
}

/// DR.
pub fn value_period(call: Ask<'_, '_, '_>) {
    made(call, Carried::Period);
}

fn made(call: Ask<'_, '_, '_>, form: Carried) {
    let Some(node) = value_of(call, form).and_then(|nodes| nodes.first().copied()) else { return };
    if let Some(value) = call.make(&node) {
        call.give(value, &node);
    }
}

/// ED and RP: R4 has no valueAttachment, so R5's stands in an extension.
pub fn value_attachment(call: Ask<'_, '_, '_>) {
    let Some(node) = value_of(call, Carried::Attachment).and_then(|nodes| nodes.first().copied()) else { return };
    let pointer = text(call.context(), "OBX-2").as_deref() == Some("RP");
    let [kind, subtype] = if pointer { ["3", "4"] } else { ["2", "3"] }.map(|part| text(&node, part));
    let mut attachment = Json::object();
    if let Some(media) = media_type(kind.as_deref(), subtype.as_deref()).filter(|media| is_media_type(media)) {
        attachment.set("contentType", Json::from(media));
    }
    if pointer {
        let Some(url) = text(&node, "1").map(|url| url.into_owned()) else { return };
        let name = if url.contains(char::is_whitespace) { "title" } else { "url" };
        attachment.set(name, Json::from(url));
    } else {
        let data = node.first("5").and_then(|node| node.whole_text()).unwrap_or_default();
        match bytes(&data, text(&node, "4").as_deref()) {
            Some(bytes) => {
                // R4 wants a type where there are data (att-1).
                if attachment.get("contentType").is_none() {
                    attachment.set("contentType", "application/octet-stream".into());
                }
                attachment.set("data", Json::from(STANDARD.encode(bytes)));
            }
            None => return call.issue(Severity::Warning, IssueCode::DataType, &node, "the data are not encoded as ED.4 says: not carried"),
        }
    }
    call.mark_all(&node);
    let url = Json::from("http://hl7.org/fhir/5.0/StructureDefinition/extension-Observation.value");
    call.give([("url", url), ("valueAttachment", attachment)].into_iter().collect(), &node);
}

/// The bytes of encapsulated data (table 0299: A none, Hex, Base64).
fn bytes(data: &str, encoding: Option<&str>) -> Option<Vec<u8>> {
    match encoding.unwrap_or("A").to_ascii_lowercase().as_str() {
        "base64" => {
            let compact: String = data.split_ascii_whitespace().collect();
            STANDARD.decode(compact).ok()
        }
        "hex" => {
            let digits: Vec<u32> =
                data.chars().filter(|char| !char.is_whitespace()).map(|char| char.to_digit(16)).collect::<Option<_>>()?;
            let pairs = digits.chunks_exact(2);
            pairs.remainder().is_empty().then(|| pairs.map(|pair| (pair[0] * 16 + pair[1]) as u8).collect())
        }
        _ => Some(data.as_bytes().to_vec()),
    }
}

/// OBX-6 where the value is no quantity that could hold it.
pub fn unit(call: Ask<'_, '_, '_>) {
    if matches!(carried(call.context()), Some((Carried::Quantity | Carried::Ratio | Carried::Range, _))) {
        return;
    }
    let Some(node) = call.nodes().into_iter().next() else { return };
    let made = match halves(&node) {
        ([Unit { code: Some(code), .. }, _], true) => {
            call.mark_all(&node);
            call.issue(Severity::Warning, IssueCode::DataType, &node, JOINED);
            Some([("text", Json::from(code))].into_iter().collect())
        }
        _ => call.make(&node),
    };
    if let Some(unit) = made {
        let url = Json::from(format!("{OWN}OBX-6"));
        call.give([("url", url), ("valueCodeableConcept", unit)].into_iter().collect(), &node);
    }
}

/// OBX-7 as text; low and high too where it is two numbers.
pub fn reference_range(call: Ask<'_, '_, '_>) {
    let nodes = call.nodes();
    let Some(node) = nodes.first().copied() else { return };
    let Some(words) = node.whole_text().filter(|words| !words.trim().is_empty()) else { return };
    call.mark_all(&node);
    let mut range = Json::object();
    if let Some((low, high)) = bounds(&words) {
        for (name, digits) in [("low", low), ("high", high)] {
            if let Some(number) = Json::number(digits) {
                let mut value: Json = [("value", number)].into_iter().collect();
                add_unit(call, &mut value, None);
                range.set(name, value);
            }
        }
    }
    let clean: String = words.chars().filter(|char| !char.is_control() || *char == '\n').collect();
    range.set("text", Json::from(clean));
    call.give(range, &node);
}

/// `3.5-5.0`, `3.5 - 5.0`: digits as written.
fn bounds(words: &str) -> Option<(&str, &str)> {
    let words = words.trim();
    let at = words.char_indices().skip(1).find(|(_, char)| *char == '-')?.0;
    let (low, high) = (words[..at].trim(), words[at + 1..].trim());
    (Json::number(low).is_some() && Json::number(high).is_some()).then_some((low, high))
}

fn comparator(node: &Node<'_>) -> Option<Json> {
    text(node, "1").filter(|comparator| &**comparator != "=").map(|comparator| Json::from(&*comparator))
}

/// A number as JSON writes it, its digits kept: `6.30` stays `6.30`.
fn number(node: &Node<'_>, part: &str) -> Option<Json> {
    let text = text(node, part)?;
    let digits = text.strip_prefix('+').unwrap_or(&text);
    if digits.len() > 64 {
        return None;
    }
    Json::number(digits).or_else(|| {
        // HL7 writes `.5`, `5.` and `007` (§2.A.47); JSON does not.
        let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |rest| ("-", rest));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.is_empty() && fraction.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let whole = Some(whole.trim_start_matches('0')).filter(|whole| !whole.is_empty()).unwrap_or("0");
        let point = if fraction.is_empty() { "" } else { "." };
        Json::number(&format!("{sign}{whole}{point}{fraction}"))
    })
}

/// A number with the unit of CQ.2 or OBX-6.
fn quantity<'m>(
    call: &mut Call<'_, 'm, Er7>,
    node: &Node<'m>,
    part: &str,
    comparator: Option<Json>,
    own_unit: Option<Node<'m>>,
) -> Option<Json> {
    let mut value: Json = [("value", number(node, part)?)].into_iter().collect();
    if let Some(comparator) = comparator {
        value.set("comparator", comparator);
    }
    add_unit(call, &mut value, own_unit);
    Some(value)
}

/// A unit as one half of a CWE has it.
#[derive(Default)]
struct Unit {
    code: Option<String>,
    words: Option<String>,
    system: Option<String>,
}

impl Unit {
    fn is_empty(&self) -> bool {
        self.code.is_none() && self.words.is_none()
    }

    fn text(&self) -> Option<&String> {
        self.words.as_ref().or(self.code.as_ref())
    }

    /// System and code; `None` where the code says nothing outside of the feed.
    fn coded(&self, call: Ask<'_, '_, '_>) -> Option<(String, Json)> {
        let code = self.code.as_deref()?;
        // A power as its sender wrote it is looked up as any of the ways to write it.
        let exponent = code.trim_start_matches(['x', 'X', ' ']).strip_prefix("10").map(|rest| rest.trim_start_matches(['*', '^']));
        let ways = exponent.into_iter().flat_map(|exponent| [format!("10*{exponent}"), format!("10^{exponent}")]);
        let known = std::iter::once(code.to_owned()).chain(ways).find_map(|way| Some(call.codes(&way)?.first()?.code(&way)));
        let (system, code) = match (self.system.as_deref(), known) {
            (Some("UCUM" | "2.16.840.1.113883.6.8"), _) => (UCUM.to_owned(), Json::from(code)),
            (None | Some("ISO+" | "L" | "ANS+"), Some(known)) => (UCUM.to_owned(), known),
            (Some(system), _) => (call.settings().own_system(system), Json::from(code)),
            (None, None) => return None,
        };
        let is_code = code.as_str().is_some_and(|code| !code.contains(char::is_whitespace));
        is_code.then_some((system, code))
    }
}

/// The two halves of a unit's CWE, and whether its code had to be put together: the `^` of `10^9/L`, not escaped, cuts it
/// in two.
fn halves(unit: &Node<'_>) -> ([Unit; 2], bool) {
    let mut parts: Vec<Option<String>> =
        ["1", "2", "3", "4", "5", "6", "7"].iter().map(|number| text(unit, number).map(|text| text.into_owned())).collect();
    let power = match &parts[..2] {
        [Some(ten), Some(exponent)] if is_ten(ten) && is_exponent(exponent) => Some(format!("{ten}^{exponent}")),
        _ => None,
    };
    let joined = power.is_some();
    if joined {
        parts[1] = power;
        parts.remove(0);
        // `10^9/L^UCUM`: the words were left out, and not the system.
        if parts[2].is_none() && matches!(parts[1].as_deref(), Some("UCUM" | "ISO+" | "ANS+" | "L")) {
            parts.swap(1, 2);
        }
    }
    let mut parts = parts.into_iter();
    let mut half = || {
        let mut part = || parts.next().flatten();
        Unit { code: part(), words: part(), system: part() }
    };
    ([half(), half()], joined)
}

/// `10`, `x10`, `10*`.
fn is_ten(text: &str) -> bool {
    text.trim_start_matches(['x', 'X', '*', ' ']).trim_end_matches('*') == "10"
}

/// `9/L`, `12/l`.
fn is_exponent(text: &str) -> bool {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    matches!(digits, 1 | 2) && text.len() > digits + 1 && text.as_bytes()[digits] == b'/'
}

const JOINED: &str = "a component separator that was not escaped cuts the unit in two: read as one";

/// The unit in words, and its code: UCUM where the sender or the table of units tells it in either half. What the other
/// half says besides is R4's translation of a quantity.
fn add_unit<'m>(call: &mut Call<'_, 'm, Er7>, value: &mut Json, own: Option<Node<'m>>) {
    let Some(node) = own.or_else(|| call.context().first("OBX-6")) else { return };
    let (halves, joined) = halves(&node);
    call.mark_all(&node);
    if joined {
        call.issue(Severity::Warning, IssueCode::DataType, &node, JOINED);
    }
    let [first, second] = halves;
    let (main, other) = if first.is_empty() { (second, Unit::default()) } else { (first, second) };
    let alternate_only = node.first("1").is_none() && node.first("2").is_none();
    let (code, other_code) = (main.coded(call), other.coded(call));
    if let Some(words) = main.text() {
        value.set("unit", Json::from(words.as_str()));
    }
    if code.is_none() && main.code.is_some() && main.code.as_ref() != main.text() {
        unit_dropped(call, &node, if alternate_only { "4" } else { "1" });
    }
    if other_code.is_none() && other.code.is_some() && other.code.as_ref() != other.text() {
        unit_dropped(call, &node, "4");
    }
    let is_ucum = |code: &Option<(String, Json)>| code.as_ref().is_some_and(|(system, _)| system == UCUM);
    let (chosen, rest, rest_code) = match !is_ucum(&code) && is_ucum(&other_code) {
        true => (other_code, Some(&main).filter(|_| code.is_some()), code),
        false => (code, Some(&other).filter(|other| other.code.is_some() && other.code != main.code || other.words.is_some()), other_code),
    };
    set_code(value, chosen);
    if let Some(rest) = rest {
        let mut translation: Json = value.get("value").map(|number| ("value", number.clone())).into_iter().collect();
        if let Some(words) = rest.text() {
            translation.set("unit", Json::from(words.as_str()));
        }
        set_code(&mut translation, rest_code);
        let url = Json::from("http://hl7.org/fhir/StructureDefinition/iso21090-PQ-translation");
        let extension = [("url", url), ("valueQuantity", translation)].into_iter().collect();
        value.set("extension", Json::Array(vec![extension]));
    }
}

fn set_code(value: &mut Json, coded: Option<(String, Json)>) {
    if let Some((system, code)) = coded {
        value.set("system", Json::from(system));
        value.set("code", code);
    }
}

fn unit_dropped<'m>(call: &mut Call<'_, 'm, Er7>, unit: &Node<'m>, part: &str) {
    if let Some(code) = unit.first(part) {
        let reason = "the unit's code is of no coding system: its words alone are carried";
        call.issue(Severity::Information, IssueCode::NotMapped, &code, reason);
    }
}

fn is_time(text: &str) -> bool {
    let digits = text.split(['.', '+', '-']).next().unwrap_or(text);
    matches!(digits.len(), 4 | 6)
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && digits[..2].parse::<u8>().is_ok_and(|hour| hour < 24)
        && digits[2..4].parse::<u8>().is_ok_and(|minute| minute < 60)
}

/// A media type from table 0834 (or 0191, older) and 0291.
fn media_type(kind: Option<&str>, subtype: Option<&str>) -> Option<String> {
    let subtype = subtype.map(str::to_ascii_lowercase);
    let kind = kind.map(str::to_ascii_lowercase);
    match (kind.as_deref(), subtype.as_deref()) {
        (_, Some(whole)) if whole.contains('/') => Some(whole.to_owned()),
        (Some(whole), None) if whole.contains('/') => Some(whole.to_owned()),
        (_, Some("pdf")) | (Some("pdf"), _) => Some("application/pdf".to_owned()),
        (_, Some("html")) => Some("text/html".to_owned()),
        (_, Some("xml" | "x-hl7-cda-level-one")) => Some("application/xml".to_owned()),
        (_, Some("rtf")) => Some("text/rtf".to_owned()),
        (_, Some("jpeg" | "jpg")) => Some("image/jpeg".to_owned()),
        (Some(kind @ ("application" | "audio" | "image" | "model" | "multipart" | "text" | "video")), Some(subtype)) => {
            Some(format!("{kind}/{subtype}"))
        }
        (Some("im" | "si" | "ns"), Some(subtype)) => Some(format!("image/{subtype}")),
        (Some("text" | "ft"), None) => Some("text/plain".to_owned()),
        _ => None,
    }
}

fn is_media_type(media: &str) -> bool {
    media.len() < 100 && media.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::er7::Message;
    use crate::structure::Structures;

    fn check(kind: &str, value: &str, expected: Option<Carried>) {
        let text = format!("MSH|^~\\&|||||||ORU^R01\rOBX|1|{kind}|K^Potassium||{value}\r");
        let message = Message::parse(text.as_bytes(), None, &Structures::flat()).unwrap();
        let node = message.root().first("OBX").unwrap();
        assert_eq!(carried(&node).map(|(form, _)| form), expected, "{kind} {value}");
    }

    #[test]
    fn forms_of_values() {
        check("NM", "6.30", Some(Carried::Quantity));
        check("NM", "-0.5", Some(Carried::Quantity));
        check("NM", ".5", Some(Carried::Quantity));
        check("NM", "<5", Some(Carried::Text));
        check("NM", "5~6", Some(Carried::Text));
        check("NM", "haemolysed", Some(Carried::Text));
        check("NM", "", None);
        check("SN", "<^5", Some(Carried::Quantity));
        check("SN", "^1^:^128", Some(Carried::Ratio));
        check("SN", "^3^-^5", Some(Carried::Range));
        check("SN", "^2^+", Some(Carried::Text));
        check("SN", "<>^2", Some(Carried::Text));
        check("CWE", "A^a^L", Some(Carried::Concept));
        check("CE", "A^a^L~B^b^L", Some(Carried::Components));
        check("DT", "20260401", Some(Carried::When));
        check("DT", "yesterday", Some(Carried::Text));
        check("TM", "1205", Some(Carried::When));
        check("TM", "2505", Some(Carried::Text));
        check("DR", "2026^2027", Some(Carried::Period));
        check("ED", "^application^pdf^Base64^AAAA", Some(Carried::Attachment));
        check("TX", "one~two", Some(Carried::Text));
        check("", "no type", Some(Carried::Text));
    }

    #[test]
    fn ranges_of_two_numbers_only() {
        assert_eq!(bounds("3.50-5.0"), Some(("3.50", "5.0")));
        assert_eq!(bounds(" -1 - 2 "), Some(("-1", "2")));
        for words in ["<5", "3.5", "a-b", "3-5 (adult)", "-"] {
            assert_eq!(bounds(words), None, "{words}");
        }
    }

    #[test]
    fn encodings_of_data() {
        assert_eq!(bytes("aGk=", Some("Base64")), Some(b"hi".to_vec()));
        assert_eq!(bytes("68 69", Some("Hex")), Some(b"hi".to_vec()));
        assert_eq!(bytes("hi", Some("A")), Some(b"hi".to_vec()));
        assert_eq!(bytes("686", Some("Hex")), None);
        assert_eq!(bytes("?", Some("Base64")), None);
    }

    #[test]
    fn media_types() {
        for (kind, subtype, expected) in [
            (Some("application"), Some("PDF"), Some("application/pdf")),
            (Some("AP"), Some("PDF"), Some("application/pdf")),
            (Some("IM"), Some("png"), Some("image/png")),
            (Some("TEXT"), None, Some("text/plain")),
            (None, None, None),
        ] {
            assert_eq!(media_type(kind, subtype).as_deref(), expected);
        }
    }
}
