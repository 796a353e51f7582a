//! `weir doctor`: looks at everything around an appliance that can keep it from working, and says what to do about it.

mod checkups;
mod machine;

use std::io::Write as _;
use std::path::PathBuf;

use super::EXIT_UNAVAILABLE;
use crate::config::{self, Loaded, Overrides};

/// What `weir doctor` is told.
#[derive(Debug, clap::Args)]
pub struct DoctorArgs {
    /// A pipeline file, or a directory of them; without it only the machine and the data directory are looked at
    pub path: Option<PathBuf>,
    /// A directory with plugins, searched before those of the file; may be given again
    #[arg(long = "plugins", value_name = "DIR")]
    pub plugins: Vec<PathBuf>,
    /// The data directory, instead of the file's `data`
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Print the findings as JSON
    #[arg(long)]
    pub json: bool,
}

/// What was found of one thing.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// What was looked at.
    pub check: &'static str,
    /// How it is.
    pub health: Health,
    /// What was found.
    pub found: String,
    /// What to do, where something is to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// As it should be.
    Good,
    /// It works, and may not for long.
    Poor,
    /// It does not work.
    Bad,
}

impl Finding {
    fn good(check: &'static str, found: impl Into<String>) -> Self {
        Finding { check, health: Health::Good, found: found.into(), advice: None }
    }

    fn poor(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Finding { check, health: Health::Poor, found: found.into(), advice: Some(advice.into()) }
    }

    fn bad(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Finding { health: Health::Bad, ..Finding::poor(check, found, advice) }
    }

    /// For people.
    fn told(&self) -> String {
        let sign = match self.health {
            Health::Good => "ok  ",
            Health::Poor => "warn",
            Health::Bad => "BAD ",
        };
        let indented = |text: &str| text.trim_end().replace('\n', "\n                      ");
        let mut text = format!("{sign}  {:<15} {}\n", self.check, indented(&self.found));
        if let Some(advice) = &self.advice {
            text.push_str(&format!("                      -> {}\n", indented(advice)));
        }
        text
    }
}

/// Looks, prints and gives the exit code: 0, or 69 where something does not work.
pub async fn run(args: DoctorArgs) -> u8 {
    let findings = findings(&args).await;
    let worst = findings.iter().map(|finding| finding.health).max().unwrap_or(Health::Good);
    let text = match args.json {
        // Text always can be written.
        true => serde_json::to_string(&findings).unwrap_or_default() + "\n",
        false => findings.iter().map(Finding::told).collect(),
    };
    // Whoever closed the pipe wants no more; the exit code still tells.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    if worst == Health::Bad { EXIT_UNAVAILABLE } else { 0 }
}

async fn findings(args: &DoctorArgs) -> Vec<Finding> {
    let mut findings = Vec::new();
    let loaded = match &args.path {
        None => None,
        Some(path) => {
            findings.push(checkups::configuration(path, &args.plugins).await);
            config::load(path, &Overrides { data: args.data.clone(), plugins: args.plugins.clone() }).ok()
        }
    };
    let config = loaded.as_ref().map(|Loaded { config, .. }| config);
    let data = args.data.clone().or_else(|| config.map(|config| config.data.clone()));
    let data = data.unwrap_or_else(|| "weir-data".into());
    let running = checkups::appliance(&data).await;
    let runs = running.health != Health::Bad && running.found != checkups::NOT_RUNNING;
    findings.push(machine::directory(&data));
    findings.extend(machine::space(&data));
    findings.extend(machine::clock(&data));
    findings.push(running);
    findings.extend(config.map(machine::files));
    findings.extend(config.map(machine::plugin_cache));
    if let (Some(config), false) = (config, runs) {
        findings.extend(checkups::ports(config));
    }
    findings
}
