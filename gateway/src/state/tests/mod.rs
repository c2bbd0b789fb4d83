//! Messages in the making, and what state makes of them.

mod identity;
mod laws;
mod slots;
mod visits;

use super::{Address, Change, Finding, Loader, Memory, Rendered, address, fold, place};
use contract::{Authority, Class, Contribution, IdKey, Json, Key, Membership, Rank, Slot, Statement, Translation};
use jiff::Timestamp;

/// 2026-03-01T00:00:00Z.
const MIDNIGHT: i64 = 1_772_323_200_000_000;

fn patient(number: &str) -> Key {
    Key::new("Patient", "urn:mrn", number)
}

fn visit(number: &str) -> Key {
    Key::new("Encounter", "urn:visit", number)
}

fn json(text: &str) -> Json {
    Json::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn reference(key: &Key) -> String {
    format!(r#"{{"reference":"{}"}}"#, address_of(key))
}

fn address_of(key: &Key) -> Address {
    address(&IdKey::demonstration(), key)
}

/// What one message says: first when and by whom, then of what, then what.
#[derive(Clone, Debug)]
struct Message {
    feed: &'static str,
    event: &'static str,
    rank: Rank,
    contributions: Vec<Contribution>,
}

impl Message {
    fn at(hour: i64, minute: i64) -> Self {
        let asserted = MIDNIGHT + (hour * 60 + minute) * 60_000_000;
        let rank = Rank { authority: Authority::Feed, asserted, sent: asserted, step: 4, ..Rank::default() };
        Self { feed: "pas", event: "A08", rank, contributions: Vec::new() }
    }

    fn feed(mut self, feed: &'static str) -> Self {
        self.feed = feed;
        self
    }

    fn authority(mut self, authority: Authority) -> Self {
        self.rank.authority = authority;
        self
    }

    fn event(mut self, event: &'static str) -> Self {
        self.event = event;
        self.rank.step = match event {
            "A05" => 1,
            "A01" | "A04" => 2,
            "A02" | "A06" | "A07" => 3,
            "A03" => 5,
            "A11" | "A12" | "A13" => 6,
            _ => 4,
        };
        self
    }

    fn rank(mut self, change: impl FnOnce(&mut Rank)) -> Self {
        change(&mut self.rank);
        self
    }

    fn about(self, key: &Key) -> Self {
        self.contribute(key, Class::Record, None)
    }

    fn mentions(self, key: &Key) -> Self {
        self.contribute(key, Class::Mention, None)
    }

    /// An item of a group: of what, in which group, under which name there.
    fn item(self, key: &Key, parent: &Key, group: &str, item: &str) -> Self {
        let membership = Membership { parent: parent.clone(), group: group.into(), item: item.into() };
        self.contribute(key, Class::Record, Some(membership))
    }

    fn contribute(mut self, key: &Key, class: Class, member_of: Option<Membership>) -> Self {
        self.contributions.push(Contribution { key: key.clone(), class, member_of, statements: Vec::new() });
        self
    }

    fn say(mut self, slot: Slot, value: Option<Json>) -> Self {
        let ordinal = self.contributions.iter().map(|contribution| contribution.statements.len()).sum::<usize>() + 1;
        let contribution = self.contributions.last_mut().expect("of what");
        let mut rank = Rank { ordinal: ordinal.try_into().unwrap(), ..self.rank };
        if contribution.class == Class::Mention {
            let sequence = value.as_ref().map_or(0, |value| value.to_bytes().iter().map(|byte| u64::from(*byte)).sum());
            let asserted = rank.asserted - rank.asserted.rem_euclid(86_400_000_000);
            rank = Rank { authority: Authority::Mention, asserted, sequence, ..Rank::default() };
        }
        contribution.statements.push(Statement { slot, rank, value, place: "PID[1]-1".into(), row: "t:1".into() });
        self
    }

    /// One element; its fragment, or empty to clear it.
    fn element(self, name: &str, fragment: &str) -> Self {
        self.say(Slot::Element(name.into()), (!fragment.is_empty()).then(|| json(fragment)))
    }

    fn implied(mut self, name: &str, fragment: &str) -> Self {
        let rank = self.rank;
        self.rank.authority = Authority::Implied;
        let mut said = self.element(name, fragment);
        said.rank = rank;
        said
    }

    /// A repeating field whole; empty to clear it.
    fn list(self, element: &str, field: &str, list: &str) -> Self {
        let slot = Slot::Repeats { element: element.into(), field: field.into(), feed: self.feed.into() };
        self.say(slot, (!list.is_empty()).then(|| json(list)))
    }

    /// A snapshot group's items by name; inline ones with a value at `element`.
    fn group(self, element: &str, group: &str, items: &[(&str, &str)]) -> Self {
        let slot = Slot::Group { element: element.into(), group: group.into(), feed: self.feed.into() };
        let item = |(key, value): &(&str, &str)| -> Json {
            let value = (!value.is_empty()).then(|| ("value", json(value)));
            [("key", Json::from(*key))].into_iter().chain(value).collect()
        };
        let items = items.iter().map(item).collect();
        self.say(slot, Some(Json::Array(items)))
    }

    /// An item with an action code: with a value (empty: none of its own), or deleted.
    fn acted(self, element: &str, group: &str, key: &str, value: Option<&str>) -> Self {
        let slot = Slot::Item { element: element.into(), group: group.into(), feed: self.feed.into(), key: key.into() };
        let value = value.map(|text| if text.is_empty() { Json::object() } else { [("value", json(text))].into_iter().collect() });
        self.say(slot, value)
    }

    fn member(self, element: &str, key: &str, value: &str) -> Self {
        self.say(Slot::Member { element: element.into(), key: key.into() }, Some(json(value)))
    }

    fn step(self, kind: &str, member: &str, value: Json) -> Self {
        let slot = Slot::Move { at: self.rank.asserted, event: self.event.into(), what: format!("{kind} {value}").into() };
        let value = [("kind", Json::from(kind)), (member, value)].into_iter().collect();
        self.say(slot, Some(value))
    }

    fn bed(self, place: &str) -> Self {
        self.step("location", "location", json(&format!(r#"{{"location":{{"display":"{place}"}}}}"#)))
    }

    /// Where the patient was until then.
    fn prior(self, place: &str) -> Self {
        let mut message = self.bed(place);
        message.step_value("prior", Json::Bool(true));
        message
    }

    /// What was said last happened at this hour.
    fn since(mut self, hour: i64) -> Self {
        self.step_value("time", Json::string(Timestamp::from_microsecond(MIDNIGHT + hour * 3_600_000_000).unwrap().to_string()));
        self
    }

    fn step_value(&mut self, name: &str, value: Json) {
        let said = self.contributions.last_mut().and_then(|said| said.statements.last_mut()).expect("a step");
        said.value.as_mut().expect("a step has a value").set(name, value);
    }

    fn class(self, code: &str) -> Self {
        self.step("class", "class", json(&format!(r#"{{"code":"{code}"}}"#)))
    }

    fn status(self, status: &str) -> Self {
        self.step("status", "status", status.into())
    }

    fn cancels(self, event: &str) -> Self {
        self.step("cancel", "of", event.into())
    }

    fn replaced_by(self, survivor: &Key) -> Self {
        self.say(Slot::Edge { kind: "replaced-by".into(), other: "".into() }, Some(json(&reference(survivor))))
    }

    fn linked(self, other: &Key, is_linked: bool) -> Self {
        let slot = Slot::Edge { kind: "seealso".into(), other: format!("{}|{}", other.system, other.value).into() };
        self.say(slot, is_linked.then(|| json(&reference(other))))
    }

    fn in_set(self, name: &str, said: &str) -> Self {
        self.say(Slot::Shared { register: "document-set".into(), name: name.into() }, Some(json(said)))
    }

    /// As it stands in the journal.
    fn placed(&self, position: u64) -> (u64, &'static str, Vec<Contribution>) {
        let mut translation = Translation { contributions: self.contributions.clone(), issues: Vec::new() };
        place(&mut translation, position, Timestamp::MAX);
        (position, self.feed, translation.contributions)
    }
}

/// Folds, and keeps what changed.
fn take(memory: &mut Memory, feed: &str, contributions: &[Contribution]) -> Vec<Finding> {
    let Ok(changes) = fold(memory, &IdKey::demonstration(), feed, contributions);
    let findings = changes.iter().flat_map(|change: &Change| change.findings.iter().copied()).collect();
    memory.keep(changes);
    findings
}

/// Positions in the order of delivery.
fn deliver<'m>(messages: impl IntoIterator<Item = &'m Message>) -> Memory {
    let mut memory = Memory::default();
    for (position, message) in (1..).zip(messages) {
        let (_, feed, contributions) = message.placed(position);
        take(&mut memory, feed, &contributions);
    }
    memory
}

/// What the last message lets one notice.
fn findings(messages: &[Message]) -> Vec<Finding> {
    let (last, earlier) = messages.split_last().expect("messages");
    let mut memory = deliver(earlier);
    let (_, feed, contributions) = last.placed(messages.len() as u64);
    take(&mut memory, feed, &contributions)
}

/// A member of a body as text; empty where there is none, `deleted` of a resource that is.
fn seen(memory: &Memory, key: &Key, member: &str) -> String {
    match memory.bodies().get(&address_of(key)) {
        None => "never was".into(),
        Some(Rendered::Deleted) => "deleted".into(),
        Some(Rendered::Body(body)) => body.get(member).map(Json::to_string).unwrap_or_default(),
    }
}

/// Delivers in order and in reverse: what is expected of the member either way.
fn check(what: &str, messages: &[Message], key: &Key, member: &str, expected: &str) {
    assert_eq!(seen(&deliver(messages), key, member), expected, "{what}");
    assert_eq!(seen(&deliver(messages.iter().rev()), key, member), expected, "{what}, delivered the other way round");
}

fn slots_of(memory: &mut Memory, key: &Key) -> super::Slots {
    let Ok(found) = memory.load(&address_of(key));
    found.map(|(_, slots)| slots).unwrap_or_default()
}
