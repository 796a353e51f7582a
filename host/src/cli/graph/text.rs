//! Graphs as text that other programs draw: Mermaid, and the language of Graphviz.

use std::collections::BTreeMap;

use super::model::{Graph, Kind, Node};

/// For Mermaid.
pub fn mermaid(graph: &Graph) -> String {
    let mut text = String::from("flowchart LR\n");
    for (group, nodes) in groups(graph) {
        if let Some(pipeline) = group {
            text.push_str(&format!("  subgraph pipeline_{} [\"{pipeline}\"]\n", id(pipeline)));
        }
        for (at, node) in nodes {
            let (open, close) = match node.kind {
                Kind::Source => ("([\"", "\"])"),
                Kind::Stream => ("[(\"", "\")]"),
                Kind::Step => ("[\"", "\"]"),
                Kind::Sink => ("[/\"", "\"/]"),
            };
            let indent = if group.is_some() { "    " } else { "  " };
            text.push_str(&format!("{indent}n{at}{open}{}{close}\n", lines(node).join("<br/>")));
        }
        if group.is_some() {
            text.push_str("  end\n");
        }
    }
    for edge in &graph.edges {
        let arrow = if edge.is_aside { "-.->" } else { "-->" };
        let label = if edge.label.is_empty() { String::new() } else { format!("|\"{}\"|", edge.label) };
        text.push_str(&format!("  n{} {arrow}{label} n{}\n", edge.from, edge.to));
    }
    text
}

/// For Graphviz.
pub fn dot(graph: &Graph) -> String {
    let mut text = String::from("digraph weir {\n  rankdir=LR;\n  node [fontname=\"sans-serif\", shape=box];\n");
    for (group, nodes) in groups(graph) {
        if let Some(pipeline) = group {
            text.push_str(&format!("  subgraph \"cluster_{pipeline}\" {{\n    label=\"{pipeline}\";\n"));
        }
        for (at, node) in nodes {
            let shape = match node.kind {
                Kind::Source => "oval",
                Kind::Stream => "cylinder",
                Kind::Step => "box",
                Kind::Sink => "house",
            };
            let indent = if group.is_some() { "    " } else { "  " };
            text.push_str(&format!("{indent}n{at} [label=\"{}\", shape={shape}];\n", lines(node).join("\\n")));
        }
        if group.is_some() {
            text.push_str("  }\n");
        }
    }
    for edge in &graph.edges {
        let style = if edge.is_aside { "dashed" } else { "solid" };
        text.push_str(&format!("  n{} -> n{} [label=\"{}\", style={style}];\n", edge.from, edge.to, edge.label));
    }
    text + "}\n"
}

/// The boxes with their places: those of no pipeline, then those of each.
fn groups(graph: &Graph) -> BTreeMap<Option<&str>, Vec<(usize, &Node)>> {
    let mut groups: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (at, node) in graph.nodes.iter().enumerate() {
        groups.entry(node.pipeline.as_deref()).or_default().push((at, node));
    }
    groups
}

/// What is written into a box. Names have no characters that would have to be escaped.
pub fn lines(node: &Node) -> Vec<&str> {
    [node.name.as_str(), node.detail.as_str()].into_iter().filter(|line| !line.is_empty()).collect()
}

fn id(name: &str) -> String {
    name.replace('-', "_")
}
