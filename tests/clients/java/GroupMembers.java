import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.regex.Pattern;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.SubscriptionPattern;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * Members of consumer groups with Kafka's own consumer, many in one JVM, driven by lines of JSON: {"do":"start",...} and
 * {"do":"close","m":name} on stdin, and what befalls each member on stdout (the lines are described in
 * harness/sharing/worker.py, which is the same for the Python clients). The end of stdin closes all members. Holds no checks.
 */
public final class GroupMembers {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final PrintStream OUT = new PrintStream(System.out, false, StandardCharsets.UTF_8);

    public static void main(String[] args) throws Exception {
        Map<String, Member> members = new HashMap<>();
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            JsonNode order = JSON.readTree(line);
            String name = order.get("m").asText();
            if (order.get("do").asText().equals("start")) {
                Member member = new Member(name, order);
                members.put(name, member);
                member.thread.start();
            } else {
                members.get(name).close();
            }
        }
        for (Member member : members.values()) {
            member.close();
        }
        for (Member member : members.values()) {
            member.thread.join();
        }
    }

    private static double now() {
        Instant now = Instant.now();
        return now.getEpochSecond() + now.getNano() / 1e9;
    }

    /** One consumer, and the thread that it belongs to. Commits what it has processed before it polls again. */
    private static final class Member implements ConsumerRebalanceListener {
        final String name;
        final Thread thread;
        private final JsonNode order;
        private final Map<TopicPartition, Long> pending = new HashMap<>();
        private volatile boolean closing;
        private KafkaConsumer<byte[], byte[]> consumer;

        Member(String name, JsonNode order) {
            this.name = name;
            this.order = order;
            this.thread = new Thread(this::run, name);
        }

        void close() {
            closing = true;
        }

        private void run() {
            try (KafkaConsumer<byte[], byte[]> made = new KafkaConsumer<>(
                    settings(), new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
                consumer = made;
                subscribe();
                tell("started");
                // In a rebalance a commit may be refused: then it is tried again after the next poll, also of one that closes.
                while (!closing || !pending.isEmpty()) {
                    process(consumer.poll(Duration.ofMillis(200)));
                    commit();
                }
                tell("closing");
            } catch (Throwable e) {
                say(event("error").put("error", e.toString()));
                return;
            }
            tell("closed");
        }

        private Properties settings() {
            Properties p = new Properties();
            p.put("bootstrap.servers", order.get("bootstrap").asText());
            p.put("group.id", order.get("group").asText());
            p.put("enable.auto.commit", "false");
            order.get("settings").properties().forEach(e -> p.put(e.getKey(), e.getValue().asText()));
            return p;
        }

        private void subscribe() {
            if (order.has("topics")) {
                List<String> topics = new ArrayList<>();
                order.get("topics").forEach(t -> topics.add(t.asText()));
                consumer.subscribe(topics, this);
            } else if (order.has("brokers_regex")) {
                consumer.subscribe(new SubscriptionPattern(order.get("brokers_regex").asText()), this);
            } else {
                consumer.subscribe(Pattern.compile(order.get("pattern").asText()), this);
            }
        }

        private void process(ConsumerRecords<byte[], byte[]> records) {
            if (records.isEmpty()) {
                return;
            }
            ArrayNode runs = JSON.createArrayNode();
            for (TopicPartition p : records.partitions()) {
                List<ConsumerRecord<byte[], byte[]>> mine = records.records(p);
                long first = mine.get(0).offset();
                long last = first - 1;
                for (ConsumerRecord<byte[], byte[]> r : mine) {
                    if (r.offset() != last + 1) {
                        runs.addArray().add(p.topic()).add(p.partition()).add(first).add(last);
                        first = r.offset();
                    }
                    last = r.offset();
                }
                runs.addArray().add(p.topic()).add(p.partition()).add(first).add(last);
                pending.put(p, last + 1);
            }
            say(event("read").set("runs", runs));
        }

        /** Commits what is pending. What cannot be committed now is tried again after the next poll, if still owned. */
        private void commit() {
            if (pending.isEmpty()) {
                return;
            }
            Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
            ArrayNode told = JSON.createArrayNode();
            pending.forEach((p, offset) -> {
                offsets.put(p, new OffsetAndMetadata(offset));
                told.addArray().add(p.topic()).add(p.partition()).add(offset);
            });
            double began = now();
            try {
                consumer.commitSync(offsets);
                pending.clear();
                say(((ObjectNode) event("committed").set("offsets", told)).put("began", began));
            } catch (KafkaException e) {
                say(((ObjectNode) event("commit-failed").set("offsets", told)).put("began", began).put("error", e.toString()));
            }
        }

        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
            pending.keySet().removeAll(partitions);
            moved("assigned", partitions);
        }

        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
            commit();
            pending.keySet().removeAll(partitions);
            moved("revoked", partitions);
        }

        @Override
        public void onPartitionsLost(Collection<TopicPartition> partitions) {
            pending.keySet().removeAll(partitions);
            moved("lost", partitions);
        }

        private void moved(String what, Collection<TopicPartition> partitions) {
            ArrayNode told = JSON.createArrayNode();
            partitions.forEach(p -> told.addArray().add(p.topic()).add(p.partition()));
            say(event(what).set("partitions", told));
        }

        private ObjectNode event(String what) {
            return JSON.createObjectNode().put("m", name).put("e", what).put("t", now());
        }

        private void tell(String what) {
            say(event(what));
        }

        private void say(JsonNode event) {
            synchronized (OUT) {
                OUT.println(event);
                OUT.flush();
            }
        }
    }
}
