"""fhirpy connects, searches, pages and reads. Arguments: base URL, token, CA file, an identifier, a patient count,
a token without patients."""

import sys

from fhirpy import SyncFHIRClient
from fhirpy.base.exceptions import ForbiddenError, ResourceNotFound

base, token, ca, identifier, count, narrow = sys.argv[1:]


def holding(token):
    return SyncFHIRClient(base, authorization=f"Bearer {token}", requests_config={"verify": ca})


client = holding(token)

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
assert client.resources("Encounter").search(patient=one["id"]).fetch()
first = client.execute(f"Patient/{one['id']}/_history/1", method="get")
assert first["meta"]["versionId"] == "1" and first["name"] == one["name"]
capabilities = client.execute("metadata", method="get")
assert capabilities["fhirVersion"] == "4.0.1"


def refused(who, client, expected):
    try:
        client.reference("Patient", who).to_resource()
    except expected:
        return
    raise AssertionError(f"{who}: it was read, and {expected.__name__} was expected")


refused("00000000-0000-8000-8000-000000000000", client, ResourceNotFound)
refused(one["id"], holding(narrow), ForbiddenError)
print("fhirpy: connected, searched, paged, read")
