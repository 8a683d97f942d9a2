import java.io.*;
import java.nio.*;
import java.nio.charset.*;
import java.nio.file.*;
import java.util.*;

/**
 * Makes nasty property files (hand-written ones and seeded random ones) and says how java.util.Properties reads them:
 * `<name>.properties` and `<name>.expected`, the latter one `key TAB value` per line, sorted, last duplicate wins,
 * everything outside printable ASCII and the backslash as \\uXXXX per UTF-16 unit, half a surrogate pair as \\ufffd.
 */
public final class Golden {
    static final String[] HAND = {
        "", "\n", "\\", "\\\n", "\\\n\n", "\\\n#c\nk=v\n", "a=1\\\n#x\n", "a=1\\", "a=1\\\\", "a=1\\\\\n b=2",
        "a=1\\\r\n  2\r\nb=3\rc=4", "a\\=b=c", "a\\:b:c", "a\\ b c", "a = : b", "a == b", "a : = b", "a =\tb \n",
        "  # c\n\t! d\n\fk = v", "=v", ":v", " = v", "k", "k=", "k \n", "k\\", "k\\\n=v", "k\\\n  \\\n  =v",
        "k=\\t\\n\\r\\f\\b\\x\\\"\\'\\q", "k=\\u0041\\u00e4\\u20AC\\uD83D\\uDE00", "k=\\uD83D", "k=\\uDE00x", "k=\\u12",
        "k=\\u12g4", "k=\\u", "\\u006b=v", "\\u003d=v", "k=\\u000a", "k=\\uuuu", "k=\\U0041", "a=1\na=2\na=3",
        "k=\u00e4\u20ac\ud83d\ude00", "\u00a0k=v\u00a0", "k\u2003=v", "k=a\\\n\n\nb=c", "k=a\\\n   \nb=c", "k=a\\\n\\\n\\\nb",
        "!\n#\\\nk=v", "#c\\\nk=v", "k=#v", "k=!v", "k#=v", "k = v  \t ", "k\\  = v", "k=a\u0000b", "k=a\u000bb",
        "k=\\ v", "k=\\\tv", "k\\\r\n v", "k\\\r v", "k=a\\\r\n\r\nb=c", "a1.sources.r1.re=\\\\d+\\.log", "a=\\#\\!\\=\\:",
        "\ufeffa=1\nb=2", "k=\\\\u0041", "k=\\\\\\u0041", "a:\nb=\\\n", "a\n\\ \nb", "\\\\=x", "\\\\\\=x=y", "k=\u0085x\u2028y",
    };
    static final String[] PIECES = {
        "\\", "\\", "\\\\", "=", ":", " ", "\t", "\f", "\n", "\n", "\r", "\r\n", "#", "!", "a", "b", "key", "\\u0041",
        "\\ud83d\\ude00", "\\u", "u00e9", "\u00e4", "\u20ac", "n", "t", "\\\n", "\\\r\n", "\n#", "a=1\n", "k", ".", "x y",
    };

    public static void main(String[] args) throws IOException {
        Path dir = Path.of(args[0]);
        for (int i = 0; i < HAND.length; i++) write(dir, String.format("hand-%03d", i), HAND[i].getBytes(StandardCharsets.UTF_8));
        Random random = new Random(1811);
        for (int i = 0; i < 300; i++) {
            StringBuilder text = new StringBuilder();
            for (int n = 1 + random.nextInt(24); n > 0; n--) text.append(PIECES[random.nextInt(PIECES.length)]);
            // Half of those with an umlaut become ISO-8859-1.
            Charset charset = i % 2 == 0 ? StandardCharsets.UTF_8 : StandardCharsets.ISO_8859_1;
            write(dir, String.format("random-%03d", i), text.toString().getBytes(charset));
        }
    }

    static void write(Path dir, String name, byte[] bytes) throws IOException {
        Files.write(dir.resolve(name + ".properties"), bytes);
        Files.writeString(dir.resolve(name + ".expected"), expected(bytes), StandardCharsets.US_ASCII);
    }

    static String expected(byte[] bytes) throws IOException {
        Properties properties = new Properties();
        try {
            String text = StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes)).toString();
            properties.load(new StringReader(text));
        } catch (CharacterCodingException notUtf8) {
            try {
                properties.load(new ByteArrayInputStream(bytes));
            } catch (IllegalArgumentException refused) {
                return "REFUSED\n";
            }
        } catch (IllegalArgumentException refused) {
            return "REFUSED\n";
        }
        TreeMap<String, String> sorted = new TreeMap<>();
        properties.forEach((key, value) -> sorted.put(escape((String) key), escape((String) value)));
        StringBuilder out = new StringBuilder();
        sorted.forEach((key, value) -> out.append(key).append('\t').append(value).append('\n'));
        return out.toString();
    }

    static String escape(String text) {
        StringBuilder out = new StringBuilder();
        for (int i = 0; i < text.length(); i++) {
            char c = text.charAt(i);
            boolean pair = i + 1 < text.length() && Character.isSurrogatePair(c, text.charAt(i + 1));
            if (pair) {
                out.append(String.format("\\u%04x\\u%04x", (int) c, (int) text.charAt(++i)));
            } else if (Character.isSurrogate(c)) {
                out.append("\\ufffd");
            } else if (c >= 0x20 && c < 0x7f && c != '\\') {
                out.append(c);
            } else {
                out.append(String.format("\\u%04x", (int) c));
            }
        }
        return out.toString();
    }
}
