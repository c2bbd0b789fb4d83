//! What a person in charge should know, in plain words: what is so, what it means for patients or staff, what to do and who,
//! since when, how many. Safe, needs attention, unsafe; no scores.

mod facts;
mod judge;

pub use facts::Facts;
pub use judge::judge;

use jiff::Timestamp;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    Safe,
    NeedsAttention,
    Unsafe,
}

impl State {
    pub fn word(self) -> &'static str {
        match self {
            State::Safe => "safe",
            State::NeedsAttention => "needs attention",
            State::Unsafe => "unsafe",
        }
    }
}

/// One thing to look at. Holds names of the configuration and numbers, and nothing of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concern {
    pub state: State,
    /// Which kind: stable, for those who count.
    pub kind: &'static str,
    /// What it is about: `feed pas`, `mllp.main`, `app reader`.
    pub about: String,
    /// What is so.
    pub what: String,
    /// What it means for patients or staff.
    pub meaning: String,
    /// What to do.
    pub act: String,
    /// Who can.
    pub who: &'static str,
    pub since: Option<Timestamp>,
    pub count: Option<u64>,
}

/// The worst of all.
pub fn state(concerns: &[Concern]) -> State {
    concerns.iter().map(|concern| concern.state).max().unwrap_or(State::Safe)
}

/// One line for "is our boundary safe?".
pub fn headline(concerns: &[Concern]) -> String {
    let of = |state| concerns.iter().filter(|concern| concern.state == state).count();
    match (of(State::Unsafe), of(State::NeedsAttention)) {
        (0, 0) => "Safe: nothing that we look for was found.".into(),
        (0, attention) => format!("Needs attention: {attention} finding{}.", plural(attention)),
        (wrong, 0) => format!("Unsafe: {wrong} finding{}.", plural(wrong)),
        (wrong, attention) => format!(
            "Unsafe: {wrong} finding{}, and {attention} that need{} attention.",
            plural(wrong),
            if attention == 1 { "s" } else { "" }
        ),
    }
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// The day alone: a time of day would say more than anyone knows.
pub fn day(at: Timestamp) -> String {
    at.strftime("%-d %B %Y").to_string()
}

/// `41,204`.
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests;
