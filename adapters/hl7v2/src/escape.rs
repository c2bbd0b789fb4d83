//! Escape sequences (§2.7): read after splitting, written when we write.

use crate::charset::Charset;
use crate::er7::Delimiters;
use std::borrow::Cow;

/// A text as it was meant: `\F\ \S\ \T\ \R\ \E\ \P\` are delimiters, `\Xhh..\` bytes of the message's character set,
/// `\.br\`, `\.sp n\` and `\.ce\` line breaks; highlighting (`\H\ \N\`), indents and the character set switches `\C..\`,
/// `\M..\` (whose bytes were decoded with the text) are dropped. Local sequences (`\Z..\`), unknown ones and a lone
/// escape character are text.
pub fn unescape<'t>(text: &'t str, delimiters: &Delimiters, charset: Charset) -> Cow<'t, str> {
    let escape = char::from(delimiters.escape);
    let Some(first) = text.find(escape) else { return Cow::Borrowed(text) };
    let mut out = String::with_capacity(text.len());
    out.push_str(&text[..first]);
    let mut rest = &text[first..];
    while !rest.is_empty() {
        let meant = rest.strip_prefix(escape).and_then(|inner| {
            let end = inner.find(escape)?;
            meaning(&inner[..end], delimiters, charset).map(|meant| (meant, &inner[end + 1..]))
        });
        match meant {
            Some((meant, behind)) => {
                out.push_str(&meant);
                rest = behind;
            }
            None => {
                let from = usize::from(rest.starts_with(escape));
                let end = rest[from..].find(escape).map_or(rest.len(), |end| end + from);
                out.push_str(&rest[..end]);
                rest = &rest[end..];
            }
        }
    }
    Cow::Owned(out)
}

/// Writes a text so that it reads back: delimiters and line breaks escaped.
pub fn escape(text: &str, delimiters: &Delimiters) -> String {
    let mut out = String::with_capacity(text.len());
    let mark = char::from(delimiters.escape);
    for char in text.chars() {
        let name = match u8::try_from(char) {
            Ok(b'\r' | b'\n') => ".br",
            Ok(byte) if byte == delimiters.field => "F",
            Ok(byte) if byte == delimiters.component => "S",
            Ok(byte) if byte == delimiters.subcomponent => "T",
            Ok(byte) if byte == delimiters.repetition => "R",
            Ok(byte) if byte == delimiters.escape => "E",
            _ => {
                out.push(char);
                continue;
            }
        };
        out.push(mark);
        out.push_str(name);
        out.push(mark);
    }
    out
}

fn meaning(name: &str, delimiters: &Delimiters, charset: Charset) -> Option<Cow<'static, str>> {
    let one = |byte: u8| Some(Cow::Owned(char::from(byte).to_string()));
    match name {
        "F" => one(delimiters.field),
        "S" => one(delimiters.component),
        "T" => one(delimiters.subcomponent),
        "R" => one(delimiters.repetition),
        "E" => one(delimiters.escape),
        "P" => one(delimiters.truncation),
        "H" | "N" => Some(Cow::Borrowed("")),
        _ => {
            let is_hex =
                |digits: &str| !digits.is_empty() && digits.len().is_multiple_of(2) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            if let Some(command) = name.strip_prefix('.') {
                formatting(command)
            } else if let Some(digits) = name.strip_prefix('X').filter(|digits| is_hex(digits)) {
                let bytes: Vec<u8> =
                    (0..digits.len()).step_by(2).filter_map(|at| u8::from_str_radix(&digits[at..at + 2], 16).ok()).collect();
                Some(Cow::Owned(charset.decode(&bytes).0))
            } else {
                let switch = matches!(name.as_bytes().first(), Some(b'C' | b'M')) && matches!(name.len(), 5 | 7) && is_hex(&name[1..]);
                switch.then_some(Cow::Borrowed(""))
            }
        }
    }
}

/// Formatting commands of FT (§2.7.6).
fn formatting(command: &str) -> Option<Cow<'static, str>> {
    let number = command.get(2..).unwrap_or_default().trim();
    let count = if number.is_empty() { Some(1) } else { number.strip_prefix('+').unwrap_or(number).parse::<usize>().ok() };
    let signed = number.is_empty() || number.parse::<i32>().is_ok();
    match command.get(..2)? {
        "br" if number.is_empty() => Some(Cow::Borrowed("\n")),
        "ce" if number.is_empty() => Some(Cow::Borrowed("\n")),
        "sp" => count.map(|count| Cow::Owned("\n".repeat(count.min(99)))),
        "sk" => count.map(|count| Cow::Owned(" ".repeat(count.min(99)))),
        "fi" | "nf" if number.is_empty() => Some(Cow::Borrowed("")),
        "in" | "ti" if signed => Some(Cow::Borrowed("")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let charset = Charset::Narrow(encoding_rs::UTF_8);
        assert_eq!(unescape(text, &Delimiters::STANDARD, charset), expected, "{text}");
    }

    #[test]
    fn sequences_become_what_they_mean() {
        check("plain", "plain");
        check(r"a\F\b\S\c\T\d\R\e\E\f\P\g", r"a|b^c&d~e\f#g");
        check(r"Zo\XC3AB\", "Zoë");
        check(r"a\X0D0A\b", "a\r\nb");
        check(r"\H\loud\N\ quiet", "loud quiet");
        check(r"one\.br\two\.sp2\three\.sp+1\four\.ce\five", "one\ntwo\n\nthree\nfour\nfive");
        check(r"\.in+2\in\.ti-1\ti\.fi\fi\.nf\nf\.sk3\sk", "intifinf   sk");
        check(r"\C2842\a\M244142\b", "ab");
        check(r"\Z01\kept", r"\Z01\kept");
    }

    #[test]
    fn what_is_no_sequence_is_text() {
        check(r"C:\new\dir", r"C:\new\dir");
        check(r"lone \ here", r"lone \ here");
        check(r"end\", r"end\");
        check(r"\", r"\");
        check(r"\\", r"\\");
        check(r"\X0\ \XZZ\ \.xx\ \.brr\", r"\X0\ \XZZ\ \.xx\ \.brr\");
        // The sequence begins at the second mark: a lone one before it swallows nothing.
        check(r"5\ \S\ 6", r"5\ ^ 6");
        check(r"\E\S\E\", r"\S\");
    }

    #[test]
    fn text_of_other_scripts_stands_beside_sequences() {
        check(r"\T\ëë\T\é\", r"&ëë&é\");
        check(r"\é\ë", r"\é\ë");
    }

    #[test]
    fn the_declared_escape_character_counts() {
        let delimiters = Delimiters { escape: b'!', ..Delimiters::STANDARD };
        assert_eq!(unescape(r"a!F!b\F\", &delimiters, Charset::Narrow(encoding_rs::UTF_8)), r"a|b\F\");
        assert_eq!(escape("a|b!", &delimiters), "a!F!b!E!");
    }

    #[test]
    fn what_is_written_reads_back() {
        let text = r"a|b^c~d\e&f";
        check(&escape(text, &Delimiters::STANDARD), text);
        assert_eq!(escape("a\rMSA", &Delimiters::STANDARD), r"a\.br\MSA");
    }
}
