use crate::identifier;
use crate::node::{Node, Selector};
use crate::rules;
use crate::stamp;
use contract::Settings;
use mapping::{KeyPart, KeyRule, Rule, Stamp, Syntax, Weight};

/// What the engine needs to know of CDA.
pub struct Cda;

impl Syntax for Cda {
    type Selector = Selector;
    type Node<'m> = Node<'m>;

    fn selector(&self, text: &str) -> Result<Selector, String> {
        Selector::read(text)
    }

    /// The closed list of rules, each documented where it stands.
    fn rule(&self, name: &str) -> Option<Rule<Self>> {
        Some(match name {
            "birth_date" => rules::birth_date,
            "birth_time" => rules::birth_time,
            "code_system" => rules::code_system,
            "document_bytes" => rules::document_bytes,
            "document_set" => rules::document_set,
            "document_size" => rules::document_size,
            "document_url" => rules::document_url,
            "exact_instant" => rules::exact_instant,
            "identifier_system" => rules::identifier_system,
            "identifier_value" => rules::identifier_value,
            "original_text" => rules::original_text,
            "telecom_system" => rules::telecom_system,
            "telecom_value" => rules::telecom_value,
            "use" => rules::use_of,
            _ => return None,
        })
    }

    fn key_rule(&self, name: &str) -> Option<KeyRule<Self>> {
        (name == "patient").then_some(identifier::patient)
    }

    fn has_identifier(&self, kind: &str) -> bool {
        kind == "II"
    }

    fn identifier(&self, _: &str, node: &Node<'_>, settings: &Settings) -> Option<KeyPart> {
        identifier::read(node, settings)
    }

    fn stamp(&self, text: &str) -> Result<Stamp, &'static str> {
        stamp::read(text)
    }

    fn weight(&self, _: &str, _: &Node<'_>, message: Weight) -> Weight {
        message
    }

    fn leaves<'m>(&self, root: &Node<'m>, leaf: &mut dyn FnMut(Node<'m>)) {
        root.leaves(leaf);
    }
}
