//! The search parameters that are served, compiled: where in a body their values stand, and under which number the index
//! keeps them. One layout for all types: the next resource type costs rows of the tables and no code.

use super::parse::{self, ParameterType, parameters};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

/// Element names from the resource's root; arrays are looked into at every step.
pub type Path = Vec<String>;

/// The parameter through which a Binary lies in a compartment: no client asks for it.
pub const SECURITY_CONTEXT: (&str, &str) = ("Binary", "securityContext");

/// What is indexed.
#[derive(Debug)]
pub struct Plan {
    parameters: Vec<Parameter>,
    /// By code, for each resource type: places in `parameters`.
    kinds: BTreeMap<String, BTreeMap<String, usize>>,
    /// For each resource type of the Patient compartment: where it names its patients.
    compartments: BTreeMap<String, Vec<Path>>,
}

/// One parameter of one resource type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    pub resource: String,
    pub code: String,
    pub kind: ParameterType,
    pub paths: Vec<Path>,
    /// Resource types that it may point at; empty but for references.
    pub targets: Vec<String>,
}

impl Plan {
    /// The tables that the gateway is built with.
    pub fn built_in() -> Arc<Self> {
        static PLAN: LazyLock<Arc<Plan>> = LazyLock::new(|| {
            let tables = schemas::Tables::embedded("r4");
            let table = |name| tables.get(name).expect("a table that is built in");
            let plan = Plan::compile(table("search"), table("compartments"), include_str!("../api/served.csv"));
            Arc::new(plan.expect("tables that are built in fit one another"))
        });
        PLAN.clone()
    }

    /// From `search.csv` (`resource,code,type,paths,targets`), `compartments.csv` (`resource,code`) and `served.csv`
    /// (`resource,interactions,search`). Errors name the table and the row.
    pub fn compile(search: &str, compartments: &str, served: &str) -> Result<Self, String> {
        let known = parameters(search)?;
        let mut plan = Plan { parameters: Vec::new(), kinds: BTreeMap::new(), compartments: BTreeMap::new() };
        for row in rows("served.csv", served)? {
            let kind = plan.kinds.entry(row[0].to_owned()).or_default();
            // AuditEvents are rendered from entries when they are read: the audit has its own index.
            for code in row[2].split_whitespace().filter(|code| !matches!(*code, "_id" | "_lastUpdated") && &row[0] != "AuditEvent") {
                let parameter = known.get(&(row[0].to_owned(), code.to_owned()));
                let parameter =
                    parameter.ok_or_else(|| format!("served.csv {}: {code} is not a parameter that can be indexed", &row[0]))?;
                kind.insert(code.to_owned(), plan.parameters.len());
                let parse::Parameter { kind, paths, targets } = parameter.clone();
                plan.parameters.push(Parameter { resource: row[0].to_owned(), code: code.to_owned(), kind, paths, targets });
            }
        }
        for row in rows("compartments.csv", compartments)? {
            // A Patient lies in its own compartment alone: `link` would lead across merge edges.
            if &row[0] == "Patient" {
                continue;
            }
            let Some(parameter) = known.get(&(row[0].to_owned(), row[1].to_owned())) else {
                // The compartment names all types of R4, the parameters only those that can be here.
                if known.keys().all(|(resource, _)| *resource != row[0]) {
                    continue;
                }
                return Err(format!("compartments.csv {}: {} is not a parameter", &row[0], &row[1]));
            };
            plan.compartments.entry(row[0].to_owned()).or_default().extend(parameter.paths.iter().cloned());
        }
        // R4 leaves Binary out of the compartment and gives it an element for the purpose (Binary.securityContext). It is
        // indexed, so that a Binary is found when the compartment of what it points at changes.
        let path = vec![SECURITY_CONTEXT.1.to_owned()];
        plan.compartments.insert(SECURITY_CONTEXT.0.to_owned(), vec![path.clone()]);
        plan.kinds.entry(SECURITY_CONTEXT.0.to_owned()).or_default().insert(SECURITY_CONTEXT.1.to_owned(), plan.parameters.len());
        plan.parameters.push(Parameter {
            resource: SECURITY_CONTEXT.0.to_owned(),
            code: SECURITY_CONTEXT.1.to_owned(),
            kind: ParameterType::Reference,
            paths: vec![path],
            targets: Vec::new(),
        });
        Ok(plan)
    }

    /// All parameters; their place here is their number in an [`super::extract::Rows`].
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// A parameter's number, and the parameter.
    pub fn parameter(&self, kind: &str, code: &str) -> Option<(usize, &Parameter)> {
        let number = *self.kinds.get(kind)?.get(code)?;
        Some((number, &self.parameters[number]))
    }

    /// Whether a resource type is served.
    pub fn knows(&self, kind: &str) -> bool {
        self.kinds.contains_key(kind)
    }

    /// The parameters of a resource type, by number.
    pub fn of(&self, kind: &str) -> impl Iterator<Item = (usize, &Parameter)> {
        self.kinds.get(kind).into_iter().flat_map(BTreeMap::values).map(|number| (*number, &self.parameters[*number]))
    }

    /// The reference parameters of a resource type that may be followed, by number.
    pub fn references(&self, kind: &str) -> impl Iterator<Item = (usize, &Parameter)> {
        self.of(kind)
            .filter(|(_, one)| one.kind == ParameterType::Reference && (one.resource.as_str(), one.code.as_str()) != SECURITY_CONTEXT)
    }

    /// Resource types of the Patient compartment, with where they name their patients.
    pub fn compartments(&self) -> impl Iterator<Item = (&str, &[Path])> {
        self.compartments.iter().map(|(kind, paths)| (kind.as_str(), paths.as_slice()))
    }

    /// Where a resource of this type names the patients in whose compartments it lies.
    pub fn compartment(&self, kind: &str) -> &[Path] {
        self.compartments.get(kind).map_or(&[], Vec::as_slice)
    }
}

fn rows(name: &str, table: &str) -> Result<Vec<csv::StringRecord>, String> {
    csv::Reader::from_reader(table.as_bytes()).records().map(|row| row.map_err(|error| format!("{name}: {error}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_that_are_built_in_compile() {
        let plan = Plan::built_in();
        let (number, family) = plan.parameter("Patient", "family").unwrap();
        assert_eq!(plan.parameters()[number], *family);
        assert_eq!(family.paths, [["name", "family"]]);
        let (_, date) = plan.parameter("Observation", "date").unwrap();
        assert!(date.paths.contains(&vec!["effectivePeriod".to_owned()]));
        assert!(plan.parameter("Observation", "_id").is_none());
        assert!(plan.compartment("Observation").contains(&vec!["subject".to_owned()]));
        assert!(plan.compartment("Patient").is_empty() && plan.compartment("Practitioner").is_empty());
    }

    #[test]
    fn a_row_that_does_not_fit_is_named() {
        let search = "resource,code,type,paths,targets\nPatient,family,string,name.family,\nPatient,height,quantity,height,\nObservation,code,token,code,\n";
        let served = "resource,interactions,search\nPatient,search-type,";
        for (codes, compartment, told) in [
            ("name", "", "served.csv Patient: name"),
            ("height", "", "height"),
            ("family", "Observation,subject\n", "Observation: subject"),
        ] {
            let error = Plan::compile(search, &format!("resource,code\n{compartment}"), &format!("{served}{codes}\n")).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
    }
}
