import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.security.KeyStore;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.TrustManagerFactory;

/**
 * Says something over TLS, and writes down what is answered.
 *
 * <p>{@code TlsSay TRUSTSTORE PASSWORD PORT SAID ANSWER …}: sends the file SAID to PORT of this machine, says that no more
 * comes, and writes what it reads until the end to the file ANSWER; once for each three arguments.
 */
public final class TlsSay {
  public static void main(String[] args) throws Exception {
    KeyStore store = KeyStore.getInstance("PKCS12");
    try (InputStream file = new FileInputStream(args[0])) {
      store.load(file, args[1].toCharArray());
    }
    TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
    trust.init(store);
    SSLContext context = SSLContext.getInstance("TLS");
    context.init(null, trust.getTrustManagers(), null);
    for (int next = 2; next < args.length; next += 3) {
      int port = Integer.parseInt(args[next]);
      try (SSLSocket socket = (SSLSocket) context.getSocketFactory().createSocket("127.0.0.1", port);
          OutputStream answer = new FileOutputStream(args[next + 2])) {
        socket.startHandshake();
        OutputStream out = socket.getOutputStream();
        out.write(Files.readAllBytes(Paths.get(args[next + 1])));
        out.flush();
        socket.shutdownOutput();
        socket.getInputStream().transferTo(answer);
      } catch (IOException problem) {
        throw new IOException(args[next + 2] + " from port " + port, problem);
      }
    }
  }
}
