//! Bad input: the right answer or a closed line, memory that stays, and the rest of the feed undisturbed.

use crate::messages::{Person, adt};
use flows::Folder;

#[test]
fn every_prefix_of_a_message_is_answered_or_closed_and_the_feed_goes_on() {
    let folder = Folder::new();
    let gateway = folder.serve();
    let good = adt("A28", "B1", "20260301093000", &Person::ottoline(), &[]);
    let mut steady = gateway.sender("pas");
    let mut broken = gateway.sender("pas");
    for end in (0..good.len()).step_by(3) {
        match broken.send(&good[..end]) {
            Ok(reply) => assert!(reply.starts_with("MSH|"), "{reply}"),
            Err(_) => broken = gateway.sender("pas"),
        }
    }
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..300 {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let mut flipped = good.clone();
        let bit = (seed as usize) % (flipped.len() * 8);
        flipped[bit / 8] ^= 1 << (bit % 8);
        match broken.send(&flipped) {
            Ok(reply) => assert!(reply.contains("MSA|"), "{reply}"),
            Err(_) => broken = gateway.sender("pas"),
        }
    }
    let reply = steady.send(&good).expect("the other line is undisturbed");
    assert!(reply.contains("MSA|AA|B1"), "{reply}");
}

#[test]
fn a_frame_of_100_megabytes_is_refused_and_memory_stays() {
    let folder = Folder::new();
    let gateway = folder.serve();
    let mut sender = gateway.sender("pas");
    assert!(sender.send(&adt("A28", "M1", "20260301093000", &Person::ottoline(), &[])).is_ok());
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
    assert!(sender.send(&adt("A28", "M2", "20260301093100", &Person::ottoline(), &[])).expect("a reply").contains("MSA|AA|M2"));
}
