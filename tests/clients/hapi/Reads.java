// The HAPI FHIR client connects, searches, pages and reads. Arguments: base URL, token, CA file, an identifier, a patient count, a token without patients.

import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.parser.StrictErrorHandler;
import ca.uhn.fhir.rest.api.SearchStyleEnum;
import ca.uhn.fhir.rest.api.SortSpec;
import ca.uhn.fhir.rest.client.api.IGenericClient;
import ca.uhn.fhir.rest.client.interceptor.BearerTokenAuthInterceptor;
import ca.uhn.fhir.rest.server.exceptions.BaseServerResponseException;
import ca.uhn.fhir.rest.server.exceptions.ForbiddenOperationException;
import ca.uhn.fhir.rest.server.exceptions.ResourceNotFoundException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;
import org.apache.http.impl.client.HttpClients;
import org.hl7.fhir.r4.model.Bundle;
import org.hl7.fhir.r4.model.CapabilityStatement;
import org.hl7.fhir.r4.model.Encounter;
import org.hl7.fhir.r4.model.OperationOutcome;
import org.hl7.fhir.r4.model.Patient;

public class Reads {
    public static void main(String[] arguments) throws Exception {
        String base = arguments[0];
        String identifier = arguments[3];
        int count = Integer.parseInt(arguments[4]);
        FhirContext context = FhirContext.forR4();
        // An element that R4 does not have is an error.
        context.setParserErrorHandler(new StrictErrorHandler());
        context.getRestfulClientFactory().setHttpClient(HttpClients.custom().setSSLContext(trusting(Path.of(arguments[2]))).build());
        IGenericClient client = client(context, base, arguments[1]);

        CapabilityStatement capabilities = client.capabilities().ofType(CapabilityStatement.class).execute();
        same("4.0.1", capabilities.getFhirVersion().toCode());

        List<String> ids = paged(client, client.search().forResource(Patient.class).count(2).returnBundle(Bundle.class).execute());
        same(count, ids.size());
        same(count, new HashSet<>(ids).size());
        SortSpec sort = new SortSpec("_lastUpdated");
        same(ids.size(), paged(client, client.search().forResource(Patient.class).sort(sort).count(2).returnBundle(Bundle.class).execute()).size());

        Bundle found = client.search().forResource(Patient.class).where(Patient.IDENTIFIER.exactly().code(identifier)).returnBundle(Bundle.class).execute();
        same(1, found.getTotal());
        Patient one = (Patient) found.getEntryFirstRep().getResource();
        String id = one.getIdElement().getIdPart();
        same(base + "/Patient/" + id, found.getEntryFirstRep().getFullUrl());
        same(id, client.read().resource(Patient.class).withId(id).execute().getIdElement().getIdPart());
        Patient first = client.read().resource(Patient.class).withIdAndVersion(id, "1").execute();
        same("1", first.getMeta().getVersionId());
        same(one.getNameFirstRep().getFamily(), first.getNameFirstRep().getFamily());
        Bundle visits = client.search().forResource(Encounter.class).where(Encounter.PATIENT.hasId("Patient/" + id)).usingStyle(SearchStyleEnum.POST)
            .returnBundle(Bundle.class).execute();
        same(1, visits.getTotal());

        refused(client, "00000000-0000-8000-8000-000000000000", ResourceNotFoundException.class);
        refused(client(context, base, arguments[5]), id, ForbiddenOperationException.class);
        System.out.println("hapi: connected, searched, paged, read");
    }

    private static IGenericClient client(FhirContext context, String base, String token) {
        IGenericClient client = context.newRestfulGenericClient(base);
        client.registerInterceptor(new BearerTokenAuthInterceptor(token));
        return client;
    }

    private static List<String> paged(IGenericClient client, Bundle page) {
        List<String> ids = new ArrayList<>();
        while (true) {
            page.getEntry().forEach(entry -> ids.add(entry.getResource().getIdElement().getIdPart()));
            if (page.getLink(Bundle.LINK_NEXT) == null) {
                return ids;
            }
            page = client.loadPage().next(page).execute();
        }
    }

    private static void refused(IGenericClient client, String id, Class<? extends BaseServerResponseException> expected) {
        try {
            client.read().resource(Patient.class).withId(id).execute();
        } catch (BaseServerResponseException refusal) {
            same(expected, refusal.getClass());
            same(OperationOutcome.class, refusal.getOperationOutcome().getClass());
            return;
        }
        throw new AssertionError("it was read, and " + expected.getSimpleName() + " was expected");
    }

    private static SSLContext trusting(Path authority) throws Exception {
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null, null);
        try (InputStream file = Files.newInputStream(authority)) {
            store.setCertificateEntry("authority", CertificateFactory.getInstance("X.509").generateCertificate(file));
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(store);
        SSLContext tls = SSLContext.getInstance("TLS");
        tls.init(null, trust.getTrustManagers(), null);
        return tls;
    }

    private static void same(Object expected, Object found) {
        if (!expected.equals(found)) {
            throw new AssertionError("expected " + expected + ", found " + found);
        }
    }
}
