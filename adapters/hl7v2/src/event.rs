//! Trigger events: what each says of a visit (HL7 v2.5.1 chapter 3), as words that the rules share.

use mapping::Weight;

/// An event's place among events of one stamp: creation, admission, transfer, update, discharge, cancel.
pub fn weight(event: &str) -> Weight {
    let step = match event {
        "A28" | "A05" | "A14" => 1,
        "A01" | "A04" => 2,
        "A02" | "A06" | "A07" | "A09" | "A10" | "A21" | "A22" => 3,
        "A08" | "A31" => 4,
        "A03" => 5,
        "A11" | "A12" | "A13" | "A23" | "A25" | "A26" | "A27" | "A32" | "A33" | "A38" | "A52" | "A53" => 6,
        _ => 4,
    };
    Weight { settled: 0, step }
}

/// The visit status that an event asserts; `None` where it asserts none.
pub fn status(event: &str) -> Option<&'static str> {
    match event {
        "A01" | "A04" | "A13" => Some("in-progress"),
        "A05" | "A14" => Some("planned"),
        "A03" => Some("finished"),
        "A11" | "A27" | "A38" => Some("cancelled"),
        "A23" => Some("entered-in-error"),
        "A21" => Some("onleave"),
        "A22" => Some("in-progress"),
        _ => None,
    }
}

/// The event that this one takes back.
pub fn cancels(event: &str) -> Option<&'static str> {
    match event {
        "A12" => Some("A02"),
        "A11" => Some("A01"),
        "A13" => Some("A03"),
        "A32" => Some("A10"),
        "A33" => Some("A09"),
        _ => None,
    }
}

/// Settled and step of a result by its status (OBX-11, OBR-25): preliminary, final, corrected, deleted.
pub fn result_weight(status: &str) -> Weight {
    match status {
        "F" | "U" | "V" | "B" | "A" | "X" => Weight { settled: 1, step: 1 },
        "C" => Weight { settled: 1, step: 2 },
        "D" | "W" => Weight { settled: 1, step: 3 },
        _ => Weight::default(),
    }
}
