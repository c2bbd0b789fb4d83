//! What the resources of a message say, as contributions.

use crate::dialect::HEADER;
use crate::identity::{Identities, Pointed, identifier_of};
use crate::message::Part;
use crate::narrative;
use contract::{Authority, Class, Contribution, Issue, IssueCode, Json, Key, Name, Rank, Settings, Severity, Slot, Statement, Translation};
use mapping::{Kind, Shape};
use std::collections::BTreeSet;

/// What the gateway itself says of a version.
const OURS: [&str; 2] = ["versionId", "lastUpdated"];
/// The row of what stands in the resource, and of what follows from it.
const AS_IT_STANDS: &str = "fhir:resource";
const IDENTITY: &str = "fhir:identity";
/// Of one message: each costs more than what it is about.
pub const ISSUES_MAX: usize = 10_000;

/// One message on its way.
pub struct Saying<'m> {
    pub shape: &'m Shape,
    pub settings: &'m Settings,
    pub identities: &'m Identities<'m>,
    /// When the message was made, where it says so: UTC microseconds.
    pub sent: Option<i64>,
    pub translation: Translation,
    /// Patients named by identifier alone.
    mentioned: BTreeSet<Key>,
    /// The part that is being said.
    number: usize,
    ordinal: u32,
    /// The worst of what there was no place for.
    untold: Option<Severity>,
}

impl<'m> Saying<'m> {
    pub fn new(shape: &'m Shape, settings: &'m Settings, identities: &'m Identities<'m>, sent: Option<i64>) -> Self {
        Self {
            shape,
            settings,
            identities,
            sent,
            translation: Translation::default(),
            mentioned: BTreeSet::new(),
            number: 0,
            ordinal: 0,
            untold: None,
        }
    }

    /// Says one resource; `number`: its place among the parts.
    pub fn part(&mut self, part: &Part<'_>, number: usize) {
        self.number = number;
        let place = part.place();
        for fault in self.shape.check(part.resource) {
            let place = format!("{place}.{}", fault.path.replace(".[", "["));
            self.note(Severity::Error, IssueCode::Structure, place, fault.reason);
        }
        let mut body = part.resource.clone();
        if body.get("implicitRules").is_some() {
            let reason = "it was made under rules of its own that change its meaning, and they are not known here";
            self.note(Severity::Error, IssueCode::NotSupported, format!("{place}.implicitRules"), reason);
        }
        for name in ["resourceType", "id"] {
            body.remove(name);
        }
        if let Some(meta) = body.get_mut("meta") {
            OURS.iter().for_each(|name| drop(meta.remove(name)));
        }
        self.keep_safe(&mut body, &place);
        self.follow(&mut body, &place, "");
        let key = self.identities.of(number).clone();
        let rank = self.rank(part);
        if rank.asserted == 0 {
            let reason = "neither meta.lastUpdated nor the Bundle says when this was so: it ranks below what is dated";
            self.note(Severity::Information, IssueCode::Time, place.clone(), reason);
        }
        let class = if part.kind == HEADER { Class::Message } else { Class::Record };
        let statements = match part.kind {
            "Patient" => self.elements(body, rank, &place),
            // No other feed speaks of it: what is not in it is not so any more.
            _ => vec![self.statement(Slot::Element(AS_IT_STANDS.into()), Some(body), rank, &place, AS_IT_STANDS)],
        };
        self.translation.contributions.push(Contribution { key: key.clone(), class, member_of: None, statements });
        if part.kind == "Patient"
            && let Some(id) = part.id()
            && let own = self.identities.own("Patient", id)
            && own != key
        {
            self.replaced(own, &key, rank, &place);
        }
        if part.kind == "Patient" {
            self.replaces(part, &key, rank, &place);
        }
    }

    /// Leaves out each narrative that may not be shown: the resource's, and those of sections and contained resources.
    fn keep_safe(&mut self, json: &mut Json, place: &str) {
        let div = json.get("text").and_then(|text| text.get("div")).and_then(Json::as_str);
        if div.is_some_and(|div| !narrative::is_safe(div)) {
            let reason = "the narrative is not within FHIR's subset of XHTML: it was left out, and stands in the message alone";
            self.note(Severity::Warning, IssueCode::Altered, format!("{place}.text.div"), reason);
            json.remove("text");
        }
        match json {
            Json::Array(elements) => {
                elements.iter_mut().enumerate().for_each(|(at, value)| self.keep_safe(value, &format!("{place}[{at}]")));
            }
            Json::Object(members) => members.iter_mut().for_each(|(name, value)| self.keep_safe(value, &format!("{place}.{name}"))),
            _ => {}
        }
    }

    /// What a Patient says that it replaces is said of the other.
    fn replaces(&mut self, part: &Part<'_>, survivor: &Key, rank: Rank, place: &str) {
        for (number, link) in part.resource.get("link").map(Json::each).unwrap_or_default().iter().enumerate() {
            if link.get("type").and_then(Json::as_str) != Some("replaces") {
                continue;
            }
            let other = link.get("other").and_then(|other| other.get("reference")).and_then(Json::as_str);
            match other.map(|other| self.identities.pointed(self.number, other)) {
                Some(Pointed::At(loser)) if self.settings.speaks_for(&loser) && loser != *survivor => {
                    self.replaced(loser, survivor, rank, place);
                }
                _ => {
                    let reason = "the Patient that it replaces is not one that this feed speaks for: the link was left out";
                    self.note(Severity::Warning, IssueCode::NotMapped, format!("{place}.link[{number}]"), reason);
                }
            }
        }
    }

    /// Says what was named in passing, when all parts are said.
    pub fn end(mut self) -> Translation {
        if let Some(severity) = self.untold {
            let reason = "it has more issues than are told; mend these, and send it again";
            self.translation.issues.push(Issue::new(severity, IssueCode::Limit, "", reason));
        }
        let said: BTreeSet<Key> = self.translation.contributions.iter().map(|contribution| contribution.key.clone()).collect();
        for key in std::mem::take(&mut self.mentioned) {
            if said.contains(&key) {
                continue;
            }
            let (element, field) = ("identifier".into(), AS_IT_STANDS.into());
            let slot = Slot::Repeats { element, field, feed: self.settings.feed.as_str().into() };
            let value = Json::Array(vec![identifier_of(&key.system, &key.value)]);
            let statement = Statement {
                slot,
                rank: Rank { authority: Authority::Mention, ..Rank::default() },
                value: Some(value),
                place: "".into(),
                row: IDENTITY.into(),
            };
            self.translation.contributions.push(Contribution { key, class: Class::Mention, member_of: None, statements: vec![statement] });
        }
        self.translation
    }

    /// A Patient is others' too: each element is a statement of its own, and what is absent says nothing.
    fn elements(&mut self, body: Json, rank: Rank, place: &str) -> Vec<Statement> {
        let Json::Object(members) = body else { return Vec::new() };
        let kind = self.shape.id("Patient").expect("R4 has Patients");
        let mut found: Vec<(Slot, Json)> = Vec::new();
        let mut edges = Vec::new();
        for (name, value) in members {
            let bare = name.trim_start_matches('_');
            let element = self.shape.element(kind, bare);
            if bare == "link" {
                edges.extend(value.each().iter().filter_map(edge));
                continue;
            }
            // The codes, narrative and contained of a resource go with it as a whole, and lists by themselves.
            let (slot, value) = match element {
                Some(element) if element.many && !name.starts_with('_') && self.shape.of(element.kind).kind != Kind::AnyResource => {
                    let (element, field) = (element.name.clone(), AS_IT_STANDS.into());
                    (Slot::Repeats { element, field, feed: self.settings.feed.as_str().into() }, value)
                }
                Some(element) => (Slot::Element(element.slot.clone()), [(&*name, value)].into_iter().collect()),
                None => continue,
            };
            match found.iter_mut().find(|(known, _)| *known == slot) {
                Some((_, fragment)) => contract::merge(fragment, value),
                None => found.push((slot, value)),
            }
        }
        let said = found.into_iter().map(|(slot, value)| (slot, Some(value), AS_IT_STANDS));
        let edges = edges.into_iter().map(|(slot, value)| (slot, Some(value), IDENTITY));
        said.chain(edges).map(|(slot, value, row)| self.statement(slot, value, rank, place, row)).collect()
    }

    /// One Patient gives way to another.
    fn replaced(&mut self, loser: Key, survivor: &Key, rank: Rank, place: &str) {
        let value: Json = [("reference", Json::string(self.settings.reference(survivor)))].into_iter().collect();
        let slot = Slot::Edge { kind: "replaced-by".into(), other: "".into() };
        let statements = vec![self.statement(slot, Some(value), rank, place, IDENTITY)];
        self.translation.contributions.push(Contribution { key: loser, class: Class::Record, member_of: None, statements });
    }

    /// Rewrites references below a value to where they lead here. `element`: the member that holds the value.
    fn follow(&mut self, json: &mut Json, place: &str, element: &str) {
        match json {
            Json::Array(elements) => {
                let each = elements.iter_mut().enumerate();
                each.for_each(|(at, value)| self.follow(value, &format!("{place}[{at}]"), element));
            }
            Json::Object(members) => {
                members.iter_mut().for_each(|(name, value)| self.follow(value, &format!("{place}.{name}"), name));
                self.point(json, place, element);
            }
            _ => {}
        }
    }

    fn point(&mut self, json: &mut Json, place: &str, element: &str) {
        // An Attachment's url may be that of a Binary of the message.
        let is_attachment =
            json.get("contentType").is_some() || matches!(element, "attachment" | "valueAttachment" | "photo" | "presentedForm");
        for name in ["reference", "url"] {
            let Some(text) = json.get(name).and_then(Json::as_str) else { continue };
            if name == "url" && !(is_attachment && (text.starts_with("urn:uuid:") || text.contains("Binary/"))) {
                continue;
            }
            match self.identities.pointed(self.number, text) {
                Pointed::Kept => {}
                Pointed::At(key) => {
                    let reference = self.settings.reference(&key);
                    if key.kind.as_ref() == "Patient" && self.settings.speaks_for(&key) && !key.system.starts_with("urn:landbridge:") {
                        self.mentioned.insert(key);
                    }
                    json.set(name, Json::string(reference));
                }
                Pointed::Unknown(reason) => self.note(Severity::Error, IssueCode::Identity, format!("{place}.{name}"), reason),
            }
        }
        if json.get("reference").is_none()
            && let Some(key) = self.identities.pointed_by_identifier(element, json)
        {
            json.set("reference", Json::string(self.settings.reference(&key)));
            self.mentioned.insert(key);
        }
    }

    fn statement(&mut self, slot: Slot, value: Option<Json>, rank: Rank, place: &str, row: &str) -> Statement {
        self.ordinal += 1;
        let place: Name = place.into();
        Statement { slot, rank: Rank { ordinal: self.ordinal, ..rank }, value, place, row: row.into() }
    }

    fn rank(&self, part: &Part<'_>) -> Rank {
        let updated = part.resource.get("meta").and_then(|meta| meta.get("lastUpdated")).and_then(Json::as_str).and_then(instant);
        let settled = match part.resource.get("status").and_then(Json::as_str) {
            Some(status) if matches!(part.kind, "Observation" | "DiagnosticReport") => {
                u8::from(!matches!(status, "registered" | "partial" | "preliminary"))
            }
            _ => 0,
        };
        Rank {
            authority: if self.settings.owns.contains(part.kind) { Authority::Owner } else { Authority::Feed },
            settled,
            asserted: updated.or(self.sent).unwrap_or(0),
            sent: self.sent.or(updated).unwrap_or(0),
            ..Rank::default()
        }
    }

    fn note(&mut self, severity: Severity, code: IssueCode, place: String, reason: &'static str) {
        if self.translation.issues.len() >= ISSUES_MAX {
            self.untold = self.untold.max(Some(severity));
            return;
        }
        self.translation.issues.push(Issue::new(severity, code, place, reason));
    }
}

/// A link to another Patient, as the edge that state keeps.
fn edge(link: &Json) -> Option<(Slot, Json)> {
    let reference = link.get("other")?.get("reference").and_then(Json::as_str)?;
    let value: Json = [("reference", Json::from(reference))].into_iter().collect();
    match link.get("type").and_then(Json::as_str)? {
        "replaced-by" => Some((Slot::Edge { kind: "replaced-by".into(), other: "".into() }, value)),
        "seealso" | "refer" => Some((Slot::Edge { kind: "seealso".into(), other: reference.into() }, value)),
        _ => None,
    }
}

/// An instant in UTC microseconds.
pub fn instant(text: &str) -> Option<i64> {
    text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_microsecond)
}
