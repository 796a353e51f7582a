//! What the lines of programs and devices become. The lines are ours, in the forms that these senders use.

#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test may panic")]

use weir_plugin::serde_json::{Value, from_slice, json};
use weir_plugin::testing::{Harness, Run, TestRecord};
use weir_syslog_parser::SyslogParser;

/// 2025-03-14T12:00:00Z
const RECEIVED: i64 = 1_741_953_600_000;

fn run_with(config: Value, lines: &[&[u8]]) -> Run {
    let mut parser = Harness::<SyslogParser>::new(config).unwrap();
    parser.process(lines.iter().map(|line| TestRecord::of(line).timestamp(RECEIVED)))
}

fn parse_with(config: Value, line: &[u8]) -> Value {
    let run = run_with(config, &[line]);
    assert_eq!(run.rejects, [], "{}", String::from_utf8_lossy(line));
    from_slice(run.outputs.first().unwrap().record.value.as_deref().unwrap()).unwrap()
}

#[track_caller]
fn check(line: impl AsRef<[u8]>, expected: Value) {
    assert_eq!(parse_with(json!({}), line.as_ref()), expected, "{}", String::from_utf8_lossy(line.as_ref()));
}

#[test]
fn rfc3164_with_and_without_priority_and_year() {
    let message = "Failed password for invalid user admin from 192.0.2.7 port 4242 ssh2";
    let expected = json!({"timestamp": "2025-03-09T06:55:46Z", "host": "gate", "appname": "sshd", "procid": "0042",
        "message": message});
    check(format!("Mar  9 06:55:46 gate sshd[0042]: {message}"), expected.clone());
    check(format!("Mar 09 06:55:46 gate sshd[0042]: {message}\r\n"), expected.clone());
    check(format!("Mar 9 06:55:46 gate sshd[0042]: {message}\n"), expected.clone());
    check(format!("mar  9 2025 06:55:46 gate sshd[0042]: {message}"), expected.clone());
    check(format!("Mar  9 06:55:46 2025 gate sshd[0042]: {message}"), expected.clone());
    check(format!("Sun Mar  9 06:55:46 2025 gate sshd[0042]: {message}"), expected.clone());
    let mut with_priority = expected;
    with_priority["facility"] = json!("authpriv");
    with_priority["severity"] = json!("info");
    check(format!("<86>Mar  9 06:55:46 gate sshd[0042]: {message}"), with_priority.clone());
    check(format!("<86> Mar  9 06:55:46 gate sshd[0042]: {message}"), with_priority);
}

#[test]
fn every_priority_has_its_names() {
    let names = |n: u8| {
        let line = parse_with(json!({}), format!("<{n}>Mar  9 06:55:46 gate app: x").as_bytes());
        (line["facility"].as_str().map(str::to_owned), line["severity"].as_str().map(str::to_owned))
    };
    let named = |facility: &str, severity: &str| (Some(facility.to_owned()), Some(severity.to_owned()));
    assert_eq!(names(0), named("kern", "emerg"));
    assert_eq!(names(13), named("user", "notice"));
    assert_eq!(names(76), named("cron", "warning"));
    assert_eq!(names(191), named("local7", "debug"));
    assert!((0..=191).all(|n| names(n).0.is_some() && names(n).1.is_some()));
}

#[test]
fn rfc5424_with_structured_data() {
    check(
        "<165>1 2025-03-09T22:14:15.003+02:00 db1.example.net billing 8710 AUDIT47 [origin@32473 ip=\"192.0.2.1\" ip=\"192.0.2.2\" software=\"say \\\"hi\\\"\"][meta sequenceId=\"29\"] \u{feff}invoice sent",
        json!({"timestamp": "2025-03-09T22:14:15.003+02:00", "host": "db1.example.net", "appname": "billing",
            "procid": "8710", "msgid": "AUDIT47", "facility": "local4", "severity": "notice", "version": 1,
            "structured_data": {"origin@32473": {"ip": ["192.0.2.1", "192.0.2.2"], "software": "say \"hi\""},
                "meta": {"sequenceId": "29"}},
            "message": "invoice sent"}),
    );
    check(
        "<34>1 2025-03-09T22:14:15Z - - - - - ",
        json!({"timestamp": "2025-03-09T22:14:15Z", "facility": "auth", "severity": "crit", "version": 1, "message": ""}),
    );
    check(
        "<34>1 - 2001:db8::17 su - ID1 [x@1]  two spaces",
        json!({"host": "2001:db8::17", "appname": "su", "msgid": "ID1", "facility": "auth", "severity": "crit",
            "version": 1, "structured_data": {"x@1": {}}, "message": " two spaces"}),
    );
}

#[test]
fn rfc5424_as_it_is_written_without_reading_it() {
    let expected = json!({"timestamp": "2025-03-09T22:14:15Z", "host": "h", "appname": "a", "procid": "1",
        "facility": "user", "severity": "notice", "version": 1, "message": "no structured data"});
    check("<13>1 2025-03-09T22:14:15Z h a 1 - no structured data", expected.clone());
    check("<13>1  2025-03-09T22:14:15Z  h a   1 - - no structured data", expected.clone());
    check("123 <13>1 2025-03-09T22:14:15Z h a 1 - - no structured data", expected.clone());
    check("\u{feff}<13>1 2025-03-09T22:14:15Z h a 1 - - no structured data\0", expected);
    check(
        "<13>1 2025-03-09T22:14:15Z h a 1 - [broken x=] text",
        json!({"timestamp": "2025-03-09T22:14:15Z", "host": "h", "appname": "a", "procid": "1", "facility": "user",
            "severity": "notice", "version": 1, "message": "[broken x=] text"}),
    );
    check(
        "<13>1 2025-03-09T22:14:15Z h a",
        json!({"timestamp": "2025-03-09T22:14:15Z", "host": "h", "appname": "a", "facility": "user",
            "severity": "notice", "version": 1, "message": ""}),
    );
    check(
        "1 2025-03-09T22:14:15Z h a 7 - - from a file",
        json!({"timestamp": "2025-03-09T22:14:15Z", "host": "h", "appname": "a", "procid": "7", "version": 1,
            "message": "from a file"}),
    );
}

#[test]
fn cisco_writes_numbers_marks_fractions_and_zones() {
    let expected = |timestamp: &str| {
        json!({"timestamp": timestamp, "appname": "%SYS-5-CONFIG_I", "facility": "local7", "severity": "notice",
            "message": "Configured from console by vty0 (192.0.2.9)"})
    };
    let message = "%SYS-5-CONFIG_I: Configured from console by vty0 (192.0.2.9)";
    check(format!("<189>29: *Mar  1 00:00:45.123: {message}"), expected("2025-03-01T00:00:45.123Z"));
    check(format!("<189>29: .Mar  1 00:00:45.123 UTC: {message}"), expected("2025-03-01T00:00:45.123Z"));
    check(format!("<189>29: 000070: Mar  1 00:00:45: {message}"), expected("2025-03-01T00:00:45Z"));
    check(format!("<189>Mar  1 00:00:45 CET: {message}"), expected("2025-03-01T00:00:45+01:00"));
    check(
        format!("<189>29: *Mar  1 2024 00:00:45.123456 PDT: {message}"),
        expected("2024-03-01T00:00:45.123456-07:00"),
    );
    check(format!("<189>29: Mar  1 00:00:45.1 XYZ: {message}"), expected("2025-03-01T00:00:45.1Z"));
    check(format!("<189>: 2024 Mar  1 00:00:45.123 UTC: {message}"), expected("2024-03-01T00:00:45.123Z"));
    let mut from_host = expected("2025-03-01T00:00:45.123Z");
    from_host["host"] = json!("router1");
    check(format!("<189>29: router1: *Mar  1 00:00:45.123: {message}"), from_host);
    check(
        "<189>5432: RP/0/RSP0/CPU0:Mar 12 10:15:30.123 UTC: config[65765]: %MGBL-SYS-5-CONFIG_I : Configured",
        json!({"timestamp": "2025-03-12T10:15:30.123Z", "host": "RP/0/RSP0/CPU0", "appname": "config",
            "procid": "65765", "facility": "local7", "severity": "notice", "message": "%MGBL-SYS-5-CONFIG_I : Configured"}),
    );
    let asa = |host: Value| {
        let mut asa = json!({"timestamp": "2025-03-12T10:15:30Z", "appname": "%ASA-6-302013", "facility": "local4",
            "severity": "info", "message": "Built inbound TCP connection 7"});
        if host != Value::Null {
            asa["host"] = host;
        }
        asa
    };
    check("<166>Mar 12 2025 10:15:30: %ASA-6-302013: Built inbound TCP connection 7", asa(Value::Null));
    check("<166>Mar 12 2025 10:15:30 fw1 : %ASA-6-302013: Built inbound TCP connection 7", asa(json!("fw1")));
}

#[test]
fn other_senders_have_their_ways() {
    // rsyslog with its own timestamp format, and programs that write a space or a comma.
    let rsyslog = json!({"timestamp": "2025-03-12T10:15:30.123456+01:00", "host": "web1", "appname": "nginx",
        "message": "ready"});
    check("2025-03-12T10:15:30.123456+01:00 web1 nginx: ready", rsyslog.clone());
    check("2025-03-12 10:15:30.123456 +0100 web1 nginx: ready", rsyslog);
    check(
        "2025/03/12 10:15:30,5 web1 nginx: ready",
        json!({"timestamp": "2025-03-12T10:15:30.5Z", "host": "web1", "appname": "nginx", "message": "ready"}),
    );
    // Meraki: seconds since 1970 behind something like a version.
    check(
        "<134>1 1741774530.774247467 branch_7 flows src=192.0.2.1 dst=198.51.100.2",
        json!({"timestamp": "2025-03-12T10:15:30.774247467Z", "host": "branch_7", "appname": "flows",
            "facility": "local0", "severity": "info", "message": "src=192.0.2.1 dst=198.51.100.2"}),
    );
    // AIX relays.
    check(
        "<38>Mar 12 10:15:30 Message forwarded from node7: sshd[77]: Accepted publickey for root",
        json!({"timestamp": "2025-03-12T10:15:30Z", "host": "node7", "appname": "sshd", "procid": "77",
            "facility": "auth", "severity": "info", "message": "Accepted publickey for root"}),
    );
    // ESXi.
    check(
        "<166>2025-03-12T10:15:30.123Z esx1 Hostd: info hostd[2100] [Originator@6876 sub=Vimsvc] done",
        json!({"timestamp": "2025-03-12T10:15:30.123Z", "host": "esx1", "appname": "Hostd", "facility": "local4",
            "severity": "info", "message": "info hostd[2100] [Originator@6876 sub=Vimsvc] done"}),
    );
    // A zone behind the time, as some printers and NAS boxes have it.
    check(
        "Mar 12 10:15:30 EST nas1 smbd[9]: started",
        json!({"timestamp": "2025-03-12T10:15:30-05:00", "host": "nas1", "appname": "smbd", "procid": "9",
            "message": "started"}),
    );
}

#[test]
fn host_and_program_may_be_missing() {
    let at = "2025-03-12T10:15:30Z";
    let line = |rest: &str| format!("Mar 12 10:15:30{rest}");
    check(line(" sshd[7]: local"), json!({"timestamp": at, "appname": "sshd", "procid": "7", "message": "local"}));
    check(line(" su: local"), json!({"timestamp": at, "appname": "su", "message": "local"}));
    check(line(" CRON: local"), json!({"timestamp": at, "appname": "CRON", "message": "local"}));
    check(line(" : a message"), json!({"timestamp": at, "message": "a message"}));
    check(line(" h  two spaces: no tag"), json!({"timestamp": at, "host": "h", "message": "two spaces: no tag"}));
    check(
        line(" h last message repeated 3 times"),
        json!({"timestamp": at, "host": "h", "message": "last message repeated 3 times"}),
    );
    check(line(" h {\"a\": 1}"), json!({"timestamp": at, "host": "h", "message": "{\"a\": 1}"}));
    check(line(" h [auth] message"), json!({"timestamp": at, "host": "h", "message": "[auth] message"}));
    check(line(" - - message"), json!({"timestamp": at, "message": "message"}));
    check(line(" h"), json!({"timestamp": at, "host": "h", "message": ""}));
    check(line(""), json!({"timestamp": at, "message": ""}));
    check(
        line(" 2001:db8::1 app: six"),
        json!({"timestamp": at, "host": "2001:db8::1", "appname": "app", "message": "six"}),
    );
    check(
        line(" 2001:db8:: app: six"),
        json!({"timestamp": at, "host": "2001:db8::", "appname": "app", "message": "six"}),
    );
    check(
        line(" h ns::part[3]: x"),
        json!({"timestamp": at, "host": "h", "appname": "ns::part", "procid": "3", "message": "x"}),
    );
    check(
        line(" h su(pam_unix)[31]: x"),
        json!({"timestamp": at, "host": "h", "appname": "su(pam_unix)", "procid": "31", "message": "x"}),
    );
    check(
        line(" h postfix/smtpd[1]: -5 mails"),
        json!({"timestamp": at, "host": "h", "appname": "postfix/smtpd", "procid": "1", "message": "-5 mails"}),
    );
    check(
        line(" h kernel: [12.3] usb"),
        json!({"timestamp": at, "host": "h", "appname": "kernel", "message": "[12.3] usb"}),
    );
    check(
        line(" h %LINK-3-UPDOWN:down"),
        json!({"timestamp": at, "host": "h", "appname": "%LINK-3-UPDOWN", "message": "down"}),
    );
    check(line(" h app[]: x"), json!({"timestamp": at, "host": "h", "appname": "app", "message": "x"}));
    check(
        line(" h app: [d@1 a=\"b\"] x"),
        json!({"timestamp": at, "host": "h", "appname": "app",
        "structured_data": {"d@1": {"a": "b"}}, "message": "x"}),
    );
}

#[test]
fn a_priority_without_a_timestamp_is_enough() {
    let line = |rest: Value| {
        let mut line = json!({"facility": "user", "severity": "notice"});
        line.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        line
    };
    check("<13>just text", line(json!({"message": "just text"})));
    check("<13>filterlog[5]: 1,2,3", line(json!({"appname": "filterlog", "procid": "5", "message": "1,2,3"})));
    check(
        "<13>app: 2025-01-01 10:00:00 started",
        line(json!({"appname": "app", "message": "2025-01-01 10:00:00 started"})),
    );
    check("<13>1 hello", line(json!({"message": "1 hello"})));
    check("<13>", line(json!({"message": ""})));
}

#[test]
fn odd_times_are_read_by_the_last_resort() {
    check(
        "<13>Mar 9 6:05:04 gate app[7]: odd",
        json!({"timestamp": "2025-03-09T06:05:04Z", "host": "gate", "appname": "app", "procid": "7",
            "facility": "user", "severity": "notice", "message": "odd"}),
    );
    let vienna = json!({"timezone": "Europe/Vienna"});
    assert_eq!(parse_with(vienna.clone(), b"Mar 9 6:05:04 gate app: odd")["timestamp"], "2025-03-09T06:05:04+01:00");
    assert_eq!(parse_with(vienna, b"Mar 9 2023 6:05:04 gate app: odd")["timestamp"], "2023-03-09T06:05:04+01:00");
    check(
        b"<13>Mar 9 6:05:04 gate app: caf\xc3\xa9 \xff",
        json!({"timestamp": "2025-03-09T06:05:04Z", "host": "gate", "appname": "app", "facility": "user",
            "severity": "notice", "message": "caf\u{e9} \u{fffd}"}),
    );
}

#[test]
fn lines_without_year_or_zone_are_completed() {
    let timestamp = |config: Value, line: &str| parse_with(config, line.as_bytes())["timestamp"].clone();
    assert_eq!(timestamp(json!({}), "Dec 31 23:59:59 h a: x"), "2024-12-31T23:59:59Z");
    assert_eq!(timestamp(json!({}), "Mar 15 11:59:59 h a: x"), "2025-03-15T11:59:59Z");
    assert_eq!(timestamp(json!({}), "Mar 15 12:00:01 h a: x"), "2024-03-15T12:00:01Z");
    assert_eq!(timestamp(json!({}), "Feb 29 12:00:01 h a: x"), "2024-02-29T12:00:01Z");
    let vienna = json!({"timezone": "Europe/Vienna"});
    assert_eq!(timestamp(vienna.clone(), "Jul 14 12:00:00 h a: x"), "2024-07-14T12:00:00+02:00");
    assert_eq!(timestamp(vienna.clone(), "Jan 14 12:00:00 h a: x"), "2025-01-14T12:00:00+01:00");
    assert_eq!(timestamp(vienna, "2025-03-09T22:14:15Z h a: x"), "2025-03-09T22:14:15Z");
    assert_eq!(timestamp(json!({"timezone": "-03:30"}), "Jan 14 12:00:00 h a: x"), "2025-01-14T12:00:00-03:30");
}

#[test]
fn the_time_of_the_line_may_become_the_event_time() {
    let run = run_with(json!({"event_time": true}), &[b"2025-03-12T10:15:30.1239+01:00 h a: x", b"<13>no time"]);
    let timestamps: Vec<_> = run.outputs.iter().map(|output| output.record.timestamp).collect();
    assert_eq!(timestamps, [1_741_770_930_123, RECEIVED]);
    let run = run_with(json!({}), &[b"2025-03-12T10:15:30.1239+01:00 h a: x"]);
    assert_eq!(run.outputs.first().unwrap().record.timestamp, RECEIVED);
}

#[test]
fn any_byte_may_come() {
    check(
        b"Mar 12 10:15:30 h\xffst app: \"q\" \\ \t\0 \x1b[1m caf\xc3\xa9 \xf0\x9f\x98\x80 \xc3( end \r\n",
        json!({"timestamp": "2025-03-12T10:15:30Z", "host": "h\u{fffd}st", "appname": "app",
            "message": "\"q\" \\ \t\0 \u{1b}[1m caf\u{e9} \u{1f600} \u{fffd}( end "}),
    );
}

#[test]
fn what_cannot_be_parsed_is_rejected_or_passes() {
    let lines: [&[u8]; 6] = [b"", b"\r\n", b"no syslog at all", b"Mar 32 10:15:30 h a: x", b"<999>x", &[0xff; 200]];
    let run = run_with(json!({}), &lines);
    assert_eq!(run.rejects.len(), lines.len());
    let reasons: Vec<_> = run.rejects.iter().map(|reject| reject.reason.as_str()).collect();
    let wanted = "expected a syslog line, which begins with a priority or a timestamp; got ";
    assert!(reasons.iter().all(|reason| reason.starts_with(wanted) && reason.len() < 400), "{reasons:?}");
    assert!(reasons[0].ends_with("an empty line") && reasons[1].ends_with("an empty line"), "{reasons:?}");
    assert!(reasons[2].ends_with("`no syslog at all`"), "{reasons:?}");

    let run = run_with(json!({"on_error": "pass"}), &lines);
    assert_eq!(run.rejects, []);
    let passed: Value = from_slice(run.outputs[2].record.value.as_deref().unwrap()).unwrap();
    assert_eq!(passed, json!({"message": "no syslog at all", "error": reasons[2]}));
}

#[test]
fn the_raw_line_may_be_kept() {
    let line = b"Mar 12 10:15:30 h app: x\r\n";
    assert_eq!(parse_with(json!({"keep_raw": true}), line)["raw"], "Mar 12 10:15:30 h app: x");
    assert_eq!(parse_with(json!({}), line).get("raw"), None);
}

#[test]
fn key_headers_and_place_stay() {
    let mut parser = Harness::<SyslogParser>::new(json!({})).unwrap();
    let given = TestRecord::of("Mar 12 10:15:30 h app: x").key("k").header("peer", "192.0.2.1").timestamp(RECEIVED);
    let run = parser.process([given]);
    let output = &run.outputs[0];
    assert_eq!(output.record.key.as_deref(), Some(&b"k"[..]));
    assert_eq!(output.record.headers, [("peer".to_owned(), Some(b"192.0.2.1".to_vec()))]);
    assert_eq!(output.origin, 0);
}

#[test]
fn wrong_settings_are_named() {
    let refuse = |config: Value| Harness::<SyslogParser>::new(config).err().unwrap();
    let error = refuse(json!({"on_eror": "pass"}));
    assert_eq!(error.path(), "on_eror");
    assert!(error.message().contains("`on_error`") && error.message().contains("`keep_raw`"), "{}", error.message());
    assert_eq!(refuse(json!({"on_error": "drop"})).path(), "on_error");
    assert_eq!(refuse(json!({"timezone": "Nowhere"})).path(), "timezone");
}
