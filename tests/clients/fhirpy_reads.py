"""fhirpy connects, searches, pages and reads. Arguments: base URL, token, CA file, an identifier, a patient count."""

import sys

from fhirpy import SyncFHIRClient
from fhirpy.base.exceptions import ResourceNotFound

base, token, ca, identifier, count = sys.argv[1:]
client = SyncFHIRClient(base, authorization=f"Bearer {token}", requests_config={"verify": ca})

patients = client.resources("Patient")
assert patients.count() == int(count), patients.count()

paged = patients.limit(2).fetch_all()
assert len(paged) == int(count), len(paged)
assert len({patient["id"] for patient in paged}) == int(count), "a page repeats"

newest = [patient["id"] for patient in patients.sort("-_lastUpdated").limit(2).fetch_all()]
oldest = [patient["id"] for patient in patients.sort("_lastUpdated").limit(2).fetch_all()]
assert len(newest) == int(count) and newest == oldest[::-1], "sorted pages"

one = patients.search(identifier=identifier).first()
assert one is not None and one["resourceType"] == "Patient"
assert client.reference("Patient", one["id"]).to_resource()["id"] == one["id"]
assert client.resources("Encounter").search(patient=one["id"]).fetch() is not None

try:
    client.reference("Patient", "00000000-0000-8000-8000-000000000000").to_resource()
    raise AssertionError("a patient that never was")
except ResourceNotFound:
    pass
print("fhirpy: connected, searched, paged, read")
