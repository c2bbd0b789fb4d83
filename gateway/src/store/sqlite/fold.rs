//! One message's contributions joined into the stored state: slots, versions, index, compartments and registers.

use super::blob::{corrupt, pack, unpack};
use super::index::{Index, compartments, patients, write_compartments};
use super::names::{Names, find_kind, id_of, key_name};
use crate::search::extract::{Rows, extract};
use crate::search::plan::SECURITY_CONTEXT;
use crate::state::{Address, Change, Finding, Loader, Register, Rendered, Slots, address, decode, encode, refold, survivor};
use crate::store::StoreError;
use contract::{Class, Contribution, IdKey, Json, Key};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// What a fold is made with.
pub(super) struct Folding<'a> {
    pub(super) connection: &'a Connection,
    pub(super) index: &'a Index,
    pub(super) names: &'a mut Names,
    pub(super) id_key: &'a IdKey,
    pub(super) feed: &'a str,
    pub(super) position: u64,
    /// `lastUpdated` of new versions.
    pub(super) now: Timestamp,
}

/// What became of it.
#[derive(Default)]
pub(super) struct Folded {
    /// Resources whose body changed: `Type/id/_history/version`.
    pub(super) resources: Vec<String>,
    /// What a person should look at.
    pub(super) findings: Vec<Finding>,
    /// Key rows of the Patients that the message names, or in whose compartments something changed.
    pub(super) patients: BTreeSet<i64>,
}

impl Folding<'_> {
    /// `contributions`: placed in the journal (see [`crate::state::place`]). `without`: of [`crate::state::refold`].
    pub(super) fn fold(&mut self, without: BTreeMap<Address, Option<Slots>>, contributions: &[Contribution]) -> Result<Folded, StoreError> {
        let changes = refold(&mut Stored { connection: self.connection }, self.id_key, self.feed, without, contributions)?;
        let mut folded = Folded::default();
        // A Binary lies where its document lies: documents first.
        let (binaries, others): (Vec<_>, Vec<_>) = changes.into_iter().partition(|change| change.address.starts_with("Binary/"));
        for change in others.into_iter().chain(binaries) {
            self.change(change, &mut folded)?;
        }
        self.touch(contributions, &mut folded)?;
        Ok(folded)
    }

    fn change(&mut self, change: Change, folded: &mut Folded) -> Result<(), StoreError> {
        folded.findings.extend(&change.findings);
        let (kind_name, id) = split(&change.address);
        let kind = self.names.kind(self.connection, kind_name)?;
        let resource = self.names.key(self.connection, kind_name, id)?;
        if change.slots_changed {
            self.write_state(resource, kind_name, &change)?;
        }
        // What has no state may have a history: from before its messages were withdrawn.
        let before = self.before(resource)?;
        let is_fresh = before.is_none();
        let next = match (&change.rendered, &before) {
            (Rendered::Body(body), before) => {
                let bytes = body.to_bytes();
                let digest = Sha256::digest(&bytes).to_vec();
                if before.as_ref().is_some_and(|before| !before.deleted && before.digest == digest) {
                    folded.patients.extend(compartments(self.connection, resource)?);
                    return Ok(());
                }
                Some((body, bytes, digest))
            }
            (Rendered::Deleted, Some(before)) if before.deleted => return Ok(()),
            (Rendered::Deleted, _) => None,
        };
        let old = before.as_ref().map_or(0, |before| before.version);
        let rows = next.as_ref().map_or_else(Rows::default, |(body, ..)| extract(&self.index.plan, kind_name, body, &self.index.zone));
        self.index.write(self.connection, self.names, resource, &rows, old == 0)?;
        // What is deleted stays in its compartment: whoever could read it may learn that it is gone.
        let lies_in = match &next {
            Some(_) => patients(self.connection, self.names, kind_name, resource, &rows.compartments)?,
            None => compartments(self.connection, resource)?,
        };
        let lay_in = if is_fresh { BTreeSet::new() } else { compartments(self.connection, resource)? };
        if write_compartments(self.connection, kind, resource, &lay_in, &lies_in)? && kind_name != "Patient" {
            self.move_binaries(resource)?;
        }
        folded.patients.extend(&lies_in);
        // What never was and is deleted at once has no version.
        let version = if next.is_none() && old == 0 { 0 } else { old + 1 };
        let current = match version {
            0 => 0,
            _ => {
                folded.resources.push(format!("{}/_history/{version}", change.address));
                let body = next.as_ref().map(|(body, bytes, _)| with_meta(body, bytes, version, self.now));
                self.write_version((kind, resource), version, &lies_in, body.as_deref())?
            }
        };
        let digest = next.map(|(.., digest)| digest).unwrap_or_default();
        let sql = "INSERT INTO resource (id, kind, version, deleted, digest, current) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                   ON CONFLICT (id) DO UPDATE SET version = ?3, deleted = ?4, digest = ?5, current = ?6";
        let mut statement = self.connection.prepare_cached(sql)?;
        let deleted = matches!(change.rendered, Rendered::Deleted);
        statement.execute((resource, kind, version, deleted, digest, current)).map(drop).map_err(StoreError::from)
    }

    fn write_state(&mut self, resource: i64, kind_name: &str, change: &Change) -> Result<(), StoreError> {
        let run = |sql: &str, values: &[&dyn rusqlite::ToSql]| {
            self.connection.prepare_cached(sql).and_then(|mut statement| statement.execute(values)).map(drop).map_err(StoreError::from)
        };
        run(
            "UPDATE key SET system = ?2, value = ?3 WHERE id = ?1 AND system IS NULL",
            &[&resource, &&*change.key.system, &&*change.key.value],
        )?;
        if change.is_gone {
            run("DELETE FROM state WHERE resource = ?1", &[&resource])?;
        } else {
            run("INSERT OR REPLACE INTO state (resource, slots) VALUES (?1, ?2)", &[&resource, &pack(&encode(&change.slots))?])?;
        }
        let mut wanted: BTreeSet<Vec<u8>> = change.registers.iter().map(register_name).collect();
        if !change.is_new {
            let mut statement = self.connection.prepare_cached("SELECT name FROM register WHERE resource = ?1")?;
            let rows = statement.query_map([resource], |row| row.get(0))?;
            for name in rows.collect::<Result<Vec<Vec<u8>>, _>>()? {
                if !wanted.remove(&name) {
                    run("DELETE FROM register WHERE resource = ?1 AND name = ?2", &[&resource, &name])?;
                }
            }
        }
        for name in wanted {
            run("INSERT INTO register (resource, name) VALUES (?1, ?2)", &[&resource, &name])?;
        }
        if kind_name == "Patient" {
            match survivor(&change.slots) {
                Some(survivor) => {
                    let (kind, id) = split(&survivor);
                    let survivor = self.names.key(self.connection, kind, id)?;
                    run(
                        "INSERT INTO edge (loser, survivor) VALUES (?1, ?2) ON CONFLICT (loser) DO UPDATE SET survivor = ?2",
                        &[&resource, &survivor],
                    )?;
                }
                None => run("DELETE FROM edge WHERE loser = ?1", &[&resource])?,
            }
        }
        Ok(())
    }

    fn before(&self, resource: i64) -> Result<Option<Before>, StoreError> {
        let sql = "SELECT version, deleted, digest FROM resource WHERE id = ?1";
        let mut statement = self.connection.prepare_cached(sql)?;
        let before = |row: &rusqlite::Row<'_>| Ok(Before { version: row.get(0)?, deleted: row.get(1)?, digest: row.get(2)? });
        statement.query_row([resource], before).optional().map_err(StoreError::from)
    }

    fn write_version(
        &self,
        (kind, resource): (i64, i64),
        version: i64,
        patients: &BTreeSet<i64>,
        body: Option<&[u8]>,
    ) -> Result<i64, StoreError> {
        let sql = "INSERT INTO version (resource, version, at, position, patients, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let mut statement = self.connection.prepare_cached(sql)?;
        let (at, position) = (self.now.as_microsecond(), position(self.position));
        let row = statement.insert((resource, version, at, position, list(patients), body))?;
        let sql = "INSERT INTO version_kind (kind, at, version, resource) VALUES (?1, ?2, ?3, ?4)";
        self.connection.prepare_cached(sql)?.execute((kind, at, row, resource))?;
        Ok(row)
    }

    /// Binaries that lie where this resource lies go with it.
    fn move_binaries(&mut self, resource: i64) -> Result<(), StoreError> {
        let Some((parameter, _)) = self.index.plan.parameter(SECURITY_CONTEXT.0, SECURITY_CONTEXT.1) else { return Ok(()) };
        let kind = self.names.kind(self.connection, SECURITY_CONTEXT.0)?;
        let lies_in = compartments(self.connection, resource)?;
        let sql = "SELECT resource FROM reference INDEXED BY reference_value WHERE parameter = ?1 AND target = ?2";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map((self.index.number(parameter), resource), |row| row.get(0))?;
        for binary in rows.collect::<Result<Vec<i64>, _>>()? {
            write_compartments(self.connection, kind, binary, &compartments(self.connection, binary)?, &lies_in)?;
        }
        Ok(())
    }

    /// Which resources a message is about, so that it can be withdrawn; and which patients it names.
    fn touch(&mut self, contributions: &[Contribution], folded: &mut Folded) -> Result<(), StoreError> {
        let about: BTreeSet<Address> =
            contributions.iter().filter(|said| is_touched(said)).map(|said| address(self.id_key, &said.key)).collect();
        for address in about {
            let (kind, id) = split(&address);
            let resource = self.names.key(self.connection, kind, id)?;
            let sql = "INSERT OR IGNORE INTO touch (resource, position) VALUES (?1, ?2)";
            let mut statement = self.connection.prepare_cached(sql)?;
            statement.execute((resource, position(self.position)))?;
            if kind == "Patient" {
                folded.patients.insert(resource);
            }
        }
        Ok(())
    }
}

/// Whether it is kept that the message speaks of this resource. Who mentions a Patient is kept too, so that it can be
/// withdrawn; of all else that is mentioned it would be millions.
pub(super) fn is_touched(said: &Contribution) -> bool {
    said.class == Class::Record || said.class == Class::Mention && &*said.key.kind == "Patient"
}

struct Before {
    version: i64,
    deleted: bool,
    digest: Vec<u8>,
}

/// The stored state, as a fold asks for it.
pub(super) struct Stored<'a> {
    pub(super) connection: &'a Connection,
}

impl Loader for Stored<'_> {
    type Error = StoreError;

    fn load(&mut self, address: &str) -> Result<Option<(Key, Slots)>, StoreError> {
        let (kind_name, id) = split(address);
        let sql = "SELECT k.system, k.value, s.slots
                   FROM kind n JOIN key k ON k.name = ?2 AND k.kind = n.id JOIN state s ON s.resource = k.id WHERE n.name = ?1";
        let mut statement = self.connection.prepare_cached(sql)?;
        let found = statement.query_row((kind_name, key_name(id)), |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, unpack(row.get_ref(2)?.as_blob()?)))
        });
        let Some((system, value, slots)) = found.optional()? else { return Ok(None) };
        let slots = decode(&slots?).ok_or_else(corrupt)?;
        Ok(Some((Key::new(kind_name, system, value), slots)))
    }

    fn members(&mut self, register: &Register) -> Result<Vec<Address>, StoreError> {
        let sql = "SELECT n.name, k.name FROM register r JOIN key k ON k.id = r.resource JOIN kind n ON n.id = k.kind WHERE r.name = ?1";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map([register_name(register)], |row| {
            Ok(Address::from(format!("{}/{}", row.get::<_, String>(0)?, id_of(row.get_ref(1)?.as_blob()?))))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

/// Makes index and compartment rows of these resource types again, from the current bodies.
pub(super) fn reindex(connection: &Connection, index: &Index, kinds: &BTreeSet<String>) -> Result<(), StoreError> {
    let mut names = Names::default();
    // Documents before the Binaries that lie where they lie.
    let (binaries, others): (Vec<_>, Vec<_>) = kinds.iter().partition(|kind| *kind == "Binary");
    for kind_name in others.into_iter().chain(binaries) {
        let Some(kind) = find_kind(connection, kind_name)? else { continue };
        let mut last = 0;
        let sql = "SELECT r.id, v.body FROM resource r JOIN version v ON v.id = r.current WHERE r.kind = ?1 AND r.deleted = 0 AND r.id > ?2 ORDER BY r.id LIMIT 1";
        while let Some((resource, body)) = connection.prepare_cached(sql).and_then(|mut statement| {
            statement.query_row((kind, last), |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?))).optional()
        })? {
            let body = Json::parse(&body).map_err(|_| corrupt())?;
            let rows = extract(&index.plan, kind_name, &body, &index.zone);
            index.write(connection, &mut names, resource, &rows, false)?;
            let lies_in = patients(connection, &mut names, kind_name, resource, &rows.compartments)?;
            write_compartments(connection, kind, resource, &compartments(connection, resource)?, &lies_in)?;
            last = resource;
        }
    }
    Ok(())
}

/// The body with `meta.versionId` and `meta.lastUpdated`, behind type and id; `bytes`: the body as written.
fn with_meta(body: &Json, bytes: &[u8], version: i64, at: Timestamp) -> Vec<u8> {
    let mut meta: Vec<_> = vec![("versionId".into(), Json::from(version.to_string())), ("lastUpdated".into(), Json::from(at.to_string()))];
    let Json::Object(members) = body else { return bytes.to_vec() };
    let head: Vec<_> = members.iter().take_while(|(name, _)| matches!(&**name, "resourceType" | "id")).cloned().collect();
    let own = members.iter().find(|(name, _)| &**name == "meta");
    if let Some((_, Json::Object(own))) = own {
        meta.extend(own.iter().filter(|(name, _)| !matches!(&**name, "versionId" | "lastUpdated")).cloned());
        let rest = members[head.len()..].iter().filter(|(name, _)| &**name != "meta").cloned();
        return Json::Object(head.into_iter().chain([("meta".into(), Json::Object(meta))]).chain(rest).collect()).to_bytes();
    }
    // The bytes behind type and id are as they were.
    let behind = Json::Object(head.clone()).to_bytes().len() - 1;
    let mut whole = Json::Object(head.into_iter().chain([("meta".into(), Json::Object(meta))]).collect()).to_bytes();
    whole.pop();
    whole.extend_from_slice(&bytes[behind..]);
    whole
}

/// `,1,2,`, so that one of them is found by its text; empty for none.
pub(super) fn list(numbers: &BTreeSet<i64>) -> String {
    let mut text = String::new();
    for number in numbers {
        // Writing to a String does not fail.
        let _ = write!(text, "{}{number},", if text.is_empty() { "," } else { "" });
    }
    text
}

pub(super) fn read_list(text: &str) -> BTreeSet<i64> {
    text.split(',').filter_map(|number| number.parse().ok()).collect()
}

/// Ids of keys.
pub(super) fn ids(connection: &Connection, keys: impl IntoIterator<Item = i64>) -> Result<Vec<String>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT name FROM key WHERE id = ?1")?;
    let ids = keys.into_iter().map(|key| statement.query_row([key], |row| Ok(id_of(row.get_ref(0)?.as_blob()?))));
    ids.collect::<Result<_, _>>().map_err(StoreError::from)
}

pub(super) fn split(address: &str) -> (&str, &str) {
    address.split_once('/').unwrap_or((address, ""))
}

/// A position as SQLite has it.
pub(super) fn position(position: u64) -> i64 {
    i64::try_from(position).unwrap_or(i64::MAX)
}

/// A register in the reverse index: cut from its hash, so that names of any length are alike.
fn register_name(register: &Register) -> Vec<u8> {
    Sha256::digest(register.to_string())[..16].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meta_stands_behind_type_and_id_with_what_it_was_given() {
        for (body, expected) in [
            (
                r#"{"resourceType":"Patient","id":"a","gender":"male"}"#,
                r#"{"resourceType":"Patient","id":"a","meta":{"versionId":"3","lastUpdated":"1970-01-01T00:00:00Z"},"gender":"male"}"#,
            ),
            (
                r#"{"resourceType":"Patient","id":"a"}"#,
                r#"{"resourceType":"Patient","id":"a","meta":{"versionId":"3","lastUpdated":"1970-01-01T00:00:00Z"}}"#,
            ),
            (
                r#"{"resourceType":"Patient","id":"a","gender":"male","meta":{"source":"s","versionId":"x"}}"#,
                r#"{"resourceType":"Patient","id":"a","meta":{"versionId":"3","lastUpdated":"1970-01-01T00:00:00Z","source":"s"},"gender":"male"}"#,
            ),
        ] {
            let json = Json::parse(body.as_bytes()).unwrap();
            let whole = with_meta(&json, &json.to_bytes(), 3, Timestamp::UNIX_EPOCH);
            assert_eq!(String::from_utf8(whole).unwrap(), expected);
        }
    }
}
