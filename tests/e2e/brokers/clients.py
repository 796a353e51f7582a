"""Clients of RabbitMQ and Kafka that are not Weir's: they make, send and read back what the tests speak of.

Numbered messages: the body is {"n": N}, the key is k followed by N modulo KEYS. Who sends writes down, line by line, what
became of each number: "sent N" once the broker confirmed it, "maybe N" where the connection broke before. Sending goes on
until standard input is closed. Who reads prints one JSON object a line.
"""

import argparse
import json
import os
import sys
import threading
import time

KEYS = 24
SENDERS = 8

stopped = threading.Event()
log_lock = threading.Lock()


def stop_when_input_ends():
    sys.stdin.read()
    stopped.set()


def note(log, what, number):
    with log_lock:
        log.write(f"{what} {number}\n")
        log.flush()


def key(number):
    return f"k{number % KEYS}"


# RabbitMQ


def rabbit(arguments):
    import pika

    parameters = pika.URLParameters(arguments.url)
    parameters.heartbeat = 20
    parameters.blocked_connection_timeout = 30
    return pika.BlockingConnection(parameters)


def rabbit_declare(arguments):
    connection = rabbit(arguments)
    connection.channel().queue_declare(arguments.queue, durable=True, arguments={"x-queue-type": arguments.type})
    connection.close()


def rabbit_send(arguments):
    """Several connections send at once. A key belongs to one of them, so its numbers are sent in ascending order."""
    assert KEYS % SENDERS == 0
    with open(arguments.log, "w", encoding="utf-8") as log:
        under_way = {}
        senders = [
            threading.Thread(target=rabbit_sender, args=(arguments, log, index, under_way), daemon=True)
            for index in range(SENDERS)
        ]
        for sender in senders:
            sender.start()
        stop_when_input_ends()
        deadline = time.monotonic() + 20
        for index, sender in enumerate(senders):
            sender.join(max(0.0, deadline - time.monotonic()))
            if sender.is_alive():
                # A killed broker may forget to confirm what it took into a stream, and pika waits for ever.
                note(log, "maybe", under_way[index])
        log.flush()
        os._exit(0)


def rabbit_sender(arguments, log, index, under_way):
    import pika

    number = index
    under_way[index] = number
    connection = None
    pause = SENDERS / arguments.rate
    due = time.monotonic()
    while not stopped.is_set():
        if connection is None:
            try:
                connection = rabbit(arguments)
                channel = connection.channel()
                channel.confirm_delivery()
                due = time.monotonic()
            except (pika.exceptions.AMQPError, OSError):
                connection = None
                time.sleep(0.2)
                continue
        properties = pika.BasicProperties(
            delivery_mode=2, message_id=f"{arguments.queue}-{number}", headers={"key": key(number)}
        )
        under_way[index] = number
        try:
            channel.basic_publish(
                "", arguments.queue, json.dumps({"n": number}).encode(), properties=properties, mandatory=True
            )
            note(log, "sent", number)
        except pika.exceptions.UnroutableError:
            # A queue that is not back yet after a crash of the broker: the message was returned, it is nowhere.
            time.sleep(0.2)
            continue
        except (pika.exceptions.AMQPError, OSError):
            # It may or may not be in the queue. It is not sent again: then nobody could say who doubled it.
            note(log, "maybe", number)
            connection = None
        number += SENDERS
        due += pause
        wait = due - time.monotonic()
        if wait > 0:
            time.sleep(wait)
    if connection is not None:
        connection.close()


def rabbit_put(arguments):
    """Sends the lines of standard input. The last one is confirmed, and with it those before: a quorum queue may forget what is still
    on its way from a channel that is closed."""
    import pika

    connection = rabbit(arguments)
    channel = connection.channel()
    lines = sys.stdin.read().splitlines()
    for index, line in enumerate(lines):
        if index + 1 == len(lines):
            channel.confirm_delivery()
        properties = pika.BasicProperties(
            delivery_mode=2, message_id=f"{arguments.queue}-{index}", headers={"key": key(index)}
        )
        channel.basic_publish("", arguments.queue, line.encode(), properties=properties)
    channel.close()
    connection.close()


def rabbit_read(arguments):
    """Takes all that a queue holds."""
    connection = rabbit(arguments)
    channel = connection.channel()
    channel.basic_qos(prefetch_count=1000)
    for method, properties, body in channel.consume(arguments.queue, inactivity_timeout=arguments.quiet):
        if method is None:
            break
        print(
            json.dumps(
                {
                    "message_id": properties.message_id,
                    "headers": properties.headers,
                    "persistent": properties.delivery_mode == 2,
                    "body": body.decode(),
                },
                default=str,
            )
        )
        channel.basic_ack(method.delivery_tag)
    channel.cancel()
    connection.close()


# Kafka


def kafka_create(arguments):
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": arguments.bootstrap})
    for future in admin.create_topics([NewTopic(arguments.topic, arguments.partitions, 1)]).values():
        future.result(30)


def kafka_send(arguments):
    from confluent_kafka import Producer

    producer = Producer(
        {
            "bootstrap.servers": arguments.bootstrap,
            "acks": "all",
            # It would tell of every connection that a killed broker ends.
            "log_level": 2,
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
            "linger.ms": 5,
            "delivery.timeout.ms": 600000,
            "reconnect.backoff.max.ms": 500,
        }
    )
    threading.Thread(target=stop_when_input_ends, daemon=True).start()
    number = 0
    begun = time.monotonic()
    with open(arguments.log, "w", encoding="utf-8") as log:

        def delivered(sent):
            return lambda error, _: note(log, "maybe" if error else "sent", sent)

        while not stopped.is_set():
            while number < (time.monotonic() - begun) * arguments.rate:
                # What waits in the producer is bounded, so that an outage is followed by the rate that was asked for.
                if len(producer) > 2 * arguments.rate:
                    begun = time.monotonic() - number / arguments.rate
                    break
                producer.produce(
                    arguments.topic, json.dumps({"n": number}).encode(), key(number), on_delivery=delivered(number)
                )
                number += 1
            producer.poll(0.01)
        left = producer.flush(120)
        assert left == 0, f"{left} messages were not delivered"


def kafka_put(arguments):
    """Sends the lines of standard input."""
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": arguments.bootstrap, "acks": "all"})
    for index, line in enumerate(sys.stdin.read().splitlines()):
        producer.produce(arguments.topic, line.encode(), key(index))
        # Lets it answer for what was delivered: its queue is bounded.
        while len(producer) > 50000:
            producer.poll(0.1)
    assert producer.flush(60) == 0


def kafka_read(arguments):
    """Prints what a topic holds, as far as it is committed."""
    from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

    consumer = Consumer(
        {
            "bootstrap.servers": arguments.bootstrap,
            "group.id": "read-back",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "enable.auto.commit": False,
        }
    )
    partitions = consumer.list_topics(arguments.topic, 30).topics[arguments.topic].partitions
    consumer.assign([TopicPartition(arguments.topic, partition, OFFSET_BEGINNING) for partition in partitions])
    reading = set(partitions)
    deadline = time.monotonic() + 120
    while reading:
        assert time.monotonic() < deadline, "the end of the topic did not come"
        message = consumer.poll(1)
        if message is None:
            continue
        if message.error():
            assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
            reading.discard(message.partition())
            continue
        print(
            json.dumps(
                {
                    "partition": message.partition(),
                    "offset": message.offset(),
                    "key": None if message.key() is None else message.key().decode(),
                    "value": None if message.value() is None else message.value().decode(),
                    "headers": [[name, value.decode()] for name, value in message.headers() or []],
                    "timestamp": message.timestamp()[1],
                }
            )
        )
    consumer.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True)

    def command(name, run, *options):
        parsed = commands.add_parser(name)
        parsed.set_defaults(run=run)
        for option in options:
            parsed.add_argument(f"--{option}", required=True, type=int if option in ("rate", "partitions") else str)
        return parsed

    command("rabbit-declare", rabbit_declare, "url", "queue", "type")
    command("rabbit-send", rabbit_send, "url", "queue", "rate", "log")
    command("rabbit-put", rabbit_put, "url", "queue")
    command("rabbit-read", rabbit_read, "url", "queue").add_argument("--quiet", type=float, default=1.0)
    command("kafka-create", kafka_create, "bootstrap", "topic", "partitions")
    command("kafka-send", kafka_send, "bootstrap", "topic", "rate", "log")
    command("kafka-put", kafka_put, "bootstrap", "topic")
    command("kafka-read", kafka_read, "bootstrap", "topic")
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
