//! What another engine made of the same messages, against what we have or make of them: difference by element. Pure.

pub mod fhir;
pub mod hl7v2;

use std::collections::{BTreeMap, VecDeque};

/// What two sides say of one element of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// `PID-5.1`, or `Patient.name.family`.
    pub element: String,
    pub ours: Option<String>,
    pub theirs: Option<String>,
}

/// How often an element was alike, over all messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub same: u64,
    pub differs: u64,
    pub only_ours: u64,
    pub only_theirs: u64,
}

impl Count {
    pub fn is_same(&self) -> bool {
        self.differs + self.only_ours + self.only_theirs == 0
    }
}

impl Said {
    pub fn is_same(&self) -> bool {
        self.ours == self.theirs
    }

    fn count(&self, count: &mut Count) {
        match (&self.ours, &self.theirs) {
            (Some(ours), Some(theirs)) if ours == theirs => count.same += 1,
            (Some(_), Some(_)) => count.differs += 1,
            (Some(_), None) => count.only_ours += 1,
            (None, Some(_)) => count.only_theirs += 1,
            (None, None) => {}
        }
    }
}

/// The comparison of all messages, by element.
#[derive(Debug, Default)]
pub struct Summary {
    pub elements: BTreeMap<String, Count>,
    pub messages: u64,
    pub equal: u64,
}

impl Summary {
    /// One pair of messages.
    pub fn add(&mut self, said: &[Said]) {
        self.messages += 1;
        self.equal += u64::from(said.iter().all(Said::is_same));
        for said in said {
            said.count(self.elements.entry(said.element.clone()).or_default());
        }
    }
}

/// Pairs by name, those of one name in their order: indices of both sides, and of each side's rest. What has no name has no pair.
pub fn paired<'a>(
    ours: impl Iterator<Item = Option<&'a str>>,
    theirs: impl Iterator<Item = Option<&'a str>>,
) -> (Vec<(usize, usize)>, Vec<usize>, Vec<usize>) {
    let mut waiting: BTreeMap<&str, VecDeque<usize>> = BTreeMap::new();
    let (mut pairs, mut only_ours, mut only_theirs) = (Vec::new(), Vec::new(), Vec::new());
    for (at, name) in theirs.enumerate() {
        match name {
            Some(name) => waiting.entry(name).or_default().push_back(at),
            None => only_theirs.push(at),
        }
    }
    for (at, name) in ours.enumerate() {
        match name.and_then(|name| waiting.get_mut(name)).and_then(VecDeque::pop_front) {
            Some(other) => pairs.push((at, other)),
            None => only_ours.push(at),
        }
    }
    only_theirs.extend(waiting.into_values().flatten());
    only_theirs.sort_unstable();
    (pairs, only_ours, only_theirs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_have_one_name_and_stand_in_one_order() {
        let check = |ours: &[Option<&str>], theirs: &[Option<&str>], expected: (&[(usize, usize)], &[usize], &[usize])| {
            let (pairs, only_ours, only_theirs) = paired(ours.iter().copied(), theirs.iter().copied());
            assert_eq!((&pairs[..], &only_ours[..], &only_theirs[..]), expected);
        };
        check(&[Some("a"), Some("b"), Some("a")], &[Some("b"), Some("a"), Some("a")], (&[(0, 1), (1, 0), (2, 2)], &[], &[]));
        check(&[Some("a"), None, Some("c")], &[None, Some("a"), Some("a"), Some("d")], (&[(0, 1)], &[1, 2], &[0, 2, 3]));
    }

    #[test]
    fn a_summary_counts_messages_and_elements() {
        let said = |element: &str, ours: Option<&str>, theirs: Option<&str>| Said {
            element: element.into(),
            ours: ours.map(str::to_owned),
            theirs: theirs.map(str::to_owned),
        };
        let mut summary = Summary::default();
        summary.add(&[said("PID-5.1", Some("a"), Some("a")), said("PID-8", Some("F"), None)]);
        summary.add(&[said("PID-5.1", Some("a"), Some("b"))]);
        summary.add(&[said("PID-5.1", Some("a"), Some("a"))]);
        assert_eq!((summary.messages, summary.equal), (3, 1));
        assert_eq!(summary.elements["PID-5.1"], Count { same: 2, differs: 1, ..Count::default() });
        assert_eq!(summary.elements["PID-8"], Count { only_ours: 1, ..Count::default() });
        assert!(!summary.elements["PID-8"].is_same());
    }
}
