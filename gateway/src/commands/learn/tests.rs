use super::draft::draft;
use super::survey::Samples;
use crate::adapters::dialects;
use crate::config::{Config, Files};
use bytes::Bytes;
use std::path::Path;

/// Made-up people, whose names, numbers and dates must not be in any draft.
const SECRETS: [&str; 12] =
    ["Quill", "Ottoline", "OTTOLINE", "700001", "700002", "9990000018", "V5001", "LAB77", "19580412", "1958", "Teasel Lane", "02079460000"];

fn adt(event: &str, control_id: &str, sent: &str, more: &str) -> String {
    format!(
        "MSH|^~\\&|PAS|RXX|LANDBRIDGE|RXX|{sent}||ADT^{event}|{control_id}|P|2.4|7\r\
         EVN|{event}|{sent}\r\
         PID|1||700001^^^RXX^MR~9990000018^^^NHS^NH||Quill^Ottoline||19580412|2|||1 Teasel Lane^^Town||02079460000\r\
         PV1|1|I|WARD1|ZZ9|||||||||||||||V5001^^^RXX^VN\r{more}"
    )
}

fn oru(control_id: &str, name: &str) -> Vec<u8> {
    let text = format!(
        "MSH|^~\\&|LAB|RXX&2.999.7&ISO|LANDBRIDGE|RXX|20260301093000||ORU^R01|{control_id}|P|2.5.1\r\
         PID|1||700002^^^RXX^MR||{name}||19580412|F\r\
         OBR|1||LAB77^LIS^2.999.8^ISO|GLU^Glucose^L|||20260301080000\r\
         OBX|1|NM|GLU^Glucose^L||5.1|mmol/L|||||F\r\
         OBX|2|NM|718-7^Haemoglobin^LN||140|g/L|||||F\r\
         OBX|3|NM|Quill Ottoline^Free text^L||1||||||F\r"
    );
    text.chars().map(|letter| u8::try_from(u32::from(letter)).unwrap()).collect()
}

fn samples() -> Samples {
    let mut samples = Samples::new(&dialects(None).unwrap());
    let winter = adt("A01", "1", "20260301093000+0000", "ZU1|x||y\rZU1|||z\r");
    let summer = adt("A03", "2", "20260701093000+0100", "");
    let mut take = |bytes: Vec<u8>| samples.take(&Bytes::from(bytes));
    take(winter.clone().into_bytes());
    // A batch with a repeat, another content under the same id, and a type that no table translates.
    let other = adt("A08", "2", "20260702093000+0100", "");
    let siu = "MSH|^~\\&|PAS|RXX|LANDBRIDGE|RXX|202603010930||SIU^S12|4|T|2.4\rSCH|1\r";
    take(format!("FHS|^~\\&\rBHS|^~\\&\r{winter}{summer}{other}{siu}BTS|4\rFTS|1\r").into_bytes());
    // A recording, in which one frame is no message.
    let mut recording = Vec::new();
    for frame in [oru("A1", "Quill^Ottoline"), oru("A2", "Qu\u{ef}ll^Ottoline"), b"PID|1||700001".to_vec()] {
        recording.extend([&[0x0B], frame.as_slice(), &[0x1C, 0x0D]].concat());
    }
    take(recording);
    take(b"<?xml version=\"1.0\"?><ClinicalDocument xmlns=\"urn:hl7-org:v3\"/>".to_vec());
    take(b"name,number\rQuill,700001\r".to_vec());
    samples
}

/// `UPDATE_GOLDEN=1` writes the file anew.
#[test]
fn a_draft_is_what_the_golden_file_says_and_holds_nothing_of_a_patient() {
    let fresh = draft(&samples(), "mllp.main");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/commands/learn/draft.golden.toml");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &fresh).unwrap();
    }
    assert_eq!(fresh, std::fs::read_to_string(&path).unwrap_or_default());
    for secret in SECRETS {
        assert!(!fresh.contains(secret), "{secret}");
    }
}

#[test]
fn a_draft_added_to_a_configuration_has_no_mistake() {
    let of_init = include_str!("../../landbridge.toml");
    let (feeds, rest) = (of_init.find("[feed.pas]").unwrap(), of_init.find("[[issuer]]").unwrap());
    let whole = format!("{}{}{}", &of_init[..feeds], draft(&samples(), "mllp.main"), &of_init[rest..]);
    let read = Config::read_text(&whole, Path::new("/etc/landbridge/landbridge.toml"), Files::Untouched);
    assert!(read.mistakes.is_empty(), "{:#?}\n{whole}", read.mistakes);
    assert_eq!(read.meant.feeds.keys().collect::<Vec<_>>(), ["lab", "pas"]);
    let pas = &read.meant.feeds["pas"];
    assert_eq!((pas.timezone.iana_name(), pas.primary_assigner.as_deref()), (Some("Europe/London"), Some("RXX")));
    assert_eq!(pas.accepts, ["ADT"]);
    assert_eq!(read.meant.feeds["lab"].character_set.as_deref(), Some("8859/1"));
}

#[test]
fn odd_senders_give_a_draft_that_can_be_read_all_the_same() {
    let mut samples = Samples::new(&dialects(None).unwrap());
    let names = ["", "\"\"", "A\"B\\", "a b", "A-B", "Ärzte", "9990000018", "x\ty", "[feed]", "#1"];
    for (number, sender) in names.iter().enumerate() {
        let assigner = names[names.len() - 1 - number];
        let text = format!("MSH|^~\\&|{sender}|{assigner}||{sender}|2026||ZZZ^Z01|{number}||9\rPID|||7^^^{assigner}^{sender}\rZZZ\r");
        samples.take(&Bytes::from(text));
    }
    let text = draft(&samples, "mllp.main");
    let read = Config::read_text(&text, Path::new("/etc/landbridge.toml"), Files::Untouched);
    // It has no listener of that name, nor the other sections.
    let mistakes: Vec<_> = read.mistakes.iter().filter(|mistake| mistake.line > 0 && !mistake.key.ends_with(".listener")).collect();
    assert!(mistakes.is_empty(), "{mistakes:#?}\n{text}");
    assert_eq!(read.meant.feeds.len(), names.len(), "{text}");
    // A number in place of an assigner may be a person's.
    assert!(!text.contains("\"9990000018\" ="), "{text}");
}
