//! How long a connection may go on: until the doors close, its client's certificate is not trusted any more, or it is as
//! old as it may be. Each ends it in the same way, after the answer in hand.

use super::entrance::until_drained;
use super::tls::Trust;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

pub struct Stay {
    draining: watch::Receiver<bool>,
    trust: Option<Trust>,
    end: Option<Instant>,
}

/// Why a connection is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    Drained,
    /// With a word of the audit.
    Distrusted(&'static str),
    Aged,
}

impl Stay {
    /// `age_max`: only new connections find their way to a new replica or address behind a name, so old ones end. `number`:
    /// of this connection, any: those that began together do not end together.
    pub fn new(draining: watch::Receiver<bool>, age_max: Option<Duration>, number: u16) -> Self {
        let end = age_max.map(|most| Instant::now() + age(most, number));
        Self { draining, trust: None, end }
    }

    pub fn trusting(self, trust: Trust) -> Self {
        Self { trust: Some(trust), ..self }
    }

    /// Tells when the doors close.
    pub fn draining(&self) -> watch::Receiver<bool> {
        self.draining.clone()
    }

    /// Resolves when the connection is to end. Can be asked again, as one of several.
    pub async fn over(&mut self) -> Leave {
        let Self { draining, trust, end } = self;
        let distrusted = async {
            match trust {
                Some(trust) => trust.lost().await,
                None => std::future::pending().await,
            }
        };
        let aged = async {
            match end {
                Some(end) => sleep_until(*end).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = until_drained(draining) => Leave::Drained,
            word = distrusted => Leave::Distrusted(word),
            () = aged => Leave::Aged,
        }
    }
}

/// Within a tenth of the most.
fn age(most: Duration, number: u16) -> Duration {
    most * (90 + u32::from(number) % 11) / 100
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ends_when_the_doors_close_or_at_its_age() {
        let (close, draining) = watch::channel(false);
        assert_eq!(Stay::new(draining.clone(), Some(Duration::ZERO), 0).over().await, Leave::Aged);
        let mut stay = Stay::new(draining, None, 0);
        close.send(true).unwrap();
        assert_eq!(stay.over().await, Leave::Drained);
    }

    #[test]
    fn connections_that_began_together_do_not_end_together() {
        let most = Duration::from_secs(100);
        let ages: std::collections::BTreeSet<u64> = (0..100).map(|number| age(most, number).as_secs()).collect();
        assert_eq!((ages.first(), ages.last(), ages.len()), (Some(&90), Some(&100), 11));
    }
}
