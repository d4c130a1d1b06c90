//! A soak shown: as text, as a page, and as a picture of memory over time.

use super::Outcome;
use super::judge::{Memory, Sample};
use crate::bench::plot::{dash, failed};
use crate::matrix::grouped;
use crate::real;
use crate::shared::document::{self, Column, Part, Tone};
use crate::shared::page;
use anyhow::Result;
use plotters::prelude::*;

const FONT: &str = "sans-serif";
const WORK: RGBColor = RGBColor(0, 114, 178);
const QUIET: RGBColor = RGBColor(200, 30, 45);
const LIVE: RGBColor = RGBColor(140, 140, 140);

fn mib(kib: f64) -> String {
    format!("{:.1} MiB", kib / 1024.0)
}

fn count(number: u64) -> String {
    grouped(i64::try_from(number).unwrap_or(i64::MAX))
}

/// What stands behind the bar.
pub fn progress(sample: &Sample) -> String {
    format!("{} calls, {} resident", count(sample.operations), mib(sample.resident_kib as f64))
}

/// What was asked for, and whether it came to that.
fn asked(outcome: &Outcome) -> String {
    let cut = if outcome.stopped { "; cut short by Ctrl-C" } else { "" };
    format!("{}{cut}", outcome.plan.words())
}

/// What was done, in a line.
fn done(outcome: &Outcome) -> String {
    let Some(ended) = &outcome.ended else {
        return "the program did not come to its end".to_owned();
    };
    format!(
        "{} calls, {} blocks handed over, {} threads, {} forks, {} walks of the heap in {:.0} s; peak {}, \
         {} when all was freed",
        count(ended.operations),
        count(ended.handed_over),
        count(ended.threads),
        count(ended.forks),
        count(ended.walks),
        ended.ms as f64 / 1000.0,
        mib(ended.peak_kib as f64),
        mib(ended.left_kib as f64)
    )
}

const HEADINGS: [&str; 5] = ["resident memory", "first third", "last third", "risen by", "allowed"];

fn rows(memory: &Memory) -> [[String; 5]; 2] {
    let signed = |kib: f64| format!("{:+.1} MiB", kib / 1024.0);
    let (first, last) = (&memory.first, &memory.last);
    [
        [
            "in quiet, beyond the blocks".to_owned(),
            mib(first.beyond_kib),
            mib(last.beyond_kib),
            signed(memory.risen_in_quiet()),
            mib(memory.allowed_quiet_kib),
        ],
        [
            "at work".to_owned(),
            mib(first.work_kib),
            mib(last.work_kib),
            signed(memory.risen_at_work()),
            mib(memory.allowed_work_kib),
        ],
    ]
}

/// The outcome for a terminal.
pub fn text(outcome: &Outcome) -> String {
    let mut text = format!("{}\n{}\n", asked(outcome), done(outcome));
    if let Some(memory) = &outcome.memory {
        let mut table = real::table();
        table.set_header(HEADINGS);
        table.add_rows(rows(memory));
        text += &format!("{table}\n");
    }
    if let Some(why) = &outcome.not_judged {
        text += &format!("{why}\n");
    }
    text
}

/// The outcome as a page.
pub fn page(outcome: &Outcome) -> Result<String> {
    let title = "A soak of the heap";
    let verdict = if outcome.faults.is_empty() {
        let why = match &outcome.not_judged {
            Some(why) => format!("nothing was lost and the heap is in order; {why}"),
            None => "nothing was lost, the heap is in order, memory is flat".to_owned(),
        };
        Part::Verdict(Tone::Good, "It holds".to_owned(), why)
    } else {
        Part::Verdict(Tone::Bad, "It fails".to_owned(), outcome.faults.join("; "))
    };
    let mut parts = vec![
        verdict,
        Part::Text(asked(outcome)),
        Part::Text(done(outcome)),
        Part::Picture(picture(outcome)?, "soak.svg".to_owned(), "memory over time".to_owned()),
    ];
    if let Some(memory) = &outcome.memory {
        let columns = HEADINGS.iter().enumerate().map(|(at, heading)| match at {
            0 => Column::words(heading),
            _ => Column::figures(heading),
        });
        parts.push(Part::Table(columns.collect(), rows(memory).map(Vec::from).into()));
        parts.push(Part::Text(
            "Medians of the first and the last third of the work, after a tenth that warms the heap up. In \
             quiet no thread is at work and all caches are empty."
                .to_owned(),
        ));
    }
    Ok(page::page(title, &document::html(title, &parts)))
}

/// Memory over time: at work, in quiet, and the program's own blocks.
pub fn picture(outcome: &Outcome) -> Result<String> {
    let samples = &outcome.samples;
    let seconds = |sample: &Sample| sample.ms as f64 / 1000.0;
    let end = samples.last().map_or(1.0, seconds);
    let most = samples.iter().map(|sample| sample.resident_kib.max(sample.live_kib)).max();
    let most = most.unwrap_or(0) as f64 / 1024.0;
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (860, 420)).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        let mut chart = ChartBuilder::on(&area)
            .caption("Resident memory of a soak", (FONT, 17))
            .margin(12)
            .x_label_area_size(42)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..end.max(1.0), 0.0..(most * 1.25).max(1.0))
            .map_err(failed)?;
        chart
            .configure_mesh()
            .x_desc("seconds")
            .y_desc("MiB")
            .x_label_formatter(&|x| format!("{x:.0}"))
            .y_label_formatter(&|y| format!("{y:.0}"))
            .label_style((FONT, 12))
            .light_line_style(WHITE)
            .draw()
            .map_err(failed)?;
        for (name, color, quiet, live) in [
            ("at work", WORK, false, false),
            ("in quiet, caches emptied", QUIET, true, false),
            ("the program's blocks", LIVE, true, true),
        ] {
            let points = samples.iter().filter(|sample| sample.quiet == quiet);
            let points = points.map(|sample| {
                let kib = if live { sample.live_kib } else { sample.resident_kib };
                (seconds(sample), kib as f64 / 1024.0)
            });
            chart
                .draw_series(LineSeries::new(points, color.stroke_width(2)))
                .map_err(failed)?
                .label(name)
                .legend(dash(color));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .label_font((FONT, 12))
            .draw()
            .map_err(failed)?;
        area.present().map_err(failed)?;
    }
    Ok(svg)
}

#[cfg(test)]
mod tests {
    use super::super::tests::canned;
    use super::*;

    #[test]
    fn text_and_page_say_what_ran_and_how_memory_went() {
        let outcome = canned(|_| 120.0);
        let text = text(&outcome);
        for words in [
            "60 s, 8 threads and one that forks, seed 7",
            "15,000,000 calls, 9,000 blocks handed over, 300 threads, 400 forks, 51 walks",
            "peak 244.1 MiB, 11.7 MiB when all was freed",
            "in quiet, beyond the blocks",
            "20.0 MiB",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        let cut = Outcome { stopped: true, ..canned(|_| 120.0) };
        assert!(
            super::text(&cut).starts_with("60 s, 8 threads and one that forks, seed 7; cut short")
        );
        let page = page(&outcome).unwrap();
        assert!(page.contains("It holds") && page.contains("<svg"), "{page}");
        let failed = super::page(&canned(|part| 120.0 + 50.0 * part)).unwrap();
        assert!(failed.contains("It fails") && failed.contains("not flat"));
    }

    #[test]
    fn the_picture_has_all_three_curves() {
        let svg = picture(&canned(|_| 120.0)).unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        assert!(svg.matches("<polyline").count() >= 3);
        assert!(svg.contains("caches emptied") && svg.contains("seconds"));
        // Without a sample there is an empty one.
        let mut outcome = canned(|_| 120.0);
        outcome.samples.clear();
        assert!(picture(&outcome).unwrap().contains("MiB"));
    }
}
