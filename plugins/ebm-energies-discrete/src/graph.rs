//! Graphs of sites: lattices, lists of edges, all pairs; their neighbours and colours.

use ebm_core::{BuildCx, Result, Settings};

/// Most edges of a graph, so that a wrong shape is an error and not a full memory.
const MOST_EDGES: usize = 1 << 26;

/// Which sites are coupled, to stand among the settings of an energy by `#[setting(flatten)]`.
#[derive(Clone, Debug, Settings)]
pub struct GraphSettings {
    /// Sides of a lattice whose sites, in row-major order, are coupled to their neighbours along each axis; absent, without
    /// other edges: the sides are the shape of a sample.
    #[setting(at_least = 1)]
    pub lattice: Option<Vec<usize>>,
    /// Whether the ends of each axis are neighbours too (twice over where a side is 2).
    #[setting(default = true)]
    pub periodic: bool,
    /// Pairs of sites in place of a lattice, from 0, one after the other: [0, 1, 1, 2] couples 0 with 1 and 1 with 2.
    #[setting(at_least = 0)]
    pub edges: Option<Vec<usize>>,
    /// Whether all pairs are coupled, in place of a lattice.
    #[setting(default = false)]
    pub complete: bool,
}

impl GraphSettings {
    /// The graph on sites that stand in this shape.
    ///
    /// # Errors
    /// If several graphs are given, or one does not fit.
    pub fn build(&self, cx: &BuildCx, shape: &[usize]) -> Result<Graph> {
        let sites: usize = shape.iter().product();
        let edges = match (&self.lattice, &self.edges, self.complete) {
            (None, None, true) if sites.saturating_mul(sites.saturating_sub(1)) / 2 > MOST_EDGES => {
                let message = format!(
                    "couples all pairs of {sites} sites, at most {MOST_EDGES} pairs: lower the sites"
                );
                return Err(cx.refuse("complete", message));
            }
            (None, None, true) => (0..sites).flat_map(|i| (i + 1..sites).map(move |j| (i, j))).collect(),
            (None, Some(list), false) => self.listed(cx, list, sites)?,
            (Some(sides), None, false) => {
                if sides.iter().try_fold(1usize, |n, side| n.checked_mul(*side)) != Some(sites) {
                    let message =
                        format!("is {sides:?}, and a sample has {sites} sites: their product must be that");
                    return Err(cx.refuse("lattice", message));
                }
                lattice(sides, self.periodic)
            }
            (None, None, false) => lattice(shape, self.periodic),
            _ => {
                let message = "has several of `lattice`, `edges` and `complete`; give at most one";
                return Err(cx.refuse("", message));
            }
        };
        Ok(Graph::new(sites, edges))
    }

    fn listed(&self, cx: &BuildCx, list: &[usize], sites: usize) -> Result<Vec<(usize, usize)>> {
        if list.len() % 2 == 1 {
            return Err(cx.refuse("edges", format!("has {} numbers, must be pairs of sites", list.len())));
        }
        let pairs: Vec<(usize, usize)> = list.chunks(2).map(|p| (p[0], p[1])).collect();
        match pairs.iter().find(|(i, j)| i == j || *i >= sites || *j >= sites) {
            Some((i, j)) => {
                let message =
                    format!("couples {i} with {j}, must be two different sites of the {sites} (from 0)");
                Err(cx.refuse("edges", message))
            }
            None => Ok(pairs),
        }
    }
}

/// Neighbours along each axis of a lattice, sites in row-major order.
fn lattice(sides: &[usize], periodic: bool) -> Vec<(usize, usize)> {
    let sites: usize = sides.iter().product();
    let mut edges = Vec::new();
    for site in 0..sites {
        let mut stride = 1;
        for side in sides.iter().rev() {
            let place = site / stride % side;
            match place + 1 {
                next if next < *side => edges.push((site, site + stride)),
                _ if periodic && *side > 1 => edges.push((site, site - place * stride)),
                _ => {}
            }
            stride *= side;
        }
    }
    edges
}

/// Sites and the edges between them.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    /// Number of sites.
    pub sites: usize,
    /// Pairs of sites; a pair may be there twice.
    pub edges: Vec<(usize, usize)>,
    /// Of each site its neighbours, with the number of the edge.
    pub neighbours: Vec<Vec<(usize, usize)>>,
    /// Sites by colour: no two of one colour are neighbours.
    pub colours: Vec<Vec<usize>>,
}

impl Graph {
    /// The graph of these edges between sites `0..sites`.
    pub fn new(sites: usize, edges: Vec<(usize, usize)>) -> Self {
        let mut neighbours = vec![Vec::new(); sites];
        for (edge, (i, j)) in edges.iter().enumerate() {
            neighbours[*i].push((*j, edge));
            neighbours[*j].push((*i, edge));
        }
        // Each site in turn gets the first colour that no neighbour before it has: two on lattices of even sides.
        let mut colour: Vec<usize> = Vec::with_capacity(sites);
        let mut colours: Vec<Vec<usize>> = Vec::new();
        for (site, near) in neighbours.iter().enumerate() {
            let taken = |c: usize| near.iter().any(|(other, _)| *other < site && colour[*other] == c);
            let own = (0..).find(|c| !taken(*c)).unwrap_or(0);
            colour.push(own);
            if own == colours.len() {
                colours.push(Vec::new());
            }
            colours[own].push(site);
        }
        Graph { sites, edges, neighbours, colours }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_core::Key;
    use ebm_core::candle::{DType, Device};

    use super::*;

    #[test]
    fn lattices_have_the_neighbours_of_each_axis_and_as_few_colours_as_may_be() {
        let two = Graph::new(16, lattice(&[4, 4], true));
        assert_eq!((two.edges.len(), two.colours.len()), (32, 2));
        assert!(two.neighbours.iter().all(|n| n.len() == 4));
        assert_eq!(Graph::new(16, lattice(&[4, 4], false)).edges.len(), 24);
        assert_eq!(Graph::new(24, lattice(&[2, 3, 4], false)).edges.len(), 12 + 16 + 18);
        // Odd rings need a third colour; a side of 2 couples twice, one of 1 not at all.
        assert_eq!(Graph::new(5, lattice(&[5], true)).colours.len(), 3);
        assert_eq!(lattice(&[2], true), [(0, 1), (1, 0)]);
        assert!(lattice(&[1, 1], true).is_empty());
        for (g, n) in [(two, 16), (Graph::new(5, lattice(&[5], true)), 5)] {
            assert_eq!(g.colours.iter().map(Vec::len).sum::<usize>(), n);
            for same in &g.colours {
                assert!(same.iter().all(|s| g.neighbours[*s].iter().all(|(o, _)| !same.contains(o))));
            }
        }
    }

    #[test]
    fn graphs_that_do_not_fit_are_refused_by_name() {
        let cx = BuildCx::new(&[4], DType::F32, &Device::Cpu, Key::root(0));
        let text = |g: GraphSettings| g.build(&cx, &[4]).unwrap_err().to_string();
        let g = GraphSettings::default;
        assert!(text(GraphSettings { lattice: Some(vec![3]), ..g() }).contains("energy.lattice: is [3]"));
        assert!(text(GraphSettings { edges: Some(vec![0, 4]), ..g() }).contains("couples 0 with 4"));
        assert!(text(GraphSettings { edges: Some(vec![0]), ..g() }).contains("pairs of sites"));
        let both = GraphSettings { edges: Some(vec![0, 1]), complete: true, ..g() };
        assert!(text(both).contains("at most one"));
    }
}
