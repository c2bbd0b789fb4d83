//! What a row of the tables cannot say.

use crate::identifier::{self, read};
use crate::node::Node;
use crate::syntax::Cda;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use contract::{Class, IssueCode, Json, Key, Severity, Slot};
use mapping::{Call, KeyPart, Node as _};

type Rule<'c, 'r, 'm> = &'c mut Call<'r, 'm, Cda>;

/// The system of an II: [`identifier::read`].
pub fn identifier_system(call: Rule<'_, '_, '_>) {
    with_identifier(call, |part| part.system);
}

/// The value of an II.
pub fn identifier_value(call: Rule<'_, '_, '_>) {
    with_identifier(call, |part| part.value);
}

fn with_identifier(call: Rule<'_, '_, '_>, half: fn(KeyPart) -> String) {
    for node in call.nodes() {
        call.mark_all(&node);
        if let Some(part) = read(&node, call.settings()) {
            call.give(Json::from(half(part)), &node);
        }
    }
}

/// A codeSystem: by the row's code map, else its OID or UUID as a URN.
pub fn code_system(call: Rule<'_, '_, '_>) {
    for node in call.nodes() {
        let Some(text) = call.text(&node) else { continue };
        let mapped = call.codes(&text).and_then(|codings| codings.first()).map(|coding| coding.code(&text));
        let is_uri = text.contains(':');
        match mapped.or_else(|| identifier::uri(&text).map(Json::from)).or_else(|| is_uri.then(|| Json::from(&*text))) {
            Some(system) => call.give(system, &node),
            None => call.issue(Severity::Information, IssueCode::DataType, &node, "a code system that is neither an OID nor a UUID"),
        }
    }
}

/// The first of the tokens of a use attribute (`H HP`) that the row's code map knows a target for.
pub fn use_of(call: Rule<'_, '_, '_>) {
    for node in call.nodes() {
        let Some(text) = call.text(&node) else { continue };
        let mut is_known = true;
        let found = text.split_ascii_whitespace().find_map(|token| match call.codes(token) {
            Some(codings) => codings.first().map(|coding| coding.code(token)),
            None => {
                is_known = false;
                None
            }
        });
        match found {
            Some(code) => call.give(code, &node),
            None if !is_known => call.issue(Severity::Information, IssueCode::UnknownCode, &node, "the use is not in the code map"),
            None => {}
        }
    }
}

/// `tel:`, `mailto:` and others as a ContactPoint's system.
pub fn telecom_system(call: Rule<'_, '_, '_>) {
    for node in call.nodes() {
        if let Some(text) = call.text(&node) {
            let (system, _) = telecom(&text);
            call.give(Json::from(system), &node);
        }
    }
}

/// The address without its scheme, but for a URL.
pub fn telecom_value(call: Rule<'_, '_, '_>) {
    for node in call.nodes() {
        if let Some(text) = call.text(&node) {
            let (_, value) = telecom(&text);
            if !value.is_empty() {
                call.give(Json::from(value), &node);
            }
        }
    }
}

fn telecom(text: &str) -> (&'static str, &str) {
    let (scheme, rest) = text.split_once(':').unwrap_or(("", text));
    match scheme.to_ascii_lowercase().as_str() {
        "tel" | "" if !text.contains('@') => ("phone", rest.trim()),
        "mailto" => ("email", rest.trim()),
        "" | "tel" => ("email", rest.trim()),
        "fax" | "x-text-fax" => ("fax", rest.trim()),
        "sms" => ("sms", rest.trim()),
        "http" | "https" | "ftp" => ("url", text),
        _ => ("other", text),
    }
}

/// originalText of a code: its own text, or what its reference points at, without markup.
pub fn original_text(call: Rule<'_, '_, '_>) {
    for node in call.nodes() {
        let Some(original) = node.first("originalText") else { continue };
        call.mark_all(&original);
        let reference = original.first("reference/@value").and_then(|value| value.text());
        let pointed = reference.as_deref().and_then(|id| find(&node, id.strip_prefix('#')?));
        if let Some(text) = original.text().map(|text| text.into_owned()).or(pointed) {
            call.give(Json::from(text), &original);
        } else if reference.is_some() {
            call.issue(Severity::Information, IssueCode::DataType, &original, "a reference to a text that is not in the document");
        }
    }
}

/// The text of the first element of an ID.
fn find(node: &Node<'_>, id: &str) -> Option<String> {
    let tree = node.tree();
    let mut open = vec![0];
    while let Some(item) = open.pop() {
        if tree.attribute(item, "ID") == Some(id) {
            return Some(tree.text(item)).filter(|text| !text.is_empty());
        }
        let first = open.len();
        open.extend(tree.children(item).filter(|child| tree.name(*child).is_some()));
        open[first..].reverse();
    }
    None
}

/// effectiveTime as an instant, where it is exact to the minute; attachment.creation has it in any case.
pub fn exact_instant(call: Rule<'_, '_, '_>) {
    for node in call.nodes() {
        let Some(text) = call.text(&node) else { continue };
        if let Some(instant) = call.stamp(&text).ok().and_then(|stamp| stamp.instant(&call.settings().timezone).ok()) {
            call.give(Json::from(instant), &node);
        }
    }
}

/// The day of a birthTime; its time of day is [`birth_time`]'s.
pub fn birth_date(call: Rule<'_, '_, '_>) {
    for node in call.nodes() {
        let Some(text) = call.text(&node) else { continue };
        match call.stamp(&text) {
            Ok(stamp) => call.give(Json::from(stamp.date().0), &node),
            Err(reason) => call.issue(Severity::Warning, IssueCode::DataType, &node, reason),
        }
    }
}

/// The time of day of a birthTime, where one is written, as the extension patient-birthTime.
pub fn birth_time(call: Rule<'_, '_, '_>) {
    for node in call.nodes() {
        let Some(text) = call.text(&node) else { continue };
        let Some(stamp) = call.stamp(&text).ok().filter(|stamp| stamp.time().is_some()) else { continue };
        let url = Json::from("http://hl7.org/fhir/StructureDefinition/patient-birthTime");
        let at = Json::from(stamp.date_time(&call.settings().timezone));
        call.give(Json::from_iter([("url", url), ("valueDateTime", at)]), &node);
    }
}

/// The document's bytes: the frame's where it is the document alone, else the element with the namespaces around it.
pub fn document_bytes(call: Rule<'_, '_, '_>) {
    let root = *call.root();
    let encoded = STANDARD.encode(bytes(&root));
    call.give(Json::from(encoded), &root);
}

pub fn document_size(call: Rule<'_, '_, '_>) {
    let root = *call.root();
    if let Ok(size) = i64::try_from(bytes(&root).len()) {
        call.give(Json::from(size), &root);
    }
}

fn bytes(root: &Node<'_>) -> Vec<u8> {
    let tree = root.tree();
    if root.item() == 0 { tree.bytes.to_vec() } else { tree.alone(root.item()).into_bytes() }
}

/// `Binary/id`: the document itself.
pub fn document_url(call: Rule<'_, '_, '_>) {
    let root = *call.root();
    if let Some(key) = call.key("Binary") {
        let url = call.settings().reference(key);
        call.give(Json::from(url), &root);
    }
}

/// Which document sets it belongs to, and which document it replaces (`state.md`, Documents): the set of its setId, or
/// of the setId of the document that it replaces; that of its own id, which a later RPLC names; that of the document it
/// replaces. So a replaced document is superseded whichever comes first. Names are those of the documents' keys, so that a
/// feed cannot supersede another's ([`Settings::own_key`]). The value is
/// `{"version":n,"at":µs,"document":SYSTEM|VALUE,"replaces":SYSTEM|VALUE,"target":SYSTEM|VALUE}`, the last as the message
/// gives it.
pub fn document_set(call: Rule<'_, '_, '_>) {
    let root = *call.root();
    let Some(own) = call.own_key().cloned() else { return };
    let shown = |system: &str, value: &str| format!("{system}|{value}");
    let document = shown(&own.system, &own.value);
    let replaced: Vec<Node<'_>> =
        root.all("relatedDocument").into_iter().filter(|related| related.value("typeCode") == Some("RPLC")).collect();
    for path in ["parentDocument/setId", "parentDocument/versionNumber"] {
        replaced.iter().flat_map(|related| related.all(path)).for_each(|node| call.mark_all(&node));
    }
    let settings = call.settings();
    let named = |part: KeyPart| {
        let part = part.alone();
        let key = settings.own_key(Key::new(own.kind.clone(), part.system, part.value), Class::Record);
        shown(&key.system, &key.value)
    };
    let ids = replaced.iter().flat_map(|related| related.all("parentDocument/id"));
    let stated: Vec<KeyPart> = ids.filter_map(|id| read(&id, settings)).collect();
    let target = stated.first().map(|part| shown(&part.system, &part.value));
    let parents: Vec<String> = stated.into_iter().map(named).collect();
    let named = |id: Node<'_>| read(&id, settings).map(named);
    let set = root.first("setId").and_then(named);
    let set = set.or_else(|| replaced.iter().find_map(|related| related.first("parentDocument/setId").and_then(named)));
    let number = |node: Option<Node<'_>>| node.and_then(|node| node.text()).and_then(|text| text.parse::<i64>().ok());
    let version = number(root.first("versionNumber/@value"));
    let after = replaced
        .iter()
        .find_map(|related| number(related.first("parentDocument/versionNumber/@value")))
        .map(|parent| parent.saturating_add(1));
    let at = call.asserted();
    let said = |version: i64| {
        let members = [("version", Json::from(version)), ("at", Json::from(at)), ("document", Json::from(document.as_str()))];
        let replaces = parents.first().map(|parent| ("replaces", Json::from(parent.as_str())));
        let target = target.as_deref().map(|target| ("target", Json::from(target)));
        members.into_iter().chain(replaces).chain(target).collect::<Json>()
    };
    // In the set of a document that it replaces it comes after that one, whatever their times say.
    let sets = set.map(|set| (set, version.or(after).unwrap_or(0))).into_iter();
    let mut members: Vec<(String, i64)> =
        sets.chain([(document.clone(), 0)]).chain(parents.iter().map(|parent| (parent.clone(), 1))).collect();
    members.sort_by(|one, other| one.0.cmp(&other.0));
    members.dedup_by(|later, earlier| later.0 == earlier.0);
    for (name, version) in members {
        call.say(Slot::Shared { register: "document-set".into(), name: name.into() }, Some(said(version)), &root);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn telecoms_are_told_by_scheme() {
        for (text, expected) in [
            ("tel:01634 775667", ("phone", "01634 775667")),
            ("tel:+1-555", ("phone", "+1-555")),
            ("01634", ("phone", "01634")),
            ("mailto:a@b.example", ("email", "a@b.example")),
            ("a@b.example", ("email", "a@b.example")),
            ("MAILTO:a@b", ("email", "a@b")),
            ("fax:1", ("fax", "1")),
            ("https://x.example", ("url", "https://x.example")),
            ("nfs:x", ("other", "nfs:x")),
            ("tel:", ("phone", "")),
        ] {
            assert_eq!(telecom(text), expected, "{text}");
        }
    }
}
