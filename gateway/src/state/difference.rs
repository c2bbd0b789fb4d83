//! What differs between two bodies, element by element.

use contract::Json;

/// An element that is otherwise, or is on one side alone. `Debug` tells where: the values are a patient's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// `name[0].family`.
    pub path: String,
    pub before: Option<Json>,
    pub after: Option<Json>,
}

/// The elements in which two bodies of one resource differ, each told at the deepest place that differs; of a body alone,
/// its elements.
pub fn differences(before: Option<&Json>, after: Option<&Json>) -> Vec<Difference> {
    let mut found = Vec::new();
    let nothing = Json::object();
    members("", before.unwrap_or(&nothing), after.unwrap_or(&nothing), &mut found);
    found.retain(|difference| !matches!(difference.path.as_str(), "resourceType" | "id"));
    found
}

fn members(path: &str, before: &Json, after: &Json, found: &mut Vec<Difference>) {
    let (Json::Object(old), Json::Object(new)) = (before, after) else { return };
    let added = new.iter().filter(|(name, _)| before.get(name).is_none());
    for (name, _) in old.iter().chain(added) {
        let path = if path.is_empty() { name.to_string() } else { format!("{path}.{name}") };
        element(path, before.get(name), after.get(name), found);
    }
}

fn element(path: String, before: Option<&Json>, after: Option<&Json>, found: &mut Vec<Difference>) {
    match (before, after) {
        (before, after) if before == after => {}
        (Some(before @ Json::Object(_)), Some(after @ Json::Object(_))) => members(&path, before, after, found),
        (Some(Json::Array(old)), Some(Json::Array(new))) => elements(&path, old, new, found),
        (before, after) => found.push(Difference { path, before: before.cloned(), after: after.cloned() }),
    }
}

/// What stands alike at both ends is left out; what is between is compared one by one where it is as many.
fn elements(path: &str, old: &[Json], new: &[Json], found: &mut Vec<Difference>) {
    let least = old.len().min(new.len());
    let head = old.iter().zip(new).take_while(|(one, other)| one == other).count();
    let tail = old.iter().rev().zip(new.iter().rev()).take(least - head).take_while(|(one, other)| one == other).count();
    let (old, new) = (&old[head..old.len() - tail], &new[head..new.len() - tail]);
    let at = |number: usize| format!("{path}[{}]", head + number);
    if old.len() == new.len() {
        for (number, (old, new)) in old.iter().zip(new).enumerate() {
            element(at(number), Some(old), Some(new), found);
        }
        return;
    }
    found.extend(old.iter().enumerate().map(|(number, gone)| Difference { path: at(number), before: Some(gone.clone()), after: None }));
    found.extend(new.iter().enumerate().map(|(number, come)| Difference { path: at(number), before: None, after: Some(come.clone()) }));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `path: before -> after` of each.
    fn check(before: &str, after: &str, expected: &[&str]) {
        let read = |text: &str| (!text.is_empty()).then(|| Json::parse(text.as_bytes()).unwrap());
        let side = |value: &Option<Json>| value.as_ref().map(Json::to_string).unwrap_or_default();
        let told: Vec<String> = differences(read(before).as_ref(), read(after).as_ref())
            .iter()
            .map(|one| format!("{}: {} -> {}", one.path, side(&one.before), side(&one.after)))
            .collect();
        assert_eq!(told, expected, "{before} {after}");
    }

    #[test]
    fn a_difference_is_told_where_it_lies_and_no_wider() {
        check(r#"{"a":1,"b":{"c":2,"d":3}}"#, r#"{"b":{"d":3,"c":2},"a":1}"#, &[]);
        check(r#"{"a":6.3}"#, r#"{"a":6.30}"#, &["a: 6.3 -> 6.30"]);
        check(r#"{"b":{"c":2,"d":3}}"#, r#"{"b":{"c":4,"e":5}}"#, &["b.c: 2 -> 4", "b.d: 3 -> ", "b.e:  -> 5"]);
        check(r#"{"n":[{"f":"x","g":["y"]}]}"#, r#"{"n":[{"f":"z","g":["y"]}]}"#, &[r#"n[0].f: "x" -> "z""#]);
        check(r#"{"n":[1,2,3]}"#, r#"{"n":[1,3]}"#, &["n[1]: 2 -> "]);
        check(
            r#"{"n":[1,2]}"#,
            r#"{"n":[0,1,2,4]}"#,
            &["n[0]: 1 -> ", "n[1]: 2 -> ", "n[0]:  -> 0", "n[1]:  -> 1", "n[2]:  -> 2", "n[3]:  -> 4"],
        );
        check(r#"{"n":[1,1]}"#, r#"{"n":[1]}"#, &["n[1]: 1 -> "]);
        check(r#"{"n":1}"#, r#"{"n":[1]}"#, &["n: 1 -> [1]"]);
    }

    #[test]
    fn of_one_body_alone_all_elements_are_told() {
        let body = r#"{"resourceType":"Patient","id":"x","gender":"male","name":[{"family":"Wren"}]}"#;
        check("", body, &[r#"gender:  -> "male""#, r#"name:  -> [{"family":"Wren"}]"#]);
        check(body, "", &[r#"gender: "male" -> "#, r#"name: [{"family":"Wren"}] -> "#]);
    }
}
