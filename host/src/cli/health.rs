//! `weir health`: asks a running appliance whether it is well, through its control socket. Made for health checks of
//! containers and services, which know exit codes alone; the line it prints is for whoever looks at their log.

use std::io::Write as _;
use std::time::Duration;

use super::state::Data;
use super::{EXIT_UNAVAILABLE, say};
use crate::api::{Status, client};

/// An appliance that has not answered by then is not well, whatever it is doing.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

/// What `weir health` is told.
#[derive(Debug, clap::Args)]
pub struct HealthArgs {
    /// Where the appliance runs
    #[command(flatten)]
    pub data: Data,
}

/// Asks, prints the answer, and gives the exit code.
pub async fn run(args: HealthArgs) -> u8 {
    match tokio::time::timeout(ANSWER_TIME_MAX, client::status(args.data.directory())).await {
        Ok(Ok(status)) => match verdict(&status) {
            Ok(well) => {
                // Where nobody reads it, the exit code says as much.
                let _ = writeln!(std::io::stdout().lock(), "{well}");
                0
            }
            Err(ill) => unwell(&ill),
        },
        Ok(Err(error)) => unwell(&error.to_string()),
        Err(_) => unwell(&format!("the appliance has not answered within {ANSWER_TIME_MAX:?}")),
    }
}

fn unwell(what: &str) -> u8 {
    say(&format!("weir: {what}"));
    EXIT_UNAVAILABLE
}

/// What there is to say of an appliance that answers; the error is what is not well.
fn verdict(status: &Status) -> Result<String, String> {
    if status.troubles.is_empty() {
        return Ok(match status.pipelines.len() {
            1 => "1 pipeline runs".to_owned(),
            number => format!("{number} pipelines run"),
        });
    }
    let lines = status.troubles.iter().map(|of| {
        let (pipeline, partition, why) = (&of.pipeline, of.partition, &of.why);
        format!("pipeline {pipeline}, partition {partition}: {why}; it begins again by itself")
    });
    Err(lines.collect::<Vec<_>>().join("\nweir: "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::status::{DiskStatus, PipelineStatus, TroubleStatus};

    fn status(names: &[&str], troubles: &[(&str, u32, &str)]) -> Status {
        let pipelines = names.iter().map(|name| PipelineStatus::of(name, &Default::default())).collect();
        let trouble = |(pipeline, partition, why): &(&str, u32, &str)| TroubleStatus {
            pipeline: (*pipeline).into(),
            partition: *partition,
            why: (*why).into(),
        };
        Status {
            version: "0".into(),
            pid: 1,
            pipelines,
            streams: Vec::new(),
            lag: Vec::new(),
            disk: DiskStatus { bytes: 0, state_bytes: 0 },
            versions: Vec::new(),
            steps: Vec::new(),
            commits: Vec::new(),
            troubles: troubles.iter().map(trouble).collect(),
        }
    }

    #[test]
    fn all_is_well_where_nothing_waits_to_begin_again() {
        assert_eq!(verdict(&status(&["a"], &[])), Ok("1 pipeline runs".into()));
        assert_eq!(verdict(&status(&["a", "b"], &[])), Ok("2 pipelines run".into()));
    }

    #[test]
    fn each_task_that_does_not_run_is_named_with_what_it_failed_of() {
        let ill = verdict(&status(&["a", "b"], &[("a", 0, "sink x: refused"), ("a", 2, "sink x: gone")]));
        let lines = "pipeline a, partition 0: sink x: refused; it begins again by itself\n\
                     weir: pipeline a, partition 2: sink x: gone; it begins again by itself";
        assert_eq!(ill, Err(lines.into()));
    }
}
