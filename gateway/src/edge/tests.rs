use super::*;
use crate::listen::Entrance;
use crate::listen::frames::framed;
use crate::listen::tls::tests::Authority;
use crate::listen::tls::{ClientCertificate, Tls};
use crate::mllp::Files;
use crate::observe::Metrics;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::server::TlsStream;

/// A gateway that the test plays, and an edge before it.
struct Scene {
    authority: Authority,
    gateway: TcpListener,
    edge: SocketAddr,
    stop: watch::Sender<bool>,
    door: JoinHandle<()>,
}

impl Scene {
    async fn new(wait: Duration) -> Self {
        let authority = Authority::new();
        authority.write_client("pas.hospital.example");
        let gateway = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let file = |name| Some(authority.file(name));
        let files =
            Files { certificate: file("client.pem"), key: file("client.key"), ca: file("ca.pem"), server_name: Some("localhost".into()) };
        let edge = Arc::new(Edge::new(Destination::new(&gateway.local_addr().unwrap().to_string(), &files).unwrap(), wait));
        let entrance = Entrance::open("edge", "127.0.0.1:0".parse().unwrap(), 8, Metrics::default()).await.unwrap();
        let address = entrance.address().unwrap();
        let (stop, stopping) = watch::channel(false);
        let told = stopping.clone();
        let door = tokio::spawn(entrance.serve(stopping, move |guest| {
            let (edge, told) = (edge.clone(), told.clone());
            async move { edge.serve(guest, told).await }
        }));
        Self { authority, gateway, edge: address, stop, door }
    }

    async fn sender(&self) -> TcpStream {
        TcpStream::connect(self.edge).await.unwrap()
    }

    /// The next line that the edge opens, and whose it is.
    async fn line(&self) -> (TlsStream<TcpStream>, Vec<String>) {
        let tls = Arc::new(Tls::new(&self.authority.files(), ClientCertificate::Demanded, Duration::from_secs(5)).unwrap());
        let (stream, address) = self.gateway.accept().await.unwrap();
        let (stream, info, _) = tls.accept(stream, address).await.unwrap();
        (stream, info.names)
    }
}

async fn says(end: &mut (impl AsyncWriteExt + Unpin), frame: &str) {
    end.write_all(&framed(frame.as_bytes())).await.unwrap();
    end.flush().await.unwrap();
}

async fn hears(end: &mut (impl AsyncReadExt + Unpin), frame: &str) {
    let mut heard = vec![0; framed(frame.as_bytes()).len()];
    end.read_exact(&mut heard).await.unwrap();
    assert_eq!(heard, framed(frame.as_bytes()));
}

async fn is_closed(end: &mut (impl AsyncReadExt + Unpin)) {
    let mut rest = Vec::new();
    let _ = end.read_to_end(&mut rest).await;
    assert_eq!(rest, b"", "never an acknowledgement of its own");
}

#[tokio::test]
async fn a_line_lost_under_way_closes_the_senders_and_one_lost_between_is_opened_again() {
    let scene = Scene::new(Duration::from_secs(60)).await;
    let mut sender = scene.sender().await;
    let (mut line, names) = scene.line().await;
    assert_eq!(names, ["pas.hospital.example"]);
    says(&mut sender, "one").await;
    hears(&mut line, "one").await;
    says(&mut line, "AA one").await;
    hears(&mut sender, "AA one").await;
    // Between two messages: the sender notices nothing. A new line shows the certificate that is there now.
    scene.authority.write_client("lab.hospital.example");
    drop(line);
    let (mut line, names) = scene.line().await;
    assert_eq!(names, ["lab.hospital.example"]);
    says(&mut sender, "two").await;
    hears(&mut line, "two").await;
    drop(line);
    is_closed(&mut sender).await;
}

#[tokio::test]
async fn files_that_do_not_fit_leave_those_before_in_use() {
    let scene = Scene::new(Duration::from_secs(60)).await;
    std::fs::write(scene.authority.file("client.key"), "half written").unwrap();
    let _sender = scene.sender().await;
    assert_eq!(scene.line().await.1, ["pas.hospital.example"]);
}

#[tokio::test]
async fn a_message_waits_for_the_gateway_for_so_long_and_is_not_acknowledged() {
    let scene = Scene::new(Duration::from_millis(1)).await;
    let Scene { edge, gateway, .. } = scene;
    drop(gateway);
    let mut sender = TcpStream::connect(edge).await.unwrap();
    says(&mut sender, "one").await;
    is_closed(&mut sender).await;
}

#[tokio::test]
async fn each_connection_has_a_line_of_its_own_and_stops_after_its_acknowledgement() {
    let scene = Scene::new(Duration::from_secs(60)).await;
    let mut first = scene.sender().await;
    let (mut first_line, _) = scene.line().await;
    let mut second = scene.sender().await;
    let (mut second_line, _) = scene.line().await;
    says(&mut second, "two").await;
    says(&mut first, "one").await;
    hears(&mut first_line, "one").await;
    hears(&mut second_line, "two").await;
    says(&mut second_line, "AA two").await;
    hears(&mut second, "AA two").await;
    scene.stop.send(true).unwrap();
    // The idle one ends at once, the other when it has its acknowledgement.
    is_closed(&mut second).await;
    says(&mut first_line, "AA one").await;
    hears(&mut first, "AA one").await;
    is_closed(&mut first).await;
    scene.door.await.unwrap();
}
