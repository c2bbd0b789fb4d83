//! How many questions are with the store at once. What is beyond waits a while for a place, and no client takes them all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Clients remembered, before those that ask nothing now are forgotten.
const CLIENTS_MAX: usize = 1024;

/// A number of places. One client has half of them at most.
pub struct Throttle {
    places: Arc<Semaphore>,
    share: usize,
    /// How long a question waits for its place.
    wait_max: Duration,
    shares: Mutex<HashMap<String, Weak<Semaphore>>>,
}

/// A place while it is held.
pub struct Place {
    _share: OwnedSemaphorePermit,
    _place: OwnedSemaphorePermit,
}

/// There is no place now.
#[derive(Debug, PartialEq, Eq)]
pub struct Busy;

impl Throttle {
    pub fn new(places: usize, wait_max: Duration) -> Self {
        Self { places: Arc::new(Semaphore::new(places)), share: places.div_ceil(2), wait_max, shares: Mutex::default() }
    }

    /// A place for a question of this client, or [`Busy`].
    pub async fn place(&self, client: &str) -> Result<Place, Busy> {
        let share = self.share_of(client);
        let both = async {
            let share = share.acquire_owned().await.map_err(|_| Busy)?;
            let place = self.places.clone().acquire_owned().await.map_err(|_| Busy)?;
            Ok(Place { _share: share, _place: place })
        };
        tokio::time::timeout(self.wait_max, both).await.unwrap_or(Err(Busy))
    }

    fn share_of(&self, client: &str) -> Arc<Semaphore> {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = shares.get(client).and_then(Weak::upgrade) {
            return share;
        }
        if shares.len() >= CLIENTS_MAX {
            shares.retain(|_, share| share.strong_count() > 0);
        }
        let share = Arc::new(Semaphore::new(self.share));
        shares.insert(client.to_owned(), Arc::downgrade(&share));
        share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_client_has_half_of_the_places_and_who_waits_too_long_is_told() {
        let throttle = Throttle::new(4, Duration::ZERO);
        let one = (throttle.place("one").await.ok(), throttle.place("one").await.ok());
        assert!(one.0.is_some() && one.1.is_some());
        assert_eq!(throttle.place("one").await.err(), Some(Busy));
        let two = (throttle.place("two").await.ok(), throttle.place("two").await.ok());
        assert!(two.0.is_some() && two.1.is_some());
        assert_eq!(throttle.place("three").await.err(), Some(Busy));
        drop(one);
        assert!(throttle.place("one").await.is_ok() && throttle.place("three").await.is_ok());
        drop(two);
        // Nobody's share outlives its questions.
        assert!(throttle.shares.lock().unwrap().values().all(|share| share.strong_count() == 0));
    }
}
