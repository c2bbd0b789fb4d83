//! What the tables see of a document: elements and attributes, and how paths find them.

use crate::xml::{Name, Tree};
use std::borrow::Cow;
use std::ops::Range;

/// CDA's own namespace.
pub const V3: &str = "urn:hl7-org:v3";
/// HL7's extensions of CDA.
pub const SDTC: &str = "urn:hl7-org:sdtc";
/// xsi:type, xsi:nil, schema locations.
pub const XSI: &str = "http://www.w3.org/2001/XMLSchema-instance";

/// A path: `.`, `@value`, `recordTarget/patientRole/id`, `sdtc:deceasedInd/@value`, `../time/@value`, and from the
/// document's root `/effectiveTime/@value`. Names without a prefix are CDA's, attributes' without one are plain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    is_absolute: bool,
    /// How many elements upwards first.
    up: usize,
    steps: Vec<Name>,
    attribute: Option<Name>,
}

impl Selector {
    /// Reads a path; the error says what to write instead.
    pub fn read(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text}: a path is `.`, `@value`, `a/b/c`, `a/@value`, `sdtc:a`, `../a` or `/a` from the document's root");
        let mut found = Self { is_absolute: false, up: 0, steps: Vec::new(), attribute: None };
        let mut rest = text;
        if text == "." {
            return Ok(found);
        }
        if let Some(path) = rest.strip_prefix('/') {
            found.is_absolute = true;
            rest = path;
        }
        for step in rest.split('/') {
            if found.attribute.is_some() {
                return Err(wrong());
            }
            if step == ".." && found.steps.is_empty() && !found.is_absolute {
                found.up += 1;
            } else if let Some(name) = step.strip_prefix('@') {
                found.attribute = Some(expanded(name, "").ok_or_else(wrong)?);
            } else {
                found.steps.push(expanded(step, V3).ok_or_else(wrong)?);
            }
        }
        Ok(found)
    }
}

/// The expanded name of a step, by the prefixes that tables may use.
fn expanded(name: &str, default: &str) -> Option<Name> {
    let (space, local) = match name.split_once(':') {
        None => (default, name),
        Some(("sdtc", local)) => (SDTC, local),
        Some(("xsi", local)) => (XSI, local),
        Some(_) => return None,
    };
    let is_name = local.starts_with(|first: char| first.is_ascii_alphabetic()) && local.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_name.then(|| Name { space: space.into(), local: local.into() })
}

/// One element or attribute. Cheap to copy.
#[derive(Clone, Copy)]
pub struct Node<'m> {
    tree: &'m Tree,
    /// The ClinicalDocument, where absolute paths begin.
    document: u32,
    item: u32,
    attribute: Option<u32>,
}

impl<'m> Node<'m> {
    pub fn new(tree: &'m Tree, document: u32) -> Self {
        Self { tree, document, item: document, attribute: None }
    }

    pub fn tree(&self) -> &'m Tree {
        self.tree
    }

    pub fn item(&self) -> u32 {
        self.item
    }

    /// An attribute of the element without a namespace, if it is not empty.
    pub fn value(&self, attribute: &str) -> Option<&'m str> {
        self.tree.attribute(self.item, attribute).map(str::trim).filter(|value| !value.is_empty())
    }

    /// The child elements of a name in CDA's namespace, empty ones too.
    pub fn children(&self, local: &'m str) -> impl Iterator<Item = Node<'m>> + 'm {
        let node = *self;
        let is_named = move |item: &u32| node.tree.name(*item).is_some_and(|name| *name.space == *V3 && *name.local == *local);
        node.tree.children(node.item).filter(is_named).map(move |item| Node { item, ..node })
    }

    /// What a path finds, in document order.
    pub fn all(&self, path: &str) -> Vec<Self> {
        let mut found = Vec::new();
        if let Ok(selector) = Selector::read(path) {
            mapping::Node::select(self, &selector, &mut found);
        }
        found
    }

    /// The first that a path finds.
    pub fn first(&self, path: &str) -> Option<Self> {
        self.all(path).into_iter().next()
    }

    /// Calls `leaf` for every attribute and text of the header that says something. What the schema fixes is left out
    /// (classCode, templateId ...), and so is the body: it is carried whole in the Binary, see
    /// [`crate::translate`].
    pub fn leaves(&self, leaf: &mut dyn FnMut(Self)) {
        let tree = self.tree;
        if tree.own_text(self.item).is_some() {
            return leaf(*self);
        }
        let Some(name) = tree.name(self.item) else { return };
        if is_structural_element(name) || *name.local == *"structuredBody" || *name.local == *"nonXMLBody" {
            return;
        }
        for attribute in tree.attributes(self.item) {
            if !is_structural(tree.attribute_name(attribute)) && !tree.attribute_value(attribute).trim().is_empty() {
                leaf(Self { attribute: Some(attribute), ..*self });
            }
        }
        for item in tree.children(self.item) {
            Self { item, ..*self }.leaves(leaf);
        }
    }

    /// Whether an element says anything: a `nullFlavor` alone does not.
    fn is_valued(&self) -> bool {
        let tree = self.tree;
        if tree.name(self.item).is_some_and(is_structural_element) {
            return false;
        }
        let said = |attribute: u32| !is_structural(tree.attribute_name(attribute)) && !tree.attribute_value(attribute).trim().is_empty();
        tree.attributes(self.item).any(said)
            || tree.children(self.item).any(|item| tree.own_text(item).is_some() || Self { item, ..*self }.is_valued())
    }

    /// The first text below an element.
    fn first_text(&self, item: u32) -> Option<u32> {
        if self.tree.own_text(item).is_some() {
            return Some(item);
        }
        self.tree.children(item).find_map(|child| self.first_text(child))
    }
}

impl<'m> mapping::Node<'m> for Node<'m> {
    type Selector = Selector;

    fn select(&self, selector: &Selector, found: &mut Vec<Self>) {
        if self.attribute.is_some() {
            let is_here = !selector.is_absolute && selector.up == 0 && selector.steps.is_empty() && selector.attribute.is_none();
            return found.extend(is_here.then_some(*self));
        }
        let mut start = if selector.is_absolute { self.document } else { self.item };
        for _ in 0..selector.up {
            // Not above the document: what wraps it is not its own.
            if start == self.document {
                return;
            }
            let Some(parent) = self.tree.parent(start) else { return };
            start = parent;
        }
        let mut here = vec![start];
        for step in &selector.steps {
            let below = |item: &u32| self.tree.children(*item).filter(|child| self.tree.name(*child) == Some(step)).collect::<Vec<_>>();
            here = here.iter().flat_map(below).collect();
        }
        for item in here {
            let node = Self { item, ..*self };
            match &selector.attribute {
                None => found.extend(Some(node).filter(Self::is_valued)),
                Some(name) => {
                    let attribute = self.tree.find_attribute(item, &name.space, &name.local);
                    let valued = attribute.filter(|attribute| !self.tree.attribute_value(*attribute).trim().is_empty());
                    found.extend(valued.map(|attribute| Self { attribute: Some(attribute), ..node }));
                }
            }
        }
    }

    fn text(&self) -> Option<Cow<'m, str>> {
        match (self.attribute, self.tree.own_text(self.item)) {
            (Some(attribute), _) => Some(Cow::Borrowed(self.tree.attribute_value(attribute).trim())),
            (None, Some(text)) => Some(Cow::Borrowed(text.trim())),
            (None, None) => Some(Cow::Owned(self.tree.text(self.item))),
        }
        .filter(|text| !text.is_empty())
    }

    fn is_delete(&self) -> bool {
        false
    }

    fn place(&self) -> String {
        let place = self.tree.place(self.item);
        match self.attribute {
            Some(attribute) => format!("{place}/@{}", self.tree.attribute_name(attribute).local),
            None => place,
        }
    }

    fn id(&self) -> usize {
        let start = match self.attribute {
            Some(attribute) => self.tree.attribute_span(attribute).start,
            None => self.tree.span(self.first_text(self.item).unwrap_or(self.item)).start,
        };
        start as usize
    }

    fn span(&self) -> Range<usize> {
        let span = self.attribute.map_or_else(|| self.tree.span(self.item), |attribute| self.tree.attribute_span(attribute));
        span.start as usize..span.end as usize
    }
}

/// Attributes whose value the schema or the template fixes, or that say how others are to be read.
fn is_structural(name: &Name) -> bool {
    if *name.space == *XSI {
        return true;
    }
    matches!(
        &*name.local,
        "nullFlavor"
            | "classCode"
            | "moodCode"
            | "typeCode"
            | "determinerCode"
            | "contextControlCode"
            | "contextConductionInd"
            | "institutionSpecified"
            | "codeSystemName"
            | "codeSystemVersion"
            | "mediaType"
            | "representation"
            | "partType"
    )
}

/// Elements that name schemas and templates.
fn is_structural_element(name: &Name) -> bool {
    matches!(&*name.local, "templateId" | "typeId" | "realmCode" | "messageType" | "contentId")
}

#[cfg(test)]
mod tests {
    use super::*;
    use mapping::Node as _;

    const DOCUMENT: &str = "<ClinicalDocument xmlns='urn:hl7-org:v3' xmlns:sdtc='urn:hl7-org:sdtc' xmlns:x='urn:x'>
        <typeId root='1'/><title> A <b>report</b> </title><effectiveTime value='2026'/>
        <author classCode='A'><time value='2025'/><id nullFlavor='UNK'/><id root='1.2' extension='7'/><id root='1.3'/>
        <sdtc:deceasedInd value='true'/><x:id root='no'/><person nullFlavor='NI'><name nullFlavor='NI'/></person></author>
        <component><structuredBody><component><section><text>secret</text></section></component></structuredBody></component>
        </ClinicalDocument>";

    fn shown(nodes: &[Node<'_>]) -> String {
        let one = |node: &Node<'_>| match node.text() {
            Some(text) => format!("{}={text}", node.place().trim_start_matches("/ClinicalDocument")),
            None => node.place().trim_start_matches("/ClinicalDocument").to_owned(),
        };
        nodes.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn paths_find_elements_and_attributes() {
        let tree = Tree::read(DOCUMENT).unwrap_or_else(|issue| panic!("{issue}"));
        let root = Node::new(&tree, 0);
        let author = root.first("author").unwrap();
        for (node, path, expected) in [
            (root, "title", "/title=A report"),
            (root, "effectiveTime/@value", "/effectiveTime/@value=2026"),
            (root, "author/id", "/author/id[2] /author/id[3]"),
            (root, "author/id/@root", "/author/id[2]/@root=1.2 /author/id[3]/@root=1.3"),
            (root, "author/id/@nullFlavor", "/author/id[1]/@nullFlavor=UNK"),
            (root, "author/sdtc:deceasedInd/@value", "/author/deceasedInd/@value=true"),
            (root, "author/person", ""),
            (root, "typeId", ""),
            (author, "../effectiveTime/@value", "/effectiveTime/@value=2026"),
            (author, "../../effectiveTime", ""),
            (author, "/effectiveTime/@value", "/effectiveTime/@value=2026"),
            (author, "time/@value", "/author/time/@value=2025"),
            (author.first("time").unwrap(), "@value", "/author/time/@value=2025"),
            (author.first("time").unwrap(), ".", "/author/time"),
        ] {
            assert_eq!(shown(&node.all(path)), expected, "{path}");
        }
        for bad in ["", "/", "a//b", "@", "@a/b", "a/..", "p:a", "a b", "a[1]", "*"] {
            assert!(Selector::read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn leaves_are_what_the_header_says() {
        let tree = Tree::read(DOCUMENT).unwrap_or_else(|issue| panic!("{issue}"));
        let mut leaves = Vec::new();
        Node::new(&tree, 0).leaves(&mut |leaf| leaves.push(leaf));
        assert_eq!(
            shown(&leaves),
            "/title/text()=A /title/b/text()=report /effectiveTime/@value=2026 /author/time/@value=2025 /author/id[2]/@root=1.2 \
             /author/id[2]/@extension=7 /author/id[3]/@root=1.3 /author/deceasedInd/@value=true /author/id/@root=no"
        );
        let ids: std::collections::BTreeSet<usize> = leaves.iter().map(Node::id).collect();
        assert_eq!(ids.len(), leaves.len());
        // An element's text is its first leaf's.
        assert_eq!(Node::new(&tree, 0).first("title").unwrap().id(), leaves[0].id());
    }
}
