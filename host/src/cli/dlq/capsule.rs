//! `weir dlq capsule`: a dead letter as a case, in a folder.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::{Error, is_nobody, say};
use crate::api::client;
use crate::appliance::reload::Control;
use crate::config::{Config, Sink};
use crate::dlq::capsule::Used;
use crate::dlq::{Letter, Stage, act};
use crate::plugin::{Catalog, Engine};

/// Writes the folder.
pub(super) async fn write(data: &Path, id: &str, to: Option<PathBuf>, out: &mut impl Write) -> Result<(), Error> {
    let (head, wasm) = match client::capsule(data, id).await {
        Err(error) if is_nobody(&error) => return Err(Error::NotRunning(data.display().to_string())),
        answer => answer?,
    };
    let directory = to.unwrap_or_else(|| format!("dlq-{id}").into());
    if directory.exists() {
        return Err(act::Error::Wrong(format!("{} is there already", directory.display())).into());
    }
    let damaged = || act::Error::Wrong(format!("the record of the dead letter {id} is damaged"));
    let (case, said) = head.case(wasm).ok_or_else(damaged)?;
    case.write(&directory)?;
    said.iter().for_each(|remark| say(&format!("weir: {remark}")));
    Ok(writeln!(out, "{}", directory.display())?)
}

/// The plugin that refused a record, as an appliance with this configuration uses it.
pub(in crate::cli) fn used(
    config: &Config,
    engine: Option<&Engine>,
    control: &Control,
    letter: &Letter,
) -> Result<Used, String> {
    let catalog = Catalog::new(config.plugins.clone());
    // The very one that refused it, though another may be in its place by now.
    let kept = || engine?.component_with(letter.plugin_hash.as_deref()?);
    let find = |name: &str| match kept() {
        Some(wasm) => Ok(wasm),
        None => catalog.find(name).map(|found| found.code.wasm.to_vec()).map_err(|error| error.to_string()),
    };
    if let Some(Sink::Plugin(step)) =
        config.sinks.get(letter.step.as_str()).filter(|_| letter.stage != Some(Stage::Step))
    {
        return Ok(Used {
            pipeline: letter.step.as_str().into(),
            step: step.name.clone(),
            config: step.config.clone(),
            limits: step.limits.clone(),
            inputs: vec![letter.pipeline.as_str().into()],
            tables: Vec::new(),
            wasm: find(&step.plugin)?,
        });
    }
    let of = control.version(&letter.pipeline, &letter.step, letter.plugin_hash.as_deref());
    let Some(of) = of.filter(|_| matches!(letter.stage, Some(Stage::Step) | None)) else {
        let Letter { pipeline, step, .. } = letter;
        return Err(format!(
            "no plugin refused it that is there: {step} is no step of the pipeline {pipeline}, and no sink that is a plugin"
        ));
    };
    let pipeline = config.pipelines.get(letter.pipeline.as_str());
    let step = pipeline.and_then(|pipeline| pipeline.steps.iter().find(|step| step.name == of.step));
    Ok(Used {
        pipeline: letter.pipeline.as_str().into(),
        step: of.step,
        config: of.config,
        limits: of.limits,
        inputs: pipeline.map(|pipeline| pipeline.from.clone()).unwrap_or_default(),
        tables: step.map(|step| step.table_names()).unwrap_or_default(),
        wasm: find(&of.plugin)?,
    })
}
