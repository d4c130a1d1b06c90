//! Builds each stack, counts it, and times all of them in one interleaved run.

use super::stacks::{SCHEMA, Stack, Stacks};
use crate::ab::outcome::Machine;
use crate::asm::library::{self, Builder};
use crate::asm::{GOLDEN_SIZE, step, step_program, watch_in};
use crate::bench::paired::{self, Timed};
use crate::bench::peers::Allocator;
use crate::bench::process::{Runner, preload};
use crate::bench::task::Task;
use crate::matrix::plan::{self, Group};
use crate::shared::registry::{Gate, Kind, Registry};
use crate::shared::{command, paths, term};
use anyhow::{Context, Result, ensure};
use std::path::PathBuf;
use std::process::Command;

/// What is timed. The first is also counted.
const SCENARIOS: [&str; 4] = ["random-mixed-400", "tiny-hot", "pair-hot", "json"];

/// The umbrella of all layers.
const ALL: &str = "layers";

/// What is needed for every stack.
pub struct Lab {
    builder: Builder,
    runner: Runner,
    step: PathBuf,
    tasks: Vec<Task>,
    layers: Vec<String>,
    registry: Registry,
    folder: PathBuf,
}

/// A build to measure: how many layers there are, the one that came last, and what turns them on.
struct Asked {
    depth: usize,
    added: Option<String>,
    features: Vec<String>,
}

impl Lab {
    /// Builds what the stacks share, below `target/layers`, and asks the heap for its layers.
    pub fn prepare() -> Result<Lab> {
        let folder = paths::target().join("layers");
        let runner = Runner::build()?;
        let tasks = paired::tasks(&runner, &SCENARIOS)?;
        let builder = Builder::new(paths::root(), folder.join("library"));
        let bar = term::spinner("Building", "all layers");
        let library = builder.build(&[ALL.to_owned()]);
        bar.finish_and_clear();
        let mut print = Command::new(runner.path());
        print.arg("--list");
        preload(&mut print, &library?.allocator());
        print.env("HAKMEM_PRINT_CONFIG", "1");
        let printed = command::output(&mut print)?;
        let mut layers = layers(&String::from_utf8_lossy(&printed.stderr));
        let registry = Registry::read()?;
        layers.retain(|layer| !registry.gates.get(layer).is_some_and(sleeps));
        ensure!(!layers.is_empty(), "the heap prints no picture of its layers");
        Ok(Lab { builder, runner, step: step_program()?, tasks, layers, registry, folder })
    }

    /// The layers around the unified cache, in the order in which a request asks them.
    pub fn layers(&self) -> &[String] {
        &self.layers
    }

    /// Measures the stacks of so many layers.
    pub fn measure(&self, depths: &[usize], runs: usize) -> Result<Stacks> {
        let asked = depths.iter().map(|&depth| Asked {
            depth,
            added: depth.checked_sub(2).map(|at| self.layers[at].clone()),
            features: self.layers[..depth - 1].to_vec(),
        });
        self.measure_each(asked.collect(), self.layers.clone(), false, runs)
    }

    /// Measures every layer of the registry alone with the unified cache, and what it needs.
    pub fn measure_alone(&self, runs: usize) -> Result<Stacks> {
        let gates = self.registry.gates.iter();
        let awake = gates.filter(|(_, gate)| gate.kind == Kind::Layer && !sleeps(gate));
        let layers: Vec<String> = awake.map(|(name, _)| name.clone()).collect();
        let mut asked = vec![Asked { depth: 1, added: None, features: Vec::new() }];
        asked.extend(layers.iter().map(|layer| Asked {
            depth: 2,
            added: Some(layer.clone()),
            features: plan::configuration(&self.registry, layer, Group::Single, &[layer]).features,
        }));
        self.measure_each(asked, layers, true, runs)
    }

    fn measure_each(
        &self,
        asked: Vec<Asked>,
        layers: Vec<String>,
        alone: bool,
        runs: usize,
    ) -> Result<Stacks> {
        let machine = Machine::here();
        let bar = term::progress("Building", asked.len() as u64);
        let (mut stacks, mut allocators) = (Vec::new(), Vec::new());
        for asked in asked {
            let what = match &asked.added {
                Some(layer) if alone => layer.clone(),
                _ => format!("{} layers", asked.depth),
            };
            bar.set_message(what.clone());
            let (stack, allocator) = self.build(asked, &what).context(what)?;
            stacks.push(stack);
            allocators.push(allocator);
            bar.inc(1);
        }
        bar.finish_and_clear();
        let mut system = Timed::default();
        allocators.push(Allocator {
            name: "system".to_owned(),
            version: String::new(),
            library: None,
            program: None,
        });
        let mut all: Vec<&mut Timed> = stacks.iter_mut().map(|stack| &mut stack.timed).collect();
        all.push(&mut system);
        let counted = paths::which("valgrind").is_some();
        if counted {
            paired::count(&self.runner, &self.tasks[0], &mut all, &allocators)?;
        }
        paired::time(&self.runner, &self.tasks, &mut all, &allocators, runs)?;
        let missing =
            "instructions, misses, branches: valgrind is missing; `apt-get install valgrind`";
        Ok(Stacks {
            schema: SCHEMA,
            machine,
            scenarios: self.tasks.iter().map(|task| task.name.clone()).collect(),
            layers,
            alone,
            stacks,
            system,
            missing: if counted { Vec::new() } else { vec![missing.to_owned()] },
        })
    }

    /// Builds a stack and counts what needs no scenario. The library is kept apart from the next.
    fn build(&self, asked: Asked, what: &str) -> Result<(Stack, Allocator)> {
        let library = self.builder.build(&asked.features)?;
        let watched = watch_in(&self.step, &library.allocator(), GOLDEN_SIZE)?;
        let count = |name: &str| -> Result<u64> {
            let found = watched.functions.iter().find(|function| function.name == name);
            found.map(step::Function::median).with_context(|| format!("{name} was not seen"))
        };
        let stack = Stack {
            depth: asked.depth,
            added: asked.added,
            text: library::size(&library.sections()?, &[".text"]),
            fast_paths: library.fast_paths()?.values().sum(),
            malloc: count("malloc")?,
            free: count("free")?,
            timed: Timed::default(),
        };
        let kept = self.folder.join(format!("{}.so", what.replace(' ', "-")));
        std::fs::copy(&library.file, &kept)
            .with_context(|| format!("cannot copy to {}", kept.display()))?;
        Ok((stack, Allocator { library: Some(kept), ..library.allocator() }))
    }
}

/// Whether a layer sleeps until a setting wakes it: it would stand for less than it is.
fn sleeps(gate: &Gate) -> bool {
    !gate.listed("settings").is_empty()
}

/// The layers in the heap's picture of its front end, without the unified cache: the lines between
/// the heading and the slabs.
fn layers(printed: &str) -> Vec<String> {
    let picture = printed.lines().skip_while(|line| !line.trim_start().starts_with("front end"));
    let names = picture.skip(1).filter_map(|line| line.strip_prefix("    "));
    let names = names.map(|line| line.split("  ").next().unwrap_or(line).trim());
    let names = names.take_while(|name| *name != "slabs").filter(|name| *name != "unified cache");
    names.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_read_from_the_picture() {
        let printed = "hakmem 0.1.0 configuration\n  Alloc     HAKMEM_MODE  balanced\n  \
             front end            C0 C1 mid\n    ultra-hot           #  #  .\n    \
             unified cache       #  #  #\n    tls-sll             #  #  #  (closed)\n    \
             slabs               #  #  #\n    other   x\n";
        assert_eq!(layers(printed), ["ultra-hot", "tls-sll"]);
        assert!(layers("nothing of the kind\n").is_empty());
    }
}
