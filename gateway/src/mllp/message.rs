//! What a sender must know of a message and of a reply, read from their first segments.

use super::Code;
use hl7v2::charset;

/// MSH-10, where there is one.
pub fn control_id(message: &[u8]) -> Option<String> {
    let head = charset::decode_head(message, None).text;
    let msh = segment(&head, "MSH")?;
    // MSH-1 is the separator itself.
    field(msh, 9).filter(|id| !id.is_empty()).map(str::to_owned)
}

/// The message with another MSH-10; nothing else is touched. `None` where MSH-10 cannot be found as bytes.
pub fn renumbered(message: &[u8], control: &str) -> Option<Vec<u8>> {
    let start = charset::head_start(message);
    let body = &message[start..];
    let separator = *body.get(3).filter(|separator| separator.is_ascii_punctuation() && body.starts_with(b"MSH"))?;
    let line = body.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(body.len());
    let mut separators = body[..line].iter().enumerate().filter(|(_, byte)| **byte == separator).map(|(at, _)| at);
    let from = start + separators.nth(8)? + 1;
    let to = separators.next().map_or(start + line, |at| start + at);
    Some([&message[..from], control.as_bytes(), &message[to..]].concat())
}

/// MSA-1 and MSA-2 of a reply.
pub(super) fn acknowledges(reply: &[u8]) -> Option<(Code, String)> {
    let text = charset::decode(reply, None).text;
    segment(&text, "MSH")?;
    let msa = segment(&text, "MSA")?;
    Some((Code::of(field(msa, 1)?.trim())?, field(msa, 2).unwrap_or_default().to_owned()))
}

/// A segment as its separator and its line.
fn segment<'a>(text: &'a str, name: &str) -> Option<(char, &'a str)> {
    let mut lines = text.split(['\r', '\n']).map(|line| line.trim_start_matches(['\u{feff}', ' ', '\0', '\u{b}']));
    let first = lines.clone().find(|line| !line.is_empty())?;
    let separator = first.strip_prefix("MSH")?.chars().next()?;
    lines.find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(separator))).map(|line| (separator, line))
}

fn field((separator, line): (char, &str), number: usize) -> Option<&str> {
    line.split(separator).nth(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_ids_are_read_by_the_messages_own_separator() {
        let check = |message: &str, expected: Option<&str>| assert_eq!(control_id(message.as_bytes()).as_deref(), expected, "{message}");
        check("MSH|^~\\&|A|B|C|D|1||ADT^A01|C1|P|2.5\rPID|1\r", Some("C1"));
        check("\u{feff}MSH$^~\\&$A$B$C$D$1$$ADT^A01$C|1$P\nPID$1\n", Some("C|1"));
        check("MSH|^~\\&|A|B|C|D|1||ADT^A01|C1", Some("C1"));
        check("MSH|^~\\&|A|B|C|D|1||ADT^A01||P", None);
        check("MSH|^~\\&\rPID|||||||||X", None);
        check("PID|1", None);
        let wide = charset::Charset::Utf16 { big: false }.encode("MSH|^~\\&|A|B|C|D|1||ADT^A01|C1|P|2.5\r");
        assert_eq!(control_id(&[&[0xFF, 0xFE], &*wide].concat()).as_deref(), Some("C1"));
    }

    #[test]
    fn renumbering_changes_msh_10_alone() {
        let check = |message: &str, expected: Option<&str>| {
            assert_eq!(renumbered(message.as_bytes(), "N").map(|bytes| String::from_utf8(bytes).unwrap()).as_deref(), expected);
        };
        check("MSH|^~\\&|A|B|C|D|1||ADT|C1|P|2.5\rPID|C1\r", Some("MSH|^~\\&|A|B|C|D|1||ADT|N|P|2.5\rPID|C1\r"));
        check("\u{feff}MSH|^~\\&|A|B|C|D|1||ADT|C1\rPID|1", Some("\u{feff}MSH|^~\\&|A|B|C|D|1||ADT|N\rPID|1"));
        check("MSH|^~\\&|A|B|C|D|1||ADT||P", Some("MSH|^~\\&|A|B|C|D|1||ADT|N|P"));
        check("MSH|^~\\&|A\rPID|||||||||C1", None);
        check("M\0S\0H\0|\0", None);
    }

    #[test]
    fn a_reply_tells_its_code_and_its_message() {
        let check = |reply: &str, expected: Option<(Code, &str)>| {
            assert_eq!(acknowledges(reply.as_bytes()), expected.map(|(code, about)| (code, about.to_owned())), "{reply}");
        };
        check("MSH|^~\\&|A|B\rMSA|AA|C1\r", Some((Code::AA, "C1")));
        check("MSH|^~\\&|A|B\nMSA|CE|C1|why\nERR|x\n", Some((Code::CE, "C1")));
        check("MSH$^~\\&$A\rSFT$x\rMSA$AR", Some((Code::AR, "")));
        check("MSH|^~\\&|A|B\rMSA|OK|C1\r", None);
        check("MSH|^~\\&|A|B\rPID|1\r", None);
        check("MSA|AA|C1", None);
        check("", None);
    }
}
