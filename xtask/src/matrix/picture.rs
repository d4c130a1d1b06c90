//! The matrix as heat maps: what each gate adds to each figure, and what each pair of layers adds to
//! an operation. SVG, with the text left to the viewer's fonts.

use super::plan::Group;
use super::results::{Matrix, Measure, Row};
use super::table::shown;
use anyhow::{Result, anyhow};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

const FONT: &str = "sans-serif";
/// Text on tiles: dark on every shade, also where a page at night turns black into white.
const INK: RGBColor = RGBColor(31, 35, 40);
const MORE: RGBColor = RGBColor(200, 70, 60);
const LESS: RGBColor = RGBColor(50, 120, 190);
const GROUND: RGBColor = RGBColor(246, 246, 243);
const NOTHING: RGBColor = RGBColor(205, 205, 205);

/// One field of a heat map.
#[derive(Clone, Debug, PartialEq)]
struct Tile {
    text: String,
    /// From -1, much less, to 1, much more; none for "there is no figure".
    shade: Option<f64>,
}

/// A heat map before it is drawn.
struct Map {
    title: String,
    columns: Vec<String>,
    rows: Vec<(String, Vec<Option<Tile>>)>,
    tile: (u32, u32),
    /// True to write the columns' names slanting upwards, where they are long.
    long_columns: bool,
}

/// The name and the SVG text of each figure that the matrix can fill.
pub fn all(matrix: &Matrix) -> Result<Vec<(&'static str, String)>> {
    let mut figures = vec![("gates", gates(matrix).draw()?)];
    if matrix.rows.iter().any(|row| row.configuration.group == Group::Pair) {
        figures.push(("pairs", pairs(matrix).draw()?));
    }
    Ok(figures)
}

/// Gates down, figures across; each column has a scale of its own.
fn gates(matrix: &Matrix) -> Map {
    let rows: Vec<&Row> = matrix
        .rows
        .iter()
        .filter(|row| !matches!(row.configuration.group, Group::Pair | Group::None))
        .collect();
    let measures = shown(matrix);
    let added = |row: &Row, measure: Measure| row.added(matrix.base()?, measure);
    let scale = |measure: Measure| {
        rows.iter().filter_map(|row| added(row, measure)).map(f64::abs).fold(0.0, f64::max)
    };
    let scales: Vec<f64> = measures.iter().map(|measure| scale(*measure)).collect();
    let lines = rows.iter().map(|row| {
        let tiles = measures.iter().zip(&scales).map(|(measure, scale)| {
            Some(match added(row, *measure) {
                Some(by) => Tile { text: measure.difference(by), shade: Some(shade(by, *scale)) },
                None => Tile { text: row.builds().to_owned(), shade: None },
            })
        });
        (row.configuration.name.clone(), tiles.collect())
    });
    Map {
        title: "What each gate adds; every column has its own scale".to_owned(),
        columns: measures.iter().map(|measure| measure.title().to_owned()).collect(),
        rows: lines.collect(),
        tile: (84, 26),
        long_columns: false,
    }
}

/// Layer against layer: what both together add, single layers on the diagonal.
fn pairs(matrix: &Matrix) -> Map {
    let mut layers: Vec<&String> = Vec::new();
    let pairs = matrix.rows.iter().filter(|row| row.configuration.group == Group::Pair);
    for layer in pairs.flat_map(|row| &row.configuration.about) {
        if !layers.contains(&layer) {
            layers.push(layer);
        }
    }
    layers.sort();
    let counted = matrix.base().and_then(|base| base.figures.as_ref()?.per_operation).is_some();
    let measure = if counted { Measure::PerOperation } else { Measure::Text };
    let find = |one: &String, other: &String| {
        let mut rows = matrix.rows.iter();
        let known = rows.find(|row| {
            let about = &row.configuration.about;
            let wanted = if one == other { 1 } else { 2 };
            about.len() == wanted && about.contains(one) && about.contains(other)
        });
        // Where one needs the other, the pair is that one alone.
        known.or_else(|| {
            let mut singles = matrix.rows.iter();
            singles.find(|row| {
                let configuration = &row.configuration;
                configuration.about.len() == 1
                    && [one, other].iter().all(|gate| configuration.gates.contains(*gate))
            })
        })
    };
    let added = |row: &Row| row.added(matrix.base()?, measure);
    let scale = layers
        .iter()
        .flat_map(|one| layers.iter().filter_map(|other| added(find(one, other)?)))
        .map(f64::abs)
        .fold(0.0, f64::max);
    let lines = layers.iter().enumerate().map(|(at, one)| {
        let tiles = layers.iter().enumerate().map(|(across, other)| {
            let row = if across <= at { find(one, other) } else { None };
            row.map(|row| match added(row) {
                Some(by) => Tile { text: measure.difference(by), shade: Some(shade(by, scale)) },
                None => Tile { text: row.builds().to_owned(), shade: None },
            })
        });
        ((*one).clone(), tiles.collect())
    });
    let what = match measure {
        Measure::PerOperation => format!("instructions per operation of {}", matrix.scenario),
        _ => "bytes of code".to_owned(),
    };
    Map {
        title: format!("What two layers together add: {what}"),
        rows: lines.collect(),
        columns: layers.into_iter().cloned().collect(),
        tile: (64, 30),
        long_columns: true,
    }
}

fn shade(by: f64, scale: f64) -> f64 {
    if scale > 0.0 { by / scale } else { 0.0 }
}

/// The colour of a tile.
fn colour(shade: Option<f64>) -> RGBColor {
    let Some(shade) = shade else { return NOTHING };
    let end = if shade < 0.0 { LESS } else { MORE };
    // The square root keeps small differences visible beside one large one; 0.75 keeps text readable.
    let part = shade.abs().min(1.0).sqrt() * 0.75;
    let mix = |from: u8, to: u8| (f64::from(from) + (f64::from(to) - f64::from(from)) * part) as u8;
    RGBColor(mix(GROUND.0, end.0), mix(GROUND.1, end.1), mix(GROUND.2, end.2))
}

fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("cannot draw: {error}")
}

impl Map {
    fn draw(&self) -> Result<String> {
        let longest =
            |names: &mut dyn Iterator<Item = &String>| names.map(|name| name.chars().count()).max();
        // A sans-serif letter of 13 pixels is some 7 wide.
        let left = 24 + 7 * longest(&mut self.rows.iter().map(|row| &row.0)).unwrap_or(0) as u32;
        let names = longest(&mut self.columns.iter()).unwrap_or(0) as u32;
        let top = 44 + if self.long_columns { 7 * names } else { 24 };
        let (wide, high) = self.tile;
        let width =
            (left + wide * self.columns.len() as u32 + 16).max(24 + 9 * self.title.len() as u32);
        let height = top + high * self.rows.len() as u32 + 16;
        let mut svg = String::new();
        {
            let area = SVGBackend::with_string(&mut svg, (width, height)).into_drawing_area();
            area.fill(&WHITE).map_err(failed)?;
            let text = |size: i32| TextStyle::from((FONT, size)).color(&BLACK);
            area.draw_text(&self.title, &text(17), (12, 12)).map_err(failed)?;
            for (at, name) in self.columns.iter().enumerate() {
                let x = (left + wide * at as u32 + wide / 2) as i32;
                let (style, place) = if self.long_columns {
                    let style = text(13)
                        .transform(FontTransform::Rotate270)
                        .pos(Pos::new(HPos::Left, VPos::Center));
                    (style, (x, top as i32 - 6))
                } else {
                    (text(13).pos(Pos::new(HPos::Center, VPos::Bottom)), (x, top as i32 - 6))
                };
                area.draw_text(name, &style, place).map_err(failed)?;
            }
            for (down, (name, tiles)) in self.rows.iter().enumerate() {
                let y = (top + high * down as u32) as i32;
                let style = text(13).pos(Pos::new(HPos::Right, VPos::Center));
                area.draw_text(name, &style, (left as i32 - 8, y + high as i32 / 2))
                    .map_err(failed)?;
                for (across, tile) in tiles.iter().enumerate() {
                    let Some(tile) = tile else { continue };
                    let x = (left + wide * across as u32) as i32;
                    let corners = [(x + 1, y + 1), (x + wide as i32 - 1, y + high as i32 - 1)];
                    area.draw(&Rectangle::new(corners, colour(tile.shade).filled()))
                        .map_err(failed)?;
                    let style = TextStyle::from((FONT, 12))
                        .color(&INK)
                        .pos(Pos::new(HPos::Center, VPos::Center));
                    let middle = (x + wide as i32 / 2, y + high as i32 / 2);
                    area.draw_text(&tile.text, &style, middle).map_err(failed)?;
                }
            }
            area.present().map_err(failed)?;
        }
        Ok(svg)
    }
}

#[cfg(test)]
mod tests {
    use super::super::results::tests::sample;
    use super::*;

    #[test]
    fn figures_name_gates_measures_and_pairs() {
        let figures = all(&sample()).unwrap();
        assert_eq!(figures.len(), 2);
        for (name, svg) in &figures {
            assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{name}");
            assert!(
                svg.contains("ring") && svg.contains("refused") == (*name == "pairs"),
                "{name}"
            );
        }
        assert!(figures[0].1.contains("per op") && figures[0].1.contains("+1,000"));
    }

    #[test]
    fn a_pair_of_which_one_needs_the_other_is_that_one() {
        let matrix = sample();
        let map = pairs(&matrix);
        assert_eq!(map.columns, ["ring", "slots", "wide"]);
        let (wide, tiles) = &map.rows[2];
        assert_eq!(wide, "wide");
        // `slots` and `wide` together are `wide`; above the diagonal there is nothing.
        assert_eq!(tiles[1], tiles[2]);
        assert!(tiles[1].as_ref().unwrap().shade.is_some());
        assert_eq!(map.rows[0].1[1], None);
        assert_eq!(map.rows[1].1[0].as_ref().unwrap().text, "refused");
    }

    #[test]
    fn more_is_red_less_is_blue_and_no_figure_is_grey() {
        assert_eq!(colour(Some(0.0)), GROUND);
        assert_eq!(colour(None), NOTHING);
        let (more, less) = (colour(Some(1.0)), colour(Some(-1.0)));
        assert!(more.0 > more.2 && less.2 > less.0, "{more:?} {less:?}");
        assert_eq!(colour(Some(7.0)), more, "beyond the scale is its end");
    }

    #[test]
    fn a_matrix_of_one_row_can_be_drawn() {
        let mut matrix = sample();
        matrix.rows.truncate(1);
        assert_eq!(all(&matrix).unwrap().len(), 1);
    }
}
