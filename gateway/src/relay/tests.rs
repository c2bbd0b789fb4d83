use super::*;
use crate::audit::Entry;
use crate::intake::double::{NOON, feeds, relayed_feeds};
use crate::listen::frames::{Framed, Frames, framed};
use crate::store::outbox::{Backlog, Letter, LetterFilter, LetterState, Tried};
use crate::store::{Pending, StoreError};
use contract::Frame;
use std::sync::Mutex as Shared;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// An outbox in memory, of the feed `pas`.
#[derive(Clone)]
struct Letters {
    rows: Arc<Shared<Vec<(Frame, LetterState, String)>>>,
    changed: watch::Sender<()>,
    /// So often nothing can be written down.
    full: Arc<AtomicU32>,
}

impl Letters {
    fn new(frames: &[&str]) -> Self {
        let waiting = |frame: &&str| (Frame::new(bytes::Bytes::from((*frame).to_owned())), LetterState::Waiting, String::new());
        let rows = Arc::new(Shared::new(frames.iter().map(waiting).collect()));
        Self { rows, changed: watch::Sender::new(()), full: Arc::default() }
    }

    /// State and last word of each.
    fn stand(&self) -> Vec<(LetterState, String)> {
        self.rows.lock().unwrap().iter().map(|(_, state, reason)| (*state, reason.clone())).collect()
    }

    async fn until(&self, expected: &[(LetterState, &str)]) {
        let mut changed = self.changed.subscribe();
        while self.stand() != expected.iter().map(|(state, reason)| (*state, (*reason).to_owned())).collect::<Vec<_>>() {
            changed.changed().await.unwrap();
        }
    }
}

impl Outbox for Letters {
    fn next(&self, feed: &str) -> Result<Option<(Letter, Frame)>, StoreError> {
        let letters = self.rows.lock().unwrap();
        let found = letters.iter().position(|(_, state, _)| feed == "pas" && *state == LetterState::Waiting);
        Ok(found.map(|at| {
            let letter = Letter {
                position: at as u64,
                feed: feed.into(),
                message_type: "ADT^A31".into(),
                control_id: String::new(),
                state: LetterState::Waiting,
                queued: NOON.parse().unwrap(),
                tries: 0,
                refusals: 0,
                reason: String::new(),
            };
            (letter, letters[at].0.clone())
        }))
    }

    fn tried(&self, position: u64, tried: Tried, _: Entry) -> Pending<()> {
        if self.full.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok() {
            return Box::pin(std::future::ready(Err(StoreError::Unavailable("no space".into()))));
        }
        let letter = &mut self.rows.lock().unwrap()[usize::try_from(position).unwrap()];
        (letter.1, letter.2) = (tried.state, tried.reason);
        self.changed.send_replace(());
        Box::pin(std::future::ready(Ok(())))
    }

    fn again(&self, _: u64, _: Entry) -> Pending<()> {
        unreachable!("a person's word")
    }

    fn letters(&self, _: &LetterFilter, _: usize) -> Result<Vec<Letter>, StoreError> {
        unreachable!("a person's question")
    }

    fn backlog(&self, feed: &str) -> Result<Backlog, StoreError> {
        Ok(Backlog { feed: feed.into(), ..Backlog::default() })
    }

    fn backlogs(&self) -> Result<Vec<Backlog>, StoreError> {
        Ok(Vec::new())
    }

    fn posted(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}

/// A next hop that the test plays, and relays to it.
struct Scene {
    letters: Letters,
    hop: TcpListener,
    relays: Relays,
}

impl Scene {
    async fn new(frames: &[&str]) -> Self {
        let letters = Letters::new(frames);
        let relays = Relays::new(Arc::new(letters.clone()), Clock::held(NOON.parse().unwrap()), Metrics::default());
        Self { letters, hop: TcpListener::bind("127.0.0.1:0").await.unwrap(), relays }
    }

    fn relayed(&self) -> Feeds {
        relayed_feeds(&self.hop.local_addr().unwrap().to_string(), RelayMode::AfterCommit)
    }

    async fn line(&self) -> TcpStream {
        self.hop.accept().await.unwrap().0
    }
}

fn message(control: &str) -> String {
    format!("MSH|^~\\&|PAS|RXX|||20260301||ADT^A31|{control}|P|2.5.1\r")
}

async fn hears(line: &mut TcpStream) -> String {
    let mut frames = Frames::new(1000);
    loop {
        match frames.next() {
            Some(Framed::Whole(frame)) => return String::from_utf8(frame.to_vec()).unwrap(),
            _ => assert_ne!(line.read_buf(frames.space()).await.unwrap(), 0, "the line ended"),
        }
    }
}

async fn takes(line: &mut TcpStream, control: &str) {
    line.write_all(&framed(format!("MSH|^~\\&|||||||ACK|1\rMSA|AA|{control}\r").as_bytes())).await.unwrap();
}

#[tokio::test]
async fn a_relay_that_is_taken_out_and_brought_back_overtakes_nothing() {
    let scene = Scene::new(&[&message("C1"), &message("C2")]).await;
    scene.relays.follow(&scene.relayed()).await;
    let mut line = scene.line().await;
    assert_eq!(hears(&mut line).await, message("C1"));
    // Out with the message under way, and back, and out and back again, before its acknowledgement.
    for _ in 0..2 {
        scene.relays.follow(&Feeds::new(feeds())).await;
        scene.relays.follow(&scene.relayed()).await;
    }
    takes(&mut line, "C1").await;
    let mut line = scene.line().await;
    assert_eq!(hears(&mut line).await, message("C2"), "the first is not sent a second time beside itself");
    takes(&mut line, "C2").await;
    scene.letters.until(&[(LetterState::Delivered, "AA"), (LetterState::Delivered, "AA")]).await;
    scene.relays.stop().await;
}

#[tokio::test]
async fn what_was_taken_and_could_not_be_written_down_is_not_sent_again_for_that() {
    let scene = Scene::new(&[&message("C1"), &message("C2")]).await;
    scene.letters.full.store(2, SeqCst);
    scene.relays.follow(&scene.relayed()).await;
    let mut line = scene.line().await;
    for control in ["C1", "C2"] {
        assert_eq!(hears(&mut line).await, message(control));
        takes(&mut line, control).await;
    }
    scene.letters.until(&[(LetterState::Delivered, "AA"), (LetterState::Delivered, "AA")]).await;
    scene.relays.stop().await;
}

#[tokio::test]
async fn what_would_be_two_messages_to_the_next_hop_is_a_dead_letter() {
    let smuggled = message("C1") + "\x1c\r\x0b" + &message("C9");
    let scene = Scene::new(&[&smuggled, &(message("C2") + "OBX|1|TX|||a\x1cb\x0bc\r")]).await;
    scene.relays.follow(&scene.relayed()).await;
    let mut line = scene.line().await;
    assert!(hears(&mut line).await.starts_with(&message("C2")));
    takes(&mut line, "C2").await;
    scene.letters.until(&[(LetterState::Dead, "not-mllp"), (LetterState::Delivered, "AA")]).await;
    scene.relays.stop().await;
}
