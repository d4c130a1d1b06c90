//! Disassembly of what was executed, from the file: symbols named, branches that were not taken
//! told, calls and locked instructions pointed out.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path as FilePath;

use anyhow::{Context, Result};
use iced_x86::{Decoder, DecoderOptions, FlowControl, Formatter, Instruction, IntelFormatter};
use object::{Object, ObjectSection, ObjectSegment, ObjectSymbol, SectionKind};

use super::step::{Mapping, Path, calls, locks};

/// A library or program, ready to be looked up by address.
pub struct Image {
    /// Code sections: address and bytes.
    code: Vec<(u64, Vec<u8>)>,
    /// Function symbols by address, demangled.
    symbols: BTreeMap<u64, (String, u64)>,
    /// Loadable segments: file offset, size, address.
    segments: Vec<(u64, u64, u64)>,
}

impl Image {
    /// Reads a file.
    pub fn read(path: &FilePath) -> Result<Image> {
        let bytes =
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let file = object::File::parse(&*bytes)
            .with_context(|| format!("{} is not an object file", path.display()))?;
        let code = file
            .sections()
            .filter(|section| section.kind() == SectionKind::Text)
            .map(|section| Ok((section.address(), section.uncompressed_data()?.into_owned())))
            .collect::<Result<_>>()?;
        let mut symbols = BTreeMap::new();
        for symbol in file.symbols().chain(file.dynamic_symbols()) {
            if symbol.kind() == object::SymbolKind::Text && symbol.is_definition() {
                let name = symbol.name().unwrap_or_default();
                let name = format!("{:#}", rustc_demangle::demangle(name));
                // Of several names for one function, the shortest is the one people know.
                let known: &mut (String, u64) = symbols.entry(symbol.address()).or_default();
                if known.0.is_empty() || name.len() < known.0.len() {
                    *known = (name, symbol.size());
                }
            }
        }
        let segments = file
            .segments()
            .map(|segment| {
                let (offset, size) = segment.file_range();
                (offset, size, segment.address())
            })
            .collect();
        Ok(Image { code, symbols, segments })
    }

    /// The file's address of what is at `address` in a process.
    pub fn address(&self, mapping: &Mapping, address: u64) -> Option<u64> {
        let offset = address - mapping.start + mapping.offset;
        let inside =
            |&&(start, size, _): &&(u64, u64, u64)| (start..start + size).contains(&offset);
        let (start, _, base) = self.segments.iter().find(inside)?;
        Some(offset - start + base)
    }

    /// The instruction at an address of the file.
    fn instruction(&self, address: u64) -> Option<Instruction> {
        let (start, bytes) = self
            .code
            .iter()
            .find(|(start, bytes)| (*start..start + bytes.len() as u64).contains(&address))?;
        let bytes = &bytes[(address - start) as usize..];
        Some(Decoder::with_ip(64, bytes, address, DecoderOptions::NONE).decode())
    }

    /// The function around an address, with the offset into it.
    fn place(&self, address: u64) -> Option<(&str, u64)> {
        let (start, (name, size)) = self.symbols.range(..=address).next_back()?;
        let offset = address - start;
        (offset < (*size).max(1)).then_some((name.as_str(), offset))
    }

    fn named(&self, address: u64) -> String {
        match self.place(address) {
            Some((name, 0)) => name.to_owned(),
            Some((name, offset)) => format!("{name}+{offset:#x}"),
            None => format!("{address:#x}"),
        }
    }
}

/// The executed instructions of one call, one line each.
pub fn listing(path: &Path, mappings: &[Mapping], images: &BTreeMap<String, Image>) -> String {
    let mut text = String::new();
    let mut formatter = IntelFormatter::new();
    dress(&mut formatter);
    let mut last = None;
    for (at, &address) in path.addresses.iter().enumerate() {
        let found = mappings.iter().find(|map| (map.start..map.end).contains(&address));
        let line = found.and_then(|mapping| {
            let image = images.get(&mapping.file)?;
            let address = image.address(mapping, address)?;
            Some((image, address, image.instruction(address)?))
        });
        let Some((image, here, instruction)) = line else {
            let _ = writeln!(text, "  {:3}  {address:#x}", at + 1);
            continue;
        };
        if let Some((name, _)) = image.place(here)
            && last != Some(name)
        {
            let _ = writeln!(text, "       {name}:");
            last = Some(name);
        }
        let mut words = String::new();
        formatter.format(&instruction, &mut words);
        let next = path.addresses.get(at + 1);
        let note = note(&instruction, image, address, next.copied());
        let line = format!("  {:3}  {words:<46}{note}", at + 1);
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// How all listings write instructions.
pub fn dress(formatter: &mut IntelFormatter) {
    let options = formatter.options_mut();
    options.set_space_after_operand_separator(true);
    options.set_hex_prefix("0x");
    options.set_hex_suffix("");
    options.set_branch_leading_zeros(false);
    options.set_rip_relative_addresses(false);
}

fn note(instruction: &Instruction, image: &Image, at: u64, next: Option<u64>) -> String {
    let taken = next.is_some_and(|next| next != at + instruction.len() as u64);
    match instruction.flow_control() {
        FlowControl::ConditionalBranch => {
            let target = image.named(instruction.near_branch_target());
            if taken { "; taken".to_owned() } else { format!("; not taken, to {target}") }
        }
        FlowControl::UnconditionalBranch => {
            format!("; {}", image.named(instruction.near_branch_target()))
        }
        _ if locks(instruction) => "; LOCKED".to_owned(),
        _ if calls(instruction) => "; CALL".to_owned(),
        _ => String::new(),
    }
}
