//! Names, displacements and nameless data.

use super::*;

#[test]
fn names_lose_their_disambiguator() {
    assert_eq!(plain_name("_ZN1a2f217h884c583bf3619cddE"), "a::f2");
    assert_eq!(plain_name("_ZN1a2f217h0123456789abcdefE.llvm.77"), "a::f2");
    assert_eq!(
        plain_name("_RNvCsjrHSEGnQ3l9_3std4main"),
        plain_name("_RNvCsaaaaaaaaaaa_3std4main")
    );
    assert_eq!(plain_name("memcpy"), "memcpy");
}

/// An object whose one function takes the address of a constant of this name and content.
fn object(name: &str, content: &[u8]) -> Vec<u8> {
    use object::write::{Object, Relocation, Symbol, SymbolSection};
    use object::{BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolScope, elf};
    let mut object = Object::new(BinaryFormat::Elf, Architecture::X86_64, Endianness::Little);
    let text = object.section_id(object::write::StandardSection::Text);
    let constants =
        object.add_section(Vec::new(), b".rodata.c".to_vec(), SectionKind::ReadOnlyData);
    let mut add = |name: &str, section, bytes: &[u8], kind| {
        let value = object.append_section_data(section, bytes, 1);
        let (section, size) = (SymbolSection::Section(section), bytes.len() as u64);
        object.add_symbol(Symbol {
            name: name.into(),
            value,
            size,
            kind,
            scope: SymbolScope::Compilation,
            weak: false,
            section,
            flags: SymbolFlags::None,
        })
    };
    // lea rdx, [rip + constant]
    add("f", text, &[0x48, 0x8d, 0x15, 0, 0, 0, 0], SymbolKind::Text);
    let symbol = add(name, constants, content, SymbolKind::Data);
    let flags = RelocationFlags::Elf { r_type: elf::R_X86_64_PC32 };
    object.add_relocation(text, Relocation { offset: 3, symbol, addend: -4, flags }).unwrap();
    object.write().unwrap()
}

#[test]
fn data_without_a_name_of_its_own_are_known_by_content() {
    let read = |name, content| {
        let mut code = Code::default();
        code.add_object(&object(name, content)).unwrap();
        (code.functions[0].instructions[0].exact.clone(), code.data)
    };
    let (one, other) = (".Lanon.3bf2cb53262a669d.7", ".Lanon.0da6f48302e42bf1.9");
    assert_eq!(read(one, b"text").0, read(other, b"text").0);
    assert_ne!(read(one, b"text").0, read(other, b"else").0);
    assert!(read(one, b"text").1.is_empty());
    assert_ne!(read("LEFT", b"text").0, read("RIGHT", b"text").0);
    assert_eq!(read("LEFT", b"text").1[0].name, "LEFT");
}

fn decoded(bytes: &[u8]) -> Instruction {
    Decoder::with_ip(64, bytes, 0, DecoderOptions::NONE).decode()
}

#[test]
fn a_moved_field_is_told_from_a_changed_constant() {
    // mov rax, [rdi+0x10] / [rdi+0x18]; add rax, 0x10 / 0x18; lea rax, [rdi+0x10] / [rdi+0x18].
    let unplaced = |bytes: &[u8]| super::unplaced(&decoded(bytes), "", &format!("{bytes:02x?}"));
    assert_eq!(unplaced(&[0x48, 0x8b, 0x47, 0x10]), unplaced(&[0x48, 0x8b, 0x47, 0x18]));
    assert_ne!(unplaced(&[0x48, 0x83, 0xc0, 0x10]), unplaced(&[0x48, 0x83, 0xc0, 0x18]));
    assert_ne!(unplaced(&[0x48, 0x8d, 0x47, 0x10]), unplaced(&[0x48, 0x8d, 0x47, 0x18]));
    // Another width or register is another instruction: mov eax, [rdi+0x10]; mov rcx, [rdi+0x10].
    assert_ne!(unplaced(&[0x48, 0x8b, 0x47, 0x10]), unplaced(&[0x8b, 0x47, 0x10]));
    assert_ne!(unplaced(&[0x48, 0x8b, 0x47, 0x10]), unplaced(&[0x48, 0x8b, 0x4f, 0x10]));
    // mov dword [rdi+0x10], 1 / 2: the immediate counts.
    assert_ne!(
        unplaced(&[0xc7, 0x47, 0x10, 1, 0, 0, 0]),
        unplaced(&[0xc7, 0x47, 0x10, 2, 0, 0, 0])
    );
}
