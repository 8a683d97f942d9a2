import java.io.FileWriter;
import java.io.Writer;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import org.apache.avro.ipc.NettyTransceiver;
import org.apache.avro.ipc.specific.SpecificRequestor;
import org.apache.spark.streaming.flume.sink.EventBatch;
import org.apache.spark.streaming.flume.sink.SparkFlumeProtocol;
import org.apache.spark.streaming.flume.sink.SparkSinkEvent;

/**
 * A client of a Spark sink, made of Spark's generated classes, that answers as it is told.
 *
 * <p>{@code SparkSinkClient PORT RECEIVED N ANSWERS}: asks for at most N events, once for each word of ANSWERS (parted by
 * commas), and answers so: {@code ack}, {@code nack}, {@code silence} (asks again), {@code hang} (keeps the connection,
 * asks for nothing more). A number before it repeats it, as in {@code 10*ack}. RECEIVED gets a line for each event,
 * {@code <sequence number> <answer> <number of headers> <body>}, or {@code <error message>} after a tab. Ends when all is
 * answered.
 */
public final class SparkSinkClient {
  public static void main(String[] args) throws Exception {
    InetSocketAddress address = new InetSocketAddress("127.0.0.1", Integer.parseInt(args[0]));
    int n = Integer.parseInt(args[2]);
    NettyTransceiver transceiver = new NettyTransceiver(address, 10_000L);
    SparkFlumeProtocol client = SpecificRequestor.getClient(SparkFlumeProtocol.class, transceiver);
    try (Writer received = new FileWriter(args[1])) {
      for (String answer : args[3].split(",")) {
        int star = answer.indexOf('*');
        int times = star < 0 ? 1 : Integer.parseInt(answer.substring(0, star));
        for (int time = 0; time < times; time++) {
          exchange(client, n, answer.substring(star + 1), received);
        }
      }
    }
    transceiver.close();
    System.exit(0);
  }

  private static void exchange(SparkFlumeProtocol client, int n, String answer, Writer received) throws Exception {
    EventBatch batch = client.getEventBatch(n);
    String sequence = batch.getSequenceNumber().toString();
    if (batch.getErrorMsg().length() > 0) {
      received.write("\t" + batch.getErrorMsg() + "\n");
      received.flush();
      return;
    }
    for (SparkSinkEvent event : batch.getEvents()) {
      String body = StandardCharsets.UTF_8.decode(event.getBody().duplicate()).toString();
      received.write(sequence + " " + answer + " " + event.getHeaders().size() + " " + body + "\n");
    }
    // Written down before it is answered for: what was acknowledged is known, whenever this program dies.
    received.flush();
    switch (answer) {
      case "ack":
        client.ack(sequence);
        break;
      case "nack":
        client.nack(sequence);
        break;
      case "silence":
        break;
      case "hang":
        Thread.sleep(Long.MAX_VALUE);
        break;
      default:
        throw new IllegalArgumentException(answer);
    }
  }
}
