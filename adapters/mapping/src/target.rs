//! The column `to`: a path checked against R4, and the slot that it lies in.

use crate::compile::{At, Compiler};
use crate::condition::split_outside;
use crate::node::Syntax;
use crate::plan::*;
use crate::shape::{Element, Kind, TypeId, choice_name};
use crate::table::Raw;
use contract::Name;
use std::collections::HashMap;
use std::sync::Arc;

/// The row that is being compiled.
pub(crate) struct Place<'t, 'c> {
    pub at: At<'t>,
    pub kind: TypeId,
    pub block: usize,
    pub index: usize,
    pub cells: &'c mut Cells,
}

/// What rows of one table share while they are compiled.
#[derive(Default)]
pub(crate) struct Cells {
    /// By block, path and label.
    pub cells: HashMap<(usize, String), usize>,
    /// The field that names the register of a list, by the cell or, without one, by row.
    fields: HashMap<(usize, String), Name>,
}

impl<X: Syntax> Compiler<'_, X> {
    /// Resolves a path below the type that the table builds.
    pub fn target(&mut self, place: &mut Place<'_, '_>, raw: &Raw, path: &str, choice: Option<Box<str>>) -> Option<Target> {
        let at = place.at;
        let shape = self.plan.shape.clone();
        let mut steps: Vec<Step> = Vec::new();
        let mut elements: Vec<Element> = Vec::new();
        let mut kind = place.kind;
        let mut walked = String::new();
        if path != "." {
            let segments: Vec<&str> = path.split('.').collect();
            for (index, segment) in segments.iter().enumerate() {
                let is_last = index + 1 == segments.len();
                let (name, label) = match segment.strip_suffix(']').and_then(|segment| segment.split_once('[')) {
                    Some((base, "x")) => match choice.as_deref().filter(|_| is_last) {
                        Some(choice) => (choice_name(base, choice), None),
                        None => {
                            self.error(at, format!("to: `{segment}` stands last, with `as` or `as_by` to choose its type"));
                            return None;
                        }
                    },
                    Some((name, label)) => (name.to_owned(), Some(label)),
                    None => ((*segment).to_owned(), None),
                };
                walked.push_str(if walked.is_empty() { "" } else { "." });
                walked.push_str(segment);
                // Below a primitive stand only its id and extensions: `_birthDate`.
                if let (Kind::Primitive(_), Some(step), true) =
                    (shape.of(kind).kind, steps.last_mut(), matches!(&*name, "extension" | "id"))
                {
                    if step.many {
                        self.error(at, "to: extensions of a primitive in a list are not supported");
                        return None;
                    }
                    step.name = format!("_{}", step.name).into();
                    kind = shape.id("Element")?;
                }
                let Some(element) = shape.element(kind, &name).cloned() else {
                    let near = shape.choices(kind, &name).iter().map(|element| element.name.to_string()).collect::<Vec<_>>().join(", ");
                    let hint = if near.is_empty() { String::new() } else { format!("; write {name}[x] with `as`, or one of {near}") };
                    self.error(at, format!("to: {} has no element {name}{hint}", shape.of(kind).name));
                    return None;
                };
                if label.is_some() && !element.many {
                    self.error(at, format!("to: {name} does not repeat in R4: leave out the brackets"));
                    return None;
                }
                // A list's last step appends, unless it is labelled or shares the element of its `each`.
                let is_first_list = !elements.iter().any(|element| element.many);
                let shares = element.many && (!is_last || label.is_some() || is_first_list && !matches!(raw.cell("each"), ""));
                let cell = shares.then(|| {
                    let next = place.cells.cells.len();
                    *place.cells.cells.entry((place.block, walked.clone())).or_insert(next)
                });
                steps.push(Step { name: element.name.clone(), many: element.many, cell });
                kind = element.kind;
                elements.push(element);
            }
        }
        let primitive = match shape.of(kind).kind {
            Kind::Primitive(primitive) => Some(primitive),
            _ => None,
        };
        let codes = match elements.last() {
            Some(element) if element.targets.is_empty() => element.codes.clone(),
            Some(element) => element.targets.clone(),
            None => Arc::from([]),
        };
        let mut target = Target { steps, kind, primitive, codes, slot: None, period: None };
        if shape.of(place.kind).kind == Kind::Resource {
            if path == "." {
                self.error(at, "to: a resource's rows name elements");
                return None;
            }
            self.give_slot(place, raw, &elements, &mut target);
        }
        Some(target)
    }

    /// The slot of a target in a resource: the first list on the way is a register, else the first data type or
    /// primitive is an element; start and end of a Period are two, save in a choice.
    fn give_slot(&mut self, place: &mut Place<'_, '_>, raw: &Raw, elements: &[Element], target: &mut Target) {
        let shape = self.plan.shape.clone();
        let owner = place.kind;
        let segments: Vec<&str> = raw.cell("to").split('.').collect();
        let grain = elements
            .iter()
            .position(|element| element.many || shape.of(element.kind).kind != Kind::Backbone)
            .unwrap_or(elements.len().saturating_sub(1));
        let slots: Vec<&str> = elements[..=grain].iter().map(|element| &*element.slot).collect();
        let slot_path = slots.join(".");
        let path: Vec<Name> = elements[..=grain].iter().map(|element| element.name.clone()).collect();
        let element = &elements[grain];
        let explicit = raw.cell("slot");
        let kind = if !explicit.is_empty() {
            SlotKind::Element { name: explicit.into(), explicit: true }
        } else if element.many && !raw.cell("ref").is_empty() && grain + 1 == elements.len() {
            SlotKind::Member { element: slot_path.as_str().into() }
        } else if element.many {
            let shared = segments[..=grain].join(".");
            let key = match target.steps[grain].cell {
                Some(_) => (place.block, shared),
                None => (usize::MAX, format!("{} {shared}", place.index)),
            };
            let field = place.cells.fields.get(&key).cloned().unwrap_or_else(|| "".into());
            SlotKind::Repeats { element: slot_path.as_str().into(), field }
        } else if &*shape.of(element.kind).name == "Period" && !element.choice {
            match elements.get(grain + 1) {
                Some(part) => SlotKind::Element { name: format!("{slot_path}.{}", part.name).into(), explicit: false },
                None => {
                    let halves =
                        ["start", "end"].map(|half| SlotKind::Element { name: format!("{slot_path}.{half}").into(), explicit: false });
                    target.period = Some(halves.map(|half| self.slot(owner, half, Vec::new())));
                    SlotKind::Element { name: slot_path.as_str().into(), explicit: false }
                }
            }
        } else {
            SlotKind::Element { name: slot_path.as_str().into(), explicit: false }
        };
        let id = self.slot(owner, kind, path);
        self.plan.planned.entry((owner, slot_path.into())).or_insert(id);
        target.slot = Some(id);
    }

    fn slot(&mut self, owner: TypeId, kind: SlotKind, path: Vec<Name>) -> SlotId {
        *self.slots.entry((owner, kind.clone())).or_insert_with(|| {
            self.plan.slots.push(SlotPlan { kind, path });
            self.plan.slots.len() - 1
        })
    }

    /// Notes which field names the register of the list that a row writes to.
    pub fn fields(&mut self, cells: &mut Cells, block: usize, index: usize, raw: &Raw, at: At<'_>) {
        let base = at.table.rsplit('/').next().unwrap_or(at.table).split('[').next().unwrap_or("");
        let field = match (raw.cell("each"), split_outside(raw.cell("from"), ' ').first()) {
            ("" | ".", Some(from)) if *from != "." => (*from).to_owned(),
            ("" | ".", _) => String::new(),
            (each, _) => each.to_owned(),
        };
        let mut path = String::new();
        for segment in raw.cell("to").split('.') {
            path.push_str(if path.is_empty() { "" } else { "." });
            path.push_str(segment);
            for key in [(block, path.clone()), (usize::MAX, format!("{index} {path}"))] {
                let known = cells.fields.entry(key).or_insert_with(|| base.into());
                if **known == *base && !field.is_empty() {
                    *known = field.as_str().into();
                }
            }
        }
    }
}
