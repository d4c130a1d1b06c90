//! The call sites of the gates, found by parsing `src/`, and the sources without them.
//!
//! What belongs to gates is what `src/telemetry/` defines; elsewhere, a constant made of
//! `cfg!(feature = "...")` and every function that does nothing while such a constant is false. A site
//! is a call of such a function from elsewhere, for the telemetry's methods on whatever holds a piece
//! of it (a field, a static, a local), or such a constant looked at, from elsewhere or in a method or
//! another constant. Without the site stands what it comes to with every gate off (`answers`).
//! Which gates a site serves follows from what the called function mentions, down to the gates' rows.
//! The readers are left alone: they are in every build, and say "not compiled in".

use super::answers::Answer;
use super::known::{HOME, Known, Node, base, imports, module_of, words};
use anyhow::{Context, Result, ensure};
use quote::ToTokens;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// The folder that only reads.
const READERS: &str = "readers";

/// A place outside the telemetry that serves gates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// `file:line`.
    pub at: String,
    /// What is called, or looked at.
    pub name: String,
    /// The gates that it serves.
    pub gates: BTreeSet<String>,
}

/// A file with its sites replaced.
pub struct Without {
    /// The path below `src/`.
    pub path: PathBuf,
    /// The new text; every line keeps its number.
    pub text: String,
}

/// Everything that was found.
pub struct Found {
    /// The sites that were replaced.
    pub sites: Vec<Site>,
    /// Calls whose answer depends on more than the gates; they stay. `file:line name`.
    pub staying: Vec<String>,
    /// The files that hold sites.
    pub files: Vec<Without>,
}

/// Finds the sites of `features` in the sources below `folder`.
pub fn find(folder: &Path, features: &BTreeSet<String>) -> Result<Found> {
    let mut texts = BTreeMap::new();
    read(folder, Path::new(""), &mut texts)?;
    in_texts(&texts, features)
}

/// As [`find`], on texts by path below `src/`.
fn in_texts(texts: &BTreeMap<PathBuf, String>, features: &BTreeSet<String>) -> Result<Found> {
    let (mut home, mut outside) = (Vec::new(), Vec::new());
    for (path, text) in texts {
        let file = syn::parse_file(text)
            .with_context(|| format!("cannot read src/{} as Rust", path.display()))?;
        if path.starts_with(HOME) {
            home.push((path, file));
        } else if !path.starts_with(READERS) {
            outside.push((path, text, file));
        }
    }
    let mut known = Known::of(&home, features);
    // What one file holds may be made by what another returns.
    for _ in 0..2 {
        outside.iter().for_each(|(_, _, file)| known.add_holders(file));
    }
    outside.iter().for_each(|(path, _, file)| known.add_constants(path, file));
    outside.iter().for_each(|(path, _, file)| known.add_decided(path, file));
    let mut found = Found { sites: Vec::new(), staying: Vec::new(), files: Vec::new() };
    for (path, text, file) in outside {
        let mut finder = Finder {
            known: &known,
            path,
            imported: imports(&file),
            in_own: false,
            found: Vec::new(),
            staying: Vec::new(),
        };
        finder.visit_file(&file);
        found.staying.append(&mut finder.staying);
        if finder.found.is_empty() {
            continue;
        }
        let mut new = text.clone();
        finder.found.sort_by_key(|(range, _, _)| std::cmp::Reverse(range.start));
        for (range, answer, _) in &finder.found {
            new.replace_range(range.clone(), &replaced(&text[range.clone()], &answer.source()));
        }
        found.sites.extend(finder.found.into_iter().rev().map(|(_, _, site)| site));
        found.files.push(Without { path: path.clone(), text: new });
    }
    ensure!(!found.sites.is_empty(), "no call site of the telemetry was found in src/");
    Ok(found)
}

fn read(root: &Path, below: &Path, texts: &mut BTreeMap<PathBuf, String>) -> Result<()> {
    let folder = root.join(below);
    let entries =
        std::fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let path = below.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            read(root, &path, texts)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(root.join(&path))
                .with_context(|| format!("cannot read {}", entry.path().display()))?;
            texts.insert(path, text);
        }
    }
    Ok(())
}

/// The answer in place of a call, with as many lines and, where it fits, as many columns.
fn replaced(call: &str, answer: &str) -> String {
    let blank: String = call.chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
    match blank.strip_prefix(&" ".repeat(answer.len())) {
        Some(rest) => format!("{answer}{rest}"),
        None => format!("{answer}{blank}"),
    }
}

/// Looks for sites in one file outside the telemetry.
struct Finder<'a> {
    known: &'a Known,
    path: &'a Path,
    imported: BTreeMap<String, Vec<String>>,
    /// Inside of an `impl` or a constant.
    in_own: bool,
    found: Vec<(std::ops::Range<usize>, Answer, Site)>,
    staying: Vec<String>,
}

impl Finder<'_> {
    /// The length of an array, in which a constant of the file's own is a site in any place.
    fn visit_length(&mut self, length: &syn::Expr) {
        let outer = std::mem::replace(&mut self.in_own, true);
        self.visit_expr(length);
        self.in_own = outer;
    }

    /// The parts of a path, what it was imported by resolved.
    fn parts(&self, path: &syn::Path) -> Vec<String> {
        let mut parts: Vec<String> =
            path.segments.iter().map(|part| part.ident.to_string()).collect();
        if let Some(from) = parts.first().and_then(|first| self.imported.get(first)) {
            // `use a::b::{self}` has `b` as its path's end already.
            let from = from.iter().filter(|part| Some(*part) != parts.first()).cloned();
            parts = from.chain(parts.clone()).collect();
        }
        parts
    }

    /// What of the telemetry an expression calls or looks at.
    fn target(&self, expression: &syn::Expr) -> Option<Node> {
        match expression {
            syn::Expr::MethodCall(call) => {
                let node = Node::Method(call.method.to_string());
                let held =
                    base(&call.receiver).is_some_and(|name| self.known.holders.contains(&name));
                (held && self.known.answers.contains_key(&node)).then_some(node)
            }
            syn::Expr::Call(call) => {
                let syn::Expr::Path(path) = &*call.func else { return None };
                let node = match self.parts(&path.path).as_slice() {
                    [.., of, name] if self.known.types.contains(of) => Node::Method(name.clone()),
                    [.., module, name] => Node::Free(module.clone(), name.clone()),
                    _ => return None,
                };
                self.known.answers.contains_key(&node).then_some(node)
            }
            syn::Expr::Path(path) => {
                let mut parts = self.parts(&path.path);
                if self.in_own && parts.len() == 1 {
                    // In the constant's own file, where nothing else decides.
                    let own = (module_of(self.path), parts.remove(0));
                    let known = self.known.switches.contains_key(&own);
                    return known.then_some(Node::Free(own.0, own.1));
                }
                let [.., module, name] = parts.as_slice() else { return None };
                let switch = self.known.switches.contains_key(&(module.clone(), name.clone()));
                let constant = parts.iter().any(|part| part == HOME)
                    && self.known.constants.contains_key(name);
                if switch && *module != module_of(self.path) {
                    return Some(Node::Free(module.clone(), name.clone()));
                }
                constant.then(|| Node::Name(name.clone()))
            }
            _ => None,
        }
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_expr(&mut self, expression: &'ast syn::Expr) {
        let Some(node) = self.target(expression) else {
            return visit::visit_expr(self, expression);
        };
        let (Node::Free(_, name) | Node::Method(name) | Node::Name(name)) = &node;
        let at = format!("src/{}:{}", self.path.display(), expression.span().start().line);
        let answer = match &node {
            Node::Name(name) => self.known.constants.get(name).cloned(),
            Node::Free(module, name)
                if self.known.switches.contains_key(&(module.clone(), name.clone())) =>
            {
                Some(Answer::Bool(false))
            }
            _ => self.known.answers.get(&node).cloned().flatten(),
        };
        let Some(answer) = answer else {
            self.staying.push(format!("{at} {name}"));
            return visit::visit_expr(self, expression);
        };
        let mut gates = self.known.gates(&node);
        if let Node::Free(module, name) = &node {
            gates.extend(self.known.switches.get(&(module.clone(), name.clone())).cloned());
        }
        let site = Site { at, name: name.clone(), gates };
        self.found.push((expression.span().byte_range(), answer, site));
    }

    // A type's length and that of its value must agree, wherever either stands.
    fn visit_type_array(&mut self, array: &'ast syn::TypeArray) {
        self.visit_type(&array.elem);
        self.visit_length(&array.len);
    }

    fn visit_expr_repeat(&mut self, array: &'ast syn::ExprRepeat) {
        self.visit_expr(&array.expr);
        self.visit_length(&array.len);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        let outer = std::mem::replace(&mut self.in_own, true);
        visit::visit_item_impl(self, item);
        self.in_own = outer;
    }

    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        let outer = std::mem::replace(&mut self.in_own, true);
        visit::visit_item_const(self, item);
        self.in_own = outer;
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        // Tests are not in the library.
        let test = |attribute: &syn::Attribute| {
            attribute.path().is_ident("cfg")
                && words(attribute.to_token_stream()).iter().any(|word| word == "test")
        };
        if !module.attrs.iter().any(test) {
            visit::visit_item_mod(self, module);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A telemetry of two counters, a trace and a check.
    fn texts(outside: &str) -> BTreeMap<PathBuf, String> {
        let gates = "gates! {\n /// Doc, \"calls\".\n Calls, \"calls\"; Misses, \"misses\"; Trace, \"trace\"; Bad, \"bad\"; }\n\
                     counters! { Hits[COUNT] for Calls | Misses; Lost[1] for Misses; }";
        let cache = "impl Handle {\n pub(crate) fn hit(self, class: usize) { self.count::<Hits>(class); trace::record(class); }\n\
                     pub fn lost(self) { self.count::<Lost>(0); }\n pub fn start(self) -> u64 { if Misses::ON { clock() } else { 0 } }\n\
                     pub fn slot(self) -> Option<u8> { None } pub(super) fn add(self) {} }";
        let trace = "pub fn record(class: usize) { if Trace::ON { put(class) } }";
        let classes = "pub const CHECKED: bool = Bad::ON;\n\
                       pub fn in_range(class: usize) -> bool { !CHECKED || class < COUNT }";
        let tally = "pub struct Handle; pub static COMMON: Handle = Handle;";
        [
            ("telemetry/gates.rs", gates),
            ("telemetry/cache.rs", cache),
            ("telemetry/trace.rs", trace),
            ("telemetry/classes.rs", classes),
            ("telemetry/tally.rs", tally),
            ("readers/stats.rs", "fn f() { COMMON.lost(); }"),
            ("hot.rs", outside),
        ]
        .map(|(path, text)| (PathBuf::from(path), text.to_owned()))
        .into()
    }

    fn found(outside: &str) -> Found {
        let features = ["calls", "misses", "trace", "bad"].map(str::to_owned).into();
        in_texts(&texts(outside), &features).unwrap()
    }

    const OUTSIDE: &str = "use crate::telemetry::classes::{self, CHECKED};\nuse crate::telemetry::tally::{COMMON, Handle};\n\
        struct Heap { tally: Handle, other: Other }\nimpl Heap { fn tally(&self) -> Handle { self.tally } }\n\
        fn f(heap: &Heap, class: usize) {\n    if !classes::in_range(class) { return; }\n    heap.tally.hit(\n        class,\n    );\n\
        \x20   heap.other.hit(class);\n    let tally = unsafe { heap.tally() };\n    tally.hit(class);\n    let started = heap.tally().start();\n\
        \x20   match class { 0 => COMMON.lost(), _ => drop(started) }\n    let slot = COMMON.slot();\n    if CHECKED { g(); }\n}\n\
        #[cfg(test)]\nmod tests { use super::*; fn f() { COMMON.lost(); } }\n";

    #[test]
    fn sites_are_replaced_by_what_they_come_to_and_lines_stay() {
        let found = found(OUTSIDE);
        let text = &found.files[0].text;
        assert_eq!(text.lines().count(), OUTSIDE.lines().count());
        syn::parse_file(text).unwrap();
        let squeezed: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for part in [
            "if !true { return; }",
            "heap.other.hit(class);",
            "let started = 0 ;",
            "0 => () ,",
            "let slot = COMMON.slot();",
            "if false { g(); }",
            "mod tests { use super::*; fn f() { COMMON.lost(); } }",
        ] {
            assert!(squeezed.contains(part), "{part} in {squeezed}");
        }
        assert!(!text.contains("tally.hit"));
        assert_eq!(found.files.len(), 1, "readers and tests are left alone");
        let staying: Vec<&str> =
            found.staying.iter().map(|at| at.rsplit(' ').next().unwrap()).collect();
        assert_eq!(staying, ["slot"]);
    }

    #[test]
    fn sites_are_told_with_their_line_and_their_gates() {
        let found = found(OUTSIDE);
        let told: Vec<(String, &str, String)> = found
            .sites
            .iter()
            .map(|site| {
                let gates: Vec<&str> = site.gates.iter().map(String::as_str).collect();
                (site.at.clone(), site.name.as_str(), gates.join(" "))
            })
            .collect();
        let told: Vec<(&str, &str, &str)> =
            told.iter().map(|(at, name, gates)| (at.as_str(), *name, gates.as_str())).collect();
        assert_eq!(
            told,
            [
                ("src/hot.rs:6", "in_range", "bad"),
                ("src/hot.rs:7", "hit", "calls misses trace"),
                ("src/hot.rs:12", "hit", "calls misses trace"),
                ("src/hot.rs:13", "start", "misses"),
                ("src/hot.rs:14", "lost", "misses"),
                ("src/hot.rs:16", "CHECKED", "bad"),
            ]
        );
    }

    #[test]
    fn gates_outside_the_telemetry_are_told_by_their_constant() {
        let mut texts = texts(
            "use crate::background;\nfn f() {\n    background::consider(3);\n    background::works();\n}\n",
        );
        for (path, text) in [
            (
                "thread/turn.rs",
                "pub(crate) const ON: bool = cfg!(feature = \"worker\");\nfn own() -> bool { ON }\n",
            ),
            (
                "background/mod.rs",
                "use crate::thread::turn::ON;\npub(crate) fn consider(x: u8) { if ON && due() { start(x); } }\n\
                 pub(crate) fn works() { if ON { g(); } h(); }\n",
            ),
            ("policy/settings.rs", "use crate::thread::turn;\nfn g() -> bool { turn::ON }\n"),
        ] {
            texts.insert(PathBuf::from(path), text.to_owned());
        }
        let features = ["worker".to_owned()].into();
        let found = in_texts(&texts, &features).unwrap();
        let told: Vec<String> =
            found.sites.iter().map(|site| format!("{} {}", site.at, site.name)).collect();
        assert_eq!(
            told,
            [
                "src/background/mod.rs:2 ON",
                "src/background/mod.rs:3 ON",
                "src/hot.rs:3 consider",
                "src/policy/settings.rs:2 ON"
            ]
        );
        assert!(found.sites.iter().all(|site| site.gates == features));
    }

    #[test]
    fn the_lengths_of_a_type_and_its_value_agree() {
        let text = "pub(crate) const ON: bool = cfg!(feature = \"worker\");\nconst MORE: usize = if ON { 8 } else { 0 };\nstruct Door([u8; ON as usize]);\n\
                    impl Door {\n fn new() -> Self { Door([0; ON as usize]) }\n fn on(self) -> bool { ON }\n}\n";
        let mut texts = texts("fn f() { COMMON.lost(); }\nuse crate::telemetry::tally::COMMON;\n");
        texts.insert(PathBuf::from("thread/turn.rs"), text.to_owned());
        let found = in_texts(&texts, &["worker".to_owned()].into()).unwrap();
        let file = found.files.iter().find(|file| file.path.ends_with("turn.rs")).unwrap();
        let squeezed: String = file.text.split_whitespace().collect::<Vec<_>>().join(" ");
        for part in [
            "const MORE: usize = if false { 8 } else { 0 };",
            "Door([u8; false as usize])",
            "Door([0; false as usize])",
            "bool { false }",
        ] {
            assert!(squeezed.contains(part), "{part} in {squeezed}");
        }
    }

    #[test]
    fn a_source_without_sites_is_an_error() {
        let features = ["calls".to_owned()].into();
        assert!(in_texts(&texts("fn f() {}"), &features).is_err());
        assert!(in_texts(&texts("fn f( {}"), &features).is_err());
    }

    #[test]
    fn every_gate_of_the_checkout_has_a_site() {
        use crate::shared::{paths, registry::Registry};
        let registry = Registry::read().unwrap();
        let features = registry.gates.keys().cloned().collect();
        let found = find(&paths::root().join("src"), &features).unwrap();
        let without: Vec<&String> = registry
            .gates
            .keys()
            .filter(|gate| !found.sites.iter().any(|site| site.gates.contains(*gate)))
            .collect();
        assert!(without.is_empty(), "no site in src/: {without:?}");
    }
}
