//! How each peer becomes a library that `LD_PRELOAD` can load.
//!
//! Sources come from crates that carry the allocator's C or C++ code, at the versions that
//! `benches/peers/Cargo.lock` pins; flags are those of the project's own release build of its
//! shared library. Where Debian ships the library, its build is used.

/// One allocator to compare with.
pub struct Recipe {
    /// What `--peer` takes.
    pub name: &'static str,
    /// Where the library comes from.
    pub source: Source,
}

/// Where a peer's library comes from.
pub enum Source {
    /// The C library of the system: nothing to preload.
    System,
    /// A crate's C or C++ sources.
    Crate(Build),
    /// A Debian package.
    Debian {
        /// The package's name.
        package: &'static str,
        /// The library's file name in it.
        file: &'static str,
    },
}

/// How to compile a crate's sources into a shared library.
pub struct Build {
    /// The crate.
    pub package: &'static str,
    /// The folder in it that all other paths start from.
    pub folder: &'static str,
    /// `cc` or `c++`.
    pub compiler: &'static str,
    /// Source files.
    pub files: &'static [&'static str],
    /// Include folders.
    pub include: &'static [&'static str],
    /// Flags beyond [`COMMON`], list after list.
    pub flags: &'static [&'static [&'static str]],
    /// A header and the macro in it that gives the version as major, two digits minor, two digits
    /// patch; without it the crate's version stands for the library's.
    pub version: Option<(&'static str, &'static str)>,
}

/// Flags of every build.
pub const COMMON: &[&str] = &[
    "-O3",
    "-DNDEBUG",
    "-shared",
    "-fPIC",
    "-fvisibility=hidden",
    "-ftls-model=initial-exec",
    "-w",
    "-pthread",
];

const MIMALLOC_FLAGS: &[&str] = &[
    "-std=gnu11",
    "-fno-builtin-malloc",
    "-DMI_SHARED_LIB",
    "-DMI_SHARED_LIB_EXPORT",
    "-DMI_MALLOC_OVERRIDE",
    "-DMI_BUILD_RELEASE",
];

const SNMALLOC_FLAGS: &[&str] = &[
    "-std=c++20",
    "-mcx16",
    "-mprfchw",
    "-fomit-frame-pointer",
    "-ffunction-sections",
    "-static-libstdc++",
    "-DSNMALLOC_USE_CXX11_THREAD_ATEXIT_DIRECT",
    "-DSNMALLOC_EXPORT=__attribute__((visibility(\"default\")))",
    "-DSNMALLOC_CHECK_LOADS=false",
    "-DSNMALLOC_PAGEID=false",
    "-DSNMALLOC_USE_WAIT_ON_ADDRESS=1",
    "-DSNMALLOC_HAS_LINUX_FUTEX_H",
    "-DSNMALLOC_HAS_LINUX_RANDOM_H",
    "-DSNMALLOC_PLATFORM_HAS_GETENTROPY",
];

const fn mimalloc3(flags: &'static [&'static [&'static str]]) -> Build {
    Build {
        package: "libmimalloc-sys2",
        folder: "c_src/mimalloc3",
        compiler: "cc",
        files: &["src/static.c"],
        include: &["include"],
        flags,
        version: Some(("include/mimalloc.h", "MI_MALLOC_VERSION")),
    }
}

const fn snmalloc(flags: &'static [&'static [&'static str]]) -> Build {
    Build {
        package: "snmalloc-sys",
        folder: "upstream",
        compiler: "c++",
        files: &["src/snmalloc/override/malloc.cc", "src/snmalloc/override/new.cc"],
        include: &["src"],
        flags,
        version: None,
    }
}

/// What `cargo xtask attacks` compares the hardened builds with: each peer's own hardened mode.
pub const HARDENED: &[Recipe] = &[
    Recipe { name: "glibc", source: Source::System },
    Recipe {
        name: "mimalloc-secure",
        source: Source::Crate(mimalloc3(&[MIMALLOC_FLAGS, &["-DMI_SECURE=4"]])),
    },
    Recipe {
        name: "snmalloc-checks",
        source: Source::Crate(snmalloc(&[SNMALLOC_FLAGS, &["-DSNMALLOC_CHECK_CLIENT"]])),
    },
];

/// Every peer, in the order of the tables.
pub const RECIPES: &[Recipe] = &[
    Recipe { name: "glibc", source: Source::System },
    Recipe {
        name: "mimalloc2",
        source: Source::Crate(Build {
            package: "libmimalloc-sys2",
            folder: "c_src/mimalloc",
            compiler: "cc",
            files: &["src/static.c"],
            include: &["include"],
            flags: &[MIMALLOC_FLAGS],
            version: Some(("include/mimalloc.h", "MI_MALLOC_VERSION")),
        }),
    },
    Recipe { name: "mimalloc3", source: Source::Crate(mimalloc3(&[MIMALLOC_FLAGS])) },
    Recipe { name: "snmalloc", source: Source::Crate(snmalloc(&[SNMALLOC_FLAGS])) },
    Recipe {
        name: "rpmalloc",
        source: Source::Crate(Build {
            package: "rpmalloc-sys",
            folder: "rpmalloc/rpmalloc",
            compiler: "cc",
            files: &["rpmalloc.c"],
            include: &["."],
            flags: &[&[
                "-std=gnu11",
                "-D_GNU_SOURCE=1",
                "-DENABLE_OVERRIDE=1",
                "-DENABLE_PRELOAD=1",
                "-ldl",
            ]],
            version: None,
        }),
    },
    Recipe {
        name: "jemalloc",
        source: Source::Debian { package: "libjemalloc2", file: "libjemalloc.so.2" },
    },
    Recipe {
        name: "tcmalloc",
        source: Source::Debian {
            package: "libtcmalloc-minimal4",
            file: "libtcmalloc_minimal.so.4",
        },
    },
];
