//! What is served, as rows of `served.csv`: the router, the scope check and the CapabilityStatement all read it, so the
//! next resource type costs a row.

use crate::search::parse::{Parameter, Parameters};
use std::collections::BTreeMap;

const TABLE: &str = include_str!("served.csv");

/// One resource type.
#[derive(Clone, Debug, Default)]
pub struct Served {
    pub kind: String,
    pub read: bool,
    pub vread: bool,
    pub history: bool,
    pub type_history: bool,
    pub search: bool,
    /// `$everything`.
    pub everything: bool,
    /// By code.
    pub parameters: BTreeMap<String, Parameter>,
}

/// Reads the table against the search parameters of R4. Errors name the row.
pub fn served(parameters: &Parameters) -> Result<Vec<Served>, String> {
    read(TABLE, parameters)
}

fn read(table: &str, parameters: &Parameters) -> Result<Vec<Served>, String> {
    let mut served: Vec<Served> = Vec::new();
    for row in csv::Reader::from_reader(table.as_bytes()).records() {
        let row = row.map_err(|error| format!("served.csv: {error}"))?;
        let kind = &row[0];
        let mut one = Served { kind: kind.to_owned(), ..Served::default() };
        for interaction in row[1].split_whitespace() {
            *match interaction {
                "read" => &mut one.read,
                "vread" => &mut one.vread,
                "history-instance" => &mut one.history,
                "history-type" => &mut one.type_history,
                "search-type" => &mut one.search,
                "everything" => &mut one.everything,
                _ => return Err(format!("served.csv {kind}: {interaction} is not an interaction")),
            } = true;
        }
        for code in row[2].split_whitespace() {
            let parameter = parameters
                .get(&(kind.to_owned(), code.to_owned()))
                .ok_or_else(|| format!("served.csv {kind}: {code} is not a search parameter that can be served"))?;
            one.parameters.insert(code.to_owned(), parameter.clone());
        }
        if one.search == one.parameters.is_empty() {
            return Err(format!("served.csv {kind}: search-type and its parameters go together"));
        }
        if served.iter().any(|other| other.kind == kind) {
            return Err(format!("served.csv {kind}: stands twice"));
        }
        served.push(one);
    }
    Ok(served)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::parse::parameters;

    #[test]
    fn the_table_fits_the_parameters_of_r4() {
        let table = schemas::Tables::embedded("r4");
        let served = served(&parameters(table.get("search").unwrap()).unwrap()).unwrap();
        assert_eq!(served[0].kind, "Patient");
    }

    #[test]
    fn a_row_that_does_not_fit_is_named() {
        let known = parameters("resource,code,type,paths,targets\nPatient,family,string,name.family,\n").unwrap();
        for row in
            ["Patient,read write,", "Patient,read search-type,name", "Patient,search-type,", "Patient,read,family", "A,read,\nA,read,"]
        {
            let error = read(&format!("resource,interactions,search\n{row}\n"), &known).unwrap_err();
            assert!(error.starts_with(&format!("served.csv {}", &row[..1])), "{error}");
        }
    }
}
