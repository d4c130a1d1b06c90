//! Functions of a linked file as text: each instruction with the names of what it refers to, and the
//! line of source it comes from, inlined functions included.
//!
//! Assumes what rustc and lld do: a function's instructions lie at the same offsets as in the object
//! before linking. Where the file has no line tables the source is left out.

use crate::ab::object::plain_name;
use crate::shared::paths;
use addr2line::Loader;
use anyhow::{Context, Result};
use iced_x86::{
    Decoder, DecoderOptions, Formatter, Instruction, IntelFormatter, SymbolResolver, SymbolResult,
};
use object::{Object, ObjectSection, ObjectSymbol, SectionKind, SymbolKind};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// One instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// The instruction, Intel syntax, addresses by name.
    pub words: String,
    /// `file:line function`, empty where it is not known.
    pub source: String,
}

/// A linked file, ready to be asked.
pub struct Annotated {
    code: Vec<(u64, Vec<u8>)>,
    functions: HashMap<String, u64>,
    names: Names,
    lines: Option<Loader>,
}

/// What lies at an address: start, size and name of every symbol.
#[derive(Clone, Default)]
struct Names(BTreeMap<u64, (u64, String)>);

impl Annotated {
    /// Reads a file. It must not be overwritten while it is asked.
    pub fn read(path: &Path) -> Result<Annotated> {
        let bytes =
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let file = object::File::parse(&*bytes)
            .with_context(|| format!("{} is not an object file", path.display()))?;
        let mut code = Vec::new();
        for section in file.sections().filter(|section| section.kind() == SectionKind::Text) {
            code.push((section.address(), section.uncompressed_data()?.into_owned()));
        }
        let mut functions = HashMap::new();
        let mut names = Names::default();
        for symbol in file.symbols().chain(file.dynamic_symbols()) {
            let Ok(raw) = symbol.name() else { continue };
            if !symbol.is_definition() || raw.is_empty() {
                continue;
            }
            match symbol.kind() {
                SymbolKind::Text => drop(functions.insert(raw.to_owned(), symbol.address())),
                SymbolKind::Data => {}
                _ => continue,
            }
            let name = plain_name(raw);
            let known = names.0.entry(symbol.address()).or_default();
            // Of several names for one place, the shortest is the one people know.
            if known.1.is_empty() || name.len() < known.1.len() {
                *known = (symbol.size(), name);
            }
        }
        Ok(Annotated { code, functions, names, lines: Loader::new(path).ok() })
    }

    /// The instruction `offset` bytes into the function of that symbol.
    pub fn text(&self, symbol: &str, offset: u64) -> Option<Text> {
        let address = self.functions.get(symbol)? + offset;
        let (start, bytes) = self
            .code
            .iter()
            .find(|(start, bytes)| (*start..start + bytes.len() as u64).contains(&address))?;
        let bytes = &bytes[(address - start) as usize..];
        let instruction = Decoder::with_ip(64, bytes, address, DecoderOptions::NONE).decode();
        let mut formatter =
            IntelFormatter::with_options(Some(Box::new(self.names.clone_near(&instruction))), None);
        super::listing::dress(&mut formatter);
        let mut words = String::new();
        formatter.format(&instruction, &mut words);
        Some(Text { words, source: self.source(address).unwrap_or_default() })
    }

    /// Where an address comes from: the innermost function of the checkout, else the innermost.
    fn source(&self, address: u64) -> Option<String> {
        let mut frames = self.frames_at(address).into_iter().peekable();
        let innermost = frames.peek().cloned();
        frames.find(|frame| frame.ours).or(innermost).map(|frame| frame.told())
    }

    /// The functions that are inlined into one another at an instruction, the innermost first.
    /// Empty where the file has no line tables.
    pub fn frames(&self, symbol: &str, offset: u64) -> Vec<Frame> {
        self.functions.get(symbol).map_or(Vec::new(), |start| self.frames_at(start + offset))
    }

    fn frames_at(&self, address: u64) -> Vec<Frame> {
        let mut all = Vec::new();
        let Some(Ok(mut frames)) = self.lines.as_ref().map(|lines| lines.find_frames(address))
        else {
            return all;
        };
        while let Ok(Some(frame)) = frames.next() {
            let location = frame.location.as_ref();
            let file = location.and_then(|location| location.file).unwrap_or_default();
            let function = frame.function.as_ref().and_then(|name| name.raw_name().ok());
            all.push(Frame {
                place: place(file),
                line: location.and_then(|location| location.line).unwrap_or(0),
                function: function.map(|raw| short(&plain_name(&raw))).unwrap_or_default(),
                ours: Path::new(file).starts_with(paths::root()),
            });
        }
        all
    }
}

/// One of the functions that an instruction belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The file: below the checkout, without `src/`, else its last three parts.
    pub place: String,
    /// The line in it.
    pub line: u32,
    /// The function's name, without its path.
    pub function: String,
    /// Whether the file belongs to the checkout.
    pub ours: bool,
}

impl Frame {
    /// `file:line function`.
    pub fn told(&self) -> String {
        format!("{}:{} {}", self.place, self.line, self.function).trim_end().to_owned()
    }
}

impl Names {
    /// The names that one instruction may need: a resolver of its own, as formatters own theirs.
    fn clone_near(&self, instruction: &Instruction) -> Names {
        let mut near = BTreeMap::new();
        for address in [instruction.near_branch_target(), instruction.memory_displacement64()] {
            if let Some((start, known)) = self.0.range(..=address).next_back() {
                near.insert(*start, known.clone());
            }
        }
        Names(near)
    }
}

impl SymbolResolver for Names {
    fn symbol(
        &mut self,
        instruction: &Instruction,
        _: u32,
        _: Option<u32>,
        address: u64,
        _: u32,
    ) -> Option<SymbolResult<'_>> {
        // Displacements of registers and plain numbers are no addresses.
        let branch = instruction.near_branch_target() == address;
        if !branch && !instruction.is_ip_rel_memory_operand() {
            return None;
        }
        let (start, (size, name)) = self.0.range(..=address).next_back()?;
        (address - start < (*size).max(1)).then(|| SymbolResult::with_str(*start, name))
    }
}

/// A source file as one says it: below the checkout, else its last three parts.
fn place(file: &str) -> String {
    let root = format!("{}/", paths::root().display());
    if let Some(inside) = file.strip_prefix(&root) {
        return inside.strip_prefix("src/").unwrap_or(inside).to_owned();
    }
    let parts: Vec<&str> = file.split('/').collect();
    parts[parts.len().saturating_sub(3)..].join("/")
}

/// The last part of a function's path, without its generic arguments; of a closure, the function
/// that it stands in.
fn short(name: &str) -> String {
    let (mut depth, mut last, mut ended) = (0usize, String::new(), false);
    let mut before = String::new();
    for c in name.chars() {
        match c {
            '<' => depth += 1,
            '>' => depth = depth.saturating_sub(1),
            ':' if depth == 0 => ended = true,
            _ if depth == 0 => {
                // Generic arguments follow `::` too; only another name is another part.
                if std::mem::take(&mut ended) && !last.is_empty() {
                    let part = std::mem::take(&mut last);
                    if !part.starts_with('{') {
                        before = part;
                    }
                }
                last.push(c);
            }
            _ => {}
        }
    }
    match last.is_empty() {
        true => name.to_owned(),
        false if last.starts_with('{') && !before.is_empty() => format!("{before} {last}"),
        false => last,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shortened_to_what_one_says() {
        assert_eq!(short("hakmem::telemetry::tally::Tally::add::<hakmem::X>"), "add");
        assert_eq!(short("<a::B as c::D>::drop"), "drop");
        assert_eq!(short("malloc"), "malloc");
        assert_eq!(short("hakmem::cold::refill::{closure#0}"), "refill {closure#0}");
        assert_eq!(short("a::b::{impl#3}::get::<u8>::{closure#1}::{closure#0}"), "get {closure#0}");
        let root = paths::root().display();
        assert_eq!(place(&format!("{root}/src/hot.rs")), "hot.rs");
        assert_eq!(place(&format!("{root}/preload/src/family.rs")), "preload/src/family.rs");
        assert_eq!(place("/rustc/abc/library/core/src/cell.rs"), "core/src/cell.rs");
    }

    #[test]
    fn this_test_reads_itself() {
        let program = std::env::current_exe().unwrap();
        let annotated = Annotated::read(&program).unwrap();
        let symbol = annotated
            .functions
            .keys()
            .find(|symbol| plain_name(symbol).ends_with("annotate::tests::marked"))
            .expect("this program has the function")
            .clone();
        assert_eq!(marked(std::hint::black_box(1)), 8);
        let texts: Vec<Text> =
            (0..64).map_while(|offset| annotated.text(&symbol, offset)).collect();
        assert!(texts.iter().any(|text| !text.words.is_empty()));
        assert!(texts[0].source.contains("annotate.rs:"), "{:?}", texts[0]);
        assert!(texts[0].source.ends_with(" marked"), "{:?}", texts[0]);
        assert_eq!(annotated.text("no such symbol", 0), None);
    }

    #[inline(never)]
    fn marked(x: u64) -> u64 {
        x + 7
    }
}
