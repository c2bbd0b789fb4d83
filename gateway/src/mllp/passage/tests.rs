use super::*;
use crate::listen::frames::framed;
use std::future::pending;
use tokio::io::{DuplexStream, duplex};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A line that is passed on, with both its ends.
struct Talk {
    sender: DuplexStream,
    receiver: DuplexStream,
    leave: Option<oneshot::Sender<Begun>>,
    passed: JoinHandle<(Passed<()>, Vec<Vec<u8>>)>,
}

fn talk() -> Talk {
    talk_within(REPLY_TIME)
}

fn talk_within(reply_time: Duration) -> Talk {
    let ((sender, mut near), (receiver, mut far)) = (duplex(1 << 20), duplex(1 << 20));
    let (leave, told) = oneshot::channel();
    let passed = tokio::spawn(async move {
        let (mut frames, mut half) = (Vec::new(), Vec::new());
        let leave = async {
            match told.await {
                Ok(begun) => ((), begun),
                Err(_) => pending().await,
            }
        };
        let passed = pass_within(reply_time, &mut near, &mut far, leave, |bytes, ended| {
            half.extend_from_slice(bytes);
            if ended {
                frames.push(std::mem::take(&mut half));
            }
        });
        (passed.await, frames)
    });
    Talk { sender, receiver, leave: Some(leave), passed }
}

async fn hears(end: &mut DuplexStream, expected: &[u8]) {
    let mut heard = vec![0; expected.len()];
    end.read_exact(&mut heard).await.unwrap();
    assert_eq!(heard, expected);
}

fn lost(unanswered: bool, heard: bool) -> Passed<()> {
    Passed::ReceiverClosed { unanswered, heard, cause: "it closed the connection".into() }
}

#[tokio::test]
async fn bytes_go_both_ways_as_they_are_and_frames_are_seen() {
    let mut talk = talk();
    for (said, reply) in [
        (&b"\r\n\x0bone\x1c\r"[..], &b"\x0bAA one\x1c\r"[..]),
        (b"noise\x0btwo\x1c\r\x0bthree\x1c\r", b"\0\x0bAA two\x1c\x0bAA three\x1c"),
        // The trailer left out.
        (b"\x0bfour\x1c", b"AA four?"),
    ] {
        talk.sender.write_all(said).await.unwrap();
        hears(&mut talk.receiver, said).await;
        talk.receiver.write_all(reply).await.unwrap();
        hears(&mut talk.sender, reply).await;
    }
    talk.sender.shutdown().await.unwrap();
    let mut rest = Vec::new();
    talk.receiver.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"");
    // A sender that half closes still gets its reply.
    talk.receiver.write_all(b"\x0bAA late\x1c\r").await.unwrap();
    hears(&mut talk.sender, b"\x0bAA late\x1c\r").await;
    drop(talk.receiver);
    let (passed, frames) = talk.passed.await.unwrap();
    assert_eq!(passed, Passed::SenderClosed);
    assert_eq!(frames, [&b"\r\n\x0bone\x1c\r"[..], b"noise\x0btwo\x1c\r", b"\x0bthree\x1c\r", b"\x0bfour\x1c"]);
}

#[tokio::test]
async fn a_receiver_that_is_lost_is_told_with_what_waits() {
    // Nothing said; a message without its reply; one with it; half a message; the second reply of enhanced mode counts
    // for no later message.
    let reply = b"\x0bCA\x1c\r";
    for (rounds, last, expected) in [
        (0, &b""[..], lost(false, false)),
        (0, b"\x0bone\x1c\r", lost(true, false)),
        (1, b"", lost(false, true)),
        (1, b"\x0bhal", lost(true, true)),
        (2, b"\x0bthree\x1c\r", lost(true, true)),
    ] {
        let mut talk = talk();
        for _ in 0..rounds {
            talk.sender.write_all(b"\x0bA\x1c\r").await.unwrap();
            hears(&mut talk.receiver, b"\x0bA\x1c\r").await;
            talk.receiver.write_all(&[reply, &reply[..]].concat()).await.unwrap();
            hears(&mut talk.sender, &[reply, &reply[..]].concat()).await;
        }
        talk.sender.write_all(last).await.unwrap();
        hears(&mut talk.receiver, last).await;
        drop(talk.receiver);
        assert_eq!(talk.passed.await.unwrap().0, expected, "{rounds} {last:?}");
    }
}

#[tokio::test]
async fn a_reply_answers_the_message_that_it_names() {
    let message = |control: &str| framed(format!("MSH|^~\\&|A|B|C|D|1||ADT^A01|{control}").as_bytes());
    let reply = |code: &str, about: &str| framed(format!("MSH|^~\\&|\rMSA|{code}|{about}").as_bytes());
    for (replies, unanswered) in [
        // Late, the second reply to the first message: no word on the second.
        (vec![reply("CA", "C1"), reply("AA", "C1")], true),
        (vec![reply("CA", "C1"), reply("AA", "C1"), reply("CA", "C2")], false),
        (vec![reply("CA", "C1"), reply("CA", "C2"), reply("AE", "C2"), reply("AA", "C1")], false),
        // In another order; the same twice; of a message that nobody sent; naming none.
        (vec![reply("AA", "C2"), reply("AA", "C1")], false),
        (vec![reply("AA", "C1"), reply("AA", "C1")], true),
        (vec![reply("AA", "C9"), reply("AA", "C1")], true),
        (vec![reply("AA", ""), reply("AA", "")], false),
    ] {
        let mut talk = talk();
        let said = [message("C1"), message("C2")].concat();
        // The name of the second comes in two pieces.
        for piece in [&said[..said.len() - 3], &said[said.len() - 3..]] {
            talk.sender.write_all(piece).await.unwrap();
            hears(&mut talk.receiver, piece).await;
        }
        for reply in &replies {
            talk.receiver.write_all(reply).await.unwrap();
            hears(&mut talk.sender, reply).await;
        }
        drop(talk.receiver);
        assert_eq!(talk.passed.await.unwrap().0, lost(unanswered, true), "{replies:?}");
    }
}

#[tokio::test]
async fn a_message_that_never_ends_and_a_reply_that_never_comes_hold_up_no_leaving() {
    for said in [&b"\x0bhalf"[..], b"\x0bone\x1c\r"] {
        let mut talk = talk_within(Duration::from_millis(1));
        talk.sender.write_all(said).await.unwrap();
        hears(&mut talk.receiver, said).await;
        talk.leave.take().unwrap().send(Begun::Ends).unwrap();
        assert_eq!(talk.passed.await.unwrap().0, Passed::Left(()));
    }
}

#[tokio::test]
async fn of_a_sender_that_is_trusted_no_more_nothing_more_is_given_on() {
    let mut talk = talk();
    talk.sender.write_all(b"\x0bone\x1c\r\x0bhal").await.unwrap();
    hears(&mut talk.receiver, b"\x0bone\x1c\r\x0bhal").await;
    talk.leave.take().unwrap().send(Begun::Breaks).unwrap();
    talk.sender.write_all(b"f\x1c\r").await.unwrap();
    talk.receiver.write_all(b"\x0bAA\x1c\r").await.unwrap();
    hears(&mut talk.sender, b"\x0bAA\x1c\r").await;
    assert_eq!(talk.passed.await.unwrap(), (Passed::Left(()), vec![b"\x0bone\x1c\r".to_vec()]));
    let mut rest = Vec::new();
    talk.receiver.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"");
}

#[tokio::test]
async fn told_to_leave_it_does_after_the_reply_and_begins_nothing_more() {
    let mut talk = talk();
    talk.sender.write_all(b"\x0bon").await.unwrap();
    hears(&mut talk.receiver, b"\x0bon").await;
    talk.leave.take().unwrap().send(Begun::Ends).unwrap();
    talk.sender.write_all(b"e\x1c\r\x0btwo\x1c\r").await.unwrap();
    hears(&mut talk.receiver, b"e\x1c\r").await;
    talk.receiver.write_all(b"\x0bAA\x1c\r").await.unwrap();
    hears(&mut talk.sender, b"\x0bAA\x1c\r").await;
    let (passed, frames) = talk.passed.await.unwrap();
    assert_eq!((passed, frames), (Passed::Left(()), vec![b"\x0bone\x1c\r".to_vec()]));
    let mut rest = Vec::new();
    talk.receiver.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"");
    // Between messages it does at once.
    let mut idle = self::talk();
    idle.leave.take().unwrap().send(Begun::Ends).unwrap();
    assert_eq!(idle.passed.await.unwrap().0, Passed::Left(()));
}
