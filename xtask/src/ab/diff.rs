//! Which instructions differ between two arms.
//!
//! Functions are paired by plain name and aligned instruction by instruction. A difference is
//! either the arm's *own* (an instruction the other arm does not have there) or merely *moved* (the
//! same instruction with another displacement: a field or a frame lies elsewhere). Only the first
//! kind is the feature's work.

use super::object::{Code, Function, Instr};
use similar::{Algorithm, DiffOp, capture_diff_slices};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Where one arm's instructions differ: function symbol to offsets.
pub type Places = BTreeMap<String, Vec<u64>>;

/// One arm's side of a comparison.
#[derive(Clone, Debug, Default)]
pub struct Side {
    /// Instructions that the other arm lacks.
    pub own: Places,
    /// Instructions that differ in a displacement only.
    pub moved: Places,
}

/// The outcome of a comparison.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// How many functions were compared.
    pub functions: usize,
    /// The plain names of functions that differ, with how many own instructions (out, in).
    pub differing: BTreeMap<String, (usize, usize)>,
    /// Named data that differ, with their sizes (out, in); 0 where an arm has none.
    pub data: BTreeMap<String, (u64, u64)>,
    /// The arm without the feature.
    pub out: Side,
    /// The arm with it.
    pub with: Side,
}

impl Comparison {
    /// True if no instruction and no datum differs: the arms are one program.
    pub fn same(&self) -> bool {
        self.differing.is_empty() && self.data.is_empty()
    }

    /// How many instructions are the arms' own (out, in).
    pub fn own(&self) -> (usize, usize) {
        let count = |side: &Side| side.own.values().map(Vec::len).sum();
        (count(&self.out), count(&self.with))
    }
}

/// Compares two arms.
pub fn compare(out: &Code, with: &Code) -> Comparison {
    let mut comparison = Comparison { functions: with.functions.len(), ..Comparison::default() };
    let (left, right) = (by_name(out), by_name(with));
    let names: BTreeSet<&str> = left.keys().chain(right.keys()).copied().collect();
    for name in &names {
        let none = Vec::new();
        let (left, right) = (left.get(name).unwrap_or(&none), right.get(name).unwrap_or(&none));
        compare_group(left, right, &mut comparison);
    }
    compare_instances(out, with, &mut comparison);
    compare_data(out, with, &mut comparison);
    comparison
}

fn by_name(code: &Code) -> BTreeMap<&str, Vec<&Function>> {
    let mut map: BTreeMap<&str, Vec<&Function>> = BTreeMap::new();
    code.functions
        .iter()
        .for_each(|function| map.entry(&function.name).or_default().push(function));
    map
}

/// Pairs the functions of one name: equal ones first, the rest by size.
fn compare_group(left: &[&Function], right: &[&Function], comparison: &mut Comparison) {
    let mut right: Vec<&Function> = right.to_vec();
    let mut unpaired = Vec::new();
    for function in left {
        match right.iter().position(|other| equal(function, other)) {
            Some(at) => drop(right.swap_remove(at)),
            None => unpaired.push(*function),
        }
    }
    unpaired.sort_by_key(|function| function.instructions.len());
    right.sort_by_key(|function| function.instructions.len());
    let pairs = unpaired.len().max(right.len());
    for at in 0..pairs {
        let (left, right) = (unpaired.get(at).copied(), right.get(at).copied());
        let (Some(any), empty) = (left.or(right), &[][..]) else { continue };
        let before = comparison.own();
        align(
            left.map_or(empty, |function| &function.instructions),
            right.map_or(empty, |function| &function.instructions),
            left.map_or("", |function| &function.symbol),
            right.map_or("", |function| &function.symbol),
            comparison,
        );
        let after = comparison.own();
        let entry = comparison.differing.entry(any.name.clone()).or_default();
        *entry = (entry.0 + after.0 - before.0, entry.1 + after.1 - before.1);
    }
}

/// True if two functions are the same code, jumps included.
fn equal(left: &Function, right: &Function) -> bool {
    let jump = |function: &Function, instr: &Instr| {
        instr.jump.map(|to| function.instructions.binary_search_by_key(&to, |instr| instr.offset))
    };
    left.instructions.len() == right.instructions.len()
        && left
            .instructions
            .iter()
            .zip(&right.instructions)
            .all(|(a, b)| a.exact == b.exact && jump(left, a) == jump(right, b))
}

/// Aligns two functions and notes what has no equal on the other side.
fn align(
    left: &[Instr],
    right: &[Instr],
    left_symbol: &str,
    right_symbol: &str,
    comparison: &mut Comparison,
) {
    let exact = |side: &[Instr]| side.iter().map(|instr| instr.exact.clone()).collect::<Vec<_>>();
    let mut pairs = Vec::new();
    for op in capture_diff_slices(Algorithm::Myers, &exact(left), &exact(right)) {
        let (old, new) = (op.old_range(), op.new_range());
        if let DiffOp::Equal { .. } = op {
            pairs.extend(old.zip(new));
            continue;
        }
        // Inside a changed stretch, what differs by a displacement only is still the same.
        let unplaced =
            |side: &[Instr]| side.iter().map(|instr| instr.unplaced.clone()).collect::<Vec<_>>();
        for inner in capture_diff_slices(
            Algorithm::Myers,
            &unplaced(&left[old.clone()]),
            &unplaced(&right[new.clone()]),
        ) {
            let (old, new) =
                (shift(inner.old_range(), old.start), shift(inner.new_range(), new.start));
            if let DiffOp::Equal { .. } = inner {
                note(&mut comparison.out.moved, left_symbol, &left[old.clone()]);
                note(&mut comparison.with.moved, right_symbol, &right[new.clone()]);
                pairs.extend(old.zip(new));
            } else {
                note(&mut comparison.out.own, left_symbol, &left[old]);
                note(&mut comparison.with.own, right_symbol, &right[new]);
            }
        }
    }
    // A jump pairs only if it goes to paired places.
    let place = |side: &[Instr], to: u64| side.iter().position(|instr| instr.offset == to);
    let paired: HashMap<usize, usize> = pairs.iter().copied().collect();
    let mut inserted = false;
    for (a, b) in pairs {
        let (Some(to_left), Some(to_right)) = (left[a].jump, right[b].jump) else { continue };
        let (to_left, to_right) = (place(left, to_left), place(right, to_right));
        // A target that has no pair is the feature's own code, and counted there.
        let elsewhere =
            to_left.and_then(|to| paired.get(&to)).is_some_and(|to| Some(*to) != to_right);
        if elsewhere && !leads_to_own(comparison, right_symbol, right, to_right) {
            inserted = true;
            note(&mut comparison.out.own, left_symbol, &left[a..=a]);
            note(&mut comparison.with.own, right_symbol, &right[b..=b]);
        }
    }
    if inserted {
        for places in [&mut comparison.out.own, &mut comparison.with.own] {
            places.values_mut().for_each(|offsets| {
                offsets.sort_unstable();
                offsets.dedup();
            });
        }
    }
}

/// True if the jump's target is an instruction already counted as own: the jump to inserted code.
fn leads_to_own(comparison: &Comparison, symbol: &str, side: &[Instr], to: Option<usize>) -> bool {
    let (Some(to), Some(own)) = (to, comparison.with.own.get(symbol)) else { return false };
    own.contains(&side[to].offset)
}

fn shift(range: std::ops::Range<usize>, by: usize) -> std::ops::Range<usize> {
    range.start + by..range.end + by
}

fn note(places: &mut Places, symbol: &str, instructions: &[Instr]) {
    if !instructions.is_empty() {
        places
            .entry(symbol.to_owned())
            .or_default()
            .extend(instructions.iter().map(|instr| instr.offset));
    }
}

/// Names alone cannot tell which of several instantiations is called. So every function is also
/// coloured by what it calls, and by what those call; a colour without its match on the other side
/// means that calls go to another instantiation.
fn compare_instances(out: &Code, with: &Code, comparison: &mut Comparison) {
    if !comparison.differing.is_empty() {
        return;
    }
    let (left, right) = (colours(out), colours(with));
    let mut surplus: BTreeMap<u64, i64> = BTreeMap::new();
    left.iter().for_each(|colour| *surplus.entry(*colour).or_default() -= 1);
    right.iter().for_each(|colour| *surplus.entry(*colour).or_default() += 1);
    let mut call = |code: &Code, colours: &[u64], side: &mut Side, sign: i64| {
        for (function, colour) in code.functions.iter().zip(colours) {
            let left_over = surplus.get_mut(colour).filter(|count| **count * sign > 0);
            let Some(count) = left_over else { continue };
            *count -= sign;
            let calls: Vec<Instr> = function
                .instructions
                .iter()
                .filter(|instr| instr.refers.is_some())
                .cloned()
                .collect();
            note(&mut side.own, &function.symbol, &calls);
            comparison.differing.entry(function.name.clone()).or_default();
        }
    };
    let (mut out_side, mut with_side) = (Side::default(), Side::default());
    call(out, &left, &mut out_side, -1);
    call(with, &right, &mut with_side, 1);
    comparison.out.own.append(&mut out_side.own);
    comparison.with.own.append(&mut with_side.own);
}

fn colours(code: &Code) -> Vec<u64> {
    let index: HashMap<&str, usize> = code
        .functions
        .iter()
        .enumerate()
        .map(|(at, function)| (function.symbol.as_str(), at))
        .collect();
    let mut colours: Vec<u64> = vec![0; code.functions.len()];
    for _ in 0..4 {
        colours = code
            .functions
            .iter()
            .map(|function| {
                let mut hasher = DefaultHasher::new();
                function.name.hash(&mut hasher);
                for instr in &function.instructions {
                    instr.exact.hash(&mut hasher);
                    let callee = instr.refers.as_deref().and_then(|symbol| index.get(symbol));
                    callee.map(|at| colours[*at]).hash(&mut hasher);
                }
                hasher.finish()
            })
            .collect();
    }
    colours
}

fn compare_data(out: &Code, with: &Code, comparison: &mut Comparison) {
    let list = |code: &Code| {
        let mut map: BTreeMap<String, Vec<(u64, u128)>> = BTreeMap::new();
        code.data.iter().for_each(|datum| {
            map.entry(datum.name.clone()).or_default().push((datum.size, datum.digest))
        });
        map.values_mut().for_each(|list| list.sort_unstable());
        map
    };
    let (left, right) = (list(out), list(with));
    for name in left.keys().chain(right.keys()).collect::<BTreeSet<_>>() {
        if left.get(name) != right.get(name) {
            let size = |side: &BTreeMap<String, Vec<(u64, u128)>>| {
                side.get(name).map_or(0, |list| list.iter().map(|(size, _)| size).sum())
            };
            comparison.data.insert(name.clone(), (size(&left), size(&right)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Fixture;
    use super::*;

    fn compared(case: &'static str) -> Comparison {
        let fixture = Fixture::new(case);
        compare(&fixture.arm(false).code, &fixture.arm(true).code)
    }

    #[test]
    fn a_gate_that_changes_nothing_is_the_same_code() {
        let comparison = compared("same");
        assert!(comparison.same(), "{:?} {:?}", comparison.differing, comparison.data);
        assert!(comparison.functions > 5, "{}", comparison.functions);
    }

    #[test]
    fn an_added_counter_is_found_in_its_function_alone() {
        let comparison = compared("used");
        assert_eq!(comparison.differing.keys().collect::<Vec<_>>(), ["program::operation"]);
        assert_eq!(
            comparison.out.own.values().map(Vec::len).sum::<usize>(),
            0,
            "{:?}",
            comparison.out.own
        );
        assert!((1..=3).contains(&comparison.own().1), "{:?}", comparison.with.own);
        assert!(comparison.data.contains_key("program::COUNTER"), "{:?}", comparison.data);
    }

    #[test]
    fn a_function_that_only_one_arm_has_differs_whole() {
        let comparison = compared("cold");
        assert!(comparison.differing.contains_key("program::never"), "{:?}", comparison.differing);
        assert!(comparison.own().1 > 5);
    }

    #[test]
    fn calls_of_another_instantiation_are_seen() {
        // Two functions named alike, `wide` and `narrow`, and a caller of one of them.
        let instr = |text: &str, refers: Option<&str>| Instr {
            offset: 0,
            exact: text.to_owned(),
            unplaced: text.to_owned(),
            jump: None,
            refers: refers.map(str::to_owned),
        };
        let function = |name: &str, symbol: &str, instr: Instr| Function {
            name: name.to_owned(),
            symbol: symbol.to_owned(),
            instructions: vec![instr],
        };
        let code = |callee: &str| Code {
            functions: vec![
                function("get", "wide", instr("mov rax", None)),
                function("get", "narrow", instr("mov al", None)),
                function("caller", "caller", instr("call get", Some(callee))),
            ],
            data: Vec::new(),
        };
        assert!(compare(&code("wide"), &code("wide")).same());
        let comparison = compare(&code("wide"), &code("narrow"));
        assert_eq!(comparison.differing.keys().collect::<Vec<_>>(), ["caller"]);
        assert_eq!(comparison.own(), (1, 1));
    }
}
