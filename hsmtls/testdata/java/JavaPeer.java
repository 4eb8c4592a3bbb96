// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.InetAddress;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyFactory;
import java.security.KeyStore;
import java.security.PrivateKey;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Base64;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.SSLServerSocket;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.TrustManagerFactory;

/**
 * A mutual TLS 1.2 peer on JSSE. As a server it prints where it listens and
 * echoes; as a client it dials once for every line on its standard input and
 * prints a line when the connection has carried data both ways.
 *
 * <pre>
 * JavaPeer server          CHAIN KEY ROOT
 * JavaPeer client PORT     CHAIN KEY ROOT
 * </pre>
 */
public final class JavaPeer {
    private static final char[] PASSWORD = "password".toCharArray(); // of a key store in memory
    private static final int TIMEOUT_MS = 20_000;

    public static void main(String[] args) throws Exception {
        int files = args.length - 3;
        SSLContext context = context(args[files], args[files + 1], args[files + 2]);
        if (args[0].equals("server")) {
            serve(context);
        } else {
            dialForEachLine(context, Integer.parseInt(args[1]));
        }
    }

    private static void serve(SSLContext context) throws IOException {
        SSLServerSocket listener = (SSLServerSocket)
                context.getServerSocketFactory().createServerSocket(0, 50, InetAddress.getByName("127.0.0.1"));
        listener.setNeedClientAuth(true);
        listener.setEnabledProtocols(new String[] {"TLSv1.2"});
        System.out.println("ACCEPT 127.0.0.1:" + listener.getLocalPort());
        while (true) {
            SSLSocket socket = (SSLSocket) listener.accept();
            new Thread(() -> echo(socket)).start();
        }
    }

    private static void echo(SSLSocket socket) {
        try (socket) {
            socket.setSoTimeout(TIMEOUT_MS);
            socket.getInputStream().transferTo(socket.getOutputStream());
        } catch (IOException e) {
            System.out.println("connection: " + e);
        }
    }

    private static void dialForEachLine(SSLContext context, int port) throws IOException {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.US_ASCII));
        while (lines.readLine() != null) {
            try {
                dial(context, port);
                System.out.println("DONE");
            } catch (IOException e) {
                System.out.println("FAILED " + e);
            }
        }
    }

    private static void dial(SSLContext context, int port) throws IOException {
        try (SSLSocket socket = (SSLSocket) context.getSocketFactory().createSocket("127.0.0.1", port)) {
            socket.setSoTimeout(TIMEOUT_MS);
            socket.setEnabledProtocols(new String[] {"TLSv1.2"});
            SSLParameters parameters = socket.getSSLParameters();
            parameters.setEndpointIdentificationAlgorithm("HTTPS");
            socket.setSSLParameters(parameters);
            byte[] line = "noon\n".getBytes(StandardCharsets.US_ASCII);
            socket.getOutputStream().write(line);
            byte[] answer = socket.getInputStream().readNBytes(line.length);
            if (!java.util.Arrays.equals(line, answer)) {
                throw new IOException("answered something else");
            }
        }
    }

    private static SSLContext context(String chain, String key, String root)
            throws GeneralSecurityException, IOException {
        KeyStore own = KeyStore.getInstance("PKCS12");
        own.load(null, null);
        own.setKeyEntry("own", key(key), PASSWORD, certificates(chain));
        KeyManagerFactory keys = KeyManagerFactory.getInstance("PKIX");
        keys.init(own, PASSWORD);

        KeyStore roots = KeyStore.getInstance("PKCS12");
        roots.load(null, null);
        roots.setCertificateEntry("root", certificates(root)[0]);
        TrustManagerFactory trust = TrustManagerFactory.getInstance("PKIX");
        trust.init(roots);

        SSLContext context = SSLContext.getInstance("TLSv1.2");
        context.init(keys.getKeyManagers(), trust.getTrustManagers(), null);
        return context;
    }

    private static Certificate[] certificates(String file) throws GeneralSecurityException, IOException {
        byte[] pem = Files.readAllBytes(Path.of(file));
        return CertificateFactory.getInstance("X.509")
                .generateCertificates(new ByteArrayInputStream(pem)).toArray(new Certificate[0]);
    }

    private static PrivateKey key(String file) throws GeneralSecurityException, IOException {
        String pem = Files.readString(Path.of(file)).replaceAll("-----[A-Z ]+-----", "");
        PKCS8EncodedKeySpec der = new PKCS8EncodedKeySpec(Base64.getMimeDecoder().decode(pem));
        try {
            return KeyFactory.getInstance("RSA").generatePrivate(der);
        } catch (GeneralSecurityException e) {
            return KeyFactory.getInstance("EC").generatePrivate(der);
        }
    }
}
