// Sends with the real RPC client to a real Avro responder of the same protocol.
import java.net.*;
import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.util.*;
import org.apache.avro.ipc.Server;
import org.apache.avro.ipc.netty.NettyServer;
import org.apache.avro.ipc.specific.SpecificResponder;
import org.apache.flume.*;
import org.apache.flume.api.*;
import org.apache.flume.event.EventBuilder;
import org.apache.flume.source.avro.*;

public final class FlumeDriver {
    public static void main(String[] args) throws Exception {
        Path out = Paths.get(args[0]);
        String prefix = args[1];
        Files.write(out.resolve(prefix + ".protocol.json"), AvroSourceProtocol.PROTOCOL.toString().getBytes("UTF-8"));
        AvroSourceProtocol handler = new AvroSourceProtocol() {
            public Status append(AvroFlumeEvent event) {
                if (event.getHeaders().toString().contains("refuse")) return Status.FAILED;
                if (event.getHeaders().toString().contains("throw")) throw new IllegalStateException("channel is full");
                return Status.OK;
            }
            public Status appendBatch(List<AvroFlumeEvent> events) { return Status.OK; }
        };
        Server server = new NettyServer(new SpecificResponder(AvroSourceProtocol.class, handler), new InetSocketAddress("127.0.0.1", 0));
        server.start();
        Tee tee = new Tee(out, prefix, server.getPort());

        RpcClient client = open(tee);
        tee.label("shake_append");
        client.append(event("hi", Map.of("k", "v")));
        tee.label("append");
        client.append(event("", Map.of()));
        tee.label("append_batch");
        client.appendBatch(List.of(event("one", Map.of()), event("two", Map.of("host", "a", "\u00fc", "")), event("three", Map.of())));
        List<Event> many = new ArrayList<>();
        for (int i = 0; i < 300; i++) many.add(event("line " + i + " " + "x".repeat(100), Map.of("i", "" + i)));
        tee.label("append_batch_many");
        client.appendBatch(many);
        tee.label("append_failed");
        attempt(client, event("no", Map.of("refuse", "1")));
        client = open(tee);
        tee.label("shake_append_error");
        attempt(client, event("no", Map.of("throw", "1")));
        tee.close();
        System.exit(0);
    }

    private static RpcClient open(Tee tee) {
        return RpcClientFactory.getDefaultInstance("127.0.0.1", tee.port(), 1000);
    }

    private static void attempt(RpcClient client, Event event) {
        try {
            client.append(event);
            throw new AssertionError("delivered");
        } catch (EventDeliveryException expected) {
            System.out.println("refused: " + expected);
        }
        client.close();
    }

    private static Event event(String body, Map<String, String> headers) {
        return EventBuilder.withBody(body.getBytes(StandardCharsets.UTF_8), headers);
    }
}
