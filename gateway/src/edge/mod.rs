//! The edge: beside a legacy sender that cannot do TLS. Plain MLLP comes in, the same bytes go to the gateway over mutual TLS,
//! and the gateway's own acknowledgement comes back. It keeps nothing and answers nothing: each connection has a line of its
//! own to the gateway, so that order stays, and a message whose line is lost has no acknowledgement, so that it is sent again.

use crate::listen::Guest;
use crate::mllp::{Begun, Destination, Passed, Receiver, Stream, pass};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// Between two attempts to reach the gateway: doubled each time.
const PAUSE_FIRST: Duration = Duration::from_millis(250);
const PAUSE_LAST: Duration = Duration::from_secs(10);
/// For a line to end in order.
const CLOSE_TIME: Duration = Duration::from_secs(1);

pub struct Edge {
    gateway: Receiver,
    /// How long a message waits for a line to the gateway.
    wait: Duration,
    /// The last attempt failed: told once, and once that it is over.
    lost: AtomicBool,
}

impl Edge {
    pub fn new(gateway: Destination, wait: Duration) -> Self {
        Self { gateway: Receiver::new(gateway), wait, lost: AtomicBool::new(false) }
    }

    /// One connection of a sender, until it closes, a message of it is lost, or we stop.
    pub async fn serve(&self, guest: Guest, mut stopping: watch::Receiver<bool>) {
        let Guest { stream: mut sender, admitted, unproven, .. } = guest;
        // Nobody proves anything here.
        drop(unproven);
        let mut pause = Duration::ZERO;
        while let Some(mut line) = self.reach(&sender, &mut pause, &mut stopping).await {
            let stopped = async {
                let _ = stopping.wait_for(|stopping| *stopping).await;
                ((), Begun::Ends)
            };
            match pass(&mut sender, &mut line, stopped, |_, _| {}).await {
                Passed::ReceiverClosed { unanswered: false, heard, cause } => {
                    tracing::info!(cause, "the line to the gateway ended between two messages: another is opened");
                    pause = if heard { Duration::ZERO } else { longer(pause) };
                }
                Passed::ReceiverClosed { unanswered: true, cause, .. } => {
                    tracing::warn!(
                        cause,
                        "the line to the gateway was lost before an acknowledgement: the sender's line is closed without one"
                    );
                    break;
                }
                Passed::SenderClosed | Passed::Left(()) => {
                    let _ = timeout(CLOSE_TIME, line.shutdown()).await;
                    break;
                }
            }
        }
        let _ = timeout(CLOSE_TIME, sender.shutdown()).await;
        drop(admitted);
    }

    /// A line to the gateway, tried for until there is one. `None`: the sender has gone, we stop, or a message waited too long.
    async fn reach(&self, sender: &TcpStream, pause: &mut Duration, stopping: &mut watch::Receiver<bool>) -> Option<Box<dyn Stream>> {
        let mut waits_until = None;
        loop {
            let before = *pause;
            let mut attempt = pin!(async {
                sleep(before).await;
                self.connect().await
            });
            *pause = longer(before);
            let mut first = [0];
            loop {
                let deadline = waits_until.unwrap_or_else(Instant::now);
                tokio::select! {
                    biased;
                    _ = stopping.wait_for(|stopping| *stopping) => return None,
                    line = &mut attempt => match line {
                        Ok(line) => return Some(line),
                        Err(()) => break,
                    },
                    spoken = sender.peek(&mut first), if waits_until.is_none() => match spoken {
                        Ok(0) | Err(_) => return None,
                        Ok(_) => waits_until = Some(Instant::now() + self.wait),
                    },
                    () = sleep_until(deadline), if waits_until.is_some() => {
                        let seconds = self.wait.as_secs();
                        tracing::warn!(seconds, "a message waited so long for a line to the gateway: the sender's line is closed without an acknowledgement");
                        return None;
                    }
                }
            }
        }
    }

    async fn connect(&self) -> Result<Box<dyn Stream>, ()> {
        self.gateway.renew();
        match self.gateway.connect().await {
            Ok(line) => {
                if self.lost.swap(false, Ordering::SeqCst) {
                    tracing::info!("the gateway is reached again");
                }
                Ok(line)
            }
            Err(cause) => {
                if !self.lost.swap(true, Ordering::SeqCst) {
                    tracing::warn!(cause, "the gateway is not reached; it is tried again until it is");
                }
                Err(())
            }
        }
    }
}

fn longer(pause: Duration) -> Duration {
    (pause * 2).clamp(PAUSE_FIRST, PAUSE_LAST)
}

#[cfg(test)]
mod tests;
