//! Everything the source declares: atomics, statics, fields, functions, in every file.
//!
//! A declaration of an atomic is a static, a field, a parameter, or a function that returns a
//! reference to one. Test items are left out.

use super::declare::{NameReader, Reader};
use super::gates;
use super::infer::Scope;
use super::macros;
use super::tree::{self, File};
use super::types::{Names, Ty};
use std::collections::{HashMap, HashSet};
use syn::visit::Visit;

/// An atomic, as it is declared.
#[derive(Clone, Debug)]
pub struct Atomic {
    /// How reports name it: `HELD`, `Lock.state`, `bin()`.
    pub name: String,
    /// The file.
    pub file: usize,
    /// The line.
    pub line: usize,
    /// Whether it lies in the telemetry module.
    pub telemetry: bool,
    /// Whether a gate decides if there is storage for it.
    pub behind_a_gate: bool,
}

/// A static or constant.
pub struct Static {
    pub file: usize,
    pub written: syn::Type,
    pub ty: Ty,
    pub atomic: Option<usize>,
    /// The body that its initialiser is walked as.
    pub body: usize,
}

/// A field of a structure.
pub struct Field {
    pub file: usize,
    pub written: syn::Type,
    pub ty: Ty,
    pub atomic: Option<usize>,
}

/// A parameter.
#[derive(Clone)]
pub struct Parameter {
    pub pattern: Option<syn::Pat>,
    pub ty: Ty,
    pub atomic: Option<usize>,
    /// For a closure: what it is called with.
    pub takes: Option<Vec<Ty>>,
}

/// A function, or the initialiser of a static: something that is run.
pub struct Body {
    pub name: String,
    pub file: usize,
    pub line: usize,
    pub module: Vec<String>,
    /// The type whose method it is.
    pub me: Option<Ty>,
    /// Names of the type parameters of that type, in order.
    pub parameters_of_me: Vec<String>,
    pub method: bool,
    pub parameters: Vec<Parameter>,
    pub result: Ty,
    /// The atomic that the function returns.
    pub returns: Option<usize>,
    /// Whether it returns something at all.
    pub speaks: bool,
    pub cold: bool,
    pub behind_a_feature: bool,
    pub block: Option<syn::Block>,
    pub value: Option<syn::Expr>,
    /// A static's initialiser, which runs when it is compiled, or later if it holds closures.
    pub initialiser: bool,
}

/// The index.
#[derive(Default)]
pub struct Index {
    pub names: Names,
    pub atomics: Vec<Atomic>,
    pub statics: HashMap<String, Vec<Static>>,
    pub fields: HashMap<(String, String), Vec<Field>>,
    pub bodies: Vec<Body>,
    pub by_name: HashMap<String, Vec<usize>>,
    pub derefs: HashMap<String, Ty>,
    /// Per file: what `use` makes of a name.
    pub uses: Vec<HashMap<String, Vec<String>>>,
    /// `macro_rules!` definitions and item macros: file, tokens, whether a definition.
    pub macros: Vec<(usize, proc_macro2::TokenStream, bool)>,
    /// Uses of types that hide atomics: file, line, name.
    pub hidden: Vec<(usize, usize, String)>,
    /// Orderings that are imported by name, and macros that could not be read: file, line, what.
    pub loose: Vec<(usize, usize, String)>,
    /// Files that only a test build has.
    pub test_files: HashSet<usize>,
}

impl Index {
    /// Reads every file.
    pub fn build(files: &[File]) -> Index {
        let mut index = Index { test_files: tree::test_files(files), ..Index::default() };
        // Names first: what is an atomic depends on aliases anywhere.
        for (at, file) in files.iter().enumerate() {
            let mut uses = HashMap::new();
            if !index.test_files.contains(&at) {
                NameReader { names: &mut index.names, uses: &mut uses }.visit_file(&file.ast);
            }
            index.uses.push(uses);
        }
        for (at, file) in files.iter().enumerate() {
            if index.test_files.contains(&at) {
                continue;
            }
            let mut reader = Reader {
                index: &mut index,
                file: at,
                module: file.module.clone(),
                me: None,
                parameters_of_me: Vec::new(),
                feature: false,
            };
            reader.visit_file(&file.ast);
        }
        for (file, tokens, definition) in std::mem::take(&mut index.macros) {
            let sides = if definition { macros::right_hand_sides(&tokens) } else { vec![tokens] };
            let module = files[file].module.clone();
            for side in sides {
                let mut reader = Reader {
                    index: &mut index,
                    file,
                    module: module.clone(),
                    me: None,
                    parameters_of_me: Vec::new(),
                    feature: false,
                };
                reader.part_of_a_macro(side);
            }
        }
        // A function that returns a reference to a declared atomic stands for that one. Twice: for one
        // that calls another.
        for _ in 0..2 {
            index.see_through();
        }
        gates::mark_storage(&mut index);
        index
    }

    fn see_through(&mut self) {
        for at in 0..self.bodies.len() {
            let body = &self.bodies[at];
            let (Some(own), Some(block)) = (body.returns, &body.block) else { continue };
            let leads_to = Scope::of(self, body).infer_block(block).atomic;
            self.bodies[at].returns = leads_to.or(Some(own));
        }
    }

    /// Adds an atomic's declaration.
    pub fn declare(&mut self, name: String, file: usize, line: usize, module: &[String]) -> usize {
        let telemetry = module.iter().any(|part| part == "telemetry");
        self.atomics.push(Atomic { name, file, line, telemetry, behind_a_gate: false });
        self.atomics.len() - 1
    }

    /// Adds a body and returns its number.
    pub fn add(&mut self, body: Body) -> usize {
        self.by_name.entry(body.name.clone()).or_default().push(self.bodies.len());
        self.bodies.push(body);
        self.bodies.len() - 1
    }

    /// A path's segments with what `use` says of the first.
    pub fn expand(&self, file: usize, path: &syn::Path) -> Vec<String> {
        let mut parts: Vec<String> =
            path.segments.iter().map(|part| part.ident.to_string()).collect();
        if let Some(first) = parts.first()
            && let Some(known) = self.uses.get(file).and_then(|uses| uses.get(first))
            && known != &parts[..1]
        {
            parts.splice(..1, known.iter().cloned());
        }
        parts.retain(|part| !matches!(part.as_str(), "crate" | "self" | "super" | "hakmem"));
        parts
    }

    /// The static that a path names.
    pub fn find_static(&self, file: usize, path: &syn::Path) -> Option<&Static> {
        let parts = self.expand(file, path);
        let (last, before) = parts.split_last()?;
        let found = self.statics.get(last)?;
        if before.is_empty() {
            return found
                .iter()
                .find(|it| it.file == file)
                .or_else(|| found.first().filter(|_| found.len() == 1));
        }
        let mut fit = found.iter().filter(|it| self.bodies[it.body].module.ends_with(before));
        let first = fit.next();
        first.or_else(|| found.first().filter(|_| found.len() == 1))
    }

    /// A field's type and declaration.
    pub fn find_field(&self, file: usize, owner: &str, field: &str) -> Option<&Field> {
        let found = self.fields.get(&(owner.to_owned(), field.to_owned()))?;
        found
            .iter()
            .find(|it| it.file == file)
            .or_else(|| found.first().filter(|_| found.len() == 1))
    }

    /// The functions that a path may name.
    pub fn find_functions(&self, file: usize, path: &syn::Path, me: Option<&Ty>) -> Vec<usize> {
        let mut parts = self.expand(file, path);
        let Some(last) = parts.pop() else { return Vec::new() };
        let all = self.by_name.get(&last).map_or(&[][..], Vec::as_slice);
        let named = || all.iter().copied().filter(|at| !self.bodies[*at].initialiser);
        let Some(before) = parts.last() else {
            let free = |at: &usize| self.bodies[*at].me.is_none();
            let here: Vec<usize> =
                named().filter(free).filter(|at| self.bodies[*at].file == file).collect();
            // A glob import may bring it from anywhere.
            return if here.is_empty() { named().filter(free).collect() } else { here };
        };
        let owner = if before == "Self" { me.and_then(Ty::name).unwrap_or("Self") } else { before };
        let of_type: Vec<usize> = named()
            .filter(|at| self.bodies[*at].me.as_ref().and_then(Ty::name) == Some(owner))
            .collect();
        if !of_type.is_empty() {
            return of_type;
        }
        let exact: Vec<usize> = named()
            .filter(|at| self.bodies[*at].me.is_none() && self.bodies[*at].module.ends_with(&parts))
            .collect();
        if !exact.is_empty() {
            return exact;
        }
        // Re-exported from a module below: the folder's name is enough.
        named()
            .filter(|at| self.bodies[*at].me.is_none() && self.bodies[*at].module.contains(before))
            .collect()
    }

    /// The methods of that name of a type of this source.
    pub fn methods_of(&self, owner: &str, name: &str) -> Vec<usize> {
        let all = self.by_name.get(name).map_or(&[][..], Vec::as_slice);
        all.iter()
            .copied()
            .filter(|at| {
                let body = &self.bodies[*at];
                body.method && body.me.as_ref().and_then(Ty::name) == Some(owner)
            })
            .collect()
    }

    /// All methods of that name that take so many arguments.
    pub fn methods_like(&self, name: &str, arguments: usize) -> Vec<usize> {
        let all = self.by_name.get(name).map_or(&[][..], Vec::as_slice);
        all.iter()
            .copied()
            .filter(|at| {
                let body = &self.bodies[*at];
                body.method && body.parameters.len() == arguments
            })
            .collect()
    }
}
