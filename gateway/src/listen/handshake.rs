//! Before a connection has shown who it is: so many at once, and a new one displaces the oldest. Whoever opens connections
//! and says nothing keeps no one else out.

use super::proxied::Proxies;
use super::tls::{Refused, Tls, Trust};
use crate::connection::ConnectionInfo;
use crate::intake::Intake;
use crate::observe::Metrics;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::server::TlsStream;

/// The connections of one door that are unproven. Cheap to clone.
#[derive(Clone)]
pub struct Anteroom {
    most: usize,
    waiting: Arc<Mutex<VecDeque<Arc<Notify>>>>,
}

/// A place in the anteroom, given back when it is dropped.
pub struct Unproven {
    anteroom: Anteroom,
    displaced: Arc<Notify>,
}

impl Anteroom {
    /// A fourth of a door's connections, and one at least.
    pub fn of(connections: usize) -> Self {
        Self { most: (connections / 4).max(1), waiting: Arc::default() }
    }

    pub fn enter(&self) -> Unproven {
        let displaced = Arc::new(Notify::new());
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= self.most
            && let Some(oldest) = waiting.pop_front()
        {
            oldest.notify_one();
        }
        waiting.push_back(displaced.clone());
        drop(waiting);
        Unproven { anteroom: self.clone(), displaced }
    }
}

impl Unproven {
    /// What comes of a handshake; `None` where this connection was displaced.
    pub async fn wait<T>(self, handshake: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = handshake => Some(done),
            () = self.displaced.notified() => None,
        }
    }
}

impl Drop for Unproven {
    fn drop(&mut self) {
        let mut waiting = self.anteroom.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|other| !Arc::ptr_eq(other, &self.displaced));
    }
}

/// Before a listener hears a client's first byte.
pub struct Threshold {
    /// The listener's name in the configuration.
    pub listener: String,
    pub proxies: Proxies,
}

impl Threshold {
    /// The guest's TLS stream. Where there is none it is counted, and a refusal is written down.
    pub async fn shake(
        &self,
        tls: &Arc<Tls>,
        mut stream: TcpStream,
        address: SocketAddr,
        unproven: Unproven,
        intake: &Intake,
        metrics: &Metrics,
    ) -> Option<(TlsStream<TcpStream>, ConnectionInfo, Trust)> {
        let proven = unproven.wait(async {
            let client = self.proxies.client(&mut stream, address).await?;
            tls.accept(stream, client).await
        });
        self.noted(proven.await, address, intake, metrics).await
    }

    /// The guest of a plain listener, and its address.
    pub async fn pass(
        &self,
        mut stream: TcpStream,
        address: SocketAddr,
        unproven: Unproven,
        intake: &Intake,
        metrics: &Metrics,
    ) -> Option<(TcpStream, SocketAddr)> {
        let client = unproven.wait(self.proxies.client(&mut stream, address)).await;
        self.noted(client, address, intake, metrics).await.map(|client| (stream, client))
    }

    async fn noted<T>(&self, proven: Option<Result<T, Refused>>, address: SocketAddr, intake: &Intake, metrics: &Metrics) -> Option<T> {
        match proven {
            Some(Ok(proven)) => return Some(proven),
            None => metrics.refused(&self.listener, "displaced"),
            Some(Err(Refused::Silent)) => {}
            Some(Err(Refused::Timeout)) => metrics.refused(&self.listener, "timeout"),
            Some(Err(Refused::Handshake(word))) => {
                metrics.refused(&self.listener, "handshake");
                intake.unauthenticated(&self.listener, address, word).await;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, ready};

    #[tokio::test]
    async fn the_oldest_gives_way_and_a_place_is_given_back() {
        let anteroom = Anteroom::of(64);
        let mut silent: VecDeque<Unproven> = (0..16).map(|_| anteroom.enter()).collect();
        let honest = anteroom.enter();
        let oldest = silent.pop_front().unwrap();
        assert_eq!(oldest.wait(pending::<()>()).await, None);
        assert_eq!(honest.wait(ready(7)).await, Some(7));
        assert_eq!(anteroom.waiting.lock().unwrap().len(), 15);
        let another = anteroom.enter();
        drop((silent, another));
        assert!(anteroom.waiting.lock().unwrap().is_empty());
    }
}
