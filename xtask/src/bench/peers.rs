//! Making the peers: compiles or unpacks each below `target/peers`, checks that its exported
//! `malloc` is its own, and names what cannot be had together with the command that would help.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use object::{Object, ObjectSymbol};
use serde::Serialize;

use super::recipe::{Build, COMMON, HARDENED, RECIPES, Recipe, Source};
use super::task::check_names;
use crate::shared::{command, paths, term};

/// An allocator that is ready to run.
#[derive(Clone, Debug, Serialize)]
pub struct Allocator {
    /// Its short name.
    pub name: String,
    /// Its version, as its own sources or package say.
    pub version: String,
    /// What to preload; nothing for the system's own.
    #[serde(skip)]
    pub library: Option<PathBuf>,
    /// The program with it compiled in, where that is how it is used.
    #[serde(skip)]
    pub program: Option<PathBuf>,
}

/// A peer that could not be made.
#[derive(Clone, Debug, Serialize)]
pub struct Missing {
    /// Its short name.
    pub name: String,
    /// Why, and what to do about it.
    pub reason: String,
}

/// The name of the allocator that everything is compared with.
pub const OURS: &str = "hakmem";

/// What `hakmem-preload` calls the library it depends on, for `--features`.
pub const DEPENDENCY: &str = "hakmem";

/// Builds `libhakmem_preload.so`, with these features of the library turned on.
pub fn hakmem(features: &[String]) -> Result<Allocator> {
    let spinner = term::spinner("Building", "libhakmem_preload.so");
    let mut build = command::cargo();
    build.args(["build", "--release", "--package", "hakmem-preload"]);
    for feature in features {
        build.args(["--features", &format!("{DEPENDENCY}/{feature}")]);
    }
    let built = command::output(&mut build);
    spinner.finish_and_clear();
    built?;
    let library = paths::target().join("release/libhakmem_preload.so");
    exports_malloc(&library)?;
    let version = env!("CARGO_PKG_VERSION").to_owned();
    Ok(Allocator { name: OURS.to_owned(), version, library: Some(library), program: None })
}

/// Makes the peers named in `only` (all of them if it is empty).
pub fn make(only: &[String]) -> Result<(Vec<Allocator>, Vec<Missing>)> {
    check_names("peer", only, &names())?;
    let wanted = RECIPES
        .iter()
        .filter(|recipe| only.is_empty() || only.iter().any(|name| name == recipe.name))
        .collect();
    make_all(wanted)
}

/// Makes the peers in their own hardened modes.
pub fn hardened() -> Result<(Vec<Allocator>, Vec<Missing>)> {
    make_all(HARDENED.iter().collect())
}

fn make_all(wanted: Vec<&Recipe>) -> Result<(Vec<Allocator>, Vec<Missing>)> {
    let folder = paths::target().join("peers");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let bar = term::progress("Making", wanted.len() as u64);
    let (mut ready, mut missing) = (Vec::new(), Vec::new());
    for recipe in wanted {
        bar.set_message(recipe.name);
        match make_one(recipe, &folder) {
            Ok(allocator) => ready.push(allocator),
            Err(error) => {
                missing
                    .push(Missing { name: recipe.name.to_owned(), reason: format!("{error:#}") });
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    for Missing { name, reason } in &missing {
        term::note(format!("{name} is left out: {reason}"));
    }
    Ok((ready, missing))
}

/// The names that `--peer` takes.
pub fn names() -> Vec<&'static str> {
    RECIPES.iter().map(|recipe| recipe.name).collect()
}

fn make_one(recipe: &Recipe, folder: &Path) -> Result<Allocator> {
    let (version, library) = match &recipe.source {
        Source::System => (system_version(), None),
        Source::Crate(build) => {
            let (version, library) = compile(recipe.name, build, folder)?;
            (version, Some(library))
        }
        Source::Debian { package, file } => {
            let (version, library) = debian(package, file, folder)?;
            (version, Some(library))
        }
    };
    if let Some(library) = &library {
        exports_malloc(library)?;
    }
    Ok(Allocator { name: recipe.name.to_owned(), version, library, program: None })
}

/// The C library's version.
fn system_version() -> String {
    // SAFETY: the function returns a static C string.
    let text = unsafe { std::ffi::CStr::from_ptr(libc::gnu_get_libc_version()) };
    text.to_string_lossy().into_owned()
}

/// Fails unless the library defines and exports the C family itself.
fn exports_malloc(library: &Path) -> Result<()> {
    let bytes = fs::read(library).with_context(|| format!("cannot read {}", library.display()))?;
    let file = object::File::parse(&*bytes).context("not an object file")?;
    for name in ["malloc", "free", "calloc", "realloc", "posix_memalign", "malloc_usable_size"] {
        ensure!(
            file.dynamic_symbols()
                .any(|s| s.name() == Ok(name) && s.is_definition() && s.is_global()),
            "{} does not export `{name}`, so that preloading it would mix two allocators",
            library.display()
        );
    }
    Ok(())
}

fn compile(name: &str, build: &Build, folder: &Path) -> Result<(String, PathBuf)> {
    let (crate_version, root) = crate_source(build.package)?;
    let root = root.join(build.folder);
    let version = match build.version {
        Some((header, symbol)) => header_version(&root.join(header), symbol)?,
        None => format!("({} {crate_version})", build.package),
    };
    let library = folder.join(format!("lib{name}.so"));
    let needed = if build.compiler == "cc" { "gcc" } else { "g++" };
    if paths::which(build.compiler).is_none() {
        bail!(
            "it needs a compiler called `{}`; install one with `apt-get install {needed}`",
            build.compiler
        );
    }
    let mut compiler = Command::new(build.compiler);
    compiler.args(COMMON);
    compiler.args(build.include.iter().map(|path| format!("-I{}", root.join(path).display())));
    compiler.args(build.files.iter().map(|path| root.join(path)));
    compiler.args(build.flags.concat()).arg("-o").arg(&library);

    // The command and the crate's version say whether the library at hand is the one wanted.
    let stamp = folder.join(format!("{name}.command"));
    let wanted = format!("{crate_version}\n{}\n", command::show(&compiler));
    let current = fs::read_to_string(&stamp).is_ok_and(|text| text == wanted);
    if !(current && library.is_file()) {
        command::output(&mut compiler)?;
        fs::write(&stamp, wanted).with_context(|| format!("cannot write {}", stamp.display()))?;
    }
    Ok((version, library))
}

/// The version and source folder of a crate that `benches/peers` pins.
fn crate_source(package: &str) -> Result<(String, PathBuf)> {
    let manifest = paths::root().join("benches/peers/Cargo.toml");
    let metadata = cargo_metadata::MetadataCommand::new()
        .cargo_path(paths::cargo())
        .manifest_path(manifest)
        .other_options(vec!["--locked".to_owned()])
        .exec()
        .context("its sources cannot be fetched from crates.io; is the network reachable?")?;
    let found = metadata.packages.into_iter().find(|found| found.name.as_str() == package);
    let found =
        found.with_context(|| format!("benches/peers/Cargo.toml does not name {package}"))?;
    let folder = found.manifest_path.parent().context("a manifest lies in a folder")?;
    Ok((found.version.to_string(), folder.as_std_path().to_owned()))
}

/// Reads `#define SYMBOL 30600` as 3.6.0.
fn header_version(header: &Path, symbol: &str) -> Result<String> {
    let text =
        fs::read_to_string(header).with_context(|| format!("cannot read {}", header.display()))?;
    let mut words = text.split_whitespace().skip_while(|word| *word != symbol);
    let number: u32 = words
        .nth(1)
        .and_then(|word| word.parse().ok())
        .with_context(|| format!("{} has no number behind {symbol}", header.display()))?;
    Ok(format!("{}.{}.{}", number / 10_000, number / 100 % 100, number % 100))
}

/// Finds a library that is installed, or fetches its package without installing it.
fn debian(package: &str, file: &str, folder: &Path) -> Result<(String, PathBuf)> {
    let mut query = Command::new("dpkg-query");
    if let Ok(version) = command::stdout(query.args(["-W", "-f=${Version}", package]))
        && let Some(library) = find_file(Path::new("/usr/lib"), file)
    {
        return Ok((version, library));
    }
    let unpacked = folder.join(package);
    let version_file = unpacked.join("version");
    if let (Ok(version), Some(library)) =
        (fs::read_to_string(&version_file), find_file(&unpacked, file))
    {
        return Ok((version, library));
    }
    let help = format!("`apt-get install {package}`");
    if paths::which("apt-get").is_none() || paths::which("dpkg-deb").is_none() {
        bail!("{file} is not installed and this is no Debian; install the library called {file}");
    }
    fs::create_dir_all(&unpacked)?;
    let mut fetch = Command::new("apt-get");
    fetch.args(["download", package]).current_dir(&unpacked);
    command::output(&mut fetch)
        .with_context(|| format!("cannot fetch its package; install it with {help}"))?;
    let archive = find_suffix(&unpacked, ".deb").context("apt-get download left no package")?;
    let mut unpack = Command::new("dpkg-deb");
    command::output(unpack.arg("-x").arg(&archive).arg(&unpacked))?;
    let mut field = Command::new("dpkg-deb");
    let version = command::stdout(field.arg("-f").arg(&archive).arg("Version"))?.trim().to_owned();
    let library = find_file(&unpacked, file).with_context(|| {
        format!("the package {package} holds no {file}; install it with {help}")
    })?;
    fs::write(&version_file, &version)?;
    Ok((version, library))
}

/// The first file of that name at or below a folder.
fn find_file(folder: &Path, name: &str) -> Option<PathBuf> {
    find(folder, 4, &|path| path.file_name().is_some_and(|found| found == name))
}

fn find_suffix(folder: &Path, suffix: &str) -> Option<PathBuf> {
    find(folder, 1, &|path| path.to_string_lossy().ends_with(suffix))
}

fn find(folder: &Path, depth: u32, wanted: &dyn Fn(&Path) -> bool) -> Option<PathBuf> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(folder).ok()?.flatten() {
        let path = entry.path();
        if path.is_dir() && !path.is_symlink() {
            folders.push(path);
        } else if path.exists() && wanted(&path) {
            return Some(path);
        }
    }
    let next = depth.checked_sub(1)?;
    folders.iter().find_map(|path| find(path, next, wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_headers() {
        let folder = tempfile::tempdir().unwrap();
        let header = folder.path().join("a.h");
        fs::write(&header, "#pragma once\n#define MI_MALLOC_VERSION 30602   // text\n").unwrap();
        assert_eq!(header_version(&header, "MI_MALLOC_VERSION").unwrap(), "3.6.2");
        assert!(header_version(&header, "OTHER").is_err());
    }

    #[test]
    fn an_unknown_peer_is_named_with_the_known_ones() {
        let error = make(&["nosuch".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("'nosuch'") && error.contains("rpmalloc"), "{error}");
    }

    #[test]
    fn a_library_without_malloc_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("libnothing.so");
        fs::write(&file, "text").unwrap();
        assert!(exports_malloc(&file).is_err());
    }
}
