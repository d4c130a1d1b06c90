//! Link arguments of the shared library; nothing is compiled or generated here.
//!
//! Cargo has no key for them in the manifest. The allocator crate itself has no build script.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("linux") {
        return;
    }
    for argument in [
        // Threads run our thread-exit destructor and blocks outlive `dlclose`: never unmap.
        "-Wl,-z,nodelete",
        // A missing symbol is an error now, not when a program starts.
        "-Wl,-z,defs",
        // Relocations that would make the code pages private to each process are an error.
        "-Wl,-z,text",
        "-Wl,-soname,libhakmem_preload.so",
        // Whether the libc crate asks for the C library depends on the features that other packages
        // of the same build have turned on.
        "-lc",
    ] {
        println!("cargo::rustc-cdylib-link-arg={argument}");
    }
}
