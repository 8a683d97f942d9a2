import java.io.FileWriter;
import java.io.Writer;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import org.apache.avro.ipc.Responder;
import org.apache.avro.ipc.Server;
import org.apache.avro.ipc.specific.SpecificResponder;
import org.apache.flume.source.avro.AvroFlumeEvent;
import org.apache.flume.source.avro.AvroSourceProtocol;
import org.apache.flume.source.avro.Status;

/**
 * A server of Flume's protocol, made of its own classes, that answers as it is told.
 *
 * <p>{@code AvroReceiver PORT RECEIVED DELAY FAILURES}: each call is answered after DELAY milliseconds, the first
 * FAILURES calls with FAILED. RECEIVED gets a line for each event of a call that was answered with OK:
 * {@code append|batch <number of headers> <body>}.
 */
public final class AvroReceiver implements AvroSourceProtocol {
  private final Writer received;
  private final long delayMillis;
  private int failures;

  private AvroReceiver(Writer received, long delayMillis, int failures) {
    this.received = received;
    this.delayMillis = delayMillis;
    this.failures = failures;
  }

  public static void main(String[] args) throws Exception {
    AvroReceiver receiver =
        new AvroReceiver(new FileWriter(args[1]), Long.parseLong(args[2]), Integer.parseInt(args[3]));
    Responder responder = new SpecificResponder(AvroSourceProtocol.class, receiver);
    InetSocketAddress address = new InetSocketAddress("127.0.0.1", Integer.parseInt(args[0]));
    // It moved between the Avro of Flume 1.9 and that of 1.11.
    Class<?> netty;
    try {
      netty = Class.forName("org.apache.avro.ipc.netty.NettyServer");
    } catch (ClassNotFoundException older) {
      netty = Class.forName("org.apache.avro.ipc.NettyServer");
    }
    Server server = (Server) netty.getConstructor(Responder.class, InetSocketAddress.class).newInstance(responder, address);
    server.start();
    System.err.println("listening");
    server.join();
  }

  @Override
  public Status append(AvroFlumeEvent event) {
    return answer("append", Collections.singletonList(event));
  }

  @Override
  public Status appendBatch(List<AvroFlumeEvent> events) {
    return answer("batch", events);
  }

  private synchronized Status answer(String call, List<AvroFlumeEvent> events) {
    try {
      Thread.sleep(delayMillis);
      if (failures > 0) {
        failures--;
        return Status.FAILED;
      }
      for (AvroFlumeEvent event : events) {
        Map<CharSequence, CharSequence> headers = event.getHeaders();
        ByteBuffer body = event.getBody();
        received.write(call + " " + headers.size() + " " + StandardCharsets.UTF_8.decode(body.duplicate()) + "\n");
      }
      received.flush();
      return Status.OK;
    } catch (Exception failure) {
      throw new IllegalStateException(failure);
    }
  }
}
