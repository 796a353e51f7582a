//! What is said when something with the broker is wrong, before a run and in it, and what is done about it.

use super::client::Client;
use super::server::{Server, shared};
use super::{bench, from_queue, to_exchange, weir_said};

/// Checks and runs a pipeline file that cannot work, and expects both to say so and to end with 69.
fn assert_refused(pipeline: &str, wanted: &[&str]) {
    let bench = bench(pipeline);
    for arguments in [["check", "--connect", "weir.yaml"].as_slice(), &["run", "weir.yaml"]] {
        let output = bench.run(arguments);
        let said = String::from_utf8_lossy(&output.stderr).replace(['\n', '│'], " ");
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(output.status.code(), Some(69), "{arguments:?}: {said}");
        for text in wanted {
            assert!(said.contains(text), "{text:?} is not in what {arguments:?} says: {said}");
        }
    }
}

#[test]
fn rabbitmq_that_refuses_us_is_an_error_that_says_what_to_do() {
    let server = shared();
    let mut client = Client::connect(&server);
    client.declare("there", "classic");
    client.declare("a-stream", "stream");
    let good = from_queue(&server, "there", "");
    let bench = bench(&good);
    let output = bench.run(&["check", "--connect", "weir.yaml"]);
    assert!(output.status.success(), "{output:?}");

    let wrong_user = good.replace("weir@", "nobody@");
    assert_refused(&wrong_user, &["source auth:", "refused the login of `nobody`", "`password`"]);
    assert_refused(&good.replace("/%2f", "/nope"), &["vhost nope not found", "create it"]);
    let missing = from_queue(&server, "not-there", "");
    assert_refused(&missing, &["no queue 'not-there'", "declare"]);
    let missing = to_exchange(&server, "    exchange: not-there");
    assert_refused(&missing, &["bus:", "no exchange 'not-there'", "create the exchange"]);
    let other = from_queue(&server, "there", "    declare: { type: quorum }");
    let output = super::bench(&other).run(&["run", "weir.yaml"]);
    assert_eq!(output.status.code(), Some(69), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("correct `declare`"), "{output:?}");

    client.numbers("there", 0, 1);
    client.numbers("a-stream", 0, 1);
    assert_refused(&from_queue(&server, "a-stream", ""), &["a-stream is a stream", "`queue_type: stream`"]);
    let no_stream = from_queue(&server, "there", "    queue_type: stream");
    assert_refused(&no_stream, &["there is a classic or quorum queue"]);
}

#[test]
fn rabbitmq_permissions_and_secrets_that_are_missing_are_named() {
    let server = shared();
    Client::connect(&server).declare("guarded", "classic");
    server.ctl(&["add_user", "reader", "hunter2"]);
    server.ctl(&["set_permissions", "reader", "^$", "^$", "^other$"]);
    let refused = from_queue(&server, "guarded", "").replace("weir@", "reader@");
    let said = bench(&refused).run(&["run", "weir.yaml"]);
    assert_eq!(said.status.code(), Some(69), "{said:?}");
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains("refused for user 'reader'") && said.contains("set_permissions"), "{said}");
    let no_secret = from_queue(&server, "guarded", "").replace("file: password", "file: not-there");
    assert_refused(&no_secret, &["cannot read the secret in", "not-there"]);
}

#[test]
fn rabbitmq_over_tls_with_the_right_authority_alone() {
    let server = shared();
    Client::connect(&server).declare("secure", "classic");
    let tls = |tls: &str| {
        let url = format!("amqps://weir@localhost:{}", server.tls_port);
        from_queue(&server, "secure", &format!("    tls: {tls}"))
            .replace(&format!("amqp://weir@127.0.0.1:{}", server.port), &url)
    };
    let path = |name: &str| server.path(name).display().to_string();
    let trusted = format!("{{ ca: {} }}", path("ca.pem"));
    let output = bench(&tls(&trusted)).run(&["check", "--connect", "weir.yaml"]);
    assert!(output.status.success(), "{output:?}");
    assert_refused(&tls(&format!("{{ ca: {} }}", path("other-ca.pem"))), &["is not trusted", "`tls: {ca: FILE}`"]);
    assert_refused(&tls("{}"), &["is not trusted"]);
    let wrong_name = tls(&trusted).replace("@localhost", "@127.0.0.1");
    assert_refused(&wrong_name, &["is not trusted", "write the host as the certificate has it"]);
    let wrong_port = tls(&trusted).replace(&server.tls_port.to_string(), &server.port.to_string());
    assert_refused(&wrong_port, &["localhost"]);

    // The client certificate is the login.
    let both =
        format!("{{ ca: {}, certificate: {}, key: {} }}", path("ca.pem"), path("client.pem"), path("client.key"));
    let external = tls(&both).replace("    password: { secret: amqp }", "    auth: external");
    let external = external.replace("secrets: { amqp: { file: password } }", "");
    let output = bench(&external).run(&["check", "--connect", "weir.yaml"]);
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn rabbitmq_that_is_down_at_start_or_loses_its_queue_is_waited_for() {
    let server = Server::start();
    Client::connect(&server).declare("late", "classic");
    Client::connect(&server).confirmed_numbers("late", 0, 10);
    server.sync_declarations();
    server.kill();
    let bench = bench(&from_queue(&server, "late", ""));
    let output = bench.run(&["check", "--connect", "weir.yaml"]);
    assert_eq!(output.status.code(), Some(69), "{output:?}");
    let mut weir = bench.start(&["weir.yaml"]);
    weir.until("the warning", || weir_said(&bench, "is RabbitMQ running there"));
    server.restart();
    weir.until("the messages", || bench.lines("out.ndjson").len() == 10);

    let mut client = Client::connect(&server);
    client.delete("late");
    weir.until("the cancel", || weir_said(&bench, "the broker ended the consumption of late"));
    weir.until("the advice", || weir_said(&bench, "create the queue"));
    client.declare("late", "quorum");
    client.numbers("late", 10, 10);
    weir.until("more messages", || bench.lines("out.ndjson").len() == 20);
    assert_eq!(weir.terminate(), 0);
    assert_blocked_publishers_wait(&server);
}

/// A broker that is short of memory takes nothing more, and later takes all.
fn assert_blocked_publishers_wait(server: &Server) {
    let mut client = Client::connect(server);
    client.bind("blocked", "blocked-x", "#");
    server.ctl(&["set_vm_memory_high_watermark", "absolute", "1"]);
    let bench = bench(&to_exchange(server, "    exchange: blocked-x"));
    bench.write("in.ndjson", &"{}\n".repeat(1_000));
    let mut weir = bench.start(&["weir.yaml"]);
    weir.until("the warning", || weir_said(&bench, "the broker takes nothing more for now"));
    server.ctl(&["set_vm_memory_high_watermark", "0.4"]);
    weir.until("the end of it", || weir_said(&bench, "takes messages again"));
    weir.until("all messages", || client.waiting("blocked") == 1_000);
    assert_eq!(weir.terminate(), 0);
}

#[test]
fn rabbitmq_messages_too_large_for_memory_lower_the_prefetch_while_a_sink_is_down() {
    let server = shared();
    let mut client = Client::connect(&server);
    client.declare("large", "classic");
    client.large("large", 150, 900_000);
    let pipeline = from_queue(&server, "large", "    prefetch: 2000\n    retention: { age: forever, bytes: 1MiB }")
        .replace("{ type: file, path: out.ndjson, format: record }", "{ type: rabbitmq, url: 'amqp://127.0.0.1:1' }");
    let bench = bench(&pipeline);
    let mut weir = bench.start(&["weir.yaml"]);
    weir.until("the sink that is down", || weir_said(&bench, "cannot connect to 127.0.0.1:1"));
    weir.until("the lower prefetch", || weir_said(&bench, "the prefetch is lowered to 37"));
    assert_eq!(weir.terminate(), 0);
    // Nothing is lost: what is not in the intake stream is in the queue.
    assert!(client.waiting("large") > 100, "{} wait", client.waiting("large"));
}
