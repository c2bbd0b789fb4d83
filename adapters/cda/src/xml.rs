//! A strict XML reader: one root, no document type, five entities, bound prefixes, limits on all; and the tree it makes.
//!
//! quick-xml cuts the tags. By itself it lets pass unclosed tags at the end, two roots, unknown entities, control
//! characters, names like `1a` and unbound prefixes; all that is refused here, with the byte where it was seen.

use bytes::Bytes;
use contract::{Issue, IssueCode, Severity};
use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};
use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};
use quick_xml::reader::Reader;
use std::collections::HashMap;
use std::ops::Range;

/// Nesting of elements; CDA's own depth is about 25.
pub const DEPTH_MAX: usize = 100;
/// Elements and texts of one document.
pub const ITEMS_MAX: usize = 400_000;
/// Attributes of one document.
pub const ATTRIBUTES_MAX: usize = 800_000;
/// Attributes of one element.
pub const ELEMENT_ATTRIBUTES_MAX: usize = 100;

/// A document as a tree. Items are numbered in document order; the root is 0.
pub struct Tree {
    /// The document as it came.
    pub bytes: Bytes,
    /// Its text, which all spans are of.
    pub source: String,
    items: Vec<Item>,
    attributes: Vec<Attribute>,
    names: Vec<Name>,
    /// How many children of a name a parent has.
    counts: HashMap<(u32, u32), u32>,
    /// What was noticed while decoding.
    pub issues: Vec<Issue>,
}

/// An element, or the text between two tags (entities and CDATA resolved).
struct Item {
    parent: u32,
    /// The next child of its parent.
    next: u32,
    first: u32,
    kind: Kind,
    span: Range<u32>,
}

enum Kind {
    Element {
        name: u32,
        attributes: Range<u32>,
        /// Which of its name among its parent's children, from 1.
        number: u32,
    },
    Text(Box<str>),
}

/// No item: items are fewer.
const NONE: u32 = u32::MAX;

struct Attribute {
    name: u32,
    value: Box<str>,
    span: Range<u32>,
}

/// An expanded name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    /// Namespace URI, empty for none.
    pub space: Box<str>,
    pub local: Box<str>,
}

impl Tree {
    /// Reads a document: decoded by its mark, else its declaration, else UTF-8.
    pub fn read(bytes: impl Into<Bytes>) -> Result<Self, Issue> {
        let bytes = bytes.into();
        let (source, issues) = decode(&bytes)?;
        // Spans are 32 bits wide; a frame that long is beyond every limit.
        if u32::try_from(source.len()).is_err() {
            return Err(limit(0, "the document is too long"));
        }
        let Building { items, attributes, names, counts, .. } = Building::default().build(&source)?;
        Ok(Self { bytes, source, items, attributes, names, counts, issues })
    }

    pub fn parent(&self, item: u32) -> Option<u32> {
        Some(self.items[item as usize].parent).filter(|parent| *parent != NONE)
    }

    /// The children of an item, elements and texts, in their order.
    pub fn children(&self, item: u32) -> impl Iterator<Item = u32> + '_ {
        let mut next = self.items[item as usize].first;
        std::iter::from_fn(move || {
            let child = (next != NONE).then_some(next)?;
            next = self.items[child as usize].next;
            Some(child)
        })
    }

    /// The name of an element; `None` for a text.
    pub fn name(&self, item: u32) -> Option<&Name> {
        match self.items[item as usize].kind {
            Kind::Element { name, .. } => Some(&self.names[name as usize]),
            Kind::Text(_) => None,
        }
    }

    /// A text's own text.
    pub fn own_text(&self, item: u32) -> Option<&str> {
        match &self.items[item as usize].kind {
            Kind::Text(text) => Some(text),
            Kind::Element { .. } => None,
        }
    }

    /// The attributes of an element, by their numbers.
    pub fn attributes(&self, item: u32) -> Range<u32> {
        match &self.items[item as usize].kind {
            Kind::Element { attributes, .. } => attributes.clone(),
            Kind::Text(_) => 0..0,
        }
    }

    pub fn attribute_name(&self, attribute: u32) -> &Name {
        &self.names[self.attributes[attribute as usize].name as usize]
    }

    pub fn attribute_value(&self, attribute: u32) -> &str {
        &self.attributes[attribute as usize].value
    }

    /// The value of an attribute without a namespace.
    pub fn attribute(&self, item: u32, local: &str) -> Option<&str> {
        self.find_attribute(item, "", local).map(|attribute| self.attribute_value(attribute))
    }

    pub fn find_attribute(&self, item: u32, space: &str, local: &str) -> Option<u32> {
        self.attributes(item).find(|attribute| {
            let name = self.attribute_name(*attribute);
            *name.space == *space && *name.local == *local
        })
    }

    pub fn span(&self, item: u32) -> Range<u32> {
        self.items[item as usize].span.clone()
    }

    pub fn attribute_span(&self, attribute: u32) -> Range<u32> {
        self.attributes[attribute as usize].span.clone()
    }

    /// All text below an item, runs of white space as one space.
    pub fn text(&self, item: u32) -> String {
        let mut out = String::new();
        self.gather(item, &mut out);
        out.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Recursion is bounded by [`DEPTH_MAX`].
    fn gather(&self, item: u32, out: &mut String) {
        if let Some(text) = self.own_text(item) {
            out.push_str(text);
        }
        for child in self.children(item) {
            self.gather(child, out);
            // `<br/>`, list items and cells are apart though no space stands between them.
            if self.name(child).is_some() {
                out.push(' ');
            }
        }
    }

    /// `/ClinicalDocument/recordTarget/patientRole/id[2]`: the number where the parent has several of the name.
    pub fn place(&self, item: u32) -> String {
        let mut steps = Vec::new();
        let mut next = Some(item);
        while let Some(item) = next {
            next = self.parent(item);
            match self.items[item as usize].kind {
                Kind::Element { name, number, .. } => {
                    let several = next.and_then(|parent| self.counts.get(&(parent, name))).is_some_and(|count| *count > 1);
                    let local = &self.names[name as usize].local;
                    steps.push(if several { format!("/{local}[{number}]") } else { format!("/{local}") });
                }
                Kind::Text(_) => steps.push("/text()".into()),
            }
        }
        steps.into_iter().rev().collect()
    }

    /// An element as a document of its own: its source, with the namespaces that were declared around it.
    pub fn alone(&self, item: u32) -> String {
        let span = self.span(item);
        let source = &self.source[span.start as usize..span.end as usize];
        let mut own: Vec<String> = declared(source).into_iter().map(|(name, _)| name).collect();
        let mut declarations = String::new();
        let mut outer = self.parent(item);
        while let Some(item) = outer {
            let span = self.span(item);
            for (name, value) in declared(&self.source[span.start as usize..span.end as usize]) {
                if !own.contains(&name) {
                    declarations.push_str(&format!(" {name}={value}"));
                    own.push(name);
                }
            }
            outer = self.parent(item);
        }
        let name_end = source.find(|char: char| char.is_ascii_whitespace() || matches!(char, '>' | '/')).unwrap_or(source.len());
        format!("{}{declarations}{}", &source[..name_end], &source[name_end..])
    }
}

/// The namespace declarations of an element's start tag: name, and value with its quotes as written.
fn declared(element: &str) -> Vec<(String, String)> {
    let mut reader = Reader::from_str(element);
    let Ok(Event::Start(tag) | Event::Empty(tag)) = reader.read_event() else { return Vec::new() };
    let mut attributes = tag.attributes();
    let found = attributes.with_checks(false).flatten();
    let found = found.filter(|attribute| attribute.key.as_ref() == "xmlns" || attribute.key.as_ref().starts_with("xmlns:"));
    found
        .map(|attribute| {
            let quote = if attribute.value.contains('"') { '\'' } else { '"' };
            (attribute.key.as_ref().to_owned(), format!("{quote}{}{quote}", attribute.value))
        })
        .collect()
}

/// The text of a document's bytes. Bytes that are not of the encoding become U+FFFD, with an issue; a document's own
/// bytes are kept apart, so nothing is lost.
fn decode(bytes: &[u8]) -> Result<(String, Vec<Issue>), Issue> {
    let (encoding, start): (&'static Encoding, usize) = match Encoding::for_bom(bytes) {
        Some((encoding, mark)) => (encoding, mark),
        None => match bytes {
            [b'<', 0, ..] => (UTF_16LE, 0),
            [0, b'<', ..] => (UTF_16BE, 0),
            _ => (declared_encoding(bytes)?, 0),
        },
    };
    let body = &bytes[start..];
    if encoding == UTF_8
        && let Ok(text) = std::str::from_utf8(body)
    {
        return Ok((text.to_owned(), Vec::new()));
    }
    let (text, damaged) = encoding.decode_without_bom_handling(body);
    let issue =
        || Issue::new(Severity::Warning, IssueCode::Characters, "", "some bytes are not of the document's encoding; each became U+FFFD");
    Ok((text.into_owned(), if damaged { vec![issue()] } else { Vec::new() }))
}

/// The encoding that the XML declaration names. UTF-16 in a declaration that is read byte by byte cannot be.
fn declared_encoding(bytes: &[u8]) -> Result<&'static Encoding, Issue> {
    let head = &bytes[..bytes.len().min(200)];
    let head: String = head.iter().copied().take_while(|byte| *byte != b'>').map(char::from).collect();
    let Some(declaration) = head.strip_prefix("<?xml") else { return Ok(UTF_8) };
    let Some((_, rest)) = declaration.split_once("encoding") else { return Ok(UTF_8) };
    let rest = rest.trim_start().strip_prefix('=').unwrap_or_default().trim_start();
    let label = rest.get(1..).and_then(|inner| inner.split(['"', '\'']).next()).unwrap_or_default();
    match Encoding::for_label(label.as_bytes()) {
        Some(encoding) if encoding == UTF_16LE || encoding == UTF_16BE => Ok(UTF_8),
        Some(encoding) if encoding.is_ascii_compatible() || encoding == encoding_rs::ISO_2022_JP => Ok(encoding),
        _ => Err(Issue::new(Severity::Error, IssueCode::Characters, "byte 0", "the declared encoding is not known")),
    }
}

fn malformed(at: usize, reason: &'static str) -> Issue {
    Issue::new(Severity::Error, IssueCode::Structure, format!("byte {at}"), reason)
}

fn limit(at: usize, reason: &'static str) -> Issue {
    Issue::new(Severity::Error, IssueCode::Limit, format!("byte {at}"), reason)
}

const XML_SPACE: &str = "http://www.w3.org/XML/1998/namespace";

#[derive(Default)]
struct Building {
    items: Vec<Item>,
    attributes: Vec<Attribute>,
    names: Vec<Name>,
    numbers: HashMap<Name, u32>,
    counts: HashMap<(u32, u32), u32>,
    /// Open elements, with the last child of each.
    open: Vec<(u32, u32)>,
    /// Prefixes in scope with their URIs, and how many each open element declared.
    prefixes: Vec<(String, String)>,
    declared: Vec<usize>,
    /// The text since the last tag, and where it began.
    text: String,
    text_start: usize,
}

impl Building {
    fn build(mut self, source: &str) -> Result<Self, Issue> {
        let mut reader = Reader::from_str(source);
        reader.config_mut().check_comments = true;
        let mut at;
        loop {
            at = position(reader.buffer_position());
            let event = reader.read_event().map_err(|_| malformed(position(reader.error_position()).max(at), "not well-formed XML"))?;
            let end = position(reader.buffer_position());
            match event {
                Event::Start(tag) => self.start(&tag, source, at, end)?,
                Event::Empty(tag) => {
                    self.start(&tag, source, at, end)?;
                    self.end(end);
                }
                Event::End(_) => {
                    self.flush(at)?;
                    self.end(end);
                }
                Event::Text(text) => self.push(&text.xml10_content(), at)?,
                Event::CData(text) => self.push(&text.xml10_content(), at)?,
                Event::GeneralRef(reference) => {
                    let resolved = match &*reference {
                        "lt" => '<',
                        "gt" => '>',
                        "amp" => '&',
                        "apos" => '\'',
                        "quot" => '"',
                        _ => match reference.resolve_char_ref() {
                            Ok(Some(char)) => char,
                            _ => return Err(malformed(at, "an entity that is none of XML's five")),
                        },
                    };
                    self.push(resolved.encode_utf8(&mut [0; 4]), at)?;
                }
                Event::DocType(_) => return Err(malformed(at, "a document type declaration: not accepted")),
                Event::Decl(_) if at == 0 => {}
                Event::Decl(_) => return Err(malformed(at, "an XML declaration that is not at the beginning")),
                Event::Comment(_) | Event::PI(_) => {}
                Event::Eof => break,
            }
        }
        if !self.open.is_empty() {
            return Err(malformed(at, "the document ends within an element"));
        }
        if self.items.is_empty() {
            return Err(malformed(at, "there is no element"));
        }
        Ok(self)
    }

    fn push(&mut self, text: &str, at: usize) -> Result<(), Issue> {
        if let Some(bad) = text.find(|char| !is_xml_char(char)) {
            return Err(malformed(at + bad, "a character that XML does not allow"));
        }
        if self.open.is_empty() {
            return if text.bytes().all(|byte| byte.is_ascii_whitespace()) {
                Ok(())
            } else {
                Err(malformed(at, "text outside the root element"))
            };
        }
        if self.text.is_empty() {
            self.text_start = at;
        }
        self.text.push_str(text);
        Ok(())
    }

    /// Makes an item of the text before a tag, unless it is white space alone.
    fn flush(&mut self, at: usize) -> Result<(), Issue> {
        let text = std::mem::take(&mut self.text);
        if text.bytes().all(|byte| byte.is_ascii_whitespace()) {
            return Ok(());
        }
        let span = offset(self.text_start)..offset(at);
        self.add(Kind::Text(text.into()), span).map(|_| ())
    }

    fn add(&mut self, kind: Kind, span: Range<u32>) -> Result<u32, Issue> {
        if self.items.len() >= ITEMS_MAX {
            return Err(limit(span.start as usize, "the document has too many elements"));
        }
        let item = offset(self.items.len());
        let parent = match self.open.last_mut() {
            Some((parent, last)) => {
                let link = if *last == NONE { &mut self.items[*parent as usize].first } else { &mut self.items[*last as usize].next };
                *link = item;
                *last = item;
                *parent
            }
            None => NONE,
        };
        self.items.push(Item { parent, next: NONE, first: NONE, kind, span });
        Ok(item)
    }

    fn start(&mut self, tag: &BytesStart<'_>, source: &str, at: usize, end: usize) -> Result<(), Issue> {
        self.flush(at)?;
        if self.open.is_empty() && !self.items.is_empty() {
            return Err(malformed(at, "a second root element"));
        }
        if self.open.len() >= DEPTH_MAX {
            return Err(limit(at, "elements are nested too deep"));
        }
        let first = self.attributes.len();
        let mut written: Vec<(String, Box<str>, Range<u32>)> = Vec::new();
        let mut declared = 0;
        for (number, attribute) in tag.attributes().enumerate() {
            if number >= ELEMENT_ATTRIBUTES_MAX {
                return Err(limit(at, "an element has too many attributes"));
            }
            let attribute = attribute.map_err(|_| malformed(at, "an attribute is not well-formed, or stands twice"))?;
            let value =
                attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|_| malformed(at, "an entity that is none of XML's five"))?;
            if value.contains(|char| !is_xml_char(char)) || attribute.value.contains('<') {
                return Err(malformed(at, "a character that XML does not allow"));
            }
            let key = attribute.key.as_ref();
            let prefix = if key == "xmlns" { Some("") } else { key.strip_prefix("xmlns:") };
            if let Some(prefix) = prefix {
                if value.is_empty() && !prefix.is_empty() {
                    return Err(malformed(at, "a prefix is bound to nothing"));
                }
                self.prefixes.push((prefix.to_owned(), value.into_owned()));
                declared += 1;
                continue;
            }
            // The raw value is a slice of the source: its offset there names the attribute.
            let inside =
                (attribute.value.as_ptr() as usize).checked_sub(source.as_ptr() as usize).filter(|inside| (at..end).contains(inside));
            let start = inside.unwrap_or(at + 1 + number);
            written.push((key.to_owned(), value.into(), offset(start)..offset(start + attribute.value.len())));
        }
        self.declared.push(declared);
        let name = self.resolve(tag.name().as_ref(), true, at)?;
        for (key, value, span) in written {
            if self.attributes.len() >= ATTRIBUTES_MAX {
                return Err(limit(at, "the document has too many attributes"));
            }
            let name = self.resolve(&key, false, at)?;
            if self.attributes[first..].iter().any(|known| known.name == name) {
                return Err(malformed(at, "an attribute stands twice"));
            }
            self.attributes.push(Attribute { name, value, span });
        }
        let parent = self.open.last().map_or(NONE, |(parent, _)| *parent);
        let count = self.counts.entry((parent, name)).or_default();
        *count += 1;
        let kind = Kind::Element { name, attributes: offset(first)..offset(self.attributes.len()), number: *count };
        let item = self.add(kind, offset(at)..offset(end))?;
        self.open.push((item, NONE));
        Ok(())
    }

    fn end(&mut self, end: usize) {
        // quick-xml has matched the names.
        if let Some((item, _)) = self.open.pop() {
            self.items[item as usize].span.end = offset(end);
            let declared = self.declared.pop().unwrap_or_default();
            self.prefixes.truncate(self.prefixes.len() - declared);
        }
    }

    /// The expanded name; the default namespace is for elements alone.
    fn resolve(&mut self, name: &str, is_element: bool, at: usize) -> Result<u32, Issue> {
        let (prefix, local) = match name.split_once(':') {
            Some((prefix, local)) => (Some(prefix), local),
            None => (None, name),
        };
        if !is_ncname(local) || prefix.is_some_and(|prefix| !is_ncname(prefix)) {
            return Err(malformed(at, "a name that XML does not allow"));
        }
        let bound = |prefix: &str| self.prefixes.iter().rev().find(|(known, _)| known == prefix).map(|(_, space)| space.as_str());
        let space = match prefix {
            None if is_element => bound("").unwrap_or_default(),
            None => "",
            Some("xml") => XML_SPACE,
            Some(prefix) => bound(prefix).ok_or_else(|| malformed(at, "a prefix that is not bound"))?,
        };
        let name = Name { space: space.into(), local: local.into() };
        if let Some(number) = self.numbers.get(&name) {
            return Ok(*number);
        }
        let number = offset(self.names.len());
        self.names.push(name.clone());
        self.numbers.insert(name, number);
        Ok(number)
    }
}

/// Offsets fit: the source is shorter than 4 GiB ([`Tree::read`]).
fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(NONE - 1)
}

fn position(at: u64) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

/// XML 1.0 §2.2.
fn is_xml_char(char: char) -> bool {
    matches!(char, '\t' | '\n' | '\r' | '\u{20}'..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..)
}

/// Namespaces in XML, NCName, by Unicode's letters.
fn is_ncname(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|first| first.is_alphabetic() || first == '_')
        && chars.all(|char| char.is_alphanumeric() || matches!(char, '_' | '-' | '.' | '\u{B7}' | '\u{300}'..='\u{36F}'))
}

#[cfg(test)]
mod tests;
