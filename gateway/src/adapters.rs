//! The explicit list of adapters: what is not named here is not there.

use contract::Dialect;
use mapping::Shape;
use schemas::Tables;
use std::path::Path;
use std::sync::Arc;

/// All dialects with their tables, built in or from a folder laid out like `schemas/`. The error lists every mistake of
/// the tables, with file and line.
pub fn dialects(schemas: Option<&Path>) -> Result<Vec<Arc<dyn Dialect>>, String> {
    let shape = Arc::new(Shape::r4()?);
    let tables = |dialect: &str| match schemas {
        None => Ok(Tables::embedded(dialect)),
        Some(folder) => Tables::from_dir(folder, dialect).map_err(|error| format!("{}: {}", folder.join(dialect).display(), error.kind())),
    };
    Ok(vec![
        Arc::new(hl7v2::Hl7v2::new(&tables("hl7v2")?, shape.clone()).map_err(|errors| errors.to_string())?),
        Arc::new(cda::CdaDialect::new(&tables("cda")?, shape.clone()).map_err(|errors| errors.to_string())?),
        Arc::new(fhir::FhirDialect::new(shape)),
    ])
}
