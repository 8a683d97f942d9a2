import java.io.File;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.Arrays;
import java.util.List;
import org.apache.spark.SparkConf;
import org.apache.spark.storage.StorageLevel;
import org.apache.spark.streaming.Durations;
import org.apache.spark.streaming.api.java.JavaPairDStream;
import org.apache.spark.streaming.api.java.JavaReceiverInputDStream;
import org.apache.spark.streaming.api.java.JavaStreamingContext;
import org.apache.spark.streaming.flume.FlumeUtils;
import org.apache.spark.streaming.flume.SparkFlumeEvent;
import scala.Tuple2;

/**
 * Spark's word count over Flume.
 *
 * <p>{@code SparkWordCount poll|push|push-deflate PORTS DIRECTORY}: PORTS parted by commas, one for push. Below DIRECTORY are its
 * checkpoint, with the receiver's log, from which it goes on when it is started again, and {@code counts/<time>}: a line
 * {@code word TAB count} for each word of a batch, the same file when Spark runs the batch again.
 */
public final class SparkWordCount {
  public static void main(String[] args) throws Exception {
    String checkpoint = new File(args[2], "checkpoint").getPath();
    JavaStreamingContext context =
        JavaStreamingContext.getOrCreate(checkpoint, () -> create(args[0], args[1], args[2], checkpoint));
    context.sparkContext().setLogLevel("WARN");
    context.start();
    System.err.println("word count runs");
    context.awaitTermination();
  }

  private static JavaStreamingContext create(String mode, String ports, String directory, String checkpoint) {
    SparkConf conf = new SparkConf().setAppName("SparkWordCount").setMaster("local[3]");
    conf.set("spark.ui.enabled", "false").set("spark.driver.host", "127.0.0.1");
    conf.set("spark.local.dir", new File(directory, "local").getPath());
    conf.set("spark.sql.warehouse.dir", new File(directory, "warehouse").getPath());
    conf.set("spark.streaming.receiver.writeAheadLog.enable", "true");
    JavaStreamingContext context = new JavaStreamingContext(conf, Durations.milliseconds(500));
    context.checkpoint(checkpoint);
    JavaReceiverInputDStream<SparkFlumeEvent> events;
    if (mode.equals("poll")) {
      InetSocketAddress[] addresses = Arrays.stream(ports.split(","))
          .map(port -> new InetSocketAddress("127.0.0.1", Integer.parseInt(port)))
          .toArray(InetSocketAddress[]::new);
      events = FlumeUtils.createPollingStream(context, addresses, StorageLevel.MEMORY_AND_DISK_SER(), 1000, 5);
    } else {
      events = FlumeUtils.createStream(
          context, "127.0.0.1", Integer.parseInt(ports), StorageLevel.MEMORY_AND_DISK_SER(), mode.equals("push-deflate"));
    }
    JavaPairDStream<String, Long> counts = events
        .flatMap(event -> Arrays.asList(text(event).trim().split("\\s+")).iterator())
        .filter(word -> !word.isEmpty())
        .mapToPair(word -> new Tuple2<>(word, 1L))
        .reduceByKey(Long::sum);
    counts.foreachRDD((rdd, time) -> {
      List<Tuple2<String, Long>> rows = rdd.collect();
      if (rows.isEmpty()) {
        return;
      }
      StringBuilder lines = new StringBuilder();
      for (Tuple2<String, Long> row : rows) {
        lines.append(row._1()).append('\t').append(row._2()).append('\n');
      }
      Path folder = new File(directory, "counts").toPath();
      Files.createDirectories(folder);
      Path hidden = folder.resolve("." + time.milliseconds());
      Files.write(hidden, lines.toString().getBytes(StandardCharsets.UTF_8));
      Files.move(hidden, folder.resolve(Long.toString(time.milliseconds())), StandardCopyOption.ATOMIC_MOVE);
    });
    return context;
  }

  private static String text(SparkFlumeEvent event) {
    return StandardCharsets.UTF_8.decode(event.event().getBody().duplicate()).toString();
  }
}
