use super::serve::runtime;
use super::{Done, Failure};
use crate::edge::Edge;
use crate::listen::Entrance;
use crate::mllp::{Destination, Files};
use crate::observe::{Metrics, logs};
use crate::serve::DRAIN_TIME_MAX;
use crate::signals::{Asked, Signals};
use std::io::Write;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Stand beside a sender that cannot do TLS: plain MLLP in, the same over mutual TLS out, the gateway's acknowledgement back
///
/// It keeps nothing and never acknowledges anything itself. Each connection has its own line to the gateway, so that order stays.
/// Where the line is lost with a message under way, or the gateway cannot be reached for --wait seconds, the sender's connection is
/// closed without an acknowledgement: the sender sends again. Between messages it stays open, and a new line is opened. The
/// certificate files are read for each line.
///
/// Prints one line of JSON when the door is open. Ends at SIGTERM or SIGINT after the acknowledgement under way. Exit code 0: ended
/// so. 1: it did not work. 2: called wrongly.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Where the sender connects, in the clear, `IP:PORT` (port 0: one that is free). Whoever reaches it can send as this
    /// certificate's owner: on loopback that is whoever is on this machine
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:2575")]
    listen: SocketAddr,
    /// The gateway's MLLP door, `HOST:PORT`
    #[arg(long, value_name = "HOST:PORT")]
    to: String,
    /// Certificate chain that shows the gateway who the sender is (PEM)
    #[arg(long, value_name = "FILE")]
    certificate: PathBuf,
    /// Private key of the certificate (PEM)
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Authorities that the gateway's certificate must be of (PEM)
    #[arg(long, value_name = "FILE")]
    ca: PathBuf,
    /// Name that the gateway's certificate must have [default: the host of --to]
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
    /// Listen on an address that is not loopback. Then anyone on that network can read along, and send as this certificate's
    /// owner: only where nobody else is on the network between the sender and this machine
    #[arg(long)]
    anywhere: bool,
    /// Connections at once; more are closed
    #[arg(long, value_name = "N", default_value = "256")]
    connections: NonZeroUsize,
    /// So many seconds a message waits for a line to the gateway, before its connection is closed
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    wait: u64,
}

/// Passes on until told to stop.
pub fn run(arguments: &Arguments) -> Done {
    let listen = arguments.listen;
    if !listen.ip().is_loopback() && !arguments.anywhere {
        return Err(Failure::usage(format!(
            "--listen {listen}: not loopback, so anyone on that network could read along and send as this certificate's owner; \
             listen on 127.0.0.1 on the sender's own machine, or say --anywhere"
        )));
    }
    let files = Files {
        certificate: Some(arguments.certificate.clone()),
        key: Some(arguments.key.clone()),
        ca: Some(arguments.ca.clone()),
        server_name: arguments.server_name.clone(),
    };
    let gateway = Destination::new(&arguments.to, &files).map_err(Failure::usage)?;
    logs::start();
    runtime()?.block_on(serve(arguments, Arc::new(Edge::new(gateway, Duration::from_secs(arguments.wait)))))
}

async fn serve(arguments: &Arguments, edge: Arc<Edge>) -> Done {
    let failed = |what: &str, error: &std::io::Error| Failure::failed(format!("{what}: {}", error.kind()));
    let entrance = Entrance::open("edge", arguments.listen, arguments.connections.get(), Metrics::default()).await;
    let entrance = entrance.map_err(Failure::failed)?;
    let listen = entrance.address().map_err(|error| failed("edge", &error))?;
    tracing::info!(
        listen = %listen,
        to = arguments.to,
        "plain MLLP is passed on in mutual TLS; acknowledgements are the gateway's own; nothing is kept here"
    );
    if !listen.ip().is_loopback() {
        tracing::warn!(listen = %listen, "not loopback: anyone on that network can read along and send as this certificate's owner");
    }
    let mut signals = Signals::new().map_err(|error| failed("signals", &error))?;
    let (stop, stopping) = watch::channel(false);
    let told = stopping.clone();
    let mut door = tokio::spawn(entrance.serve(stopping, move |guest| {
        let (edge, told) = (edge.clone(), told.clone());
        async move { edge.serve(guest, told).await }
    }));
    println!("{}", serde_json::json!({ "ready": true, "edge": listen.to_string() }));
    // Whoever started us may be gone; the door is open all the same.
    let _ = std::io::stdout().flush();
    while signals.next().await == Asked::Reload {
        tracing::info!("the certificate files are read for each new line: nothing else is to be read again");
    }
    let _ = stop.send(true);
    if tokio::time::timeout(DRAIN_TIME_MAX, &mut door).await.is_err() {
        return Err(Failure::failed("some connections were cut off: their last messages have no acknowledgement"));
    }
    Ok(ExitCode::SUCCESS)
}
