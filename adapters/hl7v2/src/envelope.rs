//! Who sent what: read from MSH alone (and EVN-1, where MSH-9 names no event).

use crate::charset::{self, Charset};
use crate::er7::{self, Delimiters};
use crate::escape::unescape;
use contract::{Envelope, Frame, Issue, IssueCode, Party, Processing, Rejection, Settings, Severity, TypeCode};
use mapping::Stamp;
use std::borrow::Cow;

/// The envelope of a frame. Malformed where MSH cannot be read or MSH-9 names no message.
pub fn envelope(frame: &Frame, settings: &Settings) -> Result<Envelope, Rejection> {
    let bytes = frame.bytes();
    let head = Head::read(bytes, settings.character_set.as_deref()).map_err(Rejection::Malformed)?;
    let mut issues = Vec::new();
    let mut note = |severity, code, place: &str, reason: &'static str| issues.push(Issue::new(severity, code, place, reason));

    let message_type = message_type(&head, bytes, settings, &mut note)?;
    if head.field(10).is_empty() {
        note(Severity::Warning, IssueCode::Required, "MSH[1]-10", "the message has no control id: its acknowledgement cannot name it");
    }
    let processing = match head.component(11).as_ref() {
        "P" => Processing::Production,
        "T" => Processing::Training,
        "D" => Processing::Debugging,
        _ => {
            note(Severity::Information, IssueCode::UnknownCode, "MSH[1]-11", "the processing id is not one of table 0103");
            Processing::Unknown
        }
    };
    let stamp = head.component(7);
    let sent = match Stamp::parse(&stamp) {
        Ok(stamp) => Some(stamp.micros(&settings.timezone)),
        Err(_) => {
            let (code, reason) = if stamp.is_empty() {
                (IssueCode::Required, "the message does not say when it was made")
            } else {
                (IssueCode::Time, "the stamp cannot be read")
            };
            note(Severity::Information, code, "MSH[1]-7", reason);
            None
        }
    };
    let version =
        Some(head.component(12).into_owned()).filter(|version| version.starts_with("2.") && is_word(version, 10)).unwrap_or_default();
    if version.is_empty() {
        note(Severity::Information, IssueCode::NotSupported, "MSH[1]-12", "the version is missing or none of HL7 v2");
    }
    let party = |application, facility| Party {
        application: head.component(application).into_owned(),
        facility: head.component(facility).into_owned(),
    };
    Ok(Envelope {
        message_type,
        control_id: head.field(10).to_owned(),
        sender: party(3, 4),
        receiver: party(5, 6),
        processing,
        sent,
        version,
        head: bytes.slice_ref(charset::first_line(bytes)),
        issues,
    })
}

/// MSH as the reply needs it: text that can be given back byte for byte.
pub(crate) struct Head {
    line: String,
    pub charset: Charset,
    pub delimiters: Delimiters,
}

impl Head {
    /// From a frame, or from [`Envelope::head`].
    pub fn read(bytes: &[u8], character_set: Option<&str>) -> Result<Self, Issue> {
        let decoded = charset::decode_head(charset::first_line(bytes), character_set);
        let delimiters = Delimiters::of(&decoded.text)?;
        if !decoded.text.starts_with("MSH") {
            let reason = "a batch (FHS/BHS) is not one message: send its messages one by one";
            return Err(Issue::new(Severity::Error, IssueCode::Structure, "byte 0", reason));
        }
        Ok(Self { line: decoded.text, charset: decoded.charset, delimiters })
    }

    /// A field as it was written, by its number in the standard; from MSH-2.
    pub fn field(&self, number: usize) -> &str {
        self.line.split(char::from(self.delimiters.field)).nth(number - 1).unwrap_or_default()
    }

    /// The first component of a field's first repetition, unescaped.
    pub fn component(&self, number: usize) -> Cow<'_, str> {
        let delimiters = &self.delimiters;
        let ends = [delimiters.repetition, delimiters.component, delimiters.subcomponent].map(char::from);
        let first = self.field(number).split(ends).next().unwrap_or_default().trim();
        if first == "\"\"" { Cow::Borrowed("") } else { unescape(first, delimiters, self.charset) }
    }
}

/// MSH-9; its event from EVN-1 where it has none. Where both have one, MSH-9 wins.
fn message_type(
    head: &Head,
    bytes: &[u8],
    settings: &Settings,
    note: &mut dyn FnMut(Severity, IssueCode, &str, &'static str),
) -> Result<TypeCode, Rejection> {
    let malformed = |code, reason: &'static str| Rejection::Malformed(Issue::new(Severity::Error, code, "MSH[1]-9", reason));
    let mut found = er7::type_code(&head.line, &head.delimiters);
    if found.code.is_empty() {
        return Err(malformed(IssueCode::Required, "the message names no type"));
    }
    if !is_word(&found.code, 8) || !(found.event.is_empty() || is_word(&found.event, 8)) {
        return Err(malformed(IssueCode::DataType, "the message type is not a code and an event"));
    }
    if !is_word(&found.structure, 12) {
        found.structure = String::new();
    }
    let stated = evn_1(head, bytes, settings).filter(|event| is_word(event, 8));
    match stated {
        Some(event) if found.event.is_empty() => found.event = event,
        Some(event) if event != found.event => {
            note(Severity::Information, IssueCode::Altered, "EVN[1]-1", "the event differs from MSH-9, which was followed");
        }
        _ => {}
    }
    Ok(found)
}

/// EVN-1, of a message that has an EVN near its head.
fn evn_1(head: &Head, bytes: &[u8], settings: &Settings) -> Option<String> {
    let start = charset::head_start(bytes);
    let text = match head.charset {
        Charset::Utf16 { .. } | Charset::Utf32 { .. } => charset::decode(bytes, settings.character_set.as_deref()).text,
        // The ids of segments and events are ASCII in every other set.
        Charset::Narrow(_) | Charset::Bytes => {
            let near = &bytes[start..bytes.len().min(start + NEAR_BYTES)];
            Charset::Bytes.decode(near).0
        }
    };
    let field = char::from(head.delimiters.field);
    let line =
        text.split(['\r', '\n']).map(str::trim_start).find(|line| line.strip_prefix("EVN").is_some_and(|rest| rest.starts_with(field)))?;
    line.split(field).nth(1).map(|event| event.trim().to_owned())
}

/// EVN stands behind MSH and SFT: no need to look further for it.
const NEAR_BYTES: usize = 4096;

/// A code that may be shown: letters, digits, dots, underscores.
fn is_word(text: &str, length_max: usize) -> bool {
    !text.is_empty() && text.len() <= length_max && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Envelope, Rejection> {
        envelope(&Frame::new(text.as_bytes().to_vec()), &Settings::demonstration())
    }

    #[test]
    fn who_sent_what() {
        let found = of("MSH|^~\\&|PAS^1.2^ISO|R\\T\\D|LB|RXX|20260102030405+0100||ADT^A01^ADT_A01|c 1|P^A|2.5.1^GBR\rEVN|A01").unwrap();
        assert_eq!(found.message_type.to_string(), "ADT^A01");
        assert_eq!(found.message_type.structure, "ADT_A01");
        assert_eq!(found.sender, Party { application: "PAS".into(), facility: "R&D".into() });
        assert_eq!(found.receiver, Party { application: "LB".into(), facility: "RXX".into() });
        assert_eq!(found.control_id, "c 1");
        assert_eq!(found.processing, Processing::Production);
        assert_eq!(found.version, "2.5.1");
        assert_eq!(found.sent, Some("2026-01-02T02:04:05Z".parse::<jiff::Timestamp>().unwrap().as_microsecond()));
        assert!(found.issues.is_empty(), "{:?}", found.issues);
        assert_eq!(&found.head[..4], b"MSH|");
        assert_eq!(found.head.last(), Some(&b'R'));
    }

    fn check(text: &str, message_type: &str, places: &[&str]) {
        let found = of(text).unwrap();
        assert_eq!(found.message_type.to_string(), message_type, "{text}");
        assert_eq!(found.issues.iter().map(|issue| issue.place.as_str()).collect::<Vec<_>>(), places, "{text}");
    }

    #[test]
    fn heads_of_all_kinds() {
        check("MSH|^~\\&|||||20260102||ADT|1|P|2.1\rEVN|A08", "ADT^A08", &[]);
        check("MSH|^~\\&|||||20260102||ADT^A01|1|P|2.3\r\nEVN|A08", "ADT^A01", &["EVN[1]-1"]);
        check("MSH|^~\\&|||||20260102||ADT^A01||P|2.3", "ADT^A01", &["MSH[1]-10"]);
        check("MSH|^~\\&|||||yesterday||ORU^R01|1|X|new", "ORU^R01", &["MSH[1]-11", "MSH[1]-7", "MSH[1]-12"]);
        check("MSH|^~\\&|||||||ORU|1|T|2.x", "ORU", &["MSH[1]-7"]);
        check("\u{feff}\r\nMSH$%~\\&$$$$$20260102$$ADT%A01$1$P$2.4", "ADT^A01", &[]);
    }

    #[test]
    fn a_wide_head_has_an_end() {
        let text = "MSH|^~\\&|PAS||||20260102||ADT|1|P|2.5\rEVN|A03\r";
        for charset in [Charset::Utf16 { big: false }, Charset::Utf32 { big: true }] {
            let bytes = charset.encode(text);
            let found = envelope(&Frame::new(bytes), &Settings::demonstration()).unwrap();
            assert_eq!((found.message_type.to_string().as_str(), found.sender.application.as_str()), ("ADT^A03", "PAS"));
            assert_eq!(charset.decode(&found.head).0, text.split('\r').next().unwrap());
        }
    }

    #[test]
    fn what_cannot_be_read_is_malformed_with_a_place() {
        for (text, place) in [
            ("", "byte 0"),
            ("<xml/>", "byte 0"),
            ("BHS|^~\\&|", "byte 0"),
            ("MSH", "MSH[1]-1"),
            ("MSH|^~\\&&&&|", "MSH[1]-2"),
            ("MSH|^~\\&|A", "MSH[1]-9"),
            ("MSH|^~\\&|||||||Smith, Jo^A01", "MSH[1]-9"),
        ] {
            match of(text).unwrap_err() {
                Rejection::Malformed(issue) => {
                    assert_eq!(issue.place, place, "{text}");
                    assert_eq!(issue.reason.contains("a batch (FHS/BHS)"), text.starts_with("BHS"), "{text}");
                }
                other => panic!("{text}: {other:?}"),
            }
        }
    }
}
