use crate::{Node, Syntax};

/// A row's condition: any of all-ofs. An empty one holds.
pub(crate) struct Condition<X: Syntax>(Vec<Vec<Term<X>>>);

struct Term<X: Syntax> {
    selector: X::Selector,
    test: Test,
}

enum Test {
    Valued,
    Absent,
    In(Vec<Box<str>>),
    NotIn(Vec<Box<str>>),
}

impl<X: Syntax> Condition<X> {
    pub fn parse(text: &str, syntax: &X) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self(Vec::new()));
        }
        let any = text.split("||").map(|all| all.split("&&").map(|term| Term::parse(term.trim(), syntax)).collect());
        any.collect::<Result<_, _>>().map(Self)
    }

    pub fn is_always(&self) -> bool {
        self.0.is_empty()
    }

    pub fn holds<'m>(&self, context: &X::Node<'m>, buffer: &mut Vec<X::Node<'m>>) -> bool {
        self.0.is_empty() || self.0.iter().any(|all| all.iter().all(|term| term.holds(context, buffer)))
    }
}

impl<X: Syntax> Term<X> {
    fn parse(text: &str, syntax: &X) -> Result<Self, String> {
        let outside = bracket_depths(text);
        let find = |operator: &str| text.match_indices(operator).map(|(at, _)| at).find(|at| outside[*at] == 0);
        let list = |text: &str| text.split(',').map(|code| Box::from(code.trim())).collect::<Vec<Box<str>>>();
        let (selector, test) = if let Some(at) = find(" not in ") {
            (&text[..at], Test::NotIn(list(&text[at + 8..])))
        } else if let Some(at) = find(" in ") {
            (&text[..at], Test::In(list(&text[at + 4..])))
        } else if let Some(at) = find("!=") {
            (&text[..at], Test::NotIn(vec![text[at + 2..].trim().into()]))
        } else if let Some(at) = find("=") {
            (&text[..at], Test::In(vec![text[at + 1..].trim().into()]))
        } else if let Some(selector) = text.strip_prefix('!') {
            (selector, Test::Absent)
        } else {
            (text, Test::Valued)
        };
        if let Test::In(codes) | Test::NotIn(codes) = &test
            && codes.iter().any(|code| code.is_empty())
        {
            return Err(format!("{text}: nothing to compare with; `SEL` alone asks whether it is valued"));
        }
        Ok(Self { selector: syntax.selector(selector.trim())?, test })
    }

    fn holds<'m>(&self, context: &X::Node<'m>, buffer: &mut Vec<X::Node<'m>>) -> bool {
        buffer.clear();
        context.select(&self.selector, buffer);
        let any =
            |codes: &[Box<str>]| buffer.iter().any(|node| node.text().is_some_and(|text| codes.iter().any(|code| **code == *text.trim())));
        match &self.test {
            Test::Valued => !buffer.is_empty(),
            Test::Absent => buffer.iter().all(Node::is_delete),
            Test::In(codes) => any(codes),
            Test::NotIn(codes) => buffer.iter().any(|node| node.text().is_some()) && !any(codes),
        }
    }
}

/// For each byte, how many brackets are open before it.
pub(crate) fn bracket_depths(text: &str) -> Vec<u32> {
    let mut depth: u32 = 0;
    text.bytes()
        .map(|byte| {
            let before = depth;
            match byte {
                b'[' => depth += 1,
                b']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            before
        })
        .collect()
}

/// Splits at a separator outside of brackets; parts are trimmed, empty ones left out.
pub(crate) fn split_outside(text: &str, separator: char) -> Vec<&str> {
    let depths = bracket_depths(text);
    let (mut parts, mut start) = (Vec::new(), 0);
    for (at, found) in text.match_indices(separator).chain([(text.len(), "")]) {
        if depths.get(at).is_none_or(|depth| *depth == 0) {
            parts.push(text[start..at].trim());
            start = at + found.len();
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}
