//! What operators are told, as JSON: by the command line and by `/ops` alike. Its names are kept.

use crate::findings::{Concern, headline, state};
use crate::intake::Answer;
use crate::state::{Difference, differences};
use crate::store::{Changed, Effect, JournalRow, Mend, Moment, Record};
use contract::{Issue, Json};

fn number(number: u64) -> Json {
    Json::Number(number.to_string().into())
}

/// A line of the journal.
pub fn row(row: &JournalRow) -> Json {
    [
        ("position", number(row.position)),
        ("received", Json::from(row.received.to_string())),
        ("feed", Json::from(row.feed.as_str())),
        ("type", Json::from(row.message_type.as_str())),
        ("control_id", Json::from(row.control_id.as_str())),
        ("digest", Json::from(row.digest.to_string())),
        ("outcome", Json::from(row.outcome.word())),
        ("issues", number(row.issues.into())),
        ("repeats", number(row.repeats.into())),
        ("standing", Json::from(row.standing.word())),
    ]
    .into_iter()
    .chain(row.edit_of.map(|of| ("edit_of", number(of))))
    .collect()
}

pub fn issue(issue: &Issue) -> Json {
    let reason = Json::from(issue.reason.as_ref());
    [
        ("severity", Json::from(issue.severity.code())),
        ("code", Json::from(issue.code.word())),
        ("place", Json::from(issue.place.as_str())),
        ("reason", reason),
    ]
    .into_iter()
    .collect()
}

pub fn mend(mend: &Mend) -> Json {
    let members = [
        ("action", Json::from(mend.action.word())),
        ("at", Json::from(mend.at.to_string())),
        ("position", number(mend.position)),
        ("who", Json::from(mend.who.as_str())),
        ("because", Json::from(mend.because.as_str())),
    ];
    members.into_iter().chain(mend.version.map(|version| ("version", number(version)))).collect()
}

/// What would be, or is, otherwise in one resource.
pub fn effect(effect: &Effect) -> Json {
    let change = match (&effect.before, &effect.after) {
        (_, None) => "vanishes",
        (None, Some(_)) => "appears",
        (Some(_), Some(_)) => "changes",
    };
    [
        ("resource", Json::from(effect.address.as_str())),
        ("change", Json::from(change)),
        ("elements", elements(&differences(effect.before.as_ref(), effect.after.as_ref()))),
    ]
    .into_iter()
    .collect()
}

/// Differences: path, and before and after where there is one.
pub fn elements(differences: &[Difference]) -> Json {
    let one = |one: &Difference| -> Json {
        let side = |name: &'static str, value: &Option<Json>| value.clone().map(|value| (name, value));
        let path = [("path", Json::from(one.path.as_str()))];
        path.into_iter().chain(side("before", &one.before)).chain(side("after", &one.after)).collect()
    };
    Json::Array(differences.iter().map(one).collect())
}

/// The time line behind the record of the Patient of this id.
pub fn record(id: &str, record: &Record) -> Json {
    let ids = record.patients.iter().map(|id| Json::from(id.as_str())).collect();
    let moments = Json::Array(record.moments.iter().map(moment).collect());
    [("patient", Json::from(id)), ("patients", Json::Array(ids)), ("moments", moments)].into_iter().collect()
}

fn moment(moment: &Moment) -> Json {
    let row = &moment.row;
    let mut told: Json = [
        ("at", Json::from(moment.at.to_string())),
        ("position", number(row.position)),
        ("received", Json::from(row.received.to_string())),
        ("feed", Json::from(row.feed.as_str())),
        ("type", Json::from(row.message_type.as_str())),
        ("control_id", Json::from(row.control_id.as_str())),
        ("outcome", Json::from(row.outcome.word())),
        ("standing", Json::from(row.standing.word())),
    ]
    .into_iter()
    .collect();
    if let Some(of) = row.edit_of {
        told.set("edit_of", number(of));
    }
    if let Some(done) = &moment.mend {
        told.set("mend", mend(done));
    }
    let changed = |one: &Changed| -> Json {
        [
            ("resource", Json::from(one.address.as_str())),
            ("version", number(one.version)),
            ("deleted", Json::Bool(one.is_deleted)),
            ("elements", elements(&one.differences)),
        ]
        .into_iter()
        .collect()
    };
    told.set("changes", Json::Array(moment.changes.iter().map(changed).collect()));
    told
}

/// Is the boundary safe?
pub fn findings(concerns: &[Concern]) -> Json {
    let one = |concern: &Concern| -> Json {
        let mut members = vec![
            ("state", Json::from(concern.state.word())),
            ("kind", Json::from(concern.kind)),
            ("about", Json::from(concern.about.as_str())),
            ("what", Json::from(concern.what.as_str())),
            ("meaning", Json::from(concern.meaning.as_str())),
            ("do", Json::from(concern.act.as_str())),
            ("who", Json::from(concern.who)),
        ];
        members.extend(concern.since.map(|since| ("since", Json::from(since.to_string()))));
        members.extend(concern.count.map(|count| ("count", number(count))));
        members.into_iter().collect()
    };
    let findings = Json::Array(concerns.iter().map(one).collect());
    [("state", Json::from(state(concerns).word())), ("headline", Json::from(headline(concerns))), ("findings", findings)]
        .into_iter()
        .collect()
}

/// What became of a frame that was judged again.
pub fn judged(answer: &Answer) -> Json {
    let issues = Json::Array(answer.issues.iter().map(issue).collect());
    let members = [("outcome", Json::from(answer.outcome.word())), ("issues", issues)];
    members.into_iter().chain(answer.position.map(|position| ("position", number(position)))).collect()
}
