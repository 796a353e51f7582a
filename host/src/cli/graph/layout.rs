//! Where boxes stand: in columns from left to right, so that arrows point to the right, and in each column in an order in which
//! few arrows cross. An arrow over several columns is led through a place of its own in each of them.

use super::model::Graph;

/// How often the columns are put in order, there and back.
const SWEEPS: usize = 12;

/// Where everything stands.
#[derive(Debug, Default)]
pub struct Layout {
    /// By box, where it stands.
    pub nodes: Vec<Place>,
    /// By arrow, the places that it is led through between its ends.
    pub bends: Vec<Vec<Place>>,
    /// How many columns there are.
    pub columns: usize,
    /// How many rows the highest column has.
    pub rows: usize,
}

/// A column, and a row in it that may lie between two.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Place {
    /// The column.
    pub column: usize,
    /// The row.
    pub row: f64,
}

/// Boxes and bends alike, with what they are connected to in the columns beside theirs.
struct Items {
    column: Vec<usize>,
    left: Vec<Vec<usize>>,
    right: Vec<Vec<usize>>,
}

impl Layout {
    /// Finds places.
    pub fn of(graph: &Graph) -> Self {
        let columns = columns(graph);
        let mut items = Items { left: Vec::new(), right: Vec::new(), column: Vec::new() };
        for column in &columns {
            items.add(*column);
        }
        let mut bends = Vec::new();
        for edge in &graph.edges {
            let (from, to) = (column(&columns, edge.from), column(&columns, edge.to));
            // What goes back is drawn around.
            let between: Vec<usize> = (from + 1..to).map(|column| items.add(column)).collect();
            if from < to {
                let way: Vec<usize> = [edge.from].into_iter().chain(between.iter().copied()).chain([edge.to]).collect();
                way.windows(2).for_each(|pair| {
                    if let [a, b] = pair {
                        items.connect(*a, *b)
                    }
                });
            }
            bends.push(between);
        }
        let rows = items.rows();
        let place =
            |item: &usize| Place { column: column(&items.column, *item), row: rows.get(*item).copied().unwrap_or(0.0) };
        Layout {
            nodes: (0..graph.nodes.len()).map(|node| place(&node)).collect(),
            bends: bends.iter().map(|way| way.iter().map(place).collect()).collect(),
            columns: columns.iter().max().map_or(0, |last| last + 1),
            rows: rows.iter().fold(0.0, |max: f64, row| max.max(*row + 1.0)).ceil() as usize,
        }
    }
}

fn column(columns: &[usize], item: usize) -> usize {
    columns.get(item).copied().unwrap_or(0)
}

/// The column of each box: behind all that lead to it. A circle is cut where it would never end.
fn columns(graph: &Graph) -> Vec<usize> {
    let mut columns = vec![0; graph.nodes.len()];
    let mut back = vec![false; graph.edges.len()];
    let mut state = vec![0_u8; graph.nodes.len()];
    for node in 0..graph.nodes.len() {
        cut_circles(graph, node, &mut state, &mut back);
    }
    // The longest way to any box has fewer arrows than there are boxes.
    for _ in 0..graph.nodes.len() {
        for (edge, _) in graph.edges.iter().zip(&back).filter(|(_, back)| !**back) {
            let behind = column(&columns, edge.from) + 1;
            if let Some(of) = columns.get_mut(edge.to) {
                *of = behind.max(*of);
            }
        }
    }
    columns
}

/// Marks the arrows that lead back to where the way came from. `state`: 0 not seen, 1 on the way, 2 done.
fn cut_circles(graph: &Graph, node: usize, state: &mut [u8], back: &mut [bool]) {
    if state.get(node) != Some(&0) {
        return;
    }
    if let Some(state) = state.get_mut(node) {
        *state = 1;
    }
    for (at, edge) in graph.edges.iter().enumerate().filter(|(_, edge)| edge.from == node) {
        match state.get(edge.to) {
            Some(1) => back.get_mut(at).into_iter().for_each(|back| *back = true),
            _ => cut_circles(graph, edge.to, state, back),
        }
    }
    if let Some(state) = state.get_mut(node) {
        *state = 2;
    }
}

impl Items {
    fn add(&mut self, column: usize) -> usize {
        self.column.push(column);
        self.left.push(Vec::new());
        self.right.push(Vec::new());
        self.column.len() - 1
    }

    fn connect(&mut self, from: usize, to: usize) {
        self.right.get_mut(from).into_iter().for_each(|right| right.push(to));
        self.left.get_mut(to).into_iter().for_each(|left| left.push(from));
    }

    /// The row of each item: where those that it is connected to are, as far as there is room.
    fn rows(&self) -> Vec<f64> {
        let last = self.column.iter().max().map_or(0, |last| last + 1);
        let mut order: Vec<Vec<usize>> = vec![Vec::new(); last];
        for (item, column) in self.column.iter().enumerate() {
            order.get_mut(*column).into_iter().for_each(|items| items.push(item));
        }
        let mut rows = vec![0.0; self.column.len()];
        order.iter().for_each(|items| spread(items, &mut rows, |at| at as f64));
        for sweep in 0..SWEEPS {
            let is_back = sweep % 2 == 1;
            let neighbours = if is_back { &self.right } else { &self.left };
            let mut each: Vec<&mut Vec<usize>> = order.iter_mut().collect();
            if is_back {
                each.reverse();
            }
            for items in each {
                let wanted: Vec<f64> = items.iter().map(|item| mean(neighbours.get(*item), &rows, *item)).collect();
                let mut sorted: Vec<(f64, usize)> = wanted.into_iter().zip(items.iter().copied()).collect();
                sorted.sort_by(|(a, _), (b, _)| a.total_cmp(b));
                *items = sorted.iter().map(|(_, item)| *item).collect();
                spread(items, &mut rows, |at| sorted.get(at).map_or(0.0, |(wanted, _)| *wanted));
            }
        }
        let top = rows.iter().copied().fold(f64::INFINITY, f64::min);
        rows.iter().map(|row| if top.is_finite() { row - top } else { 0.0 }).collect()
    }
}

fn mean(neighbours: Option<&Vec<usize>>, rows: &[f64], item: usize) -> f64 {
    let of = |item: &usize| rows.get(*item).copied().unwrap_or(0.0);
    match neighbours {
        Some(neighbours) if !neighbours.is_empty() => neighbours.iter().map(of).sum::<f64>() / neighbours.len() as f64,
        _ => of(&item),
    }
}

/// Puts the items of a column as near as can be to where they are wanted, each at least a row below the one before.
fn spread(items: &[usize], rows: &mut [f64], wanted: impl Fn(usize) -> f64) {
    let mut placed: Vec<f64> = Vec::new();
    for at in 0..items.len() {
        placed.push(placed.last().map_or(f64::NEG_INFINITY, |above| above + 1.0).max(wanted(at)));
    }
    // They are pushed down by those above alone; half of that is taken back.
    let pushed = placed.iter().enumerate().map(|(at, row)| row - wanted(at)).fold(0.0, f64::max);
    for (item, row) in items.iter().zip(&placed) {
        rows.get_mut(*item).into_iter().for_each(|of| *of = row - pushed / 2.0);
    }
}
