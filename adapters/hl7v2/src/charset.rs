//! Character sets of messages: MSH-18 (table 0211), marks, and what the feed says where the message says nothing.

use contract::{Issue, IssueCode, Severity};
use encoding_rs::{BIG5, DecoderResult, EUC_JP, EUC_KR, Encoding, GB18030, ISO_2022_JP, SHIFT_JIS, UTF_8, WINDOWS_1252};

/// How the characters of a message stand as bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charset {
    /// Any encoding in which the bytes of ASCII mean themselves. 8859/1 is read as its superset windows-1252.
    Narrow(&'static Encoding),
    Utf16 {
        big: bool,
    },
    Utf32 {
        big: bool,
    },
    /// Each byte is the character of its number: for a head that must be given back byte for byte.
    Bytes,
}

/// Where bytes were met that are not of the character set, and how many times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Offset of the first.
    pub byte: usize,
    pub count: usize,
}

impl Charset {
    /// The text, with U+FFFD for what is not of the set.
    pub fn decode(self, bytes: &[u8]) -> (String, Option<Damage>) {
        match self {
            Charset::Narrow(encoding) => decode_by(encoding, bytes),
            Charset::Utf16 { big } => decode_by(if big { encoding_rs::UTF_16BE } else { encoding_rs::UTF_16LE }, bytes),
            Charset::Utf32 { big } => decode_utf32(big, bytes),
            Charset::Bytes => (bytes.iter().copied().map(char::from).collect(), None),
        }
    }

    /// The bytes of a text; `?` for a character that the set does not have.
    pub fn encode(self, text: &str) -> Vec<u8> {
        match self {
            Charset::Narrow(encoding) => {
                let (bytes, _, lossy) = encoding.encode(text);
                if !lossy {
                    return bytes.into_owned();
                }
                let known: String =
                    text.chars().map(|char| if encoding.encode(char.encode_utf8(&mut [0; 4])).2 { '?' } else { char }).collect();
                encoding.encode(&known).0.into_owned()
            }
            Charset::Utf16 { big } => {
                text.encode_utf16().flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
            }
            Charset::Utf32 { big } => {
                text.chars().map(u32::from).flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
            }
            Charset::Bytes => text.chars().map(|char| u8::try_from(u32::from(char)).unwrap_or(b'?')).collect(),
        }
    }
}

/// A message's bytes as text.
pub struct Decoded {
    pub text: String,
    pub charset: Charset,
    pub issues: Vec<Issue>,
}

/// Decodes a message: by its mark (BOM) or the shape of its first bytes where it is UTF-16 or UTF-32, else by MSH-18,
/// else by what the feed says, else UTF-8 if it is that, else windows-1252. A BOM and what transports leave before the
/// first segment (CR, LF, space, NUL, 0B) are no part of the text.
pub fn decode(bytes: &[u8], feed_default: Option<&str>) -> Decoded {
    let mut issues = Vec::new();
    let start = head_start(bytes);
    let body = &bytes[start..];
    let charset = match wide(body) {
        Some(charset) => charset,
        None => declared(body, feed_default, &mut issues),
    };
    let (text, damage) = charset.decode(body);
    if let Some(Damage { byte, count }) = damage {
        issues.push(Issue::new(
            Severity::Warning,
            IssueCode::Characters,
            format!("byte {}", start + byte),
            format!("{count} places hold bytes that are not of the character set; each became U+FFFD"),
        ));
    }
    Decoded { text, charset, issues }
}

/// The character set of a head that is given back byte for byte: the message's own where that can be undone.
pub fn decode_head(bytes: &[u8], feed_default: Option<&str>) -> Decoded {
    let decoded = decode(bytes, feed_default);
    let body = &bytes[head_start(bytes)..];
    if decoded.charset.encode(&decoded.text) == body {
        return decoded;
    }
    Decoded { text: Charset::Bytes.decode(body).0, charset: Charset::Bytes, issues: decoded.issues }
}

/// Where the message begins: behind a UTF-8 or UTF-16 or UTF-32 mark, and what transports leave between frames.
pub fn head_start(bytes: &[u8]) -> usize {
    let mut start = 0;
    loop {
        let rest = &bytes[start..];
        let skip = if rest.starts_with(&[0xEF, 0xBB, 0xBF]) {
            3
        } else if start == 0 && (rest.starts_with(&[0xFF, 0xFE, 0, 0]) || rest.starts_with(&[0, 0, 0xFE, 0xFF])) {
            4
        } else if start == 0 && (rest.starts_with(&[0xFF, 0xFE]) || rest.starts_with(&[0xFE, 0xFF])) {
            2
        } else if rest.first().is_some_and(|byte| matches!(byte, b'\r' | b'\n' | b' ' | b'\t' | 0x0B) || *byte == 0 && wide(rest).is_none())
        {
            1
        } else {
            return start;
        };
        start += skip;
    }
}

/// The bytes to the end of the first segment, without the line end.
pub fn first_line(bytes: &[u8]) -> &[u8] {
    let start = head_start(bytes);
    let body = &bytes[start..];
    let (unit, at) = match wide(body) {
        None | Some(Charset::Narrow(_) | Charset::Bytes) => (1, 0),
        Some(Charset::Utf16 { big }) => (2, usize::from(big)),
        Some(Charset::Utf32 { big }) => (4, if big { 3 } else { 0 }),
    };
    let is_end = |character: &[u8]| {
        let zeros = character.iter().filter(|byte| **byte == 0).count();
        zeros == unit - 1 && character.get(at).is_some_and(|byte| matches!(byte, b'\r' | b'\n'))
    };
    let length = body.chunks(unit).position(is_end).map_or(body.len(), |end| end * unit);
    &bytes[..start + length]
}

/// UTF-16 or UTF-32 by the zero bytes around the first two letters: `MSH`, `FHS`, `BHS`.
fn wide(body: &[u8]) -> Option<Charset> {
    let letter = u8::is_ascii_uppercase;
    match body {
        [0, 0, 0, a, 0, 0, 0, b, ..] if letter(a) && letter(b) => Some(Charset::Utf32 { big: true }),
        [a, 0, 0, 0, b, 0, 0, 0, ..] if letter(a) && letter(b) => Some(Charset::Utf32 { big: false }),
        [0, a, 0, b, ..] if letter(a) && letter(b) => Some(Charset::Utf16 { big: true }),
        [a, 0, b, 0, ..] if letter(a) && letter(b) => Some(Charset::Utf16 { big: false }),
        _ => None,
    }
}

/// The character set of a message in which ASCII means itself.
fn declared(body: &[u8], feed_default: Option<&str>, issues: &mut Vec<Issue>) -> Charset {
    let head = body.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    let name = first_of_msh18(head);
    let mut note = |severity, reason| issues.push(Issue::new(severity, IssueCode::Characters, "MSH[1]-18", reason));
    let high = || body.iter().any(|byte| !byte.is_ascii());
    match name.as_str() {
        "" => {}
        "ASCII" | "ISO IR6" => {
            if high() {
                note(
                    Severity::Warning,
                    "the message declares ASCII and holds other characters; they were read as the feed's character set",
                );
            }
        }
        "UNICODE UTF-16" | "UTF-16" | "UNICODE UTF-32" | "UTF-32" => {
            note(Severity::Information, "the message declares UTF-16 or UTF-32 and is written byte by byte; it was read as UTF-8");
            return Charset::Narrow(UTF_8);
        }
        name => match by_name(name) {
            Some(encoding) => return Charset::Narrow(encoding),
            None => note(Severity::Warning, "the character set is not known here; the message was read as the feed's"),
        },
    }
    if !high() {
        return Charset::Narrow(UTF_8);
    }
    if let Some(encoding) = feed_default.and_then(by_name) {
        return Charset::Narrow(encoding);
    }
    if name.is_empty() {
        note(Severity::Information, "neither the message nor the feed declares a character set; it was told by the bytes");
    }
    Charset::Narrow(if std::str::from_utf8(body).is_ok() { UTF_8 } else { WINDOWS_1252 })
}

/// The first repetition of MSH-18, upper case: it governs (§2.15.9.18).
fn first_of_msh18(head: &[u8]) -> String {
    let Some(&field) = head.get(3) else { return String::new() };
    let repetition = head.get(5).copied().filter(|byte| *byte != field).unwrap_or(b'~');
    let value = head.split(|byte| *byte == field).nth(17).unwrap_or_default();
    let first = value.split(|byte| *byte == repetition).next().unwrap_or_default();
    String::from_utf8_lossy(first).trim().to_ascii_uppercase()
}

/// A name of table 0211, or an IANA name. 8859/1 is windows-1252 to encoding_rs, as to every browser.
pub fn by_name(name: &str) -> Option<&'static Encoding> {
    let name = name.trim().to_ascii_uppercase();
    Some(match name.as_str() {
        "UNICODE" | "UNICODE UTF-8" => UTF_8,
        "ISO IR14" => SHIFT_JIS,
        "ISO IR87" => ISO_2022_JP,
        "ISO IR159" => EUC_JP,
        "GB 18030-2000" => GB18030,
        "KS X 1001" => EUC_KR,
        "BIG-5" => BIG5,
        "ASCII" | "ISO IR6" => UTF_8,
        _ => {
            let iana = name.strip_prefix("8859/").map(|part| format!("ISO-8859-{part}"));
            let found = Encoding::for_label(iana.as_deref().unwrap_or(&name).as_bytes())?;
            return found.is_ascii_compatible().then_some(found);
        }
    })
}

fn decode_by(encoding: &'static Encoding, bytes: &[u8]) -> (String, Option<Damage>) {
    if encoding == UTF_8
        && let Ok(text) = std::str::from_utf8(bytes)
    {
        return (text.to_owned(), None);
    }
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let mut text = String::new();
    let mut damage: Option<Damage> = None;
    let mut done = 0;
    loop {
        text.reserve(decoder.max_utf8_buffer_length_without_replacement(bytes.len() - done).unwrap_or(64).clamp(64, 1 << 20));
        let (result, read) = decoder.decode_to_string_without_replacement(&bytes[done..], &mut text, true);
        done += read;
        match result {
            DecoderResult::InputEmpty => return (text, damage),
            DecoderResult::OutputFull => {}
            DecoderResult::Malformed(length, after) => {
                let byte = done.saturating_sub(usize::from(length) + usize::from(after));
                damage.get_or_insert(Damage { byte, count: 0 }).count += 1;
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
    }
}

fn decode_utf32(big: bool, bytes: &[u8]) -> (String, Option<Damage>) {
    let mut damage: Option<Damage> = None;
    let text = bytes
        .chunks(4)
        .enumerate()
        .map(|(at, chunk)| {
            let unit = <[u8; 4]>::try_from(chunk).ok().map(|unit| if big { u32::from_be_bytes(unit) } else { u32::from_le_bytes(unit) });
            unit.and_then(char::from_u32).unwrap_or_else(|| {
                damage.get_or_insert(Damage { byte: at * 4, count: 0 }).count += 1;
                char::REPLACEMENT_CHARACTER
            })
        })
        .collect();
    (text, damage)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message whose PID-5 is given in bytes, with MSH-18 as named.
    fn message(msh18: &str, name: &[u8]) -> Vec<u8> {
        let mut bytes = format!("MSH|^~\\&|A|B|C|D|2026||ADT^A01|1|P|2.5|||||GBR|{msh18}\rPID|1||||").into_bytes();
        bytes.extend_from_slice(name);
        bytes
    }

    fn check(msh18: &str, feed: Option<&str>, name: &[u8], expected: &str, issues: usize) {
        let decoded = decode(&message(msh18, name), feed);
        let found = decoded.text.rsplit('|').next().unwrap_or_default();
        assert_eq!(found, expected, "MSH-18 {msh18}");
        assert_eq!(decoded.issues.len(), issues, "MSH-18 {msh18}: {:?}", decoded.issues);
    }

    #[test]
    fn msh18_then_the_feed_then_the_bytes() {
        check("", None, b"Nagy", "Nagy", 0);
        check("UNICODE UTF-8", None, "Zoë".as_bytes(), "Zoë", 0);
        check("UNICODE", None, "Zoë".as_bytes(), "Zoë", 0);
        check("8859/1", None, b"Zo\xEB", "Zoë", 0);
        check("8859/2", None, b"\xA3uk", "Łuk", 0);
        check("8859/15", None, b"\xA4", "€", 0);
        check("8859/15~ISO IR87", None, b"\xA4", "€", 0);
        check("GB 18030-2000", None, b"\xCD\xF5", "王", 0);
        check("KS X 1001", None, b"\xB1\xE8", "김", 0);
        check("BIG-5", None, b"\xA4\xFD", "王", 0);
        check("ISO IR87", None, b"\x1B$B;3ED\x1B(B", "山田", 0);
        // A trail byte that looks like a delimiter is none: text is decoded before it is split.
        check("ISO IR14", None, b"\x83\x7C", "ポ", 0);
        check("UTF-8", None, "Zoë".as_bytes(), "Zoë", 0);
        // Nothing declared: the feed's, then what the bytes are.
        check("", Some("8859/1"), "Zoë".as_bytes(), "ZoÃ«", 0);
        check("", None, "Zoë".as_bytes(), "Zoë", 1);
        check("", None, b"Zo\xEB", "Zoë", 1);
        // ASCII that is none.
        check("ASCII", Some("8859/1"), b"Zo\xEB", "Zoë", 1);
        check("ASCII", None, "Zoë".as_bytes(), "Zoë", 1);
        // Names that nobody knows, or that the bytes contradict.
        check("CNS 11643-1992", None, b"Zo\xEB", "Zoë", 1);
        check("UNICODE UTF-16", None, b"Zoe", "Zoe", 1);
        // Bytes that are not of the set.
        check("UNICODE UTF-8", None, b"Zo\xEB!", "Zo\u{FFFD}!", 1);
    }

    #[test]
    fn marks_and_wide_sets() {
        let text = "MSH|^~\\&|A\rPID|Zoë";
        for (mark, charset) in [
            (&[0xFF, 0xFE][..], Charset::Utf16 { big: false }),
            (&[0xFE, 0xFF], Charset::Utf16 { big: true }),
            (&[], Charset::Utf16 { big: false }),
            (&[], Charset::Utf16 { big: true }),
            (&[0xFF, 0xFE, 0, 0], Charset::Utf32 { big: false }),
            (&[], Charset::Utf32 { big: true }),
            (&[0xEF, 0xBB, 0xBF], Charset::Narrow(UTF_8)),
        ] {
            let mut bytes = mark.to_vec();
            bytes.extend(charset.encode(text));
            let decoded = decode(&bytes, Some("UNICODE"));
            assert_eq!((decoded.text.as_str(), decoded.charset), (text, charset));
            assert_eq!(decoded.issues.len(), 0);
        }
    }

    #[test]
    fn the_place_of_a_bad_byte_is_told() {
        let bytes = message("UNICODE UTF-8", b"\xFF and \xFE");
        let decoded = decode(&bytes, None);
        assert_eq!(decoded.issues[0].place, format!("byte {}", bytes.len() - 7));
        assert!(decoded.issues[0].reason.starts_with("2 places"));
    }

    #[test]
    fn a_head_comes_back_byte_for_byte() {
        for bytes in [message("8859/1", b"Zo\xEB"), message("UNICODE UTF-8", b"\xFF"), message("ISO IR14", b"\x83\x7C")] {
            let head = decode_head(&bytes, None);
            assert_eq!(head.charset.encode(&head.text), bytes);
        }
        assert_eq!(Charset::Narrow(WINDOWS_1252).encode("a山ë"), b"a?\xEB");
    }
}
