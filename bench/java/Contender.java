// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.net.InetAddress;
import java.net.URL;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.PrivateKey;
import java.security.Provider;
import java.security.Security;
import java.security.Signature;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.spec.MGF1ParameterSpec;
import java.security.spec.PSSParameterSpec;
import java.util.Arrays;
import java.util.Collections;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import javax.net.ssl.HttpsURLConnection;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.SSLServerSocket;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.SSLSocketFactory;
import javax.net.ssl.TrustManagerFactory;

/** Java as a contender: SunPKCS11 and JSSE, by the line protocol of package contend. */
public final class Contender {
    /** What one worker does again and again. */
    interface Work {
        void once() throws Exception;

        /** Follows once and is not measured. */
        default void after() throws Exception {
        }
    }

    /** Makes what a worker needs, which is not measured. */
    interface Workers {
        Work worker() throws Exception;
    }

    private static final char[] PIN = env("BENCH_PIN").toCharArray();
    private static String address = "";
    private static Provider provider;

    public static void main(String[] args) throws Exception {
        Workers workers;
        try {
            workers = workload(args[0]);
        } catch (Exception e) {
            System.out.println("error " + e + " " + e.getCause());
            System.exit(1);
            return;
        }
        System.out.println(("ready " + address).trim());
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.US_ASCII));
        for (String line; (line = in.readLine()) != null; ) {
            String[] word = line.split(" ");
            System.out.println(run(workers, Integer.parseInt(word[1]), Long.parseLong(word[2]) * 1_000_000));
        }
        System.exit(0);
    }

    private static Workers workload(String name) throws Exception {
        switch (name) {
            case "sign-pkcs1":
                return sign("SHA256withRSA", "unit", null);
            case "sign-pss":
                return sign("RSASSA-PSS", "unit", new PSSParameterSpec("SHA-256", "MGF1", MGF1ParameterSpec.SHA256, 32, 1));
            case "sign-p256":
                return sign("SHA256withECDSA", "p256", null);
            case "handshake":
            case "resumed":
                return visits(context());
            case "https":
                return requests(context());
            case "serve":
                return serve(context());
            case "start":
                return () -> () -> visits(context()).worker().once();
            case "trust-load":
                keyStore();
                return () -> Contender::load;
            case "trust-inject":
                return injections();
            default:
                throw new IOException("no such workload");
        }
    }

    private static String env(String name) {
        return System.getenv().getOrDefault(name, "");
    }

    private static Path file(String name) {
        return Path.of(env("BENCH_FILES"), name);
    }

    /** The token as a key store. Its slot is the one of the token named; SoftHSM's first slots are its tokens. */
    private static KeyStore keyStore() throws Exception {
        if (provider == null) {
            provider = Security.getProvider("SunPKCS11").configure(
                    "--name=bench\nlibrary=" + env("BENCH_MODULE") + "\nslotListIndex=0\n");
            Security.addProvider(provider);
        }
        KeyStore store = KeyStore.getInstance("PKCS11", provider);
        store.load(null, PIN);
        return store;
    }

    private static Workers sign(String algorithm, String alias, PSSParameterSpec pss) throws Exception {
        PrivateKey key = (PrivateKey) keyStore().getKey(alias, null);
        byte[] message = new byte[32];
        return () -> {
            Signature s = Signature.getInstance(algorithm, provider);
            if (pss != null) {
                s.setParameter(pss);
            }
            return () -> {
                s.initSign(key);
                s.update(message);
                s.sign();
            };
        };
    }

    private static Certificate certificate(String name) throws Exception {
        try (InputStream in = new ByteArrayInputStream(Files.readAllBytes(file(name)))) {
            return CertificateFactory.getInstance("X.509").generateCertificate(in);
        }
    }

    private static SSLContext context() throws Exception {
        KeyManagerFactory keys = KeyManagerFactory.getInstance("PKIX");
        keys.init(keyStore(), null);
        KeyStore roots = KeyStore.getInstance("PKCS12");
        roots.load(null, null);
        roots.setCertificateEntry("root", certificate("root.pem"));
        TrustManagerFactory trust = TrustManagerFactory.getInstance("PKIX");
        trust.init(roots);
        SSLContext context = SSLContext.getInstance("TLSv1.2");
        context.init(keys.getKeyManagers(), trust.getTrustManagers(), null);
        return context;
    }

    private static int port() {
        String a = env("BENCH_ADDRESS");
        return Integer.parseInt(a.substring(a.lastIndexOf(':') + 1));
    }

    /** Dials, shakes hands and closes. JSSE resumes whenever the server lets it. */
    private static Workers visits(SSLContext context) {
        SSLSocketFactory sockets = context.getSocketFactory();
        return () -> () -> {
            try (SSLSocket socket = (SSLSocket) sockets.createSocket("127.0.0.1", port())) {
                socket.setTcpNoDelay(true);
                SSLParameters parameters = socket.getSSLParameters();
                parameters.setProtocols(new String[] {"TLSv1.2"});
                parameters.setEndpointIdentificationAlgorithm("HTTPS");
                socket.setSSLParameters(parameters);
                socket.startHandshake();
            }
        };
    }

    private static Workers requests(SSLContext context) throws IOException {
        System.setProperty("http.maxConnections", "64");
        URL url = new URL("https://" + env("BENCH_ADDRESS") + "/");
        SSLSocketFactory sockets = context.getSocketFactory();
        return () -> () -> {
            HttpsURLConnection c = (HttpsURLConnection) url.openConnection();
            c.setSSLSocketFactory(sockets);
            try (InputStream in = c.getInputStream()) {
                in.readAllBytes();
            }
        };
    }

    private static Workers serve(SSLContext context) throws IOException {
        SSLServerSocket listener = (SSLServerSocket)
                context.getServerSocketFactory().createServerSocket(0, 512, InetAddress.getByName("127.0.0.1"));
        listener.setNeedClientAuth(true);
        listener.setEnabledProtocols(new String[] {"TLSv1.2"});
        address = "127.0.0.1:" + listener.getLocalPort();
        ExecutorService pool = Executors.newCachedThreadPool();
        new Thread(() -> {
            while (true) {
                try {
                    SSLSocket socket = (SSLSocket) listener.accept();
                    pool.execute(() -> answer(socket));
                } catch (IOException e) {
                    System.err.println(e);
                }
            }
        }).start();
        return null;
    }

    private static void answer(SSLSocket socket) {
        try (socket) {
            socket.setTcpNoDelay(true);
            socket.getInputStream().readAllBytes();
        } catch (IOException e) {
            // the peer has gone
        }
    }

    /** Reads every certificate of the token through a new key store. */
    private static void load() throws Exception {
        KeyStore store = keyStore();
        int n = 0;
        for (String alias : Collections.list(store.aliases())) {
            if (store.getCertificate(alias) != null) {
                n++;
            }
        }
        if (n == 0) {
            throw new IOException("nothing was loaded");
        }
    }

    private static Workers injections() throws Exception {
        KeyStore store = keyStore();
        Certificate extra = certificate("extra.pem");
        return () -> new Work() {
            @Override
            public void once() throws Exception {
                store.setCertificateEntry("extra", extra);
            }

            @Override
            public void after() throws Exception {
                store.deleteEntry("extra");
            }
        };
    }

    /** What one worker did. */
    private static final class Tally {
        long[] took = new long[1024];
        int n;
        int failed;
        Exception first;

        void toil(Work work, long end) {
            do {
                try {
                    long from = System.nanoTime();
                    work.once();
                    long ns = System.nanoTime() - from;
                    work.after();
                    if (n == took.length) {
                        took = Arrays.copyOf(took, 2 * n);
                    }
                    took[n++] = ns;
                } catch (Exception e) {
                    failed++;
                    first = first == null ? e : first;
                }
            } while (System.nanoTime() < end);
        }
    }

    private static String run(Workers workers, int count, long ns) throws Exception {
        Tally[] tallies = new Tally[count];
        Thread[] threads = new Thread[count];
        CountDownLatch begin = new CountDownLatch(1);
        long[] end = new long[1];
        for (int i = 0; i < count; i++) {
            Tally tally = tallies[i] = new Tally();
            Work work = workers.worker();
            threads[i] = new Thread(() -> {
                try {
                    begin.await();
                    tally.toil(work, end[0]);
                } catch (InterruptedException e) {
                    throw new IllegalStateException(e);
                }
            });
            threads[i].start();
        }
        long from = System.nanoTime();
        end[0] = from + ns;
        begin.countDown();
        for (Thread thread : threads) {
            thread.join();
        }
        return line(tallies, System.nanoTime() - from);
    }

    private static String line(Tally[] tallies, long ns) {
        int failed = 0;
        Exception first = null;
        long[] all = new long[0];
        for (Tally t : tallies) {
            int at = all.length;
            all = Arrays.copyOf(all, at + t.n);
            System.arraycopy(t.took, 0, all, at, t.n);
            failed += t.failed;
            first = first == null ? t.first : first;
        }
        Arrays.sort(all);
        int n = all.length;
        return "done count=" + n + " failed=" + failed + " ns=" + ns
                + " p50=" + (n == 0 ? 0 : all[n / 2]) + " p99=" + (n == 0 ? 0 : all[(int) (n * 99L / 100)])
                + " max=" + (n == 0 ? 0 : all[n - 1])
                + (first == null ? "" : " error=" + first.toString().replace('\n', ' '));
    }
}
