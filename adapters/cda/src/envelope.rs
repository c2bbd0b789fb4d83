//! Who sent which document: from its id, time and custodian, wrapped (SOAP, NHS ITK) or not.

use crate::node::{Node, V3};
use crate::stamp;
use crate::xml::Tree;
use bytes::Bytes;
use contract::{Envelope, Frame, Issue, IssueCode, Party, Processing, Rejection, Settings, Severity, TypeCode};

/// A document read: its tree, and where in it the ClinicalDocument is.
pub struct Document {
    pub tree: Tree,
    pub root: u32,
    /// What was noticed while reading and unwrapping.
    pub issues: Vec<Issue>,
}

impl Document {
    /// Reads a frame. Malformed where it is no XML; unsupported where no ClinicalDocument is in it.
    pub fn read(frame: &Frame) -> Result<Self, Rejection> {
        let mut tree = Tree::read(frame.bytes().clone()).map_err(Rejection::Malformed)?;
        let mut found = Vec::new();
        documents(&tree, 0, &mut found);
        let Some(&root) = found.first() else {
            let reason = "no ClinicalDocument of urn:hl7-org:v3 is in the XML; encoded payloads are not opened";
            return Err(Rejection::Unsupported(Issue::new(Severity::Error, IssueCode::NotSupported, "/", reason)));
        };
        let mut issues = std::mem::take(&mut tree.issues);
        for further in &found[1..] {
            let reason = "a second document in one transmission: it is kept, and was not translated";
            issues.push(Issue::new(Severity::Warning, IssueCode::NotMapped, tree.place(*further), reason));
        }
        Ok(Self { tree, root, issues })
    }

    pub fn node(&self) -> Node<'_> {
        Node::new(&self.tree, self.root)
    }
}

/// The ClinicalDocuments of a tree, not those within another.
fn documents(tree: &Tree, item: u32, found: &mut Vec<u32>) {
    if tree.name(item).is_some_and(|name| *name.space == *V3 && *name.local == *"ClinicalDocument") {
        return found.push(item);
    }
    for child in tree.children(item) {
        documents(tree, child, found);
    }
}

/// The envelope of a frame: type `CDA`, the document's id as control id (`ROOT^EXTENSION`), effectiveTime, and the
/// custodian's id as the sender.
pub fn envelope(frame: &Frame, settings: &Settings) -> Result<Envelope, Rejection> {
    let document = Document::read(frame)?;
    let root = document.node();
    let mut issues = document.issues.clone();
    let mut note = |code, place: &str, reason: &'static str| {
        issues.push(Issue::new(Severity::Warning, code, format!("/ClinicalDocument/{place}"), reason));
    };
    let control_id = root.first("id").and_then(|id| joined(&id)).unwrap_or_default();
    if control_id.is_empty() {
        note(IssueCode::Required, "id", "the document has no id");
    }
    let made = root.first("effectiveTime/@value").and_then(|value| mapping::Node::text(&value));
    let sent = match made.as_deref().map(stamp::read) {
        Some(Ok(stamp)) => Some(stamp.micros(&settings.timezone)),
        Some(Err(_)) => {
            note(IssueCode::Time, "effectiveTime", "the stamp cannot be read");
            None
        }
        None => {
            note(IssueCode::Required, "effectiveTime", "the document does not say when it was made");
            None
        }
    };
    let custodian = root.first("custodian/assignedCustodian/representedCustodianOrganization/id");
    let sender = custodian.map_or_else(Party::default, |id| Party {
        application: id.value("root").unwrap_or_default().to_owned(),
        facility: id.value("extension").unwrap_or_default().to_owned(),
    });
    Ok(Envelope {
        message_type: TypeCode { code: "CDA".into(), ..TypeCode::default() },
        control_id,
        sender,
        receiver: Party::default(),
        // CDA has no processing id.
        processing: Processing::Production,
        sent,
        version: "R2".into(),
        head: Bytes::new(),
        issues,
    })
}

/// `ROOT^EXTENSION`, or the root alone.
fn joined(id: &Node<'_>) -> Option<String> {
    let root = id.value("root")?;
    Some(id.value("extension").map_or_else(|| root.to_owned(), |extension| format!("{root}^{extension}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Envelope, Rejection> {
        envelope(&Frame::new(text.as_bytes().to_vec()), &Settings::demonstration())
    }

    const BODY: &str = "<ClinicalDocument xmlns='urn:hl7-org:v3'><id root='1.2.3' extension='d1'/><effectiveTime value='202601020304+01'/>
        <custodian><assignedCustodian><representedCustodianOrganization><id root='9.9' extension='RXX'/></representedCustodianOrganization>
        </assignedCustodian></custodian></ClinicalDocument>";

    #[test]
    fn a_document_names_itself_wrapped_or_not() {
        let wrapped = format!(
            "<s:Envelope xmlns:s='urn:soap'><s:Body><i:DistributionEnvelope xmlns:i='urn:nhs-itk:ns:201005'><i:payloads>\
             <i:payload>{BODY}</i:payload></i:payloads></i:DistributionEnvelope></s:Body></s:Envelope>"
        );
        for text in [BODY, &wrapped] {
            let found = of(text).unwrap();
            assert_eq!((found.message_type.to_string().as_str(), found.control_id.as_str()), ("CDA", "1.2.3^d1"));
            assert_eq!((found.sender.application.as_str(), found.sender.facility.as_str()), ("9.9", "RXX"));
            assert_eq!(found.sent, Some("2026-01-02T02:04:00Z".parse::<jiff::Timestamp>().unwrap().as_microsecond()));
            assert!(found.issues.is_empty(), "{:?}", found.issues);
        }
        let two = of(&format!("<x>{BODY}{BODY}</x>")).unwrap();
        assert_eq!(two.issues[0].place, "/x/ClinicalDocument[2]");
    }

    #[test]
    fn what_is_no_document_is_refused() {
        assert!(matches!(of("<a>"), Err(Rejection::Malformed(_))));
        assert!(matches!(of("<ClinicalDocument/>"), Err(Rejection::Unsupported(_))));
        assert!(matches!(of("<x xmlns='urn:hl7-org:v3'/>"), Err(Rejection::Unsupported(_))));
        let bare = of("<ClinicalDocument xmlns='urn:hl7-org:v3'/>").unwrap();
        assert_eq!(bare.issues.len(), 2);
        assert!(bare.control_id.is_empty() && bare.sent.is_none());
    }
}
