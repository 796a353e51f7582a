//! `/metrics`: all that is counted, as Prometheus reads it (OpenMetrics text). Reads counters that are there anyway; nothing is
//! counted for its sake.

use std::fmt;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{Method, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::access::VIEWER;
use super::routes::{Answer, Route};
use super::{ApiState, Failure, Shared, StreamStatus, lag, process, ready};
use crate::metrics::histogram::Times;
use crate::metrics::links::LINKS;
use crate::metrics::steps::StepMetrics;
use crate::metrics::{Counter, PipelineMetrics};
use crate::plugin::versions::Versions;

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The routes that are answered here.
pub(super) fn routes() -> Vec<Route> {
    let summary = "All that is counted, for Prometheus.";
    let needs = VIEWER;
    vec![Route::new(Method::GET, "/metrics", needs, summary, Answer::Text("application/openmetrics-text"), get(show))]
}

async fn show(State(shared): State<Shared>) -> Result<Response, Failure> {
    let text = text(&shared.state).await?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response())
}

/// All metrics as text.
pub(super) async fn text(state: &ApiState) -> Result<String, Failure> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(gather(state).await?));
    let mut text = String::new();
    // Text always can be written.
    let _ = prometheus_client::encoding::text::encode(&mut text, &registry);
    Ok(text)
}

/// Metrics by family.
#[derive(Debug, Default)]
struct Families(Vec<Family>);

/// All of one name.
#[derive(Debug)]
struct Family {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    samples: Vec<(Labels, Sample)>,
}

type Labels = Vec<(&'static str, String)>;

#[derive(Debug)]
enum Sample {
    Count(u64),
    Seconds(f64),
    Gauge(f64),
    Times(Times),
}

impl Families {
    fn add(&mut self, name: &'static str, help: &'static str, samples: Vec<(Labels, Sample)>) {
        let kind = match samples.first() {
            None => return,
            Some((_, Sample::Count(_) | Sample::Seconds(_))) => MetricType::Counter,
            Some((_, Sample::Gauge(_))) => MetricType::Gauge,
            Some((_, Sample::Times(_))) => MetricType::Histogram,
        };
        self.0.push(Family { name, help, kind, samples });
    }
}

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for Family { name, help, kind, samples } in &self.0 {
            let mut family = encoder.encode_descriptor(name, help, None, *kind)?;
            for (labels, sample) in samples {
                if labels.is_empty() {
                    encode(&mut family, sample)?;
                } else {
                    encode(&mut family.encode_family(labels)?, sample)?;
                }
            }
        }
        Ok(())
    }
}

fn encode(encoder: &mut MetricEncoder<'_>, sample: &Sample) -> fmt::Result {
    match sample {
        Sample::Count(count) => encoder.encode_counter::<NoLabelSet, u64, f64>(count, None),
        Sample::Seconds(seconds) => encoder.encode_counter::<NoLabelSet, f64, f64>(seconds, None),
        Sample::Gauge(value) => encoder.encode_gauge(value),
        Sample::Times(times) => encoder.encode_histogram::<NoLabelSet>(times.sum_s, times.count, &times.buckets, None),
    }
}

async fn gather(state: &ApiState) -> Result<Families, Failure> {
    let mut families = Families::default();
    let build = vec![(vec![("version", env!("CARGO_PKG_VERSION").to_owned())], Sample::Gauge(1.0))];
    families.add("weir_build_info", "The version of Weir", build);
    let checks = ready::checks(state).await;
    let is_ok = |check: &ready::Check| f64::from(u8::from(check.trouble.is_none()));
    let checks = checks.iter().map(|check| (vec![("check", check.name.clone())], Sample::Gauge(is_ok(check))));
    families.add("weir_ready", "Whether a check of /readyz passes", checks.collect());
    of_pipelines(&mut families, state);
    of_steps(&mut families, state);
    of_versions(&mut families, state);
    of_sources(&mut families, state);
    of_store(&mut families, state).await?;
    of_process(&mut families);
    Ok(families)
}

/// What is counted of each pipeline: name, help, and the counter.
type Counted<T> = [(&'static str, &'static str, fn(&T) -> &Counter)];

const PIPELINES: &Counted<PipelineMetrics> = &[
    ("weir_pipeline_records_in", "Records read, with the commit", |of| &of.records_in),
    ("weir_pipeline_records_out", "Records written, once for each output, with the commit", |of| &of.records_out),
    ("weir_pipeline_records_filtered", "Records dropped by intent", |of| &of.filtered),
    ("weir_pipeline_records_late", "Records that came too late; each is counted elsewhere as well", |of| &of.late),
    ("weir_pipeline_records_dead", "Records that became dead letters", |of| &of.dead),
    ("weir_pipeline_bytes_in", "Bytes of the records read", |of| &of.bytes_in),
    ("weir_pipeline_bytes_out", "Bytes of the records written, once for each output", |of| &of.bytes_out),
    ("weir_pipeline_commits", "Chunks that were committed", |of| &of.commits),
    ("weir_pipeline_restarts", "Times that a task began again from its last commit", |of| &of.restarts),
];

fn of_pipelines(families: &mut Families, state: &ApiState) {
    let pipelines = state.pipelines.all();
    let each = |value: &dyn Fn(&PipelineMetrics) -> Option<Sample>| -> Vec<_> {
        let of = |(name, of): (&Arc<str>, &Arc<PipelineMetrics>)| Some((pipeline(name), value(of)?));
        pipelines.iter().filter_map(of).collect()
    };
    for (name, help, counter) in PIPELINES {
        families.add(name, help, each(&|of| Some(Sample::Count(counter(of).get()))));
    }
    let times = each(&|of| Some(Sample::Times(of.commit_time.times())));
    families.add("weir_pipeline_commit_duration_seconds", "From handing a commit over until it is durable", times);
    let watermark = each(&|of| Some(Sample::Gauge(of.watermark()?.0 as f64 / 1e3)));
    families.add(
        "weir_pipeline_watermark_timestamp_seconds",
        "How far event time has come, in its slowest task",
        watermark,
    );
}

const STEPS: &Counted<StepMetrics> = &[
    ("weir_step_records_in", "Records that the step was given, with the commit", |of| &of.records_in),
    ("weir_step_records_out", "Records that went on from it, with the commit", |of| &of.records_out),
    ("weir_step_records_filtered", "Records that it dropped by intent, with the commit", |of| &of.filtered),
    ("weir_step_records_rejected", "Records that it rejected, with the commit", |of| &of.rejected),
    ("weir_step_bytes_in", "Bytes of the records that it was given, with the commit", |of| &of.bytes_in),
    ("weir_step_bytes_out", "Bytes of the records that it answered with, with the commit", |of| &of.bytes_out),
    ("weir_step_traps", "Calls that trapped", |of| &of.traps),
    ("weir_step_timeouts", "Calls that took more time than they may", |of| &of.timeouts),
    ("weir_step_failures", "Calls that failed otherwise: memory, size or form of the answer", |of| &of.other_failures),
];

fn of_steps(families: &mut Families, state: &ApiState) {
    let mut steps = Vec::new();
    for (name, of) in &*state.pipelines.all() {
        for (step, of) in &*of.steps() {
            steps.push(([pipeline(name), vec![("step", step.to_string())]].concat(), of.clone()));
        }
    }
    let each = |value: &dyn Fn(&StepMetrics) -> Sample| -> Vec<_> {
        steps.iter().map(|(labels, of)| (labels.clone(), value(of))).collect()
    };
    for (name, help, counter) in STEPS {
        families.add(name, help, each(&|of| Sample::Count(counter(of).get())));
    }
    let times = each(&|of| Sample::Times(of.calls.times()));
    families.add(
        "weir_step_call_duration_seconds",
        "Time of a call with a batch, waiting for its turn included",
        times,
    );
    let used = each(&|of| Sample::Seconds(of.processor_ns.get() as f64 / 1e9));
    families.add("weir_step_cpu_seconds", "Processor time of the step's calls", used);
    let memory = each(&|of| Sample::Gauge(of.memory_bytes() as f64));
    families.add("weir_step_memory_bytes", "Linear memory of the step's instances", memory);
}

fn of_versions(families: &mut Families, state: &ApiState) {
    let reloads = &state.status.reloads;
    let reloads = [("done", reloads.done.get()), ("refused", reloads.refused.get())];
    let reloads =
        reloads.into_iter().map(|(result, count)| (vec![("result", result.to_owned())], Sample::Count(count)));
    families.add("weir_reloads", "Reloads by what became of them", reloads.collect());
    let known = state.status.known();
    let (mut swaps, mut pauses) = (Vec::new(), Vec::new());
    for (name, versions) in &known.versions {
        let counts = versions.swaps();
        for (result, count) in
            [("installed", counts.installed), ("failed", counts.failed), ("rolled_back", counts.rolled_back)]
        {
            swaps.push(([pipeline(name), vec![("result", result.to_owned())]].concat(), Sample::Count(count)));
        }
        pauses.extend(longest_pause(versions).map(|pause| (pipeline(name), Sample::Gauge(pause))));
    }
    families.add("weir_swaps", "Versions of steps by what became of them", swaps);
    families.add(
        "weir_swap_pause_max_seconds",
        "The longest pause of a task that went over to another version",
        pauses,
    );
}

fn longest_pause(versions: &Versions) -> Option<f64> {
    versions.pauses().last().map(std::time::Duration::as_secs_f64)
}

fn of_sources(families: &mut Families, state: &ApiState) {
    use std::sync::atomic::Ordering::Relaxed;
    let known = state.status.known();
    let each = |value: &dyn Fn(&crate::source::Received) -> Sample| -> Vec<_> {
        known.received.iter().map(|(name, of)| (vec![("source", name.to_string())], value(of))).collect()
    };
    let records = each(&|of| Sample::Count(of.records.load(Relaxed)));
    families.add("weir_source_records_received", "Records that a listener has made durable", records);
    let dropped = each(&|of| Sample::Count(of.dropped.load(Relaxed)));
    families.add("weir_source_records_dropped", "Records lost by overflow before they were durable (UDP)", dropped);
    let window = each(&|of| Sample::Gauge(of.window_records.load(Relaxed) as f64));
    families.add("weir_source_window_records", "Records received and not durable yet", window);
    let (mut up, mut lost) = (Vec::new(), Vec::new());
    for (owner, link) in LINKS.all() {
        let labels = vec![("link", owner)];
        up.push((labels.clone(), Sample::Gauge(f64::from(u8::from(link.is_up())))));
        lost.push((labels, Sample::Count(link.lost.get())));
    }
    families.add("weir_link_up", "Whether a connection to a broker stands, as far as is known", up);
    families.add("weir_link_lost", "Times that a connection to a broker broke or could not be had", lost);
}

async fn of_store(families: &mut Families, state: &ApiState) -> Result<(), Failure> {
    let disk = state.store.disk_use().await?;
    families.add("weir_store_bytes", "All that is kept on disk", vec![(Vec::new(), Sample::Gauge(disk.all as f64))]);
    let kept = vec![(Vec::new(), Sample::Gauge(disk.state as f64))];
    families.add("weir_state_bytes", "What pipelines remember, on disk", kept);
    let (mut bytes, mut records) = (Vec::new(), Vec::new());
    for stream in StreamStatus::all(&*state.store).await? {
        for of in &stream.partitions {
            let labels = vec![("stream", stream.name.clone()), ("partition", of.partition.to_string())];
            bytes.push((labels.clone(), Sample::Gauge(of.bytes as f64)));
            records.push((labels, Sample::Gauge(of.end.saturating_sub(of.start) as f64)));
        }
    }
    families.add("weir_stream_bytes", "Encoded bytes that a partition of a stream holds", bytes);
    families.add("weir_stream_records", "Offsets that a partition of a stream spans", records);
    let lags = lag::all(state).await.into_iter().map(|of| {
        let labels = vec![
            ("pipeline", of.pipeline.to_string()),
            ("source", of.source.to_string()),
            ("topic", of.topic),
            ("partition", of.partition.0.to_string()),
        ];
        (labels, Sample::Gauge(of.records as f64))
    });
    families.add("weir_lag_records", "Records between what is committed and the end of a partition", lags.collect());
    Ok(())
}

fn of_process(families: &mut Families) {
    let usage = process::usage();
    let one = |sample| vec![(Vec::new(), sample)];
    families.add("process_cpu_seconds", "Processor time", one(Sample::Seconds(usage.cpu.as_secs_f64())));
    families.add("process_resident_memory_bytes", "Memory in use", one(Sample::Gauge(usage.resident_bytes as f64)));
    families.add("process_open_fds", "Open files and sockets", one(Sample::Gauge(usage.files as f64)));
}

fn pipeline(name: &Arc<str>) -> Labels {
    vec![("pipeline", name.to_string())]
}
