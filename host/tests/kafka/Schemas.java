// Apicurio's serializers for Java, with the four bytes of an id that Confluent's have, before and behind a stage.
//
//     Schemas.java write BROKERS REGISTRY TOPIC SCHEMA COUNT
//     Schemas.java compare BROKERS REGISTRY BEFORE BEHIND COUNT

import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.UUID;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;

public class Schemas {
    static Properties settings(String brokers, String registry) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", brokers);
        settings.put("apicurio.registry.url", registry);
        settings.put("apicurio.registry.auto-register", "true");
        settings.put("apicurio.registry.auto-register.if-exists", "FIND_OR_CREATE_VERSION");
        settings.put("apicurio.registry.use-id", "contentId");
        settings.put("apicurio.registry.id-handler", "io.apicurio.registry.serde.Default4ByteIdHandler");
        settings.put("apicurio.registry.headers.enabled", "false");
        // In one piece, as other clients register it.
        settings.put("apicurio.registry.dereference-schema", "true");
        settings.put("key.serializer", "org.apache.kafka.common.serialization.StringSerializer");
        settings.put("key.deserializer", "org.apache.kafka.common.serialization.StringDeserializer");
        settings.put("value.serializer", "io.apicurio.registry.serde.avro.AvroKafkaSerializer");
        settings.put("value.deserializer", "io.apicurio.registry.serde.avro.AvroKafkaDeserializer");
        settings.put("isolation.level", "read_committed");
        settings.put("auto.offset.reset", "earliest");
        settings.put("group.id", UUID.randomUUID().toString());
        return settings;
    }

    /** An order as this client makes it. */
    static GenericRecord order(Schema schema, int number) {
        GenericRecord order = new GenericData.Record(schema);
        Schema item = schema.getField("items").schema().getElementType();
        Schema card = schema.getField("paid").schema().getTypes().get(1);
        GenericRecord one = new GenericData.Record(item);
        one.put("name", "item " + number);
        one.put("count", -number);
        GenericRecord paid = new GenericData.Record(card);
        paid.put("card", "" + number);
        order.put("id", Long.MAX_VALUE - number);
        order.put("state", new GenericData.EnumSymbol(schema.getField("state").schema(), number % 2 == 0 ? "NEW" : "OLD"));
        order.put("price", ByteBuffer.wrap(java.math.BigInteger.valueOf(number * 37L - 5000).toByteArray()));
        order.put("weight", number / 3.0);
        order.put("at", 1769817600000L + number);
        order.put("day", 20000 + number);
        order.put("code", new UUID(number, number).toString());
        order.put("raw", ByteBuffer.wrap(new byte[] {(byte) number, -1}));
        order.put("note", number % 2 == 0 ? null : "n\u00f6te");
        order.put("items", number % 3 == 0 ? List.of() : List.of(one, one));
        order.put("tags", Map.of("a", "" + number));
        order.put("paid", number % 5 == 0 ? null : paid);
        return order;
    }

    static Map<String, GenericRecord> read(Properties settings, String topic, int count) {
        Map<String, GenericRecord> values = new HashMap<>();
        try (KafkaConsumer<String, GenericRecord> consumer = new KafkaConsumer<>(settings)) {
            consumer.subscribe(List.of(topic));
            long until = System.currentTimeMillis() + 60_000;
            while (values.size() < count && System.currentTimeMillis() < until) {
                consumer.poll(Duration.ofMillis(200)).forEach(record -> values.put(record.key(), record.value()));
            }
        }
        return values;
    }

    public static void main(String[] words) throws Exception {
        Properties settings = settings(words[1], words[2]);
        int count = Integer.parseInt(words[5]);
        if (words[0].equals("write")) {
            Schema schema = new Schema.Parser().parse(Files.readString(Path.of(words[4])));
            try (KafkaProducer<String, GenericRecord> producer = new KafkaProducer<>(settings)) {
                for (int number = 0; number < count; number++) {
                    producer.send(new ProducerRecord<>(words[3], "" + number, order(schema, number)));
                }
            }
            return;
        }
        Map<String, GenericRecord> before = read(settings, words[3], count);
        settings.put("group.id", UUID.randomUUID().toString());
        Map<String, GenericRecord> behind = read(settings, words[4], count);
        System.out.println(before.size() + (before.equals(behind) ? " equal" : " not equal"));
    }
}
