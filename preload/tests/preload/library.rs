//! The library as a file: what it exports and imports, how it wants to be loaded, its
//! thread-local storage, and that a failed `new` leaves no Rust frame behind.

use std::collections::{BTreeMap, BTreeSet};

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, OpKind};
use object::elf::DynamicTag;
use object::read::elf::{Dyn as _, ElfFile64, ProgramHeader as _};
use object::{
    Endianness, Object as _, ObjectSection as _, ObjectSymbol as _, ObjectSymbolTable as _,
    SymbolKind, elf,
};

use crate::common::library;

/// All that the library may export, by the file that does it.
const EXPORTS: &[&str] = &[
    // family
    "aligned_alloc",
    "calloc",
    "free",
    "free_aligned_sized",
    "free_sized",
    "malloc",
    "posix_memalign",
    "realloc",
    "reallocarray",
    // extras
    "__libc_calloc",
    "__libc_cfree",
    "__libc_free",
    "__libc_malloc",
    "__libc_memalign",
    "__libc_pvalloc",
    "__libc_realloc",
    "__libc_reallocarray",
    "__libc_valloc",
    "__posix_memalign",
    "cfree",
    "malloc_trim",
    "malloc_usable_size",
    "memalign",
    "pvalloc",
    "valloc",
    // reports
    "mallinfo",
    "mallinfo2",
    "malloc_info",
    "malloc_stats",
    "mallopt",
    // operators
    "_ZdaPv",
    "_ZdaPvRKSt9nothrow_t",
    "_ZdaPvSt11align_val_t",
    "_ZdaPvSt11align_val_tRKSt9nothrow_t",
    "_ZdaPvm",
    "_ZdaPvmSt11align_val_t",
    "_ZdlPv",
    "_ZdlPvRKSt9nothrow_t",
    "_ZdlPvSt11align_val_t",
    "_ZdlPvSt11align_val_tRKSt9nothrow_t",
    "_ZdlPvm",
    "_ZdlPvmSt11align_val_t",
    "_Znam",
    "_ZnamRKSt9nothrow_t",
    "_ZnamSt11align_val_t",
    "_ZnamSt11align_val_tRKSt9nothrow_t",
    "_Znwm",
    "_ZnwmRKSt9nothrow_t",
    "_ZnwmSt11align_val_t",
    "_ZnwmSt11align_val_tRKSt9nothrow_t",
    // hak
    "hak_collect",
    "hak_config_set",
    "hak_events_json",
    "hak_events_print",
    "hak_owns",
    "hak_print_config",
    "hak_stats",
    "hak_stats_get",
    "hak_stats_json",
    "hak_stats_print",
    "hak_trim",
    "hak_usable_size",
    "hak_version",
];

struct Library {
    bytes: Vec<u8>,
}

type File<'a> = ElfFile64<'a, Endianness>;

impl Library {
    fn load() -> Self {
        Self { bytes: std::fs::read(library()).expect("the library can be read") }
    }

    fn file(&self) -> File<'_> {
        File::parse(self.bytes.as_slice()).expect("the library is an ELF file")
    }
}

/// The entries of the dynamic section: tag and value.
fn dynamic(file: &File<'_>) -> Vec<(DynamicTag, u64)> {
    let endian = file.endian();
    file.elf_program_headers()
        .iter()
        .find_map(|segment| segment.dynamic(endian, file.data()).expect("a readable segment"))
        .expect("a shared library has a dynamic section")
        .iter()
        .map(|entry| (entry.d_tag(endian), entry.d_val(endian)))
        .collect()
}

fn value(file: &File<'_>, tag: DynamicTag) -> u64 {
    dynamic(file).iter().find(|entry| entry.0 == tag).map_or(0, |entry| entry.1)
}

#[test]
fn exactly_the_public_names_are_exported() {
    let library = Library::load();
    let file = library.file();
    let exported: BTreeSet<&str> = file
        .dynamic_symbols()
        .filter(|symbol| symbol.is_definition() && !symbol.is_local())
        .map(|symbol| symbol.name().expect("a readable name"))
        .collect();
    let expected: BTreeSet<&str> = EXPORTS.iter().copied().collect();
    let missing: Vec<_> = expected.difference(&exported).collect();
    let surprising: Vec<_> = exported.difference(&expected).collect();
    assert!(
        missing.is_empty() && surprising.is_empty(),
        "missing {missing:?}, more {surprising:?}"
    );
}

#[test]
fn only_the_c_library_is_needed() {
    let library = Library::load();
    let file = library.file();
    let strings = value(&file, elf::DT_STRTAB);
    let needed: Vec<String> = dynamic(&file)
        .iter()
        .filter(|entry| entry.0 == elf::DT_NEEDED)
        .map(|entry| {
            // The first segment is mapped at 0 from the file's start: addresses are offsets.
            let start = usize::try_from(strings + entry.1).expect("an offset in the file");
            let end = start + library.bytes[start..].iter().position(|&byte| byte == 0).unwrap();
            String::from_utf8_lossy(&library.bytes[start..end]).into_owned()
        })
        .collect();
    for name in &needed {
        assert!(
            name.starts_with("libc.") || name.starts_with("ld-linux"),
            "the library must need the C library only, but needs {name}"
        );
    }
    for import in file.dynamic_symbols().filter(|symbol| symbol.is_undefined()) {
        let name = import.name().expect("a readable name");
        assert!(!EXPORTS.contains(&name), "{name} is imported: a call to ourselves");
        // Thread-local storage through a call, stack unwinding, or std's panics.
        for unwanted in ["__tls_get_addr", "_Unwind", "rust_", "__gxx", "__cxa_thread_atexit"] {
            assert!(!name.starts_with(unwanted), "{name} must not be imported");
        }
    }
}

/// An exported name can be taken over by the program or by another library: a call of our own
/// that went through it would end up on another heap.
#[test]
fn the_library_does_not_call_itself_through_the_loader() {
    let library = Library::load();
    let file = library.file();
    let symbols = file.dynamic_symbol_table().expect("a dynamic symbol table");
    for (place, relocation) in file.dynamic_relocations().into_iter().flatten() {
        let object::RelocationTarget::Symbol(index) = relocation.target() else { continue };
        let symbol = symbols.symbol_by_index(index).expect("a symbol");
        let name = symbol.name().expect("a readable name");
        assert!(symbol.is_undefined(), "the slot at {place:#x} is filled with any {name}");
    }
}

#[test]
fn the_c_library_need_not_be_newer_than_2_34() {
    let library = Library::load();
    let file = library.file();
    let strings = file.section_by_name(".dynstr").expect("a string table");
    let names = String::from_utf8_lossy(strings.data().expect("readable")).into_owned();
    let newest = names
        .split('\0')
        .filter_map(|name| name.strip_prefix("GLIBC_2."))
        .filter_map(|version| version.split('.').next()?.parse::<u32>().ok())
        .max();
    assert!(newest.is_some_and(|minor| minor <= 34), "needs glibc 2.{newest:?}");
}

#[test]
fn it_is_loaded_for_good_and_at_once() {
    let library = Library::load();
    let file = library.file();
    let flags = value(&file, elf::DT_FLAGS_1);
    for (flag, name) in [(elf::DF_1_NODELETE, "NODELETE"), (elf::DF_1_NOW, "NOW")] {
        assert_ne!(flags & flag.0, 0, "{name} is missing");
    }
    let has_tag = |tag| dynamic(&file).iter().any(|entry| entry.0 == tag);
    assert!(!has_tag(elf::DT_TEXTREL), "relocations in the code");
    assert_eq!(value(&file, elf::DT_FLAGS) & elf::DF_TEXTREL.0, 0);
}

#[test]
fn thread_local_storage_is_small_and_initial_exec() {
    let library = Library::load();
    let file = library.file();
    let endian = file.endian();
    let size: u64 = file
        .elf_program_headers()
        .iter()
        .filter(|segment| segment.p_type(endian) == elf::PT_TLS)
        .map(|segment| segment.p_memsz(endian))
        .sum();
    // `dlopen` has to find room for it in what the C library keeps spare, copies included.
    assert!(size <= 64, "{size} bytes of thread-local storage");
    if size > 0 {
        assert_ne!(
            value(&file, elf::DT_FLAGS) & elf::DF_STATIC_TLS.0,
            0,
            "thread-local storage that is not initial-exec"
        );
    }
    for (_, relocation) in file.dynamic_relocations().into_iter().flatten() {
        let object::RelocationFlags::Elf { r_type } = relocation.flags() else { continue };
        assert!(
            ![elf::R_X86_64_DTPMOD64, elf::R_X86_64_DTPOFF64, elf::R_X86_64_TLSDESC]
                .contains(&r_type),
            "a dynamic thread-local relocation, type {r_type}"
        );
    }
}

/// Where a call or jump leads, if that can be told: directly, or through a GOT slot that the
/// loader fills with an address in this library.
fn destination(instruction: &Instruction, slots: &BTreeMap<u64, u64>) -> Option<u64> {
    match instruction.op0_kind() {
        OpKind::NearBranch64 => Some(instruction.near_branch_target()),
        OpKind::Memory if instruction.is_ip_rel_memory_operand() => {
            slots.get(&instruction.ip_rel_memory_address()).copied()
        }
        _ => None,
    }
}

/// The functions of the library by address, with their size, and the slots of its GOT.
struct Code {
    functions: BTreeMap<u64, u64>,
    slots: BTreeMap<u64, u64>,
    text: Vec<u8>,
    text_at: u64,
}

impl Code {
    fn of(file: &File<'_>) -> Self {
        let text = file.section_by_name(".text").expect("code");
        Self {
            functions: file.symbols().map(|symbol| (symbol.address(), symbol.size())).collect(),
            slots: file
                .dynamic_relocations()
                .into_iter()
                .flatten()
                .map(|(place, relocation)| (place, relocation.addend().cast_unsigned()))
                .collect(),
            text: text.data().expect("readable").to_vec(),
            text_at: text.address(),
        }
    }

    /// Where the function at `address` jumps to, and what it calls; only what lies outside it.
    fn exits(&self, address: u64) -> (Vec<u64>, Vec<u64>) {
        let (mut jumps, mut calls) = (Vec::new(), Vec::new());
        let size = self.functions.get(&address).copied().unwrap_or(0);
        let start = usize::try_from(address.wrapping_sub(self.text_at)).expect("64 bits");
        let length = usize::try_from(size).expect("64 bits");
        // Undefined symbols and other sections have no code here.
        let code = self.text.get(start..start.saturating_add(length)).unwrap_or_default();
        let decoder = Decoder::with_ip(64, code, address, DecoderOptions::NONE);
        for instruction in decoder {
            let Some(to) = destination(&instruction, &self.slots) else { continue };
            match instruction.flow_control() {
                FlowControl::Call | FlowControl::IndirectCall => calls.push(to),
                FlowControl::Next => {}
                _ if (address..address + size).contains(&to) => {}
                _ => jumps.push(to),
            }
        }
        (jumps, calls)
    }
}

/// Formatting, configuration and reports may fail loudly; allocating and freeing may not: what they
/// are made of contains no call that panics.
#[test]
fn no_allocation_path_can_panic() {
    let library = Library::load();
    let file = library.file();
    let code = Code::of(&file);
    let named = |part: &str| -> BTreeSet<u64> {
        file.symbols()
            .filter(|symbol| symbol.name().is_ok_and(|name| name.contains(part)))
            .map(|symbol| symbol.address())
            .collect()
    };
    let mut panics = named("core9panicking");
    panics.extend(named("slice_index_fail"));
    let mut culprits = BTreeSet::new();
    for symbol in file.symbols() {
        let name = symbol.name().unwrap_or_default();
        let harmless = ["4core", "6config", "5stats", "hak_", "5check"];
        if symbol.kind() != SymbolKind::Text || harmless.iter().any(|part| name.contains(part)) {
            continue;
        }
        let (jumps, calls) = code.exits(symbol.address());
        if jumps.iter().chain(&calls).any(|to| panics.contains(to)) {
            culprits.insert(name.to_owned());
        }
    }
    assert!(culprits.is_empty(), "these can panic: {culprits:#?}");
}

#[test]
fn a_failed_new_is_reached_by_jumps_only() {
    let library = Library::load();
    let file = library.file();
    let code = Code::of(&file);
    let address = |name: &str| {
        let found = file.symbols().find(|symbol| symbol.name() == Ok(name));
        found.unwrap_or_else(|| panic!("{name} is missing")).address()
    };
    for name in EXPORTS.iter().filter(|name| name.starts_with("_Zn")) {
        let failed = if name.ends_with("nothrow_t") {
            address("hakmem_failed_new_nothrow")
        } else {
            address("hakmem_failed_new")
        };
        // What the operator becomes by jumps, all the way: those frames are gone when it throws.
        let (mut reached, mut open) = (BTreeSet::new(), vec![address(name)]);
        while let Some(function) = open.pop() {
            if function == failed || !reached.insert(function) {
                continue;
            }
            let (jumps, calls) = code.exits(function);
            for may_throw in [failed, address("hakmem_caught_new")] {
                assert!(!calls.contains(&may_throw), "{name} is on the stack when that throws");
            }
            open.extend(jumps);
        }
        let arrives = reached.iter().any(|&function| code.exits(function).0.contains(&failed));
        assert!(arrives, "{name} does not lead to the failure path");
    }
}
