// A proxy that stands between a real client and a real server and keeps every Netty frame in a file of its own.
import java.io.*;
import java.net.*;
import java.nio.file.*;
import java.util.*;

final class Tee implements Closeable {
    private final ServerSocket listener;
    private final Path directory;
    private final String prefix;
    private final int target;
    private final Map<String, Integer> counts = new TreeMap<>();
    private volatile String label = "none";

    Tee(Path directory, String prefix, int target) throws IOException {
        this.directory = directory;
        this.prefix = prefix;
        this.target = target;
        listener = new ServerSocket(0, 8, InetAddress.getLoopbackAddress());
        start(this::accept);
    }

    int port() { return listener.getLocalPort(); }

    /** Names the frames from now on: `prefix.label[-n].request.bin` and `.response.bin`. */
    void label(String label) { this.label = label; }

    private void accept() throws IOException {
        while (true) {
            Socket client = listener.accept();
            Socket server = new Socket(InetAddress.getLoopbackAddress(), target);
            start(() -> copy(client, server, "request"));
            start(() -> copy(server, client, "response"));
        }
    }

    private void copy(Socket from, Socket to, String direction) throws IOException {
        try (from; to) {
            DataInputStream in = new DataInputStream(from.getInputStream());
            while (true) {
                ByteArrayOutputStream bytes = new ByteArrayOutputStream();
                DataOutputStream frame = new DataOutputStream(bytes);
                frame.writeInt(in.readInt());
                int buffers = in.readInt();
                frame.writeInt(buffers);
                for (int i = 0; i < buffers; i++) {
                    int length = in.readInt();
                    frame.writeInt(length);
                    frame.write(in.readNBytes(length));
                }
                save(bytes.toByteArray(), direction);
                to.getOutputStream().write(bytes.toByteArray());
            }
        } catch (EOFException | SocketException end) {
            // The peer closed between two frames.
        }
    }

    private synchronized void save(byte[] frame, String direction) throws IOException {
        int nth = counts.merge(label + direction, 1, Integer::sum);
        String name = prefix + "." + label + (nth == 1 ? "" : "-" + nth) + "." + direction + ".bin";
        Files.write(directory.resolve(name), frame);
    }

    public void close() throws IOException { listener.close(); }

    private interface Task { void run() throws IOException; }

    private static void start(Task task) {
        Thread thread = new Thread(() -> {
            try { task.run(); } catch (IOException error) { if (!(error instanceof SocketException)) error.printStackTrace(); }
        });
        thread.setDaemon(true);
        thread.start();
    }
}
