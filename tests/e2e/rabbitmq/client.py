# A client that is not ours: what the tests publish with and read back by. Takes a port and one JSON command a line,
# answers each with a line of JSON.
import base64
import json
import sys

import pika

connection = pika.BlockingConnection(
    pika.ConnectionParameters("127.0.0.1", int(sys.argv[1]), "/", pika.PlainCredentials("weir", "hunter2"))
)
channel = connection.channel()


def declare(queue, kind, exchange=None, key="#", arguments=None):
    arguments = {"x-queue-type": kind, **(arguments or {})}
    channel.queue_declare(queue, durable=True, arguments=arguments)
    if exchange:
        channel.exchange_declare(exchange, "topic", durable=True)
        channel.queue_bind(queue, exchange, key)


def publish(queue, messages):
    channel.confirm_delivery()
    for message in messages:
        properties = pika.BasicProperties(delivery_mode=2, **message.get("properties", {}))
        channel.basic_publish("", queue, message["body"], properties, mandatory=True)


def numbers(queue, first, count, confirmed=False):
    if confirmed:
        channel.confirm_delivery()
    for n in range(first, first + count):
        properties = pika.BasicProperties(delivery_mode=2, message_id=str(n))
        channel.basic_publish("", queue, "number %d" % n, properties)


def large(queue, count, size):
    for _ in range(count):
        channel.basic_publish("", queue, b"x" * size)


def waiting(queue):
    return channel.queue_declare(queue, passive=True).method.message_count


def read(queue, count):
    found = []
    while len(found) < count:
        method, properties, body = channel.basic_get(queue, auto_ack=True)
        if method is None:
            break
        known = {name: value for name, value in vars(properties).items() if value is not None}
        known["routing_key"] = method.routing_key
        known["body"] = body.decode("utf-8", "replace")
        found.append(known)
    return found


def hold(queue, count):
    held = []
    channel.basic_qos(prefetch_count=count)
    channel.basic_consume(queue, lambda channel, method, properties, body: held.append(body.decode()))
    while len(held) < count:
        connection.process_data_events(time_limit=1)
    return held


def as_text(value):
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


for line in sys.stdin:
    command = json.loads(line)
    name = command.pop("do")
    if name == "delete":
        result = channel.queue_delete(command["queue"]) and None
    else:
        result = globals()[name](**command)
    print(json.dumps(result, default=as_text), flush=True)
