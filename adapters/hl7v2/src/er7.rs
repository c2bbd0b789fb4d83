//! ER7, the vertical-bar encoding (§2.5 to §2.7): a message's text, decoded once, and where its segments and fields lie.
//! Fields are split where they are read, and unescaped after that.

use crate::charset::{self, Charset, Decoded};
use crate::node::Node;
use crate::structure::{Grammar, Group, Structures, Tree};
use contract::{Issue, IssueCode, Severity, TypeCode};
use std::ops::Range;
use std::sync::Arc;

/// Segments of one message, continuation lines included. Each takes 32 bytes.
pub const SEGMENTS_MAX: usize = 100_000;
/// Fields of one message. Each takes 4 bytes.
pub const FIELDS_MAX: usize = 4_000_000;
/// Fields of one segment: the standard's longest has fewer than 60.
pub const SEGMENT_FIELDS_MAX: usize = 1_000;

/// Repetitions of all fields of one message: each may become an element of a resource.
pub const REPETITIONS_MAX: usize = 50_000;

/// A message as its own words lie: segments in groups, fields, and what was noticed while reading.
pub struct Message {
    pub(crate) text: String,
    pub(crate) delimiters: Delimiters,
    pub(crate) charset: Charset,
    pub(crate) segments: Vec<Segment>,
    /// Where each field of each segment begins, in order.
    pub(crate) fields: Vec<u32>,
    pub(crate) groups: Vec<Group>,
    pub(crate) grammar: Arc<Grammar>,
    /// Whether any group holds a segment that its structure has no place for.
    pub(crate) has_strays: bool,
    issues: Vec<Issue>,
}

/// One segment: a line, and the lines that a raw line break cut off from it.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub name: [u8; 3],
    /// Bytes of the text, without the line end.
    pub span: Range<u32>,
    /// Its entries in [`Message::fields`].
    pub fields: Range<u32>,
    /// Which of its name in the message, from 1.
    pub occurrence: u32,
    /// The group it belongs to.
    pub group: u32,
    /// An OBX that is a further line of the text that the one before it began: it makes no result of its own.
    pub continues: bool,
}

impl Message {
    /// Reads a message. `character_set` is the feed's, for messages that declare none. Fails where there is no MSH or
    /// its delimiters cannot be told, and at a limit.
    pub fn parse(bytes: &[u8], character_set: Option<&str>, structures: &Structures) -> Result<Self, Issue> {
        let Decoded { text, charset, mut issues } = charset::decode(bytes, character_set);
        let delimiters = Delimiters::of(&text)?;
        let (mut segments, fields) = lines(&text, &delimiters, &mut issues)?;
        find_lines(&mut segments, &|segment, number| field_of(&text, segment, &fields, number));
        let type_code = type_code(&text, &delimiters);
        let grammar = structures.of(&type_code);
        let Tree { groups, issues: misplaced } = grammar.arrange(&mut segments);
        issues.extend(misplaced);
        let has_strays = groups.iter().any(|group| !group.strays.is_empty());
        Ok(Self { text, delimiters, charset, segments, fields, groups, grammar, has_strays, issues })
    }

    /// The whole message, the context in which tables begin.
    pub fn root(&self) -> Node<'_> {
        Node::root(self)
    }

    /// What was noticed while reading: characters, lines that are no segments, segments out of place.
    pub fn issues(&self) -> &[Issue] {
        &self.issues
    }

    /// The name of the structure it was arranged by (`ADT_A01`): that of its event, else MSH-9.3; `None` where the
    /// table knows neither and the segments stand in one flat list.
    pub fn structure(&self) -> Option<&str> {
        self.grammar.name()
    }

    /// The message table that translates it; `None` as for [`Message::structure`].
    pub fn table(&self) -> Option<&str> {
        self.grammar.table()
    }

    /// A field of a segment; MSH-1 is the separator itself and MSH-2 the other delimiters (§2.15.9.1). `None` beyond
    /// the last field.
    pub(crate) fn field(&self, segment: &Segment, number: u16) -> Option<Range<u32>> {
        if is_header(segment.name) && number == 1 {
            return Some(segment.span.start + 3..segment.span.start + 4);
        }
        let at = usize::from(number).checked_sub(1 + usize::from(is_header(segment.name)))?;
        let starts = &self.fields[segment.fields.start as usize..segment.fields.end as usize];
        let start = *starts.get(at)?;
        let end = starts.get(at + 1).map_or(segment.span.end, |next| next - 1);
        Some(start..end)
    }

    /// How many fields a segment has, by the numbers of the standard.
    pub(crate) fn field_count(&self, segment: &Segment) -> u16 {
        let count = segment.fields.len() + usize::from(is_header(segment.name));
        u16::try_from(count).unwrap_or(u16::MAX)
    }

    pub(crate) fn slice(&self, span: &Range<u32>) -> &str {
        &self.text[span.start as usize..span.end as usize]
    }
}

/// Segments whose first field is the separator itself.
pub(crate) fn is_header(name: [u8; 3]) -> bool {
    matches!(&name, b"MSH" | b"FHS" | b"BHS")
}

/// The separators that a message declares: MSH-1 and MSH-2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delimiters {
    pub field: u8,
    pub component: u8,
    pub repetition: u8,
    pub escape: u8,
    pub subcomponent: u8,
    /// Marks a cut value (2.7); splits nothing.
    pub truncation: u8,
}

impl Delimiters {
    /// `|^~\&#`
    pub const STANDARD: Self = Self { field: b'|', component: b'^', repetition: b'~', escape: b'\\', subcomponent: b'&', truncation: b'#' };

    /// The delimiters of a text that begins with MSH, FHS or BHS. MSH-2 has one to five characters; those not given
    /// are the standard's, and `^~&` is `^~\&` without its escape character, as some write it.
    pub fn of(text: &str) -> Result<Self, Issue> {
        let malformed = |place: &str, reason: &'static str| Issue::new(Severity::Error, IssueCode::Structure, place, reason);
        let bytes = text.as_bytes();
        let name = bytes.first_chunk::<3>().copied().unwrap_or_default();
        if !is_header(name) {
            return Err(malformed("byte 0", "the message does not begin with an MSH segment"));
        }
        let field =
            *bytes.get(3).filter(|byte| byte.is_ascii_punctuation()).ok_or_else(|| malformed("MSH[1]-1", "there is no field separator"))?;
        let line = bytes[4..].split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
        let mut given = line.split(|byte| *byte == field).next().unwrap_or_default();
        if given.len() > 5 || !given.iter().all(u8::is_ascii_punctuation) {
            return Err(malformed("MSH[1]-2", "the encoding characters are not one to five punctuation characters"));
        }
        if given == b"^~&" {
            given = b"^~\\&";
        }
        let standard = Self::STANDARD;
        let at = |at: usize, default| given.get(at).copied().unwrap_or(default);
        Ok(Self {
            field,
            component: at(0, standard.component),
            repetition: at(1, standard.repetition),
            escape: at(2, standard.escape),
            subcomponent: at(3, standard.subcomponent),
            truncation: at(4, standard.truncation),
        })
    }
}

/// MSH-9 as written, or `ADT` alone with the event of EVN-1 (2.1 style).
pub(crate) fn type_code(text: &str, delimiters: &Delimiters) -> TypeCode {
    let field = |segment: &str, number: usize| {
        text.split(['\r', '\n'])
            .map(str::trim_start)
            .find(|line| line.starts_with(segment) && line.as_bytes().get(3) == Some(&delimiters.field))
            .and_then(|line| line.split(char::from(delimiters.field)).nth(number))
            .unwrap_or_default()
    };
    let mut parts =
        field("MSH", 8).split(char::from(delimiters.repetition)).next().unwrap_or_default().split(char::from(delimiters.component));
    let mut part = || parts.next().unwrap_or_default().trim().to_owned();
    let mut found = TypeCode { code: part(), event: part(), structure: part() };
    if found.event.is_empty() {
        found.event = event(field("EVN", 1)).unwrap_or_default().to_owned();
    }
    found
}

/// A trigger event as the standard writes them: a letter and two letters or digits.
fn event(text: &str) -> Option<&str> {
    let text = text.trim();
    (text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_alphanumeric())).then_some(text)
}

/// Cuts the text into segments. A line that begins with no segment id was cut off by a raw line break from the one
/// before it: it stays with that one, and an issue says so.
fn lines(text: &str, delimiters: &Delimiters, issues: &mut Vec<Issue>) -> Result<(Vec<Segment>, Vec<u32>), Issue> {
    let mut segments: Vec<Segment> = Vec::new();
    let mut fields: Vec<u32> = Vec::new();
    let mut count = std::collections::HashMap::<[u8; 3], u32>::new();
    let bytes = text.as_bytes();
    // Offsets fit: a frame of 4 GiB is far beyond every limit, and is refused here.
    let offset = |at: usize| u32::try_from(at).map_err(|_| limit("", "the message is too long"));
    offset(bytes.len())?;
    if bytes.iter().filter(|byte| **byte == delimiters.repetition).count() > REPETITIONS_MAX {
        return Err(limit("", "the message has too many repetitions"));
    }
    let mut start = 0;
    while start < bytes.len() {
        let end = bytes[start..].iter().position(|byte| matches!(byte, b'\r' | b'\n')).map_or(bytes.len(), |at| start + at);
        let indent = bytes[start..end].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        let line = &bytes[start + indent..end];
        let name = segment_id(line, delimiters.field);
        if name.is_none() && line.iter().all(|byte| matches!(byte, 0 | b' ' | b'\t' | 0x1C)) {
            start = end + 1;
            continue;
        }
        match (name, segments.last_mut()) {
            (None, Some(open)) => {
                let place = format!("{}[{}]", String::from_utf8_lossy(&open.name), open.occurrence);
                if issues.last().is_none_or(|issue| issue.place != place || issue.reason != CONTINUED) {
                    issues.push(Issue::new(Severity::Warning, IssueCode::Structure, place, CONTINUED));
                }
                open.span.end = offset(end)?;
                split(&bytes[start..end], start, delimiters.field, &mut fields)?;
                open.fields.end = offset(fields.len())?;
                if open.fields.len() > SEGMENT_FIELDS_MAX {
                    return Err(limit("", "a segment has too many fields"));
                }
            }
            (name, _) => {
                let name = name.unwrap_or(*b"MSH");
                let occurrence = count.entry(name).or_default();
                *occurrence += 1;
                if name == *b"MSH" && *occurrence > 1 {
                    // Read as one, the second patient's data would become the first's.
                    let reason = "a second message stands in the frame: the sender did not end the first";
                    return Err(Issue::new(Severity::Error, IssueCode::Structure, "MSH[2]", reason));
                }
                let first = offset(fields.len())?;
                split(line, start + indent, delimiters.field, &mut fields)?;
                segments.push(Segment {
                    name,
                    span: offset(start + indent)?..offset(end)?,
                    fields: first..offset(fields.len())?,
                    occurrence: *occurrence,
                    group: 0,
                    continues: false,
                });
                if segments.len() > SEGMENTS_MAX {
                    return Err(limit("", "the message has too many segments"));
                }
                if fields.len() - first as usize > SEGMENT_FIELDS_MAX {
                    return Err(limit("", "a segment has too many fields"));
                }
            }
        }
        start = end + 1;
    }
    Ok((segments, fields))
}

const CONTINUED: &str = "a line begins with no segment name; it was read as the rest of the segment before it";

fn limit(place: &str, reason: &'static str) -> Issue {
    Issue::new(Severity::Error, IssueCode::Limit, place, reason)
}

/// The text of a field of a segment that is no header.
fn field_of<'t>(text: &'t str, segment: &Segment, fields: &[u32], number: usize) -> &'t str {
    let starts = &fields[segment.fields.start as usize..segment.fields.end as usize];
    let Some(start) = starts.get(number - 1) else { return "" };
    let end = starts.get(number).map_or(segment.span.end, |next| next - 1);
    text[*start as usize..end as usize].trim()
}

/// Finds the lines of texts: below one OBR, OBX that follow one another (but for their notes) with one question (OBX-3,
/// OBX-4) and a text (TX, FT, ST) each are one text, a line an OBX. One with an instance id of its own (OBX-21) is not.
fn find_lines<'t>(segments: &mut [Segment], field: &dyn Fn(&Segment, usize) -> &'t str) {
    let mut first: Option<usize> = None;
    let mut is_ordered = false;
    for at in 0..segments.len() {
        match &segments[at].name {
            b"OBX" => {}
            b"NTE" | b"PRT" => continue,
            name => {
                is_ordered = *name != *b"PID" && (is_ordered || *name == *b"OBR");
                first = None;
                continue;
            }
        }
        let of = |at: usize, number| field(&segments[at], number);
        let is_text = matches!(of(at, 2), "TX" | "FT" | "ST") && !of(at, 3).is_empty();
        let is_same = |first: usize| {
            let own_id = of(at, 21);
            of(at, 3) == of(first, 3) && of(at, 4) == of(first, 4) && (own_id.is_empty() || own_id == of(first, 21))
        };
        let continues = is_text && first.is_some_and(is_same);
        segments[at].continues = continues;
        if !continues {
            first = (is_text && is_ordered).then_some(at);
        }
    }
}

/// Notes where fields begin: behind each separator of a line.
fn split(line: &[u8], start: usize, field: u8, fields: &mut Vec<u32>) -> Result<(), Issue> {
    for (at, _) in line.iter().enumerate().filter(|(_, byte)| **byte == field) {
        if fields.len() >= FIELDS_MAX {
            return Err(limit("", "the message has too many fields"));
        }
        fields.push(u32::try_from(start + at + 1).map_err(|_| limit("", "the message is too long"))?);
    }
    Ok(())
}

/// The id at the beginning of a line: a capital, two capitals or digits, then the separator or the line's end.
fn segment_id(line: &[u8], field: u8) -> Option<[u8; 3]> {
    let name = *line.first_chunk::<3>()?;
    let is_id = name[0].is_ascii_uppercase() && name[1..].iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    (is_id && line.get(3).is_none_or(|byte| *byte == field)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Message {
        Message::parse(text.as_bytes(), None, &Structures::flat()).unwrap_or_else(|issue| panic!("{issue}"))
    }

    /// All segments with their fields, numbered as the standard does.
    fn shown(message: &Message) -> Vec<String> {
        let line = |segment: &Segment| {
            let fields = (1..=message.field_count(segment)).map(|n| message.slice(&message.field(segment, n).unwrap()).to_owned());
            format!("{}[{}]:{}", String::from_utf8_lossy(&segment.name), segment.occurrence, fields.collect::<Vec<_>>().join("¦"))
        };
        message.segments.iter().map(line).collect()
    }

    fn check(text: &str, expected: &[&str], issues: usize) {
        let message = parse(text);
        assert_eq!(shown(&message), expected, "{text:?}");
        assert_eq!(message.issues().len(), issues, "{text:?}: {:?}", message.issues());
    }

    #[test]
    fn segments_end_with_cr_lf_or_both() {
        for end in ["\r", "\n", "\r\n"] {
            let text = ["MSH|^~\\&|A||B", "PID|1||", "NTE|1", "NTE|2", ""].join(end);
            check(&text, &["MSH[1]:|¦^~\\&¦A¦¦B", "PID[1]:1¦¦", "NTE[1]:1", "NTE[2]:2"], 0);
        }
        check("MSH|^~\\&|A\r\r\n  PID|1\rEVN", &["MSH[1]:|¦^~\\&¦A", "PID[1]:1", "EVN[1]:"], 0);
    }

    #[test]
    fn a_raw_line_break_in_a_field_loses_nothing() {
        check(
            "MSH|^~\\&|A\rOBX|1|TX|one\ntwo | three|F\r|more\rNTE|1",
            &["MSH[1]:|¦^~\\&¦A", "OBX[1]:1¦TX¦one\ntwo ¦ three¦F\r¦more", "NTE[1]:1"],
            1,
        );
        check("MSH|^~\\&|A\rtext", &["MSH[1]:|¦^~\\&¦A\rtext"], 1);
    }

    #[test]
    fn any_delimiters() {
        for (head, expected) in [
            (r"MSH|^~\&|", Delimiters::STANDARD),
            (r"MSH|^~\&#|", Delimiters::STANDARD),
            (r"MSH|^~&|", Delimiters::STANDARD),
            (r"MSH|^|", Delimiters::STANDARD),
            (r"MSH|", Delimiters::STANDARD),
            (r"MSH||", Delimiters::STANDARD),
            (
                r"MSH$%~*!+$",
                Delimiters { field: b'$', component: b'%', repetition: b'~', escape: b'*', subcomponent: b'!', truncation: b'+' },
            ),
        ] {
            assert_eq!(Delimiters::of(head), Ok(expected), "{head}");
        }
        for (head, place) in [
            ("", "byte 0"),
            ("PID|1", "byte 0"),
            ("MSH", "MSH[1]-1"),
            ("MSHA", "MSH[1]-1"),
            ("MSH ^", "MSH[1]-1"),
            ("MSH|^~\\&#!|", "MSH[1]-2"),
            ("MSH|PAS|RXX", "MSH[1]-2"),
            ("MSH|é", "MSH[1]-2"),
        ] {
            assert_eq!(Delimiters::of(head).unwrap_err().place, place, "{head}");
        }
    }

    #[test]
    fn two_messages_in_one_frame_are_never_read_as_one() {
        let issue = Message::parse(b"MSH|^~\\&|A\rPID|1\rMSH|^~\\&|B\rPID|2", None, &Structures::flat()).err().unwrap();
        assert_eq!(issue.place, "MSH[2]");
    }

    #[test]
    fn limits_are_kept() {
        let wide = format!("MSH|^~\\&|A\rPID{}", "|".repeat(SEGMENT_FIELDS_MAX + 1));
        let long = format!("MSH|^~\\&|A\r{}", "NTE\r".repeat(SEGMENTS_MAX));
        let continued = format!("MSH|^~\\&|A\r{}", "|\r".repeat(SEGMENT_FIELDS_MAX + 1));
        let repeated = format!("MSH|^~\\&|A\rPID|||{}", "~".repeat(REPETITIONS_MAX));
        for text in [wide, long, continued, repeated] {
            let issue = Message::parse(text.as_bytes(), None, &Structures::flat()).err().unwrap();
            assert_eq!(issue.code, IssueCode::Limit);
        }
    }

    #[test]
    fn the_type_of_a_message() {
        for (text, expected) in [
            ("MSH|^~\\&|||||||ADT^A01^ADT_A01\rEVN|A08", ("ADT", "A01", "ADT_A01")),
            ("MSH|^~\\&|||||||ADT\rEVN|A08", ("ADT", "A08", "")),
            ("MSH|^~\\&|||||||ADT^A04", ("ADT", "A04", "")),
            ("MSH|^~\\&|||||||ORU\r", ("ORU", "", "")),
            ("MSH|^~\\&|A", ("", "", "")),
            ("MSH$%~\\&$$$$$$$ADT%A01", ("ADT", "A01", "")),
        ] {
            let found = type_code(text, &Delimiters::of(text).unwrap());
            assert_eq!((found.code.as_str(), found.event.as_str(), found.structure.as_str()), expected, "{text}");
        }
    }

    proptest::proptest! {
        /// Whatever the bytes: no panic, leaves that lie in the text, apart from one another, each told by its place.
        #[test]
        fn any_bytes_are_read_or_refused(
            body in "(\r|\n|MSH|EVN|PID|PV1|ORC|OBR|OBX|NTE|SPM|ZZ1|\\||\\^|~|&|\\\\|\"\"|[A-Zé0. ]){0,60}",
            head in "MSH\\|\\^~\\\\&(#)?\\|{1,9}(ORU\\^R01|ADT\\^A01|X)",
            cut in 0..80usize,
            flip in 0..640usize,
        ) {
            let tables = schemas::Tables::embedded("hl7v2");
            let structures = Structures::read(tables.get("structures").unwrap()).unwrap();
            let mut bytes = format!("{head}\r{body}").into_bytes();
            let whole = bytes.clone();
            bytes.truncate(cut);
            if let Some(byte) = bytes.get_mut(flip / 8) {
                *byte ^= 1 << (flip % 8);
            }
            for bytes in [whole, bytes] {
                let Ok(message) = Message::parse(&bytes, None, &structures) else { continue };
                let (mut end, mut places) = (0, std::collections::BTreeSet::new());
                message.root().leaves(&mut |leaf| {
                    assert!(leaf.span().start >= end, "leaves overlap");
                    end = leaf.span().end;
                    assert!(places.insert(leaf.place()), "two leaves have one place");
                    leaf.text();
                });
                assert!(end <= message.text.len());
            }
        }
    }
}
