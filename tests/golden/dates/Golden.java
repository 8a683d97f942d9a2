// Writes what java.text.SimpleDateFormat (JDK 17) reads after a pattern from a text:
//   javac -d /tmp Golden.java && java -Duser.timezone=Europe/Berlin -Duser.language=en -Duser.country=US -cp /tmp Golden cases.tsv > expected.tsv
// Per line: pattern, text, milliseconds since 1970 or "none"; "refused" for a pattern that is none.
import java.nio.file.*;
import java.text.*;

public final class Golden {
    public static void main(String[] args) throws Exception {
        for (String line : Files.readAllLines(Paths.get(args[0]))) {
            String[] fields = line.split("\t", -1);
            String read;
            try {
                read = String.valueOf(new SimpleDateFormat(fields[0]).parse(fields[1]).getTime());
            } catch (ParseException none) {
                read = "none";
            } catch (IllegalArgumentException refused) {
                read = "refused";
            }
            System.out.println(line + "\t" + read);
        }
    }
}
