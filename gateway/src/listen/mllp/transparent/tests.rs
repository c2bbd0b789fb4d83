use super::*;
use crate::config::{Relay, RelayMode};
use crate::intake::Feeds;
use crate::intake::double::{Memory, feeds, intake_of};
use crate::listen::{Limits, Proxies};
use crate::mllp::Files;
use std::sync::atomic::Ordering;
use tokio::io::{AsyncReadExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};

const LIMITS: Limits = Limits {
    connections: 2,
    frame_bytes: 1000,
    frame_time: Duration::from_secs(20),
    handshake_time: Duration::from_secs(5),
    idle_time: Duration::from_secs(5),
    write_time: Duration::from_secs(5),
    connection_age: None,
};

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
        let (store, metrics) = (Memory::default(), Metrics::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = listener.local_addr().unwrap().to_string();
        let relay = Relay { to, mode: RelayMode::Transparent, files: Files::default(), refusals: 3, reply_time: Duration::from_secs(5) };
        let relayed = |mut feed: Feed| {
            feed.config.relay = Some(relay.clone());
            feed.relayed().unwrap()
        };
        let intake = intake_of(&store, 100, Feeds::new(feeds().into_iter().map(relayed).collect()));
        let mllp = Arc::new(Mllp::new("main", None, Proxies::default(), intake, LIMITS, metrics.clone()));
        let (near, sender) = duplex(1 << 20);
        let (draining, drained) = watch::channel(false);
        let peer = Peer { address: "192.0.2.7:4000".into(), names: vec!["pas.hospital.example".into()], token: None };
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
