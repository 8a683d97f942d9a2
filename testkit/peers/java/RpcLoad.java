import java.io.File;
import java.io.FileReader;
import java.io.FileWriter;
import java.io.IOException;
import java.io.Writer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.flume.Event;
import org.apache.flume.EventDeliveryException;
import org.apache.flume.FlumeException;
import org.apache.flume.api.RpcClient;
import org.apache.flume.api.RpcClientFactory;
import org.apache.flume.event.EventBuilder;

/**
 * Sends events by Flume's own client and writes down what was acknowledged.
 *
 * <p>{@code RpcLoad CLIENT.PROPERTIES ACKNOWLEDGED STEP…}, a step being {@code key=value,…}: {@code count} events in calls of
 * {@code batch}, or one by one ({@code single=true}). A body is {@code <prefix><number>} filled up with dots to {@code body}
 * bytes, or {@code empty=true}; each event has {@code headers} headers. Between two calls it waits {@code pause} ms; a step
 * with {@code after} begins once there is a file of this name. A batch that fails is sent again, by a new client if
 * the old one is not active any more, until it was refused {@code attempts} times: then the program ends with 3.
 * ACKNOWLEDGED gets the ids of each batch as soon as it is acknowledged, and ACKNOWLEDGED.refused a line for each failure.
 */
public final class RpcLoad {
  private final Properties properties = new Properties();
  private final Writer acknowledged;
  private final Writer refused;
  private RpcClient client;
  /** The last failure that was printed; it may come a hundred times. */
  private String told = "";

  private RpcLoad(String clientProperties, String acknowledged) throws IOException {
    try (FileReader reader = new FileReader(clientProperties)) {
      properties.load(reader);
    }
    // Flume's client cuts a batch into calls of 100, unless it is told.
    properties.putIfAbsent("batch-size", "100000");
    this.acknowledged = new FileWriter(acknowledged);
    this.refused = new FileWriter(acknowledged + ".refused");
  }

  public static void main(String[] args) throws Exception {
    RpcLoad load = new RpcLoad(args[0], args[1]);
    for (String step : Arrays.asList(args).subList(2, args.length)) {
      Map<String, String> options = new HashMap<>();
      for (String option : step.split(",")) {
        options.put(option.substring(0, option.indexOf('=')), option.substring(option.indexOf('=') + 1));
      }
      load.send(options);
    }
    load.client.close();
    System.exit(0);
  }

  private void send(Map<String, String> options) throws Exception {
    int count = Integer.parseInt(options.getOrDefault("count", "1"));
    int batch = Integer.parseInt(options.getOrDefault("batch", "100"));
    int bodyBytes = Integer.parseInt(options.getOrDefault("body", "0"));
    int headers = Integer.parseInt(options.getOrDefault("headers", "0"));
    int attempts = Integer.parseInt(options.getOrDefault("attempts", "1000"));
    boolean single = Boolean.parseBoolean(options.getOrDefault("single", "false"));
    boolean empty = Boolean.parseBoolean(options.getOrDefault("empty", "false"));
    String prefix = options.getOrDefault("prefix", "e");
    int pause = Integer.parseInt(options.getOrDefault("pause", "0"));
    while (options.containsKey("after") && !new File(options.get("after")).exists()) {
      Thread.sleep(10);
    }
    for (int first = 0; first < count; first += batch) {
      StringBuilder ids = new StringBuilder();
      List<Event> events = new ArrayList<>();
      for (int number = first; number < Math.min(count, first + batch); number++) {
        String id = prefix + number;
        ids.append(id).append('\n');
        events.add(event(id, empty, bodyBytes, headers));
      }
      int failures = 0;
      while (!sent(events, single)) {
        if (++failures >= attempts) {
          System.exit(3);
        }
        Thread.sleep(20);
      }
      acknowledged.write(ids.toString());
      acknowledged.flush();
      Thread.sleep(pause);
    }
  }

  private boolean sent(List<Event> events, boolean single) throws IOException {
    try {
      if (client == null) {
        client = RpcClientFactory.getInstance(properties);
      }
      if (single) {
        for (Event event : events) {
          client.append(event);
        }
      } else {
        client.appendBatch(events);
      }
      return true;
    } catch (EventDeliveryException | FlumeException failure) {
      String story = story(failure);
      if (!story.equals(told)) {
        System.err.println(story);
        told = story;
      }
      refused.write(story + "\n");
      refused.flush();
      if (client != null && !client.isActive()) {
        client.close();
        client = null;
      }
      return false;
    }
  }

  private static Event event(String id, boolean empty, int bodyBytes, int headers) {
    byte[] name = id.getBytes(StandardCharsets.UTF_8);
    byte[] body = empty ? new byte[0] : Arrays.copyOf(name, Math.max(name.length, bodyBytes));
    Arrays.fill(body, Math.min(name.length, body.length), body.length, (byte) '.');
    Map<String, String> map = new HashMap<>();
    for (int header = 0; header < headers; header++) {
      map.put("h" + header, "value of " + header);
    }
    return EventBuilder.withBody(body, map);
  }

  /** The messages of a failure and of its causes, in one line. */
  private static String story(Throwable failure) {
    StringBuilder story = new StringBuilder();
    for (Throwable cause = failure; cause != null; cause = cause.getCause()) {
      story.append(story.length() == 0 ? "" : " < ").append(cause.toString().replace('\n', ' '));
    }
    return story.toString();
  }
}
