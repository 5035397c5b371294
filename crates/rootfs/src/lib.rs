//! From archives to what a VM boots from: one ext4 image out of the layers of a root file system,
//! the kernel and the few modules a guest needs out of a distribution's kernel package.
//!
//! Everything here is unprivileged, blocking and free of the daemon's types: files go in, files
//! come out. Nothing is mounted, no loop device is used, no program is started.
//!
//! | module | responsible for |
//! |---|---|
//! | [`layers`] | layers, which are tar archives → one ext4 image |
//! | [`blank`] | an empty ext4 that a VM writes to |
//! | [`tree`] | the files of an image in memory: names, links, limits |
//! | [`archive`] | reading tar archives: what each entry is, and its contents |
//! | [`ext4`] | writing ext4; the only module that knows the library behind it |
//! | [`kernel_package`] | finding kernel, configuration and modules in a package's tar |
//! | [`deb`] | the files of a Debian package as one tar |
//! | [`kernel_facts`] | version and configuration that a kernel carries |
//! | [`vmlinux`] | the ELF kernel inside a bzImage |
//! | [`modules`] | which kernel modules a guest boots with, and in which order they load |
//! | [`modules_image`] | the modules that programs in a guest may ask for, as one ext4 |
//! | `modinfo` | what a module says about itself |
//! | [`modules_dir`] | a directory of modules to take from |
//! | [`decompress`] | the compressions that kernels and modules come in |
//! | [`stream`] | files of any length through the compression they have |
//! | [`cpio`] | writing an initramfs |
//! | [`bundle`] | `.tar.zst` files with exactly the files they should have |
//! | [`digest`] | SHA-256 of files and of what is read |

pub mod archive;
pub mod blank;
pub mod bundle;
pub mod cpio;
pub mod deb;
pub mod decompress;
pub mod digest;
pub mod ext4;
pub mod kernel_facts;
pub mod kernel_package;
pub mod layers;
mod modinfo;
pub mod modules;
pub mod modules_dir;
pub mod modules_image;
pub mod stream;
pub mod tree;
pub mod vmlinux;
