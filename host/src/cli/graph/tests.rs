//! Graphs of real pipeline files.

use super::layout::Layout;
use super::model::Kind;
use super::*;

const FILE: &str = "
version: 1
sources:
  auth: { type: demo, count: 1 }
  owners: { type: table, path: owners.csv, key: host }
pipelines:
  parse: { from: auth, steps: [syslog-parser, { sql: SELECT host FROM input }], to: { main: [logins, report], failed: bad } }
  enrich: { from: logins, steps: [{ plugin: enricher, tables: owners }], to: report }
  retry: { from: dead-letters, to: report }
streams: { logins: { partitions: 4, key: host } }
sinks: { report: { type: file, path: a.txt }, bad: { type: stdout } }
";

fn graph() -> Graph {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("weir.yaml");
    std::fs::write(&path, FILE).unwrap();
    Graph::of(&config::load(&path, &Overrides::default()).unwrap().config)
}

#[test]
fn all_that_a_file_names_is_there_and_connected() {
    let graph = graph();
    let names: Vec<_> = graph.nodes.iter().map(|node| (node.kind, node.name.as_str())).collect();
    for wanted in [
        (Kind::Source, "auth"),
        (Kind::Source, "owners"),
        (Kind::Stream, "dead-letters"),
        (Kind::Stream, "logins"),
        (Kind::Sink, "bad"),
        (Kind::Sink, "report"),
        (Kind::Step, "syslog-parser"),
        (Kind::Step, "sql"),
        (Kind::Step, "enricher"),
        (Kind::Step, "retry"),
    ] {
        assert!(names.contains(&wanted), "{wanted:?} in {names:?}");
    }
    assert_eq!(names.len(), 10);
    let name = |at: usize| graph.nodes[at].name.as_str();
    let edges: Vec<_> = graph.edges.iter().map(|edge| (name(edge.from), name(edge.to), edge.label.as_str())).collect();
    for wanted in [
        ("auth", "syslog-parser", ""),
        ("syslog-parser", "sql", ""),
        ("sql", "logins", ""),
        ("sql", "bad", "failed"),
        ("sql", "dead-letters", "dead letters"),
        ("logins", "enricher", ""),
        ("owners", "enricher", "table"),
        ("dead-letters", "retry", ""),
    ] {
        assert!(edges.contains(&wanted), "{wanted:?} in {edges:?}");
    }
}

#[test]
fn arrows_point_to_the_right_and_no_two_things_stand_in_one_place() {
    let graph = graph();
    let layout = Layout::of(&graph);
    for edge in &graph.edges {
        assert!(layout.nodes[edge.from].column < layout.nodes[edge.to].column);
    }
    let places: Vec<_> = layout.nodes.iter().chain(layout.bends.iter().flatten()).collect();
    for (at, one) in places.iter().enumerate() {
        let apart = |other: &&&super::layout::Place| other.column == one.column && (other.row - one.row).abs() < 0.99;
        assert_eq!(places[at + 1..].iter().find(apart), None, "{one:?}");
        assert!(one.column < layout.columns && one.row >= 0.0 && one.row < layout.rows as f64);
    }
}

#[test]
fn each_format_has_every_box_and_arrow() {
    let graph = graph();
    let (mermaid, dot, svg) = (draw(&graph, Format::Mermaid), draw(&graph, Format::Dot), draw(&graph, Format::Svg));
    let count = |text: &str, what: &str| text.matches(what).count();
    assert_eq!(count(&mermaid, "-->") + count(&mermaid, "-.->"), graph.edges.len());
    assert_eq!(count(&dot, " -> "), graph.edges.len());
    assert_eq!(count(&svg, "<path class=\"edge"), graph.edges.len());
    assert_eq!(count(&svg, "<rect "), graph.nodes.len());
    assert_eq!((count(&mermaid, "subgraph"), count(&dot, "subgraph")), (3, 3));
    assert!(dot.ends_with("}\n") && svg.ends_with("</svg>\n"));
}

#[test]
fn a_circle_is_drawn_as_well() {
    let node = |name: &str| super::model::Node {
        kind: Kind::Stream,
        name: name.into(),
        detail: String::new(),
        pipeline: None,
    };
    let edge = |from, to| super::model::Edge { from, to, label: String::new(), is_aside: false };
    let graph = Graph {
        nodes: vec![node("a"), node("b"), node("c")],
        edges: vec![edge(0, 1), edge(1, 2), edge(2, 0), edge(1, 1)],
    };
    assert_eq!(draw(&graph, Format::Svg).matches("<path class=\"edge").count(), 4);
}
