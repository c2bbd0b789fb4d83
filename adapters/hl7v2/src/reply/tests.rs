use super::*;
use crate::envelope::envelope;

fn issue(severity: Severity, code: IssueCode, place: &str, reason: &'static str) -> Issue {
    Issue::new(severity, code, place, reason)
}

fn replied(bytes: &[u8], kind: OutcomeKind, code: Option<&str>, issues: Vec<Issue>) -> Option<String> {
    let settings = Settings::demonstration();
    let frame = Frame::new(bytes.to_vec());
    let envelope = envelope(&frame, &settings).ok();
    let mut outcome = Outcome::new(kind, issues, "2026-01-02T03:04:05Z".parse().unwrap());
    outcome.code = code.map(str::to_owned);
    let reply = reply(envelope.as_ref(), &frame, &outcome, &settings)?;
    // The gateway's own control id is the frame's digest: replaced, so that a test names what it is about.
    let text = Charset8(&reply).to_string();
    Some(text.replace(&own_id(&frame), "OWN").replace('\r', "\n"))
}

/// Bytes, each as the character of its number.
struct Charset8<'b>(&'b [u8]);

impl std::fmt::Display for Charset8<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{}", char::from(*byte)))
    }
}

fn check(message: &str, kind: OutcomeKind, issues: Vec<Issue>, expected: &str) {
    assert_eq!(replied(message.as_bytes(), kind, None, issues).unwrap_or_default(), expected, "{message}");
}

fn warnings() -> Vec<Issue> {
    vec![
        issue(Severity::Information, IssueCode::NotMapped, "PID[1]-6", "not told"),
        issue(Severity::Warning, IssueCode::UnknownCode, "PID[1]-3[2].4.1", "the code is not in its table"),
        issue(Severity::Warning, IssueCode::Characters, "byte 17", "not UTF-8 & more"),
    ]
}

const M251: &str = "MSH|^~\\&|PAS^1.2.3^ISO|RXX|LB||20260102||ADT^A01^ADT_A01|id 1|P|2.5.1";

#[test]
fn stored_is_accepted_with_parties_swapped_whole() {
    check(M251, OutcomeKind::Stored, vec![], "MSH|^~\\&|LB||PAS^1.2.3^ISO|RXX|20260102030405+0000||ACK^A01^ACK|OWN|P|2.5.1\nMSA|AA|id 1\n");
    check(
        M251,
        OutcomeKind::Duplicate,
        vec![],
        "MSH|^~\\&|LB||PAS^1.2.3^ISO|RXX|20260102030405+0000||ACK^A01^ACK|OWN|P|2.5.1\nMSA|AA|id 1\n",
    );
}

#[test]
fn the_form_follows_the_version() {
    for (version, message_type) in
        [("2.1", "ACK"), ("2.3.1", "ACK"), ("2.4", "ACK^A08^ACK"), ("2.8", "ACK^A08^ACK"), ("2.x", "ACK^A08^ACK")]
    {
        let message = format!("MSH|^~\\&|||||||ADT^A08|1|T|{version}|||||||8859/1");
        let expected = format!("MSH|^~\\&|||||20260102030405+0000||{message_type}|OWN|T|{version}||||||8859/1\nMSA|AA|1\n");
        check(&message.replace("|||||||8859", "||||||8859"), OutcomeKind::Stored, vec![], &expected);
    }
}

#[test]
fn errors_and_warnings_from_2_5() {
    let head = "MSH|^~\\&|LB||PAS^1.2.3^ISO|RXX|20260102030405+0000||ACK^A01^ACK|OWN|P|2.5.1\n";
    let errors = "ERR||PID^1^3^2^4^1|103^Table value not found^HL70357|W||||the code is not in its table\n\
                  ERR|||102^Data type error^HL70357|W||||not UTF-8 \\T\\ more (byte 17)\n";
    check(M251, OutcomeKind::StoredWithIssues, warnings(), &format!("{head}MSA|AA|id 1\n{errors}"));
    let missing = || vec![issue(Severity::Error, IssueCode::Required, "PID[1]-3", "no identifier")];
    let error = "ERR||PID^1^3^1|101^Required field missing^HL70357|E||||no identifier\n";
    check(M251, OutcomeKind::Malformed, missing(), &format!("{head}MSA|AE|id 1\n{error}"));
    check(M251, OutcomeKind::Untranslatable, missing(), &format!("{head}MSA|AA|id 1\n{error}"));
    let forbidden = vec![issue(Severity::Error, IssueCode::Forbidden, "MSH[1]-3", "not this sender")];
    let error = "ERR||MSH^1^3^1|207^Application internal error^HL70357|E||||not this sender\n";
    check(M251, OutcomeKind::Forbidden, forbidden, &format!("{head}MSA|AR|id 1\n{error}"));
    let forbidden = vec![issue(Severity::Error, IssueCode::Forbidden, "MSH[1]-9", "not of this feed")];
    let error = "ERR||MSH^1^9^1|200^Unsupported message type^HL70357|E||||not of this feed\n";
    check(M251, OutcomeKind::Forbidden, forbidden, &format!("{head}MSA|AR|id 1\n{error}"));
    let absent = vec![issue(Severity::Warning, IssueCode::Required, "MRG", "not there")];
    let error = "ERR||MRG|101^Required field missing^HL70357|W||||not there\n";
    check(M251, OutcomeKind::StoredWithIssues, absent, &format!("{head}MSA|AA|id 1\n{error}"));
    let segment = vec![issue(Severity::Error, IssueCode::Structure, "OBX[3]", "out of place")];
    check(
        M251,
        OutcomeKind::Malformed,
        segment,
        &format!("{head}MSA|AE|id 1\nERR||OBX^3|100^Segment sequence error^HL70357|E||||out of place\n"),
    );
}

#[test]
fn errors_before_2_5() {
    let message = "MSH|^~\\&|||||||ADT^A01|1|P|2.3";
    let head = "MSH|^~\\&|||||20260102030405+0000||ACK|OWN|P|2.3\n";
    let two = vec![
        issue(Severity::Error, IssueCode::Required, "PID[1]-3", "no identifier"),
        issue(Severity::Error, IssueCode::NotSupported, "MSH[1]-12", "no such version"),
    ];
    let expected = format!(
        "{head}MSA|AE|1|no identifier\nERR|PID^1^3^101&Required field missing&HL70357~MSH^1^12^203&Unsupported version id&HL70357\n"
    );
    check(message, OutcomeKind::Malformed, two, &expected);
    // ERR before 2.5 has no severity: with AA it would read as a refusal.
    check(message, OutcomeKind::StoredWithIssues, warnings(), &format!("{head}MSA|AA|1\n"));
}

#[test]
fn who_asks_for_which_acknowledgement() {
    for (accept, application, stored, refused) in [
        ("", "", "AA", "AE"),
        ("AL", "", "CA", "CE"),
        ("AL", "NE", "CA", "CE"),
        ("AL", "AL", "CA", "CE"),
        ("NE", "AL", "AA", "AE"),
        ("", "AL", "AA", "AE"),
        ("NE", "NE", "", ""),
        ("NE", "", "", ""),
        ("ER", "NE", "", "CE"),
        ("SU", "NE", "CA", ""),
        ("NE", "ER", "", "AE"),
        ("NE", "SU", "AA", ""),
        ("ER", "AL", "AA", "CE"),
        ("yes", "", "CA", "CE"),
    ] {
        let message = format!("MSH|^~\\&|||||||ADT^A01|1|P|2.5|||{accept}|{application}");
        for (kind, expected) in [(OutcomeKind::Stored, stored), (OutcomeKind::Malformed, refused)] {
            let reply = replied(message.as_bytes(), kind, None, vec![]).unwrap_or_default();
            let code = reply.split("MSA|").nth(1).and_then(|rest| rest.split('|').next()).unwrap_or_default();
            assert_eq!(code, expected, "{accept}/{application} {kind:?}");
        }
    }
}

#[test]
fn the_feed_chooses_the_code() {
    for (kind, code, expected) in [
        (OutcomeKind::Unsupported, None, "MSA|AA|"),
        (OutcomeKind::Unsupported, Some("AR"), "MSA|AR|"),
        (OutcomeKind::Held, Some("AE"), "MSA|AE|"),
        (OutcomeKind::Transient, Some("AE"), "MSA|AE|"),
    ] {
        assert!(replied(M251.as_bytes(), kind, code, vec![]).unwrap().contains(expected), "{kind:?} {code:?}");
    }
    let enhanced = format!("{M251}|||AL");
    assert!(replied(enhanced.as_bytes(), OutcomeKind::Unsupported, Some("AR"), vec![]).unwrap().contains("MSA|CR|"));
    assert!(!replied(enhanced.as_bytes(), OutcomeKind::StoredWithIssues, None, warnings()).unwrap().contains("ERR"));
}

#[test]
fn where_no_reply_is_due() {
    for message in ["MSH|^~\\&|||||||ACK|1|P|2.3", "MSH|^~\\&|||||||ACK^A01^ACK|1|P|2.5"] {
        assert_eq!(replied(message.as_bytes(), OutcomeKind::Stored, None, vec![]), None);
    }
    assert_eq!(replied(M251.as_bytes(), OutcomeKind::Transient, None, vec![]), None);
    assert_eq!(replied(M251.as_bytes(), OutcomeKind::Unauthenticated, None, vec![]), None);
    assert_eq!(replied(b"junk", OutcomeKind::Transient, None, vec![]), None);
}

#[test]
fn what_has_no_msh_is_rejected_by_the_standards_own_delimiters() {
    let found = replied(b"PID|1", OutcomeKind::Malformed, None, vec![issue(Severity::Error, IssueCode::Structure, "byte 0", "no MSH")]);
    let expected =
        "MSH|^~\\&|||||20260102030405+0000||ACK|OWN|P|2.5.1\nMSA|AR\nERR|||100^Segment sequence error^HL70357|E||||no MSH (byte 0)\n";
    assert_eq!(found.as_deref(), Some(expected));
}

#[test]
fn an_msh_without_a_type_is_answered_in_its_own_words() {
    let found = replied(b"MSH$%~*!$A$B$C$D$$$$9$P$2.3", OutcomeKind::Malformed, None, vec![]);
    assert_eq!(found.as_deref(), Some("MSH$%~*!$C$D$A$B$20260102030405+0000$$ACK$OWN$P$2.3\nMSA$AE$9\n"));
}

#[test]
fn the_control_id_comes_back_byte_for_byte() {
    for id in [&b"a\xE9b"[..], b"\\T\\x^y", b"  7 ", "é山".as_bytes(), b"\x83\x7D"] {
        for charset in ["", "UNICODE UTF-8", "8859/1", "ISO IR14"] {
            let mut message = b"MSH|^~\\&|||||||ADT^A01|".to_vec();
            message.extend_from_slice(id);
            message.extend_from_slice(format!("|P|2.5||||||{charset}\rPID|1").as_bytes());
            let reply = replied(&message, OutcomeKind::Stored, None, vec![]).unwrap();
            let expected = Charset8(&[b"MSA|AA|", id, b"\n"].concat()).to_string();
            assert!(reply.contains(&expected), "{charset}: {reply}");
        }
    }
}

#[test]
fn a_wide_message_is_answered_widely() {
    use crate::charset::Charset;
    let charset = Charset::Utf16 { big: true };
    let settings = Settings::demonstration();
    let frame = Frame::new(charset.encode(M251));
    let outcome = Outcome::new(OutcomeKind::Stored, vec![], jiff::Timestamp::UNIX_EPOCH);
    let found = reply(Some(&envelope(&frame, &settings).unwrap()), &frame, &outcome, &settings).unwrap();
    assert!(charset.decode(&found).0.ends_with("MSA|AA|id 1\r"));
}
