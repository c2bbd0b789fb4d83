use super::*;
use crate::config::RelayMode;
use crate::intake::Feeds;
use crate::intake::double::{Memory, feeds, intake_of, relayed_feeds};
use crate::listen::Proxies;
use crate::listen::mllp::tests::LIMITS;
use std::sync::atomic::Ordering;
use tokio::io::{AsyncReadExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};

/// A sender of the feed `pas`, and the next hop behind its transparent relay.
struct Scene {
    store: Memory,
    metrics: Metrics,
    sender: DuplexStream,
    hop: TcpStream,
    draining: watch::Sender<bool>,
    task: JoinHandle<Option<Leave>>,
}

impl Scene {
    async fn new() -> Self {
        Self::of("main", &["pas.hospital.example"], 100).await
    }

    /// Of a peer with these names at this listener.
    async fn of(listener: &str, names: &[&str], quarantine_frames: u64) -> Self {
        let door = listener;
        let (store, metrics) = (Memory::default(), Metrics::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = listener.local_addr().unwrap().to_string();
        let intake = intake_of(&store, quarantine_frames, relayed_feeds(&to, RelayMode::Transparent));
        let mllp = Arc::new(Mllp::new(door, None, Proxies::default(), intake, LIMITS, metrics.clone()));
        let (near, sender) = duplex(1 << 20);
        let (draining, drained) = watch::channel(false);
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let peer = Peer { address: "192.0.2.7:4000".into(), names, token: None };
        let task = tokio::spawn(async move {
            let feed = mllp.intake.feeds().transparent(&mllp.door, &peer).cloned().unwrap();
            let (left, keeping) = mllp.pass_on(near, peer, &feed, Stay::new(drained, None, 0)).await;
            keeping.unwrap().await.unwrap();
            left
        });
        let (hop, _) = listener.accept().await.unwrap();
        Self { store, metrics, sender, hop, draining, task }
    }

    /// Says something, and what the next hop answers; both arrive as they are.
    async fn exchange(&mut self, said: &[u8], answer: &[u8]) {
        self.sender.write_all(said).await.unwrap();
        let mut heard = vec![0; said.len()];
        self.hop.read_exact(&mut heard).await.unwrap();
        assert_eq!(heard, said);
        self.hop.write_all(answer).await.unwrap();
        let mut heard = vec![0; answer.len()];
        self.sender.read_exact(&mut heard).await.unwrap();
        assert_eq!(heard, answer);
    }

    /// Ends the connection, and all that waits is kept or lost.
    async fn end(self) -> (Memory, Metrics) {
        drop((self.sender, self.hop));
        self.task.await.unwrap();
        (self.store, self.metrics)
    }
}

#[tokio::test]
async fn the_next_hops_words_come_back_and_what_was_said_is_kept_beside() {
    let mut scene = Scene::new().await;
    scene.exchange(b"\x0bADT^A01|1|PAS|P|7\x1c\r", b"\x0bNACK of another\x1c\r").await;
    scene.exchange(b"noise\x0bADT^A01|2|PAS|P|7\x1c\r\x0bADT^A01|3|PAS|P|7|malformed\x1c", b"what is no frame").await;
    // What we would refuse goes through all the same.
    scene.exchange(b"\x0bORU^R01|4|PAS|P|7\x1c\r", b"\x0bAA\x1c\r").await;
    let (store, metrics) = scene.end().await;
    assert_eq!(store.0.journaled(), ["pas stored", "pas stored", "pas malformed", "pas forbidden"]);
    assert_eq!(store.0.audited().last().unwrap(), "feed:pas 0");
    assert!(!metrics.text().contains("relay_unkept_total{"), "{}", metrics.text());
    assert!(metrics.text().contains("landbridge_relay_messages_total{feed=\"pas\",result=\"passed\"} 4"));
}

#[tokio::test]
async fn a_store_that_is_away_stops_no_byte_and_gets_what_waited() {
    let mut scene = Scene::new().await;
    scene.store.0.broken.store(true, Ordering::SeqCst);
    for n in 0..5 {
        scene.exchange(format!("\x0bADT^A01|{n}|PAS|P|7\x1c\r").as_bytes(), b"\x0bAA\x1c\r").await;
    }
    assert!(scene.store.0.journaled().is_empty());
    scene.store.0.broken.store(false, Ordering::SeqCst);
    let (store, metrics) = scene.end().await;
    assert_eq!(store.0.journaled(), ["pas stored"; 5]);
    assert!(!metrics.text().contains("relay_unkept_total{"));
}

#[tokio::test]
async fn what_cannot_be_kept_goes_through_and_is_told() {
    let mut scene = Scene::new().await;
    scene.exchange(b"\x0bADT^A01|1|PAS|P|7|panic\x1c\r", b"\x0bAA\x1c\r").await;
    scene.exchange(&[b"\x0bADT^A01|2|PAS|P|7|", &[b'x'; 2000][..], b"\x1c\r"].concat(), b"\x0bAA\x1c\r").await;
    scene.exchange(b"\x0bADT^A01|3|PAS|P|7\x1c\r", b"\x0bAA\x1c\r").await;
    let (store, metrics) = scene.end().await;
    assert_eq!(store.0.journaled(), ["pas stored"]);
    for reason in ["failed", "too-large"] {
        let line = format!("landbridge_relay_unkept_total{{listener=\"mllp.main\",reason=\"{reason}\"}} 1");
        assert!(metrics.text().contains(&line), "{}", metrics.text());
        assert!(store.0.audited().contains(&format!("system 12 not-kept: {reason}")), "{:?}", store.0.audited());
    }
}

#[tokio::test]
async fn a_spool_that_is_full_and_a_stop_lose_what_is_not_kept_and_say_so() {
    let mut scene = Scene::new().await;
    scene.store.0.broken.store(true, Ordering::SeqCst);
    scene.exchange(b"\x0bADT^A01|1|PAS|P|7\x1c\r", b"\x0bAA\x1c\r").await;
    scene.draining.send(true).unwrap();
    let metrics = scene.metrics.clone();
    assert_eq!(scene.task.await.unwrap(), Some(Leave::Drained));
    assert!(metrics.text().contains("relay_unkept_total{listener=\"mllp.main\",reason=\"stopped\"} 1"), "{}", metrics.text());
    let spool = Spool::new("mllp.main", intake_of(&Memory::default(), 100, Feeds::new(feeds())), metrics.clone());
    let (frames, _waiting) = mpsc::unbounded_channel();
    let _all = spool.room.clone().try_acquire_many_owned(SPOOL_KIB_MAX).unwrap();
    spool.put(&frames, Message::Whole(Bytes::from_static(b"one")));
    assert!(metrics.text().contains("relay_unkept_total{listener=\"mllp.main\",reason=\"spool-full\"} 1"));
}

fn unkept(metrics: &Metrics, reason: &str) -> Option<u64> {
    let text = metrics.text();
    let line = text.lines().find(|line| line.starts_with("landbridge_relay_unkept_total{") && line.contains(reason));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok())
}

#[tokio::test]
async fn what_was_refused_and_is_in_no_journal_does_not_count_as_kept() {
    // Nobody proved who sends, and the message is of none of the feeds.
    let mut scene = Scene::of("plain", &[], 100).await;
    scene.exchange(b"\x0bADT^A01|1|OTHER|P|7\x1c\r", b"\x0bAA\x1c\r").await;
    scene.exchange(b"\x0bADT^A01|2|LOUD|P|7\x1c\r", b"\x0bAA\x1c\r").await;
    let (store, metrics) = scene.end().await;
    assert_eq!((store.0.journaled(), unkept(&metrics, "refused")), (vec!["loud stored".to_owned()], Some(1)));
    assert!(store.0.audited().contains(&"system 12 not-kept: refused".to_owned()), "{:?}", store.0.audited());
    // The quarantine has room for one; what would be acknowledged and what would not.
    let mut scene = Scene::of("main", &["pas.hospital.example"], 1).await;
    for word in ["malformed", "malformed|2", "held"] {
        scene.exchange(format!("\x0bADT^A01|1|PAS|P|7|{word}\x1c\r").as_bytes(), b"\x0bAA\x1c\r").await;
    }
    let (store, metrics) = scene.end().await;
    assert_eq!((store.0.journaled(), unkept(&metrics, "quarantine-full")), (vec!["pas malformed".to_owned()], Some(2)));
    assert_eq!(unkept(&metrics, "failed"), None);
}

#[tokio::test]
async fn the_stop_of_the_gateway_writes_down_what_was_lost() {
    let (store, metrics) = (Memory::default(), Metrics::default());
    let spool = Spool::new("mllp.main", intake_of(&store, 100, Feeds::new(feeds())), metrics.clone());
    store.0.broken.store(true, Ordering::SeqCst);
    spool.lose("spool-full");
    spool.write_down().await;
    // A connection that was cut off with this in hand.
    let (frames, _waiting) = mpsc::unbounded_channel();
    spool.put(&frames, Message::Whole(Bytes::from_static(b"one")));
    store.0.broken.store(false, Ordering::SeqCst);
    spool.end().await;
    assert_eq!(store.0.audited(), ["system 12 not-kept: spool-full", "system 12 not-kept: stopped"]);
    assert_eq!((unkept(&metrics, "spool-full"), unkept(&metrics, "stopped")), (Some(1), Some(1)));
}

#[tokio::test]
async fn a_connection_that_lasts_is_written_down_while_it_does() {
    let store = Memory::default();
    let mut spool = Spool::new("mllp.main", intake_of(&store, 100, Feeds::new(feeds())), Metrics::default());
    spool.interval = Duration::from_millis(1);
    let passed = Arc::new(AtomicU32::new(3));
    let line = Witnessed {
        door: Door::Mllp("main".into()),
        peer: Arc::new(Peer::default()),
        feed: "pas".into(),
        to: "engine:2575".into(),
        bytes_max: 1000,
        passed: passed.clone(),
    };
    let (frames, waiting) = mpsc::unbounded_channel();
    let (_draining, drained) = watch::channel(false);
    let keeping = tokio::spawn(spool.keep(line, waiting, drained));
    let counts = || store.0.kept().entries.iter().map(|entry| (entry.agent.who.clone(), entry.count)).collect::<Vec<_>>();
    while counts().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(counts(), [("feed:pas".into(), 3)]);
    passed.store(2, Ordering::SeqCst);
    drop(frames);
    keeping.await.unwrap();
    assert_eq!(counts(), [("feed:pas".into(), 3), ("feed:pas".into(), 2)]);
}

#[test]
fn a_message_is_what_its_frame_delimits() {
    let check = |frame: &[u8], expected: &[u8]| match message(frame.to_vec(), 10) {
        Message::Whole(bytes) => assert_eq!(&bytes[..], expected),
        Message::TooLarge(head) => assert_eq!((&head[..], expected), (&[b'x'; 10][..], &b"too large"[..])),
    };
    check(b"\x0bone\x1c\r", b"one");
    check(b"\x0bone\x1c\n", b"one");
    check(b"\x0bone\x1c", b"one");
    check(b"\x0bone\x1c\x1c\r", b"one\x1c");
    check(b"\x0b\x1c\r", b"");
    check(b"\x0bxxxxxxxxxx\x1c\r", b"xxxxxxxxxx");
    check(b"\x0bxxxxxxxxxxx\x1c\r", b"too large");
}
