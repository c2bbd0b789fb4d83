use crate::event;
use crate::identity;
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

    /// The closed list of rules, each documented where it stands.
    fn rule(&self, name: &str) -> Option<Rule<Self>> {
        Some(match name {
            "birth_time" => rules::birth_time,
            "coding_system" => rules::coding_system,
            "content_type" => rules::content_type,
            "cx_system" => rules::cx_system,
            "ei_system" => rules::ei_system,
            "endpoint" => rules::endpoint,
            "dg1_action" => rules::dg1_action,
            "iam_action" => rules::iam_action,
            "pr1_action" => rules::pr1_action,
            "link" => rules::link,
            "merge" => rules::merge,
            "move_class" => rules::move_class,
            "move_location" => rules::move_location,
            "moves" => rules::moves,
            "narrative" => rules::narrative,
            "unit_code" => rules::unit_code,
            "unit_system" => rules::unit_system,
            "unlink" => rules::unlink,
            "xcn_system" => rules::xcn_system,
            "xon_system" => rules::xon_system,
            _ => return None,
        })
    }

    fn key_rule(&self, name: &str) -> Option<KeyRule<Self>> {
        Some(match name {
            "patient" => |node, settings| identity::patient(node, settings),
            "merged" => |node, settings| identity::merged(node, settings),
            "visit" => |node, settings| identity::visit(node, settings),
            "place" => |node, settings| identity::place(node, settings, &["4.1", "7", "8", "1", "2", "3"]),
            "place_room" => |node, settings| identity::place(node, settings, &["4.1", "7", "8", "1", "2"]),
            "place_ward" => |node, settings| identity::place(node, settings, &["4.1", "7", "8", "1"]),
            "place_site" => |node, settings| identity::place(node, settings, &["4.1"]),
            _ => return None,
        })
    }

    fn has_identifier(&self, kind: &str) -> bool {
        matches!(kind, "CX" | "EI" | "XCN" | "XON" | "HD")
    }

    fn identifier(&self, kind: &str, node: &Node<'_>, settings: &Settings) -> Option<KeyPart> {
        identity::identifier(kind, node, settings)
    }

    fn weight(&self, kind: &str, context: &Node<'_>, message: Weight) -> Weight {
        let status = |selector: &str| {
            context.first(selector).and_then(|node| node.text()).map(|text| event::result_weight(&text)).unwrap_or_default()
        };
        match kind {
            "Observation" => status("OBX-11"),
            "DiagnosticReport" => status("OBR-25"),
            _ => message,
        }
    }

    fn leaves<'m>(&self, root: &Node<'m>, leaf: &mut dyn FnMut(Node<'m>)) {
        root.leaves(&mut |node| leaf(node));
    }
}
