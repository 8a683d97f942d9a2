// Writes what Flume 1.11.0 and Joda-Time 2.9.9 (JDK 17) make of escapes in paths and of times in texts:
//   CP=flume-ng-core-1.11.0.jar:flume-ng-sdk-1.11.0.jar:joda-time-2.9.9.jar and what they need
//   javac -cp $CP -d /tmp Golden.java && java -cp $CP:/tmp Golden .
import java.nio.file.*;
import java.util.*;
import org.apache.flume.formatter.output.BucketPath;
import org.joda.time.DateTimeZone;
import org.joda.time.format.DateTimeFormat;

public final class Golden {
    public static void main(String[] args) throws Exception {
        Path dir = Paths.get(args[0]);
        Files.write(dir.resolve("paths.tsv"), paths());
        Files.write(dir.resolve("times.tsv"), times());
    }

    /** Template, zone, rounding, timestamp, path. */
    private static List<String> paths() {
        List<String> lines = new ArrayList<>();
        String all = "%a|%A|%b|%B|%c|%d|%e|%D|%H|%I|%j|%k|%l|%m|%n|%M|%p|%s|%S|%t|%y|%Y|%z|%%";
        String odd = "%{host}|%{a.b-c_d}|%{none}|%q|%1|%_|%-|% |%{no name}|%{host|x%{host}y%|100%%";
        long[] stamps = {1, 59_999, 951_782_400_000L, 1_393_677_347_250L, 1_394_960_399_999L, 1_414_285_200_000L, 1_735_689_599_999L};
        for (String zone : new String[] {"UTC", "Europe/Berlin", "Asia/Kolkata", "America/New_York", "GMT+3"}) {
            for (String round : new String[] {"none", "10 second", "7 minute", "60 minute", "5 hour"}) {
                for (long stamp : stamps) {
                    Map<String, String> headers = new HashMap<>();
                    headers.put("timestamp", "" + stamp);
                    headers.put("host", "web-1");
                    headers.put("a.b-c_d", "v");
                    int unit = round.endsWith("hour") ? Calendar.HOUR_OF_DAY : round.endsWith("minute") ? Calendar.MINUTE : Calendar.SECOND;
                    boolean rounds = !round.equals("none");
                    int value = rounds ? Integer.parseInt(round.split(" ")[0]) : 1;
                    for (String template : new String[] {all, odd}) {
                        if (template == odd && rounds) continue;
                        String path = BucketPath.escapeString(template, headers, TimeZone.getTimeZone(zone), rounds, unit, value, false);
                        lines.add(String.join("\t", template, zone, round, "" + stamp, path));
                    }
                }
            }
        }
        return lines;
    }

    /** Pattern, zone, text, milliseconds or `none`. */
    private static List<String> times() {
        String[][] patterns = {
            {"yyyy-MM-dd HH:mm:ss,SSS", "2014-03-01 12:30:05,250", "2014-3-1 2:3:5,2", "2014-03-30 02:30:00,000", "2014-10-26 02:30:00,000",
                "12014-03-01 12:30:05,250", "-0014-03-01 12:30:05,250", "+2014-03-01 12:30:05,250", "2014-03-01 24:00:00,000", "2014-03-01 12:30:60,000", "14-03-01 12:30:05,2505", "2014-02-29 00:00:00,000"},
            {"yy-MM-dd", "14-03-01", "2014-03-01", "99-03-01", "4-03-01", "+14-03-01"},
            {"yyMMdd", "140301", "990301"},
            {"yyyyMMddHHmmss", "20140301123005", "2014030112300"},
            {"yyyy-MM-dd'T'HH:mm:ssZ", "2014-03-01T12:30:05Z", "2014-03-01T12:30:05+0100", "2014-03-01T12:30:05+01:00", "2014-03-01T12:30:05+01", "2014-03-01T12:30:05-0830", "2014-03-01T12:30:05+1", "2014-03-01T12:30:05"},
            {"yyyy-MM-dd HH:mm:ss ZZ", "2014-03-01 12:30:05 +01:00", "2014-03-01 12:30:05 +0100", "2014-03-01 12:30:05 Z"},
            {"yyyy-MM-dd HH:mm ZZZ", "2014-03-01 12:30 Europe/Berlin", "2014-03-01 12:30 UTC", "2014-03-01 12:30 Nowhere"},
            {"dd/MMM/yyyy:HH:mm:ss Z", "01/Mar/2014:12:30:05 +0100", "01/MARCH/2014:12:30:05 +0100", "01/03/2014:12:30:05 +0100", "1/mar/2014:1:3:5 +0100"},
            {"EEE MMM d HH:mm:ss yyyy", "Sat Mar 1 12:30:05 2014", "Saturday March 01 12:30:05 2014", "Xyz Mar 1 12:30:05 2014"},
            {"EEEE, d MMMM yyyy", "Saturday, 1 March 2014", "Sat, 1 Mar 2014"},
            {"h:mm a", "12:30 AM", "12:30 pm", "1:05 PM", "0:30 AM", "13:00 PM"},
            {"K:mm a", "0:30 AM", "11:30 PM", "12:30 AM"},
            {"k:mm", "24:30", "1:30", "0:30"},
            {"HH:mm", "01:02", "1:2", "25:00"},
            {"MM-dd", "01-02", "02-29", "13-01"},
            {"MMM d HH:mm:ss", "Mar 1 12:30:05", "Feb 29 00:00:00"},
            {"dd", "05", "31"},
            {"yyyy", "2014", "0", "99"},
            {"yyyy-DDD", "2014-060", "2014-366", "2012-366", "2014-0"},
            {"s.SSS", "5.1", "5.123", "5.1234"},
            {"ss.S", "05.12"},
            {"YYYY/MM", "2014/03"},
            {"'at' HH 'o''clock'", "at 07 o'clock", "AT 07 O'CLOCK"},
        };
        List<String> lines = new ArrayList<>();
        for (String zone : new String[] {"UTC", "Europe/Berlin"}) {
            for (String[] row : patterns) {
                for (int i = 1; i < row.length; i++) {
                    String millis;
                    try {
                        millis = "" + DateTimeFormat.forPattern(row[0]).withLocale(Locale.ENGLISH).withZone(DateTimeZone.forID(zone)).parseMillis(row[i]);
                    } catch (IllegalArgumentException refused) {
                        millis = "none";
                    }
                    lines.add(String.join("\t", row[0], zone, row[i], millis));
                }
            }
        }
        return lines;
    }
}
