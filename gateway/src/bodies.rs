//! Bodies of requests: how a door reads one, and what all that are in hand hold together. A connection may carry many, and
//! each up to the limit of a frame.

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, SizeHint};
use std::error::Error;
use std::fmt;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Frames of the largest size that are in hand at once: of the process, and of one connection.
const FRAMES_OF_ALL: usize = 8;
const FRAMES_OF_CONNECTION: usize = 4;
/// However small a frame may be.
const BYTES_MIN: usize = 8 * 1024 * 1024;
/// What a piece of a body costs besides its bytes: many small ones are more than they say.
const PIECE_BYTES: usize = 64;

/// Why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    Late,
    TooLarge,
    /// There is no space for it now: it may be sent again.
    Crowded,
    Broken,
}

/// Reads a body whole, up to a size and for a time.
pub async fn read<B>(body: B, bytes_max: usize, time_max: Duration) -> Result<Bytes, Unread>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    tokio::time::timeout(time_max, whole(body, bytes_max)).await.unwrap_or(Err(Unread::Late))
}

/// Where there is no space the rest is taken and let go: a stream that is cut off in the middle would take others of its
/// connection with it, and its client would not read why.
async fn whole<B>(body: B, bytes_max: usize) -> Result<Bytes, Unread>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let mut body = pin!(body);
    let (mut pieces, mut bytes, mut is_crowded) = (Vec::new(), 0, false);
    while let Some(frame) = body.as_mut().frame().await {
        match frame.map(Frame::into_data).map_err(Into::into) {
            Ok(Ok(piece)) => {
                bytes += piece.len();
                if bytes > bytes_max {
                    return Err(Unread::TooLarge);
                }
                if !is_crowded {
                    pieces.push(piece);
                }
            }
            Ok(Err(_)) => {}
            Err(error) if error.is::<Crowded>() => {
                pieces.clear();
                is_crowded = true;
            }
            Err(_) => return Err(Unread::Broken),
        }
    }
    match pieces.as_mut_slice() {
        _ if is_crowded => Err(Unread::Crowded),
        [only] => Ok(std::mem::take(only)),
        pieces => Ok(pieces.concat().into()),
    }
}

/// The bytes that bodies may hold. Cheap to clone.
#[derive(Clone)]
pub struct Space {
    all: Arc<Semaphore>,
    own: Arc<Semaphore>,
    own_bytes: usize,
}

impl Space {
    pub fn new(frame_bytes: usize) -> Self {
        let bytes = |frames: usize| frame_bytes.saturating_mul(frames).clamp(BYTES_MIN, Semaphore::MAX_PERMITS);
        Self::of(bytes(FRAMES_OF_ALL), bytes(FRAMES_OF_CONNECTION))
    }

    pub(crate) fn of(all_bytes: usize, own_bytes: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(all_bytes)), own: Arc::new(Semaphore::new(own_bytes)), own_bytes }
    }

    /// The same for another connection.
    pub fn of_connection(&self) -> Self {
        Self { own: Arc::new(Semaphore::new(self.own_bytes)), ..self.clone() }
    }

    /// A body within it. What is read of it holds its space until [`Held`] is dropped: keep that until the answer is made.
    pub fn bound<B>(&self, body: B) -> (Bound<B>, Held) {
        let held = Held::default();
        (Bound { body, space: self.clone(), held: held.clone(), is_crowded: false }, held)
    }

    fn take(&self, bytes: usize, held: &Held) -> Result<(), Crowded> {
        let mut held = held.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (at, of) in [&self.own, &self.all].into_iter().enumerate() {
            let bytes = u32::try_from(bytes).map_err(|_| Crowded)?;
            let permit = of.clone().try_acquire_many_owned(bytes).map_err(|_| Crowded)?;
            match held.get_mut(at) {
                Some(before) => before.merge(permit),
                None => held.push(permit),
            }
        }
        Ok(())
    }
}

/// The space of one body: its connection's, and the process's.
#[derive(Clone, Default)]
pub struct Held(Arc<Mutex<Vec<OwnedSemaphorePermit>>>);

impl Held {
    fn give_back(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// A body whose pieces take up space. Where there is none it says so once; what comes then is to be let go.
pub struct Bound<B> {
    body: B,
    space: Space,
    held: Held,
    is_crowded: bool,
}

#[derive(Debug)]
struct Crowded;

impl fmt::Display for Crowded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no space for another body now")
    }
}

impl Error for Crowded {}

impl<B> Body for Bound<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(context)) else { return Poll::Ready(None) };
        let bounded = frame.map_err(Into::into).and_then(|frame| {
            let bytes = frame.data_ref().map_or(0, Bytes::len) + PIECE_BYTES;
            if !self.is_crowded && self.space.take(bytes, &self.held).is_err() {
                self.is_crowded = true;
                self.held.give_back();
                return Err(Crowded.into());
            }
            Ok(frame)
        });
        Poll::Ready(Some(bounded))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::Full;

    const LONG: Duration = Duration::from_secs(60);

    fn body(bytes: usize) -> Full<Bytes> {
        Full::new(Bytes::from(vec![b'x'; bytes]))
    }

    #[tokio::test]
    async fn bodies_together_have_the_connections_space_and_that_of_all() {
        let piece = 100 + PIECE_BYTES;
        let one = Space::of(3 * piece, 2 * piece);
        let two = one.of_connection();
        let send = |space: &Space| {
            let (body, held) = space.bound(body(100));
            async move { (read(body, 1000, LONG).await.map(|bytes| bytes.len()), held) }
        };
        let (first, second) = (send(&one).await, send(&one).await);
        assert_eq!((first.0, second.0), (Ok(100), Ok(100)));
        assert_eq!(send(&one).await.0, Err(Unread::Crowded), "the connection has no more");
        let third = send(&two).await;
        assert_eq!((third.0, send(&two).await.0), (Ok(100), Err(Unread::Crowded)), "and all have no more");
        // What was refused holds nothing, and what is answered gives its space back.
        drop(first.1);
        assert_eq!(send(&two).await.0, Ok(100));
        drop((second.1, third.1));
        assert_eq!((one.own.available_permits(), one.all.available_permits()), (2 * piece, 3 * piece));
    }

    #[tokio::test]
    async fn a_body_is_read_up_to_its_size_and_for_a_time() {
        assert_eq!(read(body(10), 10, LONG).await.unwrap().len(), 10);
        assert_eq!(read(body(11), 10, LONG).await, Err(Unread::TooLarge));
        let (bound, _held) = Space::new(10).bound(body(11));
        assert_eq!(read(bound, 10, LONG).await, Err(Unread::TooLarge));
        assert_eq!(read(Never, 10, Duration::ZERO).await, Err(Unread::Late));
    }

    /// A body of which nothing comes.
    struct Never;

    impl Body for Never {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            Poll::Pending
        }
    }
}
