"""SMART's fhirclient connects, searches, pages and reads. Arguments: base URL, token, CA file, an identifier, a patient count,
a token without patients."""

import os
import sys

from fhirclient import client
from fhirclient.models.encounter import Encounter
from fhirclient.models.patient import Patient
from fhirclient.server import FHIRNotFoundException, FHIRPermissionDeniedException

base, token, ca, identifier, count, narrow = sys.argv[1:]
os.environ["REQUESTS_CA_BUNDLE"] = ca

smart = client.FHIRClient(settings={"app_id": "tests", "api_base": base})
smart.prepare()
server = smart.server
assert server.capabilityStatement.fhirVersion == "4.0.1"
server.session.headers["Authorization"] = f"Bearer {token}"

# Its models are strict: one element that R4 does not have fails the whole Bundle.
paged = list(Patient.where({"_count": "2"}).perform_resources_iter(server))
assert len(paged) == int(count), len(paged)
assert len({patient.id for patient in paged}) == int(count), "a page repeats"

found = list(Patient.where({"identifier": identifier}).perform_resources_iter(server))
assert len(found) == 1, len(found)
one = found[0]
assert Patient.read(one.id, server).id == one.id
first = Patient(server.request_json(f"Patient/{one.id}/_history/1"))
assert first.meta.versionId == "1" and first.name[0].family == one.name[0].family

visits = list(Encounter.where({"patient": one.id}).perform_resources_iter(server))
typed = list(Encounter.where({"patient": f"Patient/{one.id}"}).perform_resources_iter(server))
assert visits and [visit.id for visit in visits] == [visit.id for visit in typed]
assert not list(Patient.where({"identifier:not": identifier, "_id": one.id}).perform_resources_iter(server))


def refused(who, token, expected):
    server.session.headers["Authorization"] = f"Bearer {token}"
    try:
        Patient.read(who, server)
    except expected:
        return
    raise AssertionError(f"{who}: it was read, and {expected.__name__} was expected")


refused("00000000-0000-8000-8000-000000000000", token, FHIRNotFoundException)
refused(one.id, narrow, FHIRPermissionDeniedException)
print("fhirclient: connected, searched, paged, read")
