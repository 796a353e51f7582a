//! Connects to every system that a pipeline file names and looks whether all is there that a run would need: the server, the
//! login, the queue or exchange. Nothing is created, and nothing is consumed.
//!
//! One function for each kind of system, called for each source and each sink of it; all of them look at once.

use std::sync::Arc;

use futures_util::future::join_all;

use crate::config::{Loaded, Problem, Sink, Source};
use crate::{sink, source};

/// What is wrong with the connections of a file.
pub async fn problems(loaded: &Loaded) -> Vec<Problem> {
    let sources = loaded.config.sources.iter().map(|(name, settings)| async move {
        let failure = of_source(loaded, name, settings).await.err()?;
        Some(problem(loaded, "sources", name, &format!("source {name}: {failure}")))
    });
    let sinks = loaded.config.sinks.iter().map(|(name, settings)| async move {
        let failure = of_sink(name, settings).await.err()?;
        Some(problem(loaded, "sinks", name, &format!("sink {name}: {failure}")))
    });
    let (sources, sinks) = tokio::join!(join_all(sources), join_all(sinks));
    sources.into_iter().chain(sinks).flatten().collect()
}

/// Looks what a source needs. The error says what is wrong and what to do.
async fn of_source(loaded: &Loaded, name: &Arc<str>, settings: &Source) -> Result<(), String> {
    match settings {
        Source::Kafka(settings) => {
            let pipelines = loaded
                .config
                .pipelines
                .iter()
                .filter(|(_, pipeline)| pipeline.partitioned().any(|input| input == name));
            for (pipeline, _) in pipelines {
                let checked = source::kafka::partitions::check(name, settings, pipeline).await;
                checked.map_err(|failure| failure.to_string())?;
            }
            Ok(())
        }
        Source::Rabbitmq(settings) => {
            source::rabbitmq::check(name, settings).await.map_err(|failure| failure.to_string())
        }
        Source::File(_) | Source::Stdin(_) | Source::Syslog(_) | Source::Demo(_) | Source::Table(_) => Ok(()),
    }
}

/// Looks what a sink needs. The error says what is wrong and what to do.
async fn of_sink(name: &Arc<str>, settings: &Sink) -> Result<(), String> {
    match settings {
        Sink::Kafka(settings) => sink::kafka::check(name, settings).await.map_err(|failure| failure.to_string()),
        Sink::Rabbitmq(settings) => sink::rabbitmq::check(name, settings).await.map_err(|failure| failure.to_string()),
        Sink::Stdout(_) | Sink::File(_) | Sink::Plugin(_) => Ok(()),
    }
}

fn problem(loaded: &Loaded, section: &str, name: &str, message: &str) -> Problem {
    Problem::unavailable("no-connection", message).at(&loaded.origin.named(section, name), "needs it")
}
