// Writes what java.util.regex (JDK 17) makes of patterns.txt and texts.txt:
//   javac -d /tmp Golden.java && java -cp /tmp Golden patterns.txt texts.txt > expected.tsv
// Per pattern and text: pattern, text, groups of the first match, the text with every match in angle brackets.
import java.io.PrintStream;
import java.nio.file.*;
import java.util.regex.*;

public final class Golden {
    private static final String PLAIN = "\n\r\t\u0085\u2028", WRITTEN = "nrtel";

    public static void main(String[] args) throws Exception {
        PrintStream out = new PrintStream(System.out, true, "UTF-8");
        for (String pattern : Files.readAllLines(Paths.get(args[0]))) {
            Pattern compiled;
            try {
                compiled = Pattern.compile(pattern);
            } catch (PatternSyntaxException refused) {
                out.println(pattern + "\trefused");
                continue;
            }
            for (String text : Files.readAllLines(Paths.get(args[1]))) {
                Matcher matcher = compiled.matcher(read(text));
                String replaced = matcher.replaceAll("<$0>");
                StringBuilder groups = new StringBuilder("none");
                matcher.reset();
                if (matcher.find()) {
                    groups = new StringBuilder("found");
                    for (int group = 1; group <= matcher.groupCount(); group++) {
                        groups.append('|').append(matcher.group(group) == null ? "-" : written(matcher.group(group)));
                    }
                }
                out.println(pattern + "\t" + text + "\t" + groups + "\t" + written(replaced));
            }
        }
    }

    /** A tilde and a letter stand for a character that would break a line. */
    private static String read(String text) {
        for (int i = 0; i < PLAIN.length(); i++) text = text.replace("~" + WRITTEN.charAt(i), "" + PLAIN.charAt(i));
        return text;
    }

    private static String written(String text) {
        for (int i = 0; i < PLAIN.length(); i++) text = text.replace("" + PLAIN.charAt(i), "~" + WRITTEN.charAt(i));
        return text;
    }
}
