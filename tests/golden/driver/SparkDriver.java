// Talks to the real SparkSink, fed from a real memory channel, with the generated client that Spark's receiver uses.
import java.net.*;
import java.nio.file.*;
import java.util.*;
import org.apache.avro.Protocol;
import org.apache.avro.generic.*;
import org.apache.avro.ipc.*;
import org.apache.avro.ipc.generic.GenericRequestor;
import org.apache.avro.ipc.specific.SpecificRequestor;
import org.apache.flume.*;
import org.apache.flume.channel.MemoryChannel;
import org.apache.flume.event.EventBuilder;
import org.apache.spark.streaming.flume.sink.*;

public final class SparkDriver {
    public static void main(String[] args) throws Exception {
        Path out = Paths.get(args[0]);
        String prefix = args[1];
        Files.write(out.resolve(prefix + ".protocol.json"), SparkFlumeProtocol.PROTOCOL.toString().getBytes("UTF-8"));

        MemoryChannel channel = new MemoryChannel();
        channel.setName("c");
        channel.configure(new Context(Map.of("keep-alive", "0", "capacity", "100000", "transactionCapacity", "10000")));
        channel.start();
        SparkSink sink = new SparkSink();
        sink.setName("k");
        sink.setChannel(channel);
        sink.configure(new Context(Map.of("hostname", "127.0.0.1", "port", "0", "timeout", "5")));
        sink.start();
        Tee tee = new Tee(out, prefix, sink.getPort());
        InetSocketAddress address = new InetSocketAddress("127.0.0.1", tee.port());

        // Each label names what its first request carries; the first of a connection has a handshake.
        NettyTransceiver wire = new NettyTransceiver(address);
        SparkFlumeProtocol client = SpecificRequestor.getClient(SparkFlumeProtocol.class, wire);
        fill(channel, event("", Map.of()), event("hello", Map.of("k", "v")), event("gr\u00fc\u00df", Map.of("host", "a", "\u00fc", "")));
        tee.label("shake_get");
        EventBatch batch = client.getEventBatch(1000);
        tee.label("ack");
        client.ack(batch.getSequenceNumber());
        fill(channel, event("again", Map.of()));
        tee.label("get");
        batch = client.getEventBatch(1);
        tee.label("nack");
        client.nack(batch.getSequenceNumber());
        Thread.sleep(300); // the roll back runs in another thread
        Event[] many = new Event[300];
        for (int i = 0; i < many.length; i++) many[i] = event("line " + i + " " + "x".repeat(100), Map.of("i", "" + i));
        fill(channel, many);
        tee.label("get_many"); // answered in several buffers of 8 KiB
        batch = client.getEventBatch(1000);
        tee.label("ack_many");
        client.ack(batch.getSequenceNumber());
        fill(channel, event("x".repeat(100_000), Map.of()));
        tee.label("get_large");
        batch = client.getEventBatch(1000);
        tee.label("ack_large");
        client.ack(batch.getSequenceNumber());
        wire.close();

        // A client whose protocol text differs is refused, sends its text, and goes on.
        Protocol other = Protocol.parse(SparkFlumeProtocol.PROTOCOL.toString().replaceFirst("Licensed to", "Given to"));
        NettyTransceiver unknown = new NettyTransceiver(address);
        GenericRequestor generic = new GenericRequestor(other, unknown);
        GenericRecord nack = new GenericData.Record(other.getMessages().get("nack").getRequest());
        nack.put("sequenceNumber", "nobody1");
        tee.label("unknown_client_nack");
        generic.request("nack", nack);
        unknown.close();

        // A request beyond the transaction capacity is answered with an error batch.
        fill(channel, many);
        for (int i = 0; i < 35; i++) fill(channel, many);
        NettyTransceiver greedy = new NettyTransceiver(address);
        tee.label("shake_get_error");
        batch = SpecificRequestor.getClient(SparkFlumeProtocol.class, greedy).getEventBatch(20_000);
        System.out.println("error batch: " + batch.getErrorMsg());
        greedy.close();
        tee.close();
        System.exit(0);
    }

    private static Event event(String body, Map<String, String> headers) throws Exception {
        return EventBuilder.withBody(body.getBytes("UTF-8"), headers);
    }

    private static void fill(Channel channel, Event... events) {
        Transaction transaction = channel.getTransaction();
        transaction.begin();
        for (Event event : events) channel.put(event);
        transaction.commit();
        transaction.close();
    }
}
