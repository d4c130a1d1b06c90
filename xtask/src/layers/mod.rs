//! `cargo xtask layers`: what it costs to stand front-end layers on top of each other.
//!
//! The heap's predecessor had eleven layers on one path and ran at a quarter of the system's speed.
//! This builds the library with the unified cache alone, then with more and more of the layers in front
//! of it, in the order in which a request asks them, and counts and times each. [`measure`] does that,
//! [`stacks`] is what comes out, shown by [`mod@report`] and [`picture`].

mod measure;
mod picture;
mod report;
mod stacks;

use crate::shared::{document, page, paths, term, write};
use anyhow::{Result, bail};
use report::Words;
use stacks::Stacks;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `cargo xtask layers`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask layers                         1, 3 and 11 layers, and all there are
  cargo xtask layers --every                 every number of layers
  cargo xtask layers --depths 1,2,11         these
  cargo xtask layers --html layers.html      with figures, in one file to share
  cargo xtask layers --every --record        write docs/results/layers.{md,json,svg}
  cargo xtask layers --alone                 each layer alone, instead of one on top of the other

The unified cache is one of the layers: 1 is the default build. A build takes some twenty seconds, a
repetition of all scenarios some two for each build.")]
pub struct Args {
    /// Numbers of layers, the unified cache included
    #[arg(long, value_name = "N,N", value_delimiter = ',', conflicts_with = "every")]
    depths: Vec<usize>,
    /// Every number of layers
    #[arg(long)]
    every: bool,
    /// Each layer alone with the unified cache, and what it needs
    #[arg(long, conflicts_with_all = ["depths", "every"])]
    alone: bool,
    /// Repetitions of each scenario
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(2..=1000))]
    runs: u32,
    /// Print the figures as JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Write a self-contained page with figures and tables
    #[arg(long, value_name = "PATH")]
    html: Option<PathBuf>,
    /// Write the figure to this file
    #[arg(long, value_name = "PATH")]
    svg: Option<PathBuf>,
    /// Write docs/results/layers.md, .json and .svg (with --alone: layers-alone)
    #[arg(long)]
    record: bool,
}

/// The depths of the old system's headline.
const HEADLINE: [usize; 3] = [1, 3, 11];

/// Runs the command.
pub fn run(args: Args) -> Result<ExitCode> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        bail!("`layers` counts x86-64 instructions on Linux; this machine is another one");
    }
    let lab = measure::Lab::prepare()?;
    let runs = args.runs as usize;
    let stacks = if args.alone {
        lab.measure_alone(runs)?
    } else {
        lab.measure(&depths(&args, lab.layers().len() + 1)?, runs)?
    };
    report(&args, &stacks)
}

/// The numbers of layers that were asked for, each once, from few to many; `most` is all of them.
fn depths(args: &Args, most: usize) -> Result<Vec<usize>> {
    let mut depths = match &*args.depths {
        _ if args.every => (1..=most).collect(),
        [] => HEADLINE.into_iter().filter(|depth| *depth < most).chain([most]).collect(),
        // Ratios are to the default build.
        asked => [&[1], asked].concat(),
    };
    if let Some(wrong) = depths.iter().find(|depth| !(1..=most).contains(depth)) {
        bail!(
            "--depths names {wrong}; there are {most} layers, the unified cache included: expected 1 to {most}"
        );
    }
    depths.sort_unstable();
    depths.dedup();
    Ok(depths)
}

fn report(args: &Args, stacks: &Stacks) -> Result<ExitCode> {
    let svg = picture::draw(stacks)?;
    let json = serde_json::to_string_pretty(stacks)? + "\n";
    let &Words { title, name, .. } = report::words(stacks);
    let parts = report::parts(stacks, &svg);
    if args.json {
        term::print(&json)?;
    } else {
        term::print(&format!("{}\n{}", report::table(stacks), report::legend(stacks)))?;
    }
    let wrote = |path: PathBuf, text: String| -> Result<()> {
        write::atomically(&path, text)?;
        term::step("Wrote", path.display());
        Ok(())
    };
    if let Some(path) = &args.svg {
        wrote(path.clone(), svg.clone())?;
    }
    if let Some(path) = &args.html {
        wrote(path.clone(), page::page(title, &document::html(title, &parts)))?;
    }
    if args.record {
        let folder = paths::root().join("docs/results");
        wrote(folder.join(format!("{name}.svg")), svg)?;
        wrote(folder.join(format!("{name}.json")), json)?;
        wrote(folder.join(format!("{name}.md")), document::markdown(title, &parts))?;
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(depths: &[usize], every: bool) -> Args {
        Args {
            depths: depths.to_vec(),
            every,
            alone: false,
            runs: 2,
            json: false,
            html: None,
            svg: None,
            record: false,
        }
    }

    #[test]
    fn depths_start_with_the_default_build_and_end_with_all() {
        assert_eq!(depths(&asked(&[], false), 14).unwrap(), [1, 3, 11, 14]);
        assert_eq!(depths(&asked(&[], false), 11).unwrap(), [1, 3, 11]);
        assert_eq!(depths(&asked(&[], true), 4).unwrap(), [1, 2, 3, 4]);
        assert_eq!(depths(&asked(&[5, 2, 5], false), 14).unwrap(), [1, 2, 5]);
    }

    #[test]
    fn a_depth_that_is_not_there_is_named() {
        for wrong in [0, 15] {
            let error = depths(&asked(&[wrong], false), 14).unwrap_err().to_string();
            assert!(error.contains(&format!("names {wrong};")), "{error}");
            assert!(error.contains("expected 1 to 14"), "{error}");
        }
    }
}
