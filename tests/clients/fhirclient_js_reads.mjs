// SMART's fhirclient.js connects, searches, pages and reads. Arguments: base URL, token, CA file, an identifier, a patient count, a token without patients.
// Node trusts the CA by NODE_EXTRA_CA_CERTS; NODE_CLIENTS is the folder of its packages.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';

const smart = createRequire(`${process.env.NODE_CLIENTS}/`)('fhirclient');

const [base, token, , identifier, count, narrow] = process.argv.slice(2);
const kept = new Map();
const storage = { get: async (key) => kept.get(key), set: async (key, value) => kept.set(key, value), unset: async (key) => kept.delete(key) };
const page = { url: '/launch', headers: { host: 'app.example' }, socket: { encrypted: true } };
const app = smart(page, {}, storage);

// It finds the endpoints by itself, and goes where smart-configuration leads it.
const there = new URL(await app.authorize({ iss: base, clientId: 'tests', scope: 'patient/*.rs', redirectUri: 'https://app.example/', noRedirect: true }));
assert.equal(there.origin + there.pathname, 'https://idp.hospital.example/authorize');
assert.equal(there.searchParams.get('aud'), base);
assert.equal(there.searchParams.get('code_challenge_method'), 'S256');

const holding = (access_token) => app.client({ serverUrl: base, tokenResponse: { access_token } });
const client = holding(token);
assert.equal(await client.getFhirVersion(), '4.0.1');

const pages = await client.request('Patient?_count=2', { pageLimit: 0 });
assert.ok(pages.length > 1, 'one page');
const ids = pages.flatMap((bundle) => (bundle.entry ?? []).map((entry) => entry.resource.id));
assert.equal(ids.length, Number(count));
assert.equal(new Set(ids).size, Number(count), 'a page repeats');
const iterated = [];
for await (const patient of client.resources('Patient?_count=2&_sort=_lastUpdated')) iterated.push(patient.id);
assert.deepEqual([...iterated].sort(), [...ids].sort());

const found = await client.request(`Patient?identifier=${identifier}`);
assert.equal(found.total, 1);
const { id, name } = found.entry[0].resource;
assert.equal((await client.request(`Patient/${id}`)).id, id);
const first = await client.request(`Patient/${id}/_history/1`);
assert.equal(first.meta.versionId, '1');
assert.deepEqual(first.name, name);
const [visit] = await client.request(`Encounter?patient=${id}`, { flat: true, resolveReferences: ['subject'] });
assert.equal(visit.subject.id, id);

const refused = (path, who, status) =>
  assert.rejects(who.request(path), (error) => {
    assert.equal(error.name, 'HttpError');
    assert.equal(error.status, status);
    assert.match(error.message, /OperationOutcome/);
    return true;
  });
await refused('Patient/00000000-0000-8000-8000-000000000000', client, 404);
await refused(`Patient/${id}`, holding(narrow), 403);
console.log('fhirclient.js: connected, searched, paged, read');
