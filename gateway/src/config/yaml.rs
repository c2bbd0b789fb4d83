//! A configuration in YAML 1.2: mappings, sequences and scalars of the core schema. What makes a text mean more than it
//! says is refused: anchors, aliases, tags, a second document, a key twice.

use super::Mistake;
use super::tree::{Entry, Kind, Value};
use saphyr_parser::{Event, Parser, ScalarStyle};

/// The deepest configuration has half of it.
const DEPTH_MAX: usize = 16;

/// A YAML text, as far as it is one, and what of it is none. Reading ends at the first mistake of syntax.
pub fn yaml(text: &str) -> (Value, Vec<Mistake>) {
    let mut reader = Reader::default();
    for event in Parser::new_from_str(text) {
        let read = match event {
            Ok((event, span)) => reader.take(event, span.start.line()),
            Err(error) => Err((error.marker().line(), format!("not YAML: {}", error.info()))),
        };
        if let Err((line, reason)) = read {
            reader.mistake(line, reason);
            while !reader.open.is_empty() {
                reader.close();
            }
            break;
        }
    }
    let whole = match reader.whole {
        Some(whole) if whole.table().is_some() => Value { line: 0, ..whole },
        // An empty file has no sections: each that is missing is told.
        Some(Value { kind: Kind::Other(NOTHING), .. }) | None => Value::empty_table(0),
        Some(whole) => {
            reader.mistakes.push(Mistake {
                line: whole.line,
                key: String::new(),
                reason: format!("this is {}; write the sections of a configuration: `store:` ...", whole.in_words()),
            });
            Value::empty_table(0)
        }
    };
    (whole, reader.mistakes)
}

const NOTHING: &str = "nothing";

#[derive(Default)]
struct Reader {
    /// The mappings and sequences whose end has not come.
    open: Vec<Open>,
    whole: Option<Value>,
    mistakes: Vec<Mistake>,
}

enum Open {
    List { line: usize, elements: Vec<Value> },
    Table { line: usize, entries: Vec<Entry>, name: Option<(String, usize)> },
}

impl Reader {
    /// An error where the text cannot be read on.
    fn take(&mut self, event: Event, line: usize) -> Result<(), (usize, String)> {
        let (anchored, tagged) = match &event {
            Event::Scalar(_, _, anchor, tag) => (*anchor != 0, tag.is_some()),
            Event::SequenceStart(anchor, tag) | Event::MappingStart(anchor, tag) => (*anchor != 0, tag.is_some()),
            Event::Alias(_) => (true, false),
            _ => (false, false),
        };
        if anchored {
            return Err((line, "anchors (&) and aliases (*) are not read; write the value out".into()));
        }
        if tagged {
            return Err((line, "tags (!) are not read; leave it out, and write a text in quotes".into()));
        }
        match event {
            Event::DocumentStart(_) if self.whole.is_some() => return Err((line, "a second document; a configuration is one".into())),
            Event::Scalar(text, style, ..) => match self.open.last_mut() {
                Some(Open::Table { name: name @ None, .. }) => *name = Some((text.into_owned(), line)),
                _ => {
                    self.place(Value { line, kind: if style == ScalarStyle::Plain { plain(&text) } else { Kind::Text(text.into_owned()) } })
                }
            },
            Event::SequenceStart(..) | Event::MappingStart(..) => {
                if matches!(self.open.last(), Some(Open::Table { name: None, .. })) {
                    return Err((line, "a key is a word, not a list or a table".into()));
                }
                if self.open.len() == DEPTH_MAX {
                    return Err((line, format!("more than {DEPTH_MAX} levels deep")));
                }
                self.open.push(match event {
                    Event::SequenceStart(..) => Open::List { line, elements: Vec::new() },
                    _ => Open::Table { line, entries: Vec::new(), name: None },
                });
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            _ => {}
        }
        Ok(())
    }

    fn close(&mut self) {
        match self.open.pop() {
            Some(Open::List { line, elements }) => self.place(Value { line, kind: Kind::List(elements) }),
            Some(Open::Table { line, entries, .. }) => self.place(Value { line, kind: Kind::Table(entries) }),
            None => {}
        }
    }

    fn place(&mut self, value: Value) {
        match self.open.last_mut() {
            None => self.whole = Some(value),
            Some(Open::List { elements, .. }) => elements.push(value),
            Some(Open::Table { entries, name, .. }) => {
                let Some((name, line)) = name.take() else { return };
                if let Some(first) = entries.iter().find(|entry| entry.name == name) {
                    let reason = format!("{name} stands twice: first on line {}; keep one", first.line);
                    self.mistake(line, reason);
                } else {
                    // A table in block style begins a line below its name.
                    let line_of_value = if matches!(value.kind, Kind::Table(_) | Kind::List(_)) { line } else { value.line };
                    entries.push(Entry { name, line, value: Value { line: line_of_value, ..value } });
                }
            }
        }
    }

    fn mistake(&mut self, line: usize, reason: String) {
        self.mistakes.push(Mistake { line, key: String::new(), reason });
    }
}

/// What an unquoted scalar is (YAML 1.2.2 §10.3.2): `NO` and `off` are texts.
fn plain(text: &str) -> Kind {
    let digits = |text: &str, radix: u32| !text.is_empty() && text.chars().all(|digit| digit.is_digit(radix));
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let number = |rest: &str, radix| Kind::Number(u64::from_str_radix(rest, radix).ok().filter(|_| !text.starts_with('-')));
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Kind::Other(NOTHING),
        "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => Kind::Other("a boolean"),
        _ if digits(unsigned, 10) => number(unsigned, 10),
        _ if text.strip_prefix("0x").is_some_and(|rest| digits(rest, 16)) => number(&text[2..], 16),
        _ if text.strip_prefix("0o").is_some_and(|rest| digits(rest, 8)) => number(&text[2..], 8),
        _ if unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.') && text.parse::<f64>().is_ok() => {
            Kind::Other("a decimal")
        }
        _ => Kind::Text(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(value: &Value) -> String {
        match &value.kind {
            Kind::Text(text) => format!("{text:?}"),
            Kind::Number(number) => format!("{number:?}"),
            Kind::Other(words) => (*words).to_owned(),
            Kind::List(list) => format!("[{}]", list.iter().map(shown).collect::<Vec<_>>().join(" ")),
            Kind::Table(table) => {
                let entries = table.iter().map(|entry| format!("{}@{}={}", entry.name, entry.line, shown(&entry.value)));
                format!("{{{}}}", entries.collect::<Vec<_>>().join(" "))
            }
        }
    }

    #[test]
    fn scalars_are_what_the_core_schema_says() {
        let check = |text: &str, expected: &str| {
            let (value, mistakes) = yaml(&format!("a: {text}\n"));
            assert!(mistakes.is_empty(), "{text}: {mistakes:?}");
            assert_eq!(shown(&value), format!("{{a@1={expected}}}"), "{text}");
        };
        for (text, expected) in [
            ("ADT^A01", "\"ADT^A01\""),
            ("127.0.0.1:2575", "\"127.0.0.1:2575\""),
            ("2.999.1", "\"2.999.1\""),
            ("NO", "\"NO\""),
            ("'12'", "\"12\""),
            ("\"~\"", "\"~\""),
            ("12", "Some(12)"),
            ("0x10", "Some(16)"),
            ("-1", "None"),
            ("99999999999999999999", "None"),
            ("1.5", "a decimal"),
            (".inf", "\".inf\""),
            ("True", "a boolean"),
            ("", "nothing"),
            ("[a, 'b']", "[\"a\" \"b\"]"),
            ("{ 2.999: x, y: [] }", "{2.999@1=\"x\" y@1=[]}"),
        ] {
            check(text, expected);
        }
    }

    #[test]
    fn what_means_more_than_it_says_is_refused_with_its_line() {
        let check = |text: &str, line: usize, word: &str| {
            let (_, mistakes) = yaml(text);
            assert_eq!(mistakes.len(), 1, "{text}: {mistakes:?}");
            assert_eq!(mistakes[0].line, line, "{text}: {mistakes:?}");
            assert!(mistakes[0].reason.contains(word), "{text}: {mistakes:?}");
        };
        check("a: 1\nb: &x 2\nc: *x\n", 2, "anchors");
        check("a: 1\nb: !!str 2\n", 2, "tags");
        check("a: 1\n---\nb: 2\n", 2, "second document");
        check("a: 1\nb: 2\na: 3\n", 3, "first on line 1");
        check("a: 1\n? [x]\n: 2\n", 2, "a key is a word");
        check("- a\n", 1, "a list");
        check("a: [1\nb: 2\n", 2, "not YAML");
        check(&format!("a: {}", "[".repeat(17)), 1, "levels deep");
        assert!(yaml("# nothing yet\n").1.is_empty());
    }

    #[test]
    fn what_stands_before_a_mistake_of_syntax_is_read() {
        let (value, mistakes) = yaml("a:\n  b: 1\n  c: @\n");
        assert_eq!(shown(&value), "{a@1={b@2=Some(1)}}");
        assert_eq!(mistakes[0].line, 3);
    }
}
