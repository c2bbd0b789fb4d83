//! Bad input: the right answer or a closed line, memory that stays, and the rest of the feed undisturbed.

use crate::messages::{Person, adt, oru, visit};
use flows::Folder;

#[test]
fn every_prefix_and_bit_flips_are_answered_or_closed_and_the_feed_goes_on() {
    let folder = Folder::new();
    let gateway = folder.serve();
    let ottoline = Person::ottoline();
    let admission = adt("A01", "B1", "20260301093000", &ottoline, &[&visit("I", "WARD1", "V1", "202603010930", "")]);
    let report = oru("B2", "20260301093000", &ottoline, "O1", "F", "6.30");
    for (client, good) in [("pas", admission), ("lab", report)] {
        let mut steady = gateway.sender(client);
        let mut broken = gateway.sender(client);
        let mut send = |bytes: &[u8]| match broken.send(bytes) {
            Ok(reply) => {
                // A flipped separator is the message's separator, and so the reply's.
                let separator = reply.chars().nth(3).unwrap_or('|');
                let code = reply.split(&format!("\rMSA{separator}")).nth(1).and_then(|rest| rest.get(..2));
                let known = ["AA", "AE", "AR", "CA", "CE", "CR"];
                assert!(reply.starts_with("MSH") && code.is_some_and(|code| known.contains(&code)), "{reply}");
            }
            Err(_) => broken = gateway.sender(client),
        };
        for end in 0..good.len() {
            send(&good[..end]);
        }
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        for _ in 0..500 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let mut flipped = good.clone();
            let bit = (seed as usize) % (flipped.len() * 8);
            flipped[bit / 8] ^= 1 << (bit % 8);
            send(&flipped);
        }
        let reply = steady.send(&good).expect("the other line is undisturbed");
        assert!(reply.contains("MSA|AA|B"), "{reply}");
    }
    assert!(!folder.log().contains("panic"), "{}", folder.log());
}

#[test]
fn a_frame_of_100_megabytes_is_refused_and_memory_stays() {
    let folder = Folder::new();
    let gateway = folder.serve();
    let mut sender = gateway.sender("pas");
    assert!(sender.send(&adt("A28", "M1", "20260301093000", &Person::ottoline(), &[])).is_ok());
    // Each of them: what one left behind serves the next.
    for _ in 0..3 {
        let before = gateway.resident_kib();
        let mut huge = gateway.sender("pas");
        let _ = huge.write(&[0x0b]);
        let chunk = vec![b'x'; 1 << 20];
        let mut highest = before;
        for _ in 0..100 {
            if huge.write(&chunk).is_err() {
                break;
            }
            highest = highest.max(gateway.resident_kib());
        }
        // Whether it was told so or only closed, no resource was made of it.
        if let Ok(reply) = huge.reply() {
            assert!(reply.contains("MSA|AR") || reply.contains("MSA|AE"), "{reply}");
        }
        assert!(highest < before + 32 * 1024, "resident memory grew from {before} to {highest} KiB");
    }
    assert!(sender.send(&adt("A28", "M2", "20260301093100", &Person::ottoline(), &[])).expect("a reply").contains("MSA|AA|M2"));
}
