//! The code of an arm before linking: every function as instructions, every relocation resolved to
//! the name, or for nameless data the content, of what it points to.
//!
//! Assumes x86-64 ELF objects from rustc with one section per function and per datum. Names are
//! compared without the crate's disambiguator, which differs between arms because features enter
//! into it. Objects of the standard library are the same files in both arms and are not read.

use anyhow::{Context, Result, bail};
use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, OpKind};
use object::read::archive::ArchiveFile;
use object::{
    Architecture, Object, ObjectSection, ObjectSymbol, RelocationFlags, RelocationTarget,
    SectionFlags, SectionIndex, SymbolKind,
};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

/// Everything in an arm that a feature can change.
#[derive(Clone, Debug, Default)]
pub struct Code {
    /// The functions, in no particular order.
    pub functions: Vec<Function>,
    /// Named data: size and a digest of the content.
    pub data: Vec<Datum>,
}

/// One function.
#[derive(Clone, Debug)]
pub struct Function {
    /// Demangled, without disambiguator: the same in both arms. Instantiations of one generic
    /// function may share it.
    pub name: String,
    /// The symbol, as the linked program has it.
    pub symbol: String,
    /// Its instructions in order.
    pub instructions: Vec<Instr>,
}

/// One instruction in a form in which equal means the same.
#[derive(Clone, Debug)]
pub struct Instr {
    /// Bytes from the function's start.
    pub offset: u64,
    /// What it is and what it refers to, without the bytes that depend on where things lie.
    pub exact: String,
    /// The same without the displacement of a memory operand: all that changes when a field or a
    /// frame moves.
    pub unplaced: String,
    /// For a jump inside the function: the offset it goes to.
    pub jump: Option<u64>,
    /// The symbol that its relocation names, if any.
    pub refers: Option<String>,
}

/// One named datum.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Datum {
    /// Demangled, without disambiguator.
    pub name: String,
    /// The symbol, as the linked program has it.
    pub symbol: String,
    /// Bytes.
    pub size: u64,
    /// Of its bytes and what they point to.
    pub digest: u128,
}

impl Code {
    /// Reads objects and archives; those of the Rust installation are left out.
    pub fn load(inputs: &[PathBuf]) -> Result<Code> {
        let mut code = Code::default();
        for path in inputs.iter().filter(|path| !is_installed(path)) {
            let bytes =
                std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            let outcome = if bytes.starts_with(b"!<arch>\n") {
                code.add_archive(&bytes)
            } else {
                code.add_object(&bytes)
            };
            outcome.with_context(|| format!("reading {}", path.display()))?;
        }
        if code.functions.is_empty() {
            bail!(
                "the linker command names no object with code; is debug information or LTO in the way?"
            );
        }
        Ok(code)
    }

    /// Keeps what is in a linked program: the linker drops what nothing uses.
    pub fn retain(&mut self, linked: &BTreeSet<String>) {
        self.functions.retain(|function| linked.contains(&function.symbol));
        self.data.retain(|datum| linked.contains(&datum.symbol));
    }

    fn add_archive(&mut self, bytes: &[u8]) -> Result<()> {
        for member in ArchiveFile::parse(bytes)?.members() {
            let member = member?;
            if member.name().ends_with(b".o") {
                self.add_object(member.data(bytes)?)?;
            }
        }
        Ok(())
    }

    fn add_object(&mut self, bytes: &[u8]) -> Result<()> {
        let file = object::File::parse(bytes)?;
        if file.architecture() != Architecture::X86_64 {
            bail!("the comparison reads x86-64 objects, this one is {:?}", file.architecture());
        }
        let image = Image::new(&file)?;
        for symbol in file.symbols().filter(|symbol| symbol.is_definition() && symbol.size() > 0) {
            if is_nameless(symbol.name()?) {
                continue;
            }
            let Some(section) = symbol.section_index().and_then(|index| image.sections.get(&index))
            else {
                continue;
            };
            let raw = symbol.name()?.to_owned();
            match symbol.kind() {
                SymbolKind::Text => self.functions.push(Function {
                    name: plain_name(&raw),
                    instructions: image.decode(section, symbol.address(), symbol.size()),
                    symbol: raw,
                }),
                SymbolKind::Data | SymbolKind::Tls => self.data.push(Datum {
                    name: plain_name(&raw),
                    symbol: raw,
                    size: symbol.size(),
                    digest: image.digest(section, symbol.address(), symbol.size(), 0),
                }),
                _ => {}
            }
        }
        Ok(())
    }
}

/// True for the standard library's archives.
fn is_installed(path: &Path) -> bool {
    path.to_string_lossy().contains("/lib/rustlib/")
}

/// True for data that the source gives no name: their symbols are numbers below a digest of the whole
/// unit, so that a change anywhere renames them all. They are compared by content.
fn is_nameless(symbol: &str) -> bool {
    symbol.is_empty() || symbol.starts_with(".Lanon.")
}

/// A symbol's name without the parts that depend on the build: disambiguator and suffixes.
pub fn plain_name(symbol: &str) -> String {
    let symbol = symbol.split(".llvm.").next().unwrap_or(symbol);
    format!("{:#}", rustc_demangle::demangle(symbol))
}

/// A relocation of a section.
struct Reloc {
    target: Target,
    addend: i64,
    kind: u32,
    relative: bool,
}

enum Target {
    /// A symbol that has a name of its own, and the offset of the reference within it.
    Named(String),
    /// A place in a section.
    Place(SectionIndex, u64),
}

struct Section<'a> {
    index: SectionIndex,
    name: String,
    data: &'a [u8],
    size: u64,
    relocs: BTreeMap<u64, Reloc>,
    /// Start, end and raw name of the symbols inside.
    symbols: Vec<(u64, u64, String)>,
    /// Entry size and string flag of a section of mergeable constants.
    merge: Option<(u64, bool)>,
}

/// One object, ready for looking up what a reference means.
struct Image<'a> {
    sections: HashMap<SectionIndex, Section<'a>>,
    /// What was digested before: tables point to tables.
    digests: RefCell<HashMap<(SectionIndex, u64, u64, u32), u128>>,
}

const SHF_MERGE: u64 = 0x10;
const SHF_STRINGS: u64 = 0x20;
const R_X86_64_RELATIVE_KINDS: [u32; 8] = [2, 4, 9, 19, 20, 22, 41, 42];

impl<'a> Image<'a> {
    fn new(file: &object::File<'a>) -> Result<Image<'a>> {
        let mut sections = HashMap::new();
        for section in file.sections() {
            let entry = match file {
                object::File::Elf64(elf) => {
                    elf.elf_section_table().section(section.index())?.sh_entsize.get(elf.endian())
                }
                _ => bail!("not a 64-bit ELF object"),
            };
            let SectionFlags::Elf { sh_flags, .. } = section.flags() else {
                bail!("not an ELF object")
            };
            let mut relocs = BTreeMap::new();
            for (at, reloc) in section.relocations() {
                let RelocationFlags::Elf { r_type, .. } = reloc.flags() else { continue };
                let kind = r_type.0;
                let target = match reloc.target() {
                    RelocationTarget::Symbol(index) => {
                        let symbol = file.symbol_by_index(index)?;
                        match symbol.section_index() {
                            Some(section) if symbol.kind() == SymbolKind::Section => {
                                Target::Place(section, 0)
                            }
                            Some(section) if is_nameless(symbol.name()?) => {
                                Target::Place(section, symbol.address())
                            }
                            _ => Target::Named(symbol.name()?.to_owned()),
                        }
                    }
                    RelocationTarget::Section(index) => Target::Place(index, 0),
                    _ => continue,
                };
                let relative = R_X86_64_RELATIVE_KINDS.contains(&kind);
                relocs.insert(at, Reloc { target, addend: reloc.addend(), kind, relative });
            }
            sections.insert(
                section.index(),
                Section {
                    index: section.index(),
                    name: section.name()?.to_owned(),
                    data: section.data().unwrap_or(&[]),
                    size: section.size(),
                    relocs,
                    symbols: Vec::new(),
                    merge: (sh_flags.0 & SHF_MERGE != 0)
                        .then_some((entry, sh_flags.0 & SHF_STRINGS != 0)),
                },
            );
        }
        for symbol in file.symbols().filter(|symbol| symbol.is_definition() && symbol.size() > 0) {
            if is_nameless(symbol.name()?) {
                continue;
            }
            if let Some(section) = symbol.section_index().and_then(|index| sections.get_mut(&index))
            {
                let start = symbol.address();
                section.symbols.push((start, start + symbol.size(), symbol.name()?.to_owned()));
            }
        }
        Ok(Image { sections, digests: RefCell::default() })
    }

    /// The instructions of `size` bytes at `start` in `section`.
    fn decode(&self, section: &Section<'a>, start: u64, size: u64) -> Vec<Instr> {
        let range = start as usize..(start + size) as usize;
        let Some(bytes) = section.data.get(range) else { return Vec::new() };
        let mut decoder = Decoder::with_ip(64, bytes, start, DecoderOptions::NONE);
        let mut instructions = Vec::new();
        let mut instruction = Instruction::default();
        while decoder.can_decode() {
            decoder.decode_out(&mut instruction);
            instructions.push(self.instr(section, start, start + size, bytes, &instruction));
        }
        instructions
    }

    fn instr(
        &self,
        section: &Section<'a>,
        start: u64,
        end: u64,
        bytes: &[u8],
        instruction: &Instruction,
    ) -> Instr {
        let (at, next) = (instruction.ip(), instruction.next_ip());
        let mut own = bytes[(at - start) as usize..(next - start) as usize].to_vec();
        let mut label = String::new();
        let mut refers = None;
        for (place, reloc) in section.relocs.range(at..next) {
            let within = (place - at) as usize;
            let width = if matches!(reloc.kind, 1 | 24) { 8 } else { 4 };
            own.iter_mut().skip(within).take(width).for_each(|byte| *byte = 0);
            // A PC-relative addend counts from the end of the instruction.
            let shift = if reloc.relative { (next - place) as i64 } else { 0 };
            let (text, symbol) = self.label(&reloc.target, reloc.addend + shift, 0);
            label.push_str(&format!(" {}:{text}", reloc.kind));
            refers = refers.or(symbol);
        }
        let branches = matches!(
            instruction.flow_control(),
            FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch
        );
        let inside = branches && instruction.op0_kind() == OpKind::NearBranch64 && label.is_empty();
        let jump = (inside && (start..end).contains(&instruction.near_branch_target()))
            .then(|| instruction.near_branch_target() - start);
        if jump.is_some() {
            // Where it goes is compared apart; how many bytes that takes is not its meaning.
            let text = format!("{:?}", instruction.mnemonic());
            return Instr { offset: at - start, exact: text.clone(), unplaced: text, jump, refers };
        }
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let exact = format!("{}{label}", hex(&own));
        Instr {
            offset: at - start,
            unplaced: unplaced(instruction, &label, &exact),
            exact,
            jump,
            refers,
        }
    }

    /// What a reference means, and the raw symbol it names if it names one.
    fn label(&self, target: &Target, addend: i64, depth: u32) -> (String, Option<String>) {
        let (index, base) = match target {
            Target::Named(name) => {
                return (format!("{}{addend:+}", plain_name(name)), Some(name.clone()));
            }
            Target::Place(index, base) => (*index, *base),
        };
        let Some(section) = self.sections.get(&index) else { return ("?".to_owned(), None) };
        let place = base.wrapping_add_signed(addend);
        let named = section.symbols.iter().find(|(start, end, _)| (*start..*end).contains(&place));
        if let Some((_, _, name)) = named.filter(|_| depth > 0 && section.name.starts_with(".text"))
        {
            // A jump table: where in the function it leads is the function's own affair.
            return (plain_name(name), Some(name.clone()));
        }
        if let Some((start, _, name)) = named {
            return (
                format!("{}{:+}", plain_name(name), (place - start) as i64),
                Some(name.clone()),
            );
        }
        let digest = match section.merge {
            Some((entry, false)) => self.digest(section, place, entry.max(1), depth),
            Some((_, true)) => {
                let rest = section.data.get(place as usize..).unwrap_or(&[]);
                let len = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
                self.digest(section, place, len as u64, depth)
            }
            None => {
                return (
                    format!("data {:x}{place:+}", self.digest(section, 0, section.size, depth)),
                    None,
                );
            }
        };
        (format!("constant {digest:x}"), None)
    }

    /// A digest of bytes and of what their relocations point to, down to a depth no real table has.
    fn digest(&self, section: &Section<'a>, start: u64, size: u64, depth: u32) -> u128 {
        let key = (section.index, start, size, depth);
        if let Some(known) = self.digests.borrow().get(&key) {
            return *known;
        }
        let end = start.saturating_add(size);
        let mut halves = [DefaultHasher::new(), DefaultHasher::new()];
        let mut add = |bytes: &[u8]| halves.iter_mut().for_each(|half| bytes.hash(half));
        add(&size.to_le_bytes());
        add(section
            .data
            .get(start as usize..end.min(section.data.len() as u64) as usize)
            .unwrap_or(&[]));
        for (at, reloc) in section.relocs.range(start..end) {
            let deep = depth >= 6;
            let label = if deep {
                plain_name(&section.name)
            } else {
                self.label(&reloc.target, reloc.addend, depth + 1).0
            };
            add(&(at - start).to_le_bytes());
            add(&reloc.kind.to_le_bytes());
            add(label.as_bytes());
        }
        // Two halves of one function would be equal but for this.
        halves[1].write_u8(1);
        let [high, low] = halves.map(|half| u128::from(half.finish()));
        let digest = high << 64 | low;
        self.digests.borrow_mut().insert(key, digest);
        digest
    }
}

/// An instruction's text without the displacement of its memory operand. `lea` keeps it: there it
/// may be arithmetic and not a place.
fn unplaced(instruction: &Instruction, label: &str, exact: &str) -> String {
    let memory =
        (0..instruction.op_count()).any(|operand| instruction.op_kind(operand) == OpKind::Memory);
    if !memory || instruction.mnemonic() == iced_x86::Mnemonic::Lea {
        return exact.to_owned();
    }
    let operands: Vec<String> = (0..instruction.op_count())
        .map(|operand| match instruction.op_kind(operand) {
            OpKind::Register => format!("{:?}", instruction.op_register(operand)),
            OpKind::Memory => format!(
                "[{:?} {:?} {:?}*{}]",
                instruction.segment_prefix(),
                instruction.memory_base(),
                instruction.memory_index(),
                instruction.memory_index_scale()
            ),
            _ => instruction
                .try_immediate(operand)
                .map_or_else(|_| "?".to_owned(), |value| format!("{value:#x}")),
        })
        .collect();
    // The offset within what a relocation names is a displacement too.
    let label = label.rsplit_once(['+', '-']).map_or(label, |(name, _)| name);
    let prefixes = (
        instruction.has_lock_prefix(),
        instruction.has_rep_prefix(),
        instruction.has_repne_prefix(),
    );
    let mnemonic = instruction.mnemonic();
    format!(
        "{mnemonic:?} {:?} {prefixes:?} {}{label}",
        instruction.memory_size(),
        operands.join(",")
    )
}

#[cfg(test)]
mod tests;
