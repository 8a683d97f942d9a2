import java.io.File;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import org.apache.flume.Event;
import org.apache.flume.api.RpcClient;
import org.apache.flume.api.RpcClientFactory;
import org.apache.flume.event.EventBuilder;

/**
 * Sends equal events by Flume's own clients, as fast as they are acknowledged.
 *
 * <p>{@code RpcBench PORT CLIENTS BATCH EVENTS…}: for each number of events, all clients together send that many in calls of
 * BATCH, each over a connection of its own that stays; then comes a line {@code done <step> <events> <nanoseconds>}. A step
 * but the first begins when there is a file {@code go<step>}. Bodies have 200 bytes.
 */
public final class RpcBench {
  public static void main(String[] args) throws Exception {
    int port = Integer.parseInt(args[0]);
    int clients = Integer.parseInt(args[1]);
    int batch = Integer.parseInt(args[2]);
    byte[] body = new String(new char[200]).replace('\0', 'x').getBytes(StandardCharsets.US_ASCII);
    List<Event> events = new ArrayList<>();
    for (int i = 0; i < batch; i++) {
      events.add(EventBuilder.withBody(body));
    }
    RpcClient[] all = new RpcClient[clients];
    for (int i = 0; i < clients; i++) {
      Properties properties = new Properties();
      properties.setProperty("hosts", "h");
      properties.setProperty("hosts.h", "127.0.0.1:" + port);
      properties.setProperty("batch-size", Integer.toString(batch));
      properties.setProperty("request-timeout", "120000");
      all[i] = RpcClientFactory.getInstance(properties);
    }
    for (int step = 3; step < args.length; step++) {
      while (step > 3 && !new File("go" + (step - 3)).exists()) {
        Thread.sleep(2);
      }
      long each = Long.parseLong(args[step]) / batch / clients;
      long begun = System.nanoTime();
      List<Thread> threads = new ArrayList<>();
      for (RpcClient client : all) {
        Thread thread = new Thread(() -> send(client, events, each));
        thread.start();
        threads.add(thread);
      }
      for (Thread thread : threads) {
        thread.join();
      }
      System.out.println("done " + (step - 3) + " " + each * batch * clients + " " + (System.nanoTime() - begun));
    }
    System.exit(0);
  }

  private static void send(RpcClient client, List<Event> events, long calls) {
    try {
      for (long call = 0; call < calls; call++) {
        if (events.size() == 1) {
          client.append(events.get(0));
        } else {
          client.appendBatch(events);
        }
      }
    } catch (Exception problem) {
      problem.printStackTrace();
      System.exit(3);
    }
  }
}
