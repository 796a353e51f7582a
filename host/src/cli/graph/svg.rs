//! A graph as a picture that any browser shows, in light and in dark.

use super::layout::{Layout, Place};
use super::model::{Edge, Graph, Kind, Node};
use super::text::lines;

/// The room of a character of 13 pixels, on average.
const CHAR_WIDTH: f64 = 7.6;
const BOX_HEIGHT: f64 = 40.0;
const BOX_WIDTH_MIN: f64 = 90.0;
const COLUMN_GAP: f64 = 70.0;
const ROW_HEIGHT: f64 = 66.0;
const MARGIN: f64 = 24.0;

const STYLE: &str = "<style>
  svg { background: #fff; font: 13px system-ui, sans-serif }
  text { fill: #1b1f24; text-anchor: middle } .detail { font-size: 11px; fill: #57606a }
  .label { font-size: 11px; fill: #57606a }
  .box { stroke: #57606a; stroke-width: 1.2 }
  .source { fill: #ddf4e4 } .stream { fill: #fff3d6 } .step { fill: #e3eefc } .sink { fill: #fbe3e4 }
  .edge { fill: none; stroke: #57606a; stroke-width: 1.4; marker-end: url(#tip) } .aside { stroke-dasharray: 5 4 }
  @media (prefers-color-scheme: dark) {
    svg { background: #0d1117 } text { fill: #e6edf3 } .detail, .label { fill: #9da7b1 }
    .source { fill: #12351f } .stream { fill: #3b2f10 } .step { fill: #14294a } .sink { fill: #40181c }
    .box, .edge { stroke: #9da7b1 } #tip path { fill: #9da7b1 }
  }
</style>
<defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\"><path d=\"M0 0L8 4L0 8z\" fill=\"#57606a\"/></marker></defs>
";

/// The picture.
pub fn svg(graph: &Graph) -> String {
    let layout = Layout::of(graph);
    let grid = Grid::of(graph, &layout);
    let (width, height) = grid.size(&layout);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" aria-label=\"pipelines\">\n{STYLE}"
    );
    for (edge, bends) in graph.edges.iter().zip(&layout.bends) {
        svg.push_str(&grid.edge(edge, bends, &layout, height));
    }
    for (node, place) in graph.nodes.iter().zip(&layout.nodes) {
        svg.push_str(&grid.node(node, *place));
    }
    svg + "</svg>\n"
}

/// Where columns and rows are in the picture.
struct Grid {
    /// The left side and the width of each column.
    columns: Vec<(f64, f64)>,
}

impl Grid {
    fn of(graph: &Graph, layout: &Layout) -> Self {
        let mut left = MARGIN;
        let mut columns = Vec::new();
        for column in 0..layout.columns {
            let of = graph.nodes.iter().zip(&layout.nodes).filter(|(_, place)| place.column == column);
            let width = of.map(|(node, _)| width(node)).fold(BOX_WIDTH_MIN, f64::max);
            columns.push((left, width));
            left += width + COLUMN_GAP;
        }
        Grid { columns }
    }

    fn size(&self, layout: &Layout) -> (f64, f64) {
        let right = self.columns.last().map_or(MARGIN, |(left, width)| left + width);
        (right + MARGIN, layout.rows as f64 * ROW_HEIGHT + 2.0 * MARGIN)
    }

    /// The left side, the right side and the middle of a place.
    fn at(&self, place: Place) -> (f64, f64, f64) {
        let (left, width) = self.columns.get(place.column).copied().unwrap_or_default();
        (left, left + width, MARGIN + place.row * ROW_HEIGHT + ROW_HEIGHT / 2.0)
    }

    fn node(&self, node: &Node, place: Place) -> String {
        let (left, right, middle) = self.at(place);
        let (class, radius) = match node.kind {
            Kind::Source => ("source", BOX_HEIGHT / 2.0),
            Kind::Stream => ("stream", 2.0),
            Kind::Step => ("step", 7.0),
            Kind::Sink => ("sink", BOX_HEIGHT / 2.0),
        };
        let (x, width, top) = ((left + right) / 2.0, right - left, middle - BOX_HEIGHT / 2.0);
        let mut svg = format!(
            "<rect class=\"box {class}\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{BOX_HEIGHT}\" rx=\"{radius}\"/>"
        );
        if let Some(pipeline) = node.pipeline.as_deref().filter(|pipeline| *pipeline != node.name) {
            svg.push_str(&format!("<text class=\"detail\" x=\"{x:.1}\" y=\"{:.1}\">{pipeline}</text>", top - 4.0));
        }
        let lines = lines(node);
        for (at, line) in lines.iter().enumerate() {
            let class = if at == 0 { "" } else { " class=\"detail\"" };
            let y = middle + 4.5 + if lines.len() > 1 { at as f64 * 15.0 - 7.5 } else { 0.0 };
            svg.push_str(&format!("<text{class} x=\"{x:.1}\" y=\"{y:.1}\">{line}</text>"));
        }
        svg + "\n"
    }

    fn edge(&self, edge: &Edge, bends: &[Place], layout: &Layout, height: f64) -> String {
        let end = |node: usize| layout.nodes.get(node).copied().unwrap_or_default();
        let (from, to) = (end(edge.from), end(edge.to));
        let (_, mut x, mut y) = self.at(from);
        let mut path = format!("M{x:.1} {y:.1}");
        if to.column <= from.column {
            // Back: below everything.
            let ((left, _, target), low) = (self.at(to), height - MARGIN / 3.0);
            path.push_str(&format!(
                " C{:.1} {low:.1} {:.1} {low:.1} {left:.1} {target:.1}",
                x + COLUMN_GAP,
                left - COLUMN_GAP
            ));
        } else {
            for place in bends.iter().chain([&to]) {
                let (left, right, middle) = self.at(*place);
                let half = (left - x) / 2.0;
                path.push_str(&format!(
                    " C{:.1} {y:.1} {:.1} {middle:.1} {left:.1} {middle:.1}",
                    x + half,
                    left - half
                ));
                (x, y) = (right, middle);
                if place != &to {
                    path.push_str(&format!(" L{right:.1} {middle:.1}"));
                }
            }
        }
        let class = if edge.is_aside { "edge aside" } else { "edge" };
        let (left, _, middle) = self.at(to);
        let mut svg = format!("<path class=\"{class}\" d=\"{path}\"/>");
        if !edge.label.is_empty() {
            let (x, y) = (left - COLUMN_GAP / 2.0, (middle + self.at(*bends.last().unwrap_or(&from)).2) / 2.0 - 4.0);
            svg.push_str(&format!("<text class=\"label\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>", edge.label));
        }
        svg + "\n"
    }
}

fn width(node: &Node) -> f64 {
    let pipeline = node.pipeline.as_deref().unwrap_or_default();
    let chars = lines(node).into_iter().chain([pipeline]).map(|line| line.chars().count()).max().unwrap_or(0);
    chars as f64 * CHAR_WIDTH + 28.0
}
