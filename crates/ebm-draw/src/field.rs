//! One panel: its axes, its blocks, each line pale as it is and smooth in front, and what lies beyond the axis.

use std::cmp::Ordering;

use plotters::chart::{ChartBuilder, ChartContext};
use plotters::coord::cartesian::Cartesian2d;
use plotters::coord::ranged1d::Ranged;
use plotters::element::{Circle, Cross, Polygon, Rectangle};
use plotters::series::{DashedLineSeries, LineSeries};
use plotters::style::text_anchor::HPos;
use plotters::style::{Color, RGBColor, ShapeStyle};

use crate::chart::{Line, Panel};
use crate::curve::{Points, condensed};
use crate::ground::{Ground, Paper, Undrawn, plain};
use crate::palette::{BEHIND, GRID, INK, MANY, QUIET, pale, strong};
use crate::scale::{Axis, number};

/// Sizes of text in points.
const TITLE: f64 = 12.5;
const TEXT: f64 = 11.0;
const NOTE: f64 = 9.5;
/// Room for a title, for a note alone, for the names of marks, for what an axis is called, and at the right, in points.
const ABOVE: f64 = 26.0;
const NOTED: f64 = 22.0;
const MARKS: f64 = 22.0;
pub(crate) const NAMED: f64 = 20.0;
const SIDE: f64 = 52.0;
const RIGHT: f64 = 24.0;
/// Left of all and below, in points.
const LEFT: f64 = 8.0;
const BOTTOM: f64 = 4.0;
/// Points between two marks: at most as many as have room.
const APART: (f64, f64) = (52.0, 24.0);
/// Parts of all lines of a panel together, of each at most and at least.
const PARTS: (usize, usize, usize) = (8_000, 600, 120);
/// More lines than these are drawn thinner, and paler behind.
const CROWD: usize = 8;
/// Half the width of the mark of what lies beyond, in points.
const BEYOND: f64 = 3.0;

/// Where the plotted part of a panel of so many points begins and ends, in points.
pub(crate) fn plotted(panel: &Panel, width: f64) -> (f64, f64) {
    let named = if panel.y_title.is_empty() { 0.0 } else { NAMED };
    (LEFT + SIDE + named, width - RIGHT)
}

type Context<'a, 'b> = ChartContext<'a, Ground<'b>, Cartesian2d<Axis, Axis>>;

/// Draws a panel into the box at a point, of a size, all in points.
pub(crate) fn draw(
    paper: &Paper<'_>,
    panel: &Panel,
    below: &str,
    x: Axis,
    ((left, top), (width, height)): ((u32, u32), (u32, u32)),
) -> Result<(), Undrawn> {
    let values = panel.lines.iter().flat_map(|l| &l.points).map(|p| p.1);
    let y = match panel.blocks.is_empty() {
        true => Axis::of(panel.scale, values),
        false => around(panel),
    };
    let (titled, named) = (!panel.title.is_empty(), !panel.y_title.is_empty());
    let units = |points: f64| paper.units(points);
    let (left, top) = (f64::from(left), f64::from(top));
    let (width, height) = (f64::from(width), f64::from(height));
    let above = if titled { ABOVE } else { NOTED };
    let side = SIDE + if named { NAMED } else { 0.0 };
    let under = MARKS + if below.is_empty() { 0.0 } else { NAMED };
    let (whole_x, whole_y) = paper.area.dim_in_pixel();
    let area = paper.area.clone().margin(
        units(top),
        (whole_y as i32 - units(top + height)).max(0),
        units(left),
        (whole_x as i32 - units(left + width)).max(0),
    );
    // Nothing can be drawn where there is no room.
    if width < LEFT + side + RIGHT + 10.0 || height < above + under + BOTTOM + 10.0 {
        return Ok(());
    }
    let mut chart = ChartBuilder::on(&area)
        .margin_top(units(above))
        .margin_left(units(LEFT))
        .margin_bottom(units(BOTTOM))
        .margin_right(units(RIGHT))
        .x_label_area_size(units(under))
        .y_label_area_size(units(side))
        .build_cartesian_2d(x, y.clone())?;
    let marks = |room: f64, apart: f64| ((room / apart) as usize).clamp(2, 9);
    let text = paper.text(TEXT, INK, HPos::Center);
    let line = |ink: RGBColor, points: f64| ink.stroke_width(paper.stroke(points));
    chart
        .configure_mesh()
        .x_labels(marks(width - LEFT - side - RIGHT, APART.0))
        .y_labels(marks(height - above - under - BOTTOM, APART.1))
        .max_light_lines(0)
        .bold_line_style(line(GRID, 0.6))
        .axis_style(line(QUIET, 0.8))
        .set_all_tick_mark_size(units(3.5))
        .label_style(text.clone())
        .axis_desc_style(text)
        .x_desc(plain(below))
        .y_desc(plain(&panel.y_title))
        .draw()?;
    for block in &panel.blocks {
        let corner = |x: f64, v: f64| (x, y.clip(v).map_or(0.0, |c| c.0));
        let corners = [corner(block.across.0, block.up.0), corner(block.across.1, block.up.1)];
        let ink = strong(block.group).mix(block.cover.clamp(0.0, 1.0)).filled();
        chart.plotting_area().draw(&Rectangle::new(corners, ink))?;
    }
    lines(paper, &mut chart, &panel.lines, &y)?;
    let middle = units(top + above / 2.0 - if titled { 0.0 } else { 3.0 });
    let title = plain(&panel.title);
    if titled {
        let style = paper.text(TITLE, INK, HPos::Left);
        paper.area.draw_text(&title, &style, (units(left + LEFT + side), middle))?;
    }
    // The longest that stands beside the title: under it none would be read.
    let room = units(width - LEFT - side - RIGHT) - paper.width_of(&title, TITLE) - units(12.0);
    if let Some(note) = notes(&panel.lines, &y).into_iter().find(|n| paper.width_of(n, NOTE) <= room) {
        let style = paper.text(NOTE, QUIET, HPos::Right);
        paper.area.draw_text(&note, &style, (units(left + width - RIGHT), middle))?;
    }
    Ok(())
}

/// The axis around all blocks, and lines if there are any: blocks are not cut.
fn around(panel: &Panel) -> Axis {
    let lines = panel.lines.iter().flat_map(|l| &l.points).map(|p| p.1);
    let all = panel.blocks.iter().flat_map(|b| [b.up.0, b.up.1]).chain(lines).filter(|v| v.is_finite());
    let scale = panel.scale;
    let heights = all.filter_map(|v| scale.height(v));
    let (low, high) = heights.fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(v), h.max(v)));
    match low < high {
        // Bars stand on their axis.
        true if low == 0.0 => Axis::between(scale, 0.0, 1.05 * high),
        true => Axis::between(scale, low - 0.04 * (high - low), high + 0.04 * (high - low)),
        false if low == high => Axis::between(scale, low - 0.5, high + 0.5),
        false => Axis::between(scale, 0.0, 1.0),
    }
}

/// The raw lines, then the smooth ones, then what marks ends and values beyond the axis.
fn lines(paper: &Paper<'_>, chart: &mut Context<'_, '_>, all: &[Line], y: &Axis) -> Result<(), Undrawn> {
    let parts = (PARTS.0 / all.len().max(1)).clamp(PARTS.2, PARTS.1);
    let crowd = all.len() > CROWD;
    let drawn: Vec<_> = all
        .iter()
        .map(|line| {
            let heights = line.points.iter().map(|(x, v)| (*x, y.clip(*v).map(|c| c.0)));
            (line, condensed(heights, parts))
        })
        .collect();
    let strong_line = |group: usize| strong(group).stroke_width(paper.stroke(if crowd { 1.1 } else { 1.6 }));
    for (line, condensed) in &drawn {
        let behind = pale(line.group, BEHIND[usize::from(crowd)]).stroke_width(paper.stroke(0.7));
        let alone = condensed.smooth.is_empty();
        path(paper, chart, &condensed.raw, if alone { strong_line(line.group) } else { behind }, false)?;
    }
    for (line, condensed) in &drawn {
        path(paper, chart, &condensed.smooth, strong_line(line.group), line.group >= MANY)?;
    }
    for (line, condensed) in &drawn {
        let ink = strong(line.group);
        if let Some(end) = condensed.raw.iter().flatten().last().filter(|_| line.cross) {
            chart.plotting_area().draw(&Cross::new(
                *end,
                paper.units(4.0),
                ink.stroke_width(paper.stroke(1.4)),
            ))?;
        }
        let mut last = None;
        for (x, v) in &line.points {
            let Some((height, Some(side))) = y.clip(*v).filter(|_| x.is_finite()) else { continue };
            let (px, py) = chart.plotting_area().map_coordinate(&(*x, height));
            if last.is_some_and(|last| px - last < paper.units(BEYOND)) {
                continue;
            }
            last = Some(px);
            let (half, up) = (paper.units(BEYOND), if side == Ordering::Greater { -1 } else { 1 });
            let tip = [(px - half, py), (px + half, py), (px, py + up * 2 * half)];
            paper.area.draw(&Polygon::new(tip, ink.filled()))?;
        }
    }
    Ok(())
}

/// A line between gaps; a point alone is a dot.
fn path(
    paper: &Paper<'_>,
    chart: &mut Context<'_, '_>,
    points: &Points,
    style: ShapeStyle,
    dashed: bool,
) -> Result<(), Undrawn> {
    for piece in points.split(Option::is_none) {
        let piece: Vec<(f64, f64)> = piece.iter().flatten().copied().collect();
        match piece.as_slice() {
            [] => {}
            [alone] => {
                chart.plotting_area().draw(&Circle::new(*alone, paper.units(2.0), style.color.filled()))?
            }
            _ if dashed => {
                let (dash, gap) = (paper.stroke(6.0), paper.stroke(3.0));
                chart.draw_series(DashedLineSeries::new(piece, dash, gap, style))?;
            }
            _ => {
                chart.draw_series(LineSeries::new(piece, style))?;
            }
        }
    }
    Ok(())
}

/// Three digits of a number.
fn rounded(v: f64) -> f64 {
    format!("{v:.2e}").parse().unwrap_or(v)
}

/// How many values the axis does not show, at length and shorter; nothing if it shows all.
fn notes(lines: &[Line], y: &Axis) -> Vec<String> {
    let (mut all, mut odd, mut beyond) = (0u64, 0u64, 0u64);
    let mut furthest = 0f64;
    let range = y.range();
    for (_, v) in lines.iter().flat_map(|l| &l.points) {
        all += 1;
        match y.clip(*v) {
            Some((_, Some(_))) => {
                beyond += 1;
                let size = |v: f64| y.scale.height(v).map_or(0.0, |h| (range.start - h).max(h - range.end));
                furthest = if beyond == 1 || size(*v) > size(furthest) { *v } else { furthest };
            }
            Some(_) => {}
            None => odd += 1,
        }
    }
    let count = |n: u64| number(n as f64);
    let furthest = number(rounded(furthest));
    let (beyond, all) = ((beyond > 0).then(|| count(beyond)), count(all));
    let odd = (odd > 0).then(|| format!("{} not finite", count(odd)));
    let forms = [
        beyond.as_ref().map(|n| format!("{n} of {all} values beyond the axis, the furthest {furthest}")),
        beyond.as_ref().map(|n| format!("{n} of {all} beyond, to {furthest}")),
        beyond.as_ref().map(|n| format!("{n} beyond")),
    ];
    let said = forms.map(|form| form.into_iter().chain(odd.clone()).collect::<Vec<_>>().join("; "));
    said.into_iter().filter(|s| !s.is_empty()).collect()
}
