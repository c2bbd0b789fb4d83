use contract::Json;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::scalar::Primitive;

/// The R4 element definitions, compiled from `r4/shape.csv`: which elements there are, how many of each, of what type,
/// with which codes.
pub struct Shape {
    names: HashMap<Box<str>, TypeId>,
    types: Vec<TypeShape>,
}

/// A data type, a resource type, or a backbone element (`Patient.contact`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TypeId(u32);

pub struct TypeShape {
    pub name: Arc<str>,
    pub kind: Kind,
    elements: HashMap<Box<str>, Element>,
    /// Elements that must be there; of a choice, one of its members.
    required: Vec<Required>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Primitive(Primitive),
    /// A data type: the grain of slots.
    DataType,
    /// Built in place, and never a slot.
    Backbone,
    Resource,
    /// Any resource, told by its resourceType.
    AnyResource,
}

/// One element; of a choice, one of its members (`valueQuantity`).
#[derive(Clone, Debug)]
pub struct Element {
    /// Name in JSON.
    pub name: Arc<str>,
    /// `value[x]` for members of a choice, else the name.
    pub slot: Arc<str>,
    pub many: bool,
    pub choice: bool,
    pub kind: TypeId,
    /// Codes of a required binding; empty where any may stand.
    pub codes: Arc<[Box<str>]>,
    /// Types that a reference may name; empty where any may be named.
    pub targets: Arc<[Box<str>]>,
}

struct Required {
    /// First member of a choice, or the element itself.
    element: Box<str>,
    slot: Arc<str>,
}

/// What does not fit, where. Holds no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub path: String,
    pub reason: &'static str,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.reason)
    }
}

const UNKNOWN: &str = "R4 has no such element";
const NOT_ONE: &str = "a list where R4 has one";
const NOT_MANY: &str = "one where R4 has a list";
const NOT_OBJECT: &str = "not an object";
const EMPTY: &str = "empty";
const NOT_OF_TYPE: &str = "not of its type";
const NOT_IN_BINDING: &str = "code is not of the required value set";
const TWO_OF_CHOICE: &str = "two of a choice";
const MISSING: &str = "required, and missing";
const NO_RESOURCE_TYPE: &str = "not a known resourceType";

impl Shape {
    /// The shape that is built in.
    pub fn r4() -> Result<Self, String> {
        let tables = schemas::Tables::embedded("r4");
        Self::parse(tables.get("shape").ok_or("r4/shape.csv: missing; schemas/r4/generate.py writes it")?)
    }

    /// From the text of `r4/shape.csv`; the error names the line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut shape = Shape { names: HashMap::new(), types: Vec::new() };
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        for record in reader.records() {
            let record = record.map_err(|error| format!("r4/shape.csv: {error}"))?;
            let line = record.position().map_or(0, csv::Position::line);
            shape.add(&record).map_err(|reason| format!("r4/shape.csv:{line}: {reason}"))?;
        }
        match shape.types.iter().find(|kind| kind.kind == Kind::DataType && kind.elements.is_empty()) {
            Some(kind) => Err(format!("r4/shape.csv: {} is used and not defined", kind.name)),
            None => Ok(shape),
        }
    }

    fn add(&mut self, record: &csv::StringRecord) -> Result<(), String> {
        let [path, min, max, kinds, codes] = [0, 1, 2, 3, 4].map(|column| record.get(column).unwrap_or(""));
        if kinds == "primitive" {
            let id = self.named(path);
            self.types[id.0 as usize].kind =
                Kind::Primitive(Primitive::named(path).ok_or_else(|| format!("no primitive {path} is known"))?);
            return Ok(());
        }
        let (parent, name) = path.rsplit_once('.').ok_or("not an element path")?;
        if max == "0" {
            return Ok(());
        }
        let parent = self.named(parent);
        let (base, choice) = match name.strip_suffix("[x]") {
            Some(base) => (base, true),
            None => (name, false),
        };
        let codes: Arc<[Box<str>]> = codes.split_ascii_whitespace().map(Box::from).collect();
        let slot: Arc<str> = name.into();
        for (index, kind) in kinds.split_ascii_whitespace().enumerate() {
            let (kind, targets) = match kind.split_once('(') {
                Some((kind, targets)) => (kind, targets.trim_end_matches(')').split('|').map(Box::from).collect()),
                None => (kind, Arc::from([])),
            };
            let id = match kind {
                "BackboneElement" | "Element" => {
                    let id = self.named(path);
                    self.types[id.0 as usize].kind = Kind::Backbone;
                    id
                }
                "Resource" => {
                    let id = self.named(kind);
                    self.types[id.0 as usize].kind = Kind::AnyResource;
                    id
                }
                _ => self.named(kind.trim_start_matches('#')),
            };
            let element = if choice { choice_name(base, kind) } else { name.to_owned() };
            let element =
                Element { name: element.into(), slot: slot.clone(), many: max != "1", choice, kind: id, codes: codes.clone(), targets };
            let parent = &mut self.types[parent.0 as usize];
            if name == "implicitRules" {
                parent.kind = Kind::Resource;
            }
            if index == 0 && min != "0" {
                parent.required.push(Required { element: (*element.name).into(), slot: slot.clone() });
            }
            parent.elements.insert((*element.name).into(), element);
        }
        Ok(())
    }

    fn named(&mut self, name: &str) -> TypeId {
        if let Some(id) = self.names.get(name) {
            return *id;
        }
        let id = TypeId(self.types.len() as u32);
        self.types.push(TypeShape { name: name.into(), kind: Kind::DataType, elements: HashMap::new(), required: Vec::new() });
        self.names.insert(name.into(), id);
        id
    }

    pub fn id(&self, name: &str) -> Option<TypeId> {
        self.names.get(name).copied()
    }

    pub fn of(&self, id: TypeId) -> &TypeShape {
        &self.types[id.0 as usize]
    }

    /// The element of this JSON name.
    pub fn element(&self, kind: TypeId, name: &str) -> Option<&Element> {
        self.of(kind).elements.get(name)
    }

    /// Members of a choice, by its base name (`value` of `value[x]`).
    pub fn choices(&self, kind: TypeId, base: &str) -> Vec<&Element> {
        let mut found: Vec<_> =
            self.of(kind).elements.values().filter(|element| element.choice && element.slot.strip_suffix("[x]") == Some(base)).collect();
        found.sort_by(|one, two| one.name.cmp(&two.name));
        found
    }

    /// A resource that is whole: everything fits, and all that is required is there.
    pub fn check(&self, resource: &Json) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut copy = resource.clone();
        match resource.get("resourceType").and_then(Json::as_str).and_then(|name| self.id(name)) {
            None => faults.push(Fault { path: "resourceType".into(), reason: NO_RESOURCE_TYPE }),
            Some(kind) => {
                self.guard(kind, &mut copy, &mut |path, reason| faults.push(Fault { path, reason }));
                self.missing(kind, resource, "", &mut faults);
            }
        }
        faults
    }

    /// Takes out of a value what does not fit its type, and tells each with its path below the value. What is left may
    /// be empty, or lack what is required: see [`Shape::complete`].
    pub fn guard(&self, kind: TypeId, value: &mut Json, fault: &mut dyn FnMut(String, &'static str)) {
        let mut faults = Vec::new();
        if !self.fit(kind, &[], value, &mut faults) {
            *value = Json::Null;
        }
        // Paths were built from the inside out.
        faults.into_iter().for_each(|(path, reason)| fault(path.iter().rev().map(String::as_str).collect::<Vec<_>>().join("."), reason));
    }

    /// Whether the value, less what was taken out of it, may stand.
    fn fit(&self, kind: TypeId, codes: &[Box<str>], value: &mut Json, faults: &mut Vec<(Vec<String>, &'static str)>) -> bool {
        let shape = self.of(kind);
        let refuse = |faults: &mut Vec<(Vec<String>, &'static str)>, reason| {
            faults.push((Vec::new(), reason));
            false
        };
        if let Kind::Primitive(primitive) = shape.kind {
            return match value {
                value if !primitive.fits(value) => refuse(faults, NOT_OF_TYPE),
                Json::String(text) if !codes.is_empty() && !codes.iter().any(|code| **code == **text) => refuse(faults, NOT_IN_BINDING),
                _ => true,
            };
        }
        if shape.kind == Kind::AnyResource {
            return match value.get("resourceType").and_then(Json::as_str).and_then(|name| self.id(name)) {
                Some(kind) => self.fit(kind, &[], value, faults),
                None => refuse(faults, NO_RESOURCE_TYPE),
            };
        }
        let Json::Object(members) = value else { return refuse(faults, NOT_OBJECT) };
        let mut choices: Vec<Arc<str>> = Vec::new();
        members.retain_mut(|(name, member)| {
            let before = faults.len();
            let kept = self.fit_member(shape, name, member, &mut choices, faults);
            faults[before..].iter_mut().for_each(|(path, _)| path.push(name.to_string()));
            kept
        });
        if members.is_empty() { refuse(faults, EMPTY) } else { true }
    }

    fn fit_member(
        &self,
        shape: &TypeShape,
        name: &str,
        member: &mut Json,
        choices: &mut Vec<Arc<str>>,
        faults: &mut Vec<(Vec<String>, &'static str)>,
    ) -> bool {
        let refuse = |faults: &mut Vec<(Vec<String>, &'static str)>, reason| {
            faults.push((Vec::new(), reason));
            false
        };
        let (bare, sibling) = match name.strip_prefix('_') {
            Some(bare) => (bare, true),
            None => (name, false),
        };
        let Some(element) = shape.elements.get(bare) else {
            return name == "resourceType" && shape.kind == Kind::Resource || refuse(faults, UNKNOWN);
        };
        if element.choice && !choices.iter().any(|taken| **taken == *element.name) {
            let base = element.slot.clone();
            if choices.contains(&base) {
                return refuse(faults, TWO_OF_CHOICE);
            }
            choices.extend([base, element.name.clone()]);
        }
        // `_birthDate`: id and extensions of a primitive, which are those of any element.
        let (kind, codes) = match sibling {
            true if !matches!(self.of(element.kind).kind, Kind::Primitive(_)) => return refuse(faults, UNKNOWN),
            true => (self.id("Element").unwrap_or(element.kind), &[][..]),
            false => (element.kind, &*element.codes),
        };
        match (element.many, member) {
            (true, Json::Array(elements)) => {
                let mut index = 0;
                elements.retain_mut(|element| {
                    let before = faults.len();
                    // In lists of primitives null stands for "see the other list".
                    let kept = matches!(element, Json::Null) || self.fit(kind, codes, element, faults);
                    faults[before..].iter_mut().for_each(|(path, _)| path.push(format!("[{index}]")));
                    index += 1;
                    kept
                });
                !elements.iter().all(|element| matches!(element, Json::Null)) || refuse(faults, EMPTY)
            }
            (true, _) => refuse(faults, NOT_MANY),
            (false, Json::Array(_)) => refuse(faults, NOT_ONE),
            (false, member) => self.fit(kind, codes, member, faults),
        }
    }

    fn missing(&self, kind: TypeId, value: &Json, path: &str, faults: &mut Vec<Fault>) {
        let shape = self.of(kind);
        let Json::Object(members) = value else { return };
        for required in &shape.required {
            if !self.has(shape, required, value) {
                faults.push(Fault { path: format!("{path}{}", required.slot), reason: MISSING });
            }
        }
        for (name, member) in members {
            if let Some(element) = shape.elements.get(&**name) {
                let below = |index: usize| if element.many { format!("{path}{name}[{index}].") } else { format!("{path}{name}.") };
                let kind = match self.of(element.kind).kind {
                    Kind::AnyResource => {
                        member.get("resourceType").and_then(Json::as_str).and_then(|name| self.id(name)).unwrap_or(element.kind)
                    }
                    _ => element.kind,
                };
                member.each().iter().enumerate().for_each(|(index, value)| self.missing(kind, value, &below(index), faults));
            }
        }
    }

    fn has(&self, shape: &TypeShape, required: &Required, value: &Json) -> bool {
        let Json::Object(members) = value else { return false };
        members.iter().any(|(name, _)| {
            let name = name.strip_prefix('_').unwrap_or(name);
            name == &*required.element || shape.elements.get(name).is_some_and(|element| *element.slot == *required.slot)
        })
    }

    /// Fills in what is required and missing within a value of a data type, or within an element of a list, by the
    /// extension data-absent-reason, or by the code `unknown` where the value set has it (R4 extensibility.html). An
    /// extension without url is taken out: nothing can stand for that.
    pub fn complete(&self, kind: TypeId, value: &mut Json) {
        let shape = self.of(kind);
        if !matches!(value, Json::Object(_)) || matches!(shape.kind, Kind::Primitive(_)) {
            return;
        }
        for required in &shape.required {
            if !self.has(shape, required, value) {
                let (name, absent) = self.absent(kind, &required.element);
                value.set(name, absent);
            }
        }
        let Json::Object(members) = value else { return };
        members.retain_mut(|(name, member)| {
            if !matches!(member, Json::Array(_) | Json::Object(_)) {
                return true;
            }
            let Some(element) = shape.elements.get(&**name) else { return true };
            match member {
                Json::Array(elements) => {
                    elements.iter_mut().for_each(|value| self.complete(element.kind, value));
                    if &**name == "extension" {
                        elements.retain(is_whole_extension);
                    }
                    !elements.is_empty()
                }
                value => {
                    self.complete(element.kind, value);
                    true
                }
            }
        });
    }

    /// Completes what stands below the slots of a resource: objects of data types and elements of lists wholly, the
    /// resource itself and single backbone elements only in what they hold (the rest of them is other slots).
    pub fn complete_below(&self, kind: TypeId, value: &mut Json) {
        let shape = self.of(kind);
        let Json::Object(members) = value else { return };
        for (name, member) in members {
            if !matches!(member, Json::Array(_) | Json::Object(_)) {
                continue;
            }
            let Some(element) = shape.elements.get(&**name) else { continue };
            match member {
                Json::Array(elements) => {
                    elements.iter_mut().for_each(|value| self.complete(element.kind, value));
                    if &**name == "extension" {
                        elements.retain(is_whole_extension);
                    }
                }
                value if self.of(element.kind).kind == Kind::Backbone => self.complete_below(element.kind, value),
                value => self.complete(element.kind, value),
            }
        }
    }

    /// Required elements of a resource that no fragment gives, as paths with their slot and a fragment that stands for
    /// them; single backbone elements are looked into.
    pub fn absences(&self, kind: TypeId, fragments: &[&Json]) -> Vec<Absence> {
        let mut found = Vec::new();
        self.absences_below(kind, fragments, &mut Vec::new(), &mut found);
        found
    }

    fn absences_below(&self, kind: TypeId, fragments: &[&Json], path: &mut Vec<Arc<str>>, found: &mut Vec<Absence>) {
        let shape = self.of(kind);
        for required in &shape.required {
            let element = &shape.elements[&required.element];
            let backbone = self.of(element.kind).kind == Kind::Backbone && !element.many;
            if backbone {
                let inner: Vec<&Json> = fragments.iter().filter_map(|fragment| fragment.get(&required.element)).collect();
                path.push(element.name.clone());
                self.absences_below(element.kind, &inner, path, found);
                path.pop();
            } else if !fragments.iter().any(|fragment| self.has(shape, required, fragment)) {
                let (name, absent) = self.absent(kind, &required.element);
                let absent = if matches!(absent, Json::Object(_)) && !name.starts_with('_') {
                    let mut absent = absent;
                    self.complete(element.kind, &mut absent);
                    absent
                } else {
                    absent
                };
                let mut slot: Vec<&str> = path.iter().map(|name| &**name).collect();
                slot.push(&required.slot);
                let element_path = slot.join(".");
                let mut value = Json::Object(vec![(name, absent)]);
                for name in path.iter().rev() {
                    value = Json::Object(vec![(name.clone(), value)]);
                }
                found.push(Absence { slot: element_path, many: element.many, fragment: value });
            }
        }
        // Single backbone elements that are not required but present have requirements of their own.
        for element in shape.elements.values() {
            let optional = !shape.required.iter().any(|required| *required.element == *element.name);
            if optional && !element.many && self.of(element.kind).kind == Kind::Backbone {
                let inner: Vec<&Json> = fragments.iter().filter_map(|fragment| fragment.get(&element.name)).collect();
                if !inner.is_empty() {
                    path.push(element.name.clone());
                    self.absences_below(element.kind, &inner, path, found);
                    path.pop();
                }
            }
        }
    }

    /// What stands for an absent element: its JSON name (`_status` for a primitive) and value.
    fn absent(&self, kind: TypeId, name: &str) -> (Arc<str>, Json) {
        let element = &self.of(kind).elements[name];
        let reason = || Json::from_iter([("extension", Json::Array(vec![data_absent_reason()]))]);
        let (name, value): (Arc<str>, Json) = match self.of(element.kind).kind {
            Kind::Primitive(_) if element.codes.iter().any(|code| &**code == "unknown") => (element.name.clone(), Json::from("unknown")),
            Kind::Primitive(_) => (format!("_{}", element.name).into(), reason()),
            Kind::Backbone => {
                let mut value = Json::object();
                self.complete(element.kind, &mut value);
                (element.name.clone(), if value.is_empty() { reason() } else { value })
            }
            _ => (element.name.clone(), reason()),
        };
        if element.many { (name, Json::Array(vec![value])) } else { (name, value) }
    }
}

/// A required element that nobody asserted.
#[derive(Debug)]
pub struct Absence {
    /// `status`, `source.endpoint`, `medication[x]`.
    pub slot: String,
    pub many: bool,
    /// An object laid over the body.
    pub fragment: Json,
}

fn data_absent_reason() -> Json {
    Json::from_iter([
        ("url", Json::from("http://hl7.org/fhir/StructureDefinition/data-absent-reason")),
        ("valueCode", Json::from("unknown")),
    ])
}

/// `valueQuantity` from `value` and `Quantity`.
pub fn choice_name(base: &str, kind: &str) -> String {
    let mut name = String::with_capacity(base.len() + kind.len());
    name.push_str(base);
    let mut characters = kind.chars();
    name.extend(characters.next().map(|first| first.to_ascii_uppercase()));
    name.push_str(characters.as_str());
    name
}

/// An extension has a url, and a value or extensions of its own (ext-1): a value that could not be read leaves neither.
fn is_whole_extension(extension: &Json) -> bool {
    let Json::Object(members) = extension else { return false };
    let holds = |(name, value): &(Arc<str>, Json)| {
        (&**name == "extension" || name.starts_with("value") || name.starts_with("_value")) && !value.is_empty()
    };
    extension.get("url").is_some() && members.iter().any(holds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(resource: &str, faults: &[(&str, &str)]) {
        let shape = Shape::r4().unwrap();
        let found = shape.check(&Json::parse(resource.as_bytes()).unwrap());
        let found: Vec<_> = found.iter().map(|fault| (fault.path.as_str(), fault.reason)).collect();
        assert_eq!(found, faults, "{resource}");
    }

    #[test]
    fn what_r4_allows_passes_and_the_rest_is_told_with_its_path() {
        check(
            r#"{"resourceType":"Patient","name":[{"given":["A"]}],"birthDate":"1970","_birthDate":{"extension":[{"url":"u","valueDateTime":"1970-01-01T10:00:00Z"}]}}"#,
            &[],
        );
        check(r#"{"resourceType":"Patient","given":"A"}"#, &[("given", UNKNOWN)]);
        check(r#"{"resourceType":"Patient","name":{"given":["A"]}}"#, &[("name", NOT_MANY)]);
        check(r#"{"resourceType":"Patient","gender":["male"],"active":true}"#, &[("gender", NOT_ONE)]);
        check(r#"{"resourceType":"Patient","gender":"M","active":true}"#, &[("gender", NOT_IN_BINDING)]);
        check(r#"{"resourceType":"Patient","birthDate":"19700101","active":true}"#, &[("birthDate", NOT_OF_TYPE)]);
        check(r#"{"resourceType":"Patient","deceasedBoolean":true,"deceasedDateTime":"1970"}"#, &[("deceasedDateTime", TWO_OF_CHOICE)]);
        check(
            r#"{"resourceType":"Patient","contact":[{"name":{"family":1},"gender":"male"}]}"#,
            &[("contact.[0].name.family", NOT_OF_TYPE), ("contact.[0].name", EMPTY)],
        );
        check(
            r#"{"resourceType":"Observation","code":{"text":"x"},"component":[{"valueString":"x"}]}"#,
            &[("status", MISSING), ("component[0].code", MISSING)],
        );
        check(
            r#"{"resourceType":"Patient","link":[{"other":{"reference":"Patient/1"},"type":"seealso"}],"contained":[{"resourceType":"Practitioner","name":[{"family":"A"}]}]}"#,
            &[],
        );
        check(r#"{"resourceType":"Unheard"}"#, &[("resourceType", NO_RESOURCE_TYPE)]);
        check(
            r#"{"resourceType":"Observation","status":"final","code":{"text":"x"},"referenceRange":[{"low":{"value":6.30}}],"component":[{"code":{"text":"x"},"referenceRange":[{"text":"x"}]}]}"#,
            &[],
        );
    }

    #[test]
    fn the_absent_is_told_so_that_r4_holds() {
        let shape = Shape::r4().unwrap();
        for (kind, given, slots) in [
            ("Observation", "{}", "status code"),
            ("Observation", r#"{"status":"final","code":{"text":"x"}}"#, ""),
            ("DiagnosticReport", "{}", "status code"),
            ("Encounter", "{}", "status class"),
            ("MessageHeader", "{}", "event[x] source.endpoint"),
            ("DocumentReference", "{}", "status content"),
            ("MedicationRequest", "{}", "status intent medication[x] subject"),
            ("Patient", "{}", ""),
            ("Immunization", "{}", "status vaccineCode patient occurrence[x]"),
        ] {
            let id = shape.id(kind).unwrap();
            let given = Json::parse(given.as_bytes()).unwrap();
            let absences = shape.absences(id, &[&given]);
            assert_eq!(absences.iter().map(|absence| absence.slot.as_str()).collect::<Vec<_>>().join(" "), slots);
            let mut body = given;
            body.set("resourceType", Json::from(kind));
            absences.into_iter().for_each(|absence| contract::merge(&mut body, absence.fragment));
            assert_eq!(shape.check(&body), [], "{body}");
        }
    }

    #[test]
    fn within_a_value_the_absent_is_filled_in() {
        let shape = Shape::r4().unwrap();
        let mut body =
            Json::parse(br#"{"component":[{"valueString":"x"}],"extension":[{"valueString":"x"}],"code":{"text":"x"}}"#).unwrap();
        shape.complete_below(shape.id("Observation").unwrap(), &mut body);
        assert_eq!(
            body.to_string(),
            r#"{"component":[{"valueString":"x","code":{"extension":[{"url":"http://hl7.org/fhir/StructureDefinition/data-absent-reason","valueCode":"unknown"}]}}],"extension":[],"code":{"text":"x"}}"#
        );
    }
}
