use super::*;
use crate::intake::double::{Memory, intake};
use crate::listen::Entrance;
use crate::listen::tls::ClientCertificate;
use crate::listen::tls::tests::{Authority, server_name};
use std::sync::atomic::Ordering;
use tokio::io::DuplexStream;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

pub(super) const LIMITS: Limits = Limits {
    connections: 2,
    frame_bytes: 1000,
    frame_time: Duration::from_secs(20),
    handshake_time: Duration::from_secs(5),
    idle_time: Duration::from_secs(5),
    write_time: Duration::from_secs(5),
    connection_age: None,
};

/// A line to a listener over a store in memory, from the peer `pas`.
struct Talk {
    store: Memory,
    metrics: Metrics,
    line: DuplexStream,
    draining: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Talk {
    fn new(limits: Limits) -> Self {
        let (store, metrics) = (Memory::default(), Metrics::default());
        let mllp = Mllp::new("main", None, Proxies::default(), intake(&store, 100), limits, metrics.clone());
        let (near, line) = tokio::io::duplex(1 << 20);
        let (draining, drained) = watch::channel(false);
        let peer = Peer { address: "192.0.2.7:4000".into(), names: vec!["pas.hospital.example".into()], token: None };
        let stay = Stay::new(drained, limits.connection_age, 0);
        let task = tokio::spawn(async move {
            mllp.converse(near, peer, stay).await;
        });
        Self { store, metrics, line, draining, task }
    }

    async fn say(&mut self, bytes: &[u8]) {
        self.line.write_all(bytes).await.unwrap();
    }

    /// Reads so many frames.
    async fn hear(&mut self, count: usize) -> Vec<String> {
        let mut frames = Frames::new(10_000);
        let mut heard = Vec::new();
        while heard.len() < count {
            match frames.next() {
                Some(Framed::Whole(frame)) => heard.push(String::from_utf8(frame.to_vec()).unwrap()),
                Some(Framed::TooLarge(_)) => panic!("a reply beyond all limits"),
                None => assert_ne!(self.line.read_buf(frames.space()).await.unwrap(), 0, "closed after {heard:?}"),
            }
        }
        heard
    }

    /// All that comes until the line is closed.
    async fn hear_all(mut self) -> (Vec<u8>, Memory, Metrics) {
        let mut heard = Vec::new();
        self.line.read_to_end(&mut heard).await.unwrap();
        self.task.await.unwrap();
        (heard, self.store, self.metrics)
    }
}

fn adt(id: usize) -> Vec<u8> {
    framed(format!("ADT^A01|{id}|PAS|P|7").as_bytes())
}

#[tokio::test]
async fn pipelined_frames_are_answered_one_by_one_in_their_order() {
    let mut talk = Talk::new(LIMITS);
    let all: Vec<u8> = (0..100).flat_map(adt).collect();
    talk.say(&all).await;
    let expected: Vec<String> = (0..100).map(|id| format!("AA|{id}|pas|stored")).collect();
    assert_eq!(talk.hear(100).await, expected);
    let journal: Vec<String> = talk.store.0.kept().journal.iter().map(|(arrival, _)| arrival.control_id.clone()).collect();
    assert_eq!(journal, (0..100).map(|id| id.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn no_reply_comes_before_durability() {
    let mut talk = Talk::new(LIMITS);
    talk.store.0.gate.forget_permits(usize::MAX >> 3);
    talk.say(&[adt(1), adt(2)].concat()).await;
    let silent = tokio::time::timeout(Duration::from_millis(100), talk.hear(1)).await;
    assert!(silent.is_err());
    assert!(talk.store.0.journaled().is_empty());
    talk.store.0.gate.add_permits(1);
    assert_eq!(talk.hear(1).await, ["AA|1|pas|stored"]);
    assert_eq!(talk.store.0.journaled().len(), 1);
    talk.store.0.gate.add_permits(1);
    assert_eq!(talk.hear(1).await, ["AA|2|pas|stored"]);
}

#[tokio::test]
async fn bad_input_leaves_the_rest_of_the_line_undisturbed() {
    let mut talk = Talk::new(LIMITS);
    talk.say(&[b"noise\x0bgarbage\x1c\r\n\0".to_vec(), adt(2), b"\x0b\x1c\r".to_vec(), adt(3)].concat()).await;
    let expected = ["AE||pas|malformed", "AA|2|pas|stored", "AE||pas|malformed", "AA|3|pas|stored"];
    assert_eq!(talk.hear(4).await, expected);
    assert!(talk.metrics.text().contains("landbridge_noise_bytes_total{listener=\"mllp.main\"} 5"));
    // A separator without its CR is answered all the same.
    talk.say(b"\x0bADT^A01|4|PAS|P|7\x1c").await;
    assert_eq!(talk.hear(1).await, ["AA|4|pas|stored"]);
    talk.say(&[b"\r".to_vec(), adt(5)].concat()).await;
    assert_eq!(talk.hear(1).await, ["AA|5|pas|stored"]);
}

#[tokio::test]
async fn our_trouble_closes_the_line_without_a_reply() {
    let mut talk = Talk::new(LIMITS);
    talk.say(&adt(1)).await;
    assert_eq!(talk.hear(1).await.len(), 1);
    talk.store.0.broken.store(true, Ordering::SeqCst);
    talk.say(&[adt(2), adt(3)].concat()).await;
    let (heard, store, metrics) = talk.hear_all().await;
    assert_eq!(heard, b"");
    assert_eq!(store.0.journaled().len(), 1);
    assert!(metrics.text().contains("landbridge_replies_total{listener=\"mllp.main\",kind=\"closed\"} 1"));
}

#[tokio::test]
async fn a_frame_beyond_the_limit_is_refused_and_the_line_closed() {
    let mut talk = Talk::new(LIMITS);
    talk.say(&[adt(1), framed(&[b"ADT^A01|2|PAS|P|7|".as_slice(), &[b'x'; 5000]].concat()), adt(3)].concat()).await;
    talk.line.shutdown().await.unwrap();
    let (heard, store, _) = talk.hear_all().await;
    assert_eq!(heard, [framed(b"AA|1|pas|stored"), framed(b"AR|2|pas|malformed")].concat());
    assert_eq!(store.0.journaled(), ["pas stored"]);
}

#[tokio::test]
async fn a_frame_that_does_not_end_is_seen_and_let_go() {
    let mut talk = Talk::new(Limits { frame_time: Duration::from_millis(30), ..LIMITS });
    talk.say(&[adt(1), b"\x0bhalf".to_vec()].concat()).await;
    let (heard, _, metrics) = talk.hear_all().await;
    assert_eq!(heard, framed(b"AA|1|pas|stored"));
    assert!(metrics.text().contains("landbridge_unterminated_frames_total{listener=\"mllp.main\"} 1"));
    // Between frames there is no limit of time.
    let mut talk = Talk::new(Limits { frame_time: Duration::from_millis(30), ..LIMITS });
    assert!(tokio::time::timeout(Duration::from_millis(100), talk.hear(1)).await.is_err());
    talk.say(&adt(1)).await;
    assert_eq!(talk.hear(1).await, ["AA|1|pas|stored"]);
}

#[tokio::test]
async fn a_drain_finishes_what_is_in_hand() {
    let mut talk = Talk::new(LIMITS);
    talk.store.0.gate.forget_permits(usize::MAX >> 3);
    talk.say(&[adt(1), adt(2), b"\x0bhalf".to_vec()].concat()).await;
    // Both are in hand as soon as one waits at the gate: they came in one read.
    assert!(tokio::time::timeout(Duration::from_millis(100), talk.hear(1)).await.is_err());
    talk.draining.send(true).unwrap();
    talk.store.0.gate.add_permits(2);
    let (heard, store, _) = talk.hear_all().await;
    assert_eq!(heard, [framed(b"AA|1|pas|stored"), framed(b"AA|2|pas|stored")].concat());
    assert_eq!(store.0.journaled().len(), 2);
}

#[tokio::test]
async fn what_is_not_mllp_is_let_go() {
    let mut talk = Talk::new(LIMITS);
    talk.say(&vec![b'x'; 100_000]).await;
    assert_eq!(talk.hear_all().await.0, b"");
}

#[tokio::test]
async fn the_client_certificate_names_the_feed() {
    let authority = Authority::new();
    let (store, metrics) = (Memory::default(), Metrics::default());
    let tls = Tls::new(&authority.files(), ClientCertificate::Demanded, LIMITS.handshake_time).unwrap();
    let mllp = Arc::new(Mllp::new("main", Some(Arc::new(tls)), Proxies::default(), intake(&store, 100), LIMITS, metrics.clone()));
    let entrance = Entrance::open("mllp.main", "127.0.0.1:0".parse().unwrap(), LIMITS.connections, metrics.clone()).await.unwrap();
    let address = entrance.address().unwrap();
    let (draining, drained) = watch::channel(false);
    let drain = drained.clone();
    let door = tokio::spawn(entrance.serve(drained, move |guest| mllp.clone().serve(guest, drain.clone())));

    let lab = authority.client(&["lab.hospital.example"]);
    let mut line = lab.connect(server_name(), TcpStream::connect(address).await.unwrap()).await.unwrap();
    line.write_all(&framed(b"ORU^R01|1|LAB|P|7")).await.unwrap();
    let mut heard = vec![0; framed(b"AA|1|lab|stored").len()];
    line.read_exact(&mut heard).await.unwrap();
    assert_eq!(heard, framed(b"AA|1|lab|stored"));

    // Without a certificate there is no line: with TLS 1.3 the client learns it at its first read.
    let stranger = authority.stranger().connect(server_name(), TcpStream::connect(address).await.unwrap()).await;
    let refused = match stranger {
        Err(_) => true,
        Ok(mut line) => line.read(&mut [0]).await.is_err(),
    };
    assert!(refused);

    // Beyond the limit of connections: closed at once.
    let _second = lab.connect(server_name(), TcpStream::connect(address).await.unwrap()).await.unwrap();
    assert!(lab.connect(server_name(), TcpStream::connect(address).await.unwrap()).await.is_err());
    assert!(metrics.text().contains("landbridge_connections_refused_total{listener=\"mllp.main\",reason=\"limit\"} 1"));

    draining.send(true).unwrap();
    drop(line);
    door.await.unwrap();
    assert_eq!(store.0.audited(), ["feed:lab 0", "unknown 4 no-certificate"]);
}
