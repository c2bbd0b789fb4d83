//! What all doors share: accept, bound, drain.

use super::handshake::{Anteroom, Unproven};
use crate::observe::{Connected, Metrics};
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

/// A line without traffic is asked after so long: shorter than a load balancer forgets it (350 s and less).
const KEEPALIVE: Duration = Duration::from_secs(60);
/// After a failed accept (out of file descriptors) the next is tried so much later.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What a door bears.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub connections: usize,
    pub frame_bytes: usize,
    /// From the first byte of a frame, or of a body, to its last.
    pub frame_time: Duration,
    pub handshake_time: Duration,
    /// For the head of an HTTP request, and for the silence between two.
    pub idle_time: Duration,
    /// For one reply to be taken by the other end.
    pub write_time: Duration,
    /// Of a connection, after which it ends with the answer in hand; `None`: any.
    pub connection_age: Option<Duration>,
}

impl Limits {
    pub const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
    pub const IDLE_TIME: Duration = Duration::from_secs(60);
    pub const WRITE_TIME: Duration = Duration::from_secs(30);
}

/// One open listener.
pub struct Entrance {
    /// Its name in the configuration: `https`, `mllp.main`, `observe`.
    pub name: Arc<str>,
    listener: TcpListener,
    connections: Arc<Semaphore>,
    anteroom: Anteroom,
    metrics: Metrics,
}

/// One connection within its door's limit; counted while it lives.
pub struct Guest {
    pub stream: TcpStream,
    pub address: SocketAddr,
    pub unproven: Unproven,
    pub admitted: Admitted,
}

/// Holds a connection's place.
pub struct Admitted {
    _place: OwnedSemaphorePermit,
    _counted: Connected,
}

impl Entrance {
    /// Errors name the listener and its address.
    pub async fn open(name: &str, address: SocketAddr, connections: usize, metrics: Metrics) -> Result<Self, String> {
        let listener =
            TcpListener::bind(address).await.map_err(|error| format!("{name}: {address} cannot be opened ({})", error.kind()))?;
        let anteroom = Anteroom::of(connections);
        Ok(Self { name: name.into(), listener, connections: Arc::new(Semaphore::new(connections)), anteroom, metrics })
    }

    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves each connection in a task of its own until told to drain; then waits for those that are open. `serve` is told
    /// to drain by the same watch.
    pub async fn serve<F>(self, mut draining: watch::Receiver<bool>, serve: impl Fn(Guest) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut open = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = until_drained(&mut draining) => break,
                Some(_) = open.join_next(), if !open.is_empty() => {}
                guest = self.accept() => if let Some(guest) = guest {
                    open.spawn(serve(guest));
                },
            }
        }
        drop(self.listener);
        while open.join_next().await.is_some() {}
    }

    /// Beyond the limit a connection is closed at once: it costs us nothing more.
    async fn accept(&self) -> Option<Guest> {
        let (stream, address) = match self.listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(listener = &*self.name, error = %error.kind(), "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                return None;
            }
        };
        let Ok(place) = self.connections.clone().try_acquire_owned() else {
            self.metrics.refused(&self.name, "limit");
            return None;
        };
        let socket = SockRef::from(&stream);
        let set = socket
            .set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 4))
            .and_then(|()| stream.set_nodelay(true));
        // The other end is gone already.
        set.ok()?;
        let admitted = Admitted { _place: place, _counted: self.metrics.connection(&self.name) };
        Some(Guest { stream, address, unproven: self.anteroom.enter(), admitted })
    }
}

/// Resolves when the doors are to close, or nobody is left to say so.
pub async fn until_drained(draining: &mut watch::Receiver<bool>) {
    let _ = draining.wait_for(|draining| *draining).await;
}
