//! State is a join: the pure function from what messages say to what resources are.
//!
//! [`fold`] takes the contributions of one message, joins them into the slots of their resources, and renders again
//! whatever depends on what changed. The next message, a late one, a repeated one, recovery and `convert` are this one
//! function over another [`Loader`].

mod difference;
mod documents;
mod encounter;
mod findings;
mod identity;
mod memory;
mod registers;
mod render;
mod slots;
#[cfg(test)]
mod tests;

pub use difference::{Difference, differences};
pub use findings::Finding;
pub use memory::{Memory, bundle};
pub use registers::Register;
pub use render::Rendered;
pub use slots::{Held, Slots, decode, encode, join};

use contract::{Authority, Class, Contribution, IdKey, Json, Key, Membership, Name, Rank, Slot, Statement, Translation};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// `Type/id`.
pub type Address = Name;

/// Where a fold finds what was there before. Both ask by address, never by search.
pub trait Loader {
    type Error;

    /// The slots of a resource, with its key where one was stored; `None` if it never was.
    fn load(&mut self, address: &str) -> Result<Option<(Key, Slots)>, Self::Error>;

    /// Addresses of the resources that stand in a register now.
    fn members(&mut self, register: &Register) -> Result<Vec<Address>, Self::Error>;
}

/// A resource whose slots changed, or whose body may have.
pub struct Change {
    pub address: Address,
    pub key: Key,
    pub slots: Slots,
    /// It had no state before this message.
    pub is_new: bool,
    /// Nobody says anything of it any more: it is as if it never was, but for its history.
    pub is_gone: bool,
    /// False where only a register changed under it.
    pub slots_changed: bool,
    pub rendered: Rendered,
    /// Every register that the resource stands in now.
    pub registers: BTreeSet<Register>,
    /// The message is about it, and does not only mention it.
    pub touched: bool,
    /// What a person should look at.
    pub findings: BTreeSet<Finding>,
}

/// Gives a translation its place in the journal: positions into the ranks, and no stamp later than 5 minutes after receipt
/// (the one place where arrival enters): a sender whose clock is years ahead would else outrank everyone until then.
/// Returns whether one was.
pub fn place(translation: &mut Translation, position: u64, received: Timestamp) -> bool {
    let latest = received.as_microsecond() + Rank::AHEAD_MAX;
    let mut capped = false;
    let mut cap = |stamp: &mut i64, latest: i64| {
        capped |= *stamp > latest;
        *stamp = latest.min(*stamp);
    };
    for contribution in &mut translation.contributions {
        let mention = contribution.class == Class::Mention;
        for statement in &mut contribution.statements {
            cap(&mut statement.rank.sent, latest);
            // A mention is dated by its day alone.
            cap(&mut statement.rank.asserted, if mention { latest - latest.rem_euclid(Rank::DAY) } else { latest });
            if let Slot::Move { at, .. } = &mut statement.slot {
                cap(at, latest);
            }
            // A mention's rank is (mention, day, value): who said it first or last does not matter.
            statement.rank.position = if mention { 0 } else { position };
            if mention {
                statement.rank.ordinal = 0;
            }
        }
    }
    capped
}

/// Joins one message's contributions and renders what changed, dependants included, in order of address.
pub fn fold<L: Loader>(loader: &mut L, id_key: &IdKey, feed: &str, contributions: &[Contribution]) -> Result<Vec<Change>, L::Error> {
    refold(loader, id_key, feed, BTreeMap::new(), contributions)
}

/// As [`fold`], after the resources in `without` were set back to what is said of them without some message (see
/// [`take_out`]); `None` where nobody else speaks of one.
pub fn refold<L: Loader>(
    loader: &mut L,
    id_key: &IdKey,
    feed: &str,
    without: BTreeMap<Address, Option<Slots>>,
    contributions: &[Contribution],
) -> Result<Vec<Change>, L::Error> {
    let mut room = Room { loader, known: BTreeMap::new() };
    let mut findings: BTreeMap<Address, BTreeSet<Finding>> = BTreeMap::new();
    let mut touched: BTreeSet<Address> = BTreeSet::new();
    let mut dirty: BTreeSet<Address> = BTreeSet::new();
    let mut stirred: BTreeSet<Register> = BTreeSet::new();
    let mut relinked: BTreeSet<Address> = BTreeSet::new();
    for (address, slots) in without {
        room.ensure(&address, None)?;
        let Some(resource) = room.known.get_mut(&address) else { continue };
        resource.before = Some(resource.registers(&address).clone());
        for slot in resource.set_back(slots) {
            stir(&address, &slot, &mut stirred, &mut relinked);
        }
        dirty.insert(address);
    }
    for contribution in contributions.iter().filter(|contribution| contribution.class != Class::Message) {
        let address = address(id_key, &contribution.key);
        room.ensure(&address, Some(&contribution.key))?;
        let resource = room.known.get_mut(&address).expect("just loaded");
        if resource.before.is_none() {
            resource.before = Some(resource.registers(&address).clone());
        }
        let membership =
            contribution.member_of.as_ref().and_then(|membership| membership_statement(id_key, feed, membership, contribution));
        let mut changed = !resource.stored;
        resource.is_gone = false;
        for statement in contribution.statements.iter().chain(&membership) {
            if let Some(found) = findings::of_statement(statement, &resource.slots) {
                findings.entry(address.clone()).or_default().insert(found);
            }
            if !join(Arc::make_mut(&mut resource.slots), statement) {
                continue;
            }
            changed = true;
            resource.changed = true;
            resource.registers = None;
            stir(&address, &statement.slot, &mut stirred, &mut relinked);
        }
        let found = findings::of_contribution(contribution, &resource.slots);
        if !found.is_empty() {
            findings.entry(address.clone()).or_default().extend(found);
        }
        if changed {
            dirty.insert(address.clone());
        }
        if contribution.class == Class::Record {
            touched.insert(address);
        }
    }
    // Registers that a changed resource stood in or stands in now render their other members again.
    let mut fresh: Vec<(Address, Register)> = Vec::new();
    for address in &dirty {
        let resource = room.known.get_mut(address).expect("joined above");
        let before = resource.before.clone().unwrap_or_default();
        let now = resource.registers(address);
        fresh.extend(now.difference(&before).map(|register| (address.clone(), register.clone())));
        stirred.extend(now.union(&before).filter(|register| register.is_shared()).cloned());
    }
    for register in stirred {
        dirty.extend(room.members(&register)?);
    }
    // An edge that came, went or changed its rank renders again both components that it ties or tied.
    for patient in relinked {
        let resource = room.known.get_mut(&patient).expect("joined above");
        let mut ends = resource.before.clone().unwrap_or_default();
        ends.extend(resource.registers(&patient).iter().cloned());
        let targets = ends.into_iter().filter_map(|register| match register {
            Register::EdgeTo(target) => Some(target),
            _ => None,
        });
        for end in targets.chain([patient]).collect::<Vec<_>>() {
            dirty.extend(identity::component(&mut room, &end)?);
        }
    }
    for (address, register) in fresh {
        if let Some(found) = findings::of_register(&mut room, &address, &register)? {
            findings.entry(address).or_default().insert(found);
        }
    }
    let mut rendered = Vec::with_capacity(dirty.len());
    for address in dirty {
        room.ensure(&address, None)?;
        match room.known.get(&address) {
            Some(resource) if resource.is_gone => rendered.push((Rendered::Deleted, address)),
            Some(_) => rendered.push((render::render(&mut room, &address)?, address)),
            None => {}
        }
    }
    let change = |(rendered, address): (Rendered, Address)| {
        let mut resource = room.known.remove(&address).expect("rendered above");
        resource.registers(&address);
        Change {
            key: resource.key,
            slots: Arc::unwrap_or_clone(resource.slots),
            is_new: !resource.stored,
            is_gone: resource.is_gone,
            slots_changed: resource.changed || !resource.stored,
            registers: resource.registers.unwrap_or_default(),
            touched: touched.contains(&address),
            findings: findings.remove(&address).unwrap_or_default(),
            rendered,
            address,
        }
    };
    Ok(rendered.into_iter().map(change).collect())
}

/// Takes out of a resource's slots what the message of this position in the ranks holds; what others say there is to be
/// joined again ([`rejoin`]). A mention ranks by its day and value, whoever said it: `mentions` takes out all, where all who
/// said one are known; else they stay.
pub fn take_out(slots: &mut Slots, position: u64, mentions: bool) {
    slots.retain(|_, held| held.rank.position != position && !(mentions && held.rank.authority == Authority::Mention));
}

/// Joins what one message says of one resource into slots, and nothing else.
pub fn rejoin(slots: &mut Slots, id_key: &IdKey, feed: &str, contribution: &Contribution) {
    let membership = contribution.member_of.as_ref().and_then(|membership| membership_statement(id_key, feed, membership, contribution));
    for statement in contribution.statements.iter().chain(&membership) {
        join(slots, statement);
    }
}

/// A slot of a resource changed: notes what else may be rendered otherwise for it.
fn stir(address: &Address, slot: &Slot, stirred: &mut BTreeSet<Register>, relinked: &mut BTreeSet<Address>) {
    match slot {
        Slot::Group { group, .. } | Slot::Item { group, .. } => {
            stirred.insert(Register::Group { parent: address.clone(), group: group.clone() });
        }
        Slot::Edge { .. } => {
            relinked.insert(address.clone());
        }
        _ => {}
    }
}

/// The Patient that replaces this one, by its slots alone (a cycle is broken elsewhere).
pub fn survivor(slots: &Slots) -> Option<Address> {
    identity::edge(slots).map(|(_, survivor)| survivor)
}

/// `Type/id` of a key.
pub fn address(id_key: &IdKey, key: &Key) -> Address {
    format!("{}/{}", key.kind, id_key.id(key)).into()
}

/// A resource's being an item of its parent's group, as a statement of its own, one per group and feed. It ranks as the
/// highest of the contribution; authority and settledness say nothing here, for parent and item may be of types of which
/// the feed owns one and not the other.
fn membership_statement(id_key: &IdKey, feed: &str, membership: &Membership, contribution: &Contribution) -> Option<Statement> {
    let highest = contribution.statements.iter().max_by_key(|statement| render::within_feed(statement.rank))?;
    let value: Json = [
        ("parent", Json::string(address(id_key, &membership.parent))),
        ("group", Json::string(membership.group.clone())),
        ("item", Json::string(membership.item.clone())),
        ("feed", Json::from(feed)),
    ]
    .into_iter()
    .collect();
    Some(Statement {
        slot: Slot::Shared { register: "group".into(), name: format!("{} {feed}", membership.group).into() },
        rank: render::within_feed(highest.rank),
        value: Some(value),
        place: highest.place.clone(),
        row: highest.row.clone(),
    })
}

/// A resource as a fold sees it.
struct Resource {
    key: Key,
    slots: Arc<Slots>,
    /// It was there before this message.
    stored: bool,
    changed: bool,
    is_gone: bool,
    /// The registers it stood in before this message, where the message speaks of it.
    before: Option<BTreeSet<Register>>,
    /// The registers it stands in now; `None` until asked for.
    registers: Option<BTreeSet<Register>>,
}

impl Resource {
    fn registers(&mut self, address: &str) -> &BTreeSet<Register> {
        let slots = &self.slots;
        self.registers.get_or_insert_with(|| registers::of(address, slots))
    }

    /// Gives it these slots, and returns those that changed.
    fn set_back(&mut self, slots: Option<Slots>) -> BTreeSet<Slot> {
        self.is_gone = slots.is_none();
        let old = std::mem::replace(&mut self.slots, Arc::new(slots.unwrap_or_default()));
        let changed: BTreeSet<Slot> =
            old.keys().chain(self.slots.keys()).filter(|slot| old.get(slot) != self.slots.get(slot)).cloned().collect();
        self.changed |= self.is_gone || !changed.is_empty();
        self.registers = None;
        changed
    }
}

/// What a fold has loaded, over what is stored.
struct Room<'l, L: Loader> {
    loader: &'l mut L,
    known: BTreeMap<Address, Resource>,
}

impl<L: Loader> Room<'_, L> {
    /// Loads a resource once; with a key it is made where it never was.
    fn ensure(&mut self, address: &str, key: Option<&Key>) -> Result<(), L::Error> {
        if self.known.contains_key(address) {
            return Ok(());
        }
        let (key, slots, stored) = match (self.loader.load(address)?, key) {
            (Some((key, slots)), _) => (key, slots, true),
            (None, Some(key)) => (key.clone(), Slots::new(), false),
            (None, None) => return Ok(()),
        };
        self.known.insert(
            address.into(),
            Resource { key, slots: Arc::new(slots), stored, changed: false, is_gone: false, before: None, registers: None },
        );
        Ok(())
    }

    fn slots(&mut self, address: &str) -> Result<Option<&Slots>, L::Error> {
        self.ensure(address, None)?;
        Ok(self.known.get(address).filter(|resource| !resource.is_gone).map(|resource| &*resource.slots))
    }

    /// As [`Room::slots`], to be held while others are asked for; empty where there are none.
    fn held(&mut self, address: &str) -> Result<Arc<Slots>, L::Error> {
        self.ensure(address, None)?;
        let known = self.known.get(address).filter(|resource| !resource.is_gone);
        Ok(known.map(|resource| resource.slots.clone()).unwrap_or_default())
    }

    fn registers(&mut self, address: &str) -> Result<BTreeSet<Register>, L::Error> {
        self.ensure(address, None)?;
        Ok(self.known.get_mut(address).map(|resource| resource.registers(address).clone()).unwrap_or_default())
    }

    /// Members as stored, corrected by what this message changed.
    fn members(&mut self, register: &Register) -> Result<BTreeSet<Address>, L::Error> {
        let mut members: BTreeSet<Address> = self.loader.members(register)?.into_iter().collect();
        for (address, resource) in &mut self.known {
            if resource.registers(address).contains(register) {
                members.insert(address.clone());
            } else {
                members.remove(address);
            }
        }
        Ok(members)
    }
}
