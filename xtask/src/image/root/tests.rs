//! The parts that need no packages; the whole is tried by making the image.

use super::closure::check_versions;
use super::relative;
use crate::image::elf::Dynamic;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

fn versions(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn files(wanted: &[&str]) -> BTreeMap<String, Dynamic> {
    let library = Dynamic {
        defined: versions(&["GLIBC_2.34", "GLIBC_2.36"]),
        ..Dynamic::default()
    };
    let program = Dynamic {
        needed: vec!["libc.so.6".into()],
        wanted: BTreeMap::from([("libc.so.6".into(), versions(wanted))]),
        ..Dynamic::default()
    };
    BTreeMap::from([
        ("libc.so.6".to_owned(), library),
        ("tool".to_owned(), program),
    ])
}

#[test]
fn fitting_versions_pass() {
    check_versions(&files(&["GLIBC_2.36", "GLIBC_2.34"])).unwrap();
}

#[test]
fn a_library_that_is_too_old_is_named() {
    let error = check_versions(&files(&["GLIBC_2.34", "GLIBC_2.39"])).unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("tool wants GLIBC_2.39 of libc.so.6"),
        "{text}"
    );
}

#[test]
fn links_are_relative() {
    for (folder, file, way) in [
        ("usr/sbin", "usr/sbin/mke2fs", "mke2fs"),
        ("etc", "usr/lib/os-release", "../usr/lib/os-release"),
        ("lib64", "usr/lib/triple/ld.so", "../lib/triple/ld.so"),
        ("usr/lib/triple", "usr/lib/triple/lib.so.1", "lib.so.1"),
    ] {
        let found = relative(Path::new(folder), Path::new(file));
        assert_eq!(found, Path::new(way), "{folder}");
    }
}
