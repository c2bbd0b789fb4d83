use super::*;
use base64::Engine as _;
use contract::{Contribution, Json, Slot, Statement, compliance};

const DISCHARGE: &str = include_str!("../../fixtures/discharge.xml");
const WRAPPED: &str = include_str!("../../fixtures/wrapped.xml");

fn dialect() -> CdaDialect {
    let shape = Arc::new(Shape::r4().unwrap_or_else(|reason| panic!("{reason}")));
    CdaDialect::new(&Tables::embedded("cda"), shape).unwrap_or_else(|errors| panic!("{errors}"))
}

fn settings() -> Settings {
    let mut settings = Settings { feed: "docs".into(), ..Settings::demonstration() };
    settings.primary_assigner = Some("RXX".into());
    settings.assigners.insert("RXX".into(), "https://hospital.example/id/mrn".into());
    settings
}

fn translated(text: &str) -> Translation {
    let adapter = dialect().adapter(settings());
    let frame = Frame::new(text.as_bytes().to_vec());
    let envelope = adapter.envelope(&frame).unwrap();
    adapter.translate(&frame, &envelope).unwrap()
}

fn slot(statement: &Statement) -> String {
    match &statement.slot {
        Slot::Element(name) => name.to_string(),
        Slot::Repeats { element, .. } => element.to_string(),
        Slot::Member { element, .. } => element.to_string(),
        Slot::Shared { register, name } => format!("{register} {name}"),
        other => format!("{other:?}"),
    }
}

fn of<'t>(translation: &'t Translation, kind: &str) -> &'t Contribution {
    translation.contributions.iter().find(|contribution| *contribution.key.kind == *kind).unwrap_or_else(|| panic!("no {kind}"))
}

/// What a resource says in one slot.
fn said(translation: &Translation, kind: &str, name: &str) -> String {
    let found = of(translation, kind).statements.iter().filter(|statement| slot(statement) == name);
    found.map(|statement| statement.value.as_ref().map_or_else(String::new, Json::to_string)).collect::<Vec<_>>().join(" ")
}

fn check(text: &str, expected: &[(&str, &str, &str)]) {
    let translation = translated(text);
    for (kind, name, value) in expected {
        assert!(said(&translation, kind, name).contains(value), "{kind} {name}: {}", said(&translation, kind, name));
    }
}

#[test]
fn the_header_becomes_resources() {
    check(
        DISCHARGE,
        &[
            ("Patient", "identifier", r#"{"system":"https://fhir.nhs.uk/Id/nhs-number","value":"9434765919"}"#),
            ("Patient", "identifier", r#"{"system":"https://hospital.example/id/mrn","value":"H-4711","#),
            ("Patient", "name", r#"[{"use":"usual","family":"Quillfeather","given":["Ottilie","Rae"],"prefix":["Ms"]}]"#),
            ("Patient", "telecom", r#"{"system":"phone","value":"07700 900123","use":"mobile"}"#),
            ("Patient", "address", r#"{"use":"home","line":["3 Quarry Steps","Lower Fold"],"city":"Westmere","postalCode":"WM1 2AB"}"#),
            ("Patient", "gender", r#"{"gender":"female"}"#),
            ("Patient", "birthDate", r#"{"birthDate":"1958-03-12"}"#),
            ("Patient", "deceased[x]", r#"{"deceasedBoolean":false}"#),
            ("Patient", "maritalStatus", r#""system":"http://terminology.hl7.org/CodeSystem/v3-MaritalStatus","code":"M""#),
            ("Patient", "communication", r#"{"language":{"coding":[{"system":"urn:ietf:bcp:47","code":"cy"}]},"preferred":true}"#),
            ("Patient", "contact", r#""name":{"family":"Quillfeather","given":["Lemuel"]}"#),
            ("Patient", "managingOrganization", r#""display":"Westmere Hospital""#),
            ("Encounter", "status", r#"{"status":"finished"}"#),
            ("Encounter", "class", r#"{"class":{"system":"http://terminology.hl7.org/CodeSystem/v3-ActCode","code":"IMP""#),
            // No zone is stated: the document's.
            ("Encounter", "period.start", r#"{"period":{"start":"2026-01-02T10:15:00+01:00"}}"#),
            ("Encounter", "participant", r#""code":"ATND""#),
            ("Encounter", "location", r#""display":"Ward 7""#),
            ("Organization", "name", r#"{"name":"Westmere Hospital"}"#),
            ("Practitioner", "name", r#"[{"family":"Inkpen","given":["Bartholomew"]}]"#),
            ("Practitioner", "telecom", r#"[{"system":"fax","value":"01632 960001"}]"#),
            ("Device", "deviceName", r#"[{"name":"Westmere EPR","type":"user-friendly-name"}]"#),
        ],
    );
    let translation = translated(DISCHARGE);
    let key = &of(&translation, "Patient").key;
    assert_eq!((&*key.system, &*key.value), ("https://hospital.example/id/mrn", "H-4711"));
    // One organization in four places, one person in three.
    for kind in ["Organization", "Practitioner"] {
        assert_eq!(translation.contributions.iter().filter(|contribution| *contribution.key.kind == *kind).count(), 1, "{kind}");
    }
}

#[test]
fn the_document_is_referred_to_and_kept() {
    check(
        DISCHARGE,
        &[
            ("DocumentReference", "masterIdentifier", r#"{"system":"urn:oid:1.2.826.0.1.999.1","value":"DOC-2"}"#),
            ("DocumentReference", "identifier", r#"[{"system":"urn:oid:1.2.826.0.1.999.2","value":"SET-1"}]"#),
            ("DocumentReference", "status", r#"{"status":"current"}"#),
            (
                "DocumentReference",
                "type",
                r#"{"system":"http://snomed.info/sct","code":"373942005","display":"Discharge summary"},{"system":"http://loinc.org","#,
            ),
            // The text that originalText points at, without markup.
            ("DocumentReference", "type", r#""text":"Discharge summary of the ward""#),
            ("DocumentReference", "date", r#"{"date":"2026-01-05T14:30:00+01:00"}"#),
            ("DocumentReference", "author", r#""reference":"Practitioner/"#),
            ("DocumentReference", "author", r#""reference":"Device/"#),
            ("DocumentReference", "author", r#""reference":"Organization/"#),
            ("DocumentReference", "authenticator", r#""reference":"Practitioner/"#),
            ("DocumentReference", "custodian", r#""display":"Westmere Hospital""#),
            ("DocumentReference", "description", r#"{"description":"Discharge summary, Ward 7"}"#),
            ("DocumentReference", "securityLabel", r#""code":"N""#),
            ("DocumentReference", "content", r#""contentType":"application/xml","language":"en-GB","url":"Binary/"#),
            ("DocumentReference", "subject", r#"{"subject":{"reference":"Patient/"#),
            ("DocumentReference", "context.encounter", r#"{"reference":"Encounter/"#),
            ("DocumentReference", "context.period.end", r#"{"context":{"period":{"end":"2026-01-05"}}}"#),
            (
                "DocumentReference",
                "relatesTo",
                r#"[{"code":"replaces","target":{"identifier":{"system":"urn:oid:1.2.826.0.1.999.1","value":"DOC-1"}}}]"#,
            ),
            ("Binary", "contentType", r#"{"contentType":"application/xml"}"#),
            ("Binary", "securityContext", r#"{"reference":"DocumentReference/"#),
        ],
    );
    let translation = translated(DISCHARGE);
    let address = settings().reference(&of(&translation, "Binary").key);
    assert!(said(&translation, "DocumentReference", "content").contains(&format!(r#""url":"{address}""#)));
    assert_eq!(carried(&translation), DISCHARGE);
}

/// The document that the Binary holds.
fn carried(translation: &Translation) -> String {
    let binary = of(translation, "Binary");
    let data = binary.statements.iter().find_map(|statement| statement.value.as_ref()?.get("data").cloned()).unwrap();
    let bytes = base64::engine::general_purpose::STANDARD.decode(data.as_str().unwrap()).unwrap();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_document_says_which_sets_it_belongs_to() {
    let document = "urn:oid:1.2.826.0.1.999.1|DOC-2";
    let replaced = "urn:oid:1.2.826.0.1.999.1|DOC-1";
    let own = "urn:landbridge:docs:";
    let value = |version: u8| {
        let at = 1767619800000000_u64;
        format!(r#"{{"version":{version},"at":{at},"document":"{own}{document}","replaces":"{own}{replaced}","target":"{replaced}"}}"#)
    };
    check(
        DISCHARGE,
        &[
            ("DocumentReference", &format!("document-set {own}urn:oid:1.2.826.0.1.999.2|SET-1"), &value(2)),
            ("DocumentReference", &format!("document-set {own}{document}"), &value(0)),
            ("DocumentReference", &format!("document-set {own}{replaced}"), &value(1)),
        ],
    );
    // Without a set and a parent: its own, which a later one may name.
    let alone =
        "<ClinicalDocument xmlns='urn:hl7-org:v3'><id root='1.2.3'/><effectiveTime value='19700101000001+0000'/></ClinicalDocument>";
    let value = r#"{"version":0,"at":1000000,"document":"urn:landbridge:docs:urn:ietf:rfc:3986|urn:oid:1.2.3"}"#;
    check(alone, &[("DocumentReference", "document-set urn:landbridge:docs:urn:ietf:rfc:3986|urn:oid:1.2.3", value)]);
}

#[test]
fn what_is_not_carried_is_told_once_with_its_place() {
    let issues: Vec<String> = translated(DISCHARGE).issues.iter().map(ToString::to_string).collect();
    assert_eq!(
        issues,
        [
            "information: /ClinicalDocument/legalAuthenticator/time/@value: no row of the tables reads this value",
            "information: /ClinicalDocument/component/structuredBody/component[1]/section: 2 structured entries were not translated; \
         the section is carried in the document itself",
        ]
    );
}

#[test]
fn a_wrapped_document_is_taken_out_with_its_namespaces() {
    let translation = translated(WRAPPED);
    let carried = carried(&translation);
    assert!(carried.starts_with("<ClinicalDocument xmlns:"), "{carried:.80}");
    assert_eq!(translated(&carried).contributions.len(), translation.contributions.len());
    check(
        WRAPPED,
        &[
            ("Patient", "name", r#"[{"text":"Perpetua Oxbow"}]"#),
            ("Patient", "gender", r#"{"gender":"male"}"#),
            ("DocumentReference", "date", r#"{"date":"2026-02-03T20:00:00+00:00"}"#),
            (
                "DocumentReference",
                "masterIdentifier",
                r#"{"system":"urn:ietf:rfc:3986","value":"urn:uuid:a709a442-3cf4-476e-8377-376500e829c9"}"#,
            ),
        ],
    );
    let key = &of(&translation, "Patient").key;
    // A placeholder for an NHS number is kept, and is no key.
    assert_eq!((&*key.system, &*key.value), ("https://hospital.example/id/mrn", "K12"));
}

#[test]
fn the_adapter_keeps_its_contract() {
    let adapter = dialect().adapter(settings());
    let values = ["Quillfeather", "Ottilie", "9434765919", "943 476 5919", "H-4711", "Quarry", "900123", "Inkpen", "19580312"];
    compliance::check(&*adapter, DISCHARGE.as_bytes(), &values);
    compliance::check(&*adapter, WRAPPED.as_bytes(), &["Oxbow", "Perpetua", "K12"]);
}

#[test]
fn documents_are_recognised_by_their_head() {
    let wide: Vec<u8> = DISCHARGE.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (bytes, expected) in [
        (DISCHARGE.as_bytes(), true),
        (WRAPPED.as_bytes(), true),
        (&*wide, true),
        ("\u{feff} <x:ClinicalDocument".as_bytes(), true),
        (b"<Bundle/>", false),
        (b"MSH|^~\\&|ClinicalDocument", false),
        (b"", false),
    ] {
        assert_eq!(dialect().recognises(bytes), expected);
    }
}

#[test]
fn every_element_can_be_traced() {
    let adapter = dialect().adapter(settings());
    let frame = Frame::new(DISCHARGE.as_bytes().to_vec());
    let explained = adapter.explain(&frame, &adapter.envelope(&frame).unwrap()).unwrap();
    let birth = explained.traces.iter().find(|trace| trace.element == "birthDate").unwrap();
    assert_eq!(birth.place, "/ClinicalDocument/recordTarget/patientRole/patient/birthTime/@value");
    assert!(birth.row.starts_with("segments/PatientRole[Patient]:"), "{}", birth.row);
    assert!(explained.unmapped.iter().any(|place| place.ends_with("/section")), "{:?}", explained.unmapped);
}
