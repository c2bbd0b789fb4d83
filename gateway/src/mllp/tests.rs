use super::*;
use tokio::io::DuplexStream;

fn line(reply_time: Duration) -> (Line, DuplexStream) {
    let (near, far) = tokio::io::duplex(1 << 20);
    (Line::new(Box::new(near), reply_time), far)
}

fn message(control: &str) -> Vec<u8> {
    format!("MSH|^~\\&|PAS|RXX|||20260301||ADT^A31|{control}|P|2.5.1\rPID|1\r").into_bytes()
}

fn reply(code: &str, about: &str) -> Vec<u8> {
    framed(format!("MSH|^~\\&|||PAS|RXX|20260301||ACK|R|P|2.5.1\rMSA|{code}|{about}\r").as_bytes())
}

/// Sends one message to a receiver that says this and then closes, or stays silent.
async fn said(answer: &[u8], closes: bool) -> Result<Code, Unacknowledged> {
    let (line, mut far) = line(if answer.is_empty() && !closes { Duration::from_millis(20) } else { REPLY_TIME });
    far.write_all(answer).await.unwrap();
    if closes {
        far.shutdown().await.unwrap();
    }
    line.send(&message("C1")).await.map(|(_, acknowledged)| acknowledged.code)
}

#[tokio::test]
async fn a_message_is_acknowledged_by_its_own_reply_alone() {
    for (text, code) in [("AA", Code::AA), ("AE", Code::AE), ("AR", Code::AR), ("CA", Code::CA), ("CE", Code::CE), ("CR", Code::CR)] {
        assert_eq!(said(&reply(text, "C1"), false).await, Ok(code));
    }
    // nextgenhealthcare/connect#1441, #2070: the reply to another message was taken for this one's.
    assert_eq!(said(&reply("AA", "C0"), false).await, Err(Unacknowledged::AnothersReply));
    assert_eq!(said(&reply("AA", ""), false).await, Err(Unacknowledged::AnothersReply));
    assert_eq!(said(&framed(b"MSH|^~\\&|A\rPID|1\r"), false).await, Err(Unacknowledged::NoReply));
    assert_eq!(said(&[b'x'; NOISE_BYTES_MAX as usize + 1], false).await, Err(Unacknowledged::NoReply));
    assert_eq!(said(b"", true).await, Err(Unacknowledged::Closed));
    assert_eq!(said(b"\x0bMSH|half", true).await, Err(Unacknowledged::Closed));
    assert_eq!(said(b"", false).await, Err(Unacknowledged::Timeout));
    // The trailing 0D left out (elixir-mllp PR 11): the reply counts, closed behind it or not.
    let bare = reply("AA", "C1");
    for closes in [false, true] {
        assert_eq!(said(&bare[..bare.len() - 1], closes).await, Ok(Code::AA));
    }
}

#[tokio::test]
async fn a_reply_beyond_the_limit_ends_the_line() {
    let (line, mut far) = line(REPLY_TIME);
    let talk = tokio::spawn(async move { line.send(&message("C1")).await.map(|(_, acknowledged)| acknowledged.code) });
    let endless = [b"\x0b".as_slice(), &vec![b'x'; REPLY_BYTES_MAX + 2]].concat();
    let _ = far.write_all(&endless).await;
    assert_eq!(talk.await.unwrap(), Err(Unacknowledged::TooLarge));
}

#[tokio::test]
async fn the_message_goes_out_as_it_is_and_one_at_a_time() {
    let (line, mut far) = line(REPLY_TIME);
    let mut heard = Vec::new();
    far.write_all(&reply("AA", "C1")).await.unwrap();
    let (line, acknowledged) = line.send(&message("C1")).await.ok().unwrap();
    assert_eq!(framed(&acknowledged.bytes), reply("AA", "C1"));
    far.write_all(&reply("AR", "C2")).await.unwrap();
    let (line, acknowledged) = line.send(&message("C2")).await.ok().unwrap();
    assert_eq!(acknowledged.code, Code::AR);
    line.close().await;
    far.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, [framed(&message("C1")), framed(&message("C2"))].concat());
}

#[tokio::test]
async fn the_second_reply_of_enhanced_mode_is_not_the_next_messages() {
    let (line, mut far) = line(REPLY_TIME);
    far.write_all(&[reply("CA", "C1"), reply("AE", "C1"), reply("AA", "C2")].concat()).await.unwrap();
    let (line, acknowledged) = line.send(&message("C1")).await.ok().unwrap();
    assert_eq!(acknowledged.code, Code::CA);
    let (line, acknowledged) = line.send(&message("C2")).await.ok().unwrap();
    assert_eq!(acknowledged.code, Code::AA);
    // It comes once.
    far.write_all(&reply("AA", "C1")).await.unwrap();
    assert_eq!(line.send(&message("C3")).await.err(), Some(Unacknowledged::AnothersReply));
}

#[tokio::test]
async fn a_late_second_reply_counts_for_no_later_message_of_the_same_control_id_or_of_none() {
    // Of the same: the message of before has its second reply, then this one its first; a receiver of mixed mode is asked again.
    for (replies, expected) in [
        (vec![reply("CA", "C1"), reply("AA", "C1"), reply("CE", "C1")], Ok(Code::CE)),
        (vec![reply("CA", "C1"), reply("AA", "C1")], Err(Unacknowledged::Closed)),
        (vec![reply("CA", "C1"), reply("AA", "C1"), reply("AA", "C1")], Ok(Code::AA)),
    ] {
        let (line, mut far) = line(REPLY_TIME);
        far.write_all(&replies.concat()).await.unwrap();
        far.shutdown().await.unwrap();
        let (line, _) = line.send(&message("C1")).await.ok().unwrap();
        assert_eq!(line.send(&message("C1")).await.map(|(_, acknowledged)| acknowledged.code), expected);
    }
    // Of none: the reply names nothing either.
    for (second, expected) in [("C1", Err(Unacknowledged::AnothersReply)), ("", Ok(Code::AA))] {
        let (line, mut far) = line(REPLY_TIME);
        far.write_all(&[reply("AA", "C1"), reply("AA", second)].concat()).await.unwrap();
        let (line, _) = line.send(&message("C1")).await.ok().unwrap();
        assert_eq!(line.send(&message("")).await.map(|(_, acknowledged)| acknowledged.code), expected, "{second:?}");
    }
}
