use super::*;
use crate::access::Verifier;
use crate::api;
use crate::intake::double::{Lines, Memory};
use crate::observe::Metrics;
use crate::search::parse::parameters;
use hyper::body::Bytes;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A working folder's configuration with free ports; `https` listens there.
fn config(folder: &Path, https: &str) -> Config {
    development::init(folder, jiff::Timestamp::now()).unwrap();
    let file = folder.join("landbridge.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let text = text.replace("listen = \"127.0.0.1:8443\"", &format!("listen = \"{https}:0\""));
    let text = text.replace("listen = \"127.0.0.1:2575\"", "listen = \"127.0.0.1:0\"");
    let text = text.replace("listen = \"127.0.0.1:9464\"", "listen = \"127.0.0.1:0\"");
    Config::parse(&text, &file).unwrap()
}

fn parts(config: &Config, store: &Memory) -> Parts {
    let outbox = Arc::new(store.clone());
    let store: Arc<dyn crate::store::Mending> = Arc::new(store.clone());
    let clock = Clock::System;
    let verifier = Verifier::new(Vec::new(), clock.clone()).unwrap();
    let settings = api::Settings {
        base_url: config.https.base_url.clone(),
        token_endpoint: None,
        authorization_endpoint: None,
        paging_key: vec![7; 32],
        timezone: jiff::tz::TimeZone::UTC,
        parameters: parameters(schemas::Tables::embedded("r4").get("search").unwrap()).unwrap(),
        clock: clock.clone(),
    };
    Parts {
        api: api::Api::new(store.clone(), verifier.clone(), settings).unwrap(),
        store,
        outbox,
        verifier,
        dialects: vec![Arc::new(Lines("hl7v2")), Arc::new(Lines("cda"))],
        schemas: None,
        id_key: config.read_id_key().unwrap(),
        clock,
        metrics: Metrics::default(),
    }
}

async fn connect(folder: &Path, client: Option<&str>, address: SocketAddr) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_file_iter(folder.join("tls/ca.pem")).unwrap() {
        roots.add(root.unwrap()).unwrap();
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
    let config = match client {
        None => builder.with_no_client_auth(),
        Some(name) => {
            let chain = CertificateDer::pem_file_iter(folder.join(format!("clients/{name}.pem"))).unwrap();
            let key = PrivateKeyDer::from_pem_file(folder.join(format!("clients/{name}.key"))).unwrap();
            builder.with_client_auth_cert(chain.map(Result::unwrap).collect(), key).unwrap()
        }
    };
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, TcpStream::connect(address).await.unwrap()).await.unwrap()
}

/// Says something and reads until the other end closes.
async fn ask(mut line: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin, text: &str) -> String {
    line.write_all(text.as_bytes()).await.unwrap();
    let mut heard = Vec::new();
    // The peer may close without a farewell of TLS.
    let _ = line.read_to_end(&mut heard).await;
    String::from_utf8_lossy(&Bytes::from(heard)).into_owned()
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_doors_open_answer_and_drain() {
    let folder = tempfile::tempdir().unwrap();
    let (config, store) = (config(folder.path(), "127.0.0.1"), Memory::default());
    let running = start(&config, parts(&config, &store)).await.unwrap();
    let line: serde_json::Value = serde_json::from_str(&running.ready_line()).unwrap();
    assert_eq!(line["ready"], true);
    let address = |name: &str| line[name].as_str().unwrap().parse::<SocketAddr>().unwrap();
    let observe = |path: &str| {
        let request = get(path);
        async move { ask(TcpStream::connect(address("observe")).await.unwrap(), &request).await }
    };
    assert!(observe("/livez").await.starts_with("HTTP/1.1 200"));
    assert!(observe("/readyz").await.starts_with("HTTP/1.1 200"));
    assert!(observe("/fhir/metadata").await.starts_with("HTTP/1.1 404"));

    // A sender over MLLP, one over HTTPS, an app, a stranger.
    let mut pas = connect(folder.path(), Some("pas"), address("mllp.main")).await;
    pas.write_all(b"\x0bADT^A01|1|PAS|P|7\x1c\r").await.unwrap();
    let mut heard = [0; 18];
    pas.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"\x0bAA|1|pas|stored\x1c\r");
    let body = "CDA|2|DOCS|P|7";
    let head = "POST /ingest/docs HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: text/xml\r\n";
    let docs = connect(folder.path(), Some("docs"), address("https")).await;
    let posted = ask(docs, &format!("{head}content-length: {}\r\n\r\n{body}", body.len())).await;
    assert!(posted.starts_with("HTTP/1.1 "), "{posted}");
    assert!(posted.contains("OperationOutcome"), "{posted}");
    for (path, status) in [("/fhir/metadata", "200"), ("/fhir/Patient/1", "401"), ("/nothing", "401"), ("/ingest/docs", "401")] {
        let answered = ask(connect(folder.path(), None, address("https")).await, &get(path)).await;
        assert!(answered.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answered}");
    }
    let metrics = observe("/metrics").await;
    assert!(metrics.contains("landbridge_messages_total{feed=\"pas\",outcome=\"stored\"} 1"), "{metrics}");
    assert!(metrics.contains("landbridge_requests_total{interaction=\"read\",status=\"401\"} 1"), "{metrics}");

    let https = address("https");
    running.shutdown().await.unwrap();
    assert!(TcpStream::connect(https).await.is_err());
    assert_eq!(pas.read(&mut heard).await.unwrap_or_default(), 0);
    let seals = std::fs::read_to_string(&config.seals).unwrap();
    assert_eq!(seals.lines().count() as u32, store.0.kept().seals);
    let actions: Vec<Action> = store.0.kept().entries.iter().map(|entry| entry.action).collect();
    assert_eq!((actions.first(), actions.last()), (Some(&Action::Start), Some(&Action::Stop)));
}

#[tokio::test]
async fn development_material_is_refused_where_others_reach_it() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "0.0.0.0");
    let refused = start(&config, parts(&config, &Memory::default())).await.map(|_| ()).unwrap_err();
    assert!(refused.contains("development material"), "{refused}");
}

#[tokio::test]
async fn a_store_that_cannot_write_opens_no_door() {
    let folder = tempfile::tempdir().unwrap();
    let (config, store) = (config(folder.path(), "127.0.0.1"), Memory::default());
    store.0.broken.store(true, std::sync::atomic::Ordering::SeqCst);
    assert!(start(&config, parts(&config, &store)).await.is_err());
}

/// What is taken up in place: the configuration's text is changed, and read again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn feeds_certificates_and_keys_are_taken_up_in_place_or_stay() {
    let folder = tempfile::tempdir().unwrap();
    let (config, store) = (config(folder.path(), "127.0.0.1"), Memory::default());
    let file = folder.path().join("landbridge.toml");
    let running = start(&config, parts(&config, &store)).await.unwrap();
    let mut line = connect(folder.path(), Some("pas"), running.addresses["mllp.main"]).await;
    let mut say = async |id: &str| {
        line.write_all(format!("\x0bADT^A01|{id}|PAS|P|7\x1c\r").as_bytes()).await.unwrap();
        let mut heard = Vec::new();
        while !heard.ends_with(b"\x1c\r") {
            line.read_buf(&mut heard).await.unwrap();
        }
        String::from_utf8(heard).unwrap()
    };
    let taken = || {
        let kept = store.0.kept();
        let changes = kept.entries.iter().filter(|entry| entry.action == Action::Configure);
        changes.map(|entry| (entry.request.clone(), entry.outcome)).collect::<Vec<_>>()
    };
    // Ports are those of the running gateway: what cannot change in place is told, and changes nothing.
    let original = std::fs::read_to_string(&file).unwrap();
    running.reload.now().await;
    assert_eq!(taken(), [], "nothing is new");
    assert!(say("1").await.contains("AA|1|pas"));

    std::fs::write(&file, original.replace("accepts = [\"ADT\"]", "accepts = [\"ORU\"]")).unwrap();
    running.reload.now().await;
    assert_eq!(taken(), [("feeds and tables: pas changed".to_owned(), 0)]);
    assert!(say("2").await.contains("AR|2|"), "the same line, under the new configuration");

    std::fs::write(&file, original.replace("accepts = [\"ADT\"]", "accepts = \"ADT\"")).unwrap();
    running.reload.now().await;
    assert_eq!(taken().last(), Some(&("configuration".to_owned(), 4)));
    assert!(say("3").await.contains("AR|3|"), "a mistake changes nothing");

    std::fs::write(
        &file,
        original
            .replace(
                "\n[feed.lab]\nlistener = \"mllp.main\"",
                "\n[mllp.new]\nlisten = \"127.0.0.1:0\"\ntls = \"none\"\n[feed.lab]\nlistener = \"mllp.new\"",
            )
            .replace("peer = \"lab.hospital.example\"\n", ""),
    )
    .unwrap();
    running.reload.now().await;
    assert_eq!(taken().last(), Some(&("feeds and tables".to_owned(), 4)), "a door that is not open");

    std::fs::write(&file, &original).unwrap();
    let other = tempfile::tempdir().unwrap();
    development::init(other.path(), jiff::Timestamp::now()).unwrap();
    for name in ["tls/server.pem", "tls/server.key", "keys/issuer.jwks.json"] {
        std::fs::copy(other.path().join(name), folder.path().join(name)).unwrap();
    }
    running.reload.now().await;
    let last: Vec<String> = taken().into_iter().rev().take(4).filter(|(_, outcome)| *outcome == 0).map(|(part, _)| part).collect();
    assert_eq!(last, ["feeds and tables: pas changed", "issuers and their keys", "certificates of mllp.main", "certificates of https"]);
    assert!(say("4").await.contains("AA|4|pas"));

    // What is half written is not taken; what cannot be written down neither.
    std::fs::write(folder.path().join("tls/server.key"), "half").unwrap();
    running.reload.now().await;
    assert_eq!(taken().last(), Some(&("certificates of mllp.main".to_owned(), 4)));
    std::fs::write(&file, original.replace("accepts = [\"ADT\"]", "accepts = [\"ORU\"]")).unwrap();
    store.0.broken.store(true, std::sync::atomic::Ordering::SeqCst);
    running.reload.now().await;
    store.0.broken.store(false, std::sync::atomic::Ordering::SeqCst);
    assert!(say("5").await.contains("AA|5|pas"));

    // By itself, when the files were the same at two looks.
    running.reload.look().await;
    assert!(say("6").await.contains("AA|6|pas"));
    running.reload.look().await;
    assert!(say("7").await.contains("AR|7|"));
    running.shutdown().await.unwrap();
}
