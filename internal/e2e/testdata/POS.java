// SPDX-License-Identifier: Apache-2.0
// Copyright The hsmtls-go Authors

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.net.http.WebSocket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyFactory;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Base64;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.TimeUnit;
import javax.net.ssl.KeyManager;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/**
 * A POS in Java 17, with nothing but what the JDK has.
 *
 * <pre>
 * java -Djdk.net.hosts.file=HOSTS POS.java pair NAME:PORT ROOT STORE POSID CODE
 * java -Djdk.net.hosts.file=HOSTS POS.java ask  NAME:PORT ROOT STORE
 * </pre>
 *
 * NAME is the device name of the terminal, which Java compares with its
 * certificate; the file HOSTS says at which address it is. "pair" pairs over wss
 * and puts key and certificates into the PKCS #12 file STORE, whose password is on
 * standard input. "ask" makes a request over https and opens a WebSocket, and
 * prints what comes back.
 */
public final class POS {
    private static final long SECONDS = 60;

    public static void main(String[] args) throws Exception {
        String terminal = args[1];
        Path root = Path.of(args[2]);
        Path store = Path.of(args[3]);
        char[] password = new String(System.in.readAllBytes(), StandardCharsets.US_ASCII).strip().toCharArray();
        if (args[0].equals("pair")) {
            HttpClient nobody = client(root, null);
            String request = "{\"posId\":\"" + args[4] + "\",\"setupCode\":\"" + args[5] + "\"}";
            save(exchange(nobody, terminal, request), store, password);
            return;
        }
        HttpClient pos = client(root, keys(store, password));
        HttpResponse<String> answer = pos.send(
                HttpRequest.newBuilder(URI.create("https://" + terminal + "/")).build(), HttpResponse.BodyHandlers.ofString());
        System.out.println("https: " + answer.statusCode() + " " + answer.body());
        System.out.println("wss: " + exchange(pos, terminal, null));
    }

    /** A client that believes the root alone, and presents a certificate if it has keys. */
    private static HttpClient client(Path root, KeyManager[] keys) throws GeneralSecurityException, IOException {
        KeyStore roots = KeyStore.getInstance("PKCS12");
        roots.load(null, null);
        roots.setCertificateEntry("root", certificates(Files.readAllBytes(root))[0]);
        TrustManagerFactory trust = TrustManagerFactory.getInstance("PKIX");
        trust.init(roots);
        SSLContext context = SSLContext.getInstance("TLSv1.2");
        context.init(keys, trust.getTrustManagers(), null);
        return HttpClient.newBuilder().sslContext(context).followRedirects(HttpClient.Redirect.NEVER).build();
    }

    private static KeyManager[] keys(Path store, char[] password) throws GeneralSecurityException, IOException {
        KeyStore own = KeyStore.getInstance(store.toFile(), password);
        KeyManagerFactory keys = KeyManagerFactory.getInstance("PKIX");
        keys.init(own, password);
        return keys.getKeyManagers();
    }

    /** Sends a text message, if there is one, and returns the answer once the terminal has closed normally. */
    private static String exchange(HttpClient client, String terminal, String message) throws Exception {
        CompletableFuture<String> answer = new CompletableFuture<>();
        WebSocket socket = client.newWebSocketBuilder()
                .buildAsync(URI.create("wss://" + terminal + "/"), new Answer(answer)).get(SECONDS, TimeUnit.SECONDS);
        if (message != null) {
            socket.sendText(message, true).get(SECONDS, TimeUnit.SECONDS);
        }
        return answer.get(SECONDS, TimeUnit.SECONDS);
    }

    private record Answer(StringBuilder text, CompletableFuture<String> whole) implements WebSocket.Listener {
        Answer(CompletableFuture<String> whole) {
            this(new StringBuilder(), whole);
        }

        @Override
        public CompletionStage<?> onText(WebSocket socket, CharSequence part, boolean last) {
            text.append(part);
            socket.request(1);
            return null;
        }

        @Override
        public CompletionStage<?> onClose(WebSocket socket, int code, String reason) {
            if (code == WebSocket.NORMAL_CLOSURE) {
                whole.complete(text.toString());
            } else {
                whole.completeExceptionally(new IOException("close code " + code + ": " + text));
            }
            return null;
        }

        @Override
        public void onError(WebSocket socket, Throwable error) {
            whole.completeExceptionally(error);
        }
    }

    /** Keeps what the terminal has sent: the key comes first, its certificate next. */
    private static void save(String pem, Path file, char[] password) throws GeneralSecurityException, IOException {
        String end = "-----END RSA PRIVATE KEY-----\n";
        int cut = pem.indexOf(end) + end.length();
        byte[] pkcs1 = Base64.getMimeDecoder().decode(pem.substring(0, cut).replaceAll("-----[A-Z ]+-----", ""));
        Certificate[] chain = certificates(pem.substring(cut).getBytes(StandardCharsets.US_ASCII));
        KeyStore own = KeyStore.getInstance("PKCS12");
        own.load(null, null);
        own.setKeyEntry("pos", KeyFactory.getInstance("RSA").generatePrivate(new PKCS8EncodedKeySpec(pkcs8(pkcs1))), password, chain);
        try (OutputStream out = Files.newOutputStream(file)) {
            own.store(out, password);
        }
    }

    /** Wraps an RSAPrivateKey (PKCS #1), which Java cannot read, into a PrivateKeyInfo (RFC 5208), which it can. */
    private static byte[] pkcs8(byte[] pkcs1) {
        byte[] version = {0x02, 0x01, 0x00};
        byte[] rsaEncryption = {0x30, 0x0d, 0x06, 0x09, 0x2a, (byte) 0x86, 0x48, (byte) 0x86, (byte) 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00};
        return der(0x30, version, rsaEncryption, der(0x04, pkcs1));
    }

    private static byte[] der(int tag, byte[]... parts) {
        ByteArrayOutputStream content = new ByteArrayOutputStream();
        for (byte[] part : parts) {
            content.writeBytes(part);
        }
        ByteArrayOutputStream all = new ByteArrayOutputStream();
        all.write(tag);
        all.write(0x82); // two bytes of length follow: a key is longer than 255 bytes and shorter than 65536
        all.write(content.size() >> 8);
        all.write(content.size());
        all.writeBytes(content.toByteArray());
        return all.toByteArray();
    }

    private static Certificate[] certificates(byte[] pem) throws GeneralSecurityException {
        return CertificateFactory.getInstance("X.509").generateCertificates(new ByteArrayInputStream(pem)).toArray(new Certificate[0]);
    }
}
