//! From tables as written to a plan. All mistakes are collected, each with its file and line.

use crate::condition::{Condition, split_outside};
use crate::node::Syntax;
use crate::plan::*;
use crate::scalar::Primitive;
use crate::shape::{Kind, Shape, TypeId};
use crate::table::{CodeMap, Raw, TableErrors, rows};
use crate::target::{Cells, Place};
use contract::{Class, Json, Name};
use schemas::Tables;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

pub(crate) fn compile<X: Syntax>(tables: &Tables, shape: Arc<Shape>, syntax: &X) -> Result<Plan<X>, TableErrors> {
    let mut compiler = Compiler {
        syntax,
        plan: Plan { shape, messages: HashMap::new(), tables: Vec::new(), labels: Vec::new(), slots: Vec::new(), planned: HashMap::new() },
        errors: TableErrors::default(),
        names: HashMap::new(),
        codes: HashMap::new(),
        slots: HashMap::new(),
    };
    compiler.read(tables);
    if compiler.errors.0.is_empty() { Ok(compiler.plan) } else { Err(compiler.errors) }
}

pub(crate) struct Compiler<'s, X: Syntax> {
    syntax: &'s X,
    pub plan: Plan<X>,
    errors: TableErrors,
    names: HashMap<String, TableId>,
    codes: HashMap<String, Arc<CodeMap>>,
    pub slots: HashMap<(TypeId, SlotKind), SlotId>,
}

/// Where a row stands, for errors and for lineage.
#[derive(Clone, Copy)]
pub(crate) struct At<'t> {
    pub table: &'t str,
    pub line: u64,
}

impl At<'_> {
    fn name(self) -> Name {
        format!("{}:{}", self.table, self.line).into()
    }
}

impl<X: Syntax> Compiler<'_, X> {
    fn read(&mut self, tables: &Tables) {
        let mut bodies = Vec::new();
        let mut messages = Vec::new();
        for (name, text) in tables.iter() {
            let Some((tier, stem)) = name.split_once('/') else { continue };
            match tier {
                "codesystems" => {
                    let map = CodeMap::read(name, text, &mut self.errors);
                    self.codes.insert(stem.to_owned(), Arc::new(map));
                }
                "segments" | "datatypes" => match self.target_of(stem) {
                    Some(kind) => {
                        let id = self.plan.tables.len();
                        self.plan.tables.push(Table { kind, blocks: Vec::new(), cells: 0 });
                        if self.names.insert(stem.to_owned(), id).is_some() {
                            self.errors.push(name, 1, "two tables of this name, among segments and data types");
                        }
                        bodies.push((id, name, text));
                    }
                    None => self.errors.push(name, 1, "a table is named NAME[Type] or NAME[Type-Variant], with a type of R4"),
                },
                "messages" => messages.push((name, stem, rows(name, text, &mut self.errors))),
                _ => {}
            }
        }
        // Labels first: rows of any table may name those of any message.
        for (name, _, raws) in &messages {
            for raw in raws {
                self.label(At { table: name, line: raw.line }, raw.cell("resource"));
            }
        }
        for (id, name, text) in bodies {
            let raws = rows(name, text, &mut self.errors);
            let table = self.table(name, self.plan.tables[id].kind, &raws);
            self.plan.tables[id] = table;
        }
        for (name, stem, raws) in messages {
            let rows = raws.iter().filter_map(|raw| self.message_row(At { table: name, line: raw.line }, raw)).collect();
            self.plan.messages.insert(stem.into(), rows);
        }
    }

    /// The type between brackets.
    fn target_of(&self, name: &str) -> Option<TypeId> {
        let (_, target) = name.strip_suffix(']')?.split_once('[')?;
        self.plan.shape.id(target.split('-').next().unwrap_or(target))
    }

    pub fn error(&mut self, at: At<'_>, reason: impl Into<String>) {
        self.errors.push(at.table, at.line, reason);
    }

    fn kept<T>(&mut self, at: At<'_>, result: Result<T, String>) -> Option<T> {
        result.map_err(|reason| self.error(at, reason)).ok()
    }

    /// `Type` or `Type:label`.
    fn label(&mut self, at: At<'_>, cell: &str) -> Option<LabelId> {
        if cell.is_empty() {
            return None;
        }
        let name = cell.split_once(':').map_or(cell, |(_, label)| label);
        let kind = cell.split(':').next().unwrap_or(cell);
        let Some(kind) = self.plan.shape.id(kind).filter(|kind| self.plan.shape.of(*kind).kind == Kind::Resource) else {
            self.error(at, format!("resource: {kind} is no resource type in r4/shape.csv"));
            return None;
        };
        match self.plan.labels.iter().position(|label| *label.name == *name) {
            Some(id) if self.plan.labels[id].kind == kind => Some(id),
            Some(_) => {
                self.error(at, format!("resource: the label {name} is taken by another type; write {cell}:OTHER"));
                None
            }
            None => {
                self.plan.labels.push(Label { name: name.into(), kind });
                Some(self.plan.labels.len() - 1)
            }
        }
    }

    fn known_label(&mut self, at: At<'_>, column: &str, name: &str) -> Option<LabelId> {
        let found = self.plan.labels.iter().position(|label| *label.name == *name);
        if found.is_none() {
            self.error(at, format!("{column}: no message makes a resource labelled {name}"));
        }
        found
    }

    fn message_row(&mut self, at: At<'_>, raw: &Raw) -> Option<MessageRow<X>> {
        let each = self.selector(at, raw.cell("each"));
        let label = self.label(at, raw.cell("resource"));
        let making = if raw.cell("key").is_empty() {
            for column in ["group", "asserted"] {
                if !raw.cell(column).is_empty() {
                    self.error(at, format!("{column}: stands in the row that has the key"));
                }
            }
            None
        } else {
            Some(self.making(at, raw)?)
        };
        let is_acted = raw.cell("group").starts_with('!');
        let inline = !raw.cell("to").is_empty() || !raw.cell("rule").is_empty() && !is_acted;
        let row = MessageRow {
            at: at.name(),
            each,
            from: if inline { Vec::new() } else { self.selectors(at, raw.cell("from")) },
            when: if inline { Condition::parse("", self.syntax).ok()? } else { self.condition(at, raw)? },
            label,
            making,
            apply: Apply::Nothing,
        };
        let Some(label) = label else {
            if inline || !raw.cell("as").is_empty() {
                self.error(at, "a message row builds a resource: name it in `resource`");
            }
            return Some(row);
        };
        let kind = self.plan.labels[label].kind;
        let apply = if inline {
            let mut cells = Cells::default();
            self.fields(&mut cells, 0, 0, raw, at);
            let row = self.row(at, raw, kind, &mut cells, 0, 0)?;
            Apply::Row(Box::new(Row { cells: cells.cells.len(), ..row }))
        } else if raw.cell("as").is_empty() {
            Apply::Nothing
        } else {
            let table = self.table_named(at, raw.cell("as"))?;
            if self.plan.tables[table].kind != kind {
                self.error(at, format!("as: {} does not build what `resource` names", raw.cell("as")));
            }
            Apply::Table(table)
        };
        Some(MessageRow { apply, ..row })
    }

    fn making(&mut self, at: At<'_>, raw: &Raw) -> Option<Making<X>> {
        let key = self.key(at, raw.cell("key"))?;
        let asserted = self.selectors(at, raw.cell("asserted"));
        let class = self.class(at, raw.cell("class"))?;
        let cell = raw.cell("group");
        let group = if cell.is_empty() {
            None
        } else {
            let bare = cell.trim_start_matches(['!', '+']);
            let Some((parent, name)) = bare.split_once(':') else {
                self.error(at, "group: write PARENT:NAME, as in Patient:AL1");
                return None;
            };
            let parent = self.known_label(at, "group", parent)?;
            let mode = if cell.starts_with('!') {
                match self.syntax.rule(raw.cell("rule")) {
                    Some(rule) => GroupMode::Acted(rule),
                    None => {
                        self.error(at, "group: `!` wants the rule that reads the action code, in `rule`");
                        return None;
                    }
                }
            } else if cell.starts_with('+') {
                GroupMode::Asserts
            } else {
                GroupMode::Snapshot
            };
            Some(Group { parent, name: name.into(), mode })
        };
        Some(Making { key, class, asserted, group })
    }

    fn class(&mut self, at: At<'_>, cell: &str) -> Option<Class> {
        match cell {
            "" | "record" => Some(Class::Record),
            "mention" => Some(Class::Mention),
            "message" => Some(Class::Message),
            _ => {
                self.error(at, "class: record, mention or message");
                None
            }
        }
    }

    fn key(&mut self, at: At<'_>, cell: &str) -> Option<KeyPlan<X>> {
        let (shared, cell) = match cell.strip_prefix('=') {
            Some(cell) => (true, cell),
            None => (false, cell),
        };
        let mut alternatives = Vec::new();
        let mut fields: Vec<&str> = Vec::new();
        for alternative in split_outside(cell, ';') {
            let mut parts = Vec::new();
            for part in split_outside(alternative, '+') {
                let found = self.key_part(at, part)?;
                let read = match (&found, part.split_once(':')) {
                    (Part::Label(_) | Part::Feed, _) => "",
                    (Part::Rule(_), Some((_, rule))) => self.syntax.key_fields(rule),
                    (Part::Identifier { .. }, Some((_, selector))) => selector,
                    _ => part,
                };
                fields.extend(read.split(", ").filter(|field| !field.is_empty()));
                parts.push(found);
            }
            alternatives.push(parts);
        }
        let mut seen = HashSet::new();
        fields.retain(|field| seen.insert(*field));
        Some(KeyPlan { shared, alternatives, fields: fields.join(", ").into() })
    }

    fn key_part(&mut self, at: At<'_>, part: &str) -> Option<Part<X>> {
        if part == "feed" {
            return Some(Part::Feed);
        }
        if let Some(name) = part.strip_prefix('@').filter(|name| name.starts_with(|first: char| first.is_ascii_uppercase())) {
            return self.known_label(at, "key", name).map(Part::Label);
        }
        if let Some((kind, rest)) = part.split_once(':') {
            if kind == "rule" {
                let rule = self.syntax.key_rule(rest);
                if rule.is_none() {
                    self.error(at, format!("key: no key rule is called {rest}"));
                }
                return rule.map(Part::Rule);
            }
            if self.syntax.has_identifier(kind) {
                return self.selector(at, rest).map(|selector| Part::Identifier { kind: kind.into(), selector });
            }
        }
        self.selector(at, part).map(|selector| Part::Text { name: part.into(), selector })
    }

    fn selector(&mut self, at: At<'_>, text: &str) -> Option<X::Selector> {
        if text.is_empty() {
            return None;
        }
        let selector = self.syntax.selector(text);
        self.kept(at, selector)
    }

    fn selectors(&mut self, at: At<'_>, cell: &str) -> Vec<X::Selector> {
        split_outside(cell, ' ').into_iter().filter_map(|text| self.selector(at, text)).collect()
    }

    fn condition(&mut self, at: At<'_>, raw: &Raw) -> Option<Condition<X>> {
        let condition = Condition::parse(raw.cell("when"), self.syntax).map_err(|reason| format!("when: {reason}"));
        self.kept(at, condition)
    }

    fn table_named(&mut self, at: At<'_>, name: &str) -> Option<TableId> {
        let found = self.names.get(name).copied();
        if found.is_none() {
            self.error(at, format!("as: no table {name} under segments/ or datatypes/, and no scalar of that name"));
        }
        found
    }

    fn table(&mut self, name: &str, kind: TypeId, raws: &[Raw]) -> Table<X> {
        // Blocks in order of their first row.
        let mut eaches: Vec<&str> = Vec::new();
        for raw in raws {
            if !eaches.contains(&raw.cell("each")) {
                eaches.push(raw.cell("each"));
            }
        }
        let mut cells = Cells::default();
        for (index, raw) in raws.iter().enumerate() {
            let block = eaches.iter().position(|each| *each == raw.cell("each")).unwrap_or(0);
            self.fields(&mut cells, block, index, raw, At { table: name, line: raw.line });
        }
        let mut blocks = Vec::new();
        for (block, each) in eaches.iter().enumerate() {
            let first = cells.cells.len();
            let mut rows = Vec::new();
            let mut selector = None;
            for (index, raw) in raws.iter().enumerate().filter(|(_, raw)| raw.cell("each") == *each) {
                let at = At { table: name, line: raw.line };
                if rows.is_empty() {
                    selector = self.selector(at, each);
                }
                rows.extend(self.row(at, raw, kind, &mut cells, block, index));
            }
            blocks.push(Block { each: selector, rows, cells: first..cells.cells.len() });
        }
        Table { kind, blocks, cells: cells.cells.len() }
    }

    fn row(&mut self, at: At<'_>, raw: &Raw, kind: TypeId, cells: &mut Cells, block: usize, index: usize) -> Option<Row<X>> {
        let before = self.errors.0.len();
        let implied = raw.cell("class") == "implied";
        let to = raw.cell("to");
        let rule = match raw.cell("rule") {
            "" => None,
            name => {
                let rule = self.syntax.rule(name);
                if rule.is_none() {
                    self.error(at, format!("rule: no rule is called {name}"));
                }
                rule
            }
        };
        let codes = match raw.cell("codes") {
            "" => None,
            name => {
                let map = self.codes.get(name).cloned();
                if map.is_none() {
                    self.error(at, format!("codes: no code map {name} under codesystems/"));
                }
                map
            }
        };
        let mut place = Place { at, kind, block, index, cells };
        let (make, to) = if !raw.cell("as_by").is_empty() {
            self.branches(&mut place, raw, to)?
        } else {
            let wanted = self.make(&mut place, raw)?;
            let choice = match &wanted {
                Some(make) => self.made_type(make),
                None => None,
            };
            let target = if to.is_empty() { None } else { Some(self.target(&mut place, raw, to, choice)?) };
            let make = self.settle(at, raw, wanted, target.as_ref(), codes.is_some(), rule.is_some())?;
            (make, target)
        };
        if to.is_none() && rule.is_none() && !matches!(make, Make::Nothing | Make::By { .. }) {
            self.error(at, "to: nowhere to put it");
        }
        let join = match raw.cell("join") {
            "" => None,
            text => Some(text.replace('_', " ").replace("\\n", "\n").into()),
        };
        let row = Row {
            at: at.name(),
            from: self.selectors(at, raw.cell("from")),
            join,
            when: self.condition(at, raw)?,
            make,
            rule,
            codes,
            to,
            implied,
            cells: 0,
        };
        (self.errors.0.len() == before).then_some(row)
    }

    /// How the row says that a value is made; `None` where it leaves that to the target.
    fn make(&mut self, place: &mut Place<'_, '_>, raw: &Raw) -> Option<Option<Make<X>>> {
        let at = place.at;
        if !raw.cell("ref").is_empty() {
            return Some(Some(Make::Label(self.known_label(at, "ref", raw.cell("ref"))?)));
        }
        if !raw.cell("resource").is_empty() && !at.table.starts_with("messages/") {
            let kind = raw.cell("resource").split(':').next().unwrap_or("");
            let Some(id) = self.plan.shape.id(kind).filter(|kind| self.plan.shape.of(*kind).kind == Kind::Resource) else {
                self.error(at, format!("resource: {kind} is no resource type in r4/shape.csv"));
                return None;
            };
            let table = self.table_named(at, raw.cell("as"))?;
            if self.plan.tables[table].kind != id {
                self.error(at, format!("as: {} does not build a {kind}", raw.cell("as")));
            }
            let class = match raw.cell("class") {
                "implied" => Class::Record,
                cell => self.class(at, cell)?,
            };
            let key = self.key(at, raw.cell("key"))?;
            return Some(Some(Make::Nested(Box::new(Nested { kind: id, name: kind.into(), table, key, class }))));
        }
        match raw.cell("as") {
            "" => Some(None),
            name => self.make_as(at, name).map(Some),
        }
    }

    fn make_as(&mut self, at: At<'_>, name: &str) -> Option<Make<X>> {
        if name == "text" {
            return Some(Make::WholeText);
        }
        match Primitive::named(name) {
            Some(primitive) => Some(Make::Scalar(primitive)),
            None => self.table_named(at, name).map(Make::Table),
        }
    }

    /// The type that completes a choice.
    fn made_type(&self, make: &Make<X>) -> Option<Box<str>> {
        match make {
            Make::Table(table) => Some((&*self.plan.shape.of(self.plan.tables[*table].kind).name).into()),
            Make::Scalar(primitive) => {
                let name = format!("{primitive:?}");
                let (first, rest) = name.split_at(1);
                Some(format!("{}{rest}", first.to_ascii_lowercase()).into())
            }
            Make::WholeText => Some("string".into()),
            Make::Label(_) | Make::Nested(_) => Some("Reference".into()),
            _ => None,
        }
    }

    /// `SELECTOR:NAME=TABLE NAME=TABLE`
    fn branches(&mut self, place: &mut Place<'_, '_>, raw: &Raw, to: &str) -> Option<(Make<X>, Option<Target>)> {
        let at = place.at;
        let wrong = "as_by: write SELECTOR:NAME=TABLE NAME=TABLE";
        let cell = raw.cell("as_by");
        let head = cell.find('=').and_then(|equals| cell[..equals].rfind(':'));
        let Some(head) = head else {
            self.error(at, wrong);
            return None;
        };
        let selector = self.selector(at, &cell[..head])?;
        let (mut branches, mut other, mut common) = (Vec::new(), None, None);
        for pair in cell[head + 1..].split_ascii_whitespace() {
            let Some((name, table)) = pair.split_once('=') else {
                self.error(at, wrong);
                return None;
            };
            let make = self.make_as(at, table)?;
            let target = if to.is_empty() { None } else { Some(self.target(place, raw, to, self.made_type(&make))?) };
            let make = self.settle(at, raw, Some(make), target.as_ref(), !raw.cell("codes").is_empty(), !raw.cell("rule").is_empty())?;
            common = common.or_else(|| target.clone());
            let branch = Branch { make, to: target };
            match name {
                "*" => other = Some(Box::new(branch)),
                name => branches.push((name.into(), branch)),
            }
        }
        Some((Make::By { selector, branches, other }, common))
    }

    /// What is made, once the target is known; tells what does not go together.
    fn settle(&mut self, at: At<'_>, raw: &Raw, make: Option<Make<X>>, to: Option<&Target>, coded: bool, ruled: bool) -> Option<Make<X>> {
        let assign = raw.cell("assign");
        let Some(to) = to else {
            if !assign.is_empty() {
                self.error(at, "assign: nowhere to put it, `to` is empty");
            }
            return Some(make.unwrap_or(Make::Nothing));
        };
        let shape = self.plan.shape.clone();
        let name = &shape.of(to.kind).name;
        if !assign.is_empty() {
            let value = match to.primitive {
                Some(Primitive::Boolean) => match assign {
                    "true" => Some(Json::Bool(true)),
                    "false" => Some(Json::Bool(false)),
                    _ => None,
                },
                Some(Primitive::Decimal | Primitive::Integer | Primitive::PositiveInt | Primitive::UnsignedInt) => Json::number(assign),
                Some(_) => Some(Json::from(assign)),
                None => {
                    self.error(at, format!("assign: a constant fills a primitive, and `to` is a {name}"));
                    return None;
                }
            };
            return match value.filter(|value| to.primitive.is_some_and(|primitive| primitive.fits(value)) && in_codes(&to.codes, value)) {
                Some(value) => Some(Make::Constant(value)),
                None => {
                    self.error(at, format!("assign: R4 does not allow this {name} here"));
                    None
                }
            };
        }
        let made = match &make {
            None => {
                return match to.primitive {
                    Some(primitive) => Some(Make::Scalar(primitive)),
                    None if coded && matches!(&**name, "CodeableConcept" | "Coding") => Some(Make::Codes),
                    None if ruled => Some(Make::Nothing),
                    None => {
                        self.error(at, format!("as: say how a {name} is built"));
                        None
                    }
                };
            }
            Some(Make::Label(label)) => {
                self.check_reference(at, to, &shape, &shape.of(self.plan.labels[*label].kind).name);
                return make;
            }
            Some(Make::Nested(nested)) => {
                self.check_reference(at, to, &shape, &nested.name);
                return make;
            }
            Some(Make::Scalar(primitive)) => match to.primitive {
                // What a rule gives is checked when it is given.
                _ if ruled => true,
                Some(own) => own == *primitive || coded || json_kind(own) == json_kind(*primitive),
                None => coded && matches!(&**name, "CodeableConcept" | "Coding"),
            },
            Some(Make::WholeText) => to.primitive.is_some_and(|own| json_kind(own) == 's'),
            Some(Make::Table(table)) => {
                let made = shape.of(self.plan.tables[*table].kind);
                ruled
                    || self.plan.tables[*table].kind == to.kind
                    || matches!(&*made.name, "Quantity") && matches!(&**name, "Age" | "Duration" | "Count" | "Distance")
                    || match (made.kind, to.primitive) {
                        (Kind::Primitive(made), Some(own)) => json_kind(own) == json_kind(made),
                        _ => false,
                    }
            }
            Some(_) => true,
        };
        if !made {
            self.error(at, format!("as: {} does not make a {name}", raw.cell("as")));
        }
        make
    }

    fn check_reference(&mut self, at: At<'_>, to: &Target, shape: &Shape, kind: &str) {
        // The targets of the element are kept with its codes' place: a Reference has no codes.
        if &*shape.of(to.kind).name != "Reference" {
            self.error(at, "to: a reference cannot stand there");
        } else if !to.codes.is_empty() && !to.codes.iter().any(|target| **target == *kind) {
            self.error(at, format!("to: R4 allows no reference to {kind} there"));
        }
    }
}

/// Whether a code is of a required binding.
pub(crate) fn in_codes(codes: &[Box<str>], value: &Json) -> bool {
    codes.is_empty() || value.as_str().is_none_or(|text| codes.iter().any(|code| **code == *text))
}

fn json_kind(primitive: Primitive) -> char {
    match primitive {
        Primitive::Boolean => 'b',
        Primitive::Decimal | Primitive::Integer | Primitive::PositiveInt | Primitive::UnsignedInt => 'n',
        _ => 's',
    }
}
