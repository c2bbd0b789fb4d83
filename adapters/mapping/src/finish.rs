//! What was said of each resource, as ranked statements.

use crate::call::Action;
use crate::evaluate::Run;
use crate::explain::explained;
use crate::node::{Node, Syntax};
use crate::plan::*;
use crate::put::put;
use crate::resources::{GroupFound, Instance};
use crate::shape::TypeId;
use contract::{
    Authority, Class, Contribution, Explanation, Issue, IssueCode, Json, Key, Name, Rank, Severity, Slot, Statement, Trace, Translation,
};
use std::collections::HashSet;

/// What rows said of one resource so far.
#[derive(Default)]
pub(crate) struct Slots {
    accounts: Vec<Account>,
    pub said: Vec<Said>,
    /// A rule took the resource back.
    pub withheld: bool,
}

/// One slot's value while rows add to it.
struct Account {
    slot: SlotId,
    implied: bool,
    cleared: bool,
    /// A fragment of the body; of a list, with the list in its place.
    root: Json,
    members: Vec<(Name, Json)>,
    place: Name,
    row: Name,
}

/// The row of what R4 requires and no row gave.
const ABSENT: &str = "r4/shape";

/// A slot that a rule said as a whole.
pub(crate) struct Said {
    pub slot: Slot,
    pub value: Option<Json>,
    pub place: Name,
    pub row: Name,
    pub implied: bool,
}

/// The origin of an element, while its path is found from the inside out.
pub(crate) struct TraceLine {
    pub instance: Option<usize>,
    /// The path is that of the resource.
    pub placed: bool,
    pub path: String,
    pub place: String,
    pub row: Name,
}

impl TraceLine {
    pub fn prefix(&mut self, path: &str, is_root: bool) {
        self.path = match (path, self.path.as_str()) {
            ("", own) => own.to_owned(),
            (path, "") => path.to_owned(),
            (path, own) => format!("{path}.{own}"),
        };
        self.placed = is_root;
    }
}

impl Slots {
    pub fn is_empty(&self) -> bool {
        self.said.is_empty() && self.accounts.iter().all(|account| account.root.is_empty() && account.members.is_empty())
    }

    /// Puts a value of a row in its place; false where that is taken.
    pub fn put<X: Syntax>(
        &mut self,
        plan: &Plan<X>,
        (row, to, is_first): (&Row<X>, &Target, bool),
        cells: &mut [u32],
        value: Json,
        place: &dyn Fn() -> Name,
        path: Option<&mut String>,
    ) -> bool {
        let Some(slot) = to.slot else { return false };
        if let Some(halves) = to.period {
            let mut placed = false;
            for (half, slot) in ["start", "end"].into_iter().zip(halves) {
                if let Some(stamp) = value.get(half) {
                    let account = self.account(slot, row.implied, &row.at, place);
                    placed |= put(&mut account.root, &to.steps, cells, Json::from_iter([(half, stamp.clone())]), is_first, None);
                }
            }
            if let Some(path) = path {
                *path = to.steps.iter().map(|step| &*step.name).collect::<Vec<_>>().join(".");
            }
            return placed;
        }
        let account = self.account(slot, row.implied, &row.at, place);
        if let (SlotKind::Member { .. }, Some(Json::String(key))) = (&plan.slots[slot].kind, value.get("reference")) {
            let key = key.clone();
            if let Some(path) = path {
                *path = format!("{}[{}]", to.steps.iter().map(|step| &*step.name).collect::<Vec<_>>().join("."), account.members.len());
            }
            if !account.members.iter().any(|(known, _)| *known == key) {
                account.members.push((key, value));
            }
            return true;
        }
        put(&mut account.root, &to.steps, cells, value, is_first, path)
    }

    /// Clears the slot of a target. A slot that several elements share is not cleared by one of them.
    pub fn clear<X: Syntax>(&mut self, row: &Row<X>, to: &Target, place: &dyn Fn() -> Name) {
        let slots = to.period.map_or_else(|| to.slot.into_iter().collect::<Vec<_>>(), |halves| halves.to_vec());
        for slot in slots {
            self.account(slot, false, &row.at, place).cleared = true;
        }
    }

    fn account(&mut self, slot: SlotId, implied: bool, row: &Name, place: &dyn Fn() -> Name) -> &mut Account {
        let found = self.accounts.iter().rposition(|account| account.slot == slot && account.implied == implied);
        let index = found.unwrap_or_else(|| {
            self.accounts.push(Account {
                slot,
                implied,
                cleared: false,
                root: Json::Null,
                members: Vec::new(),
                place: place(),
                row: row.clone(),
            });
            self.accounts.len() - 1
        });
        &mut self.accounts[index]
    }

    /// What was said of the same resource at another place; a repetition is left out.
    pub fn absorb(&mut self, other: Slots) {
        for account in other.accounts {
            let is_known = |known: &Account| known.slot == account.slot && known.root == account.root && known.members == account.members;
            if !self.accounts.iter().any(is_known) {
                self.accounts.push(account);
            }
        }
        self.said.extend(other.said);
        self.withheld |= other.withheld;
    }

    /// Words for a person: the first name, as text.
    pub fn display<X: Syntax>(&self, plan: &Plan<X>) -> Option<Json> {
        let name = self.accounts.iter().find_map(|account| account.root.get("name").filter(|_| !is_explicit(plan, account.slot)))?;
        match name.each().first()? {
            Json::String(text) => Some(Json::String(text.clone())),
            name => {
                if let Some(text) = name.get("text") {
                    return Some(text.clone());
                }
                let parts = ["prefix", "given", "family", "suffix"].map(|part| name.get(part));
                let words: Vec<&str> = parts.into_iter().flatten().flat_map(Json::each).filter_map(Json::as_str).collect();
                (!words.is_empty()).then(|| Json::from(words.join(" ")))
            }
        }
    }

    pub fn identifier<X: Syntax>(&self, plan: &Plan<X>) -> Option<Json> {
        let found = self.accounts.iter().find_map(|account| account.root.get("identifier").filter(|_| !is_explicit(plan, account.slot)))?;
        found.each().first().cloned()
    }
}

fn is_explicit<X: Syntax>(plan: &Plan<X>, slot: SlotId) -> bool {
    matches!(plan.slots[slot].kind, SlotKind::Element { explicit: true, .. })
}

/// The key of a mention without identifier: feed, and digest of what is said.
pub(crate) fn digest_key<X: Syntax>(run: &Run<'_, X>, name: Name, slots: &Slots) -> Key {
    let mut said = Vec::new();
    for account in &slots.accounts {
        said.extend(account.root.to_bytes());
    }
    Key::new(name, run.message.settings.own_system("mention"), contract::Frame::new(said).digest().to_string())
}

impl<'m, X: Syntax> Run<'m, X> {
    pub fn finish(mut self) -> Explanation {
        let mut contributions = Vec::with_capacity(self.instances.len());
        let mut ordinal = 0;
        let groups = std::mem::take(&mut self.groups);
        // Where each resource stands among the contributions.
        let mut placed = Vec::with_capacity(self.instances.len());
        for (index, mut instance) in std::mem::take(&mut self.instances).into_iter().enumerate() {
            placed.push(Some(contributions.len()).filter(|_| !instance.slots.withheld));
            if instance.slots.withheld {
                continue;
            }
            for group in groups.iter().filter(|group| group.parent == index) {
                self.group_said(group, &mut instance.slots);
            }
            let mut statements = self.statements(&mut instance);
            for statement in &mut statements {
                // A mention's rank tells its day and value alone (`state.md`, Mentions).
                if instance.class != Class::Mention {
                    ordinal += 1;
                    statement.rank.ordinal = ordinal;
                }
            }
            contributions.push(Contribution { key: instance.key, class: instance.class, member_of: instance.member_of, statements });
        }
        let mut unmapped = Vec::new();
        let mut leaves = Vec::new();
        self.engine.syntax.leaves(&self.message.root, &mut |leaf| leaves.push(leaf));
        leaves.retain(|leaf| !self.is_marked(leaf));
        for leaf in leaves {
            let place = leaf.place();
            self.issues.push(Issue::new(
                Severity::Information,
                IssueCode::NotMapped,
                place.as_str(),
                "no row of the tables reads this value",
            ));
            if self.traces.is_some() {
                unmapped.push(place);
            }
        }
        let traces = match self.traces.take() {
            Some(noted) => explained(&contributions, noted.into_iter().filter_map(|line| Self::trace_of(line, &placed)).collect()),
            None => Vec::new(),
        };
        // Several resources may be dated, or made, by one field: what is wrong there is said once.
        let mut told = HashSet::new();
        self.issues.retain(|issue| told.insert((issue.place.clone(), issue.reason.clone())));
        Explanation { translation: Translation { contributions, issues: self.issues }, traces, unmapped }
    }

    fn trace_of(line: TraceLine, placed: &[Option<usize>]) -> Option<Trace> {
        let contribution = line.instance.filter(|_| line.placed).and_then(|instance| placed[instance])?;
        Some(Trace { contribution, element: line.path, place: line.place, row: line.row.to_string() })
    }

    fn group_said(&self, group: &GroupFound<'m, X>, slots: &mut Slots) {
        let feed: Name = self.message.settings.feed.as_str().into();
        let (place, row): (Name, _) = (group.place.place().into(), group.row.clone());
        let said = |slot, value| Said { slot, value, place: place.clone(), row: row.clone(), implied: false };
        let is_acted = group.asserts || group.items.iter().any(|(_, action)| action.is_some());
        if !is_acted {
            let items = group.items.iter().map(|(item, _)| Json::from_iter([("key", Json::String(item.clone()))])).collect();
            let slot = Slot::Group { element: "".into(), group: group.name.clone(), feed };
            return slots.said.push(said(slot, Some(Json::Array(items))));
        }
        for (item, action) in &group.items {
            let slot = Slot::Item { element: "".into(), group: group.name.clone(), feed: feed.clone(), key: item.clone() };
            slots.said.push(said(slot, (*action != Some(Action::Delete)).then(Json::object)));
        }
    }

    fn statements(&mut self, instance: &mut Instance<'m, X>) -> Vec<Statement> {
        let plan = &self.engine.plan;
        let shape = &plan.shape;
        let mut slots = std::mem::take(&mut instance.slots);
        settle_implied(plan, &mut slots.accounts);
        slots.said.retain_mut(|said| self.guard_said(instance.kind, said));
        self.give_identifier(instance, &mut slots);
        self.fill_absences(instance.kind, &mut slots);
        let mut statements = Vec::with_capacity(slots.accounts.len() + slots.said.len());
        for mut account in slots.accounts {
            shape.complete_below(instance.kind, &mut account.root);
            let rank = self.rank_of(instance, account.implied, &account.row);
            let slot = &plan.slots[account.slot];
            let (place, row) = (account.place, account.row);
            let mut push = |slot, value| statements.push(Statement { slot, rank, value, place: place.clone(), row: row.clone() });
            let feed = || self.message.settings.feed.as_str().into();
            match &slot.kind {
                SlotKind::Member { element } => {
                    for (key, value) in account.members {
                        push(Slot::Member { element: element.clone(), key }, Some(value));
                    }
                }
                SlotKind::Repeats { element, field } => {
                    let value = list_at(account.root, &slot.path);
                    if value.is_some() || account.cleared {
                        push(Slot::Repeats { element: element.clone(), field: field.clone(), feed: feed() }, value);
                    }
                }
                SlotKind::Element { name, explicit } => {
                    let value = Some(account.root).filter(|root| !root.is_empty());
                    if value.is_some() || account.cleared && !explicit {
                        push(Slot::Element(name.clone()), value);
                    }
                }
            }
        }
        for said in slots.said {
            let rank = self.rank_of(instance, said.implied, &said.row);
            statements.push(Statement { slot: said.slot, rank, value: said.value, place: said.place, row: said.row });
        }
        if instance.class == Class::Mention {
            for statement in &mut statements {
                statement.rank.sequence = statement.value.as_ref().map_or(0, |value| fnv(&value.to_bytes()));
            }
        }
        statements
    }

    /// What nobody said, not even a row, gives way to whatever was ever said or implied, however long ago.
    fn rank_of(&self, instance: &Instance<'m, X>, implied: bool, row: &str) -> Rank {
        if row == ABSENT { Rank::default() } else { self.rank(instance, implied) }
    }

    fn rank(&self, instance: &Instance<'m, X>, implied: bool) -> Rank {
        let settings = self.message.settings;
        let authority = match instance.class {
            _ if implied => Authority::Implied,
            Class::Mention => Authority::Mention,
            Class::Record if settings.owns.contains(&*instance.name) => Authority::Owner,
            Class::Record | Class::Message => Authority::Feed,
        };
        if instance.class == Class::Mention {
            return Rank { authority, asserted: instance.asserted - instance.asserted.rem_euclid(Rank::DAY), ..Rank::default() };
        }
        Rank {
            authority,
            settled: instance.weight.settled,
            asserted: instance.asserted,
            sequence: self.message.sequence,
            sent: self.message.envelope.sent.unwrap_or(0),
            step: instance.weight.step,
            position: 0,
            ordinal: 0,
        }
    }

    /// Cuts what a rule said to what R4 allows; false where nothing is left of it.
    fn guard_said(&mut self, kind: TypeId, said: &mut Said) -> bool {
        let shape = &self.engine.plan.shape;
        let list = match &said.slot {
            Slot::Repeats { element, .. } if !element.contains('.') => Some(element.clone()),
            Slot::Element(_) => None,
            _ => return true,
        };
        let Some(value) = said.value.take() else { return true };
        let mut body = match &list {
            Some(element) => Json::Object(vec![(element.clone(), value)]),
            None => value,
        };
        let mut reasons = Vec::new();
        shape.guard(kind, &mut body, &mut |_, reason| reasons.push(reason));
        shape.complete_below(kind, &mut body);
        for reason in reasons {
            self.issues.push(Issue::new(Severity::Warning, IssueCode::DataType, &*said.place, reason));
        }
        said.value = match &list {
            Some(element) => body.remove(element),
            None => Some(body).filter(|body| !body.is_empty()),
        };
        said.value.is_some()
    }

    /// What is pointed at has at least its identifier.
    fn give_identifier(&self, instance: &Instance<'m, X>, slots: &mut Slots) {
        let plan = &self.engine.plan;
        let Some(element) = plan.shape.element(instance.kind, "identifier") else { return };
        let Some(identifier) = instance.key_identifier() else { return };
        let stands = |slot: &Slot| matches!(slot, Slot::Repeats { element, .. } if **element == *"identifier");
        if slots.accounts.iter().any(|account| account.root.get("identifier").is_some()) || slots.said.iter().any(|said| stands(&said.slot))
        {
            return;
        }
        let (slot, value) = match element.many {
            true => {
                let feed = self.message.settings.feed.as_str().into();
                (Slot::Repeats { element: "identifier".into(), field: "key".into(), feed }, Json::Array(vec![identifier]))
            }
            false => (Slot::Element("identifier".into()), Json::from_iter([("identifier", identifier)])),
        };
        slots.said.push(Said { slot, value: Some(value), place: instance.node.place().into(), row: "key".into(), implied: false });
    }

    /// Required elements that nobody asserted.
    fn fill_absences(&self, kind: TypeId, slots: &mut Slots) {
        let plan = &self.engine.plan;
        let mut lists = Vec::new();
        for said in &slots.said {
            if let (Slot::Repeats { element, .. } | Slot::Member { element, .. }, Some(value)) = (&said.slot, &said.value) {
                lists.push(Json::Object(vec![(element.clone(), value.clone())]));
            }
        }
        let members: Vec<Json> = slots
            .accounts
            .iter()
            .filter(|account| !account.members.is_empty())
            .filter_map(|account| {
                let name = plan.slots[account.slot].path.last()?;
                Some(Json::Object(vec![(name.clone(), Json::Array(Vec::new()))]))
            })
            .collect();
        let accounts = slots.accounts.iter().map(|account| &account.root);
        let elements = slots.said.iter().filter(|said| matches!(said.slot, Slot::Element(_))).filter_map(|said| said.value.as_ref());
        let fragments: Vec<&Json> = accounts.chain(elements).chain(&lists).chain(&members).collect();
        for absence in plan.shape.absences(kind, &fragments) {
            let planned = plan.planned.get(&(kind, absence.slot.as_str().into())).copied();
            let known = planned.and_then(|slot| slots.accounts.iter_mut().find(|account| account.slot == slot && !account.implied));
            match (planned, known) {
                // It belongs to what stands together: filled in there, or it would outlive it.
                (Some(slot), Some(account)) if is_explicit(plan, slot) && !account.root.is_empty() => {
                    contract::merge(&mut account.root, absence.fragment)
                }
                (Some(slot), _) => slots.accounts.push(Account {
                    slot,
                    implied: true,
                    cleared: false,
                    root: absence.fragment,
                    members: Vec::new(),
                    place: "".into(),
                    row: ABSENT.into(),
                }),
                (None, _) => slots.said.push(Said {
                    slot: Slot::Element(absence.slot.as_str().into()),
                    value: Some(absence.fragment),
                    place: "".into(),
                    row: ABSENT.into(),
                    implied: true,
                }),
            }
        }
    }
}

/// What is implied gives way to what is asserted; in a slot that several elements share, it fills the gaps.
fn settle_implied<X: Syntax>(plan: &Plan<X>, accounts: &mut Vec<Account>) {
    let mut index = 0;
    while index < accounts.len() {
        let asserted = |other: &Account| !other.implied && other.slot == accounts[index].slot && !other.root.is_empty();
        match accounts[index].implied.then(|| accounts.iter().position(asserted)).flatten() {
            Some(other) => {
                let implied = accounts.remove(index);
                let other = if other > index { other - 1 } else { other };
                if let (true, Json::Object(members)) = (is_explicit(plan, implied.slot), implied.root) {
                    for (name, value) in members {
                        if accounts[other].root.get(&name).is_none() {
                            accounts[other].root.set(name, value);
                        }
                    }
                }
            }
            None => index += 1,
        }
    }
}

fn list_at(root: Json, path: &[Name]) -> Option<Json> {
    let mut at = root;
    for name in path {
        at = at.remove(name)?;
    }
    Some(at).filter(|list| !list.is_empty())
}

/// FNV-1a: the same on every machine and with every compiler.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
