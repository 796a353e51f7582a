import java.io.BufferedReader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.apache.kudu.ColumnSchema;
import org.apache.kudu.Schema;
import org.apache.kudu.Type;
import org.apache.kudu.client.CreateTableOptions;
import org.apache.kudu.client.KuduClient;
import org.apache.kudu.client.KuduSession;
import org.apache.kudu.client.KuduTable;
import org.apache.kudu.client.OperationResponse;
import org.apache.kudu.client.PartialRow;
import org.apache.kudu.client.SessionConfiguration.FlushMode;
import org.apache.kudu.client.Upsert;

/**
 * The rows of the bench into a table of Kudu, by Kudu's own Java client: makes the table, upserts what a file holds, and ends once all is there.
 *
 * <p>Arguments: masters, table, parts, file, rows of a batch, MANUAL_FLUSH or AUTO_FLUSH_BACKGROUND.
 */
public final class KuduRows {
    public static void main(String[] arguments) throws Exception {
        String name = arguments[1];
        int batch = Integer.parseInt(arguments[4]);
        FlushMode mode = FlushMode.valueOf(arguments[5]);
        try (KuduClient client = new KuduClient.KuduClientBuilder(arguments[0]).build();
                BufferedReader rows = Files.newBufferedReader(Path.of(arguments[3]))) {
            KuduTable table = create(client, name, Integer.parseInt(arguments[2]));
            KuduSession session = client.newSession();
            session.setFlushMode(mode);
            session.setMutationBufferSpace(batch);
            int held = 0;
            for (String row = rows.readLine(); row != null; row = rows.readLine()) {
                session.apply(upsert(table, row));
                held++;
                if (mode == FlushMode.MANUAL_FLUSH && held == batch) {
                    check(session.flush());
                    held = 0;
                }
            }
            check(session.flush());
            if (session.countPendingErrors() > 0) {
                throw new IllegalStateException("" + session.getPendingErrors().getRowErrors()[0]);
            }
            session.close();
        }
    }

    /** The table as Weir makes it: the key first, spread by its hash. */
    private static KuduTable create(KuduClient client, String name, int parts) throws Exception {
        Schema schema = new Schema(List.of(
            new ColumnSchema.ColumnSchemaBuilder("id", Type.INT64).key(true).build(),
            new ColumnSchema.ColumnSchemaBuilder("amount", Type.DOUBLE).nullable(true).build(),
            new ColumnSchema.ColumnSchemaBuilder("name", Type.STRING).nullable(true).build()));
        CreateTableOptions options = new CreateTableOptions();
        options.addHashPartitions(List.of("id"), parts).setNumReplicas(1);
        return client.createTable(name, schema, options);
    }

    /** A line as the bench writes it, taken apart at its quotes and commas: no parser of JSON costs less. */
    private static Upsert upsert(KuduTable table, String line) {
        int afterId = line.indexOf(',');
        int name = afterId + ",\"name\":\"".length();
        int afterName = line.indexOf('"', name);
        int amount = afterName + "\",\"amount\":".length();
        Upsert upsert = table.newUpsert();
        PartialRow row = upsert.getRow();
        row.addLong("id", Long.parseLong(line, "{\"id\":".length(), afterId, 10));
        row.addString("name", line.substring(name, afterName));
        row.addDouble("amount", Double.parseDouble(line.substring(amount, line.length() - 1)));
        return upsert;
    }

    private static void check(List<OperationResponse> responses) {
        for (OperationResponse response : responses) {
            if (response.hasRowError()) {
                throw new IllegalStateException("" + response.getRowError());
            }
        }
    }
}
