//! `weir graph`: draws what a pipeline file describes: sources, steps, streams, sinks, and what goes where.

mod layout;
mod model;
mod svg;
mod text;

use std::io::Write as _;
use std::path::PathBuf;

use super::{check, say};
use crate::config::{self, Overrides};

pub use model::Graph;

/// What `weir graph` is told.
#[derive(Debug, clap::Args)]
pub struct GraphArgs {
    /// A pipeline file, or a directory of them
    pub path: PathBuf,
    /// How it is drawn
    #[arg(long, value_enum, default_value = "mermaid")]
    pub format: Format,
}

/// How a graph is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Text that GitHub and many wikis draw.
    Mermaid,
    /// The language of Graphviz.
    Dot,
    /// A picture.
    Svg,
}

/// Draws, and gives the exit code.
pub fn run(args: &GraphArgs) -> u8 {
    match config::load(&args.path, &Overrides::default()) {
        Ok(loaded) => {
            let drawn = draw(&Graph::of(&loaded.config), args.format);
            // Whoever closed the pipe wants no more.
            let _ = std::io::stdout().lock().write_all(drawn.as_bytes());
            0
        }
        Err(report) => {
            say(report.render(check::look()).trim_end());
            report.exit_code()
        }
    }
}

fn draw(graph: &Graph, format: Format) -> String {
    match format {
        Format::Mermaid => text::mermaid(graph),
        Format::Dot => text::dot(graph),
        Format::Svg => svg::svg(graph),
    }
}

#[cfg(test)]
mod tests;
