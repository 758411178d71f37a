import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.MongoVersion;
import de.bwaldvogel.mongo.backend.memory.MemoryBackend;
import java.io.ByteArrayInputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Base64;
import java.util.List;

/**
 * What speaks as MongoDB does and keeps everything in memory. It takes a file with a key and its certificate where it
 * is to speak TLS; it says where it listens.
 */
public class Server {
    public static void main(String[] arguments) throws Exception {
        MemoryBackend backend = new MemoryBackend();
        // It implements less than that; drivers speak with nothing older.
        backend.version(new MongoVersion() {
            @Override public List<Integer> getVersionArray() { return List.of(4, 4, 0); }
            @Override public String toVersionString() { return "4.4.0"; }
            @Override public int getWireVersion() { return 9; }
        });
        MongoServer server = new MongoServer(backend);
        if (arguments.length > 0) {
            speakTls(server, Files.readString(Path.of(arguments[0])));
        }
        server.bind("127.0.0.1", 0);
        System.out.println("listens on " + server.getLocalAddress().getPort());
        Thread.currentThread().join();
    }

    private static void speakTls(MongoServer server, String pem) throws Exception {
        String end = "-----END PRIVATE KEY-----";
        String key = pem.substring(0, pem.indexOf(end)).replaceAll("-----.*-----|\\s", "");
        byte[] certificate = pem.substring(pem.indexOf(end) + end.length()).trim().getBytes(StandardCharsets.US_ASCII);
        server.enableSsl(
            KeyFactory.getInstance("EC").generatePrivate(new PKCS8EncodedKeySpec(Base64.getDecoder().decode(key))),
            null,
            (X509Certificate) CertificateFactory.getInstance("X.509")
                .generateCertificate(new ByteArrayInputStream(certificate)));
    }
}
