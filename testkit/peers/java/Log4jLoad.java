import org.apache.log4j.Level;
import org.apache.log4j.LogManager;
import org.apache.log4j.Logger;
import org.apache.log4j.PropertyConfigurator;

/**
 * A program that logs to a Flume agent by Flume's own appender, at every level and with odd messages.
 *
 * <p>{@code Log4jLoad LOG4J.PROPERTIES}
 */
public final class Log4jLoad {
  public static void main(String[] args) {
    PropertyConfigurator.configure(args[0]);
    Logger logger = Logger.getLogger("shop.Checkout");
    for (Level level : new Level[] {Level.TRACE, Level.DEBUG, Level.INFO, Level.WARN, Level.ERROR, Level.FATAL}) {
      logger.log(level, "a message at " + level);
    }
    Logger.getLogger("shop.Größe").info("grün, 水, 🚰");
    logger.info("");
    logger.info("two\nlines");
    logger.error("with a cause", new IllegalStateException("on purpose"));
    for (int number = 0; number < 100; number++) {
      logger.info("message " + number);
    }
    LogManager.shutdown();
  }
}
