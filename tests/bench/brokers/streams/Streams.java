// The jobs of `streams.rs` as programs of Kafka Streams: as one writes them with its DSL, on its default store.

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.time.Duration;
import java.util.Properties;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.Suppressed;
import org.apache.kafka.streams.kstream.Suppressed.BufferConfig;
import org.apache.kafka.streams.kstream.TimeWindows;

/** {@code Streams NAME=VALUE...}: runs one job until it is told to end. */
public final class Streams {
    private static final ObjectMapper JSON = new ObjectMapper();

    public static void main(String[] arguments) {
        Properties settings = new Properties();
        // What was counted or joined before this start is in the state directory; the same name again fences what was before.
        settings.put("group.instance.id", "1");
        settings.put("auto.offset.reset", "earliest");
        for (String argument : arguments) {
            String[] parts = argument.split("=", 2);
            settings.put(parts[0], parts[1]);
        }
        StreamsBuilder builder = new StreamsBuilder();
        String source = settings.getProperty("job.source");
        String target = settings.getProperty("job.target");
        switch (settings.getProperty("job")) {
            case "windows" -> count(builder, source, target);
            case "enrich" -> enrich(builder, source, settings.getProperty("job.table"), target);
            default -> throw new IllegalArgumentException("job");
        }
        KafkaStreams streams = new KafkaStreams(builder.build(), settings);
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            return StreamThreadExceptionResponse.SHUTDOWN_APPLICATION;
        });
        Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(Duration.ofSeconds(30))));
        streams.start();
    }

    /** Records by key and minute, each count once its window is closed. */
    private static void count(StreamsBuilder builder, String source, String target) {
        builder.stream(source, Consumed.with(Serdes.String(), Serdes.String()))
            .groupByKey()
            .windowedBy(TimeWindows.ofSizeAndGrace(Duration.ofMinutes(1), Duration.ofSeconds(30)))
            .count()
            .suppress(Suppressed.untilWindowCloses(BufferConfig.unbounded()))
            .toStream()
            .map((window, count) -> {
                String key = window.key();
                return KeyValue.pair(key, key + " " + window.window().start() + " " + window.window().end() + " " + count);
            })
            .to(target, Produced.with(Serdes.String(), Serdes.String()));
    }

    /** Records with the row of their key under {@code host}. */
    private static void enrich(StreamsBuilder builder, String source, String table, String target) {
        var rows = builder.table(table, Consumed.with(Serdes.String(), Serdes.ByteArray()));
        builder.stream(source, Consumed.with(Serdes.String(), Serdes.ByteArray()))
            .leftJoin(rows, Streams::joined)
            .to(target, Produced.with(Serdes.String(), Serdes.ByteArray()));
    }

    private static byte[] joined(byte[] record, byte[] row) {
        if (row == null) {
            return record;
        }
        try {
            ObjectNode fields = (ObjectNode) JSON.readTree(record);
            fields.set("host", JSON.readTree(row));
            return JSON.writeValueAsBytes(fields);
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }
}
