use crate::identifier;
use crate::keys;
use crate::node::{Node, Selector};
use crate::rules;
use contract::Settings;
use mapping::{KeyPart, KeyRule, Rule, Syntax, Weight};

/// What the engine needs to know of HL7 v2.
pub struct Er7;

impl Syntax for Er7 {
    type Selector = Selector;
    type Node<'m> = Node<'m>;

    fn selector(&self, text: &str) -> Result<Selector, String> {
        Selector::read(text)
    }

    fn rule(&self, name: &str) -> Option<Rule<Self>> {
        rules::named(name)
    }

    fn key_rule(&self, name: &str) -> Option<KeyRule<Self>> {
        keys::named(name)
    }

    fn key_fields(&self, name: &str) -> &'static str {
        keys::fields(name)
    }

    fn has_identifier(&self, kind: &str) -> bool {
        identifier::Kind::named(kind).is_some()
    }

    fn identifier(&self, kind: &str, node: &Node<'_>, settings: &Settings) -> Option<KeyPart> {
        identifier::read(identifier::Kind::named(kind)?, node, settings)
    }

    /// Results by their own status (`state.md`, Rank): a late preliminary never covers a final.
    fn weight(&self, kind: &str, context: &Node<'_>, message: Weight) -> Weight {
        let status = match kind {
            "Observation" => context.first("OBX-11"),
            "DiagnosticReport" => context.first("OBR-25"),
            _ => return message,
        };
        let status = status.and_then(|node| node.text());
        status.map_or(message, |status| result_weight(status.trim()))
    }

    fn leaves<'m>(&self, root: &Node<'m>, leaf: &mut dyn FnMut(Node<'m>)) {
        root.leaves(leaf);
    }
}

/// Tables 0085 and 0123: entered or partial, then final, corrected, and last deleted or wrong.
fn result_weight(status: &str) -> Weight {
    let (settled, step) = match status {
        "F" | "U" | "V" | "X" => (1, 2),
        "A" | "B" | "C" => (1, 3),
        "D" | "W" => (1, 4),
        _ => (0, 1),
    };
    Weight { settled, step }
}

/// The place of an ADT event among events of one stamp (`state.md`, Rank); other messages have none.
pub(crate) fn event_step(event: &str) -> u8 {
    match event {
        "A05" | "A28" => 1,
        "A01" | "A04" => 2,
        "A02" | "A06" | "A07" => 3,
        "A08" | "A31" | "A24" | "A37" | "A40" => 4,
        "A03" => 5,
        "A11" | "A12" | "A13" => 6,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_preliminary_never_covers_a_final() {
        let ordered = ["P", "F", "C", "D"].map(result_weight);
        assert!(ordered.windows(2).all(|pair| (pair[0].settled, pair[0].step) < (pair[1].settled, pair[1].step)));
    }

    #[test]
    fn events_of_one_stamp_have_an_order() {
        let steps = ["A28", "A01", "A02", "A08", "A03", "A13"].map(event_step);
        assert!(steps.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
