//! The outbox: a row a message that is or was to be passed on. `turn` is the order; a delivered row stays as the mark that it was.

use super::fold::{ids, position, read_list};
use super::intake::IntakeDesk;
use super::names::find_feed;
use super::{SqliteStore, blob::unpack};
use crate::audit::Entry;
use crate::store::outbox::{Backlog, Letter, LetterFilter, LetterState, Outbox, Tried};
use crate::store::{Pending, StoreError};
use contract::Frame;
use jiff::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};
use tokio::sync::watch;

/// The migration that brings it.
pub(super) const OUTBOX: &str = "
CREATE TABLE relay (
    position INTEGER PRIMARY KEY, feed INTEGER NOT NULL, turn INTEGER NOT NULL, state TEXT NOT NULL, queued INTEGER NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0, refusals INTEGER NOT NULL DEFAULT 0, reason TEXT NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX relay_turn ON relay (turn);
CREATE INDEX relay_open ON relay (feed, state, turn) WHERE state <> 'delivered';
";

const ROW: &str = "SELECT r.position, f.name, j.message_type, j.control_id, r.state, r.queued, r.tries, r.refusals, r.reason
                   FROM relay r JOIN journal j ON j.position = r.position JOIN feed f ON f.id = r.feed";

impl Outbox for SqliteStore {
    fn next(&self, feed: &str) -> Result<Option<(Letter, Frame)>, StoreError> {
        self.landbridge.read(|connection| {
            let Some(feed) = find_feed(connection, feed)? else { return Ok(None) };
            let sql = ROW.replace(" FROM relay r", ", m.frame FROM relay r JOIN message m ON m.position = r.position")
                + " WHERE r.feed = ?1 AND r.state = 'waiting' AND r.state <> 'delivered' ORDER BY r.turn LIMIT 1";
            let found = connection.prepare_cached(&sql).and_then(|mut statement| {
                statement.query_row([feed], |found| Ok((row(found)?, unpack(found.get_ref(9)?.as_blob()?)))).optional()
            })?;
            found.map(|(letter, frame)| Ok((letter, Frame::new(frame?)))).transpose()
        })
    }

    fn tried(&self, position: u64, tried: Tried, entry: Entry) -> Pending<()> {
        self.intake.submit(move |desk, connection| desk.tried(connection, position, &tried, entry))
    }

    fn again(&self, position: u64, entry: Entry) -> Pending<()> {
        self.intake.submit(move |desk, connection| desk.post_again(connection, position, entry))
    }

    fn letters(&self, filter: &LetterFilter, count: usize) -> Result<Vec<Letter>, StoreError> {
        self.landbridge.read(|connection| {
            let mut sql = ROW.to_owned() + " WHERE r.position > ?";
            let mut values = vec![Value::Integer(position(filter.after))];
            if let Some(feed) = &filter.feed {
                let Some(feed) = find_feed(connection, feed)? else { return Ok(Vec::new()) };
                sql.push_str(" AND r.feed = ?");
                values.push(feed.into());
            }
            match filter.state {
                None => sql.push_str(" AND r.state <> 'delivered'"),
                Some(state) => {
                    sql.push_str(" AND r.state = ?");
                    values.push(state.word().to_owned().into());
                }
            }
            sql.push_str(" ORDER BY r.position LIMIT ?");
            values.push(i64::try_from(count).unwrap_or(i64::MAX).into());
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map(params_from_iter(values), row)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    fn backlog(&self, feed: &str) -> Result<Backlog, StoreError> {
        self.landbridge.read(|connection| {
            let mut backlog = Backlog { feed: feed.to_owned(), ..Backlog::default() };
            let Some(feed) = find_feed(connection, feed)? else { return Ok(backlog) };
            // All by the index of what is open; who waits longest has the first turn.
            let sql = "SELECT count(*) FROM relay WHERE feed = ?1 AND state = ?2 AND state <> 'delivered'";
            let mut statement = connection.prepare_cached(sql)?;
            let mut count = |state: LetterState| statement.query_row((feed, state.word()), |row| row.get::<_, i64>(0));
            backlog.waiting = count(LetterState::Waiting)?.unsigned_abs();
            backlog.dead = count(LetterState::Dead)?.unsigned_abs();
            let sql = "SELECT queued FROM relay WHERE feed = ?1 AND state = 'waiting' AND state <> 'delivered' ORDER BY turn LIMIT 1";
            let oldest = connection.prepare_cached(sql)?.query_row([feed], |row| row.get::<_, i64>(0)).optional()?;
            backlog.oldest = oldest.and_then(|at| Timestamp::from_microsecond(at).ok());
            Ok(backlog)
        })
    }

    fn backlogs(&self) -> Result<Vec<Backlog>, StoreError> {
        let sql = "SELECT f.name, sum(r.state = 'waiting'), min(CASE r.state WHEN 'waiting' THEN r.queued END), sum(r.state = 'dead')
                   FROM relay r JOIN feed f ON f.id = r.feed WHERE r.state <> 'delivered' GROUP BY f.name ORDER BY f.name";
        self.landbridge.read(|connection| {
            let mut statement = connection.prepare_cached(sql)?;
            let number = |row: &Row<'_>, column| row.get::<_, i64>(column).map(i64::unsigned_abs);
            let rows = statement.query_map([], |row| {
                let oldest = row.get::<_, Option<i64>>(2)?.and_then(|at| Timestamp::from_microsecond(at).ok());
                Ok(Backlog { feed: row.get(0)?, waiting: number(row, 1)?, oldest, dead: number(row, 3)? })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    fn posted(&self) -> watch::Receiver<()> {
        self.outbox.subscribe()
    }
}

impl IntakeDesk {
    /// In the transaction that stores the message. One that was put in before is not again.
    pub(super) fn post(&mut self, connection: &Connection, feed: i64, position: i64) -> Result<(), StoreError> {
        let sql = "INSERT INTO relay (position, feed, turn, state, queued)
                   VALUES (?1, ?2, (SELECT coalesce(max(turn), 0) + 1 FROM relay), 'waiting', ?3) ON CONFLICT (position) DO NOTHING";
        let now = self.now.as_microsecond();
        connection.prepare_cached(sql).and_then(|mut statement| statement.execute((position, feed, now)))?;
        self.posted = true;
        Ok(())
    }

    fn tried(&mut self, connection: &Connection, at: u64, tried: &Tried, entry: Entry) -> Result<(), StoreError> {
        // What was set aside while it was under way stays so, unless the next hop took it; and what it took is not set aside.
        let sql = "UPDATE relay SET state = iif(?2 = 'delivered' OR state = 'waiting', ?2, state),
                       reason = iif(?2 = 'delivered' OR state = 'waiting', ?3, reason), tries = tries + ?4, refusals = refusals + ?5
                   WHERE position = ?1";
        let changed = connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute((position(at), tried.state.word(), &tried.reason, tried.sent, tried.refused)))?;
        if changed == 0 {
            return Err(StoreError::Refused(format!("the message at position {at} was not to be passed on")));
        }
        self.write_down(connection, at, entry)
    }

    fn post_again(&mut self, connection: &Connection, at: u64, entry: Entry) -> Result<(), StoreError> {
        let sql = "INSERT INTO relay (position, feed, turn, state, queued)
                   SELECT position, feed, (SELECT coalesce(max(turn), 0) + 1 FROM relay), 'waiting', ?2 FROM journal WHERE position = ?1
                   ON CONFLICT (position) DO UPDATE SET turn = excluded.turn, state = 'waiting', queued = ?2, refusals = 0, reason = ''";
        let now = self.now.as_microsecond();
        let changed = connection.prepare_cached(sql).and_then(|mut statement| statement.execute((position(at), now)))?;
        if changed == 0 {
            return Err(StoreError::Refused(format!("the journal has no position {at}")));
        }
        self.posted = true;
        self.write_down(connection, at, entry)
    }

    /// The entry names the patients that the message does.
    fn write_down(&mut self, connection: &Connection, at: u64, mut entry: Entry) -> Result<(), StoreError> {
        let sql = "SELECT patients FROM journal WHERE position = ?1";
        let patients: String =
            connection.prepare_cached(sql).and_then(|mut statement| statement.query_row([position(at)], |row| row.get(0)))?;
        entry.patients = ids(connection, read_list(&patients))?;
        entry.position = Some(at);
        self.ledger.append(connection, &entry)
    }
}

fn row(row: &Row<'_>) -> rusqlite::Result<Letter> {
    let number = |column| row.get::<_, i64>(column).map(i64::unsigned_abs);
    Ok(Letter {
        position: number(0)?,
        feed: row.get(1)?,
        message_type: row.get(2)?,
        control_id: row.get(3)?,
        state: LetterState::from_word(row.get_ref(4)?.as_str()?).ok_or(rusqlite::Error::InvalidQuery)?,
        queued: Timestamp::from_microsecond(row.get(5)?).map_err(|_| rusqlite::Error::InvalidQuery)?,
        tries: number(6)?,
        refusals: number(7)?,
        reason: row.get(8)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Action;
    use crate::store::sqlite::tests::Folder;
    use crate::store::tests::{Message, arrival, entry, id, patient, wait};
    use crate::store::{Arrival, Store};
    use contract::OutcomeKind;

    fn store_one(store: &SqliteStore, bytes: &str, relays: bool) {
        let said = Message::at(1).says(&patient(bytes), r#"{"birthDate":"1970-01-01"}"#).translation();
        let arrival = Arrival { relays, ..arrival(bytes, OutcomeKind::Stored) };
        wait(store.commit(&crate::intake::Warrant::for_tests("pas"), arrival, said)).unwrap();
    }

    fn tried(store: &SqliteStore, position: u64, state: LetterState, refused: bool) {
        let tried = Tried { state, reason: "AE".into(), sent: true, refused };
        wait(store.tried(position, tried, entry(Action::Relay))).unwrap();
    }

    fn next(store: &SqliteStore) -> Option<(u64, String)> {
        let (letter, frame) = store.next("pas").unwrap()?;
        Some((letter.position, String::from_utf8(frame.bytes().to_vec()).unwrap()))
    }

    #[test]
    fn messages_go_in_the_order_of_their_commits_each_until_it_is_taken_or_given_up() {
        let folder = Folder::new();
        let store = folder.store();
        let mut posted = store.posted();
        for (bytes, relays) in [("one", true), ("not relayed", false), ("two", true), ("three", true)] {
            store_one(&store, bytes, relays);
        }
        assert!(posted.has_changed().unwrap());
        posted.mark_unchanged();
        // The same again: it is in there, or was.
        store_one(&store, "one", true);
        assert!(!posted.has_changed().unwrap());
        assert_eq!(next(&store), Some((1, "one".into())));
        tried(&store, 1, LetterState::Waiting, true);
        assert_eq!(next(&store), Some((1, "one".into())));
        drop(store);
        // Another process goes on where this one was.
        let store = folder.store();
        tried(&store, 1, LetterState::Delivered, false);
        assert_eq!(next(&store), Some((3, "two".into())));
        tried(&store, 3, LetterState::Dead, true);
        let backlogs = store.backlogs().unwrap();
        assert_eq!((backlogs.len(), backlogs[0].waiting, backlogs[0].dead), (1, 1, 1));
        assert!(backlogs[0].oldest.is_some());
        assert_eq!(store.backlog("pas").unwrap(), backlogs[0]);
        assert_eq!(store.backlog("lab").unwrap(), Backlog { feed: "lab".into(), ..Backlog::default() });
        let listed = |filter: LetterFilter| store.letters(&filter, 10).unwrap();
        let found: Vec<_> = listed(LetterFilter::default()).into_iter().map(|one| (one.position, one.state.word(), one.refusals)).collect();
        assert_eq!(found, [(3, "dead", 1), (4, "waiting", 0)]);
        assert_eq!(listed(LetterFilter { state: Some(LetterState::Delivered), ..LetterFilter::default() })[0].tries, 2);
        assert!(listed(LetterFilter { feed: Some("lab".into()), ..LetterFilter::default() }).is_empty());
        // Again is behind all that wait.
        wait(store.again(3, entry(Action::RelayReplay))).unwrap();
        wait(store.again(2, entry(Action::RelayReplay))).unwrap();
        for position in [4, 3, 2] {
            assert_eq!(next(&store).map(|(position, _)| position), Some(position));
            tried(&store, position, LetterState::Delivered, false);
        }
        assert_eq!(next(&store), None);
        assert!(store.backlogs().unwrap().is_empty());
        // What is not in there cannot be tried, and leaves no entry.
        let gone = Tried { state: LetterState::Dead, reason: String::new(), sent: false, refused: false };
        assert!(wait(store.tried(9, gone, entry(Action::RelaySkip))).is_err());
        assert!(wait(store.again(9, entry(Action::RelayReplay))).is_err());
        drop(store);
        assert!(folder.verify(None).is_intact());
        let connection = Connection::open(folder.path().join("landbridge.db")).unwrap();
        let sql =
            "SELECT count(*) FROM audit WHERE instr(payload, CAST('\"action\":\"relay\"' AS BLOB)) AND instr(payload, CAST(?1 AS BLOB))";
        let named: i64 = connection.query_row(sql, [id(&patient("two"))], |row| row.get(0)).unwrap();
        assert_eq!(named, 2, "each attempt names the patient of the message");
    }

    #[test]
    fn what_was_set_aside_under_way_stays_so_unless_the_next_hop_took_it() {
        let folder = Folder::new();
        let store = folder.store();
        store_one(&store, "one", true);
        let skip = || {
            let skipped = Tried { state: LetterState::Dead, reason: "skipped".into(), sent: false, refused: false };
            wait(store.tried(1, skipped, entry(Action::RelaySkip))).unwrap();
        };
        let stands = |state: LetterState| {
            let letters = store.letters(&LetterFilter { state: Some(state), ..LetterFilter::default() }, 10).unwrap();
            letters.into_iter().map(|letter| (letter.reason, letter.tries, letter.refusals)).collect::<Vec<_>>()
        };
        // While it was being sent a person gave it up; then the refusal came.
        assert_eq!(next(&store), Some((1, "one".into())));
        skip();
        tried(&store, 1, LetterState::Waiting, true);
        assert_eq!(next(&store), None);
        assert_eq!(stands(LetterState::Dead), [("skipped".into(), 1, 1)]);
        // Or the next hop took it after all: that is so, and no word afterwards makes it otherwise.
        wait(store.tried(
            1,
            Tried { state: LetterState::Delivered, reason: "AA".into(), sent: true, refused: false },
            entry(Action::Relay),
        ))
        .unwrap();
        skip();
        assert_eq!(stands(LetterState::Delivered), [("AA".into(), 2, 1)]);
        assert_eq!(stands(LetterState::Dead), []);
    }
}
