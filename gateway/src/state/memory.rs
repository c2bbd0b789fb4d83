//! A store in memory: what `convert` folds into, and what tests compare with.

use super::{Address, Change, Loader, Register, Rendered, Slots, address, fold, join, place};
use contract::{Class, Envelope, Json, Key, Settings, Translation};
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

/// Resources by address, as a [`Loader`].
#[derive(Default)]
pub struct Memory {
    resources: BTreeMap<Address, (Key, Slots)>,
    registers: BTreeMap<Register, BTreeSet<Address>>,
    bodies: BTreeMap<Address, Rendered>,
}

impl Memory {
    /// Keeps what a fold changed.
    pub fn keep(&mut self, changes: Vec<Change>) {
        for change in changes {
            for members in self.registers.values_mut() {
                members.remove(&change.address);
            }
            if change.is_gone {
                self.bodies.remove(&change.address);
                self.resources.remove(&change.address);
                continue;
            }
            for register in change.registers {
                self.registers.entry(register).or_default().insert(change.address.clone());
            }
            self.bodies.insert(change.address.clone(), change.rendered);
            self.resources.insert(change.address, (change.key, change.slots));
        }
    }

    /// What each resource looks like now.
    pub fn bodies(&self) -> &BTreeMap<Address, Rendered> {
        &self.bodies
    }
}

impl Loader for Memory {
    type Error = Infallible;

    fn load(&mut self, address: &str) -> Result<Option<(Key, Slots)>, Infallible> {
        Ok(self.resources.get(address).cloned())
    }

    fn members(&mut self, register: &Register) -> Result<Vec<Address>, Infallible> {
        Ok(self.registers.get(register).into_iter().flatten().cloned().collect())
    }
}

/// One message's resources as a transaction Bundle of `PUT Type/id`, in order of the contributions; an item that the
/// message takes away is told as the message states it (entered in error). What describes the message itself
/// (MessageHeader, Provenance) is among them, and the Bundle has its control id and its time.
pub fn bundle(translation: &Translation, envelope: &Envelope, settings: &Settings) -> Json {
    let mut translation = translation.clone();
    place(&mut translation, 1, jiff::Timestamp::MAX);
    let mut memory = Memory::default();
    let Ok(changes) = fold(&mut memory, &settings.id_key, &settings.feed, &translation.contributions);
    memory.keep(changes);
    let mut described: BTreeMap<Address, Slots> = BTreeMap::new();
    for contribution in translation.contributions.iter().filter(|contribution| contribution.class == Class::Message) {
        let slots = described.entry(address(&settings.id_key, &contribution.key)).or_default();
        for statement in &contribution.statements {
            join(slots, statement);
        }
    }
    let mut said: BTreeSet<Address> = BTreeSet::new();
    let mut entries = Vec::new();
    for contribution in &translation.contributions {
        let address = address(&settings.id_key, &contribution.key);
        if !said.insert(address.clone()) {
            continue;
        }
        let body = match (described.get(&address), memory.bodies().get(&address)) {
            (None, Some(Rendered::Body(body))) => body.clone(),
            (described, _) => {
                let Some(slots) = described.or_else(|| memory.resources.get(&address).map(|(_, slots)| slots)) else { continue };
                let (kind, id) = address.split_once('/').expect("an address is Type/id");
                super::render::finish(kind, id, super::render::own(kind, slots))
            }
        };
        let request: Json = [("method", Json::from("PUT")), ("url", Json::string(address.clone()))].into_iter().collect();
        let full_url = format!("{}/{address}", settings.base_url);
        entries.push([("fullUrl", Json::from(full_url)), ("resource", body), ("request", request)].into_iter().collect());
    }
    let mut bundle: Json = [("resourceType", Json::from("Bundle"))].into_iter().collect();
    if !envelope.control_id.is_empty() {
        let system = settings.own_system(&envelope.sender.application);
        bundle.set("identifier", [("system", Json::from(system)), ("value", Json::from(&*envelope.control_id))].into_iter().collect());
    }
    bundle.set("type", Json::from("transaction"));
    if let Some(sent) = envelope.sent.and_then(|sent| jiff::Timestamp::from_microsecond(sent).ok()) {
        bundle.set("timestamp", Json::from(sent.to_string()));
    }
    bundle.set("entry", Json::Array(entries));
    bundle
}
