//! A message as its lines say it, before any table: segments, fields, repetitions, components.

use hl7v2::charset::Charset;
use hl7v2::er7::Delimiters;
use hl7v2::escape::unescape;

pub struct Lines<'t> {
    delimiters: Delimiters,
    charset: Charset,
    /// Fields by their numbers; in place of the 0th the segment's name.
    segments: Vec<Vec<&'t str>>,
}

impl<'t> Lines<'t> {
    /// `None` where the text does not begin as a message does.
    pub fn of(text: &'t str, charset: Charset) -> Option<Self> {
        let delimiters = Delimiters::of(text).ok()?;
        let fields = |line: &'t str| {
            let mut fields: Vec<&str> = line.split(char::from(delimiters.field)).collect();
            if fields[0] == "MSH" {
                // MSH-1 is the separator itself.
                fields.insert(1, "");
            }
            fields
        };
        let is_name = |name: &str| name.len() == 3 && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
        let segments = text.split(['\r', '\n']).map(str::trim).map(fields).filter(|fields| is_name(fields[0])).collect();
        Some(Self { delimiters, charset, segments })
    }

    /// The name of each segment, and the numbers of its fields that have a value.
    pub fn segments(&self) -> impl Iterator<Item = (&'t str, impl Iterator<Item = usize>)> {
        self.segments.iter().map(|fields| {
            let valued = fields.iter().enumerate().skip(1).filter(|(_, field)| is_valued(field));
            (fields[0], valued.map(|(number, _)| number))
        })
    }

    /// The repetitions that have a value of a field, in all segments of a name.
    pub fn values(&self, segment: &str, field: usize) -> impl Iterator<Item = &'t str> {
        let repetition = char::from(self.delimiters.repetition);
        let fields = self.segments.iter().filter(move |fields| fields[0] == segment).filter_map(move |fields| fields.get(field));
        fields.flat_map(move |field| field.split(repetition)).filter(|value| is_valued(value))
    }

    /// A component of a repetition, from 1, as it is meant; empty where it is not there.
    pub fn component(&self, repetition: &'t str, number: usize) -> String {
        self.clean(self.raw(repetition, number))
    }

    /// The same one's subcomponent.
    pub fn subcomponent(&self, repetition: &'t str, number: usize, sub: usize) -> String {
        let parts = self.raw(repetition, number).split(char::from(self.delimiters.subcomponent)).nth(sub - 1);
        self.clean(parts.unwrap_or_default())
    }

    /// The first component of a field's first repetition.
    pub fn first(&self, segment: &str, field: usize) -> String {
        self.values(segment, field).next().map(|value| self.subcomponent(value, 1, 1)).unwrap_or_default()
    }

    /// What stands at the place of an issue (`PV1[1]-10`, `OBX[3]-8[2].1`), and the place without its counts.
    pub fn at(&self, place: &str) -> Option<(String, String)> {
        let (segment, rest) = place.split_once('-')?;
        let (name, occurrence) = counted(segment);
        let mut steps = rest.split('.');
        let (field, repetition) = counted(steps.next()?);
        let fields = self.segments.iter().filter(|fields| fields[0] == name).nth(occurrence - 1)?;
        let value = fields.get(field.parse::<usize>().ok()?)?.split(char::from(self.delimiters.repetition)).nth(repetition - 1)?;
        let mut number = || steps.next().map_or(Some(1), |step| step.parse().ok());
        let (component, sub) = (number()?, number()?);
        let step = rest.split_once('.').map(|(_, step)| format!(".{step}")).unwrap_or_default();
        Some((format!("{name}-{field}{step}"), self.subcomponent(value, component, sub)))
    }

    fn raw(&self, repetition: &'t str, number: usize) -> &'t str {
        repetition.split(char::from(self.delimiters.component)).nth(number - 1).unwrap_or_default()
    }

    fn clean(&self, text: &str) -> String {
        let text = text.trim();
        if is_valued(text) { unescape(text, &self.delimiters, self.charset).into_owned() } else { String::new() }
    }
}

fn is_valued(text: &str) -> bool {
    let text = text.trim();
    !text.is_empty() && text != "\"\""
}

/// `OBX[3]` is `OBX` and 3; `OBX` is the first.
fn counted(step: &str) -> (&str, usize) {
    let counted = step.strip_suffix(']').and_then(|step| step.split_once('['));
    counted.map_or((step, 1), |(name, number)| (name, number.parse().unwrap_or(1).max(1)))
}
