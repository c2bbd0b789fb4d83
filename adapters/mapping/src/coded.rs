//! Texts as scalars, and through code maps.

use crate::evaluate::Run;
use crate::node::{Node, Syntax};
use crate::plan::{Row, Target};
use crate::scalar::Primitive;
use contract::{Issue, IssueCode, Json, Severity};

impl<'m, X: Syntax> Run<'m, X> {
    pub fn scalar(&mut self, primitive: Primitive, text: &str, node: &X::Node<'m>) -> Option<Json> {
        let syntax = &self.engine.syntax;
        match primitive.read(text, &|text| syntax.stamp(text), &self.message.settings.timezone) {
            Ok(scalar) => {
                if let Some(reason) = scalar.altered {
                    self.issues.push(Issue::new(Severity::Information, IssueCode::Altered, node.place(), reason));
                }
                Some(scalar.value)
            }
            Err(reason) => {
                self.issues.push(Issue::new(Severity::Warning, IssueCode::DataType, node.place(), reason));
                None
            }
        }
    }

    /// A text through the row's code map, as the target wants it.
    pub fn coded(&mut self, row: &Row<X>, primitive: Primitive, to: &Target, text: &str, node: &X::Node<'m>) -> Option<Json> {
        let found = row.codes.as_ref().and_then(|map| map.get(text));
        let is = |name: &str| *self.engine.plan.shape.of(to.kind).name == *name;
        match (found, to.primitive) {
            (Some([]), _) => None,
            (Some([first, ..]), Some(own)) => {
                let code = first.code(text);
                match own {
                    Primitive::String | Primitive::Code | Primitive::Uri | Primitive::Markdown | Primitive::Id => Some(code),
                    own => self.scalar(own, code.as_str().unwrap_or(""), node),
                }
            }
            (Some(codings), None) if is("CodeableConcept") => {
                Some(Json::from_iter([("coding", Json::Array(codings.iter().map(|coding| coding.coding(text)).collect()))]))
            }
            (Some([first, ..]), None) => Some(first.coding(text)),
            (None, own) => {
                let kept = match own {
                    Some(own) if to.codes.is_empty() => self.scalar(if own == Primitive::Code { primitive } else { own }, text, node),
                    Some(_) => None,
                    None if is("CodeableConcept") => {
                        self.scalar(Primitive::String, text, node).map(|text| Json::from_iter([("text", text)]))
                    }
                    None => self.scalar(Primitive::String, text, node).map(|text| Json::from_iter([("display", text)])),
                };
                self.unknown_code(kept.is_some(), node);
                kept
            }
        }
    }

    fn unknown_code(&mut self, kept: bool, node: &X::Node<'m>) {
        let (severity, reason) = match kept {
            true => (Severity::Information, "the code is in no map: kept as it was written"),
            false => (Severity::Warning, "the code is in no map, and R4 allows only its own codes here"),
        };
        self.issues.push(Issue::new(severity, IssueCode::UnknownCode, node.place(), reason));
    }

    /// What a table made, with the target codings of its first code before its own.
    pub fn recoded(&mut self, row: &Row<X>, to: &Target, value: Option<Json>, node: &X::Node<'m>) -> Option<Json> {
        let Some(text) = node.text() else { return value };
        let found = row.codes.as_ref().and_then(|map| map.get(&text));
        let is_concept = *self.engine.plan.shape.of(to.kind).name == *"CodeableConcept";
        let Some(codings) = found else {
            self.unknown_code(value.is_some(), node);
            return value;
        };
        if codings.is_empty() {
            return value;
        }
        self.mark(node);
        let targets: Vec<Json> = codings.iter().map(|coding| coding.coding(&text)).collect();
        if !is_concept {
            let mut value = value.unwrap_or_else(Json::object);
            if let Some(Json::Object(members)) = targets.into_iter().next() {
                members.into_iter().for_each(|(name, member)| value.set(name, member));
            }
            return Some(value);
        }
        let mut value = value.unwrap_or_else(Json::object);
        let own = match value.remove("coding") {
            Some(Json::Array(own)) => own,
            _ => Vec::new(),
        };
        // The sender's coding without a system says no more than the target of the same code.
        let says_more = |coding: &Json| {
            !targets.iter().any(|target| {
                target.get("code") == coding.get("code") && (coding.get("system").is_none() || coding.get("system") == target.get("system"))
            })
        };
        let own: Vec<Json> = own.into_iter().filter(|coding| says_more(coding)).collect();
        let mut members = vec![("coding".into(), Json::Array(targets.into_iter().chain(own).collect()))];
        if let Json::Object(rest) = value {
            members.extend(rest);
        }
        Some(Json::Object(members))
    }
}
