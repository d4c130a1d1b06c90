//! Types, as far as the audit must know them: which expression is an atomic, and which one.
//!
//! References, pointers and parentheses do not count here: a `*mut AtomicU64` is the atomic it
//! points to. What is not known is [`Ty::Unknown`], which never passes for something harmless.

use std::collections::{HashMap, HashSet};

/// A type.
#[derive(Clone, Debug, PartialEq)]
pub enum Ty {
    /// One of the `Atomic*` types.
    Atomic,
    /// An `AtomicPtr`, with what it points to.
    AtomicPtr(Box<Ty>),
    /// A named type with its arguments.
    Named(String, Vec<Ty>),
    /// An array, a slice or a vector.
    List(Box<Ty>),
    /// A tuple.
    Tuple(Vec<Ty>),
    /// Not known.
    Unknown,
}

impl Ty {
    /// A named type without arguments.
    pub fn named(name: &str) -> Ty {
        Ty::Named(name.to_owned(), Vec::new())
    }

    /// `name<inner>`.
    pub fn of(name: &str, inner: Ty) -> Ty {
        Ty::Named(name.to_owned(), vec![inner])
    }

    /// The name, for a named type.
    pub fn name(&self) -> Option<&str> {
        match self {
            Ty::Named(name, _) => Some(name),
            _ => None,
        }
    }

    /// Whether it is an atomic.
    pub fn is_atomic(&self) -> bool {
        matches!(self, Ty::Atomic | Ty::AtomicPtr(_))
    }

    /// Whether an atomic is in it, in plain sight.
    pub fn holds_atomic(&self) -> bool {
        match self {
            Ty::Atomic | Ty::AtomicPtr(_) => true,
            Ty::Named(_, inner) | Ty::Tuple(inner) => inner.iter().any(Ty::holds_atomic),
            Ty::List(inner) => inner.holds_atomic(),
            Ty::Unknown => false,
        }
    }

    /// The same with type parameters replaced.
    pub fn substitute(&self, known: &HashMap<String, Ty>) -> Ty {
        let all = |inner: &[Ty]| inner.iter().map(|ty| ty.substitute(known)).collect();
        match self {
            Ty::Named(name, inner) if inner.is_empty() => known.get(name).unwrap_or(self).clone(),
            Ty::Named(name, inner) => Ty::Named(name.clone(), all(inner)),
            Ty::Tuple(inner) => Ty::Tuple(all(inner)),
            Ty::List(inner) => Ty::List(Box::new(inner.substitute(known))),
            Ty::AtomicPtr(inner) => Ty::AtomicPtr(Box::new(inner.substitute(known))),
            Ty::Atomic | Ty::Unknown => self.clone(),
        }
    }

    /// What an `Option`, a `Result`, an iterator or a smart pointer holds.
    pub fn inner(&self) -> Ty {
        match self {
            Ty::Named(_, inner) => inner.first().cloned().unwrap_or(Ty::Unknown),
            Ty::List(inner) => (**inner).clone(),
            _ => Ty::Unknown,
        }
    }
}

/// Names that mean an atomic type.
const ATOMICS: &[&str] = &[
    "Atomic",
    "AtomicBool",
    "AtomicI8",
    "AtomicI16",
    "AtomicI32",
    "AtomicI64",
    "AtomicI128",
    "AtomicIsize",
    "AtomicU8",
    "AtomicU16",
    "AtomicU32",
    "AtomicU64",
    "AtomicU128",
    "AtomicUsize",
];

/// Names of types: which are atomics under another name, which this source defines.
#[derive(Default)]
pub struct Names {
    /// `type A = B;` and `use B as A;`.
    pub aliases: HashMap<String, syn::Type>,
    /// Structures, enumerations and unions of this source.
    pub own: HashSet<String>,
}

impl Names {
    /// Whether this path names an atomic type.
    pub fn is_atomic(&self, path: &syn::Path) -> bool {
        let Some(last) = path.segments.last() else { return false };
        self.convert_path(path, None).is_atomic() && last.ident != "Ordering"
    }

    /// What a written type is. `me` is what `Self` means; `parameters` are type parameters.
    pub fn convert(&self, ty: &syn::Type, me: Option<&Ty>) -> Ty {
        match ty {
            syn::Type::Reference(it) => self.convert(&it.elem, me),
            syn::Type::Ptr(it) => self.convert(&it.elem, me),
            syn::Type::Paren(it) => self.convert(&it.elem, me),
            syn::Type::Group(it) => self.convert(&it.elem, me),
            syn::Type::Array(it) => Ty::List(Box::new(self.convert(&it.elem, me))),
            syn::Type::Slice(it) => Ty::List(Box::new(self.convert(&it.elem, me))),
            syn::Type::Tuple(it) => {
                Ty::Tuple(it.elems.iter().map(|elem| self.convert(elem, me)).collect())
            }
            syn::Type::Path(it) => self.convert_path(&it.path, me),
            _ => Ty::Unknown,
        }
    }

    fn convert_path(&self, path: &syn::Path, me: Option<&Ty>) -> Ty {
        let Some(last) = path.segments.last() else { return Ty::Unknown };
        let name = last.ident.to_string();
        if name == "Self" && path.segments.len() == 1 {
            return me.cloned().unwrap_or(Ty::Unknown);
        }
        if let Some(alias) = self.aliases.get(&name) {
            // An alias of itself (`use a::B as B`) would never end.
            return match alias {
                syn::Type::Path(it)
                    if it.path.segments.last().is_some_and(|it| it.ident == name) =>
                {
                    self.plain(&name, Vec::new())
                }
                alias => self.convert(alias, me),
            };
        }
        let arguments = match &last.arguments {
            syn::PathArguments::AngleBracketed(given) => given
                .args
                .iter()
                .filter_map(|argument| match argument {
                    syn::GenericArgument::Type(ty) => Some(self.convert(ty, me)),
                    _ => None,
                })
                .collect(),
            _ => Vec::new(),
        };
        self.plain(&name, arguments)
    }

    fn plain(&self, name: &str, mut arguments: Vec<Ty>) -> Ty {
        match name {
            _ if self.own.contains(name) => Ty::Named(name.to_owned(), arguments),
            "AtomicPtr" => {
                let to = if arguments.len() == 1 { arguments.remove(0) } else { Ty::Unknown };
                Ty::AtomicPtr(Box::new(to))
            }
            _ if ATOMICS.contains(&name) => Ty::Atomic,
            "Box" | "Pin" | "ManuallyDrop" | "Vec" if arguments.len() == 1 => {
                let inner = arguments.remove(0);
                if name == "Vec" { Ty::List(Box::new(inner)) } else { inner }
            }
            _ => Ty::Named(name.to_owned(), arguments),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn atomics_are_seen_through_pointers_aliases_and_lists() {
        let mut names = Names::default();
        names
            .aliases
            .insert("Word".to_owned(), syn::parse_str("core::sync::atomic::AtomicU64").unwrap());
        names.own.insert("AtomicList".to_owned());
        let convert = |text: &str| names.convert(&syn::parse_str(text).unwrap(), None);
        for text in ["AtomicU8", "&'static AtomicPtr<u8>", "*mut Word", "Box<sync::AtomicBool>"] {
            assert!(convert(text).is_atomic(), "{text}");
        }
        assert_eq!(convert("[Word; 4]"), Ty::List(Box::new(Ty::Atomic)));
        assert!(convert("Option<&(u8, [Word; 4])>").holds_atomic());
        assert_eq!(convert("AtomicList"), Ty::named("AtomicList"));
        assert_eq!(convert("impl Fn()"), Ty::Unknown);
    }
}
