//! Files of messages: one, many, an HL7 batch (FHS, BHS, BTS, FTS; §2.10.3, all optional), or a recording of MLLP.

use crate::charset;
use bytes::Bytes;
use contract::Frame;

/// Whether a file's head looks like HL7 v2.
pub fn recognises(bytes: &[u8]) -> bool {
    let body = &bytes[charset::head_start(bytes)..];
    let narrow: Vec<u8> = body.iter().copied().filter(|byte| *byte != 0).take(4).collect();
    begins(&narrow, &[b"MSH", b"FHS", b"BHS"])
}

/// The frames of a file. What stands before the first message and is no batch header is a frame of its own, which is
/// then refused with a place; so is a file without any message.
pub fn frames(file: &Bytes) -> Vec<Frame> {
    let mut found: Vec<Bytes> = Vec::new();
    let start = charset::head_start(file);
    let is_wide = file.get(start..start + 4).is_some_and(|head| head.contains(&0));
    if is_wide {
        let decoded = charset::decode(file, None);
        let parts = messages(&Bytes::from(decoded.text), 0);
        if parts.len() < 2 {
            return vec![Frame::new(file.clone())];
        }
        let encoded = |part: &Bytes| Frame::new(decoded.charset.encode(&String::from_utf8_lossy(part)));
        return parts.iter().map(encoded).collect();
    }
    if file.contains(&MLLP_START) {
        for part in file.split(|byte| *byte == MLLP_START) {
            let end = part.iter().rposition(|byte| *byte == MLLP_END).unwrap_or(part.len());
            found.push(file.slice_ref(&part[..end]));
        }
        found.retain(|part| !part.iter().all(u8::is_ascii_whitespace));
    } else {
        found = messages(file, start);
    }
    if found.is_empty() {
        found.push(file.clone());
    }
    found.into_iter().map(Frame::new).collect()
}

const MLLP_START: u8 = 0x0B;
const MLLP_END: u8 = 0x1C;

/// Cuts before each line that begins a message, and leaves out the batch's own segments.
fn messages(file: &Bytes, start: usize) -> Vec<Bytes> {
    let mut found = Vec::new();
    // Where the open frame begins: a mark before the first line belongs to it.
    let mut open = Some(0);
    let mut close = |from: Option<usize>, to: usize| {
        if let Some(part) = from.map(|from| file.slice(from..to)).filter(|part| !part[charset::head_start(part)..].is_empty()) {
            found.push(part);
        }
    };
    let mut line = start;
    while line < file.len() {
        let rest = &file[line..];
        if begins(rest, &[b"FHS", b"BHS", b"BTS", b"FTS"]) {
            close(open.take(), line);
        } else if begins(rest, &[b"MSH"]) && line > start {
            close(open.replace(line), line);
        } else if open.is_none() && !rest[0].is_ascii_whitespace() {
            open = Some(line);
        }
        line += rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')).map_or(rest.len(), |end| end + 1);
    }
    close(open, file.len());
    found
}

/// A segment id with a separator behind it.
fn begins(line: &[u8], names: &[&[u8; 3]]) -> bool {
    names.iter().any(|name| line.starts_with(*name)) && line.get(3).is_some_and(u8::is_ascii_punctuation)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(file: &str, expected: &[&str]) {
        let found: Vec<Vec<u8>> = frames(&Bytes::copy_from_slice(file.as_bytes())).iter().map(|frame| frame.bytes().to_vec()).collect();
        let found: Vec<String> = found.into_iter().map(|bytes| String::from_utf8(bytes).unwrap()).collect();
        assert_eq!(found, expected, "{file:?}");
    }

    #[test]
    fn files_are_cut_into_messages() {
        check("MSH|1\rPID|1\r", &["MSH|1\rPID|1\r"]);
        check("MSH|1\nPID|1\n\nMSH|2\nPID|2\n", &["MSH|1\nPID|1\n\n", "MSH|2\nPID|2\n"]);
        check("FHS|f\rBHS|b\rMSH|1\rPID|1\rMSH|2\rBTS|2\rFTS|1\r", &["MSH|1\rPID|1\r", "MSH|2\r"]);
        check("BHS|b\r\nMSH|1\r\nBTS|\r\nBHS|c\r\nMSH|2\r\nBTS|\r\n", &["MSH|1\r\n", "MSH|2\r\n"]);
        check("\u{b}MSH|1\rPID|1\r\u{1c}\r\u{b}MSH|2\r\u{1c}\r", &["MSH|1\rPID|1\r", "MSH|2\r"]);
        check("\u{b}MSH|1\r", &["MSH|1\r"]);
        check("\u{feff}MSH|1\r", &["\u{feff}MSH|1\r"]);
    }

    #[test]
    fn what_cannot_be_cut_is_a_frame() {
        check("", &[""]);
        check("junk", &["junk"]);
        check("PID|1\rMSH|1\r", &["PID|1\r", "MSH|1\r"]);
        check("FHS|\rjunk\rMSH|1\r", &["junk\r", "MSH|1\r"]);
        check("BHS|b\rBTS|0\r", &["BHS|b\rBTS|0\r"]);
    }

    #[test]
    fn wide_files_are_cut_as_text() {
        let charset = charset::Charset::Utf16 { big: false };
        let file = |text: &str| Bytes::from([&[0xFF, 0xFE], &*charset.encode(text)].concat());
        let found = frames(&file("MSH|1\rPID|Zoë\rMSH|2\r"));
        let found: Vec<String> = found.iter().map(|frame| charset.decode(frame.bytes()).0).collect();
        assert_eq!(found, ["MSH|1\rPID|Zoë\r", "MSH|2\r"]);
        assert_eq!(frames(&file("MSH|1\r"))[0].bytes(), &file("MSH|1\r"));
    }

    #[test]
    fn heads_are_recognised() {
        for good in ["MSH|^~\\&", "\u{feff}MSH|", "\r\n\u{b}MSH$", "FHS|", "BHS|", "M\0S\0H\0|\0", "\0M\0S\0H\0|"] {
            assert!(recognises(good.as_bytes()), "{good:?}");
        }
        for bad in ["", "MSH", "MSHA", "<ClinicalDocument", "PID|1", "UNB+"] {
            assert!(!recognises(bad.as_bytes()), "{bad:?}");
        }
    }
}
