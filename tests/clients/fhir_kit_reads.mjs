// fhir-kit-client connects, searches, pages and reads. Arguments: base URL, token, CA file, an identifier, a patient count, a token without patients.
// Node trusts the CA by NODE_EXTRA_CA_CERTS; NODE_CLIENTS is the folder of its packages.

import assert from 'node:assert/strict';

const { Client } = await import(`file://${process.env.NODE_CLIENTS}/fhir-kit-client/dist/index.js`);

const [base, token, , identifier, count, narrow] = process.argv.slice(2);
const client = new Client({ baseUrl: base, bearerToken: token });

const capabilities = await client.capabilityStatement();
assert.equal(capabilities.fhirVersion, '4.0.1');

const ids = [];
let page = await client.search({ resourceType: 'Patient', searchParams: { _count: 2 } });
while (page) {
  ids.push(...(page.entry ?? []).map((entry) => entry.resource.id));
  page = page.link.some((link) => link.relation === 'next') ? await client.nextPage({ bundle: page }) : undefined;
}
assert.equal(ids.length, Number(count));
assert.equal(new Set(ids).size, Number(count), 'a page repeats');

const found = await client.search({ resourceType: 'Patient', searchParams: { identifier } });
assert.equal(found.total, 1);
const { id } = found.entry[0].resource;
assert.equal((await client.read({ resourceType: 'Patient', id })).id, id);
assert.equal((await client.vread({ resourceType: 'Patient', id, version: '1' })).meta.versionId, '1');
const visits = await client.search({ resourceType: 'Encounter', searchParams: { patient: id }, options: { postSearch: true } });
assert.ok(visits.total > 0);

const refused = (id, token, status) =>
  assert.rejects(new Client({ baseUrl: base, bearerToken: token }).read({ resourceType: 'Patient', id }), (error) => {
    assert.equal(error.response.status, status);
    assert.equal(error.response.data.resourceType, 'OperationOutcome');
    return true;
  });
await refused('00000000-0000-8000-8000-000000000000', token, 404);
await refused(id, narrow, 403);
console.log('fhir-kit-client: connected, searched, paged, read');
