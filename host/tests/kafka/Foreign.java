import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.HexFormat;
import java.util.List;
import java.util.Properties;
import java.util.Random;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Kafka's own Java client, as somebody else's program before and behind a stage. */
public class Foreign {
    public static void main(String[] arguments) throws Exception {
        switch (arguments[0]) {
            case "produce" -> produce(arguments[1], arguments[2]);
            case "consume" -> consume(arguments[1], arguments[2], Integer.parseInt(arguments[3]));
            default -> throw new IllegalArgumentException(arguments[0]);
        }
    }

    /** Records of every shape: no key, an empty one, tombstones, every byte, headers with repeats and nulls. */
    static void produce(String brokers, String topic) throws Exception {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", brokers);
        properties.put("compression.type", "gzip");
        Random random = new Random(7);
        try (var producer = new KafkaProducer<>(properties, new ByteArraySerializer(), new ByteArraySerializer())) {
            for (int number = 0; number < 300; number++) {
                byte[] key = number % 10 == 0 ? null : new byte[number % 40];
                byte[] value = number % 7 == 0 ? null : new byte[number];
                if (key != null) random.nextBytes(key);
                if (value != null) random.nextBytes(value);
                var record = new ProducerRecord<>(topic, null, 1_700_000_000_000L + number, key, value);
                for (int header = 0; header < number % 4; header++) {
                    byte[] bytes = header == 2 ? null : ("h" + number).getBytes(StandardCharsets.UTF_8);
                    record.headers().add(header == 1 ? "größe" : "trace", bytes);
                }
                producer.send(record).get();
            }
        }
    }

    /** One line a record, sorted by its timestamp: what it holds, and, when it has a key, its partition. */
    static void consume(String brokers, String topic, int count) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", brokers);
        properties.put("group.id", "foreign-" + topic);
        properties.put("auto.offset.reset", "earliest");
        properties.put("isolation.level", "read_committed");
        HexFormat hex = HexFormat.of();
        List<String> lines = new java.util.ArrayList<>();
        try (var consumer = new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.subscribe(List.of(topic));
            long end = System.currentTimeMillis() + 60_000;
            while (lines.size() < count && System.currentTimeMillis() < end) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(200))) {
                    StringBuilder line = new StringBuilder();
                    line.append(record.timestamp()).append(' ');
                    line.append(record.key() == null ? "-" : record.partition()).append(' ');
                    line.append(record.key() == null ? "null" : "[" + hex.formatHex(record.key()) + "]").append(' ');
                    line.append(record.value() == null ? "null" : "[" + hex.formatHex(record.value()) + "]");
                    for (Header header : record.headers()) {
                        line.append(' ').append(header.key()).append('=');
                        line.append(header.value() == null ? "null" : "[" + hex.formatHex(header.value()) + "]");
                    }
                    lines.add(line.toString());
                }
            }
        }
        lines.sort(null);
        lines.forEach(System.out::println);
    }
}
